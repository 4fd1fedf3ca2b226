//! The SQL side of a MySQL server: who it is, which binlogs it has, where a position resolves to, and the
//! columns of a table. One connection, made again when it was lost; the dump stream is another one.

mod ahead;
mod binlogs;
mod replication;
mod rows;
pub(super) mod session;
mod tables;

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::prelude::FromRow;
use mysql_async::{DriverError, IoError};
use tokio::time::Instant;

use self::ahead::Ahead;
pub use self::binlogs::{BinlogFile, BinlogFilters, ListedEvent, RegisteredReplica};
pub use self::replication::ReplicationSource;
pub use self::rows::LastRows;
pub use self::tables::{Listed, SYSTEM_DATABASES, TableAccess, spelled};
use super::connection::{Answer, Conn, typed};
use super::{MysqlOptions, tls};
use crate::clock::ServerClock;
use crate::coordinates::Uuid;
use crate::password::PasswordError;

/// So many answers tell the clock well enough.
const CLOCK_QUESTIONS: usize = 4;

/// One statement may take this long. The slowest is SHOW BINLOG EVENTS, which reads the head of a file.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that has answered a moment ago is not asked whether it is there: that would double what each
/// question costs. Below every `wait_timeout`, whose least is 1 s.
const SURELY_THERE: Duration = Duration::from_millis(500);

/// A connection that was made before it is needed is used when it is no older: servers and balancers close idle ones.
pub(super) const LOGIN_LASTS: Duration = Duration::from_secs(5);

const VERSION_SQL: &str = "SELECT VERSION()";
const ACCOUNT_SQL: &str = "SELECT CURRENT_USER()";

// Numbers of <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
const DATABASE_DENIED: u16 = 1044;
const NO_SUCH_DATABASE: u16 = 1049;
const TABLE_DENIED: u16 = 1142;
const COLUMN_DENIED: u16 = 1143;
const NO_SUCH_TABLE: u16 = 1146;
const WRONG_OFFSET: u16 = 1220;
const RIGHT_DENIED: u16 = 1227;

pub(super) const SERVER_UUID_SQL: &str = "SELECT @@GLOBAL.server_uuid";

/// In the session's time zone, which is UTC; NOW() is whatever `SET timestamp` has said.
const CLOCK_SQL: &str = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS UNSIGNED)";

/// What [`Server::identity`] asks for.
const IDENTITY_VARIABLES: [&str; 2] = ["gtid_mode", "lower_case_table_names"];

/// The largest packet the protocol allows (1 GiB): an event can be as large as a row can be.
const PACKET_BYTES_MAX: usize = 1 << 30;

/// Why the server could not be asked.
#[allow(missing_docs, reason = "each has its words")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Password(#[from] PasswordError),
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
        mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name }) => format!(
            "the server asks for the authentication plugin {name}, which the relay does not have; it asks a user \
             that it does not know for any"
        ),
        error => error.to_string(),
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `VERSION()`, such as `8.0.31-debug`.
    pub version: String,
    /// `server_uuid`. All zeros for MariaDB, which has none.
    pub server_uuid: Uuid,
    /// It is MariaDB, whose binlog this crate does not read.
    pub is_mariadb: bool,
    /// Every transaction has a GTID (`gtid_mode=ON`).
    pub has_gtids: bool,
    /// Letter case makes no difference in the names of tables (`lower_case_table_names`).
    pub folds_case: bool,
}

/// Global variables by their names; one that this version does not have is not in it.
pub type Variables = BTreeMap<String, String>;

/// A connection for SQL.
pub struct Server {
    options: MysqlOptions,
    conn: Conn,
    answered_at: Instant,
    ahead: Ahead,
    /// The server that answered first; connections made later must be to the same one.
    server_uuid: Option<String>,
}

impl Server {
    /// # Errors
    /// The server cannot be reached, refuses TLS or the login, or does not answer in time.
    pub async fn connect(options: &MysqlOptions) -> Result<Server, Error> {
        let conn = Conn::connect(options).await?;
        let (options, ahead) = (options.clone(), Ahead::default());
        Ok(Server { conn, options, answered_at: Instant::now(), ahead, server_uuid: None })
    }

    /// # Errors
    /// As every question to the server.
    pub async fn identity(&mut self) -> Result<Identity, Error> {
        let version: String = self.one(VERSION_SQL).await?;
        let is_mariadb = version.contains("MariaDB");
        let uuid = if is_mariadb {
            "00000000-0000-0000-0000-000000000000".to_owned()
        } else {
            self.one(SERVER_UUID_SQL).await?
        };
        self.server_uuid = Some(uuid.clone());
        let server_uuid = uuid
            .parse()
            .map_err(|_| Error::UnexpectedAnswer { question: "@@server_uuid", answer: uuid })?;
        let variables = self.variables(&IDENTITY_VARIABLES).await?;
        let is = |name: &str, value: &str| variables.get(name).is_some_and(|is| is == value);
        let has_gtids = !is_mariadb && is("gtid_mode", "ON");
        let folds_case = is("lower_case_table_names", "1") || is("lower_case_table_names", "2");
        Ok(Identity { version, server_uuid, is_mariadb, has_gtids, folds_case })
    }

