//! Updates and deletes of an outbox table: ignored, or a halt at their transaction where `on_update` and `on_delete` say so.

use harness::consumer::{Inbox, Record};
use harness::relay::{Outbox, Relay, RelaySetup, SOON};
use harness::scene::{Delivery, Scene, checkpoint_place};
use harness::sql::{Coordinates, Sql};

/// Each changes a row of a table of its own in one transaction: settings of the session, the statement, and the key that
/// refuses it.
const CHANGES: [(&str, &str, &str); 8] = [
    ("", "INSERT INTO {t} (id) VALUES (1) ON DUPLICATE KEY UPDATE code = 'c'", "on_update"),
    // Where the last unique key of the table is the only one in the way, the server logs an update.
    ("", "REPLACE INTO {t} (id, code) VALUES (30, 'c3')", "on_update"),
    // Else it logs a delete and an insert, which is relayed.
    ("", "REPLACE INTO {t} (id, code) VALUES (2, 'two')", "on_delete"),
    ("binlog_row_image = MINIMAL", "UPDATE {t} SET doc = '{}' WHERE id = 1", "on_update"),
    (
        "binlog_row_value_options = PARTIAL_JSON",
        "UPDATE {t} SET doc = JSON_SET(doc, '$.a', 1) WHERE id = 4",
        "on_update",
    ),
    (
        "binlog_transaction_compression = ON",
        "UPDATE {t} SET filler = REPEAT('a', 200) WHERE id = 1",
        "on_update",
    ),
    ("", "UPDATE other JOIN {t} USING (id) SET other.n = 1, code = 'j'", "on_update"),
    ("binlog_row_image = MINIMAL", "DELETE FROM {t} WHERE id = 4", "on_delete"),
];

fn create(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (
           id INT PRIMARY KEY, code VARCHAR(20) UNIQUE, doc JSON, filler VARCHAR(200) NOT NULL DEFAULT ''
         ) CHARACTER SET utf8mb4"
    )
}

fn outbox(scene: &Scene, table: &str, lines: &[&str]) -> Outbox {
    let topic = format!("topic = \"{}\"", scene.topic("orders"));
    let of_plan = [&*topic, "key = \"{id}\"", "value = \"{id}\""];
    let lines = of_plan.iter().chain(lines).map(|line| (*line).to_owned()).collect();
    Outbox { lines, ..scene.outbox(table, "custom") }
}

/// A relay of `orders`, by these lines.
fn setup(scene: &Scene, lines: &[&str]) -> RelaySetup {
    RelaySetup { outboxes: vec![outbox(scene, "orders", lines)], ..scene.relay_setup() }
}

/// The values of all records, in stream order.
fn values(scene: &Scene) -> Vec<String> {
    let mut records =
        Inbox::read_all(&scene.kafka, &scene.topic("orders"), scene.delivery.isolation());
    records.sort_by_key(|record| record.headers[0].1.clone());
    records.iter().map(Record::value_text).collect()
}

fn wait_for(scene: &Scene, relay: &Relay, count: usize) {
    let mut inbox = Inbox::open(&scene.kafka, &scene.topic("orders"), scene.delivery.isolation());
    relay.wait_until_came(&mut inbox, count, SOON);
}

/// Writes each change to its table, with a row before it in its transaction, and one in a transaction before. Returns the
/// boundaries before and behind each.
fn write_changes(sql: &mut Sql) -> Vec<(Coordinates, Coordinates)> {
    let mut boundaries = Vec::new();
    for (number, (setting, statement, _)) in CHANGES.iter().enumerate() {
        let (table, id) = (format!("orders_{number}"), 100 + 2 * number);
        sql.run(format!("INSERT INTO {table} (id) VALUES ({id})"));
        let before = sql.end_of_binlog();
        let variable = setting.split_once(" = ").map(|(variable, _)| variable);
        if variable.is_some() {
            sql.run(format!("SET SESSION {setting}"));
        }
        sql.run("BEGIN");
        sql.run(format!("INSERT INTO {table} (id) VALUES ({})", id + 1));
        sql.run(statement.replace("{t}", &table));
        sql.run("COMMIT");
        if let Some(variable) = variable {
            sql.run(format!("SET SESSION {variable} = DEFAULT"));
        }
        boundaries.push((before, sql.end_of_binlog()));
    }
    boundaries
}

#[test]
fn each_change_that_is_refused_halts_before_its_transaction_until_it_is_ignored_or_given_up() {
    let scene = Scene::on_shared_servers("refused_changes");
    let mut sql = scene.sql();
    sql.run("CREATE TABLE other (id INT PRIMARY KEY, n INT)");
    sql.run("INSERT INTO other VALUES (1, 0)");
    let halting = ["on_update = \"halt\"", "on_delete = \"halt\""];
    let mut setup = RelaySetup { outboxes: Vec::new(), ..scene.relay_setup() };
    for table in (0..CHANGES.len()).map(|number| format!("orders_{number}")) {
        sql.run(create(&table));
        sql.run(format!(
            "INSERT INTO {table} (id, code, doc) VALUES (1, 'a', NULL), (2, 'b2', NULL), (3, 'c3', NULL),
             (4, 'x', '{{\"a\": 0, \"b\": \"bbbbbbbbbbbbbbbb\"}}')"
        ));
        setup.outboxes.push(outbox(&scene, &table, &halting));
    }
    let first = 4 * CHANGES.len();
    for (number, boundaries) in write_changes(&mut sql).iter().enumerate() {
        let (_, statement, key) = CHANGES[number];
        let mut relay = setup.start();
        halts_over(&scene, &setup, &mut relay, number);
        let before: Vec<_> = (100..=100 + 2 * number).map(|id| id.to_string()).collect();
        let mut values = values(&scene).split_off(first);
        // What a REPLACE before this one wrote anew.
        values.retain(|value| value != "2");
        assert_eq!(values, before, "{statement}");
        let stored = scene.checkpoint().expect("a checkpoint");
        let place = checkpoint_place(&stored);
        assert!(boundaries.0 <= place && place < boundaries.1, "{statement}: {stored}");
        if number + 1 < CHANGES.len() {
            let ignoring = halting.map(|line| {
                if line.starts_with(key) { line.replace("halt", "ignore") } else { line.to_owned() }
            });
            let ignoring: Vec<_> = ignoring.iter().map(String::as_str).collect();
            setup.outboxes[number] = outbox(&scene, &format!("orders_{number}"), &ignoring);
        } else {
            setup.set_checkpoint(relay.printed_way_out().last().expect("it ends with a position"));
        }
    }
    let mut relay = setup.start();
    sql.run("INSERT INTO orders_0 (id) VALUES (200)");
    // One more was written anew, and the row before the last change was given up with it.
    wait_for(&scene, &relay, first + 2 * CHANGES.len() + 1);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_eq!(values(&scene).last().map(String::as_str), Some("200"));
}

