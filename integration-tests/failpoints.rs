//! The relay dies, or is paused, at places that `kill -9` hits by luck only, and the one that starts next goes on: no
//! row is lost, repeated, reordered or altered, and the sequence is whole.
//!
//! Those that die or pause are built with failpoints; those that take over from them are the program that is shipped.

mod program;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Isolation};
use harness::relay::{Relay, RelaySetup, SOON};
use harness::scene::{Delivery, EVENTUATE_LOCAL, Scene};
use harness::watchdog;
use harness::workload::PlainWriter;

const BOTH: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::Idempotent];

const SIGKILL: i32 = 9;

/// The same relay with failpoints.
fn armed(setup: &RelaySetup, points: &str) -> RelaySetup {
    let environment = vec![("FAILPOINTS".to_owned(), points.to_owned())];
    RelaySetup { program: Some(program::program()), environment, ..setup.clone() }
}

/// Starts a relay that kills itself at `point`, which may end with `@2`: when it comes there for the second time.
fn dies_at(setup: &RelaySetup, point: &str) {
    let mut relay = start_to_die_at(setup, point);
    assert_died_at(&mut relay, point);
}

fn start_to_die_at(setup: &RelaySetup, point: &str) -> Relay {
    let (name, turn) = point.split_once('@').unwrap_or((point, "1"));
    armed(setup, &format!("{name}=kill@{turn}")).start()
}

fn assert_died_at(relay: &mut Relay, point: &str) {
    let signal = relay.ended_by_signal();
    assert_eq!(signal, Some(SIGKILL), "{point}: it was not killed\n{}", relay.log_tail());
    assert_was_at(relay, point, "kill");
}

fn assert_was_at(relay: &Relay, point: &str, action: &str) {
    let name = point.split('@').next().expect("a split has a first part");
    let words = format!("failpoint {name}: {action}");
    assert_eq!(relay.log().matches(&words).count(), 1, "{}", relay.log_tail());
    relay.assert_without_panics();
}

/// A relay left records that are in Kafka and that no checkpoint tells of, and the next one dies at `point` of its
/// start.
fn a_start_dies_at(point: &str) {
    for delivery in BOTH {
        a_start_with_dies_at(delivery, point);
    }
}

