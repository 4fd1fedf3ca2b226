//! Destination topics: looked up once each, created when missing, and how large a record each takes.
//!
//! Topic names enter; a [`TopicId`] leaves, by which batches name topics. Nothing is sent to a topic that
//! was not looked up before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;

use crate::batch::TopicId;
use crate::kafka;

/// Whether and how missing topics are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub create: bool,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    /// `None`: the broker's default.
    pub replication: Option<i32>,
}

/// How long a topic just created may take to be known by the broker that is asked.
const CREATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a record batch around its records
/// (<https://kafka.apache.org/documentation/#recordbatch>).
const BATCH_OVERHEAD_BYTES: usize = 61;

/// Why a topic cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("look up the topic {topic}")]
    LookUp { topic: String, source: KafkaError },
    #[error("create the topic {topic}")]
    Create { topic: String, source: KafkaError },
    #[error(
        "the topic {topic} cannot be created: fewer brokers are up than the topic needs replicas \
         (topic_replication, or default.replication.factor of the brokers)"
    )]
    TooFewBrokers { topic: String },
    #[error("the topic {topic} does not exist, and create_topics is false")]
    Missing { topic: String },
    #[error("the topic {topic} was created, but is not known to the brokers after {} s", CREATION_TIMEOUT.as_secs())]
    NotVisible { topic: String },
}

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    /// Largest record batch the broker takes (`max.message.bytes`); `None` when we may not read it.
    pub batch_bytes_max: Option<usize>,
}

/// The topics known so far.
pub struct Topics {
    admin: Arc<AdminClient<kafka::Context>>,
    options: Options,
    ids: HashMap<Arc<str>, TopicId>,
    topics: Vec<Topic>,
}

impl Topics {
    pub fn new(admin: AdminClient<kafka::Context>, options: Options) -> Topics {
        Topics { admin: Arc::new(admin), options, ids: HashMap::new(), topics: Vec::new() }
    }

