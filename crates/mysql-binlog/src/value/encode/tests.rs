//! Tests, built under `#[cfg(test)]` only. What was encoded from a text is written as the same text again.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::charset::Charset;
use super::super::super::json::{self, Style};
use super::super::super::row::Cell;
use super::super::super::table::{Display, Size, Table, golden};
use super::super::tests::{any_kind, column};
use super::super::{DecimalFormat, write_bytes, write_json, write_text};
use super::*;

fn text(column: &Column, bytes: &[u8]) -> String {
    let mut out = String::new();
    write_text(column, bytes, &mut out).unwrap();
    out
}

fn in_json(column: &Column, bytes: &[u8], options: JsonOptions) -> String {
    let mut out = String::new();
    write_json(column, bytes, options, &mut out).unwrap();
    out
}

const ALL_OPTIONS: [JsonOptions; 2] = [
    JsonOptions { decimal: DecimalFormat::String, binary: BinaryFormat::Base64 },
    JsonOptions { decimal: DecimalFormat::Number, binary: BinaryFormat::Hex },
];

fn encode_text_of_json(
    column: &Column,
    json: &str,
    options: JsonOptions,
) -> Result<Option<Vec<u8>>, EncodeError> {
    encode_json(column, &RawValue::from_string(json.to_owned()).unwrap(), options)
}

fn assert_comes_back(column: &Column, bytes: &[u8], context: &str) {
    let printed = text(column, bytes);
    let encoded =
        encode_text(column, &printed).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(text(column, &encoded), printed, "{context}");
    for options in ALL_OPTIONS {
        let printed = in_json(column, bytes, options);
        let encoded = encode_text_of_json(column, &printed, options)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        // The document null is NULL where the column can be.
        if let Some(encoded) = encoded {
            assert_eq!(in_json(column, &encoded, options), printed, "{context}");
            let (mut one, mut other) = (Vec::new(), Vec::new());
            write_bytes(column, bytes, &mut one).unwrap();
            write_bytes(column, &encoded, &mut other).unwrap();
            assert_eq!(one, other, "{context}");
        } else {
            assert_eq!(printed, "null", "{context}");
        }
    }
}

#[test]
fn rows_that_servers_logged_are_encoded_from_their_text_and_their_json() {
    let mut compared = 0;
    for golden in golden::tables() {
        let recorded = golden.recorded();
        let table = golden.table(&recorded.map());
        for cells in recorded.rows(&table) {
            for (column, cell) in table.columns.iter().zip(cells) {
                let Cell::Bytes(bytes) = cell else { continue };
                let context =
                    format!("{} {}.{} {bytes:x?}", golden.server, golden.table, column.name);
                if write_text(column, bytes, &mut String::new()).is_err() {
                    continue;
                }
                compared += 1;
                assert_comes_back(column, bytes, &context);
                assert_same_bytes(column, bytes, &context);
            }
        }
    }
    assert!(compared > 1000, "{compared} values compared");
}

/// Where a text is of one value only, and no character set has two sequences for a character.
fn assert_same_bytes(column: &Column, bytes: &[u8], context: &str) {
    let is_exact = !matches!(
        column.kind,
        ColumnKind::Float | ColumnKind::Json { .. } | ColumnKind::Blob { .. }
    ) && !column.kind.is_character();
    if is_exact {
        assert_eq!(encode_text(column, &text(column, bytes)).unwrap(), bytes, "{context}");
    }
}

#[derive(Deserialize)]
struct GoldenDocuments {
    server: String,
    documents: Vec<(String, String)>,
}

#[test]
fn documents_that_servers_logged_are_encoded_from_their_text() {
    let golden: Vec<GoldenDocuments> =
        serde_json::from_str(include_str!("../../golden/json.json")).unwrap();
    let mut same_bytes = 0;
    let mut all = 0;
    for GoldenDocuments { server, documents } in golden {
        let style = Style::of_server(&server);
        for (document, printed) in documents {
            let encoded = document::encode_text(&printed).unwrap();
            assert_eq!(json::text(&encoded, style).unwrap(), printed, "{server}");
            all += 1;
            same_bytes += usize::from(encoded == golden::unhex(&document));
        }
    }
    // The others have dates, times, small unsigned numbers or, on 5.7, whole doubles.
    assert!(same_bytes * 10 > all * 6, "{same_bytes} of {all} have the server's bytes");
}

fn misfit(column: &Column, text: &str) -> String {
    encode_text(column, text).unwrap_err().to_string()
}

