//! In the steady state nothing is allocated for a row between the bytes of its event and the record that is
//! handed to the producer. Only a batch allocates: its checkpoint has texts. A count is no clock, so it can be asserted.
//! It needs an allocator that counts, hence a binary of its own; no server is started.

#[path = "../../benches/replay/allocations.rs"]
mod counted;
#[path = "../../benches/replay/mod.rs"]
mod replay;

mod values;

use counted::{Allocated, allocated_by_source, allocated_for};
use replay::recording::Recording;

/// Text that is not UTF-8 as it was logged is allocated for still, once a value.
const EXCEPT: [Recording; 2] = [Recording::LATIN1_NOT_ASCII, Recording::TRAM_LATIN1_NOT_ASCII];

/// Allocations for a batch: its order, its answers, and the texts of its checkpoint. A batch has 1,000 rows.
const A_BATCH_MAX: u64 = 60;

#[test]
fn nothing_is_allocated_for_a_row() {
    for recording in Recording::ALL {
        if EXCEPT.iter().any(|except| except.name == recording.name) {
            continue;
        }
        let Allocated { rows, batches, count, bytes } = allocated_for(recording);
        let name = recording.name;
        assert!(
            batches * 500 <= rows,
            "{name}: {batches} batches for {rows} rows tell nothing of a row"
        );
        assert!(
            count <= batches * A_BATCH_MAX,
            "{name}: {count} allocations, {bytes} bytes, for {rows} rows in {batches} batches"
        );
    }
}

#[test]
fn nothing_is_allocated_for_a_row_by_the_source() {
    for recording in Recording::ALL {
        let Allocated { rows, count, bytes, .. } = allocated_by_source(recording);
        let name = recording.name;
        assert_eq!(count, 0, "{name}: {bytes} bytes were allocated for {rows} rows");
    }
}
