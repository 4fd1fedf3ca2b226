//! What the clients of Eventuate Local and Eventuate Tram hand to an application, where the relay writes
//! to their topics: each row with its fields, in the order of its key, through crashes of the relay.

use std::thread;
use std::time::Duration;

use harness::consumer::Isolation;
use harness::eventuate::{Reception, StockClient, has_programs};
use harness::kafka::create_topic;
use harness::ledger::Expected;
use harness::relay::{Relay, SOON};
use harness::say;
use harness::scene::{Delivery, Scene};
use harness::workload::{EVENT_TYPE, Plan, Workload};

const KILLS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_millis(1_500);

/// How often a client may see a row.
#[derive(Debug, Clone, Copy)]
enum Sees {
    Once,
    AtLeastOnce,
}

/// The clients read uncommitted unless the application says otherwise. They then see what a killed relay
/// left behind, too.
#[test]
fn stock_clients_see_each_row_under_exactly_once_and_once_with_read_committed() {
    let clients =
        [(Isolation::ReadCommitted, Sees::Once), (Isolation::ReadUncommitted, Sees::AtLeastOnce)];
    stock_clients_see_each_row(Delivery::ExactlyOnce, &clients);
}

/// Without transactions it makes no difference how they read.
#[test]
fn stock_clients_see_each_row_once_under_idempotent() {
    let clients =
        [(Isolation::ReadCommitted, Sees::Once), (Isolation::ReadUncommitted, Sees::Once)];
    stock_clients_see_each_row(Delivery::Idempotent, &clients);
}

/// The clients run all the time, beside the writers and the relay.
fn stock_clients_see_each_row(delivery: Delivery, clients: &[(Isolation, Sees)]) {
    if !has_programs(&["tram", "local"]) {
        say("JDK or Maven is missing on this machine: the stock clients were NOT RUN");
        return;
    }
    let scene = Scene::on_shared_servers("stock").with(delivery);
    let (entity_types, destinations) = Workload::topics(&scene);
    for topic in entity_types.iter().chain(&destinations) {
        // As Eventuate names topics.
        create_topic(&scene.kafka, &topic.replace('$', "_DLR_"), scene.partitions, &[]);
    }
    let start = |&(isolation, sees): &(Isolation, Sees)| {
        let local = StockClient::local(&scene, isolation, EVENT_TYPE, &entity_types);
        let tram = StockClient::tram(&scene, isolation, &destinations);
        (isolation, sees, local, tram)
    };
    let clients: Vec<_> = clients.iter().map(start).collect();

    let (expected, relay) = write_and_kill(&scene);
    let (messages, events): (Vec<Expected>, Vec<Expected>) =
        expected.into_iter().partition(|row| destinations.contains(&row.topic));
    for (isolation, sees, mut local, mut tram) in clients {
        for (name, client, rows) in [("Local", &mut local, &events), ("Tram", &mut tram, &messages)]
        {
            let received = client.wait_for(rows.len(), SOON);
            let judged = Reception::judge(rows, &received);
            let what = format!("{}: Eventuate {name}, {}", scene.name, delivery.name());
            say(&format!("{what}, {}: {judged}", isolation.name()));
            let is_as_promised = match sees {
                Sees::Once => judged.is_clean(),
                Sees::AtLeastOnce => judged.is_whole(),
            };
            assert!(is_as_promised, "{judged}\n{}\n{}", client.log_tail(), relay.log_tail());
        }
    }
}

/// Random writers beside a relay that is killed again and again. Returns what has to arrive, and the
/// relay that runs at the end.
fn write_and_kill(scene: &Scene) -> (Vec<Expected>, Relay) {
    let plan = Plan { large_rows: 300, ..Plan::with_seed_of_the_day(&scene.name) };
    let workload = Workload::start(scene, &plan);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(scene);
    let mut relay = setup.start();
    for _ in 0..KILLS {
        thread::sleep(BETWEEN_KILLS);
        relay.kill();
        relay = setup.start();
    }
    (scene.expected(&workload.finish()), relay)
}
