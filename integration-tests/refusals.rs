//! What would lose or invent rows is refused at the start: exit 1, who, what, where and what now.

use std::sync::Arc;

use crate::harness::relay::RelaySetup;
use crate::harness::scene::Scene;
use crate::harness::servers::{MySql, permit_for_own_servers, shared_kafka};

#[test]
fn a_server_that_does_not_log_whole_rows_is_refused() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "row_format");
    let mut sql = scene.sql();
    for (variable, wrong, right) in [
        ("binlog_format", "MIXED", "ROW"),
        ("binlog_format", "STATEMENT", "ROW"),
        ("binlog_row_image", "MINIMAL", "FULL"),
        ("binlog_row_image", "NOBLOB", "FULL"),
    ] {
        sql.run(format!("SET GLOBAL {variable} = {wrong}"));
        let log = refused(&scene.relay_setup());
        assert!(log.contains(variable) && log.contains(wrong), "{log}");
        assert!(log.contains(&format!("SET GLOBAL {variable} = ")), "{log}");
        sql.run(format!("SET GLOBAL {variable} = {right}"));
    }
    let relay = scene.start_relay();
    scene.wait_for_checkpoint_at(&relay, &scene.start);
}

#[test]
fn a_server_without_a_binlog_is_refused() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "no_binlog");
    mysql.stop();
    mysql.add_argument("--skip-log-bin");
    mysql.start_again();
    let log = refused(&scene.relay_setup());
    assert!(log.contains("log_bin"), "{log}");
}

#[test]
fn a_server_that_keeps_the_database_out_of_its_binlog_is_refused() {
    let _permit = permit_for_own_servers();
    for (option, is_refused) in [
        ("--binlog-ignore-db=kept_out", true),
        ("--binlog-do-db=another", true),
        ("--binlog-do-db=kept_out", false),
    ] {
        let mysql = Arc::new(MySql::start("mysql-8.0", &[option]));
        let scene = Scene::named(mysql, shared_kafka(), "kept_out".to_owned());
        let mut setup = scene.relay_setup();
        setup.checkpoint_topic = format!("checkpoints-{:08x}", rand::random::<u32>());
        let mut relay = setup.start();
        if is_refused {
            let log = relay.halts();
            assert!(log.contains("kept_out") && log.contains("binlog-"), "{log}");
        } else {
            relay.wait_for_log("relaying");
        }
    }
}

#[test]
fn a_missing_table_is_refused() {
    let scene = Scene::on_shared_servers("no_table");
    scene.sql().run("DROP TABLE message");
    let log = refused(&scene.relay_setup());
    assert!(log.contains(&format!("{}.message", scene.name)), "{log}");
}

#[test]
fn a_missing_column_is_refused() {
    let scene = Scene::on_shared_servers("no_column");
    scene.sql().run("ALTER TABLE events DROP COLUMN entity_id");
    let log = refused(&scene.relay_setup());
    assert!(log.contains("entity_id"), "{log}");
    assert!(log.contains(&format!("{}.events", scene.name)), "{log}");
}

#[test]
fn a_table_without_transactions_is_refused() {
    let scene = Scene::on_shared_servers("myisam");
    scene.sql().run("ALTER TABLE message MODIFY id VARCHAR(200), ENGINE = MyISAM");
    let log = refused(&scene.relay_setup());
    assert!(log.contains("MyISAM"), "{log}");
    assert!(log.contains(&format!("{}.message", scene.name)), "{log}");
}

#[test]
fn a_user_without_the_replication_right_is_refused() {
    let scene = Scene::on_shared_servers("no_right");
    let mut sql = scene.sql();
    let user = format!("u_{}", scene.name.chars().rev().take(8).collect::<String>());
    sql.run(format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'"));
    sql.run(format!("GRANT SELECT ON *.* TO '{user}'@'%'"));
    let mut setup = scene.relay_setup();
    setup.mysql_user = user;
    setup.mysql_password = "pw".to_owned();
    let log = refused(&setup);
    assert!(log.contains("REPLICATION"), "{log}");
}

#[test]
fn a_wrong_password_is_refused_and_not_printed() {
    let scene = Scene::on_shared_servers("wrong_password");
    let mut setup = scene.relay_setup();
    setup.mysql_password = "wr0ng-pass-w0rd".to_owned();
    let log = refused(&setup);
    assert!(!log.contains("wr0ng-pass-w0rd"), "{log}");
}

fn refused(setup: &RelaySetup) -> String {
    setup.start().halts()
}
