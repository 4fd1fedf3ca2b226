//! A relay that is started again and again, its rows, and the consumer that sees them. In the end every row must have
//! been seen once.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::events::event;
use crate::follower::Follower;
use crate::site::Site;
use crate::subject::Subject;
use crate::world::Layout;
use harness::link::Delay;
use harness::relay::{Relay, RelaySetup};
use harness::scene::Scene;
use harness::sql::Sql;
use harness::workload::insert_rows;

/// No record comes any more of what was sent before.
const QUIET: Duration = Duration::from_millis(300);
pub const SEEN_WITHIN: Duration = Duration::from_secs(60);

pub struct Stage {
    pub setup: RelaySetup,
    pub rows: Rows,
    /// When each record was seen.
    pub arrivals: mpsc::Receiver<Instant>,
    seen: Arc<Seen>,
    follower: Follower,
}

/// The rows that are written, from number 0 on.
pub struct Rows {
    scene: Scene,
    topic: String,
    count: AtomicUsize,
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Seen {
    rows: AtomicUsize,
    /// Of the numbers of the rows, so that neither a lost nor a repeated one goes unnoticed.
    sum: AtomicU64,
}

impl Stage {
    pub fn set(site: &Site, layout: Layout, subject: &Subject, link: Delay) -> Result<Stage> {
        let scene = site.scene("start", layout);
        let topic = scene.create_topic("event");
        let setup = site.fresh_relay(&scene, subject, link)?;
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

    /// A relay that has relayed a row.
    pub fn start_and_see(&self) -> Result<Relay> {
        let mut relay = self.setup.start();
        self.see_a_row(&mut relay)?;
        Ok(relay)
    }

    pub fn see_a_row(&self, relay: &mut Relay) -> Result<()> {
        relay.wait_for_log("relaying");
        self.rows.write(1);
        self.wait_until_all_seen(relay)
    }

    pub fn stop(&self, relay: &mut Relay) -> Result<()> {
        let code = relay.stop();
        ensure!(code == 0, "the relay's exit code is {code}\n{}", relay.log_tail());
        Ok(())
    }

    /// Takes what comes of what was sent before.
    pub fn wait_until_quiet(&self) {
        while self.arrivals.recv_timeout(QUIET).is_ok() {}
    }

    pub fn wait_until_all_seen(&self, relay: &Relay) -> Result<()> {
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

    /// Ends the consumer, which fails where it saw anything else than rows.
    pub fn strike(self) -> Result<()> {
        self.follower.stop()
    }
}

impl Rows {
    pub fn write(&self, rows: usize) {
        let mut sql = self.scene.sql();
        for _ in 0..rows {
            self.write_next(&mut sql);
        }
    }

    /// Writes one each so often while something else is done.
    pub fn write_during<T>(&self, pause: Duration, work: impl FnOnce() -> T) -> T {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut sql = self.scene.sql();
                while !is_over.load(Ordering::Relaxed) {
                    self.write_next(&mut sql);
                    thread::sleep(pause);
                }
            });
            // A panic would wait for the writer as well.
            let _over = SetOnDrop(&is_over);
            work()
        })
    }

    fn write_next(&self, sql: &mut Sql) {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        insert_rows(sql, "events", &[event(number, &self.topic)]);
    }
}
