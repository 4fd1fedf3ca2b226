//! Two relays of one name, and a relay that slept: whoever was replaced can write nothing more.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mysql_async::Row;

use harness::consumer::{Inbox, Isolation};
use harness::relay::{Relay, RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::sql::Sql;
use harness::workload::{PlainWriter, Plan, Workload};

const TRANSACTION_TIMEOUT: &str = "3s";
const PAST_THE_TIMEOUT: Duration = Duration::from_secs(5);

#[test]
fn a_paused_relay_that_was_replaced_exits_3_and_writes_nothing_more() {
    let scene = Scene::on_shared_servers("replaced");
    let setup = setup(&scene);
    let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
    let mut first = setup.start();
    thread::sleep(Duration::from_millis(1_500));
    first.signal("STOP");
    let mut second = setup.start();
    thread::sleep(PAST_THE_TIMEOUT);
    let while_paused = scene.records().len();
    first.signal("CONT");
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    assert!(first.log().contains("taken over by"), "{}", first.log_tail());
    thread::sleep(Duration::from_secs(1));
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &second, SOON);
    assert!(scene.records().len() > while_paused, "the second relay goes on");
    assert!(!second.has_ended(), "{}", second.log_tail());
}

#[test]
fn a_second_relay_takes_over_from_a_running_one() {
    let scene = Scene::on_shared_servers("second");
    let setup = setup(&scene);
    let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
    let mut first = setup.start();
    thread::sleep(Duration::from_millis(1_500));
    let mut second = setup.start();
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    thread::sleep(Duration::from_secs(1));
    let ledger = workload.finish();
    scene.judge_clean(&ledger, &second, SOON);
    assert!(!second.has_ended(), "{}", second.log_tail());
}

/// MySQL ends a connection that asks nothing for `wait_timeout`: eight hours, unless it is set.
#[test]
fn an_idle_relay_keeps_the_lock_that_its_successor_waits_for() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--wait-timeout=1"]));
    let scene = Scene::on(mysql, shared_kafka(), "idle_lock").with(Delivery::Idempotent);
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    let replicas: Vec<Row> = scene.sql().query("SHOW REPLICAS");
    let uuid: String = replicas[0].get("Replica_UUID").expect("it says who it is");
    let is_free = format!("SELECT IS_FREE_LOCK('binlog-relay {uuid}')");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(scene.sql().value::<u8>(&is_free), 0, "{}", relay.log_tail());
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let take = format!("SELECT GET_LOCK('binlog-relay {uuid}', 5)");
    assert_eq!(scene.sql().value::<u8>(&take), 1, "{}", relay.log_tail());
}

/// As Percona XtraDB Cluster does in its default mode.
#[test]
fn a_server_that_refuses_named_locks_is_relayed_from_and_the_price_is_named_once() {
    let scene = Scene::on_shared_servers("no_locks").with(Delivery::Idempotent);
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.mysql_lines.push("tls = { mode = \"disabled\" }".to_owned());
    let words = "Percona-XtraDB-Cluster prohibits use of GET_LOCK with pxc_strict_mode = ENFORCING";
    proxy.refuse_statement("GET_LOCK", 1105, words);
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    // Another session, and no other word of it.
    proxy.cut();
    proxy.pass();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let log = relay.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains(words)).collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(said[0].contains("WARN") && said[0].contains("may come twice"), "{said:?}");
    let check = setup.answer(&["check"]);
    let report = String::from_utf8_lossy(&check.stdout).into_owned();
    let line = report.lines().find(|line| line.contains("mysql.lock")).expect("a line of it");
    assert!(line.starts_with("warn") && line.contains(words), "{line}");
    assert_eq!(check.status.code(), Some(0), "{report}");
}

