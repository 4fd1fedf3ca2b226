//! The storm: random writers, and a relay that is killed with -9 at random, again and again. At the
//! end every committed row is in Kafka once, in order and unaltered, and the sequence is whole. The
//! checkpoints tell whether the kills hit relays at work: a storm of which too few did fails.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use harness::consumer::{Inbox, Isolation};
use harness::relay::{Relay, RelaySetup};
use harness::say;
use harness::scene::{Delivery, Scene};
use harness::servers::{
    Kafka, MySql, has_version, permit_for_own_servers, shared_kafka, shared_mysql,
};
use harness::workload::{Plan, Workload};

/// How long a relay lives between two kills: from before it has found its checkpoint until it has
/// caught up.
const LIFE: std::ops::Range<Duration> = Duration::from_millis(60)..Duration::from_millis(1_600);
/// Old enough to be relaying for certain: of two that start at once, either may win.
const GROWN_UP: std::ops::Range<Duration> =
    Duration::from_millis(1_200)..Duration::from_millis(4_000);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(90);
/// One of so many kills comes only after the relay has published something, however slow the machine
/// is.
const AT_WORK_WAITED_FOR_ONE_IN: usize = 2;
/// One of so many killed relays, at least, must have published rows before.
const AT_WORK_ONE_IN: usize = 4;
/// How many rows must be committed for each kill, at least.
const ROWS_PER_KILL: usize = 20;

#[test]
fn kills_at_random_lose_repeat_and_reorder_nothing() {
    let scene = Scene::on_shared_servers("storm");
    storm(&scene, scene.relay_setup(), 36, 3_000);
}

#[test]
fn kills_at_random_lose_repeat_and_reorder_nothing_in_idempotent_delivery() {
    let scene = Scene::on_shared_servers("storm_idempotent").with(Delivery::Idempotent);
    storm(&scene, scene.relay_setup(), 36, 3_000);
}

/// A round trip of 5 ms: more is in flight when a kill comes.
#[test]
fn kills_at_random_behind_a_link_lose_repeat_and_reorder_nothing() {
    let _permit = permit_for_own_servers();
    let (kafka, brokers) = Kafka::start_far();
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on(shared_mysql(), Arc::clone(&kafka), "storm_link").with(delivery);
        storm(&scene, scene.setup_behind_link(&brokers), 8, 1_000);
    }
}

#[test]
fn kills_between_the_parts_of_split_transactions_lose_repeat_and_reorder_nothing() {
    storm_of_split_transactions(&Scene::on_shared_servers("storm_small"));
}

#[test]
fn kills_between_the_parts_of_split_transactions_repeat_nothing_in_idempotent_delivery() {
    let scene = Scene::on_shared_servers("storm_small_idempotent").with(Delivery::Idempotent);
    storm_of_split_transactions(&scene);
}

#[test]
fn a_short_storm_on_5_7() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-5.7", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "storm_5_7");
    storm(&scene, scene.relay_setup(), 8, 3_000);
}

#[test]
fn a_short_storm_on_9() {
    if !has_version("mysql-9") {
        say("MySQL 9 is not available on this machine: the storm was NOT RUN on it");
        return;
    }
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-9", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "storm_9");
    storm(&scene, scene.relay_setup(), 8, 3_000);
}

#[test]
fn kills_drains_pauses_and_takeovers_in_any_order_lose_repeat_and_reorder_nothing() {
    storm_of_changes(&Scene::on_shared_servers("storm_takeover"));
}

/// Who was paused for a moment is waited for; of who sleeps for longer, delivery.rs tells.
#[test]
fn kills_drains_pauses_and_takeovers_in_any_order_repeat_nothing_in_idempotent_delivery() {
    let scene = Scene::on_shared_servers("storm_takeover_idempotent").with(Delivery::Idempotent);
    storm_of_changes(&scene);
}

fn storm_of_changes(scene: &Scene) {
    const CHANGES: usize = 20;
    let plan = Plan { large_rows: 1_000, ..Plan::with_seed_of_the_day(&scene.name) };
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x7a4e);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(scene);
    setup.transaction_timeout = Some("3s".to_owned());
    let workload = Workload::start(scene, &plan);
    let mut relay = setup.start();
    for _ in 0..CHANGES {
        thread::sleep(random.random_range(GROWN_UP));
        assert!(!relay.has_ended(), "it ended by itself\n{}", relay.log_tail());
        let mut last = relay;
        relay = match random.random_range(0..4) {
            0 => {
                last.kill();
                setup.start()
            }
            1 => {
                assert_eq!(last.stop(), 0, "{}", last.log_tail());
                setup.start()
            }
            2 => {
                let next = setup.start();
                assert_eq!(last.exit_code(), 3, "{}", last.log_tail());
                next
            }
            _ => {
                last.signal("STOP");
                let next = setup.start();
                thread::sleep(random.random_range(GROWN_UP));
                last.signal("CONT");
                assert_eq!(last.exit_code(), 3, "{}", last.log_tail());
                next
            }
        };
        last.assert_without_panics();
    }
    thread::sleep(Duration::from_secs(1));
    let ledger = workload.finish();
    scene.judge_clean_to_the_end(&ledger, &mut relay, CAUGHT_UP_WITHIN);
    relay.assert_without_panics();
    assert_hit(scene, CHANGES);
}

