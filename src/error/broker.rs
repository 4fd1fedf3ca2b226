//! The fate of what goes wrong at the Kafka end: connections and logins, rights, topics, batches, and the
//! stored checkpoint.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::kafka_codes::{COORDINATOR, IN_SYNC, LEADER, NO_TOPIC, TOO_LARGE, cures, halts};
use super::{Fate, halt, secret_fate};
use crate::kafka::{self, reader};
use crate::publish::Unacknowledged;
use crate::{checkpoint, publish, topics};

/// For what only the way to the brokers can be at fault for.
const REACH: &str = "start the brokers, or correct [kafka] bootstrap_servers, and security.protocol and sasl.* under \
     [kafka.properties]";

/// A transaction of somebody else stands open before what is to be read.
const HELD_BACK: &str = "nothing, if it is a predecessor's, which ends after its transaction_timeout; else find the \
     producer with kafka-transactions.sh find-hanging --broker-id …, and end its transaction with abort";

pub(super) fn kafka_fate(error: &kafka::Error) -> Fate {
    match error {
        kafka::Error::Secret(error) => secret_fate(error),
        kafka::Error::Property { .. } => halt("correct [kafka.properties]"),
        kafka::Error::Unreachable(failure) if failure.is_rejection() => halt(failure.hint()),
        kafka::Error::Thread(_) | kafka::Error::Unreachable(_) => Fate::Retry,
        kafka::Error::Kafka(error) => client_fate(error),
    }
}

fn client_fate(error: &KafkaError) -> Fate {
    match error {
        KafkaError::ClientCreation(_) => halt("correct [kafka] and [kafka.properties]"),
        error => code_of(error).map_or(Fate::Retry, code_fate),
    }
}

fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

fn grant(operations: &str, resource: &str) -> Fate {
    halt(format!("grant the relay's principal {operations} on {resource}"))
}

fn code_fate(code: Code) -> Fate {
    halts(code).map_or(Fate::Retry, halt)
}

pub(super) fn topics_fate(error: &topics::Error) -> Fate {
    match error {
        topics::Error::LookUp { topic, source } => match code_of(source) {
            Some(Code::TopicAuthorizationFailed) => {
                grant("Describe, Create, Write and DescribeConfigs", &format!("the topic {topic}"))
            }
            _ => client_fate(source),
        },
        topics::Error::Create { topic, source } => match code_of(source) {
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                halt(format!(
                    "grant the relay's principal Create on the topic {topic} or on the cluster, or create the \
                     topic by hand"
                ))
            }
            _ => client_fate(source),
        },
        topics::Error::TooMany { .. } => halt(
            "correct the writer, if it names a topic per row; else raise [kafka] topics_max; everything before that \
             transaction is in Kafka",
        ),
        // Waited for: the topic may come, and a broker that has just started is not counted for a moment.
        topics::Error::Missing { .. }
        | topics::Error::NotVisible { .. }
        | topics::Error::TooFewBrokers { .. } => Fate::Retry,
        topics::Error::NoRight { topic, operation } => {
            grant(operation.as_str(), &format!("the topic {topic}"))
        }
    }
}

/// No broker takes the topic's name.
pub(super) fn is_illegal(error: &topics::Error) -> bool {
    match error {
        topics::Error::LookUp { source, .. } | topics::Error::Create { source, .. } => {
            code_of(source) == Some(Code::InvalidTopic)
        }
        _ => false,
    }
}

pub(super) fn publish_fate(error: &publish::Error) -> Fate {
    match error {
        publish::Error::Client(error) => kafka_fate(error),
        publish::Error::Kafka { source, .. } => client_fate(source),
        publish::Error::Initialise { id, source } => match source.rdkafka_error_code() {
            Some(Code::TransactionalIdAuthorizationFailed) => {
                let name = id.rsplit_once('-').map_or(id.as_str(), |(name, _)| name);
                grant("Write", &format!("the transactional ids {name}-0 to {name}-3"))
            }
            _ => client_fate(source),
        },
        publish::Error::Denied { topic, .. } => grant("Write", &format!("the topic {topic}")),
        publish::Error::NotAcknowledged { .. } | publish::Error::NoCoordinator { .. } => {
            Fate::Retry
        }
        publish::Error::Fenced => Fate::MaybeTakenOver,
        publish::Error::Refused { topic, source, .. } => refused_fate(topic, source),
        publish::Error::NoReport { .. }
        | publish::Error::NoOffset
        | publish::Error::Thread(_)
        | publish::Error::ThreadEnded
        | publish::Error::Panicked(_) => Fate::Retry,
    }
}

/// Of a record that the broker does not take as it is.
pub(super) fn refused_fate(topic: &str, source: &KafkaError) -> Fate {
    match source.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge) | None => halt(format!(
            "raise max.message.bytes of the topic {topic} (and what its consumers fetch); grant the relay \
             DescribeConfigs on it so that it can say how much it takes; then start the relay again"
        )),
        Some(Code::MessageBatchTooLarge) => halt(format!(
            "raise segment.bytes of the topic {topic}: no batch is larger than a segment of its log"
        )),
        Some(code) => code_fate(code),
    }
}

