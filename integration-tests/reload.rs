//! The configuration is read again while the relay runs: each row is relayed by the configuration that was in force at
//! its transaction, once, whatever happens meanwhile.

mod away;
mod refused;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Record};
use harness::relay::{Outbox, Relay, RelaySequence, RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::workload::{PlainWriter, Plan, Workload};

const DELIVERIES: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::Idempotent];

/// A table of the scene whose rows become records of this topic.
fn custom(scene: &Scene, table: &str, topic: &str) -> Outbox {
    let topic = scene.topic(topic);
    let lines = vec![
        format!("topic = \"{topic}\""),
        "key = \"{aggregate}\"".to_owned(),
        "value = \"{id}\"".to_owned(),
    ];
    Outbox { lines, ..scene.outbox(table, "custom") }
}

fn create_table(scene: &Scene, table: &str) {
    scene.sql().run(format!(
        "CREATE TABLE {table} (id BIGINT PRIMARY KEY, aggregate VARCHAR(20), body VARCHAR(20))"
    ));
}

/// Commits transactions of one row in each of two tables, with the same ids from 1 on.
struct PairWriter {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl PairWriter {
    fn start(scene: &Scene, tables: [&'static str; 2]) -> PairWriter {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut sql = scene.sql();
        let (is_stopped, count) = (stop.clone(), committed.clone());
        let thread = thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                let id = count.load(Ordering::Relaxed) + 1;
                sql.run("BEGIN");
                for table in tables {
                    sql.run(format!("INSERT INTO {table} VALUES ({id}, '{}', 'x')", id % 5));
                }
                sql.run("COMMIT");
                count.store(id, Ordering::Relaxed);
            }
        });
        PairWriter { stop, committed, thread }
    }

    /// Waits until this many more are committed.
    fn wait_for_more(&self, count: u64) {
        let wanted = self.committed.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + SOON;
        while self.committed.load(Ordering::Relaxed) < wanted {
            assert!(!self.thread.is_finished() && Instant::now() < deadline, "the writer stands");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Answers with the last id.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer failed");
        self.committed.load(Ordering::Relaxed)
    }
}

/// All records in the order of their sequence, which has no hole. Nothing comes after this.
fn records_in_order(scene: &Scene, relay: &mut Relay) -> Vec<Record> {
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let mut records = Inbox::read_all(&scene.kafka, &scene.topic(""), scene.delivery.isolation());
    records.sort_by_key(|record| RelaySequence::of(record).sequence);
    let numbers = records.iter().map(|record| RelaySequence::of(record).sequence);
    let whole: Vec<u64> = (1..=records.len() as u64).collect();
    assert_eq!(numbers.collect::<Vec<_>>(), whole, "{}", relay.log_tail());
    records
}

/// The label of the toggled row's topic behind each row that is relayed throughout, in stream order, joined where it
/// stays the same. Fails where a row is missing, repeated or out of order.
fn runs_of_toggled(scene: &Scene, records: &[Record], last: u64) -> Vec<String> {
    let mut of_ids = Vec::new();
    let mut records = records.iter().peekable();
    for id in 1..=last {
        let kept = records.next().unwrap_or_else(|| panic!("row {id} is lost"));
        let is = (kept.topic.clone(), kept.value_text());
        assert_eq!(is, (scene.topic("kept"), id.to_string()), "in stream order");
        let label = match records.next_if(|record| record.topic != scene.topic("kept")) {
            None => "absent".to_owned(),
            Some(toggled) => {
                assert_eq!(toggled.value_text(), id.to_string(), "a row of the same transaction");
                toggled.topic.clone()
            }
        };
        of_ids.push(label);
    }
    assert_eq!(records.next().map(Record::value_text), None, "a record of no row");
    of_ids.dedup();
    of_ids
}

#[test]
fn a_row_is_relayed_by_the_configuration_in_force_at_its_transaction() {
    const RELOADS: usize = 24;
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("reload_routes").with(delivery);
        ["kept", "toggled"].iter().for_each(|table| create_table(&scene, table));
        let with = |toggled: Option<&str>| {
            let kept = custom(&scene, "kept", "kept");
            let toggled = toggled.map(|topic| custom(&scene, "toggled", topic));
            let outboxes = [Some(kept), toggled].into_iter().flatten().collect();
            RelaySetup { outboxes, ..scene.setup_with_http() }
        };
        let mut relay = with(None).start();
        let http = relay.http();
        http.wait_until_ready();
        let writer = PairWriter::start(&scene, ["kept", "toggled"]);
        let mut expected = vec!["absent".to_owned()];
        for number in 0..RELOADS {
            writer.wait_for_more(5);
            // Added, altered, removed.
            let label = [Some("one"), Some("other"), None][number % 3];
            relay.reload(&with(label));
            expected.push(label.map_or("absent".to_owned(), |label| scene.topic(label)));
        }
        writer.wait_for_more(5);
        let last = writer.finish();
        let applied = http.metrics().value("config_reloads_total", &[("result", "applied")]);
        assert_eq!(applied, RELOADS as f64);
        scene.wait_for_checkpoint_at(&relay, &scene.sql().end_of_binlog());
        let records = records_in_order(&scene, &mut relay);
        assert_eq!(runs_of_toggled(&scene, &records, last), expected, "{}", relay.log_tail());
    }
}

