//! The way from Eventuate CDC to the relay and back, with the real Eventuate CDC: a writer writes all the
//! time, and each of the two takes over from the other, after a clean stop and after a kill -9. It ends
//! with exit code 1 if a row was lost, altered or reordered. Run by `make eventuate`.

mod cdc;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cdc::{EventuateCdc, monitoring_table};
use harness::consumer::{Inbox, Isolation, Record};
use harness::eventuate::{Reception, as_a_client_sees, has_programs};
use harness::kafka::create_topic;
use harness::ledger::{Content, Ledger, OutboxRow};
use harness::relay::{Relay, RelaySetup};
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, MySql};
use harness::sql::Sql;
use harness::workload::insert_rows;

/// How long each of the two publishes before the other takes over.
const TURN: Duration = Duration::from_secs(3);
const BETWEEN_ROWS: Duration = Duration::from_millis(5);
const PUBLISHED_WITHIN: Duration = Duration::from_secs(90);
const KEYS: usize = 7;

fn main() -> ExitCode {
    let delivery = Delivery::named(std::env::args().nth(1).as_deref().unwrap_or("exactly-once"));
    if !has_programs(&["cdc"]) {
        eprintln!("error: this check needs a JDK and Maven");
        return ExitCode::FAILURE;
    }
    let mysql = thread::spawn(|| Arc::new(MySql::start("mysql-8.0", &[])));
    let kafka = Arc::new(Kafka::start(&[]));
    let mysql = mysql.join().expect("MySQL starts");
    let mut check = Check::begin(Scene::named(mysql, kafka, "shop".to_owned()).with(delivery));

    let mut cdc = check.eventuate_publishes("Eventuate CDC begins");
    cdc.stop();
    let mut relay = check.relay_publishes("Eventuate CDC stopped, relay started");
    if check.is_exactly_once {
        relay = check.eventuate_waits(relay);
    }
    check.stop_for_eventuate(relay);
    let mut cdc = check.eventuate_publishes("relay stopped, Eventuate CDC started");
    cdc.kill();
    let mut relay = check.relay_publishes("Eventuate CDC killed, relay started");
    relay.kill();
    let mut cdc = if check.is_exactly_once {
        let relay = check.relay_publishes("relay killed, started again");
        check.stop_for_eventuate(relay);
        check.eventuate_publishes("relay stopped, Eventuate CDC started")
    } else {
        check.eventuate_publishes("relay killed, Eventuate CDC started")
    };
    check.end_writing(&cdc);
    cdc.stop();
    check.conclude()
}

struct Check {
    scene: Scene,
    setup: RelaySetup,
    is_exactly_once: bool,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    rows_written: Arc<AtomicUsize>,
    writer: Option<JoinHandle<()>>,
    /// Sees at once what is appended, whoever does it.
    inbox: Inbox,
    repeated: usize,
    hand_backs: usize,
}

impl Check {
    fn begin(scene: Scene) -> Check {
        let mut setup = scene.relay_setup();
        // Another name than the reader's, so that the key has to be given.
        setup.name = "relay".to_owned();
        setup.start_from = None;
        setup.kafka_lines.push(format!("checkpoint_key = \"{}\"", scene.name));
        scene.sql().run(monitoring_table("cdc_monitoring"));
        for label in ["account", "customer"] {
            scene.create_topic(label);
        }
        // As brokers make Eventuate's: neither compacted nor of one partition.
        create_topic(&scene.kafka, &scene.checkpoint_topic(), 3, &[]);
        let ledger = Arc::new(Ledger::default());
        let (stop, rows_written) = (Arc::default(), Arc::default());
        let writer = Writer {
            sql: scene.sql(),
            ledger: Arc::clone(&ledger),
            account: scene.topic("account"),
            customer: scene.topic("customer"),
            rows_written: Arc::clone(&rows_written),
            stop: Arc::clone(&stop),
        };
        let inbox = Inbox::open(&scene.kafka, &scene.topic(""), Isolation::ReadUncommitted);
        Check {
            is_exactly_once: scene.delivery == Delivery::ExactlyOnce,
            scene,
            setup,
            ledger,
            stop,
            rows_written,
            writer: Some(thread::spawn(move || writer.write())),
            inbox,
            repeated: 0,
            hand_backs: 0,
        }
    }

    fn eventuate_publishes(&mut self, what: &str) -> EventuateCdc {
        let cdc = EventuateCdc::start(&self.scene);
        self.publishes_for_a_turn(what, || cdc.log_tail());
        cdc
    }

    fn relay_publishes(&mut self, what: &str) -> Relay {
        let relay = self.setup.start();
        self.publishes_for_a_turn(what, || relay.log_tail());
        relay
    }

    /// Waits until a row of now has arrived, lets a turn pass, and says how many rows came again.
    fn publishes_for_a_turn(&mut self, what: &str, log_tail: impl Fn() -> String) {
        let begun = Instant::now();
        self.wait_for_row(self.rows_written.load(Ordering::Relaxed) + 1, log_tail);
        let after = begun.elapsed().as_secs_f64();
        thread::sleep(TURN);
        let repeated = count_repeated(self.inbox.take_what_came());
        let again = repeated - self.repeated;
        self.repeated = repeated;
        println!("{what}: published after {after:.1} s; {again} records came again");
    }

