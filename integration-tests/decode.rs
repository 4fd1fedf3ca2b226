//! `binlog-relay decode` shows what is in binlog files, and what the relay would publish from them, without a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use harness::relay::{Outbox, RelaySetup, SOON, Said, relay_command, said};
use harness::scene::Scene;
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::sql::Sql;

fn decode(arguments: &[&str], files: &[PathBuf]) -> Said {
    let mut command = relay_command();
    command.env_remove("BINLOG_RELAY_CONFIG");
    said(&command.arg("decode").args(arguments).args(files).output().expect("run the relay"))
}

/// The lines of JSON.
fn decoded(arguments: &[&str], files: &[PathBuf]) -> Vec<Json> {
    let answer = decode(&[&["--json"], arguments].concat(), files);
    assert_eq!(answer.code, 0, "{answer:?}");
    json_lines(&answer.out)
}

fn json_lines(out: &str) -> Vec<Json> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    out.lines().map(parse).collect()
}

/// What the relay would publish, without the servers of its configuration.
fn published(setup: &RelaySetup, arguments: &[&str], files: &[PathBuf]) -> Said {
    let nowhere = "127.0.0.1:1".to_owned();
    let setup =
        RelaySetup { kafka_bootstrap: nowhere.clone(), mysql_address: nowhere, ..setup.clone() };
    let files: Vec<_> = files.iter().map(|file| file.to_str().expect("a path of text")).collect();
    said(&setup.answer(&[&["decode"], arguments, &files[..]].concat()))
}

fn binlogs(mysql: &MySql, sql: &mut Sql) -> Vec<PathBuf> {
    let listed: Vec<mysql_async::Row> = sql.query("SHOW BINARY LOGS");
    let name = |row: &mysql_async::Row| row.get::<String, _>(0).expect("a name");
    listed.iter().map(|row| mysql.data_path(&name(row))).collect()
}

fn rows_of<'a>(lines: &'a [Json], event: &str) -> Vec<&'a Json> {
    let of_event = lines.iter().filter(|line| line["event"] == event);
    of_event.flat_map(|line| line["rows"].as_array().expect("rows")).collect()
}

const OUTBOX: &str =
    "CREATE TABLE outbox (id INT UNSIGNED PRIMARY KEY, aggregatetype VARCHAR(255) NOT NULL,
  aggregateid VARCHAR(255) CHARACTER SET latin1, type ENUM('a', 'b'), payload JSON)";

/// Two files of one server: rows of each kind, a foreign table, a compressed transaction, one that is rolled back.
fn write(scene: &Scene) {
    let mut sql = scene.sql();
    sql.run("SET NAMES utf8mb4");
    for statement in [
        "RESET MASTER",
        OUTBOX,
        "CREATE TABLE foreign_rows (n INT)",
        "INSERT INTO outbox VALUES (1, 'Order', 'ü', 'a', '{\"b\": 1.50, \"a\": 1}'), (4294967295, 'Order', NULL, 'b', NULL)",
        "UPDATE outbox SET type = 'b' WHERE id = 1",
        "DELETE FROM outbox WHERE id = 1",
        "INSERT INTO foreign_rows VALUES (1), (2), (3)",
        "FLUSH BINARY LOGS",
        "SET SESSION binlog_transaction_compression = ON",
        "BEGIN",
        "INSERT INTO outbox VALUES (2, 'Order', '2', 'a', '2')",
        "INSERT INTO outbox VALUES (3, 'Order', '3', 'a', '3')",
        "COMMIT",
    ] {
        sql.run(statement);
    }
}

fn start() -> (Arc<MySql>, Scene) {
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--binlog-row-metadata=FULL"]));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "decode");
    (mysql, scene)
}

#[test]
fn files_show_their_transactions_tables_and_rows_and_what_the_relay_publishes() {
    let _permit = permit_for_own_servers();
    let (mysql, scene) = start();
    write(&scene);
    let mut sql = scene.sql();
    let files = binlogs(&mysql, &mut sql);
    assert_eq!(files.len(), 2);
    events_are_shown(&scene, &files);
    records_are_shown(&scene, &files);
    damaged_files_are_named(&files);
    sql.run("SET GLOBAL binlog_row_metadata = MINIMAL");
    sql.run("FLUSH BINARY LOGS");
    sql.run("INSERT INTO outbox VALUES (7, 'Order', '\u{fc}', 'b', '7')");
    let files = binlogs(&mysql, &mut sql);
    rows_without_names_are_shown_by_position(&scene, &files[2..]);
}

