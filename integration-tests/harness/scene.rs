//! The stage of one test: servers, a database of its own, topics and a relay name that no other test
//! has, and the ways to look at them. Tests on the shared servers run beside each other.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::binlog::{self, WrittenRow};
use super::consumer::{Inbox, Isolation, Record};
use super::kafka::{create_topic, write_record};
use super::ledger::{Expected, Ledger};
use super::link::{Distant, Link};
use super::oracle::{self, Verdict};
use super::proxy::Proxy;
use super::relay::{Outbox, Relay, RelaySequence, RelaySetup, SOON};
use super::servers::{Kafka, MySql, RELAY_PASSWORD, RELAY_USER, shared_kafka, shared_mysql};
use super::sql::{Coordinates, Sql};

pub const EVENTUATE_LOCAL: &str = "eventuate-local";
pub const EVENTUATE_TRAM: &str = "eventuate-tram";

pub struct Scene {
    pub mysql: Arc<MySql>,
    pub kafka: Arc<Kafka>,
    /// The database's name; also the prefix of its topics and the relay's name.
    pub name: String,
    /// Where the binlog ended before the tables were made.
    pub start: Coordinates,
    pub partitions: i32,
    pub delivery: Delivery,
}

/// How a scene's relays publish, and hence how its topics are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    ExactlyOnce,
    Idempotent,
}

impl Delivery {
    /// `exactly-once`, unless the environment asks for all tests in the other one.
    fn of_environment() -> Delivery {
        match env::var("BINLOG_RELAY_TEST_DELIVERY") {
            Err(_) => Delivery::ExactlyOnce,
            Ok(name) => Delivery::named(&name),
        }
    }

    /// As the configuration names it.
    pub fn named(name: &str) -> Delivery {
        match name {
            "exactly-once" => Delivery::ExactlyOnce,
            "idempotent" => Delivery::Idempotent,
            other => panic!("there is no delivery {other}"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Delivery::ExactlyOnce => "exactly-once",
            Delivery::Idempotent => "idempotent",
        }
    }

    /// Consumers of plain records read uncommitted, as stock clients do.
    pub fn isolation(self) -> Isolation {
        match self {
            Delivery::ExactlyOnce => Isolation::ReadCommitted,
            Delivery::Idempotent => Isolation::ReadUncommitted,
        }
    }
}

impl Scene {
    pub fn on_shared_servers(label: &str) -> Scene {
        Scene::on(shared_mysql(), shared_kafka(), label)
    }

    /// The same on other servers. The name has a random part, so that runs on the servers of the
    /// environment do not meet.
    pub fn on(mysql: Arc<MySql>, kafka: Arc<Kafka>, label: &str) -> Scene {
        static SCENES: AtomicU64 = AtomicU64::new(0);
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{label}_{:06x}{number:02}", rand::random::<u32>() & 0xff_ffff);
        Scene::named(mysql, kafka, name)
    }

    /// A fresh database of this name with the tables `events` and `message`.
    pub fn named(mysql: Arc<MySql>, kafka: Arc<Kafka>, name: String) -> Scene {
        let mut sql = mysql.connect();
        sql.run(format!("GRANT SELECT ON {name}.* TO '{RELAY_USER}'@'%'"));
        let start = sql.end_of_binlog();
        sql.run(format!("CREATE DATABASE {name}"));
        sql.run(events_table(&format!("{name}.events"), "utf8mb4"));
        sql.run(message_table(&format!("{name}.message"), "utf8mb4"));
        let delivery = Delivery::of_environment();
        Scene { mysql, kafka, name, start, partitions: 12, delivery }
    }

    /// The same with relays of this delivery.
    pub fn with(self, delivery: Delivery) -> Scene {
        Scene { delivery, ..self }
    }

    /// A session in this scene's database.
    pub fn sql(&self) -> Sql {
        let mut sql = self.mysql.connect();
        sql.run(format!("USE {}", self.name));
        sql
    }

    pub fn topic(&self, label: &str) -> String {
        format!("{}.{label}", self.name)
    }

    pub fn checkpoint_topic(&self) -> String {
        format!("checkpoints-{}", self.name)
    }

