//! Detects by the clock that a loop was suspended, alone or with its whole process.

use std::time::Duration;

use tokio::time::Instant;

/// Watches a loop. A longer gap than it allows means that the loop was suspended, and that we may have been replaced.
pub(crate) struct SuspensionWatch {
    /// When the loop ran last.
    ran_at: Instant,
    gap_max: Duration,
}

impl SuspensionWatch {
    /// Starts at this moment.
    pub fn new(gap_max: Duration) -> SuspensionWatch {
        SuspensionWatch { ran_at: Instant::now(), gap_max }
    }

    /// The loop runs again. Returns `true` if it was suspended since the last call.
    pub fn was_suspended(&mut self) -> bool {
        self.run_at(Instant::now())
    }

    fn run_at(&mut self, now: Instant) -> bool {
        let ran_at = std::mem::replace(&mut self.ran_at, now);
        now.saturating_duration_since(ran_at) > self.gap_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_gap_counts_as_one_suspension() {
        let mut suspension = SuspensionWatch::new(Duration::from_secs(1));
        let began = suspension.ran_at;
        let at = |millis| began + Duration::from_millis(millis);
        let suspended = [250, 1_250, 2_251, 2_300].map(|millis| suspension.run_at(at(millis)));
        assert_eq!(suspended, [false, false, true, false]);
    }
}
