//! Which record may be handed to which producer now, so that each partition keeps the order of the stream while
//! several producers write to it in turn.
//!
//! A record waits here while records before it are in flight to its partition from another producer. And it waits
//! while another one is in flight from a producer that the partition may not know: a broker takes any request for
//! the first one of such a producer, also the second where it has just refused the first (KAFKA-15591). So a
//! producer's first record goes to a partition alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use murmur2::{KAFKA_SEED, murmur2};

/// A partition that has acknowledged nothing of a producer for longer may have forgotten it. Brokers keep a
/// producer for a day where nobody configured less (`producer.id.expiration.ms`).
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// The partition of a key, where its topic has so many: as every Java client computes it.
pub(crate) fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key, KAFKA_SEED) & 0x7fff_ffff) % partitions.max(1)
}

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
        Partitions { partitions: Vec::new() }
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
        false
    }

    /// Records are in flight to this partition, or wait for it.
    pub fn is_busy(&self, id: PartitionId) -> bool {
        let partition = &self.partitions[id.0 as usize];
        partition.in_flight > 0 || !partition.waiting.is_empty()
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
        Some(record)
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const PRODUCERS: usize = 3;

    #[test]
    fn keys_go_where_java_clients_send_them() {
        // Those of Kafka's own test of its murmur2, with the sign taken off.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            let hash = u32::from_ne_bytes(hash.to_ne_bytes()) & 0x7fff_ffff;
            for partitions in [1, 3, 12] {
                assert_eq!(partition_of(key.as_bytes(), partitions), hash % partitions, "{key}");
            }
        }
    }

    fn record(producer: usize, index: usize) -> Waiting {
        Waiting { producer, index, partition: 0 }
    }

    #[test]
    fn the_first_record_of_a_producer_goes_to_a_partition_alone_and_so_does_one_after_a_pause() {
        let mut partitions = Partitions::<PRODUCERS>::new();
        let (id, begun) = (partitions.add(), Instant::now());
        assert!(partitions.take(id, record(0, 0), begun));
        assert!(!partitions.take(id, record(0, 1), begun));
        assert!(!partitions.take(id, record(0, 2), begun));
        assert_eq!(partitions.next(id, begun), None, "the first is in flight");
        partitions.note_acknowledged(id, begun);
        // The partition knows the producer now: what waited goes together.
        assert_eq!(partitions.next(id, begun), Some(record(0, 1)));
        assert_eq!(partitions.next(id, begun), Some(record(0, 2)));
        assert!(partitions.take(id, record(0, 3), begun));
        (0..3).for_each(|_| partitions.note_acknowledged(id, begun));
        let later = begun + KNOWN_FOR + Duration::from_millis(1);
        assert!(partitions.take(id, record(0, 4), later));
        assert!(!partitions.take(id, record(0, 5), later), "it may be forgotten");
    }

    #[test]
    fn a_record_waits_for_those_of_another_producer_and_for_no_other_partition() {
        let mut partitions = Partitions::<PRODUCERS>::new();
        let (id, other, now) = (partitions.add(), partitions.add(), Instant::now());
        assert!(partitions.take(id, record(0, 0), now));
        assert!(!partitions.take(id, record(1, 1), now));
        assert!(partitions.take(other, record(1, 2), now));
        assert!(!partitions.take(id, record(0, 3), now), "it stands behind one that waits");
        partitions.note_acknowledged(id, now);
        assert_eq!(partitions.next(id, now), Some(record(1, 1)));
        assert_eq!(partitions.next(id, now), None);
        partitions.note_acknowledged(id, now);
        assert_eq!(partitions.next(id, now), Some(record(0, 3)));
        assert_eq!(partitions.next(id, now), None);
    }

    proptest! {
        /// Whatever is sent and acknowledged in whichever order: each partition gets its records in the order of the
        /// stream, never those of two producers at once, never two of a producer that it may not know; and all leave.
        #[test]
        fn every_partition_keeps_the_order_of_the_stream(
            stream in prop::collection::vec((0usize..4, 0usize..PRODUCERS, 0u64..700), 1..200),
            acknowledge in prop::collection::vec(0usize..4, 0..400),
        ) {
            let mut partitions = Partitions::<PRODUCERS>::new();
            let ids: Vec<PartitionId> = (0..4).map(|_| partitions.add()).collect();
            let mut now = Instant::now();
            let mut sent: HashMap<usize, Vec<Waiting>> = HashMap::new();
            let mut in_flight: HashMap<usize, Vec<Waiting>> = HashMap::new();
            let mut known: HashMap<(usize, usize), Instant> = HashMap::new();
            let mut turns = acknowledge.into_iter();
            let check = |known: &HashMap<(usize, usize), Instant>, flying: &[Waiting], partition, now: Instant| {
                let last = flying.last().unwrap();
                assert!(flying.iter().all(|one| one.producer == last.producer));
                let is_known = known.get(&(partition, last.producer)).is_some_and(|at| now - *at <= KNOWN_FOR);
                assert!(flying.len() == 1 || is_known);
            };
            let total = stream.len();
            for (index, (partition, producer, millis)) in stream.into_iter().enumerate() {
                now += Duration::from_millis(millis);
                if partitions.take(ids[partition], record(producer, index), now) {
                    sent.entry(partition).or_default().push(record(producer, index));
                    in_flight.entry(partition).or_default().push(record(producer, index));
                    check(&known, &in_flight[&partition], partition, now);
                }
                for partition in turns.by_ref().take(2) {
                    let flying = in_flight.entry(partition).or_default();
                    if flying.is_empty() {
                        continue;
                    }
                    let first = flying.remove(0);
                    known.insert((partition, first.producer), now);
                    partitions.note_acknowledged(ids[partition], now);
                    while let Some(next) = partitions.next(ids[partition], now) {
                        sent.entry(partition).or_default().push(next);
                        flying.push(next);
                        check(&known, flying, partition, now);
                    }
                }
            }
            for (partition, &id) in ids.iter().enumerate() {
                let flying = in_flight.entry(partition).or_default();
                while !flying.is_empty() {
                    let first = flying.remove(0);
                    known.insert((partition, first.producer), now);
                    partitions.note_acknowledged(id, now);
                    while let Some(next) = partitions.next(id, now) {
                        sent.entry(partition).or_default().push(next);
                        flying.push(next);
                        check(&known, flying, partition, now);
                    }
                }
            }
            prop_assert_eq!(sent.values().map(Vec::len).sum::<usize>(), total);
            for records in sent.values() {
                prop_assert!(records.is_sorted_by_key(|record| record.index));
            }
        }
    }
}
