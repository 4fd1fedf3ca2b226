//! Waits for the records in flight: behind a record that may be refused, and after one that was refused.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{GAP_MAX, Sending};
use crate::sink::kafka::PublishError;
use crate::sink::kafka::orders::Answers;
use crate::sink::suspension::SuspensionWatch;

/// Time between two looks whether a large record was acknowledged.
const SETTLE_PAUSE: Duration = Duration::from_millis(1);

/// How the wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Every record that was sent is acknowledged.
    All,
    /// The process was suspended, and may have been replaced.
    Suspended,
    /// A record was refused, or the order to stop came.
    GivenUp,
}

impl Sending {
    /// A record was refused, and all others have their report. Records for other partitions may still be in flight, and
    /// their outcome must be known before a successor searches for them. The checkpoint of the acknowledged batches is
    /// stored first.
    pub(super) fn is_refusal_over(&mut self) -> bool {
        if !self.reported.has_refused() {
            return false;
        }
        let timeout = self.options.transaction_timeout;
        let wait_by = *self.refused_by.get_or_insert_with(|| Instant::now() + timeout);
        let is_stored =
            self.failed.is_some() || self.due.is_none() && !self.checkpoint_writer.is_storing;
        self.reported.are_all_here() && is_stored || wait_by <= Instant::now()
    }

    /// Waits until every record that was sent has its report. Nothing may be in flight behind a record that the broker
    /// may refuse: a partition that does not know the producer yet accepts any next request as its first, so a later
    /// record would overtake the refused one. `left`: records of the batch that are not sent yet.
    pub(super) fn settle(&self, topic: &str, left: usize, answers: &Answers) -> Settled {
        let timeout = self.options.transaction_timeout;
        let mut suspension = SuspensionWatch::new(GAP_MAX);
        let (mut say_at, mut stop_by) = (Instant::now() + timeout, None);
        loop {
            self.producers.serve();
            if self.reported.has_refused() {
                return Settled::GivenUp;
            }
            // If we were replaced, our successor sends the rest.
            if suspension.was_suspended() {
                return Settled::Suspended;
            }
            if self.reported.missing() == left {
                return Settled::All;
            }
            let now = Instant::now();
            if now >= say_at {
                say_at = now + timeout;
                let why = self.producers.why_not_acknowledged(topic);
                answers.stalled(PublishError::NotAcknowledged {
                    topic: topic.to_owned(),
                    timeout,
                    why,
                });
                // That may have taken long, and was no suspension.
                suspension = SuspensionWatch::new(GAP_MAX);
            }
            if self.is_stopping.load(Ordering::Relaxed) {
                let stop_by = *stop_by.get_or_insert_with(|| now + timeout);
                if now >= stop_by {
                    return Settled::GivenUp;
                }
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
    }
}
