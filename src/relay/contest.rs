//! Detects another relay that has the same name, but another checkpoint. The two fence each other, and neither finds
//! the other in its own checkpoint.

use std::time::Duration;

/// Number of sessions that are fenced in a row before we conclude that there is another relay.
const FENCED_MAX: u32 = 5;

/// Counts sessions that were fenced although the checkpoint names no successor.
#[derive(Debug, Default)]
pub struct Contest {
    fenced: u32,
}

impl Contest {
    /// A session was fenced after `lived`, and the checkpoint names no successor. Returns whether there must be another
    /// relay. A session that lived for `transaction_timeout` or longer does not count: the broker itself fences a
    /// relay that was suspended for that long.
    pub fn note_fenced(&mut self, lived: Duration, transaction_timeout: Duration) -> bool {
        self.note_ended(lived, transaction_timeout);
        if lived < transaction_timeout {
            self.fenced += 1;
        }
        self.fenced >= FENCED_MAX
    }

    /// A session ended, for any reason. A long session shows that there is no other relay.
    pub fn note_ended(&mut self, lived: Duration, transaction_timeout: Duration) {
        if lived >= transaction_timeout {
            self.fenced = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn short_sessions_that_are_fenced_one_after_the_other_tell_of_another_relay() {
        let mut contest = Contest::default();
        let short = Duration::from_secs(2);
        let fenced: Vec<bool> = (0..6).map(|_| contest.note_fenced(short, TIMEOUT)).collect();
        assert_eq!(fenced, [false, false, false, false, true, true]);
    }

    #[test]
    fn a_relay_that_is_suspended_now_and_then_is_alone() {
        let mut contest = Contest::default();
        for _ in 0..20 {
            assert!(!contest.note_fenced(TIMEOUT, TIMEOUT));
        }
        for _ in 0..20 {
            assert!(!contest.note_fenced(Duration::from_secs(2), TIMEOUT));
            contest.note_ended(Duration::from_secs(3_600), TIMEOUT);
        }
    }
}
