//! `check` says of every requirement whether it holds, in the words with which `run` refuses, and nobody
//! notices that it was asked.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use harness::consumer::{Inbox, Isolation};
use harness::kafka::{create_compacted_topic, create_topic, partition_count, write_record};
use harness::relay::{Relay, RelaySetup, SOON};
use harness::scene::{EVENTUATE_LOCAL, EVENTUATE_TRAM, Scene};
use harness::servers::{
    Kafka, MySql, RELAY_USER, free_port, permit_for_own_servers, shared_kafka, shared_mysql,
};
use harness::workload::{PlainWriter, Plan, Workload, insert_event};

/// Every requirement, in the order in which they are asked, of a relay of two tables.
const OF_MYSQL: [&str; 14] = [
    "mysql.connection",
    "mysql.version",
    "mysql.tls",
    "mysql.log_bin",
    "mysql.row_format",
    "mysql.row_image",
    "mysql.row_value_options",
    "mysql.row_metadata",
    "mysql.gtid_mode",
    "mysql.binlog_retention",
    "mysql.replication_client",
    "mysql.replica_updates",
    "mysql.replication_slave",
    "mysql.binlog_filters",
];
const OF_A_TABLE: [&str; 4] = ["mysql.table", "mysql.engine", "mysql.columns", "mysql.select"];
const OF_A_CHECKPOINT_TOPIC: [&str; 4] = [
    "kafka.checkpoint_topic",
    "kafka.checkpoint_policy",
    "kafka.checkpoint_replicas",
    "kafka.checkpoint_rights",
];
const OF_A_TOPIC: [&str; 4] =
    ["kafka.topic", "kafka.topic_replicas", "kafka.topic_record_size", "kafka.topic_rights"];

#[test]
fn a_good_pair_has_a_line_a_requirement_and_exits_0() {
    let scene = Scene::on_shared_servers("check_good");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    // Nothing is in Kafka yet: all of it would be created.
    let report = Report::of(&setup);
    assert_eq!((report.code, report.ok()), (0, true), "{report:?}");
    assert_eq!(report.names("mysql."), expected_of_mysql(), "{report:?}");
    assert!(report.line("kafka.checkpoint_topic").detail.contains("will be created"), "{report:?}");
    assert!(report.line("checkpoint.stored").detail.contains("start_from"), "{report:?}");
    assert!(report.line("mysql.server_id").detail.contains("free"), "{report:?}");
    let place = report.line("checkpoint.place").detail.clone();
    assert!(place.contains(&scene.start.to_string()), "{place}");

    let mut relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let report = Report::of(&setup);
    assert_eq!((report.code, report.ok()), (0, true), "{report:?}");
    let mut expected = vec!["kafka.connection", "kafka.transactions"];
    expected.extend(OF_A_CHECKPOINT_TOPIC);
    let topics = report.names("kafka.").iter().filter(|name| **name == "kafka.topic").count();
    assert!(topics > 0, "{report:?}");
    for _ in 0..topics {
        expected.extend(OF_A_TOPIC);
    }
    expected.push("kafka.topics");
    assert_eq!(report.names("kafka."), expected, "{report:?}");
    assert_eq!(
        report.names("checkpoint."),
        ["checkpoint.stored", "checkpoint.outbox", "checkpoint.place", "checkpoint.lag"]
    );
    assert!(report.line("checkpoint.stored").detail.contains("2 rows relayed"), "{report:?}");
    assert!(report.line("kafka.topic_record_size").detail.contains("1048588"), "{report:?}");
    assert!(report.line("kafka.checkpoint_rights").detail.contains("Read, Write"), "{report:?}");
}

