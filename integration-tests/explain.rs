//! `binlog-relay explain` shows the records that the relay makes, without Kafka.

use serde_json::{Value as Json, json};

use harness::consumer::{Inbox, Record};
use harness::relay::{Outbox, RelaySetup, SOON, Said, said};
use harness::scene::Scene;

/// No broker answers there.
const NO_KAFKA: &str = "127.0.0.1:1";

fn explain(setup: &RelaySetup, arguments: &[&str]) -> Said {
    let setup = RelaySetup { kafka_bootstrap: NO_KAFKA.to_owned(), ..setup.clone() };
    said(&setup.answer(&[&["explain"], arguments].concat()))
}

fn explained(setup: &RelaySetup, arguments: &[&str]) -> Vec<Json> {
    let answer = explain(setup, &[arguments, &["--json"]].concat());
    let parsed: Result<Json, _> = serde_json::from_str(&answer.out);
    let array = parsed.ok().and_then(|json| json.as_array().cloned());
    array.unwrap_or_else(|| panic!("no JSON array: {answer:?}"))
}

/// What Kafka got, as `explain --json` writes it.
fn in_json(record: &Record) -> Json {
    let text = |bytes: &Vec<u8>| match String::from_utf8(bytes.clone()) {
        Ok(text) => json!(text),
        Err(_) => panic!("the test's records are text"),
    };
    let headers: Vec<_> = record.headers[1..]
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": text(value) }))
        .collect();
    json!({
        "topic": record.topic,
        "key": record.key.as_ref().map(text),
        "headers": headers,
        "value": record.value.as_ref().map(text).map(without_place),
    })
}

/// The place of a row is only known in the binlog.
fn without_place(value: Json) -> Json {
    let parsed = value.as_str().and_then(|text| serde_json::from_str::<Json>(text).ok());
    match parsed {
        Some(mut parsed) if parsed.get("binlogFileOffset").is_some() => {
            parsed["binlogFileOffset"] = Json::Null;
            parsed
        }
        _ => value,
    }
}

const TABLES: &str = "
  CREATE TABLE outbox (id CHAR(36) PRIMARY KEY, aggregatetype VARCHAR(255) NOT NULL, aggregateid VARCHAR(255) NOT NULL,
    type VARCHAR(255) NOT NULL, payload JSON);
  CREATE TABLE message_events (id INT PRIMARY KEY, event_type VARCHAR(249) NOT NULL, event_payload JSON NOT NULL,
    created_at TIMESTAMP(6) NOT NULL, status VARCHAR(20) CHARACTER SET latin1);
  CREATE TABLE account_events (event_id BINARY(4) PRIMARY KEY, aggregate_id BIGINT UNSIGNED NOT NULL,
    aggregate_type VARCHAR(249) NOT NULL, event_type VARCHAR(255), event_version INT NOT NULL,
    body TEXT CHARACTER SET sjis NOT NULL, occurred_at DATETIME(3) NOT NULL);
  CREATE TABLE orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, shard INT NOT NULL,
    customer VARCHAR(40) CHARACTER SET latin1, amount DECIMAL(12,2), paid BIT(1), raw VARBINARY(8), doc JSON,
    f FLOAT, state ENUM('new', 'old'), flags SET('a', 'b'), t TIME(1), kind VARCHAR(99))";

fn outboxes(scene: &Scene) -> Vec<Outbox> {
    let of = |table: &str, preset: &str, lines: &[&str]| Outbox {
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        ..scene.outbox(table, preset)
    };
    let mut outboxes = vec![
        of("outbox", "outbox", &["topic = \"{aggregatetype}\""]),
        of("message_events", "message-events", &["where = { status = [\"NEW\", \"NULL\"] }"]),
        of("account_events", "event-sourcing", &["columns = { event_data = \"body\" }"]),
        of(
            "orders",
            "custom",
            &[
                "topic = \"{kind}\"",
                "value = \"json\"",
                "key = \"{customer}\"",
                "partition = \"{shard}\"",
                "headers = { table = \"{@database}.{@table}\", none = \"{raw}\" }",
            ],
        ),
    ];
    outboxes.extend(scene.relay_setup().outboxes);
    outboxes
}

