//! How fast one thread makes records of a binlog, from the bytes of its events to what is handed to the
//! producer: rows a second, and bytes of the binlog.

mod replay;

use std::time::{Duration, Instant};

use binlog_relay::relay::replay::Replay;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use replay::recording::Recording;

/// Rows that are relayed in one go.
const ROWS: usize = 2_000;

fn relay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line");
    for recording in Recording::ALL {
        let passes = ROWS / recording.rows;
        let mut repeater = recording.repeater();
        let config = recording.config();
        let mut line = Replay::new(&config).expect("start a replay");
        let mut header = replay::sequence_header();
        let mut relay = |stream: &[u8]| {
            line.feed(stream).expect("whole events");
            let begun = Instant::now();
            replay::relay(&mut line, &mut header);
            begun.elapsed()
        };
        let stream = repeater.passes(passes);
        relay(&stream);
        group.throughput(Throughput::ElementsAndBytes {
            elements: (passes * recording.rows) as u64,
            bytes: stream.len() as u64,
        });
        group.bench_function(recording.name, |bencher| {
            bencher.iter_custom(|iterations| {
                let streams = (0..iterations).map(|_| repeater.passes(passes));
                streams.map(|stream| relay(&stream)).sum::<Duration>()
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
