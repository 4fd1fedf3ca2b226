//! Random writers with what real applications do to an outbox: single rows, multi-row inserts,
//! transactions over several tables, rollbacks, savepoints, rows that are published already, updates
//! and deletes of outbox rows, other tables' traffic, DDL, rotations, compressed transactions and,
//! now and then, a large one. What each writer does follows from the seed; how they interleave does
//! not, as they are real sessions.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mysql_async::Value;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::ledger::{Content, Ledger, OutboxRow, json_object, json_string};
use super::relay::Outbox;
use super::scene::{EVENTUATE_LOCAL, Scene, events_table};
use super::sql::Sql;

/// The table of events in latin1 that the workload adds to a scene.
const LATIN1_TABLE: &str = "events_latin1";
/// The type of all its events.
pub const EVENT_TYPE: &str = "shop.Happened";
const ENTITIES: usize = 24;
/// What a text is made of: plain, escaped, controls, and one to four bytes of UTF-8.
const ANY_TEXT: &[&str] = &[
    "a", "Z", "7", " ", "/", "{", "}", ":", ",", "\"", "\\", "\n", "\r", "\t", "\u{0}", "\u{1}",
    "\u{8}", "\u{c}", "\u{1f}", "\u{7f}", "é", "ő", "–", "日本", "\u{2028}", "😀",
];
/// The same of what latin1, which MySQL takes for Windows-1252, can hold.
const LATIN1_TEXT: &[&str] =
    &["a", "Z", "7", " ", "\"", "\\", "\n", "\t", "\u{1}", "é", "ß", "ÿ", "£", "€", "œ", "–", "™"];

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub writers: usize,
    /// The longest a writer rests between two transactions.
    pub rest: Duration,
    /// How many rows a large transaction has; 0 for none.
    pub large_rows: usize,
}

/// Running writers. They stop when told to and fail the test if they failed.
pub struct Workload {
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
}

/// What keeps its order: all its rows go to one topic under one key. The counter's lock is held from
/// the first row until the commit, so counters ascend in the order of commits.
struct Entity {
    table: &'static str,
    topic: String,
    key: String,
    counter: Mutex<u64>,
}

struct Writer {
    number: usize,
    random: ChaCha8Rng,
    sql: Sql,
    ledger: Arc<Ledger>,
    entities: Arc<Vec<Entity>>,
    plan: Plan,
    rows_written: u64,
    can_compress: bool,
    /// Committed rows of this writer that later statements may touch.
    own_rows: Vec<(&'static str, String)>,
}

impl Plan {
    /// A seed from the environment to replay a run, else a random one; printed either way.
    pub fn with_seed_of_the_day(label: &str) -> Plan {
        let seed = match env::var("BINLOG_RELAY_TEST_SEED") {
            Ok(seed) => seed.parse().expect("BINLOG_RELAY_TEST_SEED is a number"),
            Err(_) => rand::random(),
        };
        super::say(&format!("{label}: BINLOG_RELAY_TEST_SEED={seed}"));
        Plan { seed, writers: 3, rest: Duration::from_millis(8), large_rows: 3_000 }
    }
}

impl Workload {
    /// Starts the writers on a scene. The relay needs `outboxes` for all their tables.
    pub fn start(scene: &Scene, plan: &Plan) -> Workload {
        let mut sql = scene.sql();
        sql.run(events_table(LATIN1_TABLE, "latin1"));
        let entities = Arc::new(entities(scene));
        let ledger = Arc::new(Ledger::default());
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..plan.writers)
            .map(|number| {
                let mut writer = Writer::new(scene, plan, number, &ledger, &entities);
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        writer.act();
                    }
                })
            })
            .collect();
        Workload { ledger, stop, writers }
    }

    /// The outbox tables of a scene with this workload.
    pub fn outboxes(scene: &Scene) -> Vec<Outbox> {
        let mut outboxes = scene.relay_setup().outboxes;
        outboxes.push(scene.outbox(LATIN1_TABLE, EVENTUATE_LOCAL));
        outboxes
    }

    /// The types of the entities that have events, and the destinations of the messages.
    pub fn topics(scene: &Scene) -> (Vec<String>, Vec<String>) {
        let events = ["account", "order$line", "latin1"].map(|label| scene.topic(label));
        (events.to_vec(), vec![scene.topic("customer")])
    }

    /// Lets the writers end their transactions, and returns what they wrote.
    pub fn finish(self) -> Arc<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.join().expect("a writer failed");
        }
        self.ledger
    }
}

