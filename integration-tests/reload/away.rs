//! Another configuration is asked for while an end is away, while the relay starts, or while another reload is on its
//! way.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::relay::SOON;
use harness::scene::{Delivery, Scene};
use harness::servers::{Kafka, free_port, permit_for_own_servers, shared_mysql};
use harness::workload::PlainWriter;

use super::{create_table, custom};

#[test]
fn a_reload_while_kafka_is_away_waits_for_it_and_the_last_one_that_fits_counts() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka) = Kafka::start_behind_proxy();
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "reload_kafka");
    ["first", "second", "third"].iter().for_each(|table| create_table(&scene, table));
    let setup = scene.relay_setup();
    let with = |table: &str| {
        let mut setup = setup.clone();
        setup.shutdown_timeout = Some("500ms".to_owned());
        setup.outboxes.push(custom(&scene, table, table));
        setup
    };
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    proxy.freeze();
    writer.write(3);
    relay.rewrite_config(&with("first").to_toml());
    relay.signal("HUP");
    relay.wait_for_log("taking it over at the next transaction boundary");
    // Longer than any shutdown_timeout: the drain of a reload has no end but Kafka's answer.
    thread::sleep(Duration::from_secs(2));
    assert!(!relay.has_ended(), "{}", relay.log_tail());
    relay.rewrite_config(&with("second").to_toml());
    relay.signal("HUP");
    relay.wait_for_log(&format!("outbox {}.second added", scene.name));
    proxy.pass();
    relay.wait_for_log("the new configuration is in force");
    // The table of the next one vanishes after it was looked at, and before the relay has drained.
    proxy.freeze();
    writer.write(1);
    relay.rewrite_config(&with("third").to_toml());
    relay.signal("HUP");
    relay.wait_for_log(&format!("outbox {}.third added", scene.name));
    writer.sql.run("DROP TABLE third");
    proxy.pass();
    relay.wait_for_log("the old one stays in force");
    assert!(relay.log().contains("there is no table"), "{}", relay.log_tail());
    scene.judge_clean(&writer.ledger, &relay, SOON);
    for table in ["first", "second"] {
        writer.sql.run(format!("INSERT INTO {table} VALUES (1, 'a', 'x')"));
    }
    let records = scene.wait_for_records(&relay, 7);
    assert!(records.iter().any(|it| it.topic == scene.topic("second")), "{}", relay.log_tail());
    assert!(!records.iter().any(|it| it.topic == scene.topic("first")), "it was replaced");
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

#[test]
fn a_reload_while_mysql_is_away_waits_until_its_tables_can_be_looked_at() {
    let scene = Scene::on_shared_servers("reload_mysql");
    create_table(&scene, "added");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.http = Some("127.0.0.1:0".to_owned());
    setup.http_lines = vec!["reload = true".to_owned()];
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    let http = relay.http();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    proxy.cut();
    http.wait_until("the loss", |http| http.status()["state"] == "reconnecting");
    setup.outboxes.push(custom(&scene, "added", "added"));
    relay.rewrite_config(&setup.to_toml());
    let asked = thread::spawn(move || (http.post("/reload", &[]), http));
    relay.wait_for_log("waits until MySQL can be asked");
    relay.signal("HUP");
    let (answer, http) = asked.join().expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (202, "{\"result\":\"superseded\"}\n"));
    writer.write(2);
    proxy.pass();
    relay.wait_for_log("the new configuration is in force");
    scene.judge_clean(&writer.ledger, &relay, SOON);
    http.wait_until_ready();
    writer.sql.run("INSERT INTO added VALUES (1, 'a', 'x')");
    scene.wait_for_records(&relay, 5);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

