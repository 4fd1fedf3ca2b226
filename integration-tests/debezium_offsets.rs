//! The relay goes on where a connector of Debezium stopped: at each row of a transaction that has rows of other tables,
//! by the offsets as Kafka Connect stores them. `make debezium` does the same with the real Debezium.

use harness::consumer::Inbox;
use harness::kafka::{create_compacted_topic, write_record};
use harness::relay::{Outbox, RelaySetup, SOON};
use harness::scene::Scene;
use harness::sql::{BinlogLine, Coordinates, Sql};

const CONNECTOR: &str = "orders";

/// A transaction of three statements: rows 1 to 3 of the outbox, rows of another table, rows 4 and 5 of the outbox.
struct Written {
    scene: Scene,
    /// The BEGIN event.
    begin: Coordinates,
    /// Events of the transaction, BEGIN first.
    events: Vec<BinlogLine>,
    /// GTIDs before it, where the server has them.
    gtids: Option<String>,
}

fn write(label: &str, is_compressed: bool) -> Written {
    let scene = Scene::on_shared_servers(label);
    let mut sql = scene.sql();
    sql.run("CREATE TABLE outbox (id INT PRIMARY KEY, aggregatetype VARCHAR(99) NOT NULL, aggregateid VARCHAR(9) NOT NULL, type VARCHAR(9), payload TEXT)");
    sql.run("CREATE TABLE orders (id INT PRIMARY KEY)");
    let insert = |sql: &mut Sql, ids: std::ops::RangeInclusive<u32>| {
        let topic = scene.topic("order");
        let rows: Vec<String> =
            ids.map(|id| format!("({id}, '{topic}', 'k', 't', '{id}')")).collect();
        sql.run(format!("INSERT INTO outbox VALUES {}", rows.join(", ")));
    };
    insert(&mut sql, 0..=0);
    let gtids =
        sql.value::<String>("SELECT @@GLOBAL.gtid_mode").eq("ON").then(|| sql.executed_gtids());
    let before = sql.end_of_binlog();
    if is_compressed {
        sql.run("SET SESSION binlog_transaction_compression = ON");
    }
    sql.run("BEGIN");
    insert(&mut sql, 1..=3);
    sql.run("INSERT INTO orders VALUES (1), (2)");
    insert(&mut sql, 4..=5);
    sql.run("COMMIT");
    insert(&mut sql, 6..=6);
    let of_others = |line: &BinlogLine| !line.kind.ends_with("Gtid");
    let all = sql.binlog_events_since(&before);
    let first = all.iter().position(|(_, line)| of_others(line)).expect("a BEGIN");
    let start = all[first - 1].1.end;
    let begin = Coordinates { file: all[first].0.clone(), offset: start };
    let events = all[first..].iter().map(|(_, line)| line.clone()).collect();
    Written { scene, begin, events, gtids }
}

impl Written {
    /// An offset as Debezium stores it.
    fn offset(&self, event: u64, row: u64, has_gtids: bool) -> String {
        let Coordinates { file, offset } = &self.begin;
        let gtids = match (&self.gtids, has_gtids) {
            (Some(gtids), true) => format!(",\"gtids\":\"{gtids}\""),
            _ => String::new(),
        };
        format!(
            r#"{{"ts_sec":1,"file":"{file}","pos":{offset},"row":{row},"server_id":1,"event":{event}{gtids}}}"#
        )
    }

    fn setup(&self, number: usize) -> RelaySetup {
        let mut setup = self.scene.relay_setup();
        setup.name = format!("{}-{number}", self.scene.name);
        setup.checkpoint_topic = format!("{}-{number}", self.scene.checkpoint_topic());
        setup.start_from = Some(format!("debezium:{}/{CONNECTOR}", self.offset_topic()));
        let topic = format!("topic = \"{}\"", self.scene.topic(&format!("to-{number}")));
        setup.outboxes =
            vec![Outbox { lines: vec![topic], ..self.scene.outbox("outbox", "outbox") }];
        setup
    }

    fn offset_topic(&self) -> String {
        format!("{}-offsets", self.scene.name)
    }

