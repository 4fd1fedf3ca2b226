//! The state of the running relay, its position, and its last error. The line writes it, at most once per batch or
//! wait. HTTP reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;

use super::binlogs::Binlogs;
use super::clock::{ServerClock, iso_8601, micros_since_1970};
use super::lag::Lag;
use super::metrics::{DeadLetterReason, ErrorKind, Metrics, Peer, Reloaded, Skipped};
use super::state::State;
use crate::coordinates::{Coordinates, GtidSet};

/// A loop without a heartbeat for this long is stuck. It beats also while it waits, for instance for a server.
const HEARTBEAT_WITHIN: Duration = Duration::from_secs(60);

/// A list of binlogs older than this does not tell the current end.
const BINLOGS_VALID: Duration = Duration::from_secs(10);

/// The reason while no broker answers, before anything has failed.
const BROKERS_AWAY: &str =
    "start the brokers, or mend the way to them; the relay goes on by itself";

/// The reason for a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub words: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

/// The primary, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Primary {
    /// `host:port`, as configured.
    pub host: String,
    /// `None` until it was reached.
    pub version: Option<String>,
    pub server_uuid: Option<String>,
}

/// The answer of `/status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub name: String,
    pub version: &'static str,
    pub state: State,
    /// UTC, ISO 8601.
    pub state_since: String,
    /// The reason for the state, if there is one to tell.
    pub reason: Option<String>,
    /// What a person can do about it.
    pub hint: Option<String>,
    pub mysql: Primary,
    /// `None` until the binlog is read.
    pub position: Option<Position>,
    /// The record as it is stored; `None` until one is.
    pub checkpoint: Option<Box<RawValue>>,
    pub lag: LagStatus,
    pub records: Records,
    pub last_error: Option<String>,
}

/// The last transaction boundary that was read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    pub binlog_filename: String,
    pub offset: u64,
    /// `None` where it is not known completely.
    pub gtid_set: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct LagStatus {
    pub seconds: f64,
    /// `None` until the server was asked for its binlogs.
    pub bytes: Option<u64>,
}

/// Counts since the process was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Records {
    pub relayed: u64,
    pub skipped: u64,
    /// Rows that could not be a record, or that the broker refused.
    pub failed: u64,
}

/// The state of one relay and its metrics.
pub struct Telemetry {
    pub metrics: Metrics,
    name: String,
    began: Instant,
    /// Time of the last heartbeat, in milliseconds since `began`.
    heartbeat_millis: AtomicU64,
    shared: Mutex<Shared>,
}

struct Shared {
    state: State,
    state_since: SystemTime,
    reason: Option<Reason>,
    primary: Primary,
    clock: ServerClock,
    /// The binlog is being read.
    is_reading: bool,
    is_kafka_connected: bool,
    lag: Lag,
    position: Option<(Coordinates, Option<GtidSet>)>,
    checkpoint: Option<(Coordinates, Box<RawValue>)>,
    binlogs: Option<(Binlogs, Instant)>,
    records: Records,
    last_error: Option<String>,
}

impl Telemetry {
    /// For the relay `name` that reads from `host`.
    pub fn new(name: &str, host: String) -> Telemetry {
        let shared = Shared {
            state: State::Starting,
            state_since: SystemTime::now(),
            reason: None,
            primary: Primary { host, ..Primary::default() },
            clock: ServerClock::default(),
            is_reading: false,
            is_kafka_connected: false,
            lag: Lag::unknown(ServerClock::default().now_micros()),
            position: None,
            checkpoint: None,
            binlogs: None,
            records: Records::default(),
            last_error: None,
        };
        let metrics = Metrics::new();
        show_read(&metrics);
        Telemetry {
            metrics,
            name: name.to_owned(),
            began: Instant::now(),
            heartbeat_millis: AtomicU64::new(0),
            shared: Mutex::new(shared),
        }
    }

