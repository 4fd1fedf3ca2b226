//! The leaders of partitions change while rows are relayed: of a destination topic, of the checkpoint
//! topic, and of the topic that the coordinator of the transactions keeps. Brokers are killed and
//! stopped, and lead again when they are back.

use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use harness::cluster::Cluster;
use harness::kafka::topic_config;
use harness::oracle::partition_of;
use harness::relay::{Relay, RelaySetup};
use harness::say;
use harness::scene::{Delivery, Scene};
use harness::servers::{OwnServersPermit, permit_for_a_cluster, shared_mysql};
use harness::workload::{Plan, Workload};

const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);
/// How long a relay lives while leaders change: from before it is let in until it relays.
const LIFE: Range<Duration> = Duration::from_millis(100)..Duration::from_millis(2_500);

/// The longest rest of a writer: enough rows that some are under way at any moment, few enough that three
/// brokers soon have them all.
const REST: Duration = Duration::from_millis(40);

/// Whose leader ends, and how.
const CHANGES: [(Led, End); 4] = [
    (Led::Destination, End::Kill),
    (Led::Checkpoints, End::Stop),
    (Led::Checkpoints, End::Kill),
    (Led::Transactions, End::Kill),
];

#[derive(Debug, Clone, Copy)]
enum Led {
    Destination,
    Checkpoints,
    Transactions,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    Stop,
}

#[test]
fn leader_changes_lose_repeat_and_reorder_nothing() {
    let stage = Stage::of_three_brokers("leader_change", Delivery::ExactlyOnce);
    change_leaders_under_one_relay(&stage, &stage.relay_setup(), &CHANGES);
}

#[test]
fn leader_changes_repeat_nothing_in_idempotent_delivery() {
    let stage = Stage::of_three_brokers("leader_change_idempotent", Delivery::Idempotent);
    change_leaders_under_one_relay(&stage, &stage.relay_setup(), &CHANGES);
}

/// A round trip of 5 ms: requests that the broker has not seen yet are lost with it.
#[test]
fn leader_changes_behind_a_link_lose_repeat_and_reorder_nothing() {
    let permit = Arc::new(permit_for_a_cluster());
    let (cluster, brokers) = Cluster::start_far();
    let cluster = Arc::new(cluster);
    for (delivery, changes) in
        [(Delivery::ExactlyOnce, &CHANGES[3..]), (Delivery::Idempotent, &CHANGES[..1])]
    {
        let stage = Stage::on(&cluster, &permit, "leader_change_link", delivery);
        let setup = stage.scene.setup_behind_link(&brokers);
        let setup = RelaySetup { outboxes: Workload::outboxes(&stage.scene), ..setup };
        change_leaders_under_one_relay(&stage, &setup, changes);
    }
}

#[test]
fn kills_of_the_relay_around_leader_changes_lose_repeat_and_reorder_nothing() {
    let stage = Stage::of_three_brokers("leader_change_kills", Delivery::ExactlyOnce);
    change_leaders_and_kill_relays(&stage, &stage.relay_setup());
}

#[test]
fn kills_of_the_relay_around_leader_changes_repeat_nothing_in_idempotent_delivery() {
    let stage = Stage::of_three_brokers("leader_change_kills_idempotent", Delivery::Idempotent);
    change_leaders_and_kill_relays(&stage, &stage.relay_setup());
}

/// One relay goes on through all changes, also while a broker is away.
fn change_leaders_under_one_relay(stage: &Stage, setup: &RelaySetup, changes: &[(Led, End)]) {
    let workload = stage.start_workload();
    let mut relay = setup.start();
    stage.wait_until_caught_up(&relay);
    stage.assert_replicated();
    for &(led, end) in changes {
        let change = stage.end_leader(led, end);
        stage.wait_for_another_leader(&change);
        stage.wait_until_caught_up(&relay);
        stage.bring_back(change);
        assert!(!relay.has_ended(), "{led:?}, {end:?}: it ended by itself\n{}", relay.log_tail());
    }
    let ledger = workload.finish();
    stage.scene.judge_clean_to_the_end(&ledger, &mut relay, CAUGHT_UP_WITHIN);
    relay.assert_without_panics();
}

