//! Rows that are read by SQL, and rows that are given as JSON, have the text and the JSON of the same rows in the binlog.

use mysql_binlog::row::Cell;
use mysql_binlog::table::{Column, Table};
use mysql_binlog::value::{
    self, BinaryFormat, DecimalFormat, EncodedRow, JsonOptions, row_from_json,
};
use mysql_binlog::{MysqlOptions, Server};

use super::{Metadata, ReadTable};
use harness::sql::single_threaded_runtime;

const OPTIONS: [JsonOptions; 2] = [
    JsonOptions { decimal: DecimalFormat::String, binary: BinaryFormat::Base64 },
    JsonOptions { decimal: DecimalFormat::Number, binary: BinaryFormat::Hex },
];

/// Says what differs between a table's rows in the binlog and the same rows by SQL and as JSON.
pub fn compare(
    options: &MysqlOptions,
    database: &str,
    tables: &[(String, &ReadTable)],
    metadata: Metadata,
) -> (usize, Vec<String>) {
    let mut wrong = Vec::new();
    let mut compared = 0;
    single_threaded_runtime().block_on(async {
        let mut server = Server::connect(options).await.expect("it lets root in");
        for (name, read) in tables {
            let columns = server.columns(database, name).await.expect("columns");
            let table = Table::of_schema(database, name, &columns).expect("known types");
            let table = match metadata {
                Metadata::Full => table.as_named_by_events(),
                Metadata::Minimal => table,
            };
            let last = server.last_rows(&table, 100_000).await.expect("rows");
            let mut rows: Vec<_> =
                last.rows.into_iter().map(|row| row.expect("what the server stores")).collect();
            let id = table.position("id").expect("an id");
            rows.sort_by_key(|row| match row.cell(id) {
                Cell::Bytes(bytes) => value::integer(&table.columns[id], bytes).expect("an id"),
                _ => panic!("the id is not NULL"),
            });
            assert_eq!(rows.len(), read.rows.len(), "{name}");
            for (row, logged) in rows.iter().zip(&read.rows) {
                compared += logged.len();
                wrong.extend(differ(&table, row, &read.columns, logged));
            }
        }
    });
    (compared, wrong)
}

fn differ(
    table: &Table,
    row: &EncodedRow,
    columns: &[Column],
    logged: &[Option<Vec<u8>>],
) -> Vec<String> {
    let mut wrong = Vec::new();
    for options in OPTIONS {
        let members: Vec<_> = columns
            .iter()
            .zip(logged)
            .map(|(column, bytes)| format!("\"{}\":{}", column.name, json(column, bytes, options)))
            .collect();
        let logged_table = Table { columns: columns.to_vec(), ..table.clone() };
        let text = format!("{{{}}}", members.join(","));
        match row_from_json(&logged_table, &text, options) {
            Err(error) => wrong.push(format!("{text}: {error}")),
            Ok(given) => wrong.extend(differ_in_columns(&logged_table, &given, columns, logged)),
        }
    }
    wrong.extend(differ_in_columns(table, row, columns, logged));
    wrong
}

fn differ_in_columns(
    table: &Table,
    row: &EncodedRow,
    columns: &[Column],
    logged: &[Option<Vec<u8>>],
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, (column, bytes)) in columns.iter().zip(logged).enumerate() {
        let encoded = match row.cell(index) {
            Cell::Bytes(bytes) => Some(bytes.to_vec()),
            Cell::Null => None,
            Cell::Absent => panic!("each column is there"),
        };
        // information_schema has a ? for a character beyond the basic plane.
        let is_unknown = table.columns[index].values.iter().flatten().any(Option::is_none);
        if is_unknown {
            continue;
        }
        for options in OPTIONS {
            let ours = (
                text(&table.columns[index], &encoded),
                json(&table.columns[index], &encoded, options),
            );
            let theirs = (text(column, bytes), json(column, bytes, options));
            // NULL and the document null are one in JSON.
            if ours != theirs && theirs.1 != "null" {
                wrong.push(format!(
                    "{} {:?}: {ours:?}, logged {theirs:?}",
                    column.name, column.kind
                ));
            }
        }
    }
    wrong
}

fn text(column: &Column, bytes: &Option<Vec<u8>>) -> Option<String> {
    let bytes = bytes.as_ref()?;
    let mut text = Vec::new();
    value::write_text(column, bytes, &mut text).expect("it has a text");
    value::write_bytes(column, bytes, &mut text).expect("it has bytes");
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn json(column: &Column, bytes: &Option<Vec<u8>>, options: JsonOptions) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    let mut json = String::new();
    value::write_json(column, bytes, options, &mut json).expect("it has JSON");
    json
}
