//! How long the relay waits after a failover, for a server that has not yet applied everything that was relayed: while
//! it makes progress, and for one minute without progress.

use std::time::Duration;

use tokio::time::Instant;

use crate::binlog::start;
use crate::coordinates::GtidSet;
use crate::error::Error;

/// Longest wait without progress.
const PATIENCE: Duration = Duration::from_secs(60);

/// The transactions that were missing at the last look, and since when exactly these are missing.
#[derive(Debug, Default)]
pub struct Failover {
    missing: Option<(GtidSet, Instant)>,
}

impl Failover {
    /// Returns the error, or the one that halts in its place.
    pub fn bound(&mut self, error: Error, now: Instant) -> Error {
        let Error::Start { server, origin, source: start::Error::NotApplied { missing } } = error
        else {
            // The server could not be asked since then.
            self.missing = None;
            return error;
        };
        let before = self.missing.take().filter(|(before, _)| *before == missing);
        let since = before.map_or(now, |(_, since)| since);
        let source = if now.duration_since(since) > PATIENCE {
            start::Error::Diverged { unknown: missing }
        } else {
            self.missing = Some((missing.clone(), since));
            start::Error::NotApplied { missing }
        };
        Error::Start { server, origin, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Panicked;

    fn not_applied(missing: &str) -> Error {
        Error::Start {
            server: "db:3306".to_owned(),
            origin: start::Origin::Checkpoint("binlog.000001:4".parse().unwrap()),
            source: start::Error::NotApplied { missing: missing.parse().unwrap() },
        }
    }

    #[test]
    fn a_replica_is_waited_for_while_it_comes_nearer_and_a_minute_more() {
        const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let (mut failover, begin) = (Failover::default(), Instant::now());
        let mut is_halt = |missing: &str, seconds: u64| {
            let now = begin + Duration::from_secs(seconds);
            let error = failover.bound(not_applied(&format!("{UUID}:{missing}")), now);
            error.fate().is_halt()
        };
        assert!(!is_halt("5-9", 0) && !is_halt("5-9", 59));
        assert!(!is_halt("8-9", 70) && !is_halt("8-9", 129));
        assert!(is_halt("8-9", 131));
    }

    #[test]
    fn other_errors_are_left_as_they_are_and_begin_the_minute_anew() {
        const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1";
        let (mut failover, begin) = (Failover::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        failover.bound(not_applied(ONE), begin);
        let error = failover.bound(Error::Task(Panicked("panic".to_owned())), at(50));
        assert!(matches!(error, Error::Task(_)));
        let error = failover.bound(not_applied(ONE), at(90));
        assert!(!error.fate().is_halt());
    }
}
