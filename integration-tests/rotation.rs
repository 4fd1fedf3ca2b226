//! The binlog goes on in another file, while the relay runs and while it does not.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use harness::consumer::Record;
use harness::relay::{RelaySequence, SOON};
use harness::scene::{Scene, checkpoint_place};
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::sql::Coordinates;
use harness::workload::PlainWriter;

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

/// As a crash of the machine leaves it where the binlog is not synchronised: the end of the last file is gone, and
/// the server goes on in another one.
#[test]
fn a_binlog_that_a_crash_cut_off_is_gone_on_behind_where_nothing_of_it_counts() {
    let _permit = permit_for_own_servers();
    for version in ["mysql-8.0", "mysql-5.7"] {
        let mysql = Arc::new(MySql::start(version, &[]));
        let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "cut_off");
        let mut writer = PlainWriter::on(&scene);
        let setup = scene.relay_setup();
        let mut rows = 0;
        for tail in [Tail::CutStop, Tail::HalfGtid, Tail::Crash] {
            let mut relay = setup.start();
            writer.write(2);
            scene.wait_for_records(&relay, rows + 2);
            relay.kill();
            writer.write(2);
            tail.leave(&mysql, &mut writer);
            writer.sql = scene.sql();
            writer.write(2);
            rows += 6;
            relay = setup.start();
            let records = scene.wait_for_records(&relay, rows);
            let numbers: BTreeSet<u64> =
                records.iter().map(|record| RelaySequence::of(record).sequence).collect();
            let values: BTreeSet<String> = records.iter().map(event_id).collect();
            let counts = (records.len(), numbers.len(), values.len());
            assert_eq!(counts, (rows, rows, rows), "{version} {tail:?}\n{}", relay.log_tail());
            assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        }
    }
}

fn event_id(record: &Record) -> String {
    let value: serde_json::Value = serde_json::from_str(&record.value_text()).expect("JSON");
    value["id"].as_str().expect("an id").to_owned()
}

/// What the newest binlog ends with, when the server starts again.
#[derive(Debug)]
enum Tail {
    /// In the middle of the last event, which is of no transaction.
    CutStop,
    /// In the middle of the event that names a transaction.
    HalfGtid,
    /// After a crash with a part of a transaction: the server itself looks at the end.
    Crash,
}

impl Tail {
    fn leave(&self, mysql: &MySql, writer: &mut PlainWriter) {
        let end = writer.sql.end_of_binlog();
        let events = writer.sql.binlog_events(&Coordinates { offset: 4, ..end.clone() });
        // A transaction that is in the file already, as the bytes of one that was not written whole; its GTID is one
        // that nobody has executed.
        let group = events.iter().rfind(|event| event.kind == "Gtid").expect("a transaction");
        let rows = events.iter().rfind(|event| event.kind == "Write_rows").expect("its rows");
        let path = mysql.data_path(&end.file);
        match self {
            Tail::Crash => mysql.kill(),
            _ => mysql.stop(),
        }
        let mut bytes = fs::read(&path).expect("the binlog is a file");
        let head = group.begin as usize..rows.end as usize;
        match self {
            Tail::CutStop => bytes.truncate(bytes.len() - 7),
            Tail::HalfGtid => {
                bytes.truncate(end.offset as usize);
                let half = copied(&bytes, head.start..group.end as usize - 9);
                bytes.extend(half);
            }
            Tail::Crash => {
                let half = copied(&bytes, head.start..head.end - 9);
                bytes.extend(half);
            }
        }
        fs::write(&path, bytes).expect("the binlog can be written");
        mysql.start_again();
    }
}

/// Events of the file, as if they stood at its end: each names the place where it ends, and the first one a GTID that
/// is not taken.
fn copied(bytes: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    const HEADER_BYTES: usize = 19;
    const GNO_AT: usize = HEADER_BYTES + 1 + 16;
    let mut copy = bytes[range].to_vec();
    let gno = u64::from_le_bytes(copy[GNO_AT..GNO_AT + 8].try_into().expect("eight bytes"));
    copy[GNO_AT..GNO_AT + 8].copy_from_slice(&(gno + 1).to_le_bytes());
    let mut begin = 0;
    while copy.len() - begin >= HEADER_BYTES {
        let field = |at: usize| copy[begin + at..begin + at + 4].try_into().expect("four bytes");
        let size = u32::from_le_bytes(field(9)) as usize;
        let end = u32::try_from(bytes.len() + begin + size).expect("a small file");
        copy[begin + 13..begin + 17].copy_from_slice(&end.to_le_bytes());
        if begin + size > copy.len() {
            break;
        }
        let sum = crc32fast::hash(&copy[begin..begin + size - 4]);
        copy[begin + size - 4..begin + size].copy_from_slice(&sum.to_le_bytes());
        begin += size;
    }
    copy
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
