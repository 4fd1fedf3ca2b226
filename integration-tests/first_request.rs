//! Brokers refuse requests for the time being, and answers get lost, where later requests of the partition may be
//! in flight behind them. A broker that does not know a producer takes any of its requests for the first one; none
//! may be counted as acknowledged for another's sake.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::kafka::set_topic_config;
use harness::ledger::{Content, OutboxRow, json_string};
use harness::oracle::partition_of;
use harness::produce::Error;
use harness::refusing::{Fault, Faults, Rule, Seen, Which};
use harness::relay::{Relay, SOON};
use harness::say;
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, permit_for_a_cluster, permit_for_own_servers, shared_mysql};
use harness::workload::{PlainWriter, incompressible_text, insert_rows};

const DELIVERIES: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::Idempotent];

/// What brokers say that append nothing, half of it in each delivery: to librdkafka they differ in whether it looks
/// for another leader.
const REFUSALS: [(Delivery, Error); 4] = [
    (Delivery::ExactlyOnce, Error::NotEnoughReplicas),
    (Delivery::ExactlyOnce, Error::UnknownTopicOrPartition),
    (Delivery::Idempotent, Error::NotLeaderOrFollower),
    (Delivery::Idempotent, Error::Storage),
];

/// More than any test fails.
const ALL: usize = usize::MAX;

/// Between rows that are to become several requests.
const PAUSE: Duration = Duration::from_millis(4);

/// So many rows of that size take several requests to one partition, of less than five each: librdkafka lets no
/// other request of a partition out behind five records.
const LARGE_ROWS: usize = 6;
const LARGE_BYTES: usize = 300_000;
const SINGLE_ROWS: usize = 30;
const SMALL_ROWS: usize = 50;

/// The broker forgets producers after 2 s, and looks every quarter of a second.
const FORGETFUL: [&str; 2] =
    ["producer.id.expiration.ms=2000", "producer.id.expiration.check.interval.ms=250"];

const FORGOTTEN: Duration = Duration::from_millis(3_000);

#[test]
fn refused_first_requests_to_new_partitions_lose_nothing() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&[]);
    for (delivery, error) in REFUSALS {
        let mut stage = broker.stage("first_refused", delivery);
        stage.fail(Which::First, Fault::Refuse(error), ALL);
        stage.start_relay();
        stage.write_densely();
        stage.wait_for_rows_after(4);
        // A topic that comes while rows flow.
        stage.write_densely_to("another");
        stage.wait_for_rows_after(8);
        stage.finish();
    }
}

#[test]
fn refused_first_requests_of_transactions_lose_nothing() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&[]);
    let mut stage = broker.stage("first_of_transaction", Delivery::ExactlyOnce);
    stage.start_relay();
    stage.fail(Which::FirstOfTransaction, Fault::Refuse(Error::NotEnoughReplicas), 20);
    stage.write_densely();
    stage.wait_for_rows_after(8);
    stage.fail(Which::FirstOfTransaction, Fault::Refuse(Error::NotLeaderOrFollower), 20);
    stage.write_densely();
    stage.wait_for_rows_after(8);
    stage.finish();
}

#[test]
fn refused_requests_of_known_producers_lose_and_repeat_nothing() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&[]);
    for delivery in DELIVERIES {
        let mut stage = broker.stage("known_refused", delivery);
        stage.start_relay();
        stage.write_densely();
        stage.wait_for_rows_after(0);
        for (_, error) in REFUSALS.into_iter().filter(|refusal| refusal.0 == delivery) {
            stage.fail(Which::Every(2), Fault::Refuse(error), 8);
            stage.write_densely();
            stage.wait_for_rows_after(3);
        }
        stage.finish();
    }
}

