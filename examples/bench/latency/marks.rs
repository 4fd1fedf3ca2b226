//! When each row is due, was committed, and was seen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::arguments::Arguments;
use crate::numbers::quantile;

/// How long after the last row its record may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The rows of transaction `n` are due `n * rows_of_a_transaction / rate` seconds after the beginning.
#[derive(Clone, Copy)]
pub struct Schedule {
    begun: Instant,
    rate: u32,
    pub rows_of_a_transaction: usize,
    warm_up_transactions: usize,
    pub transactions: usize,
}

/// Of each row in nanoseconds since the schedule began; 0 is not yet.
pub struct Marks {
    pub schedule: Schedule,
    committed: Vec<AtomicU64>,
    seen: Vec<AtomicU64>,
    /// The longest that a row was written after its time.
    late_nanos: AtomicU64,
    repeated: AtomicU64,
}

/// Of the rows after the warm-up.
pub struct Latencies {
    ascending_ms: Vec<f64>,
    /// The longest that a row was written after its time.
    pub late_ms: f64,
}

impl Schedule {
    /// The moment is for the threads to start.
    pub fn after_a_moment(
        rate: u32,
        rows_of_a_transaction: u32,
        arguments: &Arguments,
    ) -> Schedule {
        let transactions_in =
            |seconds: u32| (rate as usize * seconds as usize) / rows_of_a_transaction as usize;
        let warm_up_transactions = transactions_in(arguments.warm_up);
        Schedule {
            begun: Instant::now() + Duration::from_millis(500),
            rate,
            rows_of_a_transaction: rows_of_a_transaction as usize,
            warm_up_transactions,
            transactions: warm_up_transactions + transactions_in(arguments.seconds),
        }
    }

    fn due(&self, transaction: usize) -> Instant {
        let rows = transaction * self.rows_of_a_transaction;
        self.begun + Duration::from_secs_f64(rows as f64 / f64::from(self.rate))
    }
}

impl Marks {
    pub fn new(schedule: Schedule) -> Marks {
        let rows = schedule.transactions * schedule.rows_of_a_transaction;
        let zeros = || (0..rows).map(|_| AtomicU64::new(0)).collect();
        Marks {
            schedule,
            committed: zeros(),
            seen: zeros(),
            late_nanos: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
        }
    }

    pub fn wait_until_warm(&self) {
        sleep_until(self.schedule.due(self.schedule.warm_up_transactions));
    }

    /// Waits for the transaction's time, and notes how late it is by then.
    pub fn wait_until_due(&self, transaction: usize) {
        let due = self.schedule.due(transaction);
        sleep_until(due);
        let late_nanos = due.elapsed().as_nanos() as u64;
        if transaction >= self.schedule.warm_up_transactions {
            self.late_nanos.fetch_max(late_nanos, Ordering::Relaxed);
        }
    }

    /// The numbers of a transaction's rows.
    pub fn rows_of(&self, transaction: usize) -> std::ops::Range<usize> {
        let rows = self.schedule.rows_of_a_transaction;
        transaction * rows..(transaction + 1) * rows
    }

    pub fn note_committed(&self, transaction: usize, at: Instant) {
        for number in self.rows_of(transaction) {
            self.committed[number].store(self.since_begun(at), Ordering::Release);
        }
    }

    pub fn note_seen(&self, number: usize, at: Instant) {
        let before = self.seen[number].swap(self.since_begun(at), Ordering::Release);
        if before != 0 {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Never 0, as no row is committed or seen at the very beginning.
    fn since_begun(&self, at: Instant) -> u64 {
        (at - self.schedule.begun).as_nanos() as u64
    }

    pub fn wait_until_all_seen(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_missing = |seen: &&AtomicU64| seen.load(Ordering::Acquire) == 0;
            let missing = self.seen.iter().filter(is_missing).count();
            if missing == 0 {
                return Ok(());
            }
            let rows = self.seen.len();
            ensure!(
                Instant::now() < deadline,
                "{missing} of {rows} rows were not seen within {PATIENCE:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn latencies(&self) -> Result<Latencies> {
        let repeated = self.repeated.load(Ordering::Relaxed);
        ensure!(repeated == 0, "{repeated} rows were seen more than once");
        let warm = self.rows_of(self.schedule.warm_up_transactions).start;
        let mut ascending_ms: Vec<f64> = (self.committed.iter().zip(&self.seen).skip(warm))
            .map(|(committed, seen)| {
                let committed = committed.load(Ordering::Acquire) as f64;
                // The binlog is sent before the commit returns, so a record may come first.
                (seen.load(Ordering::Acquire) as f64 - committed) / 1e6
            })
            .collect();
        ascending_ms.sort_by(f64::total_cmp);
        Ok(Latencies {
            ascending_ms,
            late_ms: self.late_nanos.load(Ordering::Relaxed) as f64 / 1e6,
        })
    }
}

impl Latencies {
    /// The latency that this part of the rows did not exceed.
    pub fn quantile_ms(&self, part: f64) -> f64 {
        quantile(&self.ascending_ms, part)
    }
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}
