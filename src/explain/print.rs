//! What rows would become, as text for people or as JSON for programs.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::describe::{self, Origin};
use super::record::{Explained, Partition, Record, Shown};
use super::{OfRow, OfTable};
use crate::telemetry::clock::iso_8601_of_millis;

const TAKES_ALL: &str = "a string takes all that is written";

/// For people.
#[must_use]
pub fn to_text(tables: &[OfTable]) -> String {
    let mut text = String::new();
    for of in tables {
        write_table(of, &mut text);
    }
    text
}

fn write_table(of: &OfTable, text: &mut String) {
    let mut line = |words: std::fmt::Arguments<'_>| {
        text.write_fmt(words).expect(TAKES_ALL);
        text.push('\n');
    };
    line(format_args!(
        "{}: preset {}, by [[outbox]] {}",
        of.table, of.outbox.preset, of.outbox.table
    ));
    for Origin { part, from, by } in describe::origins(&of.outbox) {
        line(format_args!("  {part:<16} {}  ({by})", printable(&from)));
    }
    for note in &of.notes {
        line(format_args!("  note: {}", printable(note)));
    }
    match &of.rows {
        Err(shown) => write_error(shown, text),
        Ok(rows) => rows.iter().for_each(|row| write_row(row, text)),
    }
    text.push('\n');
}

/// A row and what it would become.
pub(crate) fn write_row(row: &OfRow, text: &mut String) {
    writeln!(text, "\n  row {}", printable(&row.name)).expect(TAKES_ALL);
    write_explained(&row.explained, text);
}

pub(crate) fn write_explained(explained: &Explained, text: &mut String) {
    let record = match explained {
        Explained::LeftOut(why) => {
            writeln!(text, "    left out by {why}").expect(TAKES_ALL);
            return;
        }
        Explained::Error(shown) => return write_error(shown, text),
        Explained::Record(record) => record,
    };
    let mut line = |name: &str, value: String| {
        writeln!(text, "    {name:<10} {value}").expect(TAKES_ALL);
    };
    line("topic", record.topic.clone());
    line("key", shown_bytes(record.key.as_deref()));
    line("partition", partition(record));
    line(
        "timestamp",
        match record.timestamp {
            Some(millis) => format!("{millis} ({})", iso_8601_of_millis(millis)),
            None => "the time of sending".to_owned(),
        },
    );
    for (name, value) in &record.headers {
        line("header", format!("{}: {}", printable(name), shown_bytes(value.as_deref())));
    }
    line("value", shown_bytes(record.value.as_deref()));
}

fn write_error(shown: &Shown, text: &mut String) {
    writeln!(text, "    error: {}", shown.message).expect(TAKES_ALL);
    if let Some(hint) = &shown.hint {
        writeln!(text, "    hint: {hint}").expect(TAKES_ALL);
    }
}

fn partition(record: &Record) -> String {
    match record.partition {
        Partition::OfKey => "murmur2 of the key, modulo the number of partitions".to_owned(),
        Partition::Number(number) => format!("{number}, modulo the number of partitions"),
        Partition::OfSequence => {
            "the row's sequence number, modulo the number of partitions".to_owned()
        }
    }
}

fn shown_bytes(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "NULL".to_owned(),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok("") => "(empty)".to_owned(),
            Ok(text) => printable(text),
            Err(_) => {
                format!("{} (base64 of {} bytes, which are no text)", base64(bytes), bytes.len())
            }
        },
    }
}

/// Without what a terminal would take for a command.
pub(crate) fn printable(text: &str) -> String {
    let is_printable = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) {
            printable.push(c);
        } else {
            printable.extend(c.escape_unicode());
        }
    }
    printable
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    crate::binlog::value::push_base64(&mut text, bytes);
    text
}

/// For programs: an array of an object for each row, and for each table that does not fit or has no rows.
#[must_use]
pub fn to_json(tables: &[OfTable]) -> String {
    let mut all = Vec::new();
    for of in tables {
        let mut table = Map::new();
        table.insert("table".to_owned(), json!(of.table));
        table.insert("preset".to_owned(), json!(of.outbox.preset.as_str()));
        table.insert("plan".to_owned(), json!(describe::origins(&of.outbox)));
        table.insert("notes".to_owned(), json!(of.notes));
        match &of.rows {
            Err(shown) => {
                table.extend(error_json(shown));
                all.push(Json::Object(table));
            }
            Ok(rows) if rows.is_empty() => all.push(Json::Object(table)),
            Ok(rows) => all.extend(rows.iter().map(|row| {
                let mut object = table.clone();
                object.insert("row".to_owned(), json!(row.name));
                object.extend(explained_json(&row.explained));
                Json::Object(object)
            })),
        }
    }
    Json::Array(all).to_string()
}

fn error_json(shown: &Shown) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("error".to_owned(), json!(shown.message));
    object.insert("hint".to_owned(), json!(shown.hint));
    object
}

/// `record`, `leftOut`, or `error` and `hint`.
pub(crate) fn explained_json(explained: &Explained) -> Map<String, Json> {
    let mut object = Map::new();
    match explained {
        Explained::Error(shown) => return error_json(shown),
        Explained::LeftOut(why) => drop(object.insert("leftOut".to_owned(), json!(why))),
        Explained::Record(record) => drop(object.insert("record".to_owned(), record_json(record))),
    }
    object
}

fn record_json(record: &Record) -> Json {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": bytes_json(value.as_deref()) }))
        .collect();
    json!({
        "topic": record.topic,
        "key": bytes_json(record.key.as_deref()),
        "partition": match record.partition {
            Partition::OfKey => json!({ "by": "key" }),
            Partition::Number(number) => json!({ "by": "template", "number": number.to_string() }),
            Partition::OfSequence => json!({ "by": "sequence" }),
        },
        "timestamp": record.timestamp,
        "headers": headers,
        "value": bytes_json(record.value.as_deref()),
    })
}

/// Text as a string, other bytes as `{"base64":…}`.
fn bytes_json(bytes: Option<&[u8]>) -> Json {
    match bytes {
        None => Json::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": base64(bytes) }),
        },
    }
}