/// A balancer may end a connection that it finds idle.
#[test]
fn a_lock_whose_connection_was_cut_is_taken_again_and_one_that_somebody_else_took_ends_the_session()
{
    let scene = Scene::on_shared_servers("cut_lock").with(Delivery::Idempotent);
    let mut writer = PlainWriter::on(&scene);
    let mut setup = scene.relay_setup();
    let server_id = rand::random_range(1 << 20..1 << 30);
    setup.mysql_lines.push(format!("server_id = {server_id}"));
    let mut relay = setup.start();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    let mut sql = scene.sql();
    let lock = name_of_lock(&mut sql, server_id);
    let before = holder_of(&mut sql, &lock).expect("it is held");
    sql.run(format!("KILL {before}"));
    let deadline = Instant::now() + SOON;
    while holder_of(&mut sql, &lock).is_none_or(|holder| holder == before) {
        assert!(Instant::now() < deadline, "it is not taken again\n{}", relay.log_tail());
        thread::sleep(Duration::from_millis(50));
    }
    relay.wait_for_log("took the lock again");
    writer.write(1);
    scene.wait_for_records(&relay, 2);
    assert_eq!(relay.log().matches("relaying server=").count(), 1, "{}", relay.log_tail());
    // Somebody waits for it, and is served first.
    let waiter = {
        let (mut other, lock) = (scene.sql(), lock.clone());
        thread::spawn(move || {
            assert_eq!(other.value::<u8>(format!("SELECT GET_LOCK('{lock}', 60)")), 1);
            other
        })
    };
    thread::sleep(Duration::from_millis(500));
    let before = holder_of(&mut sql, &lock).expect("it is held");
    sql.run(format!("KILL {before}"));
    let other = waiter.join().expect("the lock came to the one who waited");
    relay.wait_for_log("another session holds the lock");
    drop(other);
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// The lock of the relay with this server id.
fn name_of_lock(sql: &mut Sql, server_id: u32) -> String {
    let replicas: Vec<Row> = sql.query("SHOW REPLICAS");
    let is_own = |row: &&Row| row.get::<u32, _>("Server_Id") == Some(server_id);
    let own = replicas.iter().find(is_own).expect("the server knows it");
    format!("binlog-relay {}", own.get::<String, _>("Replica_UUID").expect("it says who it is"))
}

fn holder_of(sql: &mut Sql, lock: &str) -> Option<u64> {
    sql.value(format!("SELECT IS_USED_LOCK('{lock}')"))
}

#[test]
fn relays_of_one_name_that_start_at_once_end_as_one() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on_shared_servers("at_once").with(delivery);
        let setup = setup(&scene);
        let workload = Workload::start(&scene, &Plan::with_seed_of_the_day(&scene.name));
        let mut running: Vec<Relay> = Vec::new();
        for round in 0..8 {
            let count = 2 + round % 2;
            running.extend((0..count).map(|_| setup.start()));
            wait_until_one_is_left(&mut running);
        }
        let ledger = workload.finish();
        let mut last = running.pop().expect("one is left");
        scene.judge_clean_to_the_end(&ledger, &mut last, SOON);
    }
}

/// Nothing moves in the binlog, so that nothing but the servers tells them of each other; then rows come.
#[test]
fn relays_of_one_name_that_start_at_once_on_an_idle_server_repeat_nothing() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    for delivery in [Delivery::Idempotent, Delivery::ExactlyOnce] {
        let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "idle_at_once").with(delivery);
        scene.create_topic("account");
        let mut writer = PlainWriter::on(&scene);
        let setup = scene.relay_setup();
        let mut running: Vec<Relay> = Vec::new();
        for _ in 0..4 {
            running.extend((0..3).map(|_| setup.start()));
            wait_until_settled(&mut running);
            writer.write(3);
            wait_until_one_is_left(&mut running);
            scene.judge_clean(&writer.ledger, &running[0], SOON);
        }
        scene.judge_clean_to_the_end(&writer.ledger, &mut running[0], SOON);
    }
}

/// MySQL ends one dump of a replica's UUID when another one begins: which, where there are several, is left to chance.
/// Here it does not know that of the first relay.
#[test]
fn a_predecessor_whose_dump_mysql_does_not_end_ends_before_its_successor_sends() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "two_dumps").with(Delivery::Idempotent);
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    proxy.replace("_uuid = '", "_uuie = '");
    setup.mysql_lines.push("tls = { mode = \"disabled\" }".to_owned());
    setup.mysql_lines.push("server_id = 4711".to_owned());
    let mut first = setup.start();
    writer.write(2);
    scene.wait_for_records(&first, 2);
    scene.wait_for_checkpoint_at(&first, &writer.sql.end_of_binlog());
    let mut second = scene.start_relay();
    second.wait_for_log("did not end within");
    for _ in 0..40 {
        writer.write(2);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    scene.judge_clean_to_the_end(&writer.ledger, &mut second, SOON);
}

/// Waits until each relays, or has ended, and a while more.
fn wait_until_settled(running: &mut [Relay]) {
    let deadline = Instant::now() + SOON;
    let mut is_open =
        |relay: &mut Relay| !relay.has_ended() && !relay.log().contains("relaying server=");
    while running.iter_mut().any(&mut is_open) {
        assert!(Instant::now() < deadline, "they do not start");
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_secs(6));
}

