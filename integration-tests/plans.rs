//! Outboxes of any table: the records of each preset with a plan, and what a plan can say otherwise.

use std::collections::BTreeMap;

use harness::consumer::{Inbox, Record};
use harness::oracle::partition_of;
use harness::relay::{Outbox, Relay, SOON, said};
use harness::scene::{Delivery, Scene};

const DELIVERIES: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::Idempotent];

const OUTBOX: &str = "CREATE TABLE outbox (
   id CHAR(36) PRIMARY KEY, aggregatetype VARCHAR(255) NOT NULL, aggregateid VARCHAR(255) NOT NULL,
   type VARCHAR(255) NOT NULL, payload JSON
 ) CHARACTER SET utf8mb4";

/// What a test looks at of a record.
#[derive(Debug, Clone, PartialEq)]
struct Made {
    topic: String,
    key: Option<String>,
    value: Option<String>,
    /// Without `relay-sequence`.
    headers: Vec<String>,
}

impl Made {
    fn of(record: &Record) -> Made {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("text");
        let (own, others) = record.headers.split_first().expect("a header");
        assert_eq!(own.0, "relay-sequence");
        Made {
            topic: record.topic.clone(),
            key: record.key.as_ref().map(text),
            value: record.value.as_ref().map(text),
            headers: others.iter().map(|(name, value)| format!("{name}={}", text(value))).collect(),
        }
    }
}

fn made(topic: &str, key: Option<&str>, value: Option<&str>, headers: &[&str]) -> Made {
    Made {
        topic: topic.to_owned(),
        key: key.map(str::to_owned),
        value: value.map(str::to_owned),
        headers: headers.iter().map(|header| (*header).to_owned()).collect(),
    }
}

/// A relay of one outbox with these lines.
fn start(scene: &Scene, table: &str, preset: &str, lines: &[&str]) -> Relay {
    let mut setup = scene.relay_setup();
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    setup.outboxes = vec![Outbox { lines, ..scene.outbox(table, preset) }];
    setup.start()
}

