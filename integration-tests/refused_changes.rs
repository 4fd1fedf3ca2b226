//! Updates and deletes of an outbox table: ignored, or a halt at their transaction where `on_update` and `on_delete` say so.

use harness::consumer::{Inbox, Record};
use harness::relay::{Outbox, Relay, RelaySetup, SOON};
use harness::scene::{Delivery, Scene, checkpoint_place};
use harness::sql::{Coordinates, Sql};

const TABLE: &str = "CREATE TABLE orders (
   id INT PRIMARY KEY, code VARCHAR(20) UNIQUE, doc JSON, filler VARCHAR(200) NOT NULL DEFAULT ''
 ) CHARACTER SET utf8mb4";

/// Each changes a row of `orders` in one transaction: settings of the session, the statement, and the key that refuses it.
const CHANGES: [(&str, &str, &str); 10] = [
    ("", "UPDATE orders SET code = 'b' WHERE id = 1", "on_update"),
    ("", "INSERT INTO orders (id) VALUES (1) ON DUPLICATE KEY UPDATE code = 'c'", "on_update"),
    // Where the last unique key of the table is the only one in the way, the server logs an update.
    ("", "REPLACE INTO orders (id, code) VALUES (30, 'c3')", "on_update"),
    ("", "REPLACE INTO orders (id, code) VALUES (2, 'two')", "on_delete"),
    ("binlog_row_image = MINIMAL", "UPDATE orders SET doc = '{}' WHERE id = 1", "on_update"),
    (
        "binlog_row_value_options = PARTIAL_JSON",
        "UPDATE orders SET doc = JSON_SET(doc, '$.a', 1) WHERE id = 4",
        "on_update",
    ),
    (
        "binlog_transaction_compression = ON",
        "UPDATE orders SET filler = REPEAT('a', 200) WHERE id = 1",
        "on_update",
    ),
    ("", "UPDATE other JOIN orders USING (id) SET other.n = 1, orders.code = 'j'", "on_update"),
    ("binlog_row_image = MINIMAL", "DELETE FROM orders WHERE id = 4", "on_delete"),
    ("", "DELETE orders, other FROM orders JOIN other USING (id)", "on_delete"),
];

/// A relay of `orders`, by these lines.
fn setup(scene: &Scene, lines: &[&str]) -> RelaySetup {
    let topic = format!("topic = \"{}\"", scene.topic("orders"));
    let of_plan = [&*topic, "key = \"{id}\"", "value = \"{id}\""];
    let lines = of_plan.iter().chain(lines).map(|line| (*line).to_owned()).collect();
    let outboxes = vec![Outbox { lines, ..scene.outbox("orders", "custom") }];
    RelaySetup { outboxes, ..scene.relay_setup() }
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

/// Writes each change, with a row before it in its transaction, and one in a transaction between. Returns the boundaries
/// before and behind each.
fn write_changes(sql: &mut Sql) -> Vec<(Coordinates, Coordinates)> {
    let mut boundaries = Vec::new();
    for (number, (setting, statement, _)) in CHANGES.iter().enumerate() {
        let id = 100 + 2 * number;
        sql.run(format!("INSERT INTO orders (id) VALUES ({id})"));
        let before = sql.end_of_binlog();
        if let Some((variable, value)) = setting.split_once(" = ") {
            sql.run(format!("SET SESSION {variable} = {value}"));
        }
        sql.run("BEGIN");
        sql.run(format!("INSERT INTO orders (id) VALUES ({})", id + 1));
        sql.run(statement);
        sql.run("COMMIT");
        if let Some((variable, _)) = setting.split_once(" = ") {
            sql.run(format!("SET SESSION {variable} = DEFAULT"));
        }
        boundaries.push((before, sql.end_of_binlog()));
    }
    boundaries
}

#[test]
fn each_change_that_is_refused_halts_before_its_transaction_and_can_be_given_up() {
    let scene = Scene::on_shared_servers("refused_changes");
    let mut sql = scene.sql();
    sql.run(TABLE);
    sql.run("CREATE TABLE other (id INT PRIMARY KEY, n INT)");
    sql.run("INSERT INTO other VALUES (1, 0)");
    sql.run(
        "INSERT INTO orders (id, code, doc) VALUES (1, 'a', NULL), (2, 'b2', NULL), (3, 'c3', NULL),
         (4, 'x', '{\"a\": 0, \"b\": \"bbbbbbbbbbbbbbbb\"}')",
    );
    let boundaries = write_changes(&mut sql);
    let setup = setup(&scene, &["on_update = \"halt\"", "on_delete = \"halt\""]);
    let first = 4;
    for (number, ((_, statement, key), (before, behind))) in
        CHANGES.iter().zip(&boundaries).enumerate()
    {
        let mut relay = setup.start();
        let change = if *key == "on_update" { "updated" } else { "deleted" };
        relay.halts_saying(
            &format!(
                "MySQL {}: rows of {}.orders were {change} by the event that ends at …, which the relay is told to \
                 refuse",
                setup.mysql_address, scene.name
            ),
            &format!(
                "only inserted rows are relayed: …; or set {key} = \"ignore\" in this table's [[outbox]]; everything \
                 before that transaction is in Kafka; or give that transaction up: …"
            ),
        );
        let values = values(&scene);
        assert_eq!(values.len(), first + number + 1, "{statement}: {values:?}");
        assert_eq!(values.last(), Some(&format!("{}", 100 + 2 * number)), "{statement}");
        let stored = scene.checkpoint().expect("a checkpoint");
        let place = checkpoint_place(&stored);
        assert!(*before <= place && place < *behind, "{statement}: {stored}");
        let command = relay.printed_way_out();
        setup.set_checkpoint(command.last().expect("it ends with a position"));
    }
    let mut relay = setup.start();
    sql.run("INSERT INTO orders (id) VALUES (200)");
    wait_for(&scene, &relay, first + CHANGES.len() + 1);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_eq!(values(&scene).last().map(String::as_str), Some("200"));
}

/// One transaction above the batch limit, with a change behind a part that has left already.
#[test]
fn a_halted_relay_goes_on_where_it_stood_once_the_change_is_ignored() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on_shared_servers("refused_mended").with(delivery);
        let mut sql = scene.sql();
        sql.run(TABLE);
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
    sql.run(TABLE);
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
    sql.run(TABLE);
    sql.run("INSERT INTO orders (id) VALUES (4)");
    wait_for(&scene, &relay, 4);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_eq!(values(&scene), ["1", "2", "3", "4"]);
}
