//! How long a row takes from the moment that its commit has returned until a consumer has its record, under a
//! steady load. Rows are written at fixed times, however long those before them took, so nothing that waits
//! is left out. What is measured has run for a while by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value as Json;

use crate::beginning::Beginning;
use crate::numbers::quantile;
use crate::peer::{Placed, Running};
use crate::site::Site;
use crate::usage::{cpu_seconds, resident_bytes_peak};
use harness::consumer::Isolation;
use harness::kafka::create_topic;
use harness::scene::Scene;

/// Each a transaction of one row.
pub const ROWS_PER_SECOND: usize = 500;
/// Writers that take turns, so that one slow commit does not hold the next row up.
const CONNECTIONS: usize = 4;
const ENTITIES: usize = 1_000;
/// For the start, which reads what earlier runs wrote, and after the last row.
const PATIENCE: Duration = Duration::from_secs(180);
/// Before the rows that are numbered.
const MARKER: &str = "marker";

/// How long rows are written, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// A JVM should have compiled by then what it runs often.
    pub warm_up: usize,
    pub measured: usize,
}

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// Of the peer's process, in percent of a core.
    pub cpu_percent: f64,
    pub resident_bytes_peak: u64,
    /// The longest that a row was written after its time.
    pub writers_late_ms: f64,
}

/// When each row was committed and seen, in nanoseconds since the first was due; 0 is not yet.
struct Marks {
    begun: Instant,
    first_measured: usize,
    committed: Vec<AtomicU64>,
    seen: Vec<AtomicU64>,
    repeated: AtomicU64,
    late: AtomicU64,
}

/// Reads the topic from its beginning on a thread of its own.
struct Watcher {
    marker_seen: Arc<AtomicBool>,
    marks: Arc<std::sync::OnceLock<Arc<Marks>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

/// One run of a peer, which begins where all do and goes through what earlier runs wrote to other topics.
pub fn measure(
    site: &Site,
    beginning: &Beginning,
    placed: Placed,
    duration: Span,
) -> Result<Latency> {
    let peer = placed.peer;
    let scene = &beginning.scene;
    let topic = scene.topic(&format!("latency-{:08x}", rand::random::<u32>()));
    create_topic(&scene.kafka, &topic, scene.partitions, &[]);
    let watcher = Watcher::start(scene, &topic, peer.isolation())?;
    let mut running = peer.prepare(beginning, site.bootstrap(placed.link)?).start();
    wait_until_live(scene, &topic, &watcher, &mut running)?;
    let marks = Arc::new(Marks::due_in(Duration::from_millis(500), duration));
    ensure!(watcher.marks.set(Arc::clone(&marks)).is_ok(), "rows are numbered once");
    let writers = start_writers(scene, &topic, &marks);
    thread::sleep(marks.due(marks.first_measured).saturating_duration_since(Instant::now()));
    let (cpu_before, from) = (cpu_seconds(running.pid())?, Instant::now());
    for writer in writers {
        writer.join().expect("a writer writes");
    }
    let cpu_percent =
        100.0 * (cpu_seconds(running.pid())? - cpu_before) / from.elapsed().as_secs_f64();
    marks.wait_until_seen().with_context(|| running.log_tail())?;
    let resident_bytes_peak = resident_bytes_peak(running.pid())?;
    watcher.end()?;
    running.stop()?;
    marks.latency(cpu_percent, resident_bytes_peak)
}

/// The peer has come to the end of the binlog when a row that was written last has come.
fn wait_until_live(
    scene: &Scene,
    topic: &str,
    watcher: &Watcher,
    running: &mut Running,
) -> Result<()> {
    insert(&mut scene.sql(), &format!("{topic}-{MARKER}"), MARKER, topic, 0);
    let deadline = Instant::now() + PATIENCE;
    while !watcher.marker_seen.load(Ordering::Acquire) {
        let is_late = Instant::now() > deadline;
        ensure!(!is_late && !running.has_ended(), "no row comes\n{}", running.log_tail());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Each writes every `CONNECTIONS`th row.
fn start_writers(scene: &Scene, topic: &str, marks: &Arc<Marks>) -> Vec<JoinHandle<()>> {
    (0..CONNECTIONS)
        .map(|first| {
            let mut sql = scene.sql();
            let (topic, marks) = (topic.to_owned(), Arc::clone(marks));
            thread::spawn(move || {
                for number in (first..marks.committed.len()).step_by(CONNECTIONS) {
                    let due = marks.due(number);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    marks.note_late(number, due);
                    insert(
                        &mut sql,
                        &format!("{topic}-{number}"),
                        &number.to_string(),
                        &topic,
                        number,
                    );
                    marks.note_committed(number);
                }
            })
        })
        .collect()
}

fn insert(sql: &mut harness::sql::Sql, id: &str, name: &str, topic: &str, number: usize) {
    let data = format!("{{\"row\":\"{name}\",\"note\":\"{}\"}}", "x".repeat(200));
    let entity = format!("order-{}", number % ENTITIES);
    sql.run_with(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id, published) \
         VALUES (?, 'com.example.orders.OrderPlaced', ?, ?, ?, 0)",
        (id, data, topic, entity),
    );
}

impl Watcher {
    fn start(scene: &Scene, topic: &str, isolation: Isolation) -> Result<Watcher> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", scene.kafka.bootstrap())
            .set("group.id", "latency")
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation.name())
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "10")
            .create()
            .context("create a consumer")?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..scene.partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let marker_seen = Arc::new(AtomicBool::new(false));
        let marks = Arc::new(std::sync::OnceLock::<Arc<Marks>>::new());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (marker_seen, marks, stop) =
                (Arc::clone(&marker_seen), Arc::clone(&marks), Arc::clone(&stop));
            let ids_begin = format!("{topic}-");
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // It returns as soon as a record is there. What fails, such as a connection, shows as
                    // rows that are not seen.
                    let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else {
                        continue;
                    };
                    let now = Instant::now();
                    let value: Json = serde_json::from_slice(record.payload().unwrap_or_default())?;
                    let id = value["id"].as_str().context("a value without an id")?;
                    match id.strip_prefix(&ids_begin).context("a row of another run")? {
                        MARKER => marker_seen.store(true, Ordering::Release),
                        number => {
                            let marks = marks.get().context("a row before the first")?;
                            marks.note_seen(number.parse()?, now);
                        }
                    }
                }
                Ok(())
            })
        };
        Ok(Watcher { marker_seen, marks, stop, thread })
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the consumer does not panic").context("the consumer")
    }
}