/// All records in stream order, once so many have come; then nothing more comes until the relay has stopped.
fn records(scene: &Scene, mut relay: Relay, prefix: &str, count: usize) -> Vec<Record> {
    let mut inbox = Inbox::open(&scene.kafka, prefix, scene.delivery.isolation());
    relay.wait_until_came(&mut inbox, count, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let mut records = Inbox::read_all(&scene.kafka, prefix, scene.delivery.isolation());
    records.sort_by_key(|record| record.headers[0].1.clone());
    assert_eq!(records.len(), count, "{}", relay.log_tail());
    records
}

#[test]
fn an_outbox_of_debezium_becomes_the_records_of_its_router() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("plan_outbox").with(delivery);
        let mut sql = scene.sql();
        sql.run(OUTBOX);
        let relay = start(&scene, "outbox", "outbox", &[]);
        let kind = scene.topic("Order");
        sql.run(format!(
            "INSERT INTO outbox VALUES ('a-1', '{kind}', '7', 'Placed', '{{\"b\": 1, \"a\": [1.50, null]}}'),
             ('a-2', '{kind}', '7', 'Gone', NULL), ('a-3', '{kind}', 'ü', '', '\"x\"')"
        ));
        // What Debezium's users do: the row is gone when its transaction ends.
        sql.run("BEGIN");
        sql.run(format!("INSERT INTO outbox VALUES ('a-4', '{kind}', '8', 'Placed', '{{}}')"));
        sql.run("DELETE FROM outbox WHERE id = 'a-4'");
        sql.run("COMMIT");
        let topic = format!("outbox.event.{kind}");
        let records = records(&scene, relay, &topic, 4);
        let expected = [
            made(&topic, Some("7"), Some(r#"{"a": [1.5, null], "b": 1}"#), &["id=a-1"]),
            made(&topic, Some("7"), None, &["id=a-2"]),
            made(&topic, Some("ü"), Some("\"x\""), &["id=a-3"]),
            made(&topic, Some("8"), Some("{}"), &["id=a-4"]),
        ];
        assert_eq!(records.iter().map(Made::of).collect::<Vec<_>>(), expected);
        for record in &records {
            let key = record.key.as_deref().expect("a key");
            assert_eq!(record.partition, partition_of(key, scene.partitions));
        }
    }
}

#[test]
fn messages_with_a_status_are_relayed_when_they_match() {
    let scene = Scene::on_shared_servers("plan_messages");
    let mut sql = scene.sql();
    sql.run(
        "CREATE TABLE message_events (
           id CHAR(36) PRIMARY KEY, event_type VARCHAR(249) NOT NULL, event_payload JSON NOT NULL,
           created_at TIMESTAMP(6) NOT NULL, status VARCHAR(20)
         ) CHARACTER SET utf8mb4",
    );
    let mut setup = scene.setup_with_http();
    let lines = vec!["where = { status = [\"PENDING\", \"NULL\"] }".to_owned()];
    setup.outboxes = vec![Outbox { lines, ..scene.outbox("message_events", "message-events") }];
    let mut relay = setup.start();
    let topic = scene.topic("paid");
    sql.run("SET time_zone = '+02:00'");
    sql.run(format!(
        "INSERT INTO message_events VALUES
         ('m-1', '{topic}', '{{\"n\": 1}}', '2026-01-31 14:00:00.000100', 'PENDING'),
         ('m-2', '{topic}', '{{\"n\": 2}}', '2026-01-31 14:00:01', 'SENT'),
         ('m-3', '{topic}', '{{\"n\": 3}}', '2026-01-31 14:00:02', NULL)"
    ));
    sql.run("UPDATE message_events SET status = 'SENT'");
    sql.run(format!(
        "INSERT INTO message_events VALUES ('m-4', '{topic}', '4', '2026-01-31 14:00:03.5', 'PENDING')"
    ));
    let http = relay.http();
    scene.wait_for_records(&relay, 3);
    let metrics = http.get("/metrics").body;
    let skipped =
        metrics.lines().find(|line| line.contains("rows_skipped_total{reason=\"where\"}"));
    assert_eq!(skipped, Some("binlog_relay_rows_skipped_total{reason=\"where\"} 1"), "{metrics}");
    let records = records(&scene, relay, &topic, 3);
    let at = |time: &str| format!("createdAt=2026-01-31 12:00:{time}");
    assert_eq!(
        records.iter().map(Made::of).collect::<Vec<_>>(),
        [
            made(&topic, Some("m-1"), Some("{\"n\": 1}"), &["id=m-1", &at("00.000100")]),
            made(&topic, Some("m-3"), Some("{\"n\": 3}"), &["id=m-3", &at("02.000000")]),
            made(&topic, Some("m-4"), Some("4"), &["id=m-4", &at("03.500000")]),
        ]
    );
}

#[test]
fn events_of_aggregates_have_their_version_in_a_header() {
    let scene = Scene::on_shared_servers("plan_events");
    let mut sql = scene.sql();
    sql.run(
        "CREATE TABLE account_events (
           event_id BINARY(4) PRIMARY KEY, aggregate_id BIGINT UNSIGNED NOT NULL,
           aggregate_type VARCHAR(249) NOT NULL, event_type VARCHAR(255), event_version INT NOT NULL,
           body VARBINARY(100) NOT NULL, occurred_at DATETIME(3) NOT NULL
         ) CHARACTER SET latin1",
    );
    let lines = ["columns = { event_data = \"body\" }"];
    let relay = start(&scene, "account_events", "event-sourcing", &lines);
    let kind = scene.topic("Account Opened");
    sql.run(format!(
        "INSERT INTO account_events VALUES
         (x'00ff0102', 18446744073709551615, '{kind}', 'é', 1, 'framed', '2026-01-31 12:00:00.5'),
         (x'01000000', 0, '{kind}', NULL, -2147483648, '', '1000-01-01 00:00:00')"
    ));
    let topic = scene.topic("Account_Opened");
    let records = records(&scene, relay, &topic, 2);
    assert_eq!(
        records.iter().map(Made::of).collect::<Vec<_>>(),
        [
            made(
                &topic,
                Some("18446744073709551615"),
                Some("framed"),
                &["id=AP8BAg==", "type=é", "version=1", "occurredAt=2026-01-31 12:00:00.500"],
            ),
            made(
                &topic,
                Some("0"),
                Some(""),
                &["id=AQAAAA==", "version=-2147483648", "occurredAt=1000-01-01 00:00:00.000"],
            ),
        ]
    );
}

