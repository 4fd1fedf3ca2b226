//! One session: it follows the binlog until a stop or an error, and then ends cleanly.
//!
//! One loop reads, fills batches and hands them to the publisher, which runs beside it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::line::Line;
use super::orders::{Order, Orders};
use super::suspect::Reached;
use crate::binlog::{self, Catalog, Change, Source, Stream};
use crate::config::Config;
use crate::delivery::Delivery;
use crate::error::{Error, SkipCommand};
use crate::failpoint::failpoint;
use crate::fate::Fate;
use crate::sink::Destinations;
use crate::telemetry::Causes;
use crate::telemetry::metrics::Peer;

/// Longest wait for the checkpoint with the GTID set after MySQL was lost. Kafka may be lost as well.
const GTID_SET_TIMEOUT: Duration = Duration::from_secs(5);

/// Shortest time between two checkpoints while the binlog grows without outbox rows.
const IDLE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Store an unchanged checkpoint again after this time, since a topic that deletes by time would lose it. Kafka's own
/// default is a week, and less than a few hours is rarely configured.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);

/// Look at the clock after this many events in a row that needed no waiting.
const EVENTS_PER_LOOK: u32 = 1024;

/// After this many events that had an effect, publish what is whole, although more is buffered.
const EFFECTIVE_EVENTS_MAX: u32 = 64;

/// While catching up, wait 300 µs before each read. Fewer wake-ups cost mysqld less CPU.
const COALESCING: Duration = Duration::from_micros(300);

/// Both ends, connected.
pub(super) struct Session<'a, S, C, D> {
    config: &'a Config,
    server: String,
    source: Source<S, C>,
    line: Line<D>,
    /// [`World::rest`](super::World::rest).
    rest: &'a dyn Fn(Duration),
    events: u32,
    /// Nothing was read since the last [`COALESCING`] pause.
    has_coalesced: bool,
    /// Another configuration waits for a transaction boundary.
    seeks_boundary: bool,
}

