//! What of a row reaches logs, errors and HTTP: the names of its topic and of a header that is at fault, and nothing
//! else.

use harness::http::Http;
use harness::kafka::{create_compacted_topic, create_topic};
use harness::relay::{Relay, RelaySetup};
use harness::scene::Scene;
use harness::workload::incompressible_text;

/// In every value that must stay where it is.
const SECRET: &str = "geheim";

/// A row that halts the relay, and what may be said of it.
struct Bad {
    table: &'static str,
    columns: &'static str,
    /// `SECRET` stands for a secret, `TOPIC` for a legal topic, `LONG` for a megabyte.
    values: &'static str,
    said: &'static str,
}

const BAD: [Bad; 9] = [
    Bad {
        table: "events",
        columns: "event_id, event_type, event_data, entity_type, entity_id, metadata",
        values: "'SECRET', 'SECRET', '{\"SECRET\":1}', 'not/a topic', 'SECRET', 'SECRET'",
        said: "\"not/a topic\" is no legal topic name",
    },
    Bad {
        table: "events",
        columns: "event_id, event_type, event_data, entity_type, entity_id, metadata",
        values: "'SECRET', 'SECRET', 'SECRET', CONCAT('\\n\\r\\0', CHAR(27), '[31mred'), 'SECRET', 'SECRET'",
        said: r#""\n\r\0\u{1b}[31mred" is no legal topic name"#,
    },
    Bad {
        table: "events",
        columns: "event_id, event_type, event_data, entity_type, entity_id, metadata",
        values: "'SECRET', 'SECRET', 'SECRET', REPEAT('x', 900), 'SECRET', 'SECRET'",
        said: "xxx\"… (900 bytes) is no legal topic name",
    },
    Bad {
        table: "events",
        columns: "event_id, event_type, event_data, entity_type, entity_id, metadata",
        values: "'SECRET', 'SECRET', 'SECRET', NULL, 'SECRET', 'SECRET'",
        said: "column entity_type: it is NULL",
    },
    Bad {
        table: "events",
        columns: "event_id, event_type, event_data, entity_type, entity_id, metadata",
        values: "'SECRET', 'SECRET', CONCAT('SECRET', 'NOISE'), 'TOPIC', 'SECRET', 'SECRET'",
        said: "(max.message.bytes)",
    },
    Bad {
        table: "message",
        columns: "id, destination, headers, payload, creation_time",
        values: "'SECRET', 'TOPIC', '{\"ID\":\"SECRET\",\"name\":{\"SECRET\":\"SECRET\"}}', 'SECRET', 1",
        said: "its member \"name\" is an object or an array",
    },
    Bad {
        table: "message",
        columns: "id, destination, headers, payload, creation_time",
        values: "'SECRET', 'TOPIC', CONCAT('{\"ID\":\"SECRET\",\"', LONG, '\":{}}'), 'SECRET', 1",
        said: "(1048576 bytes) is an object or an array",
    },
    Bad {
        table: "message",
        columns: "id, destination, headers, payload, creation_time",
        values: "'SECRET', 'TOPIC', '{\"ID\":\"SECRET\",\"a\":SECRET}', 'SECRET', 1",
        said: "its text is no JSON object: the syntax is wrong (line 1, column ",
    },
    Bad {
        table: "message",
        columns: "id, destination, headers, payload, creation_time",
        values: "'SECRET', 'TOPIC', '{\"ID\":\"SECRET\",\"PARTITION_ID\":[\"SECRET\"]}', 'SECRET', 1",
        said: "its member \"PARTITION_ID\" is an object or an array",
    },
];

#[test]
fn a_row_that_halts_is_said_without_its_values_in_one_short_line() {
    let scene = Scene::on_shared_servers("secrets");
    let mut sql = scene.sql();
    let name = &scene.name;
    sql.run("ALTER TABLE events MODIFY entity_type TEXT, MODIFY event_data LONGTEXT");
    sql.run("ALTER TABLE message MODIFY headers LONGTEXT");
    let topic = scene.topic("account");
    create_topic(&scene.kafka, &topic, 1, &[("max.message.bytes", "100000")]);
    for (number, bad) in BAD.iter().enumerate() {
        let from = sql.end_of_binlog();
        let secret = format!("{SECRET}-{number}");
        let values = bad.values.replace("SECRET", &secret).replace("TOPIC", &topic);
        let values = values.replace("LONG", "REPEAT('y', 1048576)");
        let values = values.replace("NOISE", &incompressible_text(1 << 20));
        sql.run(format!("INSERT INTO {} ({}) VALUES ({values})", bad.table, bad.columns));
        let setup = RelaySetup {
            name: format!("{name}-{number}"),
            checkpoint_topic: format!("checkpoints-{name}-{number}"),
            start_from: Some(from.to_string()),
            environment: vec![("RUST_LOG".to_owned(), "debug".to_owned())],
            ..scene.relay_setup()
        };
        let mut relay = setup.start();
        let log = relay.halts();
        assert!(log.contains(bad.said), "{}\n{}", bad.said, relay.log_tail());
        assert_silent(&log, &relay);
        let longest = log.lines().map(str::len).max();
        assert!(longest < Some(10_000), "{longest:?}");
        assert!(!log.contains('\u{1b}'), "{log}");
    }
}

#[test]
fn a_row_that_waits_is_shown_by_http_without_its_values() {
    let scene = Scene::on_shared_servers("secrets_http");
    create_compacted_topic(&scene.kafka, &scene.checkpoint_topic(), 1);
    let mut sql = scene.sql();
    let topic = scene.topic("missing");
    sql.run(format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id, metadata)
         VALUES ('{SECRET}', '{SECRET}', '{SECRET}', '{topic}', '{SECRET}', '{SECRET}')"
    ));
    let mut setup = scene.setup_with_http();
    setup.kafka_lines = vec!["create_topics = false".to_owned()];
    let mut relay = setup.start();
    let http: Http = relay.http();
    http.wait_until("the reason", |http| http.get("/readyz").body.contains(&topic));
    for path in ["/readyz", "/status", "/metrics", "/"] {
        let answer = http.get(path).body;
        assert!(!answer.contains(SECRET), "{path}: {answer}");
    }
    scene.create_topic("missing");
    scene.wait_for_records(&relay, 1);
    http.wait_until_ready();
    for path in ["/readyz", "/status", "/metrics", "/"] {
        let answer = http.get(path).body;
        assert!(!answer.contains(SECRET), "{path}: {answer}");
    }
    assert_silent(&relay.log(), &relay);
}

fn assert_silent(log: &str, relay: &Relay) {
    assert!(!log.contains(SECRET), "a value of a row is in the log\n{}", relay.log_tail());
}
