//! What goes wrong in a sink, in words that the relay needs no library of the sink for.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::fate::Fate;
use crate::telemetry::metrics::ErrorKind;

/// Why the sink does not go on.
#[derive(Debug)]
pub struct SinkError {
    /// What is to be done about it.
    pub fate: Fate,
    /// As the metric names it.
    pub kind: ErrorKind,
    /// What ends the wait, where the fate is none that says it.
    pub hint: Option<String>,
    /// What of the relay it is about, where more than its fate depends on that.
    pub about: About,
    /// The sink and its address, in words.
    pub sink: String,
    pub source: Box<dyn StdError + Send + Sync>,
}

/// What of the relay an error of a sink is about.
#[derive(Debug, Clone)]
pub enum About {
    /// The sink as a whole, or what none of the others says.
    Sink,
    /// It is there, and does not let us in.
    Login,
    /// The record of a row, which the sink does not take.
    Record(Refused),
    Destination(Destinational),
    /// The place where checkpoints are stored is not there.
    NoStore,
    /// A checkpoint that cannot be read, in words.
    Unreadable(String),
    /// A panic, by its words.
    Panic(String),
}

/// What is wrong with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destinational {
    /// It may come; what was read before need not wait with it.
    Awaited,
    /// The row that names it is at fault.
    Unfit,
    /// One more than the relay may have.
    TooMany,
    Other,
}

/// A record that a sink has refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Number of its row.
    pub sequence: u64,
    pub destination: String,
    pub limit: SizeLimit,
    pub fate: Fate,
    pub cause: Arc<dyn StdError + Send + Sync>,
}

/// The limit that a refused record is above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeLimit {
    /// That of the destination's records, or the size has nothing to do with it where nobody can tell.
    OfRecords,
    /// Another one, of several records together: Kafka's `segment.bytes`.
    OfBatches,
    /// It is not refused for its size.
    None,
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sink, self.source)
    }
}

impl StdError for SinkError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// A checkpoint that was asked for; none where there is no place for one.
///
/// # Errors
/// All others.
pub fn none_without_store<T>(stored: Result<Option<T>, SinkError>) -> Result<Option<T>, SinkError> {
    match stored {
        Err(SinkError { about: About::NoStore, .. }) => Ok(None),
        stored => stored,
    }
}

impl SinkError {
    /// Another producer has this relay's identity.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fate == Fate::MaybeTakenOver
    }
}
