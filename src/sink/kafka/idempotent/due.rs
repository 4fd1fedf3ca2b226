//! The checkpoints to store next.

use std::time::SystemTime;

use crate::checkpoint::Checkpoint;

/// The checkpoint of the last acknowledged batch, and an earlier one if that has a GTID set.
#[derive(Default)]
pub(super) struct Due {
    latest: Option<DueCheckpoint>,
    /// An earlier checkpoint with a GTID set that `latest` lacks.
    with_set: Option<DueCheckpoint>,
}

pub(super) struct DueCheckpoint {
    /// Number of the batch that it came with.
    pub number: u64,
    pub checkpoint: Checkpoint,
    /// When the first batch behind it was sent, among the acknowledged ones.
    pub sent_behind: Option<SystemTime>,
}

impl DueCheckpoint {
    pub fn new(number: u64, checkpoint: Checkpoint) -> DueCheckpoint {
        DueCheckpoint { number, checkpoint, sent_behind: None }
    }
}

impl Due {
    /// A batch that was sent at `sent_at` is acknowledged. Its checkpoint replaces an earlier one, unless only the
    /// earlier one has a GTID set: few checkpoints carry a long set.
    pub fn note(&mut self, number: u64, checkpoint: Checkpoint, sent_at: SystemTime) {
        if checkpoint.gtid_set.is_some() {
            self.with_set = None;
        } else if self.latest.as_ref().is_some_and(|due| due.checkpoint.gtid_set.is_some()) {
            self.with_set = self.latest.take();
        }
        if let Some(DueCheckpoint { sent_behind, .. }) = &mut self.with_set {
            *sent_behind = Some(sent_behind.map_or(sent_at, |earliest| earliest.min(sent_at)));
        }
        self.latest = Some(DueCheckpoint::new(number, checkpoint));
    }

    /// The next one to store.
    pub fn take(&mut self) -> Option<DueCheckpoint> {
        self.with_set.take().or_else(|| self.latest.take())
    }

    pub fn is_none(&self) -> bool {
        self.latest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn checkpoint(gtid_set: Option<&str>) -> Checkpoint {
        Checkpoint { gtid_set: gtid_set.map(str::to_owned), ..Checkpoint::default() }
    }

    #[test]
    fn an_earlier_checkpoint_with_a_gtid_set_tells_since_when_records_are_behind_it() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut due = Due::default();
        due.note(1, checkpoint(None), at(1));
        due.note(2, checkpoint(Some("a:1-5")), at(2));
        due.note(3, checkpoint(None), at(3));
        due.note(4, checkpoint(None), at(4));
        let with_set = due.take().unwrap();
        assert_eq!((with_set.number, with_set.sent_behind), (2, Some(at(3))));
        let latest = due.take().unwrap();
        assert_eq!((latest.number, latest.sent_behind), (4, None));
        assert!(due.is_none() && due.take().is_none());
    }

    #[test]
    fn a_later_checkpoint_pushes_out_one_that_says_no_more() {
        let at = SystemTime::UNIX_EPOCH;
        for sets in [[None, None], [None, Some("a:1")], [Some("a:1"), Some("a:1-2")]] {
            let mut due = Due::default();
            due.note(1, checkpoint(sets[0]), at);
            due.note(2, checkpoint(sets[1]), at);
            assert_eq!(due.take().unwrap().number, 2, "{sets:?}");
            assert!(due.take().is_none(), "{sets:?}");
        }
    }
}
