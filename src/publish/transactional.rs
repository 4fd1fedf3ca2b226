//! `exactly-once`: each batch and its checkpoint are one Kafka transaction.
//!
//! Transactional producers are used in turn ("lanes"): a broker refuses to begin the next transaction of an
//! id until the markers of its last one are written, and librdkafka then waits 20 ms. Order holds because a
//! lane's records are sent only after the transaction of the lane before it was committed.

mod claim;
mod opening;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

pub use self::claim::Claim;
pub use self::opening::Connected;
use self::opening::Opening;
use super::client::{Client, Record, Topic};
use super::reports::{Acknowledgements, Bell, Refused, is_collateral};
use super::sequence::SequenceHeader;
use super::{Answers, Error, Options, Order, SERVE_INTERVAL, Sealed, Stored, producer};
use crate::batch::{Batch, Limits};
use crate::checkpoint::{self, Checkpoint};
use crate::kafka::{self, Early};

/// Lanes in use. Measured with one record a transaction: one lane 26 ms a cycle, two 5 ms, more no better.
const USED_LANES: usize = 2;

/// Whether a coordinator has put a new producer off is looked at so often.
const ANSWER_INTERVAL: Duration = Duration::from_millis(5);

/// librdkafka looks once a second which records are too old.
const REPORT_MARGIN: Duration = Duration::from_secs(10);

/// The lanes of one relay, all fenced against its predecessors.
pub struct Transactional {
    lanes: Vec<Lane>,
    next_lane: usize,
    options: Options,
    checkpoint: checkpoint::Options,
    cut_off: Arc<AtomicBool>,
}

