//! What the relay shows while it runs: health, readiness with its reason, metrics, status; and a lag that is
//! true when it is idle, behind, disconnected, and just started.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use harness::http::{Http, Metrics};
use harness::kafka::create_compacted_topic;
use harness::relay::{Relay, RelaySetup};
use harness::scene::Scene;
use harness::servers::{
    Kafka, MySql, free_port, permit_for_own_servers, shared_kafka, shared_mysql,
};
use harness::workload::PlainWriter;

const DURATIONS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

#[test]
fn every_metric_of_the_contract_is_there_with_its_labels_and_buckets() {
    let scene = Scene::on_shared_servers("metrics");
    let mut writer = PlainWriter::on(&scene);
    let (relay, http) = started(&scene.setup_with_http());
    writer.write(4);
    writer.write_together(3);
    writer.sql.run(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id, published)
         VALUES ('9-9', 't', '{}', 'never', 'e', 1)",
    );
    scene.wait_for_records(&relay, 7);
    http.wait_until("an empty buffer", |http| {
        let metrics = http.metrics();
        metrics.value("buffered_bytes", &[]) == 0.0
            && metrics.value("rows_skipped_total", &[("reason", "published")]) == 1.0
    });
    let metrics = http.metrics();
    let topic = scene.topic("account");
    assert_eq!(metrics.value("records_published_total", &[("topic", &topic)]), 7.0);
    assert_eq!(metrics.value("transactions_total", &[]), 5.0);
    assert_eq!(metrics.value("rows_skipped_total", &[("reason", "relayed")]), 0.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(metrics.value("build_info", &[("version", version)]), 1.0);
    assert_eq!(metrics.label_values("build_info", "revision").len(), 1);
    let states = ["draining", "halted", "reconnecting", "relaying", "standby", "starting"];
    assert_eq!(metrics.label_values("state", "state"), states);
    for state in states {
        let expected = f64::from(u8::from(state == "relaying"));
        assert_eq!(metrics.value("state", &[("state", state)]), expected, "{state}");
    }
    for peer in ["mysql", "kafka"] {
        assert_eq!(metrics.value("connected", &[("peer", peer)]), 1.0);
        assert_eq!(metrics.value("reconnects_total", &[("peer", peer)]), 0.0);
    }
    assert!(metrics.label_values("errors_total", "kind").len() > 5);
    let batches = metrics.value("batches_total", &[]);
    assert!((1.0..=5.0).contains(&batches), "{batches}");
    assert_eq!(count(&metrics, "batch_records"), batches);
    assert_eq!(count(&metrics, "publish_duration_seconds"), batches);
    assert_eq!(count(&metrics, "end_to_end_duration_seconds"), 5.0);
    for name in ["publish_duration_seconds", "end_to_end_duration_seconds"] {
        let buckets: Vec<f64> = metrics.buckets(name).iter().map(|is| is.less_than).collect();
        assert_eq!(buckets, [&DURATIONS[..], &[f64::INFINITY]].concat(), "{name}");
    }
    for name in ["binlog_events_total", "binlog_bytes_total"] {
        assert!(metrics.value(name, &[]) > 10.0, "{name}");
    }
    assert!(metrics.value("binlog_retained_behind_checkpoint_bytes", &[]) > 100.0);
    for name in ["checkpoint_timestamp_seconds", "last_commit_timestamp_seconds"] {
        assert!(metrics.value(name, &[]) > 1.7e9, "{name}");
    }
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total"] {
        assert!(metrics.text.lines().any(|line| line.starts_with(name)), "{name}");
    }
    for name in names_in_files() {
        assert!(metrics.text.contains(&format!("# TYPE {name} ")), "there is no {name}");
    }
    let answer = http.get("/metrics");
    assert!(answer.content_type.starts_with("text/plain; version=0.0.4"), "{answer:?}");
}

