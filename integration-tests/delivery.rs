//! The two deliveries beside each other: changed between runs, cleanly and after kills, and how a relay of
//! either is fenced.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Isolation, Record};
use harness::kafka::{create_partitions, create_replicated_topic, create_topic};
use harness::oracle;
use harness::relay::{Relay, RelaySequence, RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, MySql, permit_for_own_servers, shared_kafka, shared_mysql};
use harness::workload::{PlainWriter, Plan, Workload};

const BOTH: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::Idempotent];

fn setup_with(scene: &Scene, delivery: Delivery) -> RelaySetup {
    RelaySetup { delivery, ..scene.relay_setup() }
}

#[test]
fn the_delivery_may_be_changed_between_clean_runs() {
    let scene = Scene::on_shared_servers("changed").with(Delivery::Idempotent);
    let mut writer = PlainWriter::on(&scene);
    for delivery in BOTH.into_iter().cycle().take(5) {
        writer.write(3);
        let mut relay = setup_with(&scene, delivery).start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
        let stored = scene.checkpoint().expect("a checkpoint");
        assert_eq!(stored["delivery"], delivery.name());
        assert!(stored.get("unacknowledgedSince").is_none(), "{stored}");
        assert!(!relay.log().contains("looked for rows"), "{}", relay.log_tail());
    }
}

/// As librdkafka does by itself where it chooses the partition. Keys go where their hash sends them by then.
#[test]
fn a_topic_that_gets_more_partitions_is_sent_to_all_of_them_without_a_restart() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("growing").with(delivery);
        let topic = scene.topic("account");
        create_topic(&scene.kafka, &topic, 2, &[]);
        let mut setup = setup_with(&scene, delivery);
        let interval = "\"topic.metadata.refresh.interval.ms\" = 200".to_owned();
        setup.kafka_lines = vec!["[kafka.properties]".to_owned(), interval];
        let mut relay = setup.start();
        let mut writer = PlainWriter::on(&scene);
        writer.write(20);
        scene.wait_for_records(&relay, 20);
        create_partitions(&scene.kafka, &topic, 12);
        relay.wait_for_log("the topic has more partitions now");
        writer.write(60);
        let records = scene.wait_for_records(&relay, 80);
        let number = |record: &Record| RelaySequence::of(record).sequence;
        let numbers: HashSet<u64> = records.iter().map(number).collect();
        assert_eq!((records.len(), numbers.len()), (80, 80), "{}", relay.log_tail());
        for record in &records {
            let count = if number(record) <= 20 { 2 } else { 12 };
            let key = record.key.as_deref().expect("a key");
            assert_eq!(record.partition, oracle::partition_of(key, count), "{record:?}");
        }
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    }
}

/// Each relay is killed with records in Kafka of which the checkpoint does not tell, by chance or not; the
/// delivery changes every time.
#[test]
fn the_delivery_may_be_changed_at_every_kill() {
    const KILLS: u32 = 16;
    let scene = Scene::on_shared_servers("changed_by_kills");
    let plan = Plan { large_rows: 1_000, ..Plan::with_seed_of_the_day(&scene.name) };
    let workload = Workload::start(&scene, &plan);
    for (kill, delivery) in (0..KILLS).zip(BOTH.into_iter().cycle()) {
        let mut setup = setup_with(&scene, delivery);
        setup.outboxes = Workload::outboxes(&scene);
        let mut relay = setup.start();
        relay.wait_for_log("relaying server");
        thread::sleep(Duration::from_millis(100) * (kill % 5));
        assert!(!relay.has_ended(), "{}", relay.log_tail());
        relay.kill();
    }
    let mut setup = setup_with(&scene, Delivery::ExactlyOnce);
    setup.outboxes = Workload::outboxes(&scene);
    let mut relay = setup.start();
    thread::sleep(Duration::from_secs(1));
    let ledger = workload.finish();
    // What was aborted is no repeat for those who read committed; and those who do not see it anyway.
    scene.judge_clean_to_the_end(&ledger, &mut relay, Duration::from_secs(90));
}

