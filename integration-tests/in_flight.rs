//! The relay dies while it waits for a broker: its request is in flight, or the broker has done what was asked and the
//! answer is in flight. A proxy holds the one or the other, so that the moment is not left to luck.

use std::sync::Arc;

use harness::holding::{HoldingProxy, Request, Side};
use harness::relay::{RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, permit_for_own_servers, shared_mysql};
use harness::workload::PlainWriter;

/// When a request that was held comes to its broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// Before the next relay starts.
    Soon,
    /// When the next relay has relayed every row.
    Late,
}

struct Stage {
    proxy: HoldingProxy,
    kafka: Arc<Kafka>,
    /// That of the proxy.
    address: String,
}

impl Stage {
    fn start() -> Stage {
        let (proxy, kafka, address) = Kafka::start_beside_holding_proxy();
        Stage { proxy, kafka: Arc::new(kafka), address }
    }

    /// A relay is killed when so many requests of this kind have passed, and the next one or its answer is held.
    fn kill_at(&self, delivery: Delivery, held: (Request, Side, usize), comes: Comes) {
        let (request, side, before) = held;
        let kafka = Arc::clone(&self.kafka);
        let scene = Scene::on(shared_mysql(), kafka, "in_flight").with(delivery);
        scene.create_topic("account");
        let mut writer = PlainWriter::on(&scene);
        writer.write(3);
        self.proxy.hold(request, side, before);
        let setup = RelaySetup { kafka_bootstrap: self.address.clone(), ..scene.relay_setup() };
        let mut first = setup.start();
        let is_held = self.proxy.wait_until_held(SOON);
        assert!(is_held, "{held:?} does not come\n{}", first.log_tail());
        first.kill();
        if comes == Comes::Soon {
            self.proxy.go_on();
        }
        writer.write(2);
        let mut second = scene.start_relay();
        scene.judge_clean(&writer.ledger, &second, SOON);
        if comes == Comes::Late {
            self.proxy.go_on();
        }
        writer.write(2);
        scene.judge_clean_to_the_end(&writer.ledger, &mut second, SOON);
    }
}

/// The first transaction is the claim's; the next one is a batch's. In `idempotent` delivery, one that shows that nobody
/// has fenced the relay is between the claim and the rows.
#[test]
fn a_kill_while_a_request_or_its_answer_is_in_flight_changes_nothing() {
    let _permit = permit_for_own_servers();
    let stage = Stage::start();
    for side in [Side::Request, Side::Answer] {
        for (request, before) in [
            (Request::InitProducerId, 0),
            (Request::EndTxn, 0),
            (Request::EndTxn, 1),
            (Request::AddPartitionsToTxn, 1),
            (Request::Produce, 1),
        ] {
            stage.kill_at(Delivery::ExactlyOnce, (request, side, before), Comes::Soon);
        }
        for request in [Request::EndTxn, Request::Produce] {
            stage.kill_at(Delivery::Idempotent, (request, side, 2), Comes::Soon);
        }
    }
}

/// The network may deliver what a relay has sent long after its end. Nothing holds that back of records that are in no
/// transaction.
#[test]
fn what_comes_to_a_broker_after_its_relay_was_replaced_counts_for_nothing() {
    let _permit = permit_for_own_servers();
    let stage = Stage::start();
    for (delivery, request, before) in [
        (Delivery::ExactlyOnce, Request::EndTxn, 0),
        (Delivery::ExactlyOnce, Request::EndTxn, 1),
        (Delivery::ExactlyOnce, Request::AddPartitionsToTxn, 1),
        (Delivery::ExactlyOnce, Request::Produce, 1),
        (Delivery::Idempotent, Request::EndTxn, 2),
    ] {
        stage.kill_at(delivery, (request, Side::Request, before), Comes::Late);
    }
}
