//! The bare producer: the same keys and values from memory, sent as fast as they are taken. It is a process of its
//! own, and what it tells is counted from the first send to the last acknowledgement.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, util::Timeout};
use serde::{Deserialize, Serialize};

use crate::numbers::Course;
use crate::usage::{cpu_seconds, resident_bytes, resident_bytes_peak};
use harness::process::Process;
use harness::watchdog::fresh_directory;

const WITHIN: Duration = Duration::from_secs(300);

#[derive(Args)]
pub struct ProduceArguments {
    records: PathBuf,
    bootstrap: String,
    topic: String,
}

/// What a child process found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Run {
    pub seconds: f64,
    /// Fractions of the whole a second, between a tenth and nine tenths.
    pub steady_per_second: Option<f64>,
    pub cpu_seconds: f64,
    /// With what it took before it was measured.
    pub cpu_seconds_in_all: f64,
    /// Beyond what was there before the first send.
    pub resident_bytes_peak: u64,
}

/// Counts acknowledgements.
#[derive(Default)]
struct Acknowledged {
    records: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        let counter = if result.is_ok() { &self.records } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs a child process to its end.
pub fn run(records: &Path, bootstrap: &str, topic: &str) -> Result<Run> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut command = Command::new(program);
    command.arg("produce").arg(records).args([bootstrap, topic]);
    run_child("bare producer", &mut command)
}

/// Runs a child process of this program to its end; the last line that it prints is its [`Run`].
pub fn run_child(what: &str, command: &mut Command) -> Result<Run> {
    let log = fresh_directory("child").join("out");
    let mut process = Process::start(what, command, log);
    let code = process.wait_for_exit(WITHIN);
    ensure!(code == Some(0), "the {what} failed: {}", process.log_tail());
    let said = process.log();
    let last = said.lines().last().context("it printed nothing")?;
    serde_json::from_str(last).with_context(|| format!("the {what} said {last:?}"))
}

/// What the child process does.
pub fn child(arguments: &ProduceArguments) -> Result<()> {
    let bytes = fs::read(&arguments.records).context("read the records")?;
    let records = records_in(&bytes)?;
    let producer = create(&arguments.bootstrap)?;
    // It is connected, as one that has run for a while is.
    producer.client().fetch_metadata(Some(&arguments.topic), WITHIN).context("find the topic")?;
    let pid = std::process::id();
    let (cpu_before, resident_before) = (cpu_seconds(pid)?, resident_bytes(pid)?);
    let begun = Instant::now();
    let course = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&producer, records.len() as u64, begun));
        let sent = send_all(&producer, &arguments.topic, &records);
        let course = watching.join().expect("watching does not panic");
        sent.and(course)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds_in_all = cpu_seconds(pid)?;
    let found = Run {
        seconds,
        steady_per_second: course.steady_per_second(),
        cpu_seconds: cpu_seconds_in_all - cpu_before,
        cpu_seconds_in_all,
        resident_bytes_peak: resident_bytes_peak(pid)?.saturating_sub(resident_before),
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// As someone who wants speed and keeps order would set it; what is not set is librdkafka's default.
fn create(bootstrap: &str) -> Result<ThreadedProducer<Acknowledged>> {
    let created = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "100000")
        .create_with_context(Acknowledged::default());
    created.context("create a producer")
}

fn send_all(
    producer: &ThreadedProducer<Acknowledged>,
    topic: &str,
    records: &[(&[u8], &[u8])],
) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    for (key, value) in records {
        let mut record = BaseRecord::to(topic).key(*key).payload(*value);
        while let Err((error, refused)) = producer.send(record) {
            let is_full = error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            ensure!(is_full && Instant::now() < deadline, "send to {topic}: {error}");
            thread::sleep(Duration::from_millis(1));
            record = refused;
        }
    }
    producer.flush(Timeout::After(WITHIN)).context("wait for acknowledgements")
}

fn watch(
    producer: &ThreadedProducer<Acknowledged>,
    records: u64,
    begun: Instant,
) -> Result<Course> {
    let mut course = Course::default();
    loop {
        let acknowledged = producer.context().records.load(Ordering::Relaxed);
        course.note(begun.elapsed().as_secs_f64(), acknowledged as f64 / records as f64);
        let failed = producer.context().failed.load(Ordering::Relaxed);
        ensure!(failed == 0, "{failed} records failed");
        if acknowledged == records {
            return Ok(course);
        }
        if begun.elapsed() > WITHIN {
            bail!("{acknowledged} of {records} records were acknowledged within {WITHIN:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// As [`crate::destination::Destination::save`] wrote them.
fn records_in(mut bytes: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (key_bytes, value_bytes) = (take_length(&mut bytes)?, take_length(&mut bytes)?);
        let (key, rest) = bytes.split_at_checked(key_bytes).context("a record is cut")?;
        let (value, rest) = rest.split_at_checked(value_bytes).context("a record is cut")?;
        records.push((key, value));
        bytes = rest;
    }
    Ok(records)
}

fn take_length(bytes: &mut &[u8]) -> Result<usize> {
    let (length, rest) = bytes.split_first_chunk().context("a record is cut")?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*length) as usize)
}
