//! Decides which record may go to its producer now, so that each partition keeps the order of the stream although
//! several producers write to it in turn.
//!
//! A record waits while earlier records to its partition are in flight from another producer. The first waiting record
//! is held by its own producer, which adds the partition to its transaction meanwhile. The others wait here.
//!
//! A record also waits here while another one is in flight from a producer that the partition may not know. A broker
//! accepts any request as the first one of such a producer, also the second right after it refused the first
//! (KAFKA-15591). So a producer's first record to a partition goes alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use murmur2::{KAFKA_SEED, murmur2};

/// A partition may have forgotten a producer that it has acknowledged nothing of for this long. By default, brokers
/// remember a producer for a day (`producer.id.expiration.ms`).
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// How often a producer may hold records for one partition. librdkafka counts the pauses and resumptions of a partition
/// in 31 bits, and ignores them once the count has overflowed.
const HOLDS_MAX: u32 = 1 << 29;

/// The partition of a key in a topic with `count` partitions, as every Java client computes it.
pub(crate) fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key, KAFKA_SEED) & 0x7fff_ffff) % partitions.max(1)
}

/// The partition of records whose key is NULL, in every topic: so they keep their order, also when the topic gets more
/// partitions. Java clients would spread them, and lose it.
pub(crate) const PARTITION_WITHOUT_KEY: u32 = 0;

/// The partition that the relay sends a record to: by its number, modulo the number of partitions, or else by its key.
pub(crate) fn partition_for(key: Option<&[u8]>, number: Option<i128>, partitions: u32) -> u32 {
    match number {
        Some(number) => {
            let rest = number.rem_euclid(i128::from(partitions.max(1)));
            u32::try_from(rest).expect("it is below a number of 32 bits")
        }
        None => key.map_or(PARTITION_WITHOUT_KEY, |key| partition_of(key, partitions)),
    }
}

/// The index of a record's partition among those of its topic.
pub(super) fn index_of<T>(key: Option<&[u8]>, number: Option<i128>, partitions: &[T]) -> usize {
    let count = u32::try_from(partitions.len()).expect("fewer partitions than 2^32");
    partition_for(key, number, count) as usize
}

/// A partition of a destination topic, or the one that the checkpoint goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionId(pub u32);

/// A record that may have to wait for its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub producer: usize,
    /// Index of the record in its batch.
    pub index: usize,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Send it.
    Send,
    /// Give it to its producer, which holds it until [`Partitions::note_acknowledged`] releases it, and adds the
    /// partition to its transaction meanwhile.
    Hold,
    /// Keep it here until [`Partitions::next`] returns it.
    Wait,
}

/// Every partition that this session sends to.
pub(super) struct Partitions<const PRODUCERS: usize> {
    partitions: Vec<Partition<PRODUCERS>>,
}

#[derive(Clone)]
struct Partition<const PRODUCERS: usize> {
    in_flight: u32,
    /// The producer of those records.
    producer: usize,
    /// The producer that holds a record.
    holder: Option<usize>,
    /// How often each producer has held records.
    holds: [u32; PRODUCERS],
    /// When the partition last acknowledged a record of each producer.
    acknowledged_at: [Option<Instant>; PRODUCERS],
    waiting: VecDeque<Waiting>,
}

impl<const PRODUCERS: usize> Partitions<PRODUCERS> {
    pub fn new() -> Partitions<PRODUCERS> {
        Partitions { partitions: Vec::new() }
    }

    /// Adds a partition.
    pub fn add(&mut self) -> PartitionId {
        let id = u32::try_from(self.partitions.len()).expect("fewer partitions than 2^32");
        self.partitions.push(Partition {
            in_flight: 0,
            producer: 0,
            holder: None,
            holds: [0; PRODUCERS],
            acknowledged_at: [None; PRODUCERS],
            waiting: VecDeque::new(),
        });
        PartitionId(id)
    }

