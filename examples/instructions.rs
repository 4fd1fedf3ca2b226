//! How many instructions a row takes on its way from the bytes of its event to the record for the producer: for the
//! whole session, and for the source, the decoder and the envelope, each driven alone. Callgrind counts them, so that
//! what became dearer shows without a clock. The counts are held against those in `benches/instructions.txt`. They depend
//! on the compiler, and on what the C library does for the machine's processor.
//!
//! Run by `make callgrind`. It fails when a step takes over 5 % more than it did; `--keep` keeps the new counts.

#[path = "../benches/replay/mod.rs"]
mod replay;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use binlog_relay::binlog::Change;
use binlog_relay::binlog::row::Cell;
use binlog_relay::envelope::{self, Buffers};
use binlog_relay::relay::replay::Replay;
use binlog_relay::sink::kafka::sequence::SequenceHeader;

use replay::recording::Recording;
use replay::rows::{Cells, RecordedRows, facts, parsed};
use replay::source::FedSource;

/// So many, or a few less for whole passes over a recording.
const ROWS: usize = 10_000;
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// How much dearer a step may be than it was.
const PERCENT_MAX: f64 = 5.0;
/// Has this program replay a recording instead, for callgrind to count.
const REPLAY: &str = "--replay";

/// What is told apart, and the function below that drives it.
const STEPS: [(&str, &str); 4] = [
    ("source", "instructions::read"),
    ("decode", "instructions::decode"),
    ("envelope", "instructions::write"),
    ("session", "instructions::relay"),
];

/// Instructions a row, in the order of [`STEPS`].
type Counts = [f64; STEPS.len()];

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == REPLAY
    {
        replay_rows(recording(name)?);
        return Ok(ExitCode::SUCCESS);
    }
    let kept = read_kept()?;
    let mut counted = BTreeMap::new();
    let mut is_worse = false;
    println!("instructions a row, and the difference to benches/instructions.txt");
    println!("{}", heading(16));
    for recording in Recording::ALL {
        let counts = count(recording)?;
        let before = kept.get(recording.name);
        is_worse |= before.is_some_and(|before| worst(&counts, before) > PERCENT_MAX);
        println!("{}", line_of(recording.name, &counts, before));
        counted.insert(recording.name, counts);
    }
    if arguments.iter().any(|argument| argument == "--keep") {
        return keep(&counted).map(|()| ExitCode::SUCCESS);
    }
    if is_worse {
        eprintln!("a step takes over {PERCENT_MAX} % more than it did");
    }
    Ok(if is_worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn recording(name: &str) -> Result<&'static Recording> {
    let found = Recording::ALL.iter().find(|recording| recording.name == name);
    found.with_context(|| format!("there is no recording {name}"))
}

/// Drives each step with the same rows.
fn replay_rows(recording: &Recording) {
    let passes = passes(recording);
    let stream = recording.repeater().passes(passes);
    let mut source = FedSource::new(recording);
    source.feed(&stream);
    read(&mut source);
    let recorded = RecordedRows::of(recording);
    decode(&recorded, passes);
    write(&recorded, &recorded.cells(), passes);
    let config = recording.config();
    let mut session = Replay::new(&config).expect("start a replay");
    session.feed(&stream).expect("whole events");
    relay(&mut session, &mut replay::sequence_header());
}

/// From the bytes of events to the bytes of rows.
#[inline(never)]
fn read(source: &mut FedSource) {
    source.read(|change: Change<'_>| {
        black_box(change);
    });
}

/// From the bytes of rows to cells.
#[inline(never)]
fn decode(recorded: &RecordedRows, passes: usize) {
    let decoder = &recorded.route.decoder;
    let mut cells = vec![Cell::Absent; decoder.cells()];
    for event in (0..passes).flat_map(|_| &recorded.events) {
        let event = parsed(event);
        let mut rows = event.rows();
        while !rows.is_empty() {
            let decoded = decoder.decode(&mut rows, event.present(), &mut cells);
            decoded.expect("a recorded row can be decoded");
            black_box(&cells);
        }
    }
}

/// From cells to topic, key and value.
#[inline(never)]
fn write(recorded: &RecordedRows, rows: &[Cells], passes: usize) {
    let (mut buffers, mut out) = (Buffers::default(), Vec::new());
    for _ in 0..passes {
        for (cells, index) in rows.iter().zip(0..) {
            let facts = facts(index);
            let written = envelope::write(&recorded.route, cells, &facts, &mut buffers, &mut out);
            black_box(written).expect("a recorded row can be a record");
        }
        out.clear();
    }
}

