//! Schemas in which the database gives out the ids: an auto-increment column and an empty id. The
//! record's id is then `%016x-%016x` of that number and the outbox's `outbox_id`.

use serde_json::Value as Json;

use harness::consumer::Record;
use harness::scene::{EVENTUATE_LOCAL, EVENTUATE_TRAM, Scene};

#[test]
fn events_with_database_ids_get_them_from_number_and_outbox_id() {
    let scene = Scene::on_shared_servers("event_dbid");
    let mut sql = scene.sql();
    sql.run("DROP TABLE events");
    sql.run(
        "CREATE TABLE events (
           id BIGINT AUTO_INCREMENT PRIMARY KEY,
           event_id VARCHAR(256),
           event_type VARCHAR(1000),
           event_data LONGTEXT NOT NULL,
           entity_type VARCHAR(1000) NOT NULL,
           entity_id VARCHAR(1000) NOT NULL,
           triggering_event VARCHAR(1000),
           metadata VARCHAR(1000),
           published TINYINT DEFAULT 0
         ) AUTO_INCREMENT = 4660 CHARACTER SET utf8mb4",
    );
    let mut setup = scene.relay_setup();
    let mut outbox = scene.outbox("events", EVENTUATE_LOCAL);
    outbox.lines.push("outbox_id = 255".to_owned());
    setup.outboxes = vec![outbox];
    let relay = setup.start();
    let topic = scene.topic("account");
    for event_id in ["NULL", "''", "'0000000000000001-0000000000000002'"] {
        sql.run(format!(
            "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
             VALUES ({event_id}, 't', '{{}}', '{topic}', 'e')"
        ));
    }
    let ids = ids(&scene.wait_for_records(&relay, 3), |value| value["id"].clone());
    assert_eq!(
        ids,
        [
            "0000000000001234-00000000000000ff",
            "0000000000001235-00000000000000ff",
            "0000000000000001-0000000000000002",
        ]
    );
}

#[test]
fn messages_with_database_ids_get_them_into_their_headers() {
    let scene = Scene::on_shared_servers("message_dbid");
    let mut sql = scene.sql();
    sql.run("DROP TABLE message");
    sql.run(
        "CREATE TABLE message (
           dbid BIGINT AUTO_INCREMENT PRIMARY KEY,
           id VARCHAR(256),
           destination LONGTEXT NOT NULL,
           headers LONGTEXT NOT NULL,
           payload LONGTEXT NOT NULL,
           published SMALLINT DEFAULT 0,
           message_partition SMALLINT,
           creation_time BIGINT
         ) AUTO_INCREMENT = 10 CHARACTER SET utf8mb4",
    );
    let mut setup = scene.relay_setup();
    let mut outbox = scene.outbox("message", EVENTUATE_TRAM);
    outbox.lines.push("outbox_id = 1".to_owned());
    setup.outboxes = vec![outbox];
    let relay = setup.start();
    let destination = scene.topic("customer");
    sql.run(format!(
        "INSERT INTO message (id, destination, headers, payload)
         VALUES ('', '{destination}', '{{\"PARTITION_ID\": \"7\"}}', '{{}}')"
    ));
    let records = scene.wait_for_records(&relay, 1);
    let ids = ids(&records, |value| value["headers"]["ID"].clone());
    assert_eq!(ids, ["000000000000000a-0000000000000001"]);
    assert_eq!(records[0].key_text(), "7");
}

/// The ids in the order of the stream.
fn ids(records: &[Record], id: impl Fn(&Json) -> Json) -> Vec<String> {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by_key(|record| record.header("relay-sequence"));
    records
        .iter()
        .map(|record| {
            let value: Json = serde_json::from_str(&record.value_text()).expect("a value is JSON");
            id(&value).as_str().expect("an id is a string").to_owned()
        })
        .collect()
}
