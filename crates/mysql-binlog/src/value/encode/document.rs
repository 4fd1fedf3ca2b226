//! The text of a JSON document → the binary format of a JSON column, as [`json`](super::super::super::json) reads it.
//!
//! Keys are ordered as the server orders them, by length and then by bytes; of two equal ones the last wins. A number is
//! stored as what prints the same digits again: an integer, a DOUBLE, or a DECIMAL.
//!
//! Format: `json_binary.h` of the MySQL source.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::super::super::json::{
    self, DECIMAL_TYPE, DEPTH_MAX, DOUBLE, INT16, INT32, INT64, LARGE_ARRAY, LARGE_OBJECT, LITERAL,
    OPAQUE, SMALL_ARRAY, SMALL_OBJECT, STRING, Style, UINT64,
};
use super::super::super::text::push_base64_lines;
use super::{Misfit, from_base64, number};

const NO_JSON: Misfit = Misfit::Document("it is no JSON");
const TOO_DEEP: Misfit = Misfit::Document("its arrays and objects nest deeper than 100");
const TOO_LARGE: Misfit = Misfit::Document("it takes 4 GiB or more");

/// The document whose text a server of MySQL 5.7 or later prints so. 5.7 prints raw line feeds into long binary values.
pub(super) fn encode_text(text: &str) -> Result<Vec<u8>, Misfit> {
    match encode(text) {
        Err(_) if text.contains('\n') => encode(&text.replace('\n', "\\n")),
        encoded => encoded,
    }
}

/// The document of this JSON.
pub(super) fn encode(json: &str) -> Result<Vec<u8>, Misfit> {
    let raw: &RawValue = serde_json::from_str(json).map_err(|_| NO_JSON)?;
    let value = value(raw.get(), 0)?;
    let mut document = vec![value.kind];
    document.extend_from_slice(&value.bytes);
    Ok(document)
}

/// A part of a document.
struct Part {
    kind: u8,
    bytes: Vec<u8>,
}

impl Part {
    /// It stands in its container's entry, where an entry's number has this width, and not behind the entries.
    fn is_inlined(&self, width: usize) -> bool {
        match self.kind {
            LITERAL | INT16 => true,
            INT32 => width == 4,
            _ => false,
        }
    }
}

fn value(json: &str, depth: usize) -> Result<Part, Misfit> {
    let of = |kind, bytes: &[u8]| Ok(Part { kind, bytes: bytes.to_vec() });
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = parsed(json)?;
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(one, _), (other, _)| {
                (one.len(), one.as_bytes()).cmp(&(other.len(), other.as_bytes()))
            });
            let (keys, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            container(Some(&keys), &values, depth + 1)
        }
        Some(b'[') => container(None, &parsed::<Vec<&RawValue>>(json)?, depth + 1),
        Some(b'"') => string(&parsed::<String>(json)?),
        Some(b'n') => of(LITERAL, &[0]),
        Some(b't') => of(LITERAL, &[1]),
        Some(b'f') => of(LITERAL, &[2]),
        _ => numeral(json),
    }
}

fn parsed<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Result<T, Misfit> {
    serde_json::from_str(json).map_err(|_| NO_JSON)
}

/// An array, or with keys an object: small, or large where the small format has no room.
fn container(keys: Option<&[String]>, values: &[&RawValue], depth: usize) -> Result<Part, Misfit> {
    if depth > DEPTH_MAX {
        return Err(TOO_DEEP);
    }
    let values = values.iter().map(|value| self::value(value.get(), depth));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let (small, large) = match keys {
        Some(_) => (SMALL_OBJECT, LARGE_OBJECT),
        None => (SMALL_ARRAY, LARGE_ARRAY),
    };
    for (kind, width) in [(small, 2), (large, 4)] {
        if let Some(bytes) = laid_out(keys, &values, width) {
            return Ok(Part { kind, bytes });
        }
    }
    Err(TOO_LARGE)
}

