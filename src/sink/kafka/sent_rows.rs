//! Finds the rows after a checkpoint that are already in Kafka.
//!
//! `idempotent` delivery sends rows before the checkpoint that covers them. A relay that dies leaves such rows behind.
//! Its successor searches the tail of each partition for their numbers, when the first row for a topic comes. The
//! search begins at the time in the checkpoint, less one minute, or at the last record that the checkpoint covers.

use std::collections::{BTreeMap, HashSet};

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tokio::time::Instant;

use super::connection::KafkaOptions;
use super::dead_letters::REPLAYED_HEADER;
use super::partitions::partition_for;
use super::reader::{self, Reader};
use super::sequence::{SEQUENCE_HEADER, SequenceHeader};
use crate::resend::ResendWindow;
use crate::sink::SentRows;
use crate::tasks::{self, Task};

/// Role of the topic, in error messages.
const KIND: &str = "topic";

/// Largest difference between the clocks of brokers and relays.
const CLOCK_SKEW_MILLIS: i64 = 60_000;

/// A reader for the first topic. It connects in the background.
pub(super) type Connecting = Task<Result<Reader, reader::Error>>;

/// Begins to connect. `topic`: any existing topic.
pub(super) fn connect(kafka: &KafkaOptions, name: &str, topic: &str) -> Connecting {
    let (kafka, name, topic) = (kafka.clone(), name.to_owned(), topic.to_owned());
    Task::spawn(async move {
        let connected = tasks::blocking(move || {
            let reader = Reader::new(&kafka, &name, KIND, &topic)?;
            reader.connect();
            Ok(reader)
        });
        // A panic there becomes one here.
        connected.await.unwrap_or_else(|panicked| panic!("{}", panicked.0))
    })
}

/// The rows of a window that the tails of a topic's partitions hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    sequences: HashSet<u64>,
    /// Number of partitions that the topic has now.
    pub partitions: u32,
    /// The highest number in each partition that may have lost records to retention. Records of a partition arrive in
    /// order, so all lower numbers of that partition were there.
    highest: BTreeMap<u32, u64>,
}

impl From<Found> for SentRows {
    fn from(found: Found) -> SentRows {
        let Found { sequences, partitions, highest } = found;
        SentRows {
            sequences,
            highest,
            lane_of: Box::new(move |key, number| partition_for(key, number, partitions)),
        }
    }
}

/// What to search for in a topic.
pub(super) struct Search {
    /// Also `true` if unknown.
    may_be_compacted: bool,
    /// Number of partitions when the rows were sent; `None` if unknown.
    partitions_were: Option<u32>,
    /// One for each sender.
    headers: Vec<SequenceHeader>,
    after: u64,
    since_millis: i64,
    has_row_partitions: bool,
}

impl Search {
    pub fn new(
        window: &ResendWindow,
        may_be_compacted: bool,
        partitions_were: Option<u32>,
    ) -> Search {
        let header = |name: &String| SequenceHeader::new(name, window.generation);
        let since_millis = (window.since_millis - CLOCK_SKEW_MILLIS).max(0);
        Search {
            may_be_compacted,
            partitions_were,
            headers: window.senders.iter().map(header).collect(),
            after: window.after,
            // Timestamps of rows find no beginning. The search ends at the first record that the checkpoint covers.
            since_millis: if window.has_row_timestamps { 0 } else { since_millis },
            has_row_partitions: window.has_row_partitions,
        }
    }

