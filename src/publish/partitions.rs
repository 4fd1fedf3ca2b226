//! Which record may be handed to which producer now, so that each partition keeps the order of the stream while
//! several producers write to it in turn.
//!
//! A record waits here while records before it are in flight to its partition from another producer. And it waits
//! while another one is in flight from a producer that the partition may not know: a broker takes any request for
//! the first one of such a producer, also the second where it has just refused the first (KAFKA-15591). So a
//! producer's first record goes to a partition alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A partition that has acknowledged nothing of a producer for longer may have forgotten it. Brokers keep a
/// producer for a day where nobody configured less (`producer.id.expiration.ms`).
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// A partition of a destination topic, or the one that the checkpoint goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionId(pub u32);

/// A record that waits for its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub producer: usize,
    /// Of the record in its batch.
    pub index: usize,
    /// Its partition in its topic.
    pub partition: usize,
}

/// Every partition that this session sends to.
pub(super) struct Partitions<const PRODUCERS: usize> {
    partitions: Vec<Partition<PRODUCERS>>,
    waiting: usize,
}

#[derive(Clone)]
struct Partition<const PRODUCERS: usize> {
    in_flight: u32,
    /// Whose records those are.
    producer: usize,
    /// When the partition has acknowledged a record of the producer last.
    acknowledged_at: [Option<Instant>; PRODUCERS],
    waiting: VecDeque<Waiting>,
}

impl<const PRODUCERS: usize> Partitions<PRODUCERS> {
    pub fn new() -> Partitions<PRODUCERS> {
        Partitions { partitions: Vec::new(), waiting: 0 }
    }

    /// One partition more.
    pub fn add(&mut self) -> PartitionId {
        let id = u32::try_from(self.partitions.len()).expect("fewer partitions than 2^32");
        self.partitions.push(Partition {
            in_flight: 0,
            producer: 0,
            acknowledged_at: [None; PRODUCERS],
            waiting: VecDeque::new(),
        });
        PartitionId(id)
    }

    /// Takes the next record of the stream: `true` where it is to be handed to its producer now. Else it waits, and
    /// [`Partitions::next`] gives it out.
    pub fn take(&mut self, id: PartitionId, record: Waiting, now: Instant) -> bool {
        let partition = &mut self.partitions[id.0 as usize];
        if partition.waiting.is_empty() && partition.admits(record.producer, now) {
            partition.send(record.producer);
            return true;
        }
        partition.waiting.push_back(record);
        self.waiting += 1;
        false
    }

    /// The partition has acknowledged a record of this producer.
    pub fn note_acknowledged(&mut self, id: PartitionId, now: Instant) {
        let partition = &mut self.partitions[id.0 as usize];
        partition.in_flight -= 1;
        partition.acknowledged_at[partition.producer] = Some(now);
    }

    /// The next record that waited for this partition, if it is to be handed to its producer now.
    pub fn next(&mut self, id: PartitionId, now: Instant) -> Option<Waiting> {
        let partition = &mut self.partitions[id.0 as usize];
        let record = *partition.waiting.front()?;
        if !partition.admits(record.producer, now) {
            return None;
        }
        partition.waiting.pop_front();
        partition.send(record.producer);
        self.waiting -= 1;
        Some(record)
    }

    /// So many records wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

impl<const PRODUCERS: usize> Partition<PRODUCERS> {
    fn admits(&self, producer: usize, now: Instant) -> bool {
        self.in_flight == 0 || self.producer == producer && self.knows(producer, now)
    }

    fn knows(&self, producer: usize, now: Instant) -> bool {
        self.acknowledged_at[producer]
            .is_some_and(|at| now.saturating_duration_since(at) <= KNOWN_FOR)
    }

    fn send(&mut self, producer: usize) {
        self.in_flight += 1;
        self.producer = producer;
    }
}