#[test]
fn any_table_becomes_json_with_partition_and_time_of_its_own() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("plan_custom").with(delivery);
        let mut sql = scene.sql();
        sql.run(
            "CREATE TABLE orders (
               id BIGINT AUTO_INCREMENT PRIMARY KEY, shard INT NOT NULL, customer VARCHAR(40) CHARACTER SET latin1,
               amount DECIMAL(12,2), paid BIT(1), raw VARBINARY(8), doc JSON, secret VARCHAR(9), f DOUBLE,
               created_at TIMESTAMP(3) NULL, state ENUM('new', 'old'), d DATE
             ) CHARACTER SET utf8mb4",
        );
        let topic = scene.topic("orders");
        let lines = [
            &format!("topic = \"{}.{{@table}}\"", scene.name),
            "key = \"{customer}\"",
            "value = \"json\"",
            "headers = { place = \"{@database}/{@name}\", none = \"{raw}\", row = \"{@row|default:x}\" }",
            "partition = \"{shard}\"",
            "timestamp = \"{created_at}\"",
            "[outbox.json]",
            "exclude = [\"secret\"]",
            "binary = \"hex\"",
        ];
        let relay = start(&scene, "orders", "custom", &lines);
        sql.run("SET time_zone = '+00:00'");
        sql.run(
            "INSERT INTO orders (shard, customer, amount, paid, raw, doc, secret, f, created_at, state, d) VALUES
             (13, 'Müller \"x\"', -0.50, 1, x'00ff', '{\"a\": [1, 2]}', 's', 0.1, '2026-01-31 12:00:00.250', 'old',
              '2026-01-31'),
             (-1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        );
        let records = records(&scene, relay, &topic, 2);
        let place = format!("place={0}/{0}", scene.name);
        assert_eq!(
            records.iter().map(Made::of).collect::<Vec<_>>(),
            [
                made(
                    &topic,
                    Some("Müller \"x\""),
                    Some(
                        "{\"id\":1,\"shard\":13,\"customer\":\"Müller \\\"x\\\"\",\"amount\":\"-0.50\",\"paid\":1,\
                         \"raw\":\"00ff\",\"doc\":{\"a\": [1, 2]},\"f\":0.1,\"created_at\":\"2026-01-31 12:00:00.250\",\
                         \"state\":\"old\",\"d\":\"2026-01-31\"}"
                    ),
                    &["none=AP8=", &place, "row=0"],
                ),
                made(
                    &topic,
                    None,
                    Some(
                        "{\"id\":2,\"shard\":-1,\"customer\":null,\"amount\":null,\"paid\":null,\"raw\":null,\
                         \"doc\":null,\"f\":null,\"created_at\":null,\"state\":null,\"d\":null}"
                    ),
                    &[&place, "row=1"],
                ),
            ]
        );
        let partitions: Vec<_> = records.iter().map(|record| record.partition).collect();
        assert_eq!(partitions, [1, 11], "modulo 12");
        assert_eq!(records[0].made_at, Some(1_769_860_800_250));
    }
}

