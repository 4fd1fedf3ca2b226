//! A row that cannot be relayed halts the relay: what came before it is published, the checkpoint
//! stands at the start of its transaction, and nothing is skipped in silence.

use crate::harness::kafka::{create_topic, set_topic_config};
use crate::harness::ledger::Content;
use crate::harness::relay::SOON;
use crate::harness::scene::{EVENTUATE_LOCAL, Scene, checkpoint_place, events_table};
use crate::harness::sql::Coordinates;
use crate::harness::workload::{PlainWriter, insert_event};

#[test]
fn a_null_entity_id_halts_before_its_transaction() {
    let scene = Scene::on_shared_servers("null_key");
    let log = halts_at(&scene, |scene, writer| {
        // The first row of the transaction is fine; it must not become visible either.
        writer.insert(1);
        let topic = scene.topic("account");
        writer.sql.run(format!(
            "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
             VALUES ('1-1', 't', '{{}}', '{topic}', 'e'), ('1-2', 't', '{{}}', '{topic}', NULL)"
        ));
    });
    assert!(log.contains("entity_id"), "{log}");
}

#[test]
fn an_illegal_topic_name_halts() {
    let scene = Scene::on_shared_servers("illegal_topic");
    let log = halts_at(&scene, |scene, writer| {
        writer.sql.run(insert_event("1-1", "'{}'", &scene.topic(" not/a topic")));
    });
    assert!(log.contains("not/a topic"), "{log}");
}

