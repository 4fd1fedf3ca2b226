//! JSON in templates: text as a string, and JSON text without spaces, as Kafka Connect's JsonConverter writes them.

use std::fmt::Write;

use serde_json::value::RawValue;

const TAKES_ALL: &str = "a string takes all that is written";

/// Appends a JSON string. Its writer (Jackson) escapes what must be, and characters above U+FFFF as two.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' | '\u{10000}'.. => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04X}").expect(TAKES_ALL);
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Appends JSON without the spaces between its tokens.
pub fn write_compact(json: &str, out: &mut String) {
    let (mut is_string, mut is_escaped) = (false, false);
    for c in json.chars() {
        if is_string {
            (is_string, is_escaped) = (is_escaped || c != '"', !is_escaped && c == '\\');
        } else if c == '"' {
            is_string = true;
        } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        out.push(c);
    }
}
