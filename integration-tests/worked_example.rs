//! The worked example of `docs/how-it-works.md` is what the servers and the relay really do: its
//! transactions are written to a fresh MySQL 8.0.31 and relayed, and the listing, the records and the
//! checkpoints are held against the text between the document's markers. With
//! `BINLOG_RELAY_UPDATE_DOCS=1` they are written there instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mysql_async::Row;
use serde_json::Value as Json;

use harness::consumer::{Inbox, Isolation, Record};
use harness::relay::{Outbox, RelaySequence, RelaySetup, SOON};
use harness::say;
use harness::scene::{EVENTUATE_LOCAL, Scene, events_table};
use harness::servers::{Kafka, MySql, RELAY_PASSWORD, permit_for_own_servers};
use harness::sql::{Coordinates, Sql};

const VERSION: &str = "8.0.31";
const TOPIC: &str = "Account";
const USER: &str = "shop_relay";
const CHECKPOINT_TOPIC: &str = "offset.storage.topic";
/// The split transactions have more rows than that; the INSERT of two is not split.
const MAX_RECORDS: usize = 2;
/// Records of the INSERT, of the split transaction and of the compressed one.
const RECORDS: [usize; 3] = [2, 5, 5];
/// More than a server has reached that has just started.
const TABLE_ID: u64 = 200;
const XID: u64 = 5_000;

/// What differs from run to run stands in the document as this.
const SERVER_UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const INSTANCE: &str = "f81d4fae-7dec-41d0-a765-00a0c91e6bf6";
const GENERATION: u64 = 0x0000_019a_5b0c_7d21;
const RECORDED_AT: &str = "2026-01-31T12:00:00.000Z";
/// Where the compressed transaction ends, as the document has it: its size differs by a byte now and then.
const COMPRESSED_END: &str = "1808";

/// A transaction of the example.
struct Part {
    name: &'static str,
    statements: Vec<String>,
    begin: Coordinates,
    end: Coordinates,
}

/// Of the outbox table, and of the last statement.
struct Counters {
    table_id: u64,
    xid: u64,
}

/// A piece of the document: what stands between `<!-- example: NAME -->` and `<!-- end -->`.
struct Block {
    name: String,
    text: String,
}

#[test]
fn the_worked_example_is_what_servers_and_relay_do() {
    let _permit = permit_for_own_servers();
    let mysql = Arc::new(MySql::start("mysql-8.0", &["--innodb-stats-auto-recalc=OFF"]));
    let version: String = mysql.connect().value("SELECT VERSION()");
    if version != VERSION {
        say(&format!("the worked example is of MySQL {VERSION}: NOT RUN on {version}"));
        return;
    }
    let kafka = Arc::new(Kafka::start(&[]));
    let scene = Scene::on(mysql, kafka, "worked_example");
    let mut sql = session(&scene);
    let parts = write_parts(&mut sql);
    let setup = relay_setup(&scene, &parts[0].begin);
    relay_all(&scene, &setup);

    let records = records_in_order(&scene);
    let checkpoints = Inbox::read_all(&scene.kafka, CHECKPOINT_TOPIC, Isolation::ReadCommitted);
    let checkpoints: Vec<String> = checkpoints.iter().map(Record::value_text).collect();
    ensure_claims(&records, &checkpoints);

    let mut blocks = vec![
        block("configuration", "toml", &shown_configuration(&setup)),
        block("first-checkpoint", "json", &one_field_a_line(&checkpoints[0])),
    ];
    for (index, part) in parts.iter().enumerate() {
        blocks.push(block(&format!("{}-statements", part.name), "sql", &shown_statements(part)));
        blocks.push(block(&format!("{}-binlog", part.name), "text", &listing(&mut sql, part)));
        let records = shown_records(&records[range_of(index)]);
        blocks.push(block(&format!("{}-records", part.name), "text", &records));
        let checkpoints = shown_checkpoints(&checkpoints, index);
        blocks.push(block(&format!("{}-checkpoints", part.name), "text", &checkpoints));
    }
    blocks.push(block("drained-checkpoint", "text", &last_checkpoint(&checkpoints)));
    let uuid: String = sql.value("SELECT @@server_uuid");
    let compressed = parts.last().expect("the compressed one is the last").end.offset.to_string();
    assert_eq!(compressed.len(), COMPRESSED_END.len(), "the columns are as wide");
    for block in &mut blocks {
        block.text = block.text.replace(&uuid, SERVER_UUID);
        block.text = with_number(&block.text, &compressed, COMPRESSED_END);
    }
    compare_or_update(&blocks);
}

