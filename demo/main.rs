//! The demo: its own MySQL and Kafka, an outbox, the relay, a small writer and a consumer that prints some of
//! what arrives, while the relay is killed with -9 three times. It ends with a line that counts what
//! was written and what arrived, and with exit code 1 if they are not the same. Run by `make demo`.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Record};
use harness::ledger::{Content, Ledger, OutboxRow};
use harness::oracle;
use harness::relay::{Relay, RelaySequence, RelaySetup};
use harness::scene::{EVENTUATE_LOCAL, Scene};
use harness::servers::{Kafka, MySql, RELAY_USER};
use harness::sql::Sql;
use harness::workload::insert_rows;

const ACCOUNTS: [&str; 4] = ["anna", "béla", "chiara", "dao"];
const ORDERS: [&str; 3] = ["order-1", "order-2", "order-3"];
const KILLS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_secs(3);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(30);
/// One line for each of the first records after a start, then one for each of this many.
const PRINTED_AFTER_A_START: u64 = 4;
const THEN_ONE_OF: u64 = 60;

fn main() -> ExitCode {
    let begun = Instant::now();
    println!("starting MySQL and Kafka …");
    let mysql = thread::spawn(|| Arc::new(MySql::start("mysql-8.0", &[])));
    let kafka = Arc::new(Kafka::start(&[]));
    let mysql = mysql.join().expect("MySQL starts");
    println!("both answer after {:.1} s", begun.elapsed().as_secs_f64());

    let scene = Scene::named(mysql, kafka, "shop".to_owned());
    let setup = relay_setup(&scene);
    println!("the outbox is {}.events; the relay reads as user '{RELAY_USER}'", scene.name);
    println!("its configuration:\n{}", indented(&setup));

    let stop = Arc::new(AtomicBool::new(false));
    let ledger = Arc::new(Ledger::default());
    let writer = start_writer(&scene, &ledger, &stop);
    let relay = relay_with_kills(&scene, &setup);
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer writes");

    conclude(&scene, &ledger, &relay)
}

fn relay_setup(scene: &Scene) -> RelaySetup {
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("events", EVENTUATE_LOCAL)];
    setup.mysql_password = "${RELAY_PASSWORD}".to_owned();
    setup.environment =
        vec![("RELAY_PASSWORD".to_owned(), harness::servers::RELAY_PASSWORD.to_owned())];
    setup
}

/// Lets the relay work and kills it, again and again; the last one is left running.
fn relay_with_kills(scene: &Scene, setup: &RelaySetup) -> Relay {
    let mut printer = Printer { inbox: scene.inbox(), taken: 0, waiting: BTreeMap::new(), next: 1 };
    for kill in 1..=KILLS {
        let mut relay = setup.start();
        printer.print(BETWEEN_KILLS);
        relay.kill();
        println!(
            "── kill -9 (number {kill}); the writer goes on, and the relay is started again ──"
        );
    }
    let relay = setup.start();
    printer.print(BETWEEN_KILLS);
    relay
}

/// Prints records of all topics in the one order that `relay-sequence` gives them: a record that was
/// read early waits for those before it.
struct Printer {
    inbox: Inbox,
    taken: usize,
    waiting: BTreeMap<u64, String>,
    next: u64,
}

