//! Where the line resumes, and what does not change while it runs.

use std::sync::Arc;

use super::refusal::Refusals;
use super::stamp::Stamp;
use crate::checkpoint::Checkpoint;
use crate::coordinates::{Coordinates, Gtid};
use crate::outbox::OutboxOptions;
use crate::resend::ResendWindow;

/// Rows of one transaction that are already in Kafka, according to the checkpoint.
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

/// Where the numbering of rows resumes.
#[derive(Debug)]
pub struct ResumePoint {
    pub stamp: Stamp,
    /// Number of the last relayed row.
    pub sequence: u64,
    pub part: Option<RelayedPart>,
    /// Rows that a predecessor may have sent.
    pub window: Option<ResendWindow>,
    /// Transactions that end here or before were relayed; `None` where reading begins at a boundary behind them.
    pub start: Option<Coordinates>,
}

/// What does not change while the line runs.
#[derive(Debug, Clone)]
pub struct LineOptions {
    pub outboxes: Arc<[OutboxOptions]>,
    /// The records that were refused in earlier sessions. Each is judged when its row comes again.
    pub refusals: Refusals,
    /// Before this position, the GTID set that the session starts with may hold transactions that are not read yet.
    pub ahead_until: Option<Coordinates>,
}
