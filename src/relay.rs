//! The line, end to end: recovery, the loop that follows the binlog, and draining.
//!
//! There is one recovery path. Whatever fails, both ends are dropped, and after a pause a new session fences
//! all predecessors, reads the checkpoint and goes on there. Starting, crashing and failing over are the
//! same code. A session ends with a drain, or with the error that decides what comes next.

mod backoff;
mod beginning;
mod contest;
mod cut;
mod failover;
mod line;
mod observe;
mod owner;
mod place;
mod predecessor;
mod presence;
mod recovery;
mod signature;
mod suspect;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use self::beginning::Refusal;
use self::contest::Contest;
use self::cut::Cut;
use self::failover::Failover;
use self::line::Line;
pub use self::place::{reset_checkpoint, set_checkpoint};
use self::predecessor::while_held;
use self::suspect::{Reached, Suspect};
use crate::binlog::{self, Change, Source};
use crate::config::Config;
use crate::error::{Error, Fate, WayOut};
use crate::kafka::Delivery;
use crate::panics;
use crate::publish;
use crate::telemetry::metrics::Peer;
use crate::telemetry::{Causes, State, Telemetry};

/// When MySQL is lost, Kafka may be as well: a checkpoint for the next server is not waited for any longer.
const GTID_SET_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the checkpoint follows a binlog that moves on without rows for us.
const IDLE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// A checkpoint that is as old as this is stored again, although nothing has moved: a topic that deletes by time
/// would lose it. Kafka's own default is a week, and rarely is less than a few hours configured.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);

/// How often the loop shows that it turns, whatever it waits for.
const TURN_INTERVAL: Duration = Duration::from_secs(1);

/// After so many events in a row that needed no waiting, the clock is looked at.
const EVENTS_PER_LOOK: u32 = 1024;

/// In a backlog, what comes in may gather for so long: the server pays for each time that it wakes us.
const GATHERING: Duration = Duration::from_micros(300);

/// A relay that fences us stores its claim only after it fenced all ids: we look no sooner.
const CLAIM_PAUSE: Duration = Duration::from_secs(1);

/// Turns true when the relay is to drain and stop.
pub type Stop = watch::Receiver<bool>;

/// librdkafka then makes no record batch of two records.
const ONE_RECORD: usize = 1;

/// What stays the same from session to session.
struct Relay<'a> {
    config: &'a Config,
    telemetry: Arc<Telemetry>,
    /// What failed in the session before this one.
    failed: Option<Option<Peer>>,
    /// Random id of this process.
    instance: String,
    /// The smallest `max.message.bytes` found that is below the batches librdkafka makes.
    batch_bytes_max: Option<usize>,
    /// Sessions that failed one after the other, with nothing published in between.
    failures: u32,
    /// How far the last session came.
    reached: Reached,
    /// When the last session began.
    began: Instant,
    contest: Contest,
    /// The record that a broker refused last.
    refused: Option<Refusal>,
    /// The instance that the checkpoint named before this one claimed it; `None` once it has.
    predecessor: Option<String>,
    /// This instance's claim is stored.
    has_claimed: bool,
    failover: Failover,
    cut: Cut,
    /// It was said that the server gives out no locks.
    is_lock_missed: bool,
}

/// Relays until `stop`, then drains.
///
/// # Errors
/// What a person must act on, or that another instance has taken over.
pub async fn run(config: &Config, telemetry: Arc<Telemetry>, stop: Stop) -> Result<(), Error> {
    let ended = tokio::select! {
        biased; // the relay's own end wins
        ended = relay_until(config, telemetry.clone(), stop) => ended,
        never = keep_turning(&telemetry) => match never {},
    };
    if let Err(error) = &ended {
        let reason = error.reason();
        telemetry.note_error(error.kind(), &reason.words);
        telemetry.enter(State::Halted, Some(reason));
    }
    ended
}

/// Shows that this thread is not stuck, whatever the relay waits for.
async fn keep_turning(telemetry: &Telemetry) -> Infallible {
    loop {
        telemetry.turn();
        tokio::time::sleep(TURN_INTERVAL).await;
    }
}

