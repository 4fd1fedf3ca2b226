//! Every committed row of every kind of insert arrives once, and nothing else does.

use harness::ledger::{Content, Expected, OutboxRow};
use harness::relay::SOON;
use harness::scene::Scene;
use harness::sql::{BinlogLine, Coordinates};
use harness::workload::{PlainWriter, insert_rows};

#[test]
fn a_multi_row_insert_publishes_every_row() {
    let scene = Scene::on_shared_servers("multi_row");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write_together(5);
    writer.write_together(1);
    writer.write_together(700);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_transaction_over_several_statements_and_tables_keeps_its_order() {
    let scene = Scene::on_shared_servers("multi_statement");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE account (id INT AUTO_INCREMENT PRIMARY KEY, balance INT)");
    let relay = scene.start_relay();
    let destination = scene.topic("message");
    for round in 0..3 {
        writer.transaction(|writer| {
            let mut ids = writer.insert(2);
            writer.sql.run("INSERT INTO account (balance) VALUES (1), (2)");
            let message = message(&destination, round);
            writer.ledger.note_written(message.clone());
            insert_rows(&mut writer.sql, "message", std::slice::from_ref(&message));
            ids.push(message.id);
            writer.sql.run("UPDATE account SET balance = 3");
            ids.extend(writer.insert(1));
            ids
        });
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn rolled_back_transactions_and_savepoints_leave_nothing() {
    let scene = Scene::on_shared_servers("rolled_back");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(1);
    writer.sql.run("BEGIN");
    writer.insert(3);
    writer.sql.run("ROLLBACK");
    writer.transaction(|writer| {
        let mut ids = writer.insert(1);
        writer.sql.run("SAVEPOINT one");
        writer.insert(2);
        writer.sql.run("ROLLBACK TO SAVEPOINT one");
        writer.sql.run("SAVEPOINT two");
        ids.extend(writer.insert(2));
        writer.sql.run("RELEASE SAVEPOINT two");
        ids
    });
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn published_1_is_skipped_and_published_null_is_relayed() {
    let scene = Scene::on_shared_servers("published");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    for published in [Some(1), None, Some(0), Some(-1), None] {
        let row = OutboxRow { published, ..writer.unnoted_row() };
        writer.write_row(row);
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_eq!(scene.records().len(), 3, "two NULLs and a 0");
}

#[test]
fn skipped_rows_inside_an_insert_still_count_for_rows_to_skip() {
    let scene = Scene::on_shared_servers("skipped_inside");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    let rows: Vec<OutboxRow> = [1, 0, 1, 0]
        .into_iter()
        .map(|published| OutboxRow { published: Some(published), ..writer.unnoted_row() })
        .collect();
    rows.iter().for_each(|row| writer.ledger.note_written(row.clone()));
    insert_rows(&mut writer.sql, "events", &rows);
    writer.ledger.note_committed(rows.into_iter().map(|row| row.id));
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let records = scene.records();
    assert!(records.iter().any(|record| record.value_text().contains(r#""rowsToSkip":3"#)));
}

#[test]
fn rows_updated_or_deleted_even_by_their_own_transaction_arrive_as_inserted() {
    let scene = Scene::on_shared_servers("deleted");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.transaction(|writer| {
        let ids = writer.insert(3);
        writer.sql.run(format!("DELETE FROM events WHERE event_id = '{}'", ids[0]));
        writer.sql.run(format!("UPDATE events SET published = 1 WHERE event_id = '{}'", ids[1]));
        ids
    });
    writer.sql.run("UPDATE events SET event_data = 'changed'");
    writer.sql.run("DELETE FROM events");
    writer.sql.run("TRUNCATE TABLE events");
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn rows_of_other_kinds_of_insert_arrive() {
    let scene = Scene::on_shared_servers("kinds");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE staging LIKE events");
    let relay = scene.start_relay();
    for (statement, is_repeated) in
        [("INSERT INTO", false), ("INSERT IGNORE INTO", true), ("REPLACE INTO", false)]
    {
        let row = writer.unnoted_row();
        insert_rows(&mut writer.sql, "staging", std::slice::from_ref(&row));
        writer.ledger.note_written(row.clone());
        let copy = format!("{statement} events SELECT * FROM staging");
        writer.sql.run(&copy);
        if is_repeated {
            // The row is there already: nothing is inserted.
            writer.sql.run(&copy);
        }
        writer.sql.run("DELETE FROM staging");
        writer.ledger.note_committed([row.id]);
    }
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn rows_that_a_trigger_of_another_table_inserts_arrive() {
    let scene = Scene::on_shared_servers("trigger");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE staging LIKE events");
    writer.sql.run(
        "CREATE TRIGGER publish AFTER INSERT ON staging FOR EACH ROW
         INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id, published)
         VALUES (NEW.event_id, NEW.event_type, NEW.event_data, NEW.entity_type, NEW.entity_id, 0)",
    );
    let relay = scene.start_relay();
    let before = writer.sql.end_of_binlog();
    for rows in [1, 3] {
        let rows = writer.next_rows(rows);
        insert_rows(&mut writer.sql, "staging", &rows);
        writer.ledger.note_committed(rows.into_iter().map(|row| row.id));
    }
    let events = writer.sql.binlog_events_since(&before);
    let has_two_maps = events.windows(2).any(|pair| {
        let names = [("staging", &pair[0].1), ("events", &pair[1].1)];
        names.iter().all(|(table, line)| {
            line.kind == "Table_map" && line.info.contains(&format!("({}.{table})", scene.name))
        })
    });
    assert!(has_two_maps, "the statement has a table map of each table: {events:?}");
    scene.judge_rows_clean(&expected_events(&scene, &writer), &relay);
}

#[test]
fn a_collision_that_becomes_an_update_is_not_relayed_and_the_new_rows_beside_it_are() {
    let scene = Scene::on_shared_servers("collision");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE staging LIKE events");
    let relay = scene.start_relay();
    for (statement, end) in [
        ("REPLACE INTO", ""),
        ("INSERT INTO", "ON DUPLICATE KEY UPDATE events.event_data = 'changed by a collision'"),
    ] {
        let there = writer.unnoted_row();
        insert_rows(&mut writer.sql, "staging", std::slice::from_ref(&there));
        writer.write_row(there);
        let new = writer.next_row();
        insert_rows(&mut writer.sql, "staging", std::slice::from_ref(&new));
        writer.sql.run("UPDATE staging SET event_type = 'collided' ORDER BY event_id LIMIT 1");
        let before = writer.sql.end_of_binlog();
        writer.sql.run(format!("{statement} events SELECT * FROM staging ORDER BY event_id {end}"));
        writer.ledger.note_committed([new.id]);
        let kinds = kinds_of_rows_events(&scene, &mut writer, &before, "events");
        assert_eq!(kinds, ["Update_rows", "Write_rows"], "{statement}");
        writer.sql.run("DELETE FROM staging");
    }
    scene.judge_rows_clean(&expected_events(&scene, &writer), &relay);
}

#[test]
fn a_replaced_row_that_the_server_deletes_and_inserts_again_is_relayed_again() {
    let scene = Scene::on_shared_servers("replaced_row");
    let mut writer = PlainWriter::on(&scene);
    // The collision is not in the table's last unique key, so the server does not make it an update.
    writer.sql.run("ALTER TABLE events ADD COLUMN number INT AUTO_INCREMENT UNIQUE");
    let relay = scene.start_relay();
    let topic = scene.topic("account");
    let before = writer.sql.end_of_binlog();
    for (statement, data) in [("INSERT", "first"), ("REPLACE", "second")] {
        writer.sql.run(format!(
            "{statement} INTO events (event_id, event_type, event_data, entity_type, entity_id)
             VALUES ('1-1', 't', '{data}', '{topic}', 'e')"
        ));
    }
    let kinds = kinds_of_rows_events(&scene, &mut writer, &before, "events");
    assert_eq!(kinds, ["Write_rows", "Delete_rows", "Write_rows"]);
    let records = scene.wait_for_records(&relay, 2);
    for (record, data) in records.iter().zip(["first", "second"]) {
        let value = record.value_text();
        assert!(value.contains(r#""id":"1-1","entityId":"e""#), "{value}");
        assert!(value.contains(&format!(r#""eventData":"{data}""#)), "{value}");
    }
}

#[test]
fn rows_between_partial_updates_of_json_arrive() {
    let scene = Scene::on_shared_servers("partial_json");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE documents (id INT PRIMARY KEY, body JSON)");
    let body = format!(r#"{{"number": 0, "text": "{}"}}"#, "long ".repeat(200));
    writer.sql.run_with("INSERT INTO documents VALUES (1, ?), (2, ?)", (&body, &body));
    writer.sql.run("SET SESSION binlog_row_value_options = PARTIAL_JSON");
    let relay = scene.start_relay();
    let before = writer.sql.end_of_binlog();
    let update = "UPDATE documents SET body = JSON_SET(body, '$.number', JSON_EXTRACT(body, '$.number') + 1)";
    writer.write(1);
    writer.sql.run(update);
    writer.transaction(|writer| {
        let mut ids = writer.insert(2);
        writer.sql.run(update);
        ids.extend(writer.insert(1));
        ids
    });
    writer.write(1);
    let kinds = kinds_of_rows_events(&scene, &mut writer, &before, "documents");
    let partial = kinds.iter().filter(|kind| *kind == "Update_rows_partial").count();
    assert_eq!(partial, 2, "{kinds:?}");
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn an_empty_entity_id_is_an_empty_key() {
    let scene = Scene::on_shared_servers("empty_key");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    for _ in 0..2 {
        let mut row = writer.unnoted_row();
        let Content::Event { entity_id, .. } = &mut row.content else {
            panic!("the writer writes events");
        };
        entity_id.clear();
        writer.write_row(row);
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert!(scene.records().iter().all(|record| record.key.as_deref() == Some(&[])));
}

#[test]
fn a_null_event_type_is_left_out() {
    let scene = Scene::on_shared_servers("null_type");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE staging LIKE events");
    let relay = scene.start_relay();
    let row = writer.next_row();
    insert_rows(&mut writer.sql, "staging", std::slice::from_ref(&row));
    writer.sql.run("UPDATE staging SET event_type = NULL");
    writer.sql.run("INSERT INTO events SELECT * FROM staging");
    writer.ledger.note_committed([row.id]);
    let mut expected = expected_events(&scene, &writer);
    for row in &mut expected {
        row.value = row.value.replace(r#""eventType":"bank.Deposited","#, "");
    }
    assert_eq!(expected.len(), 1);
    let arrived = scene.judge_rows_clean(&expected, &relay);
    assert!(!arrived[0].value_text().contains("eventType"), "{arrived:?}");
}

#[test]
fn a_null_metadata_is_left_out_and_an_empty_one_is_kept() {
    let scene = Scene::on_shared_servers("metadata");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    for metadata in [None, Some(String::new()), Some(r#"{"m":"1"}"#.to_owned())] {
        let mut row = writer.unnoted_row();
        let Content::Event { metadata: cell, .. } = &mut row.content else {
            panic!("the writer writes events");
        };
        *cell = metadata;
        writer.write_row(row);
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let with_metadata = scene
        .records()
        .iter()
        .filter(|record| record.value_text().contains(r#""metadata":"#))
        .count();
    assert_eq!(with_metadata, 2);
}

#[test]
fn tables_are_matched_by_patterns_and_no_others_are_relayed() {
    let scene = Scene::on_shared_servers("patterns");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE events_copy LIKE events");
    writer.sql.run("CREATE TABLE other_events LIKE events");
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("events*", "eventuate-local")];
    let relay = setup.start();
    writer.write(2);
    let mut row = writer.unnoted_row();
    insert_rows(&mut writer.sql, "other_events", std::slice::from_ref(&row));
    row.table = "events_copy".to_owned();
    writer.write_row(row);
    let binlog: Vec<_> =
        scene.binlog().into_iter().filter(|row| row.table != "other_events").collect();
    let expected = writer.ledger.expected(&binlog, 0);
    assert_eq!(expected.len(), 3);
    scene.judge_rows_clean(&expected, &relay);
}

/// What the rows of `events` alone must have become, where another table has rows of the same ids.
fn expected_events(scene: &Scene, writer: &PlainWriter) -> Vec<Expected> {
    let binlog: Vec<_> = scene.binlog().into_iter().filter(|row| row.table == "events").collect();
    writer.ledger.expected(&binlog, 0)
}

/// The kinds of the rows events of one table since then. The server has other tests' events as well.
fn kinds_of_rows_events(
    scene: &Scene,
    writer: &mut PlainWriter,
    from: &Coordinates,
    table: &str,
) -> Vec<String> {
    let events = writer.sql.binlog_events_since(from);
    let table = format!("({}.{table})", scene.name);
    // Both kinds of lines begin with `table_id: NUMBER`.
    let id_of = |line: &BinlogLine| line.info.split_whitespace().nth(1).map(str::to_owned);
    let lines = events.iter().map(|(_, line)| line);
    let is_map = |line: &&BinlogLine| line.kind == "Table_map" && line.info.contains(&table);
    let ids: Vec<_> = lines.clone().filter(is_map).map(id_of).collect();
    lines
        .filter(|line| line.kind.contains("_rows") && ids.contains(&id_of(line)))
        .map(|line| line.kind.clone())
        .collect()
}

fn message(destination: &str, number: u64) -> OutboxRow {
    let id = format!("{:016x}-{number:016x}", 0xdd);
    OutboxRow {
        id: id.clone(),
        table: "message".to_owned(),
        content: Content::Message {
            destination: destination.to_owned(),
            headers: vec![("PARTITION_ID".to_owned(), "7".to_owned()), ("ID".to_owned(), id)],
            payload: format!(r#"{{"round":{number}}}"#),
        },
        published: Some(0),
        counter: number,
    }
}
