//! Counts what is allocated while rows are relayed, by a global allocator that counts the calls of each
//! thread. It is not in `mod.rs`, so that no other bench has that allocator.

use std::hint::black_box;

use binlog_relay::batch::RecordRef;

use crate::replay::line::Line;
use crate::replay::recording::Recording;

/// So many rows at least go before those that are counted: all buffers have their size then.
const ROWS_BEFORE: usize = 5_000;
const ROWS: usize = 5_000;

/// What was allocated for so many rows.
pub struct Allocated {
    pub rows: u64,
    pub count: u64,
    pub bytes: u64,
}

pub fn allocated_for(recording: &Recording) -> Allocated {
    let mut repeater = recording.repeater();
    let before = repeater.passes(ROWS_BEFORE.div_ceil(recording.rows));
    let counted = repeater.passes(ROWS.div_ceil(recording.rows));
    let mut line = Line::new(recording);
    let mut send = |record: RecordRef<'_>, header: &[u8]| {
        black_box((record, header));
    };
    line.relay(&before, &mut send);
    let relayed_before = line.relayed();
    let allocated = allocation_counter::measure(|| line.relay(&counted, &mut send));
    let rows = line.relayed() - relayed_before;
    assert!(rows >= ROWS as u64, "{}: {rows} rows were relayed", recording.name);
    Allocated { rows, count: allocated.count_total, bytes: allocated.bytes_total }
}
