//! Tests, built under `#[cfg(test)]` only. Rows recorded from real servers, held against two other decoders, and damaged ones.

use std::collections::HashMap;
use std::io::Cursor;

use mysql_async::binlog::BinlogVersion;
use mysql_async::binlog::events::{Event, EventData, FormatDescriptionEvent, RowsEventData};
use mysql_async::binlog::value::BinlogValue;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;
use mysql_cdc::events::row_events::write_rows_event::WriteRowsEvent;
use mysql_cdc::events::table_map_event::TableMapEvent;
use proptest::prelude::*;

use super::*;
use crate::json;
use crate::table::{ColumnKind, TableMap, golden};

/// The recorded rows as mysql_cdc, which shares no code with us, reads them. It takes text for UTF-8.
#[test]
fn rows_are_those_that_mysql_cdc_reads() {
    let mut compared = 0;
    for golden in golden::tables()
        .iter()
        .filter(|golden| golden.table != "types" && golden.table != "charsets")
    {
        let recorded = golden.recorded();
        let ours = recorded.rows(&golden.table(&recorded.map()));
        let map = TableMapEvent::parse(&mut Cursor::new(&recorded.table_map)).unwrap();
        let maps = HashMap::from([(map.table_id, map)]);
        let theirs = recorded.events.iter().flat_map(|(event_type, body)| {
            let version = if *event_type == WRITE_ROWS { 2 } else { 1 };
            WriteRowsEvent::parse(&mut Cursor::new(body), &maps, version).unwrap().rows
        });
        let theirs: Vec<_> = theirs.collect();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            compared += 1;
            let theirs: Vec<_> =
                theirs.cells.iter().map(|cell| cell.as_ref().map(bytes_of)).collect();
            assert_eq!(bytes(ours), theirs, "{} {}", golden.server, golden.table);
        }
    }
    assert!(compared >= 30);
}

/// NULL and absent are one thing to the other readers.
fn bytes(cells: &[Cell<'_>]) -> Vec<Option<Vec<u8>>> {
    let bytes = |cell: &Cell<'_>| match cell {
        Cell::Bytes(bytes) => Some(bytes.to_vec()),
        Cell::Absent | Cell::Null => None,
    };
    cells.iter().map(bytes).collect()
}

fn bytes_of(value: &MySqlValue) -> Vec<u8> {
    match value {
        MySqlValue::String(text) => text.clone().into_bytes(),
        MySqlValue::Int(number) => number.to_le_bytes().to_vec(),
        MySqlValue::BigInt(number) => number.to_le_bytes().to_vec(),
        MySqlValue::Blob(bytes) => bytes.clone(),
        other => panic!("the tables compared here have no {other:?}"),
    }
}

/// The recorded rows as mysql_common reads them: all tables, but only the values that it leaves as bytes.
#[test]
fn rows_are_those_that_mysql_common_reads() {
    let description = FormatDescriptionEvent::new(BinlogVersion::Version4);
    let mut compared = 0;
    for golden in golden::tables() {
        let recorded = golden.recorded();
        let table = golden.table(&recorded.map());
        let ours = recorded.rows(&table);
        let map = event(&description, 19, &recorded.table_map);
        let Some(EventData::TableMapEvent(map)) = map.read_data().unwrap() else { panic!() };
        let mut theirs = Vec::new();
        for (event_type, body) in &recorded.events {
            let rows = event(&description, *event_type, body);
            let Some(EventData::RowsEvent(RowsEventData::WriteRowsEvent(rows))) =
                rows.read_data().unwrap()
            else {
                panic!()
            };
            for row in rows.rows(&map) {
                let values = row.unwrap().1.unwrap().unwrap();
                theirs.push(values.into_iter().map(raw_bytes).collect::<Vec<_>>());
            }
        }
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            for ((ours, theirs), column) in bytes(ours).into_iter().zip(theirs).zip(&table.columns)
            {
                // It prints decimals and times: those bytes are its own.
                if let Some(theirs) = theirs.filter(|_| column.kind.is_character()) {
                    compared += 1;
                    assert_eq!(ours, theirs, "{} {}.{}", golden.server, golden.table, column.name);
                }
            }
        }
    }
    assert!(compared > 500, "{compared} values compared");
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

/// Outer `None`: mysql_common has made a number, a date or a document of the bytes.
fn raw_bytes(value: BinlogValue<'_>) -> Option<Option<Vec<u8>>> {
    match value {
        BinlogValue::Value(mysql_async::Value::Bytes(bytes)) => Some(Some(bytes)),
        BinlogValue::Value(mysql_async::Value::NULL) => Some(None),
        _ => None,
    }
}

