//! The last rows of the tables that have a plan, made into records: which topics they go to, and what cannot be one.

use std::collections::BTreeSet;

use super::mysql::Sample;
use super::report::Report;
use crate::binlog::Server;
use crate::binlog::server;
use crate::binlog::table::{Column, SchemaColumn, Table};
use crate::explain::{self, Explained, Explainer, OfRow};
use crate::finding::Finding;
use crate::outbox::{OutboxOptions, PlanOptions, Route, ValueOptions};
use crate::preflight::mysql::OutboxTable;

/// Whole rows are read, which may be large.
pub(super) const ROWS_MAX: usize = 50;

/// Topics and rows that a line names. Nobody reads more.
const NAMED_MAX: usize = 5;

/// A table with a plan, and what the server and the relay know.
pub(super) struct Planned<'a> {
    pub(super) outbox: &'a OutboxOptions,
    pub(super) plan: &'a PlanOptions,
    pub(super) table: &'a OutboxTable,
    /// Of the relay.
    pub(super) name: &'a str,
    pub(super) has_gtids: bool,
    /// Rows of the binlog name their columns.
    pub(super) has_names: bool,
}

impl Planned<'_> {
    /// Makes records of the last rows. `None`: the table's columns are not known, of which another line tells.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub(super) async fn sample(
        &self,
        server: &mut Server,
        report: &mut Report,
    ) -> Result<Option<Sample>, server::Error> {
        let OutboxTable { database, name, .. } = self.table;
        let columns = server.columns(database, name).await?;
        let layout = match explain::layout(self.table, &columns, self.has_names) {
            Ok(layout) => layout,
            Err(shown) => {
                let cure = shown.hint.unwrap_or_default();
                report.take("mysql.columns", Ok(Finding::doubtful(shown.message, cure)));
                return Ok(None);
            }
        };
        self.weigh_text(&columns, report);
        let Ok(route) = Route::new(self.outbox, &layout) else { return Ok(None) };
        let read = server.last_rows(&layout, ROWS_MAX).await?;
        let mut explainer = Explainer::of_name(self.name, self.has_gtids);
        let rows = explain::last(&mut explainer, &route, &layout, read);
        let (topics, finding) = weigh(&self.table.full_name(), &rows);
        report.take("mysql.rows", Ok(finding));
        Ok(Some(Sample { table: self.table.full_name(), topics, misfits: Vec::new() }))
    }

    /// Names the columns that the plan uses and whose text is not the server's.
    fn weigh_text(&self, columns: &[SchemaColumn], report: &mut Report) {
        if !self.has_names {
            return;
        }
        let OutboxTable { database, name, .. } = self.table;
        let Ok(shown) = Table::of_schema(database, name, columns) else { return };
        let used: Vec<_> = self.plan.named_columns();
        let is_used = |column: &&Column| {
            let is_named = used.iter().any(|(_, name)| name.eq_ignore_ascii_case(&column.name));
            column.display != crate::binlog::table::Display::default()
                && (is_named || is_text_in_json(self.plan, column))
        };
        let differing: Vec<_> = shown
            .columns
            .iter()
            .zip(columns)
            .filter(|(column, _)| is_used(column))
            .map(|(column, schema)| format!("{} ({})", column.name, schema.column_type))
            .collect();
        if !differing.is_empty() {
            let detail = format!(
                "{}: the binlog does not say how these columns are padded: {}; with binlog_row_metadata=FULL, their text \
                 is without the zeros that the server shows",
                self.table.full_name(),
                differing.join(", ")
            );
            let cure = "take ZEROFILL and (M,D) off the column, or set binlog_row_metadata = 'MINIMAL', or leave it if \
                        consumers do not mind";
            report.take("mysql.column_text", Ok(Finding::doubtful(detail, cure)));
        }
    }
}

/// In JSON, only a DECIMAL that is a string has the zeros of its text.
fn is_text_in_json(plan: &PlanOptions, column: &Column) -> bool {
    use crate::binlog::table::ColumnKind::Decimal;
    use crate::binlog::value::DecimalFormat;
    let ValueOptions::Json { include, exclude, options } = &plan.value else { return false };
    let is_in = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(&column.name));
    matches!(column.kind, Decimal { .. })
        && options.decimal == DecimalFormat::String
        && (include.is_empty() || is_in(include))
        && !is_in(exclude)
}

/// Where the rows go, and what is wrong with those that cannot be records.
fn weigh(table: &str, rows: &[OfRow]) -> (Vec<String>, Finding) {
    let mut topics = BTreeSet::new();
    let mut left_out = 0;
    let mut wrong = Vec::new();
    let mut hint = None;
    for row in rows {
        match &row.explained {
            Explained::Record(record) => drop(topics.insert(record.topic.clone())),
            Explained::LeftOut(_) => left_out += 1,
            Explained::Error(shown) => {
                wrong.push(format!("{}: {}", row.name, shown.message));
                hint = hint.or(shown.hint.clone());
            }
        }
    }
    let topics: Vec<_> = topics.into_iter().collect();
    let count = rows.len();
    let mut detail = match count {
        0 => format!("{table} has no rows yet"),
        1 => format!("the last row of {table}"),
        _ => format!("the last {count} rows of {table}"),
    };
    if !topics.is_empty() {
        detail.push_str(&format!(" go to {}", some_of(&topics)));
    }
    if left_out > 0 {
        detail.push_str(&format!("; {left_out} left out"));
    }
    if wrong.is_empty() {
        return (topics, Finding::Holds(detail));
    }
    detail.push_str(&format!("; {} cannot be records: {}", wrong.len(), some_of(&wrong)));
    let cure = hint.unwrap_or_else(|| "correct the writer".to_owned());
    let cure = format!(
        "{cure}; `binlog-relay explain` shows the rows. Those passed long ago do not matter"
    );
    (topics, Finding::doubtful(detail, cure))
}

fn some_of(all: &[String]) -> String {
    let named = all[..all.len().min(NAMED_MAX)].join(", ");
    match all.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
