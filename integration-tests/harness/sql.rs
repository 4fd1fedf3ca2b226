//! A blocking SQL session for tests: statements either succeed or fail the test with their text.
//! Every session has its own single-threaded runtime, so that it can be used from any thread.

use std::fmt;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, OptsBuilder, Params, Row};
use tokio::runtime::Runtime;

/// Where a server is and as whom to log in there.
#[derive(Debug, Clone)]
pub struct Login {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
}

/// A place in the binlog: a file's name and a byte offset in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coordinates {
    pub file: String,
    pub offset: u64,
}

impl fmt::Display for Coordinates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.offset)
    }
}

/// One line of `SHOW BINLOG EVENTS`.
#[derive(Debug, Clone)]
pub struct BinlogLine {
    pub begin: u64,
    pub kind: String,
    pub end: u64,
    pub info: String,
}

pub struct Sql {
    // Dropped before the runtime, as fields are dropped in their order.
    conn: Conn,
    runtime: Runtime,
    version: (u16, u16, u16),
}

impl Login {
    pub fn options(&self) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(Some(self.password.clone()))
            .max_allowed_packet(Some(1 << 30))
            .into()
    }
}

pub fn single_threaded_runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("build a single-threaded runtime")
}

impl Sql {
    pub fn connect(login: &Login) -> Sql {
        Sql::try_connect(login).unwrap_or_else(|error| {
            panic!("connect to MySQL at {}:{}: {error}", login.host, login.port)
        })
    }

    pub fn try_connect(login: &Login) -> mysql_async::Result<Sql> {
        let runtime = single_threaded_runtime();
        let conn = runtime.block_on(Conn::new(login.options()))?;
        let version = conn.server_version();
        Ok(Sql { conn, runtime, version })
    }

    pub fn run(&mut self, statement: impl AsRef<str>) {
        let statement = statement.as_ref();
        self.try_run(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    pub fn try_run(&mut self, statement: &str) -> mysql_async::Result<()> {
        self.runtime.block_on(self.conn.query_drop(statement))
    }

    /// Runs a statement that is in another character set than UTF-8.
    pub fn run_bytes(&mut self, statement: &[u8]) {
        self.runtime
            .block_on(self.conn.query_drop(statement.to_vec()))
            .unwrap_or_else(|error| panic!("{}: {error}", statement.escape_ascii()));
    }

    /// Runs a prepared statement.
    pub fn run_with(&mut self, statement: impl AsRef<str>, params: impl Into<Params> + Send) {
        let statement = statement.as_ref();
        self.runtime
            .block_on(self.conn.exec_drop(statement, params.into()))
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    pub fn query<T: FromRow + Send + 'static>(&mut self, statement: impl AsRef<str>) -> Vec<T> {
        let statement = statement.as_ref();
        self.runtime
            .block_on(self.conn.query(statement))
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// The only column of the only row.
    pub fn value<T: mysql_async::prelude::FromValue + Send + 'static>(
        &mut self,
        statement: impl AsRef<str>,
    ) -> T {
        let rows: Vec<Row> = self.query(statement.as_ref());
        let mut row =
            rows.into_iter().next().unwrap_or_else(|| panic!("{}: no row", statement.as_ref()));
        row.take(0).unwrap_or_else(|| panic!("{}: no column", statement.as_ref()))
    }

    /// The end of the binlog as it is now.
    pub fn end_of_binlog(&mut self) -> Coordinates {
        let statement =
            if self.version >= (8, 2, 0) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let row: Row = self.query(statement).pop().expect("the server writes a binlog");
        Coordinates {
            file: row.get(0).expect("the status has a file"),
            offset: row.get(1).expect("the status has an offset"),
        }
    }

    pub fn executed_gtids(&mut self) -> String {
        let gtids: String = self.value("SELECT @@GLOBAL.gtid_executed");
        gtids.replace('\n', "")
    }

    /// The events of one file from an event's beginning on.
    pub fn binlog_events(&mut self, from: &Coordinates) -> Vec<BinlogLine> {
        let rows: Vec<Row> =
            self.query(format!("SHOW BINLOG EVENTS IN '{}' FROM {}", from.file, from.offset));
        rows.iter()
            .map(|row| BinlogLine {
                begin: row.get("Pos").expect("the listing has positions"),
                kind: row.get("Event_type").expect("the listing has event types"),
                end: row.get("End_log_pos").expect("the listing has end positions"),
                info: row.get("Info").expect("the listing has infos"),
            })
            .collect()
    }

    /// The same from there to the end of the last file, each event with its file.
    pub fn binlog_events_since(&mut self, from: &Coordinates) -> Vec<(String, BinlogLine)> {
        let logs: Vec<Row> = self.query("SHOW BINARY LOGS");
        let mut events = Vec::new();
        for log in &logs {
            let file: String = log.get(0).expect("the list has names");
            let start = match file.cmp(&from.file) {
                std::cmp::Ordering::Less => continue,
                std::cmp::Ordering::Equal => from.clone(),
                std::cmp::Ordering::Greater => Coordinates { file: file.clone(), offset: 4 },
            };
            events.extend(self.binlog_events(&start).into_iter().map(|line| (file.clone(), line)));
        }
        events
    }

    pub fn has_compressed_transactions(&self) -> bool {
        self.version >= (8, 0, 20)
    }
}
