//! Rows that are written one by one while the relay runs, numbered so that each record says which row it is.

use std::sync::LazyLock;

use crate::load::{ENTITIES, EVENT_TYPE, ID_PREFIX, narrow_notes};
use harness::ledger::{Content, OutboxRow};

/// Enough that neighbours differ; made once, so that the writers do not pay for it.
static NOTES: LazyLock<Vec<String>> = LazyLock::new(|| narrow_notes(256));

/// Row `number`, of about 330 bytes.
pub fn event(number: usize, topic: &str) -> OutboxRow {
    OutboxRow {
        id: id_of(number),
        table: "events".to_owned(),
        content: Content::Event {
            entity_type: topic.to_owned(),
            entity_id: key_of(number),
            event_type: EVENT_TYPE.to_owned(),
            event_data: data_of(number),
            metadata: None,
        },
        published: Some(0),
        counter: 0,
    }
}

/// Key and value of a record as the relay makes it of the row, for who writes to Kafka without a relay.
pub fn record(number: usize, topic: &str) -> (String, String) {
    let (id, key, data) = (id_of(number), key_of(number), data_of(number).replace('"', r#"\""#));
    let value = format!(
        r#"{{"id":"{id}","entityId":"{key}","entityType":"{topic}","eventData":"{data}","eventType":"{EVENT_TYPE}","#
    );
    let place = format!(
        r#""binlogFileOffset":{{"binlogFilename":"binlog.000001","offset":{number},"rowsToSkip":0}}}}"#
    );
    (key, value + &place)
}

/// The number in the id that every value begins with.
pub fn number_in(value: &[u8]) -> Option<usize> {
    let id = value.strip_prefix(br#"{"id":""#)?.strip_prefix(ID_PREFIX.as_bytes())?.get(..16)?;
    usize::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()
}

fn key_of(number: usize) -> String {
    format!("order-{}", number as u64 % ENTITIES)
}

fn id_of(number: usize) -> String {
    format!("{ID_PREFIX}{number:016x}")
}

fn data_of(number: usize) -> String {
    format!(r#"{{"number":{number},"note":"{}"}}"#, NOTES[number % NOTES.len()])
}
