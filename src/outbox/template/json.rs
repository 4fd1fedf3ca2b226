//! JSON in templates: text as a string, and JSON text without spaces, as Kafka Connect's JsonConverter writes them.

use std::fmt::Write;

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

/// Whether a text is JSON (RFC 8259), nested no deeper than Jackson reads it. Nothing is allocated, as it is asked of each
/// row.
pub fn is_json(text: &str) -> bool {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    scanner.document().is_some() && scanner.at == text.len()
}

/// Jackson's limit.
const DEPTH_MAX: usize = 1000;

/// Each method passes over what it is called, or answers `None`.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Option<()> {
        // Which of the open brackets are those of objects, a bit each.
        let (mut objects, mut depth) = ([0u64; DEPTH_MAX.div_ceil(64)], 0usize);
        loop {
            self.space();
            let is_object = match self.peek()? {
                b'{' => true,
                b'[' => false,
                _ => {
                    self.scalar()?;
                    self.close(&objects, &mut depth)?;
                    if depth == 0 {
                        return Some(());
                    }
                    continue;
                }
            };
            self.at += 1;
            if depth == DEPTH_MAX {
                return None;
            }
            let (word, bit) = (depth / 64, 1 << (depth % 64));
            objects[word] = if is_object { objects[word] | bit } else { objects[word] & !bit };
            depth += 1;
            self.space();
            match self.peek()? {
                b'}' if is_object => {}
                b']' if !is_object => {}
                _ if is_object => {
                    self.name()?;
                    continue;
                }
                _ => continue,
            }
            self.at += 1;
            depth -= 1;
            self.close(&objects, &mut depth)?;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// What follows a value: brackets that close, then a comma where something is open.
    fn close(&mut self, objects: &[u64], depth: &mut usize) -> Option<()> {
        loop {
            self.space();
            if *depth == 0 {
                return Some(());
            }
            let is_object = objects[(*depth - 1) / 64] & (1 << ((*depth - 1) % 64)) != 0;
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b',' if is_object => return self.name(),
                b',' => return Some(()),
                b'}' if is_object => {}
                b']' if !is_object => {}
                _ => return None,
            }
            *depth -= 1;
        }
    }

    fn name(&mut self) -> Option<()> {
        self.space();
        self.string()?;
        self.space();
        self.byte(b':')
    }

    fn scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn string(&mut self) -> Option<()> {
        self.byte(b'"')?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                0..=0x1f => return None,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let is_it = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        is_it.then_some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        let is_it = self.peek()? == byte;
        self.at += 1;
        is_it.then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_may_be_as_deep_as_jackson_reads_it() {
        let nested =
            |depth: usize| format!("{}1{}", "[{\"a\":".repeat(depth / 2), "}]".repeat(depth / 2));
        assert!(is_json(&nested(DEPTH_MAX)));
        assert!(!is_json(&nested(DEPTH_MAX + 2)));
        for text in [
            "",
            " ",
            "{",
            "[1",
            "1 2",
            "01",
            "1.",
            "-",
            "{\"a\"}",
            "[,]",
            "\"\\x\"",
            "nul",
            "\"\u{1}\"",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }

    proptest! {
        /// serde_json is of the same opinion.
        #[test]
        fn json_is_told_from_other_text(text in r#"([\[\]{},:]|"a"|"\\\\u00e9"|"\\\\"|[-+.0-9eE]|true|null| |\n){0,14}"#) {
            let expected = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(is_json(&text), expected);
        }

        #[test]
        fn a_document_is_json(depth in 0usize..40, seed: u64) {
            let mut value = serde_json::json!(seed);
            for level in 0..depth {
                value = match (seed >> (level % 60)) & 3 {
                    0 => serde_json::json!([value, []]),
                    1 => serde_json::json!({"k": value, "e": {}}),
                    2 => serde_json::json!([1.5, value]),
                    _ => serde_json::json!({"n": null, "v": value}),
                };
            }
            prop_assert!(is_json(&value.to_string()));
            prop_assert!(is_json(&serde_json::to_string_pretty(&value).unwrap()));
        }
    }
}