    /// Takes the next record of the stream.
    pub fn take(&mut self, id: PartitionId, record: Waiting, now: Instant) -> Admission {
        let partition = &mut self.partitions[id.0 as usize];
        let admission = if partition.waiting.is_empty() {
            partition.admission(record.producer, now)
        } else {
            Admission::Wait
        };
        match admission {
            Admission::Wait => partition.waiting.push_back(record),
            admission => partition.note(admission, record.producer),
        }
        admission
    }

    /// Records are in flight to this partition.
    pub fn has_in_flight(&self, id: PartitionId) -> bool {
        self.partitions[id.0 as usize].in_flight > 0
    }

    /// Records wait until this partition has acknowledged the ones in flight.
    pub fn is_waited_for(&self, id: PartitionId) -> bool {
        let partition = &self.partitions[id.0 as usize];
        partition.holder.is_some() || !partition.waiting.is_empty()
    }

    /// The partition has acknowledged a record in flight. Returns the producer that must now release the record it
    /// holds for this partition, if there is one.
    pub fn note_acknowledged(&mut self, id: PartitionId, now: Instant) -> Option<usize> {
        let partition = &mut self.partitions[id.0 as usize];
        partition.in_flight -= 1;
        partition.acknowledged_at[partition.producer] = Some(now);
        if partition.in_flight > 0 {
            return None;
        }
        let holder = partition.holder.take()?;
        partition.note(Admission::Send, holder);
        Some(holder)
    }

    /// The next record that has waited for this partition long enough, and what to do with it.
    pub fn next(&mut self, id: PartitionId, now: Instant) -> Option<(Waiting, Admission)> {
        let partition = &mut self.partitions[id.0 as usize];
        let record = *partition.waiting.front()?;
        let admission = partition.admission(record.producer, now);
        if admission == Admission::Wait {
            return None;
        }
        partition.waiting.pop_front();
        partition.note(admission, record.producer);
        Some((record, admission))
    }
}

impl<const PRODUCERS: usize> Partition<PRODUCERS> {
    fn admission(&self, producer: usize, now: Instant) -> Admission {
        if self.holder.is_some() {
            return Admission::Wait;
        }
        if self.in_flight == 0 || self.producer == producer && self.knows(producer, now) {
            return Admission::Send;
        }
        // A producer that has sent to the partition before knows it.
        let may_hold = self.producer != producer
            && self.acknowledged_at[producer].is_some()
            && self.holds[producer] < HOLDS_MAX;
        if may_hold { Admission::Hold } else { Admission::Wait }
    }

    fn note(&mut self, admission: Admission, producer: usize) {
        match admission {
            Admission::Send => (self.in_flight, self.producer) = (self.in_flight + 1, producer),
            Admission::Hold => {
                self.holder = Some(producer);
                self.holds[producer] += 1;
            }
            Admission::Wait => {}
        }
    }

    /// The partition has acknowledged a record of this producer lately.
    fn knows(&self, producer: usize, now: Instant) -> bool {
        self.acknowledged_at[producer]
            .is_some_and(|at| now.saturating_duration_since(at) <= KNOWN_FOR)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const PRODUCERS: usize = 3;

    #[test]
    fn a_number_is_taken_modulo_the_partitions_whatever_its_sign() {
        for (number, partition) in [
            (0, 0),
            (13, 1),
            (-1, 11),
            (-12, 0),
            (i128::from(u64::MAX), 3),
            (i128::from(i64::MIN), 4),
        ] {
            assert_eq!(partition_for(Some(b"key"), Some(number), 12), partition, "{number}");
        }
        assert_eq!(partition_for(None, None, 12), PARTITION_WITHOUT_KEY);
    }

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
        Waiting { producer, index }
    }

    const SEND: Admission = Admission::Send;
    const HOLD: Admission = Admission::Hold;