impl Marks {
    fn due_in(pause: Duration, duration: Span) -> Marks {
        let rows = ROWS_PER_SECOND * (duration.warm_up + duration.measured);
        let zeros = || (0..rows).map(|_| AtomicU64::new(0)).collect();
        Marks {
            begun: Instant::now() + pause,
            first_measured: ROWS_PER_SECOND * duration.warm_up,
            committed: zeros(),
            seen: zeros(),
            repeated: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }
    }

    fn due(&self, number: usize) -> Instant {
        self.begun + Duration::from_secs_f64(number as f64 / ROWS_PER_SECOND as f64)
    }

    fn note_late(&self, number: usize, due: Instant) {
        if number >= self.first_measured {
            self.late.fetch_max(due.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }

    fn note_committed(&self, number: usize) {
        self.committed[number].store(self.nanoseconds(Instant::now()), Ordering::Release);
    }

    fn note_seen(&self, number: usize, at: Instant) {
        let before = self.seen[number].swap(self.nanoseconds(at), Ordering::Release);
        self.repeated.fetch_add(u64::from(before != 0), Ordering::Relaxed);
    }

    /// Never 0, as no row is committed or seen before it is due.
    fn nanoseconds(&self, at: Instant) -> u64 {
        (at - self.begun).as_nanos() as u64
    }

    fn wait_until_seen(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_missing = |seen: &&AtomicU64| seen.load(Ordering::Acquire) == 0;
            let missing = self.seen.iter().filter(is_missing).count();
            if missing == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{missing} rows were not seen");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn latency(&self, cpu_percent: f64, resident_bytes_peak: u64) -> Result<Latency> {
        let repeated = self.repeated.load(Ordering::Relaxed);
        ensure!(repeated == 0, "{repeated} rows were seen more than once");
        // The binlog is sent before the commit returns, so a record may come first.
        let pairs = self.committed.iter().zip(&self.seen).skip(self.first_measured);
        let mut ascending_ms: Vec<f64> = pairs
            .map(|(committed, seen)| {
                let committed = committed.load(Ordering::Acquire) as f64;
                (seen.load(Ordering::Acquire) as f64 - committed) / 1e6
            })
            .collect();
        ascending_ms.sort_by(f64::total_cmp);
        Ok(Latency {
            p50_ms: quantile(&ascending_ms, 0.5),
            p99_ms: quantile(&ascending_ms, 0.99),
            max_ms: quantile(&ascending_ms, 1.0),
            cpu_percent,
            resident_bytes_peak,
            writers_late_ms: self.late.load(Ordering::Relaxed) as f64 / 1e6,
        })
    }
}

impl Latency {
    pub fn line(&self) -> String {
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms, CPU {:.0} % of a core, {:.0} MB, writers at most {:.1} ms late",
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.cpu_percent,
            self.resident_bytes_peak as f64 / 1e6,
            self.writers_late_ms,
        )
    }
}
