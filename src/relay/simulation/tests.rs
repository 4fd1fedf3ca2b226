//! The stories that `make test` tells.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::relay::planted::{Bug, plant};

/// `make test` stops relays this often.
const STOPS_MIN: u64 = 100_000;

/// A planted bug must be found within this many stories.
const STORIES_MAX: u64 = 2_000;

/// Seeds to be told instead of those of `make test`: `SEEDS=1000..2000`.
fn asked_seeds() -> Option<Range<u64>> {
    let seeds = std::env::var("SEEDS").ok()?;
    let bounds = seeds.split_once("..").map(|(first, end)| (first.parse(), end.parse()));
    match bounds {
        Some((Ok(first), Ok(end))) => Some(first..end),
        _ => panic!("SEEDS={seeds}: expected two numbers, such as 1000..2000"),
    }
}

/// Tells stories on all cores until it is enough. Answers with the number of stops, or the first failure.
fn tell_until(seeds: Range<u64>, stops_min: u64) -> Result<u64, (u64, String)> {
    let (next, stops) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let tell_next = || {
        while stops.load(Ordering::Relaxed) < stops_min && failed.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let told = tell(seed, false);
            stops.fetch_add(told.stops, Ordering::Relaxed);
            if let Some(failure) = told.failure {
                let mut failed = failed.lock().unwrap();
                if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *failed = Some((seed, failure));
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        (0..cores).for_each(|_| drop(scope.spawn(tell_next)));
    });
    match failed.into_inner().unwrap() {
        Some(failed) => Err(failed),
        None => Ok(stops.into_inner()),
    }
}

#[test]
fn every_row_arrives_once_and_in_order_wherever_a_relay_is_stopped() {
    let (seeds, stops_min) = match asked_seeds() {
        Some(seeds) => (seeds, u64::MAX),
        None => (0..u64::MAX, STOPS_MIN),
    };
    match tell_until(seeds, stops_min) {
        Ok(stops) => println!("a relay was stopped {stops} times"),
        Err((seed, failure)) => panic!("seed {seed}: {failure}\n{}", tell(seed, true).story),
    }
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..20 {
        assert_eq!(tell(seed, true).story, tell(seed, true).story, "seed {seed}");
    }
}

/// The seed that finds a bug.
fn find(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..STORIES_MAX).find_map(|seed| Some((seed, tell(seed, false).failure?)));
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let found = std::thread::scope(|scope| {
        let finding: Vec<_> =
            Bug::ALL.iter().map(|bug| (bug, scope.spawn(|| find(*bug)))).collect();
        let found = finding.into_iter().map(|(bug, finding)| (bug, finding.join().unwrap()));
        found.collect::<Vec<_>>()
    });
    let mut missed = Vec::new();
    for (bug, found) in found {
        match found {
            Some((seed, failure)) => println!("{bug:?}: seed {seed}: {failure}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
