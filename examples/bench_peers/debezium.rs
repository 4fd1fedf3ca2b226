//! Debezium as a process: a Kafka Connect worker with one connector, standalone and at least once, or distributed
//! and exactly once. Its settings are the files beside this one, and what is added here: names, addresses and the
//! place of its state. It is run once before a backlog is written, to store its place; each timed run begins with
//! a copy of that state, as it would after a restart.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::shape::Shape;
use harness::consumer::{Inbox, Isolation, Record};
use harness::kafka::{create_compacted_topic, create_topic, write_record};
use harness::process::Process;
use harness::scene::Scene;
use harness::servers::free_port;
use harness::watchdog::fresh_directory;

const WORKER_SETTINGS: &str = include_str!("debezium/worker.properties");
const EXACTLY_ONCE_WORKER_SETTINGS: &str = include_str!("debezium/exactly-once-worker.properties");
const CONNECTOR_SETTINGS: &str = include_str!("debezium/connector.properties");
const EXACTLY_ONCE_CONNECTOR_SETTINGS: &str =
    include_str!("debezium/exactly-once-connector.properties");
/// The throughput collector, which is the better one for a drain; memory enough for the queue and the requests.
pub const JVM_OPTIONS: [&str; 2] = ["-Xmx1g", "-XX:+UseParallelGC"];

/// The connector, and the first part of its transactional id.
const NAME: &str = "outbox";
/// With the rights that Debezium's documentation asks for.
const USER: &str = "debezium";
const PASSWORD: &str = "debezium";
/// A JVM on a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
const STOPS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guarantee {
    AtLeastOnce,
    ExactlyOnce,
}

/// What its settings are best for. The relay has one setting for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    Throughput,
    Latency,
}

/// A running worker; killed with -9 when dropped.
pub struct Debezium {
    process: Process,
    /// `host:port` of its REST interface.
    rest: String,
}

/// What a Debezium left when it stopped.
pub struct Stopped {
    guarantee: Guarantee,
    tuning: Tuning,
    /// The connector's settings, its schema history, and standalone the file of its place.
    directory: PathBuf,
    /// Distributed: what is in the topics of the worker, in their order.
    topics: [Vec<Record>; 3],
}

/// A worker with its state in place.
pub struct Ready {
    worker: PathBuf,
    /// Standalone only; a distributed worker has the connector's settings in a topic.
    connector: Option<PathBuf>,
    log: PathBuf,
    rest: String,
}

/// Fetches Debezium if it is not there.
pub fn ensure_fetched() -> Result<()> {
    let script = source_folder().join("fetch");
    let status = Command::new(script).status().context("run examples/bench_peers/fetch")?;
    ensure!(status.success(), "Debezium cannot be fetched");
    Ok(())
}

/// Runs it from the creation of the scene's tables until it has relayed a row, so that it has a place to resume at.
pub fn run_once(
    scene: &Scene,
    shape: &dyn Shape,
    guarantee: Guarantee,
    tuning: Tuning,
) -> Result<Stopped> {
    create_user(scene);
    let directory = fresh_directory("debezium-state");
    let connector = connector_settings(scene, shape, guarantee, tuning, &directory);
    fs::write(directory.join("connector.properties"), &connector)?;
    let nothing = Stopped { guarantee, tuning, directory, topics: Default::default() };
    let worker_name = nothing.worker_name();
    let ready = nothing.restore_as(scene.kafka.bootstrap(), &worker_name);
    let mut debezium = ready.start();
    if guarantee == Guarantee::ExactlyOnce {
        debezium.create_connector(&connector)?;
    }
    relay_a_row(scene, shape, guarantee, &mut debezium)?;
    debezium.stop();
    if let Some(offsets) = ready.offsets_file() {
        fs::copy(offsets, nothing.directory.join("offsets"))?;
    }
    let topics = match guarantee {
        Guarantee::AtLeastOnce => Default::default(),
        Guarantee::ExactlyOnce => worker_topics(&worker_name).map(|topic| {
            let mut records = Inbox::read_all(&scene.kafka, &topic, Isolation::ReadCommitted);
            records.sort_by_key(|record| record.offset);
            records
        }),
    };
    Ok(Stopped { topics, ..nothing })
}