/// The bytes of a container; `None` where a number in it takes more than `width` bytes.
fn laid_out(keys: Option<&[String]>, values: &[Part], width: usize) -> Option<Vec<u8>> {
    let keys = keys.unwrap_or_default();
    let number = |number: usize| {
        let bytes = u32::try_from(number).ok()?.to_le_bytes();
        bytes[width..].iter().all(|byte| *byte == 0).then(|| bytes[..width].to_vec())
    };
    let header = 2 * width + keys.len() * (width + 2) + values.len() * (width + 1);
    let mut entries = Vec::with_capacity(header);
    let mut behind = Vec::new();
    for key in keys {
        entries.extend(number(header + behind.len())?);
        entries.extend(u16::try_from(key.len()).ok()?.to_le_bytes());
        behind.extend_from_slice(key.as_bytes());
    }
    for value in values {
        entries.push(value.kind);
        if value.is_inlined(width) {
            let sign = match value.bytes.last() {
                Some(0x80..) => 0xff,
                _ => 0,
            };
            let start = entries.len();
            entries.extend_from_slice(&value.bytes);
            entries.resize(start + width, sign);
        } else {
            entries.extend(number(header + behind.len())?);
            behind.extend_from_slice(&value.bytes);
        }
    }
    let mut bytes = number(values.len())?;
    bytes.extend(number(header + behind.len())?);
    bytes.extend(entries);
    bytes.extend(behind);
    Some(bytes)
}

/// A length of seven bits a byte, the lowest first, and what is so long.
fn sized(bytes: &[u8]) -> Result<Vec<u8>, Misfit> {
    let mut length = u32::try_from(bytes.len()).map_err(|_| TOO_LARGE)?;
    let mut sized = Vec::with_capacity(bytes.len() + 5);
    while length > 0x7f {
        sized.push(0x80 | length as u8);
        length >>= 7;
    }
    sized.push(length as u8); // seven bits
    sized.extend_from_slice(bytes);
    Ok(sized)
}

fn string(text: &str) -> Result<Part, Misfit> {
    match opaque_string(text) {
        Some((column_type, bytes)) => opaque(column_type, &bytes),
        None => Ok(Part { kind: STRING, bytes: sized(text.as_bytes())? }),
    }
}

/// What `base64:type15:AAEC` stands for: a binary value of a column type.
fn opaque_string(text: &str) -> Option<(u8, Vec<u8>)> {
    let (column_type, base64) = text.strip_prefix("base64:type")?.split_once(':')?;
    let bytes = from_base64(base64)?;
    let number: u8 = column_type.parse().ok()?;
    let mut again = format!("base64:type{number}:");
    push_base64_lines(&mut again, &bytes, "\n");
    // Decimals, dates and times have a text of their own.
    (again == text && !matches!(number, 7 | 10 | 11 | 12 | DECIMAL_TYPE)).then_some((number, bytes))
}

fn opaque(column_type: u8, value: &[u8]) -> Result<Part, Misfit> {
    let mut bytes = vec![column_type];
    bytes.extend(sized(value)?);
    Ok(Part { kind: OPAQUE, bytes })
}

fn numeral(digits: &str) -> Result<Part, Misfit> {
    let of = |kind, bytes: &[u8]| Ok(Part { kind, bytes: bytes.to_vec() });
    if let Ok(number) = digits.parse::<i64>()
        && digits != "-0"
    {
        return match (i16::try_from(number), i32::try_from(number)) {
            (Ok(number), _) => of(INT16, &number.to_le_bytes()),
            (_, Ok(number)) => of(INT32, &number.to_le_bytes()),
            _ => of(INT64, &number.to_le_bytes()),
        };
    }
    if let Ok(number) = digits.parse::<u64>() {
        return of(UINT64, &number.to_le_bytes());
    }
    let double: f64 = digits.parse().map_err(|_| NO_JSON)?;
    let is_same = |style| {
        let printed = json::text(&[&[DOUBLE][..], &double.to_le_bytes()].concat(), style);
        printed.is_ok_and(|printed| printed == digits)
    };
    if !is_same(Style::V8_0) && !is_same(Style::V5_7) {
        if let Some(decimal) = decimal(digits)? {
            return Ok(decimal);
        }
        if !double.is_finite() {
            return Err(Misfit::Document("it has a number that no server stores"));
        }
    }
    of(DOUBLE, &double.to_le_bytes())
}

/// A DECIMAL of these very digits; `None` where there is none.
fn decimal(digits: &str) -> Result<Option<Part>, Misfit> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let lengths = (u8::try_from(whole.len()), u8::try_from(fraction.len()));
    let (Ok(whole), Ok(scale @ 0..=30)) = lengths else { return Ok(None) };
    let Some(precision @ ..=65) = whole.checked_add(scale) else { return Ok(None) };
    let Ok(packed) = number::decimal((precision, scale), None, digits) else { return Ok(None) };
    let mut value = vec![precision, scale];
    value.extend(packed);
    opaque(DECIMAL_TYPE, &value).map(Some)
}
