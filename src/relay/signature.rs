//! Who writes a checkpoint, and when: what every one of a session says beside its place.

use std::time::SystemTime;

use crate::checkpoint::{self, Checkpoint};
use crate::kafka::Delivery;
use crate::resume::Window;
use crate::telemetry::clock::iso_8601;

/// What every checkpoint of this session says beside its place.
#[derive(Debug, Clone)]
pub struct Signature {
    /// Of the relay.
    pub name: String,
    pub server_uuid: String,
    pub generation: u64,
    pub instance: String,
    pub outbox_fingerprint: String,
    pub delivery: Delivery,
}

impl Signature {
    /// Fills in who wrote the checkpoint, how, and when. `window`: what a predecessor may have sent.
    pub fn sign(&self, checkpoint: Checkpoint, window: Option<&Window>) -> Checkpoint {
        let checkpoint = Checkpoint {
            format: Some(checkpoint::FORMAT),
            name: Some(self.name.clone()),
            delivery: Some(self.delivery),
            instance: Some(self.instance.clone()),
            outbox_fingerprint: Some(self.outbox_fingerprint.clone()),
            recorded_at: Some(iso_8601(SystemTime::now())),
            relay_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..checkpoint
        };
        match window {
            Some(window) => window.mark(checkpoint),
            None => checkpoint,
        }
    }
}
