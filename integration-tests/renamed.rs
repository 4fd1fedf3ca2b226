//! Relays of several names and one `checkpoint_key`: the one that starts last has the place, whatever the others
//! are doing, and every row comes once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::consumer::Record;
use harness::kafka::create_compacted_topic;
use harness::relay::{Relay, RelaySequence, RelaySetup, SOON, said};
use harness::scene::{Delivery, Scene};
use harness::workload::PlainWriter;

/// The relay of a scene under another name, and with the same place.
fn renamed(setup: &RelaySetup, ending: &str) -> RelaySetup {
    let mut renamed = setup.clone();
    renamed.name = format!("{}-{ending}", setup.name);
    renamed.kafka_lines.push(format!("checkpoint_key = \"{}\"", setup.name));
    renamed
}

/// Numbers of the rows, in ascending order; fails unless all are of one generation.
fn sequences(records: &[Record]) -> Vec<u64> {
    let of = |record: &Record| RelaySequence::of(record);
    let mut sequences: Vec<u64> = records.iter().map(|record| of(record).sequence).collect();
    assert!(records.iter().all(|record| of(record).generation == of(&records[0]).generation));
    sequences.sort_unstable();
    sequences
}

/// Every row is there once, also a moment later.
fn assert_once_each(scene: &Scene, relay: &Relay, total: usize) {
    scene.wait_for_records(relay, total);
    thread::sleep(Duration::from_millis(500));
    let all: Vec<u64> = (1..=total as u64).collect();
    assert_eq!(sequences(&scene.records()), all, "{}", relay.log_tail());
}

/// Writes single rows until it is told to stop, and answers with how many.
struct Busy {
    stop: Arc<AtomicBool>,
    writing: thread::JoinHandle<usize>,
}

impl Busy {
    fn start(scene: &Scene) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut writer, is_over) = (PlainWriter::on(scene), Arc::clone(&stop));
        let writing = thread::spawn(move || {
            let mut rows = 0;
            while !is_over.load(Ordering::Relaxed) {
                writer.write(1);
                rows += 1;
                thread::sleep(Duration::from_millis(3));
            }
            rows
        });
        Busy { stop, writing }
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.join().expect("the writer ends")
    }
}

fn wait_for_owner(scene: &Scene, relay: &Relay, name: &str) {
    let deadline = Instant::now() + SOON;
    while scene.checkpoint().is_none_or(|stored| stored["name"] != name) {
        assert!(Instant::now() < deadline, "{name} does not claim\n{}", relay.log_tail());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_relay_of_another_name_takes_the_place_over_and_back_while_rows_come() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on_shared_servers("takes_place").with(delivery);
        scene.create_topic("account");
        let a = scene.relay_setup();
        let b = renamed(&a, "b");
        let busy = Busy::start(&scene);
        let mut running = a.start();
        scene.wait_for_records(&running, 50);
        for next in [&b, &a, &b] {
            let successor = next.start();
            assert_eq!(running.exit_code(), 3, "{}", running.log_tail());
            assert!(running.log().contains("taken over by"), "{}", running.log_tail());
            wait_for_owner(&scene, &successor, &next.name);
            let there = scene.records().len();
            scene.wait_for_records(&successor, there + 50);
            running = successor;
        }
        assert_once_each(&scene, &running, busy.finish());
        assert!(!running.has_ended(), "{}", running.log_tail());
        assert!(!running.log().contains("did not end within"), "{}", running.log_tail());
    }
}

#[test]
fn an_idle_relay_whose_place_went_to_another_name_ends_without_a_row() {
    let scene = Scene::on_shared_servers("idle_place");
    let a = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    let mut first = a.start();
    writer.write(2);
    scene.wait_for_records(&first, 2);
    let second = renamed(&a, "b").start();
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    writer.write(1);
    assert_once_each(&scene, &second, 3);
}

#[test]
fn a_paused_relay_whose_place_went_to_another_name_writes_nothing_more() {
    let scene = Scene::on_shared_servers("paused_place");
    scene.create_topic("account");
    let a = scene.relay_setup();
    let busy = Busy::start(&scene);
    let mut first = a.start();
    scene.wait_for_records(&first, 50);
    first.signal("STOP");
    let second = renamed(&a, "b").start();
    wait_for_owner(&scene, &second, &format!("{}-b", a.name));
    let there = scene.records().len();
    scene.wait_for_records(&second, there + 20);
    first.signal("CONT");
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    assert_once_each(&scene, &second, busy.finish());
}

