//! The checkpoint is found whatever else the topic holds.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::consumer::{Inbox, Isolation};
use harness::kafka::{OpenTransaction, create_compacted_topic, delete_topic, write_record};
use harness::relay::{RelaySequence, SOON, said};
use harness::scene::Scene;
use harness::servers::{Kafka, MySql, permit_for_own_servers, shared_kafka, shared_mysql};
use harness::workload::PlainWriter;

#[test]
fn several_partitions_garbage_and_other_relays_records_do_not_disturb() {
    let scene = Scene::on_shared_servers("shared_topic");
    let topic = scene.checkpoint_topic();
    create_compacted_topic(&scene.kafka, &topic, 5);
    let other = r#"{"binlogFilename":"binlog.999999","offset":4,"rowsToSkip":0,"generation":9999999999999,"sequence":9}"#;
    let litter = || {
        for partition in 0..5 {
            let write = |key, value: Option<&[u8]>| {
                write_record(&scene.kafka, &topic, Some(partition), Some(key), value);
            };
            write("somebody-else", Some(other.as_bytes()));
            write("not-json", Some(b"\x00garbage{"));
            write("a-tombstone", None);
        }
    };
    litter();
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    for _ in 0..3 {
        let mut relay = setup.start();
        writer.write(3);
        let written = writer.sql.end_of_binlog();
        scene.wait_for_checkpoint_at(&relay, &written);
        relay.kill();
        litter();
        writer.write(1);
    }
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn another_producers_open_transaction_does_not_hide_the_newest_checkpoint() {
    let scene = Scene::on_shared_servers("open_transaction");
    let topic = scene.checkpoint_topic();
    create_compacted_topic(&scene.kafka, &topic, 1);
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    let other = OpenTransaction::begin(&scene.kafka, &format!("{}-other", scene.name));
    other.write(&topic, 0, "somebody-else", b"{}");
    // These checkpoints lie behind the open transaction, where read_committed does not reach.
    writer.write(3);
    scene.wait_for_records(&relay, 6);
    relay.kill();
    let relay = setup.start();
    thread::sleep(Duration::from_secs(3));
    drop(other);
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_topic_the_relay_creates_is_compacted_and_has_one_partition() {
    let scene = Scene::on_shared_servers("created_topic");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(4);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let topic = scene.checkpoint_topic();
    let stored = Inbox::read_all(&scene.kafka, &topic, Isolation::ReadCommitted);
    assert!(!stored.is_empty() && stored.iter().all(|record| record.partition == 0));
    assert_eq!(harness::kafka::partition_count(&scene.kafka, &topic), 1);
    assert_eq!(harness::kafka::topic_config(&scene.kafka, &topic, "cleanup.policy"), "compact");
}

#[test]
fn a_running_relay_whose_checkpoint_is_gone_halts_and_does_not_begin_anew() {
    // A topic that is deleted under an open transaction is no neighbour for other tests' transactions.
    let _permit = permit_for_own_servers();
    let scene = Scene::on(shared_mysql(), Arc::new(Kafka::start(&[])), "gone");
    let mut writer = PlainWriter::on(&scene);
    let mut setup = scene.relay_setup();
    setup.transaction_timeout = Some("5s".to_owned());
    let mut relay = setup.start();
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    delete_topic(&scene.kafka, &scene.checkpoint_topic());
    writer.write(3);
    relay.halts_saying(
        &format!(
            "the checkpoint of key {:?} in {}, which this relay wrote, is not there any more",
            scene.name,
            scene.checkpoint_topic()
        ),
        "find out who deleted the record or the topic; a new start begins anew at start_from, or where \
         `binlog-relay checkpoint set --to …` says: either relays rows again, or leaves some out",
    );
    assert_eq!(scene.records().len(), 3);
}

#[test]
fn a_record_of_its_key_that_is_no_checkpoint_halts_unless_a_later_one_is() {
    let scene = Scene::on_shared_servers("own_garbage");
    let topic = scene.checkpoint_topic();
    create_compacted_topic(&scene.kafka, &topic, 1);
    let write = |value: &[u8]| {
        write_record(&scene.kafka, &topic, None, Some(&scene.name), Some(value));
    };
    write(b"{\"binlogFilename\":");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    scene.start_relay().halts_saying(
        &format!(
            "Kafka {}: the record of key {:?} at offset 0 of partition 0 of the checkpoint topic {topic} is no \
             checkpoint: …",
            scene.kafka.bootstrap(),
            scene.name
        ),
        "find out who wrote the record; `binlog-relay checkpoint set --to …` stores one that counts instead",
    );
    let start = &scene.start;
    let place = format!(
        r#"{{"binlogFilename":"{}","offset":{},"rowsToSkip":0}}"#,
        start.file, start.offset
    );
    write(place.as_bytes());
    let relay = scene.start_relay();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

const DAMAGED_HINT: &str = "find out who wrote the record: an older one does not count in its place, as rows after \
                            that one may be in Kafka; `binlog-relay checkpoint set --to …` stores one that counts";

#[test]
fn a_newest_checkpoint_that_cannot_be_read_does_not_give_way_to_an_older_one() {
    let scene = Scene::on_shared_servers("unreadable");
    let mut writer = PlainWriter::on(&scene);
    let start = scene.relay_setup();
    let mut relay = start.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    let older = scene.checkpoint().expect("a checkpoint").to_string();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let good = scene.checkpoint().expect("a checkpoint");
    let with = |field: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed.to_string()
    };
    let whole = good.to_string();
    let cases = [
        (
            "later",
            with("format", 2.into()),
            "has format 2, which the version … wrote; this version reads format 1",
        ),
        ("cut", whole[..whole.len() / 2].to_owned(), "cannot be read: EOF while parsing …"),
        ("type", with("sequence", "4".into()), "cannot be read: invalid type: string …"),
        ("large", with("offset", u64::MAX.into()), "cannot be read: offset: … is above …"),
        ("sequence", with("sequence", u64::MAX.into()), "cannot be read: sequence: … is above …"),
        (
            "twice",
            whole.replacen('{', r#"{"generation":1,"#, 1),
            "cannot be read: duplicate field …",
        ),
    ];
    let setups = cases.map(|(label, newest, words)| {
        let mut setup = start.clone();
        setup.checkpoint_topic = format!("{}-{label}", start.checkpoint_topic);
        create_compacted_topic(&scene.kafka, &setup.checkpoint_topic, 1);
        for record in [&older, &newest] {
            let topic = &setup.checkpoint_topic;
            write_record(&scene.kafka, topic, None, Some(&scene.name), Some(record.as_bytes()));
        }
        (setup, words)
    });
    for (setup, words) in &setups {
        let error = format!(
            "Kafka {}: the newest checkpoint of key {:?}, at offset 1 of partition 0 of the checkpoint topic {}, {words}",
            scene.kafka.bootstrap(),
            scene.name,
            setup.checkpoint_topic
        );
        let hint = if words.starts_with("has format") {
            "start the version … of the relay or a later one; or say where this version goes on with \
                 `binlog-relay checkpoint set --to …`"
        } else {
            DAMAGED_HINT
        };
        setup.start().halts_saying(&error, hint);
    }
    assert_eq!(scene.records().len(), 4);
    // A person may say where it goes on, over any of them.
    let (later, _) = &setups[0];
    let shown = said(&later.answer(&["checkpoint", "show"]));
    assert_eq!(shown.code, 1, "{shown:?}");
    let told = later.set_checkpoint(&writer.sql.end_of_binlog().to_string());
    assert!(told.starts_with("stored now: a checkpoint of format 2, of the version "), "{told}");
    writer.write(1);
    let relay = later.start();
    scene.judge_newest_generation(4, &scene.expected(&writer.ledger)[4..], &relay);
}

#[test]
fn numbers_that_are_far_out_and_in_range_are_gone_on_from_or_refused_in_words() {
    let scene = Scene::on_shared_servers("far_out");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(1);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let mut stored = scene.checkpoint().expect("a checkpoint");
    let offset = stored["offset"].take();
    stored["offset"] = i64::MAX.into();
    scene.store_checkpoint(&stored);
    let log = setup.start().halts();
    assert!(log.contains("is behind the end of that binlog"), "{log}");
    let shown = said(&setup.answer(&["checkpoint", "set", "--to", &scene.start.to_string()]));
    assert_eq!(shown.code, 0, "{shown:?}");
    stored["offset"] = offset;
    stored["generation"] = 253_402_300_799_999_u64.into();
    stored["sequence"] = i64::MAX.into();
    scene.store_checkpoint(&stored);
    writer.write(2);
    let mut relay = setup.start();
    let records = scene.wait_for_records(&relay, 3);
    let sequences: Vec<u64> =
        records.iter().map(|record| RelaySequence::of(record).sequence).collect();
    let last = i64::MAX as u64;
    assert!(sequences.contains(&(last + 1)) && sequences.contains(&(last + 2)), "{sequences:?}");
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    relay.assert_without_panics();
}

#[test]
fn a_checkpoint_inside_a_transaction_that_does_not_fit_the_binlog_halts() {
    let _permit = permit_for_own_servers();
    let scene = Scene::on(Arc::new(MySql::start("mysql-8.0", &[])), shared_kafka(), "misfit");
    let mut writer = PlainWriter::on(&scene);
    let place = writer.sql.end_of_binlog();
    let before = writer.sql.executed_gtids();
    writer.write_together(5);
    let first = gtid_added(&mut writer, &before);
    let between = writer.sql.executed_gtids();
    writer.write_together(3);
    let second = gtid_added(&mut writer, &between);
    let uuid: String = writer.sql.value("SELECT @@server_uuid");
    let start = scene.relay_setup();
    for (number, gtid, rows_done, fingerprint, words) in [
        (1, &first, 9, "", "9 rows of the transaction"),
        (2, &first, 2, r#""outboxFingerprint":"0000000000000000","#, "another configuration"),
        // Another transaction, too large for a batch, comes before the one that was relayed in part.
        (3, &second, 1, "", "before the transaction"),
    ] {
        let mut setup = start.clone();
        setup.checkpoint_topic = format!("{}-{number}", start.checkpoint_topic);
        setup.batch_lines = vec!["max_records = 2".to_owned()];
        let topic = &setup.checkpoint_topic;
        create_compacted_topic(&scene.kafka, topic, 1);
        let checkpoint = format!(
            r#"{{"binlogFilename":"{}","offset":{},"rowsToSkip":0,"rowsDone":{rows_done},"gtid":"{gtid}","gtidSet":"{before}","serverUuid":"{uuid}","generation":7,"sequence":{rows_done},{fingerprint}"clean":false}}"#,
            place.file, place.offset
        );
        write_record(&scene.kafka, topic, None, Some(&scene.name), Some(checkpoint.as_bytes()));
        let log = setup.start().halts();
        assert!(log.contains(words), "{words:?}\n{log}");
    }
    assert!(scene.records().is_empty());
}

/// The GTID of the one transaction since.
fn gtid_added(writer: &mut PlainWriter, before: &str) -> String {
    let sql = format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}')");
    writer.sql.value(sql)
}
