//! One column's bytes → text, JSON, raw bytes or a number.
//!
//! | function | binary types | other types |
//! |---|---|---|
//! | [`write_text`] | base64 | the text of `CAST(column AS CHAR)` in a session with `time_zone = '+00:00'` |
//! | [`write_bytes`] | as they are | the same text |
//! | [`write_json`] | base64 or hex, in quotes | a JSON value |
//! | [`text`] | as UTF-8, or an error | the same text, borrowed from the event where it is UTF-8 there |
//!
//! Binary types are BINARY, VARBINARY, BLOB and GEOMETRY. The writers append to a buffer of the caller and allocate
//! nothing, except to convert text of another character set than UTF-8.
//!
//! [`encode_text`], [`encode_json`] and [`row_from_json`] go the other way, for rows that do not come from a binlog.
//!
//! Two properties of a column stand in `information_schema` only, and never in the binlog: ZEROFILL, and the decimals of
//! FLOAT(M,D) and DOUBLE(M,D). The text follows them where they are known: see [`Display`](super::table::Display).

use std::borrow::Cow;

use super::bytes::uint_le;
use super::charset::{self, Charset};
use super::json;
use super::table::{Column, ColumnKind, Size};
use super::text::number::{
    ANY_WIDTH, DOUBLE_WIDTH, FLOAT_WIDTH, push_decimal, push_double, push_fixed, push_float,
};
use super::text::{push_integer, push_padded, push_zeros, temporal};

mod encode;
mod error;
mod in_json;

pub(crate) use self::encode::encode_selected;
pub use self::encode::{
    EncodeError, EncodedRow, Misfit, RowError, encode_json, encode_text, row_from_json,
};
pub use self::error::Error;
pub use self::in_json::{BinaryFormat, DecimalFormat, JsonOptions, write_json};
pub use super::text::{TextBuffer, push_base64};

/// Appends bytes as base64, with padding and in one line.
pub fn write_base64(bytes: &[u8], out: &mut impl TextBuffer) {
    push_base64(out, bytes);
}

/// The text of a value: as [`write_text`] writes it, but bytes of binary columns must be UTF-8 and are that text.
/// A GEOMETRY has no such text.
///
/// # Errors
/// [`enum@Error`] when the value has no text.
pub fn text<'a>(column: &Column, bytes: &'a [u8]) -> Result<Cow<'a, str>, Error> {
    match column.kind {
        ColumnKind::VarChar { .. } | ColumnKind::Blob { .. } => characters(column, bytes),
        ColumnKind::Char { bytes_max } => match column.charset {
            Some(Charset::Binary) => padded(column, bytes, usize::from(bytes_max)),
            _ => characters(column, bytes),
        },
        ColumnKind::Json { .. } => json::text(bytes, column.json_style)
            .map(Cow::Owned)
            .map_err(|source| Error::Json { column: column.name.clone(), source }),
        // Without the zeros of ZEROFILL: whether they are known depends on the binlog's metadata, and this text may be
        // a key already.
        kind if kind.is_integer() => Ok(Cow::Owned(integer(column, bytes)?.to_string())),
        ColumnKind::Geometry { .. } => Err(unsupported(column, "text")),
        _ => {
            let mut text = String::new();
            write_text(column, bytes, &mut text)?;
            Ok(Cow::Owned(text))
        }
    }
}

