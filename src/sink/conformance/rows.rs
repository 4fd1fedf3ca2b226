//! The rows that the checks relay: what each is follows from its number.

use binlog_relay::batch::{Batch, DestinationId, Parts, write_header};
use binlog_relay::telemetry::clock::CommitTime;

use super::SeenRecord;

/// Destinations of the rows.
pub const DESTINATIONS: usize = 2;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Index of the destination.
    pub destination: usize,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    /// The row of this number: some of each kind have no key, an empty one, no value, an empty one, and headers.
    pub fn of(sequence: u64) -> Row {
        let key = match sequence % 9 {
            0 => None,
            1 => Some(Vec::new()),
            key => Some(format!("key-{}", key % 5).into_bytes()),
        };
        let value = match sequence % 11 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("row {sequence}").into_bytes()),
        };
        let headers = if sequence.is_multiple_of(5) { Self::headers(sequence) } else { Vec::new() };
        Row { destination: (sequence / 2) as usize % DESTINATIONS, key, value, headers }
    }

    fn headers(sequence: u64) -> Vec<(String, Option<Vec<u8>>)> {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        vec![
            ("kind".to_owned(), text("order")),
            ("nothing".to_owned(), None),
            ("empty".to_owned(), text("")),
            // A name may come again, be empty, and be of any characters.
            ("kind".to_owned(), text(&sequence.to_string())),
            (String::new(), text("no name")),
            ("größe".to_owned(), Some(vec![0, 255, 0])),
        ]
    }

    pub fn push(&self, batch: &mut Batch, id: DestinationId, is_found: bool) {
        let draft = batch.draft();
        draft.extend_from_slice(self.key.as_deref().unwrap_or_default());
        draft.extend_from_slice(self.value.as_deref().unwrap_or_default());
        for (name, value) in &self.headers {
            write_header(draft, name, value.as_deref());
        }
        let (key_len, value_len) =
            (self.key.as_ref().map(Vec::len), self.value.as_ref().map(Vec::len));
        let (parts, at) =
            (Parts { key_len, value_len, ..Parts::default() }, CommitTime::from_seconds(0));
        if is_found {
            batch.push_found_parts(id, parts, at);
        } else {
            batch.push_parts(id, parts, at);
        }
    }

    /// What a consumer sees is this row.
    pub fn is_seen_as(&self, seen: &SeenRecord) -> bool {
        self.key == seen.key && self.value == seen.value && self.headers == seen.headers
    }
}
