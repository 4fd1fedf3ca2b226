//! What the producers of both deliveries have in common: how they are made, what they send, and what a record
//! that was not acknowledged means.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::reports::{Context, Refused, Reports};
use super::sequence::{SEQUENCE_HEADER, SequenceHeader};
use super::{Error, Options};
use crate::batch::Batch;
use crate::kafka;

/// How long looking for the reason of a failure may take: the way to the brokers may be cut.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Nothing is seen to be wrong with a topic.
pub(super) const NO_FAULT: &str = "its brokers answer again, or are slow";

/// What both deliveries ask of librdkafka. `records_max`: so many are on their way at most.
pub(super) fn config(
    kafka: &kafka::Options,
    options: &Options,
    records_max: usize,
    batch_bytes_max: Option<usize>,
) -> Result<ClientConfig, Error> {
    let mut config = kafka.client_config(&options.name).map_err(kafka::Error::from)?;
    config
        .set("partitioner", "murmur2_random")
        // A broker takes the second request of a producer that a partition does not know yet for its first one,
        // where it has just refused that: the partition was not there yet, or had too few replicas. librdkafka
        // then counts the first as acknowledged (KAFKA-15591). Nothing is lost where the second waits for it.
        .set("max.in.flight.requests.per.connection", "1")
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

/// Makes a producer that a broker has answered.
pub(super) fn connect<R: Reports>(
    config: &ClientConfig,
    context: Context<R>,
    topic: &str,
) -> Result<ThreadedProducer<Context<R>>, Error> {
    let producer: ThreadedProducer<Context<R>> = kafka::create(config, context)?;
    let client = producer.client();
    client
        .fetch_metadata(Some(topic), kafka::REQUEST_TIMEOUT)
        .map_err(|error| kafka::Error::of_client(&client.context().failure, error))?;
    Ok(producer)
}

/// Makes records of a batch's rows, but for those that are in Kafka already, and sends each in stream order.
/// `tag`: what the report on the record of that index is to say.
pub(super) fn send_records(
    batch: &Batch,
    topics: &[Arc<str>],
    header: &mut SequenceHeader,
    first_sequence: u64,
    tag: impl Fn(usize) -> usize,
    send: impl Fn(BaseRecord<'_, [u8], [u8], usize>) -> Result<(), Error>,
) -> Result<(), Error> {
    for (index, record) in batch.unsent_records() {
        let value = header.spell(first_sequence + index as u64);
        let headers = OwnedHeaders::new_with_capacity(1)
            .insert(Header { key: SEQUENCE_HEADER, value: Some(value) });
        let to = &topics[record.topic.0 as usize];
        let to_send = BaseRecord::with_opaque_to(to, tag(index));
        send(to_send.key(record.key).payload(record.value).headers(headers))?;
    }
    Ok(())
}

/// The error of a record that will never be acknowledged as it is; gives back what says less.
pub(super) fn refusal(refused: Refused) -> Result<Error, Refused> {
    match refused.error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp,
        ) => {
            let Refused { index, topic, error } = refused;
            Ok(Error::Refused { index, topic, source: error })
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            Ok(Error::Denied { topic: refused.topic, source: refused.error })
        }
        _ => Err(refused),
    }
}

/// librdkafka tries again what a broker refuses for the time being, and does not tell why in the end.
pub(super) fn why_not_acknowledged<C: ClientContext>(client: &Client<C>, topic: &str) -> String {
    let Ok(metadata) = client.fetch_metadata(Some(topic), LOOK_TIMEOUT) else {
        return "no broker answers".to_owned();
    };
    let topic = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = topic.map_or(&[][..], |topic| topic.partitions());
    let count = partitions.len();
    let without_leader = partitions.iter().filter(|partition| partition.leader() < 0).count();
    let out_of_sync =
        |partition: &&MetadataPartition| partition.isr().len() < partition.replicas().len();
    match (without_leader, partitions.iter().find(out_of_sync)) {
        (1.., _) => format!("{without_leader} of its {count} partitions have no leader"),
        (0, Some(partition)) => format!(
            "partition {} has {} of {} replicas in sync, and min.insync.replicas may ask for more",
            partition.id(),
            partition.isr().len(),
            partition.replicas().len()
        ),
        (0, None) => NO_FAULT.to_owned(),
    }
}

/// Sets a property that has two names in librdkafka.
fn set_unless_given(config: &mut ClientConfig, [name, alias]: [&str; 2], value: &str) {
    if config.get(name).is_none() && config.get(alias).is_none() {
        config.set(name, value);
    }
}
