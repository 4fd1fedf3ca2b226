//! Tests, built under `#[cfg(test)]` only. Values against the text that real servers give for them.

use proptest::prelude::*;

use super::*;
use crate::row::Cell;
use crate::table::golden;

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
        ColumnKind::Float
        | ColumnKind::Double
        | ColumnKind::Decimal { .. }
        | ColumnKind::Date
        | ColumnKind::Time2 { .. }
        | ColumnKind::DateTime2 { .. }
        | ColumnKind::Timestamp2 { .. }
        | ColumnKind::Geometry { .. } => {
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

fn column(kind: ColumnKind) -> Column {
    Column {
        name: "c".to_owned(),
        kind,
        nullable: true,
        unsigned: None,
        charset: None,
        values: None,
        json_style: json::Style::V8_0,
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
    let error = text(&column(ColumnKind::Date), &[1, 2, 3]).unwrap_err();
    assert_eq!(error.to_string(), "column c is a DATE, which this version cannot turn into text");
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

fn any_kind() -> impl Strategy<Value = ColumnKind> {
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
        Just(ColumnKind::TypedArray),
    ]
}

proptest! {
    #[test]
    fn any_bytes_have_a_text_and_a_number_or_an_error(
        kind in any_kind(),
        unsigned in any::<Option<bool>>(),
        collation in 0_usize..400,
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let charset = Some(Charset::from_collation(collation));
        let column = Column { unsigned, charset, ..column(kind) };
        let _ = text(&column, &bytes);
        let _ = integer(&column, &bytes);
    }
}
