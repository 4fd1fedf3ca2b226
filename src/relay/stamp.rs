//! What every checkpoint of a session says besides its position: which relay wrote it, how, and when.

use std::time::SystemTime;

use crate::checkpoint::{self, Checkpoint};
use crate::delivery::Delivery;
use crate::resend::ResendWindow;
use crate::telemetry::clock::iso_8601;

/// What every checkpoint of this session says besides its position.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Name of the relay.
    pub name: String,
    pub server_uuid: String,
    pub generation: u64,
    pub instance: String,
    pub outbox_fingerprint: String,
    pub delivery: Delivery,
}

impl Stamp {
    /// Fills in which relay wrote the checkpoint, how, and when. `window`: rows that a predecessor may have sent.
    pub fn sign(&self, checkpoint: Checkpoint, window: Option<&ResendWindow>) -> Checkpoint {
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
