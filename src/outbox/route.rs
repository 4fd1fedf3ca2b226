//! The route of a table's rows: the columns that its preset uses, found by name, and how to decode a row.

use super::{Fallback, OutboxOptions, Plan, Preset};
use crate::binlog::row::RowDecoder;
use crate::binlog::table::{Column, Table};
use crate::nearest::nearest;

/// Tables lack columns that their records need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.told())]
pub struct MissingColumns {
    tables: Vec<Lacking>,
}

/// A table, and the columns that it lacks: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lacking {
    table: String,
    columns: Vec<MissingColumn>,
    /// The columns of the table, separated by commas.
    present: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct MissingColumn {
    name: String,
    /// `the preset outbox needs`, or `topic of the preset outbox names`.
    needed_by: String,
    nearest: Option<String>,
}

impl MissingColumns {
    /// What both lack.
    #[must_use]
    pub fn and(mut self, mut other: MissingColumns) -> MissingColumns {
        self.tables.append(&mut other.tables);
        self
    }

    fn told(&self) -> String {
        self.tables.iter().map(Lacking::told).collect::<Vec<_>>().join("; ")
    }
}

impl Lacking {
    fn told(&self) -> String {
        let Lacking { table, columns, present } = self;
        let named = |column: &MissingColumn| {
            format!("no column {}, which {}", column.name, column.needed_by)
        };
        match &columns[..] {
            [column] => {
                format!(
                    "the table {table} has {}; it has {present}{}",
                    named(column),
                    column.meant()
                )
            }
            columns => {
                let columns: Vec<_> =
                    columns.iter().map(|column| named(column) + &column.meant()).collect();
                format!("the table {table} has {}; it has {present}", columns.join(", and "))
            }
        }
    }
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
/// The needed columns that are missing.
pub fn ensure_columns<'a>(
    options: &OutboxOptions,
    table: &str,
    present: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), MissingColumns> {
    let is_missing =
        |name: &str| !present.clone().any(|present| present.eq_ignore_ascii_case(name));
    let columns: Vec<_> = needed_columns(options)
        .into_iter()
        .filter(|(name, _)| is_missing(name))
        .map(|(name, needed_by)| MissingColumn {
            nearest: nearest(&name, present.clone()).map(str::to_owned),
            needed_by,
            name,
        })
        .collect();
    if columns.is_empty() {
        return Ok(());
    }
    let present = present.collect::<Vec<_>>().join(", ");
    Err(MissingColumns { tables: vec![Lacking { table: table.to_owned(), columns, present }] })
}

/// Each needed column once, and who needs it.
fn needed_columns(options: &OutboxOptions) -> Vec<(String, String)> {
    let preset = options.preset;
    let Some(plan) = &options.plan else {
        let needed = preset.columns().iter().filter(|wanted| !wanted.optional);
        let by = format!("the preset {preset} needs");
        return needed.map(|wanted| (wanted.name.to_owned(), by.clone())).collect();
    };
    let mut columns: Vec<(String, Vec<String>)> = Vec::new();
    for (key, name) in plan.named_columns() {
        match columns.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some((_, keys)) if keys.contains(&key) => {}
            Some((_, keys)) => keys.push(key),
            None => columns.push((name, vec![key])),
        }
    }
    let by = |keys: Vec<String>| {
        let name = if keys.len() == 1 { "names" } else { "name" };
        format!("{} of the preset {preset} {name}", keys.join(" and "))
    };
    columns.into_iter().map(|(name, keys)| (name, by(keys))).collect()
}

impl Route {
    /// # Errors
    /// The table lacks columns that the preset needs.
    pub fn new(options: &OutboxOptions, table: &Table) -> Result<Route, MissingColumns> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::outbox::PlanOptions;

    fn missing(preset: Preset, change: impl Fn(&mut PlanOptions), present: &[&str]) -> String {
        let plan = PlanOptions::of(preset).map(|mut plan| {
            change(&mut plan);
            Arc::new(plan)
        });
        let table = "shop.outbox".parse().unwrap();
        let options = OutboxOptions { table, preset, outbox_id: None, plan };
        let missing = ensure_columns(&options, "shop.outbox", present.iter().copied());
        missing.unwrap_err().to_string()
    }

    #[test]
    fn every_missing_column_is_named_with_all_that_need_it_and_the_nearest_one() {
        let columns = ["id", "aggregateid", "typ", "body"];
        let change =
            |plan: &mut PlanOptions| plan.partition = Some("{type}{type}".parse().unwrap());
        assert_eq!(
            missing(Preset::Outbox, change, &columns),
            "the table shop.outbox has no column aggregatetype, which topic of the preset outbox names (did you mean \
             aggregateid?), and no column payload, which value of the preset outbox names, and no column type, which \
             partition of the preset outbox names (did you mean typ?); it has id, aggregateid, typ, body"
        );
        let change = |plan: &mut PlanOptions| plan.topic = "a".parse().unwrap();
        assert_eq!(
            missing(Preset::MessageEvents, change, &["event_payload", "created_at"]),
            "the table shop.outbox has no column id, which key and headers.id of the preset message-events name; it has \
             event_payload, created_at"
        );
        assert_eq!(
            missing(Preset::EventuateTram, |_| {}, &["id", "headers"]),
            "the table shop.outbox has no column destination, which the preset eventuate-tram needs, and no column \
             payload, which the preset eventuate-tram needs; it has id, headers"
        );
    }
}