#[test]
fn exactly_once_finds_what_an_idempotent_relay_left_behind_and_so_does_who_follows_it() {
    let scene = Scene::on_shared_servers("left_behind").with(Delivery::Idempotent);
    let topic = scene.create_topic("account");
    let other = scene.create_topic("other");
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(3);
    scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
    let early = scene.checkpoint().expect("a checkpoint");
    writer.write(5);
    writer.topic.clone_from(&other);
    writer.write(5);
    scene.wait_for_records(&relay, 13);
    relay.kill();
    scene.store_checkpoint(&early);
    for delivery in [Delivery::ExactlyOnce, Delivery::ExactlyOnce, Delivery::Idempotent] {
        let mut relay = setup_with(&scene, delivery).start();
        relay.wait_for_log("looked for rows");
        let instance = relay.instance();
        relay.kill();
        // Of what it stored only its claim came through.
        let claim = scene
            .checkpoints()
            .into_iter()
            .flatten()
            .find(|stored| stored["instance"] == instance.as_str());
        let claim = claim.expect("each relay claims the checkpoint");
        assert_eq!(claim["delivery"], "idempotent", "rows after it are in Kafka: {claim}");
        assert_eq!(claim["unacknowledgedSince"], early["unacknowledgedSince"], "{claim}");
        scene.store_checkpoint(&claim);
    }
    let mut relay = setup_with(&scene, Delivery::ExactlyOnce).start();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let log = relay.log();
    for topic in [topic, other] {
        assert!(log.contains(&format!("topic=\"{topic}\" rows=5")), "{}", relay.log_tail());
    }
    assert_eq!(scene.checkpoint().expect("a checkpoint")["delivery"], "exactly-once");
}

/// Brokers know a topic before all its partitions are led: a first request is refused, while a second one that
/// was sent behind it is taken, and counts for both. More than one must never be in flight.
#[test]
fn rows_for_topics_that_have_just_been_created_all_arrive_in_either_delivery() {
    const TOPICS: usize = 4;
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("just_created").with(delivery);
        let mut setup = scene.relay_setup();
        setup.kafka_lines = vec!["topic_partitions = 50".to_owned()];
        let scene = Scene { partitions: 50, ..scene };
        let mut writer = PlainWriter::on(&scene);
        let relay = setup.start();
        for topic in 0..TOPICS {
            writer.topic = scene.topic(&topic.to_string());
            writer.write(30);
        }
        scene.judge_clean(&writer.ledger, &relay, SOON);
    }
}

