//! Destination topics: looks up each once, creates missing ones, and knows the largest record that each takes.
//!
//! Topic names enter. A [`DestinationId`] leaves, by which batches refer to topics. Nothing is sent to a topic before
//! it was looked up.

mod growth;
mod metadata;
mod record_size;
mod rights;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;

use self::growth::Growth;
use self::metadata::Metadata;
pub use self::record_size::record_batch_bytes;
pub use self::rights::Looked;
use self::rights::allows;
use super::connection::{self, Authorized, Operation};
use crate::batch::DestinationId;
use crate::delivery::Delivery;
use crate::failpoint::failpoint;
use crate::sink::Destination;
use crate::tasks;
use crate::telemetry::Causes;

/// Whether and how missing topics are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOptions {
    pub create: bool,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    /// `None`: the broker's default.
    pub replication: Option<i32>,
    /// The most destination topics of one relay.
    pub topics_max: usize,
    /// Decides which rights are needed.
    pub delivery: Delivery,
    /// Topics of dead letters. The relay creates them so that they take any record, and keep it.
    pub dead_letter_topics: Vec<String>,
}

/// `max.message.bytes` of a topic of dead letters: what brokers take in one request (`socket.request.max.bytes`), unless
/// they are configured otherwise.
const LETTER_BYTES_MAX: &str = "104857600";

/// How long a broker may take to learn of a topic that was just created.
const CREATION_TIMEOUT: Duration = Duration::from_secs(10);

/// If no broker tells the configuration of a new topic for this long, we lack the right to read it.
const CONFIG_PATIENCE: Duration = Duration::from_secs(1);

/// The problem of a checkpoint topic that is not compacted, and its cure.
pub const RETENTION: &str = "retention may delete the checkpoint";
pub const RETENTION_CURE: &str = "set cleanup.policy=compact on its topic";

/// The problem of a missing right to DescribeConfigs, and its effect.
pub const NO_CONFIG: &str = "no right to read the topic's configuration (DescribeConfigs)";
pub const NO_CONFIG_EFFECT: &str =
    "a record larger than it takes is found out only when the broker refuses it";

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
    #[error(
        "the topic {topic} is one more than the {topics_max} destination topics that this relay may have (topics_max)"
    )]
    TooMany { topic: String, topics_max: usize },
    #[error("the topic {topic} does not exist, and create_topics is false")]
    Missing { topic: String },
    #[error("the topic {topic} was created, but is not known to the brokers after {} s", CREATION_TIMEOUT.as_secs())]
    NotVisible { topic: String },
    #[error("the relay's principal lacks the right {} on the topic {topic}", operation.as_str())]
    NoRight { topic: String, operation: Operation },
}

/// The operations that the relay needs on the checkpoint topic.
pub const CHECKPOINT_OPERATIONS: [Operation; 3] =
    [Operation::Describe, Operation::Read, Operation::Write];

/// The operations that the relay needs on a destination topic. In `idempotent` delivery, a restart reads it.
#[must_use]
pub fn destination_operations(delivery: Delivery) -> &'static [Operation] {
    match delivery {
        Delivery::ExactlyOnce => &[Operation::Describe, Operation::Write],
        Delivery::Idempotent => &[Operation::Describe, Operation::Write, Operation::Read],
    }
}

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its record limit is the largest record batch that the broker takes (`max.message.bytes`).
    pub destination: Destination,
    /// Compaction may delete records that have later ones of the same key. Also `true` if we may not read the policy.
    pub may_be_compacted: bool,
    /// We have just created it, so it holds no record of a predecessor.
    pub is_new: bool,
    /// Time of the look-up.
    pub partitions: u32,
}

/// An existing topic, according to the brokers. Settings are `None` if we may not read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// `max.message.bytes`: the largest record batch.
    pub batch_bytes_max: Option<usize>,
    pub cleanup_policy: Option<String>,
    /// `retention.ms`: how long a record stays; -1: for ever.
    pub retention_millis: Option<i64>,
    pub min_insync_replicas: Option<usize>,
}

impl Description {
    /// rdkafka drops the error of the answer. A refused answer has no entries.
    fn has_config(&self) -> bool {
        self.batch_bytes_max.is_some()
    }

    fn warn_of_no_config(&self, topic: &str) {
        if !self.has_config() {
            tracing::warn!(topic, "{NO_CONFIG}: {NO_CONFIG_EFFECT}");
        }
    }
}

/// The topics known so far.
pub struct Topics {
    admin: Arc<connection::Admin>,
    options: TopicOptions,
    ids: HashMap<Arc<str>, DestinationId>,
    topics: Vec<Topic>,
    checkpoint_bytes_max: Option<usize>,
    /// Number of topics that the relay has created, in all sessions. A restart must not count from 0 again.
    created: usize,
    growth: Growth,
}

