//! What the producers of both deliveries have in common: how they are made, what they send, and what a record
//! that was not acknowledged means.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, Producer};

use super::client::Client;
use super::connection::{self, ClientError, KafkaOptions};
use super::reports::{Context, Refused, Reports};
use super::{PublishError, PublishOptions, Unacknowledged};

/// How long looking for the reason of a failure may take: the way to the brokers may be cut.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether anybody still waits for a broker's answer is looked at so often.
const WANTED_INTERVAL: Duration = Duration::from_secs(1);

/// What both deliveries ask of librdkafka. `records_max`: so many are on their way at most.
pub(super) fn config(
    kafka: &KafkaOptions,
    options: &PublishOptions,
    records_max: usize,
    batch_bytes_max: Option<usize>,
) -> Result<ClientConfig, PublishError> {
    let mut config = kafka.client_config(&options.name).map_err(ClientError::from)?;
    config
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", records_max.to_string())
        // What is on its way is bounded already; librdkafka must take all of it.
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("message.max.bytes", "1000000000");
    set_unless_given(&mut config, ["linger.ms", "queue.buffering.max.ms"], "0");
    set_unless_given(&mut config, ["compression.type", "compression.codec"], "lz4");
    if let Some(bytes) = batch_bytes_max {
        config.set("batch.size", bytes.to_string());
    }
    Ok(config)
}

/// The brokers, as the client met them.
pub(super) struct Cluster {
    pub brokers: usize,
    /// Of a request to a broker that was connected.
    pub round_trip: Duration,
}

/// Makes a producer that a broker has answered, twice: by its first answer librdkafka learns the broker's id, and
/// has no broker until it has noted that down; `init_transactions` would look again only after 500 ms. `wake`: as
/// [`Client::new`] has it.
pub(super) fn connect<R: Reports>(
    config: &ClientConfig,
    context: Context<R>,
    topic: &str,
    wake: impl Fn() + Send + Sync + 'static,
) -> Result<(Client<R>, Cluster), PublishError> {
    let client = Client::new(config, context, wake)?;
    let cluster = client.serve_while(|producer| {
        let client = producer.client();
        let meet = || {
            fetch_metadata(client, topic)?;
            let begun = Instant::now();
            let brokers = fetch_metadata(client, topic)?;
            Ok(Cluster { brokers, round_trip: begun.elapsed() })
        };
        meet().map_err(|error| ClientError::of_client(&client.context().failure, error))
    })?;
    Ok((client, cluster))
}

/// Waits for a broker's answer, as long as somebody wants it. Answers with how many brokers there are.
fn fetch_metadata<R: Reports>(
    client: &rdkafka::client::Client<Context<R>>,
    topic: &str,
) -> Result<usize, KafkaError> {
    let deadline = Instant::now() + connection::REQUEST_TIMEOUT;
    loop {
        let error = match client.fetch_metadata(Some(topic), WANTED_INTERVAL) {
            Ok(metadata) => return Ok(metadata.brokers().len()),
            Err(error) => error,
        };
        let is_over = Instant::now() > deadline || client.context().is_unwanted();
        if is_over || !connection::is_about_a_connection(&error) {
            return Err(error);
        }
    }
}

/// The error of a record that will never be acknowledged as it is; gives back what says less.
pub(super) fn refusal(refused: Refused) -> Result<PublishError, Refused> {
    match refused.error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp,
        ) => {
            let Refused { index, topic, error, .. } = refused;
            Ok(PublishError::Refused { index, sequence: None, topic, source: error })
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            Ok(PublishError::Denied { topic: refused.topic, source: refused.error })
        }
        _ => Err(refused),
    }
}

/// Lets librdkafka learn which partitions a topic has. Where no broker answers, it refuses the first record for a
/// partition that it does not know, and the next session knows it.
pub(super) fn learn_partitions<R: Reports>(client: &Client<R>, topic: &str) {
    let fetch = |producer: &BaseProducer<_>| {
        producer.client().fetch_metadata(Some(topic), connection::REQUEST_TIMEOUT).map(drop)
    };
    if let Err(error) = client.serve_while(fetch) {
        tracing::debug!(%error, topic, "look up the partitions of a topic");
    }
}

/// librdkafka tries again what a broker refuses for the time being, and does not tell why in the end.
pub(super) fn why_not_acknowledged<R: Reports>(client: &Client<R>, topic: &str) -> Unacknowledged {
    let client = client.producer().client();
    let Ok(metadata) = client.fetch_metadata(Some(topic), LOOK_TIMEOUT) else {
        return Unacknowledged::NoBroker;
    };
    let topic = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = topic.map_or(&[][..], |topic| topic.partitions());
    let count = partitions.len();
    let without_leader = partitions.iter().filter(|partition| partition.leader() < 0).count();
    let out_of_sync =
        |partition: &&MetadataPartition| partition.isr().len() < partition.replicas().len();
    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min();
    match (without_leader, partitions.iter().find(out_of_sync)) {
        (without @ 1.., _) => Unacknowledged::NoLeader { without, partitions: count },
        (0, Some(partition)) => Unacknowledged::OutOfSync {
            partition: partition.id(),
            in_sync: partition.isr().len(),
            replicas: partition.replicas().len(),
        },
        (0, None) => replicas
            .map_or(Unacknowledged::NoTopic, |replicas| Unacknowledged::NoFault { replicas }),
    }
}

/// Sets a property that has two names in librdkafka.
fn set_unless_given(config: &mut ClientConfig, [name, alias]: [&str; 2], value: &str) {
    if config.get(name).is_none() && config.get(alias).is_none() {
        config.set(name, value);
    }
}
