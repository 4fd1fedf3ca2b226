//! The values of a row for people and programs, whatever is known of its columns.

use crate::binlog::row::Cell;
use crate::binlog::table::{Column, ColumnKind};
use crate::binlog::value::{self, JsonOptions, push_base64};

/// A row as a JSON object of what was logged, in the order of the table.
pub fn row(columns: &[Column], cells: &[Cell<'_>]) -> String {
    let mut out = String::from("{");
    for (column, cell) in columns.iter().zip(cells) {
        if *cell == Cell::Absent {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::json!(column.name).to_string());
        out.push(':');
        push_value(column, *cell, &mut out);
    }
    out.push('}');
    out
}

/// Values that have no JSON are their bytes in base64: `{"base64":"…"}`.
fn push_value(column: &Column, cell: Cell<'_>, out: &mut String) {
    let Cell::Bytes(bytes) = cell else {
        out.push_str("null");
        return;
    };
    let start = out.len();
    if value::write_json(column, bytes, JsonOptions::default(), out).is_ok() {
        return;
    }
    out.truncate(start);
    // Without names in the binlog, nothing says what the values of an ENUM or SET stand for …
    if matches!(column.kind, ColumnKind::Enum { .. } | ColumnKind::Set { .. }) && bytes.len() <= 8 {
        let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        out.push_str(&number.to_string());
        return;
    }
    // … and from MySQL 5.7, nothing says the character set either.
    match std::str::from_utf8(bytes) {
        Ok(text) if column.kind.is_character() && column.charset.is_none() => {
            out.push_str(&serde_json::json!(text).to_string());
        }
        _ => {
            out.push_str("{\"base64\":\"");
            push_base64(out, bytes);
            out.push_str("\"}");
        }
    }
}
