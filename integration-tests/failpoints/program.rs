//! The relay with its failpoints, built when the first test needs it.
//!
//! Its build has the features and dependencies of the tests' own, so that of all crates only `fail` and the relay are
//! compiled again, the relay without optimisation. `make test-integration` has built it before.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// As `make failpoints` has them.
const ARGUMENTS: [&str; 8] = [
    "build",
    "--release",
    "--features",
    "failpoints",
    "--example",
    "failpoints",
    "--config",
    "profile.release.package.binlog-relay.opt-level = 0",
];

/// Where the program is.
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Build scripts look at some of them, and would run again.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_run(name)) {
        command.env_remove(name);
    }
    let built = command
        .args(ARGUMENTS)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("run cargo");
    assert!(built.status.success(), "the relay with failpoints cannot be built");
    let messages = String::from_utf8(built.stdout).expect("cargo writes JSON");
    let artifacts = messages.lines().map(|line| serde_json::from_str(line).expect("of JSON"));
    let mut programs = artifacts.filter_map(|it: Value| Some(it["executable"].as_str()?.into()));
    programs.next().expect("cargo says where the program is")
}

/// Whether cargo or make has set this variable for the tests.
fn is_of_this_run(name: &OsStr) -> bool {
    const PREFIXES: [&str; 6] =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_MAKEFLAGS", "MAKE"];
    name.to_str().is_some_and(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}
