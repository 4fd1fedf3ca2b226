//! Takes one value out of a text that holds several: a property of a Java properties file, a member of a JSON object.
//! Filters of templates use them for each row. A text enters, and the value is appended to a buffer of the caller.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Why a text is not what the filter takes values out of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// A `\u` of the property without four hexadecimal digits, or half of a surrogate pair.
    Property,
    /// What is wrong, without a piece of the text.
    Object(String),
}

/// Appends the value of a property; `false` where the text has none of this name. The last one counts where several
/// have it.
///
/// The format is that of `java.util.Properties.load`
/// (<https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>).
///
/// # Errors
/// An escape of the property cannot be read.
pub fn property(text: &str, name: &str, out: &mut String) -> Result<bool, Unreadable> {
    let start = out.len();
    let mut is_found = false;
    let mut rest = text;
    while let Some(line) = next_line(&mut rest) {
        let (key, value) = split_property(line);
        let value_at = out.len();
        // What cannot be read is no property of this name.
        let is_it = unescape(key, out).is_ok() && out[value_at..] == *name;
        out.truncate(value_at);
        if is_it {
            out.truncate(start);
            unescape(value, out)?;
            is_found = true;
        }
    }
    Ok(is_found)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Takes the next logical line: a backslash before the end of a line joins it to the next one. Blank lines and comments
/// are passed over.
fn next_line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    loop {
        let text = rest.trim_start_matches([' ', '\t', '\x0c', '\n', '\r']);
        let is_comment = text.starts_with(['#', '!']);
        let mut end = 0;
        loop {
            end += text[end..].find(['\n', '\r']).unwrap_or(text.len() - end);
            let backslashes = text[..end].bytes().rev().take_while(|byte| *byte == b'\\').count();
            if is_comment || backslashes.is_multiple_of(2) || end == text.len() {
                break;
            }
            end += if text[end..].starts_with("\r\n") { 2 } else { 1 };
        }
        *rest = &text[end..];
        if text.is_empty() {
            return None;
        }
        if !is_comment {
            return Some(&text[..end]);
        }
    }
}

/// Key and value of a logical line, as they are escaped: the first `=`, `:` or blank that has no backslash before it ends
/// the key.
fn split_property(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let ends_key = |c: char| {
        let ends = !is_escaped && (BLANKS.contains(&c) || matches!(c, '=' | ':'));
        is_escaped = c == '\\' && !is_escaped;
        ends
    };
    let (key, rest) = line.split_at(line.find(ends_key).unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str, out: &mut String) -> Result<(), Unreadable> {
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escaped.chars();
        match chars.next() {
            None => {}
            Some('u') => {
                rest = unescape_unicode(chars.as_str(), out)?;
                continue;
            }
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\x0c'),
            // The end of a line that goes on: neither it nor the blanks before the next are a part of the text.
            Some('\n') => chars = chars.as_str().trim_start_matches(BLANKS).chars(),
            Some('\r') => {
                let next = chars.as_str();
                let next = next.strip_prefix('\n').unwrap_or(next);
                chars = next.trim_start_matches(BLANKS).chars();
            }
            Some(other) => out.push(other),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    Ok(())
}

/// Appends the character of a `\u`, of which the digits come next: two of them where it is a surrogate pair. Returns what
/// is behind it.
fn unescape_unicode<'a>(digits: &'a str, out: &mut String) -> Result<&'a str, Unreadable> {
    let unit = |text: &str| {
        let digits = text.get(..4).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or(Unreadable::Property)
    };
    let first = unit(digits)?;
    let mut rest = &digits[4..];
    let mut units = [first, 0];
    let mut count = 1;
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = rest.strip_prefix("\\u")
    {
        units[1] = unit(second)?;
        (count, rest) = (2, &second[4..]);
    }
    for char in char::decode_utf16(units[..count].iter().copied()) {
        out.push(char.map_err(|_| Unreadable::Property)?);
    }
    Ok(rest)
}

/// Appends a member of a JSON object: a string as its text, anything else as JSON. `false` where the object has none of
/// this name, or null. The last one counts where several have it. A blank text counts as an object without members: some
/// writers leave it so where they have none.
///
/// # Errors
/// The text is no JSON object.
pub fn member(text: &str, name: &str, out: &mut String) -> Result<bool, Unreadable> {
    if text.trim().is_empty() {
        return Ok(false);
    }
    let mut read = || -> Result<bool, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let found = json.deserialize_map(MemberOf(name))?;
        json.end()?;
        match found.map(RawValue::get) {
            None | Some("null") => return Ok(false),
            Some(string) if string.starts_with('"') => {
                let mut json = serde_json::Deserializer::from_str(string);
                out.push_str(&Text.deserialize(&mut json)?);
            }
            Some(other) => out.push_str(other),
        }
        Ok(true)
    };
    read().map_err(|error| Unreadable::Object(describe(&error)))
}

/// What is wrong and where, without a piece of the text: row values stay out of logs.
pub fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Data => "it is another kind of value",
        _ => "the syntax is wrong",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

struct MemberOf<'n>(&'n str);

impl<'a> Visitor<'a> for MemberOf<'_> {
    type Value = Option<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key_seed(Text)? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A string, borrowed where it has no escapes.
pub struct Text;

impl<'a> DeserializeSeed<'a> for Text {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Cow<'a, str>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Text {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Found = Result<Option<String>, Unreadable>;

