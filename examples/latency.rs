//! The latency: from the moment that a commit in MySQL has returned until a consumer has the record, for
//! each delivery mode. One process writes, reads and keeps the clock; MySQL, Kafka and the relay are
//! its own. Rows are written at fixed times, however long those before them took, so nothing that waits
//! is left out. A producer that writes to Kafka at the same pace, without MySQL and the relay, shows
//! what Kafka and the consumer take by themselves. Run by `make latency`.

#[path = "../integration-tests/harness/mod.rs"]
#[allow(dead_code, reason = "the measurement needs a part of what the tests need")]
mod harness;

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use harness::ledger::{Content, OutboxRow};
use harness::relay::{Relay, RelaySetup, said};
use harness::scene::{Delivery, EVENTUATE_LOCAL, Scene};
use harness::servers::{Kafka, MySql};
use harness::workload::insert_rows;

/// Writers that take turns, so that one slow commit does not hold the next row up.
const CONNECTIONS: usize = 4;
const PAYLOAD_BYTES: usize = 300;
const ENTITIES: usize = 1_000;
/// How long after the last row its record may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// With writers further behind their time than this, the machine did not hold the rate.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// What is told of each measurement, and of the rounds together.
const QUANTILES: [(&str, f64); 4] =
    [("p50 ms", 0.5), ("p99 ms", 0.99), ("p99.9 ms", 0.999), ("max ms", 1.0)];

#[derive(Parser)]
#[command(about = "Measures how long a committed row takes to a consumer")]
struct Arguments {
    /// Delivery modes of the relay, beside the producer alone
    #[arg(default_values = ["exactly-once", "idempotent"])]
    modes: Vec<Mode>,
    /// Rows a second, each a transaction
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long rows are measured in each round
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// How long rows are written before
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=600))]
    warm_up: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    ExactlyOnce,
    Idempotent,
    /// No relay: what Kafka and the consumer take.
    #[value(skip)]
    Producer,
}

/// Row `n` is due `n / rate` seconds after the beginning.
#[derive(Clone, Copy)]
struct Schedule {
    begun: Instant,
    rate: u32,
    warm_up_rows: usize,
    rows: usize,
}

/// When each row was committed and seen, in nanoseconds since the schedule began; 0 is not yet.
struct Marks {
    schedule: Schedule,
    committed: Vec<AtomicU64>,
    seen: Vec<AtomicU64>,
    /// The longest that a row was written after its time.
    behind: AtomicU64,
    repeated: AtomicU64,
    stop: AtomicBool,
}

/// One mode in one round.
struct Measurement {
    /// Ascending.
    latencies_ms: Vec<f64>,
    relay_cpu_seconds: Option<f64>,
    behind: Duration,
}

