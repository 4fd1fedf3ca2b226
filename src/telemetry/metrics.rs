//! The metrics of <https://prometheus.io/docs/instrumenting/exposition_formats/>, with their names, labels and
//! buckets in one place. Label values are fixed sets that are there from the start, but for topics.

use std::sync::Once;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::state::State;

const NAMESPACE: &str = "binlog_relay";

/// Seconds, from 0.5 ms to 60 s.
const DURATION_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Up to the most that `[batch] max_records` may be.
const RECORDS_BUCKETS: [f64; 13] = [
    1.0,
    2.0,
    5.0,
    10.0,
    50.0,
    100.0,
    500.0,
    1_000.0,
    5_000.0,
    10_000.0,
    50_000.0,
    100_000.0,
    1_000_000.0,
];

/// An end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    MySql,
    Kafka,
}

impl Peer {
    const ALL: [Peer; 2] = [Peer::MySql, Peer::Kafka];

    fn label(self) -> &'static str {
        match self {
            Peer::MySql => "mysql",
            Peer::Kafka => "kafka",
        }
    }
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Connection, login, or what the server says.
    MySql,
    /// The stream of events, or the place in it.
    Binlog,
    /// A setting or a table that does not fit.
    Preflight,
    /// A row that cannot be a record, or whose record the broker refuses.
    Row,
    /// Connection, rights, or what a broker says.
    Kafka,
    /// A topic that is missing or does not fit.
    Topic,
    /// A batch that was not published.
    Publish,
    /// The stored checkpoint.
    Checkpoint,
    /// Another relay of this name.
    Fenced,
    /// The relay itself.
    Internal,
}

impl ErrorKind {
    const ALL: [ErrorKind; 10] = [
        ErrorKind::MySql,
        ErrorKind::Binlog,
        ErrorKind::Preflight,
        ErrorKind::Row,
        ErrorKind::Kafka,
        ErrorKind::Topic,
        ErrorKind::Publish,
        ErrorKind::Checkpoint,
        ErrorKind::Fenced,
        ErrorKind::Internal,
    ];

    fn label(self) -> &'static str {
        match self {
            ErrorKind::MySql => "mysql",
            ErrorKind::Binlog => "binlog",
            ErrorKind::Preflight => "preflight",
            ErrorKind::Row => "row",
            ErrorKind::Kafka => "kafka",
            ErrorKind::Topic => "topic",
            ErrorKind::Publish => "publish",
            ErrorKind::Checkpoint => "checkpoint",
            ErrorKind::Fenced => "fenced",
            ErrorKind::Internal => "internal",
        }
    }
}

/// What became of a configuration that was read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    Applied,
    /// The old one stays in force.
    Refused,
    Unchanged,
}

impl Reloaded {
    const ALL: [Reloaded; 3] = [Reloaded::Applied, Reloaded::Refused, Reloaded::Unchanged];

    fn label(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Refused => "refused",
            Reloaded::Unchanged => "unchanged",
        }
    }
}

/// Why a row of an outbox table became no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Its column `published` is not 0.
    Published,
    /// It is already in Kafka, according to the checkpoint.
    Relayed,
    /// It is a copy in a table that a tool makes while it alters another one.
    Ghost,
    /// The `where` of its outbox leaves it out.
    LeftOut,
}

impl Skipped {
    const ALL: [Skipped; 4] =
        [Skipped::Published, Skipped::Relayed, Skipped::Ghost, Skipped::LeftOut];

    fn label(self) -> &'static str {
        match self {
            Skipped::Published => "published",
            Skipped::Relayed => "relayed",
            Skipped::Ghost => "ghost",
            Skipped::LeftOut => "where",
        }
    }
}

/// Why a row became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// A value is NULL where a record needs one.
    Null,
    /// A value has no text.
    NotText,
    /// There can be no such topic, or it does not take the record.
    Topic,
    /// The record is larger than the topic takes.
    Size,
    /// A template gives what is no partition or no time.
    Template,
}

impl DeadLetterReason {
    const ALL: [DeadLetterReason; 5] = [
        DeadLetterReason::Null,
        DeadLetterReason::NotText,
        DeadLetterReason::Topic,
        DeadLetterReason::Size,
        DeadLetterReason::Template,
    ];

    /// As the record's header names it, too.
    pub const fn as_str(self) -> &'static str {
        match self {
            DeadLetterReason::Null => "null",
            DeadLetterReason::NotText => "not-text",
            DeadLetterReason::Topic => "topic",
            DeadLetterReason::Size => "size",
            DeadLetterReason::Template => "template",
        }
    }
}

