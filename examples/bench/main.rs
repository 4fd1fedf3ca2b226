//! The benchmark of the relay: how fast it drains a backlog, beside a producer that has the same records in memory
//! and a client that only reads the same binlog; how long a committed row takes to a consumer; how soon it is
//! there after its start; what it takes while it has nothing to do. MySQL, Kafka and all that is measured are
//! started here. The rounds interleave what is compared, so that whatever else the machine does meets all of
//! it: the ratios are worth comparing, the figures only on one machine. Run by `make bench`.

mod arguments;
mod backlog;
mod brokers;
mod destination;
mod document;
mod drain;
mod events;
mod follower;
mod idle;
mod latency;
mod load;
mod machine;
mod matrix;
mod meter;
mod numbers;
mod produce;
mod read;
mod report;
mod site;
mod size;
mod stage;
mod start;
mod subject;
mod table;
mod take_over;
mod usage;
mod world;

use std::collections::{BTreeSet, HashMap};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use arguments::{Arguments, Child, Part};
use document::Document;
use harness::link::Delay;
use matrix::Plan;
use report::{Section, targets};
use site::{Site, start_mysql};

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
    let plans = arguments.plans();
    let mysql = start_mysql();
    let mut found: HashMap<Part, Vec<Section>> = HashMap::new();
    for brokers in [1, 3] {
        let plans: Vec<&Plan> =
            plans.iter().filter(|plan| plan.layout.brokers == brokers).collect();
        let Some(first) = plans.first() else { continue };
        let mut site = Site::start(&mysql, brokers, &links_of(&plans), arguments);
        if plans.iter().any(|plan| plan.part.needs_warm_broker()) {
            drain::warm_up(&site, first.layout, arguments).context("warm up the broker")?;
        }
        if brokers == 3 && plans.iter().any(|plan| plan.part == Part::Latency) {
            latency::warm_up(&site, first.layout, arguments).context("warm up the brokers")?;
        }
        for plan in plans {
            let part = plan.part;
            site.put_mysql_behind(plan.layout.mysql);
            let sections = measure_part(&site, plan, arguments);
            let sections = sections.with_context(|| format!("{}, {}", part.name(), plan.layout))?;
            if let Some(targets) = targets(&sections) {
                println!("\n{targets}");
            }
            let of_part = found.entry(part).or_default();
            of_part.extend(sections);
            if let Some(document) = &mut document {
                document.write_part(part.name(), &site, of_part)?;
            }
        }
    }
    Ok(())
}

/// Each once.
fn links_of(plans: &[&Plan]) -> Vec<Delay> {
    let links: BTreeSet<Delay> = plans.iter().flat_map(|plan| plan.links.clone()).collect();
    links.into_iter().collect()
}

fn measure_part(site: &Site, plan: &Plan, arguments: &Arguments) -> Result<Vec<Section>> {
    match plan.part {
        Part::Drain => drain::measure(site, plan, arguments),
        Part::Latency => latency::measure(site, plan, arguments),
        Part::Start => start::measure(site, plan, arguments),
        Part::TakeOver => take_over::measure(site, plan, arguments),
        Part::Idle => idle::measure(site, plan, arguments),
        Part::Size => size::measure(arguments),
    }
}
