//! The command line: configuration errors exit 2 and say where, `checkpoint show` answers on standard
//! output, and secrets stay secret.

use std::process::Output;

use harness::relay::{RelaySetup, SOON};
use harness::scene::Scene;
use harness::servers::{RELAY_PASSWORD, RELAY_USER};
use harness::words;
use harness::workload::PlainWriter;

/// What a test does to a good configuration.
type Change = fn(&mut RelaySetup);

/// A broken configuration, and what the relay says of it.
struct Breakage {
    change: Change,
    error: &'static str,
    hint: &'static str,
}

const TOML_HINT: &str = "text stands in quotes, a section's name in [brackets], and each key once; \
                         config.example.toml shows all of them";

const BREAKAGES: &[Breakage] = &[
    // An unknown key: near one of its section, near one of another section, near none, a section.
    Breakage {
        change: |setup| setup.kafka_lines.push("transaction_timeuot = \"30s\"".to_owned()),
        error: "…/config.toml:12: the key kafka.transaction_timeuot is not known",
        hint: "did you mean kafka.transaction_timeout?",
    },
    Breakage {
        change: |setup| setup.mysql_lines.push("max_records = 5".to_owned()),
        error: "…/config.toml:7: the key mysql.max_records is not known",
        hint: "did you mean batch.max_records?",
    },
    Breakage {
        change: |setup| setup.mysql_lines.push("hue = \"red\"".to_owned()),
        error: "…/config.toml:7: the key mysql.hue is not known",
        hint: "config.example.toml has every key",
    },
    Breakage {
        change: |setup| setup.mysql_lines.push("[kafak]\ncreate_topics = true".to_owned()),
        error: "…/config.toml:7: the key kafak is not known",
        hint: "did you mean [kafka]?",
    },
    // Text that is no TOML: a quote that is not closed, a key given twice.
    Breakage {
        change: |setup| setup.mysql_lines.push("heartbeat = \"1s".to_owned()),
        error: "…/config.toml:7: not TOML: invalid basic string, expected `\"`",
        hint: TOML_HINT,
    },
    Breakage {
        change: |setup| setup.mysql_lines.push("user = \"again\"".to_owned()),
        error: "…/config.toml:7: not TOML: the key user is written twice",
        hint: TOML_HINT,
    },
    // Values that cannot be.
    Breakage {
        change: |setup| setup.name = "spaces are not allowed".to_owned(),
        error: "…/config.toml:1: name is \"spaces are not allowed\"; expected 1 to 100 characters, each a letter, a digit, a dot, _ or -",
        hint: "",
    },
    Breakage {
        change: |setup| setup.transaction_timeout = Some("thirty".to_owned()),
        error: "…/config.toml:10: kafka.transaction_timeout is \"thirty\"; expected a duration from 1s to 900s, such as \"500ms\", \"5s\" or \"2m\"",
        hint: "",
    },
    Breakage {
        change: |setup| setup.start_from = Some("yesterday".to_owned()),
        error: "…/config.toml:6: mysql.start_from: \"yesterday\" is no place to start from; expected earliest, latest, binlog.000012:4711 or gtid:<set>",
        hint: "write earliest, latest, \"binlog.000012:4711\", \"gtid:<set>\" or \"debezium:<offset topic>/<connector>\"",
    },
    Breakage {
        change: |setup| setup.start_from = Some("binlog.000001:3".to_owned()),
        error: "…/config.toml:6: mysql.start_from: binlog.000001:3 is inside the file's first 4 bytes, which hold no event; the first offset is 4",
        hint: "write earliest, latest, \"binlog.000012:4711\", \"gtid:<set>\" or \"debezium:<offset topic>/<connector>\"",
    },
    Breakage {
        change: |setup| setup.mysql_address = "db.example.org:port".to_owned(),
        error: "…/config.toml:3: mysql.hosts.0 is \"db.example.org:port\"; expected host:port, such as \"db.example.org:3306\" or \"[::1]:3306\"",
        hint: "",
    },
    Breakage {
        change: |setup| setup.batch_lines.push("max_records = 0".to_owned()),
        error: "…/config.toml:13: batch.max_records is 0; expected a number from 1 to 1000000",
        hint: "",
    },
    Breakage {
        change: |setup| setup.outboxes[0].preset = "eventuate".to_owned(),
        error: "…/config.toml:14: outbox.0.preset: preset \"eventuate\" is not known",
        hint: "did you mean eventuate-tram?",
    },
    Breakage {
        change: |setup| setup.outboxes[0].table = "events".to_owned(),
        error: "…/config.toml:13: outbox.0.table is \"events\"; expected \"database.table\"; a * matches within either name, and what is in `backticks` stands for itself",
        hint: "",
    },
    Breakage {
        change: |setup| setup.outboxes.clear(),
        error: "…/config.toml: outbox is missing",
        hint: "for example: an [[outbox]] section with table and preset",
    },
    // Secrets.
    Breakage {
        change: |setup| setup.mysql_password = "${BINLOG_RELAY_TEST_UNSET}".to_owned(),
        error: "…/config.toml:5: mysql.password: the environment variable BINLOG_RELAY_TEST_UNSET is not set",
        hint: "set BINLOG_RELAY_TEST_UNSET, even to an empty text, before the relay starts",
    },
    Breakage {
        change: |setup| setup.mysql_password = "${file:/nowhere/password}".to_owned(),
        error: "…/config.toml:5: mysql.password: cannot read /nowhere/password: No such file or directory (os error 2)",
        hint: "let the relay's user read /nowhere/password, as UTF-8 text",
    },
    Breakage {
        change: |setup| setup.mysql_password = "${file:/}".to_owned(),
        error: "…/config.toml:5: mysql.password: cannot read /: Is a directory (os error 21)",
        hint: "let the relay's user read /, as UTF-8 text",
    },
    Breakage {
        change: |setup| setup.mysql_password = "${BINLOG_RELAY".to_owned(),
        error: "…/config.toml:5: mysql.password: a ${ is not closed by a }",
        hint: "write ${NAME} or ${file:/path}; a plain ${ is written $${",
    },
    // Properties of librdkafka: forbidden, not known, of another type; their values are no one's business.
    Breakage {
        change: |setup| setup.kafka_lines.push("properties = { acks = 1 }".to_owned()),
        error: "…/config.toml:12: kafka.properties.acks: this property is not yours to set: a record is relayed only when all in-sync replicas have it",
        hint: "take acks out of [kafka.properties]",
    },
    Breakage {
        change: |setup| {
            setup.kafka_lines.push("properties = { \"sasl.pasword\" = \"wh1sper\" }".to_owned());
        },
        error: "…/config.toml:12: [kafka.properties] sasl.pasword: librdkafka knows no such property",
        hint: "the properties are those of librdkafka's CONFIGURATION.md",
    },
    Breakage {
        change: |setup| {
            setup.kafka_lines.push("properties = { \"socket.timeout.ms\" = \"soon\" }".to_owned());
        },
        error: "…/config.toml:12: [kafka.properties] socket.timeout.ms: librdkafka does not take that value",
        hint: "the properties are those of librdkafka's CONFIGURATION.md",
    },
    // Two outboxes on one table.
    Breakage {
        change: |setup| setup.outboxes.push(setup.outboxes[0].clone()),
        error: "…/config.toml:19: outbox.2.table: ….events overlaps ….events at …/config.toml:12",
        hint: "let each table belong to one [[outbox]]",
    },
    Breakage {
        change: |setup| setup.outboxes[0].lines.push("dead_letter_topic = \"x\"".to_owned()),
        error: "…/config.toml:15: outbox.0.dead_letter_topic: the preset eventuate-local has no such key",
        hint: "leave it out, or choose another preset",
    },
    // What this version does not have.
    Breakage {
        change: |setup| setup.start_from = Some("snapshot".to_owned()),
        error: "…/config.toml:6: mysql.start_from = \"snapshot\" is not in this version",
        hint: "take it out; CHANGELOG.md says what each version brings",
    },
];

