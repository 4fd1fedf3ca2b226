//! An event relay: rows inserted into an outbox table travel from the MySQL binlog to Kafka, every committed one, once,
//! in order.
//!
//! An event passes through one line, and the modules are its rooms. Each imports only from those below it. Those that
//! the program, the tests and the benchmarks use are public:
//!
//! - [`cli`]: the command line
//! - [`http`]: health, metrics, status and reload over HTTP
//! - [`reload`]: reads the configuration again while the relay runs
//! - [`relay`]: the line end to end: recovery, the loop, draining
//! - [`import`]: the configuration of another program becomes one of the relay
//! - [`schema`]: the SQL that makes a preset's tables and the relay's user
//! - [`check`]: checks every requirement of both ends, also while the relay runs
//! - `primary`: the seam to where rows come from, and MySQL behind it
//! - `debezium_offsets`: a start where a connector of Debezium stopped
//! - `connect`: the relay's identity as a replica, and where reading begins
//! - [`config`]: a configuration that is valid by construction
//! - [`error`]: every error that ends a session, with its fate and hint
//! - [`decode`]: shows what is in binlog files
//! - [`explain`]: shows what record a row would become
//! - `preflight`: what must hold before a row is read
//! - `lease`: a named lock of MySQL, held by a connection of its own
//! - [`sink`]: the seam to where records go; [`sink::kafka`] is the only room that knows rdkafka
//! - `resend`: the rows after a checkpoint that a predecessor may have sent
//! - [`checkpoint`]: the record of a checkpoint
//! - [`batch`]: the buffer of records between reading and publishing
//! - [`envelope`]: a row becomes the bytes of a record
//! - [`outbox`]: which table goes where, by which columns
//! - [`binlog`]: the source: a replica's dump stream as transactions of rows
//! - [`telemetry`]: logs, metrics, and the state that HTTP shows
//! - [`coordinates`]: file and offset, GTIDs and their sets
//! - `delivery`, [`fate`], `finding`, `secret`, `nearest`, `tasks`: shared by all
//! - `failpoint`: named places for tests, in no release

// The conformance suite names this crate as the integration tests do, which include the same files.
#[cfg(test)]
extern crate self as binlog_relay;

pub mod batch;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub(crate) mod connect;
pub mod dead_letter;
pub(crate) mod debezium_offsets;
pub mod decode;
pub mod delivery;
pub mod envelope;
pub mod error;
pub mod explain;
mod failpoint;
pub mod fate;
pub(crate) mod finding;
pub mod http;
pub mod import;
pub(crate) mod lease;
mod nearest;
pub mod outbox;
pub(crate) mod preflight;
pub(crate) mod primary;
pub mod relay;
pub mod reload;
pub mod resend;
pub mod schema;
pub(crate) mod secret;
pub mod sink;
mod tasks;
pub mod telemetry;

/// The source: a replica's dump stream as transactions of rows.
pub use mysql_binlog as binlog;
/// File and offset, GTIDs and their sets.
pub use mysql_binlog::coordinates;
