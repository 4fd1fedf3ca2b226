//! The requirements on the MySQL server without which a run would lose or invent rows, and warnings about it.

mod replication;
mod tables;

use std::time::Duration;

use tokio::time::Instant;

pub use self::replication::{WITHOUT_LOCK, ensure_updates_logged, weigh_lock};
pub use self::tables::{
    ColumnRights, Found, OutboxTable, ensure_logged, ensure_table, ensure_transactional,
    find_tables, weigh_ghosts,
};
use crate::binlog::server::{self, BinlogFilters, Server, Variables};
use crate::binlog::{Identity, Replica, TlsMode};
use crate::finding::Finding;
use crate::outbox::{self, MissingColumns, OutboxOptions};
use crate::telemetry::Causes;

/// A requirement that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error("the server is MariaDB {version}, which is not in this version")]
    MariaDb { version: String },
    #[error("the server is MySQL {version}; the relay needs 5.7 or later")]
    OldVersion { version: String },
    #[error("the server has {variable}={value}; the relay needs {needed}")]
    Variable { variable: &'static str, value: String, needed: &'static str, cure: &'static str },
    #[error(
        "the server keeps the database {database} out of its binlog: it was started with {option}"
    )]
    Filtered { database: String, option: String },
    #[error(
        "the server replicates from {sources}, and with {variable}=OFF its binlog lacks what it replicates"
    )]
    UpdatesNotLogged { sources: String, variable: &'static str },
    #[error("there is no table {table}")]
    NoTable { table: String },
    #[error("{table} is no table that rows are written to")]
    NoBaseTable { table: String },
    #[error("the user {account} has no SELECT right on {table}, or there is no such table")]
    NoSelect { account: String, table: String },
    #[error(
        "the user {account} has the SELECT right on some columns of {table} only, and the server shows no others"
    )]
    NoSelectOnAll { account: String, table: String },
    #[error(
        "the table {table} is stored in {engine}; rows of a rolled back transaction would be relayed"
    )]
    Engine { table: String, engine: String },
    #[error(transparent)]
    MissingColumn(#[from] MissingColumns),
    #[error("the server itself has the server id {server_id}, which this relay is to have")]
    ServerIdOfServer { server_id: u32 },
    #[error(
        "another replica{} is connected with the server id {server_id}, which this relay is to have",
        if uuid.is_empty() { String::new() } else { format!(", {uuid},") }
    )]
    ServerIdTaken { server_id: u32, uuid: String },
}

/// The variable that [`names_columns`] reads.
pub const ROW_METADATA: &str = "binlog_row_metadata";

/// The variables that the functions of this file read.
pub const VARIABLES: [&str; 11] = [
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_value_options",
    ROW_METADATA,
    "gtid_mode",
    "binlog_expire_logs_seconds",
    "binlog_expire_logs_auto_purge",
    "expire_logs_days",
    "log_replica_updates",
    "log_slave_updates",
];

/// Binlogs that are kept for less than this may be purged before a broken relay is noticed and repaired.
const RETENTION_MIN: Duration = Duration::from_secs(24 * 3600);

/// How long the server may still list a replica that is gone: two heartbeats of 1 s, and some more.
const DEPARTURE_MAX: Duration = Duration::from_secs(4);
const DEPARTURE_PAUSE: Duration = Duration::from_millis(250);

/// Asks in advance what [`Server::identity`], [`Server::clock`], [`ensure`] and [`ensure_server_id`] will ask, as far
/// as that does not depend on the kind of server.
///
/// # Errors
/// The connection broke.
pub async fn ask_ahead(server: &mut Server) -> Result<(), server::Error> {
    server.ask_first_questions_ahead(&[&VARIABLES, &["server_id"]]).await
}

