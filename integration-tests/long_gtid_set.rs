//! A GTID set of thousands of intervals neither slows the relay down nor fills its checkpoints, and another
//! server is resumed from by it all the same.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;

use harness::consumer::Inbox;
use harness::kafka::create_topic;
use harness::relay::{Relay, SOON};
use harness::scene::{Delivery, Scene, checkpoint_place};
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::workload::PlainWriter;

const INTERVALS: usize = 2_000;

/// A server that has executed every second transaction of another one.
fn server_with_holes() -> Arc<MySql> {
    let mysql = MySql::start("mysql-8.0", &[]);
    let mut sql = mysql.connect();
    let numbers: Vec<usize> = (0..INTERVALS).map(|n| 2 * n + 1).collect();
    for numbers in numbers.chunks(200) {
        let empty = |n: &usize| format!("SET GTID_NEXT = '{OTHER}:{n}'; BEGIN; COMMIT;");
        sql.run(numbers.iter().map(empty).collect::<String>());
    }
    // Each file names the GTIDs before it.
    sql.run("SET GTID_NEXT = AUTOMATIC");
    sql.run("FLUSH BINARY LOGS");
    Arc::new(mysql)
}

const OTHER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// Writes rows one by one: one batch each, and a checkpoint with it.
fn write(
    writer: &mut PlainWriter,
    relay: &Relay,
    inbox: &mut Inbox,
    numbers: RangeInclusive<usize>,
) {
    for number in numbers {
        writer.write(1);
        relay.wait_until_came(inbox, number, SOON);
    }
}

#[test]
fn most_checkpoints_leave_a_long_gtid_set_out_and_another_server_is_resumed_from() {
    let _permit = permit_for_own_servers();
    let mysql = server_with_holes();
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "long_set").with(delivery);
        let mut writer = PlainWriter::on(&scene);
        let setup = scene.relay_setup();
        let mut inbox = scene.inbox();
        let mut relay = setup.start();
        write(&mut writer, &relay, &mut inbox, 1..=12);
        relay.kill();
        // Nothing tells whether the last checkpoint has the set: the server is the same.
        writer.write(1);
        let mut relay = setup.start();
        write(&mut writer, &relay, &mut inbox, 14..=16);
        // In idempotent delivery, a generation would begin on another server.
        if delivery == Delivery::ExactlyOnce {
            // The relay stores the set when it loses MySQL.
            mysql.restart_with_another_uuid();
            writer.sql = scene.sql();
            write(&mut writer, &relay, &mut inbox, 17..=19);
            assert_eq!(relay.log().matches("relaying server").count(), 2, "{}", relay.log());
        }
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);

        let checkpoints: Vec<Value> = scene.checkpoints().into_iter().flatten().collect();
        let set_of = |checkpoint: &Value| checkpoint["gtidSet"].as_str().map(str::to_owned);
        let sets: Vec<String> = checkpoints.iter().filter_map(set_of).collect();
        let is_whole = |set: &String| set.split(':').count() > INTERVALS;
        assert!(!sets.is_empty() && sets.iter().all(is_whole), "a set is whole or not there");
        let is_small = |checkpoint: &&Value| checkpoint.to_string().len() < 1_000;
        let small = checkpoints.iter().filter(is_small).count();
        assert!(small > sets.len(), "{small} of {} are small", checkpoints.len());
        let last = checkpoints.last().and_then(set_of).expect("the last one has it");
        assert_eq!(last, writer.sql.executed_gtids(), "a drain stores the set");
    }
}

#[test]
fn a_long_set_that_is_ahead_of_the_binlog_is_in_every_checkpoint_until_it_is_not() {
    let _permit = permit_for_own_servers();
    let scene = Scene::on(server_with_holes(), shared_kafka(), "set_ahead");
    let mut writer = PlainWriter::on(&scene);
    writer.write(100);
    let (executed, end) = (writer.sql.executed_gtids(), writer.sql.end_of_binlog());
    let uuid: String = writer.sql.value("SELECT @@server_uuid");
    let own = executed.split(&format!("{uuid}:1-")).nth(1).expect("the server's own GTIDs");
    let newest: usize =
        own.split(',').next().and_then(|n| n.trim().parse().ok()).expect("a number");
    // Every second row counts as relayed: rows that are stand behind each that is not.
    let open: String = (0..50).map(|n| format!(":{}", newest - 99 + 2 * n)).collect();
    let set: String =
        writer.sql.value(format!("SELECT GTID_SUBTRACT('{executed}', '{uuid}{open}')"));
    let mut setup = scene.relay_setup();
    setup.start_from = Some(format!("gtid:{}", set.replace('\n', "")));
    setup.batch_lines.push("max_records = 1".to_owned());
    let mut relay = setup.start();
    scene.wait_for_records(&relay, 10);
    relay.kill();
    let relay = setup.start();
    let expected: Vec<_> = scene.expected(&writer.ledger).into_iter().step_by(2).collect();
    scene.judge_rows_clean(&expected, &relay);
    let checkpoints: Vec<Value> = scene.checkpoints().into_iter().flatten().collect();
    let is_before = |checkpoint: &&Value| checkpoint_place(checkpoint) < end;
    let before: Vec<&Value> = checkpoints.iter().filter(is_before).collect();
    let lacking = before.iter().filter(|checkpoint| checkpoint["gtidSet"].is_null()).count();
    assert!(before.len() > 20 && lacking == 0, "{lacking} of {}", before.len());
}

#[test]
fn a_gtid_set_that_the_checkpoint_topic_does_not_take_is_left_out_and_named() {
    let _permit = permit_for_own_servers();
    let scene = Scene::on(server_with_holes(), shared_kafka(), "set_too_long");
    let properties = [("max.message.bytes", "9000"), ("cleanup.policy", "compact")];
    create_topic(&scene.kafka, &scene.checkpoint_topic(), 1, &properties);
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(3);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let log = relay.log();
    assert_eq!(
        log.matches("the GTID set is too long for the checkpoint topic").count(),
        1,
        "{log}"
    );
    assert!(log.contains(&format!("intervals={}", INTERVALS + 1)), "{log}");
    assert!(scene.checkpoint().expect("a checkpoint")["gtidSet"].is_null());
    // A transaction is given up by place, which needs no set.
    writer.write(1);
    setup.set_checkpoint("latest");
    assert!(scene.checkpoint().expect("a checkpoint")["gtidSet"].is_null());
    writer.write(2);
    let mut relay = setup.start();
    scene.wait_for_records(&relay, 5);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    scene.mysql.restart_with_another_uuid();
    setup.start().halts_saying(
        &format!(
            "MySQL {}: cannot begin at the checkpoint, …: it was written on server … and has no GTID set; this is \
             server …",
            setup.mysql_address
        ),
        "point the relay at that server, if it is still there: a long GTID set is left out of most checkpoints; else \
         begin on this one with `binlog-relay checkpoint set --to` the GTID set of an earlier record of the \
         checkpoint topic (gtidSet): what came after that one is relayed again",
    );
    assert_eq!(scene.records().len(), 5);
}
