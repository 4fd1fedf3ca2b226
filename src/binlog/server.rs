//! The SQL side of a MySQL server: who it is, which binlogs it has, where a place resolves to, and the
//! columns of a table. One connection, made again when it was lost; the dump stream is another one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, DriverError, IoError, Opts, OptsBuilder};

use super::table::{SCHEMA_COLUMNS_SQL, SchemaColumn};
use super::{Options, TlsMode, tls};
use crate::coordinates::{Coordinates, GtidSet, Uuid};
use crate::secret;
use crate::telemetry::clock::ServerClock;

/// Connecting, TLS and login together may take this long; a server that is gone without a word would
/// otherwise hold us for the kernel's two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One statement may take this long. The slowest is SHOW BINLOG EVENTS, which reads the head of a file.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

const ACCOUNT_SQL: &str = "SELECT CURRENT_USER()";

// Numbers of <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
const DATABASE_DENIED: u16 = 1044;
const NO_SUCH_DATABASE: u16 = 1049;
const TABLE_DENIED: u16 = 1142;
const NO_SUCH_TABLE: u16 = 1146;
const WRONG_OFFSET: u16 = 1220;
const RIGHT_DENIED: u16 = 1227;

const SERVER_UUID_SQL: &str = "SELECT @@GLOBAL.server_uuid";

/// The largest packet the protocol allows (1 GiB): an event can be as large as a row can be.
const PACKET_BYTES_MAX: usize = 1 << 30;

/// Why the server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Secret(#[from] secret::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("{}", spoken(.0))]
    MySql(mysql_async::Error),
    #[error("the user {account} has no {right} right")]
    NoRight { account: String, right: String },
    #[error("no answer within {} s", timeout.as_secs())]
    Timeout { timeout: Duration },
    #[error("behind the same address is now another server, {is}; it was {was} a moment ago")]
    OtherServer { was: String, is: String },
    #[error("the server answered {answer:?} to {question}")]
    UnexpectedAnswer { question: &'static str, answer: String },
}

impl From<mysql_async::Error> for Error {
    fn from(error: mysql_async::Error) -> Error {
        Error::MySql(error)
    }
}

/// The driver's errors without the words that it puts around each of them.
pub fn spoken(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(error) => {
            format!("ERROR {} ({}): {}", error.code, error.state, error.message)
        }
        mysql_async::Error::Io(IoError::Io(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            "the server closed the connection".to_owned()
        }
        mysql_async::Error::Io(IoError::Io(error)) => error.to_string(),
        mysql_async::Error::Driver(DriverError::ConnectionClosed) => {
            "the server closed the connection".to_owned()
        }
        error => error.to_string(),
    }
}

/// Whether a user can read a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableAccess {
    Readable,
    Missing,
    Denied { account: String },
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub version: String,
    pub server_uuid: Uuid,
    pub is_mariadb: bool,
    /// Every transaction has a GTID (`gtid_mode=ON`).
    pub has_gtids: bool,
}

/// One file of SHOW BINARY LOGS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogFile {
    pub name: String,
    pub size_bytes: u64,
}

/// One line of SHOW BINLOG EVENTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEvent {
    pub event_type: String,
    pub end: u64,
    pub info: String,
}

/// A replica that the server sends its binlog to, as it has registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredReplica {
    pub server_id: u32,
    /// Empty where it did not say.
    pub host: String,
    /// Empty where it named none.
    pub uuid: String,
}

/// Databases that the binlog is restricted to (all, when there are none), and databases left out of it
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogFilters {
    pub do_db: Vec<String>,
    pub ignore_db: Vec<String>,
}

/// Global variables by their names; one that this version does not have is not in it.
pub type Variables = BTreeMap<String, String>;

/// A connection for SQL.
pub struct Server {
    options: Options,
    conn: Conn,
    /// The server that answered first; connections made later must be to the same one.
    server_uuid: Option<String>,
}

impl Server {
    /// # Errors
    /// The server cannot be reached, refuses TLS or the login, or does not answer in time.
    pub async fn connect(options: &Options) -> Result<Server, Error> {
        let conn = connect(options).await?;
        Ok(Server { conn, options: options.clone(), server_uuid: None })
    }

