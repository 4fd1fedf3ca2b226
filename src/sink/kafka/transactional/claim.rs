//! The claim at the beginning of a session: a checkpoint in a transaction. The transaction stays open until the claim's
//! offset has proved that no later checkpoint was missed.

use super::Transactional;
use crate::checkpoint::Checkpoint;
use crate::sink::kafka::PublishError;

/// The record of a claim in the checkpoint topic, acknowledged and not committed yet.
pub struct Claim {
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
}

impl Transactional {
    /// Sends a claim in a transaction that stays open: [`Transactional::commit_claim`] ends it.
    ///
    /// # Errors
    /// It is not acknowledged, or its offset is unknown. Do not use these lanes again.
    pub fn send_claim(&mut self, checkpoint: &Checkpoint) -> Result<Claim, PublishError> {
        let value = self.send_alone(checkpoint)?;
        // None if the answer to the first attempt was lost.
        let position = self.lane().acknowledgements.last().filter(|(_, offset)| *offset >= 0);
        let (partition, offset) = position.ok_or(PublishError::NoOffset)?;
        self.checkpoint_partition = Some(partition);
        Ok(Claim { partition, offset, value })
    }

    /// Commits the claim.
    ///
    /// # Errors
    /// It is not committed, or the outcome is unknown. Do not use these lanes again.
    pub fn commit_claim(&mut self) -> Result<(), PublishError> {
        self.commit()
    }

    /// Aborts the claim.
    pub fn abort_claim(self) {
        self.lane().abort();
    }
}
