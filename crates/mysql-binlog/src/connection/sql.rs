//! Statements over a connection: text enters, and what leaves are the rows of its answer.
//!
//! The text protocol is all that is needed
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response.html>): parameters are
//! written into the statement, as literals that no `sql_mode` reads differently. Several statements go out as one
//! command where the server takes that, since each command costs a round trip. They are not pipelined as commands
//! of their own: a server or proxy may wait for its socket while the next one is in its buffer already.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mysql_async::{DriverError, Error, Params, Row, ServerError, Value};
use mysql_common::io::ParseBuf;
use mysql_common::misc::raw::RawInt;
use mysql_common::misc::raw::int::LenEnc;
use mysql_common::packets::Column;
use mysql_common::prelude::FromRow;
use mysql_common::proto::Text;
use mysql_common::row::RowDeserializer;
use mysql_common::value::ServerSide;

use super::login::{COM_QUERY, OK, command, is_end, ok_or_error};
use super::{Connection, MysqlOptions, Packets};
use crate::server::session::SETTINGS_SQL;
use crate::{server, tls};

const COM_QUIT: u8 = 1;
const COM_PING: u8 = 14;

/// Another answer of the same command follows
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html>).
const SERVER_MORE_RESULTS_EXISTS: u16 = 0x0008;

/// A connection for statements, to one server. It is not made again when it is lost; [`server::Server`] is.
pub struct Conn {
    /// `None`: it is the dump's by now.
    packets: Option<Packets>,
    server_version: (u16, u16, u16),
    id: u32,
    fallback: Option<tls::Error>,
    takes_several: bool,
    /// [`SETTINGS_SQL`] has been run. It goes out with the first statement.
    is_set_up: bool,
    /// An answer was not read to its end, as whoever waited for it gave up: what comes next belongs to it.
    is_amid_answer: bool,
}

/// The answer to one statement, and the time of ours around it.
#[derive(Debug)]
pub struct Answer {
    /// The rows, or why the server refuses the statement. Empty for a statement without rows.
    pub rows: Result<Vec<Row>, ServerError>,
    /// When its command was sent.
    pub asked_at: SystemTime,
    /// When its last packet was here.
    pub arrived_at: SystemTime,
}

/// What the server says to a statement.
struct Said {
    rows: Vec<Row>,
    is_last: bool,
}

impl Conn {
    /// # Errors
    /// The server cannot be reached, refuses TLS or the login, or does not answer in time.
    pub async fn connect(options: &MysqlOptions) -> Result<Conn, server::Error> {
        Ok(Conn::over(super::connect(options).await?))
    }

    /// Sends statements over a connection that the server has let in.
    pub(crate) fn over(connection: Connection) -> Conn {
        Conn {
            packets: Some(connection.packets),
            server_version: connection.server_version,
            id: connection.id,
            fallback: connection.fallback,
            takes_several: connection.takes_several,
            is_set_up: false,
            is_amid_answer: false,
        }
    }

    /// Connects, checks that the server has this UUID, and runs `settings`. `None` skips the check, as MariaDB has no
    /// UUID. Check and settings take one round trip where the server allows several statements at once.
    ///
    /// # Errors
    /// As [`Conn::connect`]; it is another server, refuses the settings, or does not answer within `timeout`.
    pub async fn connect_to(
        options: &MysqlOptions,
        server_uuid: Option<&str>,
        settings: &str,
        timeout: Duration,
    ) -> Result<Conn, server::Error> {
        let mut conn = Conn::connect(options).await?;
        let statements = [server::SERVER_UUID_SQL, settings];
        let statements = &statements[usize::from(server_uuid.is_none())..];
        let answers = server::within(timeout, conn.ask(statements)).await?;
        let uuid = server::uuid_of(answers)?;
        if let Some(was) = server_uuid {
            server::ensure_same(was, uuid)?;
        }
        Ok(conn)
    }

    /// Gives the connection away, with all its settings.
    ///
    /// # Errors
    /// An answer was not read to its end.
    pub fn into_packets(mut self) -> Result<Packets, Error> {
        let packets = self.packets.take().filter(|_| !self.is_amid_answer && self.is_set_up);
        packets.ok_or_else(|| DriverError::ConnectionClosed.into())
    }

