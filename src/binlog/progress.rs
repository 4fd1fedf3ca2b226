//! How far the stream was read: how much of it, up to which commit, and whether the server has more.

use super::event_type;
use super::raw_event::RawEvent;
use crate::telemetry::clock::CommitTime;

/// What was read of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
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
        if committed_at.is_some() {
            self.newest = committed_at;
        }
    }
}
