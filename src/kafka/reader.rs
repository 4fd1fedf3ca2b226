//! What is committed in a topic, read from offsets that are named to the ends that were there.
//!
//! It reads with `assign`, without a group, and as many partitions at once as are asked for. Records of
//! transactions that were aborted are not seen; those of open ones can be waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::{Context, Options, REQUEST_TIMEOUT, create, end, explain, is_about_a_connection};

/// How long reading may go without a record.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long another producer's open transaction may hold us back in one try. Recovery tries again, and says why: a
/// transaction lives as long as its own timeout, 60 s by default, and one that hangs until somebody ends it.
const HELD_BACK_MAX: Duration = Duration::from_secs(15);

/// How often events are read while a broker is asked.
const SERVE_INTERVAL: Duration = Duration::from_millis(5);

/// How far from the end of a partition a search begins, in offsets. Transaction markers take one each, and
/// others may write there too.
const TAIL: i64 = 64;
/// The tail grows by this factor until it is enough.
const TAIL_GROWTH: i64 = 16;

/// Why a topic could not be read. `topic` is what it is and its name: `checkpoint topic offsets`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the {topic}")]
    Kafka { topic: String, source: super::Error },
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

/// Offsets of a partition: of its first record, and the one after its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub first: i64,
    pub end: i64,
}

/// By partition.
pub type Extents = BTreeMap<i32, Extent>;

/// Reads one topic.
pub struct Reader {
    topic: String,
    /// What it is, and its name.
    title: String,
    /// Sees the end of a partition whatever transactions are open.
    uncommitted: Ending,
    /// Sees committed records only.
    committed: Ending,
    /// Events are read while a broker is asked.
    uses_tokens: bool,
    /// Those that were there when the reader connected; empty before.
    partitions: Mutex<Vec<i32>>,
}

/// A consumer that nobody waits for when it ends.
struct Ending(Option<BaseConsumer<Context>>);

impl Deref for Ending {
    type Target = BaseConsumer<Context>;

    fn deref(&self) -> &BaseConsumer<Context> {
        self.0.as_ref().expect("it is taken only when it is dropped")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        end(self.0.take());
    }
}

impl Reader {
    /// `kind`: what the topic is, as in "checkpoint topic".
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(kafka: &Options, client_id: &str, kind: &str, topic: &str) -> Result<Reader, Error> {
        let title = format!("{kind} {topic}");
        let consumer = |isolation: &str, group: Option<&str>| -> Result<_, super::Error> {
            let mut config = kafka.client_config(client_id)?;
            config
                .set("isolation.level", isolation)
                .set("enable.auto.commit", "false")
                .set("enable.partition.eof", "true")
                // Where the log was cut meanwhile, to jump to its end would read as "none".
                .set("auto.offset.reset", "error")
                // The end of a partition is only known once a fetch found nothing more.
                .set("fetch.wait.max.ms", "1")
                // Another replica than the leader may not have the end yet.
                .set("client.rack", "")
                .set("check.crcs", "true");
            if let Some(group) = group {
                // librdkafka assigns partitions only to members of a group; it is never joined.
                config.set("group.id", group);
            }
            create(&config, Context::default())
        };
        let failed = |source| Error::Kafka { topic: title.clone(), source };
        let ending = |consumer| Ending(Some(consumer));
        let uncommitted = consumer("read_uncommitted", None).map(ending).map_err(failed)?;
        let committed = consumer("read_committed", Some(client_id)).map(ending).map_err(failed)?;
        let uses_tokens = kafka.uses_tokens();
        let (topic, partitions) = (topic.to_owned(), Mutex::default());
        Ok(Reader { topic, title, uncommitted, committed, uses_tokens, partitions })
    }

    /// Connects, so that what is asked next costs one round trip. Nothing is read: where partitions begin says
    /// nothing of what is in them. That it cannot be asked is told by who asks next.
    pub fn connect(&self) {
        std::thread::scope(|scope| {
            for consumer in [&self.uncommitted, &self.committed] {
                scope.spawn(|| {
                    if let Err(error) = self.connect_to_leaders(consumer) {
                        tracing::debug!(%error, "connect to the leaders of the {}", self.title);
                    }
                });
            }
        });
    }

    fn connect_to_leaders(&self, consumer: &BaseConsumer<Context>) -> Result<(), Error> {
        let partitions = self.ask_partitions(consumer)?;
        let asked = match partitions.is_empty() {
            true => Ok(()),
            false => self.list_offsets(consumer, &partitions, Offset::Beginning).map(drop),
        };
        *self.known() = partitions;
        asked.map_err(|error| self.failed_at(consumer, error))
    }