fn a_start_with_dies_at(delivery: Delivery, point: &str) {
    let scene = Scene::on_shared_servers("dies_starting").with(delivery);
    scene.create_topic("account");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    dies_at(&setup, "records-acknowledged");
    // What comes in two pieces from the server leaves in two batches.
    assert!((1..=3).contains(&sent(&scene)), "the first relay sent what it had read");
    writer.write(2);
    dies_at(&setup, point);
    writer.write(2);
    let mut relay = setup.start();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// Records that are there, committed or not.
fn sent(scene: &Scene) -> usize {
    let records = Inbox::read_all(&scene.kafka, &scene.topic(""), Isolation::ReadUncommitted);
    records.len()
}

/// A relay dies at `point` with a batch of whole transactions in flight, then with parts of one.
fn a_batch_dies_at(delivery: Delivery, point: &str) {
    let scene = Scene::on_shared_servers("dies_sending").with(delivery);
    scene.create_topic("account");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    dies_at(&setup, point);
    writer.write(2);
    let mut relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
    relay.kill();
    // Neither relay has all of them in flight when it dies, which are four batches at most.
    writer.write_together(40);
    let batch_lines = vec!["max_records = 2".to_owned()];
    let in_parts = RelaySetup { batch_lines, ..setup.clone() };
    dies_at(&in_parts, point);
    dies_at(&in_parts, point);
    writer.write(2);
    let mut relay = setup.start();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn a_kill_before_the_fence_changes_nothing() {
    a_start_dies_at("ends-connected");
}

#[test]
fn a_kill_between_fence_and_checkpoint_changes_nothing() {
    a_start_dies_at("own-ids-fenced");
}

#[test]
fn a_kill_between_fence_and_claim_changes_nothing() {
    a_start_dies_at("before-claim");
}

#[test]
fn a_kill_behind_a_claim_that_is_not_committed_changes_nothing() {
    a_start_dies_at("claim-acknowledged");
}

#[test]
fn a_kill_behind_a_committed_claim_changes_nothing() {
    a_start_dies_at("claim-committed");
}

#[test]
fn a_kill_between_claim_and_dump_changes_nothing() {
    a_start_dies_at("before-dump");
}

#[test]
fn a_kill_between_dump_and_lock_changes_nothing() {
    a_start_dies_at("before-lock");
}

#[test]
fn a_kill_between_lock_and_first_row_changes_nothing() {
    a_start_dies_at("before-first-row");
}

/// Only `idempotent` delivery searches.
#[test]
fn a_kill_behind_the_search_for_sent_rows_changes_nothing() {
    a_start_with_dies_at(Delivery::Idempotent, "window-searched");
}

#[test]
fn a_kill_behind_the_creation_of_a_topic_changes_nothing() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("dies_creating").with(delivery);
        let setup = scene.relay_setup();
        let mut writer = PlainWriter::on(&scene);
        writer.write(2);
        // That of the checkpoints, then that of the rows.
        dies_at(&setup, "topic-created");
        dies_at(&setup, "topic-created");
        writer.write(2);
        let mut relay = setup.start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}

#[test]
fn a_kill_behind_the_beginning_of_a_transaction_changes_nothing() {
    a_batch_dies_at(Delivery::ExactlyOnce, "transaction-begun");
}

#[test]
fn a_kill_when_records_are_handed_to_the_client_changes_nothing() {
    for delivery in BOTH {
        a_batch_dies_at(delivery, "records-sent");
    }
}

#[test]
fn a_kill_between_acknowledgement_and_commit_or_checkpoint_changes_nothing() {
    for delivery in BOTH {
        a_batch_dies_at(delivery, "records-acknowledged");
    }
}

#[test]
fn a_kill_between_a_commit_and_the_next_batch_changes_nothing() {
    a_batch_dies_at(Delivery::ExactlyOnce, "batch-committed");
}

/// The first one says, behind the lock, that nobody has fenced the relay; the second one is of the rows.
#[test]
fn a_kill_behind_a_checkpoint_that_is_not_committed_changes_nothing() {
    a_batch_dies_at(Delivery::Idempotent, "checkpoint-acknowledged@2");
}

#[test]
fn a_kill_behind_a_checkpoint_that_was_not_reported_changes_nothing() {
    a_batch_dies_at(Delivery::Idempotent, "checkpoint-stored@2");
}

#[test]
fn a_kill_in_a_drain_changes_nothing() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("dies_draining").with(delivery);
        let setup = scene.relay_setup();
        let mut writer = PlainWriter::on(&scene);
        let mut rows = 0;
        for (point, is_clean) in
            [("before-last-checkpoint", false), ("last-checkpoint-stored", true)]
        {
            writer.write(3);
            rows += 3;
            let mut relay = start_to_die_at(&setup, point);
            scene.wait_for_records(&relay, rows);
            relay.signal("TERM");
            assert_died_at(&mut relay, point);
            let stored = scene.checkpoint().expect("a checkpoint");
            assert_eq!(stored["clean"], is_clean, "{point}: {stored}");
        }
        writer.write(2);
        let mut relay = setup.start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}

/// The checkpoint is of a relay of another name, which lives on or does not.
#[test]
fn a_kill_around_the_fence_of_another_name_changes_nothing() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("dies_renaming").with(delivery);
        let setup = scene.relay_setup();
        let mut other = setup.clone();
        other.name = format!("{}-other", setup.name);
        other.kafka_lines.push(format!("checkpoint_key = \"{}\"", setup.name));
        let mut writer = PlainWriter::on(&scene);
        let mut owner = setup.start();
        writer.write(2);
        scene.judge_clean(&writer.ledger, &owner, SOON);
        for point in ["before-owner-fence", "owner-fenced"] {
            dies_at(&other, point);
            writer.write(2);
            scene.judge_clean(&writer.ledger, &owner, SOON);
        }
        owner.kill();
        writer.write(2);
        dies_at(&setup, "records-acknowledged");
        dies_at(&other, "owner-fenced");
        writer.write(2);
        let mut owner = setup.start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut owner, SOON);
    }
}

