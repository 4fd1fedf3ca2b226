//! What is gone, full, or refuses for a while is waited for, however long: the log says for what, and then nothing
//! is lost or repeated.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::kafka::create_replicated_topic;
use harness::relay::{Relay, SOON};
use harness::scene::Scene;
use harness::servers::{Kafka, MySql, permit_for_own_servers, shared_kafka, shared_mysql};
use harness::workload::PlainWriter;

/// Eight times the transaction timeout that these relays have.
const LONG: Duration = Duration::from_secs(40);
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// A scene with a writer, and a relay whose transactions time out soon.
struct Stage {
    scene: Scene,
    writer: PlainWriter,
    relay: Option<Relay>,
}

impl Stage {
    fn on(mysql: &Arc<MySql>, kafka: &Arc<Kafka>, label: &str) -> Stage {
        let scene = Scene::on(Arc::clone(mysql), Arc::clone(kafka), label);
        let writer = PlainWriter::on(&scene);
        Stage { scene, writer, relay: None }
    }

    fn start(&mut self) -> &mut Relay {
        let mut setup = self.scene.relay_setup();
        setup.transaction_timeout = Some("5s".to_owned());
        self.relay.insert(setup.start())
    }

    fn relay(&mut self) -> &mut Relay {
        self.relay.as_mut().expect("it was started")
    }

    /// Writes rows and waits until all that were written are relayed.
    fn relays(&mut self, rows: usize) {
        self.writer.write(rows);
        let relay = self.relay.as_ref().expect("it was started");
        self.scene.judge_clean(&self.writer.ledger, relay, SOON);
    }

    fn has_waited(mut self) {
        let relay = self.relay.as_mut().expect("it was started");
        self.scene.judge_clean_to_the_end(&self.writer.ledger, relay, BACK_WITHIN);
    }
}

#[test]
fn either_end_may_be_gone_for_long_and_from_the_start() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let kafka = Arc::new(Kafka::start(&[]));
    let mut without_mysql = Stage::on(&mysql, &shared_kafka(), "mysql_gone");
    let mut without_mysql_yet = Stage::on(&mysql, &shared_kafka(), "mysql_late");
    let mut without_kafka = Stage::on(&shared_mysql(), &kafka, "kafka_gone");
    let mut without_kafka_yet = Stage::on(&shared_mysql(), &kafka, "kafka_late");
    for stage in [&mut without_mysql, &mut without_kafka] {
        stage.start();
        stage.relays(5);
    }
    without_mysql.writer.write(5);
    without_mysql_yet.writer.write(5);
    mysql.kill();
    kafka.kill();
    let since = Instant::now();
    without_mysql_yet.start();
    without_kafka_yet.start();
    without_kafka.writer.write(5);
    without_kafka_yet.writer.write(5);
    let (mysql_at, kafka_at) = (address(&without_mysql), kafka.bootstrap());
    let refused = format!("MySQL {mysql_at}: Connection refused (os error 111) retry_in_ms");
    without_mysql.relay().wait_for_log(&refused);
    without_mysql_yet.relay().wait_for_log(&refused);
    let unanswered = format!("Kafka {kafka_at}: no broker answers");
    without_kafka_yet.relay().wait_for_log(&unanswered);
    without_kafka.relay().wait_for_log(
        "has acknowledged nothing within 5 s (transaction_timeout): no broker answers",
    );
    thread::sleep(LONG.saturating_sub(since.elapsed()));
    mysql.start_again();
    kafka.start_again();
    for stage in [&mut without_mysql, &mut without_mysql_yet] {
        stage.writer.sql = stage.scene.sql();
    }
    for mut stage in [without_mysql, without_mysql_yet, without_kafka, without_kafka_yet] {
        stage.writer.write(5);
        stage.has_waited();
    }
}

