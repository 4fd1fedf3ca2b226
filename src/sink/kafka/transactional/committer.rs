//! The thread that commits transactions, one after the other. Later transactions are sent meanwhile.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;

use crate::failpoint::failpoint;
use crate::sink::Ended;
use crate::sink::kafka::client::Client;
use crate::sink::kafka::reports::{Acknowledgements, Wakeup};
use crate::tasks;

/// The result of a commit, or the panic that came instead.
pub(super) type Committed = Result<Result<(), KafkaError>, Ended>;

pub(super) struct Committer {
    orders: Option<Sender<Arc<Client<Acknowledgements>>>>,
    committed: Receiver<Committed>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread, which wakes `wakeup` after every commit.
    pub fn start(timeout: Duration, wakeup: Arc<Wakeup>) -> std::io::Result<Committer> {
        let (orders, inbox) = mpsc::channel::<Arc<Client<Acknowledgements>>>();
        let (outbox, committed) = mpsc::channel();
        let commit = move || {
            for client in inbox {
                let commit = || client.producer().commit_transaction(timeout);
                let ended = panic::catch_unwind(AssertUnwindSafe(commit));
                let ended = ended.map_err(|panic| Ended::by(&*panic));
                failpoint!("batch-committed");
                if outbox.send(ended).is_err() {
                    return;
                }
                wakeup.wake();
            }
        };
        let thread = tasks::spawn_thread("committer", commit)?;
        Ok(Committer { orders: Some(orders), committed, thread: Some(thread) })
    }

    /// Commits the transaction of this producer. A commit that fails, or whose answer is lost, is never retried:
    /// recovery finds out its outcome.
    pub fn commit(&self, client: Arc<Client<Acknowledgements>>) {
        let orders = self.orders.as_ref().expect("orders are given only before the drop");
        // A thread that has ended has reported why.
        drop(orders.send(client));
    }

    /// The result of the next finished commit, if there is one.
    pub fn try_committed(&self) -> Option<Committed> {
        self.committed.try_recv().ok()
    }
}

impl Drop for Committer {
    /// Waits for the ordered commit: its outcome must not change after a successor has looked.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the committer's thread panicked");
        }
    }
}