    /// Major, minor and patch version, as the server greeted.
    pub fn server_version(&self) -> (u16, u16, u16) {
        self.server_version
    }

    /// The number by which the server lists it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Why it is not encrypted, though the server offers TLS and the mode prefers it.
    pub fn tls_fallback(&self) -> Option<&tls::Error> {
        self.fallback.as_ref()
    }

    /// Asks whether the server is still there.
    ///
    /// # Errors
    /// It is not.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.send(&[COM_PING]).await?;
        ok_or_error(self.packets()?.read().await?)?;
        self.is_amid_answer = false;
        Ok(())
    }

    /// All rows of the answer.
    ///
    /// # Errors
    /// The connection broke, the server refuses the statement, or a row is not of this type.
    pub async fn query<T: FromRow>(&mut self, sql: impl AsRef<str>) -> Result<Vec<T>, Error> {
        let answer = self.ask(&[sql.as_ref()]).await?.pop();
        typed(answer.ok_or(DriverError::ConnectionClosed)?.rows.map_err(Error::Server)?)
    }

    /// Runs statements one after the other, in one round trip where the server takes several at once. The first
    /// that it refuses is the last one that is answered.
    ///
    /// # Errors
    /// The connection broke, or the server refuses the settings of the session.
    pub async fn ask(&mut self, statements: &[&str]) -> Result<Vec<Answer>, Error> {
        if self.takes_several {
            return self.ask_at_once(statements).await;
        }
        let mut answers: Vec<Answer> = Vec::with_capacity(statements.len());
        for statement in statements {
            if answers.last().is_some_and(|last| last.rows.is_err()) {
                break;
            }
            if !self.is_set_up {
                let settings = self.ask_command(SETTINGS_SQL, 1).await?.pop();
                settings.map_or(Ok(Vec::new()), |settings| settings.rows).map_err(Error::Server)?;
                self.is_set_up = true;
            }
            answers.extend(self.ask_command(statement, 1).await?);
        }
        Ok(answers)
    }

    async fn ask_at_once(&mut self, statements: &[&str]) -> Result<Vec<Answer>, Error> {
        let settings = (!self.is_set_up).then_some(SETTINGS_SQL);
        let all: Vec<&str> = settings.iter().chain(statements).copied().collect();
        let mut answers = self.ask_command(&all.join("; "), all.len()).await?;
        if settings.is_some() {
            answers.remove(0).rows.map_err(Error::Server)?;
            self.is_set_up = true;
        }
        Ok(answers)
    }

    /// The first row of the answer.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn query_first<T: FromRow>(
        &mut self,
        sql: impl AsRef<str>,
    ) -> Result<Option<T>, Error> {
        Ok(self.query(sql).await?.into_iter().next())
    }

    /// # Errors
    /// As [`Conn::query`].
    pub async fn query_drop(&mut self, sql: impl AsRef<str>) -> Result<(), Error> {
        self.query::<Row>(sql).await.map(drop)
    }

    /// One command; at least one answer, at most one to each of its statements.
    async fn ask_command(&mut self, sql: &str, statements: usize) -> Result<Vec<Answer>, Error> {
        let asked_at = SystemTime::now();
        self.send(&[&[COM_QUERY], sql.as_bytes()].concat()).await?;
        let mut answers = Vec::with_capacity(statements);
        loop {
            let (rows, is_last) = match self.read_answer().await {
                Ok(Said { rows, is_last }) => (Ok(rows), is_last),
                // What stands behind it was not run.
                Err(Error::Server(refused)) => (Err(refused), true),
                Err(error) => return Err(error),
            };
            answers.push(Answer { rows, asked_at, arrived_at: SystemTime::now() });
            if is_last {
                self.is_amid_answer = false;
                return Ok(answers);
            }
        }
    }

    async fn read_answer(&mut self) -> Result<Said, Error> {
        let head = self.packets()?.read_long().await?;
        if let [OK, rest @ ..] = ok_or_error(&head)? {
            return Ok(Said { rows: Vec::new(), is_last: !more_follow_ok(rest)? });
        }
        let count = ParseBuf(&head).parse::<RawInt<LenEnc>>(())?;
        let columns = self.read_columns(*count).await?;
        let mut rows = Vec::new();
        loop {
            let packet = self.packets()?.read_long().await?;
            if is_end(ok_or_error(&packet)?) {
                return Ok(Said { rows, is_last: !more_follow_end(&packet) });
            }
            let row: RowDeserializer<ServerSide, Text> =
                ParseBuf(&packet).parse(Arc::clone(&columns))?;
            rows.push(row.into());
        }
    }

    /// The columns of an answer, up to the EOF behind them.
    async fn read_columns(&mut self, count: u64) -> Result<Arc<[Column]>, Error> {
        let packets = self.packets()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(ParseBuf(ok_or_error(packets.read().await?)?).parse(())?);
        }
        match packets.read().await? {
            packet if is_end(packet) => Ok(columns.into()),
            packet => Err(DriverError::UnexpectedPacket { payload: packet.to_vec() }.into()),
        }
    }

    fn packets(&mut self) -> Result<&mut Packets, Error> {
        self.packets.as_mut().ok_or_else(|| DriverError::ConnectionClosed.into())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.is_amid_answer {
            return Err(DriverError::ConnectionClosed.into());
        }
        self.is_amid_answer = true;
        command(self.packets()?, bytes).await
    }
}

