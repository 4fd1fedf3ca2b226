//! What is refused, and how the message names it: the file and line or the option, the key, what was expected.

use super::*;

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
    // In the order of the file, not of the alphabet.
    let both = parse(&format!("{MINIMAL}zz = 1\naa = 2\n"), &[]).unwrap_err().to_string();
    assert_eq!(
        both,
        "relay.toml:10: the key outbox.0.zz is not known; relay.toml:11: the key outbox.0.aa is not known"
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
        ("mysql.user=", "--set mysql.user: mysql.user is \"\"; expected text that is not empty"),
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
    let without = |section: &str| message(parse(&MINIMAL[..MINIMAL.find(section).unwrap()], &[]));
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
        ("[mysql]", "failover_after = \"5s\"", "relay.toml:3: mysql.failover_after is"),
        ("[kafka]", "chain = true", "relay.toml:6: kafka.chain is"),
    ] {
        let message = message(with_line(section, line));
        assert!(message.starts_with(&format!("{what} not in this version")), "{message}");
    }
    for (given, what) in [
        (r#"mysql.hosts=["a:1", "b:1"]"#, "more than one host in mysql.hosts"),
        ("mysql.hosts.1=b:1", "more than one host in mysql.hosts"),
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
    assert!(message(with(&["mysql.start_from=yesterday"])).contains("expected earliest, latest"));
    assert!(message(with(&["mysql.start_from=binlog.000001:1"])).contains("the first offset is 4"));
    let start_from = with(&["mysql.start_from=binlog.000012:4711"]).unwrap().start_from.unwrap();
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
        with(&["mysql.heartbeat=${NOBODY}"]).unwrap_err().hint().unwrap().contains("set NOBODY")
    );
}
