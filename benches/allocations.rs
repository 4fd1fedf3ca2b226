//! How much is allocated for a row between the bytes of its event and the record that is handed to the
//! producer, once all buffers have their size. Only a batch of rows allocates:
//! `integration-tests/allocations` holds it at that.

#[path = "replay/allocations.rs"]
#[allow(dead_code, reason = "each needs a part of it")]
mod counted;
mod replay;

use counted::{Allocated, allocated_for};
use replay::recording::Recording;

fn main() {
    println!("{:<24} {:>16} {:>14}", "rows", "allocations/row", "bytes/row");
    for recording in Recording::ALL {
        let Allocated { rows, count, bytes, .. } = allocated_for(recording);
        let a_row = |total: u64| total as f64 / rows as f64;
        println!("{:<24} {:>16.3} {:>14.1}", recording.name, a_row(count), a_row(bytes));
    }
}