/// All of it: from the bytes of events to records with their headers, batch by batch.
#[inline(never)]
fn relay(session: &mut Replay<'_>, header: &mut SequenceHeader) {
    black_box(replay::relay(session, header));
}

fn passes(recording: &Recording) -> usize {
    ROWS / recording.rows
}

/// Replays a recording under callgrind and reads its profile.
fn count(recording: &Recording) -> Result<Counts> {
    let folder = tempfile::tempdir().context("make a folder for the profile")?;
    let profile = folder.path().join("callgrind.out");
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--quiet", "--tool=callgrind"]);
    callgrind.arg(format!("--callgrind-out-file={}", profile.display()));
    callgrind.arg(std::env::current_exe()?).args([REPLAY, recording.name]);
    run(&mut callgrind)?;
    let annotated = annotate(&profile)?;
    let rows = (passes(recording) * recording.rows) as f64;
    let mut counts = Counts::default();
    for (count, (step, function)) in counts.iter_mut().zip(STEPS) {
        let instructions = inclusive(&annotated, function)
            .with_context(|| format!("no {function} in the profile, for the step {step}"))?;
        *count = instructions as f64 / rows;
    }
    Ok(counts)
}

/// Every function with what it and those it called took.
fn annotate(profile: &Path) -> Result<String> {
    let mut annotate = Command::new("callgrind_annotate");
    run(annotate.args(["--inclusive=yes", "--threshold=100", "--show-percs=no"]).arg(profile))
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| {
        format!("run {} (hint: it comes with the package valgrind)", program.display())
    })?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A line is `1,234  FILE:FUNCTION [OBJECT]`, where a function may have generic parameters.
fn inclusive(annotated: &str, function: &str) -> Option<u64> {
    let is_it = |name: &str| {
        let name = name.split(" [").next().unwrap_or_default();
        name.split_once(function)
            .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with("::<"))
    };
    let line = annotated.lines().find(|line| is_it(line))?;
    line.split_whitespace().next()?.replace(',', "").parse().ok()
}

fn worst(counts: &Counts, before: &Counts) -> f64 {
    let all = counts.iter().zip(before).map(|(count, before)| percent(*count, *before));
    all.fold(f64::MIN, f64::max)
}

fn percent(count: f64, before: f64) -> f64 {
    (count / before - 1.0) * 100.0
}

fn heading(width: usize) -> String {
    let mut line = format!("{:<22}", "rows");
    for (step, _) in STEPS {
        write!(line, " {step:>width$}").expect("a string takes all that is written");
    }
    line
}

fn line_of(name: &str, counts: &Counts, before: Option<&Counts>) -> String {
    let mut line = format!("{name:<22}");
    for (index, count) in counts.iter().enumerate() {
        let difference = match before {
            Some(before) => format!("{:+.1}%", percent(*count, before[index])),
            None => "new".to_owned(),
        };
        write!(line, " {count:>8.1} {difference:>7}").expect("a string takes all that is written");
    }
    line
}

fn read_kept() -> Result<BTreeMap<String, Counts>> {
    let text = fs::read_to_string(KEPT).with_context(|| format!("read {KEPT}"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut kept = BTreeMap::new();
    for line in lines.skip(1) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let counts: Vec<f64> = words.map(str::parse).collect::<Result<_, _>>()?;
        let counts = counts.try_into();
        ensure!(counts.is_ok(), "{KEPT} has another number of steps for {name}");
        kept.insert(name.to_owned(), counts.unwrap_or_default());
    }
    Ok(kept)
}

fn keep(counted: &BTreeMap<&str, Counts>) -> Result<()> {
    let rustc = run(Command::new("rustc").arg("--version"))?;
    let valgrind = run(Command::new("valgrind").arg("--version"))?;
    let mut text = format!(
        "# Instructions a row, kept by make callgrind KEEP=yes. {}, {}.\n",
        rustc.trim(),
        valgrind.trim()
    );
    writeln!(text, "{}", heading(8))?;
    for recording in Recording::ALL {
        write!(text, "{:<22}", recording.name)?;
        for count in counted[recording.name] {
            write!(text, " {count:>8.1}")?;
        }
        text.push('\n');
    }
    fs::write(KEPT, text).with_context(|| format!("write {KEPT}"))
}