impl Transactional {
    /// Makes the producers and initialises all transactional ids: transactions that a predecessor left open
    /// are finished or aborted, and it can write nothing more. `cut_off` turns true when no broker answers.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn open(
        kafka: &kafka::Options,
        options: &Options,
        checkpoint: &checkpoint::Options,
        limits: Limits,
        batch_bytes_max: Option<usize>,
        cut_off: Arc<AtomicBool>,
    ) -> Result<Transactional, Error> {
        let early = Early::not();
        Connected::connect(kafka, options, checkpoint, limits, batch_bytes_max, cut_off, early)?
            .fence()
    }

    /// Initialises the transactional ids of a relay of another name, and lets them go: it can write nothing more.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn fence(
        kafka: &kafka::Options,
        options: &Options,
        name: &str,
        checkpoint: &checkpoint::Options,
        limits: Limits,
    ) -> Result<(), Error> {
        let (topic, cut_off) = (checkpoint.topic.as_str(), Arc::default());
        let early = Early::not();
        let opening =
            Opening { kafka, options, topic, limits, batch_bytes_max: None, cut_off, early };
        kafka::end(opening.lanes(name)?);
        Ok(())
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
        let tombstone = |tag, partition| {
            let key = self.checkpoint.key.as_bytes();
            Record { key, value: None, partition, sequence: None, tag }
        };
        for (index, partition) in partitions.iter().enumerate() {
            lane.send_checkpoint(&tombstone(index, Some(*partition)))?;
        }
        lane.send_checkpoint(&tombstone(partitions.len(), None))?;
        lane.await_acknowledged()?;
        lane.commit()
    }

    /// Publishes the batches that are ordered, one after the other, until the order to stop.
    pub(super) fn run(mut self, orders: &Receiver<Order>, answers: &Answers) -> Result<(), Error> {
        loop {
            let sealed = match orders.recv_timeout(SERVE_INTERVAL) {
                Ok(Order::Publish(sealed)) => sealed,
                Ok(Order::LearnTopic { name, .. }) => {
                    self.learn_topic(&name)?;
                    continue;
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    self.serve();
                    continue;
                }
            };
            let Sealed { batch, first_sequence, checkpoint, .. } = &*sealed;
            let value = self.publish(batch, *first_sequence, checkpoint)?;
            self.cut_off.store(false, Ordering::Relaxed);
            let (published, number, checkpoint) = sealed.published();
            answers.published(published);
            answers.stored(Stored { number, checkpoint, value });
        }
    }

    fn learn_topic(&mut self, name: &str) -> Result<(), Error> {
        for lane in &mut self.lanes {
            let topic = lane.client.topic(name);
            let doing = "look up a topic";
            lane.topics.push(topic.map_err(|source| Error::Kafka { doing, source })?);
        }
        Ok(())
    }

    /// Reads what librdkafka says while nothing is published, such as that no broker answers.
    pub fn serve(&self) {
        self.lanes.iter().for_each(|lane| lane.client.serve());
    }

    /// Has the batch's records and its checkpoint in Kafka for good. Answers with the checkpoint's record.
    ///
    /// # Errors
    /// They are not, or nobody knows; these lanes must not be used again.
    fn publish(
        &mut self,
        batch: &Batch,
        first_sequence: u64,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<u8>, Error> {
        let sent = self.send_and_commit(batch, first_sequence, checkpoint);
        sent.map_err(|error| error.of_rows(first_sequence, batch.len()))
    }

    fn send_and_commit(
        &mut self,
        batch: &Batch,
        first_sequence: u64,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<u8>, Error> {
        let lane = &self.lanes[self.next_lane];
        self.next_lane = (self.next_lane + 1) % self.lanes.len();
        lane.begin(batch.unsent() + 1)?;
        let generation = checkpoint.generation.unwrap_or_default();
        let mut header = SequenceHeader::new(&self.options.name, generation);
        lane.send_records(batch, &mut header, first_sequence)?;
        let value = checkpoint.to_json();
        lane.send_checkpoint(&self.checkpoint_record(&value, batch.len()))?;
        lane.await_acknowledged()?;
        lane.commit()?;
        Ok(value)
    }

    fn checkpoint_record<'a>(&'a self, value: &'a [u8], tag: usize) -> Record<'a> {
        let key = self.checkpoint.key.as_bytes();
        Record { key, value: Some(value), partition: None, sequence: None, tag }
    }

    /// Stores a checkpoint alone. Answers with its record.
    ///
    /// # Errors
    /// It is not in Kafka, or nobody knows; these lanes must not be used again.
    pub fn store(&mut self, checkpoint: &Checkpoint) -> Result<Vec<u8>, Error> {
        let no_records = Batch::new(Limits { records_max: 1, bytes_max: 0 });
        self.publish(&no_records, checkpoint.sequence + 1, checkpoint)
    }

    /// Turns true when no broker answers any more.
    pub(super) fn cut_off(&self) -> Arc<AtomicBool> {
        self.cut_off.clone()
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
    let id = lane_id(&options.name, "check");
    let (topic, cut_off) = (checkpoint.topic.as_str(), Arc::default());
    let early = Early::not();
    Opening { kafka, options, topic, limits, batch_bytes_max: None, cut_off, early }.lane(&id)?;
    Ok(id)
}

fn lane_id(name: &str, lane: impl std::fmt::Display) -> String {
    format!("{name}-{lane}")
}

/// One transactional producer.
struct Lane {
    client: Client<Acknowledgements>,
    checkpoint_topic: Topic<Acknowledgements>,
    /// By their ids.
    topics: Vec<Topic<Acknowledgements>>,
    acknowledgements: Arc<Acknowledgements>,
    /// Rings when the client has something to serve.
    bell: Arc<Bell>,
    transaction_timeout: Duration,
}

impl Lane {
    /// Finishes or aborts what a predecessor left open, and fences it. `false`: it was put off before
    /// `quick_until`; later, librdkafka asks again.
    fn initialise(&self, id: &str, quick_until: Instant) -> Result<bool, Error> {
        let timeout = self.transaction_timeout;
        let initialised = self.client.serve_while(|producer| {
            while Instant::now() < quick_until {
                // By its end, the call has failed with the coordinator's last answer, if there was one.
                match producer.init_transactions(ANSWER_INTERVAL) {
                    Err(error) if is_silence(&error) => {}
                    Err(error) if may_be_asked_again(&error) => return Ok(false),
                    initialised => return initialised.map(|()| true),
                }
            }
            producer.init_transactions(timeout).map(|()| true)
        });
        initialised.map_err(|source| match source {
            _ if self.is_fenced(&source) => Error::Fenced,
            _ if may_be_asked_again(&source) => {
                Error::NoCoordinator { id: id.to_owned(), timeout, source }
            }
            _ => Error::Initialise { id: id.to_owned(), source },
        })
    }

    fn begin(&self, records: usize) -> Result<(), Error> {
        self.acknowledgements.expect(records);
        let begun = self.client.producer().begin_transaction();
        begun.map_err(|error| self.classify("begin a transaction", error))
    }

    fn send_records(
        &self,
        batch: &Batch,
        header: &mut SequenceHeader,
        first_sequence: u64,
    ) -> Result<(), Error> {
        let tag = |index| index;
        producer::send_records(batch, 0, &self.topics, header, first_sequence, tag, |_, _, _| true)
            .map_err(|refused| self.classify_unsent(refused))
    }

    fn send_checkpoint(&self, record: &Record<'_>) -> Result<(), Error> {
        let topic = &self.checkpoint_topic;
        let sent = topic.send(record);
        sent.map_err(|error| self.classify_unsent(producer::refused(record.tag, topic, error)))
    }

    fn classify_unsent(&self, Refused { index, topic, error, .. }: Refused) -> Error {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                Error::Refused { index, sequence: None, topic, source: error }
            }
            _ => self.classify("send a record", error),
        }
    }

    /// Waits until the broker has acknowledged every record of the transaction, or refused one. librdkafka
    /// reports on every record by the end of the transaction's timeout; one that it forgets is not waited for.
    fn await_acknowledged(&self) -> Result<(), Error> {
        let report_by = Instant::now() + self.transaction_timeout + REPORT_MARGIN;
        loop {
            self.client.serve();
            if self.acknowledgements.are_all_here() {
                break;
            }
            if Instant::now() > report_by {
                let records = self.acknowledgements.missing();
                return Err(Error::NoReport { records, timeout: self.transaction_timeout });
            }
            self.bell.wait(SERVE_INTERVAL);
        }
        match self.acknowledgements.refused() {
            Some(refused) => Err(self.classify_refused(refused)),
            None => Ok(()),
        }
    }

    fn classify_refused(&self, refused: Refused) -> Error {
        if is_collateral(&refused.error) {
            // librdkafka gave the whole transaction up and tells why only to who wants to commit it.
            let doing = "have records acknowledged";
            return match self.client.producer().commit_transaction(self.transaction_timeout) {
                Err(reason) => self.classify(doing, reason),
                Ok(()) => Error::Kafka { doing, source: refused.error },
            };
        }
        let Refused { topic, error, .. } = match producer::refusal(refused) {
            Ok(refusal) => {
                self.abort();
                return refusal;
            }
            Err(refused) => refused,
        };
        let is_timeout = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut);
        match self.classify("have a record acknowledged", error) {
            Error::Kafka { .. } if is_timeout => Error::NotAcknowledged {
                why: producer::why_not_acknowledged(&self.client, &topic),
                topic,
                timeout: self.transaction_timeout,
            },
            error => error,
        }
    }

    /// Lets readers of the partitions go on at once. Where it fails, the transaction's timeout does it.
    fn abort(&self) {
        let abort = |producer: &BaseProducer<_>| producer.abort_transaction(kafka::REQUEST_TIMEOUT);
        if let Err(error) = self.client.serve_while(abort) {
            tracing::debug!(%error, "abort a transaction");
        }
    }

    /// A commit that fails, or whose answer is lost, is never tried again: recovery finds out what it was.
    fn commit(&self) -> Result<(), Error> {
        let committed = self.client.producer().commit_transaction(self.transaction_timeout);
        committed.map_err(|error| self.classify("commit a transaction", error))
    }

    /// Tells what is about the relay's identity or its rights from all else.
    fn classify(&self, doing: &'static str, error: KafkaError) -> Error {
        if self.is_fenced(&error) {
            return Error::Fenced;
        }
        // What tells more may just have come.
        self.client.serve();
        let denied = self.client.producer().client().context().denied_topic();
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
        let fatal = self.client.producer().client().fatal_error();
        error.rdkafka_error_code().is_some_and(is_fenced)
            || fatal.is_some_and(|(code, _)| is_fenced(code))
    }
}

/// Nobody has answered in time, or a coordinator that is just chosen, or still ends the transaction of a
/// predecessor.
fn may_be_asked_again(error: &KafkaError) -> bool {
    let is_put_off = matches!(error, KafkaError::Transaction(reason) if reason.is_retriable());
    is_put_off || is_silence(error)
}

fn is_silence(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut)
}
