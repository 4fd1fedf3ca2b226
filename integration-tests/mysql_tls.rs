//! TLS to MySQL in every mode, and what the relay says when a certificate, a file or a server is not what
//! the mode asks for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use harness::certificates::{self, Authority, Signed};
use harness::relay::{RelaySetup, SOON, said};
use harness::scene::Scene;
use harness::servers::{MySql, has_version, permit_for_own_servers, shared_kafka};
use harness::watchdog;
use harness::words::assert_in_runbook;
use harness::workload::PlainWriter;

const MODES: [&str; 5] = ["disabled", "preferred", "required", "verify_ca", "verify_identity"];

/// A server with certificates of our making, and the files around it.
struct TlsServer {
    mysql: Arc<MySql>,
    authority: Authority,
    folder: PathBuf,
    ca: PathBuf,
}

impl TlsServer {
    /// `sign` makes the server's certificate.
    fn start(sign: impl FnOnce(&Authority) -> Signed) -> TlsServer {
        let folder = watchdog::fresh_directory("mysql_tls");
        let authority = Authority::new("the right authority");
        let ca = certificates::write(&folder, "ca.pem", &authority.pem);
        let (cert, key) = sign(&authority).write(&folder, "server");
        let option = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
        let options = [option("ca", &ca), option("cert", &cert), option("key", &key)];
        let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
        options.push("--performance-schema=ON");
        let mysql = Arc::new(MySql::start("mysql-8.0", &options));
        TlsServer { mysql, authority, folder, ca }
    }

    /// The one whose certificate is right.
    fn shared() -> &'static TlsServer {
        static SHARED: OnceLock<TlsServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            TlsServer::start(|authority| authority.sign("mysql", &["127.0.0.1", "localhost"]))
        })
    }

    fn scene(&self, label: &str) -> Scene {
        Scene::on(Arc::clone(&self.mysql), shared_kafka(), label)
    }

    /// Gives the running server another certificate.
    fn change_certificate(&self, signed: &Signed) {
        signed.write(&self.folder, "server");
        self.mysql.connect().run("ALTER INSTANCE RELOAD TLS");
    }
}

#[test]
fn every_mode_relays_where_the_certificate_is_right_and_encrypts_both_connections_but_when_disabled()
 {
    let server = TlsServer::shared();
    for mode in MODES {
        let scene = server.scene(mode);
        let user = user_of(&scene, "");
        let setup = with_tls(&scene, &user, mode, &[("ca", &server.ca)]);
        let mut writer = PlainWriter::on(&scene);
        let relay = setup.start();
        writer.write(2);
        scene.judge_clean(&writer.ledger, &relay, SOON);
        let kind = if mode == "disabled" { "TCP/IP" } else { "SSL/TLS" };
        assert_connections(&scene, &user, kind);
    }
}

#[test]
fn a_certificate_of_another_authority_halts_the_modes_that_verify() {
    let server = TlsServer::shared();
    let scene = server.scene("wrong_ca");
    let user = user_of(&scene, "");
    let other = Authority::new("another authority");
    let wrong = certificates::write(&server.folder, "wrong-ca.pem", &other.pem);
    // One that took the right one's name over is none the less another.
    let namesake = Authority::new("the right authority");
    let namesake = certificates::write(&server.folder, "namesake-ca.pem", &namesake.pem);
    for (mode, ca) in [
        ("verify_ca", &wrong),
        ("verify_identity", &wrong),
        ("verify_ca", &namesake),
        ("verify_identity", &namesake),
    ] {
        let log = with_tls(&scene, &user, mode, &[("ca", ca)]).start().halts();
        let words =
            format!("the server's certificate is not signed by the authority in {}", ca.display());
        assert!(log.contains(&words), "{mode}: {log}");
        assert!(
            log.contains("hint: set [mysql.tls] ca to the certificate of the authority"),
            "{log}"
        );
    }
    for mode in ["preferred", "required"] {
        let mut relay = with_tls(&scene, &user, mode, &[("ca", &wrong)]).start();
        relay.wait_for_log("relaying");
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    }
}

