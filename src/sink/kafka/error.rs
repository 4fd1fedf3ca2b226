//! Errors between the relay and Kafka, and how each becomes an error of a sink.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::connection::ClientError;
use super::{checkpoints, fate, reader, topics};
use crate::sink::{About, Destinational, Ended, Refused, SinkError, SizeLimit};
use crate::tasks::Panicked;
use crate::telemetry::metrics::ErrorKind;

/// Why Kafka does not serve the relay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Topics(#[from] topics::Error),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Checkpoints(#[from] checkpoints::Error),
    #[error(transparent)]
    Sent(reader::Error),
    #[error(
        "the checkpoint of key {key:?} in {topic} is of the relay {owner}, which cannot be fenced: {source}"
    )]
    OwnerNotFenced { key: String, topic: String, owner: String, source: PublishError },
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Error {
    /// The same as an error of a sink. `brokers`: their addresses, in words.
    #[must_use]
    pub fn at(self, brokers: &str) -> SinkError {
        SinkError {
            fate: fate::of(&self),
            kind: self.kind(),
            hint: fate::cure(&self).map(str::to_owned),
            about: self.about(),
            sink: sink_name(brokers),
            source: Box::new(self),
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Error::Client(_) => ErrorKind::Kafka,
            Error::Topics(_) | Error::Sent(_) => ErrorKind::Topic,
            Error::Publish(PublishError::Refused { .. }) => ErrorKind::Row,
            Error::Publish(PublishError::Fenced) => ErrorKind::Fenced,
            Error::Publish(_) | Error::OwnerNotFenced { .. } => ErrorKind::Publish,
            Error::Checkpoints(_) => ErrorKind::Checkpoint,
            Error::Panicked(_) => ErrorKind::Internal,
        }
    }

    fn about(&self) -> About {
        match self {
            Error::Client(source)
            | Error::Checkpoints(checkpoints::Error::Read(reader::Error::Kafka {
                source, ..
            }))
            | Error::Sent(reader::Error::Kafka { source, .. })
            | Error::Publish(PublishError::Client(source))
            | Error::OwnerNotFenced { source: PublishError::Client(source), .. }
                if source.is_rejection() =>
            {
                About::Login
            }
            Error::Checkpoints(checkpoints::Error::Read(reader::Error::NoTopic { .. })) => {
                About::NoStore
            }
            Error::Checkpoints(error) => error.unreadable().map_or(About::Sink, About::Unreadable),
            Error::Topics(error) => About::Destination(of_destination(error)),
            Error::Publish(PublishError::Refused {
                sequence: Some(sequence),
                topic,
                source,
                ..
            }) => About::Record(Refused {
                sequence: *sequence,
                destination: topic.clone(),
                limit: limit(source),
                fate: fate::of_refused(topic, source),
                cause: Arc::new(source.clone()),
            }),
            Error::Publish(PublishError::Ended(ended)) => ended.about(),
            Error::Panicked(Panicked(words)) => About::Panic(words.clone()),
            _ => About::Sink,
        }
    }
}

/// How errors name the sink.
pub(super) fn sink_name(brokers: &str) -> String {
    format!("Kafka {brokers}")
}

fn of_destination(error: &topics::Error) -> Destinational {
    match error {
        topics::Error::Missing { .. } | topics::Error::TooFewBrokers { .. } => {
            Destinational::Awaited
        }
        topics::Error::TooMany { .. } => Destinational::TooMany,
        // A missing right also stops what comes after the row.
        error if fate::is_illegal_name(error) => Destinational::Unfit,
        _ => Destinational::Other,
    }
}

/// Brokers see records compressed, so only they can judge their size.
fn limit(refused: &KafkaError) -> SizeLimit {
    match refused.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => SizeLimit::OfRecords,
        Some(RDKafkaErrorCode::MessageBatchTooLarge) => SizeLimit::OfBatches,
        _ => SizeLimit::None,
    }
}

/// Why a batch is not in Kafka, or perhaps not.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{doing}")]
    Kafka { doing: &'static str, source: KafkaError },
    #[error("initialise the transactional id {id}")]
    Initialise { id: String, source: KafkaError },
    #[error("write to the topic {topic}")]
    Denied { topic: String, source: KafkaError },
    #[error(
        "the topic {topic} has acknowledged nothing within {} s (transaction_timeout): {why}",
        timeout.as_secs()
    )]
    NotAcknowledged { topic: String, timeout: Duration, why: Unacknowledged },
    #[error(
        "no coordinator has taken the transactional id {id} within {} s (transaction_timeout): no broker answers, \
         the partition of __transaction_state that holds it has no leader, or it still ends a predecessor's transaction",
        timeout.as_secs()
    )]
    NoCoordinator { id: String, timeout: Duration, source: KafkaError },
    #[error(
        "librdkafka has not reported on {records} records within {} s (transaction_timeout)",
        timeout.as_secs()
    )]
    NoReport { records: usize, timeout: Duration },
    #[error("another producer has this relay's transactional ids")]
    Fenced,
    #[error("the broker does not say where in the checkpoint topic it has stored a record")]
    NoOffset,
    #[error("the broker refuses record {index} of a batch, for topic {topic}")]
    Refused {
        index: usize,
        /// The row's number; `None` for a checkpoint.
        sequence: Option<u64>,
        topic: String,
        source: KafkaError,
    },
    #[error("start a thread of the publisher: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// Why a topic acknowledges nothing, according to its brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unacknowledged {
    #[error("no broker answers")]
    NoBroker,
    #[error("{without} of its {partitions} partitions have no leader")]
    NoLeader { without: usize, partitions: usize },
    #[error(
        "partition {partition} has {in_sync} of {replicas} replicas in sync, and min.insync.replicas may ask for more"
    )]
    OutOfSync { partition: i32, in_sync: usize, replicas: usize },
    #[error("no broker knows it")]
    NoTopic,
    /// The topic shows no fault.
    #[error(
        "all its {replicas} replicas are in sync; min.insync.replicas may ask for more, or the brokers are slow"
    )]
    NoFault { replicas: usize },
}

impl PublishError {
    /// Adds the row's number to the refusal of a record, one of `records` from `first_sequence` on.
    pub(super) fn of_rows(self, first_sequence: u64, records: usize) -> PublishError {
        match self {
            PublishError::Refused { index, topic, source, .. } => {
                let sequence = (index < records).then(|| first_sequence + index as u64);
                PublishError::Refused { index, sequence, topic, source }
            }
            error => error,
        }
    }
}