/// MySQL and Kafka, which all measurements share.
struct Servers {
    mysql: Arc<MySql>,
    kafka: Arc<Kafka>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    println!("starting MySQL and Kafka …");
    let mysql = thread::spawn(|| Arc::new(MySql::start("mysql-8.0", &[])));
    let kafka = Arc::new(Kafka::start(&[]));
    let servers = Servers { mysql: mysql.join().expect("MySQL starts"), kafka };
    println!(
        "{} rows/s for {} s after {} s of warm-up, each a transaction of one row of {PAYLOAD_BYTES} bytes",
        arguments.rate, arguments.seconds, arguments.warm_up
    );
    let measured = check(&servers, &arguments.modes).and_then(|()| measure(&servers, &arguments));
    match measured {
        Ok(rows) => {
            print!("\n{}", table(&rows));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Servers {
    fn scene(&self) -> Scene {
        Scene::on(Arc::clone(&self.mysql), Arc::clone(&self.kafka), "latency")
    }
}

/// Whether this version of the relay has the modes; better known now than in the middle.
fn check(servers: &Servers, modes: &[Mode]) -> Result<(), String> {
    for mode in modes {
        let answer = said(&relay_setup(&servers.scene(), *mode).answer(&["check"]));
        if answer.code != 0 {
            return Err(format!("{}: {}{}", mode.name(), answer.out, answer.error));
        }
    }
    Ok(())
}

/// All rounds, and in each the modes one after the other, so that what else the machine does meets all
/// of them.
fn measure(
    servers: &Servers,
    arguments: &Arguments,
) -> Result<Vec<(Mode, Vec<Measurement>)>, String> {
    let modes = arguments.modes.iter().copied().chain([Mode::Producer]);
    let mut rows: Vec<(Mode, Vec<Measurement>)> = modes.map(|mode| (mode, Vec::new())).collect();
    for round in 1..=arguments.rounds {
        for (mode, measurements) in &mut rows {
            let measurement = measure_once(&servers.scene(), *mode, arguments)
                .map_err(|error| format!("round {round}, {}: {error}", mode.name()))?;
            println!("round {round}  {:<14}  {}", mode.name(), measurement.line());
            measurements.push(measurement);
        }
    }
    Ok(rows)
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::ExactlyOnce => "exactly-once",
            Mode::Idempotent => "idempotent",
            Mode::Producer => "producer alone",
        }
    }

    /// What its consumers read with.
    fn isolation_level(self) -> &'static str {
        match self {
            Mode::ExactlyOnce => "read_committed",
            Mode::Idempotent | Mode::Producer => "read_uncommitted",
        }
    }
}

fn measure_once(scene: &Scene, mode: Mode, arguments: &Arguments) -> Result<Measurement, String> {
    let topic = scene.create_topic("event");
    let mut relay = (mode != Mode::Producer).then(|| start_relay(scene, mode));
    let marks = Arc::new(Marks::new(Schedule::after_a_moment(arguments)));
    let consumer = start_consumer(scene, &topic, mode, &marks);
    let writers = match mode {
        Mode::ExactlyOnce | Mode::Idempotent => start_writers(scene, &topic, &marks),
        Mode::Producer => vec![start_producer(scene, &topic, &marks)],
    };
    sleep_until(marks.schedule.due(marks.schedule.warm_up_rows));
    let cpu_before = relay.as_ref().map(Relay::cpu_time);
    for writer in writers {
        writer.join().expect("a writer writes");
    }
    let complete = marks.wait_until_all_seen();
    let cpu_after = relay.as_ref().map(Relay::cpu_time);
    marks.stop.store(true, Ordering::Relaxed);
    consumer.join().expect("the consumer reads");
    let log = relay.as_ref().map(Relay::log_tail).unwrap_or_default();
    complete.map_err(|error| format!("{error}\n{log}"))?;
    if let Some(code) = relay.as_mut().map(Relay::stop).filter(|code| *code != 0) {
        return Err(format!("the relay's exit code is {code}\n{log}"));
    }
    let cpu = cpu_before.zip(cpu_after).map(|(before, after)| (after - before).as_secs_f64());
    marks.measurement(cpu)
}

fn relay_setup(scene: &Scene, mode: Mode) -> RelaySetup {
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("events", EVENTUATE_LOCAL)];
    setup.delivery = Delivery::named(mode.name());
    setup
}

fn start_relay(scene: &Scene, mode: Mode) -> Relay {
    let mut relay = relay_setup(scene, mode).start();
    relay.wait_for_log("relaying");
    relay
}

/// Notes each record as it comes; nothing else is done on its thread.
fn start_consumer(scene: &Scene, topic: &str, mode: Mode, marks: &Arc<Marks>) -> JoinHandle<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", scene.kafka.bootstrap())
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("isolation.level", mode.isolation_level())
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("create a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..scene.partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("the beginning is a place");
    }
    consumer.assign(&assignment).expect("assign partitions");
    let marks = Arc::clone(marks);
    thread::spawn(move || {
        while !marks.stop.load(Ordering::Relaxed) {
            // It returns as soon as a record is there. What fails, such as a connection, shows as rows
            // that are not seen.
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                let now = Instant::now();
                let value = record.payload().unwrap_or_default();
                marks.note_seen(number_in(value).expect("the value begins with the row's id"), now);
            }
        }
    })
}