fn halts_over(scene: &Scene, setup: &RelaySetup, relay: &mut Relay, number: usize) {
    let (_, _, key) = CHANGES[number];
    let change = if key == "on_update" { "updated" } else { "deleted" };
    relay.halts_saying(
        &format!(
            "MySQL {}: rows of {}.orders_{number} were {change} by the event that ends at …, which the relay is told to \
             refuse",
            setup.mysql_address, scene.name
        ),
        &format!(
            "only inserted rows are relayed: …; or set {key} = \"ignore\" in this table's [[outbox]]; everything \
             before that transaction is in Kafka; or give that transaction up: …"
        ),
    );
}

/// One transaction above the batch limit, with a change behind a part that has left already.
#[test]
fn a_halted_relay_goes_on_where_it_stood_once_the_change_is_ignored() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on_shared_servers("refused_mended").with(delivery);
        let mut sql = scene.sql();
        sql.run(create("orders"));
        sql.run("INSERT INTO orders (id) VALUES (0)");
        sql.run("BEGIN");
        for from in [1, 31] {
            let rows: Vec<_> = (from..from + 30).map(|id| format!("({id})")).collect();
            sql.run(format!("INSERT INTO orders (id) VALUES {}", rows.join(", ")));
        }
        sql.run("UPDATE orders SET code = 'b' WHERE id = 1");
        sql.run("INSERT INTO orders (id) VALUES (61)");
        sql.run("COMMIT");
        let with = |value: &str| {
            let setup = setup(&scene, &[&format!("on_update = \"{value}\"")]);
            RelaySetup { batch_lines: vec!["max_records = 10".to_owned()], ..setup }
        };
        for _ in 0..2 {
            let log = with("halt").start().halts();
            assert!(log.contains(".orders were updated"), "{log}");
        }
        let mut relay = with("ignore").start();
        wait_for(&scene, &relay, 62);
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        let all: Vec<_> = (0..62).map(|id| id.to_string()).collect();
        assert_eq!(values(&scene), all, "each row once, in the order of the binlog");
    }
}

#[test]
fn what_is_no_change_of_a_row_of_the_table_or_is_ignored_does_not_halt() {
    let scene = Scene::on_shared_servers("unrefused_changes");
    let mut sql = scene.sql();
    sql.run(create("orders"));
    sql.run("CREATE TABLE other (id INT PRIMARY KEY, n INT)");
    sql.run("CREATE TABLE parent (id INT PRIMARY KEY)");
    sql.run("INSERT INTO orders (id, code) VALUES (0, 'a')");
    sql.run("DELETE FROM orders");
    // Before the start, nobody refused it.
    let start = sql.end_of_binlog();
    let mut setup = setup(&scene, &["on_update = \"halt\"", "on_delete = \"halt\""]);
    setup.start_from = Some(start.to_string());
    let mut ignoring = scene.outbox("other", "custom");
    ignoring.lines =
        vec![format!("topic = \"{}\"", scene.topic("orders")), "value = \"{n}\"".to_owned()];
    setup.outboxes.push(ignoring);
    let mut relay = setup.start();
    sql.run("INSERT INTO orders (id, code) VALUES (1, 'a')");
    // Nothing is changed, so nothing is logged.
    sql.run("UPDATE orders SET code = 'a' WHERE id = 1");
    sql.run("DELETE FROM orders WHERE id = 7");
    sql.run("BEGIN");
    sql.run("DELETE FROM orders");
    sql.run("ROLLBACK");
    sql.run("BEGIN");
    sql.run("INSERT INTO other VALUES (1, 2)");
    sql.run("SAVEPOINT a");
    sql.run("UPDATE orders SET code = 'b'");
    sql.run("ROLLBACK TO a");
    sql.run("UPDATE other SET n = 3");
    sql.run("DELETE FROM other");
    sql.run("COMMIT");
    sql.run("INSERT INTO parent VALUES (1)");
    sql.run("UPDATE parent SET id = 2");
    sql.run("DELETE FROM parent");
    // DDL is no delete of rows.
    sql.run("TRUNCATE TABLE orders");
    sql.run("INSERT INTO orders (id) VALUES (3)");
    // A relay that has not seen the table yet asks the server for it.
    wait_for(&scene, &relay, 3);
    sql.run("ALTER TABLE orders ADD COLUMN more INT DEFAULT 4");
    sql.run("DROP TABLE orders");
    sql.run(create("orders"));
    sql.run("INSERT INTO orders (id) VALUES (4)");
    wait_for(&scene, &relay, 4);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_eq!(values(&scene), ["1", "2", "3", "4"]);
}
