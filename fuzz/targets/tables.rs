//! Table maps and rows: what describes the columns, and the values that follow by that description.

use mysql_binlog::event_type::{WRITE_ROWS, WRITE_ROWS_V1};
use mysql_binlog::row::{Cell, RowDecoder, RowsEvent};
use mysql_binlog::table::{Column, SchemaColumn, Table, TableMap};
use mysql_binlog::value::{self, BinaryFormat, DecimalFormat, JsonOptions};

use super::seeds::{golden, unhex};
use super::{KIB, Limit, Target};

/// A column takes a byte or two of a table map, and some 100 bytes in memory; a list that grows holds twice as many.
const LIMIT: Limit = Limit::new(64 * KIB, 256);

/// The body of a TABLE_MAP event.
pub const TABLE_MAP: Target =
    Target { name: "table_map", run: table_map, seeds: table_map_seeds, limit: LIMIT };

/// First byte: the version of the rows event. Then the length of a TABLE_MAP body in two bytes, that body, and the body of
/// a WRITE_ROWS event.
pub const ROWS: Target = Target { name: "rows", run: rows, seeds: rows_seeds, limit: LIMIT };

/// The length of a TABLE_MAP body in two bytes, that body, and rows of `information_schema.COLUMNS`: a line each, with tabs
/// between the fields.
pub const SCHEMA: Target =
    Target { name: "schema", run: schema, seeds: schema_seeds, limit: LIMIT };

fn table_map(data: &[u8]) {
    let Ok(map) = TableMap::parse(data) else { return };
    let _ = (map.unknown_collations(), Table::without_names(&map));
    if let Some(table) = Table::from_metadata(&map) {
        let wanted: Vec<usize> = (0..table.columns.len()).collect();
        assert_eq!(RowDecoder::new(&table, &wanted).cells(), table.columns.len());
    }
}

/// Splits off a part behind its length of two bytes.
fn sized(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

fn rows(data: &[u8]) {
    let Some((version, data)) = data.split_first() else { return };
    let Some((map, body)) = sized(data) else { return };
    let event_type = if version & 1 == 0 { WRITE_ROWS } else { WRITE_ROWS_V1 };
    let (Ok(map), Ok(event)) = (TableMap::parse(map), RowsEvent::parse(event_type, body)) else {
        return;
    };
    let table = Table::from_metadata(&map).unwrap_or_else(|| Table::without_names(&map));
    read_rows(&table, &event);
}

/// Reads every value of every row, as text and as a number.
pub fn read_rows(table: &Table, event: &RowsEvent<'_>) {
    let wanted: Vec<usize> = (0..table.columns.len()).collect();
    let decoder = RowDecoder::new(table, &wanted);
    let mut cells = vec![Cell::Absent; decoder.cells()];
    let mut left = event.rows();
    while !left.is_empty() {
        let before = left.len();
        if decoder.decode(&mut left, event.present(), &mut cells).is_err() {
            return;
        }
        assert!(left.len() < before, "a row has at least one byte");
        for (column, cell) in table.columns.iter().zip(&cells) {
            if let Cell::Bytes(bytes) = cell {
                let _ = (value::text(column, bytes), value::integer(column, bytes));
                read_value(column, bytes);
            }
        }
    }
}

/// Writes a value in each form. What is JSON for us must be JSON for others.
fn read_value(column: &Column, bytes: &[u8]) {
    let _ = value::write_text(column, bytes, &mut String::new());
    let _ = value::write_bytes(column, bytes, &mut Vec::new());
    let number_and_hex = JsonOptions { decimal: DecimalFormat::Number, binary: BinaryFormat::Hex };
    for options in [JsonOptions::default(), number_and_hex] {
        let mut json = String::new();
        if value::write_json(column, bytes, options, &mut json).is_ok() {
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        }
    }
}

fn schema(data: &[u8]) {
    let Some((map, lines)) = sized(data) else { return };
    let (Ok(map), Ok(lines)) = (TableMap::parse(map), str::from_utf8(lines)) else { return };
    let columns: Vec<SchemaColumn> = lines.lines().map(schema_column).collect();
    let _ = Table::from_schema(&map, &columns);
}

fn schema_column(line: &str) -> SchemaColumn {
    let mut fields = line.split('\t');
    let mut text = || fields.next().unwrap_or_default().to_owned();
    let (name, data_type, column_type, nullable) = (text(), text(), text(), text() == "YES");
    let mut number = || text().parse().ok();
    let (octet_length_max, numeric_precision) = (number(), number());
    let (numeric_scale, datetime_precision) = (number(), number());
    let charset = Some(text()).filter(|name| !name.is_empty());
    SchemaColumn {
        name,
        data_type,
        column_type,
        nullable,
        octet_length_max,
        numeric_precision,
        numeric_scale,
        datetime_precision,
        charset,
        server_version: text(),
        is_in_primary_key: false,
    }
}

/// A part behind its length.
fn with_length(part: &[u8]) -> Vec<u8> {
    let length = u16::try_from(part.len()).expect("a table map is short");
    [&length.to_le_bytes(), part].concat()
}

/// A table of the golden files.
struct Golden {
    /// The body of its table map.
    map: Vec<u8>,
    /// The version and the body of each of its rows events.
    rows: Vec<Vec<u8>>,
    /// What `information_schema` has of it.
    lines: String,
}

fn tables() -> Vec<Golden> {
    let golden = golden("tables.json");
    let tables = golden.as_array().expect("a list of tables").iter();
    let field = |field: &serde_json::Value| field.as_str().unwrap_or_default().to_owned();
    let line = |column: &serde_json::Value| {
        let fields = column.as_array().expect("a list of fields").iter().map(field);
        fields.collect::<Vec<_>>().join("\t")
    };
    let read = |table: &serde_json::Value| {
        let events = table["events"].as_array().expect("a list of events").iter();
        let version = |event: &serde_json::Value| u8::from(event["type"] == WRITE_ROWS_V1);
        let rows = events.map(|event| [vec![version(event)], unhex(&event["body"])].concat());
        let lines = table["schema_columns"].as_array().expect("a list of columns").iter().map(line);
        let lines = lines.collect::<Vec<_>>().join("\n");
        Golden { map: unhex(&table["table_map"]), rows: rows.collect(), lines }
    };
    tables.map(read).collect()
}

fn table_map_seeds() -> Vec<Vec<u8>> {
    tables().into_iter().map(|table| table.map).collect()
}

fn rows_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for Golden { map, rows, .. } in tables() {
        for event in rows.iter().take(2) {
            let (version, body) = event.split_at(1);
            seeds.push([version, &with_length(&map), body].concat());
        }
    }
    seeds
}

fn schema_seeds() -> Vec<Vec<u8>> {
    let seed = |table: Golden| [with_length(&table.map), table.lines.into_bytes()].concat();
    tables().into_iter().map(seed).collect()
}
