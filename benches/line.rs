//! How fast one thread makes records of a binlog, from the bytes of its events to what is handed to the
//! producer: rows a second, and bytes of the binlog.

mod replay;

use std::hint::black_box;
use std::time::{Duration, Instant};

use binlog_relay::batch::RecordRef;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use replay::line::Line;
use replay::recording::Recording;

/// Rows that are relayed in one go.
const ROWS: usize = 2_000;

fn relay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line");
    for recording in Recording::ALL {
        let passes = ROWS / recording.rows;
        let mut repeater = recording.repeater();
        let mut line = Line::new(recording);
        let mut send = |record: RecordRef<'_>, header: &[u8]| {
            black_box((record, header));
        };
        let stream = repeater.passes(passes);
        line.relay(&stream, &mut send);
        group.throughput(Throughput::ElementsAndBytes {
            elements: (passes * recording.rows) as u64,
            bytes: stream.len() as u64,
        });
        group.bench_function(recording.name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                for _ in 0..iterations {
                    let stream = repeater.passes(passes);
                    let begun = Instant::now();
                    line.relay(&stream, &mut send);
                    took += begun.elapsed();
                }
                took
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = relay
}
criterion_main!(benches);
