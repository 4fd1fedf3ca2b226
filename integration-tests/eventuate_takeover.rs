//! The checkpoint of an Eventuate CDC is a valid start, although it lies inside a transaction: what
//! it had published is not published again, everything after it is.

use std::sync::Arc;

use harness::kafka::{create_compacted_topic, create_topic, write_record};
use harness::say;
use harness::scene::Scene;
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::sql::{BinlogLine, Coordinates};
use harness::workload::PlainWriter;

#[test]
fn the_end_of_a_rows_event_is_a_start_under_minimal_metadata() {
    let scene = Scene::on_shared_servers("after_rows");
    goes_on_from(&scene, "Write_rows", |line| line.end);
}

#[test]
fn the_beginning_of_a_table_map_is_a_start_under_minimal_metadata() {
    let scene = Scene::on_shared_servers("table_map");
    goes_on_from(&scene, "Table_map", |line| line.begin);
}

#[test]
fn both_are_starts_under_full_metadata() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--binlog-row-metadata=FULL"]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "after_rows_full");
    goes_on_from(&scene, "Write_rows", |line| line.end);
    let scene = Scene::on(mysql, shared_kafka(), "table_map_full");
    goes_on_from(&scene, "Table_map", |line| line.begin);
}

#[test]
fn a_new_generation_begins_and_the_readers_name_is_the_key() {
    let scene = Scene::on_shared_servers("reader");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let place = writer.sql.end_of_binlog();
    let topic = scene.checkpoint_topic();
    // Eventuate's topic has several partitions and no compaction.
    create_topic(&scene.kafka, &topic, 8, &[]);
    write_eventuate_record(&scene, "the-reader", &place);
    let mut setup = scene.relay_setup();
    setup.start_from = None;
    setup.kafka_lines.push("checkpoint_key = \"the-reader\"".to_owned());
    let relay = setup.start();
    writer.write(2);
    let expected = scene.expected(&writer.ledger);
    assert_eq!(expected.len(), 4);
    scene.judge_rows_clean(&expected[2..], &relay);
}

/// Three statements in one transaction; Eventuate stopped after the first of its rows.
fn goes_on_from(scene: &Scene, kind: &str, place: impl Fn(&BinlogLine) -> u64) {
    let mut writer = PlainWriter::on(scene);
    writer.write(2);
    let before = writer.sql.end_of_binlog();
    writer.transaction(|writer| {
        let mut ids = writer.insert(1);
        ids.extend(writer.insert(3));
        ids.extend(writer.insert(1));
        ids
    });
    writer.write(2);
    let place = {
        // The first rows event's end, or the table map of the second statement.
        let nth = usize::from(kind == "Table_map");
        let (file, line) = lines_of(scene, &mut writer, &before, kind).swap_remove(nth);
        Coordinates { file, offset: place(&line) }
    };
    create_compacted_topic(&scene.kafka, &scene.checkpoint_topic(), 1);
    write_eventuate_record(scene, &scene.name, &place);
    let mut setup = scene.relay_setup();
    setup.start_from = None;
    let relay = setup.start();
    let expected = scene.expected(&writer.ledger);
    let (published_by_eventuate, ours) = expected.split_at(3);
    say(&format!("{}: from {place} ({kind})", scene.name));
    scene.judge_rows_clean(ours, &relay);
    assert_eq!(published_by_eventuate.len() + ours.len(), 9);
}

fn lines_of(
    scene: &Scene,
    writer: &mut PlainWriter,
    from: &Coordinates,
    kind: &str,
) -> Vec<(String, BinlogLine)> {
    let events = writer.sql.binlog_events_since(from);
    let table = format!("({}.events)", scene.name);
    let map =
        events.iter().find(|(_, line)| line.kind == "Table_map" && line.info.contains(&table));
    let (_, map) = map.expect("the transaction has a table map");
    let table_id = map.info.split_whitespace().nth(1).expect("a table map names its id").to_owned();
    events
        .into_iter()
        .filter(|(_, line)| {
            line.kind == kind && line.info.split_whitespace().nth(1) == Some(&table_id)
        })
        .collect()
}

fn write_eventuate_record(scene: &Scene, key: &str, place: &Coordinates) {
    let value = format!(
        r#"{{"binlogFilename":"{}","offset":{},"rowsToSkip":0}}"#,
        place.file, place.offset
    );
    let topic = scene.checkpoint_topic();
    write_record(&scene.kafka, &topic, None, Some(key), Some(value.as_bytes()));
}
