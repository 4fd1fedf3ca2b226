//! A JSON column's binary format → the text of it, byte for byte as `CAST(column AS CHAR)` of the server
//! prints it: keys in stored order, `", "` and `": "` between things, its escapes, its way of printing
//! doubles, decimals, times and binary strings. Damaged bytes are an [`enum@Error`], never a panic; what they
//! can cost is bounded by their length and [`DEPTH_MAX`].
//!
//! Format: `json_binary.h` of the MySQL source.

use thiserror::Error;

use super::bytes::{Bytes, Malformed, uint_le};
use super::text::number::{ANY_WIDTH, push_double};
use super::text::{TextBuffer, push_integer, push_json_string};

mod opaque;

pub(super) use self::opaque::DECIMAL as DECIMAL_TYPE;

/// How deep arrays and objects nest, as the server allows (`JSON_DOCUMENT_MAX_DEPTH`).
pub const DEPTH_MAX: usize = 100;

pub(super) const SMALL_OBJECT: u8 = 0;
pub(super) const LARGE_OBJECT: u8 = 1;
pub(super) const SMALL_ARRAY: u8 = 2;
pub(super) const LARGE_ARRAY: u8 = 3;
pub(super) const LITERAL: u8 = 4;
pub(super) const INT16: u8 = 5;
pub(super) const UINT16: u8 = 6;
pub(super) const INT32: u8 = 7;
pub(super) const UINT32: u8 = 8;
pub(super) const INT64: u8 = 9;
pub(super) const UINT64: u8 = 10;
pub(super) const DOUBLE: u8 = 11;
pub(super) const STRING: u8 = 12;
pub(super) const OPAQUE: u8 = 15;

/// Where servers differ in printing one and the same document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// MySQL 5.7: a double of whole value is `1`, line feeds in base64 are raw.
    V5_7,
    /// MySQL 8.0 and later: a double of whole value is `1.0`, line feeds in base64 are escaped.
    V8_0,
}

impl Style {
    /// The style of a server whose `VERSION()` is this.
    pub fn of_server(version: &str) -> Self {
        if version.starts_with("5.") { Self::V5_7 } else { Self::V8_0 }
    }
}

/// Why bytes are no JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// A part is cut off.
    #[error("the JSON document is damaged: {0}")]
    Malformed(#[from] Malformed),
    /// A type or literal that the format does not have.
    #[error("the JSON document has an unknown type or literal {0:#04x}")]
    UnknownType(u8),
    /// A string is not UTF-8.
    #[error("the JSON document has a string that is not UTF-8")]
    Utf8,
    /// A decimal or a time that no server writes.
    #[error("the JSON document has an impossible value of the column type {0}")]
    Opaque(u8),
    /// Arrays and objects nest deeper than any server allows.
    #[error("the JSON document is nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// Parts of it lie on top of each other, which would let a few bytes stand for endless text.
    #[error("the JSON document has parts that overlap")]
    Overlap,
}

/// The text of a document. An empty one is `null`, as the server reads it (`INSERT IGNORE` can leave one).
///
/// # Errors
/// [`enum@Error`] when the bytes are no document.
pub fn text(document: &[u8], style: Style) -> Result<String, Error> {
    let mut text = String::with_capacity(document.len() * 2);
    write(document, style, LineFeeds::of(style), &mut text)?;
    Ok(text)
}

/// Appends the text of a document as a JSON value: [`text`], but never with a raw line feed in a string, as MySQL 5.7
/// prints long binary values.
///
/// # Errors
/// [`enum@Error`] when the bytes are no document. A part of it may have been appended.
pub fn write_json(document: &[u8], style: Style, out: &mut impl TextBuffer) -> Result<(), Error> {
    write(document, style, LineFeeds::Escaped, out)
}

/// Appends the text of a document.
///
/// # Errors
/// [`enum@Error`] when the bytes are no document. A part of it may have been appended.
pub fn write_text(document: &[u8], style: Style, out: &mut impl TextBuffer) -> Result<(), Error> {
    write(document, style, LineFeeds::of(style), out)
}

