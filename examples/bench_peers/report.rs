//! What is printed and written: for each backlog a table of the peers, medians and spreads of the rounds, and how
//! many times faster than Debezium each was in the same round.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Rounds;
use crate::backlog::Backlog;
use crate::debezium::JVM_OPTIONS;
use crate::drain::Drain;
use crate::latency::{Latency, ROWS_PER_SECOND, Span};
use crate::numbers::{Spread, grouped};
use crate::peer::{Peer, Placed};
use crate::table::Table;
use crate::targets::{Section, Target, World, targets};
use crate::world::{self, Layout};
use harness::link::Delay;

const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- peers:begin -->";
const END: &str = "<!-- peers:end -->";
/// What the ratios are to.
const REFERENCE: Peer = Peer::DebeziumAtLeastOnce;

/// All sections of a run, and what they were measured on.
pub struct Report {
    text: String,
}

/// One backlog behind one link.
pub fn drain_section(
    backlog: &Backlog,
    layout: Layout,
    link: Delay,
    drains: &Rounds<Drain>,
) -> String {
    let mut table = Table::with_header([
        "median (least–greatest)",
        "start → first record, s",
        "rows/s, from start",
        "rows/s, 10–90 %",
        "× Debezium",
        "rows/s, 60–90 %",
        "× Debezium",
        "CPU s",
        "memory, MB",
        "others' %",
    ]);
    for (placed, of_peer) in behind_link(drains, link) {
        let cell = |figure: fn(&Drain) -> f64, decimals| spread(of_peer, figure, decimals);
        let reference = Placed { peer: REFERENCE, link };
        let ratio_of =
            |figure: fn(&Drain) -> f64| Spread::shown(ratio(drains, of_peer, reference, figure, 1));
        table.push([
            placed.peer.name().to_owned(),
            cell(|drain| drain.first_record_seconds, 2),
            cell(|drain| drain.per_second, 0),
            cell(|drain| drain.steady_per_second, 0),
            ratio_of(|drain| drain.steady_per_second),
            cell(|drain| drain.late_per_second, 0),
            ratio_of(|drain| drain.late_per_second),
            cell(|drain| drain.cpu_seconds, 1),
            cell(|drain| drain.taken.resident_bytes_peak as f64 / 1e6, 0),
            cell(|drain| drain.taken.disturbed * 100.0, 0),
        ]);
    }
    let rows = grouped(backlog.rows as f64, 0);
    format!(
        "**{}**, {rows} rows; {}\n\n{table}",
        backlog.scenario.name(),
        world::title(layout, link)
    )
}

/// The steady load behind one link.
pub fn latency_section(
    layout: Layout,
    link: Delay,
    span: Span,
    measured: &Rounds<Latency>,
) -> String {
    let mut table = Table::with_header([
        "median (least–greatest)",
        "p50, ms",
        "p99, ms",
        "longest, ms",
        "CPU, % of a core",
        "memory, MB",
    ]);
    let mut aims = Vec::new();
    for (placed, of_peer) in behind_link(measured, link) {
        let cell = |figure: fn(&Latency) -> f64, decimals| spread(of_peer, figure, decimals);
        table.push([
            placed.peer.name().to_owned(),
            cell(|latency| latency.p50_ms, 1),
            cell(|latency| latency.p99_ms, 1),
            cell(|latency| latency.max_ms, 1),
            cell(|latency| latency.cpu_percent, 0),
            cell(|latency| latency.resident_bytes_peak as f64 / 1e6, 0),
        ]);
        if let Some(rival) = placed.peer.rival() {
            let what = format!("p50 ms of {} by that of {}; {layout}", placed.name(), rival.name());
            let rival = Placed { peer: rival, link };
            let found = ratio(measured, of_peer, rival, |latency| latency.p50_ms, 2);
            aims.push(Target::at_most(what, 1.0, found));
        }
    }
    let Span { warm_up, measured } = span;
    let title = format!(
        "Commit → consumer, {ROWS_PER_SECOND} transactions of one row a second, {measured} s after {warm_up} s of \
         warm-up; {}",
        world::title(layout, link)
    );
    let section = Section { world: World::of(link), title, table, targets: aims };
    let aims = targets([&section]).map_or_else(String::new, |aims| format!("\n{aims}"));
    format!("{section}{aims}")
}

