//! Whoever reads the log, `/readyz` or `check` finds what to do about just that cause, be it a halt or waited for.

use std::sync::Arc;

use harness::http::Http;
use harness::kafka::{OpenTransaction, create_compacted_topic};
use harness::relay::{Relay, RelaySetup, SOON, said};
use harness::scene::Scene;
use harness::servers::{Kafka, MySql, permit_for_own_servers, shared_kafka, shared_mysql};
use harness::sql::Sql;
use harness::workload::PlainWriter;

/// A login that no waiting lets in: what happens to the account, how it is taken back, the number that the server
/// answers, and a word of the cure.
const REFUSALS: [(&str, &str, &str, &str); 4] = [
    (
        "ALTER USER relay ACCOUNT LOCK",
        "ALTER USER relay ACCOUNT UNLOCK",
        "ERROR 3118",
        "ACCOUNT UNLOCK",
    ),
    (
        "ALTER USER relay PASSWORD EXPIRE",
        "ALTER USER relay IDENTIFIED BY 'secret'",
        "ERROR 1862",
        "PASSWORD EXPIRE NEVER",
    ),
    (
        "ALTER USER relay IDENTIFIED BY 'another'",
        "ALTER USER relay IDENTIFIED BY 'secret'",
        "ERROR 1045",
        "password",
    ),
    // The one failed login that is allowed is the relay's own.
    (
        "ALTER USER relay IDENTIFIED BY 'another' FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1",
        "ALTER USER relay IDENTIFIED BY 'secret' FAILED_LOGIN_ATTEMPTS 0 ACCOUNT UNLOCK",
        "ERROR 3955",
        "ACCOUNT UNLOCK",
    ),
];

#[test]
fn a_login_that_no_waiting_lets_in_halts_with_its_own_cure() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "login");
    let mut sql = scene.sql();
    sql.run("ALTER USER relay IDENTIFIED BY 'secret'");
    let setup = RelaySetup { mysql_password: "secret".to_owned(), ..scene.relay_setup() };
    for (change, back, number, cure) in REFUSALS {
        sql.run(change);
        assert_refused(&setup, number, cure);
        sql.run(back);
        sql.run("ALTER USER relay IDENTIFIED BY 'secret'");
    }
    let mut relay = setup.start();
    scene.wait_for_checkpoint_at(&relay, &scene.start);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    // A server that lets it in and then answers nothing says it with another number.
    sql.run("ALTER USER relay PASSWORD EXPIRE");
    mysql.stop();
    mysql.add_argument("--disconnect-on-expired-password=OFF");
    mysql.start_again();
    assert_refused(&setup, "ERROR 1820", "PASSWORD EXPIRE NEVER");
}

/// Fails unless the relay halts at once, with this cure, and `check` says the same.
fn assert_refused(setup: &RelaySetup, number: &str, cure: &str) {
    let log = setup.start().halts();
    let hint = log.lines().rfind(|line| line.starts_with("hint: ")).expect("a halt has one");
    assert!(log.contains(number), "{number}\n{log}");
    assert!(hint.contains(cure), "{number}: {hint}");
    assert!(!log.contains(" WARN "), "it is not tried again\n{log}");
    let check = said(&setup.answer(&["check"])).out;
    assert!(check.contains(hint), "check says something else than {hint}\n{check}");
}

#[test]
fn a_server_that_is_full_for_the_account_is_waited_for_with_its_own_cure() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "full_account");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("ALTER USER relay WITH MAX_USER_CONNECTIONS 1");
    let mut relay = scene.start_relay();
    relay.wait_for_log("ERROR 1226");
    wait_for_hint(&mut relay, "raise its MAX_USER_CONNECTIONS");
    writer.sql.run("ALTER USER relay WITH MAX_USER_CONNECTIONS 0");
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    for (cause, cure, number, hint) in [
        (
            "ALTER USER relay WITH MAX_CONNECTIONS_PER_HOUR 1",
            "ALTER USER relay WITH MAX_CONNECTIONS_PER_HOUR 0",
            "ERROR 1226",
            "it ends with the hour",
        ),
        (
            "SET GLOBAL offline_mode = ON",
            "SET GLOBAL offline_mode = OFF",
            "ERROR 3032",
            "offline_mode = OFF",
        ),
        (
            "SET GLOBAL max_connections = 1",
            "SET GLOBAL max_connections = 100",
            "ERROR 1040",
            "raise its max_connections",
        ),
    ] {
        writer.sql.run(cause);
        end_connections(&mut writer.sql);
        relay.wait_for_log(number);
        wait_for_hint(&mut relay, hint);
        writer.sql.run(cure);
        writer.write(1);
        scene.judge_clean(&writer.ledger, &relay, SOON);
    }
}