#[test]
fn message_headers_that_are_no_object_with_an_id_halt() {
    for (label, headers) in [
        ("no_json", "not json"),
        ("an_array", "[]"),
        ("no_id", r#"{"PARTITION_ID": "7"}"#),
        ("id_number", r#"{"ID": 7}"#),
    ] {
        let scene = Scene::on_shared_servers(label);
        halts_at(&scene, |scene, writer| {
            let destination = scene.topic("account");
            writer.sql.run_with(
                "INSERT INTO message (id, destination, headers, payload) VALUES ('1-1', ?, ?, '{}')",
                (destination, headers),
            );
        });
    }
}

#[test]
fn a_statement_that_is_logged_as_text_halts() {
    let scene = Scene::on_shared_servers("statement");
    let log = halts_at(&scene, |scene, writer| {
        let topic = scene.topic("account");
        writer.sql.run("COMMIT");
        writer.sql.run("SET SESSION binlog_format = STATEMENT");
        writer.sql.run(insert_event("1-1", "'{}'", &topic));
        writer.sql.run("SET SESSION binlog_format = ROW");
        writer.sql.run("BEGIN");
    });
    assert!(log.contains("binlog_format"), "{log}");
}

#[test]
fn a_row_logged_without_the_columns_that_its_insert_left_out_halts() {
    let scene = Scene::on_shared_servers("minimal_image");
    let log = halts_at(&scene, |scene, writer| {
        let topic = scene.topic("account");
        writer.sql.run("SET SESSION binlog_row_image = MINIMAL");
        writer.sql.run(insert_event("1-1", "'{}'", &topic));
        writer.sql.run("COMMIT");
        writer.sql.run("SET SESSION binlog_row_image = FULL");
        writer.sql.run("BEGIN");
    });
    assert!(log.contains("binlog_row_image"), "{log}");
    assert!(log.contains("column published"), "{log}");
}

#[test]
fn a_binary_value_that_is_no_utf8_halts() {
    let scene = Scene::on_shared_servers("no_utf8");
    scene.sql().run("ALTER TABLE events MODIFY event_data LONGBLOB NOT NULL");
    let log = halts_at(&scene, |scene, writer| {
        let topic = scene.topic("account");
        writer.sql.run(insert_event("1-1", "X'6162ff63'", &topic));
    });
    assert!(log.contains("column event_data is binary"), "{log}");
    assert!(log.contains("not UTF-8 from byte 2 on"), "{log}");
}

#[test]
fn an_xa_group_that_touches_an_outbox_halts_with_a_clear_word() {
    let scene = Scene::on_shared_servers("xa");
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    // XA that touches no outbox is none of the relay's business.
    writer.sql.run("CREATE TABLE other (id INT PRIMARY KEY)");
    let xid = format!("'{}'", scene.name);
    xa(&mut writer, &xid, "INSERT INTO other VALUES (1)", "COMMIT");
    writer.write(1);
    scene.wait_for_records(&relay, 3);
    let topic = scene.topic("account");
    let insert = insert_event("1-1", "'{}'", &topic);
    xa(&mut writer, &xid, &insert, "ROLLBACK");
    writer.write(1);
    let log = relay.halts();
    assert!(log.contains("XA"), "{log}");
    assert_eq!(scene.records().len(), 3);
}

#[test]
fn a_record_that_the_topic_does_not_take_halts_until_its_limit_is_raised() {
    let scene = Scene::on_shared_servers("too_large");
    let topic = scene.topic("account");
    create_topic(&scene.kafka, &topic, scene.partitions, &[("max.message.bytes", "100000")]);
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(3);
    let before = writer.sql.end_of_binlog();
    let mut row = writer.unnoted_row();
    let Content::Event { event_data, .. } = &mut row.content else {
        panic!("the writer writes events");
    };
    *event_data = incompressible_text(300_000);
    writer.write_row(row);
    writer.write(2);
    let log = relay.halts();
    assert!(log.contains("max.message.bytes"), "{log}");
    published_up_to(&scene, &before, 3);
    set_topic_config(&scene.kafka, &topic, "max.message.bytes", "1000000");
    let relay = scene.start_relay();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_halt_over_one_table_is_mended_by_a_configuration_without_it() {
    let scene = Scene::on_shared_servers("mended");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run(events_table("broken", "utf8mb4"));
    let mut setup = scene.relay_setup();
    setup.outboxes.push(scene.outbox("broken", EVENTUATE_LOCAL));
    let mut relay = setup.start();
    writer.write(2);
    let topic = scene.topic("broken");
    writer.sql.run(format!(
        "INSERT INTO broken (event_id, event_type, event_data, entity_type, entity_id)
         VALUES ('1-1', 't', '{{}}', '{topic}', NULL)"
    ));
    writer.write(2);
    relay.halts();
    assert_eq!(scene.wait_for_records(&relay, 2).len(), 2);
    setup.outboxes.pop();
    let relay = setup.start();
    let binlog: Vec<_> = scene.binlog().into_iter().filter(|row| row.table != "broken").collect();
    let expected = writer.ledger.expected(&binlog, 0);
    assert_eq!(expected.len(), 4);
    scene.judge_rows_clean(&expected, &relay);
}

/// Three good transactions, one that cannot be relayed, one more good one: twice the relay halts at
/// the same place, having published the three.
fn halts_at(scene: &Scene, write_what_cannot: impl FnOnce(&Scene, &mut PlainWriter)) -> String {
    let mut writer = PlainWriter::on(scene);
    let mut relay = scene.start_relay();
    writer.write(3);
    let before = writer.sql.end_of_binlog();
    writer.sql.run("BEGIN");
    write_what_cannot(scene, &mut writer);
    writer.sql.run("COMMIT");
    writer.write(1);
    let log = relay.halts();
    published_up_to(scene, &before, 3);
    scene.start_relay().halts();
    published_up_to(scene, &before, 3);
    log
}

/// `count` records are visible, and the checkpoint is where the transaction begins that halted: not
/// before `boundary`, the end of the last good one, and not past any row after it.
fn published_up_to(scene: &Scene, boundary: &Coordinates, count: usize) {
    let records = scene.records();
    assert_eq!(records.len(), count, "{records:?}");
    let written: Vec<_> = scene.binlog().into_iter().filter(|row| row.place <= *boundary).collect();
    assert_eq!(written.len(), count);
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!((&stored["rowsDone"], &stored["sequence"]), (&0.into(), &count.into()), "{stored}");
    let place = checkpoint_place(&stored);
    let next = scene.binlog().into_iter().find(|row| row.place > *boundary);
    let is_right = place >= *boundary && next.is_none_or(|next| place < next.place);
    assert!(is_right, "the checkpoint is at {place}, not at {boundary}");
}

fn xa(writer: &mut PlainWriter, xid: &str, statement: &str, end: &str) {
    writer.sql.run(format!("XA START {xid}"));
    writer.sql.run(statement);
    writer.sql.run(format!("XA END {xid}"));
    writer.sql.run(format!("XA PREPARE {xid}"));
    writer.sql.run(format!("XA {end} {xid}"));
}

fn incompressible_text(length: usize) -> String {
    (0..length).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect()
}
