//! Whether the thread was paused, as its clock tells.

use std::time::{Duration, Instant};

/// A thread that did not turn for so long was paused, and may have been replaced meanwhile. It turns at every
/// [`SERVE_INTERVAL`](crate::publish::SERVE_INTERVAL) at least.
const PAUSED_MIN: Duration = Duration::from_secs(1);

/// When the thread turned last.
pub(super) struct Turns(Instant);

impl Turns {
    /// It turns now.
    pub fn new() -> Turns {
        Turns(Instant::now())
    }

    /// It begins to turn, and could have been replaced since then.
    pub fn since(then: Instant) -> Turns {
        Turns(then)
    }

    /// It turns again. `true`: it was paused since it did before.
    pub fn is_paused(&mut self) -> bool {
        self.turn_at(Instant::now())
    }

    fn turn_at(&mut self, now: Instant) -> bool {
        let turned_at = std::mem::replace(&mut self.0, now);
        now.saturating_duration_since(turned_at) > PAUSED_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_did_not_turn_for_long_was_paused_once() {
        let mut turns = Turns::new();
        let began = turns.0;
        let at = |millis| began + Duration::from_millis(millis);
        let paused = [250, 1_250, 2_251, 2_300].map(|millis| turns.turn_at(at(millis)));
        assert_eq!(paused, [false, false, true, false]);
    }
}