fn storm_of_split_transactions(scene: &Scene) {
    let batch_lines = ["max_records = 40", "max_bytes = 60000"].map(str::to_owned).to_vec();
    storm(scene, RelaySetup { batch_lines, ..scene.relay_setup() }, 30, 400);
    let checkpoints: Vec<_> = scene.checkpoints().into_iter().flatten().collect();
    let is_inside = |stored: &&serde_json::Value| stored["rowsDone"] != 0;
    let parts = checkpoints.iter().filter(is_inside).count();
    // A relay's first checkpoint is its claim, at the place that the one before it left.
    let mut seen = HashSet::new();
    let claims = checkpoints.iter().filter(|stored| seen.insert(stored["instance"].to_string()));
    let killed_inside = claims.filter(is_inside).count();
    say(&format!("{}: parts {parts}, kills between two of them {killed_inside}", scene.name));
    // Where the kills fall is left to chance; those between two parts for certain are in large.rs.
    assert!(parts > 0, "no transaction was split");
}

fn storm(scene: &Scene, setup: RelaySetup, kills: usize, large_rows: usize) {
    let plan = Plan { large_rows, ..Plan::with_seed_of_the_day(&scene.name) };
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5707);
    let setup = RelaySetup { outboxes: Workload::outboxes(scene), ..setup };
    let workload = Workload::start(scene, &plan);
    let topic = scene.checkpoint_topic();
    let mut checkpoints = Inbox::open(&scene.kafka, &topic, Isolation::ReadCommitted);
    let mut found = 0;
    for kill in 1..=kills {
        let mut relay = setup.start();
        if kill % AT_WORK_WAITED_FOR_ONE_IN == 0 {
            wait_until_it_published(&mut checkpoints, &mut relay);
        }
        thread::sleep(random.random_range(LIFE));
        assert!(!relay.has_ended(), "before kill {kill} it ended by itself\n{}", relay.log_tail());
        relay.kill();
        relay.assert_without_panics();
        found += rows_found(&relay);
    }
    let mut relay = setup.start();
    thread::sleep(Duration::from_secs(1));
    let ledger = workload.finish();
    scene.judge_clean_to_the_end(&ledger, &mut relay, CAUGHT_UP_WITHIN);
    relay.assert_without_panics();
    assert_hit(scene, kills);
    found += rows_found(&relay);
    say(&format!("{}: kills survived: {kills}, rows found in Kafka: {found}", scene.name));
    let is_idempotent = scene.delivery == Delivery::Idempotent;
    assert_eq!(found > 0, is_idempotent, "rows were there before the checkpoint told of them");
}

/// Rows that this relay found in Kafka behind its checkpoint.
fn rows_found(relay: &Relay) -> u64 {
    let log = relay.log();
    let looks = log.lines().filter(|line| line.contains("looked for rows"));
    let rows = looks.filter_map(|line| line.split(" rows=").nth(1)?.split_whitespace().next());
    rows.map(|rows| rows.parse::<u64>().expect("a number of rows")).sum()
}

/// Waits until this relay has moved the sequence on from where it began.
fn wait_until_it_published(checkpoints: &mut Inbox, relay: &mut Relay) {
    let instance = relay.instance();
    let deadline = Instant::now() + CAUGHT_UP_WITHIN;
    loop {
        let records = checkpoints.take_what_came();
        let mut own = records
            .iter()
            .filter(|record| record.value_text().contains(&instance))
            .map(|record| sequence_of(&record.value_text().parse().expect("a checkpoint is JSON")));
        if let Some(first) = own.next()
            && own.any(|sequence| sequence > first)
        {
            return;
        }
        assert!(Instant::now() < deadline, "it publishes no row\n{}", relay.log_tail());
        thread::sleep(Duration::from_millis(20));
    }
}

fn sequence_of(checkpoint: &serde_json::Value) -> u64 {
    checkpoint["sequence"].as_u64().expect("a checkpoint counts rows")
}

/// Many of the relays before the last published rows, and there were enough rows in all.
fn assert_hit(scene: &Scene, kills: usize) {
    let mut rows = 0;
    let mut at_work = HashSet::new();
    for stored in scene.checkpoints().into_iter().flatten() {
        let sequence = sequence_of(&stored);
        if sequence > rows {
            rows = sequence;
            at_work.insert(stored["instance"].as_str().expect("it names its relay").to_owned());
        }
    }
    let killed_at_work = at_work.len().saturating_sub(1);
    say(&format!("{}: relays killed at work: {killed_at_work} of {kills}", scene.name));
    assert!(killed_at_work >= kills / AT_WORK_ONE_IN, "only {killed_at_work} kills hit");
    let floor = (kills * ROWS_PER_KILL) as u64;
    assert!(rows >= floor, "only {rows} rows were committed, for {kills} kills");
}