#[test]
fn a_certificate_for_another_host_halts_verify_identity_only() {
    let _permit = permit_for_own_servers();
    let server = TlsServer::start(|authority| authority.sign("mysql", &["db.example.org"]));
    let scene = server.scene("wrong_name");
    let user = user_of(&scene, "");
    let log = with_tls(&scene, &user, "verify_identity", &[("ca", &server.ca)]).start().halts();
    let words = "the server's certificate is not for the host 127.0.0.1, but for db.example.org";
    assert!(log.contains(words), "{log}");
    relays(&scene, &with_tls(&scene, &user, "verify_ca", &[("ca", &server.ca)]));

    server.change_certificate(&server.authority.sign("without a name", &[]));
    let log = with_tls(&scene, &user, "verify_identity", &[("ca", &server.ca)]).start().halts();
    assert!(log.contains("not for the host 127.0.0.1, but for no host at all"), "{log}");
    let mut relay = with_tls(&scene, &user, "verify_ca", &[("ca", &server.ca)]).start();
    relay.wait_for_log("relaying");

    server.change_certificate(&server.authority.sign_expired("mysql", &["127.0.0.1"]));
    for mode in ["verify_ca", "verify_identity"] {
        let log = with_tls(&scene, &user, mode, &[("ca", &server.ca)]).start().halts();
        assert!(log.contains("the server's certificate expired on 2021-02-03"), "{log}");
        assert!(log.contains("hint: give the server a valid certificate"), "{log}");
    }
}

#[test]
fn a_user_that_requires_a_certificate_relays_with_one_and_is_told_without() {
    let server = TlsServer::shared();
    let scene = server.scene("x509");
    let user = user_of(&scene, "REQUIRE X509");
    let (cert, key) = server.authority.sign("the relay", &[]).write(&server.folder, "client");
    let files = [("ca", &server.ca), ("cert", &cert), ("key", &key)];
    relays(&scene, &with_tls(&scene, &user, "verify_identity", &files));

    let log = with_tls(&scene, &user, "verify_identity", &files[..1]).start().halts();
    assert!(log.contains("Access denied"), "{log}");
    assert!(log.contains("REQUIREs a certificate"), "{log}");

    let other = Authority::new("another authority").sign("somebody", &[]);
    let (other_cert, other_key) = other.write(&server.folder, "other-client");
    let files = [("ca", &server.ca), ("cert", &other_cert), ("key", &other_key)];
    let log = with_tls(&scene, &user, "required", &files).start().halts();
    let words = format!("the server does not accept the certificate in {}", other_cert.display());
    assert!(log.contains(&words), "{log}");
}

#[test]
fn a_file_that_is_missing_or_no_pem_halts_in_every_mode_that_uses_it() {
    let server = TlsServer::shared();
    let scene = server.scene("tls_files");
    let user = user_of(&scene, "");
    let (cert, key) = server.authority.sign("the relay", &[]).write(&server.folder, "pair");
    let missing = server.folder.join("missing.pem");
    let text = certificates::write(&server.folder, "text.pem", "no certificate\n");
    let empty = certificates::write(&server.folder, "empty.pem", "");
    let damaged = fs::read_to_string(&cert).expect("it was written").replacen("MII", "AAA", 1);
    let damaged = certificates::write(&server.folder, "damaged.pem", &damaged);
    let (_, other_key) = server.authority.sign("other", &[]).write(&server.folder, "other-pair");
    let encrypted = certificates::encrypt_key(&fs::read_to_string(&key).expect("it was written"));
    let encrypted = certificates::write(&server.folder, "encrypted.pem", &encrypted);
    for mode in ["preferred", "required", "verify_ca"] {
        for (files, words) in [
            (vec![("ca", &missing)], "read ".to_owned() + &missing.display().to_string()),
            (vec![("ca", &text)], format!("{} holds no certificate in PEM format", text.display())),
            (
                vec![("ca", &empty)],
                format!("{} holds no certificate in PEM format", empty.display()),
            ),
            (vec![("ca", &key)], format!("{} holds no certificate in PEM format", key.display())),
            (
                vec![("ca", &damaged)],
                format!("{} holds a certificate that cannot be used", damaged.display()),
            ),
            (
                vec![("ca", &server.ca), ("cert", &cert), ("key", &cert)],
                format!("{} holds no private key in PEM format", cert.display()),
            ),
            (
                vec![("ca", &server.ca), ("cert", &cert), ("key", &encrypted)],
                format!("the private key in {} is encrypted", encrypted.display()),
            ),
            (
                vec![("ca", &server.ca), ("cert", &cert), ("key", &other_key)],
                "TLS cannot be established".to_owned(),
            ),
        ] {
            let log = with_tls(&scene, &user, mode, &files).start().halts();
            assert!(log.contains(&words), "{mode}, {files:?}: {log}");
            assert!(log.contains("[mysql.tls]"), "{mode}: {log}");
        }
    }
}

