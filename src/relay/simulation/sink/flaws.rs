//! Flaws that the conformance suite must find: each breaks one line of the promise.

use std::cell::Cell;

/// What is wrong with the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A new producer gets the epoch of the one before.
    FencesNobody,
    /// The sink stores for whoever asks.
    StoresForTheFenced,
    /// A publisher that was fenced goes on.
    GoesOnWhenFenced,
    ClaimsOverAnother,
    ClaimIsNotStored,
    /// A batch is published while its last record is not durable.
    PublishedEarly,
    /// The answers of one batch come in the wrong order.
    StoredBeforePublished,
    /// The checkpoint counts a row that is not sent yet.
    CheckpointAhead,
    /// The records of a batch are visible a moment before its checkpoint.
    NotAtomic,
    /// Of one lane, the last record goes first.
    LaneReversed,
    /// A key has no lane of its own.
    AnyLane,
    NullIsEmpty,
    HeadersSorted,
    FoundIsSent,
    /// A batch without records is answered, and its checkpoint not stored.
    EmptyIsForgotten,
    /// Records in flight are dropped.
    StopDrops,
    /// A record that is refused is left out.
    RefusedIsLeftOut,
    SecondId,
    SentOfAnyGeneration,
    SentOfAnyName,
    SentBeforeTheWindow,
    /// The last record of a window is overlooked.
    SentMissesTheLast,
}

thread_local! {
    static FLAW: Cell<Option<Flaw>> = const { Cell::new(None) };
}

/// Gives the models of this thread a flaw.
pub fn set(flaw: Option<Flaw>) {
    FLAW.set(flaw);
}

pub fn has(flaw: Flaw) -> bool {
    FLAW.get() == Some(flaw)
}
