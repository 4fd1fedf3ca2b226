//! `idempotent` delivery after a crash: what is in the topics behind the checkpoint is not sent again, and
//! what is not there is. The stage is set by killing a relay, and by storing one of its earlier checkpoints
//! again as if its last ones had not come through; so every case is certain, and none left to chance.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use harness::consumer::Record;
use harness::kafka::{
    OpenTransaction, create_partitions, create_topic, delete_records, delete_records_before,
    write_record,
};
use harness::ledger::Content;
use harness::oracle::partition_of;
use harness::relay::{Relay, RelaySequence, RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::workload::PlainWriter;

/// A relay was killed with records in Kafka of which its checkpoint does not tell.
struct Crash {
    scene: Scene,
    writer: PlainWriter,
    setup: RelaySetup,
    checkpoint: Json,
}

/// Rows that the checkpoint tells of, and rows after them, when nothing else is said.
const BEFORE: usize = 4;
const AFTER: usize = 9;

impl Crash {
    fn stage(label: &str) -> Crash {
        let scene = Scene::on_shared_servers(label).with(Delivery::Idempotent);
        scene.create_topic("account");
        Crash::on(scene, |writer| writer.write(AFTER))
    }

    /// `write`: what is written between the checkpoint and the kill.
    fn on(scene: Scene, write: impl FnOnce(&mut PlainWriter)) -> Crash {
        let mut writer = PlainWriter::on(&scene);
        let setup = scene.relay_setup();
        let mut relay = setup.start();
        writer.write(BEFORE);
        scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
        let checkpoint = scene.checkpoint().expect("a checkpoint");
        write(&mut writer);
        // Not for the records: a test may have them deleted as they come.
        scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
        relay.kill();
        scene.store_checkpoint(&checkpoint);
        Crash { scene, writer, setup, checkpoint }
    }

    fn topic(&self) -> String {
        self.scene.topic("account")
    }

    /// Goes on with more rows, and all that there ever was is there once.
    fn ends_clean(&mut self, mut relay: Relay) {
        self.writer.write(3);
        self.scene.judge_clean_to_the_end(&self.writer.ledger, &mut relay, SOON);
    }
}

/// How many rows were found in a topic, as the log says.
fn found(relay: &Relay, topic: &str) -> Option<usize> {
    let log = relay.log();
    let said = format!("looked for rows that are in Kafka already topic=\"{topic}\" rows=");
    let rest = log.split(&said).nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

fn ids(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.value_text()).collect()
}

#[test]
fn what_a_killed_relay_had_sent_is_not_sent_again() {
    let mut crash = Crash::stage("resumed");
    assert_eq!(crash.checkpoint["delivery"], "idempotent", "{}", crash.checkpoint);
    assert_eq!(crash.checkpoint["clean"], false);
    let since = crash.checkpoint["unacknowledgedSince"].as_str().expect("it says since when");
    assert!(since <= crash.checkpoint["recordedAt"].as_str().expect("it says when"), "{since}");
    let relay = crash.setup.start();
    crash.scene.judge_clean(&crash.writer.ledger, &relay, SOON);
    crash.writer.write(1);
    crash.scene.judge_clean(&crash.writer.ledger, &relay, SOON);
    assert_eq!(found(&relay, &crash.topic()), Some(AFTER), "{}", relay.log_tail());
    crash.ends_clean(relay);
}

#[test]
fn a_checkpoint_that_says_nothing_of_the_time_is_taken_at_its_kafka_time() {
    let mut crash = Crash::stage("no_since");
    let mut checkpoint = crash.checkpoint.clone();
    checkpoint.as_object_mut().expect("an object").remove("unacknowledgedSince");
    crash.scene.store_checkpoint(&checkpoint);
    let relay = crash.setup.start();
    crash.ends_clean(relay);
}

#[test]
fn crash_upon_crash_repeats_nothing() {
    let mut crash = Crash::stage("crash_upon_crash");
    for _ in 0..3 {
        let mut relay = crash.setup.start();
        crash.writer.write(1);
        let expected = crash.scene.expected(&crash.writer.ledger).len();
        crash.scene.wait_for_records(&relay, expected);
        relay.kill();
        // Nothing that these relays stored comes through, but for their claims: each has the place that it
        // found, and since when rows after it may be in Kafka.
        let claim = crash.scene.checkpoints().into_iter().flatten().rfind(|stored| {
            stored["sequence"] == crash.checkpoint["sequence"]
                && stored["instance"] != crash.checkpoint["instance"]
        });
        let claim = claim.expect("each relay claims the checkpoint");
        assert_eq!(claim["unacknowledgedSince"], crash.checkpoint["unacknowledgedSince"]);
        assert_eq!(claim["delivery"], "idempotent");
        crash.scene.store_checkpoint(&claim);
    }
    let relay = crash.setup.start();
    crash.ends_clean(relay);
}

/// The numbers in the records are of the relay's old name, and then of both.
#[test]
fn a_relay_that_is_renamed_after_a_crash_finds_what_it_had_sent_under_each_name() {
    let mut crash = Crash::stage("renamed");
    let key = format!("checkpoint_key = \"{}\"", crash.setup.name);
    crash.setup.kafka_lines.push(key);
    let (mut total, topic) = (BEFORE + AFTER, crash.topic());
    for name in ["second", "third"] {
        crash.setup.name = format!("{}-{name}", crash.scene.name);
        let mut relay = crash.setup.start();
        crash.writer.write(2);
        total += 2;
        crash.scene.wait_for_records(&relay, total);
        relay.kill();
        assert!(found(&relay, &topic).is_some_and(|rows| rows >= AFTER), "{}", relay.log_tail());
        let claim = crash.scene.checkpoints().into_iter().flatten().rfind(|stored| {
            stored["name"] == crash.setup.name.as_str() && stored["sequence"] == BEFORE
        });
        let claim = claim.expect("each relay claims the checkpoint");
        assert_eq!(claim["unacknowledgedNames"][0], crash.scene.name.as_str(), "{claim}");
        crash.scene.store_checkpoint(&claim);
    }
    crash.setup.name.clone_from(&crash.scene.name);
    let mut relay = crash.setup.start();
    crash.writer.write(2);
    crash.scene.wait_for_records(&relay, total + 2);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_once_each(&crash.scene.records(), total + 2, &relay);
}

#[test]
fn rows_that_are_missing_between_others_are_sent() {
    let scene = Scene::on_shared_servers("missing_between").with(Delivery::Idempotent);
    scene.create_topic("account");
    let topic = scene.topic("account");
    let mut crash = Crash::on(scene, |writer| writer.write(AFTER));
    // One partition has none of its rows, the others have all: their requests were not in time.
    let sent = crash.scene.records();
    let partition = sent.iter().max_by_key(|record| &record.headers[0]).expect("records").partition;
    let of_partition = sent.iter().filter(|record| record.partition == partition).count();
    delete_records(&crash.scene.kafka, &topic, partition);
    let left = sent.len() - of_partition;
    assert_eq!(crash.scene.records().len(), left);
    let is_after =
        |record: &&Record| record.partition == partition && sequence(record) > BEFORE as u64;
    let lacking = sent.iter().filter(is_after).count();
    let relay = crash.setup.start();
    let records = crash.scene.wait_for_records(&relay, left + lacking);
    let is_due = |record: &&Record| record.partition != partition || is_after(record);
    let due = sequences(sent.iter().filter(is_due));
    assert_eq!(
        sequences(&records),
        due,
        "what was deleted is not there, and is sent\n{}",
        relay.log_tail()
    );
    crash.writer.write(1);
    crash.scene.wait_for_records(&relay, left + lacking + 1);
}

fn sequence(record: &Record) -> u64 {
    RelaySequence::of(record).sequence
}

/// In ascending order.
fn sequences<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<u64> {
    let mut sequences: Vec<u64> = records.into_iter().map(sequence).collect();
    sequences.sort_unstable();
    sequences
}

/// Every row is there once, from the first to the last of so many.
fn assert_once_each(records: &[Record], total: usize, relay: &Relay) {
    let all: Vec<u64> = (1..=total as u64).collect();
    assert_eq!(sequences(records), all, "{}", relay.log_tail());
}

#[test]
fn the_beginning_of_a_partition_that_was_deleted_is_not_sent_again() {
    let scene = Scene::on_shared_servers("deleted_head").with(Delivery::Idempotent);
    let topic = scene.topic("account");
    create_topic(&scene.kafka, &topic, 1, &[]);
    let scene = Scene { partitions: 1, ..scene };
    let mut crash = Crash::on(scene, |writer| writer.write(AFTER));
    // Retention takes the oldest records, also some that the checkpoint does not tell of.
    let kept = 4;
    let end = i64::try_from(BEFORE + AFTER - kept).expect("a small number");
    delete_records_before(&crash.scene.kafka, &topic, 0, end);
    assert_eq!(crash.scene.records().len(), kept);
    let relay = crash.setup.start();
    crash.writer.write(3);
    let records = crash.scene.wait_for_records(&relay, kept + 3);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(ids(&crash.scene.records()), ids(&records), "{}", relay.log_tail());
    let first = BEFORE + AFTER - kept + 1;
    let all: Vec<u64> = (first as u64..).take(kept + 3).collect();
    assert_eq!(records.iter().map(sequence).collect::<Vec<_>>(), all);
}

#[test]
fn what_compaction_took_away_is_not_sent_again() {
    let scene = Scene::on_shared_servers("compacted").with(Delivery::Idempotent);
    let topic = scene.topic("account");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "100"),
    ];
    create_topic(&scene.kafka, &topic, 1, &settings);
    let scene = Scene { partitions: 1, ..scene };
    let mut crash = Crash::on(scene, |writer| {
        // Few keys, so that there are later records of each.
        writer.write(400);
    });
    let sent = BEFORE + 400;
    let deadline = Instant::now() + SOON;
    while crash.scene.records().len() > sent / 2 {
        // A segment is closed when the next record comes; this one is of nobody.
        write_record(&crash.scene.kafka, &topic, Some(0), Some("x"), Some(b"{}"));
        assert!(Instant::now() < deadline, "nothing is compacted: {}", crash.scene.records().len());
        thread::sleep(Duration::from_millis(500));
    }
    let before: HashSet<i64> = crash.scene.records().iter().map(|record| record.offset).collect();
    let relay = crash.setup.start();
    crash.writer.write(3);
    wait_for_row(&crash.scene, &relay, sent as u64 + 3);
    let records = crash.scene.records();
    let new = records.iter().filter(|record| !before.contains(&record.offset));
    let new: Vec<u64> = new.filter(|record| !record.headers.is_empty()).map(sequence).collect();
    let sent = sent as u64;
    assert_eq!(new, [sent + 1, sent + 2, sent + 3], "{}", relay.log_tail());
}