    /// A global variable as text; `None` where this version has no such variable.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn variable(&mut self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.variables(&[name]).await?.remove(name))
    }

    /// The server's clock beside ours, to within half a round trip.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn clock(&mut self) -> Result<ServerClock, Error> {
        Ok(self.timed_clock().await?.1)
    }

    /// The same by the quickest of several answers: what a busy machine adds to one is taken for the clock's.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn exact_clock(&mut self) -> Result<ServerClock, Error> {
        let (mut best, mut clock) = self.timed_clock().await?;
        for _ in 1..CLOCK_QUESTIONS {
            let (round_trip, other) = self.timed_clock().await?;
            if round_trip < best {
                (best, clock) = (round_trip, other);
            }
        }
        Ok(clock)
    }

    /// The clock, and how long the answer took.
    async fn timed_clock(&mut self) -> Result<(Duration, ServerClock), Error> {
        let Answer { rows, asked_at, arrived_at } = self.answer(CLOCK_SQL).await?;
        let micros: Vec<(u64,)> = typed(rows.map_err(mysql_async::Error::Server)?)?;
        let [(micros,)] = micros[..] else {
            let answer = CLOCK_SQL.to_owned();
            return Err(Error::UnexpectedAnswer { question: "a SELECT", answer });
        };
        let round_trip = arrived_at.duration_since(asked_at).unwrap_or_default();
        Ok((round_trip, ServerClock::new(micros, asked_at + round_trip / 2)))
    }

    /// Global variables as text, those of the given names that this version has.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn variables(&mut self, names: &[&str]) -> Result<Variables, Error> {
        let rows: Vec<(String, String)> = self.rows(&variables_sql(names)).await?;
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

    /// Why this connection is not encrypted, though the server offers TLS and the mode prefers it.
    pub fn tls_fallback(&self) -> Option<&tls::Error> {
        self.conn.tls_fallback()
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

    /// Runs a statement, and returns the rows of its answer.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the statement, or a row is not of this type.
    pub async fn query<T: FromRow + Send + 'static>(&mut self, sql: &str) -> Result<Vec<T>, Error> {
        self.rows(sql).await
    }

    async fn rows<T: FromRow + Send + 'static>(&mut self, sql: &str) -> Result<Vec<T>, Error> {
        match self.answer(sql).await?.rows {
            Ok(rows) => Ok(typed(rows)?),
            Err(denied) if denied.code == RIGHT_DENIED => Err(self.name_right(denied).await),
            Err(refused) => Err(Error::MySql(mysql_async::Error::Server(refused))),
        }
    }

    /// The answer to a statement: the one that was asked for ahead, if it was.
    async fn answer(&mut self, sql: &str) -> Result<Answer, Error> {
        if let Some(answer) = self.ahead.take(sql) {
            return Ok(answer);
        }
        let answer = self.ask(&[sql]).await?.pop();
        answer.ok_or_else(|| mysql_async::Error::from(DriverError::ConnectionClosed).into())
    }

    async fn ask(&mut self, statements: &[&str]) -> Result<Vec<Answer>, Error> {
        self.reconnect_if_lost().await?;
        let answers = within(QUERY_TIMEOUT, self.conn.ask(statements)).await?;
        self.answered_at = Instant::now();
        Ok(answers)
    }

    /// The server closes a connection that is idle for its `wait_timeout`: hours may pass between questions.
    async fn reconnect_if_lost(&mut self) -> Result<(), Error> {
        if self.answered_at.elapsed() < SURELY_THERE {
            return Ok(());
        }
        if within(QUERY_TIMEOUT, self.conn.ping()).await.is_err() {
            self.conn = self.connect_again().await?;
            self.forget_ahead();
        }
        self.answered_at = Instant::now();
        Ok(())
    }

    /// Another connection to the same server: a name or a proxy may lead elsewhere by now, where the same
    /// file and offset are another history.
    ///
    /// # Errors
    /// As [`Server::connect`]; it is another server.
    async fn connect_again(&self) -> Result<Conn, Error> {
        let mut conn = Conn::connect(&self.options).await?;
        if let Some(was) = &self.server_uuid {
            ensure_same(was, within(QUERY_TIMEOUT, conn.query_first(SERVER_UUID_SQL)).await?)?;
        }
        Ok(conn)
    }

    /// The UUID by which other connections are known to be to the same server, once it was asked for.
    pub fn server_uuid(&self) -> Option<&str> {
        self.server_uuid.as_deref()
    }
}

fn variables_sql(names: &[&str]) -> String {
    format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('{}')", names.join("', '"))
}

/// # Errors
/// Another server answered [`SERVER_UUID_SQL`].
pub(super) fn ensure_same(was: &str, is: Option<String>) -> Result<(), Error> {
    let is = is.unwrap_or_default();
    if is == was { Ok(()) } else { Err(Error::OtherServer { was: was.to_owned(), is }) }
}

/// The UUID that a server said first.
///
/// # Errors
/// It refused to answer this or what came behind it.
pub(super) fn uuid_of(answers: Vec<Answer>) -> Result<Option<String>, Error> {
    let mut first = None;
    for (index, answer) in answers.into_iter().enumerate() {
        let rows = answer.rows.map_err(mysql_async::Error::Server)?;
        if index == 0 {
            first = typed::<(String,)>(rows)?.pop().map(|(uuid,)| uuid);
        }
    }
    Ok(first)
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

/// `relay@%` becomes `'relay'@'%'`.
fn quote_account(account: String) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
    format!("'{user}'@'{host}'")
}

fn unexpected(question: &'static str, row: &mysql_async::Row) -> Error {
    // Its columns only: the events of a binlog have values of rows in them.
    let columns: Vec<_> = row.columns_ref().iter().map(|column| column.name_str()).collect();
    Error::UnexpectedAnswer { question, answer: columns.join(", ") }
}
