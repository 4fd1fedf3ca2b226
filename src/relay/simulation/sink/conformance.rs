//! The model sink keeps the promise that every sink gives, with each of the three guarantees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::task::LocalSet;

use super::super::broker::Broker;
use super::super::database::Database;
use super::super::process::Process;
use super::super::world::Shared;
use super::ModelSinks;
use crate::batch::Limits;
use crate::sink::Guarantee;
use crate::sink::conformance::{self, SeenRecord, Subject, claims};

/// Each claim is checked with as many different worlds.
const SEEDS: u64 = 10;

const RECORD_BYTES_MAX: usize = 2_000;

/// A broker, and those who connect to it.
struct Model {
    shared: Arc<Shared>,
    guarantee: Guarantee,
    processes: AtomicU32,
}

impl Model {
    fn new(guarantee: Guarantee, seed: u64) -> Model {
        let mut broker = Broker::default();
        broker.record_bytes_max = Some(RECORD_BYTES_MAX);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let shared = Shared::new(Database::new(false, false), broker, rng, false);
        Model { shared, guarantee, processes: AtomicU32::new(0) }
    }
}

impl Subject for Model {
    type Connector = ModelSinks;

    fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    fn relay(&self, label: &str) -> String {
        label.to_owned()
    }

    fn connector(&self, name: &str) -> ModelSinks {
        ModelSinks {
            shared: self.shared.clone(),
            process: Arc::new(Process::new(self.processes.fetch_add(1, Ordering::Relaxed))),
            guarantee: self.guarantee,
            limits: Limits { records_max: 1_000, bytes_max: 1 << 20 },
            name: name.to_owned(),
        }
    }

    fn destination(&self, label: &str) -> String {
        format!("events-{label}")
    }

    /// A request takes a millisecond.
    fn moment_max(&self) -> Duration {
        Duration::from_millis(40)
    }

    async fn records(&self, destination: &str) -> Vec<SeenRecord> {
        let broker = self.shared.broker();
        let records = broker.records.iter().filter(|record| record.topic == destination);
        let seen = records.map(|record| SeenRecord {
            lane: record.partition,
            name: record.name.clone(),
            generation: record.generation,
            sequence: record.sequence,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
        });
        seen.collect()
    }
}

fn run(guarantee: Guarantee, check: impl AsyncFn(Model)) {
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, check(Model::new(guarantee, seed)));
    }
}

mod atomic {
    use super::*;

    fn run(check: impl AsyncFn(Model)) {
        super::run(Guarantee::Atomic, check);
    }

    claims!(all, run);
    claims!(atomic, run);
}

mod deduplicated {
    use super::*;

    fn run(check: impl AsyncFn(Model)) {
        super::run(Guarantee::Deduplicated, check);
    }

    claims!(all, run);
    claims!(deduplicated, run);
}

mod at_least_once {
    use super::*;

    fn run(check: impl AsyncFn(Model)) {
        super::run(Guarantee::AtLeastOnce, check);
    }

    claims!(all, run);
    claims!(at_least_once, run);
}
