//! JSON strings as Eventuate's writer (Jackson) prints them, so that records compare byte for byte.

/// Appends a string with its quotes. Only quotes, backslashes and control characters below U+0020 are
/// escaped; everything else, `/`, U+007F and U+2028 too, stays as it is.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..index]);
        start = index + 1;
        write_escape(byte, out);
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let short = match byte {
        b'"' | b'\\' => byte,
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
