//! The records that Debezium's outbox event router published for the same rows, captured from it, byte for byte. The
//! relay has the configuration that `import debezium` prints for the connector. See `golden/debezium/README.md`.

use std::collections::BTreeMap;

use binlog_relay::import::{Program, convert};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use harness::consumer::{Inbox, Isolation, Record};
use harness::relay::{Outbox, SOON};
use harness::scene::{Delivery, Scene};

const CASES: &str = include_str!("golden/debezium/cases.json");
const RECORDS: &str = include_str!("golden/debezium/records.json");
/// All captured topics begin with this; each scene has its own instead.
const CAPTURED_PREFIX: &str = "lab.dbz.";

#[derive(Deserialize)]
struct Case {
    case: String,
    connector: Map<String, Json>,
    columns: String,
    rows: Vec<String>,
    /// A line of `[[outbox]]` that the importer cannot know.
    relay: Option<String>,
    /// Why Debezium's records cannot be made.
    differs: Option<String>,
}

/// A record as it was captured. Headers are in the order of their names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Golden {
    topic: String,
    /// `None` where the producer chose it.
    partition: Option<i32>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
    /// `None` where it is the time of sending.
    timestamp: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Hex { hex: String },
}

impl Bytes {
    fn of(bytes: &[u8]) -> Bytes {
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.to_owned()),
            Err(_) => Bytes::Hex { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

#[test]
fn records_are_those_of_debeziums_outbox_router() {
    let scene = Scene::on_shared_servers("golden_dbz");
    let ours = |text: &str| {
        text.replace(CAPTURED_PREFIX, &scene.topic(""))
            .replace("\"shop.", &format!("\"{}.", scene.name))
    };
    let cases: Vec<Case> = serde_json::from_str(&ours(CASES)).expect("the cases are readable");
    let golden: BTreeMap<String, Vec<Golden>> =
        serde_json::from_str(&ours(RECORDS)).expect("the records are readable");
    let mut sql = scene.sql();
    let mut setup = scene.relay_setup();
    setup.outboxes.clear();
    for case in &cases {
        sql.run(format!("CREATE TABLE {} ({}) CHARACTER SET utf8mb4", case.case, case.columns));
        setup.outboxes.push(imported(case));
    }
    let mut relay = setup.start();
    let rows: usize = cases.iter().map(|case| case.rows.len()).sum();
    for case in &cases {
        for row in &case.rows {
            sql.run(format!("INSERT INTO {} VALUES {row}", case.case));
        }
    }
    let mut outbox_topics = Inbox::open(
        &scene.kafka,
        &format!("outbox.event.{}", scene.topic("")),
        scene.delivery.isolation(),
    );
    let others = cases.iter().filter(|case| ["placed", "regex"].contains(&&*case.case));
    let others: usize = others.map(|case| case.rows.len()).sum();
    relay.wait_until_came(&mut outbox_topics, rows - others, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let isolation = if scene.delivery == Delivery::ExactlyOnce {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    };
    let mut arrived = outbox_topics.take_what_came().to_vec();
    arrived.extend(Inbox::read_all(&scene.kafka, &scene.topic(""), isolation));
    arrived.sort_by_key(|record| record.header("relay-sequence").map(<[u8]>::to_vec));
    assert_eq!(arrived.len(), rows);
    let mut arrived = arrived.iter();
    for case in &cases {
        let records: Vec<&Record> = arrived.by_ref().take(case.rows.len()).collect();
        compare(case, &golden[&case.case], &records);
    }
}

fn compare(case: &Case, golden: &[Golden], records: &[&Record]) {
    let has_timestamp = case.connector.keys().any(|option| option.ends_with("event.timestamp"));
    let mut made: Vec<Golden> = records.iter().map(|record| made(record, has_timestamp)).collect();
    let mut golden: Vec<Golden> = golden
        .iter()
        .map(|record| {
            let mut record = record.clone();
            record.headers.sort();
            record.timestamp = record.timestamp.filter(|_| has_timestamp);
            // Debezium's producer chooses any partition for a key of NULL.
            record.partition = record.partition.filter(|_| record.key.is_some());
            record
        })
        .collect();
    // Those of different keys were captured in no order.
    let id = |record: &Golden| record.headers.iter().find(|(name, _)| name == "id").cloned();
    made.sort_by_key(id);
    golden.sort_by_key(id);
    match &case.differs {
        None => assert_eq!(made, golden, "{}", case.case),
        Some(why) => assert_ne!(made, golden, "{}: {why}", case.case),
    }
}

fn made(record: &Record, has_timestamp: bool) -> Golden {
    let own = record.headers.iter().filter(|(name, _)| name == "relay-sequence").count();
    assert_eq!(own, 1);
    let others = record.headers.iter().filter(|(name, _)| name != "relay-sequence");
    let mut headers: Vec<_> =
        others.map(|(name, value)| (name.clone(), Bytes::of(value))).collect();
    headers.sort();
    Golden {
        topic: record.topic.clone(),
        partition: record.key.as_ref().map(|_| record.partition),
        key: record.key.as_deref().map(Bytes::of),
        value: record.value.as_deref().map(Bytes::of),
        headers,
        timestamp: record.made_at.filter(|_| has_timestamp),
    }
}

/// The `[[outbox]]` that the importer prints, with what it cannot know.
fn imported(case: &Case) -> Outbox {
    let connector = Json::Object(case.connector.clone()).to_string();
    let printed = convert(Program::Debezium, &connector, &case.case).expect("an outbox");
    let printed: toml::Table = printed.parse().expect("TOML");
    let outbox = printed["outbox"][0].as_table().expect("a table").clone();
    let text = |key: &str| outbox[key].as_str().expect("a text").to_owned();
    let own = case.relay.iter().map(String::as_str);
    let is_overridden = |key: &str| {
        own.clone().any(|line| line.split_once(" = ").is_some_and(|(own, _)| own == key))
    };
    let lines = outbox
        .iter()
        .filter(|(key, _)| !["table", "preset"].contains(&key.as_str()) && !is_overridden(key))
        .map(|(key, value)| format!("{key} = {value}"));
    let lines = lines.chain(own.clone().map(str::to_owned)).collect();
    Outbox { table: text("table"), preset: text("preset"), lines }
}
