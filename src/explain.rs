//! Shows what record each row would become, and which plan makes it, connecting to MySQL only.
//!
//! The rows are the last ones of a table, or one that is given as JSON. They become records by the same plans and
//! writers as the rows of the binlog. What only the binlog says of a row has a stand-in, which is named.

mod describe;
mod print;
mod record;

pub(crate) use self::print::{explained_json, printable, write_explained};
pub use self::print::{to_json, to_text};
pub(crate) use self::record::record_of;
pub use self::record::{Explained, Explainer, Record, Shown};

use crate::binlog::Server;
use crate::binlog::table::{SchemaColumn, Table};
use crate::binlog::value::{EncodedRow, JsonOptions, RowError, row_from_json};
use crate::config::Config;
use crate::connect;
use crate::error;
use crate::nearest::nearest;
use crate::outbox::{self, OutboxOptions, Route, ValueOptions};
use crate::preflight::mysql::{self as preflight, OutboxTable};
use crate::telemetry::Causes;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `table` or `database.table`; `None`: all tables of the outboxes.
    pub table: Option<String>,
    pub rows: Rows,
}

/// Which rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// So many by its primary key.
    Last(usize),
    /// This one, as a JSON object.
    Given(String),
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked cannot be.
    #[error("{problem}")]
    Usage { problem: String, hint: Option<String> },
    #[error(transparent)]
    Relay(#[from] error::Error),
}

/// A table with its rows.
#[derive(Debug)]
pub struct OfTable {
    pub table: String,
    pub outbox: OutboxOptions,
    /// What a person should know of the table or of the choice of rows.
    pub notes: Vec<String>,
    pub rows: Result<Vec<OfRow>, Shown>,
}

/// A row and what it would become.
#[derive(Debug)]
pub struct OfRow {
    /// Its primary key or first column, as text.
    pub name: String,
    pub explained: Explained,
}

impl OfTable {
    /// Each row is a record, or left out.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        let is_ok = |row: &OfRow| !matches!(row.explained, Explained::Error(_));
        self.rows.as_ref().is_ok_and(|rows| rows.iter().all(is_ok))
    }
}

/// Explains rows of the tables that are asked for.
///
/// # Errors
/// MySQL cannot be asked, or there is no such table or column.
pub async fn explain(config: &Config, asked: &Asked) -> Result<Vec<OfTable>, Error> {
    let (mut server, identity) = connect::connect_mysql(config).await?;
    let failed = |source| Error::Relay(connect::preflight_error(config, source));
    preflight::ensure_version(&identity).map_err(failed)?;
    let outboxes = outbox::as_on_server(&config.outbox, identity.folds_case);
    let found = preflight::find_tables(&mut server, &outboxes).await.map_err(failed)?;
    let mut tables = Vec::new();
    for (outbox, found) in outboxes.iter().zip(found) {
        let is_wanted =
            asked.table.as_deref().is_none_or(|text| may_be(text, outbox, &found.tables));
        if is_wanted {
            let there = preflight::ensure_table(&mut server, outbox, &found.tables).await;
            there.map_err(failed)?;
        }
        tables.extend(found.tables.into_iter().map(|table| (outbox, table)));
    }
    let tables = chosen(tables, asked)?;
    let variables = server.variables(&[preflight::ROW_METADATA]).await;
    let variables = variables.map_err(|source| failed(source.into()))?;
    let has_names = preflight::names_columns(&variables);
    let mut explained = Vec::new();
    for (outbox, table) in tables {
        let mut of = Of { config, server: &mut server, has_gtids: identity.has_gtids, has_names };
        explained.push(of.table(outbox, &table, &asked.rows).await?);
    }
    Ok(explained)
}

/// The name, without regard to case, is that of a table or the last part of it.
fn is_named(text: &str, table: &OutboxTable) -> bool {
    table.full_name().eq_ignore_ascii_case(text) || table.name.eq_ignore_ascii_case(text)
}

fn may_be(text: &str, outbox: &OutboxOptions, found: &[OutboxTable]) -> bool {
    let is_literal = || {
        let name = outbox.table.to_string();
        name == text || name.ends_with(&format!(".{text}"))
    };
    found.iter().any(|table| is_named(text, table)) || is_literal()
}

type Chosen<'a> = Vec<(&'a OutboxOptions, OutboxTable)>;

fn chosen<'a>(tables: Chosen<'a>, asked: &Asked) -> Result<Chosen<'a>, Error> {
    let names: Vec<_> = tables.iter().map(|(_, table)| table.full_name()).collect();
    let all = names.join(", ");
    let Some(text) = &asked.table else {
        if matches!(asked.rows, Rows::Given(_)) && tables.len() != 1 {
            let problem = format!("--row is of one table, and [[outbox]] has {}", tables.len());
            let hint = Some(format!("name it with --table: {all}")).filter(|_| !tables.is_empty());
            return Err(Error::Usage { problem, hint });
        }
        return Ok(tables);
    };
    let chosen: Vec<_> = tables.into_iter().filter(|(_, table)| is_named(text, table)).collect();
    if chosen.is_empty() {
        let last_parts = names.iter().filter_map(|name| name.rsplit('.').next());
        let hint = match nearest(text, names.iter().map(String::as_str).chain(last_parts)) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None if names.is_empty() => {
                "the outboxes match no table that the user may see".to_owned()
            }
            None => format!("the outboxes have {all}"),
        };
        let problem = format!("no [[outbox]] has a table {text}");
        return Err(Error::Usage { problem, hint: Some(hint) });
    }
    if chosen.len() > 1 && matches!(asked.rows, Rows::Given(_)) {
        let names: Vec<_> = chosen.iter().map(|(_, table)| table.full_name()).collect();
        let problem = format!("--row is of one table, and {text} is {}", names.join(" or "));
        return Err(Error::Usage { problem, hint: Some("name it with its database".to_owned()) });
    }
    Ok(chosen)
}

