//! What `check` says of outboxes with a plan: where their last rows go, and what cannot be a record.

use std::sync::Arc;

use serde_json::Value as Json;

use harness::relay::{Outbox, RelaySetup, said};
use harness::scene::Scene;
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};

/// Status, detail and hint of each line of this name.
fn lines(setup: &RelaySetup, name: &str) -> Vec<[String; 3]> {
    let answer = said(&setup.answer(&["check", "--json"]));
    let report: Json = serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("{answer:?}"));
    let lines = report["requirements"].as_array().expect("lines").iter();
    let text = |line: &Json, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    lines
        .filter(|line| line["name"] == name)
        .map(|line| [text(line, "status"), text(line, "detail"), text(line, "hint")])
        .collect()
}

const OUTBOX: &str = "CREATE TABLE outbox (id INT PRIMARY KEY, aggregatetype VARCHAR(255) NOT NULL,
  aggregateid VARCHAR(255), type VARCHAR(255) NOT NULL, payload JSON)";

#[test]
fn the_last_rows_go_through_the_plan_and_their_topics_are_looked_at() {
    let scene = Scene::on_shared_servers("check_plan");
    let mut sql = scene.sql();
    sql.run(OUTBOX);
    let mut setup = scene.relay_setup();
    let lines_of = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let plan = &["topic = \"{aggregatetype}\"", "where = { type = [\"a\", \"b\"] }"];
    setup.outboxes = vec![Outbox { lines: lines_of(plan), ..scene.outbox("outbox", "outbox") }];
    let of_table =
        |end: &str| format!("the last {end}").replace("TABLE", &format!("{}.outbox", scene.name));
    let rows = lines(&setup, "mysql.rows");
    assert_eq!(rows[0][..2], ["ok".to_owned(), format!("{}.outbox has no rows yet", scene.name)]);

    let topic = scene.topic("orders");
    sql.run(format!(
        "INSERT INTO outbox VALUES (1, '{topic}', '7', 'a', NULL), (2, '{topic}', '8', 'c', '1')"
    ));
    let rows = lines(&setup, "mysql.rows");
    assert_eq!(
        rows[0][..2],
        ["ok".to_owned(), of_table(&format!("2 rows of TABLE go to {topic}; 1 left out"))]
    );
    let topics = lines(&setup, "kafka.topic");
    assert!(topics.len() == 1 && topics[0][1].contains(&topic), "{topics:?}");

    sql.run(format!(
        "INSERT INTO outbox VALUES (3, 'no topic!', '7', 'a', '1'), (4, '{topic}', NULL, 'b', '1')"
    ));
    let rows = lines(&setup, "mysql.rows");
    let wanted = of_table(&format!(
        "4 rows of TABLE go to {topic}; 1 left out; 2 cannot be records: id=4: column aggregateid: it is NULL where a \
         record needs a value, id=3: column aggregatetype: \"no topic!\" is no legal topic name"
    ));
    assert!(rows[0][0] == "warn" && rows[0][1].starts_with(&wanted), "{rows:?}\n{wanted}");
    assert!(rows[0][2].contains("`binlog-relay explain` shows the rows"), "{rows:?}");

    // Rows of which the plan makes a dead letter are named, and how they end.
    let lines_of_letters = [plan[0], "on_error = \"dead-letter\""];
    setup.outboxes[0].lines = lines_of(&lines_of_letters);
    let rows = lines(&setup, "mysql.rows");
    assert!(rows[0][2].starts_with("it becomes a dead letter of"), "{rows:?}");
}

#[test]
fn every_missing_column_of_every_table_is_named() {
    let scene = Scene::on_shared_servers("check_columns");
    let mut sql = scene.sql();
    sql.run("CREATE TABLE a (id INT PRIMARY KEY, aggregatetyp INT, body INT)");
    sql.run("CREATE TABLE b (id INT PRIMARY KEY)");
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("a", "outbox"), scene.outbox("b", "eventuate-tram")];
    let columns = lines(&setup, "mysql.columns");
    let wanted = [
        format!(
            "the table {}.a has no column aggregatetype, which topic of the preset outbox names (did you mean \
             aggregatetyp?), and no column aggregateid, which key of the preset outbox names (did you mean \
             aggregatetyp?), and no column payload, which value of the preset outbox names; it has id, aggregatetyp, \
             body",
            scene.name
        ),
        format!(
            "the table {}.b has no column destination, which the preset eventuate-tram needs, and no column headers, \
             which the preset eventuate-tram needs, and no column payload, which the preset eventuate-tram needs; it \
             has id",
            scene.name
        ),
    ];
    for (line, wanted) in columns.iter().zip(&wanted) {
        assert!(line[0] == "fail" && line[1].ends_with(wanted), "{line:?}\n{wanted}");
    }
    let log = setup.start().halts();
    assert!(log.contains(&wanted.join("; ")), "{log}");
}

#[test]
fn columns_whose_text_full_metadata_does_not_tell_are_a_warning() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--binlog-row-metadata=FULL"]));
    let scene = Scene::on(mysql, shared_kafka(), "check_text");
    let mut sql = scene.sql();
    sql.run(
        "CREATE TABLE t (id INT(5) ZEROFILL PRIMARY KEY, price FLOAT(7,2), plain INT, unused INT ZEROFILL,
           amount DECIMAL(5,1) ZEROFILL)",
    );
    sql.run("INSERT INTO t VALUES (7, 1.5, 7, 7, 1.5)");
    let mut setup = scene.relay_setup();
    let of = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let topic = format!("topic = \"{}\"", scene.topic("t"));
    let template = of(&[&topic, "key = \"{id}-{plain}\"", "value = \"{price}\""]);
    setup.outboxes = vec![Outbox { lines: template, ..scene.outbox("t", "custom") }];
    let text = lines(&setup, "mysql.column_text");
    assert_eq!(text.len(), 1, "{text:?}");
    assert!(
        text[0][0] == "warn"
            && text[0][1].contains("padded: id (int(5) unsigned zerofill), price (float(7,2));"),
        "{text:?}"
    );
    // The record is what such a relay makes.
    let said_of = said(&setup.answer(&["explain", "--json"]));
    assert!(
        said_of.out.contains("\"key\":\"7-7\"") && said_of.out.contains("\"value\":\"1.5\""),
        "{said_of:?}"
    );

    setup.outboxes[0].lines = of(&[&topic, "value = \"json\""]);
    let text = lines(&setup, "mysql.column_text");
    assert!(text[0][1].contains("padded: amount (decimal(5,1) unsigned zerofill);"), "{text:?}");
    setup.outboxes[0].lines.push("json.decimal = \"number\"".to_owned());
    assert!(lines(&setup, "mysql.column_text").is_empty());

    sql.run("SET GLOBAL binlog_row_metadata = MINIMAL");
    assert!(lines(&setup, "mysql.column_text").is_empty());
}