    #[test]
    fn the_first_record_of_a_producer_goes_to_a_partition_alone_and_so_does_one_after_a_pause() {
        let mut partitions = Partitions::<PRODUCERS>::new();
        let (id, begun) = (partitions.add(), Instant::now());
        assert_eq!(partitions.take(id, record(0, 0), begun), SEND);
        assert_eq!(partitions.take(id, record(0, 1), begun), Admission::Wait);
        assert_eq!(partitions.take(id, record(0, 2), begun), Admission::Wait);
        assert_eq!(partitions.next(id, begun), None, "the first is in flight");
        assert_eq!(partitions.note_acknowledged(id, begun), None);
        // The partition knows the producer now: what waited goes together.
        assert_eq!(partitions.next(id, begun), Some((record(0, 1), SEND)));
        assert_eq!(partitions.next(id, begun), Some((record(0, 2), SEND)));
        assert_eq!(partitions.take(id, record(0, 3), begun), SEND);
        (0..3).for_each(|_| assert_eq!(partitions.note_acknowledged(id, begun), None));
        let later = begun + KNOWN_FOR + Duration::from_millis(1);
        assert_eq!(partitions.take(id, record(0, 4), later), SEND);
        assert_eq!(
            partitions.take(id, record(0, 5), later),
            Admission::Wait,
            "it may be forgotten"
        );
    }

    #[test]
    fn a_record_waits_for_those_of_another_producer_and_for_no_other_partition() {
        let mut partitions = Partitions::<PRODUCERS>::new();
        let (id, other, now) = (partitions.add(), partitions.add(), Instant::now());
        assert_eq!(partitions.take(id, record(0, 0), now), SEND);
        assert_eq!(
            partitions.take(id, record(1, 1), now),
            Admission::Wait,
            "it has no such partition yet"
        );
        assert_eq!(partitions.take(other, record(1, 2), now), SEND);
        assert_eq!(
            partitions.take(id, record(0, 3), now),
            Admission::Wait,
            "it stands behind one that waits"
        );
        partitions.note_acknowledged(id, now);
        assert_eq!(partitions.next(id, now), Some((record(1, 1), SEND)));
        // The first producer has sent to this partition before.
        assert_eq!(partitions.next(id, now), Some((record(0, 3), HOLD)));
        assert_eq!(partitions.take(id, record(0, 4), now), Admission::Wait);
        assert_eq!(partitions.take(id, record(2, 5), now), Admission::Wait);
        assert_eq!(partitions.note_acknowledged(id, now), Some(0));
        assert_eq!(partitions.next(id, now), Some((record(0, 4), SEND)), "the producer is known");
        assert_eq!(partitions.next(id, now), None);
        partitions.note_acknowledged(id, now);
        partitions.note_acknowledged(id, now);
        assert_eq!(partitions.next(id, now), Some((record(2, 5), SEND)));
    }

    #[test]
    fn what_is_held_goes_alone_where_the_producer_may_be_forgotten_by_then() {
        let mut partitions = Partitions::<PRODUCERS>::new();
        let (id, begun) = (partitions.add(), Instant::now());
        partitions.take(id, record(0, 0), begun);
        partitions.note_acknowledged(id, begun);
        partitions.take(id, record(1, 1), begun);
        assert_eq!(partitions.take(id, record(0, 2), begun), HOLD);
        assert_eq!(partitions.take(id, record(0, 3), begun), Admission::Wait);
        let later = begun + KNOWN_FOR + Duration::from_millis(1);
        assert_eq!(partitions.note_acknowledged(id, later), Some(0));
        assert_eq!(partitions.next(id, later), None);
        partitions.note_acknowledged(id, later);
        assert_eq!(partitions.next(id, later), Some((record(0, 3), SEND)));
    }

