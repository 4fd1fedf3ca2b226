//! The publisher: takes sealed batches one after the other and has each in the sink, with the checkpoint that it leads
//! to.
//!
//! Batches enter in stream order. The emptied batches come back in that order, then the checkpoints that are stored,
//! or the error that ends this publisher. How records get there is the sink's.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::error::{About, SinkError};
use super::suspension::SuspensionWatch;
use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::fate::Fate;
use crate::tasks;
use crate::telemetry::metrics::ErrorKind;

/// The line tells that its thread turns at least every second, unless it waits for this publisher. A longer gap means
/// that the thread was held up, and that we may have been replaced: a successor waits 8 s for us.
const GAP_MAX: Duration = Duration::from_secs(3);

/// A batch in flight, with where it leads.
#[derive(Debug)]
pub struct Sealed {
    pub batch: Batch,
    /// Sequence number of the first record.
    pub first_sequence: u64,
    pub checkpoint: Checkpoint,
    /// Counts what this publisher was handed, from 1.
    pub number: u64,
    /// We may have been replaced: the thread that has read it was held up before, or it is the first one.
    pub is_doubtful: bool,
    sealed_at: Instant,
}

impl Sealed {
    /// A batch that is ready to leave now.
    pub fn new(batch: Batch, first_sequence: u64, checkpoint: Checkpoint) -> Sealed {
        let (number, is_doubtful, sealed_at) = (0, false, Instant::now());
        Sealed { batch, first_sequence, checkpoint, number, is_doubtful, sealed_at }
    }

    /// All its records are durable now. What is left to store is its checkpoint, under its number.
    pub fn published(self) -> (Published, u64, Checkpoint) {
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

/// What the line asks of the publisher.
#[derive(Debug)]
pub enum Order {
    Publish(Box<Sealed>),
    /// Finish what is in flight, and end.
    Stop,
}

/// What the publisher has done, or cannot do yet.
#[derive(Debug)]
pub enum Answer {
    /// Another batch would be sent at once.
    Ready,
    Published(Published),
    Stored(Box<Stored>),
    /// Records in flight were not acknowledged for long; they are still tried.
    Stalled(SinkError),
}

/// A batch whose records are durable, all of them.
#[derive(Debug)]
pub struct Published {
    pub batch: Batch,
    /// Sequence number of its last record.
    pub sequence: u64,
    /// From the batch being sealed to its last acknowledgement, or commit.
    pub took: Duration,
    pub committed_at: SystemTime,
}

/// A checkpoint that is stored.
#[derive(Debug)]
pub struct Stored {
    pub checkpoint: Checkpoint,
    /// Its record.
    pub value: Vec<u8>,
    /// Of the batch that it came with. It stands for all before.
    pub number: u64,
}

impl Stored {
    /// The claim that comes before all batches.
    pub fn claim(checkpoint: Checkpoint, value: Vec<u8>) -> Stored {
        Stored { checkpoint, value, number: 0 }
    }
}

/// The way back to the line. The line may be gone because its own end failed: then nobody needs the answers.
#[derive(Debug, Clone)]
pub struct Answers(mpsc::UnboundedSender<Result<Answer, SinkError>>);

impl Answers {
    pub fn send(&self, answer: Result<Answer, SinkError>) {
        drop(self.0.send(answer));
    }
}

/// A way for answers, and its end.
pub fn answers() -> (Answers, mpsc::UnboundedReceiver<Result<Answer, SinkError>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Answers(sender), receiver)
}

/// How a thread of a publisher ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the publisher thread exited unexpectedly")]
    Exited,
    #[error("a thread of the publisher panicked: {0}")]
    Panicked(String),
}

impl Ended {
    /// Of a panic that was caught.
    #[must_use]
    pub fn by(panic: &(dyn Any + Send)) -> Ended {
        Ended::Panicked(tasks::words(panic))
    }

    /// What it is about, as an error of a sink.
    #[must_use]
    pub fn about(&self) -> About {
        match self {
            Ended::Exited => About::Sink,
            Ended::Panicked(words) => About::Panic(words.clone()),
        }
    }
}

fn ended(sink: &str, source: Ended) -> SinkError {
    let (about, sink, kind) = (source.about(), sink.to_owned(), ErrorKind::Publish);
    SinkError { fate: Fate::Retry, kind, hint: None, about, sink, source: Box::new(source) }
}

