//! The fate of each error at the Kafka end: connections and logins, rights, topics, batches, and the stored checkpoint.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::codes::{COORDINATOR, IN_SYNC, LEADER, NO_TOPIC, TOO_LARGE, cures, halts};
use super::connection::ClientError;
use super::error::{Error, PublishError, Unacknowledged};
use super::{checkpoints, reader, topics};
use crate::fate::{Fate, halt};
use crate::tasks::PANICKED_HINT;

/// The hint for errors of the connection to the brokers.
const REACH: &str = "start the brokers, or correct [kafka] bootstrap_servers, and security.protocol and sasl.* under \
     [kafka.properties]";

/// The hint for an open transaction of another producer, which holds back the records to read.
const HELD_BACK: &str = "nothing, if it is a predecessor's, which ends after its transaction_timeout; else find the \
     producer with kafka-transactions.sh find-hanging --broker-id …, and end its transaction with abort";

/// The fate of an error.
pub(super) fn of(error: &Error) -> Fate {
    match error {
        Error::Client(error) => of_client(error),
        Error::Topics(error) => of_topics(error),
        Error::Publish(error) => of_publish(error),
        Error::Checkpoints(error) => of_checkpoints(error),
        Error::Sent(error) => of_reader(error),
        Error::OwnerNotFenced { owner, source, .. } => of_publish(source).with_hint(format_args!(
            "or give this relay the name {owner} again, or a checkpoint_key of its own"
        )),
        Error::Panicked(_) => Fate::Retry,
    }
}

/// What ends the wait for an error that is retried; `None` if a person can do nothing.
pub(super) fn cure(error: &Error) -> Option<&'static str> {
    match error {
        Error::Client(error) => client_error_cure(error),
        Error::Topics(error) => topics_cure(error),
        Error::Publish(source) | Error::OwnerNotFenced { source, .. } => publish_cure(source),
        Error::Checkpoints(checkpoints::Error::Read(error)) | Error::Sent(error) => {
            reader_cure(error)
        }
        Error::Checkpoints(checkpoints::Error::Outdated { .. }) => {
            Some("nothing: the relay reads it again")
        }
        Error::Checkpoints(_) => None,
        Error::Panicked(_) => Some(PANICKED_HINT),
    }
}