/// Appends the text of a value: what `CAST(column AS CHAR)` gives in a session with `time_zone = '+00:00'`.
///
/// Where the server has no text, or one that loses something: binary types are base64, BIT is a decimal number, VECTOR
/// is `[0.1,2]` with the shortest digits that read back as the same FLOAT.
///
/// # Errors
/// [`enum@Error`] when the value has no text. A part of it may have been appended.
pub fn write_text<B: TextBuffer>(column: &Column, bytes: &[u8], out: &mut B) -> Result<(), Error> {
    match column.kind {
        ColumnKind::VarChar { .. } | ColumnKind::Blob { .. } | ColumnKind::Char { .. } => {
            match column.charset {
                Some(Charset::Binary) => write_encoded(column, bytes, push_base64, out),
                _ => out.push_str(&characters(column, bytes)?),
            }
            Ok(())
        }
        ColumnKind::Geometry { .. } => {
            push_base64(out, bytes);
            Ok(())
        }
        ColumnKind::Json { .. } => json::write_text(bytes, column.json_style, out)
            .map_err(|source| Error::Json { column: column.name.clone(), source }),
        kind if kind.is_integer() => write_integer(column, bytes, out),
        ColumnKind::Bit { .. } => {
            push_integer(out, integer(column, bytes)?);
            Ok(())
        }
        ColumnKind::Year => {
            push_padded(out, year(column, bytes)?, 4);
            Ok(())
        }
        ColumnKind::Enum { .. } => {
            out.push_str(enum_name(column, bytes)?);
            Ok(())
        }
        ColumnKind::Set { .. } => write_set(column, bytes, B::push_str, out),
        ColumnKind::Float | ColumnKind::Double => write_floating(column, bytes, out),
        ColumnKind::Decimal { precision, scale } => {
            let whole_min = match column.display.zerofill {
                Some(_) => usize::from(precision.saturating_sub(scale)),
                None => 0,
            };
            write_decimal(column, bytes, (precision, scale), whole_min, out)
        }
        ColumnKind::Vector { .. } => in_json::write_vector(column, bytes, out),
        ColumnKind::TypedArray => Err(unsupported(column, "text")),
        kind => {
            fixed_length(column, bytes)?;
            write_temporal(kind, bytes, out).ok_or_else(|| damaged(column))
        }
    }
}

/// Appends the value itself: the bytes of a binary type as they are (BINARY with all its zero bytes, GEOMETRY as the
/// server stores it: four bytes of SRID, then WKB), and the [text](write_text) of any other type.
///
/// # Errors
/// [`enum@Error`] when the value has no text. A part of it may have been appended.
pub fn write_bytes(column: &Column, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    match binary(column, bytes) {
        Some((bytes, zeros)) => {
            out.extend_from_slice(bytes);
            out.resize(out.len() + zeros, 0);
            Ok(())
        }
        None => write_text(column, bytes, out),
    }
}

/// The number that an integer, BIT or YEAR column holds.
///
/// # Errors
/// [`enum@Error`] when the column is of another type, or its sign matters and is not known.
pub fn integer(column: &Column, bytes: &[u8]) -> Result<i128, Error> {
    match column.kind {
        kind if kind.is_integer() => {
            let number = fixed(column, bytes)?;
            let sign_bit = 1_u64 << (8 * bytes.len() - 1);
            if number & sign_bit == 0 || column.unsigned == Some(true) {
                return Ok(i128::from(number));
            }
            if column.unsigned.is_none() {
                return Err(Error::UnknownSign { column: column.name.clone() });
            }
            Ok(i128::from(number) - 2 * i128::from(sign_bit))
        }
        ColumnKind::Year => year(column, bytes).map(i128::from),
        // The one type in big-endian order.
        ColumnKind::Bit { .. } => fixed(column, bytes)
            .map(|_| bytes.iter().fold(0, |number, byte| number << 8 | i128::from(*byte))),
        _ => Err(unsupported(column, "a number")),
    }
}

fn year(column: &Column, bytes: &[u8]) -> Result<u32, Error> {
    match fixed(column, bytes)? {
        0 => Ok(0),
        years => Ok(1900 + years as u32), // one byte
    }
}

fn unsupported(column: &Column, into: &'static str) -> Error {
    Error::UnsupportedType { column: column.name.clone(), kind: column.kind.name(), into }
}

/// The little-endian number in a value of a type of fixed length, at most eight bytes.
fn fixed(column: &Column, bytes: &[u8]) -> Result<u64, Error> {
    fixed_length(column, bytes)?;
    match bytes.len() {
        0..=8 => Ok(uint_le(bytes)),
        length => Err(Error::Length { column: column.name.clone(), wanted: 8, length }),
    }
}

/// Fails when the value of a type of fixed length is longer or shorter.
fn fixed_length(column: &Column, bytes: &[u8]) -> Result<(), Error> {
    match column.kind.size() {
        Size::Fixed(wanted) if usize::from(wanted) != bytes.len() => Err(Error::Length {
            column: column.name.clone(),
            wanted: usize::from(wanted),
            length: bytes.len(),
        }),
        _ => Ok(()),
    }
}

