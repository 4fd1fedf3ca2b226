//! A JSON column's binary format → the text of it, byte for byte as `CAST(column AS CHAR)` of the server
//! prints it: keys in stored order, `", "` and `": "` between things, its escapes, its way of printing
//! doubles, decimals, times and binary strings. Damaged bytes are an [`enum@Error`], never a panic; what they
//! can cost is bounded by their length and [`DEPTH_MAX`].
//!
//! Format: `json_binary.h` of the MySQL source.

use thiserror::Error;

use super::bytes::{Bytes, Malformed, uint_le};

mod opaque;

/// How deep arrays and objects nest, as the server allows (`JSON_DOCUMENT_MAX_DEPTH`).
pub const DEPTH_MAX: usize = 100;

const SMALL_OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const SMALL_ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

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
    let Some((kind, value)) = document.split_first() else {
        return Ok("null".to_owned());
    };
    let mut printer =
        Printer { text: String::with_capacity(document.len() * 2), style, unread: document.len() };
    printer.value(*kind, value, 0)?;
    Ok(printer.text)
}

struct Printer {
    text: String,
    style: Style,
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

impl Printer {
    fn value(&mut self, kind: u8, value: &[u8], depth: usize) -> Result<(), Error> {
        match kind {
            SMALL_OBJECT => self.object(value, 2, depth + 1),
            LARGE_OBJECT => self.object(value, 4, depth + 1),
            SMALL_ARRAY => self.array(value, 2, depth + 1),
            LARGE_ARRAY => self.array(value, 4, depth + 1),
            LITERAL => self.literal(self.bytes_of(value, 1)?[0]),
            INT16 | INT32 | INT64 => {
                let bytes = self.bytes_of(value, 2 << ((kind - INT16) / 2))?;
                self.print_integer(sign_extended(bytes));
                self.claim(bytes.len())
            }
            UINT16 | UINT32 | UINT64 => {
                let bytes = self.bytes_of(value, 2 << ((kind - UINT16) / 2))?;
                self.print_integer(uint_le(bytes));
                self.claim(bytes.len())
            }
            DOUBLE => {
                self.print_double(f64::from_bits(uint_le(self.bytes_of(value, 8)?)));
                self.claim(8)
            }
            STRING => {
                let string = self.sized_bytes(&mut Bytes::new(value))?;
                self.print_string(std::str::from_utf8(string).map_err(|_| Error::Utf8)?);
                Ok(())
            }
            OPAQUE => {
                let mut bytes = Bytes::new(value);
                let column_type = bytes.u8()?;
                let value = self.sized_bytes(&mut bytes)?;
                opaque::print(&mut self.text, column_type, value, self.style)
            }
            other => Err(Error::UnknownType(other)),
        }
    }

    fn object(&mut self, bytes: &[u8], width: usize, depth: usize) -> Result<(), Error> {
        let container = self.container(bytes, width, depth, width + 2)?;
        self.text.push('{');
        for index in 0..container.count {
            if index > 0 {
                self.text.push_str(", ");
            }
            let entry = container.field(2 * width + index * (width + 2), width + 2)?;
            let (offset, length) = entry.split_at(width);
            let key = container.field(uint_le(offset) as usize, uint_le(length) as usize)?;
            self.claim(key.len())?;
            self.print_string(std::str::from_utf8(key).map_err(|_| Error::Utf8)?);
            self.text.push_str(": ");
            self.element(
                container,
                2 * width + container.count * (width + 2) + index * (width + 1),
                depth,
            )?;
        }
        self.text.push('}');
        Ok(())
    }

