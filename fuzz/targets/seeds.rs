//! Where seeds come from: the recorded binlogs of the benches, and the bytes that real servers wrote for the golden tests.

use std::fs;
use std::path::{Path, PathBuf};

use mysql_binlog::raw_event;

/// Events of a recording that become a seed: its head, and a few transactions.
const EVENTS_MAX: usize = 24;

/// The repository, whichever package this is compiled into.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if package.ends_with("fuzz/fuzz") || package.join("fuzz_targets").is_dir() {
        package.parent().expect("the fuzz package is in the repository")
    } else {
        package
    }
}

/// The first events of each recorded binlog, without the magic number.
pub fn recordings() -> Vec<Vec<Vec<u8>>> {
    let folder = root().join("benches/recordings");
    let entries = fs::read_dir(&folder).expect("the recordings are in the repository");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "binlog"));
    paths.sort();
    let read = |path: &PathBuf| fs::read(path).expect("a recording can be read");
    paths.iter().map(|path| events(&read(path)[4..])).collect()
}

fn events(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    while let Some(length) = raw_event::stated_length(bytes).filter(|_| events.len() < EVENTS_MAX) {
        let (event, rest) = bytes.split_at(length);
        events.push(event.to_vec());
        bytes = rest;
    }
    events
}

/// A golden file of the source.
pub fn golden(name: &str) -> serde_json::Value {
    let path = root().join("crates/mysql-binlog/src/golden").join(name);
    let text = fs::read(path).expect("the golden files are in the repository");
    serde_json::from_slice(&text).expect("a golden file is JSON")
}

/// The bytes of hexadecimal digits.
pub fn unhex(digits: &serde_json::Value) -> Vec<u8> {
    let digits = digits.as_str().expect("hexadecimal digits");
    let pairs = digits.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect()
}
