//! What a configuration means: defaults, overrides, secrets, and config.example.toml. What is refused is in
//! `refusals` and `all_at_once`, the properties of librdkafka in `properties`.

mod all_at_once;
mod plans;
mod properties;
mod refusals;

use super::keys::{Absent, KEYS};
use super::tree::{Node, Table, Value};
use super::*;
use crate::coordinates::StartFrom;
use crate::outbox::Preset;
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../config.example.toml");

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

/// config.example.toml with every `#key = value` taken as written.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| !c.is_whitespace()) => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

/// The value of a key, in the first item of a list that has it.
fn find<'a>(tree: &'a Table, key: &keys::Key) -> Option<&'a Node> {
    let steps: Vec<_> = key.section.split('.').filter(|step| !step.is_empty()).collect();
    find_in(tree, &steps, key.name)
}

fn find_in<'a>(table: &'a Table, steps: &[&str], name: &str) -> Option<&'a Node> {
    let Some((step, rest)) = steps.split_first() else { return table.get(name) };
    match &table.get(*step)?.value {
        Value::Table(table) => find_in(table, rest, name),
        Value::List(items) => items.iter().find_map(|item| match &item.value {
            Value::Table(table) => find_in(table, rest, name),
            _ => None,
        }),
        _ => None,
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
    assert_eq!(config.start_from, Some(FirstStart::At(StartFrom::Earliest)));
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
    let plan = config.outbox[1].plan.as_ref().unwrap();
    assert_eq!(plan.columns, [("payload".to_owned(), "body".to_owned())]);
    assert_eq!(plan.topic.to_string(), "outbox.event.{aggregatetype}");
    assert_eq!(plan.partition.as_ref().unwrap().to_string(), "{shard}");
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
    assert_eq!(secret, "with the same --set as now, binlog-relay checkpoint set --config a.toml");
}

#[test]
fn the_example_has_every_key_and_shows_the_defaults() {
    let file: Arc<str> = "config.example.toml".into();
    let (active, all) = (tree::parse(EXAMPLE, &file).0, tree::parse(&uncommented(), &file).0);
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
        ("outbox.2.table=a.b", "--set outbox.2.table: outbox is a list of 1; the index is 0 to 1"),
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
        assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("geheim"), "{error:?}");
    }
    for given in ["mysql.password geheim", "mysql.password:geheim", "mysql.passwort=geheim"] {
        let error = with(&[given]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
    }
    let error = with(&["kafka.properties.acks=geheim"]).unwrap_err();
    assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("geheim"), "{error:?}");
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