fn write(
    document: &[u8],
    style: Style,
    line_feeds: LineFeeds,
    out: &mut impl TextBuffer,
) -> Result<(), Error> {
    let Some((kind, value)) = document.split_first() else {
        out.push_str("null");
        return Ok(());
    };
    let mut printer = Printer { out, style, line_feeds, unread: document.len() };
    printer.value(*kind, value, 0)
}

/// How line feeds within base64 are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFeeds {
    Raw,
    Escaped,
}

impl LineFeeds {
    fn of(style: Style) -> Self {
        match style {
            Style::V5_7 => Self::Raw,
            Style::V8_0 => Self::Escaped,
        }
    }

    fn printed(self) -> &'static str {
        match self {
            Self::Raw => "\n",
            Self::Escaped => "\\n",
        }
    }
}

struct Printer<'a, B> {
    out: &'a mut B,
    style: Style,
    line_feeds: LineFeeds,
    /// Bytes that may still be read. Parts of a document do not overlap, so all reads together are no
    /// more than its length.
    unread: usize,
}

/// A container's header: its own bytes, the count of its elements and the width of its numbers.
#[derive(Clone, Copy)]
struct Container<'a> {
    bytes: &'a [u8],
    count: usize,
    /// Bytes of a count or an offset: 2, in large containers 4.
    width: usize,
}

