//! What librdkafka reports of the batches that are on their way, counted on its thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use rdkafka::error::KafkaError;

use super::{BATCHES_MAX, Event};
use crate::publish::reports::{FirstRefused, Refused, Reports};

/// Counts the records of the batches on their way down as their reports come. A record's tag is its index in
/// the batch and the batch's slot.
pub(super) struct Reported {
    missing: [AtomicUsize; BATCHES_MAX],
    pub refused: FirstRefused,
    events: Sender<Event>,
}

impl Reported {
    pub fn to(events: Sender<Event>) -> Reported {
        Reported { missing: Default::default(), refused: FirstRefused::default(), events }
    }

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

    /// A publisher that has ended already counts no more.
    fn tell(&self, event: Event) {
        drop(self.events.send(event));
    }
}

impl Reports for Reported {
    fn note_acknowledged(&self, tag: usize) {
        let slot = tag % BATCHES_MAX;
        if self.missing[slot].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tell(Event::Acknowledged(slot));
        }
    }

    fn note_refused(&self, tag: usize, topic: &str, error: &KafkaError) {
        let (index, topic) = (Reported::index(tag), topic.to_owned());
        self.refused.note(Refused { index, topic, error: error.clone() });
        self.tell(Event::Refused);
    }
}