impl Printer {
    fn print(&mut self, during: Duration) {
        let begun = Instant::now();
        let first = self.next;
        while begun.elapsed() < during {
            self.take_what_came();
            while let Some(line) = self.waiting.remove(&self.next) {
                if self.next - first < PRINTED_AFTER_A_START
                    || self.next.is_multiple_of(THEN_ONE_OF)
                {
                    println!("{:>6}  {line}", self.next);
                }
                self.next += 1;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn take_what_came(&mut self) {
        let records = self.inbox.take_what_came();
        for record in &records[self.taken..] {
            let header = record.header("relay-sequence").and_then(RelaySequence::parse);
            let sequence = header.map_or(0, |parsed| parsed.sequence);
            self.waiting.insert(sequence, line_of(record));
        }
        self.taken = records.len();
    }
}

fn line_of(record: &Record) -> String {
    let value: serde_json::Value = serde_json::from_str(&record.value_text()).unwrap_or_default();
    format!(
        "{}[{}]  {:<8}  {} {}",
        record.topic,
        record.partition,
        record.key_text(),
        value["eventType"].as_str().unwrap_or_default(),
        value["eventData"].as_str().unwrap_or_default()
    )
}

/// Deposits and order lines: single rows, several rows of one INSERT, several statements of one
/// transaction, and now and then a transaction that is rolled back.
fn start_writer(scene: &Scene, ledger: &Arc<Ledger>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let mut shop = Shop {
        sql: scene.sql(),
        ledger: Arc::clone(ledger),
        account_topic: scene.topic("Account"),
        order_topic: scene.topic("Order"),
        rows_written: 0,
        counters: HashMap::new(),
    };
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            shop.trade();
            thread::sleep(Duration::from_millis(15));
        }
    })
}

struct Shop {
    sql: Sql,
    ledger: Arc<Ledger>,
    account_topic: String,
    order_topic: String,
    rows_written: u64,
    counters: HashMap<&'static str, u64>,
}

impl Shop {
    fn trade(&mut self) {
        let turn = usize::try_from(self.rows_written).expect("a small number");
        let account = ACCOUNTS[turn % ACCOUNTS.len()];
        let order = ORDERS[turn % ORDERS.len()];
        let topic = self.account_topic.clone();
        self.sql.run("BEGIN");
        let mut rows = vec![self.event(&topic, account, "Deposited")];
        if turn.is_multiple_of(3) {
            let topic = self.order_topic.clone();
            rows.push(self.event(&topic, order, "LineAdded"));
            rows.push(self.event(&topic, order, "LineAdded"));
        }
        insert_rows(&mut self.sql, "events", &rows);
        if turn.is_multiple_of(5) {
            let more = vec![self.event(&topic, account, "Withdrawn")];
            insert_rows(&mut self.sql, "events", &more);
            rows.extend(more);
        }
        if turn.is_multiple_of(11) {
            self.sql.run("ROLLBACK");
        } else {
            self.sql.run("COMMIT");
            self.ledger.note_committed(rows.into_iter().map(|row| row.id));
        }
    }

    fn event(&mut self, topic: &str, entity: &'static str, kind: &str) -> OutboxRow {
        self.rows_written += 1;
        let counter = self.counters.entry(entity).or_default();
        *counter += 1;
        let row = OutboxRow {
            id: format!("{:016x}-{:016x}", 1, self.rows_written),
            table: "events".to_owned(),
            content: Content::Event {
                entity_type: topic.to_owned(),
                entity_id: entity.to_owned(),
                event_type: kind.to_owned(),
                event_data: format!(r#"{{"number":{counter},"amount":{}}}"#, *counter * 10),
                metadata: None,
            },
            published: Some(0),
            counter: *counter,
        };
        self.ledger.note_written(row.clone());
        row
    }
}

fn conclude(scene: &Scene, ledger: &Ledger, relay: &Relay) -> ExitCode {
    let expected = scene.expected(ledger);
    if let Err(error) = scene.inbox().wait_for(expected.len(), CAUGHT_UP_WITHIN) {
        println!("{error}\n{}", relay.log_tail());
    }
    let verdict = oracle::judge(&scene.name, &expected, &scene.records(), scene.partitions);
    if !verdict.is_clean() {
        println!("{verdict}\n{}", relay.log_tail());
    }
    println!(
        "written {}, arrived {}, repeated {}, lost {}, reordered {}, kills {KILLS}",
        verdict.committed, verdict.arrived, verdict.repeated, verdict.lost, verdict.reordered
    );
    if verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn indented(setup: &RelaySetup) -> String {
    setup.to_toml().lines().map(|line| format!("    {line}\n")).collect()
}
