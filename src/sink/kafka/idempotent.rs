//! `idempotent`: records are sent at once, with several batches in flight. The checkpoint follows the oldest batch that
//! is not acknowledged.
//!
//! The producers keep the order within each partition, and a record that fails leaves no gap. The fenced lanes of
//! [`Transactional`] store the checkpoint beside the records. So a relay that was replaced cannot store one any more,
//! and learns of its replacement. A restart searches for the records behind the checkpoint
//! ([`crate::sink::kafka::sent_rows`]), at most [`ROWS_AHEAD_MAX`].

mod checkpoint_writer;
mod due;
mod producers;
mod reported;
mod send;
mod settle;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::error::KafkaError;

use self::checkpoint_writer::CheckpointWriter;
use self::due::{Due, DueCheckpoint};
use self::producers::Producers;
use self::reported::Reported;
use super::connection::KafkaOptions;
use super::orders::{Answers, Order};
use super::reports::{Context, Refused, is_collateral};
use super::transactional::Transactional;
use super::{PublishError, PublishOptions, SERVE_INTERVAL, Unacknowledged, producer};
use crate::batch::{DestinationId, Limits};
use crate::checkpoint::Checkpoint;
use crate::failpoint::failpoint;
use crate::resend::ROWS_AHEAD_MAX;
use crate::sink::suspension::SuspensionWatch;
use crate::sink::{Ended, Sealed, Stored};
use crate::telemetry::clock::iso_8601;

/// Most batches in flight.
pub const BATCHES_MAX: usize = 4;

/// The loop runs at least every [`SERVE_INTERVAL`]. A longer gap than this means that the process was suspended.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Most topics to ask about when their records are not acknowledged.
const STALLED_TOPICS_MAX: usize = 8;

/// Time to wait for the report that tells the reason. librdkafka reports records that failed because of another one
/// before that other one.
const REASON_PAUSE: Duration = Duration::from_millis(100);

/// The limits of one of [`BATCHES_MAX`] batches: its share of the records that may be ahead of the checkpoint, and of
/// the configured bytes. All batches together are in memory twice, here and in librdkafka.
#[must_use]
pub fn batch_limits(limits: Limits) -> Limits {
    let records_max = usize::try_from(ROWS_AHEAD_MAX).unwrap_or(usize::MAX) / BATCHES_MAX;
    Limits {
        records_max: limits.records_max.min(records_max),
        bytes_max: (limits.bytes_max / BATCHES_MAX).max(1),
    }
}

/// What the publisher's thread waits for.
#[derive(Debug)]
pub(crate) enum Event {
    Order(Order),
    /// librdkafka has something to report.
    Reports,
    Stored(Box<Result<Stored, PublishError>>),
}

/// What sends records.
pub struct Idempotent {
    producers: Producers,
    reported: Arc<Reported>,
    options: PublishOptions,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    cut_off: Arc<AtomicBool>,
    is_stopping: Arc<AtomicBool>,
}

impl Idempotent {
    /// Makes the producers. `cut_off` turns true when no broker answers.
    ///
    /// # Errors
    /// Kafka cannot be reached.
    pub fn open(
        kafka: &KafkaOptions,
        options: &PublishOptions,
        checkpoint_topic: &str,
        limits: Limits,
        batch_bytes_max: Option<usize>,
        cut_off: Arc<AtomicBool>,
    ) -> Result<Idempotent, PublishError> {
        // librdkafka counts a record until the last report of the same event was read. The next batch is sent before.
        let records_max = limits.records_max * BATCHES_MAX * 2;
        let mut config = producer::config(kafka, options, records_max, batch_bytes_max)?;
        config
            .set("enable.idempotence", "true")
            .set("max.in.flight.requests.per.connection", "1")
            // A record that fails would leave a gap, so it ends its producer.
            .set("enable.gapless.guarantee", "true")
            // Never. A record that expires would leave a gap, too.
            .set("message.timeout.ms", "0");
        let (events, inbox) = mpsc::channel();
        let reported = Arc::new(Reported::default());
        let context = || Context::of(reported.clone(), cut_off.clone());
        let wake = events.clone();
        // A publisher that has ended needs no wake-up.
        let wake = move || drop(wake.send(Event::Reports));
        let producers = Producers::connect(&config, checkpoint_topic, context, wake)?;
        let (options, is_stopping) = (options.clone(), Arc::default());
        Ok(Idempotent { producers, reported, options, events, inbox, cut_off, is_stopping })
    }

