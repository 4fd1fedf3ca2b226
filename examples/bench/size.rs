//! The size of the program as it is built, and without what only a debugger reads.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::arguments::Arguments;
use crate::report::{Section, World};
use crate::table::Table;
use harness::relay::relay_command;
use harness::watchdog::fresh_directory;

pub fn measure(arguments: &Arguments) -> Result<Vec<Section>> {
    let mut table = Table::with_header(["program", "stripped MB", "with symbols MB"]);
    for program in arguments.programs() {
        let path = program.unwrap_or_else(|| PathBuf::from(relay_command().get_program()));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let megabytes = |path: &Path| -> Result<String> {
            let file = fs::metadata(path).with_context(|| path.display().to_string())?;
            Ok(format!("{:.1}", file.len() as f64 / 1e6))
        };
        let stripped = match strip(&path)? {
            Some(stripped) => megabytes(&stripped)?,
            None => "there is no strip here".to_owned(),
        };
        println!("{name}: {stripped} MB stripped");
        table.push([name, stripped, megabytes(&path)?]);
    }
    let world = World::Loopback;
    let section =
        Section { world, title: "The release build".to_owned(), table, targets: Vec::new() };
    println!("\n{section}");
    Ok(vec![section])
}

/// A copy without symbols; `None` where the machine has no program for that.
fn strip(path: &Path) -> Result<Option<PathBuf>> {
    let copy = fresh_directory("size").join("stripped");
    match Command::new("strip").arg("-o").arg(&copy).arg(path).status() {
        Ok(status) => {
            ensure!(status.success(), "strip {} failed", path.display());
            Ok(Some(copy))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("run strip"),
    }
}