#[test]
fn a_command_that_dies_has_stored_its_place_or_has_not() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("dies_setting").with(delivery);
        let setup = scene.relay_setup();
        let mut writer = PlainWriter::on(&scene);
        writer.write(3);
        let mut relay = setup.start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
        let beginning = scene.start.to_string();
        let commands: [&[&str]; 2] =
            [&["checkpoint", "set", "--to", &beginning], &["checkpoint", "reset"]];
        for command in commands {
            command_dies_at(&setup, "command-fenced", command);
        }
        writer.write(1);
        let mut relay = setup.start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
        let mut before = 4;
        for command in commands {
            command_dies_at(&setup, "command-stored", command);
            let mut relay = setup.start();
            scene.judge_newest_generation(before, &scene.expected(&writer.ledger), &relay);
            assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
            before += 4;
        }
    }
}

fn command_dies_at(setup: &RelaySetup, point: &str, command: &[&str]) {
    use std::os::unix::process::ExitStatusExt;
    let output = armed(setup, &format!("{point}=kill")).answer(command);
    assert_eq!(output.status.signal(), Some(SIGKILL), "{command:?}: {output:?}");
}

/// Both ends of a relay that was paused as a whole at `point`: another one has taken over meanwhile.
fn a_replaced_relay_paused_at(delivery: Delivery, point: &str) {
    let scene = Scene::on_shared_servers("paused").with(delivery);
    scene.create_topic("account");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    let mut first = pauses_at(&setup, point);
    writer.write(2);
    let mut second = setup.start();
    scene.judge_clean(&writer.ledger, &second, SOON);
    first.signal("CONT");
    assert_eq!(first.exit_code(), 3, "{point}\n{}", first.log_tail());
    assert!(first.log().contains("taken over by"), "{}", first.log_tail());
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut second, SOON);
}

/// Starts a relay, and waits until it has paused itself at `point`.
fn pauses_at(setup: &RelaySetup, point: &str) -> Relay {
    let (name, turn) = point.split_once('@').unwrap_or((point, "1"));
    let mut relay = armed(setup, &format!("{name}=stop@{turn}")).start();
    relay.wait_for_log(&format!("failpoint {name}: stop"));
    wait_until_stopped(&relay);
    relay
}

