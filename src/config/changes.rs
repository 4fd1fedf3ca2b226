//! What differs between the configuration of a running relay and the one that its file has now.
//!
//! Two configurations enter. What a running relay takes over leaves, key by key, and what it can only take over at a
//! start. Every field is named here, so that a new one does not compile until somebody has decided.

use crate::checkpoint::CheckpointOptions;
use crate::config::Config;
use crate::http::HttpOptions;
use crate::outbox::OutboxOptions;
use crate::sink::kafka::connection::KafkaOptions;
use crate::sink::kafka::topics::TopicOptions;
use crate::sink::kafka::{Kafka, PublishOptions};
use crate::{batch, binlog};

/// What differs, in the order of config.example.toml.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys, and tables of `[[outbox]]`, that a running relay takes over.
    pub reloadable: Vec<String>,
    /// Keys that a relay reads at its start only: those that say which relay it is, where it reads and writes, and by
    /// which rules.
    pub restart_only: Vec<String>,
}

impl Changes {
    /// What differs in `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Changes {
        let mut changes = Changes::default();
        let Config {
            // Of one process, these two stay.
            file: _,
            is_overridden: _,
            name,
            shutdown_timeout,
            start_from,
            mysql,
            mysql_password,
            kafka,
            outbox,
            http,
        } = old;
        changes.restart("name", *name == new.name);
        changes.reload("shutdown_timeout", *shutdown_timeout == new.shutdown_timeout);
        changes.of_mysql(mysql, &new.mysql);
        changes.reload("mysql.password", *mysql_password == new.mysql_password);
        changes.reload("mysql.start_from", *start_from == new.start_from);
        changes.of_kafka(kafka, &new.kafka);
        changes.of_outboxes(outbox, &new.outbox);
        changes.of_http(http.as_ref(), new.http.as_ref());
        changes
    }

    /// Nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reloadable.is_empty() && self.restart_only.is_empty()
    }

    fn reload(&mut self, key: &str, is_same: bool) {
        if !is_same {
            self.reloadable.push(key.to_owned());
        }
    }

    fn restart(&mut self, key: &str, is_same: bool) {
        if !is_same {
            self.restart_only.push(key.to_owned());
        }
    }

    fn of_mysql(&mut self, old: &binlog::MysqlOptions, new: &binlog::MysqlOptions) {
        // The password cannot be compared. Where it comes from can.
        let binlog::MysqlOptions { host, port, user, password: _, server_id, heartbeat, tls } = old;
        self.restart("mysql.hosts", (host, port) == (&new.host, &new.port));
        self.restart("mysql.server_id", *server_id == new.server_id);
        self.reload("mysql.user", *user == new.user);
        self.reload("mysql.heartbeat", *heartbeat == new.heartbeat);
        self.reload("mysql.tls", *tls == new.tls);
    }

    fn of_kafka(&mut self, old: &Kafka, new: &Kafka) {
        let Kafka { connection, topics, checkpoint, publish, limits } = old;
        let KafkaOptions { bootstrap_servers, properties } = connection;
        self.restart(
            "kafka.bootstrap_servers",
            *bootstrap_servers == new.connection.bootstrap_servers,
        );
        // `publish.name` is the relay's.
        let PublishOptions { name: _, transaction_timeout, delivery } = publish;
        self.restart("kafka.delivery", *delivery == new.publish.delivery);
        let CheckpointOptions { topic, key } = checkpoint;
        self.restart("kafka.checkpoint_topic", *topic == new.checkpoint.topic);
        self.restart("kafka.checkpoint_key", *key == new.checkpoint.key);
        self.restart(
            "kafka.transaction_timeout",
            *transaction_timeout == new.publish.transaction_timeout,
        );
        // The topics of dead letters are those of the outboxes.
        let TopicOptions {
            create,
            partitions,
            replication,
            topics_max,
            delivery: _,
            dead_letter_topics: _,
        } = topics;
        self.reload("kafka.create_topics", *create == new.topics.create);
        self.reload("kafka.topic_partitions", *partitions == new.topics.partitions);
        self.reload("kafka.topic_replication", *replication == new.topics.replication);
        self.reload("kafka.topics_max", *topics_max == new.topics.topics_max);
        let names = properties.keys().chain(new.connection.properties.keys());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let is_same = properties.get(name) == new.connection.properties.get(name);
            self.restart(&format!("kafka.properties.{name}"), is_same);
        }
        let batch::Limits { records_max, bytes_max } = limits;
        self.reload("batch.max_records", *records_max == new.limits.records_max);
        self.reload("batch.max_bytes", *bytes_max == new.limits.bytes_max);
    }

    /// The order of the sections says nothing.
    fn of_outboxes(&mut self, old: &[OutboxOptions], new: &[OutboxOptions]) {
        let of_table = |outboxes: &[OutboxOptions], wanted: &OutboxOptions| {
            outboxes.iter().find(|outbox| outbox.table == wanted.table).cloned()
        };
        for outbox in old {
            let what = match of_table(new, outbox) {
                None => "removed",
                Some(new) if new != *outbox => "changed",
                Some(_) => continue,
            };
            self.reloadable.push(format!("outbox {} {what}", outbox.table));
        }
        for outbox in new.iter().filter(|outbox| of_table(old, outbox).is_none()) {
            self.reloadable.push(format!("outbox {} added", outbox.table));
        }
    }

    fn of_http(&mut self, old: Option<&HttpOptions>, new: Option<&HttpOptions>) {
        let listen = |http: Option<&HttpOptions>| http.map(|http| http.listen.clone());
        let reload = |http: Option<&HttpOptions>| http.is_some_and(|http| http.reload);
        self.restart("http.listen", listen(old) == listen(new));
        self.restart("http.reload", reload(old) == reload(new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str, overrides: &[&str]) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let overrides: Vec<_> = overrides.iter().map(|it| (*it).to_owned()).collect();
        Config::load(file.path(), &overrides).unwrap()
    }

    const BASE: &str = r#"name = "orders"
[mysql]
hosts = ["db:3306"]
user = "relay"
password = "secret"
[kafka]
bootstrap_servers = "kafka:9092"
[[outbox]]
table = "a.b"
preset = "outbox"
[[outbox]]
table = "a.c"
preset = "outbox"
"#;

    fn changed_by(overrides: &[&str]) -> (String, String) {
        let changes = Changes::between(&config(BASE, &[]), &config(BASE, overrides));
        (changes.reloadable.join(", "), changes.restart_only.join(", "))
    }

    #[test]
    fn every_key_is_either_taken_over_or_needs_a_restart() {
        for (given, key) in [
            ("shutdown_timeout=11s", "shutdown_timeout"),
            ("mysql.user=other", "mysql.user"),
            ("mysql.password=other", "mysql.password"),
            ("mysql.start_from=earliest", "mysql.start_from"),
            ("mysql.heartbeat=2s", "mysql.heartbeat"),
            ("mysql.tls.mode=required", "mysql.tls"),
            ("kafka.create_topics=false", "kafka.create_topics"),
            ("kafka.topic_partitions=3", "kafka.topic_partitions"),
            ("kafka.topic_replication=3", "kafka.topic_replication"),
            ("kafka.topics_max=3", "kafka.topics_max"),
            ("batch.max_records=3", "batch.max_records"),
            ("batch.max_bytes=4KiB", "batch.max_bytes"),
            ("outbox.0.topic=t", "outbox a.b changed"),
            ("outbox.0.table=a.d", "outbox a.b removed, outbox a.d added"),
        ] {
            assert_eq!(changed_by(&[given]), (key.to_owned(), String::new()), "{given}");
        }
        for (given, key) in [
            // The key of the checkpoint is the relay's name.
            ("name=other", "name, kafka.checkpoint_key"),
            ("mysql.hosts.0=db2:3306", "mysql.hosts"),
            ("mysql.server_id=7", "mysql.server_id"),
            ("kafka.bootstrap_servers=kafka2:9092", "kafka.bootstrap_servers"),
            ("kafka.delivery=idempotent", "kafka.delivery"),
            ("kafka.checkpoint_topic=other", "kafka.checkpoint_topic"),
            ("kafka.checkpoint_key=other", "kafka.checkpoint_key"),
            ("kafka.transaction_timeout=31s", "kafka.transaction_timeout"),
            ("kafka.properties.linger.ms=7", "kafka.properties.linger.ms"),
            ("http.listen=127.0.0.1:1", "http.listen"),
        ] {
            assert_eq!(changed_by(&[given]), (String::new(), key.to_owned()), "{given}");
        }
    }

    #[test]
    fn what_is_only_written_otherwise_is_no_change() {
        for given in ["mysql.heartbeat=1000ms", "batch.max_bytes=16777216", "http.reload=false"] {
            assert_eq!(changed_by(&[given]), (String::new(), String::new()), "{given}");
        }
        let (head, outboxes) = BASE.split_once("[[outbox]]").unwrap();
        let (first, second) = outboxes.split_once("[[outbox]]").unwrap();
        let turned = format!("{head}[[outbox]]{second}[[outbox]]{first}");
        assert!(Changes::between(&config(BASE, &[]), &config(&turned, &[])).is_empty());
    }
}
