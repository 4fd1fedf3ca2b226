//! What a test wrote: every row with the content it was inserted with, and whether its transaction
//! was committed. A record is built from it by the rules of the presets alone, with none of the
//! relay's code, for the oracle to compare with what arrived.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use super::binlog::WrittenRow;

/// A row of an outbox table as it was inserted.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// Unique over all tables: the event's or message's id.
    pub id: String,
    pub table: String,
    pub content: Content,
    pub published: Option<i16>,
    /// Ascends per entity in the order of its commits.
    pub counter: u64,
}

#[derive(Debug, Clone)]
pub enum Content {
    Event {
        entity_type: String,
        entity_id: String,
        event_type: String,
        event_data: String,
        metadata: Option<String>,
    },
    Message {
        destination: String,
        /// In the order of the column; `PARTITION_ID` is the key.
        headers: Vec<(String, String)>,
        payload: String,
    },
}

/// The record that a committed row has to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub id: String,
    pub topic: String,
    pub key: String,
    pub value: String,
    pub counter: u64,
}

/// The rows of all writers of a test.
#[derive(Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    written: HashMap<String, OutboxRow>,
    committed: HashSet<String>,
}

impl OutboxRow {
    pub fn is_to_be_relayed(&self) -> bool {
        self.published.unwrap_or(0) == 0
    }

    /// The record that this row has to become when it stands at this place of the binlog.
    pub fn expected(&self, place: &WrittenRow) -> Expected {
        let (topic, key, value) = match &self.content {
            Content::Event { entity_type, entity_id, event_type, event_data, metadata } => {
                let metadata = metadata
                    .as_ref()
                    .map(|text| format!(r#","metadata":{}"#, json_string(text)))
                    .unwrap_or_default();
                let value = format!(
                    r#"{{"id":{},"entityId":{},"entityType":{},"eventData":{},"eventType":{},"binlogFileOffset":{{"binlogFilename":{},"offset":{},"rowsToSkip":{}}}{metadata}}}"#,
                    json_string(&self.id),
                    json_string(entity_id),
                    json_string(entity_type),
                    json_string(event_data),
                    json_string(event_type),
                    json_string(&place.place.file),
                    place.place.offset,
                    place.rows_to_skip,
                );
                (entity_type.replace('$', "_DLR_"), entity_id.clone(), value)
            }
            Content::Message { destination, headers, payload } => {
                let partition_id = headers.iter().find(|(name, _)| name == "PARTITION_ID");
                let key = partition_id.map_or_else(|| self.id.clone(), |(_, value)| value.clone());
                let value = format!(
                    r#"{{"payload":{},"headers":{}}}"#,
                    json_string(payload),
                    json_object(headers, ",", ":")
                );
                (destination.clone(), key, value)
            }
        };
        Expected { id: self.id.clone(), topic, key, value, counter: self.counter }
    }
}

impl Ledger {
    /// Notes a row before it is sent to the server.
    pub fn note_written(&self, row: OutboxRow) {
        let mut entries = self.entries.lock().expect("no writer panics while it notes a row");
        let previous = entries.written.insert(row.id.clone(), row);
        assert!(previous.is_none(), "two rows have one id");
    }

    pub fn note_committed(&self, ids: impl IntoIterator<Item = String>) {
        let mut entries = self.entries.lock().expect("no writer panics while it notes a row");
        entries.committed.extend(ids);
    }

    /// The records that have to be in Kafka, in the order of the binlog. `id_column` is the index of
    /// the id in every table.
    pub fn expected(&self, binlog: &[WrittenRow], id_column: usize) -> Vec<Expected> {
        let entries = self.entries.lock().expect("no writer panics while it notes a row");
        let tables: HashSet<&str> =
            entries.written.values().map(|row| row.table.as_str()).collect();
        let mut in_binlog = HashSet::new();
        let mut expected = Vec::new();
        for place in binlog.iter().filter(|place| tables.contains(place.table.as_str())) {
            let id = place.text(id_column);
            let Some(row) = entries.written.get(&id).filter(|row| row.table == place.table) else {
                panic!("{id} of {} is in the binlog and nobody wrote it", place.table);
            };
            assert!(entries.committed.contains(&id), "{id} is in the binlog without a commit");
            assert!(in_binlog.insert(id), "a row is in the binlog twice");
            if row.is_to_be_relayed() {
                expected.push(row.expected(place));
            }
        }
        let lost = entries.committed.difference(&in_binlog).count();
        assert_eq!(lost, 0, "committed rows are not in the binlog: the test reads it wrongly");
        expected
    }
}

/// Compact JSON of an object of strings, or with spaces in it where the separators have some.
pub fn json_object(members: &[(String, String)], comma: &str, colon: &str) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}{colon}{}", json_string(name), json_string(value)))
        .collect();
    format!("{{{}}}", members.join(comma))
}

/// A JSON string as Eventuate writes it: everything raw but `"`, `\` and control characters, the
/// latter by their short names or as `\u001F` with upper-case digits.
pub fn json_string(text: &str) -> String {
    let lower = serde_json::to_string(text).expect("a string is JSON");
    let mut upper = String::with_capacity(lower.len());
    let mut characters = lower.chars();
    while let Some(character) = characters.next() {
        upper.push(character);
        if character == '\\' {
            let escaped = characters.next().expect("an escape has a second character");
            upper.push(escaped);
            if escaped == 'u' {
                upper.extend(characters.by_ref().take(4).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    upper
}

#[cfg(test)]
mod tests {
    use super::json_string;

    #[test]
    fn json_strings_are_escaped_as_eventuate_does() {
        assert_eq!(json_string("a\"b\\c/\u{7f}\u{2028}😀"), "\"a\\\"b\\\\c/\u{7f}\u{2028}😀\"");
        assert_eq!(json_string("\u{0}\u{8}\u{c}\n\r\t\u{1f}"), r#""\u0000\b\f\n\r\t\u001F""#);
        assert_eq!(json_string("\\u001f"), r#""\\u001f""#);
    }
}
