//! The configuration file: its defaults, its bounds, its rules.
//!
//! A TOML file and the `--set` options of the command line enter. A [`Config`] leaves that is valid by construction:
//! each room gets only options that it can work with. Anything else is an [`Error`] that names the place, the key, what
//! was expected and what to do. This makes no connection and no look-up.

mod error;
mod first_start;
mod keys;
mod outbox;
mod properties;
mod read;
mod tree;
mod unknown;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use error::Error;
pub use first_start::{FirstStart, OffsetsOf};

use crate::checkpoint::{CheckpointOptions, NAME_LENGTH_MAX};
use crate::coordinates;
use crate::delivery::Delivery;
use crate::http::HttpOptions;
use crate::outbox::OutboxOptions;
use crate::secret::{Environment, environment};
use crate::sink::kafka::connection::{ClientError, KafkaOptions};
use crate::sink::kafka::topics::TopicOptions;
use crate::sink::kafka::{Kafka, PublishOptions};
use crate::{batch, binlog};
use read::{Field, Section};

/// Longest name of a Kafka topic (`org.apache.kafka.common.internals.Topic`).
const TOPIC_LENGTH_MAX: usize = 249;

/// With a shorter time no drain would finish. With a longer one, a supervisor kills us earlier.
const SHUTDOWN_TIMEOUT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3600));

/// Below 100 ms, heartbeats cost packets and tell nothing more. A dead connection is noticed after three heartbeats, so
/// more than a minute is too long.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Below a second a busy broker aborts sound transactions; above 15 minutes brokers refuse it
/// (their `transaction.max.timeout.ms` is 900000 by default).
const TRANSACTION_TIMEOUT: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(900));

/// A Kafka transaction of a million records takes seconds. More would gain nothing, and hold up readers.
const RECORDS_MAX: usize = 1_000_000;

/// Below 1 KiB hardly any record fits. Two batches are in memory, so more than 1 GiB is a mistake.
const BATCH_BYTES: (usize, usize) = (1 << 10, 1 << 30);

/// The most partitions that a Kafka controller creates by one request.
const PARTITIONS_MAX: i32 = 10_000;

/// A cluster has at most some millions of partitions, and a topic at least one.
const TOPICS_MAX: usize = 1_000_000;

/// The replication factor is 16 bits wide in Kafka's protocol.
const REPLICATION_MAX: i32 = i16::MAX as i32;

/// The configuration of a relay. Every value is within its bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, by the given name.
    pub file: Arc<str>,
    /// Some of its keys were overridden on the command line.
    pub is_overridden: bool,
    /// Name of the relay: 1 to 100 characters of `[A-Za-z0-9._-]`.
    pub name: String,
    /// How long a drain may take after the first SIGTERM.
    pub shutdown_timeout: Duration,
    /// `None` is an error only if there is no checkpoint.
    pub start_from: Option<FirstStart>,
    pub mysql: binlog::MysqlOptions,
    pub kafka: Kafka,
    /// At least one; no two are sure to match one table.
    pub outbox: Vec<OutboxOptions>,
    /// `None`: no HTTP.
    pub http: Option<HttpOptions>,
}