    fn store(&self, offset: &str) {
        let key = format!(r#"["{CONNECTOR}",{{"server":"shop"}}]"#);
        write_record(
            &self.scene.kafka,
            &self.offset_topic(),
            None,
            Some(&key),
            Some(offset.as_bytes()),
        );
    }

    /// The rows that a relay publishes that starts at this offset.
    fn rows_after(&self, number: usize, offset: &str) -> Vec<u32> {
        self.store(offset);
        let mut relay = self.setup(number).start();
        let topic = self.scene.topic(&format!("to-{number}"));
        let mut inbox = Inbox::open(&self.scene.kafka, &topic, self.scene.delivery.isolation());
        relay.wait_until_came(&mut inbox, 1, SOON);
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        let mut records =
            Inbox::read_all(&self.scene.kafka, &topic, self.scene.delivery.isolation());
        records.sort_by_key(|record| record.offset);
        records.iter().map(|record| record.value_text().parse().expect("a number")).collect()
    }
}

#[test]
fn a_relay_goes_on_at_each_row_where_debezium_stopped() {
    let written = write("dbz_offsets", false);
    create_compacted_topic(&written.scene.kafka, &written.offset_topic(), 3);
    let kinds: Vec<&str> = written.events[..8].iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds[..3], ["Query", "Table_map", "Write_rows"], "{kinds:?}");
    written.store(&written.offset(2, 1, false));
    let check = written.setup(99).answer(&["check"]);
    let place = format!("relaying would go on from {}", written.begin);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && said.contains(&place), "{said}");
    for (number, (event, row, has_gtids, rows)) in [
        (0, 0, false, 1..=6),
        (1, 0, true, 1..=6),
        (2, 1, true, 2..=6),
        (2, 3, false, 4..=6),
        (4, 2, true, 4..=6),
        (6, 1, false, 5..=6),
        (6, 2, true, 6..=6),
    ]
    .into_iter()
    .enumerate()
    {
        let came = written.rows_after(number, &written.offset(event, row, has_gtids));
        assert_eq!(came, rows.collect::<Vec<_>>(), "event {event}, row {row}, GTIDs {has_gtids}");
    }
}

#[test]
fn the_place_where_debezium_stopped_is_stored_before_a_row_is_read() {
    let written = write("dbz_stored", false);
    create_compacted_topic(&written.scene.kafka, &written.offset_topic(), 1);
    for (number, has_gtids) in [(0, true), (1, false)] {
        written.store(&written.offset(2, 2, has_gtids));
        let mut setup = written.setup(number);
        let create = setup.kafka_lines.clone();
        setup.kafka_lines = vec!["create_topics = false".to_owned()];
        create_compacted_topic(&written.scene.kafka, &setup.checkpoint_topic, 1);
        // It claims the place, and waits for the topic of the first row.
        let mut relay = setup.start();
        relay.wait_for_log("relaying");
        relay.kill();
        // Debezium's offsets are not looked at again.
        written.store("{}");
        setup.kafka_lines = create;
        let mut relay = setup.start();
        let topic = written.scene.topic(&format!("to-{number}"));
        let mut inbox =
            Inbox::open(&written.scene.kafka, &topic, written.scene.delivery.isolation());
        relay.wait_until_came(&mut inbox, 4, SOON);
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        let mut came: Vec<String> =
            inbox.take_what_came().iter().map(harness::consumer::Record::value_text).collect();
        came.sort();
        assert_eq!(came, ["3", "4", "5", "6"], "GTIDs {has_gtids}");
    }
}

#[test]
fn a_relay_goes_on_inside_of_a_compressed_transaction() {
    let written = write("dbz_payload", true);
    if written.events[0].kind != "Transaction_payload" {
        harness::say("this server compresses no transactions: NOT RUN");
        return;
    }
    create_compacted_topic(&written.scene.kafka, &written.offset_topic(), 1);
    for (number, (event, row, rows)) in [(2, 2, 3..=6), (6, 1, 5..=6)].into_iter().enumerate() {
        let came = written.rows_after(number, &written.offset(event, row, true));
        assert_eq!(came, rows.collect::<Vec<_>>(), "event {event}, row {row}");
    }
}

#[test]
fn offsets_that_are_no_place_halt_the_relay_with_a_hint() {
    let written = write("dbz_halts", false);
    let begins_with = |number, error: &str, hint: &str| {
        written.setup(number).start().halts_saying(error, hint);
    };
    begins_with(
        0,
        "there is no topic … with the offsets of Kafka Connect",
        "name the worker's offset.storage.topic, …",
    );
    create_compacted_topic(&written.scene.kafka, &written.offset_topic(), 1);
    begins_with(
        1,
        "the topic … has no offset of a MySQL connector \"orders\"; it has none of MySQL",
        "name the connector …",
    );
    let Coordinates { file, offset } = &written.begin;
    written.store(&format!(r#"{{"file":"{file}","pos":{offset},"snapshot":"INITIAL"}}"#));
    begins_with(
        2,
        "the connector orders stopped in its snapshot",
        "let the connector finish its snapshot …",
    );
    for (number, (event, row, what)) in [
        (2, 9, "its event has fewer rows"),
        (99, 0, "it has fewer events"),
        (0, 1, "it counts rows, and no event that begins their transaction, …"),
    ]
    .into_iter()
    .enumerate()
    {
        written.store(&written.offset(event, row, false));
        let error = format!("the connector orders stopped inside the transaction at …, but {what}");
        begins_with(3 + number, &error, "point the relay at the server that the connector read; …");
    }
    written.store(&format!(
        r#"{{"file":"{file}","pos":{},"row":1,"event":2}}"#,
        written.events[0].end
    ));
    let error = "the connector orders stopped inside the transaction at …, but …";
    begins_with(6, error, "point the relay at the server that the connector read; …");
}
