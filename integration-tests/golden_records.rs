//! The records that Eventuate's own relay published for the same rows, captured from it, byte for
//! byte: topic, partition, key, headers and value. Only the places in the binlog are put in anew, and
//! what it did wrong (see `golden/README.md`) is expected right.

use std::sync::Arc;

use mysql_async::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use harness::binlog::WrittenRow;
use harness::consumer::Record;
use harness::ledger::{Content, OutboxRow};
use harness::oracle::partition_of;
use harness::relay::{RelaySequence, RelaySetup, SOON};
use harness::say;
use harness::scene::{Delivery, Scene};
use harness::servers::{
    Kafka, MySql, has_version, permit_for_own_servers, shared_kafka, shared_mysql,
};
use harness::sql::{Coordinates, Sql};
use harness::workload::{Plan, Workload, insert_rows};

const CAPTURED: &str = include_str!("golden/eventuate.json");
/// All captured names of topics begin with this; each scene has its own instead.
const CAPTURED_PREFIX: &str = "lab.ev32587.";

#[derive(Deserialize)]
struct Case {
    case: String,
    table: String,
    inserted: Vec<Json>,
    published: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    topic: String,
    partition: i32,
    key: String,
    value: String,
}

/// A record without its offset in the partition and its sequence.
#[derive(Debug, PartialEq, Eq)]
struct Golden {
    case: String,
    topic: String,
    partition: i32,
    key: String,
    value: String,
}

#[test]
fn records_are_those_of_eventuate_on_8_0() {
    let scene = Scene::on(shared_mysql(), shared_kafka(), "golden");
    records_are_those_of_eventuate(&scene, &scene.relay_setup());
}

#[test]
fn records_are_those_of_eventuate_on_5_7() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-5.7", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "golden_5_7");
    records_are_those_of_eventuate(&scene, &scene.relay_setup());
}

#[test]
fn records_are_those_of_eventuate_on_9() {
    if !has_version("mysql-9") {
        say("MySQL 9 is not available on this machine: golden records NOT RUN on it");
        return;
    }
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-9", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "golden_9");
    records_are_those_of_eventuate(&scene, &scene.relay_setup());
}

/// A round trip of 5 ms, and another relay of many rows on the same servers.
#[test]
fn records_are_those_of_eventuate_behind_a_link_and_under_load() {
    let _permit = permit_for_own_servers();
    let (kafka, brokers) = Kafka::start_far();
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let stage = |label| Scene::on(shared_mysql(), Arc::clone(&kafka), label).with(delivery);
        let (load, golden) = (stage("golden_load"), stage("golden_link"));
        let workload = Workload::start(&load, &Plan::with_seed_of_the_day(&load.name));
        let outboxes = Workload::outboxes(&load);
        let setup = load.setup_behind_link(&brokers);
        let mut relay = RelaySetup { outboxes, ..setup }.start();
        let setup = golden.setup_behind_link(&brokers);
        records_are_those_of_eventuate(&golden, &setup);
        load.judge_clean_to_the_end(&workload.finish(), &mut relay, SOON);
    }
}

fn records_are_those_of_eventuate(scene: &Scene, setup: &RelaySetup) {
    let relay = setup.start();
    let mut sql = scene.sql();
    let mut golden = Vec::new();
    let text = CAPTURED.replace(CAPTURED_PREFIX, &scene.topic(""));
    let cases: Vec<Case> = serde_json::from_str(&text).expect("the captured records are readable");
    for case in &cases {
        golden.extend(replay(scene, &mut sql, case));
    }
    assert_eq!(golden.len(), 30, "the cases have this many rows to relay");
    let mut arrived = scene.wait_for_records(&relay, golden.len());
    arrived.sort_by(|a, b| a.header("relay-sequence").cmp(&b.header("relay-sequence")));
    for (number, (record, golden)) in arrived.iter().zip(&golden).enumerate() {
        assert_eq!(&without_sequence(record, &golden.case), golden);
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["relay-sequence"], "{}", golden.case);
        let sequence = RelaySequence::parse(&record.headers[0].1).expect("a well-formed sequence");
        assert_eq!((sequence.name, sequence.sequence), (scene.name.clone(), number as u64 + 1));
    }
    assert_eq!(arrived.len(), golden.len());
}

