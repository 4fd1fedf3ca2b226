//! How fast the rows of an event are taken apart: rows and encoded bytes a second, for rows that MySQL 8.0.31
//! logged. A wanted column is handed out, any other passed over by its length.

mod replay;

use std::hint::black_box;
use std::time::Duration;

use binlog_relay::binlog::row::{Cell, RowDecoder};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use replay::recording::Recording;
use replay::rows::{RecordedRows, parsed};

fn decode(criterion: &mut Criterion) {
    let recordings = [
        Recording::SINGLE_ROW,
        Recording::TWENTY_ROWS,
        Recording::TEN_KILOBYTES,
        Recording::TRAM,
        Recording::THIRTY_COLUMNS,
    ];
    for recording in recordings {
        let recorded = RecordedRows::of(&recording);
        measure(criterion, recording.name, &recorded, &recorded.route.decoder);
    }
    let recorded = RecordedRows::of(&Recording::THIRTY_COLUMNS);
    let all: Vec<usize> = (0..recorded.table.columns.len()).collect();
    let decoder = RowDecoder::new(&recorded.table, &all);
    measure(criterion, "thirty-columns, all of them", &recorded, &decoder);
}

fn measure(criterion: &mut Criterion, name: &str, recorded: &RecordedRows, decoder: &RowDecoder) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::ElementsAndBytes {
        elements: recorded.rows as u64,
        bytes: recorded.bytes as u64,
    });
    let mut cells = vec![Cell::Absent; decoder.cells()];
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for event in &recorded.events {
                let event = parsed(event);
                let mut rows = event.rows();
                while !rows.is_empty() {
                    let decoded = decoder.decode(&mut rows, event.present(), &mut cells);
                    decoded.expect("a recorded row can be decoded");
                    black_box(&cells);
                }
            }
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = decode
}
criterion_main!(benches);