#[test]
fn the_status_says_where_the_relay_is() {
    let scene = Scene::on_shared_servers("status");
    let mut writer = PlainWriter::on(&scene);
    let (mut relay, http) = started(&scene.setup_with_http());
    http.wait_until_ready();
    writer.write(3);
    let written = writer.sql.end_of_binlog();
    scene.wait_for_records(&relay, 3);
    scene.wait_for_checkpoint_at(&relay, &written);
    http.wait_until("the status", |http| http.status()["records"]["relayed"] == 3);
    let status = http.status();
    assert_eq!(status["name"], scene.name.as_str());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["state"], "relaying");
    assert_eq!((&status["reason"], &status["lastError"]), (&NULL, &NULL));
    let since = status["stateSince"].as_str().expect("a time");
    assert!(since.starts_with("20") && since.ends_with('Z'), "{since}");
    let uuid: String = writer.sql.value("SELECT @@server_uuid");
    let version: String = writer.sql.value("SELECT VERSION()");
    let login = scene.mysql.login();
    assert_eq!(status["mysql"]["host"], format!("{}:{}", login.host, login.port));
    assert_eq!(status["mysql"]["version"], version);
    assert_eq!(status["mysql"]["serverUuid"], uuid);
    assert_eq!(status["position"]["binlogFilename"], written.file.as_str());
    assert!(status["position"]["offset"].as_u64() >= Some(written.offset), "{status}");
    let gtid_set = status["position"]["gtidSet"].as_str().expect("GTIDs are on");
    assert!(gtid_set.contains(&uuid), "{gtid_set}");
    assert_eq!(status["checkpoint"]["sequence"], 3);
    assert_eq!(status["checkpoint"]["instance"], relay.instance());
    assert_eq!(status["records"], serde_json::json!({"relayed": 3, "skipped": 0, "failed": 0}));
    assert_eq!(http.get("/status").content_type, "application/json");
    assert_eq!(http.get("/livez").status, 200);
    assert_eq!(http.get("/readyz").status, 200);
    let page = http.get("/");
    assert!(page.content_type.starts_with("text/html"), "{page:?}");
    assert!(page.body.contains(&scene.name) && page.body.contains("relaying"), "{}", page.body);
    assert_eq!(http.get("/nothing").status, 404);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

#[test]
fn the_lag_is_nothing_when_idle_and_rises_while_mysql_is_gone() {
    let scene = Scene::on_shared_servers("lag_mysql");
    let (proxy, setup) = scene.behind_mysql_proxy();
    let (_relay, http) = started(&RelaySetup { http: scene.setup_with_http().http, ..setup });
    http.wait_until_ready();
    http.wait_until("no lag", |http| http.status()["lag"]["seconds"] == 0.0);
    for _ in 0..5 {
        // Idle, it stays at nothing, whatever others write.
        assert_eq!(http.metrics().value("lag_seconds", &[]), 0.0);
        thread::sleep(Duration::from_millis(300));
    }
    proxy.cut();
    http.wait_until("a lag", |http| http.metrics().value("lag_seconds", &[]) > 1.0);
    let metrics = http.metrics();
    assert_eq!(metrics.value("connected", &[("peer", "mysql")]), 0.0);
    assert_eq!(metrics.value("state", &[("state", "reconnecting")]), 1.0);
    let ready = http.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("reconnecting: MySQL 127.0.0.1"), "{}", ready.body);
    assert_eq!(http.get("/livez").status, 200, "what is waited for is no reason to be killed");
    let before = http.metrics().value("lag_seconds", &[]);
    http.wait_until("more lag", |http| http.metrics().value("lag_seconds", &[]) > before + 0.5);
    proxy.pass();
    http.wait_until_ready();
    http.wait_until("no lag", |http| http.status()["lag"]["seconds"] == 0.0);
    let metrics = http.metrics();
    assert_eq!(metrics.value("reconnects_total", &[("peer", "mysql")]), 1.0);
    assert_eq!(metrics.value("reconnects_total", &[("peer", "kafka")]), 0.0);
    assert!(http.status()["lastError"].is_string());
}

#[test]
fn the_lag_is_the_age_of_the_oldest_row_that_kafka_does_not_have() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka) = Kafka::start_behind_proxy();
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "lag_kafka");
    let mut writer = PlainWriter::on(&scene);
    let setup =
        RelaySetup { transaction_timeout: Some("5s".to_owned()), ..scene.setup_with_http() };
    let (relay, http) = started(&setup);
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    http.wait_until("no lag", |http| http.status()["lag"]["seconds"] == 0.0);
    proxy.cut();
    writer.write(1);
    let written_at: f64 = writer.sql.value("SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0");
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(2));
        let now: f64 = writer.sql.value("SELECT UNIX_TIMESTAMP(NOW(6)) + 0e0");
        let lag = http.metrics().value("lag_seconds", &[]);
        assert!(lag >= now - written_at, "{lag} s, but the row is {} s old", now - written_at);
        assert!(lag < now - written_at + 2.0, "{lag} s, but the row is {} s old", now - written_at);
    }
    http.wait_until("bytes behind", |http| http.status()["lag"]["bytes"].as_u64() > Some(0));
    http.wait_until("readiness gone", |http| {
        let ready = http.get("/readyz");
        ready.status == 503 && http.metrics().value("connected", &[("peer", "kafka")]) == 0.0
    });
    proxy.pass();
    scene.wait_for_records(&relay, 2);
    http.wait_until_ready();
    http.wait_until("no lag", |http| http.status()["lag"]["seconds"] == 0.0);
    http.wait_until("no bytes behind", |http| http.status()["lag"]["bytes"] == 0);
    assert!(http.metrics().value("reconnects_total", &[("peer", "kafka")]) >= 1.0);
}