async fn relay_until(
    config: &Config,
    telemetry: Arc<Telemetry>,
    mut stop: Stop,
) -> Result<(), Error> {
    let instance = uuid::Uuid::new_v4().to_string();
    tracing::info!(name = config.name, instance, version = env!("CARGO_PKG_VERSION"), "starting");
    let mut relay = Relay {
        config,
        telemetry,
        failed: None,
        instance,
        batch_bytes_max: None,
        failures: 0,
        reached: Reached::default(),
        began: Instant::now(),
        contest: Contest::default(),
        refused: None,
        predecessor: None,
        has_claimed: false,
        failover: Failover::default(),
        cut: Cut::default(),
        is_lock_missed: false,
    };
    let mut suspect: Option<Suspect> = None;
    loop {
        let error = match relay.session(&mut stop).await {
            Ok(()) => return Ok(()),
            // What was not drained is said, and is not a clean end.
            Err(error) if *stop.borrow() => return Err(relay.name_successor(error).await?),
            Err(error) => error,
        };
        relay.show_failed(&error);
        let reached = std::mem::take(&mut relay.reached);
        suspect.take_if(|suspect| suspect.is_passed(&reached));
        let recover = async {
            let error = relay.decide(error, suspect.as_ref()).await?;
            relay.pause(&error).await;
            Ok(error)
        };
        let recovered: Result<Error, Error> = tokio::select! {
            biased; // a stop wins over the next session
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            recovered = recover => recovered,
        };
        suspect = Suspect::of(recovered?, reached).or(suspect);
    }
}

impl Relay<'_> {
    async fn session(&mut self, stop: &mut Stop) -> Result<(), Error> {
        self.began = Instant::now();
        let (source, line, mut lock) = tokio::select! {
            biased; // a stop wins: nothing is on its way yet
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            recovered = supervised(recovery::recover(self)) => recovered?,
        };
        let server = self.config.mysql.to_string();
        let mut session =
            Session { config: self.config, server, source, line, events: 0, has_gathered: false };
        let followed = while_held(self.config, &mut lock, session.follow(stop));
        let followed = supervised(followed).await;
        self.failover = Failover::default();
        session.observe();
        if followed.is_ok() {
            self.telemetry.enter(State::Draining, None);
        }
        if let Err(error) = &followed
            && error.is_of_one_transaction()
            && matches!(error.fate(), Fate::Halt { .. })
        {
            session.line.begin_halt(error.reason());
        }
        if session.line.has_published() {
            self.failures = 0;
            self.cut.forget();
        }
        // The lock goes when all that was sent is acknowledged.
        supervised(session.end(followed, &mut self.reached)).await
    }

    /// Waits before the next session, and says for what.
    async fn pause(&mut self, error: &Error) {
        let pause = backoff::pause(self.failures, backoff::chance());
        self.failures = self.failures.saturating_add(1);
        let reason = error.reason();
        tracing::warn!(
            retry_in_ms = backoff::millis(pause),
            hint = reason.hint.as_deref().map(tracing::field::display),
            "{}",
            reason.words
        );
        self.telemetry.note_error(error.kind(), &reason.words);
        tokio::time::sleep(pause).await;
    }

    /// Tells telemetry that the session is over, and why.
    fn show_failed(&mut self, error: &Error) {
        let telemetry = &self.telemetry;
        let peer = error.peer();
        telemetry.end_session(peer);
        self.failed = Some(peer);
        let state = match telemetry.state() {
            State::Starting => State::Starting,
            _ => State::Reconnecting,
        };
        telemetry.enter(state, Some(error.reason()));
    }

    /// Says whether to go on after an error: `Ok` gives it back to be tried again, `Err` ends the run.
    async fn decide(&mut self, error: Error, suspect: Option<&Suspect>) -> Result<Error, Error> {
        if let Error::SmallerBatches { bytes_max, .. } = &error {
            self.batch_bytes_max = Some(*bytes_max);
        }
        if let Error::OneByOne { .. } = &error {
            (self.batch_bytes_max, self.refused) = (Some(ONE_RECORD), None);
        }
        let (lived, timeout) = (self.began.elapsed(), self.config.publish.transaction_timeout);
        self.contest.note_ended(lived, timeout);
        let error = self.failover.bound(error, Instant::now());
        let is_repeated = self.cut.is_repeated_by(&error)
            || suspect.is_some_and(|suspect| suspect.is_repeated_by(&error));
        match error.fate() {
            Fate::Retry if is_repeated => Err(Error::DamagedAgain(Box::new(error))),
            Fate::Retry => Ok(error),
            Fate::Halt { .. } if self.waits_for(&error) => Ok(error),
            // The next session names the row, behind what comes before it.
            Fate::Halt { .. } if self.notes_refusal(&error) => Ok(error),
            Fate::Halt { .. } | Fate::TakenOver => Err(error),
            Fate::MaybeTakenOver => match self.name_successor(error).await? {
                taken_over @ Error::TakenOver { .. } => Err(taken_over),
                _ if self.contest.note_fenced(lived, timeout) => {
                    Err(Error::NameContested { name: self.config.name.clone() })
                }
                error => Ok(error),
            },
        }
    }

    /// Keeps which row's record was refused. `false`: it is no row's, or its number is known already.
    fn notes_refusal(&mut self, error: &Error) -> bool {
        let Error::Publish {
            source: publish::Error::Refused { sequence: Some(sequence), topic, source, .. },
            ..
        } = error
        else {
            return false;
        };
        let (sequence, topic, source) = (*sequence, topic.clone(), source.clone());
        let before = self.refused.replace(Refusal { sequence, topic, source });
        before.is_none_or(|before| before.sequence != sequence)
    }

    /// It may heal. A server or broker that lets nobody in halts a relay that it never let in: its configuration
    /// is wrong. One that did may be changing its keys.
    fn waits_for(&self, error: &Error) -> bool {
        error.fate() == Fate::Retry || self.has_claimed && error.is_rejection()
    }

    /// Turns an error that may mean that somebody took over into one that says who did.
    async fn name_successor(&self, error: Error) -> Result<Error, Error> {
        if error.fate() != Fate::MaybeTakenOver {
            return Ok(error);
        }
        Ok(match recovery::successor(self).await? {
            Some((instance, recorded_at)) => Error::TakenOver { instance, recorded_at },
            None => error,
        })
    }
}