/// The others exit 3.
fn wait_until_one_is_left(running: &mut Vec<Relay>) {
    let deadline = Instant::now() + SOON;
    while running.len() > 1 {
        running.retain_mut(|relay| {
            let has_ended = relay.has_ended();
            assert!(!has_ended || relay.exit_code() == 3, "{}", relay.log_tail());
            !has_ended
        });
        let logs = || running.iter().map(Relay::log_tail).collect::<Vec<_>>().join("\n");
        assert!(Instant::now() < deadline, "{} are left\n{}", running.len(), logs());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_idle_relay_that_was_replaced_exits_3_when_rows_come() {
    let scene = Scene::on_shared_servers("idle_replaced");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    let mut first = setup.start();
    writer.write(1);
    scene.wait_for_records(&first, 1);
    let mut second = setup.start();
    writer.write(3);
    scene.judge_clean(&writer.ledger, &second, SOON);
    // Its dump connection is the same replica's as the second's: it is told soon, rows or none.
    writer.write(3);
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    scene.judge_clean(&writer.ledger, &second, SOON);
    assert!(!second.has_ended(), "{}", second.log_tail());
}

#[test]
fn a_replaced_relay_that_was_cut_off_from_mysql_does_not_take_back() {
    let scene = Scene::on_shared_servers("cut_replaced");
    let (proxy, setup) = scene.behind_mysql_proxy();
    let mut writer = PlainWriter::on(&scene);
    let mut first = setup.start();
    writer.write(2);
    scene.wait_for_records(&first, 2);
    // The first relay does not hear that MySQL ends its dump: it knows nothing of the second.
    proxy.freeze();
    let mut second = scene.start_relay();
    writer.write(2);
    scene.wait_for_records(&second, 4);
    proxy.cut();
    proxy.pass();
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    writer.write(2);
    scene.judge_clean(&writer.ledger, &second, SOON);
    assert!(!second.has_ended(), "{}", second.log_tail());
    assert!(!second.log().contains("fenced"), "nobody disturbed it\n{}", second.log_tail());
}

#[test]
fn a_replaced_relay_that_is_told_to_drain_says_that_it_was_replaced() {
    let scene = Scene::on_shared_servers("drain_replaced");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    let mut first = setup.start();
    writer.write(2);
    scene.wait_for_records(&first, 2);
    first.signal("STOP");
    let second = setup.start();
    writer.write(2);
    scene.wait_for_records(&second, 4);
    first.signal("TERM");
    first.signal("CONT");
    assert_eq!(first.exit_code(), 3, "{}", first.log_tail());
    scene.judge_clean(&writer.ledger, &second, SOON);
}

#[test]
fn a_lone_relay_that_slept_past_its_transaction_timeout_recovers() {
    let scene = Scene::on_shared_servers("slept");
    scene.create_topic("account");
    let mut writer = PlainWriter::on(&scene);
    let mut setup = scene.relay_setup();
    setup.transaction_timeout = Some(TRANSACTION_TIMEOUT.to_owned());
    let mut relay = setup.start();
    let mut rows = 0;
    for _ in 0..2 {
        rows = stop_inside_a_transaction(&scene, &mut writer, &relay, rows);
        thread::sleep(PAST_THE_TIMEOUT);
        relay.signal("CONT");
        writer.write(3);
        rows += 3;
        scene.wait_for_records(&relay, rows);
    }
    // It may learn of it from the broker, as one that is fenced, or from its own clock.
    let sessions = relay.log().matches("relaying server=").count();
    assert!(sessions >= 3, "it recovered {sessions} - 1 times, not twice\n{}", relay.log_tail());
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

/// Writes transactions until the relay is paused with one of them open in Kafka: some of it is there
/// and not committed. `rows` is how many rows were written before; returned is how many are now.
fn stop_inside_a_transaction(
    scene: &Scene,
    writer: &mut PlainWriter,
    relay: &Relay,
    mut rows: usize,
) -> usize {
    const ROWS: usize = 8_000;
    const ATTEMPTS: usize = 20;
    /// The records in flight when the relay was suspended have arrived after this.
    const UNDER_WAY: Duration = Duration::from_millis(300);
    let mut inbox = Inbox::open(&scene.kafka, &scene.topic(""), Isolation::ReadUncommitted);
    for _ in 0..ATTEMPTS {
        scene.wait_for_records(relay, rows);
        let there =
            Inbox::read_all(&scene.kafka, &scene.topic(""), Isolation::ReadUncommitted).len();
        relay.wait_until_came(&mut inbox, there, SOON);
        writer.write_together(ROWS);
        relay.wait_until_came(&mut inbox, there + 1, SOON);
        relay.signal("STOP");
        thread::sleep(UNDER_WAY);
        if scene.records().len() == rows {
            return rows + ROWS;
        }
        relay.signal("CONT");
        rows += ROWS;
    }
    panic!("it was never inside a transaction\n{}", relay.log_tail());
}

fn setup(scene: &Scene) -> RelaySetup {
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(scene);
    setup.transaction_timeout = Some(TRANSACTION_TIMEOUT.to_owned());
    setup
}
