//! Events recorded from real servers, with what the servers themselves answered for the same rows:
//! `../golden/tables.json` (MySQL 8.0.31 with FULL and MINIMAL metadata, 5.7.22). Compiled under `#[cfg(test)]` only.

use serde::Deserialize;

use super::{SchemaColumn, Table, TableMap};
use crate::row::{Cell, RowDecoder, RowsEvent};

/// One table, its TABLE_MAP, the WRITE_ROWS events that filled it, and the text of each value.
#[derive(Debug, Deserialize)]
pub(crate) struct GoldenTable {
    pub server: String,
    pub table: String,
    pub schema_columns: Vec<Vec<Option<String>>>,
    table_map: String,
    events: Vec<GoldenEvent>,
    /// `None` is NULL; the first column is the id.
    pub rows: Vec<Vec<Option<String>>>,
}

#[derive(Debug, Deserialize)]
struct GoldenEvent {
    r#type: u8,
    body: String,
}

/// The bodies of one table's events.
pub(crate) struct Recorded {
    pub table_map: Vec<u8>,
    /// Type and body of each WRITE_ROWS event.
    pub events: Vec<(u8, Vec<u8>)>,
}

pub(crate) fn tables() -> Vec<GoldenTable> {
    let tables: Vec<GoldenTable> =
        serde_json::from_str(include_str!("../golden/tables.json")).unwrap();
    assert!(tables.len() >= 10, "the golden file holds ten tables and more");
    tables
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

impl GoldenTable {
    pub fn recorded(&self) -> Recorded {
        Recorded {
            table_map: unhex(&self.table_map),
            events: self.events.iter().map(|event| (event.r#type, unhex(&event.body))).collect(),
        }
    }

    pub fn schema_columns(&self) -> Vec<SchemaColumn> {
        let number = |text: &Option<String>| text.as_ref().map(|text| text.parse().unwrap());
        let columns = self.schema_columns.iter().map(|column| SchemaColumn {
            name: column[0].clone().unwrap(),
            data_type: column[1].clone().unwrap(),
            column_type: column[2].clone().unwrap(),
            nullable: column[3].as_deref() == Some("YES"),
            octet_length_max: number(&column[4]),
            numeric_precision: number(&column[5]),
            numeric_scale: number(&column[6]),
            datetime_precision: number(&column[7]),
            charset: column[8].clone(),
            server_version: column[10].clone().unwrap(),
            is_in_primary_key: false,
        });
        columns.collect()
    }

    pub fn has_names(&self) -> bool {
        self.server.ends_with("FULL")
    }

    /// The table as the relay would know it.
    pub fn table(&self, map: &TableMap<'_>) -> Table {
        Table::from_metadata(map)
            .unwrap_or_else(|| Table::from_schema(map, &self.schema_columns()).unwrap())
    }
}

impl Recorded {
    pub fn map(&self) -> TableMap<'_> {
        TableMap::parse(&self.table_map).unwrap()
    }

    /// All rows with all their columns.
    pub fn rows(&self, table: &Table) -> Vec<Vec<Cell<'_>>> {
        let wanted: Vec<usize> = (0..table.columns.len()).collect();
        let decoder = RowDecoder::new(table, &wanted);
        let mut decoded = Vec::new();
        for (event_type, body) in &self.events {
            let event = RowsEvent::parse(*event_type, body).unwrap();
            assert_eq!(event.table_id(), self.map().table_id());
            let mut rows = event.rows();
            while !rows.is_empty() {
                let mut cells = vec![Cell::Absent; decoder.cells()];
                decoder.decode(&mut rows, event.present(), &mut cells).unwrap();
                decoded.push(cells);
            }
        }
        decoded
    }
}
