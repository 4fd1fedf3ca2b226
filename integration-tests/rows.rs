//! Every committed row of every kind of insert arrives once, and nothing else does.

use crate::harness::ledger::{Content, OutboxRow};
use crate::harness::relay::SOON;
use crate::harness::scene::Scene;
use crate::harness::workload::{PlainWriter, insert_rows};

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
        let row = OutboxRow { published, ..unnoted(&mut writer) };
        write_one(&mut writer, row);
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
        .map(|published| OutboxRow { published: Some(published), ..unnoted(&mut writer) })
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
        let row = unnoted(&mut writer);
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
fn a_null_metadata_is_left_out_and_an_empty_one_is_kept() {
    let scene = Scene::on_shared_servers("metadata");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    for metadata in [None, Some(String::new()), Some(r#"{"m":"1"}"#.to_owned())] {
        let mut row = unnoted(&mut writer);
        let Content::Event { metadata: cell, .. } = &mut row.content else {
            panic!("the writer writes events");
        };
        *cell = metadata;
        write_one(&mut writer, row);
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
    let mut row = unnoted(&mut writer);
    insert_rows(&mut writer.sql, "other_events", std::slice::from_ref(&row));
    row.table = "events_copy".to_owned();
    write_one(&mut writer, row);
    let binlog: Vec<_> =
        scene.binlog().into_iter().filter(|row| row.table != "other_events").collect();
    let expected = writer.ledger.expected(&binlog, 0);
    let arrived = scene.wait_for_records(&relay, 3);
    let verdict = crate::harness::oracle::judge(&scene.name, &expected, &arrived, scene.partitions);
    assert!(verdict.is_clean(), "{verdict}");
}

/// A row as the plain writer makes them, under an id of its own, that the ledger does not know yet.
fn unnoted(writer: &mut PlainWriter) -> OutboxRow {
    let mut row = writer.next_row();
    row.id = row.id.replace("acc-", "bcc-");
    row
}

fn write_one(writer: &mut PlainWriter, row: OutboxRow) {
    writer.ledger.note_written(row.clone());
    insert_rows(&mut writer.sql, &row.table, std::slice::from_ref(&row));
    writer.ledger.note_committed([row.id]);
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
