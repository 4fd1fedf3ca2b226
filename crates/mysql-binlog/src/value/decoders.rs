//! Tests, built under `#[cfg(test)]` only. Generated rows of every type that three decoders know: ours, mysql_common's
//! and mysql_cdc's, which share no code, read the same values.

use std::collections::HashMap;
use std::io::Cursor;

use mysql_async::Value;
use mysql_async::binlog::BinlogVersion;
use mysql_async::binlog::events::{Event, EventData, FormatDescriptionEvent, RowsEventData};
use mysql_async::binlog::value::BinlogValue;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;
use mysql_cdc::events::row_events::write_rows_event::WriteRowsEvent;
use mysql_cdc::events::table_map_event::TableMapEvent;
use proptest::prelude::*;

use super::*;
use crate::event_type::WRITE_ROWS;
use crate::row::{Cell, RowDecoder, RowsEvent};
use crate::table::{Table, TableMap, golden};
use crate::write::{Column as Written, TableShape};

/// A column and the bytes of one value.
type Generated = (ColumnKind, bool, Vec<u8>);

fn big_endian(number: u64, bytes: usize) -> Vec<u8> {
    number.to_be_bytes()[8 - bytes..].to_vec()
}

/// As the server packs it, written from the format's description.
fn packed_decimal(whole: &str, fraction: &str, is_negative: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut group = |digits: &str| {
        if !digits.is_empty() {
            let number = digits.parse().expect("digits");
            bytes.extend(big_endian(number, [0, 1, 1, 2, 2, 3, 3, 4, 4, 4][digits.len()]));
        }
    };
    let (first, rest) = whole.split_at(whole.len() % 9);
    group(first);
    (0..rest.len()).step_by(9).for_each(|at| group(&rest[at..at + 9]));
    (0..fraction.len()).step_by(9).for_each(|at| group(&fraction[at..fraction.len().min(at + 9)]));
    bytes[0] ^= 0x80;
    if is_negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    bytes
}

fn decimal() -> impl Strategy<Value = Generated> {
    (1_usize..=65, 0_usize..=30, "[0-9]{65}", any::<bool>()).prop_map(
        |(precision, scale, digits, sign)| {
            let scale = scale.min(precision);
            let (whole, fraction) = (&digits[..precision - scale], &digits[65 - scale..]);
            let is_zero = !digits.contains(|digit| digit != '0');
            let kind = ColumnKind::Decimal { precision: precision as u8, scale: scale as u8 };
            (kind, false, packed_decimal(whole, fraction, sign && !is_zero))
        },
    )
}

/// Microseconds cut to so many digits, in as many bytes as they take.
fn fraction(microseconds: u64, digits: u8) -> Vec<u8> {
    let cut = microseconds - microseconds % 10_u64.pow(6 - u32::from(digits));
    let bytes = usize::from(digits.div_ceil(2));
    big_endian(cut / 100_u64.pow(3 - bytes as u32), bytes)
}

fn date() -> impl Strategy<Value = (u64, u64, u64)> {
    (0_u64..10_000, 0_u64..=12, 0_u64..=31)
}

fn clock(hours: u64) -> impl Strategy<Value = (u64, u64, u64, u64, u8)> {
    (0..hours, 0_u64..60, 0_u64..60, 0_u64..1_000_000, 0_u8..=6)
}

fn temporal() -> impl Strategy<Value = Generated> {
    prop_oneof![
        date().prop_map(|(year, month, day)| {
            let packed = year << 9 | month << 5 | day;
            (ColumnKind::Date, false, packed.to_le_bytes()[..3].to_vec())
        }),
        (date(), clock(24)).prop_map(
            |((year, month, day), (hour, minute, second, micros, digits))| {
                let date = (year * 13 + month) << 22 | day << 17;
                let packed = 1 << 39 | date | hour << 12 | minute << 6 | second;
                let bytes = [big_endian(packed, 5), fraction(micros, digits)].concat();
                (ColumnKind::DateTime2 { fraction: digits }, false, bytes)
            }
        ),
        (1_u64..1 << 31, 0_u64..1_000_000, 0_u8..=6).prop_map(|(seconds, micros, digits)| {
            let bytes = [big_endian(seconds, 4), fraction(micros, digits)].concat();
            (ColumnKind::Timestamp2 { fraction: digits }, false, bytes)
        }),
        (clock(839), any::<bool>()).prop_map(
            |((hour, minute, second, micros, digits), is_negative)| {
                let fraction_bytes = fraction(micros, digits);
                let of_fraction =
                    fraction_bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                let shift = 8 * fraction_bytes.len();
                let packed = (hour << 12 | minute << 6 | second) << shift | of_fraction;
                let middle = 1_u64 << (23 + shift);
                let number = if is_negative { middle - packed } else { middle + packed };
                (
                    ColumnKind::Time2 { fraction: digits },
                    false,
                    big_endian(number, 3 + fraction_bytes.len()),
                )
            }
        ),
    ]
}

