//! Tests, built under `#[cfg(test)]` only. Values against the text that real servers give for them.

use proptest::prelude::*;

use super::*;
use crate::row::Cell;
use crate::table::{Display, golden};

#[test]
fn values_are_what_the_server_prints() {
    let mut compared = 0;
    for golden in golden::tables() {
        let recorded = golden.recorded();
        let table = golden.table(&recorded.map());
        for cells in recorded.rows(&table) {
            let Cell::Bytes(id) = cells[0] else { panic!("the id is there") };
            let id = text(&table.columns[0], id).unwrap();
            let expected = golden.rows.iter().find(|row| row[0].as_deref() == Some(&*id)).unwrap();
            for ((column, cell), expected) in table.columns.iter().zip(cells).zip(expected) {
                let context =
                    format!("{} {}.{} of row {id}", golden.server, golden.table, column.name);
                compared += usize::from(assert_prints(column, cell, expected.as_deref(), &context));
            }
        }
    }
    assert!(compared > 1000, "{compared} values compared");
}

/// Whether there was something to compare.
fn assert_prints(column: &Column, cell: Cell<'_>, expected: Option<&str>, context: &str) -> bool {
    let bytes = match cell {
        Cell::Absent => return false,
        Cell::Null => {
            assert_eq!(expected, None, "{context}");
            return true;
        }
        Cell::Bytes(bytes) => bytes,
    };
    match column.kind {
        ColumnKind::Bit { .. } => {
            assert_eq!(Some(&*integer(column, bytes).unwrap().to_string()), expected, "{context}");
        }
        ColumnKind::Geometry { .. } => {
            let error = text(column, bytes).unwrap_err();
            assert!(matches!(error, Error::UnsupportedType { .. }), "{context}: {error}");
        }
        ColumnKind::Enum { .. } if context.starts_with("5.7.22 charsets.e_utf8mb4") => {
            // information_schema has a `?` for the emoji in this value, so it is not known.
            let is_known = !expected.is_some_and(|text| text.contains('😀'));
            assert_eq!(text(column, bytes).is_ok(), is_known, "{context}");
        }
        _ => assert_eq!(text(column, bytes).as_deref().ok(), expected, "{context}"),
    }
    true
}

/// A column of a type, and of nothing else.
pub(super) fn column(kind: ColumnKind) -> Column {
    Column {
        name: "c".to_owned(),
        kind,
        nullable: true,
        unsigned: None,
        charset: None,
        values: None,
        json_style: json::Style::V8_0,
        display: Display::default(),
    }
}

fn signed(kind: ColumnKind, unsigned: bool) -> Column {
    Column { unsigned: Some(unsigned), ..column(kind) }
}

#[test]
fn integers_keep_their_sign() {
    assert_eq!(integer(&signed(ColumnKind::Tiny, false), &[0x80]), Ok(-128));
    assert_eq!(integer(&signed(ColumnKind::Tiny, true), &[0x80]), Ok(128));
    assert_eq!(integer(&signed(ColumnKind::Int24, false), &[0xff, 0xff, 0xff]), Ok(-1));
    assert_eq!(integer(&signed(ColumnKind::LongLong, true), &[0xff; 8]), Ok(i128::from(u64::MAX)));
    assert_eq!(integer(&signed(ColumnKind::LongLong, false), &[0xff; 8]), Ok(-1));
}

#[test]
fn an_unknown_sign_matters_only_above_half() {
    assert_eq!(integer(&column(ColumnKind::Tiny), &[0x7f]), Ok(127));
    assert_eq!(
        integer(&column(ColumnKind::Tiny), &[0x80]),
        Err(Error::UnknownSign { column: "c".to_owned() })
    );
}

#[test]
fn years_and_bits_are_numbers() {
    assert_eq!(integer(&column(ColumnKind::Year), &[124]), Ok(2024));
    assert_eq!(text(&column(ColumnKind::Year), &[0]).unwrap(), "0000");
    assert_eq!(integer(&column(ColumnKind::Bit { bits: 10 }), &[0x02, 0x01]), Ok(513));
}

