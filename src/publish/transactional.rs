//! `exactly-once`: each batch and its checkpoint are one Kafka transaction.
//!
//! Transactional producers are used in turn ("lanes"): a broker refuses to begin the next transaction of an
//! id until the markers of its last one are written, and librdkafka then waits 20 ms. Order holds because a
//! lane's records are sent only after the transaction of the lane before it was committed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::reports::{Acknowledgements, LaneContext, Refused, is_collateral};
use super::{Error, Options, Publish, Sealed};
use crate::batch::Limits;
use crate::{checkpoint, kafka};

/// Transactional ids `{name}-0` … of which recovery fences every one, whatever number is used: a relay of
/// another version, or in another mode, may use more or fewer.
const FENCED_LANES: usize = 4;

/// Lanes in use. Measured with one record a transaction: one lane 26 ms a cycle, two 5 ms, more no better.
const USED_LANES: usize = 2;

/// Waiting for a broker connection before `init_transactions`: without one, librdkafka looks again only after
/// 500 ms. Four lanes opened at once on two cores: 20 ms was too short for three starts of five.
const CONNECTION_PAUSE: Duration = Duration::from_millis(60);

/// A checkpoint topic that somebody made has at most so many partitions, less one.
const TOMBSTONES_MAX: usize = 1_000;
/// How long looking for the reason of a failure may take: the way to the brokers may be cut.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Header of every record: name, generation and sequence of the row.
pub const SEQUENCE_HEADER: &str = "relay-sequence";

/// Length of the header's value: the relay's name, a colon, twice 16 digits and a dash.
pub fn sequence_header_len(name: &str) -> usize {
    name.len() + 34
}

/// The lanes of one relay, all fenced against its predecessors.
pub struct Transactional {
    lanes: Vec<Lane>,
    next_lane: usize,
    options: Options,
    checkpoint: checkpoint::Options,
    topics: Vec<Arc<str>>,
    cut_off: Arc<AtomicBool>,
}

impl Transactional {
    /// Makes the producers and initialises all transactional ids: transactions that a predecessor left open
    /// are finished or aborted, and it can write nothing more.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn open(
        kafka: &kafka::Options,
        options: &Options,
        checkpoint: &checkpoint::Options,
        limits: Limits,
        batch_bytes_max: Option<usize>,
    ) -> Result<Transactional, Error> {
        let cut_off = Arc::new(AtomicBool::new(false));
        // In parallel: each waits for connections of its own.
        let mut lanes: Vec<Lane> = std::thread::scope(|scope| {
            let open_lane = |index| {
                let cut_off = cut_off.clone();
                move || {
                    let id = lane_id(options, index);
                    let topic = &checkpoint.topic;
                    Lane::open(kafka, options, topic, limits, batch_bytes_max, &id, cut_off)
                }
            };
            let opening: Vec<_> =
                (0..FENCED_LANES).map(|index| scope.spawn(open_lane(index))).collect();
            opening
                .into_iter()
                .map(|lane| lane.join().unwrap_or(Err(Error::ThreadEnded)))
                .collect::<Result<_, _>>()
        })?;
        lanes.truncate(USED_LANES);
        Ok(Transactional {
            lanes,
            next_lane: 0,
            options: options.clone(),
            checkpoint: checkpoint.clone(),
            topics: Vec::new(),
            cut_off,
        })
    }

    /// Writes tombstones for the checkpoint: to these partitions of its topic, and to the one that is its
    /// key's. Nothing of it is visible before all of it is.
    ///
    /// # Errors
    /// They are not in Kafka, or nobody knows.
    pub fn forget(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let lane = &self.lanes[self.next_lane];
        self.next_lane = (self.next_lane + 1) % self.lanes.len();
        lane.begin(partitions.len() + 1)?;
        let tombstone = |index| {
            BaseRecord::with_opaque_to(&self.checkpoint.topic, index)
                .key(self.checkpoint.key.as_bytes())
        };
        for (index, partition) in partitions.iter().enumerate() {
            lane.send(tombstone(index).partition(*partition))?;
        }
        lane.send(tombstone(partitions.len()))?;
        lane.await_acknowledged()?;
        lane.commit()
    }
}

/// Initialises the one transactional id that no relay uses, and lets it go: whether transactions of this
/// length may be used is known then, and nobody is fenced. Answers with the id.
///
/// # Errors
/// Kafka cannot be reached, or refuses it.
pub fn try_transactions(
    kafka: &kafka::Options,
    options: &Options,
    checkpoint: &checkpoint::Options,
    limits: Limits,
) -> Result<String, Error> {
    let id = lane_id(options, "check");
    Lane::open(kafka, options, &checkpoint.topic, limits, None, &id, Arc::default())?;
    Ok(id)
}