/// Writes rows to a topic of their own until the first one has come.
fn relay_a_row(
    scene: &Scene,
    shape: &dyn Shape,
    guarantee: Guarantee,
    debezium: &mut Debezium,
) -> Result<()> {
    let label = guarantee.label();
    let topic = shape.first_topic(scene, label);
    create_topic(&scene.kafka, &topic, scene.partitions, &[]);
    let mut inbox = Inbox::open(&scene.kafka, &topic, Isolation::ReadCommitted);
    let mut sql = scene.sql();
    let deadline = Instant::now() + ANSWERS_WITHIN;
    for number in 0.. {
        sql.run(shape.first_row(scene, label, number));
        if inbox.wait_for(1, Duration::from_secs(1)).is_ok() {
            break;
        }
        let is_late = Instant::now() > deadline;
        ensure!(!is_late && !debezium.has_ended(), "no row comes\n{}", debezium.log_tail());
    }
    Ok(())
}

impl Guarantee {
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::AtLeastOnce => "at least once",
            Guarantee::ExactlyOnce => "exactly once",
        }
    }

    /// Of the rows by which it is known to relay; the name of a table, too.
    pub fn label(self) -> &'static str {
        match self {
            Guarantee::AtLeastOnce => "before_at_least_once",
            Guarantee::ExactlyOnce => "before_exactly_once",
        }
    }
}

impl Stopped {
    /// Copies the state for one run, whose worker finds the brokers by `bootstrap`.
    pub fn restore(&self, scene: &Scene, bootstrap: &str) -> Ready {
        let worker_name = self.worker_name();
        if self.guarantee == Guarantee::ExactlyOnce {
            for (topic, records) in worker_topics(&worker_name).iter().zip(&self.topics) {
                create_compacted_topic(&scene.kafka, topic, 1);
                for record in records {
                    let key = record.key.is_some().then(|| record.key_text());
                    let value = record.value.as_deref();
                    write_record(&scene.kafka, topic, Some(0), key.as_deref(), value);
                }
            }
        }
        self.restore_as(bootstrap, &worker_name)
    }

    /// Writes the worker's settings. Topics of that name may be there or not; the worker makes them.
    fn restore_as(&self, bootstrap: &str, worker_name: &str) -> Ready {
        let directory = fresh_directory("debezium");
        let rest = format!("127.0.0.1:{}", free_port());
        let tuned = match self.tuning {
            Tuning::Throughput => include_str!("debezium/throughput-worker.properties"),
            Tuning::Latency => include_str!("debezium/latency-worker.properties"),
        };
        let mut worker = format!(
            "{WORKER_SETTINGS}{tuned}\nbootstrap.servers={bootstrap}\nlisteners=http://{rest}\n"
        );
        match self.guarantee {
            Guarantee::AtLeastOnce => {
                let offsets = directory.join("offsets");
                if self.directory.join("offsets").exists() {
                    fs::copy(self.directory.join("offsets"), &offsets).expect("copy the place");
                }
                writeln!(worker, "offset.storage.file.filename={}", offsets.display())
                    .expect("writing to a string");
            }
            Guarantee::ExactlyOnce => {
                worker += EXACTLY_ONCE_WORKER_SETTINGS;
                let [configs, offsets, status] = worker_topics(worker_name);
                write!(
                    worker,
                    "\ngroup.id={worker_name}\nconfig.storage.topic={configs}\n\
                     offset.storage.topic={offsets}\nstatus.storage.topic={status}\n"
                )
                .expect("writing to a string");
            }
        }
        let path = directory.join("worker.properties");
        fs::write(&path, worker).expect("write the worker's settings");
        let connector = (self.guarantee == Guarantee::AtLeastOnce)
            .then(|| self.directory.join("connector.properties"));
        Ready { worker: path, connector, log: directory.join("debezium.log"), rest }
    }

    fn worker_name(&self) -> String {
        format!("connect-{:08x}", rand::random::<u32>())
    }
}