#[test]
fn an_idle_relay_is_not_ready_while_no_broker_answers() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka) = Kafka::start_behind_proxy();
    // A server of its own: nothing is written there, so nothing has to be published.
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, Arc::new(kafka), "idle_kafka");
    let (mut relay, http) = started(&scene.setup_with_http());
    http.wait_until_ready();
    proxy.cut();
    http.wait_until("readiness gone", |http| http.get("/readyz").status == 503);
    assert_eq!(http.metrics().value("connected", &[("peer", "kafka")]), 0.0);
    assert_eq!(http.get("/livez").status, 200);
    proxy.pass();
    http.wait_until_ready();
    assert_eq!(http.metrics().value("connected", &[("peer", "kafka")]), 1.0);
    assert!(!relay.has_ended(), "{}", relay.log_tail());
}

#[test]
fn just_started_the_lag_counts_from_the_start_until_more_is_known() {
    let scene = Scene::on_shared_servers("lag_start");
    let (proxy, setup) = scene.behind_mysql_proxy();
    proxy.cut();
    let (relay, http) = started(&RelaySetup { http: scene.setup_with_http().http, ..setup });
    http.wait_until("a lag", |http| http.metrics().value("lag_seconds", &[]) > 1.0);
    let status = http.status();
    assert_eq!((&status["state"], &status["position"]), (&"starting".into(), &NULL));
    assert_eq!(status["lag"]["bytes"], NULL);
    assert!(status["reason"].as_str().is_some_and(|reason| reason.contains("MySQL")), "{status}");
    let ready = http.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("starting: MySQL"), "{}", ready.body);
    assert!(!http.metrics().has("end_to_end_duration_seconds"));
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    proxy.pass();
    scene.wait_for_records(&relay, 2);
    http.wait_until_ready();
    http.wait_until("no lag", |http| http.status()["lag"]["seconds"] == 0.0);
}

#[test]
fn readiness_names_the_topic_that_is_waited_for() {
    let scene = Scene::on_shared_servers("ready_topic");
    create_compacted_topic(&scene.kafka, &scene.checkpoint_topic(), 1);
    let mut setup = scene.setup_with_http();
    setup.kafka_lines = vec!["create_topics = false".to_owned()];
    let mut writer = PlainWriter::on(&scene);
    let (relay, http) = started(&setup);
    http.wait_until_ready();
    writer.write(1);
    let topic = scene.topic("account");
    http.wait_until("the reason", |http| http.get("/readyz").body.contains(&topic));
    let reconnects = || http.metrics().value("errors_total", &[("kind", "topic")]);
    let tries = reconnects();
    while reconnects() < tries + 3.0 {
        // Not for a moment between two tries.
        let ready = http.get("/readyz");
        assert_eq!(ready.status, 503, "{}", relay.log_tail());
        assert!(ready.body.contains(&topic), "{}", ready.body);
        assert!(
            ready.body.contains("\nhint: create the topic, or set [kafka] create_topics = true")
        );
        thread::sleep(Duration::from_millis(20));
    }
    scene.create_topic("account");
    scene.wait_for_records(&relay, 1);
    http.wait_until_ready();
}

#[test]
fn a_server_that_tells_seconds_only_has_no_end_to_end_durations() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-5.7", &["--binlog-format=ROW"]));
    let scene = Scene::on(mysql, shared_kafka(), "seconds");
    let mut writer = PlainWriter::on(&scene);
    let (relay, http) = started(&scene.setup_with_http());
    writer.write(3);
    scene.wait_for_records(&relay, 3);
    http.wait_until("no lag", |http| {
        let status = http.status();
        status["records"]["relayed"] == 3 && status["lag"]["seconds"] == 0.0
    });
    let metrics = http.metrics();
    assert!(!metrics.has("end_to_end_duration_seconds"), "{}", metrics.text);
    assert!(metrics.value("last_commit_timestamp_seconds", &[]) > 1.7e9);
    assert_eq!(count(&metrics, "publish_duration_seconds"), metrics.value("batches_total", &[]));
}

