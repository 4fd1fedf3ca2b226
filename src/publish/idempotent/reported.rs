//! What librdkafka reports of the batches that are on their way, counted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;

use super::BATCHES_MAX;
use crate::publish::reports::{FirstRefused, Refused, Reports};

/// Counts the records of the batches on their way down as their reports come. A record's tag is its index in
/// the batch and the batch's slot.
#[derive(Default)]
pub(super) struct Reported {
    missing: [AtomicUsize; BATCHES_MAX],
    /// A record will not be acknowledged.
    has_refused: AtomicBool,
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

    /// Of the record in its batch.
    pub fn index(tag: usize) -> usize {
        tag / BATCHES_MAX
    }

    /// No record of the batch in this slot is missing.
    pub fn is_complete(&self, slot: usize) -> bool {
        self.missing[slot].load(Ordering::Acquire) == 0
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
        let (index, topic) = (Reported::index(tag), topic.to_owned());
        self.refused.note(Refused { index, topic, error: error.clone() });
        self.has_refused.store(true, Ordering::Release);
    }
}
