//! The publisher: its own thread that takes sealed batches one after the other and has each in Kafka, with
//! the checkpoint that it leads to.
//!
//! Batches enter in stream order; the emptied batches leave in that order, and the checkpoints that are
//! stored, or the error that ends this publisher. After an error nothing more is sent: recovery makes a new
//! one. How records get there is one of two ways: [`transactional`] or [`idempotent`].

mod client;
pub mod idempotent;
pub(crate) mod partitions;
mod producer;
mod reports;
pub mod sequence;
pub mod transactional;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use self::idempotent::Idempotent;
use self::transactional::Transactional;
use crate::batch::{Batch, TopicId};
use crate::checkpoint::Checkpoint;
use crate::kafka::{self, Delivery};
use crate::panics;

/// What librdkafka says while nothing is published is read so often.
const SERVE_INTERVAL: Duration = Duration::from_millis(250);

/// Who the relay is to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The relay's name: prefix of the transactional ids, client id, first part of `relay-sequence`.
    pub name: String,
    /// How long the broker keeps an open transaction of a dead relay, and how long a record may go without an
    /// acknowledgement before something is said about it.
    pub transaction_timeout: Duration,
    pub delivery: Delivery,
}

/// A batch on its way, with where it leads.
#[derive(Debug)]
pub struct Sealed {
    pub batch: Batch,
    /// Sequence number of the first record.
    pub first_sequence: u64,
    pub checkpoint: Checkpoint,
    /// Counts what this publisher was handed, from 1.
    number: u64,
    sealed_at: Instant,
}

impl Sealed {
    /// A batch that is ready to leave now.
    pub fn new(batch: Batch, first_sequence: u64, checkpoint: Checkpoint) -> Sealed {
        Sealed { batch, first_sequence, checkpoint, number: 0, sealed_at: Instant::now() }
    }

    /// All its records are in Kafka now. What is left to store, beside it, is its checkpoint and its number.
    fn published(self) -> (Published, u64, Checkpoint) {
        let Sealed { batch, checkpoint, number, sealed_at, .. } = self;
        let published = Published {
            sequence: checkpoint.sequence,
            took: sealed_at.elapsed(),
            batch,
            committed_at: SystemTime::now(),
        };
        (published, number, checkpoint)
    }
}

/// What the publisher has done, or cannot do yet.
#[derive(Debug)]
pub enum Answer {
    /// Another batch would be sent at once.
    Ready,
    Published(Published),
    Stored(Box<Stored>),
    /// Records that are on their way were not acknowledged for long; they are still tried.
    Stalled(Error),
}

/// A batch whose records are in Kafka, all of them.
#[derive(Debug)]
pub struct Published {
    pub batch: Batch,
    /// Sequence number of its last record.
    pub sequence: u64,
    /// From the batch being sealed to its last acknowledgement, or commit.
    pub took: Duration,
    pub committed_at: SystemTime,
}

/// A checkpoint that is in Kafka.
#[derive(Debug)]
pub struct Stored {
    pub checkpoint: Checkpoint,
    /// Its record.
    pub value: Vec<u8>,
    /// Of the batch that it came with; it stands for all before.
    number: u64,
}

impl Stored {
    /// The claim that comes before all batches.
    pub fn claim(checkpoint: Checkpoint, value: Vec<u8>) -> Stored {
        Stored { checkpoint, value, number: 0 }
    }
}

/// Why a batch is not in Kafka, or may not be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] kafka::Error),
    #[error("{doing}")]
    Kafka { doing: &'static str, source: KafkaError },
    #[error("initialise the transactional id {id}")]
    Initialise { id: String, source: KafkaError },
    #[error("write to the topic {topic}")]
    Denied { topic: String, source: KafkaError },
    #[error(
        "the topic {topic} has acknowledged nothing within {} s (transaction_timeout): {why}",
        timeout.as_secs()
    )]
    NotAcknowledged { topic: String, timeout: Duration, why: Unacknowledged },
    #[error(
        "no coordinator has taken the transactional id {id} within {} s (transaction_timeout): no broker answers, \
         the partition of __transaction_state that holds it has no leader, or it still ends a predecessor's transaction",
        timeout.as_secs()
    )]
    NoCoordinator { id: String, timeout: Duration, source: KafkaError },
    #[error(
        "librdkafka has not reported on {records} records within {} s (transaction_timeout)",
        timeout.as_secs()
    )]
    NoReport { records: usize, timeout: Duration },
    #[error("another producer has this relay's transactional ids")]
    Fenced,
    #[error("the broker does not say where in the checkpoint topic it has stored a record")]
    NoOffset,
    #[error("the broker refuses record {index} of a batch, for topic {topic}")]
    Refused {
        index: usize,
        /// The row's number; `None` for a checkpoint.
        sequence: Option<u64>,
        topic: String,
        source: KafkaError,
    },
    #[error("start a thread of the publisher: {0}")]
    Thread(std::io::Error),
    #[error("the publisher's thread ended without a word")]
    ThreadEnded,
    #[error("a thread of the publisher panicked: {0}")]
    Panicked(String),
}