fn wait_until_stopped(relay: &Relay) {
    let deadline = Instant::now() + SOON;
    let status = format!("/proc/{}/status", relay.pid());
    while !fs::read_to_string(&status).expect("it is there").contains("State:\tT") {
        assert!(Instant::now() < deadline, "it does not stop\n{}", relay.log_tail());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_relay_that_was_replaced_between_fence_and_claim_exits_3() {
    for delivery in BOTH {
        a_replaced_relay_paused_at(delivery, "before-claim");
    }
}

#[test]
fn a_relay_that_was_replaced_before_its_claim_was_committed_exits_3() {
    for delivery in BOTH {
        a_replaced_relay_paused_at(delivery, "claim-acknowledged");
    }
}

#[test]
fn a_relay_that_was_replaced_between_claim_and_dump_exits_3() {
    for delivery in BOTH {
        a_replaced_relay_paused_at(delivery, "before-dump");
    }
}

#[test]
fn a_relay_that_was_replaced_between_lock_and_first_row_exits_3() {
    for delivery in BOTH {
        a_replaced_relay_paused_at(delivery, "before-first-row");
    }
}

#[test]
fn a_relay_that_was_replaced_behind_acknowledged_records_exits_3() {
    for delivery in BOTH {
        a_replaced_relay_paused_at(delivery, "records-acknowledged");
    }
}

#[test]
fn a_relay_that_was_replaced_behind_a_commit_exits_3() {
    a_replaced_relay_paused_at(Delivery::ExactlyOnce, "batch-committed");
}

#[test]
fn a_relay_that_was_replaced_around_a_checkpoint_exits_3() {
    a_replaced_relay_paused_at(Delivery::Idempotent, "checkpoint-acknowledged@2");
    a_replaced_relay_paused_at(Delivery::Idempotent, "checkpoint-stored@2");
}

/// It reads the checkpoint of the one that took over meanwhile, as one that starts later does.
#[test]
fn of_a_relay_paused_between_fence_and_checkpoint_and_its_successor_one_is_left() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("paused_early").with(delivery);
        scene.create_topic("account");
        let setup = scene.relay_setup();
        let mut writer = PlainWriter::on(&scene);
        writer.write(3);
        let first = pauses_at(&setup, "own-ids-fenced");
        writer.write(2);
        let second = setup.start();
        scene.judge_clean(&writer.ledger, &second, SOON);
        first.signal("CONT");
        let mut both = [first, second];
        let deadline = Instant::now() + SOON;
        let ended = loop {
            writer.write(1);
            if let Some(ended) = both.iter_mut().position(Relay::has_ended) {
                break ended;
            }
            assert!(Instant::now() < deadline, "{}\n{}", both[0].log_tail(), both[1].log_tail());
            thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(both[ended].exit_code(), 3, "{}", both[ended].log_tail());
        scene.judge_clean_to_the_end(&writer.ledger, &mut both[1 - ended], SOON);
    }
}

/// Between two sessions: it has seen that it was not replaced, and is before it fences.
#[test]
fn a_relay_that_was_replaced_behind_its_look_at_the_checkpoint_exits_3() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("paused_between").with(delivery);
        scene.create_topic("account");
        let (proxy, setup) = scene.behind_mysql_proxy();
        let mut writer = PlainWriter::on(&scene);
        writer.write(2);
        let mut first = armed(&setup, "ends-connected=stop@2").start();
        scene.wait_for_records(&first, 2);
        proxy.cut();
        proxy.pass();
        first.wait_for_log("failpoint ends-connected: stop");
        wait_until_stopped(&first);
        let mut second = scene.start_relay();
        writer.write(2);
        scene.judge_clean(&writer.ledger, &second, SOON);
        first.signal("CONT");
        assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
        writer.write(2);
        scene.judge_clean_to_the_end(&writer.ledger, &mut second, SOON);
    }
}

#[test]
fn a_relay_that_was_replaced_in_its_drain_exits_3() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("paused_draining").with(delivery);
        let setup = scene.relay_setup();
        let mut writer = PlainWriter::on(&scene);
        writer.write(3);
        let mut first = armed(&setup, "before-last-checkpoint=stop").start();
        scene.wait_for_records(&first, 3);
        first.signal("TERM");
        wait_until_stopped(&first);
        writer.write(2);
        let mut second = setup.start();
        // Its claim is stored. Later, the first one's time to drain would be over.
        second.wait_for_log("relaying server=");
        first.signal("CONT");
        assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
        writer.write(2);
        scene.judge_clean_to_the_end(&writer.ledger, &mut second, SOON);
    }
}

/// The thread that reads stands still, with a backlog in its socket: it must not be sent again.
#[test]
fn a_reader_that_was_held_while_its_relay_was_replaced_sends_nothing_of_its_backlog() {
    for delivery in BOTH {
        a_relay_held_at(delivery, "before-first-row", 300);
    }
}

/// Only one thread stands still, and the others go on: the relay learns that it was replaced while it does.
#[test]
fn a_thread_that_was_held_while_its_relay_was_replaced_writes_nothing_more() {
    for (delivery, point) in [
        (Delivery::ExactlyOnce, "records-acknowledged"),
        (Delivery::ExactlyOnce, "batch-committed"),
        (Delivery::Idempotent, "records-acknowledged"),
        (Delivery::Idempotent, "checkpoint-acknowledged"),
        (Delivery::Idempotent, "checkpoint-stored"),
        (Delivery::Idempotent, "before-dump"),
    ] {
        a_relay_held_at(delivery, point, 3);
    }
}