    /// # Errors
    /// As every question to the server.
    pub async fn identity(&mut self) -> Result<Identity, Error> {
        let version: String = self.one("SELECT VERSION()").await?;
        let is_mariadb = version.contains("MariaDB");
        let uuid = match is_mariadb {
            true => "00000000-0000-0000-0000-000000000000".to_owned(),
            false => self.one(SERVER_UUID_SQL).await?,
        };
        self.server_uuid = Some(uuid.clone());
        let server_uuid = uuid
            .parse()
            .map_err(|_| Error::UnexpectedAnswer { question: "@@server_uuid", answer: uuid })?;
        let has_gtids = !is_mariadb && self.variable("gtid_mode").await?.as_deref() == Some("ON");
        Ok(Identity { version, server_uuid, is_mariadb, has_gtids })
    }

    /// A global variable as text; `None` where this version has no such variable.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn variable(&mut self, name: &str) -> Result<Option<String>, Error> {
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name = '{name}'");
        let row: Option<(String, String)> = self.rows(&sql).await?.pop();
        Ok(row.map(|(_, value)| value))
    }

    /// The server's clock beside ours, to within half a round trip.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn clock(&mut self) -> Result<ServerClock, Error> {
        self.reconnect_if_lost().await?;
        let asked_at = SystemTime::now();
        let sql = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)";
        let micros: Option<u64> = within(QUERY_TIMEOUT, self.conn.query_first(sql)).await?;
        let micros = micros.ok_or_else(|| Error::UnexpectedAnswer {
            question: "a SELECT",
            answer: sql.to_owned(),
        })?;
        let round_trip = asked_at.elapsed().unwrap_or_default();
        Ok(ServerClock::new(micros, asked_at + round_trip / 2))
    }

    /// Global variables as text, those of the given names that this version has.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn variables(&mut self, names: &[&str]) -> Result<Variables, Error> {
        let names = names.join("', '");
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('{names}')");
        let rows: Vec<(String, String)> = self.rows(&sql).await?;
        Ok(rows.into_iter().collect())
    }

    /// Protocol and cipher of this connection; `None` when it is not encrypted.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn encryption(&mut self) -> Result<Option<String>, Error> {
        let sql = "SHOW SESSION STATUS WHERE Variable_name IN ('Ssl_version', 'Ssl_cipher')";
        let rows: Vec<(String, String)> = self.rows(sql).await?;
        let mut status: BTreeMap<String, String> = rows.into_iter().collect();
        let mut value = |name| status.remove(name).filter(|value| !value.is_empty());
        let version = value("Ssl_version").unwrap_or_default();
        Ok(value("Ssl_cipher").map(|cipher| format!("{version} {cipher}")))
    }

    /// The replicas that the server believes to read its binlog: one that ended without a word is believed in
    /// until two heartbeats to it have failed. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn replicas(&mut self) -> Result<Vec<RegisteredReplica>, Error> {
        // Renamed in 8.0.22, the old name removed in 8.4
        // (https://dev.mysql.com/doc/refman/8.4/en/show-replicas.html).
        let question = match self.conn.server_version() >= (8, 0, 22) {
            true => "SHOW REPLICAS",
            false => "SHOW SLAVE HOSTS",
        };
        let rows: Vec<mysql_async::Row> = self.rows(question).await?;
        let replica = |row: &mysql_async::Row| {
            // The first columns are id and host, the last one the UUID; more may stand between.
            let (server_id, host) = (row.get_opt(0)?.ok()?, row.get_opt(1)?.ok()?);
            let uuid = row.get_opt(row.len() - 1)?.ok()?;
            Some(RegisteredReplica { server_id, host, uuid })
        };
        rows.iter().map(|row| replica(row).ok_or_else(|| unexpected(question, row))).collect()
    }

    /// Reads the first event of the oldest binlog, as only a replica may. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn read_first_event(&mut self) -> Result<(), Error> {
        let _: Vec<mysql_async::Row> = self.rows("SHOW BINLOG EVENTS LIMIT 1").await?;
        Ok(())
    }

    /// The distinct values of a column, without NULL and what is no text: at most `values_max`, in the last
    /// `rows_max` rows of the table by its primary key. Needs SELECT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn sample(
        &mut self,
        (database, table, column): (&str, &str, &str),
        rows_max: usize,
        values_max: usize,
    ) -> Result<Vec<String>, Error> {
        // An index of its own choice could hold the rows of one value together.
        let order = match self.primary_key(database, table).await? {
            key if key.is_empty() => String::new(),
            key => {
                let columns: Vec<_> = key.iter().map(|name| quoted(name) + " DESC").collect();
                format!("FORCE INDEX (PRIMARY) ORDER BY {}", columns.join(", "))
            }
        };
        let [database, table, column] = [database, table, column].map(quoted);
        let sql = format!(
            "SELECT DISTINCT {column} FROM (SELECT {column} FROM {database}.{table} {order} LIMIT {rows_max}) \
             AS sample LIMIT {values_max}"
        );
        let rows: Vec<(Option<Vec<u8>>,)> = self.rows(&sql).await?;
        let values = rows.into_iter().filter_map(|(value,)| String::from_utf8(value?).ok());
        Ok(values.collect())
    }

    /// The columns of a table's primary key in their order; empty when it has none.
    async fn primary_key(&mut self, database: &str, table: &str) -> Result<Vec<String>, Error> {
        let sql = "SELECT column_name FROM information_schema.statistics \
                   WHERE table_schema = ? AND table_name = ? AND index_name = 'PRIMARY' \
                   ORDER BY seq_in_index";
        within(QUERY_TIMEOUT, self.conn.exec(sql, (database, table))).await
    }

    /// A variable that holds a GTID set.
    ///
    /// # Errors
    /// As every question to the server; an answer that is no GTID set.
    pub async fn gtid_set(&mut self, variable: &'static str) -> Result<GtidSet, Error> {
        let text: String = self.one(&format!("SELECT @@GLOBAL.{variable}")).await?;
        text.parse().map_err(|_| Error::UnexpectedAnswer { question: variable, answer: text })
    }

    /// The binlog files, oldest first. Needs REPLICATION CLIENT.
    ///
    /// # Errors
    /// As every question to the server; error 1381 where `log_bin` is off.
    pub async fn binlog_files(&mut self) -> Result<Vec<BinlogFile>, Error> {
        let rows: Vec<mysql_async::Row> = self.rows("SHOW BINARY LOGS").await?;
        rows.into_iter()
            .map(|row| match (row.get_opt(0), row.get_opt(1)) {
                (Some(Ok(name)), Some(Ok(size_bytes))) => Ok(BinlogFile { name, size_bytes }),
                _ => Err(unexpected("SHOW BINARY LOGS", &row)),
            })
            .collect()
    }

    /// The end of the binlog. Needs REPLICATION CLIENT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn binlog_end(&mut self) -> Result<Coordinates, Error> {
        let (question, row) = self.binlog_status().await?;
        match (row.get_opt::<String, _>(0), row.get_opt(1)) {
            (Some(Ok(file)), Some(Ok(offset))) => {
                Coordinates::new(file, offset).map_err(|_| unexpected(question, &row))
            }
            _ => Err(unexpected(question, &row)),
        }
    }

    /// Which databases the binlog has. Needs REPLICATION CLIENT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn binlog_filters(&mut self) -> Result<BinlogFilters, Error> {
        let (question, row) = self.binlog_status().await?;
        let list = |column: &str| -> Option<Vec<String>> {
            let text: Option<String> = row.get_opt(column)?.ok()?;
            let names = text.unwrap_or_default();
            Some(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
        };
        match (list("Binlog_Do_DB"), list("Binlog_Ignore_DB")) {
            (Some(do_db), Some(ignore_db)) => Ok(BinlogFilters { do_db, ignore_db }),
            _ => Err(unexpected(question, &row)),
        }
    }

    async fn binlog_status(&mut self) -> Result<(&'static str, mysql_async::Row), Error> {
        // Renamed in 8.2, the old name removed in 8.4
        // (https://dev.mysql.com/doc/refman/8.4/en/show-binary-log-status.html).
        let question = match self.conn.server_version() >= (8, 2, 0) {
            true => "SHOW BINARY LOG STATUS",
            false => "SHOW MASTER STATUS",
        };
        let row = self.rows(question).await?.pop();
        Ok((question, row.ok_or(Error::UnexpectedAnswer { question, answer: String::new() })?))
    }

    /// The GTIDs before a binlog file, from the event at its head. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server; a file without that event.
    pub async fn previous_gtids(&mut self, file: &str) -> Result<GtidSet, Error> {
        let question = "SHOW BINLOG EVENTS";
        let sql = format!("SHOW BINLOG EVENTS IN '{}' LIMIT 3", file.replace(['\'', '\\'], ""));
        let rows: Vec<mysql_async::Row> = self.rows(&sql).await?;
        let info =
            rows.iter().find_map(|row| match (row.get_opt::<String, _>(2), row.get_opt(5)) {
                (Some(Ok(event_type)), Some(Ok(info))) if event_type == "Previous_gtids" => {
                    Some(info)
                }
                _ => None,
            });
        let info: String =
            info.ok_or(Error::UnexpectedAnswer { question, answer: file.to_owned() })?;
        info.parse().map_err(|_| Error::UnexpectedAnswer { question, answer: info })
    }

    /// The columns of a table in ordinal order; empty when there is no such table (or no right to see it).
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn columns(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<Vec<SchemaColumn>, Error> {
        self.reconnect_if_lost().await?;
        let rows: Vec<mysql_async::Row> =
            within(QUERY_TIMEOUT, self.conn.exec(SCHEMA_COLUMNS_SQL, (database, table))).await?;
        rows.iter()
            .map(|row| {
                SchemaColumn::from_row(row)
                    .ok_or_else(|| unexpected("information_schema.columns", row))
            })
            .collect()
    }

    /// Database, name and engine of all base tables that the user may see, system databases left out.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn tables(&mut self) -> Result<Vec<(String, String, Option<String>)>, Error> {
        self.rows(
            "SELECT table_schema, table_name, engine FROM information_schema.tables \
             WHERE table_type = 'BASE TABLE' \
             AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')",
        )
        .await
    }

    /// A part of the list of events, from the beginning of one on. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server; error 1220 where no event begins there.
    pub async fn binlog_events(
        &mut self,
        from: &Coordinates,
        events_max: usize,
    ) -> Result<Vec<ListedEvent>, Error> {
        let question = "SHOW BINLOG EVENTS";
        let file = from.file().replace(['\'', '\\'], "");
        let sql = format!("{question} IN '{file}' FROM {} LIMIT {events_max}", from.offset);
        let rows: Vec<mysql_async::Row> = self.rows(&sql).await?;
        rows.into_iter()
            .map(|row| match (row.get_opt(2), row.get_opt(4), row.get_opt(5)) {
                (Some(Ok(event_type)), Some(Ok(end)), Some(Ok(info))) => {
                    Ok(ListedEvent { event_type, end, info })
                }
                _ => Err(unexpected(question, &row)),
            })
            .collect()
    }

    /// Whether there is such a table, and a right to read it. Where there is no right, the server does not
    /// say whether there is a table.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn table_access(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<TableAccess, Error> {
        let sql = format!("SELECT 1 FROM {}.{} LIMIT 0", quoted(database), quoted(table));
        match self.rows::<(u8,)>(&sql).await {
            Ok(_) => Ok(TableAccess::Readable),
            Err(Error::MySql(mysql_async::Error::Server(error))) => match error.code {
                NO_SUCH_TABLE | NO_SUCH_DATABASE => Ok(TableAccess::Missing),
                DATABASE_DENIED | TABLE_DENIED => {
                    Ok(TableAccess::Denied { account: self.account().await? })
                }
                _ => Err(Error::MySql(mysql_async::Error::Server(error))),
            },
            Err(error) => Err(error),
        }
    }

    /// Whether an event begins, or the file ends, at these coordinates. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn is_event_boundary(&mut self, coordinates: &Coordinates) -> Result<bool, Error> {
        let file = coordinates.file().replace(['\'', '\\'], "");
        let offset = coordinates.offset;
        let sql = format!("SHOW BINLOG EVENTS IN '{file}' FROM {offset} LIMIT 1");
        match self.rows::<mysql_async::Row>(&sql).await {
            // From before the first transaction, the server lists the event that comes next.
            Ok(rows) => Ok(rows.first().is_none_or(|row| row.get(1) == Some(offset))),
            Err(Error::MySql(mysql_async::Error::Server(error))) if error.code == WRONG_OFFSET => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The account that the server has taken the user for, as GRANT names it.
    async fn account(&mut self) -> Result<String, Error> {
        self.one(ACCOUNT_SQL).await.map(quote_account)
    }

    /// Names the account beside the right that it lacks; the server names the right only.
    async fn name_right(&mut self, denied: mysql_async::ServerError) -> Error {
        let rights = denied.message.split_once("(at least one of) the ");
        let rights = rights.and_then(|(_, rest)| rest.split_once(" privilege"));
        let right = rights.and_then(|(rights, _)| rights.rsplit(", ").next()).map(str::to_owned);
        match (right, within(QUERY_TIMEOUT, self.conn.query_first(ACCOUNT_SQL)).await) {
            (Some(right), Ok(Some(account))) => {
                Error::NoRight { account: quote_account(account), right }
            }
            _ => Error::MySql(mysql_async::Error::Server(denied)),
        }
    }

    async fn one<T: mysql_async::prelude::FromValue + Send + 'static>(
        &mut self,
        sql: &str,
    ) -> Result<T, Error> {
        let rows: Vec<(T,)> = self.rows(sql).await?;
        rows.into_iter()
            .next()
            .map(|(value,)| value)
            .ok_or_else(|| Error::UnexpectedAnswer { question: "a SELECT", answer: sql.to_owned() })
    }

    async fn rows<T: FromRow + Send + 'static>(&mut self, sql: &str) -> Result<Vec<T>, Error> {
        self.reconnect_if_lost().await?;
        match within(QUERY_TIMEOUT, self.conn.query(sql)).await {
            Err(Error::MySql(mysql_async::Error::Server(error))) if error.code == RIGHT_DENIED => {
                Err(self.name_right(error).await)
            }
            answer => answer,
        }
    }

    /// The server closes a connection that is idle for its `wait_timeout`: hours may pass between questions.
    async fn reconnect_if_lost(&mut self) -> Result<(), Error> {
        if within(QUERY_TIMEOUT, self.conn.ping()).await.is_err() {
            self.conn = self.connect_again().await?;
        }
        Ok(())
    }

    /// Another connection to the same server: a name or a proxy may lead elsewhere by now, where the same
    /// file and offset are another history.
    ///
    /// # Errors
    /// As [`Server::connect`]; it is another server.
    pub async fn connect_again(&self) -> Result<Conn, Error> {
        let mut conn = connect(&self.options).await?;
        if let Some(was) = &self.server_uuid {
            let is: Option<String> =
                within(QUERY_TIMEOUT, conn.query_first(SERVER_UUID_SQL)).await?;
            let is = is.unwrap_or_default();
            if is != *was {
                return Err(Error::OtherServer { was: was.clone(), is });
            }
        }
        Ok(conn)
    }
}

