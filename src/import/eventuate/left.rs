//! Settings of a service that are not taken over, and what to do about each.

use crate::import::draft::{Draft, shown};
use crate::import::properties::Settings;

/// Settings that nothing here needs, by the beginning or the end of their names, and why.
const NEEDLESS: [(&str, &str); 22] = [
    ("ZOOKEEPER", "no ZooKeeper"),
    ("LEADERSHIP", "one process for each name; a second one fences the first"),
    ("DRIVER", "the relay has its own connection"),
    ("SPRING_DATASOURCE_", "the relay has no connection pool"),
    ("EVENTUATE_CDC_CONNECTION_", "the relay has no connection pool"),
    ("POLLING", "the relay does not poll"),
    ("POSTGRES", "PostgreSQL only"),
    ("REPLICATION_SLOT", "PostgreSQL only"),
    ("WAIT_FOR_OFFSET_SYNC", "PostgreSQL only"),
    ("WAITFOROFFSETSYNC", "PostgreSQL only"),
    ("BINLOG_CONNECTION", "the relay retries for ever"),
    ("BINLOGCONNECTION", "the relay retries for ever"),
    ("REPLICATION_LAG", "the relay measures the lag without writing"),
    ("REPLICATIONLAG", "the relay measures the lag without writing"),
    ("MONITORING", "the relay measures the lag without writing"),
    ("MANAGEMENT_", "/metrics and /status"),
    ("LOGGING_LEVEL", "RUST_LOG"),
    ("CONNECTION_VALIDATION", "the relay retries for ever"),
    ("MAX_EVENT_INTERVAL", "[mysql] heartbeat"),
    ("DRY_RUN", "binlog-relay check"),
    ("BATCH_PROCESSING", "one row is one record; linger.ms and batch.size in [kafka.properties]"),
    (
        "CONSUMER",
        "the relay has no consumer of Eventuate's; put security settings into [kafka.properties]",
    ),
];

/// The same, of settings that need a decision.
const DECISIONS: [(&str, &str); 5] = [
    ("KAFKA_PRODUCER_PROPERTIES", "set librdkafka's property of this name in [kafka.properties]"),
    ("CLEANER", "the relay deletes nothing: see \"Cleaning up\" in docs/coming-from-eventuate.md"),
    ("OUTBOX_PARTITIONING", "one [[outbox]] for each table: see docs/coming-from-eventuate.md"),
    ("OUTBOXTABLE", "one [[outbox]] for each table: see docs/coming-from-eventuate.md"),
    ("OLD", "let Eventuate CDC migrate the position first"),
];

/// Names what was not used.
pub fn leave_rest(settings: &Settings, draft: &mut Draft) {
    for (name, value) in settings.unused() {
        let find = |known: &[(&str, &'static str)]| {
            known.iter().find(|(part, _)| name.contains(part)).map(|(_, what)| *what)
        };
        let option = format!("{name}{}", shown(name, value));
        let is_off = value.trim().eq_ignore_ascii_case("false");
        match (find(&DECISIONS), find(&NEEDLESS)) {
            (Some(what), _) if !is_off => draft.leave_todo(&option, what),
            (Some(what), _) | (None, Some(what)) => draft.leave(&option, what),
            (None, None) if name.starts_with("EVENTUATE") => {
                draft.leave_todo(&option, "the relay does not know this setting");
            }
            (None, None) => draft.leave(&option, "no setting of Eventuate CDC"),
        }
    }
}
