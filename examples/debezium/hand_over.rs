//! The relay goes on where the real Debezium stopped: cleanly, and by a kill -9 in the middle of transactions. A writer
//! writes all the time, in transactions of several statements of several rows. Every row must come, and those that
//! Debezium had published after its last stored offset may come twice, and no others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Isolation, Record};
use harness::kafka::create_topic;
use harness::relay::Outbox;
use harness::scene::Scene;
use serde_json::{Map, Value as Json, json};

use crate::worker::{ANSWERS_WITHIN, Worker, create_user, offset_topic};

const CONNECTOR: &str = "orders";
const KEYS: u64 = 5;
/// How long Debezium publishes before it is stopped.
const TURN: Duration = Duration::from_secs(4);

/// How Debezium ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Stopped,
    Killed,
}

/// Runs one hand-over. Fails where a row was lost, or came in another order.
pub fn hand_over(scene: &Scene, end: End, is_compressed: bool) {
    create_user(scene);
    scene.sql().run(
        "CREATE TABLE outbox (id BIGINT PRIMARY KEY, aggregatetype VARCHAR(255) NOT NULL,
         aggregateid VARCHAR(255) NOT NULL, type VARCHAR(255) NOT NULL, payload TEXT) CHARACTER SET utf8mb4",
    );
    scene.sql().run("CREATE TABLE orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, note TEXT)");
    let topic = format!("outbox.event.{}", scene.topic("order"));
    create_topic(&scene.kafka, &topic, scene.partitions, &[]);
    let mut inbox = Inbox::open(&scene.kafka, &topic, Isolation::ReadCommitted);
    let mut worker = Worker::start(scene);
    worker.create_connector(scene, CONNECTOR, &connector(scene));
    let writer = Writer::start(scene, is_compressed);
    let deadline = Instant::now() + ANSWERS_WITHIN;
    while inbox.take_what_came().is_empty() {
        assert!(Instant::now() < deadline, "no row comes\n{}", worker.log_tail());
        thread::sleep(Duration::from_millis(200));
    }
    thread::sleep(TURN);
    match end {
        End::Stopped => worker.stop(),
        End::Killed => worker.kill(),
    }
    // Rows that nobody reads yet.
    thread::sleep(Duration::from_secs(1));
    let mut setup = scene.relay_setup();
    setup.start_from = Some(format!("debezium:{}/{CONNECTOR}", offset_topic(scene)));
    setup.outboxes = vec![Outbox {
        lines: vec!["headers = { id = \"{id}\" }".to_owned()],
        ..scene.outbox("outbox", "outbox")
    }];
    let mut relay = setup.start();
    thread::sleep(Duration::from_secs(2));
    let written = writer.stop();
    let deadline = Instant::now() + ANSWERS_WITHIN;
    loop {
        let came = inbox.take_what_came();
        let last = came.iter().filter(|record| number(record) == written).count();
        if last > 0 {
            break;
        }
        assert!(Instant::now() < deadline && !relay.has_ended(), "{}", relay.log_tail());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let first = first_of_relay(inbox.take_what_came());
    judge(inbox.take_what_came(), first, written, end);
    let line = relay.log().lines().find(|it| it.contains("Debezium stopped")).map(str::to_owned);
    eprintln!("{end:?}, compressed {is_compressed}: {}", line.unwrap_or_default());
}

fn connector(scene: &Scene) -> Map<String, Json> {
    let settings = json!({
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "tasks.max": "1",
        "database.include.list": scene.name,
        "table.include.list": format!("{}.outbox", scene.name),
        "snapshot.mode": "no_data",
        "tombstones.on.delete": "false",
        "transforms": "outbox",
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        // Small batches, so that offsets stand inside of events.
        "max.batch.size": "7",
        "max.queue.size": "16",
        "poll.interval.ms": "1",
    });
    settings.as_object().expect("an object").clone()
}

fn number(record: &Record) -> u64 {
    record.value_text().parse().expect("the payload is the row's number")
}

/// The first row that the relay published.
fn first_of_relay(records: &[Record]) -> u64 {
    let of_relay = records.iter().filter(|record| record.header("relay-sequence").is_some());
    of_relay.map(number).min().expect("the relay published")
}

fn judge(records: &[Record], first: u64, written: u64, end: End) {
    let mut times: HashMap<u64, usize> = HashMap::new();
    let mut of_relay: HashMap<u64, usize> = HashMap::new();
    let mut last: HashMap<(String, bool), u64> = HashMap::new();
    let mut reordered = 0;
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by_key(|record| (record.partition, record.offset));
    for record in records {
        let is_ours = record.header("relay-sequence").is_some();
        *times.entry(number(record)).or_default() += 1;
        *of_relay.entry(number(record)).or_default() += usize::from(is_ours);
        let before = last.insert((record.key_text(), is_ours), number(record));
        reordered += usize::from(before.is_some_and(|before| before >= number(record)));
    }
    let begin = times.keys().min().copied().expect("rows came");
    let lost = (begin..=written).filter(|number| !times.contains_key(number)).count();
    let repeated = times.values().filter(|times| **times > 1).count();
    let by_relay_twice = of_relay.values().filter(|times| **times > 1).count();
    eprintln!(
        "{end:?}: written {written} lost {lost} repeated {repeated} reordered {reordered}; the relay began with row {first}"
    );
    assert_eq!((lost, reordered, by_relay_twice), (0, 0, 0));
    // A stopped Debezium has stored the offset of its last row.
    assert!(end == End::Killed || repeated == 0, "{repeated} rows came twice");
}

/// Writes rows 1, 2, 3, … in transactions of one to three statements.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Writer {
    fn start(scene: &Scene, is_compressed: bool) -> Writer {
        let stop: Arc<AtomicBool> = Arc::default();
        let (mut sql, is_over) = (scene.sql(), Arc::clone(&stop));
        let kind = scene.topic("order");
        if is_compressed {
            sql.run("SET SESSION binlog_transaction_compression = ON");
        }
        // Events that count, and that are no rows.
        sql.run("SET SESSION binlog_rows_query_log_events = ON");
        let thread = thread::spawn(move || {
            let mut number = 0u64;
            let mut transaction = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                transaction += 1;
                sql.run("BEGIN");
                for statement in 0..=transaction % 3 {
                    sql.run("INSERT INTO orders (note) VALUES ('a'), ('b')");
                    sql.run("SAVEPOINT one");
                    let rows: Vec<String> = (0..=(transaction + statement) % 11)
                        .map(|_| {
                            number += 1;
                            format!("({number}, '{kind}', '{}', 't', '{number}')", number % KEYS)
                        })
                        .collect();
                    sql.run(format!("INSERT INTO outbox VALUES {}", rows.join(", ")));
                    sql.run(format!("UPDATE outbox SET type = 'u' WHERE id = {number}"));
                }
                sql.run("COMMIT");
                thread::sleep(Duration::from_millis(2));
            }
            number
        });
        Writer { stop, thread }
    }

    /// The number of the last row.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer writes")
    }
}
