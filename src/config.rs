//! The configuration file: its defaults, its bounds, its rules.
//!
//! A TOML file and the `--set` of the command line enter; a [`Config`] leaves that is valid by
//! construction: each room finds in its options only what it can work with. Everything else is an
//! [`Error`] that names the place, the key, what was expected and what to do. Nothing is connected to
//! or looked up here.

mod error;
mod keys;
mod properties;
mod read;
mod tree;
mod unknown;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use error::{Error, Place};

use crate::checkpoint::{CheckpointOptions, NAME_LENGTH_MAX};
use crate::coordinates::{self, StartFrom};
use crate::delivery::Delivery;
use crate::outbox::{self, OutboxOptions, Preset};
use crate::secret::{Environment, environment};
use crate::sink::kafka::connection::{ClientError, KafkaOptions};
use crate::sink::kafka::topics::TopicOptions;
use crate::sink::kafka::{Kafka, PublishOptions};
use crate::{batch, binlog, http};
use read::{Field, Section};

/// Longest name of a Kafka topic (`org.apache.kafka.common.internals.Topic`).
const TOPIC_LENGTH_MAX: usize = 249;

/// Shorter, and no drain ends in time; longer, and a supervisor has killed us long before.
const SHUTDOWN_TIMEOUT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3600));

/// Shorter than 100 ms costs packets and tells nothing more; longer than a minute, and a dead
/// connection goes unnoticed for three of them.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Below a second a busy broker aborts sound transactions; above 15 minutes brokers refuse it
/// (their `transaction.max.timeout.ms` is 900000 by default).
const TRANSACTION_TIMEOUT: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(900));

/// One Kafka transaction of a million records takes seconds; more gains nothing and holds readers up.
const RECORDS_MAX: usize = 1_000_000;

/// Below 1 KiB hardly a record fits; two batches are held in memory, so more than 1 GiB is a mistake.
const BATCH_BYTES: (usize, usize) = (1 << 10, 1 << 30);

/// The most partitions that a Kafka controller creates by one request.
const PARTITIONS_MAX: i32 = 10_000;

/// A cluster has at most some millions of partitions, and a topic at least one.
const TOPICS_MAX: usize = 1_000_000;

/// The replication factor is 16 bits wide in Kafka's protocol.
const REPLICATION_MAX: i32 = i16::MAX as i32;

/// All that a relay is told. Every value is within its bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, as its name was given.
    pub file: Arc<str>,
    /// Some of its keys were overridden on the command line.
    pub is_overridden: bool,
    /// What this relay is called; 1 to 100 characters of `[A-Za-z0-9._-]`.
    pub name: String,
    /// How long a drain may take after the first SIGTERM.
    pub shutdown_timeout: Duration,
    /// `None` is an error only where there is no checkpoint.
    pub start_from: Option<StartFrom>,
    pub mysql: binlog::Options,
    pub kafka: Kafka,
    /// At least one; no two are sure to match one table.
    pub outbox: Vec<OutboxOptions>,
    /// `None`: no HTTP.
    pub http: Option<http::Options>,
}

impl Config {
    /// Reads the file, writes each `key=value` of `overrides` over it, and takes `${NAME}` from the
    /// environment of this process.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), overrides, &environment)
    }

    /// The same from a text; `file` is its name in messages.
    fn parse(
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
            outbox: build_outboxes(root)?,
            http: build_http(&root.section("http")?)?,
            name,
            file,
            is_overridden,
        })
    }

    /// A command of this program, as it is asked of a shell with this configuration. Overrides may hold
    /// secrets, and are only mentioned.
    pub fn shell_command(&self, command: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
        let file = match self.file.chars().all(is_plain) {
            true => self.file.to_string(),
            false => format!("'{}'", self.file.replace('\'', r"'\''")),
        };
        let before = if self.is_overridden { "with the same --set as now, " } else { "" };
        format!("{before}binlog-relay {command} --config {file}")
    }
}

fn bounds<T>((least, most): (T, T)) -> std::ops::RangeInclusive<T> {
    least..=most
}

