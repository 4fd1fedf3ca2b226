//! The relay and the real Debezium: `capture` captures the golden records of Debezium's outbox router, and `hand-over`
//! lets the relay go on from Debezium's offsets. Run by `make debezium-records` and `make debezium`.

mod capture;
mod hand_over;
mod worker;

use std::sync::Arc;

use hand_over::End;
use harness::scene::Scene;
use harness::servers::{MySql, shared_kafka};

fn main() {
    worker::ensure_fetched();
    let what = std::env::args().nth(1).unwrap_or_default();
    match what.as_str() {
        "capture" => capture::capture(&Scene::on_shared_servers("capture")),
        "hand-over" => hand_over(),
        other => panic!("there is no {other}: capture or hand-over"),
    }
}

/// By file and position, by GTIDs, and inside of compressed transactions.
fn hand_over() {
    let gtids = ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"];
    let with_gtids = Arc::new(MySql::start("mysql-8.0", &gtids));
    let without = Arc::new(MySql::start("mysql-8.0", &["--gtid-mode=OFF"]));
    for (label, mysql, is_compressed) in
        [("gtid", &with_gtids, false), ("file", &without, false), ("payload", &with_gtids, true)]
    {
        for end in [End::Stopped, End::Killed] {
            let label = format!("dbz_{label}_{end:?}").to_lowercase();
            let scene = Scene::on(Arc::clone(mysql), shared_kafka(), &label);
            hand_over::hand_over(&scene, end, is_compressed);
        }
    }
}
