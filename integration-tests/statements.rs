//! Statements in the binlog: DDL that begins with a comment is DDL, a statement that adds rows to an outbox table
//! is found however it is written, and one that only mentions the table is passed over.

use std::sync::Arc;

use harness::relay::SOON;
use harness::scene::{EVENTUATE_LOCAL, Scene};
use harness::servers::{MySql, has_version, permit_for_own_servers, shared_kafka};
use harness::sql::{Coordinates, Sql};
use harness::workload::PlainWriter;

/// Sent while the session logs rows. None of them is about the rows of an outbox table.
const PASSED_IN_ROW_FORMAT: [&str; 18] = [
    "-- Begin migration 42\nALTER TABLE other ADD COLUMN x INT",
    "-- rollback of 42\nALTER TABLE other DROP COLUMN x",
    "# savepoint table\nCREATE TABLE savepoints (a INT)",
    "-- xa start of the year\nDROP TABLE savepoints",
    "-- commit\nTRUNCATE other",
    "/* begin */ ALTER TABLE other COMMENT 'begin'",
    "/*!50000 CREATE TABLE counted (a INT) */",
    "-- insert triggers fill events\nALTER TABLE other COMMENT 'events'",
    "/*!50000 -- commit\n DROP TABLE counted */",
    "CREATE TABLE alike LIKE events",
    "-- load\nCREATE PROCEDURE fill(x INT) BEGIN INSERT INTO audit VALUES (x); INSERT INTO other VALUES (x, x); END",
    "CALL fill(1)",
    "# insert\nCREATE TRIGGER filled AFTER INSERT ON other FOR EACH ROW INSERT INTO audit VALUES ('events')",
    "INSERT INTO other VALUES (2, 2)",
    "-- replace\nCREATE VIEW seen AS SELECT * FROM events",
    "RENAME TABLE alike TO other_events",
    "-- start transaction\nDROP TABLE other_events",
    "-- rollback\nANALYZE TABLE events",
];

/// Sent while the session logs statements.
const PASSED_IN_STATEMENT_FORMAT: [&str; 18] = [
    "REPLACE INTO checksums SELECT COUNT(*), MAX(event_id) FROM events",
    "INSERT INTO audit VALUES ('sent events to billing')",
    "INSERT INTO audit VALUES ('INSERT INTO events VALUES (1)')",
    "-- INSERT INTO events\nINSERT INTO audit VALUES (\"it's `events`\")",
    "INSERT INTO audit SELECT event_id FROM events /* INSERT INTO events */",
    "INSERT /*+ QB_NAME(`a*/ INTO audit VALUES ('x') -- `) */ INTO events VALUES ('x')",
    "INSERT /* events */ INTO audit (a) SELECT 'x' FROM DUAL WHERE EXISTS (SELECT * FROM events)",
    "/*!99999 INSERT INTO events */ INSERT INTO audit VALUES ('x')",
    "UPDATE events SET metadata = 'insert into events' WHERE event_id = 'none'",
    "UPDATE events, other SET events.metadata = 'x' WHERE event_id = 'none'",
    "DELETE FROM events WHERE event_id = 'none'",
    "DELETE events FROM events JOIN other ON event_id = 'none'",
    "CALL fill(2)",
    "SELECT 'x' INTO @x FROM events LIMIT 1",
    "CREATE TABLE none LIKE events",
    "INSERT INTO none SELECT * FROM events LIMIT 0",
    "DROP TABLE none",
    "-- begin\nINSERT INTO other VALUES (3, 3)",
];

/// The tables that those write to.
fn make_others(sql: &mut Sql) {
    sql.run("CREATE TABLE other (a INT, b INT)");
    sql.run("CREATE TABLE audit (a VARCHAR(100))");
    sql.run("CREATE TABLE checksums (a INT PRIMARY KEY, b VARCHAR(256))");
}

/// Group control whose names are quoted in every way, in a transaction with a row of another table.
fn control_groups(sql: &mut Sql) {
    for setting in ["sql_mode = 'ANSI_QUOTES'", "sql_quote_show_create = 0", "sql_mode = ''"] {
        sql.run(format!("SET {setting}"));
        for statement in [
            "-- commit\nBEGIN",
            "INSERT INTO other VALUES (4, 4)",
            "/* commit */ SAVEPOINT `x y`",
            "INSERT INTO other VALUES (5, 5)",
            "SAVEPOINT commit_",
            "INSERT INTO other VALUES (6, 6)",
            "-- x\nROLLBACK TO SAVEPOINT `x y`",
            "COMMIT /* rollback */",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            "INSERT INTO other VALUES (7, 7)",
            "ROLLBACK",
        ] {
            sql.run(statement);
        }
    }
}

