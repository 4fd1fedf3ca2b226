//! Statements over a connection: text enters, and what leaves are the rows of its answer.
//!
//! The text protocol is all that is needed
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response.html>): parameters are
//! written into the statement, as literals that no `sql_mode` reads differently.

use std::sync::Arc;

use mysql_async::{DriverError, Error, Params, Row, Value};
use mysql_common::io::ParseBuf;
use mysql_common::misc::raw::RawInt;
use mysql_common::misc::raw::int::LenEnc;
use mysql_common::packets::Column;
use mysql_common::prelude::FromRow;
use mysql_common::proto::Text;
use mysql_common::row::RowDeserializer;
use mysql_common::value::ServerSide;

use super::login::{COM_QUERY, OK, command, is_end, ok_or_error};
use super::{Options, Packets};
use crate::binlog::{server, tls};

const COM_QUIT: u8 = 1;
const COM_PING: u8 = 14;

/// A connection for statements.
pub struct Conn {
    packets: Packets,
    server_version: (u16, u16, u16),
    id: u32,
    fallback: Option<tls::Error>,
    /// An answer was not read to its end, as whoever waited for it gave up: what comes next belongs to it.
    is_amid_answer: bool,
}

impl Conn {
    /// # Errors
    /// The server cannot be reached, refuses TLS or the login, or does not answer in time.
    pub async fn connect(options: &Options) -> Result<Conn, server::Error> {
        let connection = super::connect(options).await?;
        Ok(Conn {
            packets: connection.packets,
            server_version: connection.server_version,
            id: connection.id,
            fallback: connection.fallback,
            is_amid_answer: false,
        })
    }

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
        ok_or_error(self.packets.read().await?)?;
        self.is_amid_answer = false;
        Ok(())
    }

    /// All rows of the answer.
    ///
    /// # Errors
    /// The connection broke, the server refuses the statement, or a row is not of this type.
    pub async fn query<T: FromRow>(&mut self, sql: impl AsRef<str>) -> Result<Vec<T>, Error> {
        let asked = self.ask(sql.as_ref()).await;
        // The server's own error is the whole answer.
        if matches!(asked, Ok(_) | Err(Error::Server(_))) {
            self.is_amid_answer = false;
        }
        let rows = asked?.into_iter().map(T::from_row_opt);
        let rows: Result<Vec<T>, _> = rows.collect();
        rows.map_err(|error| DriverError::FromRow { row: error.0 }.into())
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

    /// All rows of the answer to a statement with a `?` for each parameter, and no other.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn exec<T: FromRow>(
        &mut self,
        sql: impl AsRef<str>,
        params: impl Into<Params>,
    ) -> Result<Vec<T>, Error> {
        let sql = with_params(sql.as_ref(), params.into())?;
        self.query(sql).await
    }

    async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        self.send(&[&[COM_QUERY], sql.as_bytes()].concat()).await?;
        let head = self.packets.read_long().await?;
        if ok_or_error(&head)?.first() == Some(&OK) {
            return Ok(Vec::new());
        }
        let count = ParseBuf(&head).parse::<RawInt<LenEnc>>(())?;
        let columns = self.read_columns(*count).await?;
        let mut rows = Vec::new();
        loop {
            let packet = self.packets.read_long().await?;
            if is_end(ok_or_error(&packet)?) {
                return Ok(rows);
            }
            let row: RowDeserializer<ServerSide, Text> =
                ParseBuf(&packet).parse(Arc::clone(&columns))?;
            rows.push(row.into());
        }
    }

    /// The columns of an answer, up to the EOF behind them.
    async fn read_columns(&mut self, count: u64) -> Result<Arc<[Column]>, Error> {
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(ParseBuf(ok_or_error(self.packets.read().await?)?).parse(())?);
        }
        match self.packets.read().await? {
            packet if is_end(packet) => Ok(columns.into()),
            packet => Err(DriverError::UnexpectedPacket { payload: packet.to_vec() }.into()),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.is_amid_answer {
            return Err(DriverError::ConnectionClosed.into());
        }
        self.is_amid_answer = true;
        command(&mut self.packets, bytes).await
    }
}

impl Drop for Conn {
    /// Says goodbye, so that the server does not count a connection that was cut off.
    fn drop(&mut self) {
        self.packets.write_last(COM_QUIT);
    }
}

/// Writes parameters into a statement.
fn with_params(sql: &str, params: Params) -> Result<String, Error> {
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
