//! The table of Debezium's outbox event router, with a payload of type JSON, and the records of its defaults: the
//! payload is the value, and the id a header. The relay writes JSON as the server's text, Debezium without the
//! blanks and in the binlog's order, which is the same. So the check compares the members.

use serde_json::Value as Json;

use super::Shape;
use crate::load::{ENTITIES, EVENT_TYPE, NARROW};
use harness::consumer::Record;
use harness::relay::Outbox;
use harness::scene::Scene;

pub struct DebeziumOutbox;

pub const OUTBOX: DebeziumOutbox = DebeziumOutbox;
const TABLE: &str = "outbox";
const COLUMNS: &str = "id, aggregatetype, aggregateid, type, payload";
/// The ids begin so; the number of the row follows, as 12 hexadecimal digits.
const ID_PREFIX: &str = "0000019a-5af5-7100-8000-";

/// The statement for row `i`.
pub fn insert(scene: &Scene) -> String {
    let (aggregate_type, (notes, _)) = (aggregate_type(scene), NARROW);
    format!(
        "INSERT INTO {TABLE} ({COLUMNS}) \
         SELECT CONCAT('{ID_PREFIX}', LPAD(LOWER(HEX(i)), 12, '0')), '{aggregate_type}', \
         CONCAT('order-', i MOD {ENTITIES}), '{EVENT_TYPE}', \
         CONCAT('{{\"digest\":\"', MD5(i), '\",\"note\":\"', note, '\"}}') \
         FROM data WHERE n = i MOD {notes};"
    )
}

fn aggregate_type(scene: &Scene) -> String {
    scene.topic("event")
}

/// As the preset and the router have it.
fn topic_of(aggregate_type: &str) -> String {
    format!("outbox.event.{aggregate_type}")
}

impl Shape for DebeziumOutbox {
    /// As `binlog-relay schema --preset outbox` prints it.
    fn create(&self, scene: &Scene) {
        scene.sql().run(format!(
            "CREATE TABLE {TABLE} (
               id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
               aggregatetype VARCHAR(255) NOT NULL,
               aggregateid VARCHAR(255) NOT NULL,
               type VARCHAR(255) NOT NULL,
               payload JSON
             ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"
        ));
    }

    fn topic(&self, scene: &Scene) -> String {
        topic_of(&aggregate_type(scene))
    }

    fn relay_outbox(&self, scene: &Scene) -> Outbox {
        scene.outbox(TABLE, "outbox")
    }

    fn debezium_settings(&self, scene: &Scene) -> String {
        let settings = include_str!("../debezium/outbox-connector.properties");
        format!("{settings}\ntable.include.list={}.{TABLE}\n", scene.name)
    }

    fn first_topic(&self, scene: &Scene, label: &str) -> String {
        topic_of(&scene.topic(label))
    }

    fn first_row(&self, scene: &Scene, label: &str, number: u32) -> String {
        let aggregate_type = scene.topic(label);
        format!(
            "INSERT INTO {TABLE} ({COLUMNS}) \
             VALUES (UUID(), '{aggregate_type}', 'order-{number}', '{EVENT_TYPE}', '{{}}')"
        )
    }

    fn written(&self, scene: &Scene) -> String {
        let aggregate_type = aggregate_type(scene);
        format!(
            "SELECT id, aggregateid, CONCAT(payload->>'$.digest', ' ', payload->>'$.note') \
             FROM {TABLE} WHERE aggregatetype = '{aggregate_type}'"
        )
    }

    fn id_and_data(&self, record: &Record) -> Option<(String, String)> {
        let id = String::from_utf8(record.header("id")?.to_vec()).ok()?;
        let payload: Json = serde_json::from_slice(record.value.as_deref()?).ok()?;
        let (digest, note) = (payload["digest"].as_str()?, payload["note"].as_str()?);
        let is_whole = payload.as_object()?.len() == 2;
        is_whole.then(|| (id, format!("{digest} {note}")))
    }
}