/// A session in which an event is the same in every run: what stands in the events decides how small they
/// compress. Clock and thread id can be set; the server's counters are driven to a number. One thing is left:
/// how long a statement took, which the server counts from the clock that was set.
fn session(scene: &Scene) -> Sql {
    let mut sql = scene.sql();
    sql.run("CREATE DATABASE shop");
    sql.run("USE shop");
    sql.run(events_table("events", "utf8mb4"));
    // The relay of the example has the rights that README.md names, and no more.
    let password = RELAY_PASSWORD.replace('\'', "''");
    sql.run(format!("CREATE USER {USER} IDENTIFIED BY '{password}'"));
    sql.run(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {USER}"));
    sql.run(format!("GRANT SELECT ON shop.* TO {USER}"));
    sql.run("SET SESSION timestamp = 1769860800, pseudo_thread_id = 7");
    let mut at = counters(&mut sql);
    while at.table_id < TABLE_ID {
        // A table that is opened anew gets the next id.
        sql.run("FLUSH TABLES events");
        at = counters(&mut sql);
    }
    assert_eq!(at.table_id, TABLE_ID);
    (at.xid..XID).for_each(|_| sql.run("DO 0"));
    sql.run("RESET MASTER");
    sql
}

/// The server's counters as a written row shows them.
fn counters(sql: &mut Sql) -> Counters {
    let begin = sql.end_of_binlog();
    sql.run(insert(&[opened(1, "Nobody")]));
    let events = sql.binlog_events(&begin);
    sql.run("DELETE FROM events");
    let number = |kind: &str, before: &str| {
        let event = events.iter().find(|event| event.kind == kind).expect("a row is written");
        let (_, rest) = event.info.split_once(before).expect("the event names its number");
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).expect("a number")
    };
    Counters { table_id: number("Table_map", "table_id: "), xid: number("Xid", "xid=") }
}

/// Everything is in the binlog before the relay starts, so that no query of its counts there.
fn write_parts(sql: &mut Sql) -> Vec<Part> {
    let opened = insert(&[opened(1, "Anna"), opened(2, "Bo")]);
    let deposits = |from: usize| {
        let rows: Vec<String> = (0..5).map(|index| deposited(from + index, index)).collect();
        vec!["BEGIN".to_owned(), insert(&rows[..3]), insert(&rows[3..]), "COMMIT".to_owned()]
    };
    let mut compressed = vec!["SET SESSION binlog_transaction_compression = ON".to_owned()];
    compressed.extend(deposits(8));
    vec![
        write_part(sql, "insert", vec![opened]),
        write_part(sql, "split", deposits(3)),
        write_part(sql, "compressed", compressed),
    ]
}

fn write_part(sql: &mut Sql, name: &'static str, statements: Vec<String>) -> Part {
    let begin = sql.end_of_binlog();
    statements.iter().for_each(|statement| sql.run(statement));
    Part { name, statements, begin, end: sql.end_of_binlog() }
}

fn insert(rows: &[String]) -> String {
    format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id) VALUES\n{}",
        rows.join(",\n")
    )
}