#[test]
fn a_value_that_the_column_cannot_hold_is_an_error_that_says_why() {
    let tiny = Column { unsigned: Some(true), ..column(ColumnKind::Tiny) };
    let named = |kind| Column { values: Some(vec![Some("a".to_owned())]), ..column(kind) };
    let binary =
        Column { charset: Some(Charset::Binary), ..column(ColumnKind::VarChar { bytes_max: 2 }) };
    let latin1 =
        Column { charset: Some(Charset::Latin1), ..column(ColumnKind::Char { bytes_max: 2 }) };
    let decimal = column(ColumnKind::Decimal { precision: 5, scale: 2 });
    for (column, text, wanted) in [
        (
            &tiny,
            "256",
            "256 is no value of column c (TINYINT UNSIGNED): it is not between 0 and 255",
        ),
        (&tiny, "-1", "it is not between 0 and 255"),
        (&tiny, "1.5", "write it as a whole number"),
        (&column(ColumnKind::Tiny), "200", "whether the column is UNSIGNED"),
        (&column(ColumnKind::Bit { bits: 3 }), "8", "(BIT(3)): it is not between 0 and 7"),
        (&column(ColumnKind::Year), "1900", "between 1901 and 2155"),
        (&decimal, "1234.5", "3 digits before the point and 2 after it"),
        (&decimal, "1.234", "(DECIMAL(5,2)): the type has 3 digits"),
        (&decimal, "abc", "write it as digits, such as -12.50"),
        (&column(ColumnKind::Double), "1e999", "it is not between"),
        (&column(ColumnKind::Float), "nan", "write it as a number"),
        (&column(ColumnKind::Date), "31.1.2026", "write it as a date, such as 2026-01-31"),
        (&column(ColumnKind::Time2 { fraction: 0 }), "839:00:00", "write it as a time"),
        (&column(ColumnKind::DateTime2 { fraction: 1 }), "2026-01-31 12:00:00.25", "DATETIME(1)"),
        (&column(ColumnKind::Timestamp2 { fraction: 0 }), "1969-12-31 00:00:00", "1970-01-01"),
        (&column(ColumnKind::Timestamp2 { fraction: 0 }), "2026-02-30 00:00:00", "a date and time"),
        (&named(ColumnKind::Enum { bytes: 1 }), "b", "it has no member \"b\", but a"),
        (&named(ColumnKind::Set { bytes: 1 }), "a,b", "it has no member \"b\", but a"),
        (&binary, "Yf8AAA==", "it takes 4 bytes, the column has room for 2"),
        (&binary, "é", "(VARBINARY): bytes are written in base64"),
        (&latin1, "中", "latin1 has no character '中'"),
        (&column(ColumnKind::Json { length_bytes: 4 }), "{", "it is no JSON"),
        (&column(ColumnKind::Vector { length_bytes: 4 }), "[1,]", "write it as an array"),
        (&column(ColumnKind::TypedArray), "1", "this version cannot encode the type"),
    ] {
        let told = misfit(column, text);
        assert!(told.contains(wanted), "{told}\nwanted {wanted}");
    }
}

