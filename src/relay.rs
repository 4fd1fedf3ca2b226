//! The line, end to end: recovery, the loop that follows the binlog, and draining.
//!
//! There is one recovery path. After any failure the relay drops both ends and pauses. Then a new session fences all
//! predecessors, reads the checkpoint and resumes there. A start, a crash and a failover run the same code. A session
//! ends with a drain, or with the error that decides what comes next.

mod backoff;
mod commands;
mod connecting;
mod contest;
mod cut;
pub(crate) mod debezium_offsets;
mod failover;
pub(crate) mod line;
pub mod orders;
mod planted;
mod predecessor;
mod progress;
mod recovery;
mod refusal;
pub mod replay;
mod resume_point;
mod running;
mod session;
#[cfg(test)]
mod simulation;
mod stamp;
mod suspect;
mod takeover;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

pub use self::commands::{reset_checkpoint, set_checkpoint};
use self::contest::Contest;
use self::cut::Cut;
use self::failover::Failover;
use self::orders::Orders;
use self::predecessor::while_held;
use self::recovery::Recovered;
use self::refusal::{OneByOne, Refusal, Refusals};
use self::session::Session;
use self::suspect::{Reached, Suspect};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Error;
use crate::fate::Fate;
use crate::primary::{MySql, Primaries};
use crate::sink::kafka::Kafka;
use crate::sink::{Connector, none_without_store};
use crate::tasks::{self, Panicked};
use crate::telemetry::metrics::Peer;
use crate::telemetry::{State, Telemetry, spans};

/// Time between two heartbeats, whatever the loop waits for.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Time to wait after we were fenced, before we look by whom. A successor stores its claim only after it has fenced
/// all ids.
const CLAIM_PAUSE: Duration = Duration::from_secs(1);

/// What a relay connects to, session after session.
pub trait World {
    type Primaries: Primaries;
    type Sinks: Connector;

    fn primaries(&self) -> &Self::Primaries;
    fn sinks(&self) -> &Self::Sinks;

    /// Any number, as likely as any other.
    fn chance(&self) -> u32 {
        backoff::chance()
    }

    /// Rests for a moment that no timer of the runtime is as short as. Nothing else has work on this thread.
    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The world of a configuration: MySQL and Kafka.
struct Configured<'a> {
    mysql: MySql<'a>,
    kafka: &'a Kafka,
}

impl<'a> Configured<'a> {
    fn new(config: &'a Config) -> Configured<'a> {
        Configured { mysql: MySql(config), kafka: &config.kafka }
    }
}

impl<'a> World for Configured<'a> {
    type Primaries = MySql<'a>;
    type Sinks = Kafka;

    fn primaries(&self) -> &MySql<'a> {
        &self.mysql
    }

    fn sinks(&self) -> &Kafka {
        self.kafka
    }
}

/// The worlds of one process: one for each configuration that it runs with.
pub trait Worlds {
    type World<'a>: World
    where
        Self: 'a;

    fn of<'a>(&'a self, config: &'a Config) -> Self::World<'a>;
}

/// MySQL and Kafka, as they are configured.
struct Servers;

impl Worlds for Servers {
    type World<'a> = Configured<'a>;

    fn of<'a>(&'a self, config: &'a Config) -> Configured<'a> {
        Configured::new(config)
    }
}

/// A batch limit of one byte: librdkafka then puts each record into a batch of its own.
const ONE_RECORD: usize = 1;

/// What stays the same from one configuration to the next.
struct Kept {
    instance: String,
    /// Number of the last session.
    session: u64,
    failed: Option<Option<Peer>>,
    batch_bytes_max: Option<usize>,
    contest: Contest,
    predecessor: Option<String>,
    has_claimed: bool,
    failover: Failover,
    cut: Cut,
    is_lock_missed: bool,
}

impl Kept {
    fn new() -> Kept {
        Kept {
            instance: uuid::Uuid::new_v4().to_string(),
            session: 0,
            failed: None,
            batch_bytes_max: None,
            contest: Contest::default(),
            predecessor: None,
            has_claimed: false,
            failover: Failover::default(),
            cut: Cut::default(),
            is_lock_missed: false,
        }
    }
}

