//! One run: a new process drains a backlog from its beginning. Meanwhile nothing but the ends of the topic is looked
//! at; what they mean is counted afterwards, when the records are read.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::backlog::Backlog;
use crate::destination::{self, Contents, Ends};
use crate::meter::Meter;
use crate::numbers::grouped;
use crate::peer::{Placed, Running};
use crate::site::Site;
use crate::usage::{cpu_seconds, resident_bytes_peak};

const DRAINED_WITHIN: Duration = Duration::from_secs(600);
/// Often enough for runs of two seconds; a look is one request.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Whether all is there can be told only afterwards, as transactions take offsets, too. A peer that pauses for
/// longer in the middle of a backlog fails its run.
const QUIET: Duration = Duration::from_secs(2);

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// From the start of the process until a consumer could read a record.
    pub first_record_seconds: f64,
    /// From the start of the process to the last record.
    pub per_second: f64,
    /// Between a tenth and nine tenths of the rows.
    pub steady_per_second: f64,
    /// Between six and nine tenths, when a JVM has compiled most of what it runs often.
    pub late_per_second: f64,
    /// Until the last record.
    pub cpu_seconds: f64,
    pub taken: Taken,
}

/// What is known when the run has ended.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub resident_bytes_peak: u64,
    /// How much of all cores programs took that have nothing to do with it, from 0 to 1.
    pub disturbed: f64,
}

struct Look {
    /// Since the process was started.
    seconds: f64,
    ends: Vec<i64>,
    cpu_seconds: f64,
}

pub fn drain(site: &Site, backlog: &Backlog, placed: Placed) -> Result<Drain> {
    let peer = placed.peer;
    let scene = &backlog.beginning.scene;
    let topic = backlog.topic();
    destination::renew(scene, &topic)?;
    let ends = Ends::open(scene, &topic, peer.isolation())?;
    // The first look connects.
    ends.look()?;
    let ready = peer.prepare(&backlog.beginning, site.bootstrap(placed.link)?);
    let (meter, begun) = (Meter::start(site)?, Instant::now());
    let mut running = ready.start();
    let looks = watch(&mut running, &ends, backlog.rows, begun)?;
    let disturbed = meter.stop(cpu_seconds(running.pid())?)?.disturbed;
    let resident_bytes_peak = resident_bytes_peak(running.pid())?;
    let contents = Contents::check(backlog, peer.isolation())
        .with_context(|| format!("what came is not what was written\n{}", running.log_tail()))?;
    running.stop()?;
    figures(&looks, &contents, backlog.rows, Taken { resident_bytes_peak, disturbed })
}

/// Looks at the ends until they may be those of the whole backlog, and do not move any more.
fn watch(running: &mut Running, ends: &Ends, rows: usize, begun: Instant) -> Result<Vec<Look>> {
    let mut looks: Vec<Look> = Vec::new();
    let mut moved_at = Instant::now();
    loop {
        let look = Look {
            ends: ends.look()?,
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds(running.pid())?,
        };
        let is_enough = look.ends.iter().sum::<i64>() >= i64::try_from(rows)?;
        if looks.last().is_none_or(|before| before.ends != look.ends) {
            moved_at = Instant::now();
            looks.push(look);
        }
        if is_enough && moved_at.elapsed() > QUIET {
            return Ok(looks);
        }
        let is_late = begun.elapsed() > DRAINED_WITHIN;
        ensure!(!is_late && !running.has_ended(), "it is not drained\n{}", running.log_tail());
        thread::sleep(LOOK_INTERVAL);
    }
}

fn figures(looks: &[Look], contents: &Contents, rows: usize, taken: Taken) -> Result<Drain> {
    let counted: Vec<(usize, &Look)> =
        looks.iter().map(|look| (contents.records_before(&look.ends), look)).collect();
    let reached = |count: usize| {
        counted.iter().find(|(records, _)| *records >= count).context("the last look shows all")
    };
    let rate_between = |low: usize, high: usize| {
        let ((low, from), (high, to)) = (reached(low)?, reached(high)?);
        ensure!(to.seconds > from.seconds, "too few rows to measure a rate");
        Ok((high - low) as f64 / (to.seconds - from.seconds))
    };
    let (_, first) = reached(1)?;
    let (_, last) = reached(rows)?;
    Ok(Drain {
        first_record_seconds: first.seconds,
        per_second: rows as f64 / last.seconds,
        steady_per_second: rate_between(rows / 10, rows - rows / 10)?,
        late_per_second: rate_between(rows / 10 * 6, rows - rows / 10)?,
        cpu_seconds: last.cpu_seconds,
        taken,
    })
}

impl Drain {
    pub fn line(&self) -> String {
        format!(
            "first record {:.2} s, {} rows/s, steady {} rows/s, late {} rows/s, CPU {:.1} s, {} MB, {:.0} % disturbed",
            self.first_record_seconds,
            grouped(self.per_second, 0),
            grouped(self.steady_per_second, 0),
            grouped(self.late_per_second, 0),
            self.cpu_seconds,
            grouped(self.taken.resident_bytes_peak as f64 / 1e6, 0),
            self.taken.disturbed * 100.0,
        )
    }
}
