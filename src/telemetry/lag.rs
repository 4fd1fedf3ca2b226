//! The lag of Kafka behind MySQL in time: the age of the oldest row that is not in Kafka yet. Pure.
//!
//! All times are microseconds since 1970 by the server's clock. If it is unknown whether everything was read, the lag
//! counts from the last moment at which it was known. So it never shows 0 when it may be more.

/// State of the rows that are not in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Commit time of the oldest row that was read, but is not in Kafka.
    pending: Option<u64>,
    unread: Unread,
}

/// State of the rows that were not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// There are none. The server will say when there are.
    None,
    /// Everything that was committed before this was read.
    Since(u64),
}

impl Lag {
    /// Unknown; `now` is the start of the relay.
    pub fn unknown(now: u64) -> Lag {
        Lag { pending: None, unread: Unread::Since(now) }
    }

    /// Rows up to a transaction committed at `newest` were read, and more may follow.
    pub fn reading(&mut self, pending: Option<u64>, newest: Option<u64>) {
        self.pending = pending;
        if let Some(newest) = newest {
            self.unread = Unread::Since(newest);
        }
    }

    /// All rows that the server has were read.
    pub fn at_end(&mut self, pending: Option<u64>) {
        (self.pending, self.unread) = (pending, Unread::None);
    }

    /// The connection was lost at `now`. Rows that are not in Kafka will be read again, and later commits are unknown.
    pub fn disconnected(&mut self, now: u64) {
        let unread = match self.unread {
            Unread::None => now,
            Unread::Since(since) => since,
        };
        let since = self.pending.take().map_or(unread, |pending| pending.min(unread));
        self.unread = Unread::Since(since);
    }

    /// Commit time of the oldest row that may not be in Kafka; `None` when all are.
    pub fn behind_since(&self) -> Option<u64> {
        match (self.pending, self.unread) {
            (Some(pending), _) => Some(pending),
            (None, Unread::Since(since)) => Some(since),
            (None, Unread::None) => None,
        }
    }

    /// Kafka has every row that was read.
    pub fn has_no_pending(&self) -> bool {
        self.pending.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn just_started_it_rises_from_the_start() {
        assert_eq!(Lag::unknown(100).behind_since(), Some(100));
    }

    #[test]
    fn idle_it_is_nothing() {
        let mut lag = Lag::unknown(100);
        lag.at_end(None);
        assert_eq!(lag.behind_since(), None);
    }

    #[test]
    fn behind_it_counts_from_the_oldest_row_that_is_not_in_kafka() {
        let mut lag = Lag::unknown(100);
        lag.reading(Some(40), Some(60));
        assert_eq!(lag.behind_since(), Some(40));
        lag.reading(None, Some(60));
        assert_eq!(lag.behind_since(), Some(60), "what was not read is younger than what was");
        lag.at_end(Some(70));
        assert_eq!(lag.behind_since(), Some(70), "all was read, but not all is in Kafka");
    }

    #[test]
    fn disconnected_it_rises_from_the_last_moment_of_which_something_is_known() {
        let mut lag = Lag::unknown(100);
        lag.at_end(None);
        lag.disconnected(500);
        assert_eq!(lag.behind_since(), Some(500));
        lag.disconnected(900);
        assert_eq!(lag.behind_since(), Some(500), "losing it again tells nothing new");
        lag.reading(Some(300), Some(450));
        lag.disconnected(950);
        assert_eq!(lag.behind_since(), Some(300), "what is not in Kafka is read again");
        lag.reading(None, None);
        assert_eq!(lag.behind_since(), Some(300));
    }
}
