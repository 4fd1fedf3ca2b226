//! The text or JSON of a value → the bytes that the binlog has for it: the inverse of [`write_text`](super::write_text)
//! and [`write_json`](super::write_json), for rows that do not come from a binlog.
//!
//! What was encoded is written as the same text and the same JSON again. Bytes and text may differ from what the server
//! would make of an INSERT: nothing is rounded, cut off or replaced. What does not fit is an [`EncodeError`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::super::charset::Charset;
use super::super::table::{Column, ColumnKind};
use super::{BinaryFormat, JsonOptions};

mod document;
mod error;
mod number;
mod row;
mod temporal;
#[cfg(test)]
mod tests;

pub use self::error::{EncodeError, Misfit};
pub use self::row::{EncodedRow, RowError, row_from_json};

/// The bytes of a value of which this is the [text](super::write_text). The text of a binary type is base64.
///
/// # Errors
/// The column has no such value.
pub fn encode_text(column: &Column, text: &str) -> Result<Vec<u8>, EncodeError> {
    encode(column, text, BinaryFormat::Base64).map_err(|misfit| misfit.of(column, text))
}

/// The bytes of a value of which this is the [JSON](super::write_json), written as `options` say. A DECIMAL may be a
/// string or a number, whatever they say. `None`: the JSON is null, and the value NULL.
///
/// `{"base64":"…"}` stands for the bytes themselves, in a column of any type but JSON: for values that have no JSON.
///
/// Beyond what [`write_json`](super::write_json) writes: numbers may be strings of digits, integers `true` or `false`,
/// and text columns take numbers as their text.
///
/// # Errors
/// The column has no such value.
pub fn encode_json(
    column: &Column,
    json: &RawValue,
    options: JsonOptions,
) -> Result<Option<Vec<u8>>, EncodeError> {
    let json = json.get();
    let of_json = |encoded: Result<Vec<u8>, Misfit>| match encoded {
        Ok(bytes) => Ok(Some(bytes)),
        Err(misfit) => Err(misfit.of(column, json)),
    };
    match (column.kind, json.as_bytes().first()) {
        // NULL and the document null are written alike.
        (ColumnKind::Json { .. }, Some(b'n')) if !column.nullable => {
            of_json(document::encode(json))
        }
        (_, Some(b'n')) if column.nullable => Ok(None),
        (_, Some(b'n')) => of_json(Err(Misfit::NotNull)),
        (ColumnKind::Json { .. }, _) => of_json(document::encode(json)),
        (_, Some(b'"')) => {
            let text = serde_json::from_str::<String>(json).map_err(|_| Misfit::NoValue);
            of_json(text.and_then(|text| encode(column, &text, options.binary)))
        }
        (ColumnKind::Vector { .. }, Some(b'[')) => of_json(number::vector(json)),
        (kind, Some(b't')) if kind.is_integer() => of_json(encode(column, "1", options.binary)),
        (kind, Some(b'f')) if kind.is_integer() => of_json(encode(column, "0", options.binary)),
        (_, Some(b'-' | b'0'..=b'9')) if !super::is_binary(column) => {
            of_json(encode(column, json, options.binary))
        }
        (_, Some(b'{')) => of_json(bytes_of_object(json)),
        _ => of_json(Err(Misfit::NoValue)),
    }
}

/// `{"base64":"…"}` has the bytes of the binlog, for a value that has no JSON.
fn bytes_of_object(json: &str) -> Result<Vec<u8>, Misfit> {
    let object: BTreeMap<String, String> =
        serde_json::from_str(json).map_err(|_| Misfit::NoValue)?;
    let text = object.get("base64").filter(|_| object.len() == 1).ok_or(Misfit::NoValue)?;
    from_base64(text).ok_or(Misfit::NotEncoded(BinaryFormat::Base64))
}

