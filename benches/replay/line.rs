//! The line with no server at either end: from an event's bytes to the records as they are handed to the
//! producer. It asks the rooms of the relay in the order in which the source and the line ask them; each
//! step is a function of its own, so that a profile can tell them apart.

use std::collections::HashMap;
use std::sync::Arc;

use binlog_relay::batch::{Batch, Cut, DestinationId, Limits, RecordRef};
use binlog_relay::binlog::raw_event::RawEvent;
use binlog_relay::binlog::row::{Bitmap, Cell, RowsEvent};
use binlog_relay::binlog::table::{Table, TableId, TableMap};
use binlog_relay::binlog::transaction::{RowsAt, Start, Step, Tracker};
use binlog_relay::coordinates::Coordinates;
use binlog_relay::envelope::{self, Outcome, RowPlace};
use binlog_relay::outbox::{CELLS_MAX, OutboxOptions, Route};
use binlog_relay::sink::kafka::sequence::{SEQUENCE_HEADER, SequenceHeader, sequence_header_len};
use binlog_relay::sink::kafka::topics::record_batch_bytes;
use binlog_relay::telemetry::clock::CommitTime;

use super::recording::{Events, Recording};

/// Fewer than the relay's default of 10,000, so that both batches have had all their memory soon.
const LIMITS: Limits = Limits { records_max: 1_000, bytes_max: 16 << 20 };
const NAME: &str = "orders";
const GENERATION: u64 = 0x19a_5b0c_7d21;

/// A table layout, and how its rows become records.
struct Layout {
    table: Table,
    signature: Vec<u8>,
    route: Route,
}

/// What the source and the line keep between two events.
pub struct Line {
    options: OutboxOptions,
    tracker: Tracker,
    /// The tables of the open transaction by their ids; `None` for one that is no outbox.
    tables: Vec<(u64, Option<usize>)>,
    layouts: Vec<Layout>,
    topics: HashMap<Arc<str>, DestinationId>,
    topic: String,
    filling: Batch,
    spare: Batch,
    header: SequenceHeader,
    sequence: u64,
}

impl Line {
    pub fn new(recording: &Recording) -> Line {
        let start = Start {
            read_from: Coordinates::start_of_file("binlog.000001").expect("a legal name"),
            gtid_set: None,
            file_timestamp: None,
            start_offset: None,
            gtids_are_complete: true,
        };
        Line {
            options: recording.outbox(),
            tracker: Tracker::new(start),
            tables: Vec::new(),
            layouts: Vec::new(),
            topics: HashMap::new(),
            topic: String::new(),
            filling: Batch::new(LIMITS),
            spare: Batch::new(LIMITS),
            header: SequenceHeader::new(NAME, GENERATION),
            sequence: 0,
        }
    }

    /// Rows that were handed over, since the beginning.
    pub fn relayed(&self) -> u64 {
        self.sequence
    }