    /// A relay of both tables that starts where this scene's binlog begins.
    pub fn relay_setup(&self) -> RelaySetup {
        let login = self.mysql.login();
        RelaySetup {
            name: self.name.clone(),
            shutdown_timeout: None,
            mysql_address: format!("{}:{}", login.host, login.port),
            mysql_user: RELAY_USER.to_owned(),
            mysql_password: RELAY_PASSWORD.to_owned(),
            start_from: Some(self.start.to_string()),
            mysql_lines: Vec::new(),
            kafka_bootstrap: self.kafka.bootstrap().to_owned(),
            checkpoint_topic: self.checkpoint_topic(),
            transaction_timeout: None,
            delivery: self.delivery,
            kafka_lines: vec![
                "create_topics = true".to_owned(),
                format!("topic_partitions = {}", self.partitions),
            ],
            batch_lines: Vec::new(),
            outboxes: vec![
                self.outbox("events", EVENTUATE_LOCAL),
                self.outbox("message", EVENTUATE_TRAM),
            ],
            http: None,
            http_lines: Vec::new(),
            environment: Vec::new(),
            program: None,
        }
    }

    /// The same relay, with HTTP on a port that the system chooses.
    pub fn setup_with_http(&self) -> RelaySetup {
        RelaySetup { http: Some("127.0.0.1:0".to_owned()), ..self.relay_setup() }
    }

    /// A proxy to MySQL, and a relay that connects through it.
    pub fn behind_mysql_proxy(&self) -> (Proxy, RelaySetup) {
        let mut setup = self.relay_setup();
        let proxy = Proxy::to(&setup.mysql_address);
        setup.mysql_address = format!("127.0.0.1:{}", proxy.port());
        (proxy, setup)
    }

    /// A relay as far from MySQL as from these brokers, which are the scene's.
    pub fn setup_behind_link(&self, brokers: &Distant) -> RelaySetup {
        let setup = self.relay_setup();
        let mysql_address = Link::to(&setup.mysql_address, brokers.delay).address();
        RelaySetup { mysql_address, kafka_bootstrap: brokers.bootstrap.clone(), ..setup }
    }

    pub fn outbox(&self, table: &str, preset: &str) -> Outbox {
        let table = format!("{}.{table}", self.name);
        Outbox { table, preset: preset.to_owned(), lines: Vec::new() }
    }

    pub fn start_relay(&self) -> Relay {
        self.relay_setup().start()
    }

    pub fn create_topic(&self, label: &str) -> String {
        let topic = self.topic(label);
        create_topic(&self.kafka, &topic, self.partitions, &[]);
        topic
    }

    /// Reads on as records come.
    pub fn inbox(&self) -> Inbox {
        Inbox::open(&self.kafka, &self.topic(""), self.delivery.isolation())
    }

    /// All that a consumer can read now.
    pub fn records(&self) -> Vec<Record> {
        Inbox::read_all(&self.kafka, &self.topic(""), self.delivery.isolation())
    }

    /// Waits for this many records and returns all; the relay's log is shown when they do not come.
    pub fn wait_for_records(&self, relay: &Relay, count: usize) -> Vec<Record> {
        self.wait_for_records_within(relay, count, SOON)
    }

    pub fn wait_for_records_within(
        &self,
        relay: &Relay,
        count: usize,
        within: Duration,
    ) -> Vec<Record> {
        relay.wait_until_came(&mut self.inbox(), count, within);
        self.records()
    }

    /// The stored checkpoint as a reader of the topic sees it.
    pub fn checkpoint(&self) -> Option<serde_json::Value> {
        self.checkpoints().pop().flatten()
    }

    /// Stores a checkpoint as the relay's last one, whatever it stored itself.
    pub fn store_checkpoint(&self, checkpoint: &serde_json::Value) {
        let (topic, value) = (self.checkpoint_topic(), checkpoint.to_string());
        write_record(&self.kafka, &topic, None, Some(&self.name), Some(value.as_bytes()));
    }

    /// Every checkpoint that was ever stored, `None` where it was forgotten. A topic of one partition;
    /// a broker compacts it only when its segment is full, which no test sees.
    pub fn checkpoints(&self) -> Vec<Option<serde_json::Value>> {
        let topic = self.checkpoint_topic();
        let mut records = Inbox::read_all(&self.kafka, &topic, Isolation::ReadCommitted);
        records.retain(|record| record.topic == topic && record.key_text() == self.name);
        records.sort_by_key(|record| record.offset);
        let parse = |value: Vec<u8>| serde_json::from_slice(&value).expect("a checkpoint is JSON");
        records.into_iter().map(|record| record.value.map(parse)).collect()
    }

