//! A checkpoint is trusted only where it is true: on the server that it is of, or by complete GTIDs,
//! and as long as the binlog still has what follows it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::consumer::Record;
use harness::relay::{RelaySequence, SOON};
use harness::scene::{Scene, checkpoint_place};
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::sql::Coordinates;
use harness::workload::{PlainWriter, insert_event};

const PURGED_HINT: &str = "what was written in between can only be read from the outbox table; keep binlogs longer \
                           (binlog_expire_logs_seconds), and go on without it: `binlog-relay checkpoint set --to earliest`";
const OTHER_HISTORY_HINT: &str = "the server was restored, reset or replaced: point the relay at the server of the \
                                  checkpoint, or begin elsewhere on this one with `binlog-relay checkpoint \
                                  set --to earliest` (or latest, a position, a GTID set)";

#[test]
fn a_purged_binlog_halts_and_names_what_is_missing() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "purged");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let stored = checkpoint_place(&scene.checkpoint().expect("a checkpoint"));
    let relayed = writer.sql.executed_gtids();
    writer.write(1);
    writer.sql.run("FLUSH BINARY LOGS");
    let kept = writer.sql.end_of_binlog().file;
    writer.sql.run(format!("PURGE BINARY LOGS TO '{kept}'"));
    let begin = format!("MySQL {}: cannot begin at the checkpoint, {stored}", setup.mysql_address);
    setup.start().halts_saying(
        &format!(
            "{begin}: the server has purged its binlogs from {stored} up to {kept}, the oldest one left"
        ),
        PURGED_HINT,
    );
    // The same as a configured start: nothing is stored, and another one can be named.
    let mut anew = setup.clone();
    anew.checkpoint_topic.push_str("-anew");
    let all = writer.sql.executed_gtids();
    let missing: String = writer.sql.value(format!("SELECT GTID_SUBTRACT('{all}', '{relayed}')"));
    for (from, why, hint) in [
        (
            stored.to_string(),
            format!(
                "the server has purged its binlogs from {stored} up to {kept}, the oldest one left"
            ),
            "set [mysql] start_from = \"earliest\", …",
        ),
        (
            format!("gtid:{relayed}"),
            format!("the server has purged the transactions {missing}, which were not relayed yet"),
            "what was written in between can only be read from the outbox table; set [mysql] start_from = \"earliest\" \
             to begin with the oldest binlog left",
        ),
    ] {
        let error = format!(
            "MySQL {}: cannot begin at start_from = \"{from}\": {why}",
            setup.mysql_address
        );
        anew.start_from = Some(from);
        anew.start().halts_saying(&error, hint);
    }
    // A server with another uuid is gone on with by GTIDs.
    mysql.restart_with_another_uuid();
    setup.start().halts_saying(
        &format!(
            "{begin}: the server has purged the transactions {missing}, which were not relayed yet"
        ),
        PURGED_HINT,
    );
    assert_eq!(scene.records().len(), 2, "nothing is relayed past a gap");
}

/// An outbox that nobody writes to, and binlogs that are flushed and purged by night.
#[test]
fn a_binlog_that_was_purged_or_renamed_after_all_of_it_was_relayed_is_gone_on_behind() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "purged_behind");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let rounds: [fn(&mut PlainWriter, &MySql); 3] = [
        |writer, _| {
            for _ in 0..3 {
                writer.sql.run("FLUSH BINARY LOGS");
            }
            let newest = writer.sql.end_of_binlog().file;
            writer.sql.run(format!("PURGE BINARY LOGS TO '{newest}'"));
        },
        |_, mysql| {
            mysql.add_argument("--log-bin=renamed");
            mysql.stop();
            mysql.start_again();
        },
        |_, mysql| {
            mysql.add_argument("--log-bin=other");
            mysql.stop();
            mysql.start_again();
        },
    ];
    let mut rows = 0;
    for change in rounds {
        let mut relay = setup.start();
        writer.write(2);
        rows += 2;
        scene.wait_for_records(&relay, rows);
        scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        change(&mut writer, &mysql);
        writer.sql = scene.sql();
        writer.write(1);
        rows += 1;
        let check = setup.answer(&["check"]);
        assert_eq!(check.status.code(), Some(0), "{check:?}");
        let mut relay = setup.start();
        let records = scene.wait_for_records(&relay, rows);
        let numbers: Vec<u64> = numbers_of(&records);
        assert_eq!(numbers, (1..=rows as u64).collect::<Vec<_>>(), "{}", relay.log_tail());
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    }
    // What was written under a name that is no longer listed cannot be read: no word of GTIDs makes up for it.
    writer.write(1);
    mysql.add_argument("--log-bin=renamed");
    mysql.stop();
    mysql.start_again();
    setup.start().halts_saying(
        &format!(
            "MySQL {}: cannot begin at the checkpoint, …: the server has no binlog other.000001; it has renamed.000001 \
             to renamed.0…",
            setup.mysql_address
        ),
        OTHER_HISTORY_HINT,
    );
    assert_eq!(scene.records().len(), rows);
}

