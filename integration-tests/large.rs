//! Large rows, large transactions, and transactions split over several Kafka transactions.

use std::time::Duration;

use crate::harness::consumer::{Inbox, Isolation};
use crate::harness::ledger::Content;
use crate::harness::oracle;
use crate::harness::relay::SOON;
use crate::harness::scene::Scene;
use crate::harness::workload::{PlainWriter, insert_rows};

const A_LARGE_ONE_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn a_row_of_one_megabyte_arrives() {
    let scene = Scene::on_shared_servers("megabyte");
    let topic = scene.topic("account");
    let limit = [("max.message.bytes", "4000000")];
    crate::harness::kafka::create_topic(&scene.kafka, &topic, scene.partitions, &limit);
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(1);
    let mut row = writer.next_row();
    row.id.push_str("ff");
    let Content::Event { event_data, .. } = &mut row.content else {
        panic!("the writer writes events");
    };
    *event_data = "0123456789é\n".repeat((1 << 20) / 13 + 1);
    writer.ledger.note_written(row.clone());
    insert_rows(&mut writer.sql, "events", std::slice::from_ref(&row));
    writer.ledger.note_committed([row.id]);
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
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
        let came = inbox.wait_for(arrived, A_LARGE_ONE_WITHIN).map(|_| ());
        came.unwrap_or_else(|error| panic!("{error}\n{}", relay.log_tail()));
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
    let mut inbox = scene.inbox();
    writer.write(1);
    inbox.wait_for(1, SOON).unwrap_or_else(|error| panic!("{error}\n{}", relay.log_tail()));
    writer.write_together(5_000);
    // Whenever one looks: none or all of them.
    loop {
        let visible = scene.records().len();
        assert!(matches!(visible, 1 | 5_001), "{visible} records are visible");
        if visible == 5_001 {
            break;
        }
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let all = Inbox::read_all(&scene.kafka, &scene.topic(""), Isolation::ReadUncommitted);
    let expected = scene.expected(&writer.ledger);
    let verdict = oracle::judge(&scene.name, &expected, &all, scene.partitions);
    assert!(verdict.is_clean(), "a run without failures aborts nothing: {verdict}");
}