/// Inserts the rows of a case and returns what has to come of them.
fn replay(scene: &Scene, sql: &mut Sql, case: &Case) -> Vec<Golden> {
    let rows = match case.case.as_str() {
        // The relay halts on XA, and a rolled back transaction is in no binlog.
        "xa_rollback" | "xa_commit" | "plain_rollback" => return Vec::new(),
        "txn_2_rows_and_update" => return replay_transaction(scene, sql, case),
        _ => case.inserted.iter().map(|row| captured_row(&case.table, row)).collect::<Vec<_>>(),
    };
    let before = sql.end_of_binlog();
    insert_captured(sql, case);
    let table = format!("{}.{}", scene.name, case.table);
    let ends = ends_of_rows_events(sql, &before, &table);
    assert_eq!(ends.len(), 1, "{} is one rows event", case.case);
    rows.iter()
        .zip(0..)
        .filter(|(row, _)| row.is_to_be_relayed())
        .map(|(row, index)| {
            // Of several rows Eventuate published the first.
            let captured = case.published.first().filter(|_| index == 0);
            golden(case, captured, row, &ends[0], index)
        })
        .collect()
}

/// All columns as captured, those too that a record has nothing of.
fn insert_captured(sql: &mut Sql, case: &Case) {
    let columns = match case.table.as_str() {
        "events" => {
            "event_id, event_type, event_data, entity_type, entity_id, triggering_event, metadata, published"
        }
        _ => "id, destination, headers, payload, creation_time, published, message_partition",
    };
    let row = format!("({})", vec!["?"; columns.split(", ").count()].join(", "));
    let rows = vec![row; case.inserted.len()].join(", ");
    let cells = case.inserted.iter().flat_map(|row| row.as_array().expect("a captured row"));
    let values: Vec<Value> = cells
        .map(|cell| match cell {
            Json::Null => Value::NULL,
            Json::String(text) => Value::from(text),
            number => Value::from(number.as_i64().expect("cells are texts and numbers")),
        })
        .collect();
    sql.run_with(format!("INSERT INTO {} ({columns}) VALUES {rows}", case.table), values);
}

/// Two rows by two statements and an update of both, in one transaction.
fn replay_transaction(scene: &Scene, sql: &mut Sql, case: &Case) -> Vec<Golden> {
    let rows: Vec<OutboxRow> = case.published.iter().map(row_of_published_event).collect();
    let before = sql.end_of_binlog();
    sql.run("BEGIN");
    for row in &rows {
        insert_rows(sql, "events", std::slice::from_ref(row));
    }
    sql.run("UPDATE events SET published = 1 WHERE entity_id = 'txn'");
    sql.run("COMMIT");
    let ends = ends_of_rows_events(sql, &before, &format!("{}.events", scene.name));
    assert_eq!(ends.len(), rows.len());
    let captured = case.published.iter().zip(&rows).zip(&ends);
    captured.map(|((captured, row), end)| golden(case, Some(captured), row, end, 0)).collect()
}

/// The captured record with the present place in it; what was not captured, or was wrong, is built
/// by the rules.
fn golden(
    case: &Case,
    captured: Option<&Published>,
    row: &OutboxRow,
    end: &Coordinates,
    index: u64,
) -> Golden {
    let place = WrittenRow {
        table: case.table.clone(),
        place: end.clone(),
        rows_to_skip: index,
        values: Vec::new(),
    };
    let built = row.expected(&place);
    let built = Golden {
        case: case.case.clone(),
        partition: partition_of(built.key.as_bytes(), 12),
        topic: built.topic,
        key: built.key,
        value: built.value,
    };
    let was_wrong = case.case == "newline_first" && case.table == "message";
    let Some(captured) = captured.filter(|_| !was_wrong) else {
        assert!(was_wrong || case.case == "multi_row_5", "{} was captured", case.case);
        return built;
    };
    let golden = Golden {
        case: case.case.clone(),
        topic: captured.topic.clone(),
        partition: captured.partition,
        key: captured.key.clone(),
        value: with_place(&captured.value, end),
    };
    assert_eq!(built, golden, "the rules of this test are those of Eventuate");
    golden
}