#[test]
fn extra_data_of_partitions_is_passed_over() {
    let tables = golden::tables();
    let parts = tables.iter().find(|golden| golden.table == "parts" && golden.has_names()).unwrap();
    let recorded = parts.recorded();
    let with_extra_data = recorded.events.iter().filter(|(_, body)| body[8..10] != [2, 0]);
    assert!(with_extra_data.count() > 0, "8.0 writes the partition's id");
    assert_eq!(recorded.rows(&parts.table(&recorded.map())).len(), 4);
}

#[test]
fn columns_left_out_of_the_row_image_are_absent() {
    let tables = golden::tables();
    for minimal in tables.iter().filter(|golden| golden.table == "minimal") {
        let recorded = minimal.recorded();
        let rows = recorded.rows(&minimal.table(&recorded.map()));
        // The statement named b alone; id is the server's own.
        assert!(matches!(
            rows[0][..],
            [Cell::Bytes(_), Cell::Absent, Cell::Bytes(_), Cell::Absent]
        ));
        assert!(matches!(
            rows[2][..],
            [Cell::Bytes(_), Cell::Bytes(_), Cell::Absent, Cell::Bytes(_)]
        ));
    }
}

#[test]
fn statements_end_where_the_flag_says() {
    let body = |flags: u8| [7, 0, 0, 0, 0, 0, flags, 0, 2, 0, 1, 1];
    assert!(RowsEvent::parse(30, &body(1)).unwrap().ends_statement());
    assert!(!RowsEvent::parse(30, &body(8)).unwrap().ends_statement());
    assert_eq!(RowsEvent::parse(30, &body(0)).unwrap().table_id(), 7);
}

#[test]
fn version_1_has_no_extra_data() {
    let event = RowsEvent::parse(23, &[7, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 42]).unwrap();
    assert_eq!((event.present().columns(), event.rows()), (1, &[0, 42][..]));
}

#[test]
fn other_events_and_damaged_heads_are_errors() {
    assert_eq!(RowsEvent::parse(31, &[]).unwrap_err(), Error::NotAnInsert(31));
    let short = Malformed::Short { wanted: 6, left: 2 };
    assert_eq!(RowsEvent::parse(30, &[1, 2]).unwrap_err(), Error::Head(short));
    let bad_extra = [7, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1];
    assert!(matches!(RowsEvent::parse(30, &bad_extra), Err(Error::Head(_))));
}

fn table(kinds: &[ColumnKind]) -> Table {
    let columns = kinds.iter().enumerate().map(|(index, kind)| Column {
        name: format!("c{index}"),
        kind: *kind,
        nullable: true,
        unsigned: Some(false),
        charset: None,
        values: None,
        json_style: json::Style::V8_0,
        display: crate::table::Display::default(),
    });
    Table {
        schema: "s".to_owned(),
        name: "t".to_owned(),
        columns: columns.collect(),
        primary_key: Vec::new(),
    }
}

#[test]
fn a_row_that_is_cut_off_names_the_column_and_the_bytes() {
    let decoder =
        RowDecoder::new(&table(&[ColumnKind::Tiny, ColumnKind::VarChar { bytes_max: 9 }]), &[1]);
    let present = Bitmap::new(&[0b11], 2).unwrap();
    let mut cells = [Cell::Absent];
    let mut rows: &[u8] = &[0, 5, 4, b'a', b'b'];
    let error = decoder.decode(&mut rows, present, &mut cells).unwrap_err();
    assert_eq!(error.to_string(), "the row is cut off in column c1: 4 bytes wanted, 2 left");
    assert_eq!(rows.len(), 5, "the place is kept");
}

#[test]
fn rows_that_cannot_be_of_this_table_are_errors() {
    let decoder = RowDecoder::new(&table(&[ColumnKind::Tiny]), &[0]);
    let mut cells = [Cell::Absent];
    let three = Bitmap::new(&[0b111], 3).unwrap();
    assert_eq!(
        decoder.decode(&mut &[0_u8, 1][..], three, &mut cells),
        Err(Error::ColumnCount { event: 3, table: 1 })
    );
    let none = Bitmap::new(&[0b10], 1).unwrap();
    assert_eq!(decoder.decode(&mut &[0_u8, 1][..], none, &mut cells), Err(Error::NoColumns));
    let array = RowDecoder::new(&table(&[ColumnKind::TypedArray]), &[]);
    let one = Bitmap::new(&[1], 1).unwrap();
    assert_eq!(
        array.decode(&mut &[0_u8, 1][..], one, &mut []),
        Err(Error::UnknownSize { column: "c0".to_owned() })
    );
}

/// A column of the model encoder and the value of it in one row.
#[derive(Debug, Clone)]
struct Modelled {
    kind: ColumnKind,
    wanted: bool,
    present: bool,
    /// One a row.
    values: Vec<Option<Vec<u8>>>,
}

const ROWS: usize = 3;