fn behind_link<T>(rounds: &Rounds<T>, link: Delay) -> impl Iterator<Item = &(Placed, Vec<T>)> {
    rounds.iter().filter(move |(placed, _)| placed.link == link)
}

fn spread<T>(measured: &[T], figure: fn(&T) -> f64, decimals: usize) -> String {
    Spread::shown(Spread::of(measured.iter().map(figure), decimals))
}

/// Of each round for itself.
fn ratio<T>(
    rounds: &Rounds<T>,
    own: &[T],
    other: Placed,
    figure: impl Fn(&T) -> f64,
    decimals: usize,
) -> Option<Spread> {
    let (_, of_other) = rounds.iter().find(|(placed, _)| *placed == other)?;
    let pairs = own.iter().zip(of_other);
    Spread::of(pairs.map(|(own, other)| figure(own) / figure(other)), decimals)
}

impl Report {
    pub fn new(rounds: u32) -> Result<Report> {
        let mut text = String::new();
        writeln!(text, "{}; rounds, interleaved: {rounds}.", machine()?)?;
        writeln!(
            text,
            "MySQL 8.0.31, Kafka 4.1.0; {}; its JVM is {} with `{}`. Commit {}.",
            peer_versions()?,
            first_line("java", &["--version"])?,
            JVM_OPTIONS.join(" "),
            commit()?
        )?;
        Ok(Report { text })
    }

    pub fn push(&mut self, section: String) {
        self.text += "\n";
        self.text += &section;
    }

    /// Between the two marks of the page; the rest of it is written by hand.
    pub fn write(&self) -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
        let marks = page.split_once(BEGIN).and_then(|(before, rest)| {
            rest.split_once(END).map(|(_, after)| (before.to_owned(), after.to_owned()))
        });
        let (before, after) = marks.with_context(|| format!("{PAGE} lacks {BEGIN} and {END}"))?;
        fs::write(path, format!("{before}{BEGIN}\n{}{END}{after}", self.text))
            .with_context(|| format!("write {PAGE}"))
    }
}

/// Processor, cores, memory and kernel.
fn machine() -> Result<String> {
    let cpu = field_of("/proc/cpuinfo", "model name")?;
    let memory = field_of("/proc/meminfo", "MemTotal")?;
    let kib: f64 = memory.trim_end_matches(" kB").parse().context("memory in kB")?;
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {cpu}, {:.0} GB, Linux {}", kib * 1024.0 / 1e9, kernel.trim()))
}

fn field_of(file: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let line = text.lines().find(|line| line.starts_with(name));
    let (_, value) = line.and_then(|line| line.split_once(':')).context("no such field")?;
    Ok(value.trim().to_owned())
}

/// As they are pinned.
fn peer_versions() -> Result<String> {
    let pom = include_str!("debezium/pom.xml");
    let version = |artifact: &str| {
        let (_, rest) = pom.split_once(&format!("<artifactId>{artifact}</artifactId><version>"))?;
        rest.split_once('<').map(|(version, _)| version)
    };
    let debezium = version("debezium-connector-mysql").context("Debezium has no version")?;
    let connect = version("connect-runtime").context("Connect has no version")?;
    Ok(format!("Debezium {debezium} on Kafka Connect {connect}"))
}

fn commit() -> Result<String> {
    let commit = first_line("git", &["rev-parse", "--short", "HEAD"])?;
    // Its own output does not count.
    let changes = ["status", "--porcelain", "--", ".", ":!docs/benchmarks.md"];
    let is_clean = first_line("git", &changes)?.is_empty();
    Ok(if is_clean { commit } else { format!("{commit} + changes") })
}

fn first_line(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().with_context(|| format!("run {program}"))?;
    ensure!(output.status.success(), "{program} fails");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