fn generated() -> impl Strategy<Value = Generated> {
    let integers = prop::sample::select(vec![
        ColumnKind::Tiny,
        ColumnKind::Short,
        ColumnKind::Int24,
        ColumnKind::Long,
        ColumnKind::LongLong,
    ]);
    let integer = (integers, any::<bool>(), any::<u64>()).prop_map(|(kind, unsigned, number)| {
        let Size::Fixed(bytes) = kind.size() else { panic!("an integer has a length") };
        (kind, unsigned, number.to_le_bytes()[..usize::from(bytes)].to_vec())
    });
    let finite = any::<f32>().prop_filter("finite", |float| float.is_finite());
    let double = any::<f64>().prop_filter("finite", |double| double.is_finite());
    prop_oneof![
        integer,
        decimal(),
        temporal(),
        finite.prop_map(|float| (ColumnKind::Float, false, float.to_le_bytes().to_vec())),
        double.prop_map(|double| (ColumnKind::Double, false, double.to_le_bytes().to_vec())),
        (1_u8..=255).prop_map(|year| (ColumnKind::Year, true, vec![year])),
        (1_u16..=64, any::<u64>()).prop_map(|(bits, number)| {
            let number = number >> (64 - bits);
            (ColumnKind::Bit { bits }, false, big_endian(number, usize::from(bits.div_ceil(8))))
        }),
        "\\PC{0,80}".prop_map(|text| (
            ColumnKind::VarChar { bytes_max: 1000 },
            false,
            text.into_bytes()
        )),
        "[a-z]{0,40}".prop_map(|text| (
            ColumnKind::Char { bytes_max: 160 },
            false,
            text.into_bytes()
        )),
    ]
}

/// What another decoder says a value is, in our words. `Nothing`: it is known to read it wrongly.
#[derive(Debug, PartialEq)]
enum Said {
    Text(String),
    Float(f32),
    Double(f64),
    Nothing,
}

fn micros(digits: u8, microseconds: u32) -> String {
    let all = format!("{microseconds:06}");
    if digits == 0 { String::new() } else { format!(".{}", &all[..usize::from(digits)]) }
}

fn digits_of(kind: ColumnKind) -> u8 {
    match kind {
        ColumnKind::Time2 { fraction }
        | ColumnKind::DateTime2 { fraction }
        | ColumnKind::Timestamp2 { fraction } => fraction,
        _ => 0,
    }
}

fn utc(kind: ColumnKind, micros: i64) -> Said {
    let at = jiff::Timestamp::from_microsecond(micros)
        .expect("a time")
        .to_zoned(jiff::tz::TimeZone::UTC);
    let digits = usize::from(digits_of(kind));
    let fraction = format!("{:06}", micros % 1_000_000);
    let point = if digits > 0 { "." } else { "" };
    Said::Text(format!("{}{point}{}", at.strftime("%Y-%m-%d %H:%M:%S"), &fraction[..digits]))
}

fn from_mysql_common(kind: ColumnKind, value: BinlogValue<'_>) -> Said {
    let BinlogValue::Value(value) = value else { panic!("no JSON here") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    match (kind, value) {
        (ColumnKind::Timestamp2 { .. }, Value::Bytes(bytes)) => {
            let text = text(&bytes);
            let (seconds, micros) = text.split_once('.').unwrap_or((&text, "0"));
            let number = |text: &str| text.parse::<i64>().expect("a number");
            // It reads one byte of fraction as signed, so .50 and above are out of its reach.
            match digits_of(kind) {
                1..=4 => Said::Nothing,
                _ => utc(kind, number(seconds) * 1_000_000 + number(micros)),
            }
        }
        (ColumnKind::Bit { .. }, Value::Bytes(bytes)) => Said::Text(
            bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).to_string(),
        ),
        (_, Value::Bytes(bytes)) => Said::Text(text(&bytes)),
        // It does not extend the sign of a MEDIUMINT.
        (ColumnKind::Int24, Value::Int(0x80_0000..)) => Said::Nothing,
        (_, Value::Int(number)) => Said::Text(number.to_string()),
        (_, Value::UInt(number)) => Said::Text(number.to_string()),
        (_, Value::Float(float)) => Said::Float(float),
        (_, Value::Double(double)) => Said::Double(double),
        (ColumnKind::Date, Value::Date(year, month, day, ..)) => {
            Said::Text(format!("{year:04}-{month:02}-{day:02}"))
        }
        (_, Value::Date(year, month, day, hour, minute, second, micro)) => Said::Text(format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{}",
            micros(digits_of(kind), micro)
        )),
        (_, Value::Time(is_negative, days, hour, minute, second, micro)) => Said::Text(format!(
            "{}{:02}:{minute:02}:{second:02}{}",
            if is_negative { "-" } else { "" },
            days * 24 + u32::from(hour),
            micros(digits_of(kind), micro)
        )),
        (_, Value::NULL) => panic!("no NULL here"),
    }
}

