//! What the clients of Eventuate Local and Eventuate Tram hand to an application, where the relay writes
//! to their topics: each row once, with its fields, in the order of its key, through crashes of the relay.

use std::thread;
use std::time::Duration;

use crate::harness::consumer::Isolation;
use crate::harness::eventuate::{Delivery, StockClient, has_programs};
use crate::harness::kafka::create_topic;
use crate::harness::ledger::Expected;
use crate::harness::relay::SOON;
use crate::harness::say;
use crate::harness::scene::Scene;
use crate::harness::workload::{EVENT_TYPE, Plan, Workload};

const KILLS: usize = 3;
const BETWEEN_KILLS: Duration = Duration::from_millis(1_500);

#[test]
fn stock_clients_with_read_committed_see_each_row_once_under_exactly_once() {
    stock_clients_see_each_row_once("exactly-once", Isolation::ReadCommitted);
}

/// The clients run all the time, so that they also see what a killed relay leaves behind.
fn stock_clients_see_each_row_once(delivery: &str, isolation: Isolation) {
    if !has_programs(&["tram", "local"]) {
        say("JDK or Maven is missing on this machine: the stock clients were NOT RUN");
        return;
    }
    let scene = Scene::on_shared_servers("stock");
    let (entity_types, destinations) = Workload::topics(&scene);
    for topic in entity_types.iter().chain(&destinations) {
        // As Eventuate names topics.
        create_topic(&scene.kafka, &topic.replace('$', "_DLR_"), scene.partitions, &[]);
    }
    let mut local = StockClient::local(&scene, isolation, EVENT_TYPE, &entity_types);
    let mut tram = StockClient::tram(&scene, isolation, &destinations);

    let plan = Plan { large_rows: 300, ..Plan::with_seed_of_the_day(&scene.name) };
    let workload = Workload::start(&scene, &plan);
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    setup.kafka_lines.push(format!("delivery = \"{delivery}\""));
    let mut relay = setup.start();
    for _ in 0..KILLS {
        thread::sleep(BETWEEN_KILLS);
        relay.kill();
        relay = setup.start();
    }
    let expected = scene.expected(&workload.finish());

    let (messages, events): (Vec<Expected>, Vec<Expected>) =
        expected.into_iter().partition(|row| destinations.contains(&row.topic));
    for (name, client, rows) in [("Local", &mut local, events), ("Tram", &mut tram, messages)] {
        let received = client.wait_for(rows.len(), SOON);
        let judged = Delivery::judge(&rows, &received);
        say(&format!("{}: Eventuate {name}, {delivery}: {judged}", scene.name));
        assert!(judged.is_clean(), "{name}: {judged}\n{}\n{}", client.log_tail(), relay.log_tail());
    }
}