#[test]
fn another_configuration_of_outbox_halts_until_the_old_one_has_drained() {
    let scene = Scene::on_shared_servers("outbox_behind").with(Delivery::Idempotent);
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    relay.kill();
    let mut other = scene.relay_setup();
    other.outboxes.truncate(1);
    other.start().halts_saying(
        "the checkpoint was written by idempotent delivery, and not at the end of a drain, under another \
         configuration of [[outbox]]",
        "start once with the configuration of [[outbox]] that was there before, stop the relay with SIGTERM, then …",
    );
    let mut relay = scene.start_relay();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let mut relay = other.start();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn a_relay_that_is_fenced_by_force_exits_3_in_either_delivery() {
    for delivery in BOTH {
        let scene = Scene::on_shared_servers("fenced_by_force").with(delivery);
        let setup = scene.relay_setup();
        let mut writer = PlainWriter::on(&scene);
        let mut relay = setup.start();
        writer.write(3);
        scene.wait_for_records(&relay, 3);
        let place = writer.sql.end_of_binlog().to_string();
        let set = setup.answer(&["checkpoint", "set", "--to", &place, "--force"]);
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        assert_eq!(relay.exit_code(), 3, "{}", relay.log_tail());
        writer.write(2);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(scene.records().len(), 3, "it writes nothing more");
    }
}

/// The one case that is not covered: the records that a sleeper had in flight arrive when it wakes, long after it was
/// replaced. It is told by its number, and the sleeper stores no checkpoint any more.
#[test]
fn a_paused_relay_that_was_replaced_can_only_repeat_what_it_had_read() {
    let scene = Scene::on_shared_servers("slept_idempotent").with(Delivery::Idempotent);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
    let mut first = setup.start();
    first.wait_for_log("relaying server");
    thread::sleep(Duration::from_millis(700));
    first.signal("STOP");
    let mut second = setup.start();
    second.wait_for_log("its records in flight may come twice");
    thread::sleep(Duration::from_millis(700));
    let instance = first.instance();
    let claimed = scene.checkpoints().len();
    first.signal("CONT");
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    thread::sleep(Duration::from_millis(500));
    let ledger = workload.finish();
    let expected = scene.expected(&ledger);
    scene.wait_for_checkpoint_at(&second, &scene.sql().end_of_binlog());
    assert_eq!(second.stop(), 0, "{}", second.log_tail());
    let later = scene.checkpoints().split_off(claimed);
    assert!(later.into_iter().flatten().all(|stored| stored["instance"] != instance.as_str()));
    // Every repeat is the same record with the same number.
    let mut records = scene.records();
    let all = records.len();
    let order =
        |record: &Record| (RelaySequence::of(record).sequence, record.topic.clone(), record.offset);
    records.sort_by_key(order);
    records.dedup_by(|later, earlier| is_repeat(earlier, later));
    harness::say(&format!("{}: repeated {} of {all}", scene.name, all - records.len()));
    let verdict = oracle::judge(&scene.name, &expected, &records, scene.partitions);
    assert_eq!((verdict.lost, verdict.repeated, verdict.altered), (0, 0, 0), "{verdict}");
    assert_eq!((verdict.invented, verdict.arrived), (0, verdict.committed), "{verdict}");
}

fn is_repeat(earlier: &Record, later: &Record) -> bool {
    RelaySequence::of(earlier) == RelaySequence::of(later)
        && (&earlier.topic, earlier.partition, &earlier.key, &earlier.value)
            == (&later.topic, later.partition, &later.key, &later.value)
}

/// Kills that come when a record is seen, before the next checkpoint is stored.
#[test]
fn kills_between_acknowledgement_and_checkpoint_repeat_nothing() {
    const KILLS: usize = 12;
    let scene = Scene::on_shared_servers("before_checkpoint").with(Delivery::Idempotent);
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    let mut inbox = scene.inbox();
    let (mut rows, mut ahead) = (0, 0);
    for _ in 0..KILLS {
        let mut relay = scene.start_relay();
        relay.wait_for_log("relaying server");
        for _ in 0..3 {
            writer.write(2);
            rows += 2;
            relay.wait_until_came(&mut inbox, rows, SOON);
        }
        relay.kill();
        let stored = scene.checkpoint().expect("a checkpoint")["sequence"].as_u64();
        ahead += usize::from(stored < Some(rows as u64));
    }
    harness::say(&format!("{}: {ahead} of {KILLS} kills before the checkpoint", scene.name));
    assert!(ahead > 0, "no kill came before the checkpoint");
    let mut relay = scene.start_relay();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// Nothing of a batch is acknowledged when the kill comes, and all of it is in Kafka.
#[test]
fn kills_between_send_and_acknowledgement_repeat_nothing() {
    const KILLS: usize = 6;
    let _permit = permit_for_own_servers();
    let (proxy, kafka, relay_bootstrap) = Kafka::start_beside_proxy();
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "before_acknowledgement")
        .with(Delivery::Idempotent);
    scene.create_topic("account");
    let mut setup = scene.relay_setup();
    setup.kafka_bootstrap = relay_bootstrap;
    let mut writer = PlainWriter::on(&scene);
    let mut inbox = scene.inbox();
    let mut rows = 0;
    for _ in 0..KILLS {
        let mut relay = setup.start();
        writer.write(2);
        rows += 2;
        relay.wait_until_came(&mut inbox, rows, SOON);
        scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
        let published = relay.log().matches("published").count();
        proxy.mute_answers();
        // At most one request is in flight to a broker.
        writer.write(1);
        rows += 1;
        relay.wait_until_came(&mut inbox, rows, SOON);
        assert_eq!(relay.log().matches("published").count(), published, "{}", relay.log_tail());
        relay.kill();
        proxy.pass();
    }
    let mut relay = setup.start();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn read_committed_consumers_see_the_same_records_in_idempotent_delivery() {
    let scene = Scene::on_shared_servers("both_isolations").with(Delivery::Idempotent);
    let mut writer = PlainWriter::on(&scene);
    let relay: Relay = scene.start_relay();
    writer.write(5);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let deadline = Instant::now() + SOON;
    loop {
        let committed =
            Inbox::read_all(&scene.kafka, &scene.topic(""), Isolation::ReadCommitted).len();
        if committed == 5 {
            return;
        }
        assert!(Instant::now() < deadline, "{committed} of 5 records\n{}", relay.log_tail());
    }
}

/// Records in flight stay with their producer, however long it takes. `/readyz` says what the relay waits for.
#[test]
fn records_that_nobody_acknowledges_are_waited_for_and_said() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka, address) = Kafka::start_beside_proxy();
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "stalled").with(Delivery::Idempotent);
    scene.create_topic("account");
    let mut setup = scene.setup_with_http();
    setup.kafka_bootstrap = address;
    setup.transaction_timeout = Some("2s".to_owned());
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    let http = relay.http();
    writer.write(3);
    scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
    proxy.mute_answers();
    writer.write(20);
    relay.wait_for_log("account has acknowledged nothing within 2 s (transaction_timeout): ");
    http.wait_until("no readiness", |http| {
        let ready = http.get("/readyz");
        ready.status == 503 && ready.body.contains("has acknowledged nothing within 2 s")
    });
    proxy.pass();
    http.wait_until_ready();
    scene.judge_clean(&writer.ledger, &relay, SOON);
    // A halt behind what nobody acknowledges is said before it ends the relay.
    proxy.mute_answers();
    writer.write(2);
    let topic = scene.topic("account");
    writer.sql.run(format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
         VALUES ('1', 't', '{{}}', '{topic}', NULL)"
    ));
    relay.wait_for_log("halting when what comes before it is in Kafka: row 1 of ");
    for words in ["cannot be a record", "what comes before it waits: Kafka "] {
        http.wait_until("/readyz says that it halts", |http| {
            let ready = http.get("/readyz");
            ready.status == 503 && ready.body.contains(words)
        });
    }
    proxy.pass();
    let log = relay.halts();
    assert!(log.contains("it is NULL where a record needs a value"), "{log}");
    assert_eq!(scene.records().len(), 25);
}

