//! What all processes of a story share: the database, the sink's broker, chance, and the script that says at which point
//! a process is stopped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use tokio::sync::Notify;

use super::broker::Broker;
use super::database::Database;
use super::process::{Process, State};

/// Lines of a story that are kept.
const LINES_MAX: usize = 4_000;

/// The world of one story.
pub struct Shared {
    pub database: Mutex<Database>,
    pub broker: Mutex<Broker>,
    rng: Mutex<ChaCha8Rng>,
    script: Mutex<Script>,
    /// A process was stopped at its point.
    pub stopped: Notify,
    /// The binlog has grown, or a connection was cut.
    pub written: Notify,
    /// A lock was released.
    pub released: Notify,
}

/// The points that processes have passed.
#[derive(Default)]
struct Script {
    points: u64,
    /// Where the subject is stopped.
    stop_at: Option<u64>,
    subject: u32,
    /// Lines are kept only to be told.
    is_told: bool,
    lines: VecDeque<String>,
}

impl Shared {
    pub fn new(database: Database, broker: Broker, rng: ChaCha8Rng, is_told: bool) -> Arc<Shared> {
        Arc::new(Shared {
            database: Mutex::new(database),
            broker: Mutex::new(broker),
            rng: Mutex::new(rng),
            script: Mutex::new(Script { is_told, ..Script::default() }),
            stopped: Notify::new(),
            written: Notify::new(),
            released: Notify::new(),
        })
    }

    pub fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap()
    }

    pub fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap()
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.rng.lock().unwrap().random_range(0..end)
    }

    /// Stops the process of this number after so many more points.
    pub fn stop_after(&self, points: u64, subject: u32) {
        let mut script = self.script.lock().unwrap();
        (script.stop_at, script.subject) = (Some(script.points + points), subject);
    }

    /// Stops nobody any more.
    pub fn stop_nobody(&self) {
        self.script.lock().unwrap().stop_at = None;
    }

    /// A point at which a process can be stopped. What it was told of it is for the story.
    pub async fn point(&self, process: &Process, what: impl FnOnce() -> String) {
        self.pass(process, what);
        process.running().await;
    }

    fn pass(&self, process: &Process, what: impl FnOnce() -> String) {
        let mut script = self.script.lock().unwrap();
        if process.id == script.subject {
            script.points += 1;
        }
        if script.is_told {
            let line = format!("{:>6} process {}: {}", script.points, process.id, what());
            script.tell(line);
        }
        let is_reached = script.stop_at.is_some_and(|stop_at| script.points >= stop_at);
        if is_reached && process.id == script.subject {
            script.stop_at = None;
            process.set(State::Paused);
            self.stopped.notify_one();
        }
    }

    /// Adds a line to the story.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        let mut script = self.script.lock().unwrap();
        if script.is_told {
            let line = format!("{:>6} {}", script.points, what());
            script.tell(line);
        }
    }

    pub fn story(&self) -> String {
        let script = self.script.lock().unwrap();
        script.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Script {
    fn tell(&mut self, line: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}