    #[test]
    fn a_producer_that_has_held_too_often_holds_no_more() {
        let mut partitions = Partitions::<PRODUCERS>::new();
        let (id, now) = (partitions.add(), Instant::now());
        partitions.take(id, record(0, 0), now);
        partitions.note_acknowledged(id, now);
        partitions.partitions[0].holds[0] = HOLDS_MAX - 1;
        for (index, admission) in [(1, HOLD), (3, Admission::Wait)] {
            partitions.take(id, record(1, index), now);
            assert_eq!(partitions.take(id, record(0, index + 1), now), admission);
            partitions.note_acknowledged(id, now);
            while partitions.next(id, now).is_some() {}
            partitions.note_acknowledged(id, now);
        }
    }

    /// A partition as its leader would see it.
    #[derive(Default)]
    struct Leader {
        in_flight: Vec<Waiting>,
        held: Option<Waiting>,
        written: Vec<Waiting>,
        known: HashMap<usize, Instant>,
    }

    impl Leader {
        fn act(&mut self, record: Waiting, admission: Admission, now: Instant) {
            match admission {
                Admission::Send => {
                    self.in_flight.push(record);
                    self.check(now);
                }
                Admission::Hold => {
                    assert!(self.known.contains_key(&record.producer));
                    assert_eq!(self.held.replace(record), None);
                }
                Admission::Wait => {}
            }
        }

        fn check(&self, now: Instant) {
            let producer = self.in_flight[0].producer;
            assert!(self.in_flight.iter().all(|one| one.producer == producer));
            let is_known = |at: &Instant| now - *at <= KNOWN_FOR;
            assert!(self.in_flight.len() == 1 || self.known.get(&producer).is_some_and(is_known));
        }

        /// Acknowledges the oldest record in flight, if there is one.
        fn acknowledge(
            &mut self,
            partitions: &mut Partitions<PRODUCERS>,
            id: PartitionId,
            now: Instant,
        ) {
            if self.in_flight.is_empty() {
                return;
            }
            let first = self.in_flight.remove(0);
            self.known.insert(first.producer, now);
            self.written.push(first);
            if let Some(producer) = partitions.note_acknowledged(id, now) {
                assert!(self.in_flight.is_empty());
                let released = self.held.take().unwrap();
                assert_eq!(released.producer, producer);
                self.act(released, Admission::Send, now);
            }
            while let Some((record, admission)) = partitions.next(id, now) {
                self.act(record, admission, now);
            }
        }
    }

    proptest! {
        /// Whatever is sent and acknowledged whenever: each partition gets its records in the order of the stream,
        /// never those of two producers at once, never two of a producer that it may not know; and all leave.
        #[test]
        fn every_partition_keeps_the_order_of_the_stream(
            stream in prop::collection::vec((0usize..4, 0usize..PRODUCERS, 0u64..400), 1..300),
            acknowledge in prop::collection::vec(0usize..4, 0..600),
        ) {
            let mut partitions = Partitions::<PRODUCERS>::new();
            let ids: Vec<PartitionId> = (0..4).map(|_| partitions.add()).collect();
            let mut leaders: Vec<Leader> = (0..4).map(|_| Leader::default()).collect();
            let (mut now, total) = (Instant::now(), stream.len());
            let mut acknowledge = acknowledge.into_iter();
            for (index, (partition, producer, millis)) in stream.into_iter().enumerate() {
                now += Duration::from_millis(millis);
                let admission = partitions.take(ids[partition], record(producer, index), now);
                leaders[partition].act(record(producer, index), admission, now);
                for partition in acknowledge.by_ref().take(2) {
                    leaders[partition].acknowledge(&mut partitions, ids[partition], now);
                }
            }
            for (leader, id) in leaders.iter_mut().zip(ids) {
                while !leader.in_flight.is_empty() {
                    leader.acknowledge(&mut partitions, id, now);
                }
                prop_assert!(leader.written.is_sorted_by_key(|record| record.index));
            }
            prop_assert_eq!(leaders.iter().map(|leader| leader.written.len()).sum::<usize>(), total);
        }
    }
}