#[test]
fn the_list_of_binlogs_is_asked_for_only_when_somebody_looks_and_rarely() {
    // A server of its own: it counts what just this relay asks.
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "looks");
    let mut sql = scene.sql();
    let (relay, http) = started(&scene.setup_with_http());
    http.wait_until_ready_unseen();
    let mut asked = || -> u64 {
        let counted = sql.query("SHOW GLOBAL STATUS LIKE 'Com_show_binlogs'");
        let [(_, times)]: [(String, u64); 1] = counted.try_into().expect("one counter");
        times
    };
    let at_start = asked();
    thread::sleep(Duration::from_secs(6));
    for path in ["/readyz", "/livez"] {
        assert_eq!(http.get(path).status, 200, "{}", relay.log_tail());
    }
    assert_eq!(asked(), at_start, "nobody has looked");
    // The first look is answered with what the server says just then.
    assert!(http.metrics().value("lag_bytes", &[]) >= 0.0);
    assert_eq!(asked(), at_start + 1);
    for _ in 0..20 {
        http.metrics();
        http.status();
        http.get("/");
    }
    assert!(asked() <= at_start + 2, "{} times for 60 looks", asked() - at_start);
}

#[test]
fn an_address_that_cannot_be_bound_exits_2() {
    let scene = Scene::on_shared_servers("bound");
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    let port = taken.local_addr().expect("a bound socket has an address").port();
    let not_ours = format!("192.0.2.1:{}", free_port());
    for listen in [format!("127.0.0.1:{port}"), not_ours] {
        let setup = RelaySetup { http: Some(listen.clone()), ..scene.relay_setup() };
        let output = setup.answer(&["run"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        let expected =
            format!("error: [http] listen = \"{listen}\": the address cannot be bound: ");
        assert!(error.contains(&expected), "{error}");
        assert!(
            error.contains("hint: stop what listens there, or correct [http] listen"),
            "{error}"
        );
    }
}

#[test]
fn a_drain_shows_as_one() {
    let _permit = permit_for_own_servers();
    let (proxy, kafka) = Kafka::start_behind_proxy();
    let scene = Scene::on(shared_mysql(), Arc::new(kafka), "drain_shows");
    let mut writer = PlainWriter::on(&scene);
    let (mut relay, http) = started(&scene.setup_with_http());
    writer.write(1);
    scene.wait_for_records(&relay, 1);
    http.wait_until_ready();
    proxy.freeze();
    writer.write(1);
    // A relay that is told to stop before it has read the row need not relay it.
    http.wait_until("the row", |http| http.metrics().value("buffered_bytes", &[]) > 0.0);
    relay.signal("TERM");
    http.wait_until("the drain", |http| http.status()["state"] == "draining");
    assert_eq!(http.get("/readyz").status, 503);
    proxy.pass();
    assert_eq!(relay.exit_code(), 0, "{}", relay.log_tail());
    assert_eq!(scene.records().len(), 2);
}

/// The metrics that the board, the alerts and the documents speak of.
fn names_in_files() -> BTreeSet<String> {
    let files = [
        include_str!("../docker/alerts.yml"),
        include_str!("../docker/grafana/dashboards/binlog-relay.json"),
        include_str!("../docs/operating.md"),
    ];
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = files.iter().flat_map(|file| file.split(|c| !is_part(c)));
    let names: BTreeSet<_> = words
        .filter(|word| word.starts_with("binlog_relay_") && !word.ends_with('_'))
        .map(|word| {
            let of_histogram = ["_bucket", "_sum", "_count"];
            let name = of_histogram.iter().find_map(|suffix| word.strip_suffix(suffix));
            name.unwrap_or(word).to_owned()
        })
        .collect();
    assert!(names.len() > 15, "{names:?}");
    names
}

const NULL: serde_json::Value = serde_json::Value::Null;

fn started(setup: &RelaySetup) -> (Relay, Http) {
    let mut relay = setup.start();
    let http = relay.http();
    (relay, http)
}

fn count(metrics: &Metrics, histogram: &str) -> f64 {
    metrics.buckets(histogram).last().expect("a histogram has buckets").count
}
