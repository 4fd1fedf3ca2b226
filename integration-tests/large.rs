//! Large rows, large transactions, and transactions split over several Kafka transactions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Isolation, Record};
use harness::ledger::Content;
use harness::oracle::{self, partition_of};
use harness::relay::SOON;
use harness::scene::Scene;
use harness::sql::BinlogLine;
use harness::workload::PlainWriter;

const A_LARGE_ONE_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn a_row_of_one_megabyte_arrives() {
    let scene = Scene::on_shared_servers("megabyte");
    let topic = scene.topic("account");
    let limit = [("max.message.bytes", "4000000")];
    harness::kafka::create_topic(&scene.kafka, &topic, scene.partitions, &limit);
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(1);
    let mut row = writer.unnoted_row();
    let Content::Event { event_data, .. } = &mut row.content else {
        panic!("the writer writes events");
    };
    *event_data = "0123456789é\n".repeat((1 << 20) / 13 + 1);
    writer.write_row(row);
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn rows_beside_a_row_of_20_megabytes_in_another_table_arrive() {
    let scene = Scene::on_shared_servers("other_20_mb");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE other (id INT AUTO_INCREMENT PRIMARY KEY, body LONGBLOB)");
    let mut relay = scene.start_relay();
    // The protocol splits what is above 16 MiB into several packets.
    let insert = "INSERT INTO other (body) VALUES (REPEAT('x', 20 * 1024 * 1024))";
    let before = writer.sql.end_of_binlog();
    writer.write(1);
    writer.sql.run(insert);
    writer.write(1);
    writer.transaction(|writer| {
        let mut ids = writer.insert(1);
        writer.sql.run(insert);
        ids.extend(writer.insert(2));
        ids
    });
    writer.write(1);
    let events = writer.sql.binlog_events_since(&before);
    let is_large = |line: &BinlogLine| line.end > line.begin + (20 << 20);
    assert!(events.iter().filter(|(_, line)| is_large(line)).count() >= 2, "the rows are large");
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert!(!relay.has_ended(), "{}", relay.log_tail());
}

#[test]
fn a_transaction_of_100000_rows_is_split_and_survives_kills_in_the_middle() {
    let scene = Scene::on_shared_servers("large");
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    writer.write_together(100_000);
    writer.write(3);
    let mut setup = scene.relay_setup();
    // Five hundred parts: whatever the machine's speed, the kills come between two of them.
    setup.batch_lines = vec!["max_records = 200".to_owned()];
    let mut relay = setup.start();
    let mut inbox = scene.inbox();
    for arrived in [2_000, 25_000, 50_000, 75_000] {
        relay.wait_until_came(&mut inbox, arrived, A_LARGE_ONE_WITHIN);
        relay.kill();
        let rows_done = scene.checkpoint().expect("a checkpoint")["rowsDone"].clone();
        assert!(rows_done.as_u64() > Some(0), "the kill came within the transaction: {rows_done}");
        relay = setup.start();
    }
    scene.judge_clean(&writer.ledger, &relay, A_LARGE_ONE_WITHIN);
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!(stored["sequence"], 100_006);
}

#[test]
fn batches_of_few_records_or_bytes_change_nothing() {
    for (label, limit) in [("few_records", "max_records = 3"), ("few_bytes", "max_bytes = 2000")] {
        let scene = Scene::on_shared_servers(label);
        let mut writer = PlainWriter::on(&scene);
        let mut setup = scene.relay_setup();
        setup.batch_lines = vec![limit.to_owned()];
        let relay = setup.start();
        writer.write(4);
        for rows in [2, 3, 4, 7, 50] {
            writer.write_together(rows);
        }
        scene.judge_clean(&writer.ledger, &relay, SOON);
    }
}

#[test]
fn a_transaction_below_the_limits_becomes_visible_at_once() {
    let scene = Scene::on_shared_servers("at_once");
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(1);
    let before = by_partition(&scene.wait_for_records(&relay, 1));
    writer.write_together(5_000);
    let expected = scene.expected(&writer.ledger);
    let mut all: BTreeMap<i32, usize> = BTreeMap::new();
    for row in &expected {
        *all.entry(partition_of(row.key.as_bytes(), scene.partitions)).or_default() += 1;
    }
    // Whenever one looks: none or all of them in each partition. Each learns of the commit by itself.
    let deadline = Instant::now() + SOON;
    let mut visible = before.clone();
    while visible != all {
        assert!(Instant::now() < deadline, "{visible:?} of {all:?}\n{}", relay.log_tail());
        visible = by_partition(&scene.records());
        for (partition, count) in &visible {
            let is_none_or_all = [before.get(partition), all.get(partition)].contains(&Some(count));
            assert!(is_none_or_all, "{visible:?} of {all:?} are visible");
        }
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_one_kafka_transaction(&scene, &before);
    let uncommitted = Inbox::read_all(&scene.kafka, &scene.topic(""), Isolation::ReadUncommitted);
    let verdict = oracle::judge(&scene.name, &expected, &uncommitted, scene.partitions);
    assert!(verdict.is_clean(), "a run without failures aborts nothing: {verdict}");
}

/// What followed `before` was one Kafka transaction: no end of another takes an offset between its
/// records, and no checkpoint counts only some of them.
fn assert_one_kafka_transaction(scene: &Scene, before: &BTreeMap<i32, usize>) {
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for record in scene.records() {
        offsets.entry(record.partition).or_default().push(record.offset);
    }
    for (partition, mut offsets) in offsets {
        offsets.sort_unstable();
        let own = &offsets[before.get(&partition).copied().unwrap_or_default()..];
        let is_whole = own.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(is_whole, "partition {partition} has an end of a transaction in between");
    }
    for stored in scene.checkpoints().into_iter().flatten() {
        let sequence = stored["sequence"].as_u64().expect("a checkpoint counts rows");
        assert!(matches!(sequence, 0 | 1 | 5_001), "{stored}");
        assert_eq!(stored["rowsDone"], 0, "{stored}");
    }
}

fn by_partition(records: &[Record]) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.partition).or_default() += 1;
    }
    counts
}
