//! The configuration file: its defaults, its bounds, its rules.
//!
//! A TOML file and the `--set` options of the command line enter. A [`Config`] leaves that is valid by construction:
//! each room gets only options that it can work with. Anything else is an [`Error`] that names the place, the key, what
//! was expected and what to do; all of them are told at once. This makes no connection and no look-up.

mod changes;
mod error;
mod fallback;
mod first_start;
mod keys;
mod outbox;
mod properties;
mod read;
mod tree;
mod unknown;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use changes::Changes;
pub use error::Error;
use error::Problems;
pub use first_start::{FirstStart, OffsetsOf};

use self::fallback::OfRelay;
use crate::checkpoint::{CheckpointOptions, NAME_LENGTH_MAX};
use crate::coordinates;
use crate::delivery::Delivery;
use crate::http::{HttpOptions, UNIX};
use crate::outbox::OutboxOptions;
use crate::secret::{Environment, Secret, environment};
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

/// `sun_path` of unix(7), less its last byte.
const SOCKET_PATH_MAX: usize = 107;

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
    /// Where the password of `mysql` comes from.
    mysql_password: Secret,
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
    /// All problems that can be found at once ([`Error::each`]).
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
        let problems = Problems::default();
        let (mut tree, not_toml) = tree::parse(text, &file);
        not_toml.into_iter().for_each(|error| problems.push(error));
        for given in overrides {
            problems.keep(tree::apply_override(&mut tree, given));
        }
        unknown::find_all(&tree).into_iter().for_each(|error| problems.push(error));
        let root = Section::root(&tree, &file, environment, &problems);
        let built = Self::build(&root, file.clone(), !overrides.is_empty());
        match problems.into_error() {
            Some(error) => Err(error),
            None => Ok(built.expect("what is not built is a problem")),
        }
    }

    fn build(root: &Section<'_>, file: Arc<str>, is_overridden: bool) -> Option<Self> {
        let (mysql, kafka) = (root.section("mysql"), root.section("kafka"));
        let name = root.read("name", |field| field.identifier(NAME_LENGTH_MAX));
        let shutdown_timeout =
            root.read("shutdown_timeout", |field| field.duration(bounds(SHUTDOWN_TIMEOUT)));
        let start_from = mysql.read_optional("start_from", build_start_from);
        let mysql_password = mysql.field("password").and_then(|field| field.secret()).ok();
        let mysql = build_mysql(&mysql, &root.section("mysql.tls"));
        let kafka = build_kafka(root, &kafka, name.as_deref());
        let checkpoint_topic = kafka.as_ref().map(|kafka| &*kafka.checkpoint.topic);
        let relay = OfRelay { name: name.as_deref(), checkpoint_topic };
        let outbox = outbox::build_outboxes(root, relay);
        let http = build_http(&root.section("http"));
        let (mut kafka, outbox) = (kafka?, outbox?);
        kafka.topics.dead_letter_topics = crate::outbox::dead_letter_topics(&outbox);
        Some(Self {
            shutdown_timeout: shutdown_timeout?,
            start_from: start_from?,
            mysql: mysql?,
            mysql_password: mysql_password?,
            kafka,
            outbox,
            http: http?,
            name: name?,
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

fn build_start_from(field: &Field<'_>) -> Result<FirstStart, Error> {
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

fn build_kafka(root: &Section<'_>, kafka: &Section<'_>, name: Option<&str>) -> Option<Kafka> {
    let delivery = kafka.read("delivery", |field| {
        field.one_of(&[
            ("exactly-once", Delivery::ExactlyOnce),
            ("idempotent", Delivery::Idempotent),
        ])
    });
    let timeout =
        kafka.read("transaction_timeout", |field| field.duration(bounds(TRANSACTION_TIMEOUT)));
    let connection = build_connection(kafka, &root.section("kafka.properties"), timeout);
    let topics = build_topics(kafka, delivery);
    let checkpoint = build_checkpoint(kafka, name);
    let limits = build_batch(&root.section("batch"));
    Some(Kafka {
        connection: connection?,
        topics: topics?,
        checkpoint: checkpoint?,
        publish: PublishOptions {
            name: name?.to_owned(),
            transaction_timeout: timeout?,
            delivery: delivery?,
        },
        limits: limits?,
    })
}

fn build_connection(
    kafka: &Section<'_>,
    properties: &Section<'_>,
    transaction_timeout: Option<Duration>,
) -> Option<KafkaOptions> {
    let servers = kafka.read("bootstrap_servers", build_bootstrap_servers);
    // A time that is wrong is a problem of its own: the properties are held against any that would be right.
    let timeout = transaction_timeout.unwrap_or(TRANSACTION_TIMEOUT.1);
    let built = properties::build(properties, timeout);
    let options = KafkaOptions { bootstrap_servers: servers?, properties: built? };
    properties.keep(options.validate().map_err(|error| {
        let named = properties.entries().find(|(property, _)| {
            matches!(&error, ClientError::Property { name, .. } if name == property)
        });
        let place = named.as_ref().map_or(properties.place(), |(_, field)| field.place());
        Error::Properties { place: place.clone(), source: Box::new(error) }
    }))?;
    Some(options)
}

fn build_mysql(mysql: &Section<'_>, tls: &Section<'_>) -> Option<binlog::MysqlOptions> {
    let host = mysql.read("hosts", |hosts| {
        let items = hosts.items()?;
        if items.len() > 1 {
            return Err(Error::NotInThisVersion {
                place: mysql.place().clone(),
                what: "more than one host in mysql.hosts".to_owned(),
            });
        }
        build_host(&items[0])
    });
    let user = mysql.read("user", Field::some_text);
    let password = mysql.read("password", Field::secret);
    let server_id = mysql.read_optional("server_id", |field| field.number(1..=u32::MAX));
    let heartbeat = mysql.read("heartbeat", |field| field.duration(bounds(HEARTBEAT)));
    let tls = build_tls(tls);
    let (host, port) = host?;
    Some(binlog::MysqlOptions {
        host,
        port,
        user: user?,
        password: password?.into(),
        server_id: server_id?.and_then(NonZeroU32::new),
        heartbeat: heartbeat?,
        tls: tls?,
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

fn build_tls(tls: &Section<'_>) -> Option<binlog::TlsOptions> {
    use binlog::TlsMode::{Disabled, Preferred, Required, VerifyCa, VerifyIdentity};
    let mode = tls.read("mode", |field| {
        field.one_of(&[
            ("disabled", Disabled),
            ("preferred", Preferred),
            ("required", Required),
            ("verify_ca", VerifyCa),
            ("verify_identity", VerifyIdentity),
        ])
    });
    let [ca, cert, key] = ["ca", "cert", "key"].map(|name| tls.read_optional(name, Field::path));
    if matches!(mode, Some(VerifyCa | VerifyIdentity)) && ca == Some(None) {
        tls.keep::<()>(tls.field("mode").and_then(|field| {
            Err(field.rule(
                "there is nothing to verify the server's certificate with",
                "set ca under [mysql.tls] to the PEM file of the authority; the system's own are not used",
            ))
        }));
    }
    if let (Some(cert), Some(key)) = (&cert, &key)
        && cert.is_some() != key.is_some()
    {
        let (there, missing) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
        tls.keep::<()>(tls.field(there).and_then(|field| {
            Err(field.rule(
                format!("it is of no use without {missing}"),
                "set both cert and key, or neither",
            ))
        }));
    }
    Some(binlog::TlsOptions { mode: mode?, ca: ca?, cert: cert?, key: key? })
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

fn build_topics(kafka: &Section<'_>, delivery: Option<Delivery>) -> Option<TopicOptions> {
    let number = |name, most| kafka.read_optional(name, |field| field.number(1..=most));
    let create = kafka.read("create_topics", Field::boolean);
    let partitions = number("topic_partitions", PARTITIONS_MAX);
    let replication = number("topic_replication", REPLICATION_MAX);
    let topics_max = kafka.read("topics_max", |field| field.number(1..=TOPICS_MAX));
    Some(TopicOptions {
        create: create?,
        partitions: partitions?,
        replication: replication?,
        topics_max: topics_max?,
        delivery: delivery?,
        dead_letter_topics: Vec::new(),
    })
}

fn build_checkpoint(kafka: &Section<'_>, name: Option<&str>) -> Option<CheckpointOptions> {
    let topic =
        kafka.read("checkpoint_topic", |field| match field.identifier(TOPIC_LENGTH_MAX)? {
            topic if matches!(topic.as_str(), "." | "..") => {
                Err(field.unexpected("a name that is legal for a Kafka topic"))
            }
            topic => Ok(topic),
        });
    let key = kafka.read_optional("checkpoint_key", Field::some_text);
    Some(CheckpointOptions {
        topic: topic?,
        key: match key? {
            Some(key) => key,
            None => name?.to_owned(),
        },
    })
}

fn build_batch(batch: &Section<'_>) -> Option<batch::Limits> {
    let records_max = batch.read("max_records", |field| field.number(1..=RECORDS_MAX as u32));
    let bytes_max = batch.read("max_bytes", |field| field.size(bounds(BATCH_BYTES)));
    Some(batch::Limits { records_max: records_max? as usize, bytes_max: bytes_max? })
}

fn build_http(section: &Section<'_>) -> Option<Option<HttpOptions>> {
    let listen = section.read_optional("listen", read_listen);
    let reload = section.read("reload", |field| match (&listen, field.boolean()?) {
        (Some(None), true) => Err(field.rule(
            "without listen, nothing is asked by HTTP",
            "set listen under [http] to 127.0.0.1:PORT or unix:/path, or send SIGHUP instead",
        )),
        (Some(Some((listen, Reach::Network))), true) => Err(field.rule(
            format!("whoever reaches {listen} could have the configuration read again"),
            "set listen to 127.0.0.1:PORT, [::1]:PORT or unix:/path, or send SIGHUP instead",
        )),
        (_, reload) => Ok(reload),
    });
    let (listen, reload) = (listen?, reload?);
    Some(listen.map(|(listen, _)| HttpOptions { listen, reload }))
}

/// Who can reach an address.
#[derive(Clone, Copy)]
enum Reach {
    ThisMachine,
    Network,
}

fn read_listen(field: &Field<'_>) -> Result<(String, Reach), Error> {
    let text = field.text()?;
    let unexpected = || {
        field.unexpected(
            "host:port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or unix: and an absolute path",
        )
    };
    let reach = match text.strip_prefix(UNIX) {
        Some(path) if path.starts_with('/') && path.len() <= SOCKET_PATH_MAX => Reach::ThisMachine,
        Some(_) => return Err(unexpected()),
        None if is_loopback(host_of(&text).ok_or_else(unexpected)?) => Reach::ThisMachine,
        None => Reach::Network,
    };
    Ok((text, reach))
}

/// The host of `host:port`; `None` if it is something else.
fn host_of(text: &str) -> Option<&str> {
    let (host, port) = text.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
    (is_port && is_host && port.parse::<u16>().is_ok()).then_some(host)
}

/// Only this machine reaches it. Nothing is looked up: `localhost` is what it says by RFC 6761.
fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests;
