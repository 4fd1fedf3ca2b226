//! How often a long GTID set is a part of the checkpoint.
//!
//! The text of a set of 10,000 intervals has 100 KB, and there are hundreds of checkpoints a second. So a long set
//! is left out of most of them: it is stored when 10 s have passed, when the relay stops, and when MySQL is lost.
//! A set is never stored in part. A checkpoint without one resumes on the same server, where reading its file from
//! the beginning finds the set again, unless the set is ahead of this binlog (after a failover). A set that a session
//! begins with may be: up to the end that the binlog had then, it is a part of every checkpoint.

use std::time::Duration;

use tokio::time::Instant;

use crate::binlog::Position;
use crate::coordinates::Coordinates;

/// A set of at most this many intervals, some 5 KB, is a part of every checkpoint.
const INTERVALS_MAX: usize = 400;

/// A longer one is stored this often at most: 10 KB/s for 10,000 intervals.
const PAUSE: Duration = Duration::from_secs(10);

/// A longer text is not stored: this keeps the checkpoint below Kafka's default `max.message.bytes`.
const BYTES_MAX: usize = 900_000;

/// The same where the limit of the topic is not known: half of Kafka's default for `max.message.bytes`.
const BYTES_MAX_UNKNOWN: usize = 512 * 1024;

/// What a checkpoint takes beside the set: most of it are the names of up to 100 topics (`partitions.except`), each
/// of up to 249 bytes.
const OTHER_BYTES_MAX: usize = 32 * 1024;

/// Decides for each checkpoint whether it has the set.
#[derive(Debug)]
pub(super) struct GtidPace {
    /// Longest text that the topic takes.
    bytes_max: usize,
    /// Before this position, the set may name transactions that come later in this binlog.
    ahead_until: Option<Coordinates>,
    stored_at: Option<Instant>,
    /// The stored checkpoint lacks a set that is known.
    is_left_out: bool,
    /// It was said that the set is too long.
    is_told: bool,
}

impl GtidPace {
    /// For a checkpoint topic that takes record batches of this many bytes, if that is known. `ahead_until`: before
    /// this position, the set may be ahead of what is read.
    pub fn new(topic_bytes_max: Option<usize>, ahead_until: Option<Coordinates>) -> GtidPace {
        // Nothing is known of the checkpoint that is stored now.
        GtidPace {
            bytes_max: set_bytes_max(topic_bytes_max),
            ahead_until,
            stored_at: None,
            is_left_out: true,
            is_told: false,
        }
    }

    /// The next checkpoint is to have the set, however long it is: no other may follow.
    pub fn want(&mut self) {
        self.stored_at = None;
    }

    /// The set as the checkpoint of this position has it.
    pub fn gtid_set(&mut self, position: &Position, now: Instant) -> Option<String> {
        let set = position.gtid_set.as_ref()?;
        if !is_long(position) {
            self.is_left_out = false;
            return Some(set.to_string());
        }
        if self.is_ahead(position) {
            // However long it is: that Kafka refuses it is better than that rows come again.
            (self.stored_at, self.is_left_out) = (Some(now), false);
            return Some(set.to_string());
        }
        if !self.has_paused(now) {
            self.is_left_out = true;
            return None;
        }
        (self.stored_at, self.is_left_out) = (Some(now), false);
        let text = set.to_string();
        if text.len() <= self.bytes_max {
            return Some(text);
        }
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                intervals = set.intervals(),
                bytes = text.len(),
                bytes_max = self.bytes_max,
                "the GTID set is too long for the checkpoint topic, and left out: the relay can resume on this server \
                 only; raise max.message.bytes of the topic, or close the holes in the set"
            );
        }
        None
    }

    /// The stored checkpoint of this position should be stored again, with the set.
    pub fn is_due(&self, position: &Position) -> bool {
        self.lacks_set(position) && self.has_paused(Instant::now())
    }

    /// The stored checkpoint lacks the set that it could have.
    pub fn lacks_set(&self, position: &Position) -> bool {
        self.is_left_out && is_long(position)
    }

    /// Without the set, transactions of it that are behind this position would be relayed again.
    fn is_ahead(&mut self, position: &Position) -> bool {
        self.ahead_until.take_if(|end| position.coordinates >= *end);
        self.ahead_until.is_some()
    }

    fn has_paused(&self, now: Instant) -> bool {
        self.stored_at.is_none_or(|at| now >= at + PAUSE)
    }
}

