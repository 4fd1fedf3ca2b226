//! Each column type has the text that its own server gives for it, and JSON that says the same: every edge and random
//! values, read from the binlog of MySQL 5.7, 8.0 and 9, with names in the binlog and without.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use binlog_relay::binlog::{MysqlOptions, Password, Server, TlsMode, TlsOptions};
use mysql_async::Row;
use mysql_binlog::coordinates::{Coordinates, StartFrom, Uuid};
use mysql_binlog::row::{Cell, RowDecoder};
use mysql_binlog::table::{Column, ColumnKind};
use mysql_binlog::value::{BinaryFormat, DecimalFormat, JsonOptions};
use mysql_binlog::{Change, Interest, Replica, Rows, Source, start, value};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use harness::say;
use harness::servers::{MySql, permit_for_own_servers, shared_mysql};
use harness::sql::{Sql, single_threaded_runtime};

mod cases;
mod encoded;

use cases::{Case, cases};

/// Fewer are not all of them.
const VALUES_MIN: usize = 9_000;

/// Whether the binlog names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metadata {
    Minimal,
    Full,
}

#[test]
fn every_type_without_names_in_the_binlog_of_8_0() {
    compare(&shared_mysql(), Metadata::Minimal);
}

#[test]
fn every_type_in_the_binlog_of_5_7() {
    let _permit = permit_for_own_servers();
    compare(&MySql::start("mysql-5.7", &[]), Metadata::Minimal);
}

#[test]
fn every_type_with_names_in_the_binlog_of_8_0() {
    let _permit = permit_for_own_servers();
    compare(&MySql::start("mysql-8.0", &["--binlog-row-metadata=FULL"]), Metadata::Full);
}

#[test]
fn every_type_in_the_binlog_of_9() {
    let _permit = permit_for_own_servers();
    let mysql = MySql::start("mysql-9", &[]);
    compare(&mysql, Metadata::Minimal);
    mysql.connect().run("SET GLOBAL binlog_row_metadata = FULL");
    compare(&mysql, Metadata::Full);
}