    pub(super) fn events(&self) -> Sender<Event> {
        self.events.clone()
    }

    /// Set together with the order to stop. A thread that waits does not read orders.
    pub(super) fn is_stopping(&self) -> Arc<AtomicBool> {
        self.is_stopping.clone()
    }

    /// Turns true when no broker answers any more.
    pub(super) fn cut_off(&self) -> Arc<AtomicBool> {
        self.cut_off.clone()
    }

    /// Publishes the ordered batches, until the order to stop. `lanes` store the checkpoints; they have fenced all
    /// predecessors. `claim`: the checkpoint that they have stored.
    pub(super) fn run(
        self,
        lanes: Transactional,
        claim: Checkpoint,
        answers: &Answers,
    ) -> Result<(), PublishError> {
        let checkpoint_writer =
            CheckpointWriter::start(lanes, self.events).map_err(PublishError::Thread)?;
        let sending = Sending {
            producers: self.producers,
            reported: self.reported,
            options: self.options,
            cut_off: self.cut_off,
            is_stopping: self.is_stopping,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_slot: 0,
            checkpoint_writer,
            due: Due::default(),
            stored_sequence: claim.sequence,
            latest: Some((0, claim)),
            fence_probe: None,
            suspension: SuspensionWatch::new(GAP_MAX),
            failed: None,
            progress: Progress { missing: 0, at: Instant::now() },
            refused_by: None,
            stop_by: None,
        };
        sending.run(&self.inbox, answers)
    }
}

/// A batch whose records were sent.
struct InFlight {
    sealed: Sealed,
    slot: usize,
    sent_at: SystemTime,
    /// Number of records that are not sent yet.
    left: usize,
    /// The rest is sent when the fence probe has succeeded.
    is_paused: bool,
    /// All its records were sent.
    is_whole: bool,
}

/// After a suspension, of this thread or of the one that reads, we may have been replaced. Nothing is sent until a
/// checkpoint is stored: that fails if we are fenced.
#[derive(PartialEq, Eq)]
enum FenceProbe {
    Wanted,
    /// The checkpoint that began after the suspension is in flight.
    InFlight,
}

/// Number of records without a report, and since when this number has not changed.
struct Progress {
    missing: usize,
    at: Instant,
}

/// The publisher's thread.
struct Sending {
    producers: Producers,
    reported: Arc<Reported>,
    options: PublishOptions,
    cut_off: Arc<AtomicBool>,
    /// The order to stop was given.
    is_stopping: Arc<AtomicBool>,
    /// Batches that would be too far ahead of the checkpoint.
    waiting: VecDeque<Sealed>,
    /// In stream order.
    in_flight: VecDeque<InFlight>,
    next_slot: usize,
    checkpoint_writer: CheckpointWriter,
    /// The checkpoints to store next.
    due: Due,
    /// The last checkpoint that was handed to the checkpoint writer.
    latest: Option<(u64, Checkpoint)>,
    /// The process was suspended, and may have been replaced.
    fence_probe: Option<FenceProbe>,
    suspension: SuspensionWatch,
    stored_sequence: u64,
    /// Why no checkpoint can be stored any more. Wait for the records in flight before ending: a successor waits for
    /// our end, and must then find all of them.
    failed: Option<PublishError>,
    progress: Progress,
    /// After a refusal: how long to wait for the reports on the other records.
    refused_by: Option<Instant>,
    stop_by: Option<Instant>,
}