#[test]
fn the_text_has_the_lines_of_the_json_and_nothing_else() {
    let scene = Scene::on_shared_servers("check_text");
    let mut setup = scene.relay_setup();
    setup.outboxes[0].table = format!("{}.missing", scene.name);
    setup.mysql_lines.push("tls = { mode = \"disabled\" }".to_owned());
    let report = Report::of(&setup);
    let output = setup.answer(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines = text.lines();
    for line in &report.lines {
        let status = if line.status == "fail" { "FAIL" } else { &line.status };
        let printed = lines.next().expect("as many lines");
        // Others write to the server meanwhile.
        let is_same = line.name == "checkpoint.lag" || printed.ends_with(&line.detail);
        assert!(printed.starts_with(status) && is_same, "{printed}");
        assert_eq!(printed.split_whitespace().nth(1), Some(line.name.as_str()), "{printed}");
        if let Some(hint) = &line.hint {
            assert_eq!(lines.next().map(str::trim_start), Some(format!("hint: {hint}").as_str()));
        }
    }
    assert_eq!(lines.next(), None);
    assert!(report.line("mysql.tls").detail.contains("not encrypted, as asked"), "{report:?}");
}

#[test]
fn a_check_writes_nothing_that_anybody_sees() {
    let scene = Scene::on_shared_servers("check_unseen");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    writer.write(3);
    let topic = scene.create_topic("a");
    let end = writer.sql.end_of_binlog();
    assert_eq!(Report::of(&setup).code, 0);
    // Topics that would be created are not there, and those that are hold nothing, committed or not.
    assert_eq!(partition_count(&scene.kafka, &scene.checkpoint_topic()), 0);
    create_compacted_topic(&scene.kafka, &scene.checkpoint_topic(), 1);
    assert_eq!(Report::of(&setup).code, 0);
    for prefix in [&topic, &scene.checkpoint_topic()] {
        let records = Inbox::read_all(&scene.kafka, prefix, Isolation::ReadUncommitted);
        assert!(records.is_empty(), "{records:?}");
    }
    let written = writer.sql.binlog_events_since(&end);
    let is_ours = |info: &str| info.contains(&scene.name);
    assert!(!written.iter().any(|(_, event)| is_ours(&event.info)), "{written:?}");
}

#[test]
fn a_running_relay_under_load_is_not_disturbed() {
    let scene = Scene::on_shared_servers("check_beside");
    let mut setup = scene.relay_setup();
    setup.outboxes = Workload::outboxes(&scene);
    let plan = Plan { writers: 2, ..Plan::with_seed_of_the_day(&scene.name) };
    let workload = Workload::start(&scene, &plan);
    let mut relay = setup.start();
    relay.wait_for_log("relaying");
    let instance = relay.instance();
    for _ in 0..4 {
        let report = Report::of(&setup);
        assert_eq!(report.code, 0, "{report:?}");
        let server_id = &report.line("mysql.server_id").detail;
        assert!(server_id.contains("it is running"), "{server_id}");
    }
    let ledger = workload.finish();
    scene.judge_clean_to_the_end(&ledger, &mut relay, SOON);
    let log = relay.log();
    assert_eq!(log.matches("relaying").count(), 1, "one session only\n{}", relay.log_tail());
    assert!(!log.contains("WARN") && !log.contains("fenced"), "{}", relay.log_tail());
    for checkpoint in scene.checkpoints().into_iter().flatten() {
        assert_eq!(checkpoint["instance"], Value::from(instance.as_str()), "{checkpoint}");
    }
}

#[test]
fn what_the_server_logs_wrong_fails_in_the_words_of_run() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "check_row_format");
    let setup = scene.relay_setup();
    let mut sql = scene.sql();
    for (name, variable, wrong, right) in [
        ("mysql.row_format", "binlog_format", "MIXED", "ROW"),
        ("mysql.row_image", "binlog_row_image", "MINIMAL", "FULL"),
    ] {
        sql.run(format!("SET GLOBAL {variable} = {wrong}"));
        run_halts_as_check_says(&setup, name);
        sql.run(format!("SET GLOBAL {variable} = {right}"));
    }
    for (name, set, unset) in [
        ("mysql.row_metadata", "binlog_row_metadata = MINIMAL", "binlog_row_metadata = FULL"),
        (
            "mysql.binlog_retention",
            "binlog_expire_logs_seconds = 3600",
            "binlog_expire_logs_seconds = 86400",
        ),
    ] {
        sql.run(format!("SET GLOBAL {set}"));
        let report = Report::of(&setup);
        assert_eq!((report.line(name).status.as_str(), report.code), ("warn", 0), "{report:?}");
        sql.run(format!("SET GLOBAL {unset}"));
        assert_eq!(Report::of(&setup).line(name).status, "ok");
    }
    sql.run("SET GLOBAL binlog_row_value_options = PARTIAL_JSON");
    let options = Report::of(&setup).line("mysql.row_value_options").clone();
    assert!(options.status == "ok" && options.detail.contains("PARTIAL_JSON"), "{options:?}");
}