fn entities(scene: &Scene) -> Vec<Entity> {
    (0..ENTITIES)
        .map(|number| {
            let (table, topic, key) = match number % 4 {
                0 => ("events", scene.topic("account"), format!("account-{number}")),
                1 => ("events", scene.topic("order$line"), format!("rendelés-😀-{number}")),
                2 => (LATIN1_TABLE, scene.topic("latin1"), format!("élève-€-{number}")),
                _ => ("message", scene.topic("customer"), format!("customer-{number}")),
            };
            Entity { table, topic, key, counter: Mutex::new(0) }
        })
        .collect()
}

impl Writer {
    fn new(
        scene: &Scene,
        plan: &Plan,
        number: usize,
        ledger: &Arc<Ledger>,
        entities: &Arc<Vec<Entity>>,
    ) -> Writer {
        let mut sql = scene.sql();
        sql.run(format!(
            "CREATE TABLE accounts_{number} (id INT AUTO_INCREMENT PRIMARY KEY, balance INT)"
        ));
        let can_compress = sql.has_compressed_transactions();
        Writer {
            number,
            random: ChaCha8Rng::seed_from_u64(plan.seed.wrapping_add(number as u64)),
            sql,
            ledger: Arc::clone(ledger),
            entities: Arc::clone(entities),
            plan: plan.clone(),
            rows_written: 0,
            can_compress,
            own_rows: Vec::new(),
        }
    }