impl<'a, S: Stream, C: Catalog, D: Destinations> Session<'a, S, C, D> {
    pub fn new(
        config: &'a Config,
        source: Source<S, C>,
        line: Line<D>,
        rest: &'a dyn Fn(Duration),
    ) -> Session<'a, S, C, D> {
        let server = config.mysql.to_string();
        Session {
            config,
            server,
            source,
            line,
            rest,
            events: 0,
            has_coalesced: false,
            seeks_boundary: false,
        }
    }

    /// This session has published something.
    pub fn has_published(&self) -> bool {
        self.line.has_published()
    }

    /// Reports the halt already while everything before it is being published, since Kafka may stall.
    pub fn begin_halt(&mut self, error: &Error) {
        self.line.begin_halt(error.reason());
    }

    /// Follows the binlog until the stop, or until a boundary where another configuration is wanted.
    pub async fn follow(&mut self, orders: &mut Orders) -> Result<(), Error> {
        loop {
            let order = orders.order();
            self.seeks_boundary = order == Order::Reload;
            if order == Order::Stop || self.seeks_boundary && self.is_at_boundary() {
                return Ok(());
            }
            self.line.try_answers()?;
            // Events that are buffered already go into one batch.
            let has_read = self.drain_buffered().await?;
            if !self.source.is_before_start() {
                self.line.publish_whole(self.source.position(), self.source.open_gtid());
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
                // Orders first. Then answers, so that the next batch leaves. Then what comes in.
                biased;
                () = orders.differs_from(order) => {}
                answer = self.line.answer() => answer?,
                // While no batch can leave, rows may gather in the socket instead of waking us one by one.
                read = self.source.read(), if self.line.is_ready() => {
                    read.map_err(|error| self.binlog_error(error))?;
                    self.handle_event().await?;
                }
                () = tokio::time::sleep_until(due) => self.store_position_if_wanted(),
            }
        }
    }

    /// Waits for [`COALESCING`] before more of a backlog is read. Returns `false` where that was done since the last
    /// read, or where there is no backlog.
    fn coalesce_backlog(&mut self) -> bool {
        self.has_coalesced =
            !self.has_coalesced && self.line.is_of_backlog(self.source.committed_at());
        if self.has_coalesced {
            (self.rest)(COALESCING);
        }
        self.has_coalesced
    }

    /// Handles the events that are already buffered, up to [`EFFECTIVE_EVENTS_MAX`] with an effect. Returns `false`
    /// where none is.
    async fn drain_buffered(&mut self) -> Result<bool, Error> {
        if !self.try_read()? {
            return Ok(false);
        }
        self.has_coalesced = false;
        let mut effective = 0;
        loop {
            effective += u32::from(self.handle_event().await?);
            self.events = self.events.wrapping_add(1);
            if self.events.is_multiple_of(EVENTS_PER_LOOK) {
                self.store_position_if_wanted();
                self.observe();
                return Ok(true);
            }
            let is_enough =
                effective >= EFFECTIVE_EVENTS_MAX || self.seeks_boundary && self.is_at_boundary();
            if is_enough || !self.try_read()? {
                return Ok(true);
            }
        }
    }

    fn try_read(&mut self) -> Result<bool, Error> {
        self.source.try_read().map_err(|error| self.binlog_error(error))
    }

    /// Handles the event that was read last. Returns whether it had an effect: it may have waited for Kafka, and may
    /// have made a transaction whole.
    async fn handle_event(&mut self) -> Result<bool, Error> {
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
            Change::Committed => self.line.commit(self.source.position()).map(|()| true),
            Change::RolledBack => self.line.roll_back(self.source.position()).map(|()| true),
        }
    }

    /// Nothing is in flight, and one of these holds: the binlog has grown since the last checkpoint, that checkpoint is
    /// old, or a new one is needed to find out whether a broker answers again.
    fn is_checkpoint_wanted(&self) -> bool {
        self.line.is_settled()
            && self.may_store()
            && (self.line.is_behind(self.source.position())
                || self.line.is_cut_off()
                || is_refresh_due(self.line.stored_at(), Instant::now()))
    }

    /// A checkpoint of this position would describe exactly what was relayed.
    fn may_store(&self) -> bool {
        !self.source.is_before_start()
            && !self.source.is_uncounted()
            && !self.line.has_unreadable_prefix()
    }

    /// A drain would leave a checkpoint between two transactions, and no doubt about what is in Kafka after it: any
    /// configuration of `[[outbox]]` can go on from that.
    fn is_at_boundary(&self) -> bool {
        self.may_store() && self.line.is_at_boundary(self.source.position())
    }

    fn store_position_if_wanted(&mut self) {
        if self.is_checkpoint_wanted()
            && self.line.stored_at().elapsed() >= IDLE_CHECKPOINT_INTERVAL
        {
            self.line.store_position(self.source.position(), self.source.open_gtid());
        }
    }

    /// Tells telemetry where this session stands.
    pub fn observe(&mut self) {
        let read = (!self.source.is_before_start()).then(|| self.source.progress());
        self.line.observe(self.source.position(), read);
    }

    /// Ends the session. Publishes whole transactions first, unless Kafka itself failed.
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
            Err(error) if is_after_start && finished.is_ok() && error.can_be_skipped() => {
                Err(self.show_skip_command(error).await)
            }
            followed => followed,
        };
        let position = self.source.position().coordinates.clone();
        *reached = self.line.reached(is_after_start.then_some(position));
        self.line.stop().await;
        // It does not matter if the server is gone.
        if let Err(error) = self.source.close().await {
            tracing::debug!(%error, "close the dump connection");
        }
        finished.and(followed)
    }

    /// MySQL is lost, and the next server may be another one.
    fn needs_gtid_set(&self, error: &Error) -> bool {
        is_server_lost(error) && self.line.lacks_gtid_set(self.source.position())
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

    /// In `idempotent` delivery, the last checkpoint of a halt is clean: it says that Kafka has no row after it.
    /// Otherwise nobody could correct `[[outbox]]`.
    fn is_drained_by(&self, error: &Error) -> bool {
        error.fate().is_halt() && self.config.kafka.publish.delivery == Delivery::Idempotent
    }

    async fn finish(&mut self, is_clean: bool) -> Result<(), Error> {
        failpoint!("before-last-checkpoint");
        self.line.finish(self.source.position(), self.source.open_gtid(), is_clean).await?;
        failpoint!("last-checkpoint-stored");
        let position = self.source.position();
        let is_clean = is_clean && !self.line.has_window();
        tracing::info!(position = %position.coordinates, is_clean, "drained");
        Ok(())
    }

    /// Adds to a halt over one transaction the command that skips that transaction.
    async fn show_skip_command(&mut self, error: Error) -> Error {
        let skip_command = SkipCommand {
            begin: self.source.position().coordinates.clone(),
            rows_done: self.line.rows_done(),
            command: self.config.shell_command("checkpoint set"),
            // The driver may panic on damaged bytes.
            end: AssertUnwindSafe(self.source.end_of_transaction())
                .catch_unwind()
                .await
                .unwrap_or_default(),
        };
        Error::OfOneTransaction { source: Box::new(error), skip_command }
    }

    fn binlog_error(&self, source: binlog::Error) -> Error {
        Error::Binlog { server: self.server.clone(), source }
    }
}

/// The server went away, and the relay will connect to it again. A lock or dump that another relay has taken does not
/// count: nothing may be sent after that. An error that halts does not count, either.
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
            // Another relay may send by now.
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