fn events_are_shown(scene: &Scene, files: &[PathBuf]) {
    let lines = decoded(&[], files);
    assert_eq!(
        rows_of(&lines, "WRITE_ROWS")[..2],
        [
            &json!({"id": 1, "aggregatetype": "Order", "aggregateid": "ü", "type": "a", "payload": {"a": 1, "b": 1.5}}),
            &json!({"id": 4_294_967_295_u32, "aggregatetype": "Order", "aggregateid": null, "type": "b", "payload": null}),
        ]
    );
    assert_eq!(rows_of(&lines, "WRITE_ROWS").len(), 7);
    let updated = rows_of(&lines, "UPDATE_ROWS");
    assert_eq!((&updated[0]["type"], &updated[1]["type"]), (&json!("a"), &json!("b")));
    assert_eq!(rows_of(&lines, "DELETE_ROWS").len(), 1);
    let is_compressed =
        |line: &&Json| line["compressed"] == json!(true) && line["event"] == "WRITE_ROWS";
    assert_eq!(lines.iter().filter(is_compressed).count(), 2);
    assert!(lines.iter().any(|line| line["next"] == "binlog.000002"), "{lines:?}");
    let events: Vec<_> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(&events[..2], ["FORMAT_DESCRIPTION", "PREVIOUS_GTIDS"]);

    let table = format!("{}.outbox", scene.name);
    for pattern in ["OUTBOX", &table, &format!("{}.out*", scene.name)] {
        let lines = decoded(&["--table", pattern], files);
        assert!(lines.iter().all(|line| line["table"] == *table), "{lines:?}");
        assert_eq!(rows_of(&lines, "WRITE_ROWS").len(), 4);
    }
    let last = decoded(&["--from", "binlog.000002:4"], files);
    assert_eq!((rows_of(&last, "WRITE_ROWS").len(), rows_of(&last, "DELETE_ROWS").len()), (2, 0));
    let start = last.last().expect("an event")["start"].as_u64().expect("an offset");
    assert_eq!(decoded(&["--from", &start.to_string()], &files[1..]).len(), 7);

    let text = decode(&[], files);
    for wanted in [
        "4-126  written by MySQL 8.0.31",
        "transaction 00000000-0000-0000-0000-000000000000",
        &format!("  insert 2 rows, {table}\n    {{\"id\":1,\"aggregatetype\":\"Order\""),
        &format!("  update 1 row, {table}, each before and after\n"),
        " *  COMMIT\n",
        "  goes on in binlog.000002\n",
    ] {
        let wanted =
            wanted.replace("transaction 00000000-0000-0000-0000-000000000000", "transaction ");
        assert!(text.out.contains(&wanted), "{wanted}\n{}", text.out);
    }
}

fn records_are_shown(scene: &Scene, files: &[PathBuf]) {
    let mut setup = scene.relay_setup();
    let lines = ["key_null = \"partition-by-sequence\"", "headers = { at = \"{@file}:{@row}\" }"];
    let lines = lines.map(str::to_owned).to_vec();
    setup.outboxes = vec![Outbox { lines, ..scene.outbox("outbox", "outbox") }];
    let answer = published(&setup, &["--json"], files);
    assert_eq!(answer.code, 0, "{answer:?}");
    let lines = json_lines(&answer.out);
    let records: Vec<_> = lines.iter().filter_map(|line| line.get("record")).collect();
    let keys: Vec<_> = records.iter().map(|record| &record["key"]).collect();
    assert_eq!(keys, [&json!("ü"), &Json::Null, &json!("2"), &json!("3")]);
    assert_eq!(
        records[0],
        &json!({
            "topic": "outbox.event.Order", "key": "ü", "partition": {"by": "key"}, "timestamp": null,
            "headers": [{"name": "at", "value": "binlog.000001:0"}], "value": "{\"a\": 1, \"b\": 1.5}"
        })
    );
    // In a compressed transaction the rows of a table are counted on.
    assert_eq!(records[3]["headers"][0]["value"], "binlog.000002:1");
    let ends: Vec<_> = lines.iter().filter(|line| line["transaction"] == "committed").collect();
    assert_eq!(ends.iter().map(|line| &line["records"]).collect::<Vec<_>>(), [2, 2]);

    // Where the relay halts, so does this.
    setup.outboxes[0].lines.push("on_delete = \"halt\"".to_owned());
    let answer = published(&setup, &["--json"], files);
    assert!(answer.code == 1 && json_lines(&answer.out).len() > 2, "{answer:?}");
    assert!(
        answer.error.contains("the relay halts here: ")
            && answer.error.contains("on_delete = \"ignore\""),
        "{answer:?}"
    );

    setup.outboxes[0].lines = vec!["topic = \"{payload}\"".to_owned()];
    let answer = published(&setup, &[], files);
    assert!(answer.code == 1 && answer.out.contains("is no legal topic name"), "{answer:?}");
    assert!(
        answer.error.contains("error: ") && answer.error.contains("cannot be records"),
        "{answer:?}"
    );
}