#[test]
fn many_reloads_under_all_kinds_of_load_lose_and_repeat_nothing() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("reload_storm").with(delivery);
        create_table(&scene, "idle");
        let mut setup = scene.setup_with_http();
        setup.outboxes = Workload::outboxes(&scene);
        let mut other = setup.clone();
        other.outboxes.push(custom(&scene, "idle", "idle"));
        // Most transactions are split.
        other.batch_lines = vec!["max_records = 3".to_owned()];
        let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
        let mut relay = setup.start();
        for _ in 0..5 {
            relay.reload(&other);
            thread::sleep(Duration::from_millis(50));
            relay.reload(&setup);
        }
        let ledger = workload.finish();
        scene.judge_clean_to_the_end(&ledger, &mut relay, SOON);
    }
}

#[test]
fn a_reload_waits_for_the_end_of_a_transaction_that_is_relayed_in_parts() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("reload_large").with(delivery);
        create_table(&scene, "added");
        scene.create_topic("account");
        let mut writer = PlainWriter::on(&scene);
        writer.write_together(20_000);
        writer.write(1);
        let mut setup = scene.relay_setup();
        setup.batch_lines = vec!["max_records = 200".to_owned()];
        let mut relay = setup.start();
        let begun = scene.inbox().wait_for(1, SOON).map(|_| ());
        begun.unwrap_or_else(|error| panic!("{error}\n{}", relay.log_tail()));
        setup.outboxes.push(custom(&scene, "added", "added"));
        relay.reload(&setup);
        let clean = scene.checkpoints().into_iter().flatten();
        let clean: Vec<_> = clean.filter(|stored| stored["clean"] == true).collect();
        assert_eq!(clean.len(), 1, "{clean:?}\n{}", relay.log_tail());
        assert_eq!(clean[0]["rowsDone"], 0, "{clean:?}");
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}

#[test]
fn rows_after_a_crash_are_passed_before_the_routes_change() {
    let scene = Scene::on_shared_servers("reload_crash").with(Delivery::Idempotent);
    create_table(&scene, "added");
    let mut setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    for _ in 0..3 {
        let mut relay = setup.start();
        writer.write(20);
        let begun = scene.inbox().wait_for(1, SOON).map(|_| ());
        begun.unwrap_or_else(|error| panic!("{error}\n{}", relay.log_tail()));
        relay.kill();
    }
    writer.write(20);
    let mut relay = setup.start();
    setup.outboxes.push(custom(&scene, "added", "added"));
    relay.reload(&setup);
    writer.write(1);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn limits_and_intervals_are_taken_over_and_an_unchanged_file_changes_nothing() {
    let scene = Scene::on_shared_servers("reload_limits");
    let mut writer = PlainWriter::on(&scene);
    let mut setup = scene.setup_with_http();
    let mut relay = setup.start();
    let http = relay.http();
    http.wait_until_ready();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    relay.signal("HUP");
    relay.wait_for_log("the configuration has not changed");
    assert!(!relay.log().contains("drained"), "{}", relay.log_tail());
    let metrics = http.metrics();
    assert_eq!(metrics.value("config_reloads_total", &[("result", "unchanged")]), 1.0);
    setup.batch_lines = vec!["max_records = 1".to_owned()];
    setup.mysql_lines = vec!["heartbeat = \"500ms\"".to_owned()];
    setup.shutdown_timeout = Some("20s".to_owned());
    relay.reload(&setup);
    let batches = || http.metrics().value("batches_total", &[]);
    let before = batches();
    writer.write_together(7);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    http.wait_until("seven batches", |_| batches() - before == 7.0);
    let changes = "shutdown_timeout, mysql.heartbeat, batch.max_records";
    assert!(relay.log().contains(&format!("changes=\"{changes}\"")), "{}", relay.log_tail());
    http.wait_until_ready();
    let status = http.status();
    assert_eq!((&status["state"], &status["lastError"]), (&"relaying".into(), &().into()));
}
