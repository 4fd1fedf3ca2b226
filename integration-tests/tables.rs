//! What a server shows of tables and columns, and what it keeps to itself: types of later versions, hidden
//! columns, rights on columns, names of every kind, copies that tools make, tables that keep no rows.

use std::sync::Arc;

use harness::consumer::Record;
use harness::relay::{Relay, RelaySetup, SOON};
use harness::scene::{EVENTUATE_LOCAL, Scene, events_table};
use harness::servers::{MySql, has_version, permit_for_own_servers, shared_kafka, shared_mysql};
use harness::sql::Sql;
use harness::workload::PlainWriter;
use harness::{say, watchdog};

/// A relay of one pattern, for tables like `events`.
fn setup_of(scene: &Scene, pattern: &str) -> RelaySetup {
    let mut setup = scene.setup_with_http();
    setup.outboxes.truncate(1);
    setup.outboxes[0].table = pattern.to_owned();
    setup.outboxes[0].preset = EVENTUATE_LOCAL.to_owned();
    setup
}

/// Inserts an event that all others come after: they share their key.
fn insert(sql: &mut Sql, scene: &Scene, table: &str, id: &str) {
    sql.run(format!("INSERT INTO {table} {}", event(scene, id)));
}

fn event(scene: &Scene, id: &str) -> String {
    format!(
        "(event_id, event_type, event_data, entity_type, entity_id)
         VALUES ('{id}', 't', '{{}}', '{}', 'e')",
        scene.topic("a")
    )
}

fn ids(records: &[Record]) -> Vec<String> {
    let mut records: Vec<_> = records.iter().collect();
    records.sort_by_key(|record| record.offset);
    let id = |record: &&Record| {
        let value = record.value.as_deref().expect("a value");
        let json: serde_json::Value = serde_json::from_slice(value).expect("JSON");
        json["id"].as_str().expect("an id").to_owned()
    };
    records.iter().map(id).collect()
}

/// Waits for these records, stops the relay, and fails unless they are all and in this order.
fn assert_relayed(scene: &Scene, relay: &mut Relay, expected: &[&str]) {
    scene.wait_for_records(relay, expected.len());
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    assert_eq!(ids(&scene.records()), expected, "{}", relay.log_tail());
}