#[test]
fn a_wrong_configuration_exits_2_and_says_where_what_and_what_to_write() {
    let good = Scene::on_shared_servers("wrong").relay_setup();
    words::assert_none(BREAKAGES.iter().filter_map(|breakage| {
        let mut setup = good.clone();
        (breakage.change)(&mut setup);
        let output = setup.answer(&["run"]);
        words::output_differs(&output, 2, breakage.error, breakage.hint)
    }));
}

#[test]
fn every_problem_of_the_configuration_is_told_in_one_run() {
    let mut setup = Scene::on_shared_servers("problems").relay_setup();
    setup.mysql_user = " ".to_owned();
    setup.outboxes[0].lines.push("zzz = 1".to_owned());
    setup.outboxes[1].preset = "eventuate-tran".to_owned();
    let output = setup.answer(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    let told = error_of(&output);
    let lines: Vec<_> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    let wanted =
        ["mysql.user is", "the key outbox.0.zzz", "preset \"eventuate-tran\" is not known"];
    assert_eq!(lines.len(), wanted.len(), "{told}");
    assert!(lines.iter().zip(wanted).all(|(line, wanted)| line.contains(wanted)), "{told}");
    assert!(told.ends_with("hint: did you mean eventuate-tram?\n"), "{told}");
}

#[test]
fn a_file_that_is_not_there_and_bad_usage_exit_2() {
    let run = |arguments: &[&str]| {
        harness::relay::relay_command().args(arguments).output().expect("run the relay")
    };
    let output = run(&["run", "--config", "/nowhere/config.toml"]);
    words::assert_none(words::output_differs(
        &output,
        2,
        "cannot read the configuration file /nowhere/config.toml: No such file or directory (os error 2)",
        "name the file with --config; config.example.toml is a beginning",
    ));
    assert_eq!(run(&["rum"]).status.code(), Some(2));
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(output_of(&version).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_import_prints_a_configuration_and_its_exit_code_says_what_the_file_is() {
    let folder = harness::watchdog::fresh_directory("import");
    let run = |program: &str, text: &str| {
        let file = folder.join("file");
        std::fs::write(&file, text).expect("write the file");
        let mut command = harness::relay::relay_command();
        command.args(["import", program]).arg(file).output().expect("run the relay")
    };
    let connector = |router: &str| {
        format!(
            r#"{{"name":"orders","config":{{"connector.class":"io.debezium.connector.mysql.MySqlConnector",
             "database.password":"secret","table.include.list":"shop.outbox","transforms":"outbox",
             "transforms.outbox.type":"io.debezium.transforms.{router}"}}}}"#
        )
    };
    let output = run("debezium", &connector("outbox.EventRouter"));
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    let printed = output_of(&output);
    assert!(printed.contains("start_from = \"debezium:connect-offsets/orders\""), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
    let output = run("eventuate", "EVENTUATELOCAL_CDC_READER_NAME=a");
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    words::assert_none(words::output_differs(
        &run("debezium", &connector("ByLogicalTableRouter")),
        1,
        "the connector has no transformation io.debezium.transforms.outbox.EventRouter, so it publishes changes, …",
        "the relay publishes inserted rows only: …",
    ));
    words::assert_none(words::output_differs(
        &run("eventuate", "A=b"),
        2,
        "…/file is no configuration of Eventuate CDC: it has no setting EVENTUATE…",
        "give the service's environment as NAME=value lines, …",
    ));
}

