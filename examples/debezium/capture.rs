//! Captures what the real Debezium makes of the rows in `cases.json`, as the golden records of `make test`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Isolation, Record};
use harness::kafka::create_topic;
use harness::repository;
use harness::scene::Scene;
use serde_json::{Map, Value as Json, json};

use crate::worker::{ANSWERS_WITHIN, Worker, create_user};

/// All captured topics begin with this.
const PREFIX: &str = "lab.dbz.";
const DATABASE: &str = "shop";

/// Runs every case, and writes `records.json` beside them.
pub fn capture(scene: &Scene) {
    let folder = repository().join("integration-tests/golden/debezium");
    let text = fs::read_to_string(folder.join("cases.json")).expect("read the cases");
    let text = text
        .replace(PREFIX, &scene.topic(""))
        .replace(&format!("\"{DATABASE}."), &format!("\"{}.", scene.name));
    let text = text.replace(
        &format!("\"database.include.list\": \"{DATABASE}\""),
        &format!("\"database.include.list\": \"{}\"", scene.name),
    );
    let cases: Vec<Json> = serde_json::from_str(&text).expect("the cases are JSON");
    create_user(scene);
    let mut sql = scene.sql();
    let create_topic = |name: &str| create_topic(&scene.kafka, name, scene.partitions, &[]);
    for label in ["placed.ready.events", "placed.paid.events", "regex.v1.ready", "regex.v1.Order"] {
        create_topic(&scene.topic(label));
    }
    let mut worker = Worker::start(scene);
    for case in &cases {
        let name = text_of(case, "case");
        sql.run(format!(
            "CREATE TABLE {name} ({}) CHARACTER SET utf8mb4",
            text_of(case, "columns")
        ));
        for topic in ["Order", "Order_Line-2", "ready"] {
            create_topic(&format!("outbox.event.{}", scene.topic(&format!("{name}.{topic}"))));
        }
        let settings = case["connector"].as_object().expect("settings");
        worker.create_connector(scene, name, settings);
    }
    let mut captured = Map::new();
    let mut inboxes = [format!("outbox.event.{}", scene.topic("")), scene.topic("")]
        .map(|prefix| Inbox::open(&scene.kafka, &prefix, Isolation::ReadCommitted));
    for case in &cases {
        let records = run(scene, case, &mut inboxes, &worker);
        eprintln!("{}: {} records", text_of(case, "case"), records.len());
        let records = records.iter().map(|record| to_json(scene, record)).collect();
        captured.insert(text_of(case, "case").to_owned(), records);
    }
    worker.stop();
    let text = serde_json::to_string_pretty(&captured).expect("records are JSON");
    fs::write(folder.join("records.json"), text + "\n").expect("write the records");
}

/// Writes rows that are not captured until one comes, then those that are.
fn run(scene: &Scene, case: &Json, inboxes: &mut [Inbox], worker: &Worker) -> Vec<Record> {
    let name = text_of(case, "case");
    let rows: Vec<&str> =
        case["rows"].as_array().expect("rows").iter().filter_map(Json::as_str).collect();
    let mut sql = scene.sql();
    let is_of_case = |record: &&Record| record.topic.contains(&format!(".{name}."));
    let is_ready = |record: &&Record| record.topic.contains("ready");
    let deadline = Instant::now() + ANSWERS_WITHIN;
    for number in 0.. {
        let marker = rows[0]
            .replace("Order", "ready")
            .replace("'paid'", "'ready'")
            .replace("'a-1'", &format!("'m-{number}'"))
            .replace("00112233445566778899aabbccddeeff", &format!("ff{number:04}"));
        sql.run(format!("INSERT INTO {name} VALUES {marker}"));
        thread::sleep(Duration::from_secs(1));
        if came(inboxes).iter().filter(is_of_case).any(|it| is_ready(&it)) {
            break;
        }
        assert!(Instant::now() < deadline, "{name}: no row comes\n{}", worker.log_tail());
    }
    for row in &rows {
        sql.run(format!("INSERT INTO {name} VALUES {row}"));
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut came = came(inboxes);
        came.retain(|record| is_of_case(&record) && !is_ready(&record));
        if came.len() >= rows.len() || Instant::now() > deadline {
            came.sort_by_key(|record| record.header("id").map(<[u8]>::to_vec));
            if came.len() < rows.len() {
                eprintln!(
                    "{name}: {} of {} rows came\n{}",
                    came.len(),
                    rows.len(),
                    worker.log_tail()
                );
            }
            return came;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn came(inboxes: &mut [Inbox]) -> Vec<Record> {
    inboxes.iter_mut().flat_map(|inbox| inbox.take_what_came().to_vec()).collect()
}

fn to_json(scene: &Scene, record: &Record) -> Json {
    let original = |text: &str| {
        text.replace(&scene.topic(""), PREFIX).replace(&format!("{}-", scene.name), "")
    };
    let bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Json::String(original(text)),
        Err(_) => {
            json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() })
        }
    };
    let headers: Vec<Json> =
        record.headers.iter().map(|(name, value)| json!([name, bytes(value)])).collect();
    json!({
        "topic": original(&record.topic),
        "partition": record.partition,
        "key": record.key.as_deref().map(bytes),
        "value": record.value.as_deref().map(bytes),
        "headers": headers,
        "timestamp": record.made_at,
    })
}

fn text_of<'a>(case: &'a Json, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("a case has {key}"))
}