fn opened(number: usize, owner: &str) -> String {
    let id = event_id(number);
    format!(r#"  ('{id}', 'Opened', '{{"owner":"{owner}"}}', '{TOPIC}', 'acc-{number}')"#)
}

/// The deposits go to the two accounts in turn.
fn deposited(number: usize, index: usize) -> String {
    let (id, amount, account) = (event_id(number), 10 * (index + 1), 1 + index % 2);
    format!(r#"  ('{id}', 'Deposited', '{{"amount":{amount}}}', '{TOPIC}', 'acc-{account}')"#)
}

fn event_id(number: usize) -> String {
    format!("0000019a5af5a100-{number:016x}")
}

fn relay_setup(scene: &Scene, start: &Coordinates) -> RelaySetup {
    let table = "shop.events".to_owned();
    RelaySetup {
        name: "orders".to_owned(),
        mysql_user: USER.to_owned(),
        start_from: Some(start.to_string()),
        checkpoint_topic: CHECKPOINT_TOPIC.to_owned(),
        kafka_lines: Vec::new(),
        batch_lines: vec![format!("max_records = {MAX_RECORDS}")],
        outboxes: vec![Outbox { table, preset: EVENTUATE_LOCAL.to_owned(), lines: Vec::new() }],
        ..scene.relay_setup()
    }
}

/// Runs the relay until all has arrived, and stops it.
fn relay_all(scene: &Scene, setup: &RelaySetup) {
    let mut relay = setup.start();
    let mut inbox = Inbox::open(&scene.kafka, TOPIC, Isolation::ReadCommitted);
    relay.wait_until_came(&mut inbox, RECORDS.iter().sum(), SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

fn records_in_order(scene: &Scene) -> Vec<Record> {
    let mut records = Inbox::read_all(&scene.kafka, TOPIC, Isolation::ReadCommitted);
    records.sort_by(|a, b| a.header("relay-sequence").cmp(&b.header("relay-sequence")));
    records
}

/// What the document says of the example in its own words.
fn ensure_claims(records: &[Record], checkpoints: &[String]) {
    let sequence = |record: &Record| RelaySequence::of(record).sequence;
    let sequences: Vec<u64> = records.iter().map(sequence).collect();
    assert_eq!(sequences, (1..=12).collect::<Vec<u64>>());
    let checkpoints: Vec<Json> = checkpoints.iter().map(|text| parsed(text)).collect();
    let numbers = |field: &str| -> Vec<u64> {
        let number = |checkpoint: &Json| checkpoint[field].as_u64().expect("a number");
        checkpoints.iter().map(number).collect()
    };
    // The claim, the INSERT, three parts of each split transaction, the drain.
    assert_eq!(numbers("rowsDone"), [0, 0, 2, 4, 0, 2, 4, 0, 0]);
    assert_eq!(numbers("sequence"), [0, 2, 4, 6, 7, 9, 11, 12, 12]);
    for name in ["binlogFilename", "rowsToSkip", "serverUuid", "generation", "delivery"] {
        assert!(checkpoints.iter().all(|checkpoint| checkpoint[name] == checkpoints[0][name]));
    }
    for name in ["instance", "outboxFingerprint", "relayVersion"] {
        assert!(checkpoints.iter().all(|checkpoint| checkpoint[name] == checkpoints[0][name]));
    }
}

/// The lines that matter here: not where the servers are and how to log in there.
fn shown_configuration(setup: &RelaySetup) -> String {
    let elsewhere = ["hosts", "user", "password", "bootstrap_servers"];
    let toml = setup.to_toml();
    let is_shown = |line: &&str| !elsewhere.iter().any(|key| line.starts_with(key));
    toml.lines().filter(is_shown).collect::<Vec<_>>().join("\n")
}

fn shown_statements(part: &Part) -> String {
    part.statements.iter().map(|statement| format!("{statement};\n")).collect()
}

/// The events of a part as `SHOW BINLOG EVENTS` has them, in aligned columns.
fn listing(sql: &mut Sql, part: &Part) -> String {
    let names = ["Log_name", "Pos", "Event_type", "Server_id", "End_log_pos", "Info"];
    let Part { begin, end, .. } = part;
    let question = format!("SHOW BINLOG EVENTS IN '{}' FROM {}", begin.file, begin.offset);
    let events: Vec<Row> = sql.query(question);
    let mut lines = vec![names.map(str::to_owned)];
    for event in events.iter().filter(|event| number(event, "End_log_pos") <= end.offset) {
        let text = |name: &str| event.get::<String, _>(name).expect("a column of text");
        lines.push([
            text("Log_name"),
            number(event, "Pos").to_string(),
            text("Event_type"),
            number(event, "Server_id").to_string(),
            number(event, "End_log_pos").to_string(),
            text("Info"),
        ]);
    }
    aligned(&lines)
}

fn number(event: &Row, name: &str) -> u64 {
    event.get(name).expect("a column with a number")
}

/// Numbers to the right, texts to the left.
fn aligned(lines: &[[String; 6]]) -> String {
    let widths: [usize; 6] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].len()).max().unwrap_or_default()
    });
    let line = |cells: &[String; 6]| {
        let [log, pos, kind, server, end, _] = widths;
        let line = format!(
            "{:<log$}  {:>pos$}  {:<kind$}  {:>server$}  {:>end$}  {}",
            cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]
        );
        format!("{}\n", line.trim_end())
    };
    lines.iter().map(line).collect()
}

/// Indices of the records of a part.
fn range_of(part: usize) -> std::ops::Range<usize> {
    let begin = RECORDS[..part].iter().sum();
    begin..begin + RECORDS[part]
}

fn shown_records(records: &[Record]) -> String {
    let shown = |record: &Record| {
        let RelaySequence { name, sequence, .. } = RelaySequence::of(record);
        assert_eq!(record.headers.len(), 1, "there is no other header");
        format!(
            "{}[{}]  key: {}  relay-sequence: {name}:{GENERATION:016x}-{sequence:016x}\n{}\n",
            record.topic,
            record.partition,
            record.key_text(),
            record.value_text()
        )
    };
    records.iter().map(shown).collect()
}