/// Checks every requirement of a run. The first failure is the result.
///
/// # Errors
/// A requirement does not hold, or the server cannot be asked.
pub async fn ensure(
    server: &mut Server,
    identity: &Identity,
    outboxes: &[OutboxOptions],
) -> Result<(), Error> {
    ensure_version(identity)?;
    let outboxes = &outbox::as_on_server(outboxes, identity.folds_case);
    let variables = server.variables(&VARIABLES).await?;
    ensure_binlog(&variables)?;
    ensure_row_format(&variables)?;
    ensure_row_image(&variables)?;
    let filters = ensure_replication_client(server).await?;
    ensure_updates_logged(server, &variables).await?;
    ensure_replication_slave(server).await?;
    let rights = ColumnRights::ask(server, &variables).await?;
    let names: Vec<_> = outboxes.iter().map(|outbox| outbox.table.pieces()).collect();
    server.ask_tables_ahead(&names).await?;
    let mut missing: Option<MissingColumns> = None;
    for (outbox, found) in outboxes.iter().zip(find_tables(server, outboxes).await?) {
        let Found { tables, ghosts } = found;
        if let Some(Finding::Doubtful { detail, cure }) = weigh_ghosts(outbox, &ghosts) {
            tracing::warn!(hint = cure, "{detail}");
        }
        ensure_table(server, outbox, &tables).await?;
        for table in &tables {
            ensure_logged(&filters, &table.database)?;
            ensure_transactional(table)?;
            match rights.ensure_columns(server, outbox, table).await {
                // All of them at once: a start for each would be tedious.
                Err(Error::MissingColumn(more)) => {
                    missing = Some(match missing.take() {
                        None => more,
                        Some(missing) => missing.and(more),
                    });
                }
                found => drop(found?),
            }
        }
    }
    missing.map_or(Ok(()), |missing| Err(missing.into()))
}

/// # Errors
/// The server is not MySQL, or too old.
pub fn ensure_version(identity: &Identity) -> Result<Finding, Error> {
    let version = identity.version.clone();
    if identity.is_mariadb {
        return Err(Error::MariaDb { version });
    }
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if (major, minor) < (5, 7) {
        Err(Error::OldVersion { version })
    } else {
        Ok(Finding::Holds(format!("MySQL {version}")))
    }
}

/// Reports whether and how the connection is encrypted. Connecting has already enforced the configured mode.
///
/// # Errors
/// The server cannot be asked.
pub async fn weigh_encryption(server: &mut Server, mode: TlsMode) -> Result<Finding, Error> {
    Ok(match (server.encryption().await?, mode) {
        (Some(cipher), _) if has_old_version(&cipher) => Finding::doubtful(
            format!("encrypted, {cipher}; this version of TLS is out of date since 2021"),
            "give the server a MySQL that speaks TLS 1.2 (5.7.28 or later does)",
        ),
        (Some(cipher), _) => Finding::Holds(format!("encrypted, {cipher}")),
        (None, TlsMode::Preferred) => match server.tls_fallback() {
            Some(why) => Finding::doubtful(
                format!(
                    "the connection is not encrypted, though the server offers TLS: {}",
                    Causes(why)
                ),
                why.hint(),
            ),
            None => Finding::doubtful(
                "the connection is not encrypted: the server offers no TLS",
                "give the server a certificate, and set [mysql.tls] mode = \"required\"; or say \"disabled\"",
            ),
        },
        (None, _) => Finding::Holds("not encrypted, as asked".to_owned()),
    })
}

/// TLS 1.0 and 1.1 (RFC 8996), as the server names them before the cipher.
fn has_old_version(encryption: &str) -> bool {
    encryption.starts_with("TLSv1 ") || encryption.starts_with("TLSv1.1 ")
}

/// # Errors
/// The server writes no binlog.
pub fn ensure_binlog(variables: &Variables) -> Result<Finding, Error> {
    let cure = "start mysqld with --log-bin";
    ensure_variable(variables, "log_bin", "ON", cure)
}

/// # Errors
/// The server logs statements.
pub fn ensure_row_format(variables: &Variables) -> Result<Finding, Error> {
    let cure = "SET GLOBAL binlog_format = 'ROW', then reconnect the writers";
    ensure_variable(variables, "binlog_format", "ROW", cure)
}

/// # Errors
/// The server leaves columns out.
pub fn ensure_row_image(variables: &Variables) -> Result<Finding, Error> {
    let cure = "SET GLOBAL binlog_row_image = 'FULL', then reconnect the writers";
    ensure_variable(variables, "binlog_row_image", "FULL", cure)
}