/// The bytes of a value that a server has answered: text and bytes as they are stored, the numbers of BIT, ENUM and SET,
/// and the text of any other type.
pub(crate) fn encode_selected(column: &Column, answer: Vec<u8>) -> Result<Vec<u8>, EncodeError> {
    let is_stored_so = super::is_binary(column)
        || column.kind.is_character()
        || matches!(column.kind, ColumnKind::Vector { .. });
    if is_stored_so {
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(&answer);
    match column.kind {
        ColumnKind::Enum { bytes } | ColumnKind::Set { bytes } => text
            .parse()
            .map(|number| little_endian(number, bytes))
            .map_err(|_| Misfit::NoValue.of(column, &text)),
        _ => encode_text(column, &text),
    }
}

fn encode(column: &Column, text: &str, binary: BinaryFormat) -> Result<Vec<u8>, Misfit> {
    if super::is_binary(column) {
        let bytes = match binary {
            BinaryFormat::Base64 => from_base64(text),
            BinaryFormat::Hex => from_hex(text),
        };
        return fitting(column, bytes.ok_or(Misfit::NotEncoded(binary))?);
    }
    let unsigned = column.unsigned;
    match column.kind {
        ColumnKind::VarChar { .. } | ColumnKind::Char { .. } | ColumnKind::Blob { .. } => {
            let is_known = |charset: &Charset| !matches!(charset, Charset::Unknown(_));
            let charset = column.charset.filter(is_known).ok_or(Misfit::UnknownCharset)?;
            fitting(column, charset.encode(text).map_err(Misfit::Character)?.into_owned())
        }
        ColumnKind::Tiny
        | ColumnKind::Short
        | ColumnKind::Int24
        | ColumnKind::Long
        | ColumnKind::LongLong => number::integer(column.kind, unsigned, text),
        ColumnKind::Bit { bits } => number::bit(bits, text),
        ColumnKind::Year => number::year(text),
        ColumnKind::Float => number::float(unsigned, text),
        ColumnKind::Double => number::double(unsigned, text),
        ColumnKind::Decimal { precision, scale } => {
            number::decimal((precision, scale), unsigned, text)
        }
        ColumnKind::Vector { .. } => number::vector(text),
        ColumnKind::Enum { bytes } => enum_number(column, text).map(|it| little_endian(it, bytes)),
        ColumnKind::Set { bytes } => set_number(column, text).map(|it| little_endian(it, bytes)),
        ColumnKind::Json { .. } => document::encode_text(text),
        ColumnKind::Date => temporal::date(text),
        ColumnKind::Time => temporal::old_time(text),
        ColumnKind::Time2 { fraction } => temporal::time(text, fraction),
        ColumnKind::DateTime => temporal::old_datetime(text),
        ColumnKind::DateTime2 { fraction } => temporal::datetime(text, fraction),
        ColumnKind::Timestamp => temporal::timestamp(text, 0, u32::to_le_bytes),
        ColumnKind::Timestamp2 { fraction } => {
            temporal::timestamp(text, fraction, u32::to_be_bytes)
        }
        // A GEOMETRY is binary.
        ColumnKind::TypedArray | ColumnKind::Geometry { .. } => Err(Misfit::Unsupported),
    }
}

/// The lowest bytes of a number, the lowest first.
fn little_endian(number: u64, bytes: u8) -> Vec<u8> {
    number.to_le_bytes()[..usize::from(bytes.min(8))].to_vec()
}

/// Fails when the column has no room for so many bytes.
fn fitting(column: &Column, bytes: Vec<u8>) -> Result<Vec<u8>, Misfit> {
    let max = match column.kind {
        ColumnKind::VarChar { bytes_max } | ColumnKind::Char { bytes_max } => u64::from(bytes_max),
        ColumnKind::Blob { length_bytes } | ColumnKind::Geometry { length_bytes } => {
            (1 << (8 * u32::from(length_bytes.min(4)))) - 1
        }
        _ => u64::MAX,
    };
    if bytes.len() as u64 > max {
        return Err(Misfit::Long { length: bytes.len(), max });
    }
    Ok(bytes)
}

/// Values count from 1. The empty text is also the one of 0, which the server stores for an invalid value.
fn enum_number(column: &Column, text: &str) -> Result<u64, Misfit> {
    match member(column, text) {
        Some(index) => Ok(index as u64 + 1),
        None if text.is_empty() => Ok(0),
        None => Err(unknown_member(column, text)),
    }
}

/// One bit a member. The empty text is the one of no member, too.
fn set_number(column: &Column, text: &str) -> Result<u64, Misfit> {
    if text.is_empty() && column.values.is_some() {
        return Ok(0);
    }
    text.split(',').try_fold(0, |number, name| match member(column, name) {
        Some(index @ 0..64) => Ok(number | 1 << index),
        _ => Err(unknown_member(column, name)),
    })
}

fn member(column: &Column, name: &str) -> Option<usize> {
    column.values.as_ref()?.iter().position(|value| value.as_deref() == Some(name))
}

fn unknown_member(column: &Column, name: &str) -> Misfit {
    let known = column.values.iter().flatten();
    let known = known.map(|value| value.clone().unwrap_or_else(|| "?".to_owned())).collect();
    Misfit::Member { name: name.to_owned(), known }
}

/// Of base64 with padding, in one line or several.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let text: Cow<'_, str> = match text.contains('\n') {
        true => text.replace('\n', "").into(),
        false => text.into(),
    };
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(&text);
    if !text.len().is_multiple_of(4) || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.as_bytes().chunks(4) {
        let mut number = 0_u32;
        for place in 0..4 {
            let digit = group.get(place).map_or(Some(0), |byte| digit(*byte))?;
            number = number << 6 | u32::from(digit);
        }
        bytes.extend_from_slice(&number.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}
