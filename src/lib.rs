//! An event relay: rows inserted into an outbox table travel from the MySQL binlog to Kafka, every
//! committed one, once, in order.
//!
//! The way of an event is one line, and the modules are its rooms. Each imports only from those below it:
//!
//! - [`cli`]: what is asked
//! - [`relay`]: the line end to end: recovery, the loop, draining
//! - [`schema`]: the SQL that makes a preset's tables and the relay's user
//! - [`check`]: every requirement of both ends, asked beside a running relay
//! - [`primary`]: the seam to where rows come from, and MySQL behind it
//! - [`connect`]: who a relay is to its primary, and where reading begins there
//! - [`config`]: a configuration that is valid by construction
//! - [`error`]: whatever ends a session, with its fate and hint
//! - [`http`]: health, metrics and status for whoever asks
//! - [`lease`]: a named lock of MySQL, held by a connection of its own
//! - [`preflight`]: what must hold before a row is read
//! - [`sink`]: the seam to where records go; [`sink::kafka`] is the only room that knows rdkafka
//! - [`resend`]: the rows after a checkpoint that a predecessor may have sent
//! - [`checkpoint`]: the record of a checkpoint
//! - [`batch`]: the buffer of records between reading and publishing
//! - [`envelope`]: a row becomes the bytes of a record
//! - [`outbox`]: which table goes where, by which columns
//! - [`binlog`]: the source: a replica's dump stream as transactions of rows
//! - [`telemetry`]: logs, metrics, and the state that HTTP shows
//! - [`coordinates`]: file and offset, GTIDs and their sets
//! - [`delivery`], [`fate`], [`finding`], [`secret`], `nearest`, `tasks`: what all of them share

// The conformance suite names this crate as the integration tests do, which include the same files.
#[cfg(test)]
extern crate self as binlog_relay;

pub mod batch;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod connect;
pub mod delivery;
pub mod envelope;
pub mod error;
pub mod fate;
pub mod finding;
pub mod http;
pub mod lease;
mod nearest;
pub mod outbox;
pub mod preflight;
pub mod primary;
pub mod relay;
pub mod resend;
pub mod schema;
pub mod secret;
pub mod sink;
mod tasks;
pub mod telemetry;

/// The source: a replica's dump stream as transactions of rows.
pub use mysql_binlog as binlog;
/// File and offset, GTIDs and their sets.
pub use mysql_binlog::coordinates;