#[test]
fn a_server_without_a_binlog_fails_in_the_words_of_run() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "check_no_binlog");
    mysql.stop();
    mysql.add_argument("--skip-log-bin");
    mysql.start_again();
    run_halts_as_check_says(&scene.relay_setup(), "mysql.log_bin");
}

#[test]
fn a_database_that_is_kept_out_of_the_binlog_fails_in_the_words_of_run() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--binlog-ignore-db=check_kept_out"]));
    let scene = Scene::named(mysql, shared_kafka(), "check_kept_out".to_owned());
    let mut setup = scene.relay_setup();
    setup.checkpoint_topic = format!("checkpoints-{:08x}", rand::random::<u32>());
    run_halts_as_check_says(&setup, "mysql.binlog_filters");
}

#[test]
fn mysql_5_7_holds_with_a_word_about_what_it_lacks() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-5.7", &["--binlog-format=ROW"]));
    let scene = Scene::on(mysql, shared_kafka(), "check_5_7");
    let report = Report::of(&scene.relay_setup());
    assert_eq!(report.code, 0, "{report:?}");
    let metadata = report.line("mysql.row_metadata");
    assert_eq!(metadata.status, "warn", "{report:?}");
    assert!(report.line("mysql.version").detail.contains("5.7"), "{report:?}");
    assert!(report.line("mysql.server_id").detail.contains("free"), "{report:?}");
}

#[test]
fn tables_that_cannot_be_relayed_fail_in_the_words_of_run() {
    let changes: [(&str, &str, &str); 3] = [
        ("mysql.table", "check_no_table", "DROP TABLE message"),
        ("mysql.columns", "check_no_column", "ALTER TABLE events DROP COLUMN entity_id"),
        (
            "mysql.engine",
            "check_myisam",
            "ALTER TABLE message MODIFY id VARCHAR(200), ENGINE = MyISAM",
        ),
    ];
    for (name, label, change) in changes {
        let scene = Scene::on_shared_servers(label);
        scene.sql().run(change);
        run_halts_as_check_says(&scene.relay_setup(), name);
    }
}

#[test]
fn a_table_of_two_outboxes_fails_in_the_words_of_run() {
    let scene = Scene::on_shared_servers("check_ambiguous");
    let mut setup = scene.relay_setup();
    setup.outboxes[0].table = format!("{}.ev*", scene.name);
    setup.outboxes[1] = scene.outbox("*nts", EVENTUATE_LOCAL);
    scene.sql().run(insert_event("0-1", "'{}'", &scene.topic("a")));
    run_halts_as_check_says(&setup, "mysql.table");
}

#[test]
fn what_may_come_later_is_a_warning() {
    let scene = Scene::on_shared_servers("check_later");
    let mut setup = scene.relay_setup();
    setup.outboxes[1] = scene.outbox("outbox_of_tenant_*", EVENTUATE_TRAM);
    scene.sql().run(insert_event("0-1", "'{}'", "no topic!"));
    let report = Report::of(&setup);
    assert_eq!(report.code, 0, "{report:?}");
    let warned = |name: &str| -> Vec<String> {
        let lines = report.lines.iter().filter(|line| line.name == name && line.status == "warn");
        lines.map(|line| line.detail.clone()).collect()
    };
    let (tables, topics) = (warned("mysql.table"), warned("kafka.topic"));
    assert!(tables.len() == 1 && tables[0].contains("outbox_of_tenant_*"), "{report:?}");
    assert!(topics.len() == 1 && topics[0].contains("no topic!"), "{report:?}");
    assert!(topics[0].contains(&format!("{}.events", scene.name)), "{report:?}");
}

