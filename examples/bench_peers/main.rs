//! The relay beside Debezium: how fast each drains the same backlog on the same machine in the same run, what it
//! takes for that, how soon it begins, and how long a row takes under a steady load. Every run is a new process
//! at the same place in the binlog, and counts only if every row has arrived, once. The rounds interleave what
//! is compared, so that whatever else the machine does meets all of it: the ratios of one run are what
//! counts. Run by `make bench-peers`.

#[path = "../../integration-tests/harness/mod.rs"]
#[allow(dead_code, reason = "the comparison needs a part of what the tests need")]
mod harness;

mod backlog;
mod beginning;
mod debezium;
mod destination;
mod drain;
mod latency;
#[path = "../bench/load.rs"]
#[allow(dead_code, reason = "the comparison drains two of its scenarios")]
mod load;
#[path = "../bench/meter.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod meter;
#[path = "../bench/numbers.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod numbers;
mod peer;
mod report;
mod site;
#[path = "../bench/table.rs"]
mod table;
#[path = "../bench/usage.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod usage;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use backlog::Backlog;
use beginning::Beginning;
use debezium::Tuning;
use drain::Drain;
use latency::Latency;
use load::Scenario;
use peer::Peer;
use site::Site;

#[derive(Parser)]
#[command(about = "Drains the same backlog by the relay and by Debezium")]
struct Arguments {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What is measured: draining a backlog, or the latency under a steady load
    #[arg(long, value_delimiter = ',', default_values = ["drain", "latency"])]
    part: Vec<Part>,
    /// Which backlogs are drained
    #[arg(long, value_delimiter = ',', default_values = ["single", "twenty"])]
    scenario: Vec<Scenario>,
    /// Who is compared
    #[arg(long, value_delimiter = ',', default_values = ["exactly-once", "idempotent", "debezium", "debezium-exactly-once"])]
    peer: Vec<Peer>,
    /// The fraction of 300,000 rows that a backlog has
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Write the tables into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Drain,
    Latency,
}

/// What each peer came to in all rounds.
type Rounds<T> = Vec<(Peer, Vec<T>)>;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    debezium::ensure_fetched()?;
    let site = Site::start()?;
    let mut report = report::Report::new(arguments.rounds)?;
    for part in &arguments.part {
        let sections = match part {
            Part::Drain => drain_backlogs(&site, arguments)?,
            Part::Latency => vec![measure_latency(&site, arguments).context("latency")?],
        };
        sections.into_iter().for_each(|section| report.push(section));
    }
    if arguments.write {
        report.write()?;
    }
    Ok(())
}

fn drain_backlogs(site: &Site, arguments: &Arguments) -> Result<Vec<String>> {
    let mut sections = Vec::new();
    for &scenario in &arguments.scenario {
        let backlog = Backlog::fill(site, scenario, arguments.scale, &arguments.peer)
            .with_context(|| format!("fill {}", scenario.name()))?;
        println!("{}", backlog.description());
        // Not measured: it brings the binlog into the page cache, and warms the broker.
        drain::drain(site, &backlog, Peer::RelayIdempotent).context("the first run")?;
        let drains: Rounds<Drain> =
            in_rounds(arguments, |peer| drain::drain(site, &backlog, peer), Drain::line)
                .with_context(|| format!("drain {}", scenario.name()))?;
        let section = report::drain_section(&backlog, &drains);
        println!("\n{section}");
        sections.push(section);
    }
    Ok(sections)
}

fn measure_latency(site: &Site, arguments: &Arguments) -> Result<String> {
    let beginning = Beginning::make(site, "latency", &arguments.peer, Tuning::Latency, |_| ())?;
    println!("\nlatency: {} rows/s", latency::ROWS_PER_SECOND);
    let measured: Rounds<Latency> =
        in_rounds(arguments, |peer| latency::measure(&beginning, peer), Latency::line)?;
    let section = report::latency_section(&measured);
    println!("\n{section}");
    Ok(section)
}

/// In each round all peers, one after the other.
fn in_rounds<T>(
    arguments: &Arguments,
    measure: impl Fn(Peer) -> Result<T>,
    line: impl Fn(&T) -> String,
) -> Result<Rounds<T>> {
    let mut rounds: Rounds<T> = arguments.peer.iter().map(|&peer| (peer, Vec::new())).collect();
    for round in 1..=arguments.rounds {
        for (peer, measured) in &mut rounds {
            let one = measure(*peer).with_context(|| format!("round {round}, {}", peer.name()))?;
            println!("round {round}  {:<24} {}", peer.name(), line(&one));
            measured.push(one);
        }
    }
    Ok(rounds)
}