fn ensure_variable(
    variables: &Variables,
    variable: &'static str,
    needed: &'static str,
    cure: &'static str,
) -> Result<Finding, Error> {
    match variables.get(variable) {
        Some(value) if !value.eq_ignore_ascii_case(needed) => {
            Err(Error::Variable { variable, value: value.clone(), needed, cure })
        }
        Some(value) => Ok(Finding::Holds(format!("{variable}={value}"))),
        // A later version may drop a variable that has only one value left.
        None => Ok(Finding::Holds(format!("this version knows nothing but {variable}={needed}"))),
    }
}

/// `PARTIAL_JSON` shortens updates, and only inserts are relayed.
#[must_use]
pub fn weigh_row_value_options(variables: &Variables) -> Finding {
    let value = variables.get("binlog_row_value_options").map_or("", String::as_str);
    Finding::Holds(match value {
        "" => "binlog_row_value_options is empty".to_owned(),
        value => {
            format!("binlog_row_value_options={value} is about updates, which are not relayed")
        }
    })
}

/// Without column names in the binlog, the relay takes those of information_schema, if they can fit.
/// Rows of the binlog name their own columns.
#[must_use]
pub fn names_columns(variables: &Variables) -> bool {
    variables.get(ROW_METADATA).is_some_and(|value| value.eq_ignore_ascii_case("FULL"))
}

#[must_use]
pub fn weigh_row_metadata(variables: &Variables) -> Finding {
    let effect = "rows do not name their columns, and an ALTER TABLE of an outbox halts the relay when rows from \
                  before it are still to be read";
    match variables.get(ROW_METADATA) {
        Some(_) if names_columns(variables) => {
            Finding::Holds("binlog_row_metadata=FULL".to_owned())
        }
        Some(value) => Finding::doubtful(
            format!("binlog_row_metadata={value}: {effect}"),
            "SET GLOBAL binlog_row_metadata = 'FULL'",
        ),
        None => Finding::doubtful(
            format!("this version has no binlog_row_metadata: {effect}"),
            "let the relay catch up before an outbox table is altered, or upgrade to MySQL 8.0",
        ),
    }
}

#[must_use]
pub fn weigh_gtids(variables: &Variables) -> Finding {
    match variables.get("gtid_mode").map_or("OFF", String::as_str) {
        "ON" => Finding::Holds("gtid_mode=ON".to_owned()),
        mode => Finding::doubtful(
            format!(
                "gtid_mode={mode}: the relay can go on on this server only, not on one that replaces it"
            ),
            "turn GTIDs on: enforce_gtid_consistency = ON, then gtid_mode = ON, step by step",
        ),
    }
}

/// How long the server keeps binlogs
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html>).
#[must_use]
pub fn weigh_retention(variables: &Variables) -> Finding {
    let number = |name| variables.get(name).and_then(|value| value.parse::<u64>().ok());
    let is_off = |name| variables.get(name).is_some_and(|value| value == "OFF");
    let seconds = match number("binlog_expire_logs_seconds").unwrap_or_default() {
        0 => number("expire_logs_days").unwrap_or_default() * 24 * 3600,
        seconds => seconds,
    };
    if seconds == 0 || is_off("binlog_expire_logs_auto_purge") {
        return Finding::Holds("the server deletes no binlogs by itself".to_owned());
    }
    let detail = format!("the server keeps binlogs for {:.1} h", seconds as f64 / 3600.0);
    if Duration::from_secs(seconds) < RETENTION_MIN {
        Finding::doubtful(
            format!("{detail}; a relay that is down for longer loses its place"),
            if variables.contains_key("binlog_expire_logs_seconds") {
                "SET PERSIST binlog_expire_logs_seconds = 604800"
            } else {
                "SET GLOBAL expire_logs_days = 7, and in my.cnf"
            },
        )
    } else {
        Finding::Holds(detail)
    }
}

/// Asks which databases the binlog has, which needs REPLICATION CLIENT.
///
/// # Errors
/// The right is missing.
pub async fn ensure_replication_client(server: &mut Server) -> Result<BinlogFilters, Error> {
    Ok(server.binlog_filters().await?)
}