/// Each writes every `CONNECTIONS`th row.
fn start_writers(scene: &Scene, topic: &str, marks: &Arc<Marks>) -> Vec<JoinHandle<()>> {
    (0..CONNECTIONS)
        .map(|first| {
            let mut sql = scene.sql();
            let (topic, marks) = (topic.to_owned(), Arc::clone(marks));
            thread::spawn(move || {
                for number in (first..marks.schedule.rows).step_by(CONNECTIONS) {
                    let rows = [event(number, &topic)];
                    marks.wait_until_due(number);
                    insert_rows(&mut sql, "events", &rows);
                    marks.note_committed(number, Instant::now());
                }
            })
        })
        .collect()
}

/// Writes the same values straight to Kafka: there, sending takes the place of the commit.
fn start_producer(scene: &Scene, topic: &str, marks: &Arc<Marks>) -> JoinHandle<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", scene.kafka.bootstrap())
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create()
        .expect("create a producer");
    let (topic, marks) = (topic.to_owned(), Arc::clone(marks));
    thread::spawn(move || {
        for number in 0..marks.schedule.rows {
            let id = id_of(number);
            let value = format!(r#"{{"id":"{id}","eventData":"{}"}}"#, payload());
            let key = entity_of(number);
            marks.wait_until_due(number);
            let sent_at = Instant::now();
            producer
                .send(BaseRecord::to(&topic).key(&key).payload(&value))
                .unwrap_or_else(|(error, _)| panic!("write to {topic}: {error}"));
            marks.note_committed(number, sent_at);
            producer.poll(Duration::ZERO);
        }
        producer.flush(PATIENCE).expect("the broker acknowledges the records");
    })
}

fn event(number: usize, topic: &str) -> OutboxRow {
    OutboxRow {
        id: id_of(number),
        table: "events".to_owned(),
        content: Content::Event {
            entity_type: topic.to_owned(),
            entity_id: entity_of(number),
            event_type: "shop.Happened".to_owned(),
            event_data: payload(),
            metadata: None,
        },
        published: Some(0),
        counter: 0,
    }
}

fn payload() -> String {
    "x".repeat(PAYLOAD_BYTES)
}

fn entity_of(number: usize) -> String {
    format!("entity-{}", number % ENTITIES)
}

fn id_of(number: usize) -> String {
    format!("{number:016x}")
}

