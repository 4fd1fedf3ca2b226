//! A row that cannot be relayed halts the relay: what came before it is published, the checkpoint
//! stands at the start of its transaction, and nothing is skipped in silence.

use std::collections::VecDeque;

use harness::binlog::WrittenRow;
use harness::kafka::{create_topic, set_topic_config};
use harness::ledger::Content;
use harness::relay::SOON;
use harness::scene::{
    Delivery, EVENTUATE_LOCAL, EVENTUATE_TRAM, Scene, checkpoint_place, events_table, message_table,
};
use harness::sql::Coordinates;
use harness::workload::{PlainWriter, incompressible_text, insert_event, insert_rows};

/// A row that can be no record, in a table of its own, and what the relay says of it.
struct Breakage {
    table: &'static str,
    /// What is done to the table before anything is written.
    alter: &'static str,
    /// Two rows; `{topic}` stands for a legal topic.
    insert: &'static str,
    /// For the writer's session.
    setting: &'static str,
    /// `{server}`, `{table}` and `{at}` stand for the server, the table and the end of its rows event.
    error: &'static str,
    hint: &'static str,
}

const WRITER_HINT: &str = "correct the writer; the row itself stands in the binlog as it is; everything before that \
                           transaction is in Kafka, and the checkpoint stands before it…";

const BREAKAGES: &[Breakage] = &[
    Breakage {
        table: "null_type",
        alter: "MODIFY entity_type VARCHAR(1000) NULL",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('2', 't', '{}', NULL, 'e')",
        setting: "",
        error: "row 2 of {table} in the event that ends at {at} cannot be a record: column entity_type: \
                it is NULL where a record needs a value",
        hint: WRITER_HINT,
    },
    Breakage {
        table: "empty_type",
        alter: "",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('2', 't', '{}', '', 'e')",
        setting: "",
        error: "row 2 of {table} in the event that ends at {at} cannot be a record: column entity_type: \
                \"\" is no legal topic name (1 to 249 characters of A-Z a-z 0-9 . _ -, but not . or ..)",
        hint: WRITER_HINT,
    },
    Breakage {
        table: "null_key",
        alter: "",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('2', 't', '{}', '{topic}', NULL)",
        setting: "",
        error: "row 2 of {table} in the event that ends at {at} cannot be a record: column entity_id: it \
                is NULL where a record needs a value",
        hint: WRITER_HINT,
    },
    Breakage {
        table: "illegal_topic",
        alter: "",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('2', 't', '{}', 'not/a topic', 'e')",
        setting: "",
        error: "row 2 of {table} in the event that ends at {at} cannot be a record: column entity_type: \
                \"not/a topic\" is no legal topic name (1 to 249 characters of A-Z a-z 0-9 . _ -, but \
                not . or ..)",
        hint: WRITER_HINT,
    },
    Breakage {
        table: "no_utf8",
        alter: "MODIFY event_data LONGBLOB NOT NULL",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('2', 't', X'6162ff63', '{topic}', 'e')",
        setting: "",
        error: "row 2 of {table} in the event that ends at {at} cannot be a record: column event_data is binary, and its value is not UTF-8 from byte 2 on",
        hint: WRITER_HINT,
    },
    Breakage {
        table: "minimal_image",
        alter: "",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('2', 't', '{}', '{topic}', 'e')",
        setting: "binlog_row_image = MINIMAL",
        error: "row 1 of {table} in the event that ends at {at} cannot be a record: column published: it \
                is not in the row image that was logged",
        hint: "SET GLOBAL binlog_row_image = 'FULL', and reconnect the writers; everything before that \
               transaction is in Kafka, and the checkpoint stands before it…",
    },
    Breakage {
        table: "statement",
        alter: "",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('2', 't', '{}', '{topic}', 'e')",
        setting: "binlog_format = STATEMENT",
        error: "MySQL {server}: a statement at … wrote to {table} as a statement, not as rows",
        hint: "a session writes under binlog_format=STATEMENT or MIXED: take the right to change it \
               from the writer, and insert those rows again…",
    },
    Breakage {
        table: "no_outbox_id",
        alter: "DROP PRIMARY KEY, MODIFY event_id VARCHAR(256) NULL, ADD id BIGINT AUTO_INCREMENT \
                PRIMARY KEY FIRST",
        insert: "('1', 't', '{}', '{topic}', 'e'), ('', 't', '{}', '{topic}', 'e')",
        setting: "",
        error: "row 2 of {table} in the event that ends at {at} cannot be a record: column event_id: it \
                is empty, so the id comes from the auto-increment column, but the table has no outbox_id",
        hint: "set outbox_id in this table's [[outbox]]; everything before that transaction is in \
               Kafka, and the checkpoint stands before it…",
    },
];

