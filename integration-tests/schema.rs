//! `schema` prints what a relay needs: the tables and the user that it makes are ones that `check` and `run`
//! accept.

use std::io::Write;
use std::process::Output;
use std::sync::Arc;

use harness::relay::{RelaySetup, SOON, relay_command};
use harness::say;
use harness::scene::{EVENTUATE_LOCAL, EVENTUATE_TRAM, Scene};
use harness::servers::{MySql, has_version, permit_for_own_servers, shared_kafka};
use harness::sql::Sql;
use harness::workload::insert_event;

/// What the printed user has until somebody chooses another one.
const PRINTED_PASSWORD: &str = "change-me";

#[test]
fn what_is_printed_runs_on_mysql_8_and_a_relay_can_use_it() {
    let _permit = permit_for_own_servers();
    is_enough("mysql-8.0", &[]);
}

#[test]
fn what_is_printed_runs_on_mysql_5_7_and_a_relay_can_use_it() {
    let _permit = permit_for_own_servers();
    is_enough("mysql-5.7", &["--binlog-format=ROW"]);
}

#[test]
fn what_is_printed_runs_on_mysql_9_and_a_relay_can_use_it() {
    if !has_version("mysql-9") {
        say("MySQL 9 is not available on this machine: the printed schema NOT RUN on it");
        return;
    }
    let _permit = permit_for_own_servers();
    is_enough("mysql-9", &[]);
}

#[test]
fn a_preset_that_is_not_there_exits_2_and_says_which_are() {
    for (preset, error, hint) in [
        (
            "eventuate-loacl",
            "preset \"eventuate-loacl\" is not known",
            "did you mean eventuate-local?",
        ),
        (
            "zzz",
            "preset \"zzz\" is not known",
            "this version has eventuate-local, eventuate-tram, outbox, message-events, event-sourcing, custom",
        ),
    ] {
        let output = schema(preset);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert_eq!(said, format!("error: {error}\nhint: {hint}\n"));
    }
}

/// Makes both presets' tables and the user from what is printed and nothing else, and relays a row of each.
fn is_enough(version: &str, arguments: &[&str]) {
    let mysql = Arc::new(MySql::start(version, arguments));
    let scene = Scene::on(mysql, shared_kafka(), "schema");
    let mut sql = scene.sql();
    sql.run("DROP USER 'relay'@'%'");
    sql.run("DROP TABLE events, message");
    let printed = [EVENTUATE_LOCAL, EVENTUATE_TRAM].map(printed);
    // Twice does no harm.
    for text in printed.iter().chain(&printed) {
        run_file(&mut sql, text);
    }
    let tables: Vec<String> = sql.query("SHOW TABLES");
    let expected = ["entities", "events", "message", "received_messages", "snapshots"];
    assert_eq!(tables, expected);

    let setup = RelaySetup {
        mysql_user: "relay".to_owned(),
        mysql_password: PRINTED_PASSWORD.to_owned(),
        ..scene.relay_setup()
    };
    let output = setup.answer(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let relay = setup.start();
    sql.run(insert_event("0000018f-01", "'{}'", &scene.topic("event")));
    sql.run(format!(
        "INSERT INTO message (id, destination, headers, payload) \
         VALUES ('0000018f-02', '{}', '{{\"ID\":\"0000018f-02\"}}', '{{}}')",
        scene.topic("message")
    ));
    if let Err(error) = scene.inbox().wait_for(2, SOON) {
        panic!("{error}\n{}", relay.log_tail());
    }
}

fn printed(preset: &str) -> String {
    let output = schema(preset);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{said}");
    let text = String::from_utf8(output.stdout).expect("text");
    for word in ["kafka-acls.sh", "--transactional-id", "GRANT REPLICATION SLAVE"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    text
}

fn schema(preset: &str) -> Output {
    relay_command().args(["schema", "--preset", preset]).output().expect("run the relay")
}

/// As the `mysql` client does: statement by statement, comments and all.
fn run_file(sql: &mut Sql, text: &str) {
    let mut statement = Vec::new();
    for line in text.lines() {
        writeln!(statement, "{line}").expect("writing to a buffer");
        if !line.starts_with("--") && line.trim_end().ends_with(';') {
            sql.run(String::from_utf8(std::mem::take(&mut statement)).expect("text"));
        }
    }
    let rest = String::from_utf8(statement).expect("text");
    assert!(rest.lines().all(|line| line.is_empty() || line.starts_with("--")), "{rest}");
}
