//! Kafka as a sink: the only room that knows rdkafka.
//!
//! [`Kafka`] is the configured cluster of a relay. It connects a [`KafkaSink`] for each session, which fences, reads
//! the stored checkpoint, and is claimed. Batches then go out in one of two ways: `transactional` or `idempotent`.

pub(crate) mod check;
mod checkpoint_editor;
pub(crate) mod checkpoints;
mod claim;
mod client;
mod codes;
pub mod connection;
pub mod dead_letters;
mod destinations;
mod error;
mod fate;
pub(crate) mod idempotent;
pub(crate) mod last_values;
mod orders;
pub(crate) mod partitions;
pub(crate) mod preflight;
mod producer;
pub(crate) mod reader;
mod reports;
mod sent_rows;
pub mod sequence;
pub mod topics;
pub(crate) mod transactional;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use self::checkpoints::Seen;
use self::connection::early::Wanted;
use self::connection::{Early, KafkaOptions};
pub use self::destinations::KafkaDestinations;
pub use self::error::{Error, PublishError, Unacknowledged};
use self::idempotent::Idempotent;
pub use self::last_values::LastValues;
use self::reader::Reader;
use self::topics::{Looked, TopicOptions, Topics};
use self::transactional::{Connected, Opening, Transactional};
use super::{Claimed, Connector, Guarantee, Sink, SinkError};
use crate::batch::Limits;
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::delivery::Delivery;
use crate::tasks::{self, Task};

/// Time between two reads of librdkafka's reports while nothing is published.
const SERVE_INTERVAL: Duration = Duration::from_millis(250);

/// How the relay publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOptions {
    /// The relay's name: prefix of the transactional ids, client id, first part of `relay-sequence`.
    pub name: String,
    /// How long the broker keeps an open transaction of a dead relay. A record that is unacknowledged for this long is
    /// reported.
    pub transaction_timeout: Duration,
    pub delivery: Delivery,
}

/// The configured Kafka cluster of a relay.
#[derive(Debug, Clone)]
pub struct Kafka {
    pub connection: KafkaOptions,
    pub topics: TopicOptions,
    pub checkpoint: CheckpointOptions,
    pub publish: PublishOptions,
    /// Limits of a batch, as configured.
    pub limits: Limits,
}

impl Kafka {
    /// Reaches a broker. Returns the topics and the cluster's id.
    ///
    /// # Errors
    /// No broker can be reached.
    pub async fn reach(&self) -> Result<(Topics, Arc<str>), SinkError> {
        let (connection, name) = (self.connection.clone(), self.publish.name.clone());
        let connected = self.blocking(move || connection.connect(&name)).await;
        let (admin, cluster_id) = connected?;
        let refresh_interval = self.connection.metadata_refresh_interval();
        Ok((Topics::new(admin, self.topics.clone(), refresh_interval), cluster_id))
    }

    /// The same, and creates the checkpoint topic if that is allowed.
    ///
    /// # Errors
    /// No broker can be reached, or the topic takes no records.
    pub async fn reach_checkpoint_topic(&self) -> Result<(Topics, Arc<str>), SinkError> {
        let (mut topics, cluster_id) = self.reach().await?;
        let topic = &self.checkpoint.topic;
        let looked = topics.look_at(topic).await.map_err(|error| self.failed(error))?;
        let ensured = topics.ensure_checkpoint_topic(topic, looked).await;
        ensured.map_err(|error| self.failed(error))?;
        Ok((topics, cluster_id))
    }

    /// Reads the stored checkpoint from an existing topic. Waits for open transactions.
    ///
    /// # Errors
    /// It cannot be read, or there is no topic.
    pub async fn stored(&self) -> Result<Option<Checkpoint>, SinkError> {
        self.read(self.open_checkpoint_topic()?).await.map(|(stored, _)| stored)
    }

