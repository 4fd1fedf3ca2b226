//! The table of all keys: where each stands and what it is when it is not written.
//!
//! Unknown keys are found with it, defaults are read from it, and a test holds config.example.toml
//! against it, so that the three cannot drift apart.

use Absent::{Default, Later, Nothing, Required};

/// What a key is when it is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// An error, which shows this example.
    Required(&'static str),
    /// This value, written as TOML.
    Default(&'static str),
    /// Nothing: what follows from that is said in config.example.toml.
    Nothing,
    /// The key comes in a later version; to write it is an error.
    Later,
}

/// One key of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// The section, empty for the top of the file.
    pub section: &'static str,
    pub name: &'static str,
    pub absent: Absent,
}

impl Key {
    /// The key as messages and `--set` write it, but without the index of a list.
    pub(super) fn path(&self) -> String {
        join(self.section, self.name)
    }
}

const fn key(section: &'static str, name: &'static str, absent: Absent) -> Key {
    Key { section, name, absent }
}

/// Every key, in the order of config.example.toml.
pub(super) const KEYS: [Key; 66] = [
    key("", "name", Required(r#"name = "orders""#)),
    key("", "shutdown_timeout", Default(r#""10s""#)),
    key("mysql", "hosts", Required(r#"hosts = ["127.0.0.1:3306"] under [mysql]"#)),
    key("mysql", "user", Required(r#"user = "relay" under [mysql]"#)),
    key("mysql", "password", Default(r#""""#)),
    key("mysql", "start_from", Nothing),
    key("mysql", "server_id", Nothing),
    key("mysql", "heartbeat", Default(r#""1s""#)),
    key("mysql", "role", Later),
    key("mysql", "failover_after", Later),
    key("mysql", "on_gap", Later),
    key("mysql", "binlog_archive", Later),
    key("mysql", "snapshot_order_by", Later),
    key("mysql.tls", "mode", Default(r#""preferred""#)),
    key("mysql.tls", "ca", Nothing),
    key("mysql.tls", "cert", Nothing),
    key("mysql.tls", "key", Nothing),
    key(
        "kafka",
        "bootstrap_servers",
        Required(r#"bootstrap_servers = "127.0.0.1:9092" under [kafka]"#),
    ),
    key("kafka", "delivery", Default(r#""exactly-once""#)),
    key("kafka", "checkpoint_topic", Default(r#""offset.storage.topic""#)),
    key("kafka", "checkpoint_key", Nothing),
    key("kafka", "transaction_timeout", Default(r#""30s""#)),
    key("kafka", "create_topics", Default("true")),
    key("kafka", "topic_partitions", Nothing),
    key("kafka", "topic_replication", Nothing),
    key("kafka", "topics_max", Default("10000")),
    key("kafka", "chain", Later),
    key("kafka", PROPERTIES, Nothing),
    key("batch", "max_records", Default("10000")),
    key("batch", "max_bytes", Default(r#""16MiB""#)),
    key("", OUTBOX, Required("an [[outbox]] section with table and preset")),
    key(OUTBOX, "table", Required(r#"table = "eventuate.events" under [[outbox]]"#)),
    key(OUTBOX, "preset", Required(r#"preset = "eventuate-local" under [[outbox]]"#)),
    key(OUTBOX, "outbox_id", Nothing),
    key(OUTBOX, "columns", Nothing),
    key(OUTBOX, "topic", Nothing),
    key(OUTBOX, "key", Nothing),
    key(OUTBOX, "key_null", Nothing),
    key(OUTBOX, "value", Nothing),
    key(OUTBOX, "value_null", Nothing),
    key(OUTBOX, "headers", Nothing),
    key(OUTBOX, "partition", Nothing),
    key(OUTBOX, "timestamp", Nothing),
    key(OUTBOX, "where", Nothing),
    key(OUTBOX, "on_update", Nothing),
    key(OUTBOX, "on_delete", Nothing),
    key(OUTBOX, "on_error", Nothing),
    key(OUTBOX, "oversize", Nothing),
    key(OUTBOX, "dead_letter_topic", Nothing),
    key("outbox.json", "include", Nothing),
    key("outbox.json", "exclude", Nothing),
    key("outbox.json", "decimal", Default(r#""string""#)),
    key("outbox.json", "binary", Default(r#""base64""#)),
    key("outbox.cloudevents", "mode", Default(r#""binary""#)),
    key("outbox.cloudevents", "id", Nothing),
    key("outbox.cloudevents", "source", Nothing),
    key("outbox.cloudevents", "type", Nothing),
    key("outbox.cloudevents", "subject", Nothing),
    key("outbox.cloudevents", "time", Nothing),
    key("outbox.cloudevents", "datacontenttype", Nothing),
    key("outbox.cloudevents", "dataschema", Nothing),
    key("outbox.cloudevents", "data", Nothing),
    key("http", "listen", Nothing),
    key("http", "reload", Default("false")),
    key("ha", "enabled", Later),
    key("ha", "election", Later),
];

/// The one section that may stand several times.
pub(super) const OUTBOX: &str = "outbox";

/// The one section whose keys are librdkafka's.
pub(super) const PROPERTIES: &str = "properties";

/// Keys whose value is a list.
pub(super) fn is_list(path: &str) -> bool {
    matches!(path, OUTBOX | "mysql.hosts")
}

/// A section's name and a key's.
pub(super) fn join(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        _ => format!("{section}.{name}"),
    }
}

/// The entry of a key. The key must be in the table: it is the code that asks, not the file.
pub(super) fn known(section: &str, name: &str) -> Key {
    let is_it = |key: &&Key| key.section == section && key.name == name;
    *KEYS.iter().find(is_it).expect("the code asks for keys of the table only")
}