/// Three rows of an outbox, and a relay that makes CloudEvents of them with the data of one column. Answers with the
/// scene, the relay and the topic.
fn cloud_events(mode: &str, data: &str) -> (Scene, Relay, String) {
    let scene = Scene::on_shared_servers("plan_cloudevents");
    let mut sql = scene.sql();
    sql.run(
        "CREATE TABLE outbox (
           id CHAR(36) PRIMARY KEY, aggregatetype VARCHAR(255), aggregateid VARCHAR(255), type VARCHAR(255),
           payload JSON, note TEXT, raw BLOB, at TIMESTAMP(3) NULL, kind VARCHAR(40)
         ) CHARACTER SET utf8mb4",
    );
    let topic = scene.topic(data);
    let lines = [
        &format!("topic = \"{topic}\""),
        "value = \"cloudevents\"",
        "headers = { own = \"{aggregateid}\" }",
        "[outbox.cloudevents]",
        &format!("mode = \"{mode}\""),
        "id = \"{id}\"",
        "source = \"/shop/{aggregatetype|lower}\"",
        "type = \"com.example.{type|kebab}\"",
        "subject = \"{note}\"",
        "time = \"{at}\"",
        "datacontenttype = \"{kind}\"",
        &format!("data = \"{{{data}}}\""),
    ];
    let relay = start(&scene, "outbox", "outbox", &lines);
    sql.run("SET time_zone = '+01:00'");
    sql.run(
        "INSERT INTO outbox VALUES
         ('1', 'Order', '7', 'OrderPlaced', '{\"b\": [1]}', '{\"n\": 1.0}', x'00ff', '2026-01-31 13:00:00.250',
          'application/json'),
         ('2', 'Order', '7', 'OrderGone', NULL, NULL, NULL, NULL, NULL),
         ('3', 'Order', '7', 'Said', '\"x\"', 'plain', '', '2026-01-31 13:00:00', 'text/plain')",
    );
    (scene, relay, topic)
}

#[test]
fn cloud_events_in_binary_mode_have_their_attributes_in_headers() {
    let (scene, relay, topic) = cloud_events("binary", "payload");
    let records = records(&scene, relay, &topic, 3);
    let first = [
        "ce_specversion=1.0",
        "ce_id=1",
        "ce_source=/shop/order",
        "ce_type=com.example.order-placed",
        "ce_subject={\"n\": 1.0}",
        "ce_time=2026-01-31T12:00:00.250Z",
        "content-type=application/json",
        "own=7",
    ];
    let gone = [
        "ce_specversion=1.0",
        "ce_id=2",
        "ce_source=/shop/order",
        "ce_type=com.example.order-gone",
        "own=7",
    ];
    let third = [
        "ce_specversion=1.0",
        "ce_id=3",
        "ce_source=/shop/order",
        "ce_type=com.example.said",
        "ce_subject=plain",
        "ce_time=2026-01-31T12:00:00.000Z",
        "content-type=text/plain",
        "own=7",
    ];
    assert_eq!(
        records.iter().map(Made::of).collect::<Vec<_>>(),
        [
            made(&topic, Some("7"), Some("{\"b\": [1]}"), &first),
            made(&topic, Some("7"), None, &gone),
            made(&topic, Some("7"), Some("\"x\""), &third),
        ]
    );
}