    /// Waits until the checkpoint is at `place` or past it.
    pub fn wait_for_checkpoint_at(&self, relay: &Relay, place: &Coordinates) {
        let deadline = Instant::now() + SOON;
        loop {
            let stored = self.checkpoint();
            if stored.as_ref().is_some_and(|stored| checkpoint_place(stored) >= *place) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the checkpoint does not reach {place}: {stored:?}\n{}",
                relay.log_tail()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The rows of this scene's tables in the binlog.
    pub fn binlog(&self) -> Vec<WrittenRow> {
        binlog::written_rows(self.mysql.login(), &self.start, &self.name)
    }

    /// What the ledger's rows must have become, given that all tables have their id first.
    pub fn expected(&self, ledger: &Ledger) -> Vec<Expected> {
        ledger.expected(&self.binlog(), 0)
    }

    /// Waits until everything in the ledger can have arrived and judges it.
    pub fn judge(&self, ledger: &Ledger, relay: &Relay, within: Duration) -> Verdict {
        let expected = self.expected(ledger);
        let complete = self.inbox().wait_for(expected.len(), within).map(|_| ());
        let verdict = oracle::judge(&self.name, &expected, &self.records(), self.partitions);
        super::say(&format!("{}: {verdict}", self.name));
        if let Err(error) = complete {
            panic!("{error}: {verdict}\n{}", relay.log_tail());
        }
        verdict
    }

    /// The same, and fails unless the verdict is clean.
    pub fn judge_clean(&self, ledger: &Ledger, relay: &Relay, within: Duration) {
        let verdict = self.judge(ledger, relay, within);
        assert!(verdict.is_clean(), "{verdict}\n{}", relay.log_tail());
    }

    /// Waits for just these rows, where others are in the ledger or the binlog, and fails unless they
    /// arrive as sequence 1, 2, 3, ….
    pub fn judge_rows_clean(&self, expected: &[Expected], relay: &Relay) -> Vec<Record> {
        let records = self.wait_for_records(relay, expected.len());
        let verdict = oracle::judge(&self.name, expected, &records, self.partitions);
        assert!(verdict.is_clean(), "{verdict}\n{}", relay.log_tail());
        records
    }

    /// The same for the newest generation, where `before` records of earlier ones are in the topics.
    pub fn judge_newest_generation(&self, before: usize, expected: &[Expected], relay: &Relay) {
        let records = self.wait_for_records(relay, before + expected.len());
        let generation = |record: &Record| RelaySequence::of(record).generation;
        let newest = records.iter().map(generation).max();
        let total = records.len();
        let is_newest = |record: &Record| Some(generation(record)) == newest;
        let of_newest: Vec<Record> = records.into_iter().filter(is_newest).collect();
        let verdict = oracle::judge(&self.name, expected, &of_newest, self.partitions);
        assert!(verdict.is_clean(), "{verdict}\n{}", relay.log_tail());
        assert_eq!(total, before + expected.len(), "{}", relay.log_tail());
    }

    /// The same as [`Scene::judge_clean`], then stops the relay and judges once more: what it would have
    /// published after the last row shows as well. Its last checkpoint counts every row.
    pub fn judge_clean_to_the_end(&self, ledger: &Ledger, relay: &mut Relay, within: Duration) {
        self.judge_clean(ledger, relay, within);
        assert!(!relay.has_ended(), "it has ended by itself\n{}", relay.log_tail());
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        let verdict = self.judge(ledger, relay, within);
        assert!(verdict.is_clean(), "after the drain: {verdict}\n{}", relay.log_tail());
        let stored = self.checkpoint().expect("a checkpoint");
        let rows = serde_json::Value::from(verdict.committed);
        assert_eq!((&stored["sequence"], &stored["clean"]), (&rows, &true.into()), "{stored}");
    }
}

/// The boundary that a checkpoint names.
pub fn checkpoint_place(checkpoint: &serde_json::Value) -> Coordinates {
    Coordinates {
        file: checkpoint["binlogFilename"].as_str().expect("a file's name").to_owned(),
        offset: checkpoint["offset"].as_u64().expect("an offset"),
    }
}

/// Eventuate Local's table.
pub fn events_table(name: &str, charset: &str) -> String {
    format!(
        "CREATE TABLE {name} (
           event_id VARCHAR(256) PRIMARY KEY,
           event_type VARCHAR(1000),
           event_data LONGTEXT NOT NULL,
           entity_type VARCHAR(1000) NOT NULL,
           entity_id VARCHAR(1000),
           triggering_event VARCHAR(1000),
           metadata VARCHAR(1000),
           published TINYINT DEFAULT 0
         ) ENGINE=InnoDB CHARACTER SET {charset}"
    )
}

/// Eventuate Tram's table.
pub fn message_table(name: &str, charset: &str) -> String {
    format!(
        "CREATE TABLE {name} (
           id VARCHAR(256) PRIMARY KEY,
           destination LONGTEXT NOT NULL,
           headers LONGTEXT NOT NULL,
           payload LONGTEXT NOT NULL,
           published SMALLINT DEFAULT 0,
           message_partition SMALLINT,
           creation_time BIGINT
         ) ENGINE=InnoDB CHARACTER SET {charset}"
    )
}
