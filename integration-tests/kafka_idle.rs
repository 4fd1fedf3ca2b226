//! A relay that had nothing to do for longer than brokers remember its producers goes on, and repeats nothing.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::relay::SOON;
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, MySql, permit_for_own_servers};
use harness::workload::PlainWriter;

/// Brokers forget producers and transactional ids after 5 s, and look every half second.
const FORGETFUL: [&str; 4] = [
    "transactional.id.expiration.ms=5000",
    "transaction.remove.expired.transaction.cleanup.interval.ms=500",
    "producer.id.expiration.ms=5000",
    "producer.id.expiration.check.interval.ms=500",
];

const FORGOTTEN: Duration = Duration::from_secs(12);

#[test]
fn producers_that_the_broker_has_forgotten_cost_one_warning_at_most_and_repeat_nothing() {
    let _permit = permit_for_own_servers();
    // On the shared one, others write, and the checkpoint follows every second.
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let kafka = Arc::new(Kafka::start(&FORGETFUL));
    let mut started: Vec<_> = [Delivery::ExactlyOnce, Delivery::Idempotent]
        .into_iter()
        .map(|delivery| {
            let scene = Scene::on(Arc::clone(&mysql), Arc::clone(&kafka), "idle").with(delivery);
            let mut writer = PlainWriter::on(&scene);
            writer.write(10);
            let relay = scene.start_relay();
            (scene, writer, relay)
        })
        .collect();
    for (scene, _, relay) in &started {
        scene.wait_for_records(relay, 10);
    }
    for _ in 0..2 {
        thread::sleep(FORGOTTEN);
        for (_, writer, _) in &mut started {
            writer.write(10);
        }
        for (scene, writer, relay) in &started {
            scene.judge_clean(&writer.ledger, relay, SOON);
        }
    }
    for (_, _, relay) in &mut started {
        assert!(!relay.has_ended(), "{}", relay.log_tail());
        let log = relay.log();
        // One for each time that they were forgotten.
        assert!(log.matches("retry_in_ms").count() <= 2, "{log}");
    }
}