fn lane_id(options: &Options, lane: impl std::fmt::Display) -> String {
    format!("{}-{lane}", options.name)
}

impl Publish for Transactional {
    fn publish(&mut self, sealed: &Sealed) -> Result<(), Error> {
        let lane = &self.lanes[self.next_lane];
        self.next_lane = (self.next_lane + 1) % self.lanes.len();
        lane.begin(sealed.batch.len() + 1)?;
        let generation = sealed.checkpoint.generation.unwrap_or_default();
        let mut header = format!("{}:{generation:016x}-", self.options.name);
        let prefix_len = header.len();
        for (index, record) in sealed.batch.records().enumerate() {
            use std::fmt::Write;
            header.truncate(prefix_len);
            write!(header, "{:016x}", sealed.first_sequence + index as u64)
                .expect("a string takes all that is written");
            let headers = OwnedHeaders::new_with_capacity(1)
                .insert(Header { key: SEQUENCE_HEADER, value: Some(&header) });
            let record = BaseRecord::with_opaque_to(&self.topics[record.topic.0 as usize], index)
                .key(record.key)
                .payload(record.value)
                .headers(headers);
            lane.send(record)?;
        }
        let record = BaseRecord::with_opaque_to(&self.checkpoint.topic, sealed.batch.len())
            .key(self.checkpoint.key.as_bytes())
            .payload(sealed.value.as_slice());
        lane.send(record)?;
        lane.await_acknowledged()?;
        lane.commit()
    }

    fn learn_topic(&mut self, name: Arc<str>) {
        self.topics.push(name);
    }

    fn cut_off(&self) -> Arc<AtomicBool> {
        self.cut_off.clone()
    }
}

/// One transactional producer.
struct Lane {
    producer: ThreadedProducer<LaneContext>,
    acknowledgements: Arc<Acknowledgements>,
    transaction_timeout: Duration,
}

impl Lane {
    fn open(
        kafka: &kafka::Options,
        options: &Options,
        checkpoint_topic: &str,
        limits: Limits,
        batch_bytes_max: Option<usize>,
        transactional_id: &str,
        cut_off: Arc<AtomicBool>,
    ) -> Result<Lane, Error> {
        let mut config = kafka.client_config(&options.name).map_err(kafka::Error::from)?;
        config
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", options.transaction_timeout.as_millis().to_string())
            .set("partitioner", "murmur2_random")
            .set(
                "queue.buffering.max.messages",
                (limits.records_max + 1).max(TOMBSTONES_MAX).to_string(),
            )
            // The batch is bounded already; librdkafka must take all of it.
            .set("queue.buffering.max.kbytes", "2147483647")
            .set("message.max.bytes", "1000000000");
        set_unless_given(&mut config, ["linger.ms", "queue.buffering.max.ms"], "0");
        set_unless_given(&mut config, ["compression.type", "compression.codec"], "lz4");
        if let Some(bytes) = batch_bytes_max {
            config.set("batch.size", bytes.to_string());
        }
        let acknowledgements = Arc::new(Acknowledgements::default());
        let context = LaneContext::of(acknowledgements.clone(), cut_off);
        let producer: ThreadedProducer<LaneContext> = kafka::create(&config, context)?;
        producer.client().fetch_metadata(Some(checkpoint_topic), kafka::REQUEST_TIMEOUT).map_err(
            |error| kafka::Error::of_client(&producer.client().context().failure, error),
        )?;
        std::thread::sleep(CONNECTION_PAUSE);
        let lane =
            Lane { producer, acknowledgements, transaction_timeout: options.transaction_timeout };
        lane.initialise(transactional_id)?;
        Ok(lane)
    }