impl Sending {
    fn run(mut self, inbox: &Receiver<Event>, answers: &Answers) -> Result<(), PublishError> {
        loop {
            let event = self.next(inbox);
            self.note_suspension();
            match event {
                Some(Event::Order(Order::LearnTopic { name, batch_bytes_max, partitions })) => {
                    let learnt = self.producers.learn_topic(&name, batch_bytes_max, partitions);
                    let doing = "look up a topic";
                    learnt.map_err(|source| PublishError::Kafka { doing, source })?;
                }
                Some(Event::Order(Order::GrowTopic { id, partitions })) => {
                    self.producers.grow_topic(id, partitions);
                    // That may have taken long, and was no suspension.
                    self.suspension = SuspensionWatch::new(GAP_MAX);
                }
                Some(Event::Order(Order::Publish(sealed))) => {
                    if sealed.is_doubtful {
                        self.fence_probe = Some(FenceProbe::Wanted);
                    }
                    self.waiting.push_back(*sealed);
                }
                Some(Event::Order(Order::Stop)) => {
                    self.stop_by = Some(Instant::now() + self.options.transaction_timeout);
                }
                Some(Event::Stored(stored)) => self.note_stored(*stored, answers),
                Some(Event::Reports) | None => {}
            }
            self.producers.serve();
            self.answer_acknowledged(answers);
            self.send_waiting(answers)?;
            // A batch without records is acknowledged at once.
            self.answer_acknowledged(answers);
            if self.is_refusal_over() {
                return Err(self.refusal());
            }
            if self.is_all_acknowledged()
                && let Some(error) = self.failed.take()
            {
                return Err(error);
            }
            self.store_due()?;
            self.look_for_progress(answers);
            // That may have taken long, and was no suspension.
            self.suspension = SuspensionWatch::new(GAP_MAX);
            if self.may_stop() {
                return Ok(());
            }
        }
    }

    /// After a suspension, we may have been replaced.
    fn note_suspension(&mut self) {
        if self.suspension.was_suspended() {
            self.fence_probe = Some(FenceProbe::Wanted);
        }
    }

