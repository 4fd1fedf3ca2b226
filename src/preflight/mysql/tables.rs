//! The requirements on outbox tables: they exist, the user sees all columns, they are logged, and their engine has
//! transactions.

use super::{Error, Finding};
use crate::binlog::server::{BinlogFilters, Listed, Server, TableAccess, Variables, spelled};
use crate::outbox::{self, OutboxOptions, TablePattern};

/// An existing table that belongs to an `[[outbox]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxTable {
    pub database: String,
    pub name: String,
    pub engine: Option<String>,
    pub columns: Vec<String>,
}

impl OutboxTable {
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

/// The tables of one outbox that the user may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub tables: Vec<OutboxTable>,
    /// Names of tables that a `*` leaves out: copies that a tool makes while it alters a table.
    pub ghosts: Vec<String>,
}

/// The tables of each outbox.
///
/// # Errors
/// The server cannot be asked.
pub async fn find_tables(
    server: &mut Server,
    outboxes: &[OutboxOptions],
) -> Result<Vec<Found>, Error> {
    let mut all = Vec::with_capacity(outboxes.len());
    for OutboxOptions { table: pattern, .. } in outboxes {
        let mut found = Found::default();
        for listed in server.tables(pattern.pieces()).await? {
            let Listed { database, name, engine, columns } = listed;
            if pattern.leaves_out(&database, &name) {
                found.ghosts.push(format!("{database}.{name}"));
            } else if pattern.matches(&database, &name) && !columns.is_empty() {
                found.tables.push(OutboxTable { database, name, engine, columns });
            }
        }
        all.push(found);
    }
    Ok(all)
}

/// The tables of a pattern may be created later. A named table must exist.
///
/// # Errors
/// The table is not there.
pub async fn ensure_table(
    server: &mut Server,
    outbox: &OutboxOptions,
    found: &[OutboxTable],
) -> Result<Finding, Error> {
    let table = outbox.table.to_string();
    match (found.len(), outbox.table.is_literal()) {
        (0, true) => Err(why_not_there(server, &outbox.table).await?),
        (0, false) => Ok(Finding::doubtful(
            format!("{table} matches no table that the user may see"),
            "create the tables, grant SELECT on them, or correct [[outbox]] table",
        )),
        (_, true) => Ok(Finding::Holds(format!("{table} is there"))),
        (1, false) => Ok(Finding::Holds(format!("{table} matches {}", found[0].full_name()))),
        (count, false) => Ok(Finding::Holds(format!("{table} matches {count} tables"))),
    }
}

/// # Errors
/// The server leaves the database out of its binlog.
pub fn ensure_logged(filters: &BinlogFilters, database: &str) -> Result<Finding, Error> {
    let names = |list: &[String]| list.iter().any(|name| name == database);
    let option = if !filters.do_db.is_empty() && !names(&filters.do_db) {
        format!("--binlog-do-db={}", filters.do_db.join(","))
    } else if filters.do_db.is_empty() && names(&filters.ignore_db) {
        format!("--binlog-ignore-db={database}")
    } else {
        return Ok(Finding::Holds(format!("{database} is in the binlog")));
    };
    Err(Error::Filtered { database: database.to_owned(), option })
}

/// # Errors
/// The table is of an engine without transactions.
pub fn ensure_transactional(table: &OutboxTable) -> Result<Finding, Error> {
    let engine = table.engine.as_deref().unwrap_or("no engine");
    let name = table.full_name();
    if engine.eq_ignore_ascii_case("InnoDB") {
        return Ok(Finding::Holds(format!("{name} is stored in {engine}")));
    }
    if engine.eq_ignore_ascii_case("BLACKHOLE") {
        return Ok(Finding::doubtful(
            format!(
                "{name} is stored in {engine}: its rows are in the binlog and nowhere else, so nothing can be \
                 audited, and what a lost binlog held cannot be read from the table"
            ),
            "keep binlogs for longer than the relay can be down, or ALTER TABLE … ENGINE = InnoDB",
        ));
    }
    Err(Error::Engine { table: name, engine: engine.to_owned() })
}

/// Warns of copies by a schema change that a pattern would match; `None` if there are none.
#[must_use]
pub fn weigh_ghosts(outbox: &OutboxOptions, ghosts: &[String]) -> Option<Finding> {
    let (first, others) = ghosts.split_first()?;
    let others = match others.len() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Some(Finding::doubtful(
        format!(
            "{} leaves out {first}{others}: tools make tables of such names to alter a table, and copy its rows",
            outbox.table
        ),
        "drop what such a tool left behind; if it is an outbox, name it without a * in an [[outbox]] of its own",
    ))
}

/// Whether the user sees all columns of a table, and whether that is needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ColumnRights {
    /// The user has rights on single columns of some table.
    on_columns: bool,
    /// Rows name their own columns.
    rows_have_names: bool,
}

impl ColumnRights {
    /// # Errors
    /// The server cannot be asked.
    pub async fn ask(server: &mut Server, variables: &Variables) -> Result<ColumnRights, Error> {
        Ok(ColumnRights {
            on_columns: server.has_rights_on_columns().await?,
            rows_have_names: super::names_columns(variables),
        })
    }

    /// # Errors
    /// The table lacks a column that its preset needs; or some of its columns are not shown to the user, and rows
    /// do not name them.
    pub async fn ensure_columns(
        &self,
        server: &mut Server,
        outbox: &OutboxOptions,
        table: &OutboxTable,
    ) -> Result<Finding, Error> {
        let found = ensure_columns(outbox, table);
        if !self.on_columns || found.is_ok() && self.rows_have_names {
            return found;
        }
        let (database, name) = (table.database.as_str(), table.name.as_str());
        if server.may_select_all(database, name).await? {
            return found;
        }
        match server.has_column_rights_only(database, name).await? {
            None => found,
            Some(account) => {
                let table = format!("{}.{}", spelled(database), spelled(name));
                Err(Error::NoSelectOnAll { account, table })
            }
        }
    }
}

/// # Errors
/// The table lacks a column that its preset needs.
pub fn ensure_columns(outbox: &OutboxOptions, table: &OutboxTable) -> Result<Finding, Error> {
    let name = table.full_name();
    outbox::ensure_columns(outbox, &name, table.columns.iter().map(String::as_str))?;
    Ok(Finding::Holds(format!("{name} has the columns of {}", outbox.preset)))
}

/// The server shows only tables on which the user has a right.
async fn why_not_there(server: &mut Server, pattern: &TablePattern) -> Result<Error, Error> {
    let (database, name) = pattern.literal().expect("only a name is missed");
    let table = format!("{}.{}", spelled(database), spelled(name));
    Ok(match server.table_access(database, name).await? {
        TableAccess::Missing => Error::NoTable { table },
        TableAccess::Denied { account } => Error::NoSelect { account, table },
        TableAccess::Readable => Error::NoBaseTable { table },
    })
}