    fn array(&mut self, bytes: &[u8], width: usize, depth: usize) -> Result<(), Error> {
        let container = self.container(bytes, width, depth, 0)?;
        self.text.push('[');
        for index in 0..container.count {
            if index > 0 {
                self.text.push_str(", ");
            }
            self.element(container, 2 * width + index * (width + 1), depth)?;
        }
        self.text.push(']');
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
                self.print_integer(sign_extended(bytes));
                Ok(())
            }
            (UINT16, _) | (UINT32, 4) => {
                let bytes = if *kind == UINT16 { &place[..2] } else { place };
                self.print_integer(uint_le(bytes));
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
        self.text.push_str(match literal {
            0 => "null",
            1 => "true",
            2 => "false",
            other => return Err(Error::UnknownType(other)),
        });
        Ok(())
    }

    fn print_integer(&mut self, integer: impl itoa::Integer) {
        self.text.push_str(itoa::Buffer::new().format(integer));
    }

    fn print_double(&mut self, double: f64) {
        let start = self.text.len();
        print_double(&mut self.text, double);
        let is_whole = !self.text[start..].contains(['.', 'e']);
        if is_whole && self.style == Style::V8_0 {
            self.text.push_str(".0");
        }
    }

    fn print_string(&mut self, string: &str) {
        self.text.push('"');
        let mut plain = 0;
        for (at, byte) in string.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                0x08 => "\\b",
                b'\t' => "\\t",
                b'\n' => "\\n",
                0x0c => "\\f",
                b'\r' => "\\r",
                0..0x20 => "\\u00",
                _ => continue,
            };
            self.text.push_str(&string[plain..at]);
            self.text.push_str(escape);
            if escape == "\\u00" {
                self.text.push(hex_digit(byte >> 4));
                self.text.push(hex_digit(byte & 15));
            }
            plain = at + 1;
        }
        self.text.push_str(&string[plain..]);
        self.text.push('"');
    }
}

impl<'a> Container<'a> {
    fn field(self, at: usize, length: usize) -> Result<&'a [u8], Malformed> {
        let field = self.bytes.get(at..).and_then(|rest| rest.get(..length));
        field.ok_or(Malformed::Short { wanted: length, left: self.bytes.len().saturating_sub(at) })
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16")
}

fn sign_extended(bytes: &[u8]) -> i64 {
    let unused_bits = 64 - 8 * bytes.len();
    ((uint_le(bytes) << unused_bits) as i64) >> unused_bits
}

/// The shortest digits that read back as the same double: the server's `my_gcvt`. With an exponent when
/// more than 14 zeros would follow the point, or when the number is whole and has more than 15 digits.
fn print_double(text: &mut String, double: f64) {
    if double == 0.0 {
        text.push_str(if double.is_sign_negative() { "-0" } else { "0" });
        return;
    }
    if double < 0.0 {
        text.push('-');
    }
    let mut buffer = ryu::Buffer::new();
    let (digits, point) = digits_and_point(buffer.format(double.abs()));
    match point {
        -14..=0 => {
            text.push_str("0.");
            text.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
            text.push_str(&digits);
        }
        1.. if point <= 15 || point < digits.len() as i32 => {
            let whole = point as usize;
            let zeros = whole.saturating_sub(digits.len());
            let (integer, fraction) = digits.split_at(whole.min(digits.len()));
            text.push_str(integer);
            text.extend(std::iter::repeat_n('0', zeros));
            if !fraction.is_empty() {
                text.push('.');
                text.push_str(fraction);
            }
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            text.push_str(first);
            if !rest.is_empty() {
                text.push('.');
                text.push_str(rest);
            }
            text.push('e');
            text.push_str(itoa::Buffer::new().format(point - 1));
        }
    }
}

/// Significant digits without zeros at either end, and how many of them come before the point.
fn digits_and_point(printed: &str) -> (String, i32) {
    let (mantissa, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let leading_zeros = all.len() - all.trim_start_matches('0').len();
    let exponent: i32 = exponent.parse().expect("ryu prints exponents of at most three digits");
    let point = whole.len() as i32 - leading_zeros as i32 + exponent; // tens of digits at most
    (all.trim_matches('0').to_owned(), point)
}

#[cfg(test)]
mod tests;
