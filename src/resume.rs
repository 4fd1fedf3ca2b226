//! What of the rows after a checkpoint is in Kafka already.
//!
//! `idempotent` delivery sends rows before the checkpoint tells of them, so a relay that dies leaves some
//! behind. Its successor relays the same rows under the same sequence numbers, and looks at the ends of the
//! partitions of each topic, when the first row for it comes, for the numbers that are there. It looks from
//! the time on that the checkpoint names, less a minute, or from the last record that the checkpoint covers.

use std::collections::{BTreeMap, HashMap, HashSet};

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::batch::TopicId;
use crate::checkpoint::{Checkpoint, PartitionCounts};
use crate::coordinates::Coordinates;
use crate::kafka::{self, Delivery, Reader, reader};
use crate::publish::idempotent::RECORDS_AHEAD_MAX;
use crate::publish::partitions::partition_of;
use crate::publish::sequence::{SEQUENCE_HEADER, SequenceHeader};
use crate::telemetry::clock::iso_8601_of_millis;

/// What is looked at, in words.
const KIND: &str = "topic";

/// How far the clocks of brokers and relays may be apart.
const CLOCK_SKEW_MILLIS: i64 = 60_000;

/// The rows that a predecessor may have sent.
#[derive(Debug)]
pub struct Window {
    pub kafka: kafka::Options,
    /// The relay's name.
    pub name: String,
    /// Names of all relays that may have sent rows of the window: it may have been renamed.
    pub senders: Vec<String>,
    /// How many partitions the topics had when the rows were sent; `None`: nobody knows.
    pub partitions: Option<PartitionCounts>,
    pub generation: u64,
    /// Number of the last row that the checkpoint covers.
    pub after: u64,
    /// Rows after it may be in Kafka since then, in milliseconds since 1970.
    pub since_millis: i64,
    /// What the predecessor can have read ends here; `None` while it may still read.
    pub until: Option<Coordinates>,
    /// What was found, of the topics that were looked at.
    pub topics: HashMap<TopicId, Found>,
    /// A reader that connects while the dump is asked for: the first topic is looked at by it.
    pub reader: Option<JoinHandle<Result<Reader, reader::Error>>>,
}

/// A reader that connects by itself, for the first topic that is looked at. `topic`: one that is there.
#[must_use]
pub fn connect(
    kafka: &kafka::Options,
    name: &str,
    topic: &str,
) -> JoinHandle<Result<Reader, reader::Error>> {
    let (kafka, name, topic) = (kafka.clone(), name.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let reader = Reader::new(&kafka, &name, KIND, &topic)?;
        reader.connect();
        Ok(reader)
    })
}

/// Who may have sent rows after a checkpoint: the relay of this name, under its earlier names, too.
#[must_use]
pub fn senders(name: &str, stored: &Checkpoint) -> Vec<String> {
    let mut senders = stored.unacknowledged_names.clone();
    senders.extend(stored.name.clone());
    senders.push(name.to_owned());
    senders.sort();
    senders.dedup();
    senders
}