impl Topics {
    /// `refresh_interval`: time between two looks whether a topic has more partitions; `None`: never.
    pub fn new(
        admin: connection::Admin,
        options: TopicOptions,
        refresh_interval: Option<Duration>,
    ) -> Topics {
        Topics {
            admin: Arc::new(admin),
            options,
            ids: HashMap::new(),
            topics: Vec::new(),
            checkpoint_bytes_max: None,
            created: 0,
            growth: Growth::new(refresh_interval),
        }
    }

    /// Sets the number of topics that the relay has created before.
    pub fn note_created(&mut self, before: u64) {
        self.created = usize::try_from(before).unwrap_or(usize::MAX);
    }

    /// Number of topics that the relay has created, in all sessions.
    pub fn created(&self) -> u64 {
        self.created as u64
    }

    /// A topic that was looked up before.
    pub fn find(&self, name: &str) -> Option<DestinationId> {
        self.ids.get(name).copied()
    }

    /// # Panics
    /// The id belongs to another `Topics`.
    pub fn topic(&self, id: DestinationId) -> &Topic {
        &self.topics[id.0 as usize]
    }

    /// Looks up a topic, and creates it if it is missing and that is allowed.
    ///
    /// # Errors
    /// It does not exist, takes no records, or Kafka cannot be asked.
    pub async fn ensure(&mut self, name: &str) -> Result<DestinationId, Error> {
        self.ensure_room(name, self.destinations())?;
        let needed = destination_operations(self.options.delivery);
        let (description, is_new) = match self.look_at(name).await? {
            Some(looked) => (looked.accept(name, needed)?, false),
            None => {
                self.ensure_room(name, self.created)?;
                self.create(name, self.destination(name), needed).await?
            }
        };
        let counts = !self.is_of_letters(name);
        self.created += usize::from(is_new && counts);
        let name: Arc<str> = Arc::from(name);
        let id = DestinationId(u32::try_from(self.topics.len()).expect("fewer topics than 2^32"));
        let Description { batch_bytes_max, cleanup_policy, partitions, .. } = description;
        let partitions = u32::try_from(partitions).expect("fewer partitions than 2^32");
        let may_be_compacted = cleanup_policy.is_none_or(|policy| policy.contains("compact"));
        self.topics.push(Topic {
            destination: Destination { name: name.clone(), record_bytes_max: batch_bytes_max },
            may_be_compacted,
            is_new,
            partitions,
        });
        self.ids.insert(name, id);
        if counts {
            self.warn_of_many();
        }
        Ok(id)
    }

    fn ensure_room(&self, name: &str, topics: usize) -> Result<(), Error> {
        let topics_max = self.options.topics_max;
        if topics < topics_max || self.is_of_letters(name) {
            Ok(())
        } else {
            Err(Error::TooMany { topic: name.to_owned(), topics_max })
        }
    }

    /// Those of dead letters do not count.
    fn destinations(&self) -> usize {
        self.topics.iter().filter(|topic| !self.is_of_letters(&topic.destination.name)).count()
    }

    fn is_of_letters(&self, name: &str) -> bool {
        self.options.dead_letter_topics.iter().any(|it| it == name)
    }

    /// Warns early, while there is time to act.
    fn warn_of_many(&self) {
        let (topics, topics_max) = (self.destinations(), self.options.topics_max);
        if topics == warn_at(topics_max) {
            tracing::warn!(
                topics,
                topics_max,
                "this relay has many destination topics, and halts when there are more than topics_max"
            );
        }
    }

    /// Topics that have grown since the last look, as far as known by now.
    pub async fn take_grown(&mut self) -> Vec<(DestinationId, u32)> {
        let names = (0..)
            .map(DestinationId)
            .zip(self.topics.iter().map(|topic| topic.destination.name.clone()));
        let mut counts = self.growth.poll(&self.admin, names).await;
        counts.retain(|(id, partitions)| {
            let topic = &mut self.topics[id.0 as usize];
            let has_grown = *partitions > topic.partitions;
            topic.partitions = topic.partitions.max(*partitions);
            has_grown
        });
        counts
    }