impl Config {
    /// Reads the file, writes each `key=value` of `overrides` over it, and takes `${NAME}` from the
    /// environment of this process.
    ///
    /// # Errors
    /// The first problem.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), overrides, &environment)
    }

    /// The same from a text; `file` is its name in messages.
    pub(crate) fn parse(
        text: &str,
        file: &str,
        overrides: &[String],
        environment: Environment<'_>,
    ) -> Result<Self, Error> {
        let file: Arc<str> = file.into();
        let mut tree = tree::parse(text, &file)?;
        for given in overrides {
            tree::apply_override(&mut tree, given)?;
        }
        if let Some(error) = unknown::find_first(&tree) {
            return Err(error);
        }
        let root = Section::root(&tree, &file, environment);
        Self::build(&root, file.clone(), !overrides.is_empty())
    }

    fn build(root: &Section<'_>, file: Arc<str>, is_overridden: bool) -> Result<Self, Error> {
        let (mysql, kafka) = (root.section("mysql")?, root.section("kafka")?);
        let name = root.field("name")?.identifier(NAME_LENGTH_MAX)?;
        let delivery = kafka.field("delivery")?.one_of(&[
            ("exactly-once", Delivery::ExactlyOnce),
            ("idempotent", Delivery::Idempotent),
        ])?;
        let timeout = kafka.field("transaction_timeout")?.duration(bounds(TRANSACTION_TIMEOUT))?;
        Ok(Self {
            shutdown_timeout: root.field("shutdown_timeout")?.duration(bounds(SHUTDOWN_TIMEOUT))?,
            start_from: mysql.optional("start_from").map(build_start_from).transpose()?,
            mysql: build_mysql(&mysql, &root.section("mysql.tls")?)?,
            kafka: Kafka {
                connection: build_connection(&kafka, &root.section("kafka.properties")?, timeout)?,
                topics: build_topics(&kafka, delivery)?,
                checkpoint: build_checkpoint(&kafka, &name)?,
                publish: PublishOptions {
                    name: name.clone(),
                    transaction_timeout: timeout,
                    delivery,
                },
                limits: build_batch(&root.section("batch")?)?,
            },
            outbox: outbox::build_outboxes(root)?,
            http: build_http(&root.section("http")?)?,
            name,
            file,
            is_overridden,
        })
    }

    /// A command of this program with this configuration, quoted for a shell. Overrides may hold secrets, so they are
    /// only mentioned.
    pub fn shell_command(&self, command: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
        let file = if self.file.chars().all(is_plain) {
            self.file.to_string()
        } else {
            format!("'{}'", self.file.replace('\'', r"'\''"))
        };
        let before = if self.is_overridden { "with the same --set as now, " } else { "" };
        format!("{before}binlog-relay {command} --config {file}")
    }
}

fn bounds<T>((least, most): (T, T)) -> std::ops::RangeInclusive<T> {
    least..=most
}

fn build_start_from(field: Field<'_>) -> Result<FirstStart, Error> {
    field.text()?.parse().map_err(|error| match error {
        first_start::Error::At(coordinates::Error::SnapshotNotInThisVersion) => {
            field.not_in_this_version()
        }
        error => field.rule(
            error,
            "write earliest, latest, \"binlog.000012:4711\", \"gtid:<set>\" or \"debezium:<offset topic>/<connector>\"",
        ),
    })
}

fn build_connection(
    kafka: &Section<'_>,
    properties: &Section<'_>,
    transaction_timeout: Duration,
) -> Result<KafkaOptions, Error> {
    let options = KafkaOptions {
        bootstrap_servers: build_bootstrap_servers(&kafka.field("bootstrap_servers")?)?,
        properties: properties::build(properties, transaction_timeout)?,
    };
    options.validate().map_err(|error| {
        let named = properties.entries().find(|(property, _)| {
            matches!(&error, ClientError::Property { name, .. } if name == property)
        });
        let place = named.as_ref().map_or(properties.place(), |(_, field)| field.place());
        Error::Properties { place: place.clone(), source: Box::new(error) }
    })?;
    Ok(options)
}

fn build_mysql(mysql: &Section<'_>, tls: &Section<'_>) -> Result<binlog::MysqlOptions, Error> {
    let hosts = mysql.field("hosts")?;
    let items = hosts.items()?;
    if items.len() > 1 {
        return Err(Error::NotInThisVersion {
            place: mysql.place().clone(),
            what: "more than one host in mysql.hosts".to_owned(),
        });
    }
    let (host, port) = build_host(&items[0])?;
    let server_id =
        mysql.optional("server_id").map(|field| field.number(1..=u32::MAX)).transpose()?;
    Ok(binlog::MysqlOptions {
        host,
        port,
        user: mysql.field("user")?.some_text()?,
        password: mysql.field("password")?.secret()?.into(),
        server_id: server_id.and_then(NonZeroU32::new),
        heartbeat: mysql.field("heartbeat")?.duration(bounds(HEARTBEAT))?,
        tls: build_tls(tls)?,
    })
}