#[test]
fn the_topics_of_the_newest_rows_are_looked_at_whatever_indexes_there_are() {
    let scene = Scene::on_shared_servers("check_sample");
    let mut sql = scene.sql();
    sql.run("ALTER TABLE events MODIFY entity_type VARCHAR(200) NOT NULL, ADD KEY (entity_type)");
    sql.run("SET SESSION cte_max_recursion_depth = 10000");
    sql.run(format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
         WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         SELECT LPAD(i, 8, '0'), 't', '{{}}', '{}', 'e' FROM n",
        scene.topic("a")
    ));
    sql.run(insert_event("00009999", "'{}'", &scene.topic("z")));
    let report = Report::of(&scene.relay_setup());
    for label in ["a", "z"] {
        let topic = scene.topic(label);
        let is_named = |line: &Line| line.name == "kafka.topic" && line.detail.contains(&topic);
        assert!(report.lines.iter().any(is_named), "{topic} is not in {report:?}");
    }
}

#[test]
fn missing_rights_fail_one_by_one_in_the_words_of_run() {
    let scene = Scene::on_shared_servers("check_rights");
    let mut sql = scene.sql();
    let user = format!("u_{:x}", rand::random::<u32>());
    let mut setup = scene.relay_setup();
    setup.mysql_user.clone_from(&user);
    setup.mysql_password = "pw".to_owned();
    run_halts_as_check_says(&setup, "mysql.connection");
    sql.run(format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'"));
    sql.run(format!("GRANT SELECT ON {}.* TO '{user}'@'%'", scene.name));
    let report = Report::of(&setup);
    assert_eq!(report.failed(), ["mysql.replication_client", "mysql.replication_slave"]);
    run_halts_with(&setup, report.line("mysql.replication_client"));
    sql.run(format!("GRANT REPLICATION CLIENT ON *.* TO '{user}'@'%'"));
    run_halts_as_check_says(&setup, "mysql.replication_slave");
    // By a role, which SHOW GRANTS would not show.
    let role = format!("r_{:x}", rand::random::<u32>());
    sql.run(format!("CREATE ROLE '{role}'"));
    sql.run(format!("GRANT REPLICATION SLAVE ON *.* TO '{role}'"));
    sql.run(format!("GRANT '{role}' TO '{user}'@'%'"));
    sql.run(format!("SET DEFAULT ROLE '{role}' TO '{user}'@'%'"));
    assert_eq!(Report::of(&setup).code, 0);
    sql.run(format!("REVOKE SELECT ON {}.* FROM '{user}'@'%'", scene.name));
    let report = Report::of(&setup);
    assert_eq!(report.failed(), ["mysql.table", "mysql.table"], "{report:?}");
    run_halts_with(&setup, report.line("mysql.table"));
    // Another right shows the columns: that is enough to relay.
    sql.run(format!("GRANT INSERT ON {}.* TO '{user}'@'%'", scene.name));
    let report = Report::of(&setup);
    assert_eq!((report.line("mysql.select").status.as_str(), report.code), ("warn", 0));
    setup.start().wait_for_log("relaying");
}

#[test]
fn a_wrong_password_fails_in_the_words_of_run_and_is_not_printed() {
    let scene = Scene::on_shared_servers("check_password");
    let mut setup = scene.relay_setup();
    setup.mysql_password = "wr0ng-pass-w0rd".to_owned();
    let report = Report::of(&setup);
    assert!(!format!("{report:?}").contains("wr0ng-pass-w0rd"), "{report:?}");
    assert!(report.line("mysql.connection").detail.contains(RELAY_USER), "{report:?}");
    run_halts_as_check_says(&setup, "mysql.connection");
}

#[test]
fn a_server_id_that_is_taken_fails_in_the_words_of_run() {
    let scene = Scene::on_shared_servers("check_server_id");
    let other = Scene::on_shared_servers("check_same_id");
    let server_id = rand::random::<u32>() | 1 << 31;
    let with_id = |scene: &Scene, server_id: u32| {
        let mut setup = scene.relay_setup();
        setup.mysql_lines.push(format!("server_id = {server_id}"));
        setup
    };
    let setup = with_id(&scene, server_id);
    let mut relay = setup.start();
    scene.wait_for_checkpoint_at(&relay, &scene.start);
    relay.wait_for_log("relaying");
    // Registered a moment after that.
    wait_until(|| Report::of(&setup).line("mysql.server_id").detail.contains("running"));
    run_halts_as_check_says(&with_id(&other, server_id), "mysql.server_id");
    let of_server: u32 = scene.sql().value("SELECT @@GLOBAL.server_id");
    run_halts_as_check_says(&with_id(&other, of_server), "mysql.server_id");
    assert!(!relay.has_ended(), "{}", relay.log_tail());
}

#[test]
fn ends_that_cannot_be_reached_are_both_reported() {
    let scene = Scene::on_shared_servers("check_unreachable");
    let mut setup = scene.relay_setup();
    setup.mysql_address = format!("127.0.0.1:{}", free_port());
    setup.kafka_bootstrap = format!("127.0.0.1:{}", free_port());
    let report = Report::of(&setup);
    assert_eq!(report.code, 1, "{report:?}");
    assert_eq!(report.failed(), ["mysql.connection", "kafka.connection"]);
    assert_eq!(report.lines.len(), 2, "{report:?}");
    for (name, address, words) in [
        ("mysql.connection", &setup.mysql_address, "[mysql] hosts"),
        ("kafka.connection", &setup.kafka_bootstrap, "bootstrap_servers"),
    ] {
        let line = report.line(name);
        assert!(line.detail.contains(address.as_str()), "{line:?}");
        assert!(line.hint.as_ref().expect("a cure").contains(words), "{line:?}");
    }
    // run waits for both.
    waits_with(&setup, report.line("mysql.connection"));
    setup.mysql_address = scene.relay_setup().mysql_address;
    let report = Report::of(&setup);
    assert_eq!(report.failed(), ["kafka.connection"], "{report:?}");
    assert_eq!(report.names("mysql.").len(), expected_of_mysql().len() - 1, "{report:?}");
    waits_with(&setup, report.line("kafka.connection"));
}

#[test]
fn no_start_fails_in_the_words_of_run() {
    let scene = Scene::on_shared_servers("check_no_start");
    let mut setup = scene.relay_setup();
    setup.start_from = None;
    run_halts_as_check_says(&setup, "checkpoint.stored");
    setup.start_from = Some("binlog.999999:4".to_owned());
    run_halts_as_check_says(&setup, "checkpoint.place");
}

#[test]
fn a_purged_checkpoint_fails_in_the_words_of_run() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "check_purged");
    let setup = scene.relay_setup();
    let mut writer = PlainWriter::on(&scene);
    writer.write(2);
    let mut relay = setup.start();
    scene.judge_clean(&writer.ledger, &relay, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    writer.write(1);
    writer.sql.run("FLUSH BINARY LOGS");
    writer.write(2);
    let lag = Report::of(&setup).line("checkpoint.lag").detail.clone();
    assert!(!lag.starts_with("0 bytes"), "{lag}");
    let kept = writer.sql.end_of_binlog().file;
    writer.sql.run(format!("PURGE BINARY LOGS TO '{kept}'"));
    let line = run_halts_as_check_says(&setup, "checkpoint.place");
    assert!(line.detail.contains(&scene.start.file) && line.detail.contains(&kept), "{line:?}");
}

