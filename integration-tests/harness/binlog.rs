//! The oracle's view of the truth: the rows written to the given database's tables, in the order of
//! the binlog, with the place of each. It uses the row parser of `mysql_common`, not the relay's.

use std::collections::HashMap;

use futures_util::StreamExt;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{EventData, RowsEventData, TableMapEvent};
use mysql_async::binlog::value::BinlogValue;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Value};

use super::sql::{Coordinates, Login, single_threaded_runtime};

/// A row as a Write_rows event has it.
#[derive(Debug, Clone)]
pub struct WrittenRow {
    pub table: String,
    /// The END of the rows event, or of the compressed transaction it is in.
    pub place: Coordinates,
    /// The index of the row in its event; in a compressed transaction it counts on through all
    /// written rows of the table.
    pub rows_to_skip: u64,
    /// All columns in the order of the table.
    pub values: Vec<Value>,
}

impl WrittenRow {
    /// A column's bytes as text.
    pub fn text(&self, column: usize) -> String {
        match &self.values[column] {
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("column {column} of {} is no text: {other:?}", self.table),
        }
    }
}

/// Reads the binlog from `from` to its present end.
pub fn written_rows(login: &Login, from: &Coordinates, database: &str) -> Vec<WrittenRow> {
    let runtime = single_threaded_runtime();
    runtime.block_on(async {
        let conn = Conn::new(login.options()).await.expect("connect to read the binlog");
        // The id is one that no relay derives in practice; a clash would show as a lost connection.
        let server_id = 3_000_000_000 + rand::random::<u32>() % 1_000_000_000;
        let request = BinlogStreamRequest::new(server_id)
            .with_non_blocking()
            .with_filename(from.file.as_bytes())
            .with_pos(from.offset);
        let stream = conn.get_binlog_stream(request).await.expect("ask for the binlog");
        let mut reader = Reader::new(from, database);
        reader.read_to_the_end(stream).await;
        reader.rows
    })
}

struct Reader {
    database: String,
    file: String,
    /// Set within a compressed transaction: its end, and the rows seen in it by table.
    payload: Option<Payload>,
    rows: Vec<WrittenRow>,
}

struct Payload {
    end: u64,
    rows_seen: HashMap<String, u64>,
}

impl Reader {
    fn new(from: &Coordinates, database: &str) -> Reader {
        Reader {
            database: database.to_owned(),
            file: from.file.clone(),
            payload: None,
            rows: Vec::new(),
        }
    }

    async fn read_to_the_end(&mut self, mut stream: BinlogStream) {
        while let Some(event) = stream.next().await {
            let event = event.expect("read an event of the binlog");
            let header = event.header();
            match header.event_type() {
                Ok(EventType::TRANSACTION_PAYLOAD_EVENT) => {
                    self.payload =
                        Some(Payload { end: header.log_pos().into(), rows_seen: HashMap::new() });
                }
                Ok(EventType::XID_EVENT) => self.payload = None,
                Ok(EventType::ROTATE_EVENT) => {
                    if let Some(EventData::RotateEvent(rotate)) =
                        event.read_data().expect("a readable rotation")
                    {
                        self.file = rotate.name().into_owned();
                    }
                }
                Ok(EventType::WRITE_ROWS_EVENT | EventType::WRITE_ROWS_EVENT_V1) => {
                    let Some(EventData::RowsEvent(rows)) =
                        event.read_data().expect("a readable rows event")
                    else {
                        panic!("a rows event reads as something else");
                    };
                    let table =
                        stream.get_tme(rows.table_id()).expect("rows follow their table map");
                    if table.database_name() == self.database {
                        self.take(table, &rows, header.log_pos().into());
                    }
                }
                _ => {}
            }
        }
        stream.close().await.expect("close the binlog connection");
    }

    fn take(&mut self, table: &TableMapEvent<'_>, event: &RowsEventData<'_>, end: u64) {
        let name = table.table_name().into_owned();
        for (row, index) in event.rows(table).zip(0..) {
            let (_, after) = row.expect("a readable row");
            let cells = after.expect("a written row").unwrap();
            let (end, rows_to_skip) = match &mut self.payload {
                Some(payload) => {
                    let seen = payload.rows_seen.entry(name.clone()).or_insert(0);
                    *seen += 1;
                    (payload.end, *seen - 1)
                }
                None => (end, index),
            };
            self.rows.push(WrittenRow {
                table: name.clone(),
                place: Coordinates { file: self.file.clone(), offset: end },
                rows_to_skip,
                values: cells.into_iter().map(plain_value).collect(),
            });
        }
    }
}

fn plain_value(value: BinlogValue<'static>) -> Value {
    match value {
        BinlogValue::Value(value) => value,
        other => Value::from(format!("{other:?}")),
    }
}