/// Why a topic acknowledges nothing, as far as its brokers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unacknowledged {
    #[error("no broker answers")]
    NoBroker,
    #[error("{without} of its {partitions} partitions have no leader")]
    NoLeader { without: usize, partitions: usize },
    #[error(
        "partition {partition} has {in_sync} of {replicas} replicas in sync, and min.insync.replicas may ask for more"
    )]
    OutOfSync { partition: i32, in_sync: usize, replicas: usize },
    #[error("no broker knows it")]
    NoTopic,
    /// Nothing is seen to be wrong with the topic.
    #[error(
        "all its {replicas} replicas are in sync; min.insync.replicas may ask for more, or the brokers are slow"
    )]
    NoFault { replicas: usize },
}

impl Error {
    /// Adds the row's number to the refusal of a record, one of `records` from `first_sequence` on.
    fn of_rows(self, first_sequence: u64, records: usize) -> Error {
        match self {
            Error::Refused { index, topic, source, .. } => {
                let sequence = (index < records).then(|| first_sequence + index as u64);
                Error::Refused { index, sequence, topic, source }
            }
            error => error,
        }
    }
}

/// What the reader's side asks of the thread.
#[derive(Debug)]
pub(crate) enum Order {
    LearnTopic {
        name: Arc<str>,
        /// Largest record batch that the broker takes, if we may know it.
        batch_bytes_max: Option<usize>,
        partitions: u32,
    },
    /// The topic has so many partitions now, which are more than before.
    GrowTopic {
        id: TopicId,
        partitions: u32,
    },
    Publish(Box<Sealed>),
    /// Finish what is on its way, and end.
    Stop,
}

/// The way back to the reader. It may be gone, because its own end failed: then nobody needs the answers.
pub(crate) struct Answers(mpsc::UnboundedSender<Result<Answer, Error>>);

impl Answers {
    fn ready(&self) {
        self.send(Ok(Answer::Ready));
    }

    fn published(&self, published: Published) {
        self.send(Ok(Answer::Published(published)));
    }

    fn stored(&self, stored: Stored) {
        self.send(Ok(Answer::Stored(Box::new(stored))));
    }

    fn stalled(&self, error: Error) {
        self.send(Ok(Answer::Stalled(error)));
    }

    fn send(&self, answer: Result<Answer, Error>) {
        drop(self.0.send(answer));
    }
}

/// The publisher's thread, from the side of the reader.
pub struct Publisher {
    order: Box<dyn Fn(Order) -> bool + Send + Sync>,
    answers: mpsc::UnboundedReceiver<Result<Answer, Error>>,
    thread: Option<JoinHandle<()>>,
    cut_off: Arc<AtomicBool>,
    /// Batches that are not published yet, and their bytes.
    on_their_way: usize,
    bytes_on_their_way: usize,
    /// Batches go out at a pace, told by [`Answer::Ready`].
    is_paced: bool,
    is_ready: bool,
    ordered: u64,
    stored: u64,
}

