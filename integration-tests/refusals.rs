//! What would lose or invent rows is refused at the start: exit 1, who, what, where and what now.

use std::sync::Arc;

use harness::relay::RelaySetup;
use harness::scene::{EVENTUATE_LOCAL, Scene, events_table};
use harness::servers::{MySql, RELAY_PASSWORD, permit_for_own_servers, shared_kafka};

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
        let server = address(&scene);
        refused(
            &scene.relay_setup(),
            &format!("MySQL {server}: the server has {variable}={wrong}; the relay needs {right}"),
            &format!("SET GLOBAL {variable} = '{right}', then reconnect the writers"),
        );
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
    let error =
        format!("MySQL {}: the server has log_bin=OFF; the relay needs ON", address(&scene));
    refused(&scene.relay_setup(), &error, "start mysqld with --log-bin");
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
            let server = address(&scene);
            relay.halts_saying(
                &format!(
                    "MySQL {server}: the server keeps the database kept_out out of its binlog: it was started with \
                     {option}"
                ),
                "start mysqld without that option, or give it the outbox's database",
            );
        } else {
            relay.wait_for_log("relaying");
        }
    }
}

#[test]
fn tables_that_cannot_be_relayed_are_refused_by_name() {
    let scene = Scene::on_shared_servers("tables");
    let mut sql = scene.sql();
    for (label, charset) in [("no_column", "utf8mb4"), ("myisam", "utf8mb4")] {
        sql.run(events_table(label, charset));
    }
    sql.run("ALTER TABLE no_column DROP COLUMN entity_id");
    sql.run("ALTER TABLE myisam MODIFY event_id VARCHAR(200), ENGINE = MyISAM");
    sql.run("CREATE VIEW a_view AS SELECT * FROM events");
    let (server, name) = (address(&scene), &scene.name);
    for (table, error, hint) in [
        (
            "missing",
            format!("there is no table {name}.missing"),
            "create the table, or correct [[outbox]] table".to_owned(),
        ),
        (
            "a_view",
            format!("{name}.a_view is no table that rows are written to"),
            "name the table itself in [[outbox]] table, not a view of it".to_owned(),
        ),
        (
            "no_column",
            format!(
                "the table {name}.no_column has no column entity_id, which the preset eventuate-local needs; \
                 it has event_id, event_type, event_data, entity_type, triggering_event, metadata, published \
                 (did you mean entity_type?)"
            ),
            "give the table the columns of the preset, or [[outbox]] another preset".to_owned(),
        ),
        (
            "myisam",
            format!(
                "the table {name}.myisam is stored in MyISAM; rows of a rolled back transaction would be relayed"
            ),
            format!("ALTER TABLE {name}.myisam ENGINE = InnoDB"),
        ),
    ] {
        let mut setup = scene.relay_setup();
        setup.outboxes.push(scene.outbox(table, EVENTUATE_LOCAL));
        refused(&setup, &format!("MySQL {server}: {error}"), &hint);
    }
    scene.start_relay().wait_for_log("relaying");
}

#[test]
fn a_user_that_lacks_a_right_is_refused_with_the_grant_that_gives_it() {
    let scene = Scene::on_shared_servers("no_right");
    let mut sql = scene.sql();
    let (server, name) = (address(&scene), &scene.name);
    let user = format!("u{:08x}", rand::random::<u32>());
    sql.run(format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'"));
    let mut setup = scene.relay_setup();
    setup.mysql_user.clone_from(&user);
    setup.mysql_password = "pw".to_owned();
    let account = format!("'{user}'@'%'");
    for (right, object) in [("REPLICATION CLIENT", "*.*"), ("REPLICATION SLAVE", "*.*")] {
        let error = format!("MySQL {server}: the user {account} has no {right} right");
        let grant = format!("GRANT {right} ON {object} TO {account}");
        refused(&setup, &error, &grant);
        // The hint is what mends it.
        sql.run(grant);
    }
    for table in ["events", "message"] {
        let error = format!(
            "MySQL {server}: the user {account} has no SELECT right on {name}.{table}, or there is no such table"
        );
        let grant = format!("GRANT SELECT ON {name}.{table} TO {account}");
        refused(&setup, &error, &grant);
        sql.run(grant);
    }
    setup.start().wait_for_log("relaying");
}

#[test]
fn a_wrong_password_is_refused_and_not_printed() {
    let scene = Scene::on_shared_servers("wrong_password");
    let mut setup = scene.relay_setup();
    setup.mysql_password = "wr0ng-pass-w0rd".to_owned();
    setup.environment = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    let server = address(&scene);
    let mut relay = setup.start();
    relay.halts_saying(
        &format!(
            "MySQL {server}: ERROR 1045 (28000): Access denied for user 'relay'@'…' (using password: YES)"
        ),
        "correct [mysql] user and password, or the account on the server; one that REQUIREs a certificate needs cert \
         and key in [mysql.tls]",
    );
    assert!(!relay.log().contains("wr0ng-pass-w0rd"), "the password is there");
}

#[test]
fn a_user_that_the_server_does_not_know_is_named_whatever_the_server_asks_it_for() {
    let scene = Scene::on_shared_servers("unknown_user");
    let mut setup = scene.relay_setup();
    // So that it does not tell whether there is such a user, the server picks a plugin by the name.
    for _ in 0..12 {
        setup.mysql_user = format!("nobody_{:08x}", rand::random::<u32>());
        let log = setup.start().halts();
        let is_denied = log.contains("ERROR 1045 (28000): Access denied for user 'nobody_");
        let is_asked = log.contains(
            "the server asks for the authentication plugin sha256_password, which the relay does not have; it asks a \
             user that it does not know for any\nhint: correct [mysql] user, or let its account on the server be \
             IDENTIFIED WITH caching_sha2_password",
        );
        assert!(is_denied || is_asked, "{log}");
    }
}

#[test]
fn a_secret_file_that_is_gone_when_the_relay_connects_again_halts() {
    let scene = Scene::on_shared_servers("secret_file");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    let file = tempfile::NamedTempFile::new().expect("create a file");
    std::fs::write(file.path(), format!("{RELAY_PASSWORD}\n")).expect("write the secret");
    let path = file.path().display().to_string();
    setup.mysql_password = format!("${{file:{path}}}");
    let mut relay = setup.start();
    relay.wait_for_log("relaying");
    file.close().expect("remove the file");
    proxy.cut();
    proxy.pass();
    relay.halts_saying(
        &format!(
            "MySQL {}: cannot read {path}: No such file or directory (os error 2)",
            setup.mysql_address
        ),
        &format!("let the relay's user read {path}, as UTF-8 text"),
    );
}

fn refused(setup: &RelaySetup, error: &str, hint: &str) {
    setup.start().halts_saying(error, hint);
}

fn address(scene: &Scene) -> String {
    scene.relay_setup().mysql_address
}
