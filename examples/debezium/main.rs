//! The relay and the real Debezium: `capture` captures the golden records of Debezium's outbox router, and `hand-over`
//! lets the relay go on from Debezium's offsets. Run by `make debezium`.

mod capture;
mod worker;

use harness::scene::Scene;

fn main() {
    worker::ensure_fetched();
    let what = std::env::args().nth(1).unwrap_or_default();
    match what.as_str() {
        "capture" => capture::capture(&Scene::on_shared_servers("capture")),
        other => panic!("there is no {other}: capture or hand-over"),
    }
}
