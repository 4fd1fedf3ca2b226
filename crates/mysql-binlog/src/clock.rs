//! Time as the MySQL server counts it: commit times come from its clock, so lag is counted by it as well.

use std::time::{Duration, SystemTime};

/// When a transaction was committed, by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitTime {
    /// Microseconds since 1970.
    micros: u64,
    /// MySQL before 8.0 tells seconds only.
    is_exact: bool,
}

impl CommitTime {
    /// Microseconds since 1970, as MySQL 8.0 and later write them.
    pub fn from_micros(micros: u64) -> CommitTime {
        CommitTime { micros, is_exact: true }
    }

    /// Seconds since 1970, as the header of an event has them.
    pub fn from_seconds(seconds: u32) -> CommitTime {
        CommitTime { micros: u64::from(seconds) * 1_000_000, is_exact: false }
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> u64 {
        self.micros
    }

    /// The server told microseconds.
    pub fn is_exact(self) -> bool {
        self.is_exact
    }
}

/// How far the server's clock is ahead of ours (or behind it).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerClock {
    ahead_micros: i64,
}

impl ServerClock {
    /// From what the server's clock said when ours said `at`, in microseconds since 1970.
    pub fn new(server_micros: u64, at: SystemTime) -> ServerClock {
        let ours = i128::from(micros_since_1970(at));
        let ahead = i128::from(server_micros) - ours;
        ServerClock { ahead_micros: i64::try_from(ahead).unwrap_or_default() }
    }

    /// How far ahead the server's clock is; negative when it is behind.
    pub fn ahead_micros(self) -> i64 {
        self.ahead_micros
    }

    /// The server's clock, from its distance to ours.
    pub fn from_ahead_micros(ahead_micros: i64) -> ServerClock {
        ServerClock { ahead_micros }
    }

    /// What the server's clock says now, in microseconds since 1970.
    pub fn now_micros(self) -> u64 {
        micros_since_1970(SystemTime::now()).saturating_add_signed(self.ahead_micros)
    }

    /// How long ago something happened on the server; 0 for what its clock has not reached yet.
    pub fn since(self, micros: u64) -> Duration {
        Duration::from_micros(self.now_micros().saturating_sub(micros))
    }
}

/// A clock before 1970 reads as 1970.
pub fn micros_since_1970(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_on_either_side_does_not_change_how_long_ago_something_was() {
        for ahead_seconds in [-3600, 0, 7200] {
            let at = SystemTime::now();
            let server_micros =
                micros_since_1970(at).saturating_add_signed(ahead_seconds * 1_000_000);
            let clock = ServerClock::new(server_micros, at);
            let ago = clock.since(server_micros - 5_000_000);
            assert!(ago >= Duration::from_secs(5) && ago < Duration::from_secs(6), "{ago:?}");
            assert_eq!(clock.since(server_micros + 60_000_000), Duration::ZERO);
        }
    }
}
