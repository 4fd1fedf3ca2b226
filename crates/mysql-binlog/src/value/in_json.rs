//! One column's bytes → a JSON value.

use super::super::json;
use super::super::table::{Column, ColumnKind};
use super::super::text::number::{DOUBLE_WIDTH, push_double, push_shortest_float};
use super::super::text::{
    TextBuffer, push_base64, push_escaped, push_hex, push_integer, push_json_string,
};
use super::{
    Error, binary, characters, damaged, enum_name, floating, integer, width, write_encoded,
    write_set, write_text,
};

/// How [`write_json`] writes what JSON has more than one form for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonOptions {
    /// DECIMAL
    pub decimal: DecimalFormat,
    /// BINARY, VARBINARY, BLOB, GEOMETRY
    pub binary: BinaryFormat,
}

/// How a DECIMAL is written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecimalFormat {
    /// `"1.50"`: no reader can lose a digit of it.
    #[default]
    String,
    /// `1.50`
    Number,
}

/// How bytes are written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BinaryFormat {
    /// Base64 with padding, in one line.
    #[default]
    Base64,
    /// Two lower-case digits a byte.
    Hex,
}

/// Appends a value as JSON:
///
/// - integers, YEAR and BIT are numbers; FLOAT and DOUBLE are numbers of the shortest digits that read back as the same;
/// - DECIMAL and binary types are written as `options` say;
/// - a JSON column is nested as it is, in the server's text of it;
/// - VECTOR is an array of numbers;
/// - anything else is its [text](write_text) as a string.
///
/// Unlike the text, numbers never have the zeros of ZEROFILL before them. NULL is the caller's.
///
/// # Errors
/// [`enum@Error`] when the value has no text. A part of it may have been appended.
pub fn write_json(
    column: &Column,
    bytes: &[u8],
    options: JsonOptions,
    out: &mut impl TextBuffer,
) -> Result<(), Error> {
    if binary(column, bytes).is_some() {
        out.push('"');
        match options.binary {
            BinaryFormat::Base64 => write_encoded(column, bytes, push_base64, out),
            BinaryFormat::Hex => write_encoded(column, bytes, push_hex, out),
        }
        out.push('"');
        return Ok(());
    }
    match column.kind {
        kind if kind.is_integer() || matches!(kind, ColumnKind::Bit { .. } | ColumnKind::Year) => {
            push_integer(out, integer(column, bytes)?);
            Ok(())
        }
        ColumnKind::Float => {
            push_shortest_float(out, floating(column, bytes)?.0);
            Ok(())
        }
        ColumnKind::Double => {
            push_double(out, floating(column, bytes)?.1, width(column, DOUBLE_WIDTH));
            Ok(())
        }
        ColumnKind::Decimal { precision, scale } if options.decimal == DecimalFormat::Number => {
            super::write_decimal(column, bytes, (precision, scale), 0, out)
        }
        ColumnKind::Vector { .. } => write_vector(column, bytes, out),
        ColumnKind::Json { .. } => json::write_json(bytes, column.json_style, out)
            .map_err(|source| Error::Json { column: column.name.clone(), source }),
        ColumnKind::VarChar { .. } | ColumnKind::Char { .. } | ColumnKind::Blob { .. } => {
            push_json_string(out, &characters(column, bytes)?);
            Ok(())
        }
        ColumnKind::Enum { .. } => {
            push_json_string(out, enum_name(column, bytes)?);
            Ok(())
        }
        ColumnKind::Set { .. } => {
            out.push('"');
            write_set(column, bytes, push_escaped, out)?;
            out.push('"');
            Ok(())
        }
        // Digits and punctuation that need no escape.
        _ => {
            out.push('"');
            write_text(column, bytes, out)?;
            out.push('"');
            Ok(())
        }
    }
}

/// `[0.1,2]`: a VECTOR is FLOATs in little-endian order.
pub(super) fn write_vector(
    column: &Column,
    bytes: &[u8],
    out: &mut impl TextBuffer,
) -> Result<(), Error> {
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(damaged(column));
    }
    out.push('[');
    for (index, float) in floats.iter().enumerate() {
        let float = f32::from_le_bytes(*float);
        if !float.is_finite() {
            return Err(damaged(column));
        }
        if index > 0 {
            out.push(',');
        }
        push_shortest_float(out, float);
    }
    out.push(']');
    Ok(())
}