#[test]
fn a_server_without_tls_halts_the_modes_that_ask_for_it() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--tls-version="]));
    let scene = Scene::on(mysql, shared_kafka(), "no_tls");
    let user = user_of(&scene, "");
    let ca = certificates::write(
        &watchdog::fresh_directory("no_tls"),
        "ca.pem",
        &Authority::new("an authority").pem,
    );
    for mode in ["required", "verify_ca", "verify_identity"] {
        let log = with_tls(&scene, &user, mode, &[("ca", &ca)]).start().halts();
        assert!(log.contains("the server offers no TLS"), "{log}");
        assert!(log.contains("hint: enable TLS on the server"), "{log}");
    }
    relays(&scene, &with_tls(&scene, &user, "preferred", &[]));
}

#[test]
fn the_certificates_that_mysql_makes_by_itself_pass_verify_ca() {
    let _permit = permit_for_own_servers();
    for version in ["mysql-8.0", "mysql-9"] {
        if !has_version(version) {
            harness::say(&format!("NOT RUN: {version} cannot be had on this machine"));
            continue;
        }
        let mysql = Arc::new(MySql::start(version, &[]));
        let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "own_certs");
        let user = user_of(&scene, "");
        let ca = mysql.data_path("ca.pem");
        relays(&scene, &with_tls(&scene, &user, "verify_ca", &[("ca", &ca)]));
        let log = with_tls(&scene, &user, "verify_identity", &[("ca", &ca)]).start().halts();
        assert!(log.contains("not for the host 127.0.0.1, but for no host at all"), "{log}");
    }
}

#[test]
fn a_server_of_5_7_with_certificates_of_version_1_and_without_ecdhe_is_encrypted() {
    if !has_version("mysql-5.7") {
        harness::say("NOT RUN: mysql-5.7 cannot be had on this machine");
        return;
    }
    let _permit = permit_for_own_servers();
    // That of the tests is built with yaSSL, which speaks TLS 1.1 and no elliptic curves.
    let (mysql, ca) = start_with_version_1("mysql-5.7", &[]);
    let scene = Scene::on(mysql, shared_kafka(), "tls_5_7");
    let mut writer = PlainWriter::on(&scene);
    let user = user_of(&scene, "");
    for mode in ["preferred", "required"] {
        let setup = with_tls(&scene, &user, mode, &[("ca", &ca)]);
        assert_eq!(
            check_line(&setup),
            "warn mysql.tls encrypted, TLSv1.1 DHE-RSA-AES256-SHA; this version of TLS is out of date since 2021"
        );
        relays_over(&scene, &mut writer, &setup, "SSL/TLS");
    }
    // A version of TLS that protects nobody from those in between is not taken where that is asked for.
    for mode in ["verify_ca", "verify_identity"] {
        let log = with_tls(&scene, &user, mode, &[("ca", &ca)]).start().halts();
        let words = "the server and the relay have no TLS version or cipher in common: unsupported protocol";
        assert!(log.contains(words), "{mode}: {log}");
        assert_in_runbook(&log);
    }
}

#[test]
fn a_server_with_few_ciphers_is_encrypted_or_it_is_said_that_it_is_not() {
    let _permit = permit_for_own_servers();
    let (mysql, ca) =
        start_with_version_1("mysql-8.0", &["--tls-version=TLSv1.2", "--ssl-cipher=AES128-SHA"]);
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "few_ciphers");
    let mut writer = PlainWriter::on(&scene);
    let user = user_of(&scene, "");
    let setup_of = |mode| with_tls(&scene, &user, mode, &[("ca", &ca)]);
    // An RSA key that does all: no forward secrecy. The certificate is of version 1.
    for mode in &MODES[1..] {
        relays_over(&scene, &mut writer, &setup_of(mode), "SSL/TLS");
    }

    // What the relay does not have.
    let mut sql = mysql.connect();
    sql.run("SET GLOBAL ssl_cipher = 'CAMELLIA128-SHA'");
    sql.run("ALTER INSTANCE RELOAD TLS");
    for mode in ["required", "verify_identity"] {
        let log = setup_of(mode).start().halts();
        let words = "the server and the relay have no TLS version or cipher in common";
        assert!(log.contains(words), "{mode}: {log}");
    }
    let why = "the server and the relay have no TLS version or cipher in common: ssl/tls alert handshake failure";
    let line = check_line(&setup_of("preferred"));
    assert_eq!(
        line,
        format!(
            "warn mysql.tls the connection is not encrypted, though the server offers TLS: {why}"
        )
    );
    // The password is new to the server on the first connection, and goes there under its RSA key.
    sql.run("FLUSH PRIVILEGES");
    let log = relays_over(&scene, &mut writer, &setup_of("preferred"), "TCP/IP");
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("is not encrypted")).collect();
    assert_eq!(warnings.len(), 2, "one for each connection: {log}");
    for warning in warnings {
        assert!(warning.contains("WARN") && warning.contains(why), "{warning}");
    }
}