/// Longest text of a set that such a checkpoint topic takes.
pub fn set_bytes_max(topic_bytes_max: Option<usize>) -> usize {
    match topic_bytes_max {
        Some(bytes) => bytes.saturating_sub(OTHER_BYTES_MAX).min(BYTES_MAX),
        None => BYTES_MAX_UNKNOWN,
    }
}

fn is_long(position: &Position) -> bool {
    position.gtid_set.as_ref().is_some_and(|set| set.intervals() > INTERVALS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(intervals: u64) -> Position {
        let number = |n| format!(":{}", 2 * n + 1);
        let numbers: String = (0..intervals).map(number).collect();
        let set = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562{numbers}");
        Position {
            coordinates: "binlog.000001:4".parse().unwrap(),
            gtid_set: Some(set.parse().unwrap()),
            file_timestamp: None,
        }
    }

    #[test]
    fn a_long_set_is_stored_now_and_then_and_with_the_last_checkpoint() {
        let (short, long, now) = (position(400), position(401), Instant::now());
        let mut pace = GtidPace::new(None, None);
        assert!(pace.is_due(&long) && !pace.is_due(&short));
        assert!((0..3).all(|_| pace.gtid_set(&short, now).is_some()));
        let stored = pace.gtid_set(&long, now);
        assert_eq!(stored, long.gtid_set.as_ref().map(ToString::to_string), "whole or not at all");
        assert_eq!(pace.gtid_set(&long, now), None);
        assert!(pace.lacks_set(&long) && !pace.is_due(&long));
        pace.want();
        assert!(pace.gtid_set(&long, now).is_some() && !pace.lacks_set(&long));
        assert_eq!(pace.gtid_set(&long, now + PAUSE / 2), None);
        assert!(pace.gtid_set(&long, now + PAUSE).is_some() && !pace.is_due(&long));
    }

    #[test]
    fn a_set_that_no_topic_takes_is_left_out_and_not_tried_in_a_loop() {
        let now = Instant::now();
        for (intervals, topic_bytes_max, is_stored) in [
            (100_000, None, false),
            (1_000, Some(1_048_588), true),
            (200_000, Some(10_000_000), false),
            (1_000, Some(36_000), false),
            (1_000, Some(100), false),
        ] {
            let (position, mut pace) = (position(intervals), GtidPace::new(topic_bytes_max, None));
            assert_eq!(pace.gtid_set(&position, now).is_some(), is_stored, "{intervals}");
            assert!(!pace.is_due(&position) && !pace.lacks_set(&position), "{intervals}");
        }
    }

    #[test]
    fn a_set_that_may_be_ahead_is_stored_always_until_the_end_that_the_binlog_had() {
        let now = Instant::now();
        let end: Coordinates = "binlog.000002:500".parse().unwrap();
        // Also one that the topic may not take.
        for topic_bytes_max in [None, Some(8_000)] {
            let mut pace = GtidPace::new(topic_bytes_max, Some(end.clone()));
            let mut has_set = |coordinates: &str| {
                let position =
                    Position { coordinates: coordinates.parse().unwrap(), ..position(500) };
                pace.gtid_set(&position, now).is_some()
            };
            let before = ["binlog.000001:4", "binlog.000001:900", "binlog.000002:499"];
            assert!(before.iter().all(|position| has_set(position)));
            // A base name that was changed says nothing of which is the later one.
            assert!(has_set("other.000009:4"));
            assert!(!has_set("binlog.000002:500") && !has_set("binlog.000003:4"));
        }
    }

    #[test]
    fn a_server_without_gtids_has_no_set_to_store() {
        let position = Position { gtid_set: None, ..position(500) };
        let mut pace = GtidPace::new(None, None);
        assert_eq!(pace.gtid_set(&position, Instant::now()), None);
        assert!(!pace.is_due(&position));
    }
}