fn a_relay_held_at(delivery: Delivery, point: &str, rows: usize) {
    let scene = Scene::on_shared_servers("held").with(delivery);
    scene.create_topic("account");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    writer.write(rows);
    let release = watchdog::fresh_directory("held").join("go");
    let mut first = armed(&setup, &format!("{point}=hold {}", release.display())).start();
    first.wait_for_log(&format!("failpoint {point}: hold"));
    let mut second = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &second, SOON);
    fs::write(&release, "").expect("let it go");
    assert_eq!(first.exit_code(), 3, "{point}\n{}", first.log_tail());
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut second, SOON);
}

/// Its own user may set any variable of its environment.
#[test]
fn the_program_that_is_shipped_has_no_failpoint() {
    let scene = Scene::on_shared_servers("shipped");
    let points = points();
    let environment: Vec<String> = points.iter().map(|point| format!("{point}=kill")).collect();
    let environment = vec![("FAILPOINTS".to_owned(), environment.join(";"))];
    let mut relay = RelaySetup { environment, ..scene.relay_setup() }.start();
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let shipped = text_of(Path::new(env!("CARGO_BIN_EXE_binlog-relay")));
    let with_them = text_of(&program::program());
    for text in points.iter().map(String::as_str).chain(["FAILPOINTS"]) {
        assert!(with_them.contains(text), "the look finds none: {text}");
        assert!(!shipped.contains(text), "the program that is shipped has {text}");
    }
}

fn text_of(program: &Path) -> String {
    String::from_utf8_lossy(&fs::read(program).expect("it was built")).into_owned()
}

#[test]
fn every_failpoint_has_a_test_that_names_it() {
    let tests = include_str!("failpoints.rs");
    let points = points();
    assert!(points.len() > 15, "{points:?}");
    for point in points {
        let is_named = ["\"", "@"].iter().any(|end| tests.contains(&format!("\"{point}{end}")));
        assert!(is_named, "no test dies or pauses at {point}");
    }
}

/// The names of all failpoints, as the sources have them.
fn points() -> Vec<String> {
    let mut points = Vec::new();
    for source in sources_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&source).expect("a source can be read");
        let names = text.split("failpoint!(\"").skip(1);
        points.extend(names.map(|rest| rest.split('"').next().expect("it ends").to_owned()));
    }
    points.sort();
    points.dedup();
    points
}

fn sources_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("it is there").path();
        if path.is_dir() {
            found.extend(sources_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// A relay dies at `point` while it takes over another configuration, and the next one starts with the new file, or with
/// the old one. `halts`: which of the two a start has to refuse, since rows behind the checkpoint are of the other one.
fn a_reload_dies_at(delivery: Delivery, point: &str, is_new: bool, halts: bool) {
    let scene = Scene::on_shared_servers("dies_reloading").with(delivery);
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE added LIKE events");
    let old = scene.relay_setup();
    let mut new = old.clone();
    new.outboxes.push(scene.outbox("added", EVENTUATE_LOCAL));
    let mut relay = start_to_die_at(&old, point);
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    writer.write(2);
    relay.rewrite_config(&new.to_toml());
    relay.signal("HUP");
    assert_died_at(&mut relay, point);
    writer.write(2);
    let (first, other) = if is_new { (&new, &old) } else { (&old, &new) };
    let mut relay = first.start();
    if halts {
        let log = relay.halts();
        assert!(log.contains("[[outbox]]"), "{point}: {log}");
        relay = other.start();
    }
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn a_kill_while_another_configuration_is_taken_over_loses_and_repeats_nothing() {
    // Rows that were sent behind the last checkpoint were sent by the configuration that it names.
    for (point, halting) in [
        ("before-last-checkpoint", Some(true)),
        ("last-checkpoint-stored", None),
        ("before-claim@2", None),
        ("before-dump@2", Some(false)),
    ] {
        for is_new in [true, false] {
            a_reload_dies_at(Delivery::ExactlyOnce, point, is_new, false);
            let halts = halting == Some(is_new);
            a_reload_dies_at(Delivery::Idempotent, point, is_new, halts);
        }
    }
}