/// The same for messages: what is wrong with their headers.
const HEADERS: &[(&str, &str, &str)] = &[
    ("no_json", "not json", "its text is no JSON object: …"),
    ("an_array", "[]", "its text is no JSON object: …"),
    ("no_id", r#"{"PARTITION_ID": "7"}"#, "its JSON object has no string ID"),
    ("id_number", r#"{"ID": 7}"#, "its JSON object has no string ID"),
    (
        "nested",
        r#"{"ID": "1", "a": {}}"#,
        "its member \"a\" is an object or an array; headers are flat",
    ),
];

#[test]
fn each_row_that_can_be_no_record_halts_at_its_place_until_its_table_is_left_out() {
    let scene = Scene::on_shared_servers("broken_rows");
    let mut writer = PlainWriter::on(&scene);
    let boundaries = write_good_and_broken(&scene, &mut writer);
    let own = scene.relay_setup().outboxes;
    let events = BREAKAGES.iter().map(|breakage| scene.outbox(breakage.table, EVENTUATE_LOCAL));
    let messages = HEADERS.iter().map(|(table, ..)| scene.outbox(table, EVENTUATE_TRAM));
    let mut broken: VecDeque<_> = events.chain(messages).collect();
    let mut setup = scene.relay_setup();
    for (number, boundary) in boundaries.iter().enumerate() {
        setup.outboxes = own.iter().chain(&broken).cloned().collect();
        let (error, hint) = last_words(&scene, number);
        setup.start().halts_saying(&error, hint);
        published_up_to(&scene, boundary, number + 1);
        // What mends it, short of giving the transaction up.
        broken.pop_front();
    }
    setup.outboxes = own;
    let relay = setup.start();
    let binlog: Vec<_> = scene.binlog().into_iter().filter(|row| row.table == "events").collect();
    scene.judge_rows_clean(&writer.ledger.expected(&binlog, 0), &relay);
}

#[test]
fn a_good_row_beside_a_broken_one_is_not_published_and_the_halt_comes_again() {
    let scene = Scene::on_shared_servers("beside");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(3);
    let before = writer.sql.end_of_binlog();
    writer.sql.run("BEGIN");
    writer.insert(1);
    let topic = scene.topic("account");
    writer.sql.run(format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
         VALUES ('1', 't', '{{}}', '{topic}', NULL)"
    ));
    writer.sql.run("COMMIT");
    writer.write(1);
    for running in [Some(relay), None] {
        running.unwrap_or_else(|| scene.start_relay()).halts_saying(
            &format!(
                "row 1 of {}.events in the event that ends at {} cannot be a record: column entity_id: it is NULL \
                 where a record needs a value",
                scene.name,
                scene.binlog()[4].place
            ),
            WRITER_HINT,
        );
        published_up_to(&scene, &before, 3);
    }
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
    relay.halts_saying(
        &format!(
            "MySQL {}: an XA transaction at … wrote to {}.events",
            scene.relay_setup().mysql_address,
            scene.name
        ),
        "XA transactions on outbox tables are not in this version: write events in plain transactions…",
    );
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
    relay.halts_saying(
        &format!(
            "row 1 of {}.events in the event that ends at {} makes a record of … bytes; the topic {topic} takes \
             100000 (max.message.bytes)",
            scene.name,
            scene.binlog()[3].place
        ),
        &format!(
            "raise max.message.bytes of the topic {topic} (and what its consumers fetch), then start the relay again; \
             everything before that transaction is in Kafka…"
        ),
    );
    published_up_to(&scene, &before, 3);
    set_topic_config(&scene.kafka, &topic, "max.message.bytes", "1000000");
    let relay = scene.start_relay();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_row_that_fits_its_topic_when_it_is_compressed_is_relayed_in_either_delivery() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on_shared_servers("compressible").with(delivery);
        let topic = scene.topic("account");
        create_topic(&scene.kafka, &topic, 1, &[("max.message.bytes", "100000")]);
        let mut writer = PlainWriter::on(&scene);
        let scene = Scene { partitions: 1, ..scene };
        let mut relay = scene.start_relay();
        writer.write(2);
        // Together, so that it has neighbours of its partition on either side.
        writer.transaction(|writer| {
            let mut ids = writer.insert(2);
            ids.extend(insert_large(writer, "0123456789".repeat(300_000)));
            ids.extend(writer.insert(2));
            ids
        });
        writer.write(1);
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
        let log = relay.log();
        assert!(!log.contains("refuses"), "{log}");
    }
}