fn with_place(value: &str, end: &Coordinates) -> String {
    let parsed: Json = serde_json::from_str(value).expect("a captured value is JSON");
    let Some(place) = parsed.get("binlogFileOffset") else {
        return value.to_owned();
    };
    let captured = format!(
        r#""binlogFileOffset":{{"binlogFilename":{},"offset":{},"#,
        place["binlogFilename"], place["offset"]
    );
    assert!(value.contains(&captured), "{value}");
    let present =
        format!(r#""binlogFileOffset":{{"binlogFilename":"{}","offset":{},"#, end.file, end.offset);
    value.replace(&captured, &present)
}

/// Where the Write_rows events of a table end, as the server lists them.
fn ends_of_rows_events(sql: &mut Sql, from: &Coordinates, table: &str) -> Vec<Coordinates> {
    let mut table_id = None;
    let mut ends = Vec::new();
    for (file, line) in sql.binlog_events_since(from) {
        if line.kind == "Table_map" && line.info.contains(&format!("({table})")) {
            table_id = line.info.split_whitespace().nth(1).map(str::to_owned);
        }
        let is_of_the_table =
            table_id.as_ref().is_some_and(|id| line.info.split_whitespace().nth(1) == Some(id));
        if line.kind == "Write_rows" && is_of_the_table {
            ends.push(Coordinates { file, offset: line.end });
        }
    }
    ends
}

fn captured_row(table: &str, row: &Json) -> OutboxRow {
    let text = |index: usize| row[index].as_str().map(str::to_owned);
    let required = |index: usize| text(index).expect("a captured cell that is not NULL");
    let (content, published) = match table {
        "events" => (
            Content::Event {
                event_type: required(1),
                event_data: required(2),
                entity_type: required(3),
                entity_id: required(4),
                metadata: text(6),
            },
            &row[7],
        ),
        _ => (
            Content::Message {
                destination: required(1),
                headers: members_in_order(&required(2)),
                payload: required(3),
            },
            &row[5],
        ),
    };
    OutboxRow {
        id: required(0),
        table: table.to_owned(),
        content,
        published: published.as_i64().map(|number| i16::try_from(number).expect("a small number")),
        counter: 0,
    }
}

fn row_of_published_event(published: &Published) -> OutboxRow {
    let value: Json = serde_json::from_str(&published.value).expect("a captured value is JSON");
    let text = |name: &str| value[name].as_str().expect("a captured field").to_owned();
    OutboxRow {
        id: text("id"),
        table: "events".to_owned(),
        content: Content::Event {
            entity_type: text("entityType"),
            entity_id: text("entityId"),
            event_type: text("eventType"),
            event_data: text("eventData"),
            metadata: None,
        },
        published: Some(0),
        counter: 0,
    }
}

/// The members of a flat JSON object of strings in the order of the text.
fn members_in_order(text: &str) -> Vec<(String, String)> {
    let members: std::collections::BTreeMap<String, String> =
        serde_json::from_str(text).expect("captured headers are an object of strings");
    let mut members: Vec<(String, String)> = members.into_iter().collect();
    members.sort_by_key(|(name, _)| {
        text.find(&format!("\"{name}\":")).or(text.find(&format!("\"{name}\" :")))
    });
    members
}

fn without_sequence(record: &Record, case: &str) -> Golden {
    Golden {
        case: case.to_owned(),
        topic: record.topic.clone(),
        partition: record.partition,
        key: record.key_text(),
        value: record.value_text(),
    }
}
