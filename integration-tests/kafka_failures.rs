//! Kafka goes away: restarted, killed, cut off, frozen.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::kafka::{create_compacted_topic, partition_count, topic_config};
use harness::ledger::Content;
use harness::relay::SOON;
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, permit_for_own_servers, shared_mysql};
use harness::workload::{PlainWriter, Plan, Workload, insert_event};

const BACK_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn a_restarted_or_killed_broker_is_gone_on_with() {
    restart_and_kill_the_broker(Delivery::ExactlyOnce);
}

#[test]
fn a_restarted_or_killed_broker_is_gone_on_with_in_idempotent_delivery() {
    restart_and_kill_the_broker(Delivery::Idempotent);
}

fn restart_and_kill_the_broker(delivery: Delivery) {
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&[]));
    let scene = Scene::on(shared_mysql(), Arc::clone(&kafka), "kafka_restart").with(delivery);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    let plan = Plan { writers: 2, ..Plan::with_seed_of_the_day(&scene.name) };
    let workload = Workload::start(&scene, &plan);
    let mut relay = setup.start();
    thread::sleep(Duration::from_secs(2));
    kafka.stop();
    thread::sleep(Duration::from_secs(1));
    kafka.start_again();
    thread::sleep(Duration::from_secs(3));
    kafka.kill();
    kafka.start_again();
    thread::sleep(Duration::from_secs(2));
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &relay, BACK_WITHIN);
    assert!(!relay.has_ended(), "{}", relay.log_tail());
}

#[test]
fn a_cut_or_frozen_connection_to_kafka_loses_and_repeats_nothing() {
    cut_and_freeze_the_connection(Delivery::ExactlyOnce);
}

#[test]
fn a_cut_or_frozen_connection_to_kafka_repeats_nothing_in_idempotent_delivery() {
    cut_and_freeze_the_connection(Delivery::Idempotent);
}

fn cut_and_freeze_the_connection(delivery: Delivery) {
    let _permit = permit_for_own_servers();
    let (proxy, kafka) = Kafka::start_behind_proxy();
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "kafka_cut").with(delivery);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    setup.transaction_timeout = Some("5s".to_owned());
    let plan = Plan { writers: 2, ..Plan::with_seed_of_the_day(&scene.name) };
    let workload = Workload::start(&scene, &plan);
    let mut relay = setup.start();
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(900));
        proxy.cut();
        thread::sleep(Duration::from_millis(200));
        proxy.pass();
    }
    thread::sleep(Duration::from_secs(2));
    // Longer than the transaction timeout: the broker aborts what was open.
    proxy.freeze();
    thread::sleep(Duration::from_secs(7));
    proxy.pass();
    thread::sleep(Duration::from_secs(2));
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &relay, BACK_WITHIN);
    assert!(!relay.has_ended(), "{}", relay.log_tail());
}