/// librdkafka gives the transaction up over one partition. The record of the other one is in flight by then, and is
/// refused later: it gets no report.
#[test]
fn a_transaction_that_is_given_up_with_a_record_in_flight_is_not_waited_for() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&[]);
    let mut stage = broker.stage("given_up", Delivery::ExactlyOnce);
    stage.start_relay();
    for _ in 0..4 {
        // Every producer is known to the partitions.
        stage.write_singly(40);
        stage.wait_for_rows_after(0);
        let [overtaken, in_flight] = ["acc-1", "acc-2"]
            .map(|key| Some(partition_of(key.as_bytes(), stage.scene.partitions)));
        let refused = stage.rule(Which::Every(1), Fault::Refuse(Error::NotEnoughReplicas), 1);
        broker.faults.set([
            Rule { partition: overtaken, ..refused.clone() },
            Rule { partition: in_flight, ..refused },
        ]);
        stage.write_large_rows_before("acc-2");
        stage.wait_for_rows_after(2);
    }
    stage.finish();
}

#[test]
fn lost_answers_repeat_nothing() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&[]);
    let faults = [
        Fault::CutOff,
        Fault::Misreport(Error::RequestTimedOut),
        Fault::Misreport(Error::NotEnoughReplicasAfterAppend),
    ];
    for delivery in DELIVERIES {
        let mut stage = broker.stage("lost_answers", delivery);
        // Also the first one to a partition.
        stage.fail(Which::First, Fault::CutOff, 3);
        stage.write_densely();
        stage.start_relay();
        stage.wait_for_rows_after(3);
        for fault in faults {
            stage.fail(Which::Every(2), fault, 3);
            stage.write_densely();
            stage.wait_for_rows_after(3);
        }
        stage.finish();
    }
}

/// The records of a transaction are on their way by one connection while those before them are stalled on another.
#[test]
fn records_never_overtake_those_of_a_connection_that_stalls() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&[]);
    for delivery in DELIVERIES {
        let mut stage = broker.stage("stalled", delivery);
        stage.start_relay();
        // Every producer is known to the partition, and its transactions follow each other at once.
        stage.write_singly(40);
        stage.wait_for_rows_after(0);
        stage.fail(Which::Every(3), Fault::Stall(Duration::from_millis(60)), 40);
        stage.write_singly(200);
        stage.wait_for_rows_after(20);
        stage.finish();
    }
}

/// One partition's records are in Kafka, and their producer does not know it yet, while another partition's are
/// refused: both happen where replicas fall behind. Whatever the producer does about the latter must not let it
/// send the former as new ones.
#[test]
fn refusals_beside_lost_answers_of_another_partition_repeat_nothing() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&[]);
    for delivery in DELIVERIES {
        let mut stage = broker.stage("refused_beside_lost", delivery);
        stage.start_relay();
        stage.write_singly(20);
        stage.wait_for_rows_after(0);
        let [lost, refused] = ["acc-1", "acc-2"]
            .map(|key| Some(partition_of(key.as_bytes(), stage.scene.partitions)));
        let fault = Fault::Misreport(Error::NotEnoughReplicasAfterAppend);
        let lost = Rule { partition: lost, ..stage.rule(Which::Every(2), fault, 10) };
        let fault = Fault::Refuse(Error::NotEnoughReplicas);
        let refused = Rule { partition: refused, ..stage.rule(Which::Every(2), fault, 10) };
        broker.faults.set([lost, refused]);
        stage.write_singly(120);
        stage.wait_for_rows_after(4);
        stage.finish();
    }
}

#[test]
fn refused_first_requests_of_forgotten_producers_lose_nothing() {
    let _permit = permit_for_own_servers();
    let broker = Broker::start(&FORGETFUL);
    let mut stages = DELIVERIES.map(|delivery| broker.stage("forgotten_refused", delivery));
    for stage in &mut stages {
        stage.start_relay();
        stage.write_densely();
        stage.wait_for_rows_after(0);
    }
    for error in [Error::NotEnoughReplicas, Error::UnknownTopicOrPartition] {
        thread::sleep(FORGOTTEN);
        for stage in &mut stages {
            stage.fail(Which::FirstAfter(FORGOTTEN), Fault::Refuse(error), ALL);
            stage.write_densely();
            stage.wait_for_rows_after(3);
        }
    }
    stages.into_iter().for_each(Stage::finish);
}

