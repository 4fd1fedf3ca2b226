//! Prints the rows that are inserted into one table, as soon as their transactions are committed.
//!
//! ```text
//! MYSQL_PWD=secret cargo run --example print_rows -- 127.0.0.1:3306 root shop.events
//! ```
//!
//! It begins at the end of the binlog. Each transaction is a line with its position, followed by a line for each row. Rows
//! that the server takes back are never printed.

use std::convert::Infallible;
use std::error::Error;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mysql_binlog::coordinates::{StartFrom, Uuid};
use mysql_binlog::row::{Cell, RowDecoder};
use mysql_binlog::table::Table;
use mysql_binlog::{
    AlreadyRelayed, Change, Interest, MysqlOptions, Password, Replica, Rows, Server, Source,
    TlsMode, TlsOptions, start, value,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Err(error) = run().await;
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}

async fn run() -> Result<Infallible, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, user, name] = &arguments[..] else {
        return Err("usage: print_rows HOST:PORT USER DATABASE.TABLE".into());
    };
    let (host, port) = address.rsplit_once(':').ok_or("the address has no port")?;
    let (database, table) = name.split_once('.').ok_or("the table has no database")?;
    let options = MysqlOptions {
        host: host.to_owned(),
        port: port.parse()?,
        user: user.clone(),
        password: Password::fixed(std::env::var("MYSQL_PWD").unwrap_or_default()),
        server_id: None,
        heartbeat: Duration::from_secs(1),
        tls: TlsOptions { mode: TlsMode::Preferred, ca: None, cert: None, key: None },
    };
    print_rows(&options, database.to_owned(), table.to_owned()).await
}

async fn print_rows(
    options: &MysqlOptions,
    database: String,
    table: String,
) -> Result<Infallible, Box<dyn Error>> {
    let mut server = Server::connect(options).await?;
    let identity = server.identity().await?;
    let start = start::resolve(&mut server, &identity, &StartFrom::Latest).await?;
    let folds_case = identity.folds_case;
    let is_same = move |one: &str, other: &str| {
        if folds_case { one.eq_ignore_ascii_case(other) } else { one == other }
    };
    let filter = Arc::new(move |of: &str, name: &str| {
        let is_wanted = is_same(of, &database) && is_same(name, &table);
        if is_wanted { Interest::Outbox } else { Interest::None }
    });
    let mut source = Source::open(None, options, &replica(), start, server, filter).await?;
    source.reach_start().await?;
    println!("reading from {} on", source.position().coordinates);

    // Rows of the transaction that is being read. Its commit may never come.
    let mut uncommitted = Vec::new();
    loop {
        source.read().await?;
        match source.interpret().await? {
            Change::Rows(rows) => append_rows(&mut uncommitted, &rows)?,
            Change::RolledBack => uncommitted.clear(),
            Change::Committed if uncommitted.is_empty() => {}
            Change::Committed => {
                println!("transaction that ends at {}", source.position().coordinates);
                uncommitted.drain(..).for_each(|row| println!("  {row}"));
            }
            Change::Nothing | Change::Ghosts(_) => {}
        }
    }
}

/// Who we are to the server: two of this example at once need another id each.
fn replica() -> Replica {
    let id = std::process::id();
    let mut uuid = *b"mysql-binlog\0\0\0\0";
    uuid[12..].copy_from_slice(&id.to_be_bytes());
    let server_id = NonZeroU32::new(id).expect("the id of a process is not 0");
    Replica { server_id, uuid: Uuid::from_bytes(uuid) }
}

fn append_rows(lines: &mut Vec<String>, rows: &Rows<'_>) -> Result<(), Box<dyn Error>> {
    if rows.at.passed != AlreadyRelayed::No {
        return Ok(());
    }
    let columns: Vec<usize> = (0..rows.table.columns.len()).collect();
    // A program that is in a hurry keeps the decoder for each `rows.layout`.
    let decoder = RowDecoder::new(rows.table, &columns);
    let mut cells = vec![Cell::Absent; decoder.cells()];
    let mut encoded = rows.event.rows();
    while !encoded.is_empty() {
        decoder.decode(&mut encoded, rows.event.present(), &mut cells)?;
        lines.push(line_of(rows.table, &cells));
    }
    Ok(())
}

fn line_of(table: &Table, cells: &[Cell<'_>]) -> String {
    let columns = table.columns.iter().zip(cells).filter_map(|(column, cell)| {
        let text = match cell {
            // `binlog_row_image` is not FULL, and the default was inserted.
            Cell::Absent => return None,
            Cell::Null => "NULL".to_owned(),
            Cell::Bytes(bytes) => {
                let mut text = String::new();
                match value::write_text(column, bytes, &mut text) {
                    Ok(()) => text,
                    Err(error) => format!("({error})"),
                }
            }
        };
        Some(format!("{}={text}", column.name))
    });
    columns.collect::<Vec<_>>().join(" ")
}