#[test]
fn a_record_that_the_broker_refuses_is_named_among_its_neighbours_in_either_delivery() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on_shared_servers("refused").with(delivery);
        let topic = scene.topic("account");
        create_topic(&scene.kafka, &topic, 1, &[("max.message.bytes", "100000")]);
        let mut writer = PlainWriter::on(&scene);
        let scene = Scene { partitions: 1, ..scene };
        writer.write(3);
        let before = writer.sql.end_of_binlog();
        writer.transaction(|writer| {
            let mut ids = writer.insert(1);
            ids.extend(insert_large(writer, incompressible_text(300_000)));
            ids.extend(writer.insert(1));
            ids
        });
        writer.write(2);
        for _ in 0..2 {
            let mut relay = scene.start_relay();
            relay.halts_saying(
                &format!(
                    "row 1 of {}.events in the event that ends at {} makes a record of … bytes; the topic {topic} \
                     takes 100000 (max.message.bytes)",
                    scene.name,
                    scene.binlog()[4].place
                ),
                &format!("raise max.message.bytes of the topic {topic}…"),
            );
            // Without transactions, the row before it of the same transaction is there, too.
            let in_kafka = 3 + usize::from(delivery == Delivery::Idempotent);
            assert_eq!(scene.records().len(), in_kafka, "{}", relay.log_tail());
            checkpoint_stands_at(&scene, &before, 3);
        }
        set_topic_config(&scene.kafka, &topic, "max.message.bytes", "1000000");
        let mut relay = scene.start_relay();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}

