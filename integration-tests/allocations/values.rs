//! Text, JSON and bytes of a value of any type go into a buffer that is large enough without an allocation.

use mysql_binlog::JsonStyle;
use mysql_binlog::charset::Charset;
use mysql_binlog::table::{Column, ColumnKind, Display};
use mysql_binlog::value::{self, BinaryFormat, DecimalFormat, JsonOptions};

fn column(kind: ColumnKind, charset: Option<Charset>) -> Column {
    Column {
        name: "c".to_owned(),
        kind,
        nullable: true,
        unsigned: Some(true),
        charset,
        values: Some(vec![Some("a".to_owned()), Some("\"b\"".to_owned())]),
        json_style: JsonStyle::V8_0,
        display: Display::default(),
    }
}

fn values() -> Vec<(Column, Vec<u8>)> {
    let of = |kind, bytes: &[u8]| (column(kind, None), bytes.to_vec());
    let text = |kind, charset, bytes: &[u8]| (column(kind, Some(charset)), bytes.to_vec());
    let decimal: Vec<u8> = [0x80].into_iter().chain([1; 29]).collect();
    vec![
        of(ColumnKind::LongLong, &[0xff; 8]),
        of(ColumnKind::Decimal { precision: 65, scale: 30 }, &decimal),
        of(ColumnKind::Float, &0.1_f32.to_le_bytes()),
        of(ColumnKind::Double, &f64::MIN_POSITIVE.to_le_bytes()),
        of(ColumnKind::Bit { bits: 64 }, &[0xff; 8]),
        of(ColumnKind::Year, &[124]),
        of(ColumnKind::Date, &[0x5d, 0xd0, 0x0f]),
        of(ColumnKind::Time2 { fraction: 6 }, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]),
        of(ColumnKind::DateTime2 { fraction: 6 }, &[0x99, 0xb2, 0xba, 0xc8, 0xb8, 0, 0, 1]),
        of(ColumnKind::Timestamp2 { fraction: 6 }, &[0x65, 0, 0, 0, 0, 0, 1]),
        of(ColumnKind::Enum { bytes: 1 }, &[2]),
        of(ColumnKind::Set { bytes: 1 }, &[3]),
        of(ColumnKind::Geometry { length_bytes: 4 }, &[7; 25]),
        of(ColumnKind::Vector { length_bytes: 4 }, &[1; 40]),
        // {"a": 1}
        of(ColumnKind::Json { length_bytes: 4 }, &[0, 1, 0, 12, 0, 11, 0, 1, 0, 5, 1, 0, 97]),
        text(ColumnKind::VarChar { bytes_max: 99 }, Charset::Utf8mb4, "é \"漢\"".as_bytes()),
        text(ColumnKind::Blob { length_bytes: 2 }, Charset::Binary, &[0xff; 300]),
        text(ColumnKind::Char { bytes_max: 20 }, Charset::Binary, &[0xff; 3]),
    ]
}

#[test]
fn nothing_is_allocated_for_the_text_and_the_json_of_a_value() {
    let hex = JsonOptions { decimal: DecimalFormat::Number, binary: BinaryFormat::Hex };
    let (mut text, mut bytes) = (String::with_capacity(4_096), Vec::with_capacity(4_096));
    for (column, value) in values() {
        text.clear();
        bytes.clear();
        let allocated = allocation_counter::measure(|| {
            value::write_text(&column, &value, &mut text).expect("a text");
            value::write_json(&column, &value, JsonOptions::default(), &mut text).expect("JSON");
            value::write_json(&column, &value, hex, &mut text).expect("JSON");
            value::write_bytes(&column, &value, &mut bytes).expect("bytes");
        });
        assert_eq!(allocated.count_total, 0, "{:?}: {text}", column.kind);
        assert!(!text.is_empty() && !bytes.is_empty(), "{:?}", column.kind);
    }
}
