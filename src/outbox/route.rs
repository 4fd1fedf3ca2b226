//! The route of a table's rows: the columns that its preset uses, found by name, and how to decode a row.

use super::{OutboxOptions, Preset};
use crate::binlog::row::RowDecoder;
use crate::binlog::table::{Column, Table};

/// The table lacks a column that its preset needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the table {table} has no column {column}, which the preset {preset} needs; it has {present}"
)]
pub struct MissingColumn {
    pub table: String,
    pub column: &'static str,
    pub preset: Preset,
    /// The columns of the table, separated by commas.
    pub present: String,
}

/// A column that a preset uses. What is optional may be missing from the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub name: &'static str,
    pub optional: bool,
}

const fn needed(name: &'static str) -> Wanted {
    Wanted { name, optional: false }
}

const fn optional(name: &'static str) -> Wanted {
    Wanted { name, optional: true }
}

/// The columns of Eventuate Local's `events`, in the order of [`EventColumns`].
const EVENTUATE_LOCAL: [Wanted; 8] = [
    needed("event_id"),
    needed("event_type"),
    needed("event_data"),
    needed("entity_type"),
    needed("entity_id"),
    optional("metadata"),
    optional("published"),
    optional("id"),
];

/// The columns of Eventuate Tram's `message`.
const EVENTUATE_TRAM: [Wanted; 6] = [
    needed("id"),
    needed("destination"),
    needed("headers"),
    needed("payload"),
    optional("published"),
    optional("dbid"),
];

/// Most columns that a preset uses.
pub const CELLS_MAX: usize = 8;

impl Preset {
    /// The columns the preset uses; cells come in this order.
    pub fn columns(self) -> &'static [Wanted] {
        match self {
            Preset::EventuateLocal => &EVENTUATE_LOCAL,
            Preset::EventuateTram => &EVENTUATE_TRAM,
        }
    }
}

/// How the rows of one table layout become records.
#[derive(Debug)]
pub struct Route {
    pub preset: Preset,
    pub outbox_id: Option<u64>,
    pub decoder: RowDecoder,
    /// For each column of [`Preset::columns`] the table's own, `None` where it has none.
    columns: Vec<Option<Column>>,
    /// For each column of [`Preset::columns`] its index among the decoded cells.
    cells: Vec<Option<usize>>,
}

/// Checks column names against the needs of a preset.
///
/// # Errors
/// The first needed column that is missing.
pub fn ensure_columns<'a>(
    options: &OutboxOptions,
    table: &str,
    present: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), MissingColumn> {
    let is_present = |name: &str| present.clone().any(|present| present.eq_ignore_ascii_case(name));
    match options
        .preset
        .columns()
        .iter()
        .find(|wanted| !wanted.optional && !is_present(wanted.name))
    {
        None => Ok(()),
        Some(wanted) => Err(MissingColumn {
            table: table.to_owned(),
            column: wanted.name,
            preset: options.preset,
            present: present.collect::<Vec<_>>().join(", "),
        }),
    }
}

impl Route {
    /// # Errors
    /// The table lacks a column that the preset needs.
    pub fn new(options: &OutboxOptions, table: &Table) -> Result<Route, MissingColumn> {
        let names = table.columns.iter().map(|column| column.name.as_str());
        ensure_columns(options, &table.full_name(), names)?;
        let mut indices = Vec::new();
        let mut columns = Vec::new();
        let mut cells = Vec::new();
        for wanted in options.preset.columns() {
            match table.position(wanted.name) {
                None => {
                    columns.push(None);
                    cells.push(None);
                }
                Some(index) => {
                    columns.push(Some(table.columns[index].clone()));
                    cells.push(Some(indices.len()));
                    indices.push(index);
                }
            }
        }
        Ok(Route {
            preset: options.preset,
            outbox_id: options.outbox_id,
            decoder: RowDecoder::new(table, &indices),
            columns,
            cells,
        })
    }

    /// The table's column for the `wanted`-th column of the preset, and the index of its cell.
    pub fn column(&self, wanted: usize) -> Option<(&Column, usize)> {
        Some((self.columns[wanted].as_ref()?, self.cells[wanted]?))
    }
}