#[test]
fn a_checkpoint_of_another_server_fails_in_the_words_of_run() {
    let scene = Scene::on_shared_servers("check_other_server");
    let setup = scene.relay_setup();
    create_compacted_topic(&scene.kafka, &setup.checkpoint_topic, 1);
    let other = "11111111-2222-3333-4444-555555555555";
    let checkpoint = format!(
        r#"{{"binlogFilename":"{}","offset":4,"rowsToSkip":0,"serverUuid":"{other}","generation":1}}"#,
        scene.start.file
    );
    let value = Some(checkpoint.as_bytes());
    let (kafka, topic) = (&scene.kafka, &setup.checkpoint_topic);
    write_record(kafka, topic, Some(0), Some(&scene.name), value);
    let line = run_halts_as_check_says(&setup, "checkpoint.place");
    assert!(line.detail.contains(other), "{line:?}");
    // A part of a transaction, counted by another configuration.
    let uuid: String = scene.sql().value("SELECT @@GLOBAL.server_uuid");
    let checkpoint = format!(
        r#"{{"binlogFilename":"{}","offset":4,"rowsToSkip":0,"rowsDone":2,"serverUuid":"{uuid}","generation":1,"outboxFingerprint":"0"}}"#,
        scene.start.file
    );
    let value = Some(checkpoint.as_bytes());
    write_record(kafka, topic, Some(0), Some(&scene.name), value);
    run_halts_as_check_says(&setup, "checkpoint.outbox");
}

