//! One suite for every sink: each line of the promise on [`Sink`] is a check, whose name is the claim.
//!
//! The library's tests run it against the model sink of the simulation, with each of the three guarantees. The
//! integration tests run the same files against Kafka. A new sink implements [`Subject`], and [`claims`] makes the
//! tests.

mod checks;
mod fencing;
pub mod rows;
pub mod session;

use std::time::Duration;

use binlog_relay::sink::{Connector, Guarantee};

pub use self::checks::*;
pub use self::fencing::*;

/// A sink that is put to the test. Each check gets one in which nothing is stored yet.
pub trait Subject {
    type Connector: Connector;

    /// What the sink promises.
    fn guarantee(&self) -> Guarantee;

    /// The name of a relay in this subject.
    fn relay(&self, label: &str) -> String;

    /// What a relay of this name connects with. All relays of one subject share the place of the checkpoint.
    fn connector(&self, name: &str) -> Self::Connector;

    /// The name of a destination of this subject, which is there or can be created.
    fn destination(&self, label: &str) -> String;

    /// A busy publisher is fenced at a moment within this time.
    fn moment_max(&self) -> Duration;

    /// All that a consumer of the destination sees, lane by lane in order. What is being written when this is called
    /// is waited for. A destination that is not there has nothing.
    fn records(&self, destination: &str) -> impl Future<Output = Vec<SeenRecord>>;
}

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRecord {
    /// Records of one lane have an order: Kafka's lanes are partitions.
    pub lane: u32,
    /// The relay that sent it, and the generation and the number of its row.
    pub name: String,
    pub generation: u64,
    pub sequence: u64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Those of the row, without the sink's own.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Makes a test of each claim. `conformance` must be in scope; `$run` runs a check on a new subject.
macro_rules! claims {
    (all, $run:path) => {
        claims!(@tests $run:
            nothing_is_stored_before_the_first_claim,
            a_claim_is_stored_and_read_back,
            a_claim_fails_where_another_checkpoint_was_stored_since_it_was_read,
            a_claim_fails_where_the_sink_was_fenced,
            a_batch_is_published_only_when_all_records_up_to_it_are_durable,
            a_checkpoint_is_stored_only_behind_its_records,
            a_key_keeps_its_order_with_several_batches_in_flight,
            keys_values_and_headers_arrive_as_they_were_also_empty_and_null,
            rows_that_were_found_count_and_are_not_sent,
            an_empty_batch_stores_its_checkpoint,
            stop_finishes_what_is_in_flight,
            nothing_comes_behind_a_record_that_is_refused,
            a_destination_that_is_not_there_is_created_or_refused,
            a_destination_has_one_id,
            a_fenced_predecessor_adds_nothing_that_its_successor_does_not_see,
            a_fenced_publisher_says_so_and_sends_nothing_more,
            a_relay_of_another_name_is_fenced_by_that_name,
        );
    };
    (atomic, $run:path) => {
        claims!(@tests $run: visible_records_are_those_up_to_the_visible_checkpoint);
    };
    (deduplicated, $run:path) => {
        claims!(@tests $run: all_rows_behind_the_checkpoint_that_are_there_are_found_and_no_others);
    };
    (at_least_once, $run:path) => {
        claims!(@tests $run: what_was_sent_cannot_be_found);
    };
    (@tests $run:path: $($claim:ident),* $(,)?) => {
        $(
            #[test]
            fn $claim() {
                $run(async |subject| suite::$claim(subject).await);
            }
        )*
    };
}
pub(crate) use claims;