impl<B: TextBuffer> Printer<'_, B> {
    fn value(&mut self, kind: u8, value: &[u8], depth: usize) -> Result<(), Error> {
        match kind {
            SMALL_OBJECT => self.object(value, 2, depth + 1),
            LARGE_OBJECT => self.object(value, 4, depth + 1),
            SMALL_ARRAY => self.array(value, 2, depth + 1),
            LARGE_ARRAY => self.array(value, 4, depth + 1),
            LITERAL => self.literal(self.bytes_of(value, 1)?[0]),
            INT16 | INT32 | INT64 => {
                let bytes = self.bytes_of(value, 2 << ((kind - INT16) / 2))?;
                push_integer(self.out, sign_extended(bytes));
                self.claim(bytes.len())
            }
            UINT16 | UINT32 | UINT64 => {
                let bytes = self.bytes_of(value, 2 << ((kind - UINT16) / 2))?;
                push_integer(self.out, uint_le(bytes));
                self.claim(bytes.len())
            }
            DOUBLE => {
                self.print_double(f64::from_bits(uint_le(self.bytes_of(value, 8)?)))?;
                self.claim(8)
            }
            STRING => {
                let string = self.sized_bytes(&mut Bytes::new(value))?;
                push_json_string(self.out, std::str::from_utf8(string).map_err(|_| Error::Utf8)?);
                Ok(())
            }
            OPAQUE => {
                let mut bytes = Bytes::new(value);
                let column_type = bytes.u8()?;
                let value = self.sized_bytes(&mut bytes)?;
                opaque::print(self.out, column_type, value, self.line_feeds.printed())
            }
            other => Err(Error::UnknownType(other)),
        }
    }

    fn object(&mut self, bytes: &[u8], width: usize, depth: usize) -> Result<(), Error> {
        let container = self.container(bytes, width, depth, width + 2)?;
        self.out.push('{');
        for index in 0..container.count {
            if index > 0 {
                self.out.push_str(", ");
            }
            let entry = container.field(2 * width + index * (width + 2), width + 2)?;
            let (offset, length) = entry.split_at(width);
            let key = container.field(uint_le(offset) as usize, uint_le(length) as usize)?;
            self.claim(key.len())?;
            push_json_string(self.out, std::str::from_utf8(key).map_err(|_| Error::Utf8)?);
            self.out.push_str(": ");
            self.element(
                container,
                2 * width + container.count * (width + 2) + index * (width + 1),
                depth,
            )?;
        }
        self.out.push('}');
        Ok(())
    }

    fn array(&mut self, bytes: &[u8], width: usize, depth: usize) -> Result<(), Error> {
        let container = self.container(bytes, width, depth, 0)?;
        self.out.push('[');
        for index in 0..container.count {
            if index > 0 {
                self.out.push_str(", ");
            }
            self.element(container, 2 * width + index * (width + 1), depth)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn container<'a>(
        &mut self,
        bytes: &'a [u8],
        width: usize,
        depth: usize,
        key_entry: usize,
    ) -> Result<Container<'a>, Error> {
        if depth > DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        let mut header = Bytes::new(bytes);
        let count = header.uint(width)? as usize;
        let size = header.uint(width)? as usize;
        let bytes = Bytes::new(bytes).take(size)?;
        // A large count cannot overflow: it takes at most 4 bytes.
        self.claim(2 * width + count * (key_entry + width + 1))?;
        Ok(Container { bytes, count, width })
    }

    /// The element whose type and place (or, of a small scalar, value) stand at `entry`.
    fn element(
        &mut self,
        container: Container<'_>,
        entry: usize,
        depth: usize,
    ) -> Result<(), Error> {
        let width = container.width;
        let (kind, place) = container
            .field(entry, 1 + width)?
            .split_first()
            .expect("an entry has at least three bytes");
        match (*kind, width) {
            (LITERAL, _) => self.literal(place[0]),
            (INT16, _) | (INT32, 4) => {
                // A small number stands in the low bytes, whatever the width.
                let bytes = if *kind == INT16 { &place[..2] } else { place };
                push_integer(self.out, sign_extended(bytes));
                Ok(())
            }
            (UINT16, _) | (UINT32, 4) => {
                let bytes = if *kind == UINT16 { &place[..2] } else { place };
                push_integer(self.out, uint_le(bytes));
                Ok(())
            }
            _ => {
                let offset = uint_le(place) as usize;
                let left = container.bytes.len();
                let value = container
                    .bytes
                    .get(offset..)
                    .ok_or(Malformed::Short { wanted: offset, left })?;
                self.value(*kind, value, depth)
            }
        }
    }

    /// Bytes behind a length of seven bits a byte, the lowest first; a set highest bit: more follows.
    fn sized_bytes<'a>(&mut self, bytes: &mut Bytes<'a>) -> Result<&'a [u8], Error> {
        let before = bytes.rest().len();
        let mut length = 0_u64;
        // The format has at most five such bytes: lengths below 4 GiB.
        for shift in [0, 7, 14, 21, 28] {
            let byte = bytes.u8()?;
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let value = bytes.take(length as usize)?;
                self.claim(before - bytes.rest().len())?;
                return Ok(value);
            }
        }
        Err(Malformed::Length(0x80).into())
    }

    fn bytes_of<'a>(&self, value: &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
        Bytes::new(value).take(count)
    }

    fn claim(&mut self, count: usize) -> Result<(), Error> {
        self.unread = self.unread.checked_sub(count).ok_or(Error::Overlap)?;
        Ok(())
    }

    fn literal(&mut self, literal: u8) -> Result<(), Error> {
        self.out.push_str(match literal {
            0 => "null",
            1 => "true",
            2 => "false",
            other => return Err(Error::UnknownType(other)),
        });
        Ok(())
    }

    fn print_double(&mut self, double: f64) -> Result<(), Error> {
        if !double.is_finite() {
            return Err(Error::Opaque(opaque::DOUBLE));
        }
        push_double(self.out, double, ANY_WIDTH);
        // With 15 digits or fewer it has no exponent.
        let is_plain_whole = double.fract() == 0.0 && double.abs() < 1e15;
        if is_plain_whole && self.style == Style::V8_0 {
            self.out.push_str(".0");
        }
        Ok(())
    }
}

impl<'a> Container<'a> {
    fn field(self, at: usize, length: usize) -> Result<&'a [u8], Malformed> {
        let field = self.bytes.get(at..).and_then(|rest| rest.get(..length));
        field.ok_or(Malformed::Short { wanted: length, left: self.bytes.len().saturating_sub(at) })
    }
}

fn sign_extended(bytes: &[u8]) -> i64 {
    let unused_bits = 64 - 8 * bytes.len();
    ((uint_le(bytes) << unused_bits) as i64) >> unused_bits
}

#[cfg(test)]
mod tests;
