//! The model sink keeps the promise that every sink gives, with each of the three guarantees.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use tokio::task::LocalSet;

use super::super::broker::Broker;
use super::super::database::Database;
use super::super::process::Process;
use super::super::world::Shared;
use super::ModelSinks;
use super::flaws::{self, Flaw};
use crate::batch::Limits;
use crate::sink::Guarantee;
use crate::sink::conformance::{self as suite, SeenRecord, Subject, claims};

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

/// Gives the model a flaw, and has a claim find it.
fn finds(flaw: Flaw, guarantee: Guarantee, check: impl AsyncFn(Model)) {
    flaws::set(Some(flaw));
    let checked = panic::catch_unwind(AssertUnwindSafe(|| run(guarantee, check)));
    flaws::set(None);
    assert!(checked.is_err(), "{flaw:?} is not found in a sink that is {guarantee:?}");
}

/// Flaws of any sink.
fn finds_in(guarantee: Guarantee) {
    use suite as of;
    finds(
        Flaw::FencesNobody,
        guarantee,
        of::a_fenced_predecessor_adds_nothing_that_its_successor_does_not_see,
    );
    finds(Flaw::StoresForTheFenced, guarantee, of::a_claim_fails_where_the_sink_was_fenced);
    finds(
        Flaw::ClaimsOverAnother,
        guarantee,
        of::a_claim_fails_where_another_checkpoint_was_stored_since_it_was_read,
    );
    finds(Flaw::ClaimIsNotStored, guarantee, of::a_claim_is_stored_and_read_back);
    finds(Flaw::AnyLane, guarantee, of::a_key_keeps_its_order_with_several_batches_in_flight);
    for flaw in [Flaw::NullIsEmpty, Flaw::HeadersSorted] {
        let of = of::keys_values_and_headers_arrive_as_they_were_also_empty_and_null;
        finds(flaw, guarantee, of);
    }
    finds(Flaw::FoundIsSent, guarantee, of::rows_that_were_found_count_and_are_not_sent);
    finds(Flaw::RefusedIsLeftOut, guarantee, of::nothing_comes_behind_a_record_that_is_refused);
    finds(Flaw::SecondId, guarantee, of::a_destination_has_one_id);
}

#[test]
fn each_flaw_is_found_by_the_claim_about_it() {
    use suite as of;
    let (atomic, deduplicated) = (Guarantee::Atomic, Guarantee::Deduplicated);
    for guarantee in [atomic, deduplicated, Guarantee::AtLeastOnce] {
        finds_in(guarantee);
    }
    finds(
        Flaw::StoredBeforePublished,
        atomic,
        of::a_key_keeps_its_order_with_several_batches_in_flight,
    );
    finds(Flaw::NotAtomic, atomic, of::visible_records_are_those_up_to_the_visible_checkpoint);
    finds(Flaw::EmptyIsForgotten, atomic, of::an_empty_batch_stores_its_checkpoint);
    for guarantee in [deduplicated, Guarantee::AtLeastOnce] {
        finds(
            Flaw::GoesOnWhenFenced,
            guarantee,
            of::a_fenced_publisher_says_so_and_sends_nothing_more,
        );
        finds(
            Flaw::PublishedEarly,
            guarantee,
            of::a_batch_is_published_only_when_all_records_up_to_it_are_durable,
        );
        finds(Flaw::CheckpointAhead, guarantee, of::a_checkpoint_is_stored_only_behind_its_records);
        finds(
            Flaw::LaneReversed,
            guarantee,
            of::a_key_keeps_its_order_with_several_batches_in_flight,
        );
        finds(Flaw::StopDrops, guarantee, of::stop_finishes_what_is_in_flight);
    }
    for flaw in [
        Flaw::SentOfAnyGeneration,
        Flaw::SentOfAnyName,
        Flaw::SentBeforeTheWindow,
        Flaw::SentMissesTheLast,
    ] {
        let of = of::all_rows_behind_the_checkpoint_that_are_there_are_found_and_no_others;
        finds(flaw, deduplicated, of);
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
