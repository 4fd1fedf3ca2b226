//! The relay's own sessions set what they rest on, whatever the server's globals and its `init_connect` say, and
//! keep no transaction open.

use std::sync::Arc;
use std::time::Duration;

use binlog_relay::binlog::{MysqlOptions, Password, Server, TlsMode, TlsOptions};

use harness::relay::SOON;
use harness::scene::{Delivery, Scene};
use harness::servers::{MySql, RELAY_PASSWORD, RELAY_USER, permit_for_own_servers, shared_kafka};
use harness::sql::{Sql, single_threaded_runtime};
use harness::workload::PlainWriter;

/// What a server may have set for all sessions, for reasons of its own.
const HOSTILE: [&str; 15] = [
    "--autocommit=OFF",
    "--transaction-isolation=SERIALIZABLE",
    "--sql-mode=ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,NO_UNSIGNED_SUBTRACTION",
    "--max-execution-time=1",
    "--max-join-size=1",
    "--completion-type=CHAIN",
    "--wait-timeout=2",
    "--interactive-timeout=1",
    "--net-read-timeout=1",
    "--net-write-timeout=1",
    "--group-concat-max-len=4",
    "--lc-messages=de_DE",
    "--character-set-server=utf16",
    "--character-set-client-handshake=OFF",
    "--loose-information-schema-stats-expiry=0",
];

/// What it may run in each session of a user without SUPER.
const INIT_CONNECT: &str = "SET lc_messages = 'ja_JP'; SET NAMES latin1; SET collation_connection = utf16_general_ci; \
                            SET autocommit = 0; SET sql_select_limit = 1; SET sql_safe_updates = 1; SET timestamp = 1; \
                            SET transaction_read_only = 1; START TRANSACTION WITH CONSISTENT SNAPSHOT";

#[test]
fn hostile_globals_and_init_connect_change_nothing_and_no_transaction_stays_open() {
    let _permit = permit_for_own_servers();
    for (version, deliveries) in [
        ("mysql-8.0", &[Delivery::ExactlyOnce, Delivery::Idempotent][..]),
        ("mysql-5.7", &[Delivery::ExactlyOnce]),
    ] {
        let mysql = Arc::new(MySql::start(version, &HOSTILE));
        // Not every server that is fetched for the tests has the words of all languages.
        let mut session = ordinary(&mysql);
        let is_taken = |statement: &&str| match session.try_run(statement) {
            Ok(()) => true,
            Err(error) => {
                assert!(statement.contains("lc_messages"), "{statement}: {error}");
                false
            }
        };
        let statements: Vec<_> = INIT_CONNECT.split("; ").filter(is_taken).collect();
        let statements = statements.join("; ");
        ordinary(&mysql).run(format!("SET GLOBAL init_connect = \"{statements}\""));
        for delivery in deliveries {
            let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "hostile").with(*delivery);
            relays_through_alterations(&scene);
        }
    }
}

fn relays_through_alterations(scene: &Scene) {
    let mut writer = PlainWriter::on(scene);
    writer.sql = ordinary(&scene.mysql);
    writer.sql.run(format!("USE {}", scene.name));
    let setup = scene.relay_setup();
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    // Nothing that the relay holds open stands in its way, nor shows the relay columns of before.
    writer.sql.run("SET SESSION lock_wait_timeout = 5");
    for column in ["one", "two", "three"] {
        writer.sql.run(format!("ALTER TABLE events ADD COLUMN {column} INT NULL"));
        writer.write(2);
        scene.judge_clean(&writer.ledger, &relay, SOON);
    }
    let open: u64 = writer.sql.value(format!(
        "SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist \
         ON trx_mysql_thread_id = id WHERE user = '{RELAY_USER}'"
    ));
    assert_eq!(open, 0, "a session of the relay has a transaction open");
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let check = setup.answer(&["check"]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");
}

#[test]
fn the_clock_of_a_server_is_right_in_the_hour_that_comes_twice() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let mut sql = mysql.connect();
    // A zone whose clocks were put back half an hour ago, and one whose clocks will be in half an hour.
    for (id, name, at) in [(900, "Relay/Before", -1_800), (901, "Relay/After", 1_800)] {
        sql.run(format!("INSERT INTO mysql.time_zone VALUES ({id}, 'N')"));
        sql.run(format!("INSERT INTO mysql.time_zone_name VALUES ('{name}', {id})"));
        sql.run(format!(
            "INSERT INTO mysql.time_zone_transition_type VALUES ({id}, 0, 7200, 1, 'DST'), ({id}, 1, 3600, 0, 'STD')"
        ));
        sql.run(format!(
            "INSERT INTO mysql.time_zone_transition VALUES ({id}, 0, 0), ({id}, UNIX_TIMESTAMP() + {at}, 1)"
        ));
    }
    for zone in ["Relay/Before", "Relay/After", "+09:00"] {
        sql.run(format!("SET GLOBAL time_zone = '{zone}'"));
        let login = mysql.login();
        let options = MysqlOptions {
            host: login.host.clone(),
            port: login.port,
            user: RELAY_USER.to_owned(),
            password: Password::fixed(RELAY_PASSWORD),
            server_id: None,
            heartbeat: Duration::from_secs(1),
            tls: TlsOptions { mode: TlsMode::Preferred, ca: None, cert: None, key: None },
        };
        let ahead = single_threaded_runtime().block_on(async {
            let mut server = Server::connect(&options).await.expect("it lets the relay in");
            server.clock().await.expect("it tells the time").ahead_micros()
        });
        assert!(ahead.abs() < 60_000_000, "{zone}: {ahead} µs ahead of its own machine");
    }
}

#[test]
fn an_init_connect_that_fails_is_named_and_waited_for() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--init-connect=SELECT no_such_column"]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "init_connect");
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    relay.wait_for_log("ERROR 1184 (08S01)");
    relay.wait_for_log("mend init_connect on the server");
    mysql.connect().run("SET GLOBAL init_connect = ''");
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

/// A session of a person who set what these tests need.
fn ordinary(mysql: &MySql) -> Sql {
    let mut sql = mysql.connect();
    sql.run("SET NAMES utf8mb4");
    for setting in [
        "autocommit = 1",
        "transaction_isolation = 'REPEATABLE-READ'",
        "sql_mode = ''",
        "max_execution_time = 0",
        "max_join_size = DEFAULT",
        "sql_big_selects = 1",
        "completion_type = NO_CHAIN",
        "wait_timeout = 28800",
    ] {
        sql.run(format!("SET SESSION {setting}"));
    }
    sql
}