    fn act(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.write_at_once(1),
            30..48 => {
                let rows = self.random.random_range(2..9);
                self.write_at_once(rows);
            }
            48..80 => self.write_a_transaction("COMMIT"),
            80..88 => self.write_a_transaction("ROLLBACK"),
            88..92 => self.touch_an_own_row(),
            92..95 => self.change_another_tables_columns(),
            95 => self.sql.run("FLUSH BINARY LOGS"),
            96 if self.plan.large_rows > 0 => {
                let rows =
                    self.random.random_range(self.plan.large_rows / 10..self.plan.large_rows);
                self.write_at_once(rows);
            }
            _ => self.switch_compression(),
        }
        let rest = self.random.random_range(Duration::ZERO..=self.plan.rest);
        thread::sleep(rest);
    }

    /// One autocommitted INSERT, or several in one transaction where there are too many rows for one.
    fn write_at_once(&mut self, rows: usize) {
        const ROWS_OF_A_STATEMENT: usize = 400;
        let entities = Arc::clone(&self.entities);
        let entity = entities.choose(&mut self.random).expect("there are entities");
        let mut counter = entity.counter.lock().expect("no writer panics while it holds an entity");
        let mut staged = Vec::new();
        if rows > ROWS_OF_A_STATEMENT {
            self.sql.run("BEGIN");
        }
        let mut left = rows;
        while left > 0 {
            let now = left.min(ROWS_OF_A_STATEMENT);
            self.insert(entity, &mut counter, now, &mut staged);
            left -= now;
        }
        if rows > ROWS_OF_A_STATEMENT {
            self.sql.run("COMMIT");
        }
        self.note_committed(staged);
    }

    /// Several statements over several entities and tables, with savepoints.
    fn write_a_transaction(&mut self, end: &str) {
        let entities = Arc::clone(&self.entities);
        let mut chosen: Vec<usize> = (0..self.random.random_range(1..4))
            .map(|_| self.random.random_range(0..ENTITIES))
            .collect();
        // Always in the same order, so that two writers never wait for each other.
        chosen.sort_unstable();
        chosen.dedup();
        let mut counters: Vec<(&Entity, MutexGuard<'_, u64>)> = chosen
            .iter()
            .map(|&index| (&entities[index], entities[index].counter.lock().expect("no panic")))
            .collect();
        let mut staged = Vec::new();
        self.sql.run("BEGIN");
        for _ in 0..self.random.random_range(1..6) {
            let which = self.random.random_range(0..counters.len());
            let (entity, counter) = &mut counters[which];
            self.statement(entity, counter, &mut staged);
        }
        self.sql.run(end);
        if end == "COMMIT" {
            self.note_committed(staged);
        }
    }

    fn statement(
        &mut self,
        entity: &Entity,
        counter: &mut u64,
        staged: &mut Vec<(&'static str, String)>,
    ) {
        match self.random.random_range(0..10) {
            0..5 => {
                let rows = self.random.random_range(1..4);
                self.insert(entity, counter, rows, staged);
            }
            5 => {
                let kept = staged.len();
                self.sql.run("SAVEPOINT here");
                self.insert(entity, counter, 2, staged);
                if self.random.random_bool(0.6) {
                    self.sql.run("ROLLBACK TO SAVEPOINT here");
                    staged.truncate(kept);
                }
            }
            6 => {
                if let Some((table, id)) = staged.choose(&mut self.random).cloned() {
                    self.touch(table, &id);
                }
            }
            7 => self.touch_an_own_row(),
            _ => {
                let number = self.number;
                self.sql.run(format!("INSERT INTO accounts_{number} (balance) VALUES (1), (2)"));
                self.sql.run(format!("UPDATE accounts_{number} SET balance = balance + 1 LIMIT 3"));
            }
        }
    }

    fn touch_an_own_row(&mut self) {
        if let Some((table, id)) = self.own_rows.choose(&mut self.random).cloned() {
            self.touch(table, &id);
        }
    }

    /// What is done to a row after its insert must not show in Kafka.
    fn touch(&mut self, table: &str, id: &str) {
        let id_column = if table == "message" { "id" } else { "event_id" };
        if self.random.random_bool(0.5) {
            self.sql.run(format!("DELETE FROM {table} WHERE {id_column} = '{id}'"))
        } else {
            self.sql.run(format!("UPDATE {table} SET published = 1 WHERE {id_column} = '{id}'"))
        }
    }

    fn change_another_tables_columns(&mut self) {
        let table = format!("accounts_{}", self.number);
        let column = format!("c{}", self.random.random_range(0..1_000_000));
        self.sql.run(format!("ALTER TABLE {table} ADD COLUMN {column} INT"));
        self.sql.run(format!("ALTER TABLE {table} DROP COLUMN {column}"));
    }

    fn switch_compression(&mut self) {
        if self.can_compress {
            let on = self.random.random_bool(0.5);
            self.sql.run(format!("SET SESSION binlog_transaction_compression = {on}"));
        }
    }

    fn insert(
        &mut self,
        entity: &Entity,
        counter: &mut u64,
        rows: usize,
        staged: &mut Vec<(&'static str, String)>,
    ) {
        let rows: Vec<OutboxRow> = (0..rows)
            .map(|_| {
                *counter += 1;
                self.rows_written += 1;
                self.random_row(entity, *counter)
            })
            .collect();
        staged.extend(rows.iter().map(|row| (entity.table, row.id.clone())));
        for row in &rows {
            self.ledger.note_written(row.clone());
        }
        insert_rows(&mut self.sql, entity.table, &rows);
    }

    fn note_committed(&mut self, staged: Vec<(&'static str, String)>) {
        const ROWS_REMEMBERED: usize = 200;
        self.ledger.note_committed(staged.iter().map(|(_, id)| id.clone()));
        self.own_rows.extend(staged);
        let surplus = self.own_rows.len().saturating_sub(ROWS_REMEMBERED);
        self.own_rows.drain(..surplus);
    }

    fn random_row(&mut self, entity: &Entity, counter: u64) -> OutboxRow {
        let id = format!("{:016x}-{:016x}", self.number, self.rows_written);
        let palette = if entity.table == LATIN1_TABLE { LATIN1_TEXT } else { ANY_TEXT };
        let length =
            if self.random.random_bool(0.01) { 20_000 } else { self.random.random_range(0..120) };
        let text = random_text(&mut self.random, palette, length);
        let data = format!(r#"{{"n":{counter},"text":{}}}"#, json_string(&text));
        // Now and then a text that is no JSON at all.
        let data = if self.random.random_bool(0.1) { text } else { data };
        let content = if entity.table == "message" {
            self.message(entity, &id, data)
        } else {
            Content::Event {
                entity_type: entity.topic.clone(),
                entity_id: entity.key.clone(),
                event_type: EVENT_TYPE.to_owned(),
                event_data: data,
                metadata: match self.random.random_range(0..4) {
                    0 => None,
                    1 => Some(String::new()),
                    _ => Some(random_text(&mut self.random, palette, 20)),
                },
            }
        };
        let published = match self.random.random_range(0..20) {
            0 => Some(1),
            1 => None,
            _ => Some(0),
        };
        OutboxRow { id, table: entity.table.to_owned(), content, published, counter }
    }

    fn message(&mut self, entity: &Entity, id: &str, payload: String) -> Content {
        let mut headers = vec![
            ("PARTITION_ID".to_owned(), entity.key.clone()),
            ("ID".to_owned(), id.to_owned()),
            ("fejléc".to_owned(), random_text(&mut self.random, ANY_TEXT, 8)),
        ];
        if self.random.random_bool(0.5) {
            headers.reverse();
        }
        Content::Message { destination: entity.topic.clone(), headers, payload }
    }
}

/// Inserts rows of one table by one statement.
pub fn insert_rows(sql: &mut Sql, table: &str, rows: &[OutboxRow]) {
    let is_message = matches!(rows[0].content, Content::Message { .. });
    let columns = if is_message {
        "id, destination, headers, payload, creation_time, published"
    } else {
        "event_id, event_type, event_data, entity_type, entity_id, metadata, published"
    };
    let places = if is_message { "(?, ?, ?, ?, ?, ?)" } else { "(?, ?, ?, ?, ?, ?, ?)" };
    let places = vec![places; rows.len()].join(", ");
    let values: Vec<Value> = rows.iter().flat_map(values_of).collect();
    sql.run_with(format!("INSERT INTO {table} ({columns}) VALUES {places}"), values);
}

fn values_of(row: &OutboxRow) -> Vec<Value> {
    match &row.content {
        Content::Event { entity_type, entity_id, event_type, event_data, metadata } => vec![
            Value::from(&row.id),
            Value::from(event_type),
            Value::from(event_data),
            Value::from(entity_type),
            Value::from(entity_id),
            Value::from(metadata.clone()),
            Value::from(row.published),
        ],
        Content::Message { destination, headers, payload } => vec![
            Value::from(&row.id),
            Value::from(destination),
            // The relay writes them compact again.
            Value::from(json_object(headers, " , ", ": ")),
            Value::from(payload),
            Value::from(1_795_253_132_587_i64),
            Value::from(row.published),
        ],
    }
}

fn random_text(random: &mut ChaCha8Rng, palette: &[&str], length: usize) -> String {
    (0..length).map(|_| *palette.choose(random).expect("a palette has characters")).collect()
}

/// An INSERT of one event as text, for rows that no ledger has: `data` is a literal of SQL.
pub fn insert_event(id: &str, data: &str, topic: &str) -> String {
    format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
         VALUES ('{id}', 't', {data}, '{topic}', 'e')"
    )
}

/// A writer that does exactly what a test tells it, to the table `events` of a scene.
pub struct PlainWriter {
    pub sql: Sql,
    pub ledger: Arc<Ledger>,
    pub topic: String,
    rows_written: u64,
}

impl PlainWriter {
    pub fn on(scene: &Scene) -> PlainWriter {
        PlainWriter {
            sql: scene.sql(),
            ledger: Arc::new(Ledger::default()),
            topic: scene.topic("account"),
            rows_written: 0,
        }
    }

    /// The next row, that the ledger does not know yet.
    pub fn unnoted_row(&mut self) -> OutboxRow {
        self.rows_written += 1;
        let counter = self.rows_written;
        OutboxRow {
            id: format!("{:016x}-{counter:016x}", 0xacc),
            table: "events".to_owned(),
            content: Content::Event {
                entity_type: self.topic.clone(),
                entity_id: format!("acc-{}", counter % 5),
                event_type: "bank.Deposited".to_owned(),
                event_data: format!(r#"{{"n":{counter}}}"#),
                metadata: None,
            },
            published: Some(0),
            counter,
        }
    }

    /// The next row, noted but not inserted.
    pub fn next_row(&mut self) -> OutboxRow {
        let row = self.unnoted_row();
        self.ledger.note_written(row.clone());
        row
    }

    pub fn next_rows(&mut self, count: usize) -> Vec<OutboxRow> {
        (0..count).map(|_| self.next_row()).collect()
    }

    /// Inserts rows by one statement; what it is part of is the test's business.
    pub fn insert(&mut self, count: usize) -> Vec<String> {
        let rows = self.next_rows(count);
        insert_rows(&mut self.sql, "events", &rows);
        rows.into_iter().map(|row| row.id).collect()
    }

    /// Writes one transaction of this row, which the ledger does not know yet.
    pub fn write_row(&mut self, row: OutboxRow) {
        self.ledger.note_written(row.clone());
        insert_rows(&mut self.sql, &row.table, std::slice::from_ref(&row));
        self.ledger.note_committed([row.id]);
    }

    /// Writes `count` transactions of one row each.
    pub fn write(&mut self, count: usize) {
        for _ in 0..count {
            self.write_together(1);
        }
    }

    /// Writes one transaction of `count` rows, by one statement where it can be.
    pub fn write_together(&mut self, count: usize) {
        const ROWS_OF_A_STATEMENT: usize = 1_000;
        self.sql.run("BEGIN");
        let mut ids = Vec::new();
        while ids.len() < count {
            let now = ROWS_OF_A_STATEMENT.min(count - ids.len());
            ids.extend(self.insert(now));
        }
        self.sql.run("COMMIT");
        self.ledger.note_committed(ids);
    }

    /// Runs `body` as one transaction; it returns the ids that its commit makes last.
    pub fn transaction(&mut self, body: impl FnOnce(&mut PlainWriter) -> Vec<String>) {
        self.sql.run("BEGIN");
        let ids = body(self);
        self.sql.run("COMMIT");
        self.ledger.note_committed(ids);
    }
}

/// Compression makes nothing of it much smaller than it is.
pub fn incompressible_text(length: usize) -> String {
    (0..length).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect()
}