#[test]
fn json_of_another_type_is_an_error() {
    let not_null = |kind| Column { nullable: false, ..column(kind) };
    for (column, json, wanted) in [
        (column(ColumnKind::Double), "true", "it is of another type"),
        (column(ColumnKind::Date), "{}", "it is of another type"),
        (not_null(ColumnKind::Year), "null", "the column is NOT NULL"),
    ] {
        let error = encode_text_of_json(&column, json, JsonOptions::default()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let document = not_null(ColumnKind::Json { length_bytes: 4 });
    let null = encode_text_of_json(&document, "null", JsonOptions::default()).unwrap().unwrap();
    assert_eq!(text(&document, &null), "null");
    let flag = Column { unsigned: Some(false), ..column(ColumnKind::Tiny) };
    assert_eq!(encode_text_of_json(&flag, "true", JsonOptions::default()), Ok(Some(vec![1])));
}

#[test]
fn a_document_nests_as_deep_as_the_server_allows_and_no_deeper() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    let encoded = document::encode(&nested(100)).unwrap();
    assert_eq!(json::text(&encoded, Style::V8_0).unwrap(), nested(100));
    assert!(document::encode(&nested(101)).is_err());
}

#[test]
fn a_large_document_is_in_the_large_format() {
    let long = "x".repeat(70_000);
    let text = format!(r#"{{"a": [1, 70000, -70000, true, "{long}"], "b": [], "ccc": {{}}}}"#);
    let encoded = document::encode(&text).unwrap();
    assert_eq!(json::text(&encoded, Style::V8_0).unwrap(), text);
}

#[test]
fn a_row_is_a_json_object() {
    let table = Table {
        schema: "shop".to_owned(),
        name: "orders".to_owned(),
        columns: vec![
            Column { name: "id".to_owned(), unsigned: Some(true), ..column(ColumnKind::Long) },
            Column { name: "day".to_owned(), ..column(ColumnKind::Date) },
            Column { name: "note".to_owned(), ..column(ColumnKind::Json { length_bytes: 4 }) },
        ],
        primary_key: Vec::new(),
    };
    let row = |json: &str| row_from_json(&table, json, JsonOptions::default());
    let encoded = row(r#"{"ID": 7, "day": null}"#).unwrap();
    assert_eq!(encoded.cells(&[2, 1, 0]), [Cell::Absent, Cell::Null, Cell::Bytes(&[7, 0, 0, 0])]);
    for (json, wanted) in [
        ("[]", "the row is no JSON object"),
        ("{", "the row is no JSON object"),
        (r#"{"idd": 7}"#, "the table shop.orders has no column idd; it has id, day, note"),
        (r#"{"id": 7, "ID": 8}"#, "the row has the column id twice"),
        (r#"{"id": "x"}"#, "\"x\" is no value of column id (INT UNSIGNED): write it as a whole"),
    ] {
        let told = row(json).unwrap_err().to_string();
        assert!(told.starts_with(wanted), "{told}");
    }
}

/// A JSON text.
fn any_json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|it| it.to_string()),
        any::<i64>().prop_map(|it| it.to_string()),
        any::<i16>().prop_map(|it| it.to_string()),
        any::<u64>().prop_map(|it| it.to_string()),
        any::<f64>().prop_filter("finite", |it| it.is_finite()).prop_map(|it| it.to_string()),
        any::<f64>().prop_filter("finite", |it| it.is_finite()).prop_map(|it| format!("{it:e}")),
        "-?(0|[1-9][0-9]{0,40})\\.[0-9]{1,32}",
        any::<String>().prop_map(|it| serde_json::to_string(&it).unwrap()),
    ];
    scalar.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(|it| format!("[{}]", it.join(","))),
            prop::collection::vec((any::<String>(), inner), 0..8).prop_map(|members| {
                let member = |(key, value): &(String, String)| {
                    format!("{}: {value}", serde_json::to_string(key).unwrap())
                };
                let members: Vec<_> = members.iter().map(member).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_printed_is_encoded_and_printed_again(
        kind in any_kind(),
        unsigned in any::<bool>(),
        collation in 0_usize..325,
        decimals in prop::option::of(0_u8..=30),
        zerofill in any::<Option<u8>>(),
        v5_7 in any::<bool>(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let unsigned = kind.is_integer().then_some(unsigned);
        let charset = Some(Charset::from_collation(collation));
        let json_style = if v5_7 { Style::V5_7 } else { Style::V8_0 };
        // A ZEROFILL column is UNSIGNED.
        let display = Display { zerofill: zerofill.filter(|_| unsigned == Some(true)), decimals };
        let values = ["a", "", "b", "ccc", "d", "e", "f", "g", "h"];
        let values = values.map(|name| Some(name.to_owned())).to_vec();
        let column = Column { unsigned, charset, json_style, display, values: Some(values), ..column(kind) };
        if let Size::Fixed(length) = kind.size() {
            bytes.resize(length.into(), 0x80);
        }
        if let ColumnKind::Bit { bits } = kind && bits % 8 > 0 {
            bytes[0] &= (1 << (bits % 8)) - 1;
        }
        if let ColumnKind::Char { bytes_max } = kind {
            bytes.truncate(bytes_max.into());
        }
        // No server stores more digits of a fraction than the column has, or a negative zero.
        let is_odd = matches!(kind, ColumnKind::Time2 { fraction: 1 | 3 | 5 });
        let mut printed = String::new();
        if is_odd || write_text(&column, &bytes, &mut printed).is_err() {
            return Ok(());
        }
        let is_zero = !printed.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        if matches!(kind, ColumnKind::Decimal { .. }) && is_zero {
            return Ok(());
        }
        assert_comes_back(&column, &bytes, &format!("{kind:?} {charset:?}"));
    }

    #[test]
    fn any_document_is_printed_as_it_was_given(text in any_json()) {
        let encoded = document::encode(&text).unwrap();
        let printed = json::text(&encoded, Style::V8_0).unwrap();
        let values = (
            serde_json::from_str::<serde_json::Value>(&printed).unwrap(),
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        );
        prop_assert!(is_same(&values.0, &values.1), "{}\n{}", text, printed);
        prop_assert_eq!(document::encode(&printed).unwrap(), encoded);
    }

    #[test]
    fn any_text_is_a_value_or_an_error(kind in any_kind(), collation in 0_usize..400, text in any::<String>()) {
        let charset = Some(Charset::from_collation(collation));
        let column = Column { charset, ..column(kind) };
        if let Ok(bytes) = encode_text(&column, &text) {
            prop_assert!(write_text(&column, &bytes, &mut String::new()).is_ok(), "{:?} {}", kind, text);
        }
    }
}

/// Whole numbers may become doubles of the same value: beyond 64 bits, JSON has no others.
fn is_same(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (one, other) {
        (Number(one), Number(other)) => {
            // serde_json may miss a double by its last bit.
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            one == other || (one - other).abs() <= one.abs() * 1e-15
        }
        (Array(one), Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Object(one), Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| one.0 == other.0 && is_same(one.1, other.1))
        }
        _ => one == other,
    }
}