/// What stays the same from session to session.
struct Relay<'a, W> {
    config: &'a Config,
    world: &'a W,
    telemetry: Arc<Telemetry>,
    /// The end that failed in the previous session.
    failed: Option<Option<Peer>>,
    /// Random id of this process.
    instance: String,
    /// Number of the last session.
    session: u64,
    /// The smallest `max.message.bytes` found that is below the batches librdkafka makes.
    batch_bytes_max: Option<usize>,
    /// Set while records are sent one by one.
    one_by_one: Option<OneByOne>,
    /// Number of sessions that failed in a row without publishing anything.
    failures: u32,
    /// How far the last session came.
    reached: Reached,
    /// When the last session began.
    began: Instant,
    contest: Contest,
    /// The records that a broker refused, and that are not stored in another way since.
    refusals: Refusals,
    /// The instance that the checkpoint named before this one claimed it; `None` once it has.
    predecessor: Option<String>,
    /// This instance's claim is stored.
    has_claimed: bool,
    /// With this configuration, a claim may be stored.
    is_claim_sent: bool,
    failover: Failover,
    cut: Cut,
    /// The log has said that the server gives out no locks.
    is_lock_missed: bool,
}

/// Relays until it is told to stop, then drains.
///
/// # Errors
/// A person must act, or another instance has taken over.
pub async fn run(telemetry: Arc<Telemetry>, orders: Orders) -> Result<(), Error> {
    run_in(&Servers, telemetry, orders).await
}

/// The same in any world.
async fn run_in<S: Worlds>(
    worlds: &S,
    telemetry: Arc<Telemetry>,
    mut orders: Orders,
) -> Result<(), Error> {
    let ended = tokio::select! {
        biased; // prefer the relay's result over the heartbeat
        ended = relay_until_stopped(worlds, &telemetry, &mut orders) => ended,
        never = heartbeat(&telemetry) => match never {},
    };
    if let Err(error) = &ended {
        let reason = error.reason();
        telemetry.note_error(error.kind(), &reason.words);
        telemetry.enter(State::Halted, Some(reason));
    }
    ended
}

/// Shows that this thread is not stuck, whatever the relay waits for.
async fn heartbeat(telemetry: &Telemetry) -> Infallible {
    loop {
        telemetry.heartbeat();
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
    }
}

async fn relay_until_stopped<S: Worlds>(
    worlds: &S,
    telemetry: &Arc<Telemetry>,
    orders: &mut Orders,
) -> Result<(), Error> {
    let mut kept = Kept::new();
    let (name, instance) = (orders.in_force().name.clone(), &kept.instance);
    spans::note_instance(instance);
    tracing::info!(name, instance, version = env!("CARGO_PKG_VERSION"), "starting");
    loop {
        let config = orders.in_force();
        let world = worlds.of(&config);
        let mut relay = Relay::new(&config, &world, telemetry.clone(), kept);
        match relay.relay_until_changed(orders).await {
            Ok(()) if orders.is_stop() => return Ok(()),
            Ok(()) => {}
            // Its claim would name it, and the one before may not go on from that.
            Err(error) if error.fate().is_halt() && !relay.is_claim_sent => {
                orders.fall_back(error)?;
            }
            Err(error) => return Err(error),
        }
        kept = relay.keep();
    }
}

/// How a session ended, and the pause after it where it failed.
enum Ended {
    /// The relay was told to stop.
    Stopped,
    /// It has drained at a boundary, for another configuration.
    AtBoundary,
    Failed,
}

/// One session, and the pause after it where it failed.
async fn session_and_pause<W: World>(
    relay: &mut Relay<'_, W>,
    suspect: &mut Option<Suspect>,
    orders: &mut Orders,
) -> Result<Ended, Error> {
    let error = match relay.session(orders).await {
        Ok(()) if orders.is_stop() => return Ok(Ended::Stopped),
        Ok(()) => return Ok(Ended::AtBoundary),
        // The drain failed: the exit code says so.
        Err(error) if orders.is_stop() => return Err(relay.resolve_takeover(error).await?),
        Err(error) => error,
    };
    relay.show_failed(&error);
    let reached = std::mem::take(&mut relay.reached);
    suspect.take_if(|suspect| suspect.is_passed(&reached));
    relay.end_one_by_one(&reached, &error);
    relay.cut.forget_passed(reached.stored.as_ref());
    if let Some(stored) = &reached.stored {
        relay.refusals.forget_stored(stored.sequence);
    }
    let decided: Result<Error, Error> = tokio::select! {
        biased; // a stop wins over the next session
        () = orders.stopped() => return Ok(Ended::Stopped),
        decided = relay.decide(error, suspect.as_ref()) => decided,
    };
    let error = decided?;
    let order = orders.order();
    tokio::select! {
        biased; // a stop, or another configuration, wins over the pause
        () = orders.differs_from(order) => {}
        () = relay.pause(&error) => {}
    }
    if orders.is_stop() {
        return Ok(Ended::Stopped);
    }
    *suspect = Suspect::of(error, reached).or(suspect.take());
    Ok(Ended::Failed)
}