#[inline]
fn characters<'a>(column: &Column, bytes: &'a [u8]) -> Result<Cow<'a, str>, Error> {
    let Some(charset) = column.charset else {
        return Err(Error::UnknownCharset { column: column.name.clone() });
    };
    charset.decode(bytes).map_err(|source| not_text(column, source))
}

#[cold]
fn not_text(column: &Column, source: charset::Error) -> Error {
    let column = column.name.clone();
    match source {
        charset::Error::Invalid { charset: Charset::Binary, at } => {
            Error::BinaryNotUtf8 { column, at }
        }
        source => Error::Charset { column, source },
    }
}

/// BINARY(n) always has n bytes; the zero bytes at its end may be missing in the binlog.
fn padded<'a>(column: &Column, bytes: &'a [u8], length: usize) -> Result<Cow<'a, str>, Error> {
    let mut text = characters(column, bytes)?;
    if bytes.len() < length {
        text.to_mut().extend(std::iter::repeat_n('\0', length - bytes.len()));
    }
    Ok(text)
}

/// The column holds bytes, which are no text: BINARY, VARBINARY, BLOB, GEOMETRY.
#[must_use]
pub fn is_binary(column: &Column) -> bool {
    binary(column, &[]).is_some()
}

/// The bytes of a binary type, and how many zero bytes follow them: BINARY(n) always has n bytes, and those at its end
/// may be missing in the binlog. `None` for any other type.
fn binary<'a>(column: &Column, bytes: &'a [u8]) -> Option<(&'a [u8], usize)> {
    let is_binary = column.charset == Some(Charset::Binary);
    match column.kind {
        ColumnKind::Geometry { .. } => Some((bytes, 0)),
        ColumnKind::VarChar { .. } | ColumnKind::Blob { .. } if is_binary => Some((bytes, 0)),
        ColumnKind::Char { bytes_max } if is_binary => {
            Some((bytes, usize::from(bytes_max).saturating_sub(bytes.len())))
        }
        _ => None,
    }
}

/// Appends the bytes of a binary type, encoded.
fn write_encoded<B: TextBuffer>(
    column: &Column,
    bytes: &[u8],
    encode: fn(&mut B, &[u8]),
    out: &mut B,
) {
    match binary(column, bytes) {
        Some((bytes, zeros @ 1..)) => {
            // BINARY(255) is the longest; a damaged table map may say more.
            let mut whole = [0; 255];
            match whole.get_mut(..bytes.len() + zeros) {
                Some(whole) => {
                    whole[..bytes.len()].copy_from_slice(bytes);
                    encode(out, whole);
                }
                None => {
                    let mut whole = bytes.to_vec();
                    whole.resize(bytes.len() + zeros, 0);
                    encode(out, &whole);
                }
            }
        }
        _ => encode(out, bytes),
    }
}

/// Values count from 1; 0 is the empty text that the server stores for an invalid one.
fn enum_name<'a>(column: &'a Column, bytes: &[u8]) -> Result<&'a str, Error> {
    let number = fixed(column, bytes)?;
    let Some(index) = number.checked_sub(1) else {
        return Ok("");
    };
    let values = column.values.as_deref().unwrap_or_default();
    let known = usize::try_from(index).ok().and_then(|index| values.get(index)?.as_deref());
    known.ok_or_else(|| Error::UnknownValue { column: column.name.clone(), number })
}

/// Appends the names of a SET's members. Like the server, without a comma as long as there is no text before it: a SET may have the member `''`.
fn write_set<B: TextBuffer>(
    column: &Column,
    bytes: &[u8],
    push_name: fn(&mut B, &str),
    out: &mut B,
) -> Result<(), Error> {
    let number = fixed(column, bytes)?;
    let unknown = || Error::UnknownValue { column: column.name.clone(), number };
    let values = column.values.as_deref().ok_or_else(unknown)?;
    let mut is_empty = true;
    for bit in (0..64).filter(|bit| number >> bit & 1 == 1) {
        let name = values.get(bit).and_then(|name| name.as_deref()).ok_or_else(unknown)?;
        if !is_empty {
            out.push(',');
        }
        push_name(out, name);
        is_empty &= name.is_empty();
    }
    Ok(())
}

