//! Where the line goes on, and what does not change while it runs.

use std::sync::Arc;

use super::refusal::Refusal;
use super::signature::Signature;
use crate::batch::Limits;
use crate::checkpoint::Checkpoint;
use crate::coordinates::{Coordinates, Gtid};
use crate::outbox::OutboxOptions;
use crate::resume::Window;

/// Rows of one transaction that are in Kafka already, as the checkpoint says.
#[derive(Debug, Clone)]
pub struct Skip {
    pub rows: u64,
    /// The transaction; `None`: the first one with rows.
    pub gtid: Option<Gtid>,
}

impl Skip {
    /// `None` where the checkpoint stands between transactions.
    pub fn of(stored: Option<&Checkpoint>) -> Option<Skip> {
        let checkpoint = stored.filter(|checkpoint| checkpoint.rows_done > 0)?;
        let gtid = checkpoint.open_gtid().expect("a checkpoint is checked when it is read");
        Some(Skip { rows: checkpoint.rows_done, gtid })
    }
}

/// Where the line goes on.
#[derive(Debug)]
pub struct Beginning {
    pub signature: Signature,
    /// Number of the last relayed row.
    pub sequence: u64,
    pub skip: Option<Skip>,
    /// Rows that a predecessor may have sent already.
    pub window: Option<Window>,
    /// The place of the stored checkpoint, if it is this session's own.
    pub stored: Option<Coordinates>,
    /// Before this place, the GTID set that the session begins with may be ahead of what is read.
    pub ahead_until: Option<Coordinates>,
}

/// What does not change while the line runs.
#[derive(Debug, Clone)]
pub struct Options {
    pub name: String,
    pub brokers: String,
    pub outboxes: Arc<[OutboxOptions]>,
    pub limits: Limits,
    /// Batches that may be on their way at once.
    pub batches_on_their_way: usize,
    /// What librdkafka was told to keep record batches below, if it was.
    pub batch_bytes_max: Option<usize>,
    /// The row whose record a broker has refused in a session before: it is named when it comes again.
    pub refused: Option<Refusal>,
}