impl<'a, W: World> Relay<'a, W> {
    fn new(config: &'a Config, world: &'a W, telemetry: Arc<Telemetry>, kept: Kept) -> Self {
        Relay {
            config,
            world,
            telemetry,
            failed: kept.failed,
            instance: kept.instance,
            session: kept.session,
            batch_bytes_max: kept.batch_bytes_max,
            one_by_one: None,
            failures: 0,
            reached: Reached::default(),
            began: Instant::now(),
            contest: kept.contest,
            refusals: Refusals::default(),
            predecessor: kept.predecessor,
            has_claimed: kept.has_claimed,
            is_claim_sent: false,
            failover: kept.failover,
            cut: kept.cut,
            is_lock_missed: kept.is_lock_missed,
        }
    }

    /// What the next configuration goes on with. Its numbers may be of other rows, so nothing of a refused record stays.
    fn keep(self) -> Kept {
        let bytes_max_before = self.one_by_one.map(|it| it.bytes_max_before);
        Kept {
            instance: self.instance,
            session: self.session,
            failed: self.failed,
            batch_bytes_max: bytes_max_before.unwrap_or(self.batch_bytes_max),
            contest: self.contest,
            predecessor: self.predecessor,
            has_claimed: self.has_claimed,
            failover: self.failover,
            cut: self.cut,
            is_lock_missed: self.is_lock_missed,
        }
    }
}

impl<W: World> Relay<'_, W> {
    /// Session after session, until the relay is told to stop, or another configuration is in force.
    async fn relay_until_changed(&mut self, orders: &mut Orders) -> Result<(), Error> {
        let mut suspect: Option<Suspect> = None;
        loop {
            self.session += 1;
            let span = spans::session(self.session, &self.config.mysql);
            let session = session_and_pause(self, &mut suspect, orders);
            let is_changed = match session.instrument(span).await? {
                Ended::Stopped => return Ok(()),
                Ended::AtBoundary => {
                    self.telemetry.end_session(None);
                    self.telemetry.enter(State::Reconnecting, orders.reason());
                    orders.change_at_boundary()
                }
                Ended::Failed => orders.change_between_sessions(),
            };
            if is_changed {
                return Ok(());
            }
        }
    }

    /// Follows the binlog until a stop, or until a boundary where another configuration is wanted.
    async fn session(&mut self, orders: &mut Orders) -> Result<(), Error> {
        self.began = Instant::now();
        let Recovered { source, line, mut lock } = tokio::select! {
            biased; // a stop wins: nothing is in flight yet
            () = orders.stopped() => return Ok(()),
            recovered = supervised(recovery::recover(self)) => recovered?,
        };
        orders.note_begun();
        let rest = |time| self.world.rest(time);
        let mut session = Session::new(self.config, source, line, &rest);
        let followed = while_held(self.config, &mut lock, session.follow(orders));
        let followed = supervised(followed).await;
        self.failover = Failover::default();
        session.observe();
        if followed.is_ok() {
            self.telemetry.enter(State::Draining, orders.reason());
        }
        if let Err(error) = &followed
            && self.halts_behind_rows(error)
        {
            session.begin_halt(error);
        }
        if session.has_published() {
            self.failures = 0;
        }
        // The lock is released when everything sent is acknowledged.
        supervised(session.end(followed, &mut self.reached)).await
    }

    /// Reads the checkpoint as it is stored now.
    async fn look(&self) -> Result<Option<Checkpoint>, Error> {
        Ok(none_without_store(self.world.sinks().look().await)?)
    }

    /// Waits before the next session, and logs the reason.
    async fn pause(&mut self, error: &Error) {
        let pause = if Refusal::of(error).is_some() {
            // Nothing has to heal: the next session knows what becomes of the row.
            Duration::ZERO
        } else {
            let pause = backoff::pause(self.failures, self.world.chance());
            self.failures = self.failures.saturating_add(1);
            pause
        };
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

    /// Tells telemetry why the session ended.
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

    /// Decides what follows from an error: `Ok` gives it back for another session, `Err` ends the run.
    async fn decide(&mut self, error: Error, suspect: Option<&Suspect>) -> Result<Error, Error> {
        if let Error::SmallerBatches { bytes_max, .. } = &error {
            self.batch_bytes_max = Some(*bytes_max);
        }
        if let Error::OneByOne { topic, sequence } = &error {
            let sequence = *sequence;
            self.refusals.forget(sequence, topic);
            let bytes_max_before = self.batch_bytes_max.replace(ONE_RECORD);
            self.one_by_one = Some(OneByOne { sequence, bytes_max_before });
        }
        let (lived, timeout) =
            (self.began.elapsed(), self.config.kafka.publish.transaction_timeout);
        self.contest.note_ended(lived, timeout);
        let error = self.failover.bound(error, Instant::now());
        let is_repeated = self.cut.is_repeated_by(&error)
            || suspect.is_some_and(|suspect| suspect.is_repeated_by(&error));
        match error.fate() {
            Fate::Retry if is_repeated => Err(Error::DamagedAgain(Box::new(error))),
            Fate::Retry => Ok(error),
            Fate::Halt { .. } if self.is_transient(&error) => Ok(error),
            // The next session publishes everything before the row, and then names it.
            Fate::Halt { .. } if self.refusals.note(&error) => Ok(error),
            Fate::Halt { .. } | Fate::TakenOver => Err(error),
            Fate::MaybeTakenOver => match self.resolve_takeover(error).await? {
                taken_over @ Error::TakenOver { .. } => Err(taken_over),
                _ if self.contest.note_fenced(lived, timeout) => {
                    Err(Error::NameContested { name: self.config.name.clone() })
                }
                error => Ok(error),
            },
        }
    }

    /// Lets the next session send larger batches again, once records need not be sent one by one any more.
    fn end_one_by_one(&mut self, reached: &Reached, error: &Error) {
        if let Some(over) = self.one_by_one.take_if(|it| it.is_over(reached, error)) {
            self.batch_bytes_max = over.bytes_max_before;
        }
    }

    /// The relay publishes everything before this error, and then halts. Never true for a lost server, to which the
    /// relay connects again.
    fn halts_behind_rows(&self, error: &Error) -> bool {
        error.is_of_one_transaction() && error.fate().is_halt() && !self.is_transient(error)
    }

    /// The error may heal. A login that is refused at the first session halts, since the configuration is wrong. Later
    /// it is retried, since somebody may be changing passwords.
    fn is_transient(&self, error: &Error) -> bool {
        error.fate() == Fate::Retry || self.has_claimed && error.is_rejection()
    }

    /// Replaces an error that may mean a takeover by one that says who has taken over.
    async fn resolve_takeover(&self, error: Error) -> Result<Error, Error> {
        if error.fate() != Fate::MaybeTakenOver {
            return Ok(error);
        }
        Ok(match recovery::successor(self).await? {
            Some((instance, recorded_at)) => Error::TakenOver { instance, recorded_at },
            None => error,
        })
    }
}