fn insert(scene: &Scene) {
    let mut sql = scene.sql();
    let topic = |label: &str| scene.topic(label);
    sql.run("SET NAMES utf8mb4");
    sql.run("SET time_zone = '+02:00'");
    for statement in [
        format!(
            "INSERT INTO outbox VALUES ('a-1', '{0}', '7', 'Placed', '{{\"b\": 1.0, \"a\": [1e30, \"é\"]}}'), \
             ('a-2', '{0}', 'ü', 'Gone', NULL)",
            topic("A")
        ),
        format!(
            "INSERT INTO message_events VALUES (1, '{0}', '1', '2026-01-31 14:00:00.5', 'NEW'), \
             (2, '{0}', '2', '2026-01-31 14:00:00', 'SENT'), (3, '{0}', '3', '2026-01-31 14:00:00', NULL)",
            topic("B")
        ),
        format!(
            "INSERT INTO account_events VALUES (x'00ff0102', 18446744073709551615, '{}', NULL, -1, '日本ｱ', \
             '2026-01-31 12:00:00.25')",
            topic("C")
        ),
        format!(
            "INSERT INTO orders VALUES (1, 13, 'Müller', -0.50, 1, x'00ff', '{{\"a\": [1, 2]}}', 0.1, 'old', 'a,b', \
             '-12:00:00.5', '{0}'), \
             (2, -1, NULL, NULL, NULL, NULL, NULL, 16777217, 'new', '', NULL, '{0}')",
            topic("D")
        ),
        format!(
            "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id, triggering_event, metadata, \
             published) VALUES ('e-1', 'Opened', '{{\"x\": \"é\"}}', '{0}', '1', NULL, '{{}}', 0), \
             ('e-2', 'Opened', '2', '{0}', '1', NULL, NULL, 1)",
            topic("E")
        ),
        format!(
            "INSERT INTO message (id, destination, headers, payload, published) VALUES \
             ('m-1', '{0}', '{{\"ID\": \"m-1\", \"PARTITION_ID\": \"p\"}}', '{{}}', 0), \
             ('m-2', '{0}', '{{\"ID\": \"m-2\"}}', '\"x\"', NULL)",
            topic("F")
        ),
    ] {
        sql.run(statement);
    }
}

#[test]
fn rows_of_every_preset_become_what_the_relay_sends() {
    let scene = Scene::on_shared_servers("explain");
    let mut sql = scene.sql();
    TABLES.split(';').for_each(|statement| sql.run(statement));
    let mut setup = scene.relay_setup();
    setup.outboxes = outboxes(&scene);
    let mut relay = setup.start();
    insert(&scene);
    let mut inbox = Inbox::open(&scene.kafka, &scene.topic(""), scene.delivery.isolation());
    relay.wait_until_came(&mut inbox, 10, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let sent = Inbox::read_all(&scene.kafka, &scene.topic(""), scene.delivery.isolation());
    let mut sent: Vec<_> = sent.iter().map(in_json).collect();

    let all = explained(&setup, &[]);
    let mut ours: Vec<_> = all.iter().filter_map(|row| row.get("record")).cloned().collect();
    for record in &mut ours {
        let fields = record.as_object_mut().expect("an object");
        fields.remove("partition");
        fields.remove("timestamp");
        fields["value"] = without_place(fields["value"].clone());
    }
    for records in [&mut sent, &mut ours] {
        records.sort_by_key(Json::to_string);
    }
    assert_eq!(ours, sent);
    let left_out: Vec<_> = all
        .iter()
        .filter_map(|row| Some((row.get("leftOut")?.as_str()?, row["row"].as_str()?)))
        .collect();
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(left_out.contains(&("where", "id=2")), "{left_out:?}");
    assert!(left_out.iter().any(|(why, _)| *why == "published"), "{left_out:?}");
    assert_eq!(explain(&setup, &[]).code, 0);
}

#[test]
fn people_see_the_plan_the_record_and_what_stands_in_for_its_place() {
    let scene = Scene::on_shared_servers("explain_text");
    let mut sql = scene.sql();
    sql.run("CREATE TABLE t (a VARBINARY(9), b INT, c DATETIME)");
    sql.run("INSERT INTO t VALUES (x'ff00', 7, '2026-01-31 12:00:00'), ('text', NULL, NULL)");
    let mut setup = scene.relay_setup();
    let lines = [
        "topic = \"{@file}.{@table}\"",
        "value = \"{a}\"",
        "key = \"{b}\"",
        "timestamp = \"{c}\"",
        "headers = { at = \"{@committed_at}\" }",
    ];
    let lines = lines.map(str::to_owned).to_vec();
    setup.outboxes = vec![Outbox { lines, ..scene.outbox("t", "custom") }];
    let said = explain(&setup, &["--table", "T"]);
    assert_eq!(said.code, 0, "{said:?}");
    let at = "stand-ins for what only the binlog and the relay know: {@sequence} = 1, 2, …, {@file} = binlog.000001, \
              {@committed_at} = now";
    for wanted in [
        &format!("{}.t: preset custom, by [[outbox]] {0}.t\n", scene.name),
        "  topic            {@file}.{@table}  (configured)\n",
        "  partition        murmur2 of the key  (default)\n",
        "note: columns, as information_schema names them (no names in the binlog): a varbinary(9), b int",
        &format!("note: {at}\n"),
        "note: the table has no primary key: these are any of its rows\n",
        "    topic      binlog.000001.t\n",
        "    key        7\n",
        "    partition  murmur2 of the key, modulo the number of partitions\n",
        "    timestamp  1769860800000 (2026-01-31T12:00:00.000Z)\n",
        "    value      /wA= (base64 of 2 bytes, which are no text)\n",
        "    key        NULL\n    partition  the row's sequence number, modulo the number of partitions\n",
        "    timestamp  the time of sending\n",
        "    value      text\n",
    ] {
        assert!(said.out.contains(wanted), "{wanted}\n{}", said.out);
    }
    let rows = explained(&setup, &["--last", "1"]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["record"]["value"], json!({ "base64": "/wA=" }));
}

#[test]
fn a_given_row_need_not_be_in_the_table_and_its_slips_are_named() {
    let scene = Scene::on_shared_servers("explain_row");
    let mut sql = scene.sql();
    TABLES.split(';').for_each(|statement| sql.run(statement));
    let mut setup = scene.relay_setup();
    setup.outboxes = outboxes(&scene);
    let table = format!("{}.outbox", scene.name);
    let row = r#"{"id": "x", "aggregatetype": "Order", "aggregateid": "9", "payload": {"b": 1, "a": true}}"#;
    let rows = explained(&setup, &["--table", &table, "--row", row]);
    assert_eq!(
        rows[0]["record"],
        json!({
            "topic": "Order", "key": "9", "partition": { "by": "key" }, "timestamp": null,
            "headers": [{ "name": "id", "value": "x" }], "value": "{\"a\": true, \"b\": 1}"
        })
    );
    for (table, row, code, error, hint) in [
        ("outbox", "[1]", 2, "error: --row: the row is no JSON object", "hint: write {\"id\": …}"),
        (
            "outbox",
            r#"{"idd": 1}"#,
            2,
            "has no column idd; it has id, aggregatetype",
            "hint: did you mean id?",
        ),
        (
            "orders",
            r#"{"amount": "x"}"#,
            2,
            "\"x\" is no value of column amount (DECIMAL(12,2))",
            "",
        ),
        ("outbx", "{}", 2, "error: no [[outbox]] has a table outbx", "hint: did you mean outbox?"),
        (
            "",
            "{}",
            2,
            "error: --row is of one table, and [[outbox]] has 6",
            "hint: name it with --table: ",
        ),
    ] {
        let table: &[&str] = if table.is_empty() { &[] } else { &["--table", table] };
        let said = explain(&setup, &[table, &["--row", row]].concat());
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.error.contains(error) && said.error.contains(hint), "{said:?}");
    }
    for (row, wanted) in [
        (
            r#"{"id": "x"}"#,
            "error: the row does not say what these columns hold: aggregatetype, aggregateid",
        ),
        (
            r#"{"id": "x", "aggregatetype": "a b", "aggregateid": "9", "payload": null}"#,
            "error: column aggregatetype: \"a b\" is no legal topic name",
        ),
    ] {
        let said = explain(&setup, &["--table", "outbox", "--row", row]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.out.contains(wanted) && said.out.contains("    hint: "), "{said:?}");
    }
}

