//! The route of a table's rows: the columns that its preset uses, found by name, and how to decode a row.

use super::{Fallback, OutboxOptions, Plan, Preset};
use crate::binlog::row::RowDecoder;
use crate::binlog::table::{Column, Table};
use crate::nearest::nearest;

/// The table lacks a column that its records need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the table {table} has no column {column}, which {needed_by}; it has {present}{}", self.meant())]
pub struct MissingColumn {
    pub table: String,
    pub column: String,
    /// `the preset outbox needs`, or `topic names`.
    pub needed_by: String,
    /// The columns of the table, separated by commas.
    pub present: String,
    pub nearest: Option<String>,
}

impl MissingColumn {
    fn meant(&self) -> String {
        let nearest = self.nearest.as_ref();
        nearest.map_or_else(String::new, |nearest| format!(" (did you mean {nearest}?)"))
    }
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

/// Most columns that a preset with a writer of its own uses.
pub const CELLS_MAX: usize = 8;

impl Preset {
    /// The columns that a preset with a writer of its own uses; cells come in this order.
    pub fn columns(self) -> &'static [Wanted] {
        match self {
            Preset::EventuateLocal => &EVENTUATE_LOCAL,
            Preset::EventuateTram => &EVENTUATE_TRAM,
            Preset::Outbox | Preset::MessageEvents | Preset::EventSourcing | Preset::Custom => &[],
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
    /// Of a preset that has no writer of its own.
    pub plan: Option<Box<Plan>>,
    /// Of a plan that has one.
    pub fallback: Option<Box<Fallback>>,
}

/// Checks column names against the needs of an outbox.
///
/// # Errors
/// The first needed column that is missing.
pub fn ensure_columns<'a>(
    options: &OutboxOptions,
    table: &str,
    present: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), MissingColumn> {
    let is_missing =
        |name: &str| !present.clone().any(|present| present.eq_ignore_ascii_case(name));
    let (column, needed_by) = match &options.plan {
        None => {
            let columns = options.preset.columns().iter();
            let mut missing = columns.filter(|wanted| !wanted.optional && is_missing(wanted.name));
            let Some(wanted) = missing.next() else { return Ok(()) };
            (wanted.name.to_owned(), format!("the preset {} needs", options.preset))
        }
        Some(plan) => {
            let missing = plan.named_columns().into_iter().find(|(_, name)| is_missing(name));
            let Some((key, column)) = missing else { return Ok(()) };
            (column, format!("{key} of the preset {} names", options.preset))
        }
    };
    Err(MissingColumn {
        table: table.to_owned(),
        needed_by,
        nearest: nearest(&column, present.clone()).map(str::to_owned),
        present: present.collect::<Vec<_>>().join(", "),
        column,
    })
}

impl Route {
    /// # Errors
    /// The table lacks a column that the preset needs.
    pub fn new(options: &OutboxOptions, table: &Table) -> Result<Route, MissingColumn> {
        let names = table.columns.iter().map(|column| column.name.as_str());
        ensure_columns(options, &table.full_name(), names)?;
        let (preset, outbox_id) = (options.preset, options.outbox_id);
        if let Some(plan) = &options.plan {
            let fallback = plan.fallback.as_ref().map(|it| Fallback::new(it, table).into());
            let (plan, indices) = Plan::compile(plan, table);
            let decoder = RowDecoder::new(table, &indices);
            let (columns, cells) = (Vec::new(), Vec::new());
            return Ok(Route {
                preset,
                outbox_id,
                decoder,
                columns,
                cells,
                plan: Some(plan.into()),
                fallback,
            });
        }
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
            preset,
            outbox_id,
            decoder: RowDecoder::new(table, &indices),
            columns,
            cells,
            plan: None,
            fallback: None,
        })
    }

    /// The table's column for the `wanted`-th column of the preset, and the index of its cell.
    pub fn column(&self, wanted: usize) -> Option<(&Column, usize)> {
        Some((self.columns[wanted].as_ref()?, self.cells[wanted]?))
    }
}
