//! Reads the committed records of a topic, from given offsets to the ends at that time.
//!
//! It uses `assign` and no consumer group, and reads several partitions at once. It skips records of aborted
//! transactions, and can wait for open ones.

mod extents;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

pub use self::extents::{Extent, Extents};
use super::connection::{
    ClientError, Context, KafkaOptions, create, end, explain, is_about_a_connection,
};
use crate::tasks::in_this_span;

/// How long reading may go without a record.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two reads of the events while a broker is being asked.
const SERVE_INTERVAL: Duration = Duration::from_millis(5);

/// How far before the end of a partition a search begins, in offsets. Each transaction marker takes one, and others may
/// write to the topic, too.
const TAIL: i64 = 64;
/// The tail grows by this factor until the search has succeeded.
const TAIL_GROWTH: i64 = 16;

/// Why a topic could not be read. `topic` has its role and its name: `checkpoint topic offsets`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the {topic}")]
    Kafka { topic: String, source: ClientError },
    #[error("the {topic} is not known to the broker")]
    NoTopic { topic: String },
    #[error("the {topic} did not deliver its end within {} s", READ_TIMEOUT.as_secs())]
    Timeout { topic: String },
    #[error(
        "the checkpoint topic {topic} has become shorter: offset {offset} was given out again, after {seen} records were there"
    )]
    Shortened { topic: String, seen: i64, offset: i64 },
    #[error(
        "an open transaction of another producer holds back the {topic} for {} s already",
        waited.as_secs()
    )]
    HeldBack { topic: String, waited: Duration },
}

/// Reads one topic.
pub struct Reader {
    topic: String,
    /// Role and name of the topic.
    title: String,
    /// Sees the end of a partition behind open transactions.
    uncommitted: BackgroundDrop,
    /// Sees committed records only.
    committed: BackgroundDrop,
    /// Logins use tokens, so events must be read while a broker is being asked.
    uses_tokens: bool,
    /// The partitions at the time when the reader connected; empty before.
    partitions: Mutex<Vec<i32>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("title", &self.title).finish_non_exhaustive()
    }
}

/// A consumer that is dropped in the background, as ending it takes up to 100 ms.
struct BackgroundDrop(Option<BaseConsumer<Context>>);

impl Deref for BackgroundDrop {
    type Target = BaseConsumer<Context>;

    fn deref(&self) -> &BaseConsumer<Context> {
        self.0.as_ref().expect("it is taken only when it is dropped")
    }
}

impl Drop for BackgroundDrop {
    fn drop(&mut self) {
        end(self.0.take());
    }
}

impl Reader {
    /// `kind`: the role of the topic, as in "checkpoint topic".
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(
        kafka: &KafkaOptions,
        client_id: &str,
        kind: &str,
        topic: &str,
    ) -> Result<Reader, Error> {
        let title = format!("{kind} {topic}");
        let consumer = |isolation: &str, group: Option<&str>| -> Result<_, ClientError> {
            let mut config = kafka.client_config(client_id)?;
            config
                .set("isolation.level", isolation)
                .set("enable.auto.commit", "false")
                .set("enable.partition.eof", "true")
                // If the log was cut meanwhile, jumping to its end would look like "none".
                .set("auto.offset.reset", "error")
                // librdkafka reports the end of a partition only after a fetch that found nothing.
                .set("fetch.wait.max.ms", "1")
                // A follower may not have the end yet.
                .set("client.rack", "")
                .set("check.crcs", "true");
            if let Some(group) = group {
                // librdkafka assigns partitions only if there is a group id. The group is never joined.
                config.set("group.id", group);
            }
            create(&config, Context::default())
        };
        let failed = |source| Error::Kafka { topic: title.clone(), source };
        let in_background = |consumer| BackgroundDrop(Some(consumer));
        let uncommitted = consumer("read_uncommitted", None).map(in_background).map_err(failed)?;
        let committed =
            consumer("read_committed", Some(client_id)).map(in_background).map_err(failed)?;
        let uses_tokens = kafka.uses_tokens();
        let (topic, partitions) = (topic.to_owned(), Mutex::default());
        Ok(Reader { topic, title, uncommitted, committed, uses_tokens, partitions })
    }

