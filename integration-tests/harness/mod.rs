//! What the integration tests and the demo stand on: real servers, the relay as a process, a proxy
//! that fails on demand, a random workload, and an oracle that knows what must have arrived.

pub mod binlog;
pub mod certificates;
pub mod cluster;
pub mod consumer;
pub mod eventuate;
pub mod frames;
pub mod holding;
pub mod http;
pub mod kafka;
pub mod lagging;
pub mod ledger;
pub mod link;
pub mod listeners;
pub mod oracle;
pub mod process;
pub mod produce;
pub mod proxy;
pub mod refusing;
pub mod relay;
pub mod scene;
pub mod secured;
pub mod servers;
pub mod sql;
pub mod watchdog;
pub mod words;
pub mod workload;

use std::io::Write;
use std::path::Path;

/// Prints a line that also shows when the test passes: the test runner keeps only what goes through
/// `println!` to itself.
pub fn say(line: &str) {
    let mut output = std::io::stderr().lock();
    // Nobody may be listening; the tests count, not their words.
    let _ = writeln!(output, "{line}");
}

/// The root of the repository, which has the scripts and, unless told otherwise, the servers.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the harness lies in integration-tests/")
}