/// Reads a binlog event, which needs the same right as the dump.
///
/// # Errors
/// The right is missing.
pub async fn ensure_replication_slave(server: &mut Server) -> Result<Finding, Error> {
    server.read_first_event().await?;
    Ok(Finding::Holds("the user may read the binlog".to_owned()))
}

/// Two replicas with the same server id end each other's dumps for ever. A replica that has just gone is listed until
/// the server next writes to it, so give it time to leave.
///
/// # Errors
/// The server, or another replica that stays connected, has the id.
pub async fn ensure_server_id(server: &mut Server, replica: &Replica) -> Result<Finding, Error> {
    let server_id = replica.server_id.get();
    let own = server.variable("server_id").await?;
    if own.and_then(|own| own.parse().ok()) == Some(server_id) {
        return Err(Error::ServerIdOfServer { server_id });
    }
    let deadline = Instant::now() + DEPARTURE_MAX;
    loop {
        let connected = server.replicas().await?;
        let Some(other) = connected.into_iter().find(|other| other.server_id == server_id) else {
            return Ok(Finding::Holds(format!("{server_id} is free")));
        };
        if other.uuid.eq_ignore_ascii_case(&replica.uuid.to_string()) {
            return Ok(Finding::Holds(format!(
                "{server_id} is connected, as this relay's own replica: it is running, or was a moment ago"
            )));
        }
        if Instant::now() > deadline {
            return Err(Error::ServerIdTaken { server_id, uuid: other.uuid });
        }
        tokio::time::sleep(DEPARTURE_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn identity(version: &str, is_mariadb: bool) -> Identity {
        let server_uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().unwrap();
        Identity {
            version: version.to_owned(),
            server_uuid,
            is_mariadb,
            has_gtids: true,
            folds_case: false,
        }
    }

    fn is_doubtful(finding: &Finding) -> bool {
        matches!(finding, Finding::Doubtful { .. })
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for version in ["5.7.22-log", "8.0.31", "8.4.3", "9.7.4-debug", "10.0.1"] {
            assert!(ensure_version(&identity(version, false)).is_ok(), "{version}");
        }
        for version in ["5.6.51", "5.5.0", "4.1", ""] {
            let error = ensure_version(&identity(version, false)).unwrap_err();
            assert!(matches!(error, Error::OldVersion { .. }), "{version}");
        }
        let error = ensure_version(&identity("10.11.5-MariaDB", true)).unwrap_err();
        assert!(error.to_string().contains("MariaDB"));
    }

    #[test]
    fn a_variable_that_a_later_version_dropped_is_no_reason_to_refuse() {
        assert!(ensure_row_format(&variables(&[])).is_ok());
        assert!(ensure_row_format(&variables(&[("binlog_format", "row")])).is_ok());
        let error = ensure_row_format(&variables(&[("binlog_format", "MIXED")])).unwrap_err();
        assert_eq!(error.to_string(), "the server has binlog_format=MIXED; the relay needs ROW");
    }

    #[test]
    fn binlogs_that_are_kept_for_less_than_a_day_are_doubtful() {
        for (pairs, expected) in [
            (&[("binlog_expire_logs_seconds", "86399")][..], true),
            (&[("binlog_expire_logs_seconds", "86400")], false),
            (&[("binlog_expire_logs_seconds", "2592000"), ("expire_logs_days", "0")], false),
            (&[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "0")], false),
            (
                &[("binlog_expire_logs_seconds", "60"), ("binlog_expire_logs_auto_purge", "OFF")],
                false,
            ),
            (&[("expire_logs_days", "1")], false),
            (&[], false),
        ] {
            assert_eq!(is_doubtful(&weigh_retention(&variables(pairs))), expected, "{pairs:?}");
        }
    }

    #[test]
    fn rows_that_do_not_name_their_columns_are_doubtful() {
        for (pairs, expected) in [
            (&[("binlog_row_metadata", "FULL")][..], false),
            (&[("binlog_row_metadata", "MINIMAL")], true),
            (&[], true),
        ] {
            assert_eq!(is_doubtful(&weigh_row_metadata(&variables(pairs))), expected, "{pairs:?}");
        }
    }
}