fn of_client(error: &ClientError) -> Fate {
    match error {
        ClientError::Secret(error) => halt(error.hint()),
        ClientError::Property { .. } => halt("correct [kafka.properties]"),
        ClientError::Unreachable(failure) if failure.is_rejection() => halt(failure.hint()),
        ClientError::Thread(_) | ClientError::Unreachable(_) => Fate::Retry,
        ClientError::Kafka(error) => client_fate(error),
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

fn of_topics(error: &topics::Error) -> Fate {
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
        // Retried: somebody may create the topic, and a broker that has just started is not counted for a moment.
        topics::Error::Missing { .. }
        | topics::Error::NotVisible { .. }
        | topics::Error::TooFewBrokers { .. } => Fate::Retry,
        topics::Error::NoRight { topic, operation } => {
            grant(operation.as_str(), &format!("the topic {topic}"))
        }
    }
}

/// The topic's name is illegal.
pub(super) fn is_illegal_name(error: &topics::Error) -> bool {
    match error {
        topics::Error::LookUp { source, .. } | topics::Error::Create { source, .. } => {
            code_of(source) == Some(Code::InvalidTopic)
        }
        _ => false,
    }
}

fn of_publish(error: &PublishError) -> Fate {
    match error {
        PublishError::Client(error) => of_client(error),
        PublishError::Kafka { source, .. } => client_fate(source),
        PublishError::Initialise { id, source } => match source.rdkafka_error_code() {
            Some(Code::TransactionalIdAuthorizationFailed) => {
                let lane = id.rsplit_once('-').filter(|(_, lane)| lane.parse::<u32>().is_ok());
                match lane {
                    Some((name, _)) => {
                        grant("Write", &format!("the transactional ids {name}-0 to {name}-3"))
                    }
                    None => grant("Write", &format!("the transactional id {id}")),
                }
            }
            _ => client_fate(source),
        },
        PublishError::Denied { topic, .. } => grant("Write", &format!("the topic {topic}")),
        PublishError::NotAcknowledged { .. } | PublishError::NoCoordinator { .. } => Fate::Retry,
        PublishError::Fenced => Fate::MaybeTakenOver,
        PublishError::Refused { topic, source, .. } => of_refused(topic, source),
        PublishError::NoReport { .. }
        | PublishError::NoOffset
        | PublishError::Thread(_)
        | PublishError::Ended(_) => Fate::Retry,
    }
}

/// The fate of a record that the broker refuses.
pub(super) fn of_refused(topic: &str, source: &KafkaError) -> Fate {
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

fn of_checkpoints(error: &checkpoints::Error) -> Fate {
    match error {
        checkpoints::Error::Read(error) => of_reader(error),
        checkpoints::Error::Outdated { .. } => Fate::Retry,
        checkpoints::Error::Unreadable { .. } => halt(
            "find out who wrote the record; `binlog-relay checkpoint set --to …` stores one that counts instead",
        ),
        checkpoints::Error::Damaged { .. } => halt(
            "find out who wrote the record: an older one does not count in its place, as rows after that one may be \
             in Kafka; `binlog-relay checkpoint set --to …` stores one that counts",
        ),
        checkpoints::Error::Later { relay_version, .. } => halt(format!(
            "start the version {relay_version} of the relay or a later one; or say where this version goes on with \
             `binlog-relay checkpoint set --to …`"
        )),
    }
}

fn of_reader(error: &reader::Error) -> Fate {
    match error {
        reader::Error::Kafka { topic, source: ClientError::Kafka(error) }
            if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) =>
        {
            grant("Read and Describe", &format!("the {topic}"))
        }
        reader::Error::Kafka { source, .. } => of_client(source),
        reader::Error::NoTopic { .. }
        | reader::Error::Timeout { .. }
        | reader::Error::Shortened { .. }
        | reader::Error::HeldBack { .. } => Fate::Retry,
    }
}

/// What ends the wait after an error of a client.
fn client_error_cure(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable(failure) => Some(failure.hint()),
        ClientError::Kafka(error) => client_cure(error),
        ClientError::Thread(_) => {
            Some("raise the limit of threads of the relay's process or container")
        }
        ClientError::Secret(_) | ClientError::Property { .. } => None,
    }
}

fn client_cure(error: &KafkaError) -> Option<&'static str> {
    code_of(error).map_or(Some(REACH), cures)
}

fn topics_cure(error: &topics::Error) -> Option<&'static str> {
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