#[test]
fn a_value_of_another_length_than_its_type_is_an_error() {
    let error = integer(&column(ColumnKind::Long), &[1, 2, 3]).unwrap_err();
    assert_eq!(error, Error::Length { column: "c".to_owned(), wanted: 4, length: 3 });
}

#[test]
fn binary_values_are_text_only_when_they_are_utf8() {
    let binary = |kind| Column { charset: Some(Charset::Binary), ..column(kind) };
    let blob = binary(ColumnKind::Blob { length_bytes: 2 });
    assert_eq!(text(&blob, "é".as_bytes()).unwrap(), "é");
    let error = text(&blob, b"ab\xff").unwrap_err();
    assert_eq!(error.to_string(), "column c is binary, and its value is not UTF-8 from byte 2 on");
    let fixed = binary(ColumnKind::Char { bytes_max: 4 });
    assert_eq!(text(&fixed, b"ab").unwrap(), "ab\0\0");
}

#[test]
fn text_without_a_known_character_set_is_not_guessed() {
    let unknown = Error::UnknownCharset { column: "c".to_owned() };
    assert_eq!(text(&column(ColumnKind::VarChar { bytes_max: 9 }), b"a"), Err(unknown));
    let strange = Column {
        charset: Some(Charset::Unknown(999)),
        ..column(ColumnKind::Blob { length_bytes: 1 })
    };
    let error = text(&strange, b"a").unwrap_err();
    assert_eq!(error.to_string(), "column c has a value that is collation id 999 is not known");
}

#[test]
fn enums_and_sets_are_their_names() {
    let named = |kind| Column {
        values: Some(vec![Some("a".to_owned()), Some("b".to_owned())]),
        ..column(kind)
    };
    let one = named(ColumnKind::Enum { bytes: 1 });
    assert_eq!(text(&one, &[2]).unwrap(), "b");
    assert_eq!(text(&one, &[0]).unwrap(), "");
    assert_eq!(text(&one, &[3]), Err(Error::UnknownValue { column: "c".to_owned(), number: 3 }));
    let many = named(ColumnKind::Set { bytes: 1 });
    assert_eq!(text(&many, &[3]).unwrap(), "a,b");
    assert_eq!(text(&many, &[0]).unwrap(), "");
    assert_eq!(text(&many, &[4]), Err(Error::UnknownValue { column: "c".to_owned(), number: 4 }));
    assert!(text(&column(ColumnKind::Enum { bytes: 1 }), &[1]).is_err());
}