    /// Reads tails of partitions that grow, until each partition has shown enough or its floor is reached. Every tail
    /// goes up to the end, so what is kept of a partition starts afresh with each.
    ///
    /// # Errors
    /// Kafka cannot be read, or does not deliver.
    pub fn read_tails<T: Default>(
        &self,
        extents: &Extents,
        floor: impl Fn(i32) -> i64,
        take: impl Fn(&mut T, &BorrowedMessage<'_>),
        is_enough: impl Fn(&T) -> bool,
    ) -> Result<BTreeMap<i32, T>, Error> {
        let mut tails = BTreeMap::new();
        let mut left: Vec<i32> = extents.keys().copied().collect();
        let mut length = TAIL;
        while !left.is_empty() {
            let first = |it: &i32| (extents[it].end - length).max(floor(*it));
            let from: BTreeMap<i32, i64> = left.iter().map(|it| (*it, first(it))).collect();
            tails.extend(left.iter().map(|it| (*it, T::default())));
            self.read(&from, extents, |record| {
                if let Some(tail) = tails.get_mut(&record.partition()) {
                    take(tail, record);
                }
            })?;
            left.retain(|it| !is_enough(&tails[it]) && from[it] > floor(*it));
            length = length.saturating_mul(TAIL_GROWTH);
        }
        Ok(tails)
    }

    /// Reads a part of one partition, up to the offset before `end`, which must exist.
    ///
    /// # Errors
    /// As [`Reader::read_tails`].
    pub fn read_part(
        &self,
        partition: i32,
        part: Extent,
        take: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Error> {
        if part.first < part.end {
            self.read(&[(partition, part.first)].into(), &[(partition, part)].into(), take)
        } else {
            Ok(())
        }
    }

    /// Reads partitions from the given offsets to the given ends, all at once. A partition is done only when a record
    /// or the leader's own end has reached the given end. A newly elected leader may show a lower end for a while, and
    /// stopping there would miss records.
    fn read(
        &self,
        from: &BTreeMap<i32, i64>,
        extents: &Extents,
        mut take: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Error> {
        let mut assignment = TopicPartitionList::new();
        for (partition, offset) in from {
            assignment
                .add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))
                .map_err(|error| self.failed(error))?;
        }
        self.committed.assign(&assignment).map_err(|error| self.failed(error))?;
        let mut unfinished: BTreeSet<i32> = from.keys().copied().collect();
        let mut is_said = false;
        // Each record shows progress. A failed connection does not.
        let mut deadline = Instant::now() + READ_TIMEOUT;
        while !unfinished.is_empty() {
            match self.committed.poll(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(record)) => {
                    deadline = Instant::now() + READ_TIMEOUT;
                    let (partition, offset) = (record.partition(), record.offset());
                    // A record of an earlier assignment.
                    let Some(Extent { end, .. }) = extents.get(&partition).copied() else {
                        continue;
                    };
                    // Stop at the end offset taken earlier. Other producers may keep appending.
                    if offset + 1 >= end {
                        unfinished.remove(&partition);
                    }
                    if offset < end {
                        take(&record);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    let at = self.committed.context().end.get();
                    let Some(Extent { end, .. }) = extents.get(&partition).copied() else {
                        continue;
                    };
                    if at >= end {
                        unfinished.remove(&partition);
                    } else if !std::mem::replace(&mut is_said, true) {
                        // A newly elected leader has the records, and shows them a moment later.
                        let topic = &self.title;
                        tracing::warn!("the {topic} {}", shorter(partition, at, end));
                    }
                }
                // A broker is gone. Another one may answer before the deadline.
                Some(Err(error)) if is_about_a_connection(&error) => {}
                // An error about the group, which is never joined.
                Some(Err(error)) if is_about_the_group(&error) => {}
                Some(Err(error)) => return Err(self.failed(error)),
                None => return Err(Error::Timeout { topic: self.title.clone() }),
            }
        }
        // Without this, the consumer would go on fetching.
        self.committed.unassign().map_err(|error| self.failed(error))
    }

    /// Asks a broker, and reads events meanwhile if the login needs that. The consumer has no assignment yet, so this
    /// loses no record.
    fn ask<T>(
        &self,
        consumer: &BaseConsumer<Context>,
        question: impl FnOnce(&BaseConsumer<Context>) -> T,
    ) -> T {
        if !self.uses_tokens {
            return question(consumer);
        }
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(in_this_span(|| {
                while !is_done.load(Ordering::Acquire) {
                    drop(consumer.poll(SERVE_INTERVAL));
                }
            }));
            let answer = question(consumer);
            is_done.store(true, Ordering::Release);
            answer
        })
    }

    fn failed(&self, error: KafkaError) -> Error {
        self.failed_at(&self.committed, error)
    }

    fn failed_at(&self, consumer: &BaseConsumer<Context>, error: KafkaError) -> Error {
        Error::Kafka { topic: self.title.clone(), source: explain(consumer, error) }
    }
}

/// The last reported end of a partition. librdkafka tells the offset only in words.
#[derive(Debug)]
pub(super) struct LastEnd(AtomicI64);

impl Default for LastEnd {
    fn default() -> LastEnd {
        LastEnd(AtomicI64::new(NO_OFFSET))
    }
}

/// Below every offset.
const NO_OFFSET: i64 = -1;

impl LastEnd {
    /// Takes an error event of librdkafka. It comes on the polling thread, before the poll returns.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            self.0.store(end_offset(reason).unwrap_or(NO_OFFSET), Ordering::Relaxed);
        }
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// `Fetch from broker 1 reached end of partition at offset 42 (HighwaterMark 42)`. Markers of transactions
/// and records that were compacted away count, as the offset is that of the next fetch.
fn end_offset(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once(" end of partition at offset ")?;
    rest.split_once(' ')?.0.parse().ok()
}

/// Says that a leader shows a partition shorter than it was.
fn shorter(partition: i32, at: i64, end: i64) -> String {
    format!(
        "ends at offset {at} of partition {partition} by its leader, and at {end} a moment ago: waiting for the rest"
    )
}

fn is_about_the_group(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_an_end_is_read_from_the_words_of_librdkafka() {
        let end = LastEnd::default();
        assert_eq!(end.get(), NO_OFFSET);
        let eof = KafkaError::Global(RDKafkaErrorCode::PartitionEOF);
        end.note(
            &eof,
            "Fetch from broker 1 reached end of partition at offset 42 (HighwaterMark 44)",
        );
        assert_eq!(end.get(), 42);
        end.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(end.get(), 42);
        // Words that are not understood prove no end.
        end.note(&eof, "Broker: No more messages");
        assert_eq!(end.get(), NO_OFFSET);
    }
}
