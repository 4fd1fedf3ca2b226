//! The storm: random writers, and a relay that is killed with -9 at random, again and again. At the
//! end every committed row is in Kafka once, in order and unaltered, and the sequence is whole.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::harness::say;
use crate::harness::scene::Scene;
use crate::harness::servers::{MySql, has_version, permit_for_own_servers, shared_kafka};
use crate::harness::workload::{Plan, Workload};

/// How long a relay lives between two kills: from before it has found its checkpoint until it has
/// caught up.
const LIFE: std::ops::Range<Duration> = Duration::from_millis(60)..Duration::from_millis(1_600);
/// Old enough to be relaying for certain: of two that start at once, either may win.
const GROWN_UP: std::ops::Range<Duration> =
    Duration::from_millis(1_200)..Duration::from_millis(4_000);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn kills_at_random_lose_repeat_and_reorder_nothing() {
    storm(&Scene::on_shared_servers("storm"), 36, 3_000, &[]);
}

#[test]
fn kills_at_random_between_the_parts_of_split_transactions_neither() {
    let small = ["max_records = 40", "max_bytes = 60000"];
    storm(&Scene::on_shared_servers("storm_small"), 30, 400, &small);
}

#[test]
fn a_short_storm_on_5_7() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-5.7", &[]));
    storm(&Scene::on(mysql, shared_kafka(), "storm_5_7"), 8, 3_000, &[]);
}

#[test]
fn a_short_storm_on_9() {
    if !has_version("mysql-9") {
        say("MySQL 9 is not available on this machine: the storm was NOT RUN on it");
        return;
    }
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-9", &[]));
    storm(&Scene::on(mysql, shared_kafka(), "storm_9"), 8, 3_000, &[]);
}

#[test]
fn kills_drains_pauses_and_takeovers_in_any_order_neither() {
    let scene = Scene::on_shared_servers("storm_takeover");
    let plan = Plan { large_rows: 1_000, ..Plan::with_seed_of_the_day(&scene.name) };
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x7a4e);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    setup.transaction_timeout = Some("3s".to_owned());
    let workload = Workload::start(&scene, &plan);
    let mut relay = setup.start();
    for _ in 0..20 {
        thread::sleep(random.random_range(GROWN_UP));
        relay = match random.random_range(0..4) {
            0 => {
                relay.kill();
                setup.start()
            }
            1 => {
                assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
                setup.start()
            }
            2 => {
                let next = setup.start();
                assert_eq!(relay.exit_code(), 3, "{}", relay.log_tail());
                next
            }
            _ => {
                relay.signal("STOP");
                let next = setup.start();
                thread::sleep(random.random_range(GROWN_UP));
                relay.signal("CONT");
                assert_eq!(relay.exit_code(), 3, "{}", relay.log_tail());
                next
            }
        };
    }
    thread::sleep(Duration::from_secs(1));
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &relay, CAUGHT_UP_WITHIN);
}

fn storm(scene: &Scene, kills: usize, large_rows: usize, batch_lines: &[&str]) {
    let plan = Plan { large_rows, ..Plan::with_seed_of_the_day(&scene.name) };
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5707);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(scene);
    setup.batch_lines = batch_lines.iter().map(|&line| line.to_owned()).collect();
    let workload = Workload::start(scene, &plan);
    for kill in 1..=kills {
        let mut relay = setup.start();
        thread::sleep(random.random_range(LIFE));
        assert!(!relay.has_ended(), "before kill {kill} it ended by itself\n{}", relay.log_tail());
        relay.kill();
    }
    let relay = setup.start();
    thread::sleep(Duration::from_secs(1));
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &relay, CAUGHT_UP_WITHIN);
    say(&format!("{}: kills survived: {kills}", scene.name));
}
