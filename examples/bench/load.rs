//! The rows that the relay has to move: which scenarios there are, and how each gets into the binlog. An event is
//! about 330 bytes in all, of 1,000 entities; its data is JSON of words and digits, which does not compress
//! much better than such data does. Stored procedures write, so that filling does not take the day.

use std::thread;

use clap::ValueEnum;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use harness::scene::Scene;
use harness::sql::Sql;

/// The ids of all events begin so; the number of the row follows, as 16 hexadecimal digits.
pub const ID_PREFIX: &str = "0000019a5af5a100-";
pub const EVENT_TYPE: &str = "com.example.orders.OrderPlaced";
pub const ENTITIES: u64 = 1_000;
const EVENT_COLUMNS: &str = "event_id, event_type, event_data, entity_type, entity_id, published";
const ROWS_OF_TWENTY: u64 = 20;
/// Group commit makes many small transactions quick.
const WRITERS: u64 = 8;
/// So many different data, of so many bytes; a stretch that a compressor looks back on has no two alike.
pub const NARROW: (u64, usize) = (20_000, 230);
const WIDE: (u64, usize) = (1_000, 10_000);
const SEED: u64 = 330;

/// A backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Scenario {
    /// 300,000 transactions of one row
    Single,
    /// 300,000 rows in transactions of 20, one INSERT each
    Twenty,
    /// One transaction of 1,000,000 rows
    Large,
    /// The same, compressed by MySQL
    LargeCompressed,
    /// 30,000 transactions of one row of 10 kB
    Wide,
    /// 300,000 transactions of one row, every second one on another table
    Half,
    /// 300,000 transactions of one row, all on another table
    Other,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Single => "single",
            Scenario::Twenty => "twenty",
            Scenario::Large => "large",
            Scenario::LargeCompressed => "large-compressed",
            Scenario::Wide => "wide",
            Scenario::Half => "half",
            Scenario::Other => "other",
        }
    }

    /// In words, as the help has it.
    pub fn description(self) -> String {
        let value = self.to_possible_value().expect("no scenario is hidden");
        value.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// How many rows of it are to be relayed.
    pub fn rows(self, scale: f64) -> u64 {
        let rows = match self {
            Scenario::Single | Scenario::Twenty => 300_000.0,
            Scenario::Large | Scenario::LargeCompressed => 1_000_000.0,
            Scenario::Wide => 30_000.0,
            Scenario::Half => 150_000.0,
            Scenario::Other => return 0,
        };
        whole_twenties(rows * scale)
    }

    /// What its rates count: the rows that are relayed, or where there are none, the transactions.
    pub fn units(self, scale: f64) -> u64 {
        match self {
            Scenario::Other => whole_twenties(300_000.0 * scale),
            _ => self.rows(scale),
        }
    }

    fn data(self) -> (u64, usize) {
        match self {
            Scenario::Wide => WIDE,
            _ => NARROW,
        }
    }

    /// The body of a loop over `i`, which steps by the second number.
    fn loop_body(self, scene: &Scene) -> (String, u64) {
        let event = format!(
            "INSERT INTO events ({EVENT_COLUMNS}) SELECT {} FROM data WHERE n = i MOD {};",
            event_values("i", scene),
            self.data().0
        );
        let other = format!(
            "INSERT INTO orders (customer, note, state) \
             SELECT CONCAT('customer-', i MOD {ENTITIES}), CONCAT(MD5(i), note), 'placed' FROM data WHERE n = i MOD {};",
            self.data().0
        );
        match self {
            Scenario::Twenty => (twenty_events(scene), ROWS_OF_TWENTY),
            Scenario::Half => (event + &other, 1),
            Scenario::Other => (other, 1),
            _ => (event, 1),
        }
    }
}

/// Makes the tables, the data and the procedure of a scenario. What they leave in the binlog is before the
/// scenario's own.
pub fn prepare(scenario: Scenario, scene: &Scene, rows: u64) {
    let mut sql = scene.sql();
    sql.run("CREATE TABLE orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(100), note MEDIUMTEXT, state VARCHAR(20))");
    write_notes(&mut sql, scenario.data());
    match scenario {
        Scenario::Large | Scenario::LargeCompressed => {
            sql.run("CREATE TABLE times (k INT PRIMARY KEY)");
            for k in 0..rows.div_ceil(scenario.data().0) {
                sql.run(format!("INSERT INTO times VALUES ({k})"));
            }
        }
        _ => {
            let (body, step) = scenario.loop_body(scene);
            create_fill(&mut sql, &body, step);
        }
    }
}