#[test]
fn a_row_for_one_destination_topic_too_many_halts_also_after_a_restart() {
    let scene = Scene::on_shared_servers("topics_max");
    let mut setup = scene.relay_setup();
    setup.kafka_lines.push("topics_max = 5".to_owned());
    setup.kafka_lines.push("topic_partitions = 1".to_owned());
    setup.kafka_lines.retain(|line| !line.ends_with("= 12"));
    let mut writer = PlainWriter::on(&scene);
    let write = |writer: &mut PlainWriter, number: usize| {
        let topic = scene.topic(&format!("order-{number}"));
        writer.sql.run(insert_event(&format!("{number}-{number}"), "'{}'", &topic));
    };
    for number in 1..=5 {
        write(&mut writer, number);
    }
    let before = writer.sql.end_of_binlog();
    for number in 6..=8 {
        write(&mut writer, number);
    }
    for has_created in [true, false] {
        let mut relay = setup.start();
        relay.halts_saying(
            &format!(
                "Kafka {}: the topic {} is one more than the 5 destination topics that this relay may have \
                 (topics_max)",
                scene.kafka.bootstrap(),
                scene.topic("order-6")
            ),
            "correct the writer, if it names a topic per row; else raise [kafka] topics_max; everything before that \
             transaction is in Kafka…",
        );
        published_up_to(&scene, &before, 5);
        let warning = "this relay has many destination topics";
        assert_eq!(relay.log().matches(warning).count(), usize::from(has_created));
    }
    *setup
        .kafka_lines
        .iter_mut()
        .find(|line| line.starts_with("topics_max"))
        .expect("it is there") = "topics_max = 10".to_owned();
    let relay = setup.start();
    assert_eq!(scene.wait_for_records(&relay, 8).len(), 8, "{}", relay.log_tail());
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

/// Before each broken row a good one, and one behind all; returns the boundaries between.
fn write_good_and_broken(scene: &Scene, writer: &mut PlainWriter) -> Vec<Coordinates> {
    let topic = scene.topic("account");
    let mut boundaries = Vec::new();
    for Breakage { table, alter, insert, setting, .. } in BREAKAGES {
        writer.sql.run(events_table(table, "utf8mb4"));
        if !alter.is_empty() {
            writer.sql.run(format!("ALTER TABLE {table} {alter}"));
        }
        writer.write(1);
        boundaries.push(writer.sql.end_of_binlog());
        // A session of its own, whose settings end with it.
        let mut sql = scene.sql();
        if !setting.is_empty() {
            sql.run(format!("SET SESSION {setting}"));
        }
        let rows = insert.replace("{topic}", &topic);
        let columns = "(event_id, event_type, event_data, entity_type, entity_id)";
        sql.run(format!("INSERT INTO {table} {columns} VALUES {rows}"));
    }
    for (table, headers, _) in HEADERS {
        writer.sql.run(message_table(table, "utf8mb4"));
        writer.write(1);
        boundaries.push(writer.sql.end_of_binlog());
        let columns = "(id, destination, headers, payload)";
        let insert = format!("INSERT INTO {table} {columns} VALUES ('1', ?, ?, '{{}}')");
        writer.sql.run_with(insert, (&topic, *headers));
    }
    writer.write(1);
    boundaries
}

/// Error and hint of the breakage of this number.
fn last_words(scene: &Scene, number: usize) -> (String, &'static str) {
    let (table, error, hint) = match BREAKAGES.get(number) {
        Some(breakage) => (breakage.table, breakage.error.to_owned(), breakage.hint),
        None => {
            let (table, _, what) = HEADERS[number - BREAKAGES.len()];
            let row = "row 1 of {table} in the event that ends at {at} cannot be a record";
            (table, format!("{row}: column headers: {what}"), WRITER_HINT)
        }
    };
    let place = scene.binlog().into_iter().find(|row| row.table == table).map(|row| row.place);
    let error = error
        .replace("{server}", &scene.relay_setup().mysql_address)
        .replace("{table}", &format!("{}.{table}", scene.name))
        .replace("{at}", &place.map(|place| place.to_string()).unwrap_or_default());
    (error, hint)
}

/// `count` records are visible, and the checkpoint is where the transaction begins that halted: not
/// before `boundary`, the end of the last good one, and not past any row after it.
fn published_up_to(scene: &Scene, boundary: &Coordinates, count: usize) {
    let records = scene.records();
    assert_eq!(records.len(), count, "{records:?}");
    checkpoint_stands_at(scene, boundary, count);
}

/// The second half of that.
fn checkpoint_stands_at(scene: &Scene, boundary: &Coordinates, count: usize) {
    let is_before = |row: &WrittenRow| row.table == "events" && row.place <= *boundary;
    assert_eq!(scene.binlog().into_iter().filter(is_before).count(), count);
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

/// A row with this text as its data; answers with its id, for the ledger.
fn insert_large(writer: &mut PlainWriter, text: String) -> Vec<String> {
    let mut row = writer.unnoted_row();
    let Content::Event { event_data, .. } = &mut row.content else {
        panic!("the writer writes events");
    };
    *event_data = text;
    writer.ledger.note_written(row.clone());
    insert_rows(&mut writer.sql, "events", std::slice::from_ref(&row));
    vec![row.id]
}
