//! Counts what librdkafka reports about the batches in flight.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;

use super::BATCHES_MAX;
use crate::sink::kafka::reports::{FirstRefused, Refused, Reports};

/// Counts down the records of the batches in flight as their reports come. A record's tag holds its index in the batch,
/// and the batch's slot.
#[derive(Default)]
pub(super) struct Reported {
    missing: [AtomicUsize; BATCHES_MAX],
    /// A record will not be acknowledged.
    has_refused: AtomicBool,
    /// Number of records that will not be acknowledged.
    refusals: AtomicUsize,
    pub refused: FirstRefused,
}

impl Reported {
    pub fn expect(&self, slot: usize, records: usize) {
        self.missing[slot].store(records, Ordering::Release);
    }

    pub fn missing(&self) -> usize {
        self.missing.iter().map(|missing| missing.load(Ordering::Acquire)).sum()
    }

    pub fn tag(index: usize, slot: usize) -> usize {
        index * BATCHES_MAX + slot
    }

    /// Index of the record in its batch.
    pub fn index(tag: usize) -> usize {
        tag / BATCHES_MAX
    }

    /// All records of the batch in this slot are acknowledged, but for `left` that are not sent.
    pub fn is_complete(&self, slot: usize, left: usize) -> bool {
        self.missing[slot].load(Ordering::Acquire) == left
    }

    /// The last `count` records of a batch were not sent, since the producer has ended.
    pub fn note_unsent(&self, slot: usize, records: usize) {
        self.missing[slot].fetch_sub(records, Ordering::AcqRel);
        self.has_refused.store(true, Ordering::Release);
    }

    /// Every record that was sent has its report: nothing is in flight any more.
    pub fn are_all_here(&self) -> bool {
        self.missing() == self.refusals.load(Ordering::Acquire)
    }

    pub fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Acquire)
    }
}

impl Reports for Reported {
    fn note_acknowledged(&self, tag: usize, _: &BorrowedMessage<'_>) {
        self.missing[tag % BATCHES_MAX].fetch_sub(1, Ordering::AcqRel);
    }

    fn note_refused(&self, tag: usize, topic: &str, error: &KafkaError) {
        let (index, slot) = (Reported::index(tag), tag % BATCHES_MAX);
        self.refused.note(Refused { index, slot, topic: topic.to_owned(), error: error.clone() });
        self.refusals.fetch_add(1, Ordering::AcqRel);
        self.has_refused.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;

    #[test]
    fn a_refused_record_does_not_count_for_those_that_are_in_flight() {
        let reported = Reported::default();
        reported.expect(0, 3);
        reported.expect(1, 2);
        let acknowledge = |slot: usize| reported.missing[slot].fetch_sub(1, Ordering::AcqRel);
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        reported.note_refused(Reported::tag(1, 0), "orders", &error);
        assert!(reported.has_refused() && !reported.are_all_here());
        acknowledge(0);
        acknowledge(0);
        acknowledge(1);
        assert!(!reported.are_all_here(), "the second record of the other batch is in flight");
        acknowledge(1);
        assert!(
            reported.are_all_here() && reported.is_complete(1, 0) && !reported.is_complete(0, 0)
        );
        let refused = reported.refused.take().unwrap();
        assert_eq!((refused.index, refused.slot), (1, 0));
    }

    #[test]
    fn records_that_were_not_sent_are_not_waited_for() {
        let reported = Reported::default();
        reported.expect(2, 5);
        reported.note_unsent(2, 4);
        assert!(reported.has_refused() && !reported.are_all_here());
        reported.missing[2].fetch_sub(1, Ordering::AcqRel);
        assert!(reported.are_all_here());
    }
}