    /// Reads the last value of each key of another program's topic; `None` where there is no such topic. `kind`: its role.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn last_values(
        &self,
        kind: &'static str,
        topic: &str,
    ) -> Result<Option<LastValues>, SinkError> {
        let (connection, name) = (self.connection.clone(), self.publish.name.clone());
        let topic = topic.to_owned();
        self.blocking(move || {
            last_values::read(&connection, &name, kind, &topic).map_err(Error::Sent)
        })
        .await
    }

    fn open_checkpoint_topic(&self) -> Result<Reader, SinkError> {
        checkpoints::open(&self.connection, &self.publish.name, &self.checkpoint)
            .map_err(|error| self.failed(error))
    }

    async fn read(&self, topic: Reader) -> Result<(Option<Checkpoint>, Seen), SinkError> {
        let options = self.checkpoint.clone();
        self.blocking(move || checkpoints::read(topic, &options)).await
    }

    /// What it takes to open the producers of the relay's transactional ids.
    fn opening(&self) -> Opening {
        Opening::new(&self.connection, &self.publish, &self.checkpoint, self.limits)
    }

    /// What one batch may hold.
    fn batch_limits(&self) -> Limits {
        match self.publish.delivery {
            Delivery::ExactlyOnce => self.limits,
            Delivery::Idempotent => idempotent::batch_limits(self.limits),
        }
    }

    /// The user's own `batch.size`, the limit of librdkafka's record batches.
    fn configured_batch_size(&self) -> Option<usize> {
        self.connection.properties.get("batch.size")?.reveal().ok()?.parse().ok()
    }

    /// Runs a blocking call of librdkafka on a thread of its own, so that signals are handled meanwhile.
    async fn blocking<T: Send + 'static, E: Into<Error> + Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, SinkError> {
        let done = tasks::blocking(work).await;
        done.map_err(|panicked| self.failed(panicked))?.map_err(|error| self.failed(error))
    }

    /// Waits for background work.
    async fn done<T: Send + 'static>(
        &self,
        mut work: Task<Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        work.done().await.map_err(|panicked| self.failed(panicked))?
    }

    /// An error, with the addresses of the brokers.
    fn failed(&self, error: impl Into<Error>) -> SinkError {
        error.into().at(&self.connection.to_string())
    }
}

impl Connector for Kafka {
    type Sink = KafkaSink;

    async fn connect(&self, batch_bytes_max: Option<usize>) -> Result<KafkaSink, SinkError> {
        KafkaSink::connect(self, batch_bytes_max).await
    }

    /// Does not wait for open transactions: one may be our own, until somebody fences it.
    async fn look(&self) -> Result<Option<Checkpoint>, SinkError> {
        let (connection, options) = (self.connection.clone(), self.checkpoint.clone());
        let name = self.publish.name.clone();
        self.blocking(move || checkpoints::look(&connection, &name, &options)).await
    }

    async fn stored(&self) -> Result<Option<Checkpoint>, SinkError> {
        Kafka::stored(self).await
    }
}

/// Clients of one session, connected and not used yet.
pub struct KafkaSink {
    kafka: Kafka,
    batch_bytes_max: Option<usize>,
    topics: Topics,
    cluster_id: Arc<str>,
    producers: Producers,
    /// The checkpoint topic, connected and not read yet.
    checkpoint_topic: Option<Task<Result<Reader, SinkError>>>,
    /// The checkpoint topic as it was read.
    seen: Option<Seen>,
    /// Clients that are still connecting stop when this is dropped.
    _wanted: Wanted,
}

/// The producers of the relay's transactional ids, and in `idempotent` delivery those of records.
enum Producers {
    Connecting {
        lanes: Task<Result<Connected, SinkError>>,
        idempotent: Task<Result<Option<Idempotent>, SinkError>>,
    },
    /// They have fenced all predecessors.
    Fenced { lanes: Transactional, idempotent: Option<Box<Idempotent>> },
    /// They were used up.
    None,
}

impl KafkaSink {
    /// Lanes and readers connect in the background while the topics are looked up.
    async fn connect(
        kafka: &Kafka,
        batch_bytes_max: Option<usize>,
    ) -> Result<KafkaSink, SinkError> {
        let wanted = Wanted(Early::default());
        let early = &wanted.0;
        let cut_off = Arc::<AtomicBool>::default();
        let lanes = connect_lanes(kafka, batch_bytes_max, cut_off.clone(), early.clone());
        let (topics, cluster_id) = kafka.reach().await?;
        early.note_answered();
        let idempotent = connect_idempotent(kafka, batch_bytes_max, cut_off.clone());
        let checkpoint_topic = connect_reader(kafka);
        let looked = topics.look_at(&kafka.checkpoint.topic).await;
        let looked = looked.map_err(|error| kafka.failed(error))?;
        let mut sink = KafkaSink {
            kafka: kafka.clone(),
            batch_bytes_max,
            topics,
            cluster_id,
            producers: Producers::Connecting { lanes, idempotent },
            checkpoint_topic: Some(checkpoint_topic),
            seen: None,
            _wanted: wanted,
        };
        sink.ensure_checkpoint_topic(looked, cut_off).await?;
        Ok(sink)
    }

