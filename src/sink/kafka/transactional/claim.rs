//! The claim that a session begins with: a checkpoint in a transaction that stays open until the claim's own
//! offset has shown that no later checkpoint was missed.

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
    /// It is not acknowledged, or nobody knows where it is; these lanes must not be used again.
    pub fn send_claim(&mut self, checkpoint: &Checkpoint) -> Result<Claim, PublishError> {
        let value = self.send_alone(checkpoint)?;
        // None, where the answer to the first try was lost.
        let place = self.lane().acknowledgements.last().filter(|(_, offset)| *offset >= 0);
        let (partition, offset) = place.ok_or(PublishError::NoOffset)?;
        self.checkpoint_partition = Some(partition);
        Ok(Claim { partition, offset, value })
    }

    /// Makes the claim count.
    ///
    /// # Errors
    /// It does not, or nobody knows; these lanes must not be used again.
    pub fn commit_claim(&mut self) -> Result<(), PublishError> {
        self.commit()
    }

    /// Takes the claim back.
    pub fn abort_claim(self) {
        self.lane().abort();
    }
}
