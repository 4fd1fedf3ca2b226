//! How long a server is waited for that has not applied yet what counts as relayed: as long as it comes nearer, and a
//! minute more.

use std::time::Duration;

use tokio::time::Instant;

use crate::binlog::start;
use crate::coordinates::GtidSet;
use crate::error::Error;

/// So long without a transaction of those that are missing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was missing when the server was looked at last, and since when it is just that.
#[derive(Debug, Default)]
pub struct Failover {
    missing: Option<(GtidSet, Instant)>,
}

impl Failover {
    /// Gives an error back, or the one that halts in its place.
    pub fn bound(&mut self, error: Error, now: Instant) -> Error {
        let Error::Start { server, origin, source: start::Error::NotApplied { missing } } = error
        else {
            // It could not even be looked at meanwhile.
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
