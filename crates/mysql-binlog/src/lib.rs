//! Reads the binlog of a MySQL primary as a replica does: transaction by transaction, with inserted rows as slices of the
//! event they came in, and their columns by name.
//!
//! [`Server`] answers questions by SQL. [`start`] finds the position to begin at: the end, a position, or a GTID set.
//! [`Source`] reads the dump stream from there on; each event becomes a [`Change`].
//!
//! ```no_run
//! use std::num::NonZeroU32;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use mysql_binlog::coordinates::{StartFrom, Uuid};
//! use mysql_binlog::{
//!     Change, Interest, MysqlOptions, Password, Replica, Server, Source, TlsMode, TlsOptions, start,
//! };
//!
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! let options = MysqlOptions {
//!     host: "db.example.org".to_owned(),
//!     port: 3306,
//!     user: "replicator".to_owned(),
//!     password: Password::fixed("secret"),
//!     server_id: None,
//!     heartbeat: Duration::from_secs(1),
//!     tls: TlsOptions { mode: TlsMode::Preferred, ca: None, cert: None, key: None },
//! };
//! // No other replica of the server may have this id or this UUID.
//! let server_id = NonZeroU32::new(4711).expect("it is not 0");
//! let replica = Replica { server_id, uuid: Uuid::from_bytes([7; 16]) };
//!
//! let mut server = Server::connect(&options).await?;
//! let identity = server.identity().await?;
//! let start = start::resolve(&mut server, &identity, &StartFrom::Latest).await?;
//! let tables = Arc::new(|database: &str, table: &str| match (database, table) {
//!     ("shop", "events") => Interest::Outbox,
//!     _ => Interest::None,
//! });
//! let mut source = Source::open(None, &options, &replica, start, server, tables).await?;
//! // Rows before the start belong to a transaction that began before it.
//! source.reach_start().await?;
//! loop {
//!     source.read().await?;
//!     match source.interpret().await? {
//!         Change::Rows(rows) => println!("rows of {}", rows.table.full_name()),
//!         Change::Committed => println!("committed, up to {}", source.position().coordinates),
//!         Change::RolledBack => println!("the rows since the last commit were taken back"),
//!         Change::Nothing | Change::Ghosts(_) => {}
//!     }
//! }
//! # }
//! ```
//!
//! `examples/print_rows.rs` decodes the rows and prints them.
//!
//! # What it promises
//!
//! - Every inserted row of a wanted table is handed out once, in binlog order, or [`Source`] fails: a table changed by a
//!   statement, an XA transaction, a rollback to a savepoint behind rows, an unknown event, and damage are errors with
//!   coordinates. Only inserts are handed out; updates and deletes are passed over, or
//!   are errors where [`Interest::Guarded`] says so.
//! - Columns have the names that they had when the rows were logged, or [`Source`] fails.
//! - Memory is bounded by the largest event. Compressed transactions are decompressed as they arrive.
//! - Checksums are verified. Damaged bytes are an error, never a panic.
//!
//! # What the server needs
//!
//! MySQL 5.7 to 9, with `binlog_format=ROW`. With `binlog_row_metadata=FULL` (from 8.0) the binlog names the columns;
//! otherwise they are asked of `information_schema`, and checked against the binlog. The user needs REPLICATION SLAVE and
//! REPLICATION CLIENT, and SELECT on the tables whose columns are asked for.
//!
//! # Map
//!
//! - [`MysqlOptions`], [`Password`], [`Replica`]: how to reach the server, and which replica we are
//! - [`Conn`]: a connection for SQL; [`Server`]: the same, made again when it is lost, with the questions to a server
//! - [`start`]: from a position that a person or a checkpoint names to the one where a dump begins
//! - [`Source`], [`Change`], [`Rows`]: the dump stream, and what its events mean
//! - [`transaction`]: from events to transactions; [`Position`] is the boundary between two
//! - [`table`]: from a table map to columns by name; [`row`]: from the bytes of a row to those of its columns; [`value`]:
//!   from the bytes of a column to text or a number
//! - [`coordinates`]: file and offset, GTIDs and their sets
//! - [`feed`](mod@feed), [`file`](mod@file), [`Catalog`]: a source without a server, for recordings, tests and simulations
//! - [`events`]: the events of a file as they are, to look at it
//! - `write`: makes binlog events, for tests (feature `write`)

#![warn(missing_docs)]

mod bytes;
mod catalog;
pub mod charset;
pub mod clock;
mod connection;
pub mod coordinates;
mod dump;
#[allow(missing_docs, reason = "each is the name that MySQL has for it")]
pub mod event_type;
pub mod events;
pub mod feed;
pub mod file;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod json;
mod options;
mod password;
mod progress;
mod query;
pub mod raw_event;
pub mod row;
pub mod server;
mod source;
pub mod start;
pub mod table;
mod tables;
mod text;
pub mod tls;
pub mod transaction;
mod transaction_end;
pub mod value;
mod words;
#[cfg(any(test, feature = "write"))]
pub mod write;

/// Rows and errors of statements are of this crate's types.
pub use mysql_async;

pub use self::bytes::Malformed;
pub use self::catalog::{Catalog, FixedCatalog};
pub use self::connection::{Answer, Conn, Stream};
pub use self::dump::DumpLogin;
pub use self::json::Style as JsonStyle;
pub use self::options::{MysqlOptions, Replica, TlsMode, TlsOptions};
pub use self::password::{Password, PasswordError};
pub use self::progress::Progress;
pub use self::row::RowChange;
pub use self::server::{Identity, Server};
pub use self::source::{Change, Error, Rows, Source};
pub use self::start::Resume;
pub use self::tables::{Guard, Interest, LayoutId, TableFilter};
pub use self::transaction::{AlreadyRelayed, Position, RowsAt, Start};
