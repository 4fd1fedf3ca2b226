//! MySQL goes away: restarted, killed, cut off, and frozen with its connections open.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::proxy::Proxy;
use harness::relay::{Relay, SOON};
use harness::scene::Scene;
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::workload::{PlainWriter, Plan, Workload};

/// Three heartbeats, but at least this long, without an event is a dead connection.
const DEAD_AFTER: Duration = Duration::from_secs(10);
const BACK_WITHIN: Duration = Duration::from_secs(120);

#[test]
fn a_restarted_or_killed_mysql_is_resumed_from() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "mysql_restart");
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(5);
    scene.wait_for_records(&relay, 5);
    writer.write(5);
    mysql.stop();
    thread::sleep(Duration::from_millis(1_500));
    mysql.start_again();
    writer.sql = scene.sql();
    writer.write(5);
    scene.wait_for_records_within(&relay, 15, BACK_WITHIN);
    mysql.kill();
    mysql.start_again();
    writer.sql = scene.sql();
    writer.write(5);
    scene.judge_clean(&writer.ledger, &relay, BACK_WITHIN);
    assert!(!relay.has_ended(), "{}", relay.log_tail());
}

#[test]
fn what_an_operator_turns_on_a_running_server_is_outlived() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--bind-address=*"]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "operated");
    let mut writer = PlainWriter::on(&scene);
    let mut setup = scene.setup_with_http();
    // A literal address of the other kind.
    setup.mysql_address = format!("[::1]:{}", mysql.login().port);
    let mut relay = setup.start();
    let http = relay.http();
    for (turn, turn_back) in [
        ("SET GLOBAL offline_mode = ON", "SET GLOBAL offline_mode = OFF"),
        ("SET GLOBAL super_read_only = ON", "SET GLOBAL read_only = OFF"),
        ("SET GLOBAL gtid_mode = ON_PERMISSIVE", "SET GLOBAL gtid_mode = ON"),
        ("SET GLOBAL server_id = 77", "SET GLOBAL server_id = 1"),
        (
            "SET GLOBAL binlog_row_value_options = PARTIAL_JSON",
            "SET GLOBAL binlog_row_metadata = FULL",
        ),
        ("SET GLOBAL binlog_checksum = NONE", "SET GLOBAL binlog_checksum = CRC32"),
        ("SET GLOBAL max_connections = 1", "SET GLOBAL max_connections = 100"),
        ("SET GLOBAL require_secure_transport = ON", "SET GLOBAL require_secure_transport = OFF"),
    ] {
        writer.write(1);
        http.wait_until_ready();
        let mut operator = mysql.connect();
        operator.run(turn);
        thread::sleep(Duration::from_millis(300));
        operator.run(turn_back);
        writer.write(1);
        scene.judge_clean(&writer.ledger, &relay, BACK_WITHIN);
        assert!(!relay.has_ended(), "{turn}\n{}", relay.log_tail());
    }
    // Binlogs go while the relay reads; nobody can judge by them then.
    let rows = scene.records().len();
    writer.sql.run("SET GLOBAL binlog_expire_logs_seconds = 1");
    for round in 1..=3 {
        writer.write(1);
        thread::sleep(Duration::from_millis(1_100));
        writer.sql.run("FLUSH BINARY LOGS");
        scene.wait_for_records(&relay, rows + round);
    }
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_eq!(scene.records().len(), rows + 3);
}

#[test]
fn a_cut_connection_to_mysql_is_made_again() {
    let scene = Scene::on_shared_servers("mysql_cut");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.outboxes = Workload::outboxes(&scene);
    let plan = Plan { large_rows: 500, ..Plan::with_seed_of_the_day(&scene.name) };
    let workload = Workload::start(&scene, &plan);
    let relay = setup.start();
    let mut inbox = scene.inbox();
    for _ in 0..5 {
        // It is relaying again, then it is cut off and tries in vain, then it may connect.
        let arrived = inbox.take_what_came().len();
        relay.wait_until_came(&mut inbox, arrived + 1, BACK_WITHIN);
        let before = proxy.accepted();
        proxy.cut();
        wait_for_connections(&proxy, before + 1, &relay);
        let refused = proxy.accepted();
        proxy.pass();
        wait_for_connections(&proxy, refused + 1, &relay);
    }
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &relay, BACK_WITHIN);
}

#[test]
fn a_frozen_connection_to_mysql_is_noticed_and_replaced() {
    let scene = Scene::on_shared_servers("mysql_frozen");
    let (proxy, setup) = scene.behind_mysql_proxy();
    let mut writer = PlainWriter::on(&scene);
    let relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    let before = proxy.accepted();
    proxy.freeze();
    writer.write(2);
    thread::sleep(DEAD_AFTER + Duration::from_secs(4));
    assert!(proxy.accepted() > before, "the dead connection goes unnoticed\n{}", relay.log_tail());
    proxy.pass();
    scene.judge_clean(&writer.ledger, &relay, BACK_WITHIN);
}

#[test]
fn an_idle_connection_is_kept_by_heartbeats() {
    // On the shared server other tests' events would come in between.
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "heartbeats");
    let (proxy, setup) = scene.behind_mysql_proxy();
    let mut writer = PlainWriter::on(&scene);
    let relay = setup.start();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    let before = proxy.accepted();
    thread::sleep(DEAD_AFTER + Duration::from_secs(3));
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_eq!(proxy.accepted(), before, "nothing was reconnected\n{}", relay.log_tail());
}

#[test]
fn an_event_that_takes_long_to_arrive_is_no_dead_connection_for_ever() {
    let scene = Scene::on_shared_servers("mysql_slow");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE large (cell LONGTEXT)");
    writer.sql.run("INSERT INTO large VALUES (REPEAT('x', 23 << 20))");
    writer.write(2);
    setup.start_from = Some(scene.start.to_string());
    proxy.slow();
    let relay = setup.start();
    scene.wait_for_records_within(&relay, 2, BACK_WITHIN);
    proxy.pass();
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

fn wait_for_connections(proxy: &Proxy, count: usize, relay: &Relay) {
    let deadline = Instant::now() + BACK_WITHIN;
    while proxy.accepted() < count {
        assert!(Instant::now() < deadline, "it does not connect again\n{}", relay.log_tail());
        thread::sleep(Duration::from_millis(5));
    }
}