pub(super) fn checkpoint_fate(error: &checkpoint::Error) -> Fate {
    match error {
        checkpoint::Error::Read(error) => reader_fate(error),
        checkpoint::Error::Outdated { .. } => Fate::Retry,
        checkpoint::Error::Unreadable { .. } => halt(
            "find out who wrote the record; `binlog-relay checkpoint set --to …` stores one that counts instead",
        ),
        checkpoint::Error::Damaged { .. } => halt(
            "find out who wrote the record: an older one does not count in its place, as rows after that one may be \
             in Kafka; `binlog-relay checkpoint set --to …` stores one that counts",
        ),
        checkpoint::Error::Later { relay_version, .. } => halt(format!(
            "start the version {relay_version} of the relay or a later one; or say where this version goes on with \
             `binlog-relay checkpoint set --to …`"
        )),
    }
}

pub(super) fn reader_fate(error: &reader::Error) -> Fate {
    match error {
        reader::Error::Kafka { topic, source: kafka::Error::Kafka(error) }
            if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) =>
        {
            grant("Read and Describe", &format!("the {topic}"))
        }
        reader::Error::Kafka { source, .. } => kafka_fate(source),
        reader::Error::NoTopic { .. }
        | reader::Error::Timeout { .. }
        | reader::Error::Shortened { .. }
        | reader::Error::HeldBack { .. } => Fate::Retry,
    }
}

/// What ends the wait for a client of Kafka.
pub(super) fn kafka_cure(error: &kafka::Error) -> Option<&'static str> {
    match error {
        kafka::Error::Unreachable(failure) => Some(failure.hint()),
        kafka::Error::Kafka(error) => client_cure(error),
        kafka::Error::Thread(_) => {
            Some("raise the limit of threads of the relay's process or container")
        }
        kafka::Error::Secret(_) | kafka::Error::Property { .. } => None,
    }
}

fn client_cure(error: &KafkaError) -> Option<&'static str> {
    code_of(error).map_or(Some(REACH), cures)
}

pub(super) fn topics_cure(error: &topics::Error) -> Option<&'static str> {
    match error {
        topics::Error::LookUp { source, .. } | topics::Error::Create { source, .. } => {
            client_cure(source)
        }
        topics::Error::Missing { .. } => {
            Some("create the topic, or set [kafka] create_topics = true")
        }
        topics::Error::TooFewBrokers { .. } => {
            Some("start more brokers, or lower [kafka] topic_replication")
        }
        topics::Error::NotVisible { .. } => {
            Some("nothing, unless it lasts: then see whether the brokers reach their controller")
        }
        topics::Error::NoRight { .. } | topics::Error::TooMany { .. } => None,
    }
}

pub(super) fn publish_cure(error: &publish::Error) -> Option<&'static str> {
    match error {
        publish::Error::Client(error) => kafka_cure(error),
        publish::Error::NotAcknowledged { why, .. } => Some(match why {
            Unacknowledged::NoBroker => REACH,
            Unacknowledged::NoLeader { .. } => LEADER,
            Unacknowledged::OutOfSync { .. } => IN_SYNC,
            Unacknowledged::NoTopic => NO_TOPIC,
            Unacknowledged::NoFault { .. } => {
                "nothing, unless it comes again and again: then see whether min.insync.replicas of the topic is above \
                 its number of replicas (kafka-topics.sh --describe), and look at the brokers' load and logs: one whose socket.request.max.bytes is below a record ends the \
                 connection for it"
            }
        }),
        publish::Error::NoCoordinator { source, .. } => Some(match code_of(source) {
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => REACH,
            // A broker had answered before: what does not is the coordinator.
            Some(Code::OperationTimedOut | Code::RequestTimedOut) => COORDINATOR,
            Some(code) => cures(code).unwrap_or(COORDINATOR),
            None => COORDINATOR,
        }),
        publish::Error::Kafka { source, .. }
        | publish::Error::Initialise { source, .. }
        | publish::Error::Denied { source, .. } => client_cure(source),
        publish::Error::Refused { source, .. } => code_of(source).map_or(Some(TOO_LARGE), cures),
        publish::Error::Thread(_) => {
            Some("raise the limit of threads of the relay's process or container")
        }
        publish::Error::NoReport { .. } => Some(
            "nothing, if it comes once; if it comes again, take out of [kafka.properties] what is not needed, and report \
             it",
        ),
        publish::Error::NoOffset => Some("nothing: the relay claims its place again"),
        publish::Error::Fenced | publish::Error::ThreadEnded | publish::Error::Panicked(_) => None,
    }
}

pub(super) fn reader_cure(error: &reader::Error) -> Option<&'static str> {
    match error {
        reader::Error::Kafka { source, .. } => kafka_cure(source),
        reader::Error::NoTopic { .. } => Some(NO_TOPIC),
        reader::Error::Timeout { .. } => Some(
            "nothing, unless it comes again and again: then see whether the partitions of the topic have leaders \
             that answer (kafka-topics.sh --describe)",
        ),
        reader::Error::HeldBack { .. } => Some(HELD_BACK),
        reader::Error::Shortened { .. } => Some(
            "nothing, unless it lasts: then the topic was deleted and created again, or cut by an unclean leader \
             election; look at the brokers' logs",
        ),
    }
}
