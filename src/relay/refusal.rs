//! A record that a broker has refused: its row, and what the next session does when that row comes again.

use super::suspect::Reached;
use super::{Error, ONE_RECORD};
use crate::checkpoint::Checkpoint;
use crate::sink::{About, Refused, SinkError, SizeLimit};

/// A record that the sink has refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub refused: Refused,
    /// It was refused a second time.
    pub is_repeated: bool,
}

/// What to do when the row of a refused record comes again.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it: somebody has raised the limit.
    SendAgain,
    /// Send it alone: it may have been refused because of others in its batch.
    OneByOne,
    /// Halt: it is larger than the topic takes, in bytes.
    TooLarge {
        bytes_max: usize,
    },
    Refused,
}

/// The records that were refused, of rows which are not stored yet. A batch may hold several, and each session finds one.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// That of the row of this number and destination.
    pub fn of(&self, sequence: u64, destination: &str) -> Option<&Refusal> {
        self.0
            .iter()
            .find(|it| it.refused.sequence == sequence && it.refused.destination == destination)
    }

    /// Keeps the row whose record was refused. Returns `false` if the error is of no row, or if the session was to name
    /// the row.
    pub fn note(&mut self, error: &Error) -> bool {
        let Some(refusal) = Refusal::of(error) else { return false };
        let Refused { sequence, destination, .. } = refusal.refused.clone();
        let Some(refusal) = refusal.after(self.of(sequence, &destination)) else { return false };
        self.forget(sequence, &destination);
        self.0.push(refusal);
        true
    }

    pub fn forget(&mut self, sequence: u64, destination: &str) {
        self.0
            .retain(|it| it.refused.sequence != sequence || it.refused.destination != destination);
    }

    /// Forgets the rows up to this number: they are stored.
    pub fn forget_stored(&mut self, sequence: u64) {
        self.0.retain(|it| it.refused.sequence > sequence);
    }
}

impl Refusal {
    /// `None` for an error that is of no row.
    pub fn of(error: &Error) -> Option<Refusal> {
        let Error::Sink(SinkError { about: About::Record(refused), .. }) = error else {
            return None;
        };
        Some(Refusal { refused: refused.clone(), is_repeated: false })
    }

    /// Continues the previous refusal, if there was one. `None`: this is the third time, although the session should
    /// have named the row.
    pub fn after(self, before: Option<&Refusal>) -> Option<Refusal> {
        let is_same = |before: &&Refusal| {
            before.refused.sequence == self.refused.sequence
                && before.refused.destination == self.refused.destination
        };
        match before.filter(is_same) {
            None => Some(self),
            Some(before) if before.is_repeated => None,
            Some(_) => Some(Refusal { is_repeated: true, ..self }),
        }
    }

    /// The sink sees records compressed, so only it can judge their size. `bytes`: size of the record, in a batch of
    /// its own. `bytes_max`: what the destination takes, if we may know it. `sent_below`: limit of the batches with
    /// several records. `may_divert`: the row goes elsewhere if its record is refused.
    pub fn verdict(
        &self,
        bytes: usize,
        bytes_max: Option<usize>,
        sent_below: usize,
        may_divert: bool,
    ) -> Verdict {
        match (self.refused.limit, bytes_max) {
            (SizeLimit::OfRecords, Some(bytes_max)) if bytes > bytes_max => {
                Verdict::TooLarge { bytes_max }
            }
            (SizeLimit::OfRecords, Some(_)) if self.is_repeated => Verdict::Refused,
            (SizeLimit::OfRecords, Some(_)) => Verdict::SendAgain,
            // The limit of the destination is not known, or another limit counts.
            (SizeLimit::OfRecords | SizeLimit::OfBatches, _) if bytes <= sent_below => {
                Verdict::OneByOne
            }
            // Not every broker says which record of a batch it does not take.
            (SizeLimit::None, _) if may_divert && sent_below > ONE_RECORD => Verdict::OneByOne,
            _ => Verdict::Refused,
        }
    }
}

/// Records are sent one by one, to find the one that is too large.
#[derive(Debug)]
pub struct OneByOne {
    /// Number of the first row of the batch that was refused.
    pub sequence: u64,
    /// The previous limit of a batch.
    pub bytes_max_before: Option<usize>,
}

