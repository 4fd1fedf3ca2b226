//! What can be wrong with a stream of event groups.

use std::sync::Arc;

use crate::coordinates::Coordinates;

/// What the stream does that the relay cannot follow. Each is at coordinates.
#[allow(missing_docs, reason = "each has its words")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "the transaction that begins at {start} is not complete where the next event group begins, at {at}"
    )]
    Unfinished { start: Coordinates, at: Coordinates },
    #[error(
        "the compressed transaction that ends at {at} cannot be decompressed to what it states"
    )]
    DamagedPayload { at: Coordinates },
    #[error("an event at {at} is damaged: {what}")]
    Damaged { at: Coordinates, what: &'static str },
    #[error("an event of type {event_type} at {at} is not known to this version")]
    UnknownEvent { at: Coordinates, event_type: u8 },
    #[error("the server reports an incident at {at}: events may be lost before it")]
    Incident { at: Coordinates },
    #[error("the binlog {file} ends before offset {offset}, where relaying should begin")]
    StartBeyondEnd { file: Arc<str>, offset: u64 },
    #[error(
        "the binlog {file} was begun at {}, that of the checkpoint at {}: another file of the same name",
        instant(*is), instant(*was)
    )]
    OtherFile { file: Arc<str>, is: u32, was: u32 },
    #[error("a statement at {at} wrote to {table} as a statement, not as rows")]
    Statement { at: Coordinates, table: String },
    #[error("a statement at {at} cannot be read, and may have written to {table} as a statement")]
    UnclearStatement { at: Coordinates, table: String },
    #[error(
        "a statement at {at} rolled back to a savepoint after rows of an outbox table were logged"
    )]
    PartialRollback { at: Coordinates },
}

fn instant(seconds: u32) -> jiff::Timestamp {
    jiff::Timestamp::constant(i64::from(seconds), 0)
}
