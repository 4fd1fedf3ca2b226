//! `idempotent`: records go out at once, with several batches on their way, and the checkpoint follows the
//! oldest batch that is not acknowledged.
//!
//! The producers keep the order within each partition and let no record take the place of one that failed.
//! The checkpoint is stored by the fenced lanes of [`Transactional`], beside the records: who was replaced
//! cannot store one any more, and learns it. A restart looks for what the checkpoint does not tell
//! ([`crate::sink::kafka::sent_rows`]); never more than [`RECORDS_AHEAD_MAX`] records.

mod due;
mod keeper;
mod producers;
mod reported;
mod send;
mod settle;
mod turns;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::error::KafkaError;

use self::due::{Due, DueCheckpoint};
use self::keeper::Keeper;
use self::producers::Producers;
use self::reported::Reported;
use self::turns::Turns;
use super::connection::KafkaOptions;
use super::orders::{Answers, Order};
use super::reports::{Context, Refused, is_collateral};
use super::transactional::Transactional;
use super::{PublishError, PublishOptions, SERVE_INTERVAL, Unacknowledged, producer};
use crate::batch::{DestinationId, Limits};
use crate::checkpoint::Checkpoint;
use crate::failpoint::failpoint;
use crate::sink::{Sealed, Stored};
use crate::telemetry::clock::iso_8601;

/// So many batches are on their way at most.
pub const BATCHES_MAX: usize = 4;

/// So many records may be in Kafka after the stored checkpoint at most: what a restart has to look for. A
/// later version must not look for fewer.
pub const RECORDS_AHEAD_MAX: u64 = 100_000;

/// So many topics are looked at for what holds up their records.
const STALLED_TOPICS_MAX: usize = 8;

/// librdkafka reports a record that was given up because of another one before that other one.
const REASON_PAUSE: Duration = Duration::from_millis(100);

/// A batch never takes more than its share of what may be ahead of the checkpoint, nor of the bytes that one
/// batch alone may have: so many are in memory, and once more in librdkafka's.
#[must_use]
pub fn batch_limits(limits: Limits) -> Limits {
    let records_max = usize::try_from(RECORDS_AHEAD_MAX).unwrap_or(usize::MAX) / BATCHES_MAX;
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
        // Records count until the last report of their event was read, which is after the next batch was sent.
        let records_max = limits.records_max * BATCHES_MAX * 2;
        let mut config = producer::config(kafka, options, records_max, batch_bytes_max)?;
        config
            .set("enable.idempotence", "true")
            .set("max.in.flight.requests.per.connection", "1")
            // Whatever fails would be a gap: it ends its producer.
            .set("enable.gapless.guarantee", "true")
            // Never: a record that is given up for its age would be one, too.
            .set("message.timeout.ms", "0");
        let (events, inbox) = mpsc::channel();
        let reported = Arc::new(Reported::default());
        let context = || Context::of(reported.clone(), cut_off.clone());
        let wake = events.clone();
        // Nobody serves a publisher that has ended.
        let wake = move || drop(wake.send(Event::Reports));
        let producers = Producers::connect(&config, checkpoint_topic, context, wake)?;
        let (options, is_stopping) = (options.clone(), Arc::default());
        Ok(Idempotent { producers, reported, options, events, inbox, cut_off, is_stopping })
    }

    pub(super) fn events(&self) -> Sender<Event> {
        self.events.clone()
    }

    /// Is set with the order to stop, which a thread that waits does not read.
    pub(super) fn is_stopping(&self) -> Arc<AtomicBool> {
        self.is_stopping.clone()
    }

    /// Turns true when no broker answers any more.
    pub(super) fn cut_off(&self) -> Arc<AtomicBool> {
        self.cut_off.clone()
    }

    /// Publishes the batches that are ordered, until the order to stop. `lanes` store the checkpoints; all
    /// predecessors were fenced with them. `claim`: the checkpoint that they stored before.
    pub(super) fn run(
        self,
        lanes: Transactional,
        claim: Checkpoint,
        answers: &Answers,
    ) -> Result<(), PublishError> {
        let keeper = Keeper::start(lanes, self.events).map_err(PublishError::Thread)?;
        let sending = Sending {
            producers: self.producers,
            reported: self.reported,
            options: self.options,
            cut_off: self.cut_off,
            is_stopping: self.is_stopping,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_slot: 0,
            keeper,
            due: Due::default(),
            stored_sequence: claim.sequence,
            latest: Some((0, claim)),
            doubt: None,
            turns: Turns::new(),
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
    /// So many records are not sent yet.
    left: usize,
    /// The rest is sent when no doubt is left.
    is_paused: bool,
    /// All its records were sent.
    is_whole: bool,
}

/// After a pause, of this thread or of the one that reads, nothing is sent until a stored checkpoint shows that we are
/// not fenced.
#[derive(PartialEq, Eq)]
enum Doubt {
    Open,
    /// A checkpoint that was begun since then is being stored.
    Asked,
}

/// How many records were missing, and since when it is as many.
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
    keeper: Keeper,
    /// The checkpoints that are to be stored.
    due: Due,
    /// The latest one that was.
    latest: Option<(u64, Checkpoint)>,
    /// The process was paused, and may have been replaced.
    doubt: Option<Doubt>,
    turns: Turns,
    stored_sequence: u64,
    /// Why no checkpoint can be stored any more. What is on its way is waited for first: a successor waits for
    /// our end, and must find all of it.
    failed: Option<PublishError>,
    progress: Progress,
    /// A record was refused: the reports on the others are waited for until then.
    refused_by: Option<Instant>,
    stop_by: Option<Instant>,
}

