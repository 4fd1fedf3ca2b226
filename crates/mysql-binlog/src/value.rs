//! One column's bytes → text or a number. Text is borrowed from the event where it is UTF-8 there. Types
//! that this version does not turn into text are an error that says so.

use std::borrow::Cow;

use thiserror::Error;

use super::bytes::uint_le;
use super::charset::{self, Charset};
use super::json;
use super::table::{Column, ColumnKind, Size};

/// Why a value cannot be had; `column` is the column's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The type has no text (or no number) in this version.
    #[error("column {column} is a {kind}, which this version cannot turn into {into}")]
    UnsupportedType {
        /// Name of the column.
        column: String,
        /// Name of its type.
        kind: &'static str,
        /// What was wanted: `text` or `a number`.
        into: &'static str,
    },
    /// The value is not as long as its type says.
    #[error("column {column} has a value of {length} bytes, its type takes {wanted}")]
    Length {
        /// Name of the column.
        column: String,
        /// Bytes that the type takes.
        wanted: usize,
        /// Bytes of the value.
        length: usize,
    },
    /// The value is no text in the column's character set.
    #[error("column {column} has a value that is {source}")]
    Charset {
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        source: charset::Error,
    },
    /// The value of a BINARY, VARBINARY or BLOB column is not UTF-8; there is no other text in it.
    #[error("column {column} is binary, and its value is not UTF-8 from byte {at} on")]
    BinaryNotUtf8 {
        /// Name of the column.
        column: String,
        /// First byte that is not UTF-8.
        at: usize,
    },
    /// Nobody says which character set the column has.
    #[error("the character set of column {column} is not known")]
    UnknownCharset {
        /// Name of the column.
        column: String,
    },
    /// Nobody says whether the column is UNSIGNED, and for this value it matters.
    #[error("it is not known whether column {column} is UNSIGNED")]
    UnknownSign {
        /// Name of the column.
        column: String,
    },
    /// The number of an ENUM or SET value that the column does not have, or whose names are not known.
    #[error("column {column} has the value number {number}, and no name of it is known")]
    UnknownValue {
        /// Name of the column.
        column: String,
        /// The value as stored: an index from 1 of an ENUM, a bit set of a SET.
        number: u64,
    },
    /// The value of a JSON column is damaged.
    #[error("column {column}: {source}")]
    Json {
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        source: json::Error,
    },
}

/// The text of a value: character types by their character set, binary ones as UTF-8, integers in
/// decimal, YEAR in four digits, ENUM and SET by name, JSON as the server prints it.
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
        ColumnKind::Tiny
        | ColumnKind::Short
        | ColumnKind::Int24
        | ColumnKind::Long
        | ColumnKind::LongLong => Ok(Cow::Owned(integer(column, bytes)?.to_string())),
        ColumnKind::Year => Ok(Cow::Owned(format!("{:04}", integer(column, bytes)?))),
        ColumnKind::Enum { .. } => enum_text(column, bytes),
        ColumnKind::Set { .. } => set_text(column, bytes),
        _ => Err(unsupported(column, "text")),
    }
}

/// The number that an integer, BIT or YEAR column holds.
///
/// # Errors
/// [`enum@Error`] when the column is of another type, or its sign matters and is not known.
pub fn integer(column: &Column, bytes: &[u8]) -> Result<i128, Error> {
    match column.kind {
        ColumnKind::Tiny
        | ColumnKind::Short
        | ColumnKind::Int24
        | ColumnKind::Long
        | ColumnKind::LongLong => {
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
        ColumnKind::Year => match fixed(column, bytes)? {
            0 => Ok(0),
            years => Ok(1900 + i128::from(years)),
        },
        // The one type in big-endian order.
        ColumnKind::Bit { .. } => fixed(column, bytes)
            .map(|_| bytes.iter().fold(0, |number, byte| number << 8 | i128::from(*byte))),
        _ => Err(unsupported(column, "a number")),
    }
}

fn unsupported(column: &Column, into: &'static str) -> Error {
    Error::UnsupportedType { column: column.name.clone(), kind: column.kind.name(), into }
}

/// The little-endian number in a value of a type of fixed length.
fn fixed(column: &Column, bytes: &[u8]) -> Result<u64, Error> {
    match column.kind.size() {
        Size::Fixed(wanted) if usize::from(wanted) != bytes.len() || bytes.len() > 8 => {
            Err(Error::Length {
                column: column.name.clone(),
                wanted: usize::from(wanted),
                length: bytes.len(),
            })
        }
        _ => Ok(uint_le(bytes)),
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

/// Values count from 1; 0 is the empty text that the server stores for an invalid one.
fn enum_text<'a>(column: &Column, bytes: &[u8]) -> Result<Cow<'a, str>, Error> {
    let number = fixed(column, bytes)?;
    let Some(index) = number.checked_sub(1) else {
        return Ok(Cow::Borrowed(""));
    };
    let values = column.values.as_deref().unwrap_or_default();
    let known = usize::try_from(index).ok().and_then(|index| values.get(index)?.clone());
    known.map(Cow::Owned).ok_or_else(|| Error::UnknownValue { column: column.name.clone(), number })
}

fn set_text<'a>(column: &Column, bytes: &[u8]) -> Result<Cow<'a, str>, Error> {
    let number = fixed(column, bytes)?;
    let unknown = || Error::UnknownValue { column: column.name.clone(), number };
    let values = column.values.as_deref().ok_or_else(unknown)?;
    let members = (0..64).filter(|bit| number >> bit & 1 == 1);
    let names = members.map(|bit| values.get(bit)?.as_deref()).collect::<Option<Vec<_>>>();
    Ok(Cow::Owned(names.ok_or_else(unknown)?.join(",")))
}

#[cfg(test)]
mod tests;