fn write_integer(column: &Column, bytes: &[u8], out: &mut impl TextBuffer) -> Result<(), Error> {
    let number = integer(column, bytes)?;
    let mut buffer = itoa::Buffer::new();
    let printed = buffer.format(number);
    push_zeros(out, zeros_before(column, printed.len()));
    out.push_str(printed);
    Ok(())
}

/// Zeros before a number of a ZEROFILL column.
fn zeros_before(column: &Column, length: usize) -> usize {
    usize::from(column.display.zerofill.unwrap_or(0)).saturating_sub(length)
}

/// The value of a FLOAT or DOUBLE as both types.
fn floating(column: &Column, bytes: &[u8]) -> Result<(f32, f64), Error> {
    let number = fixed(column, bytes)?;
    let (float, double) = match column.kind {
        ColumnKind::Float => {
            let float = f32::from_bits(number as u32); // four bytes
            (float, f64::from(float))
        }
        _ => (0.0, f64::from_bits(number)),
    };
    if double.is_finite() { Ok((float, double)) } else { Err(damaged(column)) }
}

fn write_floating(column: &Column, bytes: &[u8], out: &mut impl TextBuffer) -> Result<(), Error> {
    let (float, double) = floating(column, bytes)?;
    if column.display.zerofill.is_some() {
        // Rare and deprecated: the length is known only when it is printed.
        let mut printed = String::new();
        push_floating(column, (float, double), &mut printed);
        push_zeros(out, zeros_before(column, printed.len()));
        out.push_str(&printed);
    } else {
        push_floating(column, (float, double), out);
    }
    Ok(())
}

fn push_floating(column: &Column, (float, double): (f32, f64), out: &mut impl TextBuffer) {
    match (column.display.decimals, column.kind) {
        (Some(decimals), _) => push_fixed(out, double, usize::from(decimals)),
        (None, ColumnKind::Float) => push_float(out, float, width(column, FLOAT_WIDTH)),
        (None, _) => push_double(out, double, width(column, DOUBLE_WIDTH)),
    }
}

/// At least `whole_min` digits stand before the point.
fn write_decimal(
    column: &Column,
    bytes: &[u8],
    digits: (u8, u8),
    whole_min: usize,
    out: &mut impl TextBuffer,
) -> Result<(), Error> {
    fixed_length(column, bytes)?;
    push_decimal(out, digits, bytes, whole_min).ok_or_else(|| damaged(column))
}

/// The text of a number without an exponent is no wider than this, from MySQL 8.0 on.
fn width(column: &Column, new: usize) -> usize {
    match column.json_style {
        json::Style::V5_7 => ANY_WIDTH,
        json::Style::V8_0 => new,
    }
}

/// `None`: no server stores such bytes. They are as many as the type takes.
fn write_temporal(kind: ColumnKind, bytes: &[u8], out: &mut impl TextBuffer) -> Option<()> {
    match kind {
        ColumnKind::Date => temporal::push_packed_date(out, uint_le(bytes) as u32), // three bytes
        ColumnKind::Time => {
            let number = uint_le(bytes) as i32; // three bytes
            temporal::push_old_time(out, number << 8 >> 8)
        }
        ColumnKind::DateTime => temporal::push_old_datetime(out, uint_le(bytes)),
        ColumnKind::Timestamp => temporal::push_timestamp(out, uint_le(bytes) as u32, &[], 0),
        ColumnKind::Time2 { fraction } => temporal::push_time(out, bytes, fraction),
        ColumnKind::DateTime2 { fraction } => temporal::push_datetime(out, bytes, fraction),
        ColumnKind::Timestamp2 { fraction } => {
            let (seconds, rest) = bytes.split_first_chunk::<4>()?;
            temporal::push_timestamp(out, u32::from_be_bytes(*seconds), rest, fraction)
        }
        _ => None,
    }
}

fn damaged(column: &Column) -> Error {
    Error::Damaged { column: column.name.clone(), kind: column.kind.name() }
}

#[cfg(test)]
mod decoders;
#[cfg(test)]
mod tests;
