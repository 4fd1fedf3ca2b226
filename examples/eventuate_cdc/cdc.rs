//! The real Eventuate CDC as a process, configured by the environment as its service is.

use std::thread;
use std::time::{Duration, Instant};

use harness::eventuate::java;
use harness::process::Process;
use harness::relay::SOON;
use harness::scene::Scene;
use harness::watchdog;

/// A running Eventuate CDC with one reader, which publishes both tables of a scene. Killed with -9 when
/// dropped.
pub struct EventuateCdc {
    process: Process,
}

impl EventuateCdc {
    /// The scene's name is that of the reader, and so the key of its place in the offset topic.
    ///
    /// Spring makes a reader's name of a part of a variable's: it has only lower-case letters then.
    pub fn start(scene: &Scene) -> EventuateCdc {
        let reader = &scene.name;
        assert!(
            reader.bytes().all(|byte| byte.is_ascii_lowercase()),
            "{reader} is no reader's name"
        );
        let login = scene.mysql.login();
        let url = format!("jdbc:mysql://{}:{}/{reader}?useSSL=false", login.host, login.port);
        let mut command = java("cdc");
        command.arg("EventuateCdc").env("SERVER_PORT", "0");
        command.env("EVENTUATELOCAL_KAFKA_BOOTSTRAP_SERVERS", scene.kafka.bootstrap());
        let of_reader = [
            ("TYPE", "mysql-binlog"),
            ("DATASOURCEURL", &url),
            ("DATASOURCEUSERNAME", &login.user),
            ("DATASOURCEPASSWORD", &login.password),
            ("DATASOURCEDRIVERCLASSNAME", "com.mysql.cj.jdbc.Driver"),
            ("CDCDBUSERNAME", &login.user),
            ("CDCDBPASSWORD", &login.password),
            ("MYSQLBINLOGCLIENTUNIQUEID", "1234567890"),
            ("LEADERSHIPLOCKPATH", "/eventuatelocal/cdc/leader"),
            ("OFFSETSTORAGETOPICNAME", &scene.checkpoint_topic()),
            ("READOLDDEBEZIUMDBOFFSETSTORAGETOPIC", "false"),
            ("OUTBOXID", "1"),
            ("MONITORINGSCHEMA", reader),
        ];
        for (name, value) in of_reader {
            let reader = reader.to_ascii_uppercase();
            command.env(format!("EVENTUATE_CDC_READER_{reader}_{name}"), value);
        }
        for pipeline in ["local", "tram"] {
            let prefix = format!("EVENTUATE_CDC_PIPELINE_{}", pipeline.to_ascii_uppercase());
            command.env(format!("{prefix}_TYPE"), format!("eventuate-{pipeline}"));
            command.env(format!("{prefix}_READER"), reader);
            command.env(format!("{prefix}_EVENTUATEDATABASESCHEMA"), reader);
        }
        let log = watchdog::fresh_directory("cdc").join("cdc.log");
        EventuateCdc { process: Process::start("Eventuate CDC", &mut command, log) }
    }

    /// As its service manager would.
    pub fn stop(&mut self) {
        self.process.signal("TERM");
        self.process.wait_for_exit(SOON);
    }

    /// Waits until the log has these words.
    pub fn wait_for_log(&mut self, words: &str) {
        let deadline = Instant::now() + SOON;
        while !self.process.log().contains(words) {
            assert!(Instant::now() < deadline, "{words:?} does not come\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// The table in which Eventuate CDC measures how far behind it is.
pub fn monitoring_table(name: &str) -> String {
    format!("CREATE TABLE {name} (reader_id VARCHAR(255) PRIMARY KEY, last_time BIGINT)")
}
