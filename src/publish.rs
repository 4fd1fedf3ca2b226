//! The publisher: its own thread that takes sealed batches one after the other and has each in Kafka,
//! with the checkpoint it leads to, before it answers.
//!
//! Batches enter in stream order; what leaves is the emptied batch, or the error that ends this publisher.
//! After an error nothing more is sent: recovery makes a new one.

mod reports;
pub mod transactional;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::kafka;

/// Who the relay is to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The relay's name: prefix of the transactional ids, client id, first part of `relay-sequence`.
    pub name: String,
    /// How long the broker keeps an open transaction of a dead relay.
    pub transaction_timeout: Duration,
}

/// A batch on its way, with where it leads.
#[derive(Debug)]
pub struct Sealed {
    pub batch: Batch,
    /// Sequence number of the first record.
    pub first_sequence: u64,
    pub checkpoint: Checkpoint,
    /// The checkpoint's record.
    value: Vec<u8>,
    sealed_at: Instant,
}

impl Sealed {
    /// A batch that is ready to leave now.
    pub fn new(batch: Batch, first_sequence: u64, checkpoint: Checkpoint) -> Sealed {
        let value = checkpoint.to_json();
        Sealed { batch, first_sequence, checkpoint, value, sealed_at: Instant::now() }
    }
}

/// What the publisher answers to a sealed batch.
#[derive(Debug)]
pub struct Published {
    pub batch: Batch,
    pub checkpoint: Checkpoint,
    /// The checkpoint's record.
    pub value: Vec<u8>,
    /// From the batch being sealed to its commit.
    pub took: Duration,
    pub committed_at: SystemTime,
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
    NotAcknowledged { topic: String, timeout: Duration, why: String },
    #[error(
        "no coordinator has taken the transactional id {id} within {} s (transaction_timeout): no broker answers, \
         the partition of __transaction_state that holds it has no leader, or it still ends a predecessor's transaction",
        timeout.as_secs()
    )]
    NoCoordinator { id: String, timeout: Duration },
    #[error("another producer has this relay's transactional ids")]
    Fenced,
    #[error("the broker refuses record {index} of a batch, for topic {topic}")]
    Refused { index: usize, topic: String, source: KafkaError },
    #[error("the publisher's thread ended without a word")]
    ThreadEnded,
}

/// A way to have batches in Kafka. One call a batch, in stream order.
pub trait Publish: Send + 'static {
    /// Returns when the batch's records and its checkpoint are in Kafka for good.
    ///
    /// # Errors
    /// They are not, or nobody knows; this publisher must not be used again.
    fn publish(&mut self, sealed: &Sealed) -> Result<(), Error>;

    /// The topics that batches name by their ids have grown.
    fn learn_topic(&mut self, name: Arc<str>);

    /// Turns true when no broker answers any more.
    fn cut_off(&self) -> Arc<AtomicBool>;
}

enum Order {
    LearnTopic(Arc<str>),
    Publish(Box<Sealed>),
}

/// The publisher's thread, from the side of the reader. At most one batch is on its way.
pub struct Publisher {
    orders: Option<std::sync::mpsc::Sender<Order>>,
    answers: mpsc::UnboundedReceiver<Result<Published, Error>>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
    cut_off: Arc<AtomicBool>,
}

impl Publisher {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn start(publish: impl Publish) -> std::io::Result<Publisher> {
        let (orders, orders_of_thread) = std::sync::mpsc::channel();
        let (answers_of_thread, answers) = mpsc::unbounded_channel();
        let cut_off = publish.cut_off();
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || run(publish, &orders_of_thread, &answers_of_thread))?;
        let thread = Some(thread);
        Ok(Publisher { orders: Some(orders), answers, thread, is_busy: false, cut_off })
    }

    /// A batch is on its way.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// No broker answers, as far as the client noticed. The next batch that is published shows that one does.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Tells the next topic, in the order of the topics' ids.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn learn_topic(&self, name: Arc<str>) -> Result<(), Error> {
        self.order(Order::LearnTopic(name))
    }

    /// Hands a batch over.
    ///
    /// # Errors
    /// The thread has ended.
    ///
    /// # Panics
    /// A batch is on its way already.
    pub fn publish(&mut self, sealed: Sealed) -> Result<(), Error> {
        assert!(!self.is_busy, "one batch is filled while the other is published");
        self.order(Order::Publish(Box::new(sealed)))?;
        self.is_busy = true;
        Ok(())
    }

    /// The answer to the batch on its way, if it is here already.
    ///
    /// # Errors
    /// The batch is not in Kafka, or nobody knows.
    pub fn try_answer(&mut self) -> Result<Option<Published>, Error> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.is_busy = false;
                answer.map(Some)
            }
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Error::ThreadEnded),
        }
    }

    /// Waits for the answer to the batch on its way. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The batch is not in Kafka, or nobody knows.
    pub async fn answer(&mut self) -> Result<Published, Error> {
        let answer = self.answers.recv().await.unwrap_or(Err(Error::ThreadEnded));
        self.is_busy = false;
        answer
    }

    fn order(&self, order: Order) -> Result<(), Error> {
        let orders = self.orders.as_ref().expect("orders are given only before the drop");
        orders.send(order).map_err(|_| Error::ThreadEnded)
    }
}

impl Publisher {
    /// Ends the thread and waits until it has: a batch on its way is finished first, or fails.
    pub async fn stop(mut self) {
        self.orders = None;
        let Some(thread) = self.thread.take() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the publisher's thread panicked");
        }
    }
}

fn run(
    mut publish: impl Publish,
    orders: &std::sync::mpsc::Receiver<Order>,
    answers: &mpsc::UnboundedSender<Result<Published, Error>>,
) {
    let cut_off = publish.cut_off();
    while let Ok(order) = orders.recv() {
        let sealed = match order {
            Order::LearnTopic(name) => {
                publish.learn_topic(name);
                continue;
            }
            Order::Publish(sealed) => sealed,
        };
        let answer = publish.publish(&sealed).map(|()| {
            cut_off.store(false, Ordering::Relaxed);
            let Sealed { batch, checkpoint, value, sealed_at, .. } = *sealed;
            let took = sealed_at.elapsed();
            Published { batch, checkpoint, value, took, committed_at: SystemTime::now() }
        });
        let is_error = answer.is_err();
        // The reader may be gone already, because its own end failed: then nobody needs the answer.
        if answers.send(answer).is_err() || is_error {
            return;
        }
    }
}
