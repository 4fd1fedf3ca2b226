//! A process of the simulation: a relay that can be stopped at every point, paused, and killed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// It stands still, and may go on.
    Paused,
    /// It was killed.
    Dead,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    pub id: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    wakers: Vec<Waker>,
    /// How often it was paused: whoever publishes has to look whether it was replaced meanwhile.
    pauses: u32,
}

impl Process {
    pub fn new(id: u32) -> Process {
        let inner = Inner { state: State::Running, wakers: Vec::new(), pauses: 0 };
        Process { id, inner: Mutex::new(inner) }
    }

    pub fn state(&self) -> State {
        self.inner.lock().unwrap().state
    }

    pub fn pauses(&self) -> u32 {
        self.inner.lock().unwrap().pauses
    }

    pub fn set(&self, state: State) {
        let mut inner = self.inner.lock().unwrap();
        if inner.state == State::Dead {
            return;
        }
        inner.state = state;
        inner.pauses += u32::from(state == State::Paused);
        inner.wakers.drain(..).for_each(Waker::wake);
    }

    /// Waits until it runs. A process that was killed never does.
    pub async fn running(&self) {
        poll_fn(|context| self.poll_running(context)).await;
    }

    fn poll_running(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock().unwrap();
        if inner.state == State::Running {
            return Poll::Ready(());
        }
        inner.wakers.push(context.waker().clone());
        Poll::Pending
    }

    /// Work of this process: it goes on only while the process runs.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = Box::pin(work);
        poll_fn(|context| match self.poll_running(context) {
            Poll::Ready(()) => Pin::as_mut(&mut work).poll(context),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
