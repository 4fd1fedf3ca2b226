//! How fast a decoded row becomes topic, key and value: rows a second, and bytes of keys and values, for each
//! preset, by character set and by how much of the text has to be escaped.

mod replay;

use std::time::Duration;

use binlog_relay::envelope::{self, Buffers};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use replay::recording::Recording;
use replay::rows::{Cells, RecordedRows, facts};

const RECORDINGS: [Recording; 9] = [
    Recording::SINGLE_ROW,
    Recording::TEN_KILOBYTES,
    Recording::ESCAPES,
    Recording::NOT_ASCII,
    Recording::LATIN1,
    Recording::LATIN1_NOT_ASCII,
    Recording::TRAM,
    Recording::TRAM_ESCAPES,
    Recording::TRAM_LATIN1_NOT_ASCII,
];

fn write_envelopes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope");
    for recording in &RECORDINGS {
        let recorded = RecordedRows::of(recording);
        let rows = recorded.cells();
        let (mut buffers, mut out) = (Buffers::default(), Vec::new());
        write(&recorded, &rows, &mut buffers, &mut out);
        group.throughput(Throughput::ElementsAndBytes {
            elements: rows.len() as u64,
            bytes: out.len() as u64,
        });
        group.bench_function(recording.name, |bencher| {
            bencher.iter(|| {
                out.clear();
                write(&recorded, &rows, &mut buffers, &mut out);
            });
        });
    }
}

fn write(recorded: &RecordedRows, rows: &[Cells], buffers: &mut Buffers, out: &mut Vec<u8>) {
    for (cells, index) in rows.iter().zip(0..) {
        let facts = facts(index);
        let written = envelope::write(&recorded.route, cells, &facts, buffers, out);
        written.expect("a recorded row can be a record");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = write_envelopes
}
criterion_main!(benches);
