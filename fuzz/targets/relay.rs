//! The fuzz targets of the relay itself: what it reads back from Kafka, and rows that become records.

use std::sync::LazyLock;

use binlog_relay::binlog::event_type::{TABLE_MAP, WRITE_ROWS_V1};
use binlog_relay::binlog::raw_event::RawEvent;
use binlog_relay::binlog::row::{Cell, RowsEvent};
use binlog_relay::binlog::table::{Table, TableMap};
use binlog_relay::checkpoint;
use binlog_relay::envelope::{self, Buffers, RowFacts, RowPosition};
use binlog_relay::outbox::{CELLS_MAX, OutboxOptions, Preset, Route};
use binlog_relay::sink::kafka::sequence::SequenceHeader;
use binlog_relay::telemetry::clock::CommitTime;

use crate::targets::{Limit, Target, recordings};

/// All targets of the relay.
pub const ALL: &[Target] = &[CHECKPOINT, ENVELOPE, RELAY_SEQUENCE];

/// The value of a checkpoint record.
const CHECKPOINT: Target = Target {
    name: "checkpoint",
    run: checkpoint,
    seeds: checkpoint_seeds,
    limit: Limit::new(16 << 10, 256),
};

/// The value of the header `relay-sequence`.
const RELAY_SEQUENCE: Target = Target {
    name: "relay_sequence",
    run: relay_sequence,
    seeds: || vec![b"orders:0000019a5b0c7d21-000000000000002a".to_vec(), b"orders:".to_vec()],
    limit: Limit::new(1 << 10, 16),
};

/// First byte: which recorded outbox table. The rest is rows of it, which become records.
const ENVELOPE: Target = Target {
    name: "envelope",
    run: envelope,
    seeds: envelope_seeds,
    limit: Limit::new(64 << 10, 64),
};

fn checkpoint(data: &[u8]) {
    for kafka_millis in [None, Some(1_769_860_800_000), Some(i64::MIN), Some(i64::MAX)] {
        if let Ok(checkpoint) = checkpoint::parse(data, kafka_millis) {
            assert!(checkpoint.resume().is_ok(), "a checkpoint that was taken can be resumed from");
            let written = serde_json::to_vec(&checkpoint).expect("a checkpoint can be written");
            assert_eq!(checkpoint::parse(&written, kafka_millis), Ok(checkpoint));
        }
    }
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let ours = r#"{"format":1,"name":"orders","binlogFilename":"binlog.000003","offset":2960,"rowsToSkip":0,"rowsDone":2,"gtid":"3e11fa47-71ca-11e1-9e33-c80aa9429562:6","gtidSet":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","serverUuid":"3e11fa47-71ca-11e1-9e33-c80aa9429562","binlogTimestamp":1769860800,"generation":1769860800000,"sequence":42,"delivery":"idempotent","instance":"i","outboxFingerprint":"f","topicsCreated":1,"clean":false,"unacknowledgedSince":"2026-01-31T12:00:00.000Z","unacknowledgedNames":["other"],"recordedAt":"2026-01-31T12:00:00.000Z","relayVersion":"0.1.0"}"#;
    let theirs = r#"{"binlogFilename":"binlog.000001","offset":135547028,"rowsToSkip":0}"#;
    let later = r#"{"format":2,"relayVersion":"3.1.0"}"#;
    [ours, theirs, later].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn relay_sequence(data: &[u8]) {
    let mut header = SequenceHeader::new("orders", 0x19a_5b0c_7d21);
    if let Some(sequence) = header.parse(data) {
        assert!(header.spell(sequence).eq_ignore_ascii_case(data));
    }
}

/// A recorded outbox table.
struct Outbox {
    route: Route,
    columns: usize,
    /// The bodies of its rows, without their heads.
    rows: Vec<Vec<u8>>,
}

/// Made once: it is not a part of what an input costs.
static OUTBOXES: LazyLock<Vec<Outbox>> =
    LazyLock::new(|| recordings().iter().filter_map(|events| outbox(events)).collect());

fn outbox(events: &[Vec<u8>]) -> Option<Outbox> {
    let mut table = None;
    let mut rows = Vec::new();
    let mut is_outbox = false;
    for event in events {
        let event = RawEvent::parse(&event[..event.len() - 4])?;
        if event.event_type == TABLE_MAP {
            let map = TableMap::parse(event.body).expect("a recorded table map");
            is_outbox = matches!(map.table(), "events" | "message");
            table = table.or(Table::from_metadata(&map).filter(|_| is_outbox));
        } else if let Ok(recorded) = RowsEvent::parse(event.event_type, event.body)
            && is_outbox
        {
            rows.push(recorded.rows().to_vec());
        }
    }
    let table = table?;
    let preset =
        if table.name == "message" { Preset::EventuateTram } else { Preset::EventuateLocal };
    let full_name = table.full_name().parse().expect("a legal name");
    let options = OutboxOptions { table: full_name, preset, outbox_id: None, plan: None };
    let route = Route::new(&options, &table).expect("it has the columns of its preset");
    Some(Outbox { route, columns: table.columns.len(), rows })
}

fn envelope(data: &[u8]) {
    let Some((which, rows)) = data.split_first() else { return };
    let Some(outbox) = OUTBOXES.get(usize::from(*which)) else { return };
    // Table id, flags, and every column is there.
    let mut body = vec![0; 8];
    body.push(outbox.columns as u8);
    body.extend(vec![0xFF; outbox.columns.div_ceil(8)]);
    body.extend(rows);
    let event = RowsEvent::parse(WRITE_ROWS_V1, &body).expect("its head is whole");
    let (mut buffers, mut out) = (Buffers::default(), Vec::new());
    let mut left = event.rows();
    let mut cells = [Cell::Absent; CELLS_MAX];
    while !left.is_empty() {
        let decoder = &outbox.route.decoder;
        if decoder.decode(&mut left, event.present(), &mut cells).is_err() {
            return;
        }
        let index = 0;
        let facts = RowFacts {
            position: RowPosition { file: "binlog.000042", end: 123_456_789, index },
            database: "shop",
            table: "events",
            name: "orders",
            generation: 1_700_000_000_000,
            sequence: 1 + index,
            gtid: None,
            committed_at: CommitTime::from_seconds(0),
        };
        out.clear();
        let _ = envelope::write(&outbox.route, &cells, &facts, &mut buffers, &mut out);
    }
}

fn envelope_seeds() -> Vec<Vec<u8>> {
    let of_outbox = |(which, outbox): (usize, &Outbox)| {
        let short = outbox.rows.iter().filter(|rows| rows.len() < 4_000).take(1);
        short.map(move |rows| [&[which as u8], &rows[..]].concat()).collect::<Vec<_>>()
    };
    OUTBOXES.iter().enumerate().flat_map(of_outbox).collect()
}