fn damaged_files_are_named(files: &[PathBuf]) {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, bytes).expect("write a file");
        path
    };
    let whole = fs::read(&files[0]).expect("read a binlog");
    // A file that is being written ends anywhere: what is whole is shown.
    let all = decoded(&[], &files[..1]).len();
    let cut = write("binlog.000007", &whole[..whole.len() - 30]);
    let lines = decoded(&[], &[cut]);
    let note = lines.last().expect("a line")["note"].as_str().expect("a note").to_owned();
    assert!(lines.len() == all && note.starts_with("the file ends inside the event"), "{lines:?}");

    let mut damaged = whole.clone();
    damaged[200] ^= 1;
    for (name, bytes, problem, hint) in [
        ("text", b"# at 4\n".to_vec(), "it is no binlog file", "log_bin"),
        ("empty", Vec::new(), "it is no binlog file", "log_bin"),
        ("short", b"\xfe".to_vec(), "it is no binlog file", "log_bin"),
        (
            "encrypted",
            b"\xfdbin\0\0\0\0".to_vec(),
            "it is an encrypted binlog file",
            "--read-from-remote-server",
        ),
        ("damaged", damaged, "has a wrong checksum", "--verify-binlog-checksum"),
    ] {
        let answer = decode(&[], &[write(name, &bytes)]);
        let is_told = answer.error.contains(problem) && answer.error.contains(hint);
        assert!(answer.code == 1 && is_told && answer.error.contains(name), "{answer:?}");
    }
    let missing = decode(&[], &[Path::new("/nowhere/binlog.000001").to_owned()]);
    assert!(missing.code == 1 && missing.error.contains("/nowhere/binlog.000001: No such file"));
    assert_eq!(decode(&["--from", "binlog.000009:4"], files).code, 1);

    // Who reads the first lines only has seen enough.
    let mut command = relay_command();
    command.arg("decode").args(vec![&files[0]; 2000]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("run the relay");
    drop(child.stdout.take());
    let ended = said(&child.wait_with_output().expect("it ends"));
    assert!(ended.code == 0 && ended.error.is_empty(), "{ended:?}");
}

fn rows_without_names_are_shown_by_position(scene: &Scene, files: &[PathBuf]) {
    let lines = decoded(&["--table", "outbox"], files);
    // Nothing says what the second value of the ENUM is called.
    assert_eq!(
        rows_of(&lines, "WRITE_ROWS"),
        [&json!({"@1": 7, "@2": "Order", "@3": "ü", "@4": 2, "@5": 7})]
    );
    let text = decode(&[], files);
    assert!(
        text.out
            .contains("(the binlog does not name columns: it does with binlog_row_metadata=FULL)")
    );
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("outbox", "outbox")];
    let answer = published(&setup, &[], files);
    let error = format!("the rows of {}.outbox at binlog.000003:", scene.name);
    assert!(answer.code == 1 && answer.error.contains(&error), "{answer:?}");
    assert!(answer.error.contains("binlog_row_metadata=FULL"), "{answer:?}");
}

#[test]
fn relay_logs_and_binlogs_of_5_7_are_shown_too() {
    let _permit = permit_for_own_servers();
    let source = Arc::new(MySql::start("mysql-5.7", &[]));
    let replica = MySql::start("mysql-5.7", &["--server-id=2", "--relay-log=relaylog"]);
    for server in [&*source, &replica] {
        server.connect().run("RESET MASTER");
    }
    let mut sql = replica.connect();
    sql.run(format!(
        "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', MASTER_AUTO_POSITION=1",
        source.login().port
    ));
    sql.run("START SLAVE IO_THREAD");
    let scene = Scene::on(Arc::clone(&source), shared_kafka(), "decode_old");
    let mut writer = scene.sql();
    writer.run("SET NAMES utf8mb4");
    writer.run("CREATE TABLE t (id BIGINT, word VARCHAR(9), raw BLOB) CHARACTER SET utf8mb4");
    writer.run("INSERT INTO t VALUES (-7, 'é', x'ff00')");
    let expected = json!({"@1": -7, "@2": "é", "@3": {"base64": "/wA="}});
    let binlog = binlogs(&source, &mut writer);
    assert_eq!(rows_of(&decoded(&["--table", "t"], &binlog), "WRITE_ROWS"), [&expected]);
    let deadline = Instant::now() + SOON;
    let rows = loop {
        let lines = decoded(&["--table", "t"], &relay_logs(&replica));
        let rows: Vec<_> = rows_of(&lines, "WRITE_ROWS").into_iter().cloned().collect();
        if !rows.is_empty() || Instant::now() > deadline {
            break rows;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(rows, [expected]);
}

fn relay_logs(replica: &MySql) -> Vec<PathBuf> {
    let is_relay_log = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("relaylog.0")
    };
    let files = fs::read_dir(replica.data_path("")).expect("the data directory");
    let mut logs: Vec<_> =
        files.map(|entry| entry.expect("a file").path()).filter(is_relay_log).collect();
    logs.sort();
    logs
}