fn build_start_from(field: Field<'_>) -> Result<StartFrom, Error> {
    field.text()?.parse().map_err(|error| match error {
        coordinates::Error::SnapshotNotInThisVersion => field.not_in_this_version(),
        error => {
            field.rule(error, "write earliest, latest, \"binlog.000012:4711\" or \"gtid:<set>\"")
        }
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

fn build_mysql(mysql: &Section<'_>, tls: &Section<'_>) -> Result<binlog::Options, Error> {
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
    Ok(binlog::Options {
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
    match servers.iter().any(|server| server.is_empty() || server.contains(char::is_whitespace)) {
        true => Err(field.unexpected("host:port, several separated by commas")),
        false => Ok(servers.join(",")),
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

fn build_http(section: &Section<'_>) -> Result<Option<http::Options>, Error> {
    let Some(listen) = section.optional("listen") else { return Ok(None) };
    let unexpected = || listen.unexpected("host:port, such as \"127.0.0.1:8080\" or \"[::]:8080\"");
    let text = listen.text()?;
    let (host, port) = text.rsplit_once(':').ok_or_else(unexpected)?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(_) if is_port && !host.is_empty() && !host.contains(char::is_whitespace) => {
            Ok(Some(http::Options { listen: text }))
        }
        _ => Err(unexpected()),
    }
}

fn build_outboxes(root: &Section<'_>) -> Result<Vec<OutboxOptions>, Error> {
    let sections = root.sections(keys::OUTBOX)?;
    let outboxes = sections.iter().map(build_outbox).collect::<Result<Vec<_>, _>>()?;
    if let Some((first, second)) = outbox::find_overlap(&outboxes) {
        return Err(sections[second].field("table")?.rule(
            format!(
                "{} overlaps {} at {}",
                outboxes[second].table,
                outboxes[first].table,
                sections[first].place(),
            ),
            "let each table belong to one [[outbox]]",
        ));
    }
    Ok(outboxes)
}

fn build_outbox(section: &Section<'_>) -> Result<OutboxOptions, Error> {
    let (table, preset) = (section.field("table")?, section.field("preset")?);
    Ok(OutboxOptions {
        table: table.text()?.parse().map_err(|error| table_error(&table, error))?,
        preset: preset.text()?.parse().map_err(|error| preset_error(&preset, error))?,
        outbox_id: section
            .optional("outbox_id")
            .map(|id| id.number(0..=i64::MAX as u64))
            .transpose()?,
    })
}

fn table_error(field: &Field<'_>, error: outbox::Error) -> Error {
    match error.hint() {
        Some(hint) => field.rule(&error, hint),
        None => field.unexpected(
            "\"database.table\"; a * matches within either name, and what is in `backticks` stands for itself",
        ),
    }
}

fn preset_error(field: &Field<'_>, error: outbox::Error) -> Error {
    match &error {
        outbox::Error::PresetNotInThisVersion(_) => field.not_in_this_version(),
        outbox::Error::UnknownPreset { nearest: Some(nearest), .. } => {
            field.rule(&error, format!("did you mean {nearest}?"))
        }
        _ => field.unexpected(format!("one of {}", Preset::ALL.map(Preset::as_str).join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::keys::{Absent, KEYS};
    use super::tree::{Node, Table, Value};
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = include_str!("../config.example.toml");

    const MINIMAL: &str = r#"name = "orders"
[mysql]
hosts = ["db.example.org:3307"]
user = "relay"
[kafka]
bootstrap_servers = "127.0.0.1:9092"
[[outbox]]
table = "eventuate.events"
preset = "eventuate-local"
"#;

    fn variables(name: &str) -> Option<String> {
        matches!(name, "MYSQL_PASSWORD" | "NAME").then(|| format!("value-of-{name}"))
    }

    fn parse(text: &str, overrides: &[&str]) -> Result<Config, Error> {
        let overrides: Vec<_> = overrides.iter().map(|&given| given.to_owned()).collect();
        Config::parse(text, "relay.toml", &overrides, &variables)
    }

    /// The minimal file with `--set` of these.
    fn with(overrides: &[&str]) -> Result<Config, Error> {
        parse(MINIMAL, overrides)
    }

    /// The minimal file with a line in it, which becomes line 2, or line 4 in `[mysql]`, or line 7 in
    /// `[kafka]`, or line 10 in `[[outbox]]`.
    fn with_line(section: &str, line: &str) -> Result<Config, Error> {
        let text = match section {
            "" => MINIMAL.replacen('\n', &format!("\n{line}\n"), 1),
            _ => MINIMAL.replacen(&format!("{section}\n"), &format!("{section}\n{line}\n"), 1),
        };
        assert_ne!(text, MINIMAL);
        parse(&text, &[])
    }

    fn message(result: Result<Config, Error>) -> String {
        let error = result.expect_err("the configuration must be refused");
        match error.hint() {
            Some(hint) => format!("{error} / {hint}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn what_is_not_written_has_its_default() {
        let config = parse(MINIMAL, &[]).unwrap();
        assert_eq!(config.name, "orders");
        assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
        assert_eq!(config.start_from, None);
        assert_eq!((config.mysql.host.as_str(), config.mysql.port), ("db.example.org", 3307));
        assert_eq!(config.mysql.user, "relay");
        assert_eq!(config.mysql.password.reveal().unwrap(), "");
        assert_eq!(config.mysql.server_id, None);
        assert_eq!(config.mysql.heartbeat, Duration::from_secs(1));
        assert_eq!(config.mysql.tls.mode, binlog::TlsMode::Preferred);
        assert_eq!(
            (config.mysql.tls.ca, config.mysql.tls.cert, config.mysql.tls.key),
            (None, None, None)
        );
        assert_eq!(config.kafka.connection.bootstrap_servers, "127.0.0.1:9092");
        assert!(config.kafka.connection.properties.is_empty());
        assert!(config.kafka.topics.create);
        assert_eq!((config.kafka.topics.partitions, config.kafka.topics.replication), (None, None));
        assert_eq!(config.kafka.checkpoint.topic, "offset.storage.topic");
        assert_eq!(config.kafka.checkpoint.key, "orders");
        assert_eq!(config.kafka.publish.name, "orders");
        assert_eq!(config.kafka.publish.transaction_timeout, Duration::from_secs(30));
        assert_eq!(
            (config.kafka.limits.records_max, config.kafka.limits.bytes_max),
            (10_000, 16 << 20)
        );
        assert_eq!(config.outbox.len(), 1);
        assert_eq!(config.outbox[0].table.to_string(), "eventuate.events");
        assert_eq!(config.outbox[0].preset, Preset::EventuateLocal);
        assert_eq!(config.outbox[0].outbox_id, None);
    }

    #[test]
    fn every_key_can_be_written() {
        let config = parse(&uncommented(), &[]).unwrap();
        assert_eq!(config.start_from, Some(StartFrom::Earliest));
        assert_eq!(config.mysql.server_id.unwrap().get(), 4711);
        assert_eq!(config.mysql.password.reveal().unwrap(), "value-of-MYSQL_PASSWORD");
        assert_eq!(config.mysql.tls.ca.unwrap(), Path::new("/etc/binlog-relay/ca.pem"));
        assert_eq!(
            (config.kafka.topics.partitions, config.kafka.topics.replication),
            (Some(12), Some(3))
        );
        let properties: Vec<_> =
            config.kafka.connection.properties.keys().map(String::as_str).collect();
        assert_eq!(properties, ["sasl.mechanism", "security.protocol", "socket.keepalive.enable"]);
        assert_eq!(
            config.kafka.connection.properties["socket.keepalive.enable"].reveal().unwrap(),
            "true"
        );
        assert_eq!(config.outbox[0].outbox_id, Some(1));
    }

    #[test]
    fn a_printed_command_names_the_file_as_a_shell_reads_it_and_no_override() {
        let command = |file: &str, overrides: &[&str]| {
            let mut config = parse(MINIMAL, overrides).unwrap();
            config.file = file.into();
            config.shell_command("checkpoint set")
        };
        let plain = command("/etc/binlog-relay/a_b.toml", &[]);
        assert_eq!(plain, "binlog-relay checkpoint set --config /etc/binlog-relay/a_b.toml");
        let quoted = command("it's my/a.toml", &[]);
        assert_eq!(quoted, r"binlog-relay checkpoint set --config 'it'\''s my/a.toml'");
        let secret = command("a.toml", &["mysql.password=wh1sper"]);
        assert_eq!(
            secret,
            "with the same --set as now, binlog-relay checkpoint set --config a.toml"
        );
    }

    /// config.example.toml with every `#key = value` taken as written.
    fn uncommented() -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| !c.is_whitespace()) => format!("{key}\n"),
            _ => format!("{line}\n"),
        };
        EXAMPLE.lines().map(line).collect()
    }

    fn find<'a>(tree: &'a Table, key: &keys::Key) -> Option<&'a Node> {
        let mut table = tree;
        for step in key.section.split('.').filter(|step| !step.is_empty()) {
            table = match &table.get(step)?.value {
                Value::Table(table) => table,
                Value::List(items) => match &items.first()?.value {
                    Value::Table(table) => table,
                    _ => return None,
                },
                _ => return None,
            };
        }
        table.get(key.name)
    }

    #[test]
    fn the_example_has_every_key_and_shows_the_defaults() {
        let file: Arc<str> = "config.example.toml".into();
        let (active, all) =
            (tree::parse(EXAMPLE, &file).unwrap(), tree::parse(&uncommented(), &file).unwrap());
        for key in KEYS.iter().filter(|key| key.absent != Absent::Later) {
            let path = key.path();
            let written = find(&all, key).unwrap_or_else(|| panic!("{path} is not in the example"));
            let is_active = find(&active, key).is_some();
            match key.absent {
                Absent::Required(_) => {
                    assert!(is_active, "{path} is required, so it must be active")
                }
                // Shown with a value from the environment, and with the value most people want first.
                _ if ["mysql.password", "mysql.start_from"].contains(&path.as_str()) => {}
                // The section itself is there; its keys are not.
                _ if path == "kafka.properties" => {}
                Absent::Default(toml) => {
                    assert_eq!(
                        written,
                        &tree::parse_default(key.name, toml),
                        "{path} shows another default"
                    );
                    assert!(!is_active, "{path} has a default, so it must be commented out");
                }
                _ => assert!(!is_active, "{path} is optional, so it must be commented out"),
            }
        }
        assert!(parse(EXAMPLE, &[]).is_ok());
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_key() {
        for (section, line, expected) in [
            ("", "nmae = 1", "relay.toml:2: the key nmae is not known / did you mean name?"),
            (
                "",
                "heartbeat = \"1s\"",
                "relay.toml:2: the key heartbeat is not known / did you mean mysql.heartbeat?",
            ),
            (
                "",
                "zzz = 1",
                "relay.toml:2: the key zzz is not known / config.example.toml has every key",
            ),
            (
                "[mysql]",
                "passwort = \"x\"",
                "relay.toml:3: the key mysql.passwort is not known / did you mean mysql.password?",
            ),
            (
                "[mysql]",
                "start-from = \"x\"",
                "relay.toml:3: the key mysql.start-from is not known / did you mean mysql.start_from?",
            ),
            (
                "[mysql]",
                "tls.modus = \"x\"",
                "relay.toml:3: the key mysql.tls.modus is not known / did you mean mysql.tls.mode?",
            ),
            (
                "[kafka]",
                "topic_partition = 1",
                "relay.toml:6: the key kafka.topic_partition is not known / did you mean kafka.topic_partitions?",
            ),
            (
                "[[outbox]]",
                "outboxid = 1",
                "relay.toml:8: the key outbox.0.outboxid is not known / did you mean outbox.outbox_id?",
            ),
        ] {
            assert_eq!(message(with_line(section, line)), expected);
        }
        assert_eq!(
            message(parse(&format!("{MINIMAL}[bach]\nmax_records = 1\n"), &[])),
            "relay.toml:10: the key bach is not known / did you mean [batch]?"
        );
        // The first of the file, not of the alphabet.
        assert!(
            message(parse(&format!("{MINIMAL}zz = 1\naa = 2\n"), &[]))
                .starts_with("relay.toml:10: the key outbox.0.zz")
        );
    }

    #[test]
    fn a_bad_value_names_its_line_its_key_and_what_was_expected() {
        for (section, line, expected) in [
            (
                "",
                "shutdown_timeout = 10",
                r#"relay.toml:2: shutdown_timeout is 10; expected a duration from 100ms to 3600s, such as "500ms", "5s" or "2m""#,
            ),
            (
                "[mysql]",
                "heartbeat = \"2m\"",
                r#"relay.toml:3: mysql.heartbeat is "2m"; expected a duration from 100ms to 60s, such as "500ms", "5s" or "2m""#,
            ),
            (
                "[mysql]",
                "server_id = 0",
                "relay.toml:3: mysql.server_id is 0; expected a number from 1 to 4294967295",
            ),
            (
                "[mysql]",
                "server_id = 4294967296",
                "relay.toml:3: mysql.server_id is 4294967296; expected a number from 1 to 4294967295",
            ),
            (
                "[mysql]",
                "tls.mode = \"on\"",
                r#"relay.toml:3: mysql.tls.mode is "on"; expected one of disabled, preferred, required, verify_ca, verify_identity"#,
            ),
            (
                "[mysql]",
                "tls = \"on\"",
                r#"relay.toml:3: mysql.tls is "on"; expected a section, [mysql.tls]"#,
            ),
        ] {
            assert_eq!(message(with_line(section, line)), expected);
        }
    }

    #[test]
    fn a_bad_value_of_a_later_section_names_its_line_too() {
        for (section, line, expected) in [
            (
                "[kafka]",
                "transaction_timeout = \"1h\"",
                r#"relay.toml:6: kafka.transaction_timeout is "1h"; expected a duration from 1s to 900s, such as "500ms", "5s" or "2m""#,
            ),
            (
                "[kafka]",
                "create_topics = \"yes\"",
                r#"relay.toml:6: kafka.create_topics is "yes"; expected true or false"#,
            ),
            (
                "[kafka]",
                "topic_partitions = 0",
                "relay.toml:6: kafka.topic_partitions is 0; expected a number from 1 to 10000",
            ),
            (
                "[kafka]",
                "topic_replication = 1.5",
                "relay.toml:6: kafka.topic_replication is 1.5; expected a number from 1 to 32767",
            ),
            (
                "[kafka]",
                "checkpoint_topic = \"a/b\"",
                r#"relay.toml:6: kafka.checkpoint_topic is "a/b"; expected 1 to 249 characters, each a letter, a digit, a dot, _ or -"#,
            ),
            (
                "[kafka]",
                "checkpoint_topic = \"..\"",
                r#"relay.toml:6: kafka.checkpoint_topic is ".."; expected a name that is legal for a Kafka topic"#,
            ),
            (
                "[kafka]",
                "checkpoint_key = \" \"",
                r#"relay.toml:6: kafka.checkpoint_key is " "; expected text that is not empty"#,
            ),
            (
                "[kafka]",
                "delivery = \"at-least-once\"",
                r#"relay.toml:6: kafka.delivery is "at-least-once"; expected one of exactly-once, idempotent"#,
            ),
            (
                "[[outbox]]",
                "outbox_id = -1",
                "relay.toml:8: outbox.0.outbox_id is -1; expected a number from 0 to 9223372036854775807",
            ),
        ] {
            assert_eq!(message(with_line(section, line)), expected);
        }
    }

    #[test]
    fn a_bad_value_from_the_command_line_names_its_option() {
        for (given, expected) in [
            (
                "name=a b",
                r#"--set name: name is "a b"; expected 1 to 100 characters, each a letter, a digit, a dot, _ or -"#,
            ),
            ("name=", r#"--set name: name is ""; expected 1 to 100 characters"#),
            ("mysql.hosts=[]", "--set mysql.hosts: mysql.hosts is an empty list; expected a list"),
            ("mysql.hosts=db", "--set mysql.hosts: mysql.hosts is \"db\"; expected a list"),
            (
                "mysql.user=",
                "--set mysql.user: mysql.user is \"\"; expected text that is not empty",
            ),
            (
                "kafka.bootstrap_servers=a,,b",
                "--set kafka.bootstrap_servers: kafka.bootstrap_servers is \"a,,b\"; expected host:port",
            ),
            (
                "batch.max_records=0",
                "--set batch.max_records: batch.max_records is 0; expected a number from 1 to 1000000",
            ),
            (
                "batch.max_bytes=1023",
                "--set batch.max_bytes: batch.max_bytes is 1023; expected a size from 1024 to 1073741824 bytes",
            ),
            (
                "batch.max_bytes=16MB",
                "--set batch.max_bytes: batch.max_bytes is \"16MB\"; expected a size",
            ),
            (
                "outbox.0.table=events",
                "--set outbox.0.table: outbox.0.table is \"events\"; expected \"database.table\"",
            ),
            (
                "outbox.0.preset=eventuate",
                "--set outbox.0.preset: outbox.0.preset: preset \"eventuate\" is not known / did you mean eventuate-",
            ),
            (
                "outbox.0.preset=zzz",
                "--set outbox.0.preset: outbox.0.preset is \"zzz\"; expected one of eventuate-local, eventuate-tram",
            ),
            (
                "outbox=[]",
                "--set outbox: outbox is an empty list; expected one or more [[outbox]] sections",
            ),
        ] {
            let message = message(with(&[given]));
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_missing_key_is_named_with_an_example() {
        for (line, expected) in [
            ("name = \"orders\"\n", "relay.toml: name is missing / for example: name = \"orders\""),
            (
                "user = \"relay\"\n",
                "relay.toml:2: mysql.user is missing / for example: user = \"relay\" under [mysql]",
            ),
            (
                "preset = \"eventuate-local\"\n",
                "relay.toml:7: outbox.0.preset is missing / for example: preset = \"eventuate-local\" under [[outbox]]",
            ),
        ] {
            assert_eq!(message(parse(&MINIMAL.replace(line, ""), &[])), expected);
        }
        let without =
            |section: &str| message(parse(&MINIMAL[..MINIMAL.find(section).unwrap()], &[]));
        assert!(
            without("[[outbox]]")
                .starts_with("relay.toml: outbox is missing / for example: an [[outbox]]")
        );
        assert!(without("[kafka]").starts_with("relay.toml: kafka.bootstrap_servers is missing"));
    }

    #[test]
    fn what_later_versions_bring_is_refused_as_such() {
        for (section, line, what) in [
            (
                "[mysql]",
                "start_from = \"snapshot\"",
                "relay.toml:3: mysql.start_from = \"snapshot\" is",
            ),
            ("[[outbox]]", "topic = \"x\"", "relay.toml:8: outbox.0.topic is"),
        ] {
            let message = message(with_line(section, line));
            assert!(message.starts_with(&format!("{what} not in this version")), "{message}");
        }
        for (given, what) in [
            (r#"mysql.hosts=["a:1", "b:1"]"#, "more than one host in mysql.hosts"),
            ("mysql.hosts.1=b:1", "more than one host in mysql.hosts"),
            ("outbox.0.preset=outbox", "outbox.0.preset = \"outbox\""),
            ("outbox.0.preset=message-events", "outbox.0.preset = \"message-events\""),
            ("outbox.0.preset=custom", "outbox.0.preset = \"custom\""),
        ] {
            assert!(message(with(&[given])).contains(&format!("{what} is not in this version")));
        }
    }

    #[test]
    fn hosts_have_a_port() {
        let host = |given: &str| {
            with(&[&format!("mysql.hosts.0={given}")]).map(|c| (c.mysql.host, c.mysql.port))
        };
        for (given, expected) in [
            ("db", ("db", 3306)),
            ("10.0.0.1:1", ("10.0.0.1", 1)),
            ("[::1]:3307", ("::1", 3307)),
            ("[::1]", ("::1", 3306)),
        ] {
            assert_eq!(host(given).unwrap(), (expected.0.to_owned(), expected.1));
        }
        for given in [
            "",
            ":3306",
            "db:",
            "db:0",
            "db:65536",
            "db:x",
            "db:+1",
            "::1",
            "a b:1",
            "mysql://db:1",
            "[::1]x",
        ] {
            assert!(host(given).is_err(), "{given:?} was taken");
        }
    }

    #[test]
    fn properties_are_named_with_dots_however_they_are_written() {
        let text = format!(
            "{MINIMAL}[kafka.properties]\n\"client.rack\" = \"${{NAME}}\"\nstatistics.interval.ms = 5\n\
             socket.keepalive.enable = true\n[kafka.properties.socket.send]\nbuffer.bytes = 0x10\n"
        );
        let revealed = |config: Config| -> Vec<(String, String)> {
            config
                .kafka
                .connection
                .properties
                .into_iter()
                .map(|(name, value)| (name, value.reveal().unwrap()))
                .collect()
        };
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        assert_eq!(
            revealed(parse(&text, &[]).unwrap()),
            [
                ("client.rack", "value-of-NAME"),
                ("socket.keepalive.enable", "true"),
                ("socket.send.buffer.bytes", "16"),
                ("statistics.interval.ms", "5"),
            ]
            .map(pair)
        );
        let overrides =
            ["kafka.properties.client.rack=1_0", "kafka.properties.\"statistics.interval.ms\"=7"];
        assert_eq!(
            revealed(parse(&text, &overrides).unwrap())
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>(),
            ["1_0", "true", "16", "7"]
        );
        assert!(
            message(parse(
                &format!("{text}[kafka.properties.\"socket\".\"send\"]\n\"f\" = 1\n"),
                &[]
            ))
            .contains("not TOML")
        );
        assert!(
            message(parse(&format!("{text}[kafka.properties.client]\nrack = 1\n"), &[]))
                .contains("is written twice")
        );
        assert!(
            message(with(&["kafka.properties.a=[1]"]))
                .contains("is a list; expected text in quotes, a number")
        );
    }

    #[test]
    fn a_property_that_librdkafka_refuses_is_named_without_its_value() {
        for (name, value) in [("sasl.pasword", "hunter2"), ("socket.timeout.ms", "hunter2")] {
            let message = message(with(&[&format!("kafka.properties.{name}={value}")]));
            assert!(message.contains(name) && !message.contains(value), "{message}");
        }
    }

    #[test]
    fn properties_that_the_guarantees_rest_on_are_refused_under_every_name() {
        for name in properties::FORBIDDEN.map(|(name, _)| name.replace('*', "")) {
            for name in [name.clone(), format!("topic.{name}")] {
                let given = format!("kafka.properties.\"{name}\"=all");
                let message = message(with(&[&given]));
                let words = ": this property is not yours to set: ";
                assert!(message.contains(&name) && message.contains(words), "{message}");
            }
        }
        for name in ["max.in.flight.requests.per.connection", "test.mock.num.brokers"] {
            let message = message(with_line("[kafka]", &format!("properties.{name} = 1")));
            let words =
                format!("relay.toml:6: kafka.properties.{name}: this property is not yours");
            assert!(message.starts_with(&words), "{message}");
        }
        for name in ["linger.ms", "topic.metadata.refresh.interval.ms", "compression.level"] {
            assert!(with(&[&format!("kafka.properties.\"{name}\"=5")]).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_login_by_tokens_says_where_they_come_from() {
        let with = |config: &[&str]| {
            let login = "kafka.properties.sasl.mechanism=OAUTHBEARER";
            with(&[&[login][..], config].concat())
        };
        for none in [&[][..], &["kafka.properties.sasl.oauthbearer.config=principal=relay"]] {
            let message = message(with(none));
            assert!(message.contains("nothing says where the token comes from"), "{message}");
        }
        let file = "kafka.properties.sasl.oauthbearer.config=token_file=/run/token";
        let unsecured = "kafka.properties.\"enable.sasl.oauthbearer.unsecure.jwt\"=true";
        assert!(with(&[file]).is_ok() && with(&[unsecured]).is_ok());
    }

    #[test]
    fn records_do_not_linger_for_longer_than_a_transaction_lives() {
        for name in ["linger.ms", "queue.buffering.max.ms"] {
            let with = |ms| {
                with(&[
                    "kafka.transaction_timeout=2s",
                    &format!("kafka.properties.\"{name}\"={ms}"),
                ])
            };
            assert!(with("1999").is_ok());
            let message = message(with("2000"));
            assert!(
                message.contains("no record would leave before transaction_timeout"),
                "{message}"
            );
        }
    }

    #[test]
    fn tls_is_given_whole_or_not_at_all() {
        assert!(message(with(&["mysql.tls.mode=verify_ca"])).contains("set ca under [mysql.tls]"));
        assert!(with(&["mysql.tls.mode=verify_identity", "mysql.tls.ca=/ca.pem"]).is_ok());
        assert!(
            message(with(&["mysql.tls.cert=/c.pem"]))
                .contains("mysql.tls.cert: it is of no use without key")
        );
        assert!(
            message(with(&["mysql.tls.key=/k.pem"]))
                .contains("mysql.tls.key: it is of no use without cert")
        );
        assert!(with(&["mysql.tls.key=/k.pem", "mysql.tls.cert=/c.pem"]).is_ok());
    }

    #[test]
    fn a_wrong_start_from_says_what_is_wrong_with_it() {
        assert!(
            message(with(&["mysql.start_from=yesterday"])).contains("expected earliest, latest")
        );
        assert!(
            message(with(&["mysql.start_from=binlog.000001:1"])).contains("the first offset is 4")
        );
        let start_from =
            with(&["mysql.start_from=binlog.000012:4711"]).unwrap().start_from.unwrap();
        assert_eq!(start_from.to_string(), "binlog.000012:4711");
    }

    #[test]
    fn a_table_belongs_to_one_outbox() {
        let second = ["outbox.1.table=eventuate.*", "outbox.1.preset=eventuate-tram"];
        let message = message(with(&second));
        assert!(
            message.starts_with(
                "--set outbox.1.table: outbox.1.table: eventuate.* overlaps eventuate.events at relay.toml:7"
            ),
            "{message}"
        );
        assert_eq!(with(&["outbox.1.table=eventuate.message", second[1]]).unwrap().outbox.len(), 2);
    }

    #[test]
    fn the_command_line_overrides_one_key_at_a_time() {
        let config = with(&[
            "mysql.user=x=y",
            "name=1.0",
            "batch.max_bytes=64KiB",
            "batch.max_records=5",
            "kafka.create_topics=false",
            "outbox.0.table=\"a.b\"",
            "mysql.heartbeat='2s'",
            "mysql.heartbeat=3s",
        ])
        .unwrap();
        assert_eq!((config.mysql.user.as_str(), config.name.as_str()), ("x=y", "1.0"));
        assert_eq!((config.kafka.limits.bytes_max, config.kafka.limits.records_max), (65536, 5));
        assert!(!config.kafka.topics.create);
        assert_eq!(config.outbox[0].table.to_string(), "a.b");
        assert_eq!(config.mysql.heartbeat, Duration::from_secs(3));
        for (given, expected) in [
            (
                "mysql.user",
                "--set mysql.user: there is no = behind the key / write --set section.key=value",
            ),
            ("=x", "--set : that is no key"),
            ("mysql..user=x", "--set mysql..user: that is no key"),
            (
                "outbox.2.table=a.b",
                "--set outbox.2.table: outbox is a list of 1; the index is 0 to 1",
            ),
            ("outbox.table=a.b", "--set outbox.table: outbox is a list of 1; the index is 0 to 1"),
            ("name.x=1", "--set name.x: name is no section"),
            ("mysql.hosts.0.x=1", "--set mysql.hosts.0.x: mysql.hosts.0 is no section"),
            (
                "mysql.usr=x",
                "--set mysql.usr: the key mysql.usr is not known / did you mean mysql.user?",
            ),
            ("outbox.1.table=a.b", "--set outbox.1.table: outbox.1.preset is missing"),
        ] {
            let message = message(with(&[given]));
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn a_password_may_hold_anything_and_is_never_shown() {
        for password in [
            "geheim",
            "123",
            "0123",
            "1.50",
            "true",
            "a=b",
            "\"",
            "'a",
            "a # b",
            "12#3",
            "\"a\" b",
            " x ",
            "1979-05-27",
            "{}x",
        ] {
            let config = with(&[&format!("mysql.password={password}")]).unwrap();
            assert_eq!(config.mysql.password.reveal().unwrap(), password);
        }
        let config = with_line("[mysql]", r#"password = "geheim\"\\ü$${x}""#).unwrap();
        assert_eq!(config.mysql.password.reveal().unwrap(), "geheim\"\\ü${x}");
        assert!(!format!("{config:?}").contains("geheim"));
        let config = with(&[
            "mysql.password=geheim",
            "kafka.properties.sasl.password=geheim",
            "kafka.properties.ssl.key.password=geheim",
        ]);
        let config = config.unwrap();
        assert_eq!(config.kafka.connection.properties["sasl.password"].reveal().unwrap(), "geheim");
        assert!(!format!("{config:?} {config:#?}").contains("geheim"), "{config:?}");
        for line in [
            "password = \"geheim",
            "password = geheim",
            "password = \"geheim${MISSING}\"",
            "password = [\"geheim\"]",
            "password = { geheim = 1 }",
            "password = \"geheim\"\npassword = \"geheim\"",
            "tls.password.x = \"geheim\"",
        ] {
            let error = with_line("[mysql]", line).unwrap_err();
            assert!(
                !format!("{error} {error:?} {:?}", error.hint()).contains("geheim"),
                "{error:?}"
            );
        }
        for given in ["mysql.password geheim", "mysql.password:geheim", "mysql.passwort=geheim"] {
            let error = with(&[given]).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
        }
        let error = with(&["kafka.properties.acks=geheim"]).unwrap_err();
        assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("geheim"), "{error:?}");
    }

    #[test]
    fn what_is_not_toml_names_its_line() {
        let message = message(with_line("[kafka]", "delivery = exactly-once"));
        assert!(message.starts_with("relay.toml:6: not TOML: "), "{message}");
    }

    #[test]
    fn a_variable_that_is_not_set_is_an_error() {
        let error = with(&["mysql.user=${NOBODY}"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--set mysql.user: mysql.user: the environment variable NOBODY is not set"
        );
        assert!(error.hint().unwrap().contains("set NOBODY"));
        assert_eq!(with(&["mysql.user=${NAME}"]).unwrap().mysql.user, "value-of-NAME");
        assert!(
            with(&["mysql.heartbeat=${NOBODY}"])
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("set NOBODY")
        );
    }

    #[test]
    fn a_file_is_loaded_and_a_missing_one_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, MINIMAL).unwrap();
        let config = Config::load(file.path(), &["name=shop".to_owned()]).unwrap();
        assert_eq!(config.kafka.checkpoint.key, "shop");
        let error = Config::load(Path::new("/no/such.toml"), &[]).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the configuration file /no/such.toml");
        assert!(error.hint().unwrap().contains("--config"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z.=\\[\\]\"'{}$0-9 \n#]{0,80}", given in "[a-z.=\\[\\]\"'{}$0-9]{0,30}") {
            let _ = parse(&text, &[&given]);
            let _ = with(&[&given]);
        }

        #[test]
        fn any_password_passes_through_the_file(password in "\\PC{0,20}") {
            let escaped = password.replace("${", "$${");
            let line = format!("password = {}", toml::Value::String(escaped));
            let config = with_line("[mysql]", &line).unwrap();
            prop_assert_eq!(config.mysql.password.reveal().unwrap(), password);
        }
    }
}
