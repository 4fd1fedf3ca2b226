//! Where a relay begins that has no checkpoint: each `start_from`, and a crash before the first row.

use std::time::{Duration, Instant};

use harness::relay::{Relay, SOON};
use harness::scene::{Scene, checkpoint_place};
use harness::workload::{PlainWriter, insert_event};

#[test]
fn earliest_relays_everything_in_the_binlog() {
    let scene = Scene::on_shared_servers("earliest");
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    let relay = start_from(&scene, "earliest");
    writer.write(3);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn latest_relays_what_is_written_from_the_start_on() {
    let scene = Scene::on_shared_servers("latest");
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    let relay = start_from(&scene, "latest");
    wait_for_a_checkpoint(&scene, &relay);
    writer.write(3);
    relays_from_row(&scene, &writer, &relay, 3);
}

#[test]
fn what_lies_before_the_start_in_its_file_is_not_held_against_us() {
    let scene = Scene::on_shared_servers("before_start");
    let mut writer = PlainWriter::on(&scene);
    let topic = scene.topic("account");
    let insert = insert_event("1-1", "'{}'", &topic);
    // Rows that were logged as text, an XA group, and rows of a table that has other columns now.
    writer.sql.run("SET SESSION binlog_format = STATEMENT");
    writer.sql.run(&insert);
    writer.sql.run("DELETE FROM events");
    writer.sql.run("SET SESSION binlog_format = ROW");
    writer.sql.run(format!("XA START '{}'", scene.name));
    writer.sql.run(&insert);
    for step in ["END", "PREPARE", "COMMIT"] {
        writer.sql.run(format!("XA {step} '{}'", scene.name));
    }
    writer.sql.run("ALTER TABLE events ADD COLUMN tenant INT NOT NULL DEFAULT 7 AFTER event_id");
    let start = writer.sql.end_of_binlog();
    writer.write(3);
    let relay = start_from(&scene, &start.to_string());
    let binlog: Vec<_> = scene.binlog().into_iter().filter(|row| row.place > start).collect();
    let expected = writer.ledger.expected(&binlog, 0);
    assert_eq!(expected.len(), 3);
    scene.judge_rows_clean(&expected, &relay);
}

#[test]
fn a_halt_in_the_transaction_around_the_start_keeps_the_start() {
    let scene = Scene::on_shared_servers("kept_start");
    let mut writer = PlainWriter::on(&scene);
    writer.transaction(|writer| (0..3).flat_map(|_| writer.insert(1)).collect());
    let start = scene.binlog()[0].place.clone();
    // The rows of before do not name their columns, and the table has one more now.
    writer.sql.run("ALTER TABLE events ADD COLUMN tenant INT NOT NULL DEFAULT 7 AFTER event_id");
    let mut relay = start_from(&scene, &start.to_string());
    let log = relay.halts();
    assert!(log.contains("are not those of information_schema"), "{log}");
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!((checkpoint_place(&stored), &stored["rowsDone"]), (start, &0.into()), "{log}");
    writer.sql.run("ALTER TABLE events DROP COLUMN tenant");
    let relay = start_from(&scene, "latest");
    scene.judge_rows_clean(&scene.expected(&writer.ledger)[1..], &relay);
}

#[test]
fn a_place_in_a_file_is_started_from() {
    let scene = Scene::on_shared_servers("place");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let place = writer.sql.end_of_binlog();
    writer.write(3);
    let relay = start_from(&scene, &place.to_string());
    relays_from_row(&scene, &writer, &relay, 2);
}

#[test]
fn a_gtid_set_names_what_was_relayed_already() {
    let scene = Scene::on_shared_servers("gtid");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let relayed = writer.sql.executed_gtids();
    writer.write(3);
    let relay = start_from(&scene, &format!("gtid:{relayed}"));
    relays_from_row(&scene, &writer, &relay, 2);
}

#[test]
fn a_gtid_set_is_not_forgotten_by_a_crash_before_the_first_row() {
    let scene = Scene::on_shared_servers("gtid_crash");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let start = format!("gtid:{}", writer.sql.executed_gtids());
    let mut relay = start_from(&scene, &start);
    let deadline = Instant::now() + SOON;
    while scene.checkpoint().is_none() {
        assert!(Instant::now() < deadline, "no checkpoint\n{}", relay.log_tail());
    }
    relay.kill();
    writer.write(3);
    let relay = start_from(&scene, &start);
    relays_from_row(&scene, &writer, &relay, 2);
}

#[test]
fn the_start_is_stored_before_the_first_row_so_that_a_crash_loses_nothing() {
    let scene = Scene::on_shared_servers("first_crash");
    let mut writer = PlainWriter::on(&scene);
    writer.write(1);
    let mut relay = start_from(&scene, "latest");
    wait_for_a_checkpoint(&scene, &relay);
    relay.kill();
    // `latest` is now elsewhere; the stored start is what counts.
    writer.write(3);
    let relay = start_from(&scene, "latest");
    writer.write(1);
    relays_from_row(&scene, &writer, &relay, 1);
}

#[test]
fn a_start_that_the_server_does_not_have_is_not_guessed_and_can_be_corrected() {
    const PLACE_HINT: &str = "set [mysql] start_from = \"earliest\", \"latest\" or a position that the server has: SHOW \
                              BINARY LOGS lists its files, SHOW BINLOG EVENTS where events begin";
    let scene = Scene::on_shared_servers("no_start");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let mut setup = scene.relay_setup();
    let (server, checkpoints) = (setup.mysql_address.clone(), scene.checkpoint_topic());
    let file = &scene.start.file;
    let cannot = |from: &str, why: &str| {
        (
            Some(from.to_owned()),
            format!("MySQL {server}: cannot begin at start_from = \"{from}\": {why}"),
        )
    };
    let no_start = format!(
        "there is no checkpoint of key {:?} in {checkpoints}, and no start_from",
        scene.name
    );
    let inside = format!("{file}:{}", scene.start.offset + 1);
    for ((start_from, error), hint) in [
        (
            (None, no_start),
            "set [mysql] start_from = \"earliest\", \"latest\" or a position (or store one with `binlog-relay checkpoint \
             set --to …`), or the checkpoint_key of the relay to take over from",
        ),
        (
            cannot("binlog.987654:4", "the server has no binlog binlog.987654; it has … to …"),
            PLACE_HINT,
        ),
        (
            cannot("other.000001:4", "the server has no binlog other.000001; it has … to …"),
            PLACE_HINT,
        ),
        (
            cannot(
                &format!("{file}:9000000000"),
                &format!("{file}:9000000000 is behind the end of that binlog, which has … bytes"),
            ),
            PLACE_HINT,
        ),
        (
            cannot(&inside, &format!("no event begins at {inside}: the offset is inside of one")),
            PLACE_HINT,
        ),
        (
            cannot(
                "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
                "the transactions 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5 count as relayed, but this server has not \
                 executed them",
            ),
            "set [mysql] start_from to GTIDs of this server (SELECT @@GLOBAL.gtid_executed), or point the relay at \
             the server that has them",
        ),
    ] {
        setup.start_from = start_from;
        setup.start().halts_saying(&error, hint);
        assert!(scene.checkpoint().is_none(), "a start that is wrong is not stored");
    }
    setup.start_from = Some(scene.start.to_string());
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn start_from_is_not_used_once_there_is_a_checkpoint() {
    let scene = Scene::on_shared_servers("used_once");
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let mut relay = start_from(&scene, &scene.start.to_string());
    scene.wait_for_records(&relay, 2);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    writer.write(2);
    let relay = start_from(&scene, "earliest");
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn an_idle_outbox_on_a_busy_server_does_not_hold_the_checkpoint_back() {
    let scene = Scene::on_shared_servers("idle");
    let mut sql = scene.sql();
    sql.run("CREATE TABLE busy (id INT AUTO_INCREMENT PRIMARY KEY, cell INT)");
    let relay = scene.start_relay();
    for _ in 0..3 {
        for _ in 0..20 {
            sql.run("INSERT INTO busy (cell) VALUES (1)");
        }
        let written = sql.end_of_binlog();
        scene.wait_for_checkpoint_at(&relay, &written);
    }
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!(stored["sequence"], 0, "no row was relayed: {stored}");
    assert!(scene.records().is_empty());
}

#[test]
fn checkpoints_of_an_idle_outbox_are_at_most_one_a_second() {
    let scene = Scene::on_shared_servers("seldom");
    let mut sql = scene.sql();
    sql.run("CREATE TABLE busy (id INT AUTO_INCREMENT PRIMARY KEY, cell INT)");
    let relay = scene.start_relay();
    wait_for_a_checkpoint(&scene, &relay);
    let before = scene.checkpoints().len();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        sql.run("INSERT INTO busy (cell) VALUES (1)");
        std::thread::sleep(Duration::from_millis(20));
    }
    let stored = scene.checkpoints().len() - before;
    assert!((2..=5).contains(&stored), "{stored} checkpoints in 4 s\n{}", relay.log_tail());
}

#[test]
fn a_checkpoint_has_the_fields_that_others_read() {
    let scene = Scene::on_shared_servers("fields");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(3);
    let written = writer.sql.end_of_binlog();
    scene.wait_for_records(&relay, 3);
    scene.wait_for_checkpoint_at(&relay, &written);
    let stored = scene.checkpoint().expect("a checkpoint");
    let uuid: String = writer.sql.value("SELECT @@server_uuid");
    assert_eq!(stored["serverUuid"], uuid.as_str());
    assert_eq!((&stored["rowsToSkip"], &stored["rowsDone"]), (&0.into(), &0.into()));
    assert_eq!((&stored["sequence"], &stored["clean"]), (&3.into(), &false.into()));
    assert_eq!(stored["delivery"], "exactly-once");
    assert_eq!(stored["relayVersion"], env!("CARGO_PKG_VERSION"));
    assert!(stored["binlogTimestamp"].as_u64().is_some_and(|seconds| seconds > 1_500_000_000));
    assert!(stored["generation"].as_u64().is_some_and(|millis| millis > 1_500_000_000_000));
    for field in ["instance", "outboxFingerprint", "recordedAt"] {
        assert!(stored[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {stored}");
    }
    let gtids = stored["gtidSet"].as_str().expect("the server has GTIDs, all of them");
    let contained: i64 =
        writer.sql.value(format!("SELECT GTID_SUBSET('{gtids}', @@GLOBAL.gtid_executed)"));
    assert_eq!(contained, 1);
}

fn start_from(scene: &Scene, place: &str) -> Relay {
    let mut setup = scene.relay_setup();
    setup.start_from = Some(place.to_owned());
    setup.start()
}

fn wait_for_a_checkpoint(scene: &Scene, relay: &Relay) {
    scene.wait_for_checkpoint_at(relay, &scene.start);
    assert!(checkpoint_place(&scene.checkpoint().expect("a checkpoint")) >= scene.start);
}

/// All rows but the first `already` ones, as sequence 1, 2, 3, ….
fn relays_from_row(scene: &Scene, writer: &PlainWriter, relay: &Relay, already: usize) {
    scene.judge_rows_clean(&scene.expected(&writer.ledger)[already..], relay);
}
