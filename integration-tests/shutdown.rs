//! SIGTERM drains: what was read is published, the checkpoint is clean, and the exit code is 0.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::relay::SOON;
use harness::scene::Scene;
use harness::servers::{Kafka, free_port, permit_for_own_servers, shared_mysql};
use harness::workload::{PlainWriter, Plan, Workload};

#[test]
fn sigterm_under_load_drains_and_a_restart_repeats_nothing() {
    let scene = Scene::on_shared_servers("sigterm");
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
    for signal in ["TERM", "INT", "TERM"] {
        let mut relay = setup.start();
        std::thread::sleep(Duration::from_millis(1_500));
        let asked = Instant::now();
        relay.signal(signal);
        assert_eq!(relay.exit_code(), 0, "{}", relay.log_tail());
        assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
        let stored = scene.checkpoint().expect("a checkpoint");
        assert_eq!(stored["clean"], true, "{stored}");
    }
    let ledger = workload.finish();
    let relay = setup.start();
    scene.judge_clean(&ledger, &relay, SOON);
}

#[test]
fn sigterm_when_idle_is_answered_at_once() {
    let scene = Scene::on_shared_servers("idle_sigterm");
    let mut writer = PlainWriter::on(&scene);
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    let asked = Instant::now();
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
    let relay = setup.start();
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_eq!(scene.checkpoint().expect("a checkpoint")["clean"], false);
}

#[test]
fn sigterm_in_the_middle_of_a_large_transaction_is_resumed_from() {
    let scene = Scene::on_shared_servers("large_sigterm");
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    writer.write_together(40_000);
    writer.write(1);
    let mut setup = scene.relay_setup();
    // Two hundred parts: whatever the machine's speed, the signal comes between two of them.
    setup.batch_lines = vec!["max_records = 200".to_owned()];
    let mut relay = setup.start();
    let begun = scene.inbox().wait_for(1, SOON).map(|_| ());
    begun.unwrap_or_else(|error| panic!("{error}\n{}", relay.log_tail()));
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let stored = scene.checkpoint().expect("a checkpoint");
    assert!(stored["rowsDone"].as_u64() > Some(0), "it came within the transaction: {stored}");
    assert_eq!(stored["clean"], true, "{stored}");
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn sigterm_while_kafka_and_mysql_are_away_still_ends() {
    let scene = Scene::on_shared_servers("away_sigterm");
    let mut setup = scene.relay_setup();
    setup.kafka_bootstrap = format!("127.0.0.1:{}", free_port());
    setup.mysql_address = format!("127.0.0.1:{}", free_port());
    let mut relay = setup.start();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!relay.has_ended(), "servers that are away are waited for\n{}", relay.log_tail());
    let asked = Instant::now();
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert!(asked.elapsed() < Duration::from_secs(12), "it took {:?}", asked.elapsed());
}

#[test]
fn a_second_signal_ends_a_drain_that_cannot_finish_and_nothing_is_lost() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka) = Kafka::start_behind_proxy();
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "second_signal");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    proxy.freeze();
    writer.write(3);
    relay.signal("TERM");
    relay.wait_for_log("draining");
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), 1, "{}", relay.log_tail());
    assert!(relay.log().contains("a second signal came"), "{}", relay.log_tail());
    proxy.pass();
    let relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}