#[test]
fn a_host_is_found_at_whichever_of_its_addresses_the_server_is() {
    let server = TlsServer::shared();
    let scene = server.scene("addresses");
    let mut writer = PlainWriter::on(&scene);
    let user = user_of(&scene, "");
    let mut setup = with_tls(&scene, &user, "verify_identity", &[("ca", &server.ca)]);
    let port = server.mysql.login().port;
    setup.mysql_address = format!("localhost:{port}");
    // Where the name is also that of the other loopback address, nobody answers there …
    relays_over(&scene, &mut writer, &setup, "SSL/TLS");
    // … or somebody takes connections and says nothing.
    let _mute = std::net::TcpListener::bind(("::1", port));
    relays_over(&scene, &mut writer, &setup, "SSL/TLS");
}

/// A server with certificates of X.509 version 1, and the file of their authority.
fn start_with_version_1(version: &str, options: &[&str]) -> (Arc<MySql>, PathBuf) {
    let folder = watchdog::fresh_directory("version_1");
    let (authority, signed) = certificates::of_version_1("127.0.0.1");
    let ca = certificates::write(&folder, "ca.pem", &authority);
    let (cert, key) = signed.write(&folder, "server");
    let file = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
    let files = [file("ca", &ca), file("cert", &cert), file("key", &key)];
    let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
    arguments.push("--performance-schema=ON");
    arguments.extend(options);
    (Arc::new(MySql::start(version, &arguments)), ca)
}

/// Fails unless the user has the two connections of a relay, both of this kind. Those of one that has ended go
/// away a moment later.
fn assert_connections(scene: &Scene, user: &str, kind: &str) {
    let expected = ["Binlog Dump", "Sleep"].map(|command| (command.to_owned(), kind.to_owned()));
    let deadline = Instant::now() + SOON;
    loop {
        let connections: Vec<(String, String)> = scene.sql().query(format!(
            "SELECT REPLACE(processlist_command, 'Dump GTID', 'Dump'), connection_type
             FROM performance_schema.threads WHERE processlist_user = '{user}' ORDER BY 1"
        ));
        if connections == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{connections:?} instead of {expected:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Relays two more rows over two connections of this kind, and returns the log.
fn relays_over(scene: &Scene, writer: &mut PlainWriter, setup: &RelaySetup, kind: &str) -> String {
    let mut relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_connections(scene, &setup.mysql_user, kind);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    relay.log()
}

/// What `check` says of TLS, its columns one space apart.
fn check_line(setup: &RelaySetup) -> String {
    let answer = said(&setup.answer(&["check"]));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = answer.out.lines().map(words).find(|line| line.contains(" mysql.tls "));
    line.unwrap_or_else(|| panic!("no line about TLS: {answer:?}"))
}

fn user_of(scene: &Scene, requirement: &str) -> String {
    let user = format!("u_{:x}", rand::random::<u32>());
    let mut sql = scene.sql();
    sql.run(format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw' {requirement}"));
    sql.run(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"));
    sql.run(format!("GRANT SELECT ON {}.* TO '{user}'@'%'", scene.name));
    user
}

fn with_tls(scene: &Scene, user: &str, mode: &str, files: &[(&str, &PathBuf)]) -> RelaySetup {
    let mut setup = scene.relay_setup();
    setup.mysql_user = user.to_owned();
    setup.mysql_password = "pw".to_owned();
    setup.mysql_lines.push("[mysql.tls]".to_owned());
    setup.mysql_lines.push(format!("mode = \"{mode}\""));
    for (key, path) in files {
        setup.mysql_lines.push(format!("{key} = {:?}", path.display().to_string()));
    }
    setup
}

fn relays(scene: &Scene, setup: &RelaySetup) {
    let mut writer = PlainWriter::on(scene);
    let mut relay = setup.start();
    writer.write(2);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}
