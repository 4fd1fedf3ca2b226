//! A session that sends any bytes, and waits only so long for an answer.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::runtime::Runtime;

use harness::sql::{Login, Sql, single_threaded_runtime};

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused,
    TooLong,
    /// The connection broke.
    Lost,
}

pub struct Session {
    // Dropped before the runtime, as fields are dropped in their order.
    conn: Conn,
    runtime: Runtime,
}

impl Session {
    /// Logs in, and chooses the database and the format in which changes are logged.
    ///
    /// # Errors
    /// The server is not there.
    pub fn open(login: &Login, database: &str, format: &str) -> mysql_async::Result<Session> {
        let runtime = single_threaded_runtime();
        let conn = runtime.block_on(async {
            let mut conn = Conn::new(login.options()).await?;
            conn.query_drop(format!("USE {database}")).await?;
            conn.query_drop(format!("SET binlog_format = {format}")).await?;
            mysql_async::Result::Ok(conn)
        })?;
        Ok(Session { conn, runtime })
    }

    pub fn run(&mut self, statement: &[u8], within: Duration) -> Outcome {
        let answer = self.conn.query_drop(statement.to_vec());
        let answer = self.runtime.block_on(async { tokio::time::timeout(within, answer).await });
        match answer {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(mysql_async::Error::Server(_))) => Outcome::Refused,
            Ok(Err(_)) => Outcome::Lost,
            Err(_) => Outcome::TooLong,
        }
    }

    /// Ends what the server still does for it.
    pub fn kill(self, keeper: &mut Sql) {
        // It may have ended by itself.
        let _ = keeper.try_run(&format!("KILL {}", self.conn.id()));
        self.runtime.shutdown_background();
    }
}
