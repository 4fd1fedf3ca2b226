//! The fuzz targets, for the programs in `fuzz_targets`. The integration test `fuzz` compiles the same files.

#[cfg(feature = "relay")]
#[path = "targets/relay.rs"]
pub mod relay;
pub mod targets;

use std::path::PathBuf;
use std::{env, fs};

use targets::Target;

/// The folder where a program writes its seeds before it begins. libFuzzer reads it afterwards.
const SEEDS: &str = "FUZZ_SEEDS";

#[cfg(not(feature = "relay"))]
mod relay {
    pub const ALL: &[super::Target] = &[];
}

fn target(name: &str) -> Target {
    let mut all = targets::ALL.iter().chain(relay::ALL);
    *all.find(|target| target.name == name).expect("a target of this build")
}

/// Runs a target on one input, and checks what it allocates.
///
/// # Panics
/// There is no such target, or the input is a finding.
pub fn run(name: &str, data: &[u8]) {
    target(name).check(data);
}

/// Writes the seeds of a target where the environment wants them.
///
/// # Panics
/// They cannot be written.
pub fn write_seeds(name: &str) {
    let Some(folder) = env::var_os(SEEDS).map(PathBuf::from) else { return };
    for (number, seed) in (target(name).seeds)().iter().enumerate() {
        let path = folder.join(format!("seed-{number:03}"));
        fs::write(path, seed).expect("the folder of the seeds can be written to");
    }
}
