//! A table of ten columns of common types, each row a JSON object of ten members. Both peers write the key as
//! Debezium does without its schema, and integers, text and DECIMAL alike. They differ in dates and times: the relay
//! writes the server's text, Debezium numbers for DATETIME and ISO 8601 for TIMESTAMP. So the check compares the
//! others. The digits of a DOUBLE are also each peer's own.

use serde_json::Value as Json;

use super::Shape;
use crate::debezium::Guarantee;
use crate::load::{ENTITIES, NARROW};
use harness::consumer::Record;
use harness::relay::Outbox;
use harness::scene::Scene;

pub struct Custom;

pub const CUSTOM: Custom = Custom;
const TABLE: &str = "purchases";
const COLUMNS: usize = 10;
/// Those that both peers write in the same form, beside the id.
const ALIKE: [&str; 6] = ["customer", "product", "note", "quantity", "total", "is_gift"];

/// The statement for row `i`.
pub fn insert() -> String {
    let (notes, _) = NARROW;
    format!(
        "INSERT INTO {TABLE} \
         SELECT i, CONCAT('customer-', i MOD {ENTITIES}), MD5(i), note, i MOD 97, (i MOD 100000) / 100, \
         i / 7e0, i MOD 2, '2026-01-31 12:00:00.000001' + INTERVAL i MICROSECOND, \
         '2026-01-31 12:00:00' + INTERVAL i SECOND \
         FROM data WHERE n = i MOD {notes};"
    )
}

impl Shape for Custom {
    /// Records of a table have one topic, so that of the first rows is of a table of their own.
    fn create(&self, scene: &Scene) {
        let mut sql = scene.sql();
        sql.run(format!(
            "CREATE TABLE {TABLE} (
               id BIGINT PRIMARY KEY,
               customer VARCHAR(100) NOT NULL,
               product VARCHAR(100) NOT NULL,
               note VARCHAR(1000),
               quantity INT NOT NULL,
               total DECIMAL(12, 2) NOT NULL,
               weight DOUBLE,
               is_gift BOOLEAN NOT NULL,
               placed_at DATETIME(6) NOT NULL,
               changed_at TIMESTAMP NOT NULL
             ) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4"
        ));
        for guarantee in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
            sql.run(format!("CREATE TABLE {} (id BIGINT PRIMARY KEY)", guarantee.label()));
        }
    }

    /// As Debezium names it, with the scene's name as prefix.
    fn topic(&self, scene: &Scene) -> String {
        format!("{0}.{0}.{TABLE}", scene.name)
    }

    fn relay_outbox(&self, scene: &Scene) -> Outbox {
        let lines = [
            &format!(r#"topic = "{}.{{@database}}.{{@table}}""#, scene.name),
            r#"key = '{{"id":{id}}}'"#,
            r#"value = "json""#,
        ];
        let lines = lines.map(str::to_owned).to_vec();
        Outbox { lines, ..scene.outbox(TABLE, "custom") }
    }

    fn debezium_settings(&self, scene: &Scene) -> String {
        let settings = include_str!("../debezium/custom-connector.properties");
        let [first, second] =
            [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce].map(Guarantee::label);
        format!("{settings}\ntable.include.list={0}.{TABLE},{0}.{first},{0}.{second}\n", scene.name)
    }

    fn first_topic(&self, scene: &Scene, label: &str) -> String {
        format!("{0}.{0}.{label}", scene.name)
    }

    fn first_row(&self, _scene: &Scene, label: &str, number: u32) -> String {
        format!("INSERT INTO {label} VALUES ({number})")
    }

    fn written(&self, _scene: &Scene) -> String {
        let data = ALIKE.join(", ");
        format!(
            "SELECT CAST(id AS CHAR), CONCAT('{{\"id\":', id, '}}'), CONCAT_WS(' ', {data}) FROM {TABLE}"
        )
    }

    fn id_and_data(&self, record: &Record) -> Option<(String, String)> {
        let row: Json = serde_json::from_slice(record.value.as_deref()?).ok()?;
        let row = row.as_object().filter(|row| row.len() == COLUMNS)?;
        let text = |name: &str| match row.get(name)? {
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let data: Option<Vec<String>> = ALIKE.iter().map(|name| text(name)).collect();
        Some((text("id")?, data?.join(" ")))
    }
}
