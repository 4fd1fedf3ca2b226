//! Users of both password plugins can relay, with TLS and without, and with a password that changes.

use harness::certificates;
use harness::relay::SOON;
use harness::scene::Scene;
use harness::watchdog;
use harness::workload::PlainWriter;

#[test]
fn a_caching_sha2_user_relays_over_tls_and_without() {
    // The first login of a user is the full exchange: over TLS in the clear, else by the server's key.
    // The server takes the first of them over TLS only, so that it does not pass without.
    for (label, requirement, mode) in
        [("sha2_tls", "REQUIRE SSL", "required"), ("sha2_plain", "REQUIRE NONE", "disabled")]
    {
        relays_as(label, "caching_sha2_password", requirement, mode);
    }
}

#[test]
fn a_native_password_user_relays() {
    relays_as("native", "mysql_native_password", "REQUIRE NONE", "preferred");
}

#[test]
fn a_password_that_is_changed_on_the_server_and_in_its_file_is_used_at_the_next_connection() {
    let scene = Scene::on_shared_servers("rotated");
    let mut writer = PlainWriter::on(&scene);
    let user = create_user(&scene, &mut writer, "caching_sha2_password", "");
    let folder = watchdog::fresh_directory("password");
    let file = certificates::write(&folder, "password", "pass wörd\n");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.mysql_user = user.clone();
    setup.mysql_password = format!("${{file:{}}}", file.display());
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    writer.sql.run(format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'the second'"));
    certificates::write(&folder, "password", "the second\n");
    proxy.cut();
    proxy.pass();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    assert!(!relay.log().contains("the second"), "{}", relay.log());
}

/// Keys and accounts may be changing: a relay that was let in before waits, and says for what.
#[test]
fn a_login_that_is_refused_in_mid_run_is_waited_for_and_at_a_first_start_halts() {
    let scene = Scene::on_shared_servers("refused_login");
    let mut writer = PlainWriter::on(&scene);
    let user = create_user(&scene, &mut writer, "caching_sha2_password", "");
    let folder = watchdog::fresh_directory("password");
    let file = certificates::write(&folder, "password", "pass wörd\n");
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.http = Some("127.0.0.1:0".to_owned());
    setup.mysql_user = user.clone();
    setup.mysql_password = format!("${{file:{}}}", file.display());
    let mut relay = setup.start();
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    let http = relay.http();
    let alter = |change: &str| format!("ALTER USER '{user}'@'%' {change}");
    for (refuse, words, allow) in [
        ("ACCOUNT LOCK", "ERROR 3118", "ACCOUNT UNLOCK"),
        ("PASSWORD EXPIRE", "ERROR 1862", "IDENTIFIED BY 'pass wörd'"),
        ("REQUIRE X509", "ERROR 1045", "REQUIRE NONE"),
        ("IDENTIFIED BY 'the second'", "ERROR 1045", ""),
    ] {
        writer.sql.run(alter(refuse));
        proxy.cut();
        proxy.pass();
        writer.write(1);
        http.wait_until("/readyz says why", |http| {
            let ready = http.get("/readyz");
            ready.status == 503 && ready.body.contains(words)
        });
        assert!(!relay.has_ended(), "{refuse}\n{}", relay.log_tail());
        match allow {
            // The secret is read again at each attempt.
            "" => drop(certificates::write(&folder, "password", "the second\n")),
            allow => writer.sql.run(alter(allow)),
        }
        http.wait_until_ready();
        scene.judge_clean(&writer.ledger, &relay, SOON);
    }
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    writer.sql.run(alter("ACCOUNT LOCK"));
    setup.start().halts_saying("MySQL …: ERROR 3118 …", "ALTER USER … ACCOUNT UNLOCK …");
}

fn relays_as(label: &str, plugin: &str, requirement: &str, tls_mode: &str) {
    let scene = Scene::on_shared_servers(label);
    let mut writer = PlainWriter::on(&scene);
    let user = create_user(&scene, &mut writer, plugin, requirement);
    let mut setup = scene.relay_setup();
    setup.mysql_user = user;
    setup.mysql_password = "pass wörd".to_owned();
    setup.mysql_lines.push(format!("tls = {{ mode = \"{tls_mode}\" }}"));
    let relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

fn create_user(scene: &Scene, writer: &mut PlainWriter, plugin: &str, requirement: &str) -> String {
    let user = format!("u_{:x}", rand::random::<u32>());
    writer.sql.run(format!(
        "CREATE USER '{user}'@'%' IDENTIFIED WITH {plugin} BY 'pass wörd' {requirement}"
    ));
    let name = &scene.name;
    writer.sql.run(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"));
    writer.sql.run(format!("GRANT SELECT ON {name}.* TO '{user}'@'%'"));
    user
}