#[test]
fn relays_of_one_place_that_start_in_the_same_instant_end_as_one() {
    let deliveries = [Delivery::ExactlyOnce, Delivery::Idempotent];
    for (round, delivery) in deliveries.into_iter().cycle().take(4).enumerate() {
        let scene = Scene::on_shared_servers("same_instant").with(delivery);
        scene.create_topic("account");
        // The last two make the topic as well.
        if round < 2 {
            create_compacted_topic(&scene.kafka, &scene.checkpoint_topic(), 1);
        }
        let a = scene.relay_setup();
        let busy = Busy::start(&scene);
        let mut relays = vec![a.start(), renamed(&a, "b").start()];
        let over = first_to_end(&mut relays);
        let mut over = relays.remove(over);
        assert_eq!(over.exit_code(), 3, "round {round}: {}", over.log_tail());
        let there = scene.records().len();
        scene.wait_for_records(&relays[0], there + 20);
        assert_once_each(&scene, &relays[0], busy.finish());
        assert!(!relays[0].has_ended(), "round {round}: {}", relays[0].log_tail());
    }
}

fn first_to_end(relays: &mut [Relay]) -> usize {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(ended) = relays.iter_mut().position(Relay::has_ended) {
            return ended;
        }
        let logs = || relays.iter().map(Relay::log_tail).collect::<Vec<_>>().join("\n");
        assert!(Instant::now() < deadline, "all of them go on\n{}", logs());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn relays_of_one_name_and_two_places_do_not_fence_each_other_for_ever() {
    let scene = Scene::on_shared_servers("one_name");
    scene.create_topic("account");
    let first = scene.relay_setup();
    let mut second = first.clone();
    second.kafka_lines.push("checkpoint_key = \"another\"".to_owned());
    let busy = Busy::start(&scene);
    let mut relays = vec![first.start(), second.start()];
    let over = first_to_end(&mut relays);
    let mut over = relays.remove(over);
    over.halts_saying(
        &format!(
            "another relay of the name {} takes the transactional ids of this one again and again, and has another \
             checkpoint",
            scene.name
        ),
        "give one of the two another name: they have the same one, and another checkpoint_key or checkpoint_topic",
    );
    let there = scene.records().len();
    scene.wait_for_records(&relays[0], there + 20);
    busy.finish();
    assert!(!relays[0].has_ended(), "{}", relays[0].log_tail());
}

#[test]
fn set_and_reset_see_a_running_relay_of_another_name_and_fence_it_by_force() {
    let scene = Scene::on_shared_servers("set_other_name");
    let a = scene.relay_setup();
    let b = renamed(&a, "b");
    let mut writer = PlainWriter::on(&scene);
    let mut relay = b.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    let checked = said(&a.answer(&["check"]));
    let words =
        format!("the checkpoint is of the relay {}: {} would take over from it", b.name, a.name);
    assert!(checked.out.contains(&words), "{checked:?}");
    for arguments in [&["checkpoint", "set", "--to", "latest"][..], &["checkpoint", "reset"]] {
        let refused = said(&a.answer(arguments));
        assert_eq!(refused.code, 1, "{refused:?}");
        let words = format!("a relay of the name {} is running", b.name);
        assert!(refused.error.contains(&words), "{refused:?}");
        assert!(
            refused.error.contains(&format!("it reads the binlog of MySQL {}", a.mysql_address))
        );
    }
    let forced = said(&a.answer(&["checkpoint", "set", "--to", "latest", "--force"]));
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(relay.exit_code(), 3, "{}", relay.log_tail());
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!((&stored["name"], &stored["format"]), (&a.name.as_str().into(), &1.into()));
    let mut relay = b.start();
    wait_for_owner(&scene, &relay, &b.name);
    let forced = said(&a.answer(&["checkpoint", "reset", "--force"]));
    assert_eq!(forced.code, 0, "{forced:?}");
    let log = relay.halts();
    assert!(log.contains("is not there any more"), "{log}");
    assert_eq!(scene.checkpoint(), None);
    assert_eq!(scene.records().len(), 2);
}