/// Starts the thread of a publisher. `sink`: its name in errors. What panics there is an error like any other.
///
/// # Errors
/// The operating system has no thread for us.
pub fn start_thread(
    sink: String,
    answers: Answers,
    run: impl FnOnce(&Answers) -> Result<(), SinkError> + Send + 'static,
) -> std::io::Result<Running> {
    let run = move || {
        // What the thread had is not used again: this error ends the publisher.
        let done = panic::catch_unwind(AssertUnwindSafe(|| run(&answers)));
        let done = done.unwrap_or_else(|panic| Err(ended(&sink, Ended::by(&*panic))));
        if let Err(error) = done {
            answers.send(Err(error));
        }
    };
    let thread = tasks::spawn_thread("publisher", run)?;
    Ok(Running::Thread(thread))
}

/// What a publisher runs on.
pub enum Running {
    Thread(JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Running {
    /// Waits until it has ended. `false`: it panicked.
    async fn ended(self) -> bool {
        match self {
            Running::Thread(thread) => {
                let joined = tasks::spawn_blocking(move || thread.join()).await;
                matches!(joined, Ok(Ok(())))
            }
            Running::Task(task) => task.await.is_ok(),
        }
    }
}

/// The publisher, from the side of the line.
pub struct Publisher {
    /// Takes an order; `false`: the publisher has ended.
    order: Box<dyn Fn(Order) -> bool + Send + Sync>,
    answers: mpsc::UnboundedReceiver<Result<Answer, SinkError>>,
    /// The sink's name in errors.
    sink: String,
    /// Taken when it is waited for.
    running: Option<Running>,
    cut_off: Arc<AtomicBool>,
    /// Batches that are not published yet, and their bytes.
    in_flight: usize,
    bytes_in_flight: usize,
    /// Batches go out at a pace, told by [`Answer::Ready`].
    is_paced: bool,
    is_ready: bool,
    ordered: u64,
    stored: u64,
    line_watch: SuspensionWatch,
    /// We may have been replaced since the last batch.
    is_doubtful: bool,
}

impl Publisher {
    /// A publisher that takes batches whenever one is free. `cut_off` turns true when the sink does not answer.
    pub fn new(
        sink: String,
        order: impl Fn(Order) -> bool + Send + Sync + 'static,
        answers: mpsc::UnboundedReceiver<Result<Answer, SinkError>>,
        running: Running,
        cut_off: Arc<AtomicBool>,
    ) -> Publisher {
        Publisher {
            order: Box::new(order),
            answers,
            sink,
            running: Some(running),
            cut_off,
            in_flight: 0,
            bytes_in_flight: 0,
            is_paced: false,
            is_ready: true,
            ordered: 0,
            stored: 0,
            line_watch: SuspensionWatch::new(GAP_MAX),
            is_doubtful: false,
        }
    }

    /// Takes the next batch only after [`Answer::Ready`].
    #[must_use]
    pub fn paced(mut self) -> Publisher {
        self.is_paced = true;
        self
    }

    /// Another batch would be sent at once.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Bytes of the batches that are not published yet; `None` where there is none.
    pub fn bytes_in_flight(&self) -> Option<usize> {
        (self.in_flight > 0).then_some(self.bytes_in_flight)
    }

    /// Every batch is published, and the last one's checkpoint stored.
    pub fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.stored == self.ordered
    }

    /// The sink does not answer, as far as the client noticed. The next batch that is published shows that it does.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// The line's thread turns.
    pub fn note_turn(&mut self) {
        self.is_doubtful |= self.line_watch.was_suspended();
    }

    /// We may have been replaced: the next batch is doubtful.
    pub fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Hands a batch over. An answer tells what became of it.
    pub fn publish(&mut self, mut sealed: Sealed) {
        self.note_turn();
        sealed.is_doubtful = std::mem::take(&mut self.is_doubtful);
        sealed.number = self.ordered + 1;
        self.bytes_in_flight += sealed.batch.bytes();
        self.order(Order::Publish(Box::new(sealed)));
        self.ordered += 1;
        self.in_flight += 1;
        self.is_ready = !self.is_paced;
    }

    /// The next answer, if it is here already.
    ///
    /// # Errors
    /// A batch is not in the sink, or nobody knows.
    pub fn try_answer(&mut self) -> Result<Option<Answer>, SinkError> {
        match self.answers.try_recv() {
            Ok(answer) => self.note(answer).map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(ended(&self.sink, Ended::Exited)),
        }
    }

    /// Waits for the next answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A batch is not in the sink, or nobody knows.
    pub async fn answer(&mut self) -> Result<Answer, SinkError> {
        let answer = self.answers.recv().await;
        self.note(answer.unwrap_or_else(|| Err(ended(&self.sink, Ended::Exited))))
    }

    fn note(&mut self, answer: Result<Answer, SinkError>) -> Result<Answer, SinkError> {
        match &answer {
            Ok(Answer::Ready) => self.is_ready = true,
            Ok(Answer::Published(published)) => {
                self.in_flight -= 1;
                self.bytes_in_flight -= published.batch.bytes();
            }
            Ok(Answer::Stored(stored)) => self.stored = stored.number,
            Ok(Answer::Stalled(_)) | Err(_) => {}
        }
        answer
    }

    /// A publisher that has ended takes no order. Why it has ended is its last answer, which may still be unread.
    fn order(&self, order: Order) {
        let _ = (self.order)(order);
    }

    /// Ends the publisher and waits until it has: what is in flight is finished first, or fails.
    pub async fn stop(mut self) {
        let running = self.running.take();
        drop(self);
        let Some(running) = running else { return };
        if !running.ended().await {
            tracing::error!("the publisher thread panicked");
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
    async fn a_publisher_that_has_ended_takes_no_batch_and_still_tells_why() {
        let (way_back, answers) = answers();
        let sink = || "Kafka kafka:9092".to_owned();
        let fenced =
            || SinkError { fate: Fate::MaybeTakenOver, ..ended("Kafka kafka:9092", Ended::Exited) };
        let thread = start_thread(sink(), way_back, move |_| Err(fenced())).unwrap();
        let mut publisher = Publisher::new(sink(), |_| false, answers, thread, Arc::default());
        assert!(publisher.is_settled());
        let batch = Batch::new(Limits { records_max: 1, bytes_max: 1 });
        publisher.publish(Sealed::new(batch, 1, Checkpoint::default()));
        assert!(!publisher.is_settled());
        let error = publisher.answer().await.unwrap_err();
        assert!(error.is_fenced(), "{error}");
        let error = publisher.answer().await.unwrap_err();
        assert!(error.to_string().contains("exited unexpectedly"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_doubtful_when_the_thread_that_reads_was_held_up_before_it() {
        let (told, doubts) = std::sync::mpsc::channel();
        let order = move |order| match order {
            Order::Publish(sealed) => told.send(sealed.is_doubtful).is_ok(),
            Order::Stop => true,
        };
        let (_way_back, answers) = answers();
        let thread = tasks::spawn_thread("publisher", || {}).unwrap();
        let sink = "Kafka kafka:9092".to_owned();
        let mut publisher =
            Publisher::new(sink, order, answers, Running::Thread(thread), Arc::default());
        let began = tokio::time::Instant::now();
        for (seconds, is_doubtful) in [
            (&[1, 2, 3, 6][..], false),
            // Also where it has turned again since then.
            (&[7, 11, 12, 13], true),
            (&[14], false),
            (&[20], true),
        ] {
            for second in seconds {
                tokio::time::sleep_until(began + Duration::from_secs(*second)).await;
                publisher.note_turn();
            }
            let batch = Batch::new(Limits { records_max: 1, bytes_max: 1 });
            publisher.publish(Sealed::new(batch, 1, Checkpoint::default()));
            assert_eq!(doubts.recv(), Ok(is_doubtful), "{seconds:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_is_an_error_with_its_words() {
        let (way_back, answers) = answers();
        let sink = "Kafka kafka:9092".to_owned();
        let thread = start_thread(sink.clone(), way_back, |_| panic!("row {}", 5)).unwrap();
        let mut publisher = Publisher::new(sink, |_| false, answers, thread, Arc::default());
        let error = publisher.answer().await.unwrap_err();
        assert!(matches!(&error.about, About::Panic(words) if words == "row 5"), "{error:?}");
    }
}