fn publish_cure(error: &PublishError) -> Option<&'static str> {
    match error {
        PublishError::Client(error) => client_error_cure(error),
        PublishError::NotAcknowledged { why, .. } => Some(match why {
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
        PublishError::NoCoordinator { source, .. } => Some(match code_of(source) {
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => REACH,
            // A broker has answered before, so it is the coordinator that does not.
            Some(Code::OperationTimedOut | Code::RequestTimedOut) => COORDINATOR,
            Some(code) => cures(code).unwrap_or(COORDINATOR),
            None => COORDINATOR,
        }),
        PublishError::Kafka { source, .. }
        | PublishError::Initialise { source, .. }
        | PublishError::Denied { source, .. } => client_cure(source),
        PublishError::Refused { source, .. } => code_of(source).map_or(Some(TOO_LARGE), cures),
        PublishError::Thread(_) => {
            Some("raise the limit of threads of the relay's process or container")
        }
        PublishError::NoReport { .. } => Some(
            "nothing, if it comes once; if it comes again, take out of [kafka.properties] what is not needed, and report \
             it",
        ),
        PublishError::NoOffset => Some("nothing: the relay claims its place again"),
        PublishError::Fenced | PublishError::Ended(_) => None,
    }
}

fn reader_cure(error: &reader::Error) -> Option<&'static str> {
    match error {
        reader::Error::Kafka { source, .. } => client_error_cure(source),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::SinkError;

    fn publishing(source: PublishError) -> SinkError {
        Error::Publish(source).at("kafka:9092")
    }

    fn sending(code: Code) -> SinkError {
        let source = KafkaError::MessageProduction(code);
        publishing(PublishError::Kafka { doing: "have a record acknowledged", source })
    }

    fn asking(question: impl FnOnce(String) -> reader::Error) -> SinkError {
        let source = question("checkpoint topic offsets".to_owned());
        Error::Checkpoints(source.into()).at("kafka:9092")
    }

    fn looking_up(code: Code) -> SinkError {
        let source = KafkaError::MetadataFetch(code);
        let source = topics::Error::LookUp { topic: "orders".to_owned(), source };
        Error::Topics(source).at("kafka:9092")
    }

    #[test]
    fn what_is_waited_for_has_the_hint_of_its_cause() {
        let second = std::time::Duration::from_secs(1);
        let not_acknowledged = |why| {
            let topic = "orders".to_owned();
            publishing(PublishError::NotAcknowledged { topic, timeout: second, why })
        };
        let no_coordinator = |code| {
            let (id, source) = ("orders-0".to_owned(), KafkaError::Global(code));
            publishing(PublishError::NoCoordinator { id, timeout: second, source })
        };
        let out_of_sync = Unacknowledged::OutOfSync { partition: 0, in_sync: 1, replicas: 3 };
        let no_leader = Unacknowledged::NoLeader { without: 1, partitions: 3 };
        for (error, words) in [
            (not_acknowledged(out_of_sync), "min.insync.replicas"),
            (not_acknowledged(no_leader), "--unavailable-partitions"),
            (not_acknowledged(Unacknowledged::NoBroker), "start the brokers"),
            (not_acknowledged(Unacknowledged::NoFault { replicas: 1 }), "min.insync.replicas"),
            (sending(Code::NotEnoughReplicas), "min.insync.replicas"),
            (sending(Code::NotEnoughReplicasAfterAppend), "min.insync.replicas"),
            (sending(Code::LeaderNotAvailable), "--unavailable-partitions"),
            (sending(Code::NotLeaderForPartition), "--unavailable-partitions"),
            (sending(Code::UnknownTopicOrPartition), "create it"),
            (sending(Code::CoordinatorNotAvailable), "__transaction_state"),
            (sending(Code::ConcurrentTransactions), "find-hanging"),
            (sending(Code::MessageSizeTooLarge), "max.message.bytes"),
            (sending(Code::KafkaStorageError), "disk"),
            (sending(Code::ThrottlingQuotaExceeded), "quota"),
            (sending(Code::UnsupportedFeature), "does not heal by waiting"),
            (sending(Code::Resolve), "name service"),
            (no_coordinator(Code::CoordinatorNotAvailable), "__transaction_state"),
            (no_coordinator(Code::OperationTimedOut), "__transaction_state"),
            (no_coordinator(Code::AllBrokersDown), "start the brokers"),
            (looking_up(Code::LeaderNotAvailable), "--unavailable-partitions"),
            (asking(|topic| reader::Error::HeldBack { topic, waited: second }), "find-hanging"),
            (asking(|topic| reader::Error::NoTopic { topic }), "create it"),
            (asking(|topic| reader::Error::Timeout { topic }), "--describe"),
        ] {
            let hint = error.hint.clone().unwrap();
            assert_eq!(error.fate, Fate::Retry, "{error}");
            assert!(hint.contains(words), "{error}: {hint}");
            assert_eq!(hint.contains("start the brokers"), words == "start the brokers", "{hint}");
        }
    }

    #[test]
    fn kafka_codes_that_no_waiting_heals_halt() {
        for code in [
            Code::UnsupportedVersion,
            Code::UnsupportedForMessageFormat,
            Code::UnsupportedCompressionType,
            Code::InvalidConfig,
            Code::InvalidPartitions,
            Code::InvalidReplicaAssignment,
            Code::PolicyViolation,
            Code::InvalidTimestamp,
            Code::InvalidRecord,
            Code::InvalidTopic,
            Code::InvalidTransactionTimeout,
            Code::SecurityDisabled,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
        ] {
            let error = sending(code);
            match error.fate {
                Fate::Halt { hint } => assert!(!hint.contains("start the brokers"), "{code:?}"),
                fate => panic!("{code:?}: {fate:?}"),
            }
        }
    }
}
