//! The fate of what goes wrong at the Kafka end: connections and logins, rights, topics, batches, and the
//! stored checkpoint.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::{Fate, halt, secret_fate};
use crate::kafka::{self, reader};
use crate::{checkpoint, publish, topics};

pub(super) fn kafka_fate(error: &kafka::Error) -> Fate {
    match error {
        kafka::Error::Secret(error) => secret_fate(error),
        kafka::Error::Property { .. } => halt("correct [kafka.properties]"),
        kafka::Error::Unreachable(failure) if failure.is_rejection() => halt(failure.hint()),
        kafka::Error::Unreachable(_) => Fate::Retry,
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
    match code {
        Code::TopicAuthorizationFailed => halt(
            "grant the relay's principal Describe, Create and Write on the topic, and Read on the \
             checkpoint topic",
        ),
        Code::ClusterAuthorizationFailed => halt(
            "grant the relay's principal Create on the cluster or the topics, and for brokers before 2.8 in \
             idempotent delivery IdempotentWrite on the cluster",
        ),
        Code::TransactionalIdAuthorizationFailed => {
            halt("grant the relay's principal Write and Describe on its transactional ids")
        }
        Code::InvalidTransactionTimeout => halt(
            "lower [kafka] transaction_timeout, or raise transaction.max.timeout.ms of the brokers",
        ),
        Code::InvalidTopic => halt(
            "the name is illegal, or another topic's but for . and _: correct the writer, or delete that topic",
        ),
        Code::InvalidTimestamp => halt("correct the clock of the relay's machine"),
        Code::InvalidRecord => halt("the broker's log says what is wrong with the record"),
        Code::InvalidPartitions | Code::InvalidConfig | Code::PolicyViolation => halt(
            "correct [kafka] topic_partitions and topic_replication, or create the topic by hand",
        ),
        Code::UnsupportedVersion => halt("the brokers are too old: Kafka 2.4 or later is needed"),
        _ => Fate::Retry,
    }
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
        publish::Error::Refused { topic, source, .. } => match source.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) | None => halt(format!(
                "raise max.message.bytes of the topic {topic}, or grant the relay DescribeConfigs on it so that \
                 it can say which row is too large"
            )),
            Some(code) => code_fate(code),
        },
        publish::Error::NoOffset | publish::Error::Thread(_) | publish::Error::ThreadEnded => {
            Fate::Retry
        }
    }
}

pub(super) fn checkpoint_fate(error: &checkpoint::Error) -> Fate {
    match error {
        checkpoint::Error::Read(error) => reader_fate(error),
        checkpoint::Error::Outdated { .. } => Fate::Retry,
        checkpoint::Error::Unreadable { .. } => halt(
            "find out who wrote the record; `binlog-relay checkpoint set --to …` stores one that counts instead",
        ),
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