    /// Enters a state. If only the reason changes, the time of the last change stays.
    pub fn enter(&self, state: State, reason: Option<Reason>) {
        let mut shared = self.shared();
        if shared.state != state {
            (shared.state, shared.state_since) = (state, SystemTime::now());
        }
        shared.reason = reason;
        self.metrics.show_state(state);
    }

    pub fn state(&self) -> State {
        self.shared().state
    }

    /// The primary is connected. Lag is measured by its clock from now on.
    pub fn primary_connected(&self, version: &str, server_uuid: String, clock: ServerClock) {
        self.connect(Peer::MySql);
        let mut shared = self.shared();
        shared.primary.version = Some(version.to_owned());
        shared.primary.server_uuid = Some(server_uuid);
        shared.clock = clock;
    }

    /// The offset of the server's clock was measured again.
    pub fn set_clock(&self, clock: ServerClock) {
        self.shared().clock = clock;
    }

    pub fn clock(&self) -> ServerClock {
        self.shared().clock
    }

    /// The binlog is being read, after `failed` had failed.
    pub fn begin_session(&self, failed: Option<Peer>) {
        self.shared().is_reading = true;
        if let Some(peer) = failed {
            self.metrics.reconnects(peer).inc();
        }
    }

    /// Both ends were dropped because `failed` failed. The state of the other end stays.
    pub fn end_session(&self, failed: Option<Peer>) {
        if let Some(peer) = failed {
            self.disconnect(peer);
        }
        let mut shared = self.shared();
        let now = shared.clock.now_micros();
        shared.lag.disconnected(now);
        shared.is_reading = false;
    }

    pub fn connect(&self, peer: Peer) {
        self.show_connected(peer, true);
    }

    pub fn disconnect(&self, peer: Peer) {
        self.show_connected(peer, false);
    }

    fn show_connected(&self, peer: Peer, is_connected: bool) {
        let mut shared = self.shared();
        if peer == Peer::Kafka {
            shared.is_kafka_connected = is_connected;
        }
        self.metrics.show_connected(peer, is_connected);
    }

    /// Updates the position of the line, and its lag.
    pub fn note_position(
        &self,
        coordinates: &Coordinates,
        gtid_set: Option<&GtidSet>,
        update_lag: impl FnOnce(&mut Lag),
    ) {
        let mut shared = self.shared();
        let is_same = shared.position.as_ref().is_some_and(|(position, _)| position == coordinates);
        if !is_same {
            shared.position = Some((coordinates.clone(), gtid_set.cloned()));
        }
        update_lag(&mut shared.lag);
    }

    /// A checkpoint is stored: the value of its record, and its position.
    pub fn note_checkpoint(&self, position: Coordinates, value: &[u8]) {
        let json = String::from_utf8(value.to_vec()).map(RawValue::from_string);
        let now = micros_since_1970(SystemTime::now());
        self.metrics.checkpoint_timestamp_seconds.set(seconds(now));
        if let Ok(Ok(json)) = json {
            self.shared().checkpoint = Some((position, json));
        }
    }

    pub fn note_published(&self, records: u64) {
        self.shared().records.relayed += records;
    }

    pub fn note_skipped(&self, reason: Skipped, rows: u64) {
        if rows > 0 {
            self.metrics.rows_skipped(reason).inc_by(rows);
            self.shared().records.skipped += rows;
        }
    }

    /// A row is in Kafka as a dead letter.
    pub fn note_letter(&self, reason: DeadLetterReason) {
        self.metrics.dead_letters(reason).inc();
        self.shared().records.failed += 1;
    }

    /// An error ended a session or the relay.
    pub fn note_error(&self, kind: ErrorKind, text: &str) {
        self.metrics.errors(kind).inc();
        let mut shared = self.shared();
        shared.last_error = Some(text.to_owned());
        shared.records.failed += u64::from(kind == ErrorKind::Row);
    }

