//! The topics of a session, as the line asks for them.

use crate::batch::{DestinationId, Headers};
use crate::checkpoint::{Checkpoint, PartitionCounts};
use crate::delivery::Delivery;
use crate::failpoint::failpoint;
use crate::resend::ResendWindow;
use crate::sink::{Destination, Destinations, SentRows, SinkError};

use super::orders::{GiveOrder, Order};
use super::sent_rows::{self, Connecting, Search};
use super::sequence::{SEQUENCE_HEADER, sequence_header_len};
use super::topics::{Topics, record_batch_bytes};
use super::{Error, Kafka};

/// librdkafka's default `batch.size`, the limit of a record batch with several records.
const BATCH_BYTES_DEFAULT: usize = 1_000_000;

/// The topics of a session.
pub struct KafkaDestinations {
    kafka: Kafka,
    topics: Topics,
    give: GiveOrder,
    batch_bytes_max: usize,
    /// Partition counts of the topics that this session sends to.
    partitions: Option<PartitionCounts>,
    /// Partition counts at the time when the rows of the window were sent; `None` if unknown.
    partitions_were: Option<PartitionCounts>,
    /// A reader for the first topic. It connects while the dump is being opened.
    reader: Option<Connecting>,
}

impl KafkaDestinations {
    /// For a session that begins with `claim`.
    pub(super) fn new(
        kafka: Kafka,
        mut topics: Topics,
        give: GiveOrder,
        batch_bytes_max: Option<usize>,
        claim: &Checkpoint,
    ) -> KafkaDestinations {
        topics.note_created(claim.topics_created);
        let has_window = claim.unacknowledged_since.is_some();
        let reader = has_window.then(|| {
            sent_rows::connect(&kafka.connection, &kafka.publish.name, &kafka.checkpoint.topic)
        });
        KafkaDestinations {
            kafka,
            topics,
            give,
            batch_bytes_max: batch_bytes_max.unwrap_or(BATCH_BYTES_DEFAULT),
            partitions: None,
            partitions_were: claim.partitions.clone().filter(|_| has_window),
            reader,
        }
    }

    /// Notes what a restart has to know about a topic that may hold rows.
    fn note_partitions(&mut self, id: DestinationId) {
        let topic = self.topics.topic(id);
        self.partitions = match self.partitions.take() {
            // The first topic of the relay.
            None if id.0 == 0 => Some(PartitionCounts::of_first(topic.partitions)),
            // Once there were too many exceptions, the counts stay unknown.
            counts => {
                counts.and_then(|counts| counts.with(&topic.destination.name, topic.partitions))
            }
        };
    }
}

impl Destinations for KafkaDestinations {
    fn find(&self, name: &str) -> Option<DestinationId> {
        self.topics.find(name)
    }

    fn get(&self, id: DestinationId) -> &Destination {
        &self.topics.topic(id).destination
    }

    async fn look_up(&mut self, name: &str) -> Result<DestinationId, SinkError> {
        if let Some(id) = self.topics.find(name) {
            return Ok(id);
        }
        let ensured = self.topics.ensure(name).await;
        let id = ensured.map_err(|error| self.kafka.failed(error))?;
        let topic = self.topics.topic(id);
        let Destination { name, record_bytes_max } = topic.destination.clone();
        let partitions = topic.partitions;
        (self.give)(Order::LearnTopic { name, batch_bytes_max: record_bytes_max, partitions });
        self.note_partitions(id);
        Ok(id)
    }

    async fn sent(
        &mut self,
        id: DestinationId,
        window: &ResendWindow,
    ) -> Result<Option<SentRows>, SinkError> {
        let topic = self.topics.topic(id);
        let name = &topic.destination.name;
        if topic.is_new {
            // It holds no record of a predecessor.
            let counts = self.partitions_were.take();
            self.partitions_were = counts.and_then(|counts| counts.with(name, topic.partitions));
            return Ok(None);
        }
        let were = self.partitions_were.as_ref().and_then(|counts| counts.get(name));
        let search = Search::new(window, topic.may_be_compacted, were);
        let Kafka { connection, publish, .. } = &self.kafka;
        let found = search.look(connection, &publish.name, name, self.reader.take()).await;
        let found = found.map_err(|error| self.kafka.failed(Error::Sent(error)))?;
        if were != Some(found.partitions) {
            // After a second crash, our partition counts must not pass for the predecessor's.
            self.partitions_were =
                self.partitions_were.take().and_then(|counts| counts.without(name));
        }
        failpoint!("window-searched");
        Ok(Some(found.into()))
    }

    /// Also sends to partitions that a topic got after it was looked up. The checkpoint keeps the earlier number. So a
    /// restart does not search for a row in one partition only, while it may be in another.
    async fn follow_changes(&mut self) {
        for (id, partitions) in self.topics.take_grown().await {
            let topic = &self.topics.topic(id).destination.name;
            tracing::info!(topic = &**topic, partitions, "the topic has more partitions now");
            (self.give)(Order::GrowTopic { id, partitions });
        }
    }

    fn stamp(&self, checkpoint: &mut Checkpoint, window: Option<&ResendWindow>) {
        checkpoint.topics_created = self.topics.created();
        let is_ahead = self.kafka.publish.delivery == Delivery::Idempotent && !checkpoint.clean;
        checkpoint.partitions = if window.is_some() {
            self.partitions_were.clone()
        } else {
            self.partitions.clone().filter(|_| is_ahead)
        };
    }

    fn checkpoint_bytes_max(&self) -> Option<usize> {
        self.topics.checkpoint_bytes_max()
    }

    fn record_bytes(&self, key_len: usize, value_len: usize, headers: Headers<'_>) -> usize {
        let own = (SEQUENCE_HEADER, sequence_header_len(&self.kafka.publish.name));
        let others = headers.iter().map(|it| (it.name, it.value.unwrap_or_default().len()));
        record_batch_bytes(key_len, value_len, std::iter::once(own).chain(others))
    }

    fn batch_bytes_max(&self) -> usize {
        self.batch_bytes_max
    }
}
