//! Stores checkpoints without relaying, for the commands `checkpoint set` and `checkpoint reset`.

use super::transactional::Transactional;
use super::{Error, Kafka, checkpoints};
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::sink::SinkError;

/// Holds all transactional ids of a relay. No other producer of that relay can write any more.
pub struct CheckpointEditor {
    kafka: Kafka,
    lanes: Transactional,
}

impl Kafka {
    /// Fences all producers of this relay.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub async fn fence(&self) -> Result<CheckpointEditor, SinkError> {
        let opening = self.opening();
        let lanes = self.blocking(move || Transactional::open(opening)).await?;
        Ok(CheckpointEditor { kafka: self.clone(), lanes })
    }

    /// Fences the relay of another name that owns the checkpoint.
    ///
    /// # Errors
    /// Its ids are refused.
    pub async fn fence_other(&self, owner: &str) -> Result<(), SinkError> {
        tracing::info!(owner, "the checkpoint is of a relay of another name, which is fenced");
        let (opening, name) = (self.opening(), owner.to_owned());
        let CheckpointOptions { topic, key } = self.checkpoint.clone();
        let fence = move || {
            let owner = name.clone();
            Transactional::fence(&opening, &name).map_err(|source| Error::OwnerNotFenced {
                key,
                topic,
                owner,
                source,
            })
        };
        self.blocking(fence).await
    }
}

impl CheckpointEditor {
    /// Stores a checkpoint.
    ///
    /// # Errors
    /// It is not in Kafka, or the outcome is unknown.
    pub async fn store(self, checkpoint: Checkpoint) -> Result<(), SinkError> {
        let CheckpointEditor { kafka, mut lanes } = self;
        kafka.blocking(move || lanes.store(&checkpoint).map(drop)).await
    }

    /// Writes tombstones for the checkpoint, to every partition that holds a record of its key.
    ///
    /// # Errors
    /// They are not in Kafka, or the outcome is unknown.
    pub async fn forget(self) -> Result<(), SinkError> {
        let CheckpointEditor { kafka, mut lanes } = self;
        let (connection, name) = (kafka.connection.clone(), kafka.publish.name.clone());
        let options = kafka.checkpoint.clone();
        let partitions = move || checkpoints::partitions(&connection, &name, &options);
        let partitions = kafka.blocking(partitions).await?;
        kafka.blocking(move || lanes.forget(&partitions)).await
    }
}
