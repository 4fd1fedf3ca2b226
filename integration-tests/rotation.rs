//! The binlog goes on in another file, while the relay runs and while it does not.

use std::sync::Arc;

use crate::harness::relay::SOON;
use crate::harness::scene::{Scene, checkpoint_place};
use crate::harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use crate::harness::workload::PlainWriter;

#[test]
fn rotations_are_followed_and_restarted_around() {
    let scene = Scene::on_shared_servers("rotation");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    for _ in 0..3 {
        writer.write(2);
        writer.sql.run("FLUSH BINARY LOGS");
        writer.sql.run("FLUSH BINARY LOGS");
        writer.write_together(2);
    }
    scene.wait_for_records(&relay, 12);
    // Exactly at the end of one file, the next one begun.
    writer.sql.run("FLUSH BINARY LOGS");
    let end = writer.sql.end_of_binlog();
    relay.kill();
    relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 14);
    relay.kill();
    // Rotated while nobody reads.
    writer.write(1);
    writer.sql.run("FLUSH BINARY LOGS");
    writer.sql.run("FLUSH BINARY LOGS");
    writer.write(1);
    relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let stored = scene.checkpoint().expect("a checkpoint");
    assert!(checkpoint_place(&stored) > end);
}

#[test]
fn a_relay_that_stopped_at_the_end_of_a_file_resumes_in_the_next() {
    let scene = Scene::on_shared_servers("file_end");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    for _ in 0..3 {
        let mut relay = setup.start();
        writer.write(1);
        let written = writer.sql.end_of_binlog();
        scene.wait_for_checkpoint_at(&relay, &written);
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        writer.sql.run("FLUSH BINARY LOGS");
    }
    writer.write(1);
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn events_may_have_checksums_or_none() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--binlog-checksum=NONE"]));
    let scene = Scene::on(mysql, shared_kafka(), "checksums");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    writer.write(1);
    let mut relay = setup.start();
    writer.write(2);
    for algorithm in ["CRC32", "NONE", "CRC32"] {
        // The server begins a new file for it.
        writer.sql.run(format!("SET GLOBAL binlog_checksum = {algorithm}"));
        writer.write(2);
        scene.judge_clean(&writer.ledger, &relay, SOON);
        relay.kill();
        writer.write(1);
        relay = setup.start();
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
}