fn control_xa(sql: &mut Sql, name: &str) {
    for (begin, finish) in [("XA START", "XA COMMIT"), ("/* c */ XA BEGIN", "-- c\nXA ROLLBACK")] {
        sql.run(format!("{begin} '{name}', 'it''s', 7"));
        sql.run("INSERT INTO other VALUES (8, 8)");
        sql.run(format!("XA END '{name}', 'it''s', 7"));
        sql.run(format!("XA PREPARE '{name}', 'it''s', 7"));
        sql.run(format!("{finish} '{name}', 'it''s', 7"));
    }
}

/// Statements in character sets in which a second byte looks like a quote or a backslash.
fn write_in_other_charsets(sql: &mut Sql) {
    for charset in ["gbk", "big5", "sjis", "gb18030"] {
        sql.run(format!("SET NAMES {charset}"));
        for statement in [
            &b"INSERT INTO audit VALUES ('\xb1\x5c'), (' INTO events')"[..],
            b"INSERT INTO audit VALUES ('x') /* \xb1\x5c' */",
            b"CREATE TABLE `\xb1\x60x` (a INT COMMENT '\xb1\x5c') COMMENT ' SELECT * FROM events'",
            b"DROP TABLE `\xb1\x60x`",
        ] {
            // In Shift-JIS that byte is a character of its own.
            let lead = if charset == "sjis" { 0x95 } else { 0xb1 };
            let own = statement.iter().map(|byte| if *byte == 0xb1 { lead } else { *byte });
            sql.run_bytes(&own.collect::<Vec<_>>());
        }
    }
    sql.run("SET NAMES latin1");
    sql.run_bytes(b"INSERT\xa0INTO\xa0audit\xa0SELECT\xa0'x'\xa0FROM\xa0events LIMIT 0");
}

/// Everything that must be passed over, with a row of the outbox after each.
fn pass_over(scene: &Scene) {
    let mut writer = PlainWriter::on(scene);
    let mut other = scene.sql();
    make_others(&mut other);
    let mut relay = scene.start_relay();
    for statement in PASSED_IN_ROW_FORMAT {
        other.run(statement);
        writer.write(1);
    }
    control_groups(&mut other);
    writer.write(1);
    control_xa(&mut other, &scene.name);
    writer.write(1);
    other.run("SET binlog_format = STATEMENT");
    for statement in PASSED_IN_STATEMENT_FORMAT {
        other.run(statement);
        writer.write(1);
    }
    control_groups(&mut other);
    write_in_other_charsets(&mut other);
    writer.write(1);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
}

#[test]
fn statements_that_only_mention_an_outbox_are_passed_over() {
    let scene = Scene::on_shared_servers("mentions");
    let mut sql = scene.sql();
    sql.run("CREATE TABLE copied SELECT * FROM events");
    sql.run("SET binlog_format = STATEMENT");
    sql.run("CREATE TABLE copied_as_well AS SELECT * FROM events");
    sql.run("CREATE TEMPORARY TABLE passing SELECT * FROM events");
    pass_over(&scene);
}

#[test]
fn they_are_passed_over_on_mysql_5_7_and_9_as_well() {
    let _permit = permit_for_own_servers();
    for version in ["mysql-5.7", "mysql-9"] {
        if has_version(version) {
            let mysql = Arc::new(MySql::start(version, &[]));
            pass_over(&Scene::on(mysql, shared_kafka(), "mentions_elsewhere"));
        }
    }
}