    /// Accepts the checkpoint topic. If `looked` found none, creates it compacted, with one partition.
    ///
    /// # Errors
    /// It does not exist, takes no records, or Kafka cannot be asked.
    pub async fn ensure_checkpoint_topic(
        &mut self,
        name: &str,
        looked: Option<Looked>,
    ) -> Result<(), Error> {
        let needed = &CHECKPOINT_OPERATIONS;
        let description = match looked {
            Some(looked) => looked.accept(name, needed)?,
            None => self.create(name, self.checkpoint(name), needed).await?.0,
        };
        self.checkpoint_bytes_max = description.batch_bytes_max;
        if let Some(policy) = description.cleanup_policy.filter(|policy| policy != "compact") {
            tracing::warn!(topic = name, policy, "{RETENTION}: {RETENTION_CURE}");
        }
        Ok(())
    }

    /// The largest record batch that the checkpoint topic takes; `None` if we may not read that.
    pub fn checkpoint_bytes_max(&self) -> Option<usize> {
        self.checkpoint_bytes_max
    }

    /// Checks that a missing destination topic could be created. Creates nothing.
    ///
    /// # Errors
    /// It could not.
    pub async fn ensure_creatable(&self, name: &str) -> Result<(), Error> {
        self.request_creation(name, self.destination(name), creation().validate_only(true)).await?;
        Ok(())
    }

    /// The same for the checkpoint topic.
    ///
    /// # Errors
    /// As [`Topics::ensure_creatable`].
    pub async fn ensure_checkpoint_topic_creatable(&self, name: &str) -> Result<(), Error> {
        self.request_creation(name, self.checkpoint(name), creation().validate_only(true)).await?;
        Ok(())
    }

    /// Number of brokers that are up. The topic need not exist.
    ///
    /// # Errors
    /// Kafka cannot be asked.
    pub async fn count_brokers(&self, name: &str) -> Result<usize, Error> {
        let asked = self.ask(name, |admin, topic| {
            let metadata =
                admin.inner().fetch_metadata(Some(topic), connection::REQUEST_TIMEOUT)?;
            Ok(metadata.brokers().len())
        });
        asked.await.map_err(|source| Error::LookUp { topic: name.to_owned(), source })
    }

    /// Checks that the brokers allow the needed operations on a topic; `None` if they do not tell. Otherwise a missing
    /// right would show late: a refused transaction does not name the topic, and the checkpoint is read only if there
    /// is one.
    ///
    /// # Errors
    /// The first operation that is not allowed; Kafka cannot be asked.
    pub async fn ensure_authorized(
        &self,
        name: &str,
        needed: &[Operation],
    ) -> Result<Option<Authorized>, Error> {
        allows(name, self.ask(name, connection::authorized).await, needed)
    }

    /// Describes a topic; `None` if it does not exist.
    ///
    /// # Errors
    /// Kafka cannot be asked, or we may not see the topic.
    pub async fn describe(&self, name: &str) -> Result<Option<Description>, Error> {
        let described = self.look_up(name).await?;
        if let Some(description) = &described {
            description.warn_of_no_config(name);
        }
        Ok(described)
    }

    /// Asks everything about a topic at once; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`Topics::describe`].
    pub async fn look_at(&self, name: &str) -> Result<Option<Looked>, Error> {
        let (described, authorized) =
            tokio::join!(self.look_up(name), self.ask(name, connection::authorized));
        Ok(described?.map(|description| Looked { description, authorized }))
    }

    async fn look_up(&self, name: &str) -> Result<Option<Description>, Error> {
        let failed = |source| Error::LookUp { topic: name.to_owned(), source };
        let options = AdminOptions::new().request_timeout(Some(connection::REQUEST_TIMEOUT));
        let resources = [ResourceSpecifier::Topic(name)];
        let (found, answers) =
            tokio::join!(self.partitions(name), self.admin.describe_configs(&resources, &options));
        let Some((partitions, replicas)) = found? else { return Ok(None) };
        let config = match answers.map_err(failed)?.into_iter().next() {
            Some(Ok(config)) => config,
            Some(Err(code)) => return Err(failed(KafkaError::AdminOp(code))),
            None => return Err(failed(KafkaError::Canceled)),
        };
        let value = |name| config.get(name)?.value.clone();
        let number = |name| value(name).and_then(|text| text.parse().ok());
        let retention = value("retention.ms").and_then(|text| text.parse().ok());
        Ok(Some(Description {
            partitions,
            replicas,
            batch_bytes_max: number("max.message.bytes"),
            cleanup_policy: value("cleanup.policy"),
            retention_millis: retention,
            min_insync_replicas: number("min.insync.replicas"),
        }))
    }