/// A halt says that nothing after its place is in Kafka, so that `[[outbox]]` can be mended.
#[test]
fn a_halt_in_idempotent_delivery_lets_the_configuration_be_mended() {
    let scene = Scene::on_shared_servers("halt_mended").with(Delivery::Idempotent);
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(3);
    writer.sql.run(
        "INSERT INTO message (id, destination, headers, payload) VALUES ('1-1', 'no topic!', '{\"ID\":\"1-1\"}', '{}')",
    );
    writer.write(2);
    let log = relay.halts();
    assert!(log.contains("is no legal topic name"), "{log}");
    assert_eq!(scene.records().len(), 3, "what comes before is published, and no more\n{log}");
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!((&stored["sequence"], &stored["clean"]), (&3.into(), &true.into()), "{stored}");
    let mut mended = scene.relay_setup();
    mended.outboxes.truncate(1);
    let mut relay = mended.start();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// The checkpoint's partition is led by a broker that is gone: what is sent meanwhile has a bound.
#[test]
fn no_more_than_100000_records_are_sent_ahead_of_the_checkpoint() {
    const AHEAD_MAX: usize = 100_000;
    const ROWS: usize = 130_000;
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&[]));
    let second = kafka.join();
    let scene = Scene::on(shared_mysql(), Arc::clone(&kafka), "bound").with(Delivery::Idempotent);
    create_replicated_topic(&kafka, &scene.topic("account"), &[1], &[]);
    create_replicated_topic(&kafka, &scene.checkpoint_topic(), &[2], &[]);
    let scene = Scene { partitions: 1, ..scene };
    let mut setup = scene.relay_setup();
    setup.transaction_timeout = Some("120s".to_owned());
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(3);
    scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
    second.kill();
    for _ in 0..ROWS / 10_000 {
        writer.write_together(10_000);
    }
    let mut inbox = scene.inbox();
    let (mut seen, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(5) {
        let now = inbox.take_what_came().len();
        if now != std::mem::replace(&mut seen, now) {
            since = Instant::now();
        }
        thread::sleep(Duration::from_millis(20));
    }
    harness::say(&format!("{}: {seen} of {ROWS} sent", scene.name));
    assert!((AHEAD_MAX / 2..=AHEAD_MAX + 3).contains(&seen), "{seen}\n{}", relay.log_tail());
    second.start_again();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// Between the fence and the end of its dump, the one that is replaced reads and sends what is written.
#[test]
fn takeovers_while_few_rows_are_written_repeat_nothing_in_idempotent_delivery() {
    const TAKEOVERS: usize = 8;
    let scene = Scene::on_shared_servers("few_rows").with(Delivery::Idempotent);
    scene.create_topic("account");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    let stop = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&stop);
    let writing = thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            writer.write(1);
            thread::sleep(Duration::from_millis(40));
        }
        writer
    });
    let mut relay = setup.start();
    for _ in 0..TAKEOVERS {
        relay.wait_for_log("relaying server");
        thread::sleep(Duration::from_millis(300));
        let mut replaced = std::mem::replace(&mut relay, setup.start());
        assert_eq!(replaced.exit_code(), 3, "{}", replaced.log_tail());
    }
    thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let writer = writing.join().expect("the writer writes");
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// There, numbers may stand for other rows: none counts as sent, and a new generation says so.
#[test]
fn a_crash_before_a_failover_loses_nothing_and_begins_a_new_generation() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "failed_over");
    let scene = scene.with(Delivery::Idempotent);
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(3);
    scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
    relay.kill();
    mysql.restart_with_another_uuid();
    writer.sql = scene.sql();
    writer.write(2);
    let mut relay = scene.start_relay();
    let records = scene.wait_for_records(&relay, 5);
    assert!(relay.log().contains("sent again, in a new generation"), "{}", relay.log_tail());
    let mut numbers: Vec<_> = records.iter().map(RelaySequence::of).collect();
    numbers.sort();
    assert!(numbers[2].generation < numbers[3].generation, "{numbers:?}");
    assert_eq!(numbers.iter().map(|it| it.sequence).collect::<Vec<_>>(), [1, 2, 3, 1, 2]);
    // It is killed before it has moved on: what the old server's relay had sent is of another generation.
    relay.kill();
    writer.write(2);
    let relay = scene.start_relay();
    let records = scene.wait_for_records(&relay, 7);
    let rows: HashSet<String> = records.iter().map(Record::value_text).collect();
    assert_eq!(rows.len(), 7, "{}", relay.log_tail());
}
