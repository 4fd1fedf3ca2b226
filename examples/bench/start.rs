//! How long the relay takes from the start of its process until a consumer has the first record, with rows waiting
//! in the binlog and topics in place: after a clean stop, and after a kill -9 while it was sending, which leaves a
//! Kafka transaction open in `exactly-once`. Every row must be seen once in the end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::arguments::Arguments;
use crate::events::event;
use crate::follower::Follower;
use crate::harness::link::Delay;
use crate::harness::relay::{Relay, RelaySetup};
use crate::harness::scene::Scene;
use crate::harness::workload::insert_rows;
use crate::numbers::{Spread, quantile};
use crate::report::{Section, Target};
use crate::site::Site;
use crate::subject::Subject;
use crate::table::Table;
use crate::world::Layout;

/// Rows that are in the binlog when the relay starts.
const WAITING_ROWS: usize = 20;
/// A relay is killed so long after it has begun to send.
const KILLED_AFTER: Duration = Duration::from_millis(60);
/// No record comes any more of what was sent before.
const QUIET: Duration = Duration::from_millis(300);
const SEEN_WITHIN: Duration = Duration::from_secs(60);
const AIM_MS: f64 = 150.0;

/// How the relay before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    CleanStop,
    Kill,
}

/// A relay that is started again and again, its rows, and the consumer that sees them.
struct Stage {
    setup: RelaySetup,
    rows: Rows,
    seen: Arc<Seen>,
    arrivals: mpsc::Receiver<Instant>,
    follower: Follower,
}

/// The rows that are written, from number 0 on.
struct Rows {
    scene: Scene,
    topic: String,
    count: AtomicUsize,
}

#[derive(Default)]
struct Seen {
    rows: AtomicUsize,
    /// Of the numbers of the rows, so that neither a lost nor a repeated one goes unnoticed.
    sum: AtomicU64,
}

pub fn measure(site: &Site, layout: Layout, arguments: &Arguments) -> Result<Vec<Section>> {
    let mut table =
        Table::with_header(["start → first record, ms", "after", "median (spread)", "p90"]);
    let mut targets = Vec::new();
    for subject in arguments.subjects() {
        let stage = Stage::set(site, layout, &subject)?;
        for ending in [Ending::CleanStop, Ending::Kill] {
            let mut times_ms = stage
                .start_again_and_again(ending, arguments.starts)
                .with_context(|| format!("{}, {}", subject.name(), ending.name()))?;
            times_ms.sort_by(f64::total_cmp);
            let spread = Spread::of(times_ms.iter().copied(), 0);
            let p90 = format!("{:.0}", quantile(&times_ms, 0.9));
            println!(
                "{}, after {}: {}, p90 {p90} ms",
                subject.name(),
                ending.name(),
                Spread::shown(spread)
            );
            let what =
                format!("start → first record, ms, after {}, {}", ending.name(), subject.name());
            targets.push(Target::at_most(what, AIM_MS, spread));
            table.push([subject.name(), ending.name().to_owned(), Spread::shown(spread), p90]);
        }
        stage.follower.stop()?;
    }
    let title = format!("{} starts each", arguments.starts);
    let section = Section { title, table, targets };
    println!("\n{section}");
    Ok(vec![section])
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Ending::CleanStop => "a clean stop",
            Ending::Kill => "kill -9",
        }
    }
}

impl Stage {
    fn set(site: &Site, layout: Layout, subject: &Subject) -> Result<Stage> {
        let scene = site.scene("start", layout);
        let topic = scene.create_topic("event");
        let setup = site.fresh_relay(&scene, subject, Delay::NONE)?;
        let (arrived, arrivals) = mpsc::channel();
        let seen = Arc::new(Seen::default());
        let noted = Arc::clone(&seen);
        let follower = Follower::start(&scene, &topic, subject.isolation(), move |number, at| {
            noted.sum.fetch_add(number as u64, Ordering::Relaxed);
            noted.rows.fetch_add(1, Ordering::Release);
            // Nobody listens any more when the stage is struck.
            let _ = arrived.send(at);
        })?;
        let rows = Rows { scene, topic, count: AtomicUsize::new(0) };
        Ok(Stage { setup, rows, seen, arrivals, follower })
    }

    /// Milliseconds of each start.
    fn start_again_and_again(&self, ending: Ending, times: u32) -> Result<Vec<f64>> {
        let mut relay = self.setup.start();
        let mut times_ms = Vec::new();
        for _ in 0..times {
            relay.wait_for_log("relaying");
            self.rows.write(1);
            self.wait_until_all_seen(&relay)?;
            match ending {
                Ending::CleanStop => self.stop(&mut relay)?,
                Ending::Kill => self.kill_while_it_sends(&mut relay)?,
            }
            self.rows.write(WAITING_ROWS);
            self.wait_until_quiet();
            let begun = Instant::now();
            relay = self.setup.start();
            let first = self.arrivals.recv_timeout(SEEN_WITHIN);
            let first = first.with_context(|| relay.log_tail())?;
            times_ms.push((first - begun).as_secs_f64() * 1e3);
            self.wait_until_all_seen(&relay)?;
        }
        self.stop(&mut relay)?;
        Ok(times_ms)
    }

    fn stop(&self, relay: &mut Relay) -> Result<()> {
        let code = relay.stop();
        ensure!(code == 0, "the relay's exit code is {code}\n{}", relay.log_tail());
        Ok(())
    }

    fn kill_while_it_sends(&self, relay: &mut Relay) -> Result<()> {
        let killed = AtomicBool::new(false);
        let rows = &self.rows;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !killed.load(Ordering::Relaxed) {
                    rows.write(10);
                }
            });
            thread::sleep(KILLED_AFTER);
            relay.kill();
            killed.store(true, Ordering::Relaxed);
        });
        Ok(())
    }

    /// Takes what comes of what was sent before.
    fn wait_until_quiet(&self) {
        while self.arrivals.recv_timeout(QUIET).is_ok() {}
    }

    fn wait_until_all_seen(&self, relay: &Relay) -> Result<()> {
        let rows = self.rows.count.load(Ordering::Relaxed);
        let deadline = Instant::now() + SEEN_WITHIN;
        loop {
            let seen = self.seen.rows.load(Ordering::Acquire);
            if seen >= rows {
                let expected = (0..rows as u64).sum::<u64>();
                let is_right = seen == rows && self.seen.sum.load(Ordering::Relaxed) == expected;
                ensure!(is_right, "of {rows} rows {seen} records came");
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{seen} of {rows} rows were seen within {SEEN_WITHIN:?}\n{}",
                    relay.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Rows {
    fn write(&self, rows: usize) {
        let mut sql = self.scene.sql();
        for _ in 0..rows {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            insert_rows(&mut sql, "events", &[event(number, &self.topic)]);
        }
    }
}
