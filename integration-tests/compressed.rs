//! Transactions that the server wrote compressed (`binlog_transaction_compression`, 8.0.20 and later).

use harness::relay::SOON;
use harness::scene::Scene;
use harness::workload::PlainWriter;

#[test]
fn compressed_transactions_are_relayed_whole() {
    let scene = Scene::on_shared_servers("compressed");
    let mut writer = compressing_writer(&scene);
    let relay = scene.start_relay();
    writer.write(2);
    writer.write_together(50);
    writer.transaction(|writer| {
        let mut ids = writer.insert(2);
        writer.sql.run("CREATE TEMPORARY TABLE scratch (id INT)");
        ids.extend(writer.insert(3));
        writer.sql.run(format!("DELETE FROM events WHERE event_id = '{}'", ids[0]));
        ids.extend(writer.insert(1));
        ids
    });
    writer.sql.run("SET SESSION binlog_transaction_compression = OFF");
    writer.write(2);
    assert_compressed(&scene);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_compressed_transaction_above_the_batch_limit_is_split_and_survives_kills() {
    let scene = Scene::on_shared_servers("compressed_split");
    scene.create_topic("account");
    let mut writer = compressing_writer(&scene);
    writer.write_together(20_000);
    writer.write(3);
    assert_compressed(&scene);
    let mut setup = scene.relay_setup();
    // Four hundred parts: whatever the machine's speed, the kills come between two of them.
    setup.batch_lines = vec!["max_records = 50".to_owned()];
    let mut inbox = scene.inbox();
    for arrived in [500, 4_000, 8_000] {
        let mut relay = setup.start();
        relay.wait_until_came(&mut inbox, arrived, SOON);
        relay.kill();
        let rows_done = scene.checkpoint().expect("a checkpoint")["rowsDone"].clone();
        assert!(rows_done.as_u64() > Some(0), "the kill came within the transaction: {rows_done}");
    }
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

fn compressing_writer(scene: &Scene) -> PlainWriter {
    let mut writer = PlainWriter::on(scene);
    writer.sql.run("SET SESSION binlog_transaction_compression = ON");
    writer
}

fn assert_compressed(scene: &Scene) {
    let events = scene.sql().binlog_events_since(&scene.start);
    assert!(events.iter().any(|(_, line)| line.kind == "Transaction_payload"));
}