#[test]
fn a_mysql_that_refuses_is_restarted_or_full_is_waited_for() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let mut stage = Stage::on(&mysql, &shared_kafka(), "refusing");
    let server = format!("MySQL {}", address(&stage));
    // Restarted while the relay starts: at another step of it each time.
    for millis in [20, 120, 300] {
        stage.start();
        thread::sleep(Duration::from_millis(millis));
        mysql.kill();
        mysql.start_again();
        stage.writer.sql = stage.scene.sql();
        stage.relays(2);
    }
    stage.writer.sql.run("SET GLOBAL offline_mode = ON");
    let offline = "ERROR 3032 (HY000): The server is currently in offline mode retry_in_ms";
    stage.relay().wait_for_log(&format!("{server}: {offline}"));
    stage.writer.write(2);
    stage.writer.sql.run("SET GLOBAL offline_mode = OFF");
    stage.relays(2);
    // Read-only concerns writers alone.
    stage.writer.sql.run("SET GLOBAL super_read_only = ON");
    let log = stage.relay().log();
    end_connections(&mut stage);
    stage.writer.sql.run("SET GLOBAL super_read_only = OFF");
    stage.writer.sql.run("SET GLOBAL read_only = OFF");
    stage.relays(2);
    let added = stage.relay().log()[log.len()..].to_owned();
    assert!(!added.contains("ERROR"), "a relay writes nothing\n{added}");
    stage.writer.sql.run("SET GLOBAL max_connections = 1");
    end_connections(&mut stage);
    let full = "ERROR 1040 (08004): Too many connections retry_in_ms";
    stage.relay().wait_for_log(&format!("{server}: {full}"));
    stage.writer.write(2);
    stage.writer.sql.run("SET GLOBAL max_connections = 100");
    stage.relays(2);
    // A binlog that cannot be written ends the server, as binlog_error_action=ABORT_SERVER says.
    let end = stage.writer.sql.end_of_binlog();
    mysql.fill_disk(end.offset + 100);
    let insert = "INSERT INTO events (event_id, event_type, event_data, entity_type) VALUES ('full', 't', '{}', 't')";
    assert!(stage.writer.sql.try_run(insert).is_err(), "the disk is full");
    mysql.wait_for_end();
    stage.relay().wait_for_log(&format!("{server}: Connection refused (os error 111)"));
    mysql.start_again();
    stage.writer.sql = stage.scene.sql();
    stage.writer.write(2);
    stage.has_waited();
}

#[test]
fn a_broker_that_is_full_or_has_too_few_replicas_is_waited_for() {
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&[]));
    let mut stage = Stage::on(&shared_mysql(), &kafka, "unwilling");
    stage.scene.partitions = 1;
    // Checkpoints and the state of transactions are on the first broker, which was alone when they were made.
    stage.start().wait_for_log("relaying");
    let second = kafka.join();
    let topic = stage.scene.topic("account");
    let settings = [("min.insync.replicas", "2")];
    create_replicated_topic(&kafka, &topic, &[1, 2], &settings);
    stage.relays(3);
    // The topic can be read only, as long as one of its two replicas is out of sync.
    second.stop();
    stage.writer.write(3);
    let refused = format!(
        "Kafka {}: the topic {topic} has acknowledged nothing within 5 s (transaction_timeout): partition 0 has 1 of \
         2 replicas in sync, and min.insync.replicas may ask for more retry_in_ms",
        kafka.bootstrap()
    );
    stage.relay().wait_for_log(&refused);
    let log = stage.relay().log();
    assert!(log.contains("hint=bring the brokers back that hold its other replicas"), "{log}");
    assert!(!log.contains("bootstrap_servers"), "that is not the cure\n{log}");
    second.start_again();
    stage.relays(3);
    kafka.fill_disk(3_000);
    for _ in 0..20 {
        stage.writer.write(1);
        thread::sleep(Duration::from_millis(50));
    }
    kafka.wait_for_end();
    kafka.start_again();
    stage.has_waited();
}

/// Ends the relay's connections, so that it has to make new ones.
fn end_connections(stage: &mut Stage) {
    let sql = "SELECT id FROM information_schema.processlist WHERE user = 'relay'";
    let ids: Vec<u64> = stage.writer.sql.query(sql);
    assert!(!ids.is_empty(), "it is connected");
    for id in ids {
        // One may have ended with another.
        let _ = stage.writer.sql.try_run(&format!("KILL {id}"));
    }
}

fn address(stage: &Stage) -> String {
    stage.scene.relay_setup().mysql_address
}