    /// Finishes or aborts what a predecessor left open, and fences it.
    fn initialise(&self, id: &str) -> Result<(), Error> {
        let (id, timeout) = (id.to_owned(), self.transaction_timeout);
        self.producer.init_transactions(timeout).map_err(|error| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OperationTimedOut) => Error::NoCoordinator { id, timeout },
            _ if self.is_fenced(&error) => Error::Fenced,
            _ => Error::Initialise { id, source: error },
        })
    }

    fn begin(&self, records: usize) -> Result<(), Error> {
        self.acknowledgements.expect(records);
        self.producer
            .begin_transaction()
            .map_err(|error| self.classify("begin a transaction", error))
    }

    fn send(&self, record: BaseRecord<'_, [u8], [u8], usize>) -> Result<(), Error> {
        self.producer.send(record).map_err(|(error, record)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Error::Refused {
                index: record.delivery_opaque,
                topic: record.topic.to_owned(),
                source: error,
            },
            _ => self.classify("send a record", error),
        })
    }

    /// Waits until the broker has acknowledged every record of the transaction, or refused one.
    fn await_acknowledged(&self) -> Result<(), Error> {
        if let Err(refused) = self.acknowledgements.wait() {
            return Err(self.classify_refused(refused));
        }
        // The last report came from within its event, which still counts as in flight; `commit_transaction`
        // would wait 100 ms for it.
        let since = Instant::now();
        while self.producer.in_flight_count() > 0 && since.elapsed() < kafka::REQUEST_TIMEOUT {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn classify_refused(&self, refused: Refused) -> Error {
        let Refused { index, topic, error } = refused;
        if is_collateral(&error) {
            // librdkafka gave the whole transaction up and tells why only to who wants to commit it.
            let doing = "have records acknowledged";
            return match self.producer.commit_transaction(self.transaction_timeout) {
                Err(reason) => self.classify(doing, reason),
                Ok(()) => Error::Kafka { doing, source: error },
            };
        }
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp,
            ) => {
                self.abort();
                Error::Refused { index, topic, source: error }
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                self.abort();
                Error::Denied { topic, source: error }
            }
            Some(RDKafkaErrorCode::MessageTimedOut) => {
                match self.classify("have a record acknowledged", error) {
                    Error::Kafka { .. } => Error::NotAcknowledged {
                        why: self.why_not_acknowledged(&topic),
                        topic,
                        timeout: self.transaction_timeout,
                    },
                    error => error,
                }
            }
            _ => self.classify("have a record acknowledged", error),
        }
    }

    /// librdkafka tries again what a broker refuses for the time being, and does not tell why in the end.
    fn why_not_acknowledged(&self, topic: &str) -> String {
        let client = self.producer.client();
        let Ok(metadata) = client.fetch_metadata(Some(topic), LOOK_TIMEOUT) else {
            return "no broker answers".to_owned();
        };
        let topic = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = topic.map_or(&[][..], |topic| topic.partitions());
        let count = partitions.len();
        let without_leader = partitions.iter().filter(|partition| partition.leader() < 0).count();
        let out_of_sync =
            |partition: &&MetadataPartition| partition.isr().len() < partition.replicas().len();
        match (without_leader, partitions.iter().find(out_of_sync)) {
            (1.., _) => format!("{without_leader} of its {count} partitions have no leader"),
            (0, Some(partition)) => format!(
                "partition {} has {} of {} replicas in sync, and min.insync.replicas may ask for more",
                partition.id(),
                partition.isr().len(),
                partition.replicas().len()
            ),
            (0, None) => "its brokers answer again, or are slow".to_owned(),
        }
    }

    /// Lets readers of the partitions go on at once. Where it fails, the transaction's timeout does it.
    fn abort(&self) {
        if let Err(error) = self.producer.abort_transaction(kafka::REQUEST_TIMEOUT) {
            tracing::debug!(%error, "abort a transaction");
        }
    }

    /// A commit that fails, or whose answer is lost, is never tried again: recovery finds out what it was.
    fn commit(&self) -> Result<(), Error> {
        self.producer
            .commit_transaction(self.transaction_timeout)
            .map_err(|error| self.classify("commit a transaction", error))
    }

    /// Tells what is about the relay's identity or its rights from all else.
    fn classify(&self, doing: &'static str, error: KafkaError) -> Error {
        if self.is_fenced(&error) {
            return Error::Fenced;
        }
        let denied = self.producer.client().context().denied_topic();
        match (error.rdkafka_error_code(), denied) {
            (Some(RDKafkaErrorCode::TopicAuthorizationFailed), Some(topic)) => {
                self.abort();
                Error::Denied { topic, source: error }
            }
            _ => Error::Kafka { doing, source: error },
        }
    }

    /// A producer whose transaction timed out is fenced as well: its epoch was raised by the broker.
    fn is_fenced(&self, error: &KafkaError) -> bool {
        let is_fenced = |code: RDKafkaErrorCode| {
            matches!(
                code,
                RDKafkaErrorCode::Fenced
                    | RDKafkaErrorCode::ProducerFenced
                    | RDKafkaErrorCode::InvalidProducerEpoch
            )
        };
        let fatal = self.producer.client().fatal_error();
        error.rdkafka_error_code().is_some_and(is_fenced)
            || fatal.is_some_and(|(code, _)| is_fenced(code))
    }
}

/// Sets a property that has two names in librdkafka.
fn set_unless_given(config: &mut ClientConfig, [name, alias]: [&str; 2], value: &str) {
    if config.get(name).is_none() && config.get(alias).is_none() {
        config.set(name, value);
    }
}
