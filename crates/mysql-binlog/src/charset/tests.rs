//! Tests, built under `#[cfg(test)]` only. What the server makes of bytes in each character set, as recorded from real servers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::table::golden::unhex;

/// What `CONVERT(… USING utf8mb4)` of MySQL 8.0.31 answered: all single bytes, a sample of the others.
#[derive(Deserialize)]
struct GoldenCharset {
    bytes: String,
    text: String,
    undefined: Vec<String>,
}

fn golden() -> BTreeMap<String, GoldenCharset> {
    serde_json::from_str(include_str!("../golden/charsets.json")).unwrap()
}

#[test]
fn text_is_what_the_server_converts_it_to() {
    let golden = golden();
    assert_eq!(golden.len(), 34);
    for (name, golden) in golden {
        let charset = Charset::from_name(&name).unwrap();
        assert_eq!(charset.decode(&unhex(&golden.bytes)).unwrap(), golden.text, "{name}");
    }
}

#[test]
fn what_the_server_cannot_convert_is_an_error() {
    for (name, golden) in golden() {
        let charset = Charset::from_name(&name).unwrap();
        for undefined in golden.undefined {
            let bytes = [b"ab", unhex(&undefined).as_slice()].concat();
            let error = charset.decode(&bytes).unwrap_err();
            // Of a run that encoding_rs refuses only the beginning is known.
            assert!(
                matches!(error, Error::Invalid { charset: named, at } if named == charset && at <= 2),
                "{name} {undefined}: {error}"
            );
        }
    }
}

#[test]
fn latin1_is_windows_1252_with_the_five_gaps_as_control_characters() {
    let text = Charset::Latin1.decode(&[0x80, 0x81, 0x8d, 0x8f, 0x90, 0x9d, 0xe9]).unwrap();
    assert_eq!(text, "€\u{81}\u{8d}\u{8f}\u{90}\u{9d}é");
}

#[test]
fn wide_characters_are_decoded_and_checked() {
    assert_eq!(Charset::Utf16.decode(&[0x00, 0xe9, 0xd8, 0x3d, 0xde, 0x00]).unwrap(), "é😀");
    assert_eq!(Charset::Utf16le.decode(&[0xe9, 0x00, 0x3d, 0xd8, 0x00, 0xde]).unwrap(), "é😀");
    assert_eq!(Charset::Utf32.decode(&[0, 0, 0, 0xe9, 0, 1, 0xf6, 0]).unwrap(), "é😀");
    assert_eq!(Charset::Ucs2.decode(&[0x00, 0xe9]).unwrap(), "é");
    let invalid = |charset, at| Err(Error::Invalid { charset, at });
    // A lone surrogate, a pair where there are none, half a unit, no code point.
    assert_eq!(Charset::Utf16.decode(&[0, 65, 0xd8, 0x3d]), invalid(Charset::Utf16, 2));
    assert_eq!(Charset::Ucs2.decode(&[0xd8, 0x3d, 0xde, 0x00]), invalid(Charset::Ucs2, 0));
    assert_eq!(Charset::Utf16.decode(&[0, 65, 0]), invalid(Charset::Utf16, 2));
    assert_eq!(Charset::Utf32.decode(&[0, 0, 0, 65, 0, 0x11, 0, 0]), invalid(Charset::Utf32, 4));
}

#[test]
fn invalid_utf8_is_an_error_with_its_place() {
    let error = Charset::Utf8mb4.decode(b"ab\xff").unwrap_err();
    assert_eq!(error.to_string(), "not valid utf8mb4 at or after byte 2");
    assert_eq!(Charset::Unknown(2000).decode(b"a"), Err(Error::UnknownCollation(2000)));
}

#[test]
fn utf8_and_ascii_are_borrowed() {
    for charset in [Charset::Utf8mb4, Charset::Utf8mb3, Charset::Binary] {
        assert!(matches!(charset.decode("é".as_bytes()), Ok(Cow::Borrowed("é"))));
    }
    for charset in [Charset::Ascii, Charset::Latin1, Charset::Gbk] {
        assert!(matches!(charset.decode(b"abc"), Ok(Cow::Borrowed("abc"))));
    }
}

#[test]
fn collations_and_names_lead_to_one_character_set() {
    // utf8mb4_0900_ai_ci, utf8mb4_general_ci, latin1_swedish_ci, binary, utf8_general_ci, gb18030_bin
    for (id, name) in [
        (255, "utf8mb4"),
        (45, "utf8mb4"),
        (8, "latin1"),
        (63, "binary"),
        (33, "utf8"),
        (249, "gb18030"),
    ] {
        assert_eq!(Some(Charset::from_collation(id)), Charset::from_name(name), "{id}");
    }
    assert_eq!(Charset::from_collation(17), Charset::Unknown(17));
    assert_eq!(Charset::from_collation(70_000), Charset::Unknown(u16::MAX));
    assert_eq!(Charset::from_name("utf9"), None);
}

fn any_charset() -> impl Strategy<Value = Charset> {
    (0_usize..400).prop_map(Charset::from_collation)
}

proptest! {
    #[test]
    fn any_bytes_are_text_or_an_error_within_them(
        charset in any_charset(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        if let Err(Error::Invalid { at, .. }) = charset.decode(&bytes) {
            prop_assert!(at < bytes.len());
        }
    }

    /// Decoding is by character: two texts one after the other are the text of both.
    #[test]
    fn texts_can_be_joined(
        charset in any_charset(),
        first in prop::collection::vec(any::<u8>(), 0..6),
        second in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        if let (Ok(left), Ok(right)) = (charset.decode(&first), charset.decode(&second)) {
            let both = [first.as_slice(), second.as_slice()].concat();
            prop_assert_eq!(charset.decode(&both).unwrap(), format!("{left}{right}"));
        }
    }
}