/// `host`, `host:port`, or `[address]:port` where the address has colons.
fn build_host(field: &Field<'_>) -> Result<(String, u16), Error> {
    const PORT: u16 = 3306;
    let text = field.text()?;
    let unexpected =
        || field.unexpected("host:port, such as \"db.example.org:3306\" or \"[::1]:3306\"");
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, port)) => (address, port),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        None if port.is_empty() => Some(PORT),
        _ => None,
    };
    let is_name = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    match port {
        Some(port) if port > 0 && is_name => Ok((host.to_owned(), port)),
        _ => Err(unexpected()),
    }
}

fn build_tls(tls: &Section<'_>) -> Result<binlog::TlsOptions, Error> {
    use binlog::TlsMode::{Disabled, Preferred, Required, VerifyCa, VerifyIdentity};
    let mode_field = tls.field("mode")?;
    let mode = mode_field.one_of(&[
        ("disabled", Disabled),
        ("preferred", Preferred),
        ("required", Required),
        ("verify_ca", VerifyCa),
        ("verify_identity", VerifyIdentity),
    ])?;
    let path = |name| tls.optional(name).map(|field| field.path()).transpose();
    let options =
        binlog::TlsOptions { mode, ca: path("ca")?, cert: path("cert")?, key: path("key")? };
    if matches!(mode, VerifyCa | VerifyIdentity) && options.ca.is_none() {
        return Err(mode_field.rule(
            "there is nothing to verify the server's certificate with",
            "set ca under [mysql.tls] to the PEM file of the authority; the system's own are not used",
        ));
    }
    if options.cert.is_some() != options.key.is_some() {
        let (there, missing) =
            if options.cert.is_some() { ("cert", "key") } else { ("key", "cert") };
        return Err(tls.field(there)?.rule(
            format!("it is of no use without {missing}"),
            "set both cert and key, or neither",
        ));
    }
    Ok(options)
}

/// librdkafka checks the addresses themselves; it takes a host without port and `protocol://` before.
fn build_bootstrap_servers(field: &Field<'_>) -> Result<String, Error> {
    let text = field.text()?;
    let servers: Vec<_> = text.split(',').map(str::trim).collect();
    if servers.iter().any(|server| server.is_empty() || server.contains(char::is_whitespace)) {
        Err(field.unexpected("host:port, several separated by commas"))
    } else {
        Ok(servers.join(","))
    }
}

fn build_topics(kafka: &Section<'_>, delivery: Delivery) -> Result<TopicOptions, Error> {
    let number = |name, most| kafka.optional(name).map(|field| field.number(1..=most)).transpose();
    Ok(TopicOptions {
        create: kafka.field("create_topics")?.boolean()?,
        partitions: number("topic_partitions", PARTITIONS_MAX)?,
        replication: number("topic_replication", REPLICATION_MAX)?,
        topics_max: kafka.field("topics_max")?.number(1..=TOPICS_MAX)?,
        delivery,
    })
}

fn build_checkpoint(kafka: &Section<'_>, name: &str) -> Result<CheckpointOptions, Error> {
    let topic_field = kafka.field("checkpoint_topic")?;
    let topic = topic_field.identifier(TOPIC_LENGTH_MAX)?;
    if matches!(topic.as_str(), "." | "..") {
        return Err(topic_field.unexpected("a name that is legal for a Kafka topic"));
    }
    let key = kafka.optional("checkpoint_key").map(|field| field.some_text()).transpose()?;
    Ok(CheckpointOptions { topic, key: key.unwrap_or_else(|| name.to_owned()) })
}

fn build_batch(batch: &Section<'_>) -> Result<batch::Limits, Error> {
    let records_max: u32 = batch.field("max_records")?.number(1..=RECORDS_MAX as u32)?;
    Ok(batch::Limits {
        records_max: records_max as usize,
        bytes_max: batch.field("max_bytes")?.size(bounds(BATCH_BYTES))?,
    })
}

fn build_http(section: &Section<'_>) -> Result<Option<HttpOptions>, Error> {
    let Some(listen) = section.optional("listen") else { return Ok(None) };
    let unexpected = || listen.unexpected("host:port, such as \"127.0.0.1:8080\" or \"[::]:8080\"");
    let text = listen.text()?;
    let (host, port) = text.rsplit_once(':').ok_or_else(unexpected)?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(_) if is_port && !host.is_empty() && !host.contains(char::is_whitespace) => {
            Ok(Some(HttpOptions { listen: text }))
        }
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests;