/// Makes the table `data` with this many notes, numbered `n`, each for data of this many bytes.
pub fn write_notes(sql: &mut Sql, (count, bytes): (u64, usize)) {
    sql.run("CREATE TABLE data (n INT PRIMARY KEY, note MEDIUMTEXT NOT NULL)");
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let numbers: Vec<u64> = (0..count).collect();
    for some in numbers.chunks(200) {
        let value = |n: &u64| format!("({n}, '{}')", note(&mut random, bytes));
        let values: Vec<String> = some.iter().map(value).collect();
        sql.run(format!("INSERT INTO data VALUES {}", values.join(",")));
    }
}

/// Makes the procedure that runs `body` for each `step`th number `i`.
pub fn create_fill(sql: &mut Sql, body: &str, step: u64) {
    sql.run(format!(
        "CREATE PROCEDURE fill(first INT, behind INT) BEGIN DECLARE i INT DEFAULT first; \
         WHILE i < behind DO {body} SET i = i + {step}; END WHILE; END"
    ));
}

/// Writes the rows.
pub fn write(scenario: Scenario, scene: &Scene, scale: f64) {
    let units = scenario.units(scale);
    match scenario {
        Scenario::Large => write_at_once(&mut scene.sql(), scene, units),
        Scenario::LargeCompressed => {
            let mut sql = scene.sql();
            sql.run("SET SESSION binlog_transaction_compression = ON");
            write_at_once(&mut sql, scene, units);
        }
        _ => thread::scope(|scope| {
            let share = (units / WRITERS).next_multiple_of(ROWS_OF_TWENTY);
            for writer in 0..WRITERS {
                let (first, behind) = (writer * share, units.min((writer + 1) * share));
                let mut sql = scene.sql();
                scope.spawn(move || {
                    sql.run("SET SESSION transaction_isolation = 'READ-COMMITTED'");
                    sql.run(format!("CALL fill({first}, {behind})"));
                });
            }
        }),
    }
}

/// The columns' values of row `number`, an SQL expression.
fn event_values(number: &str, scene: &Scene) -> String {
    let topic = scene.topic("event");
    format!(
        "CONCAT('{ID_PREFIX}', LPAD(LOWER(HEX({number})), 16, '0')), '{EVENT_TYPE}', \
         CONCAT('{{\"digest\":\"', MD5({number}), '\",\"note\":\"', note, '\"}}'), '{topic}', \
         CONCAT('order-', {number} MOD {ENTITIES}), 0"
    )
}

fn twenty_events(scene: &Scene) -> String {
    let (count, _) = NARROW;
    let values = event_values(&format!("(i - i MOD {count} + n)"), scene);
    format!(
        "INSERT INTO events ({EVENT_COLUMNS}) SELECT {values} FROM data \
         WHERE n >= i MOD {count} AND n < i MOD {count} + {ROWS_OF_TWENTY} ORDER BY n;"
    )
}

fn write_at_once(sql: &mut Sql, scene: &Scene, rows: u64) {
    let (count, _) = NARROW;
    let number = format!("(k * {count} + n)");
    let values = event_values(&number, scene);
    // In the order of the primary key, which InnoDB takes best.
    sql.run(format!(
        "INSERT INTO events ({EVENT_COLUMNS}) SELECT {values} FROM times STRAIGHT_JOIN data \
         WHERE {number} < {rows} ORDER BY k, n"
    ));
}

/// As many notes as make an event about 330 bytes large.
pub fn narrow_notes(count: usize) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    (0..count).map(|_| note(&mut random, NARROW.1)).collect()
}

/// Words and digits, without anything that JSON or SQL would escape.
fn note(random: &mut ChaCha8Rng, bytes: usize) -> String {
    const WORDS: [&str; 24] = [
        "order",
        "customer",
        "delivered",
        "Budapest",
        "street",
        "payment",
        "card",
        "pending",
        "item",
        "quantity",
        "price",
        "net",
        "gross",
        "invoice",
        "carrier",
        "parcel",
        "weight",
        "returned",
        "approved",
        "cancelled",
        "reason",
        "address",
        "voucher",
        "warehouse",
    ];
    // What comes around it: the braces, names and digits of event_values.
    let bytes = bytes - 65;
    let mut note = String::with_capacity(bytes + 20);
    while note.len() < bytes {
        match random.random_range(0..3) {
            0 => note.push_str(&format!("{:x} ", random.random::<u32>())),
            _ => {
                note.push_str(WORDS.choose(random).expect("there are words"));
                note.push(' ');
            }
        }
    }
    note.truncate(bytes);
    note
}

fn whole_twenties(rows: f64) -> u64 {
    (rows as u64).max(ROWS_OF_TWENTY).next_multiple_of(ROWS_OF_TWENTY)
}