/// All metrics of one relay.
pub struct Metrics {
    registry: Registry,
    state: IntGaugeVec,
    connected: IntGaugeVec,
    records_published: IntCounterVec,
    rows_skipped: IntCounterVec,
    dead_letters: IntCounterVec,
    reconnects: IntCounterVec,
    errors: IntCounterVec,
    config_reloads: IntCounterVec,
    pub config_last_reload_successful: IntGauge,
    pub config_last_reload_success_timestamp_seconds: Gauge,
    end_to_end_duration_seconds: Histogram,
    end_to_end_is_shown: Once,
    pub transactions: IntCounter,
    pub batches: IntCounter,
    pub batch_records: Histogram,
    pub publish_duration_seconds: Histogram,
    pub lag_seconds: Gauge,
    pub lag_bytes: Gauge,
    pub binlog_events: IntCounter,
    pub binlog_bytes: IntCounter,
    pub binlog_retained_behind_checkpoint_bytes: Gauge,
    pub checkpoint_timestamp_seconds: Gauge,
    pub last_commit_timestamp_seconds: Gauge,
    pub buffered_bytes: IntGauge,
}

impl Metrics {
    pub fn new() -> Metrics {
        let made = Metrics::made().expect("names and labels are legal, and each is given once");
        made.show_from_the_start();
        made
    }

    fn made() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let new = New(&registry);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let build =
            new.gauges("build_info", "Version and revision; always 1.", &["version", "revision"])?;
        let revision = option_env!("BINLOG_RELAY_REVISION").unwrap_or("unknown");
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        let end_to_end_duration_seconds = durations(
            "end_to_end_duration_seconds",
            "From a transaction's commit in MySQL to its commit in Kafka.",
        )?;
        Ok(Metrics {
            state: new.gauges("state", "1 for the state that the relay is in.", &["state"])?,
            connected: new.gauges("connected", "1 while the peer is connected.", &["peer"])?,
            records_published: new.counters("records_published_total", "Records committed in Kafka.", &["topic"])?,
            rows_skipped: new.counters("rows_skipped_total", "Rows of outbox tables that became no record.", &["reason"])?,
            dead_letters: new.counters("dead_letters_total", "Rows committed in Kafka as dead letters.", &["reason"])?,
            reconnects: new.counters("reconnects_total", "Recoveries after the peer failed.", &["peer"])?,
            errors: new.counters("errors_total", "Errors that ended a session or the relay.", &["kind"])?,
            config_reloads: new.counters("config_reloads_total", "Times that the configuration was read again.", &["result"])?,
            config_last_reload_successful: new.register(IntGauge::with_opts(opts(
                "config_last_reload_successful",
                "1 unless the configuration that was read last was refused.",
            ))?)?,
            config_last_reload_success_timestamp_seconds: new.value(
                "config_last_reload_success_timestamp_seconds",
                "When a configuration was last read and not refused, in seconds since 1970.",
            )?,
            transactions: new.counter("transactions_total", "MySQL transactions with records, committed in Kafka.")?,
            batches: new.counter("batches_total", "Batches with records, committed in Kafka.")?,
            batch_records: new.histogram("batch_records", "Records of a batch.", &RECORDS_BUCKETS)?,
            publish_duration_seconds: new.register(durations(
                "publish_duration_seconds",
                "From a batch being sealed to its commit in Kafka.",
            )?)?,
            end_to_end_duration_seconds,
            end_to_end_is_shown: Once::new(),
            lag_seconds: new.value(
                "lag_seconds",
                "The MySQL server's now less the commit time of the oldest row not yet in Kafka; 0 when caught up.",
            )?,
            lag_bytes: new.value("lag_bytes", "Bytes of binlog after what is in Kafka; NaN while not known.")?,
            binlog_events: new.counter("binlog_events_total", "Events read from the binlog.")?,
            binlog_bytes: new.counter("binlog_bytes_total", "Bytes of events read from the binlog.")?,
            binlog_retained_behind_checkpoint_bytes: new.value(
                "binlog_retained_behind_checkpoint_bytes",
                "Bytes of binlog before the checkpoint that the server still has: what can be purged before it hurts; \
                 NaN while not known.",
            )?,
            checkpoint_timestamp_seconds: new.value(
                "checkpoint_timestamp_seconds",
                "When the last checkpoint was stored, in seconds since 1970; 0 before the first.",
            )?,
            last_commit_timestamp_seconds: new.value(
                "last_commit_timestamp_seconds",
                "When the last relayed transaction was committed in MySQL, in seconds since 1970; 0 before the first.",
            )?,
            buffered_bytes: {
                let gauge = IntGauge::with_opts(opts("buffered_bytes", "Keys and values read and not yet in Kafka."))?;
                new.register(gauge)?
            },
            registry,
        })
    }

    fn show_from_the_start(&self) {
        self.show_state(State::Starting);
        Peer::ALL.into_iter().for_each(|peer| {
            self.show_connected(peer, false);
            self.reconnects.with_label_values(&[peer.label()]);
        });
        for kind in ErrorKind::ALL {
            self.errors.with_label_values(&[kind.label()]);
        }
        for reason in Skipped::ALL {
            self.rows_skipped.with_label_values(&[reason.label()]);
        }
        for reason in DeadLetterReason::ALL {
            self.dead_letters.with_label_values(&[reason.as_str()]);
        }
        for result in Reloaded::ALL {
            self.config_reloads.with_label_values(&[result.label()]);
        }
        self.lag_bytes.set(f64::NAN);
        self.binlog_retained_behind_checkpoint_bytes.set(f64::NAN);
    }

    /// Counter of the records of one topic.
    pub fn records_published(&self, topic: &str) -> IntCounter {
        self.records_published.with_label_values(&[topic])
    }

    pub fn rows_skipped(&self, reason: Skipped) -> IntCounter {
        self.rows_skipped.with_label_values(&[reason.label()])
    }

    pub fn dead_letters(&self, reason: DeadLetterReason) -> IntCounter {
        self.dead_letters.with_label_values(&[reason.as_str()])
    }

    pub fn reconnects(&self, peer: Peer) -> IntCounter {
        self.reconnects.with_label_values(&[peer.label()])
    }

    pub fn errors(&self, kind: ErrorKind) -> IntCounter {
        self.errors.with_label_values(&[kind.label()])
    }

    pub fn config_reloads(&self, result: Reloaded) -> IntCounter {
        self.config_reloads.with_label_values(&[result.label()])
    }

    pub fn show_connected(&self, peer: Peer, is_connected: bool) {
        self.connected.with_label_values(&[peer.label()]).set(i64::from(is_connected));
    }

    pub fn show_state(&self, current: State) {
        for state in State::ALL {
            self.state.with_label_values(&[state.label()]).set(i64::from(state == current));
        }
    }

    /// The histogram that only servers with microsecond timestamps fill. It is shown from the first call on.
    pub fn end_to_end_duration_seconds(&self) -> &Histogram {
        self.end_to_end_is_shown.call_once(|| {
            let histogram = self.end_to_end_duration_seconds.clone();
            self.registry.register(Box::new(histogram)).expect("the name is given once");
        });
        &self.end_to_end_duration_seconds
    }

    /// All of them in the text format.
    ///
    /// # Errors
    /// The encoder cannot write a metric.
    pub fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// Makes metrics and registers them.