#[test]
fn a_missing_topic_is_waited_for_and_what_comes_before_it_is_published() {
    let scene = Scene::on_shared_servers("missing_topic");
    scene.create_topic("account");
    let mut setup = scene.relay_setup();
    setup.kafka_lines = vec!["create_topics = false".to_owned()];
    let mut writer = PlainWriter::on(&scene);
    writer.write(300);
    let late = scene.topic("late");
    let mut row = writer.unnoted_row();
    let Content::Event { entity_type, .. } = &mut row.content else {
        panic!("the writer writes events");
    };
    entity_type.clone_from(&late);
    writer.write_row(row);
    writer.write(2);
    let mut relay = setup.start();
    let waited_for = |topic: &str| {
        let brokers = scene.kafka.bootstrap();
        format!(
            "Kafka {brokers}: the topic {topic} does not exist, and create_topics is false retry_in_ms"
        )
    };
    let checkpoints = scene.checkpoint_topic();
    relay.wait_for_log(&waited_for(&checkpoints));
    create_compacted_topic(&scene.kafka, &checkpoints, 1);
    relay.wait_for_log(&waited_for(&late));
    scene.wait_for_records(&relay, 300);
    assert_eq!(scene.records().len(), 300, "{}", relay.log_tail());
    assert!(!relay.has_ended(), "{}", relay.log_tail());
    scene.create_topic("late");
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_topic_whose_name_collides_with_another_halts_behind_what_comes_before_it() {
    let scene = Scene::on_shared_servers("collision");
    let mut writer = PlainWriter::on(&scene);
    writer.write(300);
    // To Kafka's metrics, a dot and an underscore are the same.
    for (id, topic) in [("1-1", scene.topic("a.b_c")), ("1-2", scene.topic("a_b.c"))] {
        writer.sql.run(insert_event(id, "'{}'", &topic));
    }
    scene.start_relay().halts_saying(
        &format!(
            "Kafka {}: create the topic {}: Admin operation error: InvalidTopic (Broker: Invalid topic)",
            scene.kafka.bootstrap(),
            scene.topic("a_b.c")
        ),
        "the name is illegal, or another topic's but for . and _: correct the writer, or delete that topic…",
    );
    assert_eq!(scene.records().len(), 301);
}

#[test]
fn a_topic_that_needs_more_brokers_than_are_up_is_waited_for() {
    let scene = Scene::on_shared_servers("few_brokers");
    create_compacted_topic(&scene.kafka, &scene.checkpoint_topic(), 1);
    let mut setup = scene.relay_setup();
    setup.kafka_lines.push("topic_replication = 3".to_owned());
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(2);
    relay.wait_for_log("fewer brokers are up than the topic needs replicas");
    assert!(!relay.has_ended(), "{}", relay.log_tail());
    scene.create_topic("account");
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn a_broker_that_creates_topics_by_itself_does_not_make_the_checkpoint_topic() {
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&["auto.create.topics.enable=true"]));
    let scene = Scene::on(shared_mysql(), kafka, "auto_create");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(3);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let topic = scene.checkpoint_topic();
    assert_eq!(partition_count(&scene.kafka, &topic), 1);
    assert_eq!(topic_config(&scene.kafka, &topic, "cleanup.policy"), "compact");
}

#[test]
fn a_record_for_which_the_broker_ends_the_connection_is_waited_for_with_the_setting_to_look_at() {
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&["socket.request.max.bytes=200000"]));
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on(shared_mysql(), Arc::clone(&kafka), "cut_for_size").with(delivery);
        scene.create_topic("account");
        let mut setup = scene.relay_setup();
        setup.transaction_timeout = Some("2s".to_owned());
        let mut writer = PlainWriter::on(&scene);
        let mut relay = setup.start();
        writer.write(2);
        scene.wait_for_records(&relay, 2);
        let text = (0..400_000).map(|_| char::from(rand::random_range(b'a'..=b'z')));
        let data = format!("'{}'", text.collect::<String>());
        writer.sql.run(insert_event("1-1", &data, &scene.topic("account")));
        relay.wait_for_log("has acknowledged nothing within 2 s (transaction_timeout)");
        relay.wait_for_log("socket.request.max.bytes is below a record");
        assert!(!relay.has_ended(), "{}", relay.log_tail());
        assert_eq!(scene.records().len(), 2);
    }
}

#[test]
fn an_endpoint_that_gives_no_coordinator_is_waited_for_with_the_setting_to_look_at() {
    let _permit = permit_for_own_servers();
    // The topic of the transactions can never be made on one broker.
    let kafka = Kafka::start(&["transaction.state.log.replication.factor=3"]);
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "no_coordinator");
    let mut writer = PlainWriter::on(&scene);
    writer.write(1);
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let mut setup = scene.relay_setup();
        setup.delivery = delivery;
        setup.transaction_timeout = Some("2s".to_owned());
        let mut relay = setup.start();
        relay.wait_for_log("no coordinator has taken the transactional id");
        let log = relay.log();
        let waiting = log.lines().find(|line| line.contains("retry_in_ms")).expect("it is there");
        assert!(waiting.contains("transaction.state.log.replication.factor"), "{waiting}");
        assert!(!relay.has_ended(), "{}", relay.log_tail());
    }
}
