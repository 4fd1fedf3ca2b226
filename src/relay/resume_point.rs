//! Where the line goes on, and what does not change while it runs.

use std::sync::Arc;

use super::refusal::Refusal;
use super::stamp::Stamp;
use crate::batch::Limits;
use crate::checkpoint::Checkpoint;
use crate::coordinates::{Coordinates, Gtid};
use crate::outbox::OutboxOptions;
use crate::resend::ResendWindow;

/// Rows of one transaction that were relayed before, as the checkpoint says.
#[derive(Debug, Clone)]
pub struct RelayedPart {
    pub rows: u64,
    /// The transaction; `None`: the first one with rows.
    pub gtid: Option<Gtid>,
}

impl RelayedPart {
    /// `None` where the checkpoint stands between transactions.
    pub fn of(stored: Option<&Checkpoint>) -> Option<RelayedPart> {
        let checkpoint = stored.filter(|checkpoint| checkpoint.rows_done > 0)?;
        let gtid = checkpoint.open_gtid().expect("a checkpoint is checked when it is read");
        Some(RelayedPart { rows: checkpoint.rows_done, gtid })
    }
}

/// Where the numbering of rows goes on.
#[derive(Debug)]
pub struct ResumePoint {
    pub stamp: Stamp,
    /// Number of the last relayed row.
    pub sequence: u64,
    pub part: Option<RelayedPart>,
    /// Rows that a predecessor may have sent already.
    pub window: Option<ResendWindow>,
    /// What ends here or before was relayed before; `None` where reading begins at a boundary behind it.
    pub start: Option<Coordinates>,
}

/// What does not change while the line runs.
#[derive(Debug, Clone)]
pub struct LineOptions {
    pub outboxes: Arc<[OutboxOptions]>,
    pub limits: Limits,
    /// Batches that may be in flight at once.
    pub batches_max: usize,
    /// The row whose record was refused in a session before: it is named when it comes again.
    pub refused: Option<Refusal>,
    /// The position of the stored checkpoint, if it is this session's own.
    pub stored: Option<Coordinates>,
    /// Before this position, the GTID set that the session begins with may be ahead of what is read.
    pub ahead_until: Option<Coordinates>,
}
