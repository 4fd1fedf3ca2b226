//! A record that a broker has refused: which row it is of, and what is done when that row comes again.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Error;
use super::suspect::Reached;
use crate::checkpoint::Checkpoint;
use crate::publish;

/// A record that a broker has refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Number of its row.
    pub sequence: u64,
    pub topic: String,
    pub source: KafkaError,
    /// It was refused again after it had come to nothing.
    pub is_repeated: bool,
}

/// What the row of a refused record leads to when it comes again.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The limit was raised meanwhile.
    SendAgain,
    /// It may have been refused with others of its batch.
    OneByOne,
    /// The topic takes so much only.
    TooLarge {
        bytes_max: usize,
    },
    Refused,
}

impl Refusal {
    /// `None` for an error that is of no row.
    pub fn of(error: &Error) -> Option<Refusal> {
        let Error::Publish {
            source: publish::Error::Refused { sequence: Some(sequence), topic, source, .. },
            ..
        } = error
        else {
            return None;
        };
        let (sequence, topic, source) = (*sequence, topic.clone(), source.clone());
        Some(Refusal { sequence, topic, source, is_repeated: false })
    }

    /// Follows the refusal before it, if there was one. `None`: this row was to be named, and was not.
    pub fn after(self, before: Option<&Refusal>) -> Option<Refusal> {
        let is_same =
            |before: &&Refusal| before.sequence == self.sequence && before.topic == self.topic;
        match before.filter(is_same) {
            None => Some(self),
            Some(before) if before.is_repeated => None,
            Some(_) => Some(Refusal { is_repeated: true, ..self }),
        }
    }

    /// Brokers judge what is sent, which is compressed, so the broker's word is what counts. `bytes`: of the record
    /// alone, in a batch; `bytes_max`: what the topic takes, if we may know it; `sent_below`: size of the batches of
    /// several records.
    pub fn verdict(&self, bytes: usize, bytes_max: Option<usize>, sent_below: usize) -> Verdict {
        match (self.source.rdkafka_error_code(), bytes_max) {
            (Some(RDKafkaErrorCode::MessageSizeTooLarge), Some(bytes_max)) => {
                match bytes > bytes_max {
                    true => Verdict::TooLarge { bytes_max },
                    false if self.is_repeated => Verdict::Refused,
                    false => Verdict::SendAgain,
                }
            }
            // What the topic takes is not known, or it is the size of a segment that counts.
            (
                Some(
                    RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge,
                ),
                _,
            ) if bytes <= sent_below => Verdict::OneByOne,
            _ => Verdict::Refused,
        }
    }
}

/// Records are sent one by one, to find one that is too large.
#[derive(Debug)]
pub struct OneByOne {
    /// Number of the first row of the batch that was refused.
    pub sequence: u64,
    /// What batches were kept below before.
    pub bytes_max_before: Option<usize>,
}

impl OneByOne {
    /// What was refused is in Kafka. A session that ended with a refusal is followed by one that names the row.
    pub fn is_over(&self, reached: &Reached, error: &Error) -> bool {
        let is_behind = |stored: &Checkpoint| stored.sequence >= self.sequence;
        Refusal::of(error).is_none() && reached.stored.as_ref().is_some_and(is_behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_sent_one_by_one_until_what_was_refused_is_stored() {
        let one_by_one = OneByOne { sequence: 7, bytes_max_before: None };
        let reached = |stored: Option<u64>| {
            let of = |sequence| Checkpoint { sequence, ..Checkpoint::default() };
            Reached { stored: stored.map(of), ..Reached::default() }
        };
        let lost = Error::Task("lost".to_owned());
        for (stored, is_over) in [(None, false), (Some(6), false), (Some(7), true)] {
            assert_eq!(one_by_one.is_over(&reached(stored), &lost), is_over, "{stored:?}");
        }
        let refused = error(9, RDKafkaErrorCode::MessageSizeTooLarge);
        assert!(!one_by_one.is_over(&reached(Some(8)), &refused));
    }

    fn error(sequence: u64, code: RDKafkaErrorCode) -> Error {
        let (topic, source) = ("orders".to_owned(), KafkaError::MessageProduction(code));
        let source = publish::Error::Refused { index: 0, sequence: Some(sequence), topic, source };
        Error::Publish { brokers: "kafka:9092".to_owned(), source }
    }

    fn refused(sequence: u64, code: RDKafkaErrorCode) -> Refusal {
        Refusal::of(&error(sequence, code)).unwrap()
    }

    #[test]
    fn a_row_whose_record_is_refused_twice_is_named() {
        use RDKafkaErrorCode::{InvalidRecord, MessageBatchTooLarge, MessageSizeTooLarge};
        let below = 1_000_000;
        for (code, bytes, bytes_max, first) in [
            (MessageSizeTooLarge, 2_000, Some(1_000), Verdict::TooLarge { bytes_max: 1_000 }),
            (MessageSizeTooLarge, 500, Some(1_000), Verdict::SendAgain),
            (MessageSizeTooLarge, 500, None, Verdict::OneByOne),
            (MessageSizeTooLarge, 2_000_000, None, Verdict::Refused),
            // A segment holds less than max.message.bytes.
            (MessageBatchTooLarge, 500, Some(1_000), Verdict::OneByOne),
            (MessageBatchTooLarge, 1_500_000, Some(2_000_000), Verdict::Refused),
            (MessageBatchTooLarge, 2_500_000, Some(2_000_000), Verdict::Refused),
            (InvalidRecord, 500, Some(1_000), Verdict::Refused),
        ] {
            let refusal = refused(7, code).after(None).unwrap();
            assert_eq!(refusal.verdict(bytes, bytes_max, below), first, "{code} {bytes}");
            let again = refused(7, code).after(Some(&refusal)).unwrap();
            let verdict = again.verdict(bytes, bytes_max, 1);
            assert!(
                matches!(verdict, Verdict::Refused | Verdict::TooLarge { .. }),
                "{code} {bytes}: {verdict:?}"
            );
            assert!(refused(7, code).after(Some(&again)).is_none());
            assert!(!refused(8, code).after(Some(&again)).unwrap().is_repeated);
        }
    }
}
