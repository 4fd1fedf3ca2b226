//! The delivery, as the configuration and the checkpoint name it.

use serde::{Deserialize, Serialize};

/// How records and checkpoints are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Records and checkpoint are one transaction of the sink.
    ExactlyOnce,
    /// Records are sent at once, and the checkpoint follows. A restart searches for the records that have arrived.
    Idempotent,
}