impl OneByOne {
    /// The refused record is in Kafka. If the session ended with a refusal, the next one names the row.
    pub fn is_over(&self, reached: &Reached, error: &Error) -> bool {
        let is_behind = |stored: &Checkpoint| stored.sequence >= self.sequence;
        Refusal::of(error).is_none() && reached.stored.as_ref().is_some_and(is_behind)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fate::Fate;
    use crate::tasks::Panicked;
    use crate::telemetry::metrics::ErrorKind;

    #[test]
    fn records_are_sent_one_by_one_until_what_was_refused_is_stored() {
        let one_by_one = OneByOne { sequence: 7, bytes_max_before: None };
        let reached = |stored: Option<u64>| {
            let of = |sequence| Checkpoint { sequence, ..Checkpoint::default() };
            Reached { stored: stored.map(of), ..Reached::default() }
        };
        let lost = Error::Task(Panicked("lost".to_owned()));
        for (stored, is_over) in [(None, false), (Some(6), false), (Some(7), true)] {
            assert_eq!(one_by_one.is_over(&reached(stored), &lost), is_over, "{stored:?}");
        }
        let refused = Error::Sink(error(9, SizeLimit::OfRecords));
        assert!(!one_by_one.is_over(&reached(Some(8)), &refused));
    }

    #[test]
    fn no_row_goes_elsewhere_for_the_record_of_its_neighbour() {
        let refusal = refused(7, SizeLimit::None);
        let verdict = |below, may_divert| refusal.verdict(500, Some(1_000), below, may_divert);
        assert_eq!(verdict(1_000_000, true), Verdict::OneByOne);
        assert_eq!(verdict(ONE_RECORD, true), Verdict::Refused);
        assert_eq!(verdict(1_000_000, false), Verdict::Refused);
    }

    fn error(sequence: u64, limit: SizeLimit) -> SinkError {
        let fate = Fate::Halt { hint: "raise the limit".to_owned() };
        let destination = "orders".to_owned();
        let cause = std::io::Error::other("too large");
        let refused =
            Refused { sequence, destination, limit, fate: fate.clone(), cause: Arc::new(cause) };
        SinkError {
            fate,
            kind: ErrorKind::Row,
            hint: None,
            about: About::Record(refused),
            sink: "Kafka kafka:9092".to_owned(),
            source: "too large".into(),
        }
    }

    fn refused(sequence: u64, limit: SizeLimit) -> Refusal {
        Refusal::of(&Error::Sink(error(sequence, limit))).unwrap()
    }

    #[test]
    fn a_row_whose_record_is_refused_twice_is_named() {
        use SizeLimit::{None as NoLimit, OfBatches, OfRecords};
        let below = 1_000_000;
        for (limit, bytes, bytes_max, first) in [
            (OfRecords, 2_000, Some(1_000), Verdict::TooLarge { bytes_max: 1_000 }),
            (OfRecords, 500, Some(1_000), Verdict::SendAgain),
            (OfRecords, 500, None, Verdict::OneByOne),
            (OfRecords, 2_000_000, None, Verdict::Refused),
            // A segment holds less than max.message.bytes.
            (OfBatches, 500, Some(1_000), Verdict::OneByOne),
            (OfBatches, 1_500_000, Some(2_000_000), Verdict::Refused),
            (OfBatches, 2_500_000, Some(2_000_000), Verdict::Refused),
            (NoLimit, 500, Some(1_000), Verdict::Refused),
        ] {
            let refusal = refused(7, limit).after(None).unwrap();
            assert_eq!(refusal.verdict(bytes, bytes_max, below, false), first, "{limit:?} {bytes}");
            let again = refused(7, limit).after(Some(&refusal)).unwrap();
            let verdict = again.verdict(bytes, bytes_max, 1, false);
            assert!(
                matches!(verdict, Verdict::Refused | Verdict::TooLarge { .. }),
                "{limit:?} {bytes}: {verdict:?}"
            );
            assert!(refused(7, limit).after(Some(&again)).is_none());
            assert!(!refused(8, limit).after(Some(&again)).unwrap().is_repeated);
        }
    }
}
