//! A broker with ACLs: the rights that the documentation lists are enough, and each that is missing halts
//! the relay with words that name it.

use std::sync::Arc;

use harness::relay::{RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::secured::Operation::{Create, Describe, DescribeConfigs, Read, Write};
use harness::secured::Resource::{Topic, TransactionalId};
use harness::secured::{LIMITED_USER, Right, SecuredKafka, shared_secured_kafka};
use harness::servers::shared_mysql;
use harness::workload::PlainWriter;

#[test]
fn the_rights_that_are_listed_are_enough_and_none_on_a_group_is_among_them() {
    let secured = shared_secured_kafka();
    let (scene, setup) = limited(secured, "enough");
    rights(&scene).iter().for_each(|right| secured.grant(right));
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(3);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    // A second start has a checkpoint to read.
    let mut relay = setup.start();
    writer.write(3);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    assert!(!relay.log().contains("WARN"), "{}", relay.log());
}

#[test]
fn each_right_that_is_missing_halts_until_it_is_granted() {
    let secured = shared_secured_kafka();
    for (label, missing, error, hint) in [
        (
            "no_ids",
            0,
            "initialise the transactional id NAME-",
            "Write on the transactional ids NAME-0 to NAME-3",
        ),
        ("no_create", 1, "create the topic NAME.account", "Create on the topic NAME.account"),
        (
            "no_write",
            2,
            "lacks the right Write on the topic NAME.account",
            "Write on the topic NAME.account",
        ),
        (
            "no_place",
            4,
            "create the topic checkpoints-NAME",
            "Create on the topic checkpoints-NAME",
        ),
        (
            "no_claim",
            5,
            "lacks the right Write on the topic checkpoints-NAME",
            "Write on the topic checkpoints-NAME",
        ),
        (
            "no_read",
            7,
            "lacks the right Read on the topic checkpoints-NAME",
            "Read on the topic checkpoints-NAME",
        ),
    ] {
        let (scene, setup) = limited(secured, label);
        let mut rights = rights(&scene);
        let missing = rights.remove(missing);
        rights.iter().for_each(|right| secured.grant(right));
        let mut writer = PlainWriter::on(&scene);
        writer.write(2);
        let log = setup.start().halts();
        let (_, end) = log.split_once("\nerror: ").expect("a halt ends with its error");
        let expected = [error, hint].map(|words| words.replace("NAME", &scene.name));
        assert!(end.contains(&expected[0]), "{missing:?}: {log}");
        assert!(
            end.contains(&format!("hint: grant the relay's principal {}", expected[1])),
            "{log}"
        );
        assert!(end.contains(&format!("as {LIMITED_USER}")), "{log}");
        assert_eq!(scene.records(), [], "{log}");
        secured.grant(&missing);
        let mut relay = setup.start();
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}

#[test]
fn the_place_of_another_name_is_taken_over_with_the_right_to_fence_that_one_only() {
    let secured = shared_secured_kafka();
    let (scene, old) = limited(secured, "owner");
    let rights = rights(&scene);
    rights.iter().for_each(|right| secured.grant(right));
    let mut writer = PlainWriter::on(&scene);
    let mut relay = old.start();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let mut new = old.clone();
    new.name = format!("new-{}", scene.name);
    new.kafka_lines.insert(0, format!("checkpoint_key = \"{}\"", scene.name));
    secured.grant(&Right::new(Write, TransactionalId, &format!("{}-", new.name)));
    secured.revoke(&rights[0]);
    new.start().halts_saying(
        &format!(
            "Kafka …: the checkpoint of key {name:?} in {topic} is of the relay {name}, which cannot be fenced: \
             initialise the transactional id {name}-…",
            name = scene.name,
            topic = scene.checkpoint_topic()
        ),
        &format!(
            "grant the relay's principal Write on the transactional ids {name}-0 to {name}-3; or give this relay the \
             name {name} again, or a checkpoint_key of its own",
            name = scene.name
        ),
    );
    secured.grant(&rights[0]);
    let mut relay = new.start();
    writer.write(2);
    scene.wait_for_records(&relay, 4);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

#[test]
fn no_right_at_all_on_a_topic_halts_before_it_is_looked_up() {
    let secured = shared_secured_kafka();
    let (scene, setup) = limited(secured, "no_topic");
    let rights = rights(&scene);
    let (others, topic): (Vec<_>, Vec<_>) =
        rights.into_iter().partition(|right| right.prefix != scene.topic(""));
    others.iter().for_each(|right| secured.grant(right));
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let log = setup.start().halts();
    assert!(log.contains(&format!("look up the topic {}.account", scene.name)), "{log}");
    let hint =
        format!("Describe, Create, Write and DescribeConfigs on the topic {}.account", scene.name);
    assert!(log.contains(&hint), "{log}");
    topic.iter().for_each(|right| secured.grant(right));
    let mut relay = setup.start();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn without_the_right_to_read_configurations_it_relays_and_warns() {
    let secured = shared_secured_kafka();
    let (scene, setup) = limited(secured, "no_configs");
    let rights = rights(&scene);
    let rights = rights.iter().filter(|right| right.operation != DescribeConfigs);
    rights.for_each(|right| secured.grant(right));
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let log = relay.log();
    let warned = log.lines().filter(|line| line.contains("DescribeConfigs"));
    assert!(warned.clone().all(|line| line.contains("WARN")) && warned.count() >= 2, "{log}");
}

#[test]
fn a_right_taken_away_halts_behind_what_came_before() {
    let secured = shared_secured_kafka();
    let (scene, setup) = limited(secured, "revoked");
    let rights = rights(&scene);
    rights.iter().for_each(|right| secured.grant(right));
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    secured.revoke(&rights[2]);
    writer.write(2);
    let log = relay.halts();
    assert!(log.contains(&format!("write to the topic {}.account", scene.name)), "{log}");
    assert_eq!(scene.records().len(), 3, "{log}");
    assert_eq!(scene.checkpoint().expect("a checkpoint")["sequence"], 3, "{log}");
    secured.grant(&rights[2]);
    let mut relay = setup.start();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// Read is for the restart, which looks for what is in the topics already. It is asked for before.
#[test]
fn idempotent_delivery_needs_the_right_to_read_its_topics_and_no_other() {
    let secured = shared_secured_kafka();
    let (scene, mut setup) = limited(secured, "idempotent");
    let scene = scene.with(Delivery::Idempotent);
    setup.delivery = Delivery::Idempotent;
    let rights = rights(&scene);
    rights.iter().for_each(|right| secured.grant(right));
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let topic = scene.topic("account");
    let log = setup.start().halts();
    assert!(log.contains(&format!("lacks the right Read on the topic {topic}")), "{log}");
    assert!(
        log.contains(&format!("grant the relay's principal Read on the topic {topic}")),
        "{log}"
    );
    secured.grant(&Right::new(Read, Topic, &scene.topic("")));
    let mut relay = setup.start();
    scene.wait_for_records(&relay, 2);
    relay.kill();
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_checkpoint_at(&relay, &writer.sql.end_of_binlog());
    secured.revoke(&rights[2]);
    writer.write(2);
    let log = relay.halts();
    assert!(log.contains(&format!("write to the topic {topic}")), "{log}");
    assert_eq!(scene.checkpoint().expect("a checkpoint")["sequence"], 4, "{log}");
    secured.grant(&rights[2]);
    let mut relay = setup.start();
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

fn limited(secured: &SecuredKafka, label: &str) -> (Scene, RelaySetup) {
    let scene = Scene::on(shared_mysql(), Arc::clone(&secured.kafka), label);
    let mut setup = scene.relay_setup();
    secured.enter_limited(&mut setup);
    (scene, setup)
}

/// What the documentation lists, for a relay of this scene's name. Write on an id or a topic is Describe on
/// it as well, to a broker.
fn rights(scene: &Scene) -> Vec<Right> {
    let (topics, checkpoints) = (scene.topic(""), scene.checkpoint_topic());
    vec![
        Right::new(Write, TransactionalId, &format!("{}-", scene.name)),
        Right::new(Create, Topic, &topics),
        Right::new(Write, Topic, &topics),
        Right::new(DescribeConfigs, Topic, &topics),
        Right::new(Create, Topic, &checkpoints),
        Right::new(Write, Topic, &checkpoints),
        Right::new(DescribeConfigs, Topic, &checkpoints),
        Right::new(Read, Topic, &checkpoints),
        // Without this one, a missing Write would be seen earlier, as a topic that cannot be looked up.
        Right::new(Describe, Topic, &topics),
    ]
}