    /// Relays all of `stream`; `send` is given each record and the value of its header.
    pub fn relay(&mut self, stream: &[u8], send: &mut impl FnMut(RecordRef<'_>, &[u8])) {
        let mut events = Events::of(stream);
        while let Some(event) = frame(&mut events) {
            match self.track(event) {
                Step::Nothing | Step::AlteredInside => {}
                Step::TableMap => self.learn_table(event.body),
                Step::WriteRows(at) => self.relay_rows(event, at, send),
                Step::Committed | Step::Altered | Step::RolledBack => {
                    self.tables.clear();
                    self.filling.mark_boundary();
                }
            }
        }
        if let Some(cut) = self.filling.cut_now() {
            self.hand_over(cut, send);
        }
    }

    #[inline(never)]
    fn track(&mut self, event: RawEvent<'_>) -> Step {
        let table = &self.options.table;
        let is_outbox = |database: &str, name: &str| table.matches(database, name);
        self.tracker.accept(event, &is_outbox).expect("a recorded event can be followed")
    }

    #[inline(never)]
    fn learn_table(&mut self, body: &[u8]) {
        let id = TableId::peek(body).expect("a recorded table map can be read");
        let layout = self.options.table.matches(id.schema, id.table).then(|| {
            let is_same = |layout: &Layout| {
                layout.table.schema == id.schema
                    && layout.table.name == id.table
                    && layout.signature == id.signature
            };
            let known = self.layouts.iter().rposition(is_same);
            known.unwrap_or_else(|| self.learn_layout(body))
        });
        self.tables.retain(|(table_id, _)| *table_id != id.table_id);
        self.tables.push((id.table_id, layout));
    }

    fn learn_layout(&mut self, body: &[u8]) -> usize {
        let map = TableMap::parse(body).expect("a recorded table map can be read");
        let table = Table::from_metadata(&map).expect("it was recorded with FULL metadata");
        let route = Route::new(&self.options, &table).expect("it has the columns of its preset");
        self.layouts.push(Layout { table, signature: map.signature().to_vec(), route });
        self.layouts.len() - 1
    }

    fn relay_rows(
        &mut self,
        event: RawEvent<'_>,
        at: RowsAt,
        send: &mut impl FnMut(RecordRef<'_>, &[u8]),
    ) {
        let rows = RowsEvent::parse(event.event_type, event.body).expect("rows can be read");
        let known = self.tables.iter().find(|(id, _)| *id == rows.table_id());
        let Some((_, Some(layout))) = known else { return };
        let layout = *layout;
        self.tracker.note_outbox_rows();
        let committed_at = self.tracker.committed_at();
        let mut bytes = rows.rows();
        let mut cells = [Cell::Null; CELLS_MAX];
        let mut index = 0;
        while !bytes.is_empty() {
            let route = &self.layouts[layout].route;
            let cells = &mut cells[..route.decoder.cells()];
            decode(route, &mut bytes, rows.present(), cells);
            let key_len = self.write_envelope(layout, cells, at, index);
            self.push(key_len, committed_at);
            while let Some(cut) = self.filling.cut_full() {
                self.hand_over(cut, send);
            }
            index += 1;
        }
    }

    #[inline(never)]
    fn write_envelope(
        &mut self,
        layout: usize,
        cells: &[Cell<'_>],
        at: RowsAt,
        index: u64,
    ) -> usize {
        let file = self.tracker.place().coordinates.file();
        let place = RowPlace { file, end: at.end, index };
        let route = &self.layouts[layout].route;
        let written = envelope::write(route, cells, place, &mut self.topic, self.filling.draft());
        match written.expect("a recorded row can be a record") {
            Outcome::Record { key_len } => key_len,
            Outcome::AlreadyPublished => unreachable!("all rows were recorded with published 0"),
        }
    }

    #[inline(never)]
    fn push(&mut self, key_len: usize, committed_at: CommitTime) {
        let topic = match self.topics.get(self.topic.as_str()) {
            Some(topic) => *topic,
            None => {
                let id = DestinationId(self.topics.len() as u32);
                self.topics.insert(self.topic.as_str().into(), id);
                id
            }
        };
        let header = [(SEQUENCE_HEADER, sequence_header_len(NAME))];
        let bytes = record_batch_bytes(key_len, self.filling.draft_len() - key_len, header);
        assert!(bytes <= 1 << 20, "what was recorded is below the default of brokers");
        self.filling.push(topic, key_len, committed_at);
    }

    #[inline(never)]
    fn hand_over(&mut self, cut: Cut, send: &mut impl FnMut(RecordRef<'_>, &[u8])) {
        self.filling.cut(cut, &mut self.spare);
        std::mem::swap(&mut self.filling, &mut self.spare);
        let sealed = &mut self.spare;
        for (index, record) in sealed.unsent_records() {
            send(record, self.header.spell(self.sequence + 1 + index as u64));
        }
        self.sequence += sealed.len() as u64;
        sealed.clear();
    }
}

#[inline(never)]
fn frame<'a>(events: &mut Events<'a>) -> Option<RawEvent<'a>> {
    events.next()
}

#[inline(never)]
fn decode<'a>(route: &Route, rows: &mut &'a [u8], present: Bitmap<'_>, cells: &mut [Cell<'a>]) {
    route.decoder.decode(rows, present, cells).expect("a recorded row can be decoded");
}
