//! An event relay: rows inserted into an outbox table travel from the MySQL binlog to Kafka, every
//! committed one, once, in order.
//!
//! The way of an event is one line, and the modules are its rooms. Each imports only from those below it:
//!
//! - [`cli`]: what is asked
//! - [`relay`]: the line end to end: recovery, the loop, draining
//! - [`schema`]: the SQL that makes a preset's tables and the relay's user
//! - [`check`]: every requirement of both ends, asked beside a running relay
//! - [`ends`]: both ends, connected and asked, nothing changed
//! - [`config`]: a configuration that is valid by construction
//! - [`error`]: the fate of every error: retry, halt with a hint, or taken over
//! - [`http`]: health, metrics and status for whoever asks
//! - [`lease`]: a named lock of MySQL, held by a connection of its own
//! - [`preflight`]: what must hold before a row is read
//! - [`resume`]: what of the rows after a checkpoint is in Kafka already
//! - [`publish`]: the publisher's thread; a batch is one Kafka transaction, or one of several on their way
//! - [`checkpoint`]: the place, read from and written to Kafka
//! - [`topics`]: destination topics: looked up, created, measured
//! - [`batch`]: the buffer of records between reading and publishing
//! - [`envelope`]: a row becomes the bytes of a record
//! - [`outbox`]: which table goes where, by which columns
//! - [`binlog`]: the source: a replica's dump stream as transactions of rows
//! - [`telemetry`]: logs, metrics, and the state that HTTP shows
//! - [`coordinates`]: file and offset, GTIDs and their sets
//! - [`kafka`], [`secret`], `nearest`, `panics`: what all of them share

pub mod batch;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod ends;
pub mod envelope;
pub mod error;
pub mod http;
pub mod kafka;
pub mod lease;
mod nearest;
pub mod outbox;
mod panics;
pub mod preflight;
pub mod publish;
pub mod relay;
pub mod resume;
pub mod schema;
pub mod secret;
pub mod telemetry;
pub mod topics;

/// The source: a replica's dump stream as transactions of rows.
pub use mysql_binlog as binlog;
/// File and offset, GTIDs and their sets.
pub use mysql_binlog::coordinates;