#[test]
fn a_missing_topic_fails_when_the_relay_may_not_create_it() {
    let scene = Scene::on_shared_servers("check_missing_topic");
    let mut setup = scene.relay_setup();
    setup.kafka_lines = vec!["create_topics = false".to_owned()];
    let mut writer = PlainWriter::on(&scene);
    writer.write(1);
    let report = Report::of(&setup);
    let failed: Vec<_> = report.lines.iter().filter(|line| line.status == "fail").collect();
    assert!(failed.len() > 1, "{report:?}");
    for line in failed {
        assert!(
            ["kafka.checkpoint_topic", "kafka.topic"].contains(&line.name.as_str()),
            "{line:?}"
        );
        assert!(line.hint.as_ref().expect("a cure").contains("create_topics"), "{line:?}");
    }
    waits_with(&setup, report.line("kafka.checkpoint_topic"));
    create_compacted_topic(&scene.kafka, &setup.checkpoint_topic, 1);
    waits_with(&setup, report.line("kafka.topic"));
}

#[test]
fn a_topic_that_asks_for_more_replicas_than_it_has_is_a_warning() {
    let scene = Scene::on_shared_servers("check_min_insync");
    let mut setup = scene.relay_setup();
    setup.checkpoint_topic.push_str("-2");
    let mut writer = PlainWriter::on(&scene);
    writer.write(1);
    let settings = [("min.insync.replicas", "2"), ("cleanup.policy", "delete")];
    for topic in [&writer.topic, &setup.checkpoint_topic] {
        create_topic(&scene.kafka, topic, 1, &settings);
    }
    let report = Report::of(&setup);
    assert_eq!(report.line("kafka.checkpoint_policy").status, "warn", "{report:?}");
    for name in ["kafka.topic_replicas", "kafka.checkpoint_replicas"] {
        let line = report.line(name);
        assert_eq!(line.status, "warn", "{report:?}");
        assert!(line.detail.contains("1 replica, min.insync.replicas=2"), "{line:?}");
    }
    // The brokers of this version take no more than there are for enough.
    let relay = setup.start();
    scene.wait_for_records(&relay, 1);
}

/// The partition of __transaction_state that holds its transactional id has no coordinator for a while.
#[test]
fn a_broker_that_never_saw_a_transaction_is_waited_for() {
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&[]));
    let scene = Scene::on(shared_mysql(), kafka, "check_first");
    let report = Report::of(&scene.relay_setup());
    assert_eq!(
        (report.code, report.line("kafka.transactions").status.as_str()),
        (0, "ok"),
        "{report:?}"
    );
}

#[test]
fn a_transaction_timeout_above_the_brokers_fails_in_the_words_of_run() {
    let _permit = permit_for_own_servers();
    let kafka = Arc::new(Kafka::start(&["transaction.max.timeout.ms=20000"]));
    let scene = Scene::on(shared_mysql(), kafka, "check_timeout");
    let line = run_halts_as_check_says(&scene.relay_setup(), "kafka.transactions");
    assert!(line.hint.as_ref().expect("a cure").contains("transaction_timeout"), "{line:?}");
}

