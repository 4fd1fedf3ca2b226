//! The benchmark: how fast the relay drains a backlog, beside a producer that has the same records in memory
//! and a client that only reads the same binlog. MySQL, Kafka and all that is measured are started here, and
//! the rounds interleave what is compared, so that whatever else the machine does meets all of it. Only
//! ratios of one run are worth comparing. Run by `make bench`.

#[path = "../../integration-tests/harness/mod.rs"]
#[allow(dead_code, reason = "the benchmark needs a part of what the tests need")]
mod harness;

mod arguments;
mod backlog;
mod destination;
mod drain;
mod load;
mod meter;
mod numbers;
mod produce;
mod read;
mod site;
mod table;
mod usage;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use arguments::{Arguments, Child, Part};
use site::Site;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.child {
        Some(Child::Produce(records)) => produce::child(&records),
        Some(Child::Read(stretch)) => read::child(&stretch),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let site = Site::start(arguments).context("start MySQL and Kafka")?;
    for part in arguments.parts() {
        match part {
            Part::Drain => drain::measure(&site, arguments).context("drain")?,
        }
    }
    Ok(())
}