#[test]
fn refused_first_requests_to_three_brokers_and_new_leaders_lose_nothing() {
    let _permit = permit_for_a_cluster();
    let faults = Arc::new(Faults::default());
    let (cluster, address) = Cluster::start_beside_refusing_proxies(&faults);
    let broker = Broker { kafka: cluster.kafka(), address, faults: Arc::clone(&faults) };
    let mut stages = DELIVERIES.map(|delivery| {
        let mut stage = broker.stage("first_of_three", delivery);
        stage.fail(Which::First, Fault::Refuse(Error::NotEnoughReplicas), ALL);
        stage.write_densely();
        stage.start_relay();
        stage.wait_for_rows_after(4);
        stage
    });
    // Each broker's first request of a producer is refused once more by the next leader.
    let [topic, _] = stages.each_ref().map(|stage| stage.writer.topic.clone());
    let partition = partition_of(b"acc-1", stages[0].scene.partitions);
    let killed = cluster.leader(&topic, partition);
    cluster.broker(killed).kill();
    let refusal = Fault::Refuse(Error::NotLeaderOrFollower);
    faults.set(stages.each_ref().map(|stage| stage.rule(Which::First, refusal, ALL)));
    stages.iter_mut().for_each(Stage::write_densely);
    cluster.wait_for_another_leader(&topic, partition, killed);
    for stage in &mut stages {
        stage.write_densely();
        stage.wait_for_rows_after(1);
        // Refused by the brokers themselves, until the third is back.
        let topic = stage.scene.create_topic("later");
        set_topic_config(&cluster.kafka(), &topic, "min.insync.replicas", "3");
        stage.write_densely_to("later");
        stage.wait_for_broker_error(Error::NotEnoughReplicas);
    }
    cluster.broker(killed).start_again();
    cluster.wait_until_whole();
    for stage in &mut stages {
        stage.fail(Which::Every(2), Fault::Refuse(Error::NotLeaderOrFollower), 10);
        stage.write_densely();
        stage.wait_for_rows_after(3);
    }
    stages.into_iter().for_each(Stage::finish);
}

/// A broker that a relay reaches through a proxy, or three of them.
struct Broker {
    kafka: Arc<Kafka>,
    address: String,
    faults: Arc<Faults>,
}

impl Broker {
    fn start(properties: &[&str]) -> Broker {
        let faults = Arc::new(Faults::default());
        let (kafka, address) = Kafka::start_beside_refusing_proxy(&faults, properties);
        Broker { kafka: Arc::new(kafka), address, faults }
    }

    fn stage(&self, label: &str, delivery: Delivery) -> Stage {
        let scene = Scene::on(shared_mysql(), Arc::clone(&self.kafka), label).with(delivery);
        let writer = PlainWriter::on(&scene);
        let address = self.address.clone();
        Stage { scene, writer, address, faults: Arc::clone(&self.faults), relay: None, rows: 0 }
    }
}

struct Stage {
    scene: Scene,
    writer: PlainWriter,
    address: String,
    faults: Arc<Faults>,
    relay: Option<Relay>,
    /// So many are committed.
    rows: usize,
}

impl Stage {
    fn rule(&self, which: Which, fault: Fault, times: usize) -> Rule {
        Rule { topics: self.scene.topic(""), partition: None, which, fault, times }
    }

    fn fail(&self, which: Which, fault: Fault, times: usize) {
        self.faults.set([self.rule(which, fault, times)]);
    }

