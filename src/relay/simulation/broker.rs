//! The model of a sink's broker: what is durable there, and who may still write.

use std::collections::HashMap;

use super::sink::flaws::{Flaw, has};
use crate::checkpoint::Checkpoint;

/// Partitions of each topic.
pub const PARTITIONS: u32 = 3;

/// A record that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: u32,
    pub name: String,
    pub generation: u64,
    pub sequence: u64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What goes wrong next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next request comes to nothing, and the client is told so.
    Abort,
    /// The next request is done, and its answer is lost.
    LoseAnswer,
    /// The next request takes a minute.
    Stall,
}

/// The broker.
#[derive(Debug, Default)]
pub struct Broker {
    epochs: HashMap<String, u64>,
    pub records: Vec<Record>,
    pub checkpoint: Option<Checkpoint>,
    /// Counts the checkpoints that were stored.
    pub version: u64,
    /// The largest record that a topic takes, in bytes; `None`: any.
    pub record_bytes_max: Option<usize>,
    /// Processes that know that their claims were stored.
    pub claimed: Vec<u32>,
    pub fault: Option<Fault>,
}

/// The producer was fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced;

impl Broker {
    /// Fences all producers of a name. Answers with the epoch of the new one.
    pub fn fence(&mut self, name: &str) -> u64 {
        let epoch = self.epochs.entry(name.to_owned()).or_default();
        *epoch += u64::from(!has(Flaw::FencesNobody));
        *epoch
    }

    pub fn ensure_epoch(&self, name: &str, epoch: u64) -> Result<(), Fenced> {
        if self.epochs.get(name) == Some(&epoch) { Ok(()) } else { Err(Fenced) }
    }

    /// Stores a checkpoint, by a producer of this epoch.
    pub fn store(&mut self, name: &str, epoch: u64, checkpoint: &Checkpoint) -> Result<(), Fenced> {
        if !has(Flaw::StoresForTheFenced) {
            self.ensure_epoch(name, epoch)?;
        }
        self.checkpoint = Some(checkpoint.clone());
        self.version += 1;
        Ok(())
    }
}

/// The partition that a key goes to. Records without one are all in the first.
pub fn lane_of(key: Option<&[u8]>) -> u32 {
    let bytes = key.unwrap_or_default().iter();
    bytes.map(|byte| u32::from(*byte)).sum::<u32>() % PARTITIONS
}