#[test]
fn types_without_text_say_so() {
    let error = text(&column(ColumnKind::TypedArray), &[1, 2, 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column c is a TYPED ARRAY, which this version cannot turn into text"
    );
    let error = integer(&column(ColumnKind::VarChar { bytes_max: 5 }), b"1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "column c is a VARCHAR/VARBINARY, which this version cannot turn into a number"
    );
}

#[test]
fn a_damaged_document_names_its_column() {
    let error = text(&column(ColumnKind::Json { length_bytes: 4 }), &[99]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column c: the JSON document has an unknown type or literal 0x63"
    );
}

fn written(column: &Column, bytes: &[u8]) -> String {
    let mut text = String::new();
    write_text(column, bytes, &mut text).unwrap();
    text
}

fn json(column: &Column, bytes: &[u8]) -> String {
    json_as(column, bytes, JsonOptions::default())
}

fn json_as(column: &Column, bytes: &[u8], options: JsonOptions) -> String {
    let mut out = Vec::new();
    write_json(column, bytes, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn binary_values_are_bytes_or_base64_or_hex() {
    let hex = JsonOptions { binary: BinaryFormat::Hex, ..JsonOptions::default() };
    let binary = |kind| Column { charset: Some(Charset::Binary), ..column(kind) };
    for (column, bytes, raw, base64, as_hex) in [
        (
            binary(ColumnKind::Char { bytes_max: 4 }),
            &b"a\xff"[..],
            &b"a\xff\0\0"[..],
            "Yf8AAA==",
            "61ff0000",
        ),
        (binary(ColumnKind::VarChar { bytes_max: 4 }), b"a\xff", b"a\xff", "Yf8=", "61ff"),
        (binary(ColumnKind::Blob { length_bytes: 2 }), b"", b"", "", ""),
        (
            column(ColumnKind::Geometry { length_bytes: 4 }),
            &[0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 1],
            "AAAAAAE=",
            "0000000001",
        ),
    ] {
        let mut out = Vec::new();
        write_bytes(&column, bytes, &mut out).unwrap();
        assert_eq!(out, raw);
        assert_eq!(written(&column, bytes), base64);
        assert_eq!(json(&column, bytes), format!("\"{base64}\""));
        assert_eq!(json_as(&column, bytes, hex), format!("\"{as_hex}\""));
    }
}

#[test]
fn bytes_of_other_types_are_their_text() {
    let latin1 =
        Column { charset: Some(Charset::Latin1), ..column(ColumnKind::VarChar { bytes_max: 9 }) };
    let mut out = b"before ".to_vec();
    write_bytes(&latin1, b"\xe9", &mut out).unwrap();
    assert_eq!(out, "before é".as_bytes());
    assert_eq!(json(&latin1, b"\"\xe9\n\x01"), "\"\\\"é\\n\\u0001\"");
}

#[test]
fn decimals_are_strings_or_numbers_in_json() {
    let decimal = column(ColumnKind::Decimal { precision: 5, scale: 2 });
    let number = JsonOptions { decimal: DecimalFormat::Number, ..JsonOptions::default() };
    assert_eq!(json(&decimal, &[0x7f, 0xfe, 0xcd]), "\"-1.50\"");
    assert_eq!(json_as(&decimal, &[0x7f, 0xfe, 0xcd], number), "-1.50");
    let zerofill = Column { display: Display { zerofill: Some(6), decimals: None }, ..decimal };
    assert_eq!(json(&zerofill, &[0x80, 0x01, 0x32]), "\"001.50\"");
    assert_eq!(json_as(&zerofill, &[0x80, 0x01, 0x32], number), "1.50");
}

#[test]
fn zerofill_is_in_the_text_and_in_nothing_else() {
    let display = Display { zerofill: Some(5), decimals: None };
    let padded = Column { display, ..signed(ColumnKind::Long, true) };
    assert_eq!(written(&padded, &[42, 0, 0, 0]), "00042");
    assert_eq!(json(&padded, &[42, 0, 0, 0]), "42");
    assert_eq!(text(&padded, &[42, 0, 0, 0]).unwrap(), "42");
}

#[test]
fn floats_have_all_their_digits_in_json() {
    let bytes = 16_777_217.0_f32.to_le_bytes();
    assert_eq!(written(&column(ColumnKind::Float), &bytes), "16777200");
    assert_eq!(json(&column(ColumnKind::Float), &bytes), "16777216");
    let infinite = f64::INFINITY.to_le_bytes();
    let error = write_text(&column(ColumnKind::Double), &infinite, &mut String::new()).unwrap_err();
    assert_eq!(error.to_string(), "column c has a value that no server stores in a DOUBLE");
}

#[test]
fn numbers_of_other_types_are_numbers_in_json() {
    assert_eq!(json(&column(ColumnKind::Bit { bits: 64 }), &[0xff; 8]), "18446744073709551615");
    assert_eq!(json(&column(ColumnKind::Year), &[0]), "0");
    assert_eq!(
        json(&signed(ColumnKind::LongLong, false), &i64::MIN.to_le_bytes()),
        "-9223372036854775808"
    );
}

#[test]
fn vectors_are_arrays() {
    let vector = column(ColumnKind::Vector { length_bytes: 4 });
    let bytes: Vec<u8> =
        [0.1_f32, 2.0, -0.0].iter().flat_map(|float| float.to_le_bytes()).collect();
    assert_eq!(written(&vector, &bytes), "[0.1,2,-0]");
    assert_eq!(json(&vector, &bytes), "[0.1,2,-0]");
    assert_eq!(json(&vector, &[]), "[]");
    for damaged in [&bytes[..5], &f32::NAN.to_le_bytes()] {
        let error = write_text(&vector, damaged, &mut String::new()).unwrap_err();
        assert!(matches!(error, Error::Damaged { kind: "VECTOR", .. }), "{error}");
    }
}

#[test]
fn a_member_without_a_name_takes_no_comma_before_the_next() {
    let set = Column {
        values: Some(["x", "", "y"].map(|name| Some(name.to_owned())).to_vec()),
        ..column(ColumnKind::Set { bytes: 1 })
    };
    for (number, expected) in [(0, ""), (2, ""), (3, "x,"), (6, "y"), (7, "x,,y")] {
        assert_eq!(written(&set, &[number]), expected);
        assert_eq!(text(&set, &[number]).unwrap(), expected);
    }
}

#[test]
fn times_before_mysql_5_6_are_decimal() {
    let time = column(ColumnKind::Time);
    assert_eq!(written(&time, &8_385_959_u32.to_le_bytes()[..3]), "838:59:59");
    assert_eq!(written(&time, &(-8_385_959_i32).to_le_bytes()[..3]), "-838:59:59");
    assert_eq!(written(&time, &[0, 0, 0]), "00:00:00");
    let datetime = column(ColumnKind::DateTime);
    assert_eq!(written(&datetime, &20_240_229_123_456_u64.to_le_bytes()), "2024-02-29 12:34:56");
    assert_eq!(written(&datetime, &[0; 8]), "0000-00-00 00:00:00");
    let timestamp = column(ColumnKind::Timestamp);
    assert_eq!(written(&timestamp, &1_709_210_096_u32.to_le_bytes()), "2024-02-29 12:34:56");
    assert_eq!(json(&timestamp, &[0; 4]), "\"0000-00-00 00:00:00\"");
}

#[test]
fn negative_times_count_their_fraction_back_from_zero() {
    let time = |fraction| column(ColumnKind::Time2 { fraction });
    assert_eq!(written(&time(2), &[0x7f, 0xff, 0xff, 0xf6]), "-00:00:00.10");
    assert_eq!(written(&time(1), &[0x7f, 0xff, 0xff, 0xf6]), "-00:00:00.1");
    assert_eq!(written(&time(0), &[0x7f, 0xff, 0xff]), "-00:00:01");
    assert_eq!(written(&time(6), &[0x80, 0, 0, 0, 0, 1]), "00:00:00.000001");
}

#[test]
fn times_that_no_server_stores_are_damage() {
    let damaged = |kind, bytes: &[u8]| {
        let error = write_text(&column(kind), bytes, &mut String::new()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{kind:?} {bytes:?}: {error}");
    };
    damaged(ColumnKind::Date, &[0xff, 0xff, 0xff]);
    damaged(ColumnKind::Time2 { fraction: 0 }, &[0xff, 0xff, 0xff]);
    damaged(ColumnKind::Time2 { fraction: 2 }, &[0x80, 0, 0, 100]);
    damaged(ColumnKind::DateTime2 { fraction: 0 }, &[0, 0, 0, 0, 1]);
    damaged(ColumnKind::DateTime2 { fraction: 0 }, &[0x80, 0, 0, 0, 0x3f]);
    damaged(ColumnKind::Timestamp2 { fraction: 6 }, &[0, 0, 0, 1, 0xff, 0xff, 0xff]);
    damaged(ColumnKind::Time, &[0xff, 0xff, 0x7f]);
    damaged(ColumnKind::DateTime, &[0xff; 8]);
}

#[test]
fn a_document_nested_in_json_has_no_raw_line_feed() {
    let mut document = vec![15, 252, 200, 1];
    document.extend([0xff; 200]);
    let old =
        Column { json_style: json::Style::V5_7, ..column(ColumnKind::Json { length_bytes: 4 }) };
    assert!(written(&old, &document).contains('\n'));
    assert!(json(&old, &document).contains("\\n"));
    serde_json::from_str::<serde_json::Value>(&json(&old, &document)).unwrap();
    let infinite = [&[11][..], &f64::INFINITY.to_le_bytes()].concat();
    assert!(write_text(&old, &infinite, &mut String::new()).is_err());
}

pub(super) fn any_kind() -> impl Strategy<Value = ColumnKind> {
    prop_oneof![
        Just(ColumnKind::Tiny),
        Just(ColumnKind::Int24),
        Just(ColumnKind::LongLong),
        Just(ColumnKind::Year),
        (1_u16..=64).prop_map(|bits| ColumnKind::Bit { bits }),
        Just(ColumnKind::Enum { bytes: 2 }),
        Just(ColumnKind::Set { bytes: 8 }),
        Just(ColumnKind::Json { length_bytes: 4 }),
        any::<u16>().prop_map(|bytes_max| ColumnKind::Char { bytes_max }),
        Just(ColumnKind::Blob { length_bytes: 4 }),
        Just(ColumnKind::Decimal { precision: 65, scale: 30 }),
        (1_u8..=65)
            .prop_map(|precision| ColumnKind::Decimal { precision, scale: precision.min(30) / 2 }),
        Just(ColumnKind::Float),
        Just(ColumnKind::Double),
        Just(ColumnKind::Date),
        Just(ColumnKind::Time),
        Just(ColumnKind::DateTime),
        Just(ColumnKind::Timestamp),
        (0_u8..=6).prop_map(|fraction| ColumnKind::Time2 { fraction }),
        (0_u8..=6).prop_map(|fraction| ColumnKind::DateTime2 { fraction }),
        (0_u8..=6).prop_map(|fraction| ColumnKind::Timestamp2 { fraction }),
        Just(ColumnKind::Geometry { length_bytes: 4 }),
        Just(ColumnKind::Vector { length_bytes: 4 }),
        Just(ColumnKind::TypedArray),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_have_a_text_and_a_number_or_an_error(
        kind in any_kind(),
        unsigned in any::<Option<bool>>(),
        collation in 0_usize..400,
        zerofill in any::<Option<u8>>(),
        decimals in prop::option::of(0_u8..=30),
        fits in prop::bool::weighted(0.8),
        hex in any::<bool>(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let charset = Some(Charset::from_collation(collation));
        let display = Display { zerofill, decimals };
        let values = (0..9).map(|number| Some(format!("\"{number}"))).collect();
        let column = Column { unsigned, charset, display, values: Some(values), ..column(kind) };
        if let (Size::Fixed(length), true) = (kind.size(), fits) {
            bytes.resize(length.into(), 0x80);
        }
        let _ = integer(&column, &bytes);
        let mut out = String::new();
        let is_text = write_text(&column, &bytes, &mut out).is_ok();
        if let (Ok(text), true) = (text(&column, &bytes), is_text) {
            let is_binary = charset == Some(Charset::Binary) && kind.is_character();
            prop_assert!(is_binary || kind.is_integer() || text == out);
        }
        let _ = write_bytes(&column, &bytes, &mut Vec::new());
        let options = match hex {
            true => JsonOptions { decimal: DecimalFormat::Number, binary: BinaryFormat::Hex },
            false => JsonOptions::default(),
        };
        let mut out = String::new();
        let is_json = write_json(&column, &bytes, options, &mut out).is_ok();
        prop_assert_eq!(is_json, is_text);
        if is_json {
            prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&out).is_ok(), "{}", out);
        }
    }
}