impl Sending {
    fn run(mut self, inbox: &Receiver<Event>, answers: &Answers) -> Result<(), PublishError> {
        loop {
            let event = self.next(inbox);
            self.note_pause();
            match event {
                Some(Event::Order(Order::LearnTopic { name, batch_bytes_max, partitions })) => {
                    let learnt = self.producers.learn_topic(&name, batch_bytes_max, partitions);
                    let doing = "look up a topic";
                    learnt.map_err(|source| PublishError::Kafka { doing, source })?;
                }
                Some(Event::Order(Order::GrowTopic { id, partitions })) => {
                    self.producers.grow_topic(id, partitions);
                    // That may have taken a while, and is no pause.
                    self.turns = Turns::new();
                }
                Some(Event::Order(Order::Publish(sealed))) => {
                    if sealed.is_doubtful {
                        self.doubt = Some(Doubt::Open);
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
            // A batch with nothing to send is.
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
            // That may have taken a while, and is no pause.
            self.turns = Turns::new();
            if self.may_stop() {
                return Ok(());
            }
        }
    }

    /// After a pause, we may have been replaced.
    fn note_pause(&mut self) {
        if self.turns.is_paused() {
            self.doubt = Some(Doubt::Open);
        }
    }

    /// The next event; `None` when it is time to look at what is due.
    fn next(&self, inbox: &Receiver<Event>) -> Option<Event> {
        let is_due = self.failed.is_none() && (!self.due.is_none() || self.doubt.is_some());
        let store_at = self.keeper.free_at().filter(|_| is_due);
        let store_in = store_at.map(|at| at.saturating_duration_since(Instant::now()));
        match inbox.recv_timeout(store_in.unwrap_or(SERVE_INTERVAL).min(SERVE_INTERVAL)) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the producer itself may send"),
        }
    }

    /// Nothing that was sent is on its way any more.
    fn is_all_acknowledged(&self) -> bool {
        self.in_flight.iter().all(|batch| self.reported.is_complete(batch.slot, batch.left))
    }

    /// Gives back the oldest batches, as far as they are acknowledged without a gap.
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
        let is_free = self.keeper.free_at().is_some_and(|at| at <= Instant::now());
        if self.failed.is_some() || !is_free {
            return Ok(());
        }
        let mut due = self.due.take();
        if self.doubt.is_some() && due.is_none() {
            due = self.latest.take().map(|(number, latest)| DueCheckpoint::new(number, latest));
        }
        let Some(DueCheckpoint { number, checkpoint, sent_behind }) = due else { return Ok(()) };
        if let Some(doubt) = &mut self.doubt {
            *doubt = Doubt::Asked;
        }
        self.latest = Some((number, checkpoint.clone()));
        let now = SystemTime::now();
        let checkpoint = Checkpoint {
            unacknowledged_since: self.unacknowledged_since(&checkpoint, sent_behind, now),
            recorded_at: Some(iso_8601(now)),
            ..checkpoint
        };
        self.keeper.store(number, checkpoint)
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
        // Both are spelt alike, so that the order of texts is that of times.
        let predecessors = checkpoint.unacknowledged_since.clone();
        Some(predecessors.map_or(own.clone(), |theirs| theirs.min(own)))
    }

    fn note_stored(&mut self, stored: Result<Stored, PublishError>, answers: &Answers) {
        self.keeper.is_storing = false;
        match stored {
            Ok(stored) => {
                self.stored_sequence = stored.checkpoint.sequence;
                let is_fresh = self.keeper.is_fresh();
                match &mut self.doubt {
                    Some(Doubt::Asked) if is_fresh => self.doubt = None,
                    Some(doubt) => *doubt = Doubt::Open,
                    None => {}
                }
                self.cut_off.store(false, Ordering::Relaxed);
                answers.stored(stored);
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Says when nothing was acknowledged for long. A new producer would do no better, and could not know what
    /// this one's requests lead to.
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
        // One that is at fault, if any is.
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
            && !self.keeper.is_storing;
        if !is_settled && stop_by <= Instant::now() {
            let batches = self.in_flight.len();
            tracing::warn!(batches, "what is on its way was not acknowledged in time");
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
            (None, None) => PublishError::ThreadEnded,
        }
    }
}

fn refusal_while(doing: &'static str, refused: Refused) -> PublishError {
    let says_less = |refused: Refused| PublishError::Kafka { doing, source: refused.error };
    producer::refusal(refused).unwrap_or_else(says_less)
}
