//! The rows of a recording's outbox table, with the table and its route, for benches of a single room.

use binlog_relay::binlog::event_type;
use binlog_relay::binlog::raw_event::RawEvent;
use binlog_relay::binlog::row::{Cell, RowsEvent};
use binlog_relay::binlog::table::{Table, TableMap};
use binlog_relay::envelope::{RowFacts, RowPosition};
use binlog_relay::outbox::Route;
use binlog_relay::telemetry::clock::CommitTime;

use super::recording::Recording;

/// The cells of a row, in the order in which its route decodes them.
pub type Cells = Vec<Cell<'static>>;

pub struct RecordedRows {
    pub table: Table,
    pub route: Route,
    /// Those with rows of the table.
    pub events: Vec<RawEvent<'static>>,
    pub rows: usize,
    /// Of the encoded rows.
    pub bytes: usize,
}

impl RecordedRows {
    pub fn of(recording: &Recording) -> RecordedRows {
        let options = recording.outbox();
        let mut table = None;
        let mut is_outbox = false;
        let mut events = Vec::new();
        for event in recording.events() {
            match event.event_type {
                event_type::TABLE_MAP => {
                    let map = TableMap::parse(event.body).expect("a table map can be read");
                    is_outbox = options.table.matches(map.schema(), map.table());
                    if is_outbox {
                        table = Table::from_metadata(&map);
                    }
                }
                event_type::WRITE_ROWS if is_outbox => events.push(event),
                _ => {}
            }
        }
        let table = table.expect("it was recorded with FULL metadata");
        let route = Route::new(&options, &table).expect("it has the columns of its preset");
        let bytes = events.iter().map(|event| parsed(event).rows().len()).sum();
        RecordedRows { table, route, events, rows: recording.rows, bytes }
    }

    /// The cells that the route uses, of each row.
    pub fn cells(&self) -> Vec<Cells> {
        let mut decoded = Vec::new();
        for event in &self.events {
            let event = parsed(event);
            let mut rows = event.rows();
            while !rows.is_empty() {
                let decoder = &self.route.decoder;
                let mut cells = vec![Cell::Absent; decoder.cells()];
                decoder.decode(&mut rows, event.present(), &mut cells).expect("rows are whole");
                decoded.push(cells);
            }
        }
        assert_eq!(decoded.len(), self.rows, "all rows were found");
        decoded
    }
}

/// The rows of an event, still encoded.
pub fn parsed(event: &RawEvent<'static>) -> RowsEvent<'static> {
    RowsEvent::parse(event.event_type, event.body).expect("a recorded event can be read")
}

/// What is known of a row of this index beside its columns.
pub fn facts(index: u64) -> RowFacts<'static> {
    RowFacts {
        position: RowPosition { file: "binlog.000042", end: 123_456_789, index },
        database: "shop",
        table: "events",
        name: "orders",
        generation: 1_700_000_000_000,
        sequence: 1 + index,
        gtid: None,
        committed_at: CommitTime::from_seconds(0),
    }
}
