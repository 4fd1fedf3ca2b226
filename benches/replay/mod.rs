//! What the benches stand on: binlog files recorded from a real server, and what relays them with no server at either
//! end.
#![allow(dead_code, reason = "each bench needs a part of it")]

pub mod recording;
pub mod rows;
pub mod source;

use std::hint::black_box;

use binlog_relay::batch::RecordRef;
use binlog_relay::relay::replay::Replay;
use binlog_relay::sink::kafka::sequence::SequenceHeader;

/// What was relayed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Relayed {
    pub records: u64,
    pub batches: u64,
}

/// Relays all that was fed. The producer's end is the header of each record.
pub fn relay(replay: &mut Replay<'_>, header: &mut SequenceHeader) -> Relayed {
    let mut records = 0;
    let send = |record: RecordRef<'_>, sequence: u64| {
        black_box((record, header.spell(sequence)));
        records += 1;
    };
    let batches = replay.relay(send).expect("a recording can be relayed");
    Relayed { records, batches }
}

/// That of the relay in [`recording::Recording::config`].
pub fn sequence_header() -> SequenceHeader {
    SequenceHeader::new("orders", 1_700_000_000_000)
}