#[test]
fn an_alter_behind_a_comment_lets_columns_be_looked_up_again() {
    let scene = Scene::on_shared_servers("behind_comment");
    let mut writer = PlainWriter::on(&scene);
    let relay = scene.start_relay();
    let comments = ["-- commit log\n", "# begin\n", "/* insert */ ", "/*!50000 */", "--\n"];
    for (number, comment) in comments.iter().enumerate() {
        writer.write(1);
        scene.wait_for_records(&relay, number + 1);
        // Two columns of one type: only their names tell.
        writer.sql.run(format!(
            "{comment}ALTER TABLE events CHANGE event_type metadata VARCHAR(1000), \
             CHANGE metadata event_type VARCHAR(1000)"
        ));
    }
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

/// Statements that add rows to a table under the pattern `odd*`, with what is sent before them.
/// `{db}` stands for the database, `{row}` for a row of it.
const ADDING: [(&str, &str, &str); 23] = [
    ("odd", "", "-- order service\nINSERT INTO {db}.odd VALUES {row}"),
    ("odd", "", "# order service\nINSERT INTO odd VALUES {row}"),
    ("odd", "", "--\nINSERT/**/IGNORE/* */INTO`odd`VALUES{row}"),
    ("odd", "", "/*!50000 INSERT INTO {db}.odd VALUES {row} */"),
    ("odd", "", "/*!50000 INSERT */ INTO /*! odd*/ VALUES {row}"),
    ("odd", "", "INSERT /*!99999 it's */ INTO odd VALUES {row}"),
    ("odd", "", "INSERT /*!99999 a /* b */ c */ INTO odd VALUES {row}"),
    ("odd", "", "INSERT /*+ it's */ INTO odd VALUES {row}"),
    ("odd", "", "INSERT /*+ QB_NAME(`a*/ INTO odd VALUES {row} -- `) */ INTO events"),
    ("odd-box", "sql_mode = 'ANSI_QUOTES'", "INSERT INTO {db}.\"odd-box\" VALUES {row}"),
    ("odd-box", "", "REPLACE LOW_PRIORITY {db} . `odd-box` VALUES {row}"),
    ("odd\"o", "sql_mode = 'ANSI'", "INSERT INTO \"odd\"\"o\" VALUES {row}"),
    ("odd`o", "", "INSERT INTO `odd``o` VALUES {row}"),
    ("odd`o", "sql_mode = 'ANSI_QUOTES'", "INSERT INTO \"odd`o\" VALUES {row}"),
    ("odd 三", "", "INSERT INTO `odd 三` VALUES {row}"),
    (
        "odd",
        "",
        "INSERT INTO odd (event_id, event_data, entity_type) SELECT 'x', '{}', 'x' FROM events LIMIT 0",
    ),
    (
        "odd",
        "sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "LOAD DATA INFILE '{file}' INTO TABLE odd LINES STARTING BY '\\'",
    ),
    (
        "odd",
        "",
        "LOAD DATA INFILE '{file}' IGNORE INTO TABLE {db}.odd FIELDS TERMINATED BY 'it''s'",
    ),
    // Whatever the name of the file says.
    (
        "odd",
        "sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "LOAD DATA INFILE '{file}'' INTO TABLE events -- ' INTO TABLE odd",
    ),
    ("odd_new", "", "CREATE TABLE odd_new SELECT * FROM events"),
    (
        "odd_new",
        "",
        "CREATE TABLE {db}.odd_new (PRIMARY KEY (event_id)) REPLACE AS SELECT * FROM events",
    ),
    ("odd_new", "", "/*!50000 CREATE TABLE odd_new */ (SELECT * FROM events)"),
    ("odd_new", "", "CREATE TABLE odd_new TABLE events"),
];

const ROW: &str = "(UUID(), 't', '{}', 'x', 'e', NULL, NULL, 0)";

const STATEMENT_HINT: &str = "a session writes under binlog_format=STATEMENT or MIXED: take the right to change it \
                              from the writer, and insert those rows again…";

/// Runs statements as statements and returns where each of them begins, and the table it adds to.
fn add_as_statements(
    scene: &Scene,
    adding: &[(&'static str, &str, &str)],
) -> Vec<(Coordinates, &'static str)> {
    let mut sql = scene.sql();
    sql.run("INSERT INTO events VALUES ('1', 't', '{}', 'x', 'e', NULL, NULL, 1)");
    let file = format!("{}.txt", scene.name);
    sql.run(format!("SELECT '1' INTO OUTFILE '{file}'"));
    sql.run(format!("SELECT '2' INTO OUTFILE '{file}'' INTO TABLE events -- '"));
    sql.run("CREATE TABLE odd LIKE events");
    for table in ["odd-box", "odd\"o", "odd``o", "odd 三"] {
        sql.run(format!("CREATE TABLE `{table}` LIKE events"));
    }
    let mut places = Vec::new();
    for (table, setting, statement) in adding {
        let mut sql = scene.sql();
        sql.run("SET binlog_format = STATEMENT");
        if !setting.is_empty() {
            sql.run(format!("SET {setting}"));
        }
        sql.run("DROP TABLE IF EXISTS odd_new");
        places.push((sql.end_of_binlog(), *table));
        let statement = statement.replace("{row}", ROW).replace("{db}", &scene.name);
        sql.run(statement.replace("{file}", &file));
        sql.run("DELETE FROM odd");
    }
    places
}

fn halts_at_each(scene: &Scene, places: Vec<(Coordinates, &'static str)>) {
    for (number, (place, table)) in places.into_iter().enumerate() {
        let mut setup = scene.relay_setup();
        setup.name = format!("{}-{number}", scene.name);
        setup.start_from = Some(place.to_string());
        setup.outboxes.push(scene.outbox("odd*", EVENTUATE_LOCAL));
        let error = format!(
            "MySQL {}: a statement at … wrote to {}.{table} as a statement, not as rows",
            setup.mysql_address, scene.name
        );
        setup.start().halts_saying(&error, STATEMENT_HINT);
    }
}

#[test]
fn a_statement_that_adds_rows_to_an_outbox_halts_however_it_is_written() {
    let scene = Scene::on_shared_servers("as_statements");
    let places = add_as_statements(&scene, &ADDING);
    halts_at_each(&scene, places);
}

#[test]
fn it_halts_on_mysql_5_7_as_well_with_the_forms_that_only_it_has() {
    let _permit = permit_for_own_servers();
    let no_gtids = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let mysql = Arc::new(MySql::start("mysql-5.7", &no_gtids));
    let scene = Scene::on(mysql, shared_kafka(), "as_statements_5_7");
    let mut adding = ADDING[..4].to_vec();
    // It does not disarm the inner comments, and knows names that begin with a dot.
    adding.push(("odd", "", "INSERT /*!99999 a /* b */ c */ INTO odd VALUES {row}"));
    adding.push(("odd", "", "INSERT /*!99999 a /* b */ c /*/ d */ e */ INTO odd VALUES {row}"));
    adding.push(("odd", "", "INSERT INTO .odd VALUES {row}"));
    adding.push(("odd_new", "", "-- c\nCREATE TABLE odd_new SELECT * FROM events"));
    let places = add_as_statements(&scene, &adding);
    halts_at_each(&scene, places);
}

#[test]
fn a_name_in_another_charset_or_behind_a_no_break_space_is_found() {
    let scene = Scene::on_shared_servers("other_charset");
    let mut sql = scene.sql();
    for table in ["odd", "odd阿", "odd盽"] {
        sql.run(format!("CREATE TABLE `{table}` LIKE events"));
    }
    let row = ROW.as_bytes();
    let mut places = Vec::new();
    for (table, charset, start) in [
        ("odd阿", "gbk", &b"INSERT INTO odd\xb0\xa2 VALUES "[..]),
        ("odd盽", "gbk", b"/* \xb1\x5c' */ INSERT INTO `odd\xb1\x60` VALUES "),
        ("odd", "latin1", b"INSERT\xa0INTO\xa0odd\xa0VALUES\xa0"),
    ] {
        let mut sql = scene.sql();
        sql.run("SET binlog_format = STATEMENT");
        sql.run(format!("SET NAMES {charset}"));
        places.push((sql.end_of_binlog(), table));
        sql.run_bytes(&[start, row].concat());
    }
    halts_at_each(&scene, places);
}

#[test]
fn ddl_that_moves_rows_into_an_outbox_is_warned_of() {
    let scene = Scene::on_shared_servers("moved_rows");
    let mut writer = PlainWriter::on(&scene);
    let mut relay = scene.start_relay();
    writer.write(1);
    writer.sql.run("CREATE TABLE other LIKE events");
    writer.sql.run("-- c\nRENAME TABLE events TO events_old, other TO events");
    writer.write(1);
    scene.judge_clean(&writer.ledger, &relay, SOON);
    relay.wait_for_log("DDL may have moved rows into an outbox table");
    assert_eq!(relay.log().matches("DDL may have moved rows").count(), 1, "{}", relay.log_tail());
}
