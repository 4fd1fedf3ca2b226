//! What the error codes of Kafka and librdkafka mean to the relay: a halt, or a retry and what ends the wait.
//!
//! Codes below 0 are librdkafka's own; the others are the brokers'
//! (<https://kafka.apache.org/protocol#protocol_error_codes>). A code that is not here is retried.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What a person must do about a code that does not heal by waiting; `None` for a code that is retried.
pub(super) fn halts(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => {
            "grant the relay's principal Describe, Create and Write on the topic, and Read on the checkpoint topic"
        }
        Code::ClusterAuthorizationFailed => {
            "grant the relay's principal Create on the cluster or the topics, and for brokers before 2.8 in \
             idempotent delivery IdempotentWrite on the cluster"
        }
        Code::TransactionalIdAuthorizationFailed => {
            "grant the relay's principal Write and Describe on its transactional ids"
        }
        Code::InvalidTransactionTimeout => {
            "lower [kafka] transaction_timeout, or raise transaction.max.timeout.ms of the brokers"
        }
        Code::InvalidTopic => {
            "the name is illegal, or another topic's but for . and _: correct the writer, or delete that topic"
        }
        Code::InvalidTimestamp => {
            "correct the clock of the relay's machine, or raise message.timestamp.before.max.ms and \
             message.timestamp.after.max.ms of the topic"
        }
        Code::InvalidRecord => {
            "the broker's log says what is wrong with the record; a compacted topic takes none without a key"
        }
        Code::InvalidPartitions
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::PolicyViolation => {
            "correct [kafka] topic_partitions and topic_replication, or create the topic by hand"
        }
        Code::UnsupportedVersion => "the brokers are too old: Kafka 2.4 or later is needed",
        Code::UnsupportedForMessageFormat => {
            "take message.format.version off the topic and log.message.format.version off the brokers: records need \
             the format of 0.11 or later"
        }
        Code::UnsupportedCompressionType => {
            "set \"compression.type\" in [kafka.properties] to one that the brokers take, such as \"none\""
        }
        Code::SecurityDisabled => {
            "the brokers have no authorizer, which this asks for: give them one, or take the property out that \
             asks for it"
        }
        _ => return None,
    })
}

/// What ends the wait for a code that is retried; `None` if the code tells too little.
pub(super) fn cures(code: Code) -> Option<&'static str> {
    cures_connection(code).or_else(|| cures_topic(code)).or_else(|| cures_request(code))
}

fn cures_connection(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::BrokerNotAvailable
        | Code::NetworkException
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue => {
            "start the brokers, or correct [kafka] bootstrap_servers; the relay must reach every broker under the \
             address that it advertises (advertised.listeners)"
        }
        Code::Resolve => "correct the names in [kafka] bootstrap_servers, or mend the name service",
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::DelegationTokenAuthDisabled
        | Code::DelegationTokenNotFound
        | Code::DelegationTokenOwnerMismatch
        | Code::DelegationTokenRequestNotAllowed
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::UnacceptableCredential
        | Code::PrincipalDeserializationFailure => {
            "correct \"sasl.mechanism\", \"sasl.username\" and \"sasl.password\" in [kafka.properties], or the user \
             on the brokers"
        }
        Code::SSL => "correct \"security.protocol\" and ssl.* in [kafka.properties]",
        _ => return None,
    })
}

fn cures_topic(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::ReplicaNotAvailable
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::OffsetNotAvailable
        | Code::NotController
        | Code::StaleBrokerEpoch => LEADER,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => NO_TOPIC,
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend | Code::ISRInsufficient => {
            IN_SYNC
        }
        Code::InvalidReplicationFactor => {
            "start more brokers, or lower [kafka] topic_replication (default.replication.factor of the brokers)"
        }
        _ => return None,
    })
}

fn cures_request(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::TransactionCoordinatorFenced
        | Code::WaitingForCoordinator => COORDINATOR,
        Code::ConcurrentTransactions => {
            "nothing, unless it lasts: then a predecessor's transaction does not end; look with \
             kafka-transactions.sh find-hanging"
        }
        Code::KafkaStorageError | Code::LogDirNotFound => {
            "mend the disk of the broker that leads the partition: its log names the directory"
        }
        Code::ThrottlingQuotaExceeded => "raise the quota of the relay's principal on the brokers",
        Code::UnsupportedFeature => {
            "this does not heal by waiting: what answers there is no Kafka of 2.4 or later, or has no transactions"
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => TOO_LARGE,
        Code::MessageBatchTooLarge => "raise segment.bytes of the topic",
        Code::InvalidMessage => {
            "nothing, unless it comes again and again: then something on the way alters what is sent"
        }
        Code::CriticalSystemResource => {
            "raise the limits of the relay's process (memory, open files, threads)"
        }
        // Recovery handles these: new producers resume at the checkpoint.
        Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::UnknownProducerId
        | Code::InvalidProducerIdMapping
        | Code::InvalidTransactionalState
        | Code::Fatal
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::GaplessGuarantee
        | Code::State
        | Code::Conflict => {
            "nothing, unless it comes again and again: then look at the brokers' logs"
        }
        _ => return None,
    })
}

/// Partitions without a leader, or with one that is just being chosen.
pub(super) const LEADER: &str = "nothing, unless it lasts: then see which broker is down (kafka-topics.sh --describe \
     --unavailable-partitions)";

/// A topic that is not there.
pub(super) const NO_TOPIC: &str =
    "nothing, unless it lasts: then see whether the topic was deleted, and create it";

/// Too few replicas in sync.
pub(super) const IN_SYNC: &str = "bring the brokers back that hold its other replicas (kafka-topics.sh --describe \
     --under-min-isr-partitions), or lower min.insync.replicas of the topic";

/// Nobody coordinates the relay's transactions.
pub(super) const COORDINATOR: &str = "nothing, unless it lasts: then see whether __transaction_state has leaders and \
     enough replicas in sync (kafka-topics.sh --describe --topic __transaction_state); on a cluster of one or two brokers \
     lower transaction.state.log.replication.factor and transaction.state.log.min.isr; an endpoint without transactions \
     serves neither delivery";

/// A request or a record that a broker does not take for its size.
pub(super) const TOO_LARGE: &str = "raise max.message.bytes of the topic, and socket.request.max.bytes of the brokers \
     where that is lower";