fn modelled() -> impl Strategy<Value = Modelled> {
    let kind = prop::sample::select(vec![
        (ColumnKind::Tiny, 1..=1),
        (ColumnKind::Long, 4..=4),
        (ColumnKind::Decimal { precision: 10, scale: 3 }, 6..=6),
        (ColumnKind::VarChar { bytes_max: 255 }, 0..=255),
        (ColumnKind::VarChar { bytes_max: 256 }, 0..=256),
        (ColumnKind::Char { bytes_max: 1020 }, 0..=300),
        (ColumnKind::Blob { length_bytes: 3 }, 0..=300),
        (ColumnKind::Json { length_bytes: 4 }, 0..=20),
    ]);
    let column = (kind, any::<bool>(), prop::bool::weighted(0.8));
    column.prop_flat_map(|((kind, length), wanted, present)| {
        let value = prop::collection::vec(any::<u8>(), length);
        prop::collection::vec(prop::option::weighted(0.7, value), ROWS)
            .prop_map(move |values| Modelled { kind, wanted, present, values })
    })
}

/// The bytes of a row, written from the format's description and not by the decoder's own notions.
fn encode(columns: &[Modelled], row: usize) -> Vec<u8> {
    let present: Vec<_> = columns.iter().filter(|column| column.present).collect();
    let mut bytes = vec![0; present.len().div_ceil(8)];
    for (index, column) in present.iter().enumerate() {
        let Some(value) = &column.values[row] else {
            bytes[index / 8] |= 1 << (index % 8);
            continue;
        };
        let length_bytes = match column.kind {
            ColumnKind::VarChar { bytes_max: 255 } => 1,
            ColumnKind::VarChar { .. } | ColumnKind::Char { .. } => 2,
            ColumnKind::Blob { .. } => 3,
            ColumnKind::Json { .. } => 4,
            _ => 0,
        };
        bytes.extend(&value.len().to_le_bytes()[..length_bytes]);
        bytes.extend(value);
    }
    bytes
}

proptest! {
    #[test]
    fn encoded_rows_are_decoded(columns in prop::collection::vec(modelled(), 1..40)) {
        prop_assume!(columns.iter().any(|column| column.present));
        let kinds: Vec<_> = columns.iter().map(|column| column.kind).collect();
        let wanted: Vec<_> = (0..columns.len()).rev().filter(|index| columns[*index].wanted).collect();
        let decoder = RowDecoder::new(&table(&kinds), &wanted);
        let mut bits = vec![0; columns.len().div_ceil(8)];
        for (index, _) in columns.iter().enumerate().filter(|(_, column)| column.present) {
            bits[index / 8] |= 1 << (index % 8);
        }
        let present = Bitmap::new(&bits, columns.len()).unwrap();
        let bytes: Vec<u8> = (0..ROWS).flat_map(|row| encode(&columns, row)).collect();
        let mut rows = bytes.as_slice();
        for row in 0..ROWS {
            let mut cells = vec![Cell::Null; decoder.cells()];
            decoder.decode(&mut rows, present, &mut cells).unwrap();
            for (cell, index) in cells.iter().zip(&wanted) {
                let column = &columns[*index];
                let expected = match &column.values[row] {
                    _ if !column.present => Cell::Absent,
                    None => Cell::Null,
                    Some(value) => Cell::Bytes(value),
                };
                prop_assert_eq!(*cell, expected);
            }
        }
        prop_assert!(rows.is_empty());
    }

    #[test]
    fn any_bytes_are_rows_or_an_error(
        kinds in prop::collection::vec(modelled().prop_map(|column| column.kind), 0..20),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let decoder = RowDecoder::new(&table(&kinds), &[]);
        if let Ok(event) = RowsEvent::parse(30, &body) {
            let mut rows = event.rows();
            while !rows.is_empty() && decoder.decode(&mut rows, event.present(), &mut []).is_ok() {}
        }
        let bits = vec![0xff; kinds.len().div_ceil(8)];
        let mut rows = body.as_slice();
        let all = Bitmap::new(&bits, kinds.len()).unwrap();
        while !rows.is_empty() && decoder.decode(&mut rows, all, &mut []).is_ok() {}
    }

    #[test]
    fn damaged_events_are_rows_or_an_error(
        which in 0_usize..10,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let golden = &golden::tables()[which];
        let recorded = golden.recorded();
        let table = golden.table(&TableMap::parse(&recorded.table_map).unwrap());
        let decoder = RowDecoder::new(&table, &[0]);
        for (event_type, mut body) in recorded.events {
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let Ok(event) = RowsEvent::parse(event_type, &body) else { continue };
            let mut rows = event.rows();
            let mut cells = [Cell::Absent];
            while !rows.is_empty() && decoder.decode(&mut rows, event.present(), &mut cells).is_ok() {}
        }
    }
}
