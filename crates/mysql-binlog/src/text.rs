//! Appends text to a buffer without an allocation of its own: numbers, times, base64 and JSON strings, as the
//! server prints them. Columns and JSON documents share it.

pub(crate) mod number;
pub(crate) mod temporal;

/// A buffer that text is appended to: a `String`, or the UTF-8 in a `Vec<u8>`.
pub trait TextBuffer {
    /// Appends text.
    fn push_str(&mut self, text: &str);

    /// Appends one character.
    fn push(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }
}

impl TextBuffer for String {
    #[inline]
    fn push_str(&mut self, text: &str) {
        String::push_str(self, text);
    }
}

impl TextBuffer for Vec<u8> {
    #[inline]
    fn push_str(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

/// Appends what `fmt` formats.
pub(crate) struct Formatted<'a, B>(pub(crate) &'a mut B);

impl<B: TextBuffer> std::fmt::Write for Formatted<'_, B> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.push_str(text);
        Ok(())
    }
}

pub(crate) fn push_integer(out: &mut impl TextBuffer, integer: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(integer));
}

/// A number with zeros before it, up to `digits` digits.
pub(crate) fn push_padded(out: &mut impl TextBuffer, number: u32, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let printed = buffer.format(number);
    push_zeros(out, digits.saturating_sub(printed.len()));
    out.push_str(printed);
}

pub(crate) fn push_zeros(out: &mut impl TextBuffer, mut count: usize) {
    const ZEROS: &str = "0000000000000000000000000000000000000000";
    while count > 0 {
        let now = count.min(ZEROS.len());
        out.push_str(&ZEROS[..now]);
        count -= now;
    }
}

/// Appends base64 with padding, in one line.
pub fn push_base64(out: &mut impl TextBuffer, bytes: &[u8]) {
    push_base64_lines(out, bytes, "");
}

/// Base64 with `line_feed` between lines of 76 characters, as the server's encoder has it.
pub(crate) fn push_base64_lines(out: &mut impl TextBuffer, bytes: &[u8], line_feed: &str) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    /// Bytes that become one line.
    const LINE: usize = 57;
    for (index, line) in bytes.chunks(LINE).enumerate() {
        if index > 0 {
            out.push_str(line_feed);
        }
        let mut encoded = [b'='; 76];
        for (group, quartet) in line.chunks(3).zip(encoded.chunks_mut(4)) {
            let number = (0..3)
                .fold(0, |number, at| number << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
            for (place, character) in quartet.iter_mut().take(group.len() + 1).enumerate() {
                *character = ALPHABET[(number >> (18 - 6 * place) & 63) as usize];
            }
        }
        out.push_str(ascii(&encoded[..line.len().div_ceil(3) * 4]));
    }
}

/// Two lower-case digits a byte.
pub(crate) fn push_hex(out: &mut impl TextBuffer, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for chunk in bytes.chunks(32) {
        let mut encoded = [0; 64];
        for (byte, pair) in chunk.iter().zip(encoded.chunks_mut(2)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out.push_str(ascii(&encoded[..2 * chunk.len()]));
    }
}

/// A JSON string with the server's escapes.
pub(crate) fn push_json_string(out: &mut impl TextBuffer, string: &str) {
    out.push('"');
    push_escaped(out, string);
    out.push('"');
}

/// What stands between the quotes of a JSON string.
pub(crate) fn push_escaped(out: &mut impl TextBuffer, string: &str) {
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
        out.push_str(&string[plain..at]);
        out.push_str(escape);
        if escape == "\\u00" {
            push_hex(out, &[byte]);
        }
        plain = at + 1;
    }
    out.push_str(&string[plain..]);
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only ASCII was written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_padding_and_no_line_feeds_of_its_own() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xfe\xfd", "//79"),
        ] {
            let mut out = String::new();
            push_base64(&mut out, bytes);
            assert_eq!(out, expected);
        }
        let mut out = Vec::new();
        push_base64(&mut out, &[0; 58]);
        assert_eq!(out, ["A".repeat(78), "==".to_owned()].concat().as_bytes());
        out.clear();
        push_base64_lines(&mut out, &[0; 58], "\n");
        assert_eq!(out, ["A".repeat(76), "\nAA==".to_owned()].concat().as_bytes());
    }

    #[test]
    fn hex_is_in_lower_case() {
        let mut out = String::new();
        push_hex(&mut out, &[0, 0x0f, 0xab, 0xff]);
        assert_eq!(out, "000fabff");
    }

    #[test]
    fn numbers_are_padded_with_any_count_of_zeros() {
        let mut out = String::new();
        push_padded(&mut out, 42, 5);
        push_zeros(&mut out, 90);
        assert_eq!(out, format!("00042{}", "0".repeat(90)));
    }
}
