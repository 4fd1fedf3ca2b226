//! A leader that was just elected may show a topic shorter than it is. The checkpoint that it hides is not
//! passed over for an older one: that would repeat committed rows.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::consumer::{Inbox, Isolation, Record};
use harness::lagging::Lag;
use harness::relay::{Relay, SOON};
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, permit_for_own_servers, shared_mysql};
use harness::workload::PlainWriter;

#[test]
fn a_leader_that_hides_the_last_checkpoint_makes_the_relay_wait_and_repeats_nothing() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka, address) = Kafka::start_beside_lagging_proxy();
    let kafka = Arc::new(kafka);
    let cases = [
        // The end is known, and reading stops before it.
        ("lag_reading", Lag::Reading, Delivery::ExactlyOnce),
        // Only the claim's own offset shows that the end was another.
        ("lag_everything", Lag::Everything, Delivery::ExactlyOnce),
        ("lag_idempotent", Lag::Everything, Delivery::Idempotent),
    ];
    for (label, lag, delivery) in cases {
        let scene = Scene::on(shared_mysql(), Arc::clone(&kafka), label).with(delivery);
        let mut setup = scene.relay_setup();
        setup.kafka_bootstrap.clone_from(&address);
        let mut writer = PlainWriter::on(&scene);
        let mut relay = setup.start();
        for rows in [3, 6] {
            writer.write(3);
            scene.wait_for_records(&relay, rows);
            let now = writer.sql.end_of_binlog();
            scene.wait_for_checkpoint_at(&relay, &now);
        }
        relay.kill();
        writer.write(1);
        proxy.hide(&scene.checkpoint_topic(), offset_after_three(&scene), lag);
        let mut relay = setup.start();
        wait_until_noticed_or_misled(&mut relay);
        proxy.show_all();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
        if lag == Lag::Everything {
            let outdated = "has a later record of key";
            assert!(relay.log().contains(outdated), "{}", relay.log_tail());
        }
    }
}

/// The offset of the first checkpoint that counts more than three rows.
fn offset_after_three(scene: &Scene) -> i64 {
    let topic = scene.checkpoint_topic();
    let records = Inbox::read_all(&scene.kafka, &topic, Isolation::ReadCommitted);
    let counts_more = |record: &&Record| {
        let stored: serde_json::Value =
            serde_json::from_str(&record.value_text()).expect("a checkpoint is JSON");
        stored["sequence"].as_u64() > Some(3)
    };
    records.iter().find(counts_more).expect("it is stored").offset
}

fn wait_until_noticed_or_misled(relay: &mut Relay) {
    let deadline = Instant::now() + SOON;
    while !["waiting for the rest", " relaying server="].iter().any(|it| relay.log().contains(it)) {
        assert!(Instant::now() < deadline && !relay.has_ended(), "{}", relay.log_tail());
        thread::sleep(Duration::from_millis(20));
    }
}