/// The checkpoint before a part and those that the part leads to, with the fields that change.
fn shown_checkpoints(checkpoints: &[String], part: usize) -> String {
    let last = range_of(part).end;
    let before = range_of(part).start;
    let is_of_part = |checkpoint: &&String| {
        let checkpoint = parsed(checkpoint);
        let sequence = checkpoint["sequence"].as_u64().expect("a number");
        let sequence = usize::try_from(sequence).expect("a small number");
        (before..=last).contains(&sequence) && checkpoint["clean"] == false
    };
    let of_part: Vec<&String> = checkpoints.iter().filter(is_of_part).collect();
    let label = |index: usize| match index {
        0 => "before".to_owned(),
        index if index + 1 == of_part.len() => "after".to_owned(),
        index => format!("after part {index}"),
    };
    let line = |(index, text): (usize, &&String)| {
        format!("{:<14}{}\n", label(index), changing_fields(text))
    };
    of_part.iter().enumerate().map(line).collect()
}

fn last_checkpoint(checkpoints: &[String]) -> String {
    let last = checkpoints.last().expect("a drain stores a checkpoint");
    assert_eq!(parsed(last)["clean"], true, "{last}");
    format!("drained       {}\n", changing_fields(last))
}

fn changing_fields(checkpoint: &str) -> String {
    let parsed = parsed(checkpoint);
    let names = ["offset", "rowsDone", "gtid", "gtidSet", "sequence", "clean"];
    let field = |name: &&str| parsed.get(name).map(|value| format!("\"{name}\":{value}"));
    format!("{{{}}}", names.iter().filter_map(field).collect::<Vec<_>>().join(","))
}

/// The record as it is stored, but for what differs from run to run, and with line breaks.
fn one_field_a_line(checkpoint: &str) -> String {
    let checkpoint = with_text(checkpoint, "\"instance\":\"", INSTANCE);
    let checkpoint = with_text(&checkpoint, "\"recordedAt\":\"", RECORDED_AT);
    let checkpoint = with_number_after(&checkpoint, "\"generation\":", &GENERATION.to_string());
    checkpoint.replace(",\"", ",\n \"")
}

fn parsed(checkpoint: &str) -> Json {
    serde_json::from_str(checkpoint).expect("a checkpoint is JSON")
}

/// Puts another number in the place of a whole number.
fn with_number(text: &str, number: &str, other: &str) -> String {
    let mut pieces = text.split(number);
    let mut changed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_part_of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_whole =
            !changed.ends_with(is_part_of_a_word) && !piece.starts_with(is_part_of_a_word);
        changed.push_str(if is_whole { other } else { number });
        changed.push_str(piece);
    }
    changed
}

/// Puts another number in the place of the one that follows each `before`.
fn with_number_after(text: &str, before: &str, number: &str) -> String {
    let mut pieces = text.split(before);
    let mut changed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|digit: char| digit.is_ascii_digit());
        changed.extend([before, number, rest]);
    }
    changed
}

/// Puts another text in the place of the one between `before` and the next quote.
fn with_text(json: &str, before: &str, text: &str) -> String {
    let (head, rest) = json.split_once(before).expect("the field is there");
    let (_, tail) = rest.split_once('"').expect("a string ends");
    format!("{head}{before}{text}\"{tail}")
}

fn block(name: &str, language: &str, text: &str) -> Block {
    let text = format!("\n```{language}\n{}\n```\n\n", text.trim_end());
    Block { name: name.to_owned(), text }
}

fn compare_or_update(blocks: &[Block]) {
    let path = document();
    let written = fs::read_to_string(&path).expect("read the document");
    let mut due = written.clone();
    for block in blocks {
        due = with_block(&due, block);
    }
    assert_eq!(due.matches("<!-- example: ").count(), blocks.len(), "a marker without its example");
    if std::env::var_os("BINLOG_RELAY_UPDATE_DOCS").is_some() {
        fs::write(&path, due).expect("write the document");
        return;
    }
    let differing = due.lines().zip(written.lines()).find(|(due, written)| due != written);
    assert!(
        due == written,
        "{} does not say what happens; run this test with BINLOG_RELAY_UPDATE_DOCS=1\n{differing:#?}",
        path.display()
    );
}

fn with_block(document: &str, block: &Block) -> String {
    const END: &str = "<!-- end -->";
    let marker = format!("<!-- example: {} -->\n", block.name);
    let (before, rest) =
        document.split_once(&marker).unwrap_or_else(|| panic!("no place for {}", block.name));
    let (_, after) = rest.split_once(END).expect("an example ends");
    format!("{before}{marker}{}{END}{after}", block.text)
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-it-works.md")
}
