//! A distributed Kafka Connect worker with Debezium's connectors in it, which keeps their offsets in a topic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::eventuate::servers_directory;
use harness::process::Process;
use harness::repository;
use harness::scene::Scene;
use harness::servers::free_port;
use harness::watchdog::fresh_directory;
use serde_json::{Map, Value as Json};

/// With the rights that Debezium's documentation asks for.
const USER: &str = "debezium";
const PASSWORD: &str = "debezium";
/// A JVM on a busy machine.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// A running worker; killed with -9 when dropped.
pub struct Worker {
    process: Process,
    /// `host:port` of its REST interface.
    rest: String,
    directory: PathBuf,
}

/// The topic of the worker's offsets.
pub fn offset_topic(scene: &Scene) -> String {
    format!("{}-connect-offsets", scene.name)
}

/// Fetches Debezium if it is not there.
pub fn ensure_fetched() {
    let script = repository().join("examples/bench_peers/fetch");
    let status = Command::new(script).status().expect("run examples/bench_peers/fetch");
    assert!(status.success(), "Debezium cannot be fetched");
}

pub fn create_user(scene: &Scene) {
    let mut sql = scene.sql();
    sql.run(format!(
        "CREATE USER IF NOT EXISTS {USER} IDENTIFIED WITH mysql_native_password BY '{PASSWORD}'"
    ));
    sql.run(format!(
        "GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {USER}"
    ));
}

impl Worker {
    /// A worker of the scene goes on where the one before stopped, as its topics have the scene's name.
    pub fn start(scene: &Scene) -> Worker {
        let directory = fresh_directory("connect");
        let rest = format!("127.0.0.1:{}", free_port());
        let name = &scene.name;
        let settings = format!(
            "{}\nbootstrap.servers={}\nlisteners=http://{rest}\ngroup.id={name}-connect\n\
             config.storage.topic={name}-connect-configs\noffset.storage.topic={}\n\
             status.storage.topic={name}-connect-status\n",
            include_str!("worker.properties"),
            scene.kafka.bootstrap(),
            offset_topic(scene),
        );
        let path = directory.join("worker.properties");
        fs::write(&path, settings).expect("write the worker's settings");
        let log_settings = repository().join("examples/bench_peers/debezium/log4j2.properties");
        let mut command = Command::new("java");
        command
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g"])
            .arg(format!("-Dlog4j2.configurationFile=file:{}", log_settings.display()))
            .arg("-cp")
            .arg(format!("{}/peers/debezium/lib/*", servers_directory().display()))
            .arg("org.apache.kafka.connect.cli.ConnectDistributed")
            .arg(&path);
        let process = Process::start("Debezium", &mut command, directory.join("debezium.log"));
        Worker { process, rest, directory }
    }

    /// Asks for a connector, again until the worker is ready to make one. What depends on the machine is added to its
    /// settings.
    pub fn create_connector(&mut self, scene: &Scene, name: &str, settings: &Map<String, Json>) {
        let login = scene.mysql.login();
        let mut settings = settings.clone();
        let history = scene_directory(&self.directory).join(format!("{}-{name}", scene.name));
        for (key, value) in [
            ("database.hostname", login.host.clone()),
            ("database.port", login.port.to_string()),
            ("database.user", USER.to_owned()),
            ("database.password", PASSWORD.to_owned()),
            ("database.server.id", rand::random_range(100_000..1_000_000).to_string()),
            ("database.ssl.mode", "disabled".to_owned()),
            ("topic.prefix", format!("{}-{name}", scene.name)),
            (
                "schema.history.internal",
                "io.debezium.storage.file.history.FileSchemaHistory".into(),
            ),
            ("schema.history.internal.file.filename", history.display().to_string()),
            ("schema.history.internal.store.only.captured.tables.ddl", "true".to_owned()),
            ("snapshot.locking.mode", "none".to_owned()),
            ("include.schema.changes", "false".to_owned()),
        ] {
            settings.insert(key.to_owned(), Json::String(value));
        }
        let body = serde_json::to_vec(&settings).expect("settings are JSON");
        let url = format!("http://{}/connectors/{name}/config", self.rest);
        let deadline = Instant::now() + ANSWERS_WITHIN;
        loop {
            let put = ureq::put(&url).header("content-type", "application/json").send(&body[..]);
            let Err(error) = put else { return };
            let is_late = Instant::now() > deadline;
            assert!(!is_late && !self.process.has_ended(), "{name}: {error}\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(200));
        }
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// As its service manager would.
    pub fn stop(&mut self) {
        self.process.signal("TERM");
        self.process.wait_for_exit(STOPS_WITHIN);
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// The schema history outlives a worker.
fn scene_directory(worker: &Path) -> &Path {
    worker.parent().expect("it lies in the run's directory")
}