#[test]
fn what_is_waited_for_is_said_with_its_hint_in_the_log_and_by_http_and_the_state_stands() {
    let scene = Scene::on_shared_servers("hint_away");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.http = Some("127.0.0.1:0".to_owned());
    setup.environment = vec![("BINLOG_RELAY_LOG_FORMAT".to_owned(), "json".to_owned())];
    let mut relay = setup.start();
    let http = http_of_json_log(&mut relay);
    http.wait_until_ready();
    proxy.cut();
    http.wait_until("the hint", |http| http.get("/readyz").body.contains("\nhint: "));
    let since = http.status()["stateSince"].clone();
    let tries = || http.metrics().value("errors_total", &[("kind", "mysql")]);
    let before = tries();
    http.wait_until("further tries", |_| tries() > before + 4.0);
    let (status, ready) = (http.status(), http.get("/readyz"));
    assert_eq!((&status["state"], &status["stateSince"]), (&"reconnecting".into(), &since));
    assert_eq!(ready.status, 503);
    let (reason, hint) = ready.body.trim_end().split_once("\nhint: ").expect("two lines");
    assert_eq!(reason.strip_prefix("reconnecting: "), status["reason"].as_str());
    assert_eq!(Some(hint), status["hint"].as_str());
    let log = relay.log();
    let warnings: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["level"] == "WARN")
        .collect();
    assert!(warnings.len() > 4, "{log}");
    for warning in &warnings {
        assert!(warning["hint"].is_string() && warning["retry_in_ms"].is_u64(), "{warning}");
    }
    let last = warnings.last().expect("there are some");
    assert!(last["hint"].as_str().is_some_and(|hint| hint.contains("server")), "{last}");
    proxy.pass();
    http.wait_until_ready();
    assert_eq!(http.status()["hint"], serde_json::Value::Null);
}

#[test]
fn a_transaction_that_hangs_is_waited_for_with_that_cure() {
    let scene = Scene::on_shared_servers("hint_hangs");
    let topic = scene.checkpoint_topic();
    create_compacted_topic(&scene.kafka, &topic, 1);
    let open = OpenTransaction::begin(&scene.kafka, &format!("{}-stranger", scene.name));
    open.write(&topic, 0, "somebody else's", b"open");
    let mut relay = scene.start_relay();
    relay.wait_for_log("an open transaction of another producer holds back the checkpoint topic");
    wait_for_hint(&mut relay, "kafka-transactions.sh");
    assert!(!relay.log().contains("bootstrap_servers"), "that is not the cure\n{}", relay.log());
    drop(open);
}

#[test]
fn a_cluster_that_cannot_coordinate_transactions_or_has_too_few_brokers_is_waited_for_with_that_cure()
 {
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&["transaction.state.log.replication.factor=3"]));
    let scene = Scene::on(shared_mysql(), kafka, "hint_alone");
    let mut setup = scene.relay_setup();
    setup.transaction_timeout = Some("2s".to_owned());
    let mut relay = setup.start();
    relay.wait_for_log("no coordinator has taken the transactional id");
    wait_for_hint(&mut relay, "transaction.state.log.replication.factor");
    relay.kill();
    setup.kafka_lines.push("topic_replication = 3".to_owned());
    setup.checkpoint_topic.push_str("-3");
    let mut relay = setup.start();
    relay.wait_for_log("fewer brokers are up than the topic needs replicas");
    wait_for_hint(&mut relay, "start more brokers, or lower [kafka] topic_replication");
    assert!(!relay.log().contains("bootstrap_servers"), "that is not the cure\n{}", relay.log());
}

/// Waits for a WARN with this in its hint.
fn wait_for_hint(relay: &mut Relay, words: &str) {
    relay.wait_for_log(words);
    let log = relay.log();
    let is_hint = |line: &str| {
        let hint = line.split_once(" hint=").map(|(_, hint)| hint);
        line.contains(" WARN ") && hint.is_some_and(|hint| hint.contains(words))
    };
    assert!(log.lines().any(is_hint), "no hint of a warning has {words:?}\n{log}");
}

/// Its HTTP, by its log in JSON.
fn http_of_json_log(relay: &mut Relay) -> Http {
    const FIELD: &str = "\"message\":\"answering HTTP\",\"address\":\"";
    relay.wait_for_log(FIELD);
    let log = relay.log();
    let (_, rest) = log.split_once(FIELD).expect("the log has it");
    Http::at(rest.split('"').next().expect("a split has a first part"))
}

/// Ends the relay's connections, so that it has to make new ones.
fn end_connections(sql: &mut Sql) {
    let ids: Vec<u64> =
        sql.query("SELECT id FROM information_schema.processlist WHERE user = 'relay'");
    for id in ids {
        // One may have ended with another.
        let _ = sql.try_run(&format!("KILL {id}"));
    }
}