    /// A topic that was looked up before.
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.ids.get(name).copied()
    }

    /// # Panics
    /// The id is of another table of topics.
    pub fn get(&self, id: TopicId) -> &Topic {
        &self.topics[id.0 as usize]
    }

    /// Looks a topic up, and creates it where that is wanted.
    ///
    /// # Errors
    /// It does not exist, or Kafka cannot be asked.
    pub async fn ensure(&mut self, name: &str) -> Result<TopicId, Error> {
        let batch_bytes_max = match self.look_up(name).await? {
            LookUp::Found { batch_bytes_max, .. } => batch_bytes_max,
            LookUp::Missing if !self.options.create => {
                return Err(Error::Missing { topic: name.to_owned() });
            }
            LookUp::Missing => {
                let Options { partitions, replication, .. } = self.options;
                self.create(name, partitions, replication, &[]).await?
            }
        };
        let name: Arc<str> = Arc::from(name);
        let id = TopicId(u32::try_from(self.topics.len()).expect("fewer topics than 2^32"));
        self.topics.push(Topic { name: name.clone(), batch_bytes_max });
        self.ids.insert(name, id);
        Ok(id)
    }

    /// Looks the checkpoint topic up, and creates it compacted, with one partition.
    ///
    /// # Errors
    /// It does not exist, or Kafka cannot be asked.
    pub async fn ensure_checkpoint_topic(&self, name: &str) -> Result<(), Error> {
        match self.look_up(name).await? {
            LookUp::Found { cleanup_policy, .. } => {
                if let Some(policy) = cleanup_policy.filter(|policy| policy != "compact") {
                    tracing::warn!(
                        topic = name,
                        policy,
                        "retention may delete the checkpoint: set cleanup.policy=compact on its topic"
                    );
                }
                Ok(())
            }
            LookUp::Missing if !self.options.create => {
                Err(Error::Missing { topic: name.to_owned() })
            }
            LookUp::Missing => {
                let compacted = [("cleanup.policy", "compact")];
                self.create(name, Some(1), self.options.replication, &compacted).await?;
                Ok(())
            }
        }
    }

    async fn look_up(&self, name: &str) -> Result<LookUp, Error> {
        let failed = |source| Error::LookUp { topic: name.to_owned(), source };
        if !self.exists(name).await? {
            return Ok(LookUp::Missing);
        }
        let options = AdminOptions::new().request_timeout(Some(kafka::REQUEST_TIMEOUT));
        let answers = self
            .admin
            .describe_configs(&[ResourceSpecifier::Topic(name)], &options)
            .await
            .map_err(failed)?;
        let config = match answers.into_iter().next() {
            Some(Ok(config)) => config,
            Some(Err(code)) => return Err(failed(KafkaError::AdminOp(code))),
            None => return Err(failed(KafkaError::Canceled)),
        };
        let value = |name| config.get(name).and_then(|entry| entry.value.clone());
        let batch_bytes_max = value("max.message.bytes").and_then(|text| text.parse().ok());
        // rdkafka passes over the error of the answer; one that is refused has no entries.
        if batch_bytes_max.is_none() {
            tracing::warn!(
                topic = name,
                "no right to read the topic's configuration (DescribeConfigs): a record larger than it takes is \
                 found out only when the broker refuses it"
            );
        }
        Ok(LookUp::Found { batch_bytes_max, cleanup_policy: value("cleanup.policy") })
    }

    /// By its metadata: brokers describe the configuration of topics that do not exist, too.
    async fn exists(&self, name: &str) -> Result<bool, Error> {
        let failed = |source| Error::LookUp { topic: name.to_owned(), source };
        let (admin, topic) = (self.admin.clone(), name.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = admin.inner().fetch_metadata(Some(&topic), kafka::REQUEST_TIMEOUT)?;
            Ok(metadata.topics().iter().find_map(|topic| topic.error()).map(RDKafkaErrorCode::from))
        });
        match asked.await.unwrap_or(Err(KafkaError::Canceled)).map_err(failed)? {
            None => Ok(true),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Ok(false)
            }
            Some(code) => Err(failed(KafkaError::MetadataFetch(code))),
        }
    }

    async fn create(
        &self,
        name: &str,
        partitions: Option<i32>,
        replication: Option<i32>,
        config: &[(&str, &str)],
    ) -> Result<Option<usize>, Error> {
        let failed = |source| Error::Create { topic: name.to_owned(), source };
        // -1 asks for the broker's default (KIP-464, brokers from 2.4 on).
        let replication = TopicReplication::Fixed(replication.unwrap_or(-1));
        let topic = config.iter().fold(
            NewTopic::new(name, partitions.unwrap_or(-1), replication),
            |topic, (key, value)| topic.set(key, value),
        );
        let options = AdminOptions::new()
            .request_timeout(Some(kafka::REQUEST_TIMEOUT))
            .operation_timeout(Some(kafka::REQUEST_TIMEOUT));
        let answers = self.admin.create_topics([&topic], &options).await.map_err(failed)?;
        match answers.into_iter().next() {
            Some(Ok(_)) => tracing::info!(topic = name, "created topic"),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
                return Err(Error::TooFewBrokers { topic: name.to_owned() });
            }
            Some(Err((_, code))) => return Err(failed(KafkaError::AdminOp(code))),
            None => return Err(failed(KafkaError::Canceled)),
        }
        self.await_visible(name).await
    }

    /// The broker that answers may not be the one that created the topic.
    async fn await_visible(&self, name: &str) -> Result<Option<usize>, Error> {
        let deadline = Instant::now() + CREATION_TIMEOUT;
        loop {
            if let LookUp::Found { batch_bytes_max, .. } = self.look_up(name).await? {
                return Ok(batch_bytes_max);
            }
            if Instant::now() > deadline {
                return Err(Error::NotVisible { topic: name.to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

enum LookUp {
    Found { batch_bytes_max: Option<usize>, cleanup_policy: Option<String> },
    Missing,
}

/// Bytes of a record batch that holds just one record, uncompressed
/// (<https://kafka.apache.org/documentation/#record>): what a topic's `max.message.bytes` is held against.
pub fn record_batch_bytes(key_len: usize, value_len: usize, headers: &[(&str, usize)]) -> usize {
    let field = |len: usize| varint_bytes(len) + len;
    let headers_bytes: usize =
        headers.iter().map(|(name, len)| field(name.len()) + field(*len)).sum();
    // Attributes, timestamp delta and offset delta of the first record take one byte each.
    let record =
        3 + field(key_len) + field(value_len) + varint_bytes(headers.len()) + headers_bytes;
    BATCH_OVERHEAD_BYTES + varint_bytes(record) + record
}

/// Lengths are zigzag varints: 6 bits in the first byte, 7 in each that follows.
fn varint_bytes(len: usize) -> usize {
    let bits = usize::BITS - (len << 1).leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_their_zigzag_varint() {
        for (len, bytes) in
            [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3), (1_048_575, 3), (1_048_576, 4)]
        {
            assert_eq!(varint_bytes(len), bytes, "{len}");
        }
    }

    #[test]
    fn a_small_record_alone_in_its_batch_has_the_size_that_the_broker_counts() {
        // Length, attributes, two deltas, key length + 1, value length + 2, no headers.
        assert_eq!(record_batch_bytes(1, 2, &[]), 61 + 1 + 3 + 2 + 3 + 1);
    }
}
