//! The thread that stores checkpoints in `idempotent` delivery. Records are sent meanwhile.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Event;
use crate::checkpoint::Checkpoint;
use crate::failpoint::failpoint;
use crate::sink::kafka::transactional::Transactional;
use crate::sink::kafka::{PublishError, SERVE_INTERVAL};
use crate::sink::{Ended, Stored};
use crate::tasks;

/// Shortest time between two stored checkpoints. Each is a transaction of its own, which costs the broker more than a
/// small batch. A restart finds the records behind the last one.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);

/// A stored checkpoint shows that nobody had fenced us when it was asked for. Whoever does later waits 8 s before it
/// sends, as long as we hold the lock.
const FRESH_MAX: Duration = Duration::from_secs(5);

/// The thread that stores checkpoints, one after the other.
pub(super) struct CheckpointWriter {
    orders: Option<Sender<(u64, Checkpoint)>>,
    thread: Option<JoinHandle<()>>,
    pub is_storing: bool,
    /// When the last one was asked for.
    asked_at: Instant,
    next_at: Instant,
}

impl CheckpointWriter {
    pub fn start(
        mut lanes: Transactional,
        events: Sender<Event>,
    ) -> std::io::Result<CheckpointWriter> {
        let (orders, inbox) = mpsc::channel::<(u64, Checkpoint)>();
        let write = move || {
            loop {
                let (number, checkpoint) = match inbox.recv_timeout(SERVE_INTERVAL) {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Timeout) => {
                        lanes.serve();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let stored = panic::catch_unwind(AssertUnwindSafe(|| lanes.store(&checkpoint)));
                // After a panic the lanes are not used again: this error ends the publisher.
                let stored = stored.unwrap_or_else(|panic| Err(Ended::by(&*panic).into()));
                failpoint!("checkpoint-stored");
                let stored = stored.map(|value| Stored { checkpoint, value, number });
                if events.send(Event::Stored(Box::new(stored))).is_err() {
                    return;
                }
            }
        };
        let thread = tasks::spawn_thread("checkpoints", write)?;
        let (orders, thread) = (Some(orders), Some(thread));
        let now = Instant::now();
        Ok(CheckpointWriter { orders, thread, is_storing: false, asked_at: now, next_at: now })
    }

    /// The checkpoint that was just stored was asked for a moment ago, so that nobody sends in our place yet.
    pub fn is_fresh(&self) -> bool {
        self.asked_at.elapsed() < FRESH_MAX
    }

    /// When the next checkpoint may be stored; `None` while one is in flight.
    pub fn free_at(&self) -> Option<Instant> {
        (!self.is_storing).then_some(self.next_at)
    }

    pub fn store(&mut self, number: u64, checkpoint: Checkpoint) -> Result<(), PublishError> {
        let orders = self.orders.as_ref().expect("orders are given only before the drop");
        orders.send((number, checkpoint)).map_err(|_| Ended::Exited)?;
        self.asked_at = Instant::now();
        (self.is_storing, self.next_at) = (true, self.asked_at + CHECKPOINT_INTERVAL);
        Ok(())
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that stores checkpoints panicked");
        }
    }
}
