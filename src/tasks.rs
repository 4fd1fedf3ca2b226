//! Work beside the line, on a thread or task of its own. A panic there becomes an error like any other.
//!
//! The work stays in the span that it was started in, so that its log lines say which relay and session they are of.
//! librdkafka's lines come on the threads that read its queues, and all of those are started here as well.
//!
//! A panic has the same message wherever it is caught, so that the relay recognises one that comes again.

use std::any::Any;
use std::io;
use std::thread;

use tokio::task::{JoinError, JoinHandle};
use tracing::{Instrument, Span};

/// What a person does about a panic.
pub const PANICKED_HINT: &str =
    "nothing, if it comes once: report it, with the log; if it comes again, the relay halts";

/// A panic ended the work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task of the relay ended unexpectedly: {0}")]
pub struct Panicked(pub String);

impl From<JoinError> for Panicked {
    fn from(error: JoinError) -> Panicked {
        // The text of the JoinError has the number of the task, which differs each time.
        let panic = error.try_into_panic().map(|panic| words(&*panic));
        Panicked(panic.unwrap_or_else(|error| error.to_string()))
    }
}

/// Runs blocking work on a thread of its own, so that signals are handled meanwhile.
///
/// # Errors
/// It panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    spawn_blocking(work).await.map_err(Panicked::from)
}

/// The same, without waiting.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(in_this_span(work))
}

/// Starts a thread.
///
/// # Errors
/// The operating system has no thread for us.
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(in_this_span(work))
}

/// Keeps the current span for work that is done on another thread.
pub fn in_this_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = Span::current();
    move || span.in_scope(work)
}

/// Work in the background, which is aborted when this is dropped.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub fn spawn(work: impl Future<Output = T> + Send + 'static) -> Task<T> {
        Task(tokio::spawn(work.in_current_span()))
    }

    /// Waits for the result. Call it once.
    ///
    /// # Errors
    /// It panicked.
    pub async fn done(&mut self) -> Result<T, Panicked> {
        (&mut self.0).await.map_err(Panicked::from)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The message of a panic, without the thread or task that it ended.
pub fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_as_it_was_given() {
        let (formatted, plain) = (format!("row {}", 5), "row 5");
        assert_eq!(words(&formatted), "row 5");
        assert_eq!(words(&plain), "row 5");
        assert_eq!(words(&5_u8), "a panic without words");
    }
}
