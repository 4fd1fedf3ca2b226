//! What a broker's metadata says of one topic: whether it is there, and how many partitions and replicas it has.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::sink::kafka::connection;

/// A topic as a broker shows it.
pub(super) struct Metadata {
    /// Why the broker does not show it.
    pub error: Option<RDKafkaErrorCode>,
    pub partitions: usize,
    /// Of the partition that has the fewest.
    pub replicas: usize,
}

/// Asks a broker. It waits for the answer.
pub(super) fn fetch(admin: &connection::Admin, topic: &str) -> Result<Metadata, KafkaError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), connection::REQUEST_TIMEOUT)?;
    let topics = metadata.topics();
    let error = topics.iter().find_map(|topic| topic.error()).map(RDKafkaErrorCode::from);
    let partitions = topics.iter().flat_map(|topic| topic.partitions());
    let replicas = partitions.clone().map(|partition| partition.replicas().len()).min();
    Ok(Metadata { error, partitions: partitions.count(), replicas: replicas.unwrap_or_default() })
}