impl Ready {
    pub fn start(&self) -> Debezium {
        let class = match self.connector {
            Some(_) => "ConnectStandalone",
            None => "ConnectDistributed",
        };
        let log_settings = source_folder().join("debezium/log4j2.properties");
        let mut command = Command::new("java");
        command
            .args(JVM_OPTIONS)
            .arg(format!("-Dlog4j2.configurationFile=file:{}", log_settings.display()))
            .arg("-cp")
            .arg(format!("{}/lib/*", tree().display()))
            .arg(format!("org.apache.kafka.connect.cli.{class}"))
            .arg(&self.worker)
            .args(&self.connector);
        let process = Process::start("Debezium", &mut command, self.log.clone());
        Debezium { process, rest: self.rest.clone() }
    }

    fn offsets_file(&self) -> Option<PathBuf> {
        self.connector.as_ref().map(|_| self.worker.with_file_name("offsets"))
    }
}

impl Debezium {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// As its service manager would. A JVM that a signal ends says so by its exit code, whatever else it says.
    pub fn stop(&mut self) {
        self.process.signal("TERM");
        self.process.wait_for_exit(STOPS_WITHIN);
    }

    /// Asks a distributed worker for the connector, again until it is ready to make one.
    fn create_connector(&mut self, settings: &str) -> Result<()> {
        let body = serde_json::to_vec(&as_map(settings))?;
        let url = format!("http://{}/connectors/{NAME}/config", self.rest);
        let deadline = Instant::now() + ANSWERS_WITHIN;
        loop {
            let put = ureq::put(&url).header("content-type", "application/json").send(&body[..]);
            let Err(error) = put else { return Ok(()) };
            let is_late = Instant::now() > deadline;
            ensure!(
                !is_late && !self.has_ended(),
                anyhow!(error).context(format!("make the connector\n{}", self.log_tail()))
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The connector's settings, with what is of this scene.
fn connector_settings(
    scene: &Scene,
    shape: &dyn Shape,
    guarantee: Guarantee,
    tuning: Tuning,
    directory: &Path,
) -> String {
    let login = scene.mysql.login();
    let mut settings = CONNECTOR_SETTINGS.to_owned();
    settings += &shape.debezium_settings(scene);
    settings += match tuning {
        Tuning::Throughput => include_str!("debezium/throughput-connector.properties"),
        Tuning::Latency => include_str!("debezium/latency-connector.properties"),
    };
    if guarantee == Guarantee::ExactlyOnce {
        settings += EXACTLY_ONCE_CONNECTOR_SETTINGS;
    }
    let server_id = rand::random_range(100_000..1_000_000);
    let of_scene = [
        ("name", NAME.to_owned()),
        ("topic.prefix", scene.name.clone()),
        ("database.hostname", login.host.clone()),
        ("database.port", login.port.to_string()),
        ("database.user", USER.to_owned()),
        ("database.password", PASSWORD.to_owned()),
        ("database.server.id", server_id.to_string()),
        ("database.include.list", scene.name.clone()),
        (
            "schema.history.internal.file.filename",
            directory.join("schema-history").display().to_string(),
        ),
    ];
    for (key, value) in of_scene {
        writeln!(settings, "{key}={value}").expect("writing to a string");
    }
    settings
}

/// Settings without their comments.
pub fn as_map(settings: &str) -> BTreeMap<&str, &str> {
    let lines = settings.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).collect()
}

/// The topics of a distributed worker: settings, places, and what it says of its state.
fn worker_topics(worker_name: &str) -> [String; 3] {
    ["configs", "offsets", "status"].map(|what| format!("{worker_name}-{what}"))
}

fn create_user(scene: &Scene) {
    let mut sql = scene.sql();
    sql.run(format!(
        "CREATE USER IF NOT EXISTS {USER} IDENTIFIED WITH mysql_native_password BY '{PASSWORD}'"
    ));
    sql.run(format!(
        "GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {USER}"
    ));
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bench_peers")
}

fn tree() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("BINLOG_RELAY_SERVERS_DIR")
        .map_or_else(|| repository.join(".servers"), PathBuf::from)
        .join("peers/debezium")
}
