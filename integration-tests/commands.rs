//! The command line: configuration errors exit 2 and say where, `checkpoint show` answers on standard
//! output, and secrets stay secret.

use std::process::Output;

use crate::harness::relay::{RelaySetup, SOON};
use crate::harness::scene::Scene;
use crate::harness::servers::{RELAY_PASSWORD, RELAY_USER};
use crate::harness::workload::PlainWriter;

/// What a test does to a good configuration.
type Change = fn(&mut RelaySetup);

#[test]
fn an_unknown_key_exits_2_with_its_line_and_the_nearest_key() {
    let scene = Scene::on_shared_servers("unknown_key");
    let mut setup = scene.relay_setup();
    setup.kafka_lines.push("transaction_timeuot = \"30s\"".to_owned());
    let line =
        1 + setup.to_toml().lines().position(|line| line.contains("timeuot")).expect("there");
    let error = bad_configuration(&setup);
    assert!(error.contains("transaction_timeuot"), "{error}");
    assert!(error.contains("transaction_timeout"), "it names the nearest key\n{error}");
    assert!(error.contains(&format!("config.toml:{line}: ")), "it names line {line}\n{error}");
}

#[test]
fn an_unset_variable_exits_2_with_its_name() {
    let scene = Scene::on_shared_servers("unset");
    let mut setup = scene.relay_setup();
    setup.mysql_password = "${BINLOG_RELAY_TEST_UNSET}".to_owned();
    let error = bad_configuration(&setup);
    assert!(error.contains("BINLOG_RELAY_TEST_UNSET"), "{error}");
}

#[test]
fn what_this_version_does_not_have_exits_2_and_says_so() {
    let scene = Scene::on_shared_servers("not_yet");
    let changes: [Change; 3] = [
        |setup| setup.outboxes[0].preset = "outbox".to_owned(),
        |setup| setup.start_from = Some("snapshot".to_owned()),
        |setup| setup.kafka_lines.push("delivery = \"idempotent\"".to_owned()),
    ];
    for change in changes {
        let mut setup = scene.relay_setup();
        change(&mut setup);
        let error = bad_configuration(&setup);
        assert!(error.contains("not in this version"), "{error}");
    }
}

#[test]
fn values_that_cannot_be_exit_2_and_name_their_key() {
    let scene = Scene::on_shared_servers("bad_values");
    let changes: [(&str, Change); 6] = [
        ("name", |setup| setup.name = "spaces are not allowed".to_owned()),
        ("start_from", |setup| setup.start_from = Some("yesterday".to_owned())),
        ("transaction_timeout", |setup| setup.transaction_timeout = Some("thirty".to_owned())),
        ("acks", |setup| setup.kafka_lines.push("properties = { acks = 1 }".to_owned())),
        ("outbox", |setup| setup.outboxes.clear()),
        ("preset", |setup| setup.outboxes[0].preset = "eventuate".to_owned()),
    ];
    for (key, change) in changes {
        let mut setup = scene.relay_setup();
        change(&mut setup);
        let error = bad_configuration(&setup);
        assert!(error.contains(key), "it names {key}\n{error}");
    }
}

#[test]
fn a_table_that_two_outboxes_match_exits_2() {
    let scene = Scene::on_shared_servers("matched_twice");
    let mut setup = scene.relay_setup();
    setup.outboxes.push(setup.outboxes[0].clone());
    let error = bad_configuration(&setup);
    assert!(error.contains(&setup.outboxes[0].table), "{error}");
}

#[test]
fn a_file_that_is_not_there_and_bad_usage_exit_2() {
    let run = |arguments: &[&str]| {
        crate::harness::relay::relay_command().args(arguments).output().expect("run the relay")
    };
    let output = run(&["run", "--config", "/nowhere/config.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", error_of(&output));
    assert!(error_of(&output).contains("/nowhere/config.toml"));
    assert_eq!(run(&["rum"]).status.code(), Some(2));
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(output_of(&version).contains(env!("CARGO_PKG_VERSION")));
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
    assert_eq!(output.status.code(), Some(2), "{}", error_of(&output));
    assert!(error_of(&output).contains("mysql.usr"), "{}", error_of(&output));
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
fn a_secret_under_a_misspelt_property_is_not_printed() {
    let scene = Scene::on_shared_servers("misspelt");
    let mut setup = scene.relay_setup();
    let line = "properties = { \"sasl.pasword\" = \"wh1sper\" }".to_owned();
    setup.kafka_lines.push(line);
    let error = bad_configuration(&setup);
    assert!(error.contains("sasl.pasword"), "{error}");
    assert!(!error.contains("wh1sper"), "{error}");
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

/// Exit 2 with an `error:` line, before anything is connected to.
fn bad_configuration(setup: &RelaySetup) -> String {
    let output = setup.answer(&["run"]);
    let error = error_of(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("error:"), "{error}");
    error
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn output_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
