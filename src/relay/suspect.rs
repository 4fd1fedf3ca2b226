//! Errors that may heal once. If one comes again before the relay has got past its position, the relay halts.

use std::cmp::Ordering;

use super::Error;
use crate::binlog;
use crate::checkpoint::Checkpoint;
use crate::coordinates::Coordinates;
use crate::sink::{About, SinkError};
use crate::tasks::Panicked;

/// How far a session came.
#[derive(Debug, Default)]
pub struct Reached {
    pub server_uuid: String,
    /// The boundary before the last event read; `None` if nothing was read.
    pub read: Option<Coordinates>,
    /// The last checkpoint that it stored, other than its claim.
    pub stored: Option<Checkpoint>,
}

/// An error that must not come again at the same position.
#[derive(Debug)]
pub struct Suspect {
    error: Error,
    reached: Reached,
}

impl Suspect {
    /// `None` for an error that may repeat.
    pub fn of(error: Error, reached: Reached) -> Option<Suspect> {
        let is_suspect = checksum(&error).is_some() || panic(&error).is_some();
        is_suspect.then_some(Suspect { error, reached })
    }

    /// A later session has stored a checkpoint behind the position of this error, so it has healed.
    pub fn is_passed(&self, later: &Reached) -> bool {
        let Some(stored) = &later.stored else { return false };
        let (Some(read), true) =
            (&self.reached.read, self.reached.server_uuid == later.server_uuid)
        else {
            return true;
        };
        let stored = Coordinates::new(stored.binlog_filename.as_str(), stored.offset);
        // Positions in binlogs of another base name cannot be compared.
        let is_behind = |stored: Coordinates| stored.partial_cmp(read).is_none_or(Ordering::is_gt);
        stored.is_ok_and(is_behind)
    }

    /// The same error came again: the event is damaged in the file, or the panic or refusal is no accident.
    pub fn is_repeated_by(&self, error: &Error) -> bool {
        let before = &self.error;
        let is_same_checksum = checksum(error).is_some() && checksum(error) == checksum(before);
        let is_same_panic = panic(error).is_some() && panic(error) == panic(before);
        is_same_checksum || is_same_panic
    }
}

/// Position of the damaged event.
fn checksum(error: &Error) -> Option<&Coordinates> {
    match error {
        Error::Binlog { source: binlog::Error::Checksum { after }, .. } => Some(after),
        _ => None,
    }
}

/// The message of a panic, on any thread or task.
fn panic(error: &Error) -> Option<&str> {
    match error {
        Error::Task(Panicked(words))
        | Error::Sink(SinkError { about: About::Panic(words), .. }) => Some(words),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fate::Fate;
    use crate::relay::supervised;
    use crate::telemetry::metrics::ErrorKind;

    fn at(position: &str) -> Coordinates {
        position.parse().unwrap()
    }

    fn reached(read: Option<&str>, stored: Option<&str>) -> Reached {
        let checkpoint = |position: &str| {
            let position = at(position);
            Checkpoint {
                binlog_filename: position.file().to_owned(),
                offset: position.offset,
                ..Checkpoint::default()
            }
        };
        Reached { server_uuid: "a".to_owned(), read: read.map(at), stored: stored.map(checkpoint) }
    }

    fn damaged(after: &str) -> Error {
        let source = binlog::Error::Checksum { after: at(after) };
        Error::Binlog { server: "db:3306".to_owned(), source }
    }

    #[test]
    fn an_error_is_forgotten_once_a_checkpoint_behind_it_is_stored() {
        let suspect = |read| Suspect::of(damaged("b.000002:700"), reached(read, None)).unwrap();
        for (read, stored, is_passed) in [
            (Some("b.000002:700"), None, false),
            // The checkpoint before it is no progress, nor is what comes before it.
            (Some("b.000002:700"), Some("b.000002:700"), false),
            (Some("b.000002:700"), Some("b.000001:90000"), false),
            (Some("b.000002:700"), Some("b.000002:701"), true),
            (Some("b.000002:700"), Some("b.000010:4"), true),
            // Positions of another history cannot be compared.
            (Some("b.000002:700"), Some("c.000001:4"), true),
            (None, Some("b.000001:4"), true),
            (None, None, false),
        ] {
            let later = reached(None, stored);
            assert_eq!(suspect(read).is_passed(&later), is_passed, "{read:?} {stored:?}");
        }
        let other = Reached { server_uuid: "b".to_owned(), ..reached(None, Some("b.000001:4")) };
        assert!(suspect(Some("b.000002:700")).is_passed(&other));
    }

    #[test]
    fn what_comes_again_is_recognised_and_what_is_something_else_is_not() {
        let task = |words: &str| Error::Task(Panicked(words.to_owned()));
        let thread = |words: &str| {
            Error::Sink(SinkError {
                fate: Fate::Retry,
                kind: ErrorKind::Publish,
                hint: None,
                about: About::Panic(words.to_owned()),
                sink: "Kafka kafka:9092".to_owned(),
                source: "a thread of the publisher panicked".into(),
            })
        };
        for (before, error, is_repeated) in [
            (damaged("b.000002:700"), damaged("b.000002:700"), true),
            (damaged("b.000002:700"), damaged("b.000002:800"), false),
            (task("row 5"), task("row 5"), true),
            (task("row 5"), task("row 6"), false),
            (task("row 5"), damaged("b.000002:700"), false),
            (thread("row 5"), thread("row 5"), true),
        ] {
            let suspect = Suspect::of(before, Reached::default()).unwrap();
            assert_eq!(suspect.is_repeated_by(&error), is_repeated, "{suspect:?} {error:?}");
        }
        assert!(Suspect::of(Error::OutboxChanged, Reached::default()).is_none());
    }

    #[tokio::test]
    async fn a_panic_has_the_same_words_on_whichever_thread_it_came() {
        let blocking = || async {
            let panicked = crate::tasks::blocking(|| panic!("row {}", 5)).await;
            Error::Task(panicked.map(|(): ()| ()).unwrap_err())
        };
        let here = supervised::<()>(async { panic!("row {}", 5) }).await.unwrap_err();
        let suspect = Suspect::of(blocking().await, Reached::default()).unwrap();
        assert!(suspect.is_repeated_by(&blocking().await), "{suspect:?}");
        assert!(suspect.is_repeated_by(&here), "{suspect:?} {here:?}");
    }
}