/// Rows as a type of ours.
///
/// # Errors
/// A row is not of this type.
pub fn typed<T: FromRow>(rows: Vec<Row>) -> Result<Vec<T>, Error> {
    let rows: Result<Vec<T>, _> = rows.into_iter().map(T::from_row_opt).collect();
    rows.map_err(|error| DriverError::FromRow { row: error.0 }.into())
}

/// OK: affected rows, last id, status
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html>).
fn more_follow_ok(rest: &[u8]) -> Result<bool, Error> {
    let mut rest = ParseBuf(rest);
    rest.parse::<RawInt<LenEnc>>(())?;
    rest.parse::<RawInt<LenEnc>>(())?;
    Ok(has_more(rest.0.first_chunk()))
}

/// EOF: its first byte, warnings, status.
fn more_follow_end(packet: &[u8]) -> bool {
    has_more(packet.get(3..).and_then(<[u8]>::first_chunk))
}

fn has_more(status: Option<&[u8; 2]>) -> bool {
    status.is_some_and(|status| u16::from_le_bytes(*status) & SERVER_MORE_RESULTS_EXISTS != 0)
}

impl Drop for Conn {
    /// Says goodbye, so that the server does not count a connection that was cut off.
    fn drop(&mut self) {
        if let Some(packets) = &mut self.packets {
            packets.write_last(COM_QUIT);
        }
    }
}

/// Writes parameters into a statement with a `?` for each, and no other.
///
/// # Errors
/// Their numbers differ.
pub fn with_params(sql: &str, params: Params) -> Result<String, Error> {
    let values = match params {
        Params::Positional(values) => values,
        Params::Empty | Params::Named(_) => Vec::new(),
    };
    let supplied = values.len();
    let required = sql.matches('?').count();
    if supplied != required {
        let required = u16::try_from(required).unwrap_or(u16::MAX);
        return Err(DriverError::StmtParamsMismatch { required, supplied }.into());
    }
    let mut parts = sql.split('?');
    let mut written = parts.next().unwrap_or_default().to_owned();
    for (value, part) in values.iter().zip(parts) {
        written.push_str(&literal(value));
        written.push_str(part);
    }
    Ok(written)
}

/// A value as SQL has it. Text goes as hexadecimal digits: what a quote or a backslash means hangs on `sql_mode`.
fn literal(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("_utf8mb4 X'{digits}'")
        }
        value => value.as_sql(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_so_that_no_sql_mode_reads_them_differently() {
        let params = Params::from(("it's a \\ `b`", 7_u64, -1_i64, None::<u8>));
        assert_eq!(
            with_params("SELECT ?, ?, ? FROM t WHERE c = ?", params).expect("as many as asked for"),
            "SELECT _utf8mb4 X'697427732061205C20606260', 7, -1 FROM t WHERE c = NULL"
        );
        assert!(with_params("SELECT ?", Params::Empty).is_err());
        assert!(with_params("SELECT 1", Params::from((1,))).is_err());
    }
}