/// The lines of `check` as JSON.
fn check(setup: &RelaySetup) -> Vec<serde_json::Value> {
    let output = setup.answer(&["check", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    document["requirements"].as_array().expect("a list").clone()
}

/// Status, detail and hint of the lines of one requirement.
fn lines(report: &[serde_json::Value], name: &str) -> Vec<[String; 3]> {
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap_or("").to_owned();
    let named = report.iter().filter(|line| line["name"] == name);
    named.map(|line| ["status", "detail", "hint"].map(|key| text(line, key))).collect()
}

#[test]
fn a_vector_before_text_of_other_character_sets_is_passed_over() {
    if !has_version("mysql-9") {
        say("not on this machine: MySQL 9");
        return;
    }
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-9", &[]));
    let scene = Scene::on(mysql, shared_kafka(), "vector");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    writer.write(1);
    let mut written = 1;
    scene.wait_for_records(&relay, written);
    for (metadata, column) in [("MINIMAL", "one"), ("FULL", "two")] {
        writer.sql.run(format!("SET GLOBAL binlog_row_metadata = {metadata}"));
        for definition in [
            format!("{column} VECTOR(3) NULL AFTER event_id"),
            format!(
                "{column}_of_latin1 VARCHAR(9) CHARACTER SET latin1 DEFAULT 'é' AFTER {column}"
            ),
            format!("{column}_of_any_size VECTOR NULL"),
        ] {
            writer.sql.run(format!("ALTER TABLE events ADD COLUMN {definition}"));
            writer.write(1);
            written += 1;
            scene.wait_for_records(&relay, written);
        }
        writer.sql.run(format!(
            "ALTER TABLE events ALTER COLUMN {column} SET DEFAULT (STRING_TO_VECTOR('[1,2.5,-3]')),
             MODIFY event_type VARCHAR(1000) CHARACTER SET latin2"
        ));
        let mut row = writer.unnoted_row();
        if let harness::ledger::Content::Event { event_type, event_data, .. } = &mut row.content {
            *event_type = "Łódź".to_owned();
            *event_data = r#"{"é":"😀"}"#.to_owned();
        }
        writer.write_row(row);
        written += 1;
        scene.wait_for_records(&relay, written);
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn columns_that_a_server_hides_are_in_its_rows() {
    let _permit = permit_for_own_servers();
    let charsets = watchdog::fresh_directory("charsets");
    std::fs::write(charsets.join("Index.xml"), OWN_COLLATIONS).expect("write Index.xml");
    let mysql = Arc::new(MySql::start(
        "mysql-8.0",
        &[
            "--show-gipk-in-create-table-and-information-schema=OFF",
            &format!("--character-sets-dir={}", charsets.display()),
        ],
    ));
    let scene = Scene::on(Arc::clone(&mysql), shared_kafka(), "hidden");
    let mut sql = scene.sql();
    sql.run("DROP TABLE events");
    sql.run("SET SESSION sql_generate_invisible_primary_key = ON");
    let keyless = events_table("events", "utf8mb4").replace("PRIMARY KEY", "NOT NULL");
    sql.run(keyless);
    sql.run("SET GLOBAL log_output = 'TABLE'");
    sql.run("SET GLOBAL general_log = ON");
    let mut expected = Vec::new();
    // Rows that do not name their columns must be read before the table is altered again.
    let write =
        |sql: &mut Sql, id: &'static str, expected: &mut Vec<&'static str>, relay: &Relay| {
            insert(sql, &scene, "events", id);
            expected.push(id);
            scene.wait_for_records(relay, expected.len());
        };
    let mut relay = setup_of(&scene, &format!("{}.events", scene.name)).start();
    write(&mut sql, "generated primary key", &mut expected, &relay);
    for (definition, id) in [
        ("ADD COLUMN seen INT INVISIBLE DEFAULT 4 FIRST", "invisible"),
        ("ADD INDEX ((CAST(event_type AS CHAR(9))))", "functional index"),
        ("ADD COLUMN tags JSON, ADD INDEX ((CAST(tags AS UNSIGNED ARRAY)))", "multi-valued index"),
        ("ADD COLUMN half INT AS (seen / 2) VIRTUAL, ADD INDEX (half)", "virtual"),
        ("ADD COLUMN twice INT AS (seen * 2) STORED AFTER event_id", "stored"),
        ("MODIFY entity_id VARCHAR(90) COLLATE utf8mb4_own_ci", "collation of our own"),
        (
            "ADD COLUMN note VARCHAR(90) COLLATE ucs2_own_ci DEFAULT 'é',
             ADD COLUMN kind ENUM('é', 'x') COLLATE utf8mb4_own_ci DEFAULT 'x'",
            "ENUM of it",
        ),
    ] {
        sql.run(format!("ALTER TABLE events {definition}"));
        write(&mut sql, id, &mut expected, &relay);
    }
    sql.run("SET GLOBAL binlog_row_metadata = FULL");
    write(&mut sql, "rows that name their columns", &mut expected, &relay);
    assert_relayed(&scene, &mut relay, &expected);

    assert_only_configured_names_are_asked_for(&scene, &mut sql);

    // With names in the rows, rights on the columns that are used are enough.
    let setup = user_of_columns(&scene, &mut sql, "event_id");
    let report = check(&setup);
    assert_eq!(lines(&report, "mysql.columns")[0][0], "ok", "{report:#?}");
    insert(&mut sql, &scene, "events", "rights on some columns");
    expected.push("rights on some columns");
    let mut relay = setup.start();
    assert_relayed(&scene, &mut relay, &expected);
}

/// By the server's general log: there may be tens of thousands of tables.
fn assert_only_configured_names_are_asked_for(scene: &Scene, sql: &mut Sql) {
    let asked: Vec<(String,)> = sql.query(
        "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log
         WHERE command_type IN ('Execute', 'Query') AND argument LIKE '%information_schema.TABLES%'
           AND argument NOT LIKE '%general_log%'",
    );
    assert!(!asked.is_empty());
    for (statement,) in &asked {
        // The log has a text as it is, or as its bytes.
        let is_asked = |column: &str, name: &str| {
            let hex: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
            let texts = [format!("'{name}'"), format!("_utf8mb4 X'{hex}'")];
            texts.iter().any(|text| statement.contains(&format!("{column} = {text}")))
        };
        let is_named = is_asked("TABLE_SCHEMA", &scene.name) && is_asked("TABLE_NAME", "events");
        assert!(is_named, "{statement}");
    }
}

/// Collations of two character sets, with ids that no version has.
const OWN_COLLATIONS: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<charsets max-id="1099">
  <charset name="utf8mb4">
    <collation name="utf8mb4_own_ci" id="1098"><rules><reset>a</reset><i>b</i></rules></collation>
  </charset>
  <charset name="ucs2">
    <collation name="ucs2_own_ci" id="1099"><rules><reset>a</reset><i>b</i></rules></collation>
  </charset>
</charsets>
"#;

/// A relay of `events` whose user may SELECT the needed columns only; `more` names others.
fn user_of_columns(scene: &Scene, sql: &mut Sql, more: &str) -> RelaySetup {
    let user = format!("u_{:x}", rand::random::<u32>());
    sql.run(format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pass'"));
    sql.run(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"));
    sql.run(format!(
        "GRANT SELECT (event_id, event_type, event_data, entity_type, entity_id, published, {more})
         ON {}.events TO '{user}'@'%'",
        scene.name
    ));
    let mut setup = setup_of(scene, &format!("{}.events", scene.name));
    setup.mysql_user = user;
    setup.mysql_password = "pass".to_owned();
    setup
}

/// On both kinds of servers: 5.7 has no metadata, and another way to show columns.
#[test]
fn a_right_on_some_columns_only_is_named_as_what_is_missing() {
    let _permit = permit_for_own_servers();
    let old = Arc::new(MySql::start("mysql-5.7", &[]));
    for mysql in [shared_mysql(), old] {
        let scene = Scene::on(mysql, shared_kafka(), "column_rights");
        let mut sql = scene.sql();
        let setup = user_of_columns(&scene, &mut sql, "metadata");
        let (name, user) = (&scene.name, &setup.mysql_user);
        let error = format!(
            "MySQL {}: the user '{user}'@'%' has the SELECT right on some columns of {name}.events only, and the \
             server shows no others",
            setup.mysql_address
        );
        let hint = format!("GRANT SELECT ON {name}.events TO '{user}'@'%'");
        let report = check(&setup);
        let line = &lines(&report, "mysql.columns")[0];
        assert_eq!(*line, ["fail", error.as_str(), hint.as_str()].map(str::to_owned));
        setup.start().halts_saying(&error, &hint);

        // All that SELECT * has, but not what is invisible: only rows tell.
        let is_new = sql.value::<String>("SELECT VERSION()").starts_with('8');
        let setup = user_of_columns(&scene, &mut sql, "metadata, triggering_event");
        let mut relay = setup.start();
        insert(&mut sql, &scene, "events", "1");
        scene.wait_for_records(&relay, 1);
        if is_new {
            sql.run("ALTER TABLE events ADD COLUMN seen INT INVISIBLE");
        } else {
            sql.run("ALTER TABLE events ADD COLUMN seen INT");
        }
        insert(&mut sql, &scene, "events", "2");
        let user = &setup.mysql_user;
        relay.halts_saying(
            &format!(
                "MySQL {}: the user '{user}'@'%' has rights on some columns of {name}.events only, and rows at … \
                 have others",
                setup.mysql_address
            ),
            &format!("GRANT SELECT ON {name}.events TO '{user}'@'%'"),
        );
        sql.run(format!("GRANT SELECT ON {name}.events TO '{user}'@'%'"));
        assert_relayed(&scene, &mut setup.start(), &["1", "2"]);
    }
}

#[test]
fn any_name_of_a_database_and_a_table_can_be_written() {
    let scene = Scene::on_shared_servers("names");
    let mut sql = scene.sql();
    let database = format!("{}.eu-1 ü", scene.name);
    sql.run(format!("CREATE DATABASE `{database}`"));
    sql.run(format!("GRANT SELECT ON `{database}`.* TO 'relay'@'%'"));
    for table in ["`ev*nts.v1`", "`ev*nts.v2``x`", "`events.v1`"] {
        sql.run(events_table(&format!("`{database}`.{table}"), "utf8mb4"));
    }
    let mut setup = setup_of(&scene, &format!("`{database}`.`ev*nts.v1`"));
    setup.outboxes.push(setup.outboxes[0].clone());
    setup.outboxes[1].table = format!("`{database}`.`ev*nts.v2`*");
    let report = check(&setup);
    for name in ["mysql.table", "mysql.columns", "mysql.select"] {
        let is_ok = |line: &[String; 3]| line[0] == "ok";
        assert!(lines(&report, name).iter().all(is_ok), "{report:#?}");
    }
    let mut relay = setup.start();
    for (table, id) in [("`ev*nts.v1`", "1"), ("`events.v1`", "no"), ("`ev*nts.v2``x`", "2")] {
        insert(&mut sql, &scene, &format!("`{database}`.{table}"), id);
    }
    assert_relayed(&scene, &mut relay, &["1", "2"]);

    setup.outboxes.truncate(1);
    setup.outboxes[0].table = "shop.eu.events".to_owned();
    let output = setup.answer(&["check"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("\"`shop.eu`.events\" or \"shop.`eu.events`\""), "{words}");
    setup.outboxes[0].table = format!("`{database}`.`ev*nts.v3`");
    let grant = lines(&check(&setup), "mysql.table");
    assert_eq!(
        grant[0][1],
        format!("MySQL {}: there is no table `{database}`.`ev*nts.v3`", setup.mysql_address)
    );
    sql.run(format!("DROP DATABASE `{database}`"));
}

#[test]
fn where_letter_case_makes_no_difference_the_configuration_may_have_any() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-5.7", &["--lower-case-table-names=1"]));
    let scene = Scene::on(mysql, shared_kafka(), "letter_case");
    let mut sql = scene.sql();
    for table in ["Events", "Ereignis_Übersicht"] {
        let table = format!("{}.{table}", scene.name.to_uppercase());
        let mut setup = setup_of(&scene, &table);
        setup.name = format!("{}{}", scene.name, table.len());
        setup.start_from = Some("latest".to_owned());
        sql.run(events_table(&format!("IF NOT EXISTS {table}"), "utf8mb4"));
        assert_eq!(lines(&check(&setup), "mysql.columns")[0][0], "ok");
        let mut relay = setup.start();
        relay.wait_for_log("relaying");
        let before = scene.records().len();
        insert(&mut sql, &scene, &table, "1");
        sql.run(format!("ALTER TABLE {table} ADD COLUMN more INT AFTER event_id"));
        insert(&mut sql, &scene, &table, "2");
        scene.wait_for_records(&relay, before + 2);
        // A statement that writes to the table is known under any letter case as well.
        sql.run("SET SESSION binlog_format = STATEMENT");
        insert(&mut sql, &scene, &table.to_lowercase(), "3");
        insert(&mut sql, &scene, &table.to_uppercase(), "4");
        sql.run("SET SESSION binlog_format = ROW");
        assert!(relay.halts().contains("as a statement, not as rows"));
    }
}

#[test]
fn a_table_that_is_renamed_into_a_pattern_is_relayed_from_then_on() {
    let scene = Scene::on_shared_servers("renamed");
    let mut sql = scene.sql();
    let mut relay = setup_of(&scene, &format!("{}.ev*s_*", scene.name)).start();
    insert(&mut sql, &scene, "events", "no");
    sql.run("CREATE TABLE staging LIKE events");
    insert(&mut sql, &scene, "staging", "no");
    sql.run("RENAME TABLE staging TO events_2");
    insert(&mut sql, &scene, "events_2", "1");
    scene.wait_for_records(&relay, 1);
    let columns: Vec<String> = (0..1000).map(|n| format!("ADD COLUMN c{n} TINYINT")).collect();
    sql.run(format!("ALTER TABLE events_2 {}", columns.join(", ")));
    insert(&mut sql, &scene, "events_2", "2");
    sql.run("CREATE TEMPORARY TABLE events_3 LIKE events");
    insert(&mut sql, &scene, "events_3", "no");
    sql.run("CREATE TABLE events_4 LIKE events");
    sql.run("ALTER TABLE events_4 PARTITION BY KEY () PARTITIONS 4");
    insert(&mut sql, &scene, "events_4", "3");
    sql.run("CREATE VIEW events_5 AS SELECT * FROM events_4");
    insert(&mut sql, &scene, "events_5", "4");
    assert_relayed(&scene, &mut relay, &["1", "2", "3", "4"]);
}

#[test]
fn the_copies_of_a_schema_change_are_left_out_of_a_pattern_and_its_swap_is_followed() {
    let scene = Scene::on_shared_servers("ghosts");
    let mut sql = scene.sql();
    sql.run("DROP TABLE message");
    let setup = setup_of(&scene, &format!("{}.*", scene.name));
    let mut relay = setup.start();
    let http = relay.http();
    let mut number = 0_usize;
    let mut expected = Vec::new();
    let mut write = |sql: &mut Sql, count: usize| {
        for _ in 0..count {
            number += 1;
            insert(sql, &scene, "events", &number.to_string());
            expected.push(number.to_string());
        }
        // Rows that do not name their columns must be read before the table is altered again.
        scene.wait_for_records(&relay, number);
    };
    write(&mut sql, 3);
    change_as_gh_ost_does(&mut sql, &mut write);
    write(&mut sql, 2);
    change_as_pt_osc_does(&mut sql, &mut write);
    write(&mut sql, 2);
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    scene.wait_for_records(&relay, expected.len());
    let report = check(&setup);
    let ghosts = &lines(&report, "mysql.ghost_tables")[0];
    assert!(ghosts[0] == "warn" && ghosts[1].contains("_events_old"), "{ghosts:?}");
    let skipped = http.metrics().value("rows_skipped_total", &[("reason", "ghost")]);
    assert!(skipped >= 10.0, "{skipped}");
    assert_relayed(&scene, &mut relay, &expected);
    let told = format!("table=\"{}._events_gho\"", scene.name);
    assert_eq!(relay.log().matches(&told).count(), 1, "{}", relay.log());

    // What is named without a star is meant.
    let mut setup = setup_of(&scene, &format!("{}._events_old", scene.name));
    setup.name = format!("{}_named", scene.name);
    setup.start_from = Some("latest".to_owned());
    let mut relay = setup.start();
    relay.wait_for_log("relaying");
    insert(&mut sql, &scene, "_events_old", "named");
    scene.wait_for_records(&relay, expected.len() + 1);
}

const COLUMNS: &str = "event_id, event_type, event_data, entity_type, entity_id, triggering_event, metadata, published";

/// Copies rows in chunks, applies what it reads from the binlog, and swaps the tables.
fn change_as_gh_ost_does(sql: &mut Sql, write: &mut impl FnMut(&mut Sql, usize)) {
    sql.run("CREATE TABLE _events_ghc (id BIGINT AUTO_INCREMENT PRIMARY KEY, hint VARCHAR(64))");
    sql.run("CREATE TABLE _events_gho LIKE events");
    sql.run("ALTER TABLE _events_gho ADD COLUMN tenant INT DEFAULT 1 AFTER event_id");
    sql.run("INSERT INTO _events_ghc (hint) VALUES ('GhostTableMigrated'), ('copy')");
    write(sql, 1);
    sql.run(format!(
        "INSERT IGNORE INTO _events_gho ({COLUMNS}) (SELECT {COLUMNS} FROM events LOCK IN SHARE MODE)"
    ));
    write(sql, 1);
    sql.run(format!(
        "REPLACE INTO _events_gho ({COLUMNS}) SELECT {COLUMNS} FROM events ORDER BY event_id DESC LIMIT 1"
    ));
    sql.run("RENAME TABLE events TO _events_del, _events_gho TO events");
    write(sql, 1);
    sql.run("DROP TABLE _events_ghc, _events_del");
}

/// Copies rows in chunks while triggers copy those that are written, and swaps the tables.
fn change_as_pt_osc_does(sql: &mut Sql, write: &mut impl FnMut(&mut Sql, usize)) {
    sql.run("CREATE TABLE _events_new LIKE events");
    sql.run("ALTER TABLE _events_new ADD COLUMN region INT DEFAULT 1");
    sql.run(
        "CREATE TRIGGER copy_events AFTER INSERT ON events FOR EACH ROW REPLACE INTO _events_new
           (event_id, event_type, event_data, entity_type, entity_id)
           VALUES (NEW.event_id, NEW.event_type, NEW.event_data, NEW.entity_type, NEW.entity_id)",
    );
    write(sql, 1);
    sql.run(format!(
        "INSERT LOW_PRIORITY IGNORE INTO _events_new ({COLUMNS}) SELECT {COLUMNS} FROM events"
    ));
    write(sql, 1);
    sql.run("RENAME TABLE events TO _events_old, _events_new TO events");
    sql.run("DROP TRIGGER copy_events");
}

#[test]
fn a_blackhole_table_is_relayed_without_what_was_rolled_back() {
    let _permit = permit_for_own_servers();
    let shared = shared_mysql();
    blackhole_on(&shared);
    blackhole_on(&Arc::new(MySql::start("mysql-5.7", &[])));
    if has_version("mysql-9") {
        blackhole_on(&Arc::new(MySql::start("mysql-9", &[])));
    } else {
        say("not on this machine: MySQL 9");
    }
}

fn blackhole_on(mysql: &Arc<MySql>) {
    let scene = Scene::on(Arc::clone(mysql), shared_kafka(), "blackhole");
    let mut sql = scene.sql();
    // Such a table takes no key of more than 1000 bytes.
    sql.run("ALTER TABLE events MODIFY event_id VARCHAR(200), ENGINE = BLACKHOLE");
    sql.run("CREATE TABLE state (id INT PRIMARY KEY)");
    sql.run(
        "CREATE TRIGGER refuse AFTER INSERT ON events FOR EACH ROW
           IF NEW.event_id = 'refused' THEN SIGNAL SQLSTATE '45000'; END IF",
    );
    let setup = setup_of(&scene, &format!("{}.events", scene.name));
    let engine = &lines(&check(&setup), "mysql.engine")[0];
    assert!(engine[0] == "warn" && engine[1].contains("BLACKHOLE"), "{engine:?}");
    let mut relay = setup.start();
    let insert = |id: &str| format!("INSERT INTO events {}", event(&scene, id));
    let state = |id: usize| format!("INSERT INTO state VALUES ({id})");
    let steps = [
        insert("1"),
        "BEGIN".to_owned(),
        insert("taken back alone"),
        "ROLLBACK".to_owned(),
        "BEGIN".to_owned(),
        insert("2"),
        state(1),
        insert("3"),
        "COMMIT".to_owned(),
        "BEGIN".to_owned(),
        insert("taken back"),
        state(2),
        "ROLLBACK".to_owned(),
        "BEGIN".to_owned(),
        state(3),
        insert("taken back"),
        "ROLLBACK".to_owned(),
        "BEGIN".to_owned(),
        insert("4"),
        "SAVEPOINT s".to_owned(),
        insert("taken back"),
        "ROLLBACK TO s".to_owned(),
        insert("5"),
        "COMMIT".to_owned(),
        "BEGIN".to_owned(),
        state(4),
        "SAVEPOINT s".to_owned(),
        insert("taken back"),
        state(5),
        "ROLLBACK TO s".to_owned(),
        insert("6"),
        "COMMIT".to_owned(),
        "BEGIN".to_owned(),
        "SAVEPOINT s".to_owned(),
        insert("taken back"),
        "ROLLBACK TO s".to_owned(),
        "COMMIT".to_owned(),
        insert("7"),
    ];
    steps.iter().for_each(|step| sql.run(step));
    // A statement that fails after some of its rows, alone and in a transaction that goes on.
    let failing = format!("{}, {}", insert("taken back"), values(&scene, "refused"));
    sql.try_run(&failing).expect_err("the trigger refuses it");
    sql.run("BEGIN");
    sql.run(insert("8"));
    sql.try_run(&failing).expect_err("the trigger refuses it");
    sql.run(insert("9"));
    sql.run("COMMIT");
    sql.run(insert("10"));
    let expected = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    assert_relayed(&scene, &mut relay, &expected);
}

/// A further row for an INSERT of [`event`].
fn values(scene: &Scene, id: &str) -> String {
    let insert = event(scene, id);
    insert.split_once("VALUES ").expect("an INSERT has VALUES").1.to_owned()
}