/// Writes all cases, reads them back from the binlog, and holds each value against the server's own words.
fn compare(mysql: &MySql, metadata: Metadata) {
    let mut sql = mysql.connect();
    let database = format!("types_{:?}_{}", metadata, std::process::id()).to_lowercase();
    for statement in [
        &format!("CREATE DATABASE {database}"),
        &format!("USE {database}"),
        "SET NAMES utf8mb4",
        "SET time_zone = '+00:00'",
        // What is out of range is clipped, and invalid members of an ENUM become ''.
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
    ] {
        sql.run(statement);
    }
    if metadata == Metadata::Full {
        // Each table has one more column that nobody made.
        sql.run("SET sql_generate_invisible_primary_key = ON");
    }
    let version: String = sql.value("SELECT VERSION()");
    let seed = rand::random();
    say(&format!("every type on {version}, {metadata:?}: seed {seed}"));
    let cases = cases(&mut sql, &mut ChaCha8Rng::seed_from_u64(seed));
    let from = sql.end_of_binlog();
    for (number, case) in cases.iter().enumerate() {
        write_case(&mut sql, number, case);
    }
    let end = sql.end_of_binlog();
    let coordinates = |at: harness::sql::Coordinates| {
        Coordinates::new(at.file, at.offset).expect("a place in the binlog")
    };
    let tables = read(mysql, &database, coordinates(from), coordinates(end));

    let mut wrong = Vec::new();
    let mut compared = 0;
    for (number, case) in cases.iter().enumerate() {
        let table = &tables[&format!("t{number}")];
        compared += compare_case(&mut sql, number, case, table, metadata, &mut wrong);
    }
    say(&format!("every type on {version}, {metadata:?}: {compared} values compared"));
    assert!(wrong.is_empty(), "{version}: {} values differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= VALUES_MIN, "{version}: {compared} values compared");
    let tables: Vec<_> = tables.iter().map(|(name, table)| (name.clone(), table)).collect();
    let (compared, wrong) = encoded::compare(&options(mysql), &database, &tables, metadata);
    let shown = &wrong[..wrong.len().min(40)];
    assert!(wrong.is_empty(), "{version}: {} encoded differ\n{}", wrong.len(), shown.join("\n"));
    assert!(compared >= VALUES_MIN, "{version}: {compared} encoded values compared");
    sql.run(format!("DROP DATABASE {database}"));
}

fn write_case(sql: &mut Sql, number: usize, case: &Case) {
    sql.run(format!("CREATE TABLE t{number} (id INT NOT NULL, {})", case.columns));
    let rows = case.values.iter().enumerate().map(|(id, values)| format!("({id}, {values})"));
    let rows = rows.collect::<Vec<_>>().join(", ");
    sql.run(format!("INSERT INTO t{number} (id, {}) VALUES {rows}", case.written));
}

fn compare_case(
    sql: &mut Sql,
    number: usize,
    case: &Case,
    table: &ReadTable,
    metadata: Metadata,
    wrong: &mut Vec<String>,
) -> usize {
    let mut compared = 0;
    let is_zerofill = metadata == Metadata::Full && case.columns.contains("ZEROFILL");
    for (index, column) in table.columns.iter().enumerate() {
        let name = &column.name;
        let asked = match kind_of(column) {
            Kind::Bits => format!("CAST(`{name}` + 0 AS CHAR)"),
            Kind::Bytes | Kind::Vector => format!("HEX(`{name}`)"),
            Kind::Text => format!("CAST(`{name}` AS CHAR)"),
        };
        let answers: Vec<Row> = sql.query(format!("SELECT {asked} FROM t{number} ORDER BY id"));
        assert_eq!(answers.len(), table.rows.len(), "t{number}: {}", case.columns);
        for (row, mut answer) in table.rows.iter().zip(answers) {
            let expected: Option<String> = answer.take(0).expect("a column");
            let differ = match (&row[index], &expected) {
                (None, None) => None,
                (Some(bytes), Some(expected)) => differ(column, bytes, expected, is_zerofill),
                (ours, _) => Some(format!("{ours:?} where the server has {expected:?}")),
            };
            compared += 1;
            wrong.extend(differ.map(|differ| format!("{} [{name}]: {differ}", case.columns)));
        }
    }
    compared
}

/// How the server is asked for a value.
enum Kind {
    Text,
    Bits,
    Bytes,
    Vector,
}

fn kind_of(column: &Column) -> Kind {
    match column.kind {
        ColumnKind::Bit { .. } => Kind::Bits,
        ColumnKind::Geometry { .. } => Kind::Bytes,
        ColumnKind::Vector { .. } => Kind::Vector,
        kind if kind.is_character()
            && column.charset == Some(mysql_binlog::charset::Charset::Binary) =>
        {
            Kind::Bytes
        }
        _ => Kind::Text,
    }
}

/// What is wrong with our text and our JSON of a value.
fn differ(column: &Column, bytes: &[u8], expected: &str, is_zerofill: bool) -> Option<String> {
    let mut text = String::new();
    let mut raw = Vec::new();
    let mut json = String::new();
    let written = value::write_text(column, bytes, &mut text)
        .and_then(|()| value::write_bytes(column, bytes, &mut raw))
        .and_then(|()| value::write_json(column, bytes, JsonOptions::default(), &mut json));
    if let Err(error) = written {
        return Some(format!("{error} where the server has {expected:?}"));
    }
    let is_text = match kind_of(column) {
        Kind::Text => {
            let expected = if is_zerofill { without_zeros(expected) } else { expected.to_owned() };
            text == expected && raw == text.as_bytes()
        }
        Kind::Bits => text == expected && raw == text.as_bytes(),
        Kind::Bytes => hex(&raw) == expected && text == base64(&raw),
        Kind::Vector => hex(&floats(&text)) == expected,
    };
    if !is_text {
        return Some(format!("{text:?} where the server has {expected:?}"));
    }
    differ_in_json(column, bytes, &text, &json)
}

/// Under FULL nothing says that a column has ZEROFILL.
fn without_zeros(text: &str) -> String {
    let digits = text.trim_start_matches('0');
    let needs_zero = digits.is_empty() || digits.starts_with('.');
    if needs_zero { format!("0{digits}") } else { digits.to_owned() }
}

fn differ_in_json(column: &Column, bytes: &[u8], text: &str, json: &str) -> Option<String> {
    let parsed: serde_json::Value = match serde_json::from_str(json) {
        Ok(parsed) => parsed,
        Err(error) => return Some(format!("no JSON ({error}): {json}")),
    };
    let other = JsonOptions { decimal: DecimalFormat::Number, binary: BinaryFormat::Hex };
    let mut in_other_form = Vec::new();
    value::write_json(column, bytes, other, &mut in_other_form).expect("it has a text");
    let in_other_form = String::from_utf8(in_other_form).expect("JSON is UTF-8");
    let is_right = match column.kind {
        kind if kind.is_integer() => {
            json.parse() == Ok(value::integer(column, bytes).expect("an integer"))
        }
        ColumnKind::Bit { .. } => json == text,
        ColumnKind::Year => text.parse::<i64>() == json.parse::<i64>(),
        ColumnKind::Float => {
            json.parse::<f32>().map(f32::to_le_bytes) == Ok(bytes.try_into().expect("four bytes"))
        }
        ColumnKind::Double => {
            json.parse::<f64>().map(f64::to_le_bytes) == Ok(bytes.try_into().expect("eight bytes"))
        }
        ColumnKind::Decimal { .. } => {
            let zeros = in_other_form.trim_start_matches('-');
            let is_number = !zeros.starts_with('0') || zeros == "0" || zeros.starts_with("0.");
            parsed == serde_json::json!(text)
                && is_number
                && (column.display.zerofill.is_some() || in_other_form == text)
        }
        ColumnKind::Json { .. } => {
            // Line feeds in 5.7's base64 are no JSON as they are.
            json == text || serde_json::from_str(&text.replace('\n', "\\n")).ok() == Some(parsed)
        }
        ColumnKind::Vector { .. } => json == text,
        _ => parsed == serde_json::json!(text),
    };
    let is_hex = !matches!(kind_of(column), Kind::Bytes) || {
        let mut raw = Vec::new();
        value::write_bytes(column, bytes, &mut raw).expect("it has bytes");
        in_other_form == format!("\"{}\"", hex(&raw).to_lowercase())
    };
    (!is_right || !is_hex).then(|| format!("{json} and {in_other_form} are the JSON of {text:?}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Told by the alphabet, to share no code with ours.
fn base64(bytes: &[u8]) -> String {
    let alphabet: Vec<char> =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain("+/".chars()).collect();
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let bits: Vec<char> = bits.chars().collect();
    let sextet = |bits: &[char]| {
        let bits: String = bits.iter().collect();
        alphabet[usize::from_str_radix(&format!("{bits:0<6}"), 2).expect("bits")]
    };
    let text: String = bits.chunks(6).map(sextet).collect();
    let padding = text.len().next_multiple_of(4) - text.len();
    text + &"=".repeat(padding)
}

/// The bytes of the floats in `[1,2.5]`.
fn floats(text: &str) -> Vec<u8> {
    let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
    list.split(',').flat_map(|float| float.parse().unwrap_or(f32::NAN).to_le_bytes()).collect()
}

/// The rows of one table as its binlog has them, in the order they were written.
struct ReadTable {
    columns: Vec<Column>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
}

fn options(mysql: &MySql) -> MysqlOptions {
    let login = mysql.login();
    MysqlOptions {
        host: login.host.clone(),
        port: login.port,
        user: login.user.clone(),
        password: Password::fixed(&login.password),
        server_id: None,
        heartbeat: Duration::from_secs(1),
        tls: TlsOptions { mode: TlsMode::Preferred, ca: None, cert: None, key: None },
    }
}

fn read(
    mysql: &MySql,
    database: &str,
    from: Coordinates,
    end: Coordinates,
) -> HashMap<String, ReadTable> {
    let options = options(mysql);
    let wanted = database.to_owned();
    let filter = Arc::new(
        move |database: &str, _: &str| {
            if database == wanted { Interest::Outbox } else { Interest::None }
        },
    );
    let id = NonZeroU32::new(3_000_000_000 + std::process::id()).expect("not 0");
    let replica = Replica { server_id: id, uuid: Uuid::from_bytes(rand::random()) };
    let mut tables = HashMap::new();
    single_threaded_runtime().block_on(async {
        let mut server = Server::connect(&options).await.expect("it lets root in");
        let identity = server.identity().await.expect("it says who it is");
        let from = StartFrom::Coordinates(from);
        let start = start::resolve(&mut server, &identity, &from).await.expect("a start");
        let mut source = Source::open(None, &options, &replica, start, server, filter)
            .await
            .expect("the dump begins");
        source.reach_start().await.expect("it reaches its start");
        while source.position().coordinates < end {
            source.read().await.expect("an event");
            if let Change::Rows(rows) = source.interpret().await.expect("a known event") {
                collect(&mut tables, &rows);
            }
        }
    });
    tables
}

fn collect(tables: &mut HashMap<String, ReadTable>, rows: &Rows<'_>) {
    let columns: Vec<usize> = (0..rows.table.columns.len()).collect();
    let decoder = RowDecoder::new(rows.table, &columns);
    let mut cells = vec![Cell::Absent; decoder.cells()];
    let mut encoded = rows.event.rows();
    let table = tables
        .entry(rows.table.name.clone())
        .or_insert_with(|| ReadTable { columns: rows.table.columns.clone(), rows: Vec::new() });
    while !encoded.is_empty() {
        decoder.decode(&mut encoded, rows.event.present(), &mut cells).expect("a row");
        let owned = cells.iter().map(|cell| match cell {
            Cell::Bytes(bytes) => Some(bytes.to_vec()),
            Cell::Null => None,
            Cell::Absent => panic!("the row image is full"),
        });
        table.rows.push(owned.collect());
    }
}

/// A random number generator's `count` values.
fn random<R: Rng>(
    random: &mut R,
    count: usize,
    mut value: impl FnMut(&mut R) -> String,
) -> Vec<String> {
    (0..count).map(|_| value(random)).collect()
}