    fn wait_for_row(&mut self, number: usize, log_tail: impl Fn() -> String) {
        let id = row_id(number);
        let deadline = Instant::now() + PUBLISHED_WITHIN;
        let mut looked_at = 0;
        loop {
            let records = self.inbox.take_what_came();
            let has_come = records[looked_at..].iter().any(|it| it.value_text().contains(&id));
            if has_come {
                return;
            }
            looked_at = records.len();
            assert!(Instant::now() < deadline, "row {number} does not come\n{}", log_tail());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Eventuate CDC looks at the last record of each partition before it publishes its first row, and
    /// waits for ever where a Kafka transaction ended the partition. The relay then goes on.
    fn eventuate_waits(&mut self, mut relay: Relay) -> Relay {
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        let mut cdc = EventuateCdc::start(&self.scene);
        cdc.wait_for_log("Got some last records");
        let published = self.inbox.take_what_came().len();
        thread::sleep(TURN);
        assert_eq!(self.inbox.take_what_came().len(), published, "{}", cdc.log_tail());
        cdc.kill();
        self.relay_publishes("Eventuate CDC started at once: it waits; relay started again")
    }

    /// Leaves Eventuate CDC a first row for a topic that the relay has not written to.
    fn stop_for_eventuate(&mut self, mut relay: Relay) {
        if !self.is_exactly_once {
            assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
            return;
        }
        self.hand_backs += 1;
        let topic = self.scene.create_topic(&format!("handback{}", self.hand_backs));
        let mut sql = self.scene.sql();
        sql.run("LOCK TABLES events WRITE, message WRITE");
        self.scene.wait_for_checkpoint_at(&relay, &sql.end_of_binlog());
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        let row =
            OutboxRow { id: format!("{:016x}-{:016x}", 2, self.hand_backs), ..event(0, &topic) };
        write_row(&mut sql, &self.ledger, row);
        sql.run("UNLOCK TABLES");
    }

    fn end_writing(&mut self, cdc: &EventuateCdc) {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.take().expect("the writer runs").join().expect("the writer writes");
        self.wait_for_row(self.rows_written.load(Ordering::Relaxed), || cdc.log_tail());
    }

    /// Compares what a consumer of all topics can read now with what is in the binlog.
    fn judge(&self, isolation: Isolation) -> Reception {
        let records = Inbox::read_all(&self.scene.kafka, &self.scene.topic(""), isolation);
        let values: Vec<_> = records.iter().map(|it| as_a_client_sees(&it.value_text())).collect();
        Reception::judge(&self.scene.expected(&self.ledger), &values)
    }

    fn conclude(&self) -> ExitCode {
        let mut is_whole = true;
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            let judged = self.judge(isolation);
            println!("{}: {judged}", isolation.name());
            is_whole &= judged.is_whole();
        }
        if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn count_repeated(records: &[Record]) -> usize {
    let ids: HashSet<String> = records
        .iter()
        .map(|record| as_a_client_sees(&record.value_text())["id"].to_string())
        .collect();
    records.len() - ids.len()
}

/// Writes rows one by one, as Eventuate CDC needs it: of several rows of one INSERT, it publishes the first.
struct Writer {
    sql: Sql,
    ledger: Arc<Ledger>,
    account: String,
    customer: String,
    rows_written: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    fn write(mut self) {
        for number in 1.. {
            let row = match number % 3 {
                0 => message(number, &self.customer),
                _ => event(number, &self.account),
            };
            write_row(&mut self.sql, &self.ledger, row);
            self.rows_written.store(number, Ordering::Relaxed);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(BETWEEN_ROWS);
        }
    }
}

fn write_row(sql: &mut Sql, ledger: &Ledger, row: OutboxRow) {
    ledger.note_written(row.clone());
    insert_rows(sql, &row.table, std::slice::from_ref(&row));
    ledger.note_committed([row.id]);
}

fn row_id(number: usize) -> String {
    format!("{:016x}-{number:016x}", 1)
}

fn event(number: usize, entity_type: &str) -> OutboxRow {
    let content = Content::Event {
        entity_type: entity_type.to_owned(),
        entity_id: format!("számla-{}", number % KEYS),
        event_type: "Deposited".to_owned(),
        event_data: format!(r#"{{"number":{number},"note":"€ 😀"}}"#),
        metadata: number.is_multiple_of(2).then(|| "{\"by\":\"béla\"}".to_owned()),
    };
    outbox_row(number, "events", content)
}

fn message(number: usize, destination: &str) -> OutboxRow {
    let headers = [("PARTITION_ID", format!("{}", number % KEYS)), ("ID", row_id(number))];
    let content = Content::Message {
        destination: destination.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        payload: format!(r#"{{"number":{number},"note":"€ 😀"}}"#),
    };
    outbox_row(number, "message", content)
}

fn outbox_row(number: usize, table: &str, content: Content) -> OutboxRow {
    let counter = u64::try_from(number).expect("a small number");
    let (id, table) = (row_id(number), table.to_owned());
    OutboxRow { id, table, content, published: Some(0), counter }
}
