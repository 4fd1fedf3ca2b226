//! One session: both ends connected, the binlog followed until a stop or an error, and the end of it.
//!
//! Reading, filling and handing over are one loop here; publishing goes on beside it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::line::Line;
use super::recovery::{DestinationsOf, SourceOf};
use super::suspect::Reached;
use super::{Stop, World};
use crate::binlog::{self, Change};
use crate::config::Config;
use crate::delivery::Delivery;
use crate::error::{Error, WayOut};
use crate::failpoint::failpoint;
use crate::fate::Fate;
use crate::telemetry::Causes;
use crate::telemetry::metrics::Peer;

/// When MySQL is lost, Kafka may be as well: a checkpoint for the next server is not waited for any longer.
const GTID_SET_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the checkpoint follows a binlog that moves on without rows for us.
const IDLE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// A checkpoint that is as old as this is stored again, although nothing has moved: a topic that deletes by time
/// would lose it. Kafka's own default is a week, and rarely is less than a few hours configured.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);

/// After so many events in a row that needed no waiting, the clock is looked at.
const EVENTS_PER_LOOK: u32 = 1024;

/// After so many events that led to something, what is whole may leave, although more is here.
const LEADING_EVENTS_MAX: u32 = 64;

/// While catching up, wait 300 µs before each read. Fewer wake-ups cost mysqld less CPU.
const COALESCING: Duration = Duration::from_micros(300);

/// Both ends, connected.
pub(super) struct Session<'a, W: World> {
    config: &'a Config,
    server: String,
    source: SourceOf<W>,
    line: Line<DestinationsOf<W>>,
    events: u32,
    /// Nothing was read since a backlog was waited for.
    has_coalesced: bool,
}

impl<'a, W: World> Session<'a, W> {
    pub fn new(
        config: &'a Config,
        source: SourceOf<W>,
        line: Line<DestinationsOf<W>>,
    ) -> Session<'a, W> {
        let server = config.mysql.to_string();
        Session { config, server, source, line, events: 0, has_coalesced: false }
    }

    /// Something of this session is in Kafka.
    pub fn has_published(&self) -> bool {
        self.line.has_published()
    }

    /// Says the halt while what comes before it is still published: Kafka may stall.
    pub fn begin_halt(&mut self, error: &Error) {
        self.line.begin_halt(error.reason());
    }

    /// Follows the binlog until the stop. Reading, filling and handing over are here; publishing goes on
    /// beside it.
    pub async fn follow(&mut self, stop: &mut Stop) -> Result<(), Error> {
        while !*stop.borrow() {
            self.line.try_answers()?;
            // What is here already leaves together.
            let has_read = self.try_steps().await?;
            if !self.source.is_before_start() {
                self.line.publish_whole(self.source.place(), self.source.open_gtid());
            }
            if has_read || self.coalesce_backlog() {
                continue;
            }
            self.line.follow_changes().await;
            self.observe();
            let look_again = Instant::now() + IDLE_CHECKPOINT_INTERVAL;
            let checkpoint_due = self.line.stored_at() + IDLE_CHECKPOINT_INTERVAL;
            let due = if self.is_checkpoint_wanted() { checkpoint_due } else { look_again };
            tokio::select! {
                // The stop first; then what is finished, so that the next batch leaves; then what comes in.
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                answer = self.line.answer() => answer?,
                // While nothing may leave, the rows that come need not wake anybody one by one.
                read = self.source.read(), if self.line.is_ready() => {
                    read.map_err(|error| self.binlog_error(error))?;
                    self.step().await?;
                }
                () = tokio::time::sleep_until(due) => self.store_place_if_wanted(),
            }
        }
        Ok(())
    }

    /// Waits for a moment before a backlog is read on; `false` when that was done already, or when what comes is no
    /// backlog.
    fn coalesce_backlog(&mut self) -> bool {
        self.has_coalesced =
            !self.has_coalesced && self.line.is_of_backlog(self.source.committed_at());
        if self.has_coalesced {
            // Nothing else has work on this thread, and no timer of the runtime is as short.
            std::thread::sleep(COALESCING);
        }
        self.has_coalesced
    }

    /// Takes what is here already, up to so many events that lead to something; `false` where nothing is.
    async fn try_steps(&mut self) -> Result<bool, Error> {
        if !self.try_read()? {
            return Ok(false);
        }
        self.has_coalesced = false;
        let mut leading = 0;
        loop {
            leading += u32::from(self.step().await?);
            self.events = self.events.wrapping_add(1);
            if self.events.is_multiple_of(EVENTS_PER_LOOK) {
                self.store_place_if_wanted();
                self.observe();
                return Ok(true);
            }
            if leading >= LEADING_EVENTS_MAX || !self.try_read()? {
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
        !self.source.is_before_start()
            && !self.source.is_uncounted()
            && !self.line.has_unreadable_prefix()
    }

    fn store_place_if_wanted(&mut self) {
        if self.is_checkpoint_wanted()
            && self.line.stored_at().elapsed() >= IDLE_CHECKPOINT_INTERVAL
        {
            self.line.store_place(self.source.place(), self.source.open_gtid());
        }
    }

    /// Tells telemetry where this session stands.
    pub fn observe(&mut self) {
        let read = (!self.source.is_before_start()).then(|| self.source.progress());
        self.line.observe(self.source.place(), read);
    }

    /// Ends the session: what is whole is published first, unless the way to Kafka itself failed.
    pub async fn end(
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
        is_server_lost(error) && self.line.lacks_gtid_set(self.source.place())
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
        error.fate().is_halt() && self.config.kafka.publish.delivery == Delivery::Idempotent
    }

    async fn finish(&mut self, is_clean: bool) -> Result<(), Error> {
        failpoint!("before-last-checkpoint");
        self.line.finish(self.source.place(), self.source.open_gtid(), is_clean).await?;
        failpoint!("last-checkpoint-stored");
        let place = self.source.place();
        let is_clean = is_clean && !self.line.has_window();
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

/// The server went away, and is connected to again. A lock or dump that another relay took is no such loss: nothing
/// may be sent behind it. An error that halts is none, either.
fn is_server_lost(error: &Error) -> bool {
    error.peer() == Some(Peer::MySql) && error.fate() == Fate::Retry
}

/// The last checkpoint may soon be deleted for its age.
fn is_refresh_due(stored_at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(stored_at) >= REFRESH_INTERVAL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::server;

    fn of_server(source: server::Error) -> Error {
        Error::Binlog { server: "db:3306".to_owned(), source: source.into() }
    }

    fn of_code(code: u16, message: &str) -> Error {
        let (message, state) = (message.to_owned(), "HY000".to_owned());
        let error = mysql_async::ServerError { code, message, state };
        of_server(server::Error::MySql(mysql_async::Error::Server(error)))
    }

    #[test]
    fn only_a_server_that_went_away_lets_more_be_sent() {
        let replica = "A slave with the same server_uuid/server_id as this slave has connected";
        for (error, is_lost) in [
            (of_code(1053, "Server shutdown in progress"), true),
            // Somebody else may send by now.
            (of_code(1236, replica), false),
            (Error::LeaseLost { server: "db:3306".to_owned() }, false),
            (Error::OutboxChanged, false),
        ] {
            assert_eq!(is_server_lost(&error), is_lost, "{error:?}");
        }
    }

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
