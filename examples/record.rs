//! Makes the recordings that the benches replay anew: a MySQL 8.0 of our own is given rows as an application of Eventuate writes
//! them, one binlog file a workload, and its files are copied as they are. What is written does not change from
//! one time to the next; times, the server's UUID and the positions in the files do.
//!
//! Run by `make recordings`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use harness::scene::{events_table, message_table};
use harness::servers::MySql;
use harness::sql::Sql;

/// Where the recordings are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recordings");

/// Rows of one shape, each transaction one INSERT.
struct Workload {
    /// Of the file.
    name: &'static str,
    table: String,
    transactions: usize,
    rows_a_transaction: usize,
    /// Columns and values of the row of that number.
    row: fn(usize) -> Vec<(&'static str, String)>,
    /// As many rows of a table that is no outbox, before and after them.
    has_other_rows: bool,
}

fn main() {
    let mysql = MySql::start("mysql-8.0", &["--binlog-row-metadata=FULL"]);
    let mut sql = mysql.connect();
    sql.run("SET NAMES utf8mb4");
    for workload in workloads() {
        sql.run("DROP DATABASE IF EXISTS shop");
        sql.run("CREATE DATABASE shop");
        sql.run("USE shop");
        sql.run(&workload.table);
        sql.run("CREATE TABLE stock (item INT PRIMARY KEY AUTO_INCREMENT, pieces INT, note VARCHAR(200))");
        sql.run("FLUSH BINARY LOGS");
        let file = sql.end_of_binlog().file;
        write(&mut sql, &workload);
        // The file is whole when the next one is begun.
        sql.run("FLUSH BINARY LOGS");
        let path = Path::new(FOLDER).join(workload.name).with_extension("binlog");
        let bytes = fs::read(mysql.data_path(&file)).expect("read a binlog file");
        fs::write(&path, &bytes).expect("write a recording");
        println!("{}: {} bytes", path.display(), bytes.len());
    }
}

fn write(sql: &mut Sql, workload: &Workload) {
    let name = if workload.table.contains("TABLE message") { "message" } else { "events" };
    for transaction in 0..workload.transactions {
        let first = transaction * workload.rows_a_transaction;
        let rows = (first..first + workload.rows_a_transaction).map(workload.row);
        let rows: Vec<_> = rows.collect();
        let columns: Vec<&str> = rows[0].iter().map(|(column, _)| *column).collect();
        let values = rows.iter().map(|row| {
            let values: Vec<String> = row.iter().map(|(_, value)| literal(value)).collect();
            format!("({})", values.join(", "))
        });
        let values: Vec<String> = values.collect();
        let insert =
            format!("INSERT INTO {name} ({}) VALUES {}", columns.join(", "), values.join(", "));
        sql.run("BEGIN");
        if workload.has_other_rows {
            sql.run("INSERT INTO stock (pieces, note) VALUES (3, 'taken for an order'), (4, NULL)");
        }
        sql.run(insert);
        if workload.has_other_rows {
            sql.run("UPDATE stock SET pieces = pieces - 1 ORDER BY item DESC LIMIT 2");
        }
        sql.run("COMMIT");
    }
}

/// Text in SQL; what begins with `=` is an expression.
fn literal(text: &str) -> String {
    match text.strip_prefix('=') {
        Some(expression) => expression.to_owned(),
        None => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
    }
}

fn workloads() -> Vec<Workload> {
    let events = |name, transactions, rows_a_transaction, row| Workload {
        name,
        table: events_table("events", "utf8mb4"),
        transactions,
        rows_a_transaction,
        row,
        has_other_rows: false,
    };
    let latin1 = |table: fn(&str, &str) -> String, name: &str| table(name, "latin1");
    let messages = |name, row| Workload {
        table: message_table("message", "utf8mb4"),
        ..events(name, 20, 1, row)
    };
    vec![
        events("single-row", 40, 1, |n| event(n, &account_opened(n))),
        events("twenty-rows", 3, 20, |n| event(n, &account_opened(n))),
        events("ten-kilobytes", 4, 1, |n| event(n, &ten_kilobytes(n))),
        events("escapes", 20, 1, |n| event(n, &escapes(n))),
        events("not-ascii", 20, 1, |n| event(n, &not_ascii(n))),
        Workload {
            has_other_rows: true,
            ..events("other-tables", 20, 1, |n| event(n, &account_opened(n)))
        },
        Workload {
            table: latin1(events_table, "events"),
            ..events("latin1", 20, 1, |n| event(n, &account_opened(n)))
        },
        Workload {
            table: latin1(events_table, "events"),
            ..events("latin1-not-ascii", 20, 1, |n| event(n, &not_ascii(n)))
        },
        Workload { table: thirty_columns(), ..events("thirty-columns", 4, 5, of_all_types) },
        messages("tram", |n| message(n, &account_opened(n))),
        messages("tram-escapes", |n| message(n, &escapes(n))),
        Workload {
            table: latin1(message_table, "message"),
            ..messages("tram-latin1-not-ascii", |n| message(n, &not_ascii(n)))
        },
    ]
}

/// As Eventuate Local's client writes it.
fn event(number: usize, data: &str) -> Vec<(&'static str, String)> {
    vec![
        ("event_id", format!("0000019a5af5{number:04x}-0242ac1100020000")),
        ("event_type", "net.example.accounts.AccountOpened".to_owned()),
        ("event_data", data.to_owned()),
        ("entity_type", "net.example.accounts.Account".to_owned()),
        ("entity_id", format!("0000019a5af0{:04x}-0242ac1100020000", number % 1_000)),
        ("metadata", "=NULL".to_owned()),
        ("published", "=0".to_owned()),
    ]
}

/// As Eventuate Tram's publisher of domain events writes it.
fn message(number: usize, payload: &str) -> Vec<(&'static str, String)> {
    let id = format!("0000019a5af5{number:04x}-0242ac1100020000");
    let entity = format!("0000019a5af0{:04x}-0242ac1100020000", number % 1_000);
    let headers = format!(
        r#"{{"PARTITION_ID":"{entity}","event-aggregate-type":"net.example.accounts.Account","DATE":"Fri, 21 Nov 2025 10:15:30 GMT","event-aggregate-id":"{entity}","event-type":"net.example.accounts.AccountOpened","DESTINATION":"net.example.accounts.Account","ID":"{id}"}}"#
    );
    vec![
        ("id", id),
        ("destination", "net.example.accounts.Account".to_owned()),
        ("headers", headers),
        ("payload", payload.to_owned()),
        ("creation_time", "=1763720130000".to_owned()),
        ("published", "=0".to_owned()),
    ]
}

/// About 330 bytes.
fn account_opened(number: usize) -> String {
    format!(
        r#"{{"accountNumber":"DE{number:018}","owner":{{"firstName":"Anna","lastName":"Example","street":"1 Long Road","city":"Springfield"}},"currency":"EUR","balance":{number}.25,"limit":1000,"isJoint":false,"openedBy":"branch-17","openedAt":"2025-11-21T10:15:30.123Z","note":"opened at the counter, papers were shown and copied, card was ordered"}}"#
    )
}

fn ten_kilobytes(number: usize) -> String {
    let mut data = format!(r#"{{"orderNumber":{number},"lines":["#);
    for line in 0.. {
        if data.len() > 10_000 {
            break;
        }
        let comma = if line > 0 { "," } else { "" };
        write!(
            data,
            r#"{comma}{{"line":{line},"product":"P-{:06}","pieces":{},"price":"{}.90","isGift":false}}"#,
            line * 37,
            line % 5 + 1,
            line % 90
        )
        .expect("a string takes all that is written");
    }
    data + "]}"
}

/// JSON in JSON over several lines, with a path of Windows: more than half of the bytes are escaped.
fn escapes(number: usize) -> String {
    let inner = r#"{\"a\":\"b\",\"c\":[\"d\",\"e\"]}"#;
    format!(
        "{{\n\t\"number\":\"{number}\",\n\t\"path\":\"C:\\\\a\\\\b\\\\c\",\n\t\"in\":\"{inner}\",\n\t\"in2\":\"{inner}\",\n\t\"in3\":\"{inner}\",\n\t\"in4\":\"{inner}\",\n\t\"z\":\"{inner}\"\n}}"
    )
}

/// The same amount of text, of which each fifth character is none of ASCII.
fn not_ascii(number: usize) -> String {
    let text = "Füße größer als Höfe, élève naïve à Genève, señor mañana, ";
    format!(r#"{{"number":{number},"text":"{}"}}"#, text.repeat(5))
}

/// The columns of Eventuate's table among others, thirty in all, of every kind that a row can have.
fn thirty_columns() -> String {
    "CREATE TABLE events (
       id BIGINT AUTO_INCREMENT PRIMARY KEY, event_id VARCHAR(255), event_type VARCHAR(1000),
       tiny TINYINT, small SMALLINT UNSIGNED, medium MEDIUMINT, whole INT, large BIGINT UNSIGNED,
       event_data LONGTEXT, exact DECIMAL(20, 6), single FLOAT, wide DOUBLE, bits BIT(10),
       entity_type VARCHAR(255), day DATE, time_of_day TIME(3), at DATETIME(6), moment TIMESTAMP(6) NULL,
       in_year YEAR, entity_id VARCHAR(255), word CHAR(20), bytes BINARY(16), some VARBINARY(300),
       choice ENUM('one', 'two', 'three'), choices SET('a', 'b', 'c'), note TINYTEXT, picture MEDIUMBLOB,
       document JSON, place POINT, published TINYINT DEFAULT 0
     ) ENGINE=InnoDB CHARACTER SET utf8mb4"
        .to_owned()
}

fn of_all_types(number: usize) -> Vec<(&'static str, String)> {
    let own = event(number, &account_opened(number));
    let mut row: Vec<_> = own.into_iter().filter(|(column, _)| *column != "metadata").collect();
    let others = [
        ("tiny", "=-7"),
        ("small", "=65000"),
        ("medium", "=-70000"),
        ("whole", "=123456789"),
        ("large", "=18446744073709551615"),
        ("exact", "=12345678901234.567891"),
        ("single", "=1.5"),
        ("wide", "=2.25e100"),
        ("bits", "=b'1010101010'"),
        ("day", "2025-11-21"),
        ("time_of_day", "10:15:30.123"),
        ("at", "2025-11-21 10:15:30.123456"),
        ("moment", "2025-11-21 10:15:30.123456"),
        ("in_year", "=2025"),
        ("word", "a word"),
        ("bytes", "=UNHEX('000102030405060708090A0B0C0D0E0F')"),
        ("some", "=REPEAT('x', 40)"),
        ("choice", "two"),
        ("choices", "a,c"),
        ("note", "a note"),
        ("picture", "=REPEAT('p', 100)"),
        ("document", r#"{"name": "Anna", "scores": [1, 2, 3], "isMember": true}"#),
        ("place", "=POINT(1, 2)"),
    ];
    row.extend(others.map(|(column, value)| (column, value.to_owned())));
    row
}
