//! What the benchmark is asked for on its command line, and what it asks of its own child processes.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::load::Scenario;
use crate::matrix::{self, Plan};
use crate::produce::ProduceArguments;
use crate::read::ReadArguments;
use crate::subject::Subject;
use crate::world::{Layout, one_or_three};
use harness::link::Delay;
use harness::scene::Delivery;

#[derive(Parser)]
#[command(
    about = "Measures the relay beside a bare producer and a bare reader of the binlog",
    args_conflicts_with_subcommands = true
)]
pub struct Arguments {
    #[command(subcommand)]
    pub child: Option<Child>,
    /// What to measure; all parts unless some are named
    parts: Vec<Part>,
    /// How often each measurement is repeated
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The fraction of each scenario's rows that is written
    #[arg(long, default_value_t = 1.0, value_parser = fraction)]
    pub scale: f64,
    /// Programs to compare, such as those of two commits; else target/release/binlog-relay
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub relay: Vec<PathBuf>,
    /// Backlogs to drain; all unless some are named
    #[arg(long, num_args = 1..)]
    scenario: Vec<Scenario>,
    /// Deliveries of the relay; both unless one is named
    #[arg(long, num_args = 1..)]
    mode: Vec<Mode>,
    /// Rows a second, of which the latency is measured
    #[arg(long, value_delimiter = ',', num_args = 1.., default_values_t = [500, 2_000, 10_000],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Vec<u32>,
    /// How long a byte takes between what is measured and Kafka, each way
    #[arg(long, value_delimiter = ',', default_values = ["0ms"])]
    link: Vec<Delay>,
    /// The same between the relay and MySQL
    #[arg(long, default_value = "0ms")]
    mysql_link: Delay,
    /// How many brokers there are, 1 or 3
    #[arg(long, value_delimiter = ',', default_values_t = [1], value_parser = one_or_three)]
    brokers: Vec<u32>,
    /// How many partitions the topics have
    #[arg(long, value_delimiter = ',', default_values_t = [12],
          value_parser = clap::value_parser!(i32).range(1..=1_000))]
    partitions: Vec<i32>,
    /// How long latencies are measured in each round
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// How long rows are written before
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub warm_up: u32,
    /// How often the relay is started after a stop, after a kill, and beside a running one
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    starts: u32,
    /// For how long an idle relay is watched
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub idle_seconds: u32,
    /// Measure whole parts in all worlds of docs/benchmarks.md, and write what is found there
    #[arg(long, conflicts_with_all = ["rounds", "starts", "scenario", "mode", "relay", "scale", "rate", "tls", "link", "mysql_link", "brokers", "partitions"])]
    pub write: bool,
    /// Whether the connections to MySQL are encrypted
    #[arg(long, default_value = "disabled")]
    pub tls: Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Part {
    /// A backlog that is in the binlog before the relay starts
    Drain,
    /// From a commit to a consumer
    Latency,
    /// From the start of the relay to the first record
    Start,
    /// From the start of a second relay of the same name to its first record
    TakeOver,
    /// What a relay takes that has nothing to do
    Idle,
    /// Of the program
    Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    ExactlyOnce,
    Idempotent,
}

/// As in `[mysql.tls] mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    Disabled,
    Preferred,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Drain => "drain",
            Part::Latency => "latency",
            Part::Start => "start",
            Part::TakeOver => "take-over",
            Part::Idle => "idle",
            Part::Size => "size",
        }
    }

    pub fn needs_warm_broker(self) -> bool {
        !matches!(self, Part::Idle | Part::Size)
    }
}

/// What runs in a process of its own, so that its time and memory are its own.
#[derive(Subcommand)]
pub enum Child {
    #[command(hide = true)]
    Produce(ProduceArguments),
    #[command(hide = true)]
    Read(ReadArguments),
}

impl Arguments {
    /// What is asked for: by `--write` the list, else everything that is named with everything else.
    pub fn plans(&self) -> Vec<Plan> {
        let parts = all_unless_named(&self.parts);
        if self.write {
            let mut plans = matrix::all();
            plans.retain(|plan| parts.contains(&plan.part));
            return plans;
        }
        let worlds = (self.brokers.iter()).flat_map(|&brokers| {
            self.partitions.iter().map(move |&partitions| (brokers, partitions))
        });
        let mysql = self.mysql_link;
        let worlds = worlds.map(|(brokers, partitions)| Layout { brokers, partitions, mysql });
        worlds.flat_map(|layout| parts.iter().map(move |&part| self.plan(part, layout))).collect()
    }

    fn plan(&self, part: Part, layout: Layout) -> Plan {
        let times = match part {
            Part::Start | Part::TakeOver => self.starts,
            _ => self.rounds,
        };
        let mut rates = self.rate.clone();
        rates.sort_unstable();
        let mut links = self.link.clone();
        links.sort();
        links.dedup();
        let scenarios = all_unless_named(&self.scenario);
        Plan { part, layout, links, rates, with_producer: true, scenarios, times }
    }

    /// The relays to measure, those of one delivery side by side.
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for mode in all_unless_named(&self.mode) {
            let delivery = mode.delivery();
            subjects
                .extend(self.programs().into_iter().map(|program| Subject { program, delivery }));
        }
        subjects
    }

    /// The programs to measure; `None` is the one beside this benchmark.
    pub fn programs(&self) -> Vec<Option<PathBuf>> {
        if self.relay.is_empty() {
            vec![None]
        } else {
            self.relay.iter().cloned().map(Some).collect()
        }
    }
}

impl Mode {
    fn delivery(self) -> Delivery {
        match self {
            Mode::ExactlyOnce => Delivery::ExactlyOnce,
            Mode::Idempotent => Delivery::Idempotent,
        }
    }
}

impl Tls {
    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Tls::Disabled => "disabled",
            Tls::Preferred => "preferred",
        }
    }
}

fn all_unless_named<T: ValueEnum>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() }
}

fn fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let is_valid = number > 0.0 && number <= 10.0;
    is_valid.then_some(number).ok_or_else(|| "not above 0 and at most 10".to_owned())
}