/// Waits until a row of this number is there.
fn wait_for_row(scene: &Scene, relay: &Relay, number: u64) {
    let deadline = Instant::now() + SOON;
    let is_there = |record: &Record| !record.headers.is_empty() && sequence(record) == number;
    while !scene.records().iter().any(is_there) {
        assert!(Instant::now() < deadline, "row {number} does not come\n{}", relay.log_tail());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_topic_that_got_more_partitions_meanwhile_is_looked_at_whole() {
    let scene = Scene::on_shared_servers("grown").with(Delivery::Idempotent);
    let topic = scene.topic("account");
    create_topic(&scene.kafka, &topic, 3, &[]);
    let mut crash = Crash::on(scene, |writer| writer.write(30));
    create_partitions(&crash.scene.kafka, &topic, 12);
    let sent = crash.scene.records();
    let moved = |record: &&Record| {
        partition_of(record.key.as_deref().expect("a key"), 12) != record.partition
    };
    assert!(sent.iter().any(|record| moved(&record)), "some keys belong elsewhere now");
    let mut relay = crash.setup.start();
    crash.writer.write(3);
    let total = BEFORE + 30 + 3;
    crash.scene.wait_for_records(&relay, total);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_once_each(&crash.scene.records(), total, &relay);
}

/// A later row of a partition shows that an earlier one was there only as long as keys do not move: the row that
/// did not arrive belonged elsewhere when it was sent. No key that is left shows that the topic has grown.
#[test]
fn a_row_that_did_not_arrive_in_a_compacted_topic_that_has_grown_is_sent() {
    let scene = Scene::on_shared_servers("grown_compacted").with(Delivery::Idempotent);
    let topic = scene.topic("compacted");
    create_topic(&scene.kafka, &topic, 2, &[("cleanup.policy", "compact,delete")]);
    let key_of = |before: i32, after: i32| {
        let is_it = |key: &String| {
            let partition = |count| partition_of(key.as_bytes(), count);
            (partition(2), partition(3)) == (before, after)
        };
        (0..).map(|n| format!("key-{n}")).find(is_it).expect("there are many keys")
    };
    let (moves, stays) = (key_of(1, 0), key_of(0, 0));
    let mut crash = Crash::on(scene, |writer| {
        writer.topic.clone_from(&topic);
        for key in [moves, stays] {
            let mut row = writer.unnoted_row();
            if let Content::Event { entity_id, .. } = &mut row.content {
                *entity_id = key;
            }
            writer.write_row(row);
        }
    });
    let sent = crash.scene.records();
    assert_eq!(sent.len(), BEFORE + 2);
    delete_records(&crash.scene.kafka, &topic, 1);
    create_partitions(&crash.scene.kafka, &topic, 3);
    let mut relay = crash.setup.start();
    crash.writer.topic = crash.scene.topic("account");
    crash.writer.write(2);
    crash.scene.wait_for_records(&relay, BEFORE + 4);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_once_each(&crash.scene.records(), BEFORE + 4, &relay);
}

#[test]
fn records_of_others_in_the_same_topic_are_told_apart() {
    let scene = Scene::on_shared_servers("others").with(Delivery::Idempotent);
    let topic = scene.topic("account");
    create_topic(&scene.kafka, &topic, 2, &[]);
    let scene = Scene { partitions: 2, ..scene };
    let other = Scene::on_shared_servers("others_too").with(Delivery::Idempotent);
    let mut of_other = PlainWriter::on(&other);
    of_other.topic.clone_from(&topic);
    let other_relay = other.start_relay();
    let kafka = scene.kafka.clone();
    let foreign = |count: usize| {
        for index in 0..count {
            let partition = i32::from(index % 2 == 0);
            write_record(&kafka, &topic, Some(partition), Some("x"), Some(b"not ours"));
        }
    };
    foreign(30);
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(BEFORE);
    scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
    let checkpoint = scene.checkpoint().expect("a checkpoint");
    for _ in 0..AFTER {
        writer.write(1);
        of_other.write_together(100);
        foreign(8);
    }
    let own = |scene: &Scene| {
        let prefix = format!("{}:", scene.name);
        let mut records = scene.records();
        records.retain(|record| {
            record.header("relay-sequence").is_some_and(|it| it.starts_with(prefix.as_bytes()))
        });
        records
    };
    let wait = |scene: &Scene, relay: &Relay, count: usize| {
        let deadline = Instant::now() + SOON;
        while own(scene).len() < count {
            assert!(Instant::now() < deadline, "{}", relay.log_tail());
            thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&scene, &relay, BEFORE + AFTER);
    relay.kill();
    scene.store_checkpoint(&checkpoint);
    // A transaction of somebody else, aborted: markers take offsets, and its records are not there.
    let aborted = OpenTransaction::begin(&scene.kafka, &format!("{}-somebody", scene.name));
    aborted.write(&topic, 0, "x", b"aborted");
    aborted.write(&topic, 1, "x", b"aborted");
    drop(aborted);
    let mut relay = setup.start();
    writer.write(3);
    let total = BEFORE + AFTER + 3;
    wait(&scene, &relay, total);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    drop(other_relay);
    assert_once_each(&own(&scene), total, &relay);
}

#[test]
fn an_open_transaction_of_somebody_else_in_the_topic_is_waited_for() {
    let mut crash = Crash::stage("held_back");
    let topic = crash.topic();
    // Behind it, nothing that was sent can be told from what was aborted.
    let open = OpenTransaction::begin(&crash.scene.kafka, &format!("{}-open", crash.scene.name));
    for partition in 0..crash.scene.partitions {
        open.write(&topic, partition, "x", b"open");
    }
    let mut relay = crash.setup.start();
    crash.writer.write(1);
    relay.wait_for_log("waiting for an open transaction of another producer");
    let before = crash.scene.records().len();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(crash.scene.records().len(), before, "nothing is sent meanwhile");
    drop(open);
    let total = BEFORE + AFTER + 1;
    wait_for_row(&crash.scene, &relay, total as u64);
    let mut records = crash.scene.records();
    records.retain(|record| !record.headers.is_empty());
    assert_once_each(&records, total, &relay);
}

#[test]
fn each_topic_is_looked_at_when_its_first_row_comes() {
    let scene = Scene::on_shared_servers("topics").with(Delivery::Idempotent);
    let names: Vec<String> = ["a", "b", "c"].map(|label| scene.create_topic(label)).to_vec();
    let mut crash = Crash::on(scene, |writer| {
        for name in &names[..2] {
            writer.topic.clone_from(name);
            writer.write(5);
        }
    });
    let relay = crash.setup.start();
    crash.writer.topic.clone_from(&names[2]);
    crash.writer.write(2);
    crash.ends_clean(relay);
}

#[test]
fn a_transaction_that_was_sent_in_part_is_completed() {
    let scene = Scene::on_shared_servers("sent_in_part").with(Delivery::Idempotent);
    scene.create_topic("account");
    let topic = scene.topic("account");
    let mut writer = PlainWriter::on(&scene);
    let mut setup = scene.relay_setup();
    setup.batch_lines = vec!["max_records = 100".to_owned()];
    let mut relay = setup.start();
    writer.write(BEFORE);
    writer.write_together(20_000);
    let mut inbox = scene.inbox();
    relay.wait_until_came(&mut inbox, 5_000, SOON);
    relay.kill();
    let stored = scene.checkpoint().expect("a checkpoint");
    let relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let was_found = found(&relay, &topic);
    harness::say(&format!("{}: {stored} and {was_found:?} rows after it", scene.name));
    let mut relay = relay;
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}
