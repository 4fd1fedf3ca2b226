//! Detects that the process was suspended, by the clock.

use std::time::{Duration, Instant};

/// The loop runs at least every `SERVE_INTERVAL`. A longer gap than this means that the process was suspended, and may
/// have been replaced.
const SUSPENDED_MIN: Duration = Duration::from_secs(1);

/// When the loop ran last.
pub(super) struct SuspensionWatch(Instant);

impl SuspensionWatch {
    /// Starts at this moment.
    pub fn new() -> SuspensionWatch {
        SuspensionWatch(Instant::now())
    }

    /// The loop runs again. Returns `true` if the process was suspended since the last call.
    pub fn was_suspended(&mut self) -> bool {
        self.run_at(Instant::now())
    }

    fn run_at(&mut self, now: Instant) -> bool {
        let ran_at = std::mem::replace(&mut self.0, now);
        now.saturating_duration_since(ran_at) > SUSPENDED_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gap_counts_as_one_suspension() {
        let mut suspension = SuspensionWatch::new();
        let began = suspension.0;
        let at = |millis| began + Duration::from_millis(millis);
        let suspended = [250, 1_250, 2_251, 2_300].map(|millis| suspension.run_at(at(millis)));
        assert_eq!(suspended, [false, false, true, false]);
    }
}