    /// Searches the tails of an existing topic. `connecting`: a reader that is already connecting.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub async fn look(
        self,
        kafka: &KafkaOptions,
        name: &str,
        topic: &str,
        connecting: Option<Connecting>,
    ) -> Result<Found, reader::Error> {
        let (kafka, name, of) = (kafka.clone(), name.to_owned(), topic.to_owned());
        let begun = Instant::now();
        let connected = match connecting {
            // If it failed, the reader that replaces it reports why.
            Some(mut connecting) => connecting.done().await.ok().and_then(Result::ok),
            None => None,
        };
        let looked = tasks::blocking(move || {
            let topic = of;
            let reader = match connected {
                Some(connected) => connected.turned_to(KIND, &topic),
                None => Reader::new(&kafka, &name, KIND, &topic)?,
            };
            let found = self.run(&reader)?;
            let (rows, took_ms) = (found.sequences.len(), begun.elapsed().as_millis());
            tracing::info!(topic, rows, took_ms, "looked for rows that are in Kafka already");
            Ok(found)
        });
        // A panic there becomes one here.
        looked.await.unwrap_or_else(|panicked| panic!("{}", panicked.0))
    }

    fn run(&self, topic: &Reader) -> Result<Found, reader::Error> {
        let extents = topic.settled_extents()?;
        let floors = topic.offsets_since(self.since_millis, &extents)?;
        let partitions = u32::try_from(extents.len()).expect("a number of partitions");
        // The other partitions hold no row of the window.
        let mut to_read = extents.clone();
        to_read.retain(|partition, extent| floors[partition] < extent.end);
        let tails = topic.read_tails(
            &to_read,
            |partition| floors[&partition],
            |tail: &mut Tail, record| self.take(tail, record, partitions),
            |tail| tail.is_whole,
        )?;
        // If the topic has grown, the key may have gone to another partition, and this one proves nothing about it. The
        // remaining keys need not show that.
        let has_grown = self.partitions_were != Some(partitions)
            || tails.values().any(|tail| tail.is_of_fewer_partitions);
        let mut found = Found { partitions, ..Found::default() };
        for (partition, tail) in tails {
            let (extent, floor) = (extents[&partition], floors[&partition]);
            let is_cut = extent.first > 0 && floor == extent.first && !tail.is_whole;
            if (self.may_be_compacted || is_cut)
                && !has_grown
                && let (Some(highest), Ok(partition)) =
                    (tail.sequences.iter().max(), u32::try_from(partition))
            {
                found.highest.insert(partition, *highest);
            }
            found.sequences.extend(tail.sequences);
        }
        Ok(found)
    }

    fn take(&self, tail: &mut Tail, record: &BorrowedMessage<'_>, partitions: u32) {
        let Some(sequence) = self.sequence(record) else { return };
        let now_at = partition_for(record.key(), None, partitions);
        tail.is_of_fewer_partitions |=
            !self.has_row_partitions && Ok(now_at) != u32::try_from(record.partition());
        if sequence > self.after {
            tail.sequences.push(sequence);
        } else {
            tail.is_whole = true;
        }
    }

    /// The number of a record of this relay and generation, under any of its names. A dead letter that was published
    /// again has an earlier one, and says nothing about what was sent.
    fn sequence(&self, record: &BorrowedMessage<'_>) -> Option<u64> {
        let headers = record.headers()?;
        let value = headers.iter().find(|header| header.key == SEQUENCE_HEADER)?.value?;
        if headers.iter().any(|header| header.key == REPLAYED_HEADER) {
            return None;
        }
        self.headers.iter().find_map(|header| header.parse(value))
    }
}

/// What was read from one partition.
#[derive(Default)]
struct Tail {
    /// Numbers after the checkpoint.
    sequences: Vec<u64>,
    /// Found a record that the checkpoint covers. It covers all earlier ones as well.
    is_whole: bool,
    /// Found a key that now belongs to another partition: the topic has grown.
    is_of_fewer_partitions: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::kafka::partitions::PARTITION_WITHOUT_KEY;

    #[test]
    fn a_row_is_there_by_its_number_or_by_a_later_one_where_some_may_be_deleted() {
        let key = Some(&b"foobar"[..]);
        let of_key = partition_for(key, None, 12);
        let found = |highest| {
            SentRows::from(Found {
                sequences: HashSet::from([5, 9]),
                partitions: 12,
                highest: BTreeMap::from_iter(highest),
            })
        };
        let whole = found(None);
        assert!(whole.holds(key, None, 5) && whole.holds(key, None, 9));
        assert!(
            !whole.holds(key, None, 4) && !whole.holds(key, None, 7) && !whole.holds(key, None, 10)
        );
        let cut = found(Some((of_key, 9)));
        assert!(cut.holds(key, None, 4) && cut.holds(key, None, 7) && !cut.holds(key, None, 10));
        // Records without a key are all in one partition.
        assert!(!cut.holds(None, None, 7) && whole.holds(None, None, 9));
        let without_key = found(Some((PARTITION_WITHOUT_KEY, 9)));
        assert!(without_key.holds(None, None, 7) && !without_key.holds(None, None, 10));
        let elsewhere = found(Some(((of_key + 1) % 12, 9)));
        assert!(!elsewhere.holds(key, None, 7));
    }
}