#[test]
fn more_replicas_than_brokers_fail_as_run_waits_for_them() {
    let scene = Scene::on_shared_servers("check_replication");
    let mut setup = scene.relay_setup();
    setup.kafka_lines.push("topic_replication = 3".to_owned());
    let report = Report::of(&setup);
    assert_eq!(report.failed(), ["kafka.checkpoint_topic"], "{report:?}");
    waits_with(&setup, report.line("kafka.checkpoint_topic"));
}

#[test]
fn bad_configuration_exits_2() {
    let scene = Scene::on_shared_servers("check_config");
    let mut setup = scene.relay_setup();
    setup.kafka_lines.push("transaction_timeuot = \"30s\"".to_owned());
    let output = setup.answer(&["check"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
}

#[derive(Debug, Clone)]
struct Line {
    name: String,
    status: String,
    detail: String,
    hint: Option<String>,
}

#[derive(Debug)]
struct Report {
    code: i32,
    is_ok: bool,
    lines: Vec<Line>,
}

impl Report {
    fn of(setup: &RelaySetup) -> Report {
        let output = setup.answer(&["check", "--json"]);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: one JSON document and nothing else\n{words}"));
        let lines = document["requirements"].as_array().expect("a list");
        Report {
            code: output.status.code().expect("an exit code"),
            is_ok: document["ok"].as_bool().expect("a boolean"),
            lines: lines.iter().map(Line::read).collect(),
        }
    }

    fn ok(&self) -> bool {
        self.is_ok
    }

    /// The first line of that name; one that fails, if there is one.
    fn line(&self, name: &str) -> &Line {
        let mut lines = self.lines.iter().filter(|line| line.name == name);
        let failed = lines.clone().find(|line| line.status == "fail");
        failed.or(lines.next()).unwrap_or_else(|| panic!("no line {name} in {self:#?}"))
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.lines.iter().filter(|line| line.status == "fail");
        failed.map(|line| line.name.as_str()).collect()
    }

    fn names(&self, prefix: &str) -> Vec<&str> {
        let names = self.lines.iter().map(|line| line.name.as_str());
        names.filter(|name| name.starts_with(prefix)).collect()
    }
}

impl Line {
    fn read(line: &Value) -> Line {
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let (status, hint) = (text("status").expect("a status"), text("hint"));
        assert!(["ok", "warn", "fail"].contains(&status.as_str()), "{line}");
        assert_eq!(hint.is_none(), status == "ok", "what is not ok has its cure: {line}");
        Line {
            name: text("name").expect("a name"),
            status,
            detail: text("detail").expect("a detail"),
            hint,
        }
    }
}

fn expected_of_mysql() -> Vec<&'static str> {
    let mut names = OF_MYSQL.to_vec();
    names.extend(OF_A_TABLE);
    names.extend(OF_A_TABLE);
    names.push("mysql.server_id");
    names
}

/// Fails unless just this requirement fails, and `run` ends with its words.
fn run_halts_as_check_says(setup: &RelaySetup, name: &str) -> Line {
    let report = Report::of(setup);
    assert_eq!((report.code, report.ok()), (1, false), "{report:?}");
    assert_eq!(report.failed(), [name], "{report:?}");
    let line = report.line(name).clone();
    run_halts_with(setup, &line);
    line
}

fn run_halts_with(setup: &RelaySetup, line: &Line) {
    assert_eq!(line.status, "fail", "{line:?}");
    let log = setup.start().halts();
    let said = |start: &str| {
        let line = log.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start} in\n{log}")).to_owned()
    };
    // The transactional id that nobody else uses stands for those of the relay.
    assert_eq!(said("error: ").replace("-0: ", "-check: "), line.detail);
    assert_eq!(Some(said("hint: ")), line.hint);
}

/// Fails unless `run` goes on trying and says so in these words.
fn waits_with(setup: &RelaySetup, line: &Line) {
    assert_eq!(line.status, "fail", "{line:?}");
    let mut relay: Relay = setup.start();
    relay.wait_for_log(&line.detail);
    relay.wait_for_log("retry_in_ms");
    assert!(!relay.has_ended(), "{}", relay.log_tail());
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + SOON;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "it does not come to hold");
        std::thread::sleep(Duration::from_millis(100));
    }
}
