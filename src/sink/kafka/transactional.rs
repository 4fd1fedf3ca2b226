//! `exactly-once`: each batch and its checkpoint are one Kafka transaction.
//!
//! Transactional producers are used in turn ("lanes"): a broker refuses to begin the next transaction of an
//! id until the markers of its last one are written, and librdkafka then waits 20 ms; and while one transaction
//! waits for its broker, the next ones are on their way (`overlap`).

mod claim;
mod committer;
mod lane;
mod opening;
mod overlap;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

pub use self::claim::Claim;
use self::lane::Lane;
pub use self::opening::{Connected, Opening};
use self::overlap::Overlap;
use super::client::Record;
use super::orders::{Answers, Order};
use super::partitions::PartitionId;
use super::reports::{Bell, Tag};
use super::{PublishError, PublishOptions, connection};
use crate::batch::Headers;
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::delivery::Delivery;

/// Lanes that carry batches, so many transactions at once.
pub const LANES: usize = 4;

/// Lanes that store checkpoints alone. One lane takes 26 ms a cycle, two 5 ms, more no less.
const CHECKPOINT_LANES: usize = 2;

/// So many of the fenced lanes are used.
fn used_lanes(delivery: Delivery) -> usize {
    match delivery {
        Delivery::ExactlyOnce => LANES,
        Delivery::Idempotent => CHECKPOINT_LANES,
    }
}

/// The one that the checkpoint's key goes to.
const CHECKPOINT_PARTITION: PartitionId = PartitionId(0);

/// The lanes of one relay, all fenced against its predecessors.
pub struct Transactional {
    lanes: Vec<Lane>,
    next_lane: usize,
    options: PublishOptions,
    checkpoint: CheckpointOptions,
    /// Where the claim went, and all checkpoints of the session go.
    checkpoint_partition: Option<i32>,
    cut_off: Arc<AtomicBool>,
    /// Rings when any lane has something to serve.
    bell: Arc<Bell>,
}

impl Transactional {
    /// Makes the producers and initialises all transactional ids: transactions that a predecessor left open
    /// are finished or aborted, and it can write nothing more.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn open(opening: Opening) -> Result<Transactional, PublishError> {
        Connected::connect(opening)?.fence()
    }

    /// Initialises the transactional ids of a relay of another name, and lets them go: it can write nothing more.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn fence(opening: &Opening, name: &str) -> Result<(), PublishError> {
        connection::end(opening.lanes(name)?);
        Ok(())
    }

    /// Writes tombstones for the checkpoint: to these partitions of its topic, and to the one that is its
    /// key's. Nothing of it is visible before all of it is.
    ///
    /// # Errors
    /// They are not in Kafka, or nobody knows; these lanes must not be used again.
    pub fn forget(&mut self, partitions: &[i32]) -> Result<(), PublishError> {
        let lane = self.lane();
        lane.begin(partitions.len() + 1)?;
        let tombstone = |index, partition| Record {
            value: None,
            partition,
            ..self.checkpoint_record(&[], index)
        };
        for (index, partition) in partitions.iter().enumerate() {
            lane.send_checkpoint(&tombstone(index, Some(*partition)))?;
        }
        lane.send_checkpoint(&tombstone(partitions.len(), None))?;
        lane.await_acknowledged()?;
        self.commit()
    }

    /// Publishes the batches that are ordered, until the order to stop.
    pub(super) fn run(
        self,
        orders: &Receiver<Order>,
        answers: &Answers,
    ) -> Result<(), PublishError> {
        Overlap::new(self, answers)?.run(orders)
    }

    /// Reads what librdkafka says while nothing is published, such as that no broker answers.
    pub fn serve(&self) {
        self.lanes.iter().for_each(Lane::serve);
    }

    fn checkpoint_record<'a>(&'a self, value: &'a [u8], index: usize) -> Record<'a> {
        let key = Some(self.checkpoint.key.as_bytes());
        let tag = Tag { index, partition: CHECKPOINT_PARTITION }.pack();
        let (value, headers) = (Some(value), Headers::default());
        Record { key, value, partition: None, sequence: None, headers, tag }
    }

    /// Stores a checkpoint alone. Answers with its record.
    ///
    /// # Errors
    /// It is not in Kafka, or nobody knows; these lanes must not be used again.
    pub fn store(&mut self, checkpoint: &Checkpoint) -> Result<Vec<u8>, PublishError> {
        let value = self.send_alone(checkpoint)?;
        self.commit()?;
        Ok(value)
    }

    /// Sends a checkpoint in a transaction of its own, which stays open. Answers with its record.
    fn send_alone(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, PublishError> {
        let lane = self.lane();
        lane.begin(1)?;
        let value = checkpoint.to_json();
        lane.send_checkpoint(&self.checkpoint_record(&value, 0))?;
        lane.await_acknowledged()?;
        Ok(value)
    }

    /// The lane whose turn it is.
    fn lane(&self) -> &Lane {
        &self.lanes[self.next_lane]
    }

    /// Commits the transaction of the lane whose turn it is; the next transaction is the next lane's.
    fn commit(&mut self) -> Result<(), PublishError> {
        let lane = &self.lanes[self.next_lane];
        self.next_lane = (self.next_lane + 1) % self.lanes.len();
        lane.commit()
    }

    /// Turns true when no broker answers any more.
    pub(super) fn cut_off(&self) -> Arc<AtomicBool> {
        self.cut_off.clone()
    }

    /// Wakes the publisher's thread.
    pub(super) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }
}

/// Initialises the one transactional id that no relay uses, and lets it go: whether transactions of this
/// length may be used is known then, and nobody is fenced. Answers with the id.
///
/// # Errors
/// Kafka cannot be reached, or refuses it.
pub fn try_transactions(opening: &Opening) -> Result<String, PublishError> {
    let id = lane_id(opening.name(), "check");
    opening.lane(&id)?;
    Ok(id)
}

fn lane_id(name: &str, lane: impl std::fmt::Display) -> String {
    format!("{name}-{lane}")
}