/// A panic, for instance over damaged bytes, ends the session like any other error.
async fn supervised<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // Whatever the panic left half done is dropped with the session.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(Panicked(tasks::words(&*panic)).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::server;

    const CONFIG: &str = r#"name = "orders"
[mysql]
hosts = ["db.example.org:3306"]
user = "relay"
password = "secret"
[kafka]
bootstrap_servers = "kafka.example.org:9092"
[[outbox]]
table = "eventuate.events"
preset = "eventuate-local"
"#;

    #[test]
    fn no_halt_is_said_of_an_error_that_is_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), CONFIG).unwrap();
        let config = Config::load(file.path(), &[]).unwrap();
        let telemetry = Arc::new(Telemetry::new("orders", "db.example.org:3306".to_owned()));
        let world = Configured::new(&config);
        let mut relay = Relay::new(&config, &world, telemetry, Kept::new());
        let denied = mysql_async::ServerError {
            code: 1045,
            message: "Access denied for user 'relay'@'db' (using password: YES)".to_owned(),
            state: "28000".to_owned(),
        };
        let denied = server::Error::MySql(mysql_async::Error::Server(denied));
        let denied =
            Error::Binlog { server: "db.example.org:3306".to_owned(), source: denied.into() };
        assert!(relay.halts_behind_rows(&denied), "it was never let in");
        relay.has_claimed = true;
        assert!(!relay.halts_behind_rows(&denied), "its password may be changing");
        assert!(!relay.halts_behind_rows(&Error::OutboxChanged), "it is of no transaction");
        let gone = server::Error::MySql(mysql_async::Error::Driver(
            mysql_async::DriverError::ConnectionClosed,
        ));
        let gone = Error::Binlog { server: "db.example.org:3306".to_owned(), source: gone.into() };
        assert!(!relay.halts_behind_rows(&gone), "it may return");
    }
}
