//! The rows after a checkpoint that a predecessor may have sent.
//!
//! Without a transaction around records and checkpoint, records are sent before the checkpoint that covers them. A
//! predecessor that died may have left some. Its successor relays the same rows under the same numbers, and first
//! searches for those that have arrived.

use crate::checkpoint::Checkpoint;
use crate::coordinates::Coordinates;
use crate::delivery::Delivery;
use crate::telemetry::clock::iso_8601_of_millis;

/// Most rows that may be sent after the stored checkpoint. A restart has to search for them, so a later version must
/// not search for fewer.
pub const ROWS_AHEAD_MAX: u64 = 100_000;

/// The rows that a predecessor may have sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResendWindow {
    pub generation: u64,
    /// Number of the last row that the checkpoint covers.
    pub after: u64,
    /// Time since when rows after it may have been sent, in milliseconds since 1970.
    pub since_millis: i64,
    /// All names under which rows of the window may have been sent, since the relay may have been renamed.
    pub senders: Vec<String>,
    /// Records have timestamps of rows, which say nothing about when they were sent.
    pub has_row_timestamps: bool,
    /// The partition of a record may be another one than its key's.
    pub has_row_partitions: bool,
    /// Position up to which the predecessor has read; `None` while it may still read.
    pub until: Option<Coordinates>,
}

impl ResendWindow {
    /// The window behind a checkpoint, for a relay that is now called `name`; `None` if the checkpoint covers
    /// everything that was sent.
    #[must_use]
    pub fn behind(stored: &Checkpoint, name: &str, generation: u64) -> Option<ResendWindow> {
        if !stored.has_unacknowledged_tail() {
            return None;
        }
        let since_millis = stored.unacknowledged_since_millis();
        Some(ResendWindow {
            generation,
            after: stored.sequence,
            since_millis: since_millis
                .expect("a checkpoint is checked when it is read")
                // The time is unknown, so search from the beginning.
                .unwrap_or_default(),
            senders: senders(name, stored),
            has_row_timestamps: false,
            has_row_partitions: false,
            until: None,
        })
    }

    /// The predecessor cannot have sent anything from this position or this number on.
    #[must_use]
    pub fn is_passed(&self, place: &Coordinates, next_sequence: u64) -> bool {
        let is_passed = |until| place >= until || next_sequence > self.after + ROWS_AHEAD_MAX;
        self.until.as_ref().is_some_and(is_passed)
    }

    /// Every checkpoint inside the window says that rows after it may have been sent, also the last one of a drain.
    #[must_use]
    pub fn mark(&self, checkpoint: Checkpoint) -> Checkpoint {
        let is_other = |sender: &&String| Some(*sender) != checkpoint.name.as_ref();
        Checkpoint {
            delivery: Some(Delivery::Idempotent),
            clean: false,
            unacknowledged_since: Some(iso_8601_of_millis(self.since_millis)),
            unacknowledged_names: self.senders.iter().filter(is_other).cloned().collect(),
            ..checkpoint
        }
    }
}

/// The names under which rows after a checkpoint may have been sent: the current one, and earlier ones.
fn senders(name: &str, stored: &Checkpoint) -> Vec<String> {
    let mut senders = stored.unacknowledged_names.clone();
    senders.extend(stored.name.clone());
    senders.push(name.to_owned());
    senders.sort();
    senders.dedup();
    senders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(after: u64) -> ResendWindow {
        ResendWindow {
            senders: vec!["orders".to_owned()],
            generation: 7,
            after,
            since_millis: 1_769_860_800_000,
            has_row_timestamps: false,
            has_row_partitions: false,
            until: Some("b.000003:500".parse().unwrap()),
        }
    }

    #[test]
    fn the_window_ends_where_the_predecessor_can_have_read_no_more() {
        let window = window(40);
        let place = |text: &str| text.parse::<Coordinates>().unwrap();
        assert!(!window.is_passed(&place("b.000003:499"), 41));
        assert!(window.is_passed(&place("b.000003:500"), 41));
        assert!(window.is_passed(&place("b.000004:4"), 41));
        assert!(!window.is_passed(&place("b.000002:9000"), 40 + ROWS_AHEAD_MAX));
        assert!(window.is_passed(&place("b.000002:9000"), 41 + ROWS_AHEAD_MAX));
        // While the predecessor may still read, its end is unknown.
        let open = ResendWindow { until: None, ..self::tests::window(40) };
        assert!(!open.is_passed(&place("b.000004:4"), 41));
        // Names that cannot be compared say nothing.
        assert!(!window.is_passed(&place("other.000009:4"), 41));
    }

    #[test]
    fn rows_may_have_been_sent_behind_a_checkpoint_of_idempotent_delivery_only() {
        let stored = Checkpoint {
            name: Some("old".to_owned()),
            delivery: Some(Delivery::Idempotent),
            sequence: 40,
            unacknowledged_since: Some("2026-01-31T12:00:00.000Z".to_owned()),
            ..Checkpoint::default()
        };
        let senders = vec!["old".to_owned(), "orders".to_owned()];
        let expected = ResendWindow { senders, until: None, ..window(40) };
        assert_eq!(ResendWindow::behind(&stored, "orders", 7), Some(expected));
        let drained = Checkpoint { clean: true, ..stored.clone() };
        let in_transactions =
            Checkpoint { delivery: Some(Delivery::ExactlyOnce), ..stored.clone() };
        let of_another_program = Checkpoint { delivery: None, ..stored.clone() };
        for all_covered in [drained, in_transactions, of_another_program] {
            assert_eq!(ResendWindow::behind(&all_covered, "orders", 7), None);
        }
        // Since when is unknown: from the beginning on.
        let old = Checkpoint { unacknowledged_since: None, ..stored };
        let since = ResendWindow::behind(&old, "orders", 7).map(|window| window.since_millis);
        assert_eq!(since, Some(0));
    }

    #[test]
    fn within_the_window_even_a_drain_says_that_rows_may_have_been_sent() {
        let drained = Checkpoint {
            delivery: Some(Delivery::ExactlyOnce),
            clean: true,
            sequence: 41,
            ..Checkpoint::default()
        };
        let marked = window(40).mark(drained);
        assert!(marked.has_unacknowledged_tail());
        assert_eq!(marked.unacknowledged_since_millis(), Ok(Some(1_769_860_800_000)));
        assert_eq!(marked.sequence, 41);
    }

    #[test]
    fn within_the_window_every_checkpoint_names_who_else_may_have_sent_rows() {
        let senders = vec!["orders".to_owned(), "old".to_owned(), "older".to_owned()];
        let renamed = ResendWindow { senders, ..window(40) };
        let of = |name: &str| Checkpoint { name: Some(name.to_owned()), ..Checkpoint::default() };
        assert_eq!(renamed.mark(of("orders")).unacknowledged_names, ["old", "older"]);
        assert!(window(40).mark(of("orders")).unacknowledged_names.is_empty());
    }

    #[test]
    fn rows_may_have_been_sent_under_every_name_that_the_checkpoint_tells_and_the_own() {
        let stored = |name: Option<&str>, names: &[&str]| Checkpoint {
            name: name.map(str::to_owned),
            unacknowledged_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Checkpoint::default()
        };
        assert_eq!(senders("b", &stored(None, &[])), ["b"]);
        assert_eq!(senders("b", &stored(Some("a"), &[])), ["a", "b"]);
        assert_eq!(senders("a", &stored(Some("b"), &["a", "c"])), ["a", "b", "c"]);
    }
}
