//! Bugs that tests plant into the relay, to show that the simulation finds them. Without tests there are none.

/// A bug of a kind that a relay can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// One row of a transaction that was relayed in part is relayed again.
    SkipOffByOne,
    /// A checkpoint counts one row of a part more than went with it.
    CheckpointAhead,
    /// The checkpoint is read before the predecessor is fenced.
    ReadBeforeFence,
    /// Rows of a predecessor are looked for until the first batch only.
    WindowClosedEarly,
    /// A batch may be cut between any two rows, and its checkpoint says that a transaction ends there.
    BoundaryInsideTransaction,
    /// What the server took back is relayed.
    RolledBackKept,
    /// The rows of a part count for the next transaction as well.
    PartNotForgotten,
    /// The numbering begins anew with each session.
    SequenceNotKept,
    /// A relay that was paused does not see that it was replaced.
    ReplacementNotSeen,
    /// A drain stores the end of what was read, with half a transaction that was dropped.
    DrainAhead,
    /// A predecessor that still sends is not waited for.
    PredecessorNotWaitedFor,
    /// A row that was found is relayed again.
    FoundRowSentAgain,
    /// Another configuration is taken over wherever the line stands.
    ReloadAnywhere,
}

#[cfg(test)]
impl Bug {
    pub const ALL: [Bug; 13] = [
        Bug::SkipOffByOne,
        Bug::CheckpointAhead,
        Bug::ReadBeforeFence,
        Bug::WindowClosedEarly,
        Bug::BoundaryInsideTransaction,
        Bug::RolledBackKept,
        Bug::PartNotForgotten,
        Bug::SequenceNotKept,
        Bug::ReplacementNotSeen,
        Bug::DrainAhead,
        Bug::PredecessorNotWaitedFor,
        Bug::FoundRowSentAgain,
        Bug::ReloadAnywhere,
    ];
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for this thread; `None`: digs it out.
#[cfg(test)]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether the bug was planted.
#[cfg(test)]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Never without tests.
#[cfg(not(test))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}
