//! Tests, built under `#[cfg(test)]` only. JSON texts as real servers print them, and what damaged documents must not do.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::table::golden::unhex;

/// Documents of one server, each with its `CAST(doc AS CHAR)`.
#[derive(Deserialize)]
struct GoldenDocuments {
    server: String,
    documents: Vec<(String, String)>,
}

fn golden() -> Vec<GoldenDocuments> {
    serde_json::from_str(include_str!("../golden/json.json")).unwrap()
}

#[test]
fn documents_are_printed_as_their_server_prints_them() {
    for GoldenDocuments { server, documents } in golden() {
        assert!(documents.len() > 60);
        let style = Style::of_server(&server);
        for (document, expected) in documents {
            assert_eq!(text(&unhex(&document), style).unwrap(), expected, "{server}: {document}");
        }
    }
}

#[test]
fn printed_documents_are_json() {
    for (document, _) in golden().into_iter().flat_map(|golden| golden.documents) {
        let text = text(&unhex(&document), Style::V8_0).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}

#[test]
fn a_document_cut_off_anywhere_is_an_error() {
    for (document, _) in golden().into_iter().flat_map(|golden| golden.documents) {
        let document = unhex(&document);
        for length in 1..document.len() {
            assert!(text(&document[..length], Style::V8_0).is_err(), "{length} of {document:?}");
        }
    }
}

#[test]
fn servers_differ_in_whole_doubles() {
    let document = [&[DOUBLE][..], &100.0_f64.to_le_bytes()].concat();
    assert_eq!(text(&document, Style::of_server("5.7.22-log")).unwrap(), "100");
    assert_eq!(text(&document, Style::of_server("8.0.31")).unwrap(), "100.0");
}

#[test]
fn an_empty_value_is_null_as_the_server_reads_it() {
    assert_eq!(text(&[], Style::V8_0).unwrap(), "null");
}

/// `[value, value, …]` in the large format, whose numbers take four bytes.
fn large_array(elements: &[(u8, [u8; 4])]) -> Vec<u8> {
    let size = 8 + 5 * elements.len() as u32;
    let mut document = vec![LARGE_ARRAY];
    document.extend((elements.len() as u32).to_le_bytes());
    document.extend(size.to_le_bytes());
    for (kind, value) in elements {
        document.push(*kind);
        document.extend(value);
    }
    document
}

#[test]
fn large_containers_hold_32_bit_integers_in_their_entries() {
    let document = large_array(&[
        (INT32, (-70_000_i32).to_le_bytes()),
        (UINT32, 4_000_000_000_u32.to_le_bytes()),
        (INT16, [0xff, 0xff, 0, 0]),
        (UINT16, [0xff, 0xff, 0, 0]),
        (LITERAL, [1, 0, 0, 0]),
    ]);
    assert_eq!(text(&document, Style::V8_0).unwrap(), "[-70000, 4000000000, -1, 65535, true]");
}

/// Small arrays of which each holds the next one `times` times.
fn nested_arrays(depth: usize, times: u16) -> Vec<u8> {
    let header = 4 + 3 * times;
    let mut document = vec![SMALL_ARRAY];
    for level in (0..depth).rev() {
        let rest = if level == 0 { 4 } else { level * usize::from(header) + 4 };
        document.extend(times.to_le_bytes());
        document.extend((usize::from(header) + rest).min(65_535).to_le_bytes()[..2].iter());
        for _ in 0..times {
            document.push(SMALL_ARRAY);
            document.extend(header.to_le_bytes());
        }
    }
    document.extend([0, 0, 4, 0]);
    document
}

#[test]
fn nesting_is_bounded_as_on_the_server() {
    let deepest = text(&nested_arrays(DEPTH_MAX - 1, 1), Style::V8_0).unwrap();
    assert_eq!(deepest, "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX));
    assert_eq!(text(&nested_arrays(DEPTH_MAX, 1), Style::V8_0), Err(Error::TooDeep));
}

#[test]
fn a_few_bytes_cannot_stand_for_endless_text() {
    // 50 levels, each of which holds the next one four times: 4^50 elements in 800 bytes.
    assert_eq!(text(&nested_arrays(50, 4), Style::V8_0), Err(Error::Overlap));
}

#[test]
fn damaged_documents_say_what_is_wrong() {
    assert_eq!(text(&[99], Style::V8_0), Err(Error::UnknownType(99)));
    assert_eq!(text(&[LITERAL, 7], Style::V8_0), Err(Error::UnknownType(7)));
    assert_eq!(text(&[STRING, 1, 0xff], Style::V8_0), Err(Error::Utf8));
    assert_eq!(text(&[OPAQUE, 246, 2, 3, 5], Style::V8_0), Err(Error::Opaque(246)));
    let short = Error::Malformed(Malformed::Short { wanted: 8, left: 1 });
    assert_eq!(text(&[DOUBLE, 1], Style::V8_0), Err(short));
}

proptest! {
    #[test]
    fn any_bytes_are_a_document_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = text(&bytes, Style::V8_0);
    }

    #[test]
    fn any_bytes_as_containers_are_a_document_or_an_error(
        kind in 0_u8..4,
        count in 0_u8..6,
        size in 0_u8..100,
        bytes in prop::collection::vec(0_u8..40, 0..100),
    ) {
        let wide: &[u8] = if kind % 2 == 1 { &[0, 0] } else { &[] };
        let head = [&[kind, count, 0][..], wide, &[size, 0], wide].concat();
        let _ = text(&[head, bytes].concat(), Style::V5_7);
    }

    #[test]
    fn doubles_read_back_as_themselves(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        prop_assume!(double.is_finite());
        let document = [&[DOUBLE][..], &bits.to_le_bytes()].concat();
        let printed = text(&document, Style::V8_0).unwrap();
        prop_assert_eq!(printed.parse::<f64>().unwrap().to_bits(), bits);
    }

    #[test]
    fn strings_read_back_as_themselves(string in any::<String>()) {
        prop_assume!(string.len() < 128);
        let document = [&[STRING, string.len() as u8], string.as_bytes()].concat();
        let printed = text(&document, Style::V8_0).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), string);
    }
}