/// Around each change the relay is killed with -9: as the leader ends, while there may be no leader, and
/// before the broker comes back.
fn change_leaders_and_kill_relays(stage: &Stage, setup: &RelaySetup) {
    let mut random = ChaCha8Rng::seed_from_u64(stage.plan.seed ^ 0x1ead);
    let workload = stage.start_workload();
    let mut relay = setup.start();
    stage.wait_until_caught_up(&relay);
    stage.assert_replicated();
    // The first is left out, as each broker leads a third of the destinations' partitions.
    for (led, end) in CHANGES.into_iter().skip(1) {
        let change = if random.random_bool(0.5) {
            relay.kill();
            stage.end_leader(led, end)
        } else {
            let change = stage.end_leader(led, end);
            relay.kill();
            change
        };
        let mut early = setup.start();
        thread::sleep(random.random_range(LIFE));
        assert!(!early.has_ended(), "{led:?}, {end:?}: it ended by itself\n{}", early.log_tail());
        early.kill();
        let mut late = setup.start();
        stage.wait_for_another_leader(&change);
        stage.wait_until_caught_up(&late);
        late.kill();
        for killed in [&relay, &early, &late] {
            killed.assert_without_panics();
        }
        relay = setup.start();
        stage.bring_back(change);
    }
    let ledger = workload.finish();
    stage.scene.judge_clean_to_the_end(&ledger, &mut relay, CAUGHT_UP_WITHIN);
    relay.assert_without_panics();
}

struct Stage {
    cluster: Arc<Cluster>,
    scene: Scene,
    plan: Plan,
    _permit: Arc<OwnServersPermit>,
}

/// A leader that was ended.
struct Change {
    topic: String,
    partition: i32,
    broker: i32,
    begun: Instant,
}

impl Stage {
    fn of_three_brokers(label: &str, delivery: Delivery) -> Stage {
        let permit = Arc::new(permit_for_a_cluster());
        Stage::on(&Arc::new(Cluster::start()), &permit, label, delivery)
    }

    fn on(
        cluster: &Arc<Cluster>,
        permit: &Arc<OwnServersPermit>,
        label: &str,
        delivery: Delivery,
    ) -> Stage {
        let scene = Scene::on(shared_mysql(), cluster.kafka(), label).with(delivery);
        let plan = Plan {
            writers: 2,
            rest: REST,
            large_rows: 300,
            ..Plan::with_seed_of_the_day(&scene.name)
        };
        Stage { cluster: Arc::clone(cluster), scene, plan, _permit: Arc::clone(permit) }
    }

    fn relay_setup(&self) -> RelaySetup {
        RelaySetup { outboxes: Workload::outboxes(&self.scene), ..self.scene.relay_setup() }
    }

    fn start_workload(&self) -> Workload {
        Workload::start(&self.scene, &self.plan)
    }

    /// Waits until what is committed now was published, and its checkpoint stored.
    fn wait_until_caught_up(&self, relay: &Relay) {
        let now = self.scene.sql().end_of_binlog();
        self.scene.wait_for_checkpoint_at(relay, &now);
    }

    /// Every partition has three replicas, of which a write needs two.
    fn assert_replicated(&self) {
        self.cluster.wait_until_whole();
        for led in [Led::Destination, Led::Checkpoints, Led::Transactions] {
            let (topic, _) = self.partition(led);
            assert_eq!(
                topic_config(&self.scene.kafka, &topic, "min.insync.replicas"),
                "2",
                "{topic}"
            );
        }
    }

    fn partition(&self, led: Led) -> (String, i32) {
        match led {
            // Of an entity that the workload writes to.
            Led::Destination => {
                (self.scene.topic("account"), partition_of(b"account-0", self.scene.partitions))
            }
            Led::Checkpoints => (self.scene.checkpoint_topic(), 0),
            Led::Transactions => ("__transaction_state".to_owned(), 0),
        }
    }

    fn end_leader(&self, led: Led, end: End) -> Change {
        let (topic, partition) = self.partition(led);
        let broker = self.cluster.leader(&topic, partition);
        let begun = Instant::now();
        match end {
            End::Kill => self.cluster.broker(broker).kill(),
            End::Stop => self.cluster.broker(broker).stop(),
        }
        Change { topic, partition, broker, begun }
    }

    fn wait_for_another_leader(&self, change: &Change) {
        let Change { topic, partition, broker, begun } = change;
        let next = self.cluster.wait_for_another_leader(topic, *partition, *broker);
        let seconds = begun.elapsed().as_secs_f64();
        say(&format!("{topic}[{partition}]: led by {broker}, then {next} after {seconds:.1} s"));
    }

    /// Starts the broker again and waits until it has all that it missed, and leads again what it led: a further
    /// change, between two brokers that are up.
    fn bring_back(&self, change: Change) {
        self.cluster.broker(change.broker).start_again();
        self.cluster.wait_until_whole();
    }
}
