//! Columns are found by name, whatever the metadata in the binlog, and whatever ALTER did in between.

use std::sync::Arc;

use harness::relay::SOON;
use harness::scene::{EVENTUATE_LOCAL, Scene};
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::workload::{PlainWriter, Plan, Workload};

/// Reorders and adds columns so that every position but the id's means something else.
const REARRANGE: &str = "ALTER TABLE events
    ADD COLUMN tenant INT NOT NULL DEFAULT 7 AFTER event_id,
    MODIFY metadata VARCHAR(1000) AFTER tenant,
    MODIFY entity_id VARCHAR(1000) AFTER metadata,
    ADD COLUMN note VARCHAR(40) CHARACTER SET latin1 DEFAULT 'é' AFTER entity_id";

#[test]
fn under_full_metadata_columns_may_be_added_and_reordered_at_any_time() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--binlog-row-metadata=FULL"]));
    let scene = Scene::on(mysql, shared_kafka(), "alter_full");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    writer.sql.run(REARRANGE);
    writer.write(2);
    scene.wait_for_records(&relay, 4);
    relay.kill();
    // The table has changed again by the time that the relay reads what was written before.
    writer.write(2);
    writer
        .sql
        .run("ALTER TABLE events DROP COLUMN tenant, MODIFY event_data LONGTEXT AFTER event_id");
    writer.write(2);
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_random_workload_under_full_metadata_arrives() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--binlog-row-metadata=FULL"]));
    let scene = Scene::on(mysql, shared_kafka(), "workload_full");
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
    let relay = setup.start();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &relay, SOON);
}

#[test]
fn under_minimal_metadata_a_running_relay_follows_an_added_column() {
    let scene = Scene::on_shared_servers("alter_minimal");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    writer.sql.run("ALTER TABLE events ADD COLUMN tenant INT AFTER event_id");
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn under_minimal_metadata_rows_of_an_older_shape_halt_and_are_not_guessed() {
    let scene = Scene::on_shared_servers("older_shape");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    relay.kill();
    writer.write(2);
    writer.sql.run(REARRANGE);
    let log = setup.start().halts();
    assert!(log.contains("binlog_row_metadata"), "{log}");
    assert_eq!(scene.records().len(), 2);
}

#[test]
fn under_minimal_metadata_rows_of_a_table_that_was_dropped_halt() {
    let scene = Scene::on_shared_servers("dropped");
    let mut writer = PlainWriter::on(&scene);
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("event*", EVENTUATE_LOCAL)];
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    relay.kill();
    writer.sql.run("CREATE TABLE events_gone LIKE events");
    writer.sql.run("INSERT INTO events_gone SELECT * FROM events");
    writer.sql.run("DROP TABLE events_gone");
    let log = setup.start().halts();
    assert!(log.contains("events_gone") && log.contains("binlog_row_metadata"), "{log}");
    assert_eq!(scene.records().len(), 2);
}

#[test]
fn a_table_that_is_dropped_and_made_again_is_followed() {
    let scene = Scene::on_shared_servers("made_again");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    writer.sql.run("RENAME TABLE events TO events_old");
    writer.sql.run("CREATE TABLE events LIKE events_old");
    writer.sql.run("DROP TABLE events_old");
    writer.write(2);
    writer.sql.run("TRUNCATE TABLE events");
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}
