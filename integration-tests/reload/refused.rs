//! A configuration that cannot be taken over is refused with its words, and the old one goes on.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use harness::relay::{RelaySetup, SOON};
use harness::scene::Scene;
use harness::workload::PlainWriter;
use serde_json::Value;

use super::{create_table, custom};

/// What is answered to a request over a Unix socket.
fn ask_socket(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("the relay listens");
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// The same file, with a part of its text replaced.
fn replaced(setup: &RelaySetup, text: &str, by: &str) -> String {
    let file = setup.to_toml();
    assert!(file.contains(text), "{text} is not in {file}");
    file.replacen(text, by, 1)
}

fn with_outbox(setup: &RelaySetup, outbox: harness::relay::Outbox) -> String {
    let mut setup = setup.clone();
    setup.outboxes.push(outbox);
    setup.to_toml()
}

/// Files, and words of their refusals. 400: the file is wrong; 409: it changes what needs a restart.
fn bad_files(scene: &Scene, setup: &RelaySetup) -> Vec<(String, u16, String)> {
    let name = &scene.name;
    let lacking = custom(scene, "lacking", "lacking");
    let lacking = with_outbox(setup, lacking);
    let missing = with_outbox(setup, custom(scene, "missing", "missing"));
    let twice = with_outbox(setup, custom(scene, "events", "twice"));
    let hidden = format!("[[outbox]]\ntable = \"{name}_no.t\"\npreset = \"outbox\"\n");
    let first = setup.outboxes[0].table.clone();
    let bad = |status: u16, file: String, words: &str| (file, status, words.to_owned());
    vec![
        bad(400, "name = ".to_owned(), "not TOML"),
        bad(400, String::new(), "name is missing"),
        bad(
            400,
            replaced(setup, "[mysql]", "[mysql]\npasword = \"x\""),
            "mysql.pasword is not known",
        ),
        bad(
            400,
            replaced(setup, "[mysql]", "[mysql]\nheartbeat = \"${NO_SUCH_VARIABLE_HERE}\""),
            "NO_SUCH_VARIABLE_HERE is not set",
        ),
        bad(
            400,
            replaced(setup, "[mysql]", "[mysql]\nheartbeat = \"1h\""),
            "mysql.heartbeat is \"1h\"",
        ),
        bad(400, twice, "overlaps"),
        bad(400, lacking, "has no column aggregate"),
        bad(400, missing, "there is no table"),
        bad(
            400,
            format!("{}{hidden}", setup.to_toml()),
            &format!("`{name}_no`.`t`").replace('`', ""),
        ),
        bad(400, replaced(setup, &setup.mysql_password, "wrong"), "Access denied"),
        bad(
            409,
            replaced(setup, &format!("name = \"{name}\""), "name = \"other\""),
            "name, kafka.checkpoint_key are read at a start only",
        ),
        bad(
            409,
            replaced(setup, "[kafka]", "[kafka]\ntransaction_timeout = \"7s\""),
            "kafka.transaction_timeout is read at a start only",
        ),
        bad(
            409,
            replaced(setup, "reload = true", "reload = false"),
            "http.reload is read at a start only",
        ),
        // All or nothing: the outbox is not added either.
        bad(
            409,
            with_outbox(setup, custom(scene, "added", "added")).replacen(
                "[kafka]",
                "[kafka]\n\"properties\" = {\"linger.ms\" = 3}",
                1,
            ),
            "kafka.properties.linger.ms is read at a start only",
        ),
        // Both tables match patterns, and this one both.
        bad(
            400,
            replaced(setup, &first, &format!("{name}.even*"))
                + &format!("[[outbox]]\ntable = \"{name}.*vents\"\npreset = \"eventuate-local\"\n"),
            "is matched by two outboxes",
        ),
    ]
}

#[test]
fn a_bad_file_is_refused_with_its_words_and_the_old_one_goes_on() {
    let scene = Scene::on_shared_servers("reload_refused");
    create_table(&scene, "added");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("CREATE TABLE lacking (id BIGINT PRIMARY KEY, aggregat VARCHAR(20))");
    let mut setup = scene.setup_with_http();
    setup.http_lines = vec!["reload = true".to_owned()];
    let mut relay = setup.start();
    let http = relay.http();
    http.wait_until_ready();
    let files = bad_files(&scene, &setup);
    for (index, (file, status, words)) in files.iter().enumerate() {
        relay.rewrite_config(file);
        let answer = http.post("/reload", &[]);
        let said: Value = serde_json::from_str(&answer.body).expect("JSON");
        let error = said["error"].as_str().unwrap_or_default();
        assert!(error.contains(words), "{words:?} is not in {answer:?}");
        assert_eq!((answer.status, &said["result"]), (*status, &"refused".into()), "{answer:?}");
        assert_eq!(http.status()["lastError"], error, "/status says it");
        let metrics = http.metrics();
        let refused = metrics.value("config_reloads_total", &[("result", "refused")]);
        assert_eq!(refused, (index + 1) as f64);
        assert_eq!(metrics.value("config_last_reload_successful", &[]), 0.0);
        writer.write(1);
    }
    let log = relay.log();
    assert_eq!(log.matches("the old one stays in force").count(), files.len());
    assert!(!log.contains("drained"), "it never stopped relaying\n{}", relay.log_tail());
    // Who puts the file back has nothing to mend any more.
    relay.rewrite_config(&setup.to_toml());
    assert_eq!(http.post("/reload", &[]).body, "{\"result\":\"unchanged\"}\n");
    assert_eq!(http.metrics().value("config_last_reload_successful", &[]), 1.0);
    relay.rewrite_config(&with_outbox(&setup, custom(&scene, "added", "added")));
    let answer = http.post("/reload", &[]);
    let applied =
        format!("{{\"changes\":[\"outbox {}.added added\"],\"result\":\"applied\"}}\n", scene.name);
    assert_eq!((answer.status, answer.body), (200, applied), "{}", relay.log_tail());
    let metrics = http.metrics();
    assert_eq!(metrics.value("config_last_reload_successful", &[]), 1.0);
    assert!(metrics.value("config_last_reload_success_timestamp_seconds", &[]) > 1e9);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn reload_over_http_is_for_programs_of_this_machine_and_only_where_it_is_configured() {
    let scene = Scene::on_shared_servers("reload_http");
    let mut setup = scene.setup_with_http();
    let mut relay = setup.start();
    let http = relay.http();
    let answer = http.post("/reload", &[]);
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.body.contains("reload over HTTP is not configured"), "{answer:?}");
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());

    setup.http_lines = vec!["reload = true".to_owned()];
    let mut relay = setup.start();
    let http = relay.http();
    for headers in [
        [("origin", "http://127.0.0.1")],
        [("host", "rebound.example.org")],
        [("sec-fetch-site", "same-origin")],
    ] {
        let answer = http.post("/reload", &headers);
        assert_eq!(answer.status, 403, "{headers:?}: {answer:?}");
    }
    assert_eq!(http.get("/reload").status, 405);
    assert!(!relay.log().contains("reading the configuration again"), "{}", relay.log_tail());
    let answer = http.post("/reload", &[]);
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"result\":\"unchanged\"}\n"));
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());

    for (listen, words) in [
        (Some("0.0.0.0:0"), "http.reload: whoever reaches 0.0.0.0:0 could have the configuration"),
        (None, "http.reload: without listen, nothing is asked by HTTP"),
    ] {
        setup.http = listen.map(str::to_owned);
        let mut relay = match listen {
            Some(_) => setup.start(),
            None => RelaySetup {
                mysql_lines: vec!["[http]\nreload = true".to_owned()],
                ..setup.clone()
            }
            .start(),
        };
        assert_eq!(relay.exit_code(), 2, "{}", relay.log_tail());
        assert!(relay.log().contains(words), "{}", relay.log_tail());
        harness::words::assert_in_runbook(&relay.log());
    }
}

#[test]
fn a_unix_socket_is_listened_on_and_removed_at_the_end() {
    let scene = Scene::on_shared_servers("reload_socket");
    let path = std::env::temp_dir().join(format!("{}.sock", scene.name));
    let mut setup = scene.relay_setup();
    setup.http = Some(format!("unix:{}", path.display()));
    setup.http_lines = vec!["reload = true".to_owned()];
    let mut relay = setup.start();
    relay.wait_for_log("answering HTTP");
    relay.kill();
    assert!(path.exists(), "it had no time to remove it");
    let mut relay = setup.start();
    relay.wait_for_log("answering HTTP");
    let answer = ask_socket(&path, "GET /livez");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask_socket(&path, "POST /reload");
    assert!(answer.contains("{\"result\":\"unchanged\"}"), "{answer}");
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert!(!path.exists());
}