struct Of<'a> {
    config: &'a Config,
    server: &'a mut Server,
    has_gtids: bool,
    /// Rows of the binlog name their columns.
    has_names: bool,
}

impl Of<'_> {
    async fn table(
        &mut self,
        outbox: &OutboxOptions,
        found: &OutboxTable,
        rows: &Rows,
    ) -> Result<OfTable, Error> {
        let name = found.full_name();
        let mut of = OfTable {
            table: name,
            outbox: outbox.clone(),
            notes: Vec::new(),
            rows: Ok(Vec::new()),
        };
        let columns = self.server.columns(&found.database, &found.name).await;
        let columns = columns.map_err(|source| self.failed(source))?;
        let table = match layout(found, &columns, self.has_names) {
            Ok(table) => table,
            Err(shown) => return Ok(OfTable { rows: Err(shown), ..of }),
        };
        of.notes.push(describe::layout(&columns, self.has_names));
        let route = match Route::new(outbox, &table) {
            Ok(route) => route,
            Err(missing) => {
                let error = error::Error::MissingColumn(missing);
                return Ok(OfTable { rows: Err(Shown::of(&error)), ..of });
            }
        };
        of.notes.extend(describe::stand_ins(outbox, &record::STAND_INS));
        let mut explainer = Explainer::of_name(&self.config.name, self.has_gtids);
        match rows {
            Rows::Given(json) => {
                let row = given(outbox, &table, json)?;
                let explained = explainer.explain_given(&route, &table, &row);
                of.rows = Ok(vec![OfRow { name: "given".to_owned(), explained }]);
            }
            Rows::Last(count) => {
                let read = self.server.last_rows(&table, *count).await;
                let read = read.map_err(|source| self.failed(source))?;
                if read.primary_key.is_empty() {
                    of.notes
                        .push("the table has no primary key: these are any of its rows".to_owned());
                }
                if read.rows.is_empty() {
                    of.notes.push("the table has no rows".to_owned());
                }
                of.rows = Ok(last(&mut explainer, &route, &table, read));
            }
        }
        Ok(of)
    }

    fn failed(&self, source: crate::binlog::server::Error) -> Error {
        Error::Relay(connect::preflight_error(self.config, source.into()))
    }
}

/// The table as the relay would know it from its events.
pub(crate) fn layout(
    found: &OutboxTable,
    columns: &[SchemaColumn],
    has_names: bool,
) -> Result<Table, Shown> {
    let table =
        Table::of_schema(&found.database, &found.name, columns).map_err(|mismatch| Shown {
            message: format!(
                "the table {} cannot be relayed: {}",
                found.full_name(),
                mismatch.difference
            ),
            hint: Some("leave the table out of [[outbox]], or change the column's type".to_owned()),
        })?;
    Ok(if has_names { table.as_named_by_events() } else { table })
}

/// Explains rows as the server has read them, the last one first.
pub(crate) fn last(
    explainer: &mut Explainer<'_>,
    route: &Route,
    table: &Table,
    read: crate::binlog::server::LastRows,
) -> Vec<OfRow> {
    let key = match &read.primary_key[..] {
        [] => table.columns.iter().take(1).map(|column| column.name.clone()).collect(),
        key => key.to_vec(),
    };
    let explain = |row: Result<EncodedRow, _>| match row {
        Ok(row) => OfRow {
            name: record::row_name(table, &key, &row),
            explained: explainer.explain(route, table, &row),
        },
        Err(error) => OfRow {
            name: "?".to_owned(),
            explained: Explained::Error(Shown { message: Causes(&error).to_string(), hint: None }),
        },
    };
    read.rows.into_iter().map(explain).collect()
}

/// The row, with its bytes written as the outbox itself would write them in JSON.
fn given(outbox: &OutboxOptions, table: &Table, json: &str) -> Result<EncodedRow, Error> {
    let options = match outbox.plan.as_ref().map(|plan| &plan.value) {
        Some(ValueOptions::Json { options, .. }) => *options,
        _ => JsonOptions::default(),
    };
    row_from_json(table, json, options).map_err(|error| {
        let hint = match &error {
            RowError::NotAnObject(_) => {
                let names: Vec<_> = table.columns.iter().map(|column| &column.name).collect();
                let first = names.first().map_or("id", |name| name.as_str());
                Some(format!("write {{\"{first}\": …}}, a member for each column of {names:?}"))
            }
            RowError::UnknownColumn { column, present, .. } => {
                let nearest = nearest(column, present.iter().map(String::as_str));
                nearest.map(|nearest| format!("did you mean {nearest}?"))
            }
            RowError::Twice(_) | RowError::Value(_) => None,
        };
        Error::Usage { problem: format!("--row: {error}"), hint }
    })
}