    fn found(take: fn(&str, &str, &mut String) -> Result<bool, Unreadable>, text: &str) -> Found {
        let mut out = "before".to_owned();
        let is_found = take(text, "a", &mut out)?;
        let taken = out.strip_prefix("before").expect("what was there stays").to_owned();
        Ok(is_found.then_some(taken))
    }

    fn some(text: &str) -> Found {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn a_property_is_found_as_java_finds_it() {
        for (text, value) in [
            ("a=1", some("1")),
            (
                "#a=0\n#Thu Jan 01 00:00:00 UTC 2026\na=00-4bf9-00f0-01\nb=2\n",
                some("00-4bf9-00f0-01"),
            ),
            ("b=2\r\na=1\r\n", some("1")),
            ("  a \t:  1 ", some("1 ")),
            ("a 1", some("1")),
            ("a= = 1", some("= 1")),
            ("a=x\\=y\\:z\\#\\!\\\\", some("x=y:z#!\\")),
            ("\\a=1", some("1")),
            ("\\u0061=1", some("1")),
            ("a=\\u00e9\\uD83D\\uDE00\\t|\\n|\\r|\\f|\\q", some("é😀\t|\n|\r|\x0c|q")),
            ("a=1\\\n   2\\\r\n\t3\nb=4", some("123")),
            ("# a comment goes not on\\\na=1", some("1")),
            ("! x\na=1", some("1")),
            ("b=x\\\\\na=1", some("1")),
            ("b=x\\\na=1", Ok(None)),
            ("a=1\na=2", some("2")),
            ("a=1\na", some("")),
            ("a", some("")),
            ("a=1\\", some("1")),
            ("b=\\uzzzz\na=1", some("1")),
            ("\\uzzzz=0\na=1", some("1")),
            ("aa=1\nA=2\na\\ b=3\n=4", Ok(None)),
            ("", Ok(None)),
            (" \n\t\r\n#", Ok(None)),
            ("a=\\u00e", Err(Unreadable::Property)),
            ("a=\\u+0e9", Err(Unreadable::Property)),
            ("a=\\uD83D", Err(Unreadable::Property)),
            ("a=\\uD83D\\u0041", Err(Unreadable::Property)),
        ] {
            assert_eq!(found(property, text), value, "{text:?}");
        }
    }

    #[test]
    fn a_member_is_a_text_or_json() {
        for (text, value) in [
            (r#"{"a": "x\"\u00e9"}"#, some("x\"é")),
            (r#"{"b": {"a": 1}, "a": 1.50}"#, some("1.50")),
            (r#"{"\u0061": true}"#, some("true")),
            (r#"{"a": [1, {"b": null}]}"#, some(r#"[1, {"b": null}]"#)),
            (r#"{"a": 1, "a": "2"}"#, some("2")),
            (r#"{"a": ""}"#, some("")),
            (r#"{"a": null}"#, Ok(None)),
            (r#"{"A": 1}"#, Ok(None)),
            ("{}", Ok(None)),
            (" \n", Ok(None)),
        ] {
            assert_eq!(found(member, text), value, "{text}");
        }
        for text in ["[]", "null", "\"a\"", "{\"a\": }", "{\"a\": 1} x", "{\"a\": 1", "{a: 1}"] {
            let Err(Unreadable::Object(_)) = found(member, text) else { panic!("{text}") };
        }
    }

    /// As `Properties.store` escapes a key or a value.
    fn stored(text: &str, is_key: bool) -> String {
        let mut stored = String::new();
        for (at, c) in text.chars().enumerate() {
            match c {
                ' ' if at == 0 || is_key => stored.push_str("\\ "),
                '\t' => stored.push_str("\\t"),
                '\n' => stored.push_str("\\n"),
                '\r' => stored.push_str("\\r"),
                '\x0c' => stored.push_str("\\f"),
                '=' | ':' | '#' | '!' | '\\' => stored.extend(['\\', c]),
                ' '..='~' => stored.push(c),
                _ => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        stored.push_str(&format!("\\u{unit:04X}"));
                    }
                }
            }
        }
        stored
    }

    proptest! {
        #[test]
        fn what_java_stores_is_found(
            properties in prop::collection::btree_map("[ab =:#!\\\\\\PC]{1,3}", "\\PC{0,9}|[ \\\\=:\n\r\t]{0,5}", 1..5),
        ) {
            let mut text = "#Thu Jan 01 00:00:00 UTC 2026\n".to_owned();
            for (key, value) in &properties {
                text.push_str(&format!("{}={}\n", stored(key, true), stored(value, false)));
            }
            for (key, value) in &properties {
                let mut out = String::new();
                prop_assert_eq!(property(&text, key, &mut out), Ok(true), "{}", text);
                prop_assert_eq!(&out, value);
            }
        }

        #[test]
        fn no_text_is_a_panic(text in "[a=:\\\\u0-9\n\r #!\\PC]{0,30}") {
            let _ = found(property, &text);
            let _ = found(member, &text);
        }

        #[test]
        fn members_are_those_that_serde_reads(object: std::collections::BTreeMap<String, String>) {
            let text = serde_json::to_string(&object).unwrap();
            for (name, value) in &object {
                let mut out = String::new();
                prop_assert_eq!(member(&text, name, &mut out), Ok(true));
                prop_assert_eq!(&out, value);
            }
        }
    }
}
