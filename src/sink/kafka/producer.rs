//! What the producers of both deliveries share: how they are made, what they send, and what an unacknowledged record
//! means.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, Producer};

use super::client::Client;
use super::connection::{self, ClientError, KafkaOptions};
use super::reports::{Context, Refused, Reports};
use super::{PublishError, PublishOptions, Unacknowledged};

/// How long to look for the reason of a failure. The brokers may be unreachable.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two looks whether anybody still waits for a broker's answer.
const WANTED_INTERVAL: Duration = Duration::from_secs(1);

/// The configuration of librdkafka for both deliveries. `records_max`: most records in flight.
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
        // The records in flight are bounded already. librdkafka must take all of them.
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("message.max.bytes", "1000000000");
    set_unless_given(&mut config, ["linger.ms", "queue.buffering.max.ms"], "0");
    set_unless_given(&mut config, ["compression.type", "compression.codec"], "lz4");
    if let Some(bytes) = batch_bytes_max {
        config.set("batch.size", bytes.to_string());
    }
    Ok(config)
}

/// The brokers, as the client found them.
pub(super) struct Cluster {
    pub brokers: usize,
    /// Of one request over an existing connection.
    pub round_trip: Duration,
}

/// Makes a producer, and waits until a broker has answered it twice. librdkafka learns the broker's id from the first
/// answer, and counts no broker as up until it has noted the id. `init_transactions` would look again only after 500
/// ms. `wake`: as in [`Client::new`].
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

/// Waits for a broker's answer while somebody wants it. Returns the number of brokers.
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

/// The error of a record that will never be acknowledged. Returns the refusal itself if it tells too little.
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

/// Makes librdkafka look up the partitions of a topic. If no broker answers, librdkafka refuses the first record for a
/// partition that it does not know, and the next session looks again.
pub(super) fn learn_partitions<R: Reports>(client: &Client<R>, topic: &str) {
    let fetch = |producer: &BaseProducer<_>| {
        producer.client().fetch_metadata(Some(topic), connection::REQUEST_TIMEOUT).map(drop)
    };
    if let Err(error) = client.serve_while(fetch) {
        tracing::debug!(%error, topic, "look up the partitions of a topic");
    }
}

/// librdkafka retries temporary refusals of a broker, and does not report their reason in the end.
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
