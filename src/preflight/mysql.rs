//! The requirements on the MySQL server without which a run would lose or invent rows.

use crate::binlog::Identity;
use crate::binlog::server::{self, BinlogFilters, Server, TableAccess};
use crate::outbox::{self, MissingColumn, OutboxOptions, TablePattern};

/// A requirement that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error("the server is MariaDB {version}, which is not in this version")]
    MariaDb { version: String },
    #[error("the server has {variable}={value}; the relay needs {needed}")]
    Variable { variable: &'static str, value: String, needed: &'static str, cure: &'static str },
    #[error(
        "the server keeps the database {database} out of its binlog: it was started with {option}"
    )]
    Filtered { database: String, option: String },
    #[error("there is no table {table}")]
    NoTable { table: String },
    #[error("{table} is no table that rows are written to")]
    NoBaseTable { table: String },
    #[error("the user {account} has no SELECT right on {table}, or there is no such table")]
    NoSelect { account: String, table: String },
    #[error(
        "the table {table} is stored in {engine}; rows of a rolled back transaction would be relayed"
    )]
    Engine { table: String, engine: String },
    #[error(transparent)]
    MissingColumn(#[from] MissingColumn),
}

/// Holds the server against every requirement; the first that fails is the answer.
///
/// # Errors
/// A requirement does not hold, or the server cannot be asked.
pub async fn ensure(
    server: &mut Server,
    identity: &Identity,
    outboxes: &[OutboxOptions],
) -> Result<(), Error> {
    ensure_mysql(identity)?;
    ensure_binlog(server).await?;
    ensure_row_format(server).await?;
    ensure_row_image(server).await?;
    server.ensure_may_dump().await?;
    ensure_tables(server, outboxes).await
}

fn ensure_mysql(identity: &Identity) -> Result<(), Error> {
    match identity.is_mariadb {
        true => Err(Error::MariaDb { version: identity.version.clone() }),
        false => Ok(()),
    }
}

async fn ensure_binlog(server: &mut Server) -> Result<(), Error> {
    let cure = "start mysqld with --log-bin";
    ensure_variable(server, "log_bin", "ON", cure).await
}

async fn ensure_row_format(server: &mut Server) -> Result<(), Error> {
    let cure = "SET GLOBAL binlog_format = 'ROW', then reconnect the writers";
    ensure_variable(server, "binlog_format", "ROW", cure).await
}

async fn ensure_row_image(server: &mut Server) -> Result<(), Error> {
    let cure = "SET GLOBAL binlog_row_image = 'FULL', then reconnect the writers";
    ensure_variable(server, "binlog_row_image", "FULL", cure).await
}

async fn ensure_variable(
    server: &mut Server,
    variable: &'static str,
    needed: &'static str,
    cure: &'static str,
) -> Result<(), Error> {
    match server.variable(variable).await? {
        // A later version may drop a variable whose other values it gave up.
        Some(value) if !value.eq_ignore_ascii_case(needed) => {
            Err(Error::Variable { variable, value, needed, cure })
        }
        _ => Ok(()),
    }
}

async fn ensure_tables(server: &mut Server, outboxes: &[OutboxOptions]) -> Result<(), Error> {
    let tables = server.tables().await?;
    let filters = server.binlog_filters().await?;
    for outbox in outboxes {
        let mut is_there = false;
        for (database, name, engine) in &tables {
            if !outbox.table.matches(database, name) {
                continue;
            }
            let columns = server.columns(database, name).await?;
            if columns.is_empty() {
                // Dropped since the tables were listed.
                continue;
            }
            is_there = true;
            ensure_logged(&filters, database)?;
            ensure_transactional(database, name, engine.as_deref())?;
            let names = columns.iter().map(|column| column.name.as_str());
            outbox::ensure_columns(outbox, &format!("{database}.{name}"), names)?;
        }
        if !is_there && outbox.table.is_literal() {
            return Err(why_not_there(server, &outbox.table).await?);
        }
    }
    Ok(())
}

/// A server shows only those tables that the user has a right on.
async fn why_not_there(server: &mut Server, pattern: &TablePattern) -> Result<Error, Error> {
    let table = pattern.to_string();
    let (database, name) = table.split_once('.').expect("a pattern has two names");
    Ok(match server.table_access(database, name).await? {
        TableAccess::Missing => Error::NoTable { table },
        TableAccess::Denied { account } => Error::NoSelect { account, table },
        TableAccess::Readable => Error::NoBaseTable { table },
    })
}

fn ensure_logged(filters: &BinlogFilters, database: &str) -> Result<(), Error> {
    let names = |list: &[String]| list.iter().any(|name| name == database);
    let option = if !filters.do_db.is_empty() && !names(&filters.do_db) {
        format!("--binlog-do-db={}", filters.do_db.join(","))
    } else if filters.do_db.is_empty() && names(&filters.ignore_db) {
        format!("--binlog-ignore-db={database}")
    } else {
        return Ok(());
    };
    Err(Error::Filtered { database: database.to_owned(), option })
}

fn ensure_transactional(database: &str, name: &str, engine: Option<&str>) -> Result<(), Error> {
    let engine = engine.unwrap_or("no engine");
    match engine.eq_ignore_ascii_case("InnoDB") {
        true => Ok(()),
        false => {
            Err(Error::Engine { table: format!("{database}.{name}"), engine: engine.to_owned() })
        }
    }
}