impl Window {
    /// Looks for rows of the window in a topic that exists. `may_be_compacted`: also when nobody knows.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub async fn look(
        &mut self,
        id: TopicId,
        topic: &str,
        may_be_compacted: bool,
    ) -> Result<(), reader::Error> {
        let header = |name: &String| SequenceHeader::new(name, self.generation);
        let partitions_were = self.partitions.as_ref().and_then(|counts| counts.get(topic));
        let search = Search {
            may_be_compacted,
            partitions_were,
            headers: self.senders.iter().map(header).collect(),
            after: self.after,
            since_millis: (self.since_millis - CLOCK_SKEW_MILLIS).max(0),
        };
        let (kafka, name, of) = (self.kafka.clone(), self.name.clone(), topic.to_owned());
        let begun = Instant::now();
        let connected = match self.reader.take() {
            // Whatever kept it is told by the one that is made instead.
            Some(connecting) => connecting.await.ok().and_then(Result::ok),
            None => None,
        };
        let looked = tokio::task::spawn_blocking(move || {
            let topic = of;
            let reader = match connected {
                Some(connected) => connected.turned_to(KIND, &topic),
                None => Reader::new(&kafka, &name, KIND, &topic)?,
            };
            let found = search.run(&reader)?;
            let (rows, took_ms) = (found.sequences.len(), begun.elapsed().as_millis());
            tracing::info!(topic, rows, took_ms, "looked for rows that are in Kafka already");
            Ok(found)
        });
        // A panic there is one here.
        let found =
            looked.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let found = found?;
        if partitions_were != Some(found.partitions) {
            // A second crash must not take ours for what the predecessor had.
            self.partitions = self.partitions.take().and_then(|counts| counts.without(topic));
        }
        self.topics.insert(id, found);
        Ok(())
    }

    /// A topic was just created: nothing of a predecessor is in it.
    pub fn note_new_topic(&mut self, topic: &str, partitions: u32) {
        self.partitions = self.partitions.take().and_then(|counts| counts.with(topic, partitions));
    }

    /// The row of this number and key is in that topic.
    pub fn holds(&self, topic: TopicId, key: &[u8], sequence: u64) -> bool {
        self.topics.get(&topic).is_some_and(|found| found.holds(key, sequence))
    }

    /// Nothing from this place on, or from this number on, can have been sent by the predecessor.
    pub fn is_passed(&self, place: &Coordinates, next_sequence: u64) -> bool {
        let is_passed = |until| place >= until || next_sequence > self.after + RECORDS_AHEAD_MAX;
        self.until.as_ref().is_some_and(is_passed)
    }

    /// A checkpoint inside of the window says that rows after it may be in Kafka, whoever writes it: also the
    /// last one of a drain.
    #[must_use]
    pub fn mark(&self, checkpoint: Checkpoint) -> Checkpoint {
        let is_other = |sender: &&String| Some(*sender) != checkpoint.name.as_ref();
        Checkpoint {
            delivery: Some(Delivery::Idempotent),
            clean: false,
            unacknowledged_since: Some(iso_8601_of_millis(self.since_millis)),
            unacknowledged_names: self.senders.iter().filter(is_other).cloned().collect(),
            partitions: self.partitions.clone(),
            ..checkpoint
        }
    }
}

/// What the ends of a topic's partitions have of the window.
#[derive(Debug, Default)]
pub struct Found {
    sequences: HashSet<u64>,
    partitions: u32,
    /// The highest number in each partition from which some may have been deleted since.
    highest: BTreeMap<u32, u64>,
}

impl Found {
    fn holds(&self, key: &[u8], sequence: u64) -> bool {
        // Records of a partition arrive in order: what was deleted before the highest was there.
        self.sequences.contains(&sequence)
            || self
                .highest
                .get(&partition_of(key, self.partitions))
                .is_some_and(|it| sequence <= *it)
    }
}

struct Search {
    may_be_compacted: bool,
    /// How many partitions the topic had when the rows were sent; `None`: nobody knows.
    partitions_were: Option<u32>,
    /// One of each sender.
    headers: Vec<SequenceHeader>,
    after: u64,
    since_millis: i64,
}

/// What was read of one partition.
#[derive(Default)]
struct Tail {
    /// Numbers after the checkpoint.
    sequences: Vec<u64>,
    /// There is a record that the checkpoint covers: all before it are covered as well.
    is_whole: bool,
    /// A key that now belongs elsewhere: the topic has got more partitions since.
    is_of_fewer_partitions: bool,
}

impl Search {
    fn run(&self, topic: &Reader) -> Result<Found, reader::Error> {
        let extents = topic.settled_extents()?;
        let floors = topic.offsets_since(self.since_millis, &extents)?;
        let partitions = u32::try_from(extents.len()).expect("a number of partitions");
        // Of the others nothing is of the window.
        let mut to_read = extents.clone();
        to_read.retain(|partition, extent| floors[partition] < extent.end);
        let tails = topic.read_tails(
            &to_read,
            |partition| floors[&partition],
            |tail: &mut Tail, record| self.take(tail, record, partitions),
            |tail| tail.is_whole,
        )?;
        // With more partitions than before, a key may have gone elsewhere, and what is in this partition says
        // nothing of it. The keys that are left need not show it.
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
        let now_at = record.key().map(|key| partition_of(key, partitions));
        tail.is_of_fewer_partitions |= now_at != u32::try_from(record.partition()).ok();
        if sequence > self.after {
            tail.sequences.push(sequence);
        } else {
            tail.is_whole = true;
        }
    }