/// The old password does not let the relay in any more, so it cannot drain with the old configuration.
#[test]
fn a_password_that_was_changed_is_taken_over_by_a_relay_that_is_locked_out() {
    let scene = Scene::on_shared_servers("reload_password");
    create_table(&scene, "added");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    let mut writer = PlainWriter::on(&scene);
    let user = format!("r_{:x}", rand::random::<u32>());
    let name = &scene.name;
    for statement in [
        format!("CREATE USER '{user}'@'%' IDENTIFIED WITH mysql_native_password BY 'old'"),
        format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"),
        format!("GRANT SELECT ON {name}.* TO '{user}'@'%'"),
    ] {
        writer.sql.run(statement);
    }
    (setup.mysql_user, setup.mysql_password) = (user.clone(), "old".to_owned());
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    writer.sql.run(format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'new'"));
    proxy.cut();
    proxy.pass();
    relay.wait_for_log("Access denied");
    writer.write(2);
    setup.mysql_password = "new".to_owned();
    setup.outboxes.push(custom(&scene, "added", "added"));
    relay.reload(&setup);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    writer.sql.run("INSERT INTO added VALUES (1, 'a', 'x')");
    scene.wait_for_records(&relay, 5);
    writer.sql.run(format!("DROP USER '{user}'@'%'"));
}

#[test]
fn a_hangup_ends_no_relay_that_starts_waits_or_drains() {
    let scene = Scene::on_shared_servers("reload_starting");
    let mut setup = scene.relay_setup();
    setup.kafka_bootstrap = format!("127.0.0.1:{}", free_port());
    let mut relay = setup.start();
    // It is not in `main` yet, perhaps: until it is, the signal is the system's business.
    relay.wait_for_log("starting");
    for _ in 0..20 {
        relay.signal("HUP");
        thread::sleep(Duration::from_millis(20));
    }
    relay.wait_for_log("the configuration has not changed");
    relay.rewrite_config("name = ");
    relay.signal("HUP");
    relay.wait_for_log("the new configuration is refused, and the old one stays in force");
    assert!(!relay.has_ended(), "{}", relay.log_tail());
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), 0, "{}", relay.log_tail());
}

/// nohup ignores SIGHUP on behalf of its command. The relay lives through it either way, and reads its file again.
#[test]
fn a_relay_under_nohup_reads_its_configuration_again() {
    let scene = Scene::on_shared_servers("reload_nohup");
    let mut setup = scene.relay_setup();
    let program = std::env::temp_dir().join(format!("nohup-{}", scene.name));
    let relay_path = harness::relay::relay_command().get_program().to_owned();
    let script = format!("#!/bin/sh\ntrap '' HUP\nexec {} \"$@\"\n", relay_path.display());
    std::fs::write(&program, script).expect("write a script");
    let made = Command::new("chmod").arg("755").arg(&program).status().expect("run chmod");
    assert!(made.success());
    setup.program = Some(program.clone());
    let mut relay = setup.start();
    relay.wait_for_log("starting");
    relay.signal("HUP");
    relay.wait_for_log("the configuration has not changed");
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    std::fs::remove_file(program).expect("remove the script");
}

/// Nothing of the transaction that waits has left, so other routes can begin before it.
#[test]
fn routes_to_another_topic_are_taken_over_while_the_relay_waits_for_a_missing_one() {
    let scene = Scene::on_shared_servers("reload_topic").with(Delivery::ExactlyOnce);
    create_table(&scene, "kept");
    scene.create_topic("right");
    let mut setup = scene.relay_setup();
    setup.kafka_lines = vec!["create_topics = false".to_owned()];
    setup.outboxes = vec![custom(&scene, "kept", "wrong")];
    let name = scene.checkpoint_topic();
    harness::kafka::create_topic(&scene.kafka, &name, 1, &[("cleanup.policy", "compact")]);
    let mut relay = setup.start();
    scene.sql().run("INSERT INTO kept VALUES (1, 'a', 'x'), (2, 'a', 'x')");
    relay.wait_for_log("does not exist, and create_topics is false");
    setup.outboxes = vec![custom(&scene, "kept", "right")];
    relay.reload(&setup);
    let values: Vec<_> =
        scene.wait_for_records(&relay, 2).iter().map(|record| record.value_text()).collect();
    assert_eq!(values, ["1", "2"]);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

/// Signals that come faster than a reload takes are not lost, and not counted: the last file holds.
#[test]
fn of_many_hangups_at_once_the_last_file_is_in_force() {
    let scene = Scene::on_shared_servers("reload_flood");
    let mut setup = scene.setup_with_http();
    setup.http_lines = vec!["reload = true".to_owned()];
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    let http = relay.http();
    http.wait_until_ready();
    for records in (1..=20).rev() {
        setup.batch_lines = vec![format!("max_records = {records}")];
        relay.rewrite_config(&setup.to_toml());
        relay.signal("HUP");
        writer.write(1);
        thread::sleep(Duration::from_millis(10 * (records % 5)));
    }
    let answer = http.post("/reload", &[]);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", relay.log_tail());
    scene.judge_clean(&writer.ledger, &relay, SOON);
    let batches = || http.metrics().value("batches_total", &[]);
    let before = batches();
    writer.write_together(5);
    http.wait_until("a batch a row", |_| batches() - before == 5.0);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}
