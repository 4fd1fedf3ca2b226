//! How records get to their destination, as the configuration and the checkpoint name it.

use serde::{Deserialize, Serialize};

/// What a crash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Records and checkpoint in one transaction of the sink.
    ExactlyOnce,
    /// Records at once, and the checkpoint behind them. A restart looks for the records that are there.
    Idempotent,
}
