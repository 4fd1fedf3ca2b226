//! The first and last offsets of a topic's partitions. One request asks for all of them, since a round trip for each
//! would dominate the time of a read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::{Error, Reader};
use crate::sink::kafka::connection::{Context, REQUEST_TIMEOUT};
use crate::tasks::in_this_span;

/// How long another producer's open transaction may hold us back in one attempt. Recovery retries, and logs why. A
/// transaction lives up to its own timeout, 60 s by default, and a hanging one until somebody ends it.
const HELD_BACK_MAX: Duration = Duration::from_secs(15);

/// Offsets of a partition: of its first record, and the one after its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub first: i64,
    pub end: i64,
}

/// By partition.
pub type Extents = BTreeMap<i32, Extent>;

impl Reader {
    /// Connects to the leaders, so that the next question costs one round trip. Reads no records. An error shows at the
    /// next question.
    pub fn connect(&self) {
        std::thread::scope(|scope| {
            for consumer in [&self.uncommitted, &self.committed] {
                scope.spawn(in_this_span(|| {
                    if let Err(error) = self.connect_to_leaders(consumer) {
                        tracing::debug!(%error, "connect to the leaders of the {}", self.title);
                    }
                }));
            }
        });
    }

    fn connect_to_leaders(&self, consumer: &BaseConsumer<Context>) -> Result<(), Error> {
        let partitions = self.ask_partitions(consumer)?;
        let asked = if partitions.is_empty() {
            Ok(())
        } else {
            self.list_offsets(consumer, &partitions, Offset::Beginning).map(drop)
        };
        *self.known() = partitions;
        asked.map_err(|error| self.failed_at(consumer, error))
    }

    /// Asks for the partitions. Returns `true` if they differ from those of [`Reader::extents`].
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

    /// Turns a reader that is connected, but has read nothing, to another topic.
    #[must_use]
    pub fn turned_to(self, kind: &str, topic: &str) -> Reader {
        let title = format!("{kind} {topic}");
        Reader { topic: topic.to_owned(), title, partitions: Mutex::default(), ..self }
    }

    /// First and last offsets of the partitions, including open transactions. These are the partitions that existed
    /// when the reader connected.
    ///
    /// # Errors
    /// Kafka cannot be asked, or knows no such topic. A broker that has just started may not know it yet.
    pub fn extents(&self) -> Result<Extents, Error> {
        self.extents_of(&self.uncommitted)
    }

    /// The same, up to the first open transaction.
    ///
    /// # Errors
    /// As [`Reader::extents`].
    pub fn committed_extents(&self) -> Result<Extents, Error> {
        self.extents_of(&self.committed)
    }

    /// The same as [`Reader::extents`], after waiting until no transaction before the ends is open.
    ///
    /// # Errors
    /// As [`Reader::extents`] and [`Reader::await_committed`].
    pub fn settled_extents(&self) -> Result<Extents, Error> {
        let (extents, stable) = std::thread::scope(|scope| {
            let stable = scope.spawn(in_this_span(|| self.committed_extents()));
            (self.extents(), stable.join())
        });
        let extents = extents?;
        // An error shows when it is asked again.
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

    /// Asks each leader for all of its partitions at once, for first and last offsets in parallel.
    fn watermarks(
        &self,
        consumer: &BaseConsumer<Context>,
        partitions: &[i32],
    ) -> Result<Extents, KafkaError> {
        if partitions.is_empty() {
            return Ok(Extents::new());
        }
        let (firsts, ends) = std::thread::scope(|scope| {
            let firsts = scope
                .spawn(in_this_span(|| self.list_offsets(consumer, partitions, Offset::Beginning)));
            let ends = self.list_offsets(consumer, partitions, Offset::End);
            (firsts.join(), ends)
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
            // librdkafka takes the ends in place of a time.
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
}
