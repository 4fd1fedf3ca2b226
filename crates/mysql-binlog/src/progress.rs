//! How far the stream was read: how much of it, up to which commit, and whether the server has more.

use super::event_type;
use super::raw_event::RawEvent;
use crate::clock::CommitTime;

/// What was read of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events that were read, those out of compressed transactions included.
    pub events: u64,
    /// With headers. What comes out of a compressed transaction is counted beside that transaction.
    pub bytes: u64,
    /// Commit time of the newest transaction that was read to its end.
    pub newest: Option<CommitTime>,
    /// The last that came was a heartbeat: the server sends one only while it has nothing else to send
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Heartbeat__event.html>).
    pub is_at_end: bool,
}

impl Progress {
    /// Counts an event; `committed_at` is given with the last one of a transaction.
    pub fn note(&mut self, event: RawEvent<'_>, committed_at: Option<CommitTime>) {
        self.events += 1;
        self.bytes += u64::from(event.size);
        self.is_at_end =
            matches!(event.event_type, event_type::HEARTBEAT | event_type::HEARTBEAT_V2);
        // A boundary before the first transaction of a stream, at a made-up rotate, is of no time.
        if let Some(committed_at) = committed_at.filter(|at| at.micros() > 0) {
            self.newest = Some(committed_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_before_any_transaction_has_no_time() {
        let rotate = RawEvent {
            event_type: event_type::ROTATE,
            flags: 0,
            size: 44,
            timestamp: 0,
            log_pos: 0,
            body: &[],
        };
        let mut progress = Progress::default();
        progress.note(rotate, Some(CommitTime::from_seconds(0)));
        assert_eq!((progress.events, progress.bytes, progress.newest), (1, 44, None));
        progress.note(rotate, Some(CommitTime::from_seconds(7)));
        assert_eq!(progress.newest, Some(CommitTime::from_seconds(7)));
    }
}