    /// Creates the checkpoint topic if that is allowed.
    async fn ensure_checkpoint_topic(
        &mut self,
        looked: Option<Looked>,
        cut_off: Arc<AtomicBool>,
    ) -> Result<(), SinkError> {
        let kafka = &self.kafka;
        let is_missing = looked.is_none();
        let ensured = self.topics.ensure_checkpoint_topic(&kafka.checkpoint.topic, looked).await;
        ensured.map_err(|error| kafka.failed(error))?;
        if is_missing {
            // These clients have cached that the topic is unknown, and librdkafka does not ask again at once.
            if let Producers::Connecting { lanes, .. } = &mut self.producers {
                *lanes = connect_lanes(kafka, self.batch_bytes_max, cut_off, Early::not());
            }
            self.checkpoint_topic = Some(connect_reader(kafka));
        }
        Ok(())
    }

    async fn fence_own(&mut self) -> Result<(), SinkError> {
        let producers = std::mem::replace(&mut self.producers, Producers::None);
        let Producers::Connecting { lanes, idempotent } = producers else {
            unreachable!("a session fences its predecessors once")
        };
        let kafka = &self.kafka;
        let lanes = kafka.done(lanes).await?;
        // Wait for both even if one fails: fencing must not go on after this function returns.
        let (lanes, idempotent) =
            tokio::join!(kafka.blocking(move || lanes.fence()), kafka.done(idempotent));
        self.producers = Producers::Fenced { lanes: lanes?, idempotent: idempotent?.map(Box::new) };
        Ok(())
    }
}

impl Sink for KafkaSink {
    type Destinations = KafkaDestinations;

    fn guarantee(&self) -> Guarantee {
        match self.kafka.publish.delivery {
            Delivery::ExactlyOnce => Guarantee::Atomic,
            Delivery::Idempotent => Guarantee::Deduplicated,
        }
    }

    fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    async fn fence(&mut self, name: &str) -> Result<(), SinkError> {
        if *name == *self.kafka.publish.name {
            self.fence_own().await
        } else {
            self.kafka.fence_other(name).await
        }
    }

    async fn stored(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        let topic = match self.checkpoint_topic.take() {
            Some(connecting) => self.kafka.done(connecting).await?,
            None => self.kafka.open_checkpoint_topic()?,
        };
        let (stored, seen) = self.kafka.read(topic).await?;
        self.seen = Some(seen);
        Ok(stored)
    }

    async fn claim(self, claim: Checkpoint) -> Result<Claimed<KafkaDestinations>, SinkError> {
        claim::claim(self, claim).await
    }
}

fn connect_lanes(
    kafka: &Kafka,
    batch_bytes_max: Option<usize>,
    cut_off: Arc<AtomicBool>,
    early: Early,
) -> Task<Result<Connected, SinkError>> {
    let kafka = kafka.clone();
    Task::spawn(async move {
        let mut opening = kafka.opening();
        (opening.batch_bytes_max, opening.cut_off) = (batch_bytes_max, cut_off);
        opening.early = early;
        kafka.blocking(move || Connected::connect(opening)).await
    })
}

/// The producers of records in `idempotent` delivery; `None` in `exactly-once`.
fn connect_idempotent(
    kafka: &Kafka,
    batch_bytes_max: Option<usize>,
    cut_off: Arc<AtomicBool>,
) -> Task<Result<Option<Idempotent>, SinkError>> {
    let kafka = kafka.clone();
    Task::spawn(async move {
        if kafka.publish.delivery == Delivery::ExactlyOnce {
            return Ok(None);
        }
        let Kafka { connection, publish, checkpoint, .. } = kafka.clone();
        let (topic, limits) = (checkpoint.topic, kafka.batch_limits());
        let open = move || {
            Idempotent::open(&connection, &publish, &topic, limits, batch_bytes_max, cut_off)
        };
        kafka.blocking(open).await.map(Some)
    })
}

fn connect_reader(kafka: &Kafka) -> Task<Result<Reader, SinkError>> {
    let kafka = kafka.clone();
    Task::spawn(async move {
        let reader = kafka.open_checkpoint_topic()?;
        kafka
            .blocking(move || {
                reader.connect();
                Ok::<_, Error>(reader)
            })
            .await
    })
}
