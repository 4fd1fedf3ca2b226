//! Options of a connector that are not taken over, and what to do about each.

use crate::import::draft::{Draft, shown};
use crate::import::properties::Settings;

/// Options that nothing here needs, by the beginning of their names, and why.
const NEEDLESS: [(&str, &str); 33] = [
    ("key.converter.", "an option of the converter"),
    ("value.converter.", "an option of the converter; a delegate is for other records than rows"),
    ("header.converter.", "an option of the converter"),
    ("connector.plugin.version", "the relay is one program"),
    ("tasks.max", "the relay is one process; a second one waits or takes over"),
    ("schema.history.internal", "the relay keeps no history of schemas"),
    ("database.history", "the relay keeps no history of schemas"),
    ("include.schema.changes", "the relay publishes rows only"),
    ("include.query", "the relay publishes rows only"),
    ("snapshot.", "the relay takes no snapshot"),
    ("signal.", "the relay takes no signals"),
    ("incremental.snapshot", "the relay takes no snapshot"),
    ("read.only", "the relay never writes to MySQL"),
    (
        "heartbeat.",
        "the relay's position moves without heartbeat records; heartbeat in [mysql] is another thing",
    ),
    ("tombstones.on.delete", "deletes are ignored"),
    ("skipped.operations", "only inserts are relayed"),
    ("provide.transaction.metadata", "relay-sequence is in the order of the transactions"),
    ("max.batch.size", "[batch] max_records and max_bytes"),
    ("max.queue.size", "[batch] max_records and max_bytes"),
    ("poll.interval.ms", "the relay does not poll"),
    ("connect.", "the relay reconnects by itself"),
    ("errors.", "the relay halts, with a hint, unless on_error = \"dead-letter\""),
    ("event.processing.failure.handling.mode", "the relay halts at an event that it cannot read"),
    ("inconsistent.schema.handling.mode", "the relay halts at an event that it cannot read"),
    ("exactly.once.support", "delivery = \"exactly-once\""),
    ("transaction.boundary", "a Kafka transaction has whole MySQL transactions"),
    ("decimal.handling.mode", "a DECIMAL is its digits"),
    ("time.precision.mode", "dates and times are MySQL's text"),
    ("bigint.unsigned.handling.mode", "a BIGINT UNSIGNED is its digits"),
    ("binary.handling.mode", "bytes are base64 in text, and as they are as a whole value"),
    ("extended.headers.enabled", "the headers __debezium.context.* are not written"),
    ("database.connectionTimeZone", "a TIMESTAMP is written in UTC"),
    ("topic.naming.strategy", "the topic is that of [[outbox]]"),
];

/// The same, of options that need a decision.
const DECISIONS: [(&str, &str); 12] = [
    ("table.exclude.list", "remove each [[outbox]] whose table it leaves out"),
    ("database.exclude.list", "remove each [[outbox]] whose table it leaves out"),
    ("column.", "name the columns in key, value and headers; nothing else leaves the database"),
    ("message.key.columns", "the key is that of [[outbox]]"),
    ("gtid.source.", "the relay reads all transactions of its server"),
    ("producer.override.", "set librdkafka's property of this name in [kafka.properties]"),
    ("sink.kafka.producer.", "set librdkafka's property of this name in [kafka.properties]"),
    (
        "topic.creation.",
        "create the topics yourself, or set topic_partitions and topic_replication in [kafka]",
    ),
    ("predicates.", "the relay has no predicates: choose the rows with where"),
    ("converters", "columns are written as MySQL's CAST writes them"),
    ("database.jdbc", "the relay has its own connection: hosts, [mysql.tls]"),
    ("driver.", "the relay has its own connection: hosts, [mysql.tls]"),
];

/// Names what was not used.
pub fn leave_rest(settings: &mut Settings, draft: &mut Draft) {
    for (name, value) in settings.unused() {
        let option = format!("{name}{}", shown(name, value));
        let find = |known: &[(&str, &'static str)]| {
            known.iter().find(|(start, _)| name.starts_with(start)).map(|(_, what)| *what)
        };
        if name == "predicates" {
            continue;
        }
        match (find(&NEEDLESS), find(&DECISIONS)) {
            (Some(what), _) => draft.leave(&option, what),
            (None, Some(what)) => draft.leave_todo(&option, what),
            (None, None) => draft.leave_todo(&option, "the relay does not know this option"),
        }
    }
}
