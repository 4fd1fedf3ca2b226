//! Counts what is allocated while rows are relayed, by a global allocator that counts the calls of each
//! thread. It is not in `mod.rs`, so that no other bench has that allocator.

use std::hint::black_box;

use binlog_relay::binlog::Change;
use binlog_relay::binlog::row::{Cell, RowDecoder};
use binlog_relay::relay::replay::Replay;

use crate::replay::recording::Recording;
use crate::replay::source::FedSource;
use crate::replay::{self, Relayed};

/// So many rows at least go before those that are counted: all buffers have their size then.
const ROWS_BEFORE: usize = 5_000;
const ROWS: usize = 5_000;

/// What was allocated for so many rows.
pub struct Allocated {
    pub rows: u64,
    /// That they were published in.
    pub batches: u64,
    pub count: u64,
    pub bytes: u64,
}

/// For the source alone: up to the bytes of each column.
pub fn allocated_by_source(recording: &Recording) -> Allocated {
    let mut repeater = recording.repeater();
    let before = repeater.passes(ROWS_BEFORE.div_ceil(recording.rows));
    let counted = repeater.passes(ROWS.div_ceil(recording.rows));
    let mut source = FedSource::new(recording);
    let mut decoder = None;
    let mut rows = 0;
    let mut count_rows = |change: Change<'_>| {
        let Change::Rows(changed) = change else { return };
        let decoder = decoder.get_or_insert_with(|| RowDecoder::new(changed.table, &[0, 1]));
        let mut left = changed.event.rows();
        let mut cells = [Cell::Absent; 2];
        while !left.is_empty() {
            decoder.decode(&mut left, changed.event.present(), &mut cells).expect("whole rows");
            black_box(&cells);
            rows += 1;
        }
    };
    source.feed(&before);
    source.read(&mut count_rows);
    source.feed(&counted);
    let allocated = allocation_counter::measure(|| source.read(&mut count_rows));
    assert!(rows >= (ROWS_BEFORE + ROWS) as u64, "{}: {rows} rows were read", recording.name);
    Allocated { rows, batches: 0, count: allocated.count_total, bytes: allocated.bytes_total }
}

/// For the whole session: from the bytes of events to the record and its header.
pub fn allocated_for(recording: &Recording) -> Allocated {
    let mut repeater = recording.repeater();
    let before = repeater.passes(ROWS_BEFORE.div_ceil(recording.rows));
    let counted = repeater.passes(ROWS.div_ceil(recording.rows));
    let (config, mut header) = (recording.config(), replay::sequence_header());
    let mut line = Replay::new(&config).expect("start a replay");
    line.feed(&before).expect("whole events");
    replay::relay(&mut line, &mut header);
    line.feed(&counted).expect("whole events");
    let mut relayed = Relayed::default();
    let allocated = allocation_counter::measure(|| relayed = replay::relay(&mut line, &mut header));
    let Relayed { records, batches } = relayed;
    assert!(records >= ROWS as u64, "{}: {records} rows were relayed", recording.name);
    Allocated { rows: records, batches, count: allocated.count_total, bytes: allocated.bytes_total }
}