    /// A session that waits for what never comes would wait for the transaction's timeout, and the test fails before.
    fn start_relay(&mut self) {
        let mut setup = self.scene.relay_setup();
        setup.transaction_timeout = Some("600s".to_owned());
        setup.kafka_bootstrap.clone_from(&self.address);
        self.relay = Some(setup.start());
    }

    /// Several requests for one partition at once, then rows as fast as they come, then a batch of small ones.
    fn write_densely(&mut self) {
        self.writer.transaction(|writer| {
            let rows: Vec<OutboxRow> = (0..LARGE_ROWS).map(|_| large_row(writer)).collect();
            rows.iter().for_each(|row| writer.ledger.note_written(row.clone()));
            insert_rows(&mut writer.sql, "events", &rows);
            rows.into_iter().map(|row| row.id).collect()
        });
        self.writer.write(SINGLE_ROWS);
        self.writer.write_together(SMALL_ROWS);
        self.rows += LARGE_ROWS + SINGLE_ROWS + SMALL_ROWS;
    }

    /// Several requests for one partition, and in the same transaction one for that of `key`.
    fn write_large_rows_before(&mut self, key: &str) {
        self.writer.transaction(|writer| {
            let mut rows: Vec<OutboxRow> = (0..LARGE_ROWS).map(|_| large_row(writer)).collect();
            let mut last = writer.unnoted_row();
            if let Content::Event { entity_id, .. } = &mut last.content {
                key.clone_into(entity_id);
            }
            rows.push(last);
            rows.iter().for_each(|row| writer.ledger.note_written(row.clone()));
            insert_rows(&mut writer.sql, "events", &rows);
            rows.into_iter().map(|row| row.id).collect()
        });
        self.rows += LARGE_ROWS + 1;
    }

    /// Rows that become requests of one record.
    fn write_singly(&mut self, rows: usize) {
        for _ in 0..rows {
            self.writer.write(1);
            self.rows += 1;
            thread::sleep(PAUSE);
        }
    }

    fn write_densely_to(&mut self, label: &str) {
        self.writer.topic = self.scene.topic(label);
        self.write_densely();
    }

    /// Writes on until so many requests have failed, and waits for all rows. What came is judged at the end.
    fn wait_for_rows_after(&mut self, failed: usize) {
        let deadline = Instant::now() + SOON;
        while self.faults.seen().failed < failed {
            assert!(Instant::now() < deadline, "{:?}", self.faults.seen());
            self.write_singly(1);
        }
        let relay = self.relay.as_mut().expect("it was started");
        relay.wait_until_came(&mut self.scene.inbox(), self.rows, SOON);
        say(&format!("{}: {:?}", self.scene.name, self.faults.seen()));
        assert!(!relay.has_ended(), "it ended by itself\n{}", relay.log_tail());
    }

    /// Waits until a broker itself has refused one of these rows so.
    fn wait_for_broker_error(&self, error: Error) {
        let deadline = Instant::now() + SOON;
        let has_come = |seen: &Seen| {
            let of_topic = |it: &&(String, i32, i16)| it.0 == self.writer.topic;
            seen.broker_errors.iter().filter(of_topic).any(|it| it.2 == error as i16)
        };
        while !has_come(&self.faults.seen()) {
            assert!(Instant::now() < deadline, "{error:?} does not come: {:?}", self.faults.seen());
            thread::sleep(PAUSE);
        }
    }

    fn finish(mut self) {
        self.faults.set([]);
        let relay = self.relay.as_mut().expect("it was started");
        self.scene.judge_clean_to_the_end(&self.writer.ledger, relay, SOON);
        relay.assert_without_panics();
    }
}

fn large_row(writer: &mut PlainWriter) -> OutboxRow {
    let mut row = writer.unnoted_row();
    if let Content::Event { entity_id, event_data, .. } = &mut row.content {
        "acc-1".clone_into(entity_id);
        *event_data = json_string(&incompressible_text(LARGE_BYTES));
    }
    row
}