    /// The next event; `None` when it is time to look for due work.
    fn next(&self, inbox: &Receiver<Event>) -> Option<Event> {
        let is_due = self.failed.is_none() && (!self.due.is_none() || self.fence_probe.is_some());
        let store_at = self.checkpoint_writer.free_at().filter(|_| is_due);
        let store_in = store_at.map(|at| at.saturating_duration_since(Instant::now()));
        match inbox.recv_timeout(store_in.unwrap_or(SERVE_INTERVAL).min(SERVE_INTERVAL)) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the producer itself may send"),
        }
    }

    /// No record is in flight.
    fn is_all_acknowledged(&self) -> bool {
        self.in_flight.iter().all(|batch| self.reported.is_complete(batch.slot, batch.left))
    }

    /// Returns the oldest batches to the line, up to the first one that is not fully acknowledged.
    fn answer_acknowledged(&mut self, answers: &Answers) {
        let reported = Arc::clone(&self.reported);
        let is_acknowledged =
            |batch: &InFlight| batch.is_whole && reported.is_complete(batch.slot, 0);
        while self.in_flight.front().is_some_and(is_acknowledged) {
            let InFlight { sealed, sent_at, .. } =
                self.in_flight.pop_front().expect("it was looked at");
            if sealed.batch.unsent() > 0 {
                failpoint!("records-acknowledged");
                self.cut_off.store(false, Ordering::Relaxed);
            }
            let (published, number, checkpoint) = sealed.published();
            self.due.note(number, checkpoint, sent_at);
            answers.published(published);
        }
    }

    fn store_due(&mut self) -> Result<(), PublishError> {
        let is_free = self.checkpoint_writer.free_at().is_some_and(|at| at <= Instant::now());
        if self.failed.is_some() || !is_free {
            return Ok(());
        }
        let mut due = self.due.take();
        if self.fence_probe.is_some() && due.is_none() {
            due = self.latest.take().map(|(number, latest)| DueCheckpoint::new(number, latest));
        }
        let Some(DueCheckpoint { number, checkpoint, sent_behind }) = due else { return Ok(()) };
        if let Some(probe) = &mut self.fence_probe {
            *probe = FenceProbe::InFlight;
        }
        self.latest = Some((number, checkpoint.clone()));
        let now = SystemTime::now();
        let checkpoint = Checkpoint {
            unacknowledged_since: self.unacknowledged_since(&checkpoint, sent_behind, now),
            recorded_at: Some(iso_8601(now)),
            ..checkpoint
        };
        self.checkpoint_writer.store(number, checkpoint)
    }

    /// Since when records after the checkpoint may be in Kafka.
    fn unacknowledged_since(
        &self,
        checkpoint: &Checkpoint,
        sent_behind: Option<SystemTime>,
        now: SystemTime,
    ) -> Option<String> {
        if checkpoint.clean {
            return None;
        }
        let sent_at = self.in_flight.front().map(|batch| batch.sent_at);
        let own = iso_8601(sent_at.into_iter().chain(sent_behind).fold(now, SystemTime::min));
        // Both have the same format, so the order of the texts is the order of the times.
        let predecessors = checkpoint.unacknowledged_since.clone();
        Some(predecessors.map_or(own.clone(), |theirs| theirs.min(own)))
    }

    fn note_stored(&mut self, stored: Result<Stored, PublishError>, answers: &Answers) {
        self.checkpoint_writer.is_storing = false;
        match stored {
            Ok(stored) => {
                self.stored_sequence = stored.checkpoint.sequence;
                let is_fresh = self.checkpoint_writer.is_fresh();
                match &mut self.fence_probe {
                    Some(FenceProbe::InFlight) if is_fresh => self.fence_probe = None,
                    Some(probe) => *probe = FenceProbe::Wanted,
                    None => {}
                }
                self.cut_off.store(false, Ordering::Relaxed);
                answers.stored(stored);
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Reports when nothing was acknowledged for `transaction_timeout`. A new producer would do no better, and could
    /// not know the outcome of this one's requests.
    fn look_for_progress(&mut self, answers: &Answers) {
        let missing = self.reported.missing();
        let Some(oldest) = self.in_flight.front() else { return };
        if missing != self.progress.missing {
            self.progress = Progress { missing, at: Instant::now() };
            return;
        }
        let timeout = self.options.transaction_timeout;
        if self.progress.at.elapsed() < timeout {
            return;
        }
        let unsent = oldest.sealed.batch.unsent_records();
        let ids: BTreeSet<u32> = unsent.map(|(_, record)| record.topic.0).collect();
        let topics = ids
            .into_iter()
            .map(|id| &**self.producers.destination(DestinationId(id)).name())
            .take(STALLED_TOPICS_MAX);
        let why = |topic| self.producers.why_not_acknowledged(topic);
        let faults = topics.map(|topic| (topic, why(topic)));
        // Prefer a topic with a known fault.
        let Some((topic, why)) =
            faults.max_by_key(|(_, why)| !matches!(why, Unacknowledged::NoFault { .. }))
        else {
            return;
        };
        let topic = topic.to_owned();
        answers.stalled(PublishError::NotAcknowledged { topic, timeout, why });
        self.progress.at = Instant::now();
    }

    fn may_stop(&self) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let is_settled = self.waiting.is_empty()
            && self.in_flight.is_empty()
            && self.due.is_none()
            && !self.checkpoint_writer.is_storing;
        if !is_settled && stop_by <= Instant::now() {
            let batches = self.in_flight.len();
            tracing::warn!(batches, "records in flight were not acknowledged in time");
            return true;
        }
        is_settled
    }

    /// Why a record will not be acknowledged.
    fn refusal(&self) -> PublishError {
        let doing = "have records acknowledged";
        std::thread::sleep(REASON_PAUSE);
        self.producers.serve();
        let fatal = self.producers.fatal_error();
        match (self.reported.refused.take(), fatal) {
            (Some(refused), _) if !is_collateral(&refused.error) => {
                let batch = self.in_flight.iter().find(|batch| batch.slot == refused.slot);
                let rows = batch.map(|it| (it.sealed.first_sequence, it.sealed.batch.len()));
                let error = refusal_while(doing, refused);
                match rows {
                    Some((first_sequence, records)) => error.of_rows(first_sequence, records),
                    None => error,
                }
            }
            (_, Some((code, reason))) => {
                tracing::debug!(%code, reason, "the producer has ended");
                PublishError::Kafka { doing, source: KafkaError::MessageProduction(code) }
            }
            (Some(Refused { error: source, .. }), None) => PublishError::Kafka { doing, source },
            (None, None) => Ended::Exited.into(),
        }
    }
}

fn refusal_while(doing: &'static str, refused: Refused) -> PublishError {
    let says_less = |refused: Refused| PublishError::Kafka { doing, source: refused.error };
    producer::refusal(refused).unwrap_or_else(says_less)
}
