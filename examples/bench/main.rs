//! The benchmark of the relay: how fast it drains a backlog, beside a producer that has the same records in memory
//! and a client that only reads the same binlog; how long a committed row takes to a consumer; how soon it is
//! there after its start; what it takes while it has nothing to do. MySQL, Kafka and all that is measured are
//! started here. The rounds interleave what is compared, so that whatever else the machine does meets all of
//! it: the ratios are worth comparing, the figures only on one machine. Run by `make bench`.

#[path = "../../integration-tests/harness/mod.rs"]
#[allow(dead_code, reason = "the benchmark needs a part of what the tests need")]
mod harness;

mod arguments;
mod backlog;
mod destination;
mod document;
mod drain;
mod events;
mod follower;
mod idle;
mod latency;
mod load;
mod machine;
mod meter;
mod numbers;
mod produce;
mod read;
mod report;
mod site;
mod size;
mod start;
mod subject;
mod table;
mod usage;
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use arguments::{Arguments, Child, Part};
use document::Document;
use report::{Section, targets};
use site::{Site, start_mysql};
use world::Layout;

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
    let mut document = arguments.write.then(Document::open).transpose()?;
    let mysql = start_mysql();
    for &brokers in &arguments.brokers {
        let site = Site::start(&mysql, brokers, arguments);
        let parts = arguments.parts();
        if parts.iter().any(|part| part.needs_warm_broker()) {
            let layout = Layout { brokers, partitions: 12 };
            drain::warm_up(&site, layout, arguments).context("warm up the broker")?;
        }
        for part in parts {
            let mut sections = Vec::new();
            for layout in arguments.layouts(brokers) {
                let of_layout = measure_part(part, &site, layout, arguments);
                sections.extend(of_layout.with_context(|| format!("{}, {layout}", part.name()))?);
            }
            if let Some(targets) = targets(&sections) {
                println!("\n{targets}");
            }
            if let Some(document) = &mut document {
                document.write_part(part.name(), &site, &sections)?;
            }
        }
    }
    Ok(())
}

fn measure_part(
    part: Part,
    site: &Site,
    layout: Layout,
    arguments: &Arguments,
) -> Result<Vec<Section>> {
    match part {
        Part::Drain => drain::measure(site, layout, arguments),
        Part::Latency => latency::measure(site, layout, arguments),
        Part::Start => start::measure(site, layout, arguments),
        Part::Idle => idle::measure(site, layout, arguments),
        Part::Size => size::measure(arguments),
    }
}