#[test]
fn one_key_of_the_file_can_be_overridden() {
    let scene = Scene::on_shared_servers("overridden");
    let mut setup = scene.relay_setup();
    setup.mysql_user = "nobody".to_owned();
    setup.outboxes[1].table = "nowhere.events".to_owned();
    let table = format!("outbox.1.table={}.message", scene.name);
    let user = format!("mysql.user={RELAY_USER}");
    let output = setup.answer(&["checkpoint", "show", "--set", &user, "--set", &table]);
    assert_eq!(output.status.code(), Some(1), "{}", error_of(&output));
    let output = setup.answer(&["checkpoint", "show", "--set", "mysql.usr=x"]);
    let words = ("--set mysql.usr: the key mysql.usr is not known", "did you mean mysql.user?");
    words::assert_none(words::output_differs(&output, 2, words.0, words.1));
}

#[test]
fn checkpoint_show_prints_the_stored_checkpoint_and_exits_1_without_one() {
    let scene = Scene::on_shared_servers("show");
    let setup = scene.relay_setup();
    for arguments in [&["checkpoint", "show"][..], &["checkpoint", "show", "--json"]] {
        let output = setup.answer(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", error_of(&output));
    }
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(3);
    let written = writer.sql.end_of_binlog();
    scene.wait_for_checkpoint_at(&relay, &written);
    // To look disturbs nothing: the relay runs on.
    let output = setup.answer(&["checkpoint", "show"]);
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    assert!(output_of(&output).contains("binlog."), "{}", output_of(&output));
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let output = setup.answer(&["checkpoint", "show", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", error_of(&output));
    let shown: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(Some(shown), scene.checkpoint());
}

#[test]
fn secrets_are_in_no_log() {
    let scene = Scene::on_shared_servers("secrets");
    let mut setup = scene.relay_setup();
    setup.mysql_password = "${RELAY_TEST_PASSWORD}".to_owned();
    setup.environment = vec![
        ("RELAY_TEST_PASSWORD".to_owned(), RELAY_PASSWORD.to_owned()),
        ("RUST_LOG".to_owned(), "trace".to_owned()),
    ];
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let log = relay.log();
    assert!(log.len() > 500, "trace says something");
    assert!(
        !log.contains(RELAY_PASSWORD) && !log.contains("own \\\"secret"),
        "the password is there"
    );
    assert!(!log.contains(r#"{"n":1}"#) && !log.contains(r#"{\"n\":1}"#), "a row's value is there");
}

#[test]
fn secrets_of_kafka_are_in_no_log_of_a_relay_that_is_not_let_in() {
    let scene = Scene::on_shared_servers("kafka_secrets");
    let mut setup = scene.relay_setup();
    // The broker speaks no SASL; librdkafka logs all that it does.
    setup.kafka_lines.push(
        "properties = { security.protocol = \"SASL_PLAINTEXT\", sasl.mechanism = \"PLAIN\", sasl.username = \
         \"relay\", sasl.password = \"${RELAY_TEST_SASL}\", ssl.key.password = \"wh1spered\", debug = \"all\" }"
            .to_owned(),
    );
    setup.environment = vec![
        ("RELAY_TEST_SASL".to_owned(), "wh1sper".to_owned()),
        ("RUST_LOG".to_owned(), "trace".to_owned()),
    ];
    let mut relay = setup.start();
    let log = relay.halts();
    assert!(log.contains("the broker refuses the login: "), "{}", relay.log_tail());
    assert!(relay.log().contains("librdkafka"), "{}", relay.log_tail());
    assert!(!relay.log().contains("wh1sper"), "a secret is there");
}

#[test]
fn the_log_is_json_when_asked_for() {
    let scene = Scene::on_shared_servers("json_log");
    let mut setup = scene.relay_setup();
    setup.environment = vec![("BINLOG_RELAY_LOG_FORMAT".to_owned(), "json".to_owned())];
    let mut relay = setup.start();
    scene.wait_for_checkpoint_at(&relay, &scene.start);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let log = relay.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn output_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
