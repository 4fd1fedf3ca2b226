//! `checkpoint set` and `checkpoint reset`: where the next start reads on, what is said before it is stored,
//! and that a relay which is running is neither disturbed nor left able to write.

use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use harness::consumer::{Inbox, Isolation};
use harness::kafka::{create_compacted_topic, write_record};
use harness::relay::{Relay, RelaySetup, SOON, Said, said};
use harness::scene::{Scene, checkpoint_place};
use harness::servers::{MySql, free_port, has_version, permit_for_own_servers, shared_kafka};
use harness::workload::{PlainWriter, Plan, Workload};

#[test]
fn earliest_repeats_everything_in_a_new_generation() {
    let scene = Scene::on_shared_servers("set_earliest");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    let old = relays_and_stops(&scene, &setup, &mut writer, 3);
    let shown = setup.set_checkpoint("earliest");
    let was = format!("stored now: {}, generation {old}, sequence 3", checkpoint_text(&scene, 1));
    assert!(shown.starts_with(&was), "{was}\n{shown}");
    let words =
        " bytes of binlog that were relayed already are relayed again, in a new generation\n";
    assert!(shown.contains(words), "{shown}");
    let stored = scene.checkpoint().expect("a checkpoint");
    assert!(stored["generation"].as_u64() > Some(old), "{stored}");
    assert_eq!((&stored["sequence"], &stored["clean"]), (&0.into(), &false.into()), "{stored}");
    writer.write(2);
    let relay = setup.start();
    scene.judge_newest_generation(3, &scene.expected(&writer.ledger), &relay);
}

#[test]
fn latest_leaves_out_what_stands_before_it() {
    let scene = Scene::on_shared_servers("set_latest");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    relays_and_stops(&scene, &setup, &mut writer, 2);
    writer.write(3);
    let (end, written) = (writer.sql.end_of_binlog(), writer.sql.executed_gtids());
    let shown = setup.set_checkpoint("latest");
    assert!(
        shown.contains(" bytes of binlog are left out: rows in them are not relayed\n"),
        "{shown}"
    );
    // The place and the set belong together: all that was written before is in it.
    let stored = scene.checkpoint().expect("a checkpoint");
    assert!(checkpoint_place(&stored) >= end, "{stored}");
    let gtids = stored["gtidSet"].as_str().expect("the server has GTIDs");
    let subset = format!(
        "SELECT GTID_SUBSET('{written}', '{gtids}') AND GTID_SUBSET('{gtids}', @@gtid_executed)"
    );
    assert_eq!(writer.sql.value::<i64>(subset), 1, "{written}: {stored}");
    writer.write(2);
    let relay = setup.start();
    scene.judge_newest_generation(2, &scene.expected(&writer.ledger)[5..], &relay);
}

#[test]
fn a_place_is_read_on_from_before_and_behind_the_stored_one() {
    let scene = Scene::on_shared_servers("set_place");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    writer.write(2);
    let earlier = writer.sql.end_of_binlog();
    relays_and_stops(&scene, &setup, &mut writer, 2);
    let shown = setup.set_checkpoint(&earlier.to_string());
    assert!(shown.contains(&format!("the next start reads on at {earlier}: ")), "{shown}");
    let mut relay = setup.start();
    scene.judge_newest_generation(4, &scene.expected(&writer.ledger)[2..], &relay);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    writer.write(3);
    let later = writer.sql.end_of_binlog();
    writer.write(1);
    setup.set_checkpoint(&later.to_string());
    let relay = setup.start();
    scene.judge_newest_generation(6, &scene.expected(&writer.ledger)[7..], &relay);
}

#[test]
fn a_gtid_set_names_what_counts_as_relayed() {
    let scene = Scene::on_shared_servers("set_gtids");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    writer.write(2);
    let relayed = writer.sql.executed_gtids();
    relays_and_stops(&scene, &setup, &mut writer, 1);
    let shown = setup.set_checkpoint(&relayed);
    assert!(shown.contains(" and passes over the transactions of the GTID set: "), "{shown}");
    assert!(shown.contains(" were relayed already and are relayed again"), "{shown}");
    let mut relay = setup.start();
    scene.judge_newest_generation(3, &scene.expected(&writer.ledger)[2..], &relay);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    writer.write(2);
    let relayed = writer.sql.executed_gtids();
    writer.write(1);
    setup.set_checkpoint(&format!("gtid:{relayed}"));
    let relay = setup.start();
    scene.judge_newest_generation(4, &scene.expected(&writer.ledger)[5..], &relay);
}

