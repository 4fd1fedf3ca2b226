//! The stories that `make test` tells.

use super::*;

/// Seeds of `make test`.
const SEEDS: u64 = 400;

/// Tells stories on all cores. Answers with how often a process was stopped, and the first seed that failed.
fn tell_all(seeds: std::ops::Range<u64>) -> (u64, Option<(u64, String)>) {
    let mut stops = 0;
    for seed in seeds {
        let told = tell(seed, false);
        stops += told.stops;
        if let Some(failure) = told.failure {
            return (stops, Some((seed, failure)));
        }
    }
    (stops, None)
}

#[test]
fn every_row_arrives_once_and_in_order_wherever_a_relay_is_stopped() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| {
        let (first, end) = seeds.split_once("..")?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    let (stops, failed) = tell_all(seeds.unwrap_or(0..SEEDS));
    if let Some((seed, failure)) = failed {
        panic!("seed {seed}: {failure}\n{}", tell(seed, true).story);
    }
    println!("{stops} stops");
}