    /// The number of a record of this relay, whatever its name was, and generation.
    fn sequence(&self, record: &BorrowedMessage<'_>) -> Option<u64> {
        let value = record.headers()?.iter().find(|header| header.key == SEQUENCE_HEADER)?.value?;
        self.headers.iter().find_map(|header| header.parse(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(after: u64) -> Window {
        Window {
            kafka: kafka::Options {
                bootstrap_servers: "nowhere:1".to_owned(),
                properties: BTreeMap::new(),
            },
            name: "orders".to_owned(),
            senders: vec!["orders".to_owned()],
            partitions: None,
            generation: 7,
            after,
            since_millis: 1_769_860_800_000,
            until: Some("b.000003:500".parse().unwrap()),
            topics: HashMap::new(),
            reader: None,
        }
    }

    #[test]
    fn a_row_is_there_by_its_number_or_by_a_later_one_where_some_may_be_deleted() {
        let key = b"foobar";
        let of_key = partition_of(key, 12);
        let found = |highest| Found {
            sequences: HashSet::from([5, 9]),
            partitions: 12,
            highest: BTreeMap::from_iter(highest),
        };
        let whole = found(None);
        assert!(whole.holds(key, 5) && whole.holds(key, 9));
        assert!(!whole.holds(key, 4) && !whole.holds(key, 7) && !whole.holds(key, 10));
        let cut = found(Some((of_key, 9)));
        assert!(cut.holds(key, 4) && cut.holds(key, 7) && !cut.holds(key, 10));
        let elsewhere = found(Some(((of_key + 1) % 12, 9)));
        assert!(!elsewhere.holds(key, 7));
    }

    #[test]
    fn the_window_ends_where_the_predecessor_can_have_read_no_more() {
        let window = window(40);
        let place = |text: &str| text.parse::<Coordinates>().unwrap();
        assert!(!window.is_passed(&place("b.000003:499"), 41));
        assert!(window.is_passed(&place("b.000003:500"), 41));
        assert!(window.is_passed(&place("b.000004:4"), 41));
        assert!(!window.is_passed(&place("b.000002:9000"), 40 + RECORDS_AHEAD_MAX));
        assert!(window.is_passed(&place("b.000002:9000"), 41 + RECORDS_AHEAD_MAX));
        // As long as the predecessor may read on, its end is not known.
        let open = Window { until: None, ..self::tests::window(40) };
        assert!(!open.is_passed(&place("b.000004:4"), 41));
        // Names that cannot be compared say nothing.
        assert!(!window.is_passed(&place("other.000009:4"), 41));
    }

    #[test]
    fn within_the_window_even_a_drain_says_that_rows_may_be_in_kafka() {
        let drained = Checkpoint {
            delivery: Some(Delivery::ExactlyOnce),
            clean: true,
            sequence: 41,
            ..Checkpoint::default()
        };
        let marked = window(40).mark(drained);
        assert!(marked.may_be_ahead());
        assert_eq!(marked.unacknowledged_since_millis(), Ok(Some(1_769_860_800_000)));
        assert_eq!(marked.sequence, 41);
    }

    #[test]
    fn within_the_window_every_checkpoint_names_who_else_may_have_sent_rows() {
        let senders = vec!["orders".to_owned(), "old".to_owned(), "older".to_owned()];
        let renamed = Window { senders, ..window(40) };
        let of = |name: &str| Checkpoint { name: Some(name.to_owned()), ..Checkpoint::default() };
        assert_eq!(renamed.mark(of("orders")).unacknowledged_names, ["old", "older"]);
        assert!(window(40).mark(of("orders")).unacknowledged_names.is_empty());
    }

    #[test]
    fn rows_may_have_been_sent_under_every_name_that_the_checkpoint_tells_and_the_own() {
        let stored = |name: Option<&str>, names: &[&str]| Checkpoint {
            name: name.map(str::to_owned),
            unacknowledged_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Checkpoint::default()
        };
        assert_eq!(senders("b", &stored(None, &[])), ["b"]);
        assert_eq!(senders("b", &stored(Some("a"), &[])), ["a", "b"]);
        assert_eq!(senders("a", &stored(Some("b"), &["a", "c"])), ["a", "b", "c"]);
    }

    #[test]
    fn a_topic_that_was_created_meanwhile_has_its_own_number_of_partitions() {
        let counts = PartitionCounts::of_first(12);
        let mut window = Window { partitions: Some(counts), ..window(40) };
        window.note_new_topic("new", 3);
        let told = window.mark(Checkpoint::default()).partitions.unwrap();
        assert_eq!((told.get("new"), told.get("other")), (Some(3), Some(12)));
    }
}
