//! Eventuate's own table, which every scene has. Both peers make JSON of the same fields.

use serde_json::Value as Json;

use super::Shape;
use harness::consumer::Record;
use harness::relay::Outbox;
use harness::scene::{EVENTUATE_LOCAL, Scene};
use harness::workload::insert_event;

pub struct Eventuate;

pub const EVENTUATE: Eventuate = Eventuate;
const TABLE: &str = "events";

impl Shape for Eventuate {
    fn create(&self, _scene: &Scene) {}

    fn topic(&self, scene: &Scene) -> String {
        scene.topic("event")
    }

    fn relay_outbox(&self, scene: &Scene) -> Outbox {
        scene.outbox(TABLE, EVENTUATE_LOCAL)
    }

    fn debezium_settings(&self, scene: &Scene) -> String {
        let settings = include_str!("../debezium/eventuate-connector.properties");
        let table = format!("{}.{TABLE}", scene.name);
        format!(
            "{settings}\ntable.include.list={table}\n\
             column.exclude.list={table}.triggering_event,{table}.published\n"
        )
    }

    fn first_topic(&self, scene: &Scene, label: &str) -> String {
        scene.topic(label)
    }

    fn first_row(&self, scene: &Scene, label: &str, number: u32) -> String {
        let topic = self.first_topic(scene, label);
        insert_event(&format!("{topic}-{number}"), "'{}'", &topic)
    }

    fn written(&self, scene: &Scene) -> String {
        let topic = self.topic(scene);
        format!("SELECT event_id, entity_id, event_data FROM {TABLE} WHERE entity_type = '{topic}'")
    }

    /// The relay names the data as Eventuate does, Debezium's router always calls it payload.
    fn id_and_data(&self, record: &Record) -> Option<(String, String)> {
        let value: Json = serde_json::from_slice(record.value.as_deref()?).ok()?;
        let data = value.get("eventData").or_else(|| value.get("payload"))?;
        Some((value["id"].as_str()?.to_owned(), data.as_str()?.to_owned()))
    }
}