/// Connects with the TLS mode asked for.
///
/// # Errors
/// The server cannot be reached, refuses TLS or the login, or does not answer in time.
pub async fn connect(options: &Options) -> Result<Conn, Error> {
    let connected = match open(options, options.tls.mode).await {
        // https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode:
        // PREFERRED falls back to an unencrypted connection when an encrypted one cannot be established.
        Err(Error::MySql(error))
            if options.tls.mode == TlsMode::Preferred && tls::is_unavailable(&error) =>
        {
            tracing::debug!(%error, "TLS cannot be established, connecting without it");
            open(options, TlsMode::Disabled).await
        }
        connected => connected,
    };
    connected.map_err(|error| match &error {
        Error::MySql(cause) => tls::explain(cause, options).map_or(error, Error::Tls),
        _ => error,
    })
}

async fn open(options: &Options, mode: TlsMode) -> Result<Conn, Error> {
    let opts: Opts = OptsBuilder::default()
        .ip_or_hostname(&options.host)
        .tcp_port(options.port)
        .user(Some(&options.user))
        .pass(Some(options.password.reveal()?))
        .prefer_socket(false)
        .tcp_keepalive(Some(CONNECT_TIMEOUT))
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .ssl_opts(tls::ssl_opts(&options.tls, mode)?)
        .into();
    within(CONNECT_TIMEOUT, Conn::new(opts)).await
}

/// Awaits an answer of the server, but not for ever.
///
/// # Errors
/// The answer's own error, or [`Error::Timeout`].
pub async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Timeout { timeout }),
    }
}

/// A name as SQL takes it, whatever it is.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `relay@%` becomes `'relay'@'%'`.
fn quote_account(account: String) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
    format!("'{user}'@'{host}'")
}

fn unexpected(question: &'static str, row: &mysql_async::Row) -> Error {
    Error::UnexpectedAnswer { question, answer: format!("{row:?}") }
}