    /// Asks which partitions there are; `true`: others than those that [`Reader::extents`] has answered with.
    ///
    /// # Errors
    /// As [`Reader::extents`].
    pub fn has_other_partitions(&self) -> Result<bool, Error> {
        let partitions = self.ask_partitions(&self.uncommitted)?;
        let before = std::mem::replace(&mut *self.known(), partitions.clone());
        Ok(before != partitions)
    }

    fn known(&self) -> MutexGuard<'_, Vec<i32>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_partitions(&self, consumer: &BaseConsumer<Context>) -> Result<Vec<i32>, Error> {
        let failed = |error| self.failed_at(consumer, error);
        let metadata = self
            .ask(consumer, |consumer| consumer.fetch_metadata(Some(&self.topic), REQUEST_TIMEOUT))
            .map_err(failed)?;
        let no_topic = || Error::NoTopic { topic: self.title.clone() };
        let found = metadata.topics().first().ok_or_else(no_topic)?;
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(found.partitions().iter().map(|partition| partition.id()).collect()),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Err(no_topic())
            }
            Some(code) => Err(failed(KafkaError::MetadataFetch(code))),
        }
    }

    /// Where the partitions begin and end, whatever transactions are open. Of a reader that has connected, these are
    /// the partitions that were there then.
    ///
    /// # Errors
    /// Kafka cannot be asked, or knows no such topic: which may be what one broker says that has just started.
    pub fn extents(&self) -> Result<Extents, Error> {
        self.extents_of(&self.uncommitted)
    }

    /// The same up to the first transaction that is open.
    ///
    /// # Errors
    /// As [`Reader::extents`].
    pub fn committed_extents(&self) -> Result<Extents, Error> {
        self.extents_of(&self.committed)
    }

    /// The same as [`Reader::extents`], of a time at which no transaction before the ends is open any more.
    ///
    /// # Errors
    /// As [`Reader::extents`] and [`Reader::await_committed`].
    pub fn settled_extents(&self) -> Result<Extents, Error> {
        let (extents, stable) = std::thread::scope(|scope| {
            let stable = scope.spawn(|| self.committed_extents());
            (self.extents(), stable.join())
        });
        let extents = extents?;
        // It is asked again, and tells then why not.
        let stable = stable.ok().and_then(Result::ok).unwrap_or_default();
        let is_settled = |partition: &i32, extent: &Extent| {
            stable.get(partition).is_some_and(|stable| stable.end >= extent.end)
        };
        if !extents.iter().all(|(partition, extent)| is_settled(partition, extent)) {
            self.await_committed(&extents)?;
        }
        Ok(extents)
    }

    fn extents_of(&self, consumer: &BaseConsumer<Context>) -> Result<Extents, Error> {
        let mut partitions = self.known().clone();
        if partitions.is_empty() {
            partitions = self.ask_partitions(consumer)?;
            *self.known() = partitions.clone();
        }
        self.watermarks(consumer, &partitions).map_err(|error| self.failed_at(consumer, error))
    }

    /// Each leader is asked for all of its partitions at once, for both ends at a time.
    fn watermarks(
        &self,
        consumer: &BaseConsumer<Context>,
        partitions: &[i32],
    ) -> Result<Extents, KafkaError> {
        if partitions.is_empty() {
            return Ok(Extents::new());
        }
        let (firsts, ends) = std::thread::scope(|scope| {
            let firsts = scope.spawn(|| self.list_offsets(consumer, partitions, Offset::Beginning));
            (firsts.join(), self.list_offsets(consumer, partitions, Offset::End))
        });
        let firsts = firsts.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let extent = |(partition, end)| (partition, Extent { first: firsts[&partition], end });
        Ok(ends?.into_iter().map(extent).collect())
    }

    fn list_offsets(
        &self,
        consumer: &BaseConsumer<Context>,
        partitions: &[i32],
        which: Offset,
    ) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            // In a question about times, the ends stand for themselves.
            asked.add_partition_offset(&self.topic, *partition, which)?;
        }
        let answered =
            self.ask(consumer, |consumer| consumer.offsets_for_times(asked, REQUEST_TIMEOUT))?;
        let offset = |answer: &TopicPartitionListElem<'_>| {
            answer.error()?;
            match answer.offset() {
                Offset::Offset(offset) => Ok((answer.partition(), offset)),
                _ => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable)),
            }
        };
        answered.elements().iter().map(offset).collect()
    }

    /// Waits until every transaction before the ends is finished.
    ///
    /// # Errors
    /// It takes too long, or Kafka cannot be asked.
    pub fn await_committed(&self, extents: &Extents) -> Result<(), Error> {
        let since = Instant::now();
        let mut is_said = false;
        let partitions: Vec<i32> = extents.keys().copied().collect();
        while !partitions.is_empty() {
            let stable = self
                .list_offsets(&self.committed, &partitions, Offset::End)
                .map_err(|error| self.failed(error))?;
            let is_open = |(partition, extent): &(&i32, &Extent)| stable[*partition] < extent.end;
            let Some((partition, _)) = extents.iter().find(is_open) else { break };
            if since.elapsed() > HELD_BACK_MAX {
                let topic = self.title.clone();
                return Err(Error::HeldBack { topic, waited: since.elapsed() });
            }
            if !std::mem::replace(&mut is_said, true) {
                tracing::info!(
                    topic = self.topic,
                    partition,
                    "waiting for an open transaction of another producer"
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The first offset of each partition whose record has this timestamp or a later one; the end where none
    /// has.
    ///
    /// # Errors
    /// Kafka cannot be asked.
    pub fn offsets_since(
        &self,
        millis_since_1970: i64,
        extents: &Extents,
    ) -> Result<BTreeMap<i32, i64>, Error> {
        let mut asked = TopicPartitionList::new();
        for partition in extents.keys() {
            // In a question about times, the offset is the time.
            asked
                .add_partition_offset(&self.topic, *partition, Offset::Offset(millis_since_1970))
                .map_err(|error| self.failed(error))?;
        }
        let answered = self
            .ask(&self.uncommitted, |consumer| consumer.offsets_for_times(asked, REQUEST_TIMEOUT))
            .map_err(|error| self.failed_at(&self.uncommitted, error))?;
        let mut offsets = BTreeMap::new();
        for answer in answered.elements() {
            answer.error().map_err(|error| self.failed(error))?;
            let extent = extents[&answer.partition()];
            let offset = match answer.offset() {
                Offset::Offset(offset) => offset.clamp(extent.first, extent.end),
                _ => extent.end,
            };
            offsets.insert(answer.partition(), offset);
        }
        Ok(offsets)
    }

    /// Reads partitions from their ends backwards, in pieces that grow, until of each enough was seen or its
    /// floor is reached. A piece goes up to the end again, so what is kept of a partition begins anew with it.
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

    /// Reads a part of one partition: from an offset to the one before `end`, which must be there.
    ///
    /// # Errors
    /// As [`Reader::read_tails`].
    pub fn read_part(
        &self,
        partition: i32,
        part: Extent,
        take: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), Error> {
        match part.first < part.end {
            true => self.read(&[(partition, part.first)].into(), &[(partition, part)].into(), take),
            false => Ok(()),
        }
    }

    /// Reads partitions from the given offsets to their ends, all at once. A partition is read when a record or
    /// the leader's own end is at the end that was asked for: a leader that was just elected may show a lower
    /// end for a while, and all before it would read as all there is.
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
        // Each record shows that it goes on; connections that fail do not.
        let mut deadline = Instant::now() + READ_TIMEOUT;
        while !unfinished.is_empty() {
            match self.committed.poll(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(record)) => {
                    deadline = Instant::now() + READ_TIMEOUT;
                    let (partition, offset) = (record.partition(), record.offset());
                    // Of an assignment before this one.
                    let Some(Extent { end, .. }) = extents.get(&partition).copied() else {
                        continue;
                    };
                    // Others may write there faster than we read: what comes after the end is not waited for.
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
                        // A leader that was just elected has the records, and shows them a moment later.
                        let topic = &self.title;
                        tracing::warn!("the {topic} {}", shorter(partition, at, end));
                    }
                }
                // A broker that is gone: another one may answer before the deadline.
                Some(Err(error)) if is_about_a_connection(&error) => {}
                // Of the group that is never joined.
                Some(Err(error)) if is_about_the_group(&error) => {}
                Some(Err(error)) => return Err(self.failed(error)),
                None => return Err(Error::Timeout { topic: self.title.clone() }),
            }
        }
        // A consumer that has read all asks again and again.
        self.committed.unassign().map_err(|error| self.failed(error))
    }

    /// Does what waits for a broker, and reads events meanwhile where logging in needs it. Nothing is assigned to
    /// the consumer yet, so no record is lost by that.
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
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    drop(consumer.poll(SERVE_INTERVAL));
                }
            });
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

/// Where the partition ended whose end was reported last. librdkafka tells the offset in words only.
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
    /// Takes an error event of librdkafka in. It comes on the thread that polls, before that call returns.
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

/// What is said of a partition that its leader shows shorter than it was.
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