#[test]
fn inside_a_transaction_what_ends_at_or_before_the_place_is_passed_over() {
    let scene = Scene::on_shared_servers("set_inside");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    writer.transaction(|writer| (0..3).flat_map(|_| writer.insert(1)).collect());
    writer.write(1);
    let rows = scene.binlog();
    let place = rows[0].place.clone();
    let shown = setup.set_checkpoint(&place.to_string());
    let words = format!("{place}, inside a transaction, and passes over what ends there or before");
    assert!(shown.contains(&words), "{shown}");
    let mut relay = setup.start();
    scene.judge_newest_generation(0, &scene.expected(&writer.ledger)[1..], &relay);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

#[test]
fn a_place_that_is_not_on_the_server_is_refused_and_changes_nothing() {
    let scene = Scene::on_shared_servers("set_refused");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    relays_and_stops(&scene, &setup, &mut writer, 1);
    let stored = scene.checkpoints().len();
    let mut inside_an_event = scene.binlog()[0].place.clone();
    inside_an_event.offset -= 5;
    for (to, words) in [
        ("binlog.999999:4".to_owned(), "the server has no binlog binlog.999999; it has"),
        (format!("{}:4000000000", scene.start.file), "is behind the end of that binlog"),
        (inside_an_event.to_string(), "the offset is inside of one"),
        (
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".to_owned(),
            "this server has not executed them",
        ),
    ] {
        let refused = command(&setup, &["set", "--to", &to]);
        assert_eq!(refused.code, 1, "{refused:?}");
        let begins = format!("cannot begin at --to {}", to.replace("3e11", "gtid:3e11"));
        assert!(refused.error.contains(&begins), "{refused:?}");
        assert!(refused.error.contains(words), "{refused:?}");
        assert!(refused.error.contains("\nhint: nothing was changed: name "), "{refused:?}");
        assert_eq!(refused.out, "", "nothing is announced that is not done");
    }
    for to in ["yesterday", "snapshot", "gtid:", "binlog.000001", "binlog.000001:3", ""] {
        assert_eq!(command(&setup, &["set", "--to", to]).code, 2, "{to}");
    }
    assert_eq!(scene.checkpoints().len(), stored);
    writer.write(1);
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

/// The server lists whatever the bytes at an offset make of themselves.
#[test]
fn bytes_of_a_row_that_read_like_an_event_are_no_place_to_begin_at() {
    const LENGTH: usize = 63;
    const HEADER_BYTES: usize = 19;
    const CHECKSUM_BYTES: usize = 4;
    let scene = Scene::on_shared_servers("set_inside");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    relays_and_stops(&scene, &setup, &mut writer, 1);
    // The header of the event that ends a transaction: time, type, server id, length, place, flags. The length
    // goes to the end of the event around it, the place is made up.
    let header = format!("01020304 10 01000000 {LENGTH:02x}000000 c2a21100 0000").replace(' ', "");
    let body = "61".repeat(LENGTH - HEADER_BYTES - CHECKSUM_BYTES);
    let mut sql = scene.sql();
    sql.run("CREATE TABLE notes (text BLOB)");
    let before = sql.end_of_binlog();
    sql.run(format!("INSERT INTO notes VALUES (x'{header}{body}')"));
    let events = sql.binlog_events_since(&before);
    let table = format!("({}.notes)", scene.name);
    let map = events.iter().position(|(_, event)| event.info.ends_with(&table));
    let (file, rows) = &events[map.expect("its table map is in the binlog") + 1];
    let inside = format!("{file}:{}", rows.end - LENGTH as u64);
    let refused = command(&setup, &["set", "--to", &inside]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.error.contains("the offset is inside of one"), "{refused:?}");
    assert_eq!(command(&setup, &["set", "--to", &format!("{file}:{}", rows.begin)]).code, 0);
}

#[test]
fn reset_does_not_forget_a_generation_that_is_later_than_the_clock() {
    let scene = Scene::on_shared_servers("reset_clock");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    relays_and_stops(&scene, &setup, &mut writer, 1);
    let mut later = scene.checkpoint().expect("a checkpoint");
    let generation = later["generation"].as_u64().expect("a number") + 3_600_000;
    later["generation"] = generation.into();
    scene.store_checkpoint(&later);
    let refused = command(&setup, &["reset"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let words =
        format!("error: the stored generation {generation} is later than this machine's clock");
    assert!(refused.error.contains(&words), "{refused:?}");
    assert_eq!(scene.checkpoint(), Some(later));
    // One that is set is greater whatever the clock says.
    setup.set_checkpoint("earliest");
    let set = scene.checkpoint().expect("a checkpoint");
    assert_eq!(set["generation"], generation + 1);
}

#[test]
fn what_follows_is_said_before_anything_is_stored() {
    let scene = Scene::on_shared_servers("set_unsaid");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    relays_and_stops(&scene, &setup, &mut writer, 1);
    let stored = scene.checkpoints().len();
    for arguments in [&["set", "--to", "earliest"][..], &["reset"]] {
        let full =
            File::options().write(true).open("/dev/full").expect("a device that takes nothing");
        let asked = [&["checkpoint"], arguments].concat();
        let refused = said(&setup.answer_into(&asked, full.into()));
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.error.contains("nothing was stored"), "{refused:?}");
    }
    assert_eq!(scene.checkpoints().len(), stored);
}

#[test]
fn without_a_checkpoint_set_makes_the_topic_and_the_first_one() {
    let scene = Scene::on_shared_servers("set_first");
    let (mut setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    setup.start_from = None;
    writer.write(1);
    let shown = setup.set_checkpoint(&writer.sql.end_of_binlog().to_string());
    assert!(shown.starts_with("stored now: none\n"), "{shown}");
    writer.write(2);
    let mut relay = setup.start();
    scene.judge_newest_generation(0, &scene.expected(&writer.ledger)[1..], &relay);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

#[test]
fn a_running_relay_is_not_disturbed_and_both_commands_refuse() {
    let scene = Scene::on_shared_servers("set_running");
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
    let mut relay = setup.start();
    let instance = relay.instance();
    relay.wait_for_log("relaying server=");
    for arguments in [&["set", "--to", "earliest"][..], &["reset"]] {
        let refused = command(&setup, arguments);
        assert_eq!(refused.code, 1, "{refused:?}");
        for words in ["is running", &instance, "SIGTERM", "--force"] {
            assert!(refused.error.contains(words), "{words}: {refused:?}");
        }
        assert_eq!(refused.out, "");
    }
    let ledger = workload.finish();
    scene.judge_clean_to_the_end(&ledger, &mut relay, SOON);
    assert_eq!(relay.log().matches("relaying server=").count(), 1, "{}", relay.log_tail());
}

#[test]
fn old_and_new_servers_tell_whether_a_relay_is_running() {
    let _permit = permit_for_own_servers();
    for version in ["mysql-5.7", "mysql-9"] {
        if !has_version(version) {
            continue;
        }
        let mysql = Arc::new(MySql::start(version, &[]));
        let scene = Scene::on(mysql, shared_kafka(), "set_versions");
        let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
        let mut relay = setup.start();
        writer.write(2);
        scene.wait_for_records(&relay, 2);
        let refused = command(&setup, &["set", "--to", "latest"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.error.contains("it reads the binlog of MySQL"), "{refused:?}");
        relay.kill();
        let end = writer.sql.end_of_binlog();
        setup.set_checkpoint("latest");
        let stored = scene.checkpoint().expect("a checkpoint");
        assert_eq!(checkpoint_place(&stored), end, "{stored}");
        let gtids = writer.sql.executed_gtids();
        let expected = Some(gtids).filter(|gtids| !gtids.is_empty());
        assert_eq!(stored["gtidSet"].as_str(), expected.as_deref(), "{stored}");
        writer.write(1);
        let relay = setup.start();
        scene.judge_newest_generation(2, &scene.expected(&writer.ledger)[2..], &relay);
    }
}

#[test]
fn a_relay_between_two_sessions_is_seen() {
    let scene = Scene::on_shared_servers("set_between");
    let (proxy, setup) = scene.behind_mysql_proxy();
    let mut writer = PlainWriter::on(&scene);
    let relay = setup.start();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    proxy.cut();
    // Its pauses are long by now, and the server has forgotten it.
    thread::sleep(Duration::from_secs(6));
    let asked = thread::spawn({
        let setup = scene.relay_setup();
        move || command(&setup, &["set", "--to", "earliest"])
    });
    thread::sleep(Duration::from_millis(700));
    proxy.pass();
    let refused = asked.join().expect("the command ends");
    assert_eq!(refused.code, 1, "{refused:?}\n{}", relay.log_tail());
    assert!(refused.error.contains("is running"), "{refused:?}");
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn force_fences_a_busy_relay_which_exits_3_and_the_next_start_goes_on_there() {
    let scene = Scene::on_shared_servers("set_forced");
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
    let mut relay = setup.start();
    let instance = relay.instance();
    thread::sleep(Duration::from_millis(1_500));
    let start = scene.start.to_string();
    let forced = command(&setup, &["set", "--to", &start, "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    let relayed = scene.records().len();
    assert!(relayed > 0, "{}", relay.log_tail());
    assert_eq!(relay.exit_code(), 3, "{}", relay.log_tail());
    assert!(relay.log().contains("taken over by"), "{}", relay.log_tail());
    let ledger = workload.finish();
    assert_eq!(scene.records().len(), relayed, "nothing comes after the new checkpoint");
    let last = scene.checkpoint().expect("a checkpoint");
    assert_ne!(last["instance"], instance.as_str(), "{last}");
    assert_eq!(last["sequence"], 0, "{last}");
    let relay = setup.start();
    scene.judge_newest_generation(relayed, &scene.expected(&ledger), &relay);
}

#[test]
fn force_ends_an_idle_relay_too() {
    let scene = Scene::on_shared_servers("set_idle");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    let mut relay = setup.start();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    let forced = command(&setup, &["set", "--to", "latest", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(relay.exit_code(), 3, "{}", relay.log_tail());
    writer.write(1);
    let mut relay = setup.start();
    let expected = scene.expected(&writer.ledger);
    scene.judge_newest_generation(1, &expected[1..], &relay);
    let forced = command(&setup, &["reset", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    let log = relay.halts();
    assert!(log.contains("is not there any more"), "{log}");
    assert_eq!(scene.checkpoint(), None);
    let relay = setup.start();
    scene.judge_newest_generation(2, &expected, &relay);
}

#[test]
fn after_a_reset_the_next_start_begins_at_start_from_in_a_later_generation() {
    let scene = Scene::on_shared_servers("reset");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    let missing = command(&setup, &["reset"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.error.contains("there is no checkpoint of key"), "{missing:?}");
    let old = relays_and_stops(&scene, &setup, &mut writer, 2);
    let reset = command(&setup, &["reset"]);
    assert_eq!(reset.code, 0, "{reset:?}");
    let next = format!("the next start begins at [mysql] start_from = \"{}\"", scene.start);
    assert!(reset.out.contains(&next) && reset.out.ends_with("\nforgotten\n"), "{reset:?}");
    assert_eq!(command(&setup, &["show"]).code, 1);
    assert_eq!(command(&setup, &["reset"]).code, 1, "it is forgotten already");
    writer.write(1);
    let relay = setup.start();
    scene.judge_newest_generation(2, &scene.expected(&writer.ledger), &relay);
    let stored = scene.checkpoint().expect("a checkpoint");
    assert!(stored["generation"].as_u64() > Some(old), "{stored}");
}

#[test]
fn a_reset_leaves_no_record_of_the_key_in_any_partition() {
    let scene = Scene::on_shared_servers("reset_many");
    let topic = scene.checkpoint_topic();
    create_compacted_topic(&scene.kafka, &topic, 5);
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    let theirs = format!(
        r#"{{"binlogFilename":"{}","offset":{},"rowsToSkip":0}}"#,
        scene.start.file, scene.start.offset
    );
    for partition in [1, 2, 4] {
        let value = if partition == 4 { "{" } else { &theirs };
        write_record(
            &scene.kafka,
            &topic,
            Some(partition),
            Some(&scene.name),
            Some(value.as_bytes()),
        );
        write_record(&scene.kafka, &topic, Some(partition), Some("another"), Some(b"{}"));
    }
    let mut relay = setup.start();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let reset = command(&setup, &["reset"]);
    assert_eq!(reset.code, 0, "{reset:?}");
    let mut records = Inbox::read_all(&scene.kafka, &topic, Isolation::ReadCommitted);
    records.sort_by_key(|record| (record.partition, record.offset));
    for partition in 0..5 {
        let last_of = |key: &str| {
            records.iter().rfind(|record| record.partition == partition && record.key_text() == key)
        };
        assert!(last_of(&scene.name).is_none_or(|record| record.value.is_none()), "{partition}");
        assert!(last_of("another").is_none_or(|record| record.value.is_some()), "{partition}");
    }
    assert_eq!(command(&setup, &["show"]).code, 1);
    // A place that is set counts, whatever stands in other partitions.
    for partition in [1, 2] {
        write_record(
            &scene.kafka,
            &topic,
            Some(partition),
            Some(&scene.name),
            Some(theirs.as_bytes()),
        );
    }
    setup.set_checkpoint(&writer.sql.end_of_binlog().to_string());
    writer.write(1);
    let relay = setup.start();
    scene.judge_newest_generation(1, &scene.expected(&writer.ledger)[1..], &relay);
}

#[test]
fn a_record_that_is_no_checkpoint_is_replaced() {
    let scene = Scene::on_shared_servers("set_garbage");
    let topic = scene.checkpoint_topic();
    create_compacted_topic(&scene.kafka, &topic, 1);
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    write_record(&scene.kafka, &topic, None, Some(&scene.name), Some(b"{\"binlogFilename\":"));
    let log = setup.start().halts();
    assert!(log.contains("checkpoint set --to"), "{log}");
    let shown = setup.set_checkpoint(&scene.start.to_string());
    assert!(shown.starts_with("stored now: a record that is no checkpoint: "), "{shown}");
    writer.write(2);
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_relay_that_was_killed_is_soon_believed_gone() {
    let scene = Scene::on_shared_servers("set_killed");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    relay.kill();
    setup.set_checkpoint(&scene.start.to_string());
    writer.write(1);
    let relay = setup.start();
    scene.judge_newest_generation(2, &scene.expected(&writer.ledger), &relay);
}

#[test]
fn without_mysql_a_reset_is_done_by_force_only() {
    let scene = Scene::on_shared_servers("reset_alone");
    let (mut setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    relays_and_stops(&scene, &setup, &mut writer, 1);
    setup.mysql_address = format!("127.0.0.1:{}", free_port());
    let refused = command(&setup, &["reset"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.error.contains("--force"), "{refused:?}");
    assert!(scene.checkpoint().is_some());
    let forced = command(&setup, &["reset", "--force"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(scene.checkpoint(), None);
}

/// Writes rows, has all that is written relayed, and returns the generation.
fn relays_and_stops(
    scene: &Scene,
    setup: &RelaySetup,
    writer: &mut PlainWriter,
    rows: usize,
) -> u64 {
    let mut relay: Relay = setup.start();
    writer.write(rows);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let stored = scene.checkpoint().expect("a checkpoint");
    stored["generation"].as_u64().expect("a generation")
}

/// The place of a checkpoint, counted from the last one back.
fn checkpoint_text(scene: &Scene, back: usize) -> String {
    let checkpoints: Vec<Option<Value>> = scene.checkpoints();
    let stored = checkpoints[checkpoints.len() - 1 - back].as_ref().expect("a checkpoint");
    checkpoint_place(stored).to_string()
}

fn command(setup: &RelaySetup, arguments: &[&str]) -> Said {
    said(&setup.answer(&[&["checkpoint"], arguments].concat()))
}