fn numbers_of(records: &[Record]) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        records.iter().map(|record| RelaySequence::of(record).sequence).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn another_server_uuid_with_the_same_gtids_is_resumed_from() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "other_uuid");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    writer.write(2);
    mysql.restart_with_another_uuid();
    writer.sql = scene.sql();
    let relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_reset_server_and_one_that_lacks_the_checkpoints_gtids_halt() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "other_history");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let uuid: String = writer.sql.value("SELECT @@server_uuid");
    // The same file names begin anew with another history, shorter than the checkpoint's.
    writer.sql.run("RESET MASTER");
    writer.write(1);
    let stored = checkpoint_place(&scene.checkpoint().expect("a checkpoint"));
    let begin = format!("MySQL {}: cannot begin at the checkpoint, {stored}", setup.mysql_address);
    setup.start().halts_saying(
        &format!("{begin}: {stored} is behind the end of that binlog, which has … bytes"),
        OTHER_HISTORY_HINT,
    );
    // Now longer, but of a server with another uuid, whose GTIDs are others.
    mysql.restart_with_another_uuid();
    writer.sql = scene.sql();
    writer.sql.run("RESET MASTER");
    writer.write(40);
    setup.start().halts_saying(
        &format!(
            "{begin}: the transactions {uuid}:1-… count as relayed, but this server has not executed them"
        ),
        OTHER_HISTORY_HINT,
    );
    assert_eq!(scene.records().len(), 2);
}

#[test]
fn a_reset_server_halts_even_when_its_new_history_has_the_same_shape() {
    let _permit = permit_for_own_servers();
    for gtids in [&[][..], &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]] {
        let mysql = Arc::new(MySql::start("mysql-8.0", gtids));
        let scene = Scene::on(mysql, shared_kafka(), "same_shape");
        let mut writer = PlainWriter::on(&scene);
        let mut setup = scene.relay_setup();
        setup.start_from = Some("earliest".to_owned());
        writer.sql.run("RESET MASTER");
        writer.write(2);
        let end = writer.sql.end_of_binlog();
        let mut relay = setup.start();
        scene.wait_for_records(&relay, 2);
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
        // Files name the second in which they began.
        thread::sleep(Duration::from_millis(1_100));
        writer.sql.run("RESET MASTER");
        writer.write(2);
        assert_eq!(writer.sql.end_of_binlog(), end, "the new history has the same shape");
        writer.write(2);
        setup.start().halts_saying(
            &format!(
                "MySQL {}: the binlog binlog.000001 was begun at …Z, that of the checkpoint at …Z: another file of \
                 the same name",
                setup.mysql_address
            ),
            OTHER_HISTORY_HINT,
        );
        assert_eq!(scene.records().len(), 2);
    }
}

/// An empty GTID set is the same before and after RESET MASTER.
#[test]
fn a_reset_server_halts_a_relay_whose_checkpoint_has_no_gtid_before_it() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "no_gtid_before");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("RESET MASTER");
    writer.sql.run("FLUSH BINARY LOGS");
    let mut setup = scene.relay_setup();
    setup.start_from = Some("latest".to_owned());
    let mut relay = setup.start();
    relay.wait_for_log("relaying server=");
    writer.sql.run("FLUSH BINARY LOGS");
    scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_eq!(scene.checkpoint().expect("a checkpoint")["gtidSet"], "");
    writer.write(2);
    writer.sql.run("RESET MASTER");
    writer.write(2);
    let log = setup.start().halts();
    assert!(log.contains("cannot begin at the checkpoint, binlog.000003:"), "{log}");
    assert!(scene.records().is_empty());
}

#[test]
fn another_server_uuid_without_gtids_halts() {
    let _permit = permit_for_own_servers();
    let no_gtids = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let mysql = Arc::new(MySql::start("mysql-8.0", &no_gtids));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "no_gtids");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    relay.kill();
    writer.write(3);
    let mut relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let stored = scene.checkpoint().expect("a checkpoint");
    assert!(stored.get("gtidSet").is_none_or(serde_json::Value::is_null), "{stored}");
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    mysql.restart_with_another_uuid();
    writer.sql = scene.sql();
    let uuid: String = writer.sql.value("SELECT @@server_uuid");
    let was = stored["serverUuid"].as_str().expect("a uuid").to_owned();
    writer.write(1);
    setup.start().halts_saying(
        &format!(
            "MySQL {}: cannot begin at the checkpoint, …: it was written on server {was}, without GTIDs; this is \
             server {uuid}",
            setup.mysql_address
        ),
        OTHER_HISTORY_HINT,
    );
    assert_eq!(scene.records().len(), 6);
}

#[test]
fn a_damaged_event_halts_behind_all_that_comes_before_it() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "damaged");
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2_000);
    let topic = scene.topic("account");
    writer.sql.run(insert_event("1-1", "'the mark of the damage'", &topic));
    let end = writer.sql.end_of_binlog();
    let events = writer.sql.binlog_events(&Coordinates { offset: 4, ..end.clone() });
    let rows = events.iter().rfind(|event| event.kind == "Write_rows").expect("the row's event");
    let before = Coordinates { offset: rows.begin, ..end };
    mysql.stop();
    let path = mysql.data_path(&before.file);
    let mut bytes = std::fs::read(&path).expect("the binlog is a file");
    let mark = b"the mark of the damage";
    let at = bytes.windows(mark.len()).position(|text| text == mark).expect("the row is there");
    bytes[at] ^= 0x20;
    std::fs::write(&path, bytes).expect("the binlog can be written");
    mysql.start_again();
    let address = scene.relay_setup().mysql_address;
    for _ in 0..2 {
        scene.start_relay().halts_saying(
            &format!(
                "MySQL {address}: the event after {before} has a wrong checksum, also when it is read again"
            ),
            &format!(
                "the binlog file itself is damaged: look at it with mysqlbinlog --verify-binlog-checksum \
                 --start-position={} {}, and go on behind it with `binlog-relay checkpoint set --to` the next file, \
                 which leaves out what is between",
                before.offset, before.file
            ),
        );
        assert_eq!(scene.records().len(), 2_000);
        let stored = scene.checkpoint().expect("a checkpoint");
        assert_eq!((&stored["sequence"], &stored["rowsDone"]), (&2_000.into(), &0.into()));
    }
}
