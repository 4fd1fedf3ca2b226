//! How many instructions a row takes on its way from the bytes of its event to the record for the producer,
//! step by step: callgrind counts them, so that a step that became dearer shows without a clock. The counts are
//! held against those in `benches/instructions.txt`. They depend on the compiler, and on what the C library does for
//! the machine's processor.
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
use binlog_relay::batch::RecordRef;

use replay::line::Line;
use replay::recording::Recording;

/// So many, or a few less for whole passes over a recording.
const ROWS: usize = 10_000;
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// How much dearer a step may be than it was.
const PERCENT_MAX: f64 = 5.0;
/// Has this program replay a recording instead, for callgrind to count.
const REPLAY: &str = "--replay";

/// What is told apart, and the functions of [`replay::line`] that it is made of.
const STEPS: [(&str, &[&str]); 6] = [
    ("frame", &["line::frame"]),
    ("track", &["Line::track", "Line::learn_table"]),
    ("decode", &["line::decode"]),
    ("envelope", &["Line::write_envelope"]),
    ("batch", &["Line::push", "Line::hand_over"]),
    ("all", &["Line::relay"]),
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

/// What is counted: the call of [`Line::relay`].
fn replay_rows(recording: &Recording) {
    let stream = recording.repeater().passes(passes(recording));
    let mut line = Line::new(recording);
    line.relay(&stream, &mut |record: RecordRef<'_>, header: &[u8]| {
        black_box((record, header));
    });
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
    for (count, (step, functions)) in counts.iter_mut().zip(STEPS) {
        for function in functions {
            let instructions = inclusive(&annotated, function)
                .with_context(|| format!("no {function} in the profile, for the step {step}"))?;
            *count += instructions as f64 / rows;
        }
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