    /// The configuration was read again, and not refused.
    pub fn note_reload(&self, result: Reloaded) {
        self.metrics.config_reloads(result).inc();
        show_read(&self.metrics);
    }

    /// The configuration was read again. The old one stays in force.
    pub fn note_refused_reload(&self, words: &str) {
        self.metrics.config_reloads(Reloaded::Refused).inc();
        self.metrics.config_last_reload_successful.set(0);
        self.shared().last_error = Some(words.to_owned());
    }

    /// The binlogs that the server has, oldest first.
    pub fn note_binlogs(&self, binlogs: Binlogs) {
        self.shared().binlogs = Some((binlogs, Instant::now()));
    }

    /// The loop runs.
    pub fn heartbeat(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heartbeat_millis.store(millis, Ordering::Relaxed);
    }

    /// Time since the last heartbeat, if that is too long.
    pub fn stuck_for(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.heartbeat_millis.load(Ordering::Relaxed));
        Some(self.began.elapsed().saturating_sub(last)).filter(|since| *since > HEARTBEAT_WITHIN)
    }

    /// The reason why the relay does not relay, with the hint on a second line; `None` while it does.
    pub fn not_ready(&self) -> Option<String> {
        let shared = self.shared();
        match (shared.state, &shared.reason) {
            (State::Relaying, _) if shared.is_kafka_connected => None,
            (State::Relaying, _) => {
                Some(format!("relaying: no broker answers\nhint: {BROKERS_AWAY}"))
            }
            (state, Some(Reason { words, hint: None })) => {
                Some(format!("{}: {words}", state.label()))
            }
            (state, Some(Reason { words, hint: Some(hint) })) => {
                Some(format!("{}: {words}\nhint: {hint}", state.label()))
            }
            (state, None) => Some(state.label().to_owned()),
        }
    }

    pub fn status(&self) -> Status {
        let shared = self.shared();
        Status {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            state: shared.state,
            state_since: iso_8601(shared.state_since),
            reason: shared.reason.as_ref().map(|reason| reason.words.clone()),
            hint: shared.reason.as_ref().and_then(|reason| reason.hint.clone()),
            mysql: shared.primary.clone(),
            position: shared.position.as_ref().map(|(position, gtid_set)| Position {
                binlog_filename: position.file().to_owned(),
                offset: position.offset,
                gtid_set: gtid_set.as_ref().map(ToString::to_string),
            }),
            checkpoint: shared.checkpoint.as_ref().map(|(_, json)| json.clone()),
            lag: LagStatus { seconds: shared.lag_seconds(), bytes: shared.lag_bytes() },
            records: shared.records,
            last_error: shared.last_error.clone(),
        }
    }

    /// All metrics in the text format of Prometheus, as of now.
    ///
    /// # Errors
    /// The encoder finds a metric that it cannot write.
    pub fn encode_metrics(&self) -> prometheus::Result<String> {
        let known = |bytes: Option<u64>| bytes.map_or(f64::NAN, |bytes| bytes as f64);
        {
            let shared = self.shared();
            let metrics = &self.metrics;
            metrics.lag_seconds.set(shared.lag_seconds());
            metrics.lag_bytes.set(known(shared.lag_bytes()));
            let retained = shared.retained_bytes();
            metrics.binlog_retained_behind_checkpoint_bytes.set(known(retained));
        }
        self.metrics.encode()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A panic cannot leave half an update: each statement under the lock is complete.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configuration was read now.
fn show_read(metrics: &Metrics) {
    metrics.config_last_reload_successful.set(1);
    let now = micros_since_1970(SystemTime::now());
    metrics.config_last_reload_success_timestamp_seconds.set(seconds(now));
}

impl Shared {
    fn lag_seconds(&self) -> f64 {
        match self.lag.behind_since() {
            None => 0.0,
            Some(_) if self.lag.has_no_pending() && self.is_at_end() => 0.0,
            Some(since) => self.clock.since(since).as_secs_f64(),
        }
    }

    /// The server's own list says that nothing is left to read.
    fn is_at_end(&self) -> bool {
        let is_fresh =
            self.binlogs.as_ref().is_some_and(|(_, asked)| asked.elapsed() < BINLOGS_VALID);
        self.is_reading && is_fresh && self.lag_bytes() == Some(0)
    }

    fn lag_bytes(&self) -> Option<u64> {
        let (binlogs, _) = self.binlogs.as_ref()?;
        let checkpoint = self.checkpoint.as_ref().map(|(position, _)| position);
        let position = self.position.as_ref().map(|(position, _)| position);
        // Rows in flight count as behind until they are in Kafka.
        let is_place_done = self.is_reading && self.lag.has_no_pending();
        let from = if is_place_done { position.or(checkpoint) } else { checkpoint };
        Some(binlogs.bytes_after(from?))
    }

    fn retained_bytes(&self) -> Option<u64> {
        let (binlogs, _) = self.binlogs.as_ref()?;
        let (position, _) = self.checkpoint.as_ref()?;
        Some(binlogs.bytes_before(position))
    }
}

/// Seconds since 1970 from microseconds.
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry() -> Telemetry {
        Telemetry::new("orders", "db:3306".to_owned())
    }

    #[test]
    fn a_loop_with_a_recent_heartbeat_is_not_stuck() {
        let telemetry = telemetry();
        telemetry.heartbeat();
        assert_eq!(telemetry.stuck_for(), None);
    }

    #[test]
    fn a_relay_that_relays_is_ready_unless_no_broker_answers() {
        let telemetry = telemetry();
        assert_eq!(telemetry.not_ready().as_deref(), Some("starting"));
        telemetry.enter(State::Relaying, None);
        assert!(telemetry.not_ready().unwrap().contains("broker"));
        telemetry.connect(Peer::Kafka);
        assert_eq!(telemetry.not_ready(), None);
        let reason = |hint: Option<&str>| {
            Some(Reason { words: "db:3306 is gone".to_owned(), hint: hint.map(str::to_owned) })
        };
        telemetry.enter(State::Reconnecting, reason(None));
        assert_eq!(telemetry.not_ready().as_deref(), Some("reconnecting: db:3306 is gone"));
        telemetry.enter(State::Reconnecting, reason(Some("start it")));
        let not_ready = telemetry.not_ready();
        assert_eq!(not_ready.as_deref(), Some("reconnecting: db:3306 is gone\nhint: start it"));
    }

    #[test]
    fn the_lag_is_nothing_once_the_servers_own_list_says_so() {
        let telemetry = telemetry();
        let position: Coordinates = "binlog.000002:4711".parse().unwrap();
        telemetry.begin_session(None);
        telemetry.note_position(&position, None, |lag| lag.reading(None, Some(1)));
        assert!(telemetry.status().lag.seconds > 1e6);
        let files = |last| [("binlog.000001", 100), ("binlog.000002", last)];
        telemetry.note_binlogs(files(5000).into_iter().collect());
        assert_eq!(telemetry.status().lag.bytes, Some(5000 - 4711));
        assert!(telemetry.status().lag.seconds > 1e6);
        telemetry.note_binlogs(files(4711).into_iter().collect());
        assert_eq!(telemetry.status().lag.seconds, 0.0);
        telemetry.end_session(Some(Peer::MySql));
        assert!(telemetry.status().lag.seconds > 1e6, "what is not heard of may be behind");
    }

    #[test]
    fn what_is_not_known_is_null() {
        let status = serde_json::to_value(telemetry().status()).unwrap();
        for field in ["position", "checkpoint", "reason", "hint", "lastError"] {
            assert_eq!(status[field], serde_json::Value::Null, "{field}: {status}");
        }
        assert_eq!(status["state"], "starting");
        assert_eq!(status["mysql"]["host"], "db:3306");
        assert_eq!(status["lag"]["bytes"], serde_json::Value::Null);
    }
}