struct New<'a>(&'a Registry);

impl New<'_> {
    fn register<T: Collector + Clone + 'static>(&self, metric: T) -> prometheus::Result<T> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::with_opts(opts(name, help))?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(opts(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(opts(name, help), labels)?)
    }

    fn value(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::with_opts(opts(name, help))?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options)?)
    }
}

fn durations(name: &str, help: &str) -> prometheus::Result<Histogram> {
    Histogram::with_opts(HistogramOpts::from(opts(name, help)).buckets(DURATION_BUCKETS.to_vec()))
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_some_servers_have_is_not_there_until_it_is_known() {
        let metrics = Metrics::new();
        let name = "binlog_relay_end_to_end_duration_seconds";
        assert!(!metrics.encode().unwrap().contains(name));
        for _ in 0..2 {
            metrics.end_to_end_duration_seconds().observe(0.01);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains(&format!("{name}_count 2")), "{text}");
    }

    #[test]
    fn label_values_are_there_from_the_start() {
        let text = Metrics::new().encode().unwrap();
        for line in [
            r#"binlog_relay_state{state="starting"} 1"#,
            r#"binlog_relay_state{state="standby"} 0"#,
            r#"binlog_relay_connected{peer="kafka"} 0"#,
            r#"binlog_relay_reconnects_total{peer="mysql"} 0"#,
            r#"binlog_relay_rows_skipped_total{reason="published"} 0"#,
            r#"binlog_relay_dead_letters_total{reason="not-text"} 0"#,
            r#"binlog_relay_errors_total{kind="row"} 0"#,
            "binlog_relay_lag_bytes NaN",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is not in: {text}");
        }
    }
}