#[test]
fn cloud_events_in_structured_mode_are_one_json_object() {
    for (column, [first, third]) in [
        ("payload", [r#""data":{"b": [1]}"#, r#""data":"x""#]),
        ("note", [r#""data":{"n": 1.0}"#, r#""data":"plain""#]),
        ("raw", [r#""data_base64":"AP8=""#, r#""data_base64":"""#]),
    ] {
        let (scene, relay, topic) = cloud_events("structured", column);
        let records = records(&scene, relay, &topic, 3);
        let attributes = |id: &str, kind: &str| {
            let source = r#""source":"/shop/order""#;
            format!(r#"{{"specversion":"1.0","id":"{id}",{source},"type":"com.example.{kind}""#)
        };
        let first = format!(
            r#"{},"subject":"{{\"n\": 1.0}}","time":"2026-01-31T12:00:00.250Z","datacontenttype":"application/json",{first}}}"#,
            attributes("1", "order-placed")
        );
        let gone = format!("{}}}", attributes("2", "order-gone"));
        let third = format!(
            r#"{},"subject":"plain","time":"2026-01-31T12:00:00.000Z","datacontenttype":"text/plain",{third}}}"#,
            attributes("3", "said")
        );
        let headers = ["content-type=application/cloudevents+json; charset=UTF-8", "own=7"];
        let expected =
            [first, gone, third].map(|value| made(&topic, Some("7"), Some(&value), &headers));
        assert_eq!(records.iter().map(Made::of).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn rows_without_a_key_go_round_the_partitions_by_their_number_also_after_a_crash() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("plan_keyless").with(delivery);
        let mut sql = scene.sql();
        sql.run("CREATE TABLE lines_of_log (n INT PRIMARY KEY, text TEXT)");
        let topic = scene.topic("log");
        let lines = [&format!("topic = \"{topic}\""), "value = \"{n}: {text|upper}\""];
        let insert = |from: i32| {
            let rows: Vec<_> = (from..from + 40).map(|n| format!("({n}, 'a')")).collect();
            format!("INSERT INTO lines_of_log VALUES {}", rows.join(", "))
        };
        let mut relay = start(&scene, "lines_of_log", "custom", &lines[..]);
        sql.run(insert(0));
        let mut inbox = Inbox::open(&scene.kafka, &topic, scene.delivery.isolation());
        relay.wait_until_came(&mut inbox, 40, SOON);
        relay.kill();
        sql.run(insert(40));
        let relay = start(&scene, "lines_of_log", "custom", &lines[..]);
        let records = records(&scene, relay, &topic, 80);
        let mut of_partition: BTreeMap<i32, usize> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.value.as_deref(), Some(format!("{index}: A").as_bytes()));
            assert_eq!(record.key, None);
            // The first row has the number 1.
            assert_eq!(record.partition, (index as i32 + 1) % scene.partitions);
            *of_partition.entry(record.partition).or_default() += 1;
        }
        assert_eq!(of_partition.len(), 12);
    }
}

#[test]
fn a_row_that_its_plan_cannot_make_a_record_of_halts_and_names_the_column() {
    for (row, lines, error) in [
        ("(1, NULL, 'x')", vec![], "column customer: it is NULL where a record needs a value"),
        ("(1, 'a/b', 'x')", vec![], "a/b\" is no legal topic name"),
        (
            "(1, 'a', 'x')",
            vec!["partition = \"{kind}\""],
            "column kind: \"x\" is no number of a partition",
        ),
        (
            "(1, 'a', 'x')",
            vec!["timestamp = \"{kind}\""],
            "column kind: \"x\" is no time, and no number of milliseconds since 1970",
        ),
        (
            "(1, 'a', NULL)",
            vec!["value_null = \"halt\""],
            "column kind: it is NULL where a record needs a value",
        ),
        (
            "(1, 'a', NULL)",
            vec!["key = \"{kind}\"", "key_null = \"halt\""],
            "column kind: it is NULL where a record needs a value",
        ),
    ] {
        let scene = Scene::on_shared_servers("plan_halts");
        let mut sql = scene.sql();
        sql.run("CREATE TABLE orders (id INT PRIMARY KEY, customer VARCHAR(40), kind VARCHAR(9))");
        let topic = format!("topic = \"{}.{{customer}}\"", scene.name);
        let lines = [vec![&*topic, "value = \"{kind}\""], lines].concat();
        let mut relay = start(&scene, "orders", "custom", &lines);
        sql.run("INSERT INTO orders VALUES (0, 'a', '1')");
        scene.wait_for_records(&relay, 1);
        sql.run(format!("INSERT INTO orders VALUES {row}"));
        let log = relay.halts();
        assert!(log.contains(error), "{error}\n{log}");
    }
}

#[test]
fn a_column_that_a_plan_names_and_the_table_lacks_is_found_before_a_row_is() {
    let scene = Scene::on_shared_servers("plan_columns");
    let mut sql = scene.sql();
    sql.run(OUTBOX);
    let mut setup = scene.relay_setup();
    let lines = vec!["key = \"{aggregate_id}\"".to_owned()];
    setup.outboxes = vec![Outbox { lines, ..scene.outbox("outbox", "outbox") }];
    let error = format!(
        "the table {}.outbox has no column aggregate_id, which key of the preset outbox names; it has id, \
         aggregatetype, aggregateid, type, payload (did you mean aggregateid?)",
        scene.name
    );
    let check = said(&setup.answer(&["check"]));
    assert!(check.code == 1 && check.out.contains(&error), "{check:?}");
    let log = setup.start().halts();
    assert!(log.contains(&error), "{log}");
}
