//! The relay beside Debezium: how fast each drains the same backlog on the same machine in the same run, what it
//! takes for that, how soon it begins, and how long a row takes under a steady load. Every run is a new process
//! at the same place in the binlog, and counts only if every row has arrived, once. The rounds interleave what
//! is compared, so that whatever else the machine does meets all of it: the ratios of one run are what
//! counts. Run by `make bench-peers`.

mod backlog;
mod beginning;
#[path = "../bench/brokers.rs"]
mod brokers;
mod debezium;
mod destination;
mod drain;
mod latency;
#[path = "../bench/load.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod load;
#[path = "../bench/meter.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod meter;
#[path = "../bench/numbers.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod numbers;
mod peer;
mod report;
mod scenario;
mod shape;
mod site;
#[path = "../bench/table.rs"]
mod table;
#[path = "../bench/report.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod targets;
#[path = "../bench/usage.rs"]
#[allow(dead_code, reason = "shared with the benchmark")]
mod usage;
#[path = "../bench/world.rs"]
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use backlog::Backlog;
use beginning::Beginning;
use debezium::Tuning;
use drain::Drain;
use harness::link::Delay;
use latency::{Latency, Span};
use peer::{Peer, Placed};
use scenario::Scenario;
use shape::eventuate::EVENTUATE;
use site::{Site, start_mysql};
use world::{Layout, one_or_three};

#[derive(Parser)]
#[command(
    about = "Drains the same backlog by the relay and by Debezium, and measures the latency of both"
)]
struct Arguments {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What is measured: draining a backlog, or the latency under a steady load
    #[arg(long, value_delimiter = ',', default_values = ["drain", "latency"])]
    part: Vec<Part>,
    /// Which backlogs are drained
    #[arg(long, value_delimiter = ',', default_values = ["single", "twenty", "outbox", "custom"])]
    scenario: Vec<Scenario>,
    /// Who is compared
    #[arg(long, value_delimiter = ',', default_values = ["exactly-once", "idempotent", "debezium", "debezium-exactly-once"])]
    peer: Vec<Peer>,
    /// How long a byte takes between a peer and Kafka, each way
    #[arg(long, value_delimiter = ',', default_values = ["0ms", "2.5ms"])]
    link: Vec<Delay>,
    /// How many brokers there are, 1 or 3; backlogs are drained with the first of these
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3], value_parser = one_or_three)]
    brokers: Vec<u32>,
    /// How many partitions the topics have
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    partitions: i32,
    /// How long rows are written before their latency is measured, in seconds
    #[arg(long, default_value_t = 20)]
    warm_up: usize,
    /// How long latencies are measured in each round, in seconds
    #[arg(long, default_value_t = 15, value_parser = at_least_one)]
    seconds: usize,
    /// The fraction of its rows that a backlog has
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
type Rounds<T> = Vec<(Placed, Vec<T>)>;

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
    let mysql = start_mysql();
    let mut report = report::Report::new(arguments.rounds)?;
    for (number, &brokers) in arguments.brokers.iter().enumerate() {
        let layout = Layout { brokers, partitions: arguments.partitions, mysql: Delay::NONE };
        let site = Site::start(&mysql, brokers, &arguments.link, arguments.partitions);
        for part in &arguments.part {
            let sections = match part {
                Part::Drain if number > 0 => continue,
                Part::Drain => drain_backlogs(&site, layout, arguments)?,
                Part::Latency => measure_latency(&site, layout, arguments).context("latency")?,
            };
            sections.into_iter().for_each(|section| report.push(section));
        }
    }
    if arguments.write {
        report.write()?;
    }
    Ok(())
}

fn drain_backlogs(site: &Site, layout: Layout, arguments: &Arguments) -> Result<Vec<String>> {
    let mut sections = Vec::new();
    for &scenario in &arguments.scenario {
        let backlog = Backlog::fill(site, scenario, arguments.scale, &arguments.peer)
            .with_context(|| format!("fill {}", scenario.name()))?;
        println!("{}", backlog.description());
        // Not measured: it brings the binlog into the page cache, and warms the broker.
        let first = Placed { peer: Peer::RelayIdempotent, link: Delay::NONE };
        drain::drain(site, &backlog, first).context("the first run")?;
        let drains: Rounds<Drain> =
            in_rounds(arguments, |placed| drain::drain(site, &backlog, placed), Drain::line)
                .with_context(|| format!("drain {}", scenario.name()))?;
        for &link in &arguments.link {
            sections.push(report::drain_section(&backlog, layout, link, &drains));
        }
    }
    sections.iter().for_each(|section| println!("\n{section}"));
    Ok(sections)
}

fn measure_latency(site: &Site, layout: Layout, arguments: &Arguments) -> Result<Vec<String>> {
    let (peers, tuning) = (&arguments.peer, Tuning::Latency);
    let beginning = Beginning::make(site, "latency", &EVENTUATE, peers, tuning, |_| ())?;
    let span = Span { warm_up: arguments.warm_up, measured: arguments.seconds };
    println!("\nlatency: {} rows/s; {layout}", latency::ROWS_PER_SECOND);
    // Not measured: brokers that have just begun compile their own code.
    let first = Placed { peer: Peer::RelayExactlyOnce, link: Delay::NONE };
    let shortly = Span { warm_up: 0, measured: arguments.warm_up.max(1) };
    latency::measure(site, &beginning, first, shortly).context("the first run")?;
    let measured: Rounds<Latency> = in_rounds(
        arguments,
        |placed| latency::measure(site, &beginning, placed, span),
        Latency::line,
    )?;
    let of_link = |&link: &Delay| report::latency_section(layout, link, span, &measured);
    let sections: Vec<String> = arguments.link.iter().map(of_link).collect();
    sections.iter().for_each(|section| println!("\n{section}"));
    Ok(sections)
}

/// In each round all peers behind all links, one after the other.
fn in_rounds<T>(
    arguments: &Arguments,
    measure: impl Fn(Placed) -> Result<T>,
    line: impl Fn(&T) -> String,
) -> Result<Rounds<T>> {
    let placed = |&link: &Delay| arguments.peer.iter().map(move |&peer| Placed { peer, link });
    let placed = arguments.link.iter().flat_map(placed);
    let mut rounds: Rounds<T> = placed.map(|placed| (placed, Vec::new())).collect();
    for round in 1..=arguments.rounds {
        for (placed, measured) in &mut rounds {
            let name = placed.name();
            let one = measure(*placed).with_context(|| format!("round {round}, {name}"))?;
            println!("round {round}  {name:<42} {}", line(&one));
            measured.push(one);
        }
    }
    Ok(rounds)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    (number > 0).then_some(number).ok_or_else(|| "not above 0".to_owned())
}