fn from_mysql_cdc(kind: ColumnKind, is_unsigned: bool, value: &MySqlValue) -> Said {
    let integer = |number: u64, bits: u32| {
        let sign = number >> (bits - 1) & 1 == 1 && !is_unsigned;
        Said::Text((i128::from(number) - if sign { 1_i128 << bits } else { 0 }).to_string())
    };
    // It keeps milliseconds.
    let digits = digits_of(kind).min(3);
    match value {
        MySqlValue::TinyInt(number) => integer((*number).into(), 8),
        MySqlValue::SmallInt(number) => integer((*number).into(), 16),
        MySqlValue::MediumInt(number) => integer((*number).into(), 24),
        MySqlValue::Int(number) => integer((*number).into(), 32),
        MySqlValue::BigInt(number) => integer(*number, 64),
        MySqlValue::Float(float) => Said::Float(*float),
        MySqlValue::Double(double) => Said::Double(*double),
        MySqlValue::Decimal(text) | MySqlValue::String(text) => Said::Text(text.clone()),
        MySqlValue::Year(year) => Said::Text(year.to_string()),
        MySqlValue::Bit(bits) => Said::Text(
            bits.iter().fold(0_u64, |number, bit| number << 1 | u64::from(*bit)).to_string(),
        ),
        MySqlValue::Date(date) => {
            Said::Text(format!("{:04}-{:02}-{:02}", date.year, date.month, date.day))
        }
        MySqlValue::Time(time) => Said::Text(format!(
            "{:02}:{:02}:{:02}{}",
            time.hour,
            time.minute,
            time.second,
            micros(digits, time.millis * 1_000)
        )),
        MySqlValue::DateTime(at) => Said::Text(format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{}",
            at.year,
            at.month,
            at.day,
            at.hour,
            at.minute,
            at.second,
            micros(digits, at.millis * 1_000)
        )),
        MySqlValue::Timestamp(millis) => match utc(kind, *millis as i64 * 1_000) {
            Said::Text(text) if digits_of(kind) > 3 => {
                Said::Text(text[..text.len() - usize::from(digits_of(kind) - 3)].to_owned())
            }
            said => said,
        },
        other => panic!("{other:?} was not generated"),
    }
}

/// Our text, cut as the other one is, or our number.
fn ours(column: &Column, bytes: &[u8], other: &Said, milliseconds_only: bool) -> Said {
    let mut text = String::new();
    write_text(column, bytes, &mut text).expect("a value has a text");
    let mut json = String::new();
    write_json(column, bytes, JsonOptions::default(), &mut json).expect("and its JSON");
    match other {
        Said::Float(_) => Said::Float(json.parse().expect("a number")),
        Said::Double(_) => Said::Double(json.parse().expect("a number")),
        _ if milliseconds_only && digits_of(column.kind) > 3 => {
            Said::Text(text[..text.len() - usize::from(digits_of(column.kind) - 3)].to_owned())
        }
        _ => Said::Text(text),
    }
}