#[test]
fn a_table_that_does_not_fit_is_explained_beside_the_others() {
    let scene = Scene::on_shared_servers("explain_misfit");
    let mut sql = scene.sql();
    sql.run("CREATE TABLE a (id INT PRIMARY KEY, typ INT)");
    sql.run("CREATE TABLE b (id INT PRIMARY KEY, topic VARCHAR(9))");
    sql.run("INSERT INTO b VALUES (1, 'ok'), (2, 'not ok')");
    let mut setup = scene.relay_setup();
    let lines = |lines: [&str; 2]| lines.map(str::to_owned).to_vec();
    setup.outboxes = vec![
        Outbox {
            lines: lines(["topic = \"{type}\"", "value = \"{body}\""]),
            ..scene.outbox("a", "custom")
        },
        Outbox {
            lines: lines(["topic = \"{topic}\"", "value = \"json\""]),
            ..scene.outbox("b", "custom")
        },
    ];
    let said = explain(&setup, &[]);
    assert_eq!(said.code, 1, "{said:?}");
    for wanted in [
        "has no column type, which topic of the preset custom names (did you mean typ?), and no column body, which \
         value of the preset custom names; it has id, typ\n    hint: ",
        "    topic      ok\n",
        "error: column topic: \"not ok\" is no legal topic name",
    ] {
        assert!(said.out.contains(wanted), "{wanted}\n{}", said.out);
    }
    sql.run("DELETE FROM b");
    let both = explained(&setup, &[]);
    assert!(both.len() == 2 && both[0]["hint"].is_string(), "{both:?}");
    assert!(both[1]["notes"].to_string().contains("the table has no rows"), "{both:?}");
    // A halt and a check name all of them as well.
    let log = setup.start().halts();
    assert!(log.contains("no column type, which topic") && log.contains("no column body"), "{log}");
    setup.outboxes.truncate(1);
    setup.outboxes[0].table = format!("{}.none", scene.name);
    let said = explain(&setup, &[]);
    assert!(said.code == 1 && said.error.contains("there is no table"), "{said:?}");
}