    /// The number of partitions, and the fewest replicas of one, from the metadata. Brokers describe the configuration
    /// even of topics that do not exist.
    async fn partitions(&self, name: &str) -> Result<Option<(usize, usize)>, Error> {
        let failed = |source| Error::LookUp { topic: name.to_owned(), source };
        let Metadata { error, partitions, replicas } =
            self.ask(name, metadata::fetch).await.map_err(failed)?;
        match error {
            None => Ok(Some((partitions, replicas))),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Ok(None)
            }
            Some(code) => Err(failed(KafkaError::MetadataFetch(code))),
        }
    }

    /// Runs a blocking question about a topic on a thread of its own.
    async fn ask<T: Send + 'static>(
        &self,
        name: &str,
        question: impl FnOnce(&connection::Admin, &str) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let (admin, topic) = (self.admin.clone(), name.to_owned());
        let asked = tasks::spawn_blocking(move || question(&admin, &topic));
        // A panic there becomes one here.
        asked.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(KafkaError::Canceled),
        })
    }

    fn destination<'a>(&self, name: &'a str) -> NewTopic<'a> {
        let topic = self.plain(name);
        if self.is_of_letters(name) {
            topic.set("max.message.bytes", LETTER_BYTES_MAX).set("retention.ms", "-1")
        } else {
            topic
        }
    }

    /// A topic with the configured counts, and the brokers' settings.
    fn plain<'a>(&self, name: &'a str) -> NewTopic<'a> {
        new_topic(name, self.options.partitions, self.options.replication)
    }

    fn checkpoint<'a>(&self, name: &'a str) -> NewTopic<'a> {
        new_topic(name, Some(1), self.options.replication).set("cleanup.policy", "compact")
    }

    /// Also returns whether we have created it.
    async fn create(
        &self,
        name: &str,
        topic: NewTopic<'_>,
        needed: &[Operation],
    ) -> Result<(Description, bool), Error> {
        let requested = match self.request_creation(name, topic, creation()).await {
            Err(error) if self.is_of_letters(name) && is_about_settings(&error) => {
                tracing::warn!(
                    topic = name,
                    "the brokers refuse the settings that dead letters want ({}); creating the topic with their defaults: \
                     a large dead letter may be refused, and all are deleted in time",
                    Causes(&error)
                );
                self.request_creation(name, self.plain(name), creation()).await
            }
            requested => requested,
        };
        let is_new = requested?;
        if is_new {
            failpoint!("topic-created");
            tracing::info!(topic = name, "created topic");
        }
        let description = self.await_visible(name).await?;
        self.ensure_authorized(name, needed).await?;
        Ok((description, is_new))
    }

    /// Returns `false` if the topic already exists.
    async fn request_creation(
        &self,
        name: &str,
        topic: NewTopic<'_>,
        options: AdminOptions,
    ) -> Result<bool, Error> {
        if !self.options.create {
            return Err(Error::Missing { topic: name.to_owned() });
        }
        let failed = |source| Error::Create { topic: name.to_owned(), source };
        let answers = self.admin.create_topics([&topic], &options).await.map_err(failed)?;
        match answers.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
                Err(Error::TooFewBrokers { topic: name.to_owned() })
            }
            Some(Err((_, code))) => Err(failed(KafkaError::AdminOp(code))),
            None => Err(failed(KafkaError::Canceled)),
        }
    }

    /// The broker that answers may not be the one that created the topic.
    async fn await_visible(&self, name: &str) -> Result<Description, Error> {
        let begun = Instant::now();
        loop {
            match self.look_up(name).await? {
                // The broker that is asked for the configuration may not know the topic yet, either.
                Some(found) if found.has_config() || begun.elapsed() > CONFIG_PATIENCE => {
                    found.warn_of_no_config(name);
                    return Ok(found);
                }
                None if begun.elapsed() > CREATION_TIMEOUT => {
                    return Err(Error::NotVisible { topic: name.to_owned() });
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Four fifths, rounded up.
fn warn_at(topics_max: usize) -> usize {
    topics_max - topics_max / 5
}

/// The brokers do not take a setting of the new topic.
fn is_about_settings(error: &Error) -> bool {
    let codes = [RDKafkaErrorCode::InvalidConfig, RDKafkaErrorCode::PolicyViolation];
    matches!(error, Error::Create { source: KafkaError::AdminOp(code), .. } if codes.contains(code))
}

fn creation() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(connection::REQUEST_TIMEOUT))
        .operation_timeout(Some(connection::REQUEST_TIMEOUT))
}

fn new_topic(name: &str, partitions: Option<i32>, replication: Option<i32>) -> NewTopic<'_> {
    // -1 asks for the broker's default (KIP-464, brokers from 2.4 on).
    let replication = TopicReplication::Fixed(replication.unwrap_or(-1));
    NewTopic::new(name, partitions.unwrap_or(-1), replication)
}
