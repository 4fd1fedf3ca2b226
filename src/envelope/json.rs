//! JSON strings as Eventuate's writer (Jackson) prints them, so that records compare byte for byte.

/// Number of bytes that are tested at once.
const WORD: usize = 8;
/// A range of up to this length is copied as a chunk of this length, which needs no call.
const SHORT: usize = 16;

/// Appends a string with its quotes. Only quotes, backslashes and control characters below U+0020 are
/// escaped; everything else, `/`, U+007F and U+2028 too, stays as it is.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let (words, rest) = bytes.as_chunks::<WORD>();
    let mut start = 0;
    let mut escape = |index: usize| {
        append(bytes, start, index, out);
        write_escape(bytes[index], out);
        start = index + 1;
    };
    for (number, word) in words.iter().enumerate() {
        let mut specials = specials(u64::from_le_bytes(*word));
        while specials != 0 {
            escape(number * WORD + specials.trailing_zeros() as usize / 8); // a byte of 8
            specials &= specials - 1;
        }
    }
    let rest_at = bytes.len() - rest.len();
    for (index, &byte) in rest.iter().enumerate() {
        if is_special(byte) {
            escape(rest_at + index);
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// Appends `bytes[start..end]`. An event is JSON itself, with a quote every few bytes, so the range is mostly short.
#[inline]
fn append(bytes: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    match bytes[start..].first_chunk::<SHORT>() {
        Some(chunk) if end - start <= SHORT => {
            let len = out.len() + (end - start);
            out.extend_from_slice(chunk);
            out.truncate(len);
        }
        _ => out.extend_from_slice(&bytes[start..end]),
    }
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The highest bit of each byte of the word that [`is_special`], and no other.
#[inline]
fn specials(word: u64) -> u64 {
    const LOW_BITS: u64 = each_byte(0x7f);
    // The highest bit of each byte that is not 0: adding carries within its own byte only.
    let not_zero = |word: u64| ((word & LOW_BITS) + LOW_BITS) | word;
    let no_control = not_zero(word & each_byte(0xe0));
    let no_quote = not_zero(word ^ each_byte(b'"'));
    let no_backslash = not_zero(word ^ each_byte(b'\\'));
    !(no_control & no_quote & no_backslash) & !LOW_BITS
}

const fn each_byte(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

#[inline]
fn write_escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        _ => write_control(byte, out),
    }
}

fn write_control(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let short = match byte {
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn control_characters_are_escaped_in_upper_case_and_all_else_is_kept() {
        assert_eq!(written("\u{0}\u{1f}\u{8}\u{c}\n\r\t\"\\"), r#""\u0000\u001F\b\f\n\r\t\"\\""#);
        assert_eq!(written("a/b\u{7f}\u{2028}é😀"), "\"a/b\u{7f}\u{2028}é😀\"");
    }

    proptest! {
        #[test]
        fn any_text_reads_back_as_it_was(text: String) {
            let back: String = serde_json::from_str(&written(&text)).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