/// An event with its header, as mysql_common wants it.
fn event(description: &FormatDescriptionEvent<'_>, event_type: u8, body: &[u8]) -> Event {
    let size = (19 + body.len()) as u32;
    let mut bytes = vec![0, 0, 0, 0, event_type, 1, 0, 0, 0];
    bytes.extend(size.to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    Event::read(description, Cursor::new(bytes)).unwrap()
}

fn read_by_mysql_common(map: &[u8], rows: &[u8], kinds: &[ColumnKind]) -> Vec<Said> {
    let description = FormatDescriptionEvent::new(BinlogVersion::Version4);
    let map = event(&description, 19, map);
    let Some(EventData::TableMapEvent(map)) = map.read_data().unwrap() else { panic!() };
    let rows = event(&description, WRITE_ROWS, rows);
    let Some(EventData::RowsEvent(RowsEventData::WriteRowsEvent(rows))) = rows.read_data().unwrap()
    else {
        panic!()
    };
    let row = rows.rows(&map).next().unwrap().unwrap().1.unwrap().unwrap();
    row.into_iter().zip(kinds).map(|(value, kind)| from_mysql_common(*kind, value)).collect()
}

/// All numbers and times of the recordings, as mysql_common reads them.
#[test]
fn recorded_numbers_and_times_are_those_that_mysql_common_reads() {
    let description = FormatDescriptionEvent::new(BinlogVersion::Version4);
    let mut compared = 0;
    for golden in golden::tables() {
        let recorded = golden.recorded();
        let table = golden.table(&recorded.map());
        let mut our_rows = recorded.rows(&table).into_iter();
        let map = event(&description, 19, &recorded.table_map);
        let Some(EventData::TableMapEvent(map)) = map.read_data().unwrap() else { panic!() };
        for (event_type, body) in &recorded.events {
            let rows = event(&description, *event_type, body);
            let Some(EventData::RowsEvent(RowsEventData::WriteRowsEvent(rows))) =
                rows.read_data().unwrap()
            else {
                panic!()
            };
            for row in rows.rows(&map) {
                let row = row.unwrap().1.unwrap().unwrap();
                let cells = our_rows.next().expect("as many rows");
                for ((column, cell), value) in table.columns.iter().zip(cells).zip(row) {
                    compared += usize::from(agrees(column, cell, value));
                }
            }
        }
    }
    assert!(compared > 150, "{compared} values compared");
}

/// Whether there was something to compare.
fn agrees(column: &Column, cell: Cell<'_>, value: BinlogValue<'_>) -> bool {
    let is_number_or_time = !(column.kind.is_character()
        || matches!(column.kind, ColumnKind::Enum { .. } | ColumnKind::Set { .. })
        || matches!(column.kind, ColumnKind::Json { .. } | ColumnKind::Geometry { .. }));
    let Cell::Bytes(bytes) = cell else { return false };
    // It takes the zero of YEAR and that of TIMESTAMP for 1900 and 1970, and MySQL 5.7 does not
    // tell it which integers are UNSIGNED.
    let is_zero = bytes.iter().all(|byte| *byte == 0);
    let is_unsigned = column.kind.is_integer() && column.unsigned == Some(true);
    if !is_number_or_time || is_zero || is_unsigned {
        return false;
    }
    let said = from_mysql_common(column.kind, value);
    let is_said = said != Said::Nothing;
    if is_said {
        assert_eq!(ours(column, bytes, &said, false), said, "{column:?}");
    }
    is_said
}

proptest! {
    #[test]
    fn three_decoders_read_the_same_values(generated in prop::collection::vec(generated(), 1..12)) {
        let columns = generated.iter().enumerate().map(|(index, (kind, is_unsigned, _))| Written {
            is_unsigned: *is_unsigned,
            ..Written::new(&format!("c{index}"), *kind)
        });
        let shape = TableShape::new(7, "shop", "every", columns.collect());
        let (map, rows) = (
            shape.table_map(),
            shape.write_rows(&[generated.iter().map(|(_, _, bytes)| Some(bytes.clone())).collect()]),
        );
        let table = Table::from_metadata(&TableMap::parse(&map).unwrap()).unwrap();
        let decoder = RowDecoder::new(&table, &(0..table.columns.len()).collect::<Vec<_>>());
        let parsed = RowsEvent::parse(WRITE_ROWS, &rows).unwrap();
        let mut cells = vec![Cell::Absent; decoder.cells()];
        decoder.decode(&mut parsed.rows(), parsed.present(), &mut cells).unwrap();
        let cells: Vec<&[u8]> = cells.iter().map(|cell| match cell {
            Cell::Bytes(bytes) => *bytes,
            other => panic!("{other:?}"),
        }).collect();

        let kinds: Vec<ColumnKind> = generated.iter().map(|(kind, ..)| *kind).collect();
        // Its arithmetic overflows at negative times of 1 and 2 digits.
        let overflows = |(kind, _, bytes): &Generated| {
            matches!(kind, ColumnKind::Time2 { fraction: 1.. }) && bytes[0] & 0x80 == 0
        };
        prop_assume!(!generated.iter().any(overflows));
        for ((column, bytes), said) in table.columns.iter().zip(&cells).zip(read_by_mysql_common(&map, &rows, &kinds)) {
            if said != Said::Nothing {
                prop_assert_eq!(ours(column, bytes, &said, false), said, "mysql_common, {:?}", column.kind);
            }
        }

        // It refuses negative times.
        let is_negative = |(kind, _, bytes): &Generated| matches!(kind, ColumnKind::Time2 { .. }) && bytes[0] & 0x80 == 0;
        if !generated.iter().any(is_negative) {
            let map = TableMapEvent::parse(&mut Cursor::new(&map)).unwrap();
            let maps = HashMap::from([(map.table_id, map)]);
            let theirs = WriteRowsEvent::parse(&mut Cursor::new(&rows), &maps, 2).unwrap().rows;
            for ((column, bytes), value) in table.columns.iter().zip(&cells).zip(&theirs[0].cells) {
                let said = from_mysql_cdc(column.kind, column.unsigned == Some(true), value.as_ref().unwrap());
                prop_assert_eq!(ours(column, bytes, &said, true), said, "mysql_cdc, {:?}", column.kind);
            }
        }
    }
}