impl Publisher {
    /// Starts the thread: each batch and its checkpoint are one transaction.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn transactional(transactional: Transactional) -> std::io::Result<Publisher> {
        let (orders, inbox) = std::sync::mpsc::channel();
        let (cut_off, bell) = (transactional.cut_off(), transactional.bell());
        let order = move |order| {
            let is_taken = orders.send(order).is_ok();
            bell.ring();
            is_taken
        };
        let run = move |answers: &Answers| transactional.run(&inbox, answers);
        let mut publisher = Publisher::start(cut_off, order, run)?;
        publisher.is_paced = true;
        Ok(publisher)
    }

    /// Starts the thread: records go out at once, and the checkpoint follows them. `claim`: the stored one.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn idempotent(
        idempotent: Idempotent,
        lanes: Transactional,
        claim: Checkpoint,
    ) -> std::io::Result<Publisher> {
        let events = idempotent.events();
        let (cut_off, is_stopping) = (idempotent.cut_off(), idempotent.is_stopping());
        let order = move |order| {
            if let Order::Stop = &order {
                is_stopping.store(true, Ordering::Relaxed);
            }
            events.send(idempotent::Event::Order(order)).is_ok()
        };
        Publisher::start(cut_off, order, move |answers| idempotent.run(lanes, claim, answers))
    }

    fn start(
        cut_off: Arc<AtomicBool>,
        order: impl Fn(Order) -> bool + Send + Sync + 'static,
        run: impl FnOnce(&Answers) -> Result<(), Error> + Send + 'static,
    ) -> std::io::Result<Publisher> {
        let (answers_of_thread, answers) = mpsc::unbounded_channel();
        let answers_of_thread = Answers(answers_of_thread);
        let run = move || {
            // What it had is not used again: this error ends the publisher.
            let ended = panic::catch_unwind(AssertUnwindSafe(|| run(&answers_of_thread)));
            let ended = ended.unwrap_or_else(|panic| Err(Error::Panicked(panics::words(&*panic))));
            if let Err(error) = ended {
                answers_of_thread.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("publisher".to_owned()).spawn(run)?;
        Ok(Publisher {
            order: Box::new(order),
            answers,
            thread: Some(thread),
            cut_off,
            on_their_way: 0,
            bytes_on_their_way: 0,
            is_paced: false,
            is_ready: true,
            ordered: 0,
            stored: 0,
        })
    }

    /// Another batch would be sent at once.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Bytes of the batches that are not published yet; `None` where there is none.
    pub fn bytes_on_their_way(&self) -> Option<usize> {
        (self.on_their_way > 0).then_some(self.bytes_on_their_way)
    }

    /// Every batch is published, and the last one's checkpoint stored.
    pub fn is_settled(&self) -> bool {
        self.on_their_way == 0 && self.stored == self.ordered
    }

    /// No broker answers, as far as the client noticed. The next batch that is published shows that one does.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Tells the next topic, in the order of the topics' ids.
    pub fn learn_topic(&self, name: Arc<str>, batch_bytes_max: Option<usize>, partitions: u32) {
        self.order(Order::LearnTopic { name, batch_bytes_max, partitions });
    }

    /// Tells that a topic has more partitions than before.
    pub fn grow_topic(&self, id: TopicId, partitions: u32) {
        self.order(Order::GrowTopic { id, partitions });
    }

    /// Hands a batch over. An answer tells what became of it.
    pub fn publish(&mut self, mut sealed: Sealed) {
        sealed.number = self.ordered + 1;
        self.bytes_on_their_way += sealed.batch.bytes();
        self.order(Order::Publish(Box::new(sealed)));
        self.ordered += 1;
        self.on_their_way += 1;
        self.is_ready = !self.is_paced;
    }

    /// The next answer, if it is here already.
    ///
    /// # Errors
    /// A batch is not in Kafka, or nobody knows.
    pub fn try_answer(&mut self) -> Result<Option<Answer>, Error> {
        match self.answers.try_recv() {
            Ok(answer) => self.note(answer).map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Error::ThreadEnded),
        }
    }

    /// Waits for the next answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A batch is not in Kafka, or nobody knows.
    pub async fn answer(&mut self) -> Result<Answer, Error> {
        let answer = self.answers.recv().await.unwrap_or(Err(Error::ThreadEnded));
        self.note(answer)
    }

    fn note(&mut self, answer: Result<Answer, Error>) -> Result<Answer, Error> {
        match &answer {
            Ok(Answer::Ready) => self.is_ready = true,
            Ok(Answer::Published(published)) => {
                self.on_their_way -= 1;
                self.bytes_on_their_way -= published.batch.bytes();
            }
            Ok(Answer::Stored(stored)) => self.stored = stored.number,
            Ok(Answer::Stalled(_)) | Err(_) => {}
        }
        answer
    }

    /// A thread that has ended takes no order. Why it has ended is its last answer, which may still be unread.
    fn order(&self, order: Order) {
        let _ = (self.order)(order);
    }

    /// Ends the thread and waits until it has: what is on its way is finished first, or fails.
    pub async fn stop(mut self) {
        let Some(thread) = self.thread.take() else { return };
        drop(self);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the publisher's thread panicked");
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.order(Order::Stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Limits;

    #[tokio::test]
    async fn a_thread_that_has_ended_takes_no_batch_and_still_tells_why() {
        let run = |_: &Answers| Err(Error::Fenced);
        let mut publisher = Publisher::start(Arc::default(), |_| false, run).unwrap();
        assert!(publisher.is_settled());
        let batch = Batch::new(Limits { records_max: 1, bytes_max: 1 });
        publisher.learn_topic("orders".into(), None, 1);
        publisher.publish(Sealed::new(batch, 1, Checkpoint::default()));
        assert!(!publisher.is_settled());
        let answer = publisher.answer().await;
        assert!(matches!(answer, Err(Error::Fenced)), "{answer:?}");
        let answer = publisher.answer().await;
        assert!(matches!(answer, Err(Error::ThreadEnded)), "{answer:?}");
    }
}