/// The number in the id that every value begins with.
fn number_in(value: &[u8]) -> Option<usize> {
    let id = value.strip_prefix(br#"{"id":""#)?.get(..16)?;
    usize::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

impl Schedule {
    /// The moment is for the threads to start.
    fn after_a_moment(arguments: &Arguments) -> Schedule {
        let rows_in = |seconds: u32| arguments.rate as usize * seconds as usize;
        Schedule {
            begun: Instant::now() + Duration::from_millis(500),
            rate: arguments.rate,
            warm_up_rows: rows_in(arguments.warm_up),
            rows: rows_in(arguments.warm_up) + rows_in(arguments.seconds),
        }
    }

    fn due(&self, number: usize) -> Instant {
        self.begun + Duration::from_secs_f64(number as f64 / f64::from(self.rate))
    }
}

impl Marks {
    fn new(schedule: Schedule) -> Marks {
        let zeros = || (0..schedule.rows).map(|_| AtomicU64::new(0)).collect();
        Marks {
            schedule,
            committed: zeros(),
            seen: zeros(),
            behind: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Waits for the row's time, and notes how late it is by then.
    fn wait_until_due(&self, number: usize) {
        let due = self.schedule.due(number);
        sleep_until(due);
        let behind = due.elapsed().as_nanos() as u64;
        if number >= self.schedule.warm_up_rows {
            self.behind.fetch_max(behind, Ordering::Relaxed);
        }
    }

    fn note_committed(&self, number: usize, at: Instant) {
        self.committed[number].store(self.since_begun(at), Ordering::Release);
    }

    fn note_seen(&self, number: usize, at: Instant) {
        let before = self.seen[number].swap(self.since_begun(at), Ordering::Release);
        if before != 0 {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Never 0, as no row is committed or seen at the very beginning.
    fn since_begun(&self, at: Instant) -> u64 {
        (at - self.schedule.begun).as_nanos() as u64
    }

    fn wait_until_all_seen(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_missing = |seen: &&AtomicU64| seen.load(Ordering::Acquire) == 0;
            let missing = self.seen.iter().filter(is_missing).count();
            if missing == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let rows = self.schedule.rows;
                return Err(format!("{missing} of {rows} rows were not seen within {PATIENCE:?}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn measurement(&self, relay_cpu_seconds: Option<f64>) -> Result<Measurement, String> {
        let behind = Duration::from_nanos(self.behind.load(Ordering::Relaxed));
        let repeated = self.repeated.load(Ordering::Relaxed);
        if repeated > 0 {
            return Err(format!("{repeated} rows were seen more than once"));
        }
        let measured = self.committed.iter().zip(&self.seen).skip(self.schedule.warm_up_rows);
        let mut latencies_ms: Vec<f64> = measured
            .map(|(committed, seen)| {
                let committed = committed.load(Ordering::Acquire) as f64;
                // The binlog is sent before the commit returns, so a record may come first.
                (seen.load(Ordering::Acquire) as f64 - committed) / 1e6
            })
            .collect();
        latencies_ms.sort_by(f64::total_cmp);
        Ok(Measurement { latencies_ms, relay_cpu_seconds, behind })
    }
}

impl Measurement {
    /// The latency that this part of the rows did not exceed.
    fn quantile(&self, part: f64) -> f64 {
        let rank = (part * self.latencies_ms.len() as f64).ceil() as usize;
        self.latencies_ms[rank.max(1) - 1]
    }

    fn line(&self) -> String {
        let mut line = String::new();
        for (name, part) in QUANTILES {
            write!(line, "{name} {:.2}, ", self.quantile(part)).expect("writing to a string");
        }
        if let Some(cpu) = self.relay_cpu_seconds {
            write!(line, "relay CPU {cpu:.2} s, ").expect("writing to a string");
        }
        let behind = self.behind.as_secs_f64() * 1e3;
        let warning = match self.behind > BEHIND_MAX {
            true => " (THE RATE WAS NOT HELD)",
            false => "",
        };
        // Of all that the machine does, on the average of a minute.
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        format!("{line}writers at most {behind:.1} ms late{warning}, load {load}")
    }
}

/// One line a mode; in each cell the median of the rounds, and the least and the greatest.
fn table(rows: &[(Mode, Vec<Measurement>)]) -> String {
    let mut table = format!("{:<16}", "median (spread)");
    for (name, _) in QUANTILES {
        write!(table, "{name:>26}").expect("writing to a string");
    }
    writeln!(table, "{:>26}", "relay CPU s").expect("writing to a string");
    for (mode, measurements) in rows {
        write!(table, "{:<16}", mode.name()).expect("writing to a string");
        for (_, part) in QUANTILES {
            let values = measurements.iter().map(|one| one.quantile(part)).collect();
            write!(table, "{:>26}", spread(values)).expect("writing to a string");
        }
        let values = measurements.iter().filter_map(|one| one.relay_cpu_seconds).collect();
        writeln!(table, "{:>26}", spread(values)).expect("writing to a string");
    }
    table
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let Some((least, greatest)) = values.first().zip(values.last()) else {
        return "–".to_owned();
    };
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    format!("{median:.2} ({least:.2}–{greatest:.2})")
}
