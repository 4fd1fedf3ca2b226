//! Every line of the log says which relay, which session and which server it is of, on whatever thread it was
//! written.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use harness::relay::{Relay, RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::workload::PlainWriter;

/// All that this program and librdkafka have to tell, also of what happens on threads of their own.
const EVERYTHING: &str = "info,binlog_relay=debug,librdkafka=debug";

/// Lines of the process, not of a session: they may come before the first one, and on threads that outlive all.
const OF_THE_PROCESS: [&str; 3] = ["starting", "answering HTTP", "draining"];

#[test]
fn every_line_of_the_log_says_which_relay_session_and_server_it_is_of() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        let scene = Scene::on_shared_servers("spans").with(delivery);
        let (setup, relay) = log_of_two_sessions(&scene, EVERYTHING, "json");
        let mut sessions = BTreeSet::new();
        let mut targets = BTreeSet::new();
        for line in relay.log().lines() {
            let line: Value = serde_json::from_str(line).expect("each line is JSON");
            let spans = line["spans"].as_array().unwrap_or_else(|| panic!("no spans: {line}"));
            assert_eq!(spans[0]["relay"], setup.name, "{line}");
            let message = line["message"].as_str().expect("a line says something");
            if message != "answering HTTP" {
                assert_is_uuid(&spans[0]["instance"], &line);
            }
            targets.insert(line["target"].as_str().expect("a line has a target").to_owned());
            if OF_THE_PROCESS.contains(&message) && spans.len() == 1 {
                continue;
            }
            assert_eq!(spans.len(), 2, "{line}");
            assert_eq!(spans[1]["server"], setup.mysql_address, "{line}");
            sessions.insert(spans[1]["number"].as_u64().expect("a session has a number"));
        }
        assert!(sessions.contains(&1) && sessions.contains(&2), "{sessions:?}");
        for target in ["librdkafka", "binlog_relay::relay", "binlog_relay::relay::line::publish"] {
            assert!(targets.contains(target), "nothing came of {target}: {targets:?}");
        }
    }
}

#[test]
fn the_text_of_a_log_says_it_too_whatever_is_asked_for() {
    for filter in ["warn", "librdkafka=debug"] {
        let scene = Scene::on_shared_servers("spans_as_text");
        let (setup, relay) = log_of_two_sessions(&scene, filter, "text");
        let log = relay.log();
        assert!(!log.is_empty(), "{filter}");
        let process = format!("process{{relay={} instance=", setup.name);
        let server = format!("server={}}}: ", setup.mysql_address);
        for line in log.lines() {
            let is_whole = [&process, ":session{number=", &server].map(|it| line.contains(it));
            assert_eq!(is_whole, [true; 3], "{line}");
        }
    }
}

/// A thread or task outside the span would log lines without relay and session.
#[test]
fn every_thread_and_task_of_the_relay_is_started_in_the_current_span() {
    let mut sources = Vec::new();
    collect_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    assert!(sources.len() > 100, "{sources:?}");
    let mut starts = 0;
    for path in sources {
        let text = fs::read_to_string(&path).expect("a source can be read");
        for line in text.lines() {
            let is_start = line.contains("spawn(") && !line.contains("Task::spawn(");
            let is_blocking = line.contains("task::spawn_blocking(");
            if is_start || is_blocking {
                let has_span = ["in_this_span(", "in_current_span()", "span.in_scope("];
                assert!(has_span.iter().any(|it| line.contains(it)), "{}: {line}", path.display());
                starts += 1;
            }
        }
    }
    assert!(starts > 5, "{starts}");
}

/// The sources of the relay. `tasks` is where the span is taken along, and simulations run in none.
fn collect_sources(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8");
        if path.is_dir() && name != "simulation" && name != "tests" {
            collect_sources(&path, sources);
        } else if path.extension().is_some_and(|it| it == "rs") && name != "tasks.rs" {
            sources.push(path);
        }
    }
}

/// A relay that ran, lost its server, went on and was stopped.
fn log_of_two_sessions(scene: &Scene, filter: &str, format: &str) -> (RelaySetup, Relay) {
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    setup.http = Some("127.0.0.1:0".to_owned());
    setup.kafka_lines.push("properties = { debug = \"broker\" }".to_owned());
    setup.environment = vec![
        ("RUST_LOG".to_owned(), filter.to_owned()),
        ("BINLOG_RELAY_LOG_FORMAT".to_owned(), format.to_owned()),
    ];
    let mut writer = PlainWriter::on(scene);
    writer.write(2);
    let mut relay = setup.start();
    scene.wait_for_records(&relay, 2);
    proxy.cut();
    proxy.pass();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    (setup, relay)
}

fn assert_is_uuid(id: &Value, line: &Value) {
    let id = id.as_str().unwrap_or_else(|| panic!("no id: {line}"));
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{line}");
}
