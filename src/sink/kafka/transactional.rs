//! `exactly-once`: each batch and its checkpoint are one Kafka transaction.
//!
//! The relay uses several transactional producers in turn, called lanes. A broker refuses the next transaction of an id
//! until the markers of the previous one are written, and librdkafka then waits 20 ms. With several lanes, the next
//! transactions are in flight meanwhile (`overlap`).

mod claim;
mod committer;
mod lane;
mod opening;
mod overlap;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

use self::lane::Lane;
pub use self::opening::{Connected, Opening};
use self::overlap::Overlap;
use super::client::Record;
use super::orders::{Answers, Order};
use super::partitions::PartitionId;
use super::reports::{Tag, Wakeup};
use super::{PublishError, PublishOptions, connection};
use crate::batch::Headers;
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::delivery::Delivery;
use crate::failpoint::failpoint;

/// Number of lanes that carry batches, and so of transactions at once.
pub const LANES: usize = 4;

/// Number of lanes where only checkpoints are stored. One lane takes 26 ms a cycle, two take 5 ms, and more gain
/// nothing.
const CHECKPOINT_LANES: usize = 2;

/// Number of the fenced lanes that are used.
fn used_lanes(delivery: Delivery) -> usize {
    match delivery {
        Delivery::ExactlyOnce => LANES,
        Delivery::Idempotent => CHECKPOINT_LANES,
    }
}

/// The partition of the checkpoint's key.
const CHECKPOINT_PARTITION: PartitionId = PartitionId(0);

/// The lanes of one relay, all fenced against its predecessors.
pub struct Transactional {
    lanes: Vec<Lane>,
    next_lane: usize,
    options: PublishOptions,
    checkpoint: CheckpointOptions,
    /// The partition of the claim, and of all checkpoints of the session.
    checkpoint_partition: Option<i32>,
    cut_off: Arc<AtomicBool>,
    /// Woken when any lane has something to serve.
    wakeup: Arc<Wakeup>,
}

impl Transactional {
    /// Makes the producers and initialises all transactional ids. This finishes or aborts a predecessor's open
    /// transactions, and the predecessor can write nothing more.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn open(opening: Opening) -> Result<Transactional, PublishError> {
        Connected::connect(opening)?.fence()
    }

    /// Initialises the transactional ids of a relay of another name, and drops the producers. That relay can write
    /// nothing more.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn fence(opening: &Opening, name: &str) -> Result<(), PublishError> {
        connection::end(opening.lanes(name)?);
        Ok(())
    }

    /// Writes tombstones for the checkpoint to these partitions of its topic, and to the partition of its key, in one
    /// transaction.
    ///
    /// # Errors
    /// They are not in Kafka, or the outcome is unknown. Do not use these lanes again.
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

    /// Publishes the ordered batches, until the order to stop.
    pub(super) fn run(
        self,
        orders: &Receiver<Order>,
        answers: &Answers,
    ) -> Result<(), PublishError> {
        Overlap::new(self, answers)?.run(orders)
    }

    /// Reads what librdkafka reports while nothing is published, for instance that no broker answers.
    pub fn serve(&self) {
        self.lanes.iter().for_each(Lane::serve);
    }

    fn checkpoint_record<'a>(&'a self, value: &'a [u8], index: usize) -> Record<'a> {
        let key = Some(self.checkpoint.key.as_bytes());
        let tag = Tag { index, partition: CHECKPOINT_PARTITION }.pack();
        let (value, headers) = (Some(value), Headers::default());
        Record { key, value, partition: None, sequence: None, headers, timestamp: None, tag }
    }

    /// Stores a checkpoint alone. Returns its record.
    ///
    /// # Errors
    /// It is not in Kafka, or the outcome is unknown. Do not use these lanes again.
    pub fn store(&mut self, checkpoint: &Checkpoint) -> Result<Vec<u8>, PublishError> {
        let value = self.send_alone(checkpoint)?;
        failpoint!("checkpoint-acknowledged");
        self.commit()?;
        Ok(value)
    }

    /// Sends a checkpoint in a transaction of its own, which stays open. Returns its record.
    fn send_alone(&self, checkpoint: &Checkpoint) -> Result<Vec<u8>, PublishError> {
        let lane = self.lane();
        lane.begin(1)?;
        let value = checkpoint.to_json();
        lane.send_checkpoint(&self.checkpoint_record(&value, 0))?;
        lane.await_acknowledged()?;
        Ok(value)
    }

    /// The current lane.
    fn lane(&self) -> &Lane {
        &self.lanes[self.next_lane]
    }

    /// Commits the transaction of the current lane, and moves on to the next lane.
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
    pub(super) fn wakeup(&self) -> Arc<Wakeup> {
        self.wakeup.clone()
    }
}

/// Initialises a transactional id that no relay uses, and drops it again. This shows whether transactions with this
/// timeout are allowed, and fences nobody. Returns the id.
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