/// The last checkpoint may soon be deleted for its age.
fn is_refresh_due(stored_at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(stored_at) >= REFRESH_INTERVAL
}

/// What panics on damaged bytes ends the session like any error.
async fn supervised<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // What was half done is dropped with the session.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(Error::Task(panics::words(&*panic))))
}

/// Both ends, connected.
struct Session<'a> {
    config: &'a Config,
    server: String,
    source: Source,
    line: Line,
    events: u32,
    /// Nothing was read since a backlog was let gather.
    has_gathered: bool,
}

impl Session<'_> {
    /// Follows the binlog until the stop. Reading, filling and handing over are here; publishing goes on
    /// beside it.
    async fn follow(&mut self, stop: &mut Stop) -> Result<(), Error> {
        while !*stop.borrow() {
            self.line.try_answers()?;
            if !self.source.is_before_start() {
                self.line.publish_whole(self.source.place(), self.source.open_gtid())?;
            }
            if self.try_steps().await? || self.let_gather() {
                continue;
            }
            self.observe();
            let look_again = Instant::now() + IDLE_CHECKPOINT_INTERVAL;
            let checkpoint_due = self.line.stored_at() + IDLE_CHECKPOINT_INTERVAL;
            let due = if self.is_checkpoint_wanted() { checkpoint_due } else { look_again };
            tokio::select! {
                // The stop first; then what is finished, so that the next batch leaves; then what comes in.
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                answer = self.line.answer(), if !self.line.is_settled() => answer?,
                read = self.source.read() => {
                    read.map_err(|error| self.binlog_error(error))?;
                    self.step().await?;
                }
                () = tokio::time::sleep_until(due) => self.store_place_if_wanted()?,
            }
        }
        Ok(())
    }

    /// Lets a backlog gather for a moment before it is read on; `false` when that was done already, or when what
    /// comes is no backlog.
    fn let_gather(&mut self) -> bool {
        self.has_gathered =
            !self.has_gathered && self.line.is_of_backlog(self.source.committed_at());
        if self.has_gathered {
            // Nothing else has work on this thread, and no timer of the runtime is as short.
            std::thread::sleep(GATHERING);
        }
        self.has_gathered
    }

    /// Takes what is here already, up to an event that leads to something; `false` where nothing is.
    async fn try_steps(&mut self) -> Result<bool, Error> {
        if !self.try_read()? {
            return Ok(false);
        }
        self.has_gathered = false;
        loop {
            let has_led = self.step().await?;
            self.events = self.events.wrapping_add(1);
            if self.events.is_multiple_of(EVENTS_PER_LOOK) {
                self.store_place_if_wanted()?;
                self.observe();
                return Ok(true);
            }
            if has_led || !self.try_read()? {
                return Ok(true);
            }
        }
    }

    fn try_read(&mut self) -> Result<bool, Error> {
        self.source.try_read().map_err(|error| self.binlog_error(error))
    }

    /// Follows the event that was read last. Answers with whether it led to anything: rows may have waited for
    /// Kafka meanwhile, and a whole transaction may leave.
    async fn step(&mut self) -> Result<bool, Error> {
        let change = match self.source.interpret().await {
            Ok(change) => change,
            Err(source) => return Err(Error::Binlog { server: self.server.clone(), source }),
        };
        match change {
            Change::Nothing => Ok(false),
            Change::Ghosts(rows) => {
                self.line.skip_ghosts(rows);
                Ok(false)
            }
            Change::Rows(rows) => self.line.relay(rows).await.map(|()| true),
            Change::Committed => self.line.commit(self.source.place()).map(|()| true),
            Change::RolledBack => self.line.roll_back(self.source.place()).map(|()| true),
        }
    }

    /// The binlog moved on since the last checkpoint, that one has become old, or one is to find out whether a
    /// broker answers again; and nothing is in flight.
    fn is_checkpoint_wanted(&self) -> bool {
        self.line.is_settled()
            && self.may_store()
            && (self.line.is_behind(self.source.place())
                || self.line.is_cut_off()
                || is_refresh_due(self.line.stored_at(), Instant::now()))
    }

    /// A checkpoint of here would say the same as what was relayed.
    fn may_store(&self) -> bool {
        !self.source.is_before_start() && !self.source.is_uncounted() && !self.line.is_uncounted()
    }

    fn store_place_if_wanted(&mut self) -> Result<(), Error> {
        match self.is_checkpoint_wanted()
            && self.line.stored_at().elapsed() >= IDLE_CHECKPOINT_INTERVAL
        {
            true => self.store_place(),
            false => Ok(()),
        }
    }

    /// Tells telemetry where this session stands.
    fn observe(&mut self) {
        let read = (!self.source.is_before_start()).then(|| self.source.progress());
        self.line.observe(self.source.place(), read);
    }

    fn store_place(&mut self) -> Result<(), Error> {
        self.line.store_place(self.source.place(), self.source.open_gtid())
    }

    /// Ends the session: what is whole is published first, unless the way to Kafka itself failed.
    async fn end(
        mut self,
        followed: Result<(), Error>,
        reached: &mut Reached,
    ) -> Result<(), Error> {
        let is_after_start = !self.source.is_before_start();
        let may_publish = self.may_store();
        let finished = match &followed {
            Ok(()) if may_publish => self.finish(true).await,
            Err(error) if may_publish && error.is_of_one_transaction() => {
                self.finish(self.is_drained_by(error)).await
            }
            Err(error) if may_publish && self.needs_gtid_set(error) => {
                self.store_gtid_set().await;
                Ok(())
            }
            _ => Ok(()),
        };
        let followed = match followed {
            Err(error) if is_after_start && finished.is_ok() && error.can_be_given_up() => {
                Err(self.show_way_out(error).await)
            }
            followed => followed,
        };
        let place = self.source.place().coordinates.clone();
        *reached = self.line.reached(is_after_start.then_some(place));
        self.line.stop().await;
        // A server that is gone need not be told.
        if let Err(error) = self.source.close().await {
            tracing::debug!(%error, "close the dump connection");
        }
        finished.and(followed)
    }

    /// MySQL is lost, and the next server may be another one.
    fn needs_gtid_set(&self, error: &Error) -> bool {
        error.peer() == Some(Peer::MySql) && self.line.lacks_gtid_set(self.source.place())
    }

    /// Stores a long GTID set that was left out of the last checkpoints, unless Kafka is lost as well.
    async fn store_gtid_set(&mut self) {
        match tokio::time::timeout(GTID_SET_TIMEOUT, self.finish(false)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!("the GTID set could not be stored: {}", Causes(&error));
            }
            Err(_) => tracing::warn!(
                "the GTID set could not be stored within {} s",
                GTID_SET_TIMEOUT.as_secs()
            ),
        }
    }

    /// In `idempotent` delivery, a halt says as well that no row after the checkpoint is in Kafka: else the
    /// configuration of `[[outbox]]` could not be mended.
    fn is_drained_by(&self, error: &Error) -> bool {
        let is_halt = matches!(error.fate(), Fate::Halt { .. });
        is_halt && self.config.publish.delivery == Delivery::Idempotent
    }

    async fn finish(&mut self, is_clean: bool) -> Result<(), Error> {
        self.line.finish(self.source.place(), self.source.open_gtid(), is_clean).await?;
        let place = self.source.place();
        let is_clean = is_clean && !self.line.may_be_ahead();
        tracing::info!(place = %place.coordinates, is_clean, "drained");
        Ok(())
    }

    /// Adds to a halt over one transaction how that transaction is given up.
    async fn show_way_out(&mut self, error: Error) -> Error {
        let way_out = WayOut {
            begin: self.source.place().coordinates.clone(),
            rows_done: self.line.rows_done(),
            command: self.config.shell_command("checkpoint set"),
            // It may be damaged, which the driver can panic on.
            end: AssertUnwindSafe(self.source.end_of_transaction())
                .catch_unwind()
                .await
                .unwrap_or_default(),
        };
        Error::OfOneTransaction { source: Box::new(error), way_out }
    }

    fn binlog_error(&self, source: binlog::Error) -> Error {
        Error::Binlog { server: self.server.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_stored_again_every_hour_of_standstill_and_no_sooner() {
        let stored_at = Instant::now();
        let is_due =
            |minutes: u64| is_refresh_due(stored_at, stored_at + Duration::from_secs(60 * minutes));
        assert!(!is_due(0) && !is_due(59) && is_due(60) && is_due(600));
        // Stored a moment after it was looked at.
        assert!(!is_refresh_due(stored_at + Duration::from_secs(1), stored_at));
    }
}
