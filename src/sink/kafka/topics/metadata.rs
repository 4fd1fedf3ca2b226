//! One topic in a broker's metadata: whether it exists, and its numbers of partitions and replicas.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::sink::kafka::connection;

/// A topic as a broker shows it.
pub(super) struct Metadata {
    /// The reason why the broker does not show it.
    pub error: Option<RDKafkaErrorCode>,
    pub partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
}

/// Asks a broker, and waits for the answer.
pub(super) fn fetch(admin: &connection::Admin, topic: &str) -> Result<Metadata, KafkaError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), connection::REQUEST_TIMEOUT)?;
    let topics = metadata.topics();
    let error = topics.iter().find_map(|topic| topic.error()).map(RDKafkaErrorCode::from);
    let partitions = topics.iter().flat_map(|topic| topic.partitions());
    let replicas = partitions.clone().map(|partition| partition.replicas().len()).min();
    Ok(Metadata { error, partitions: partitions.count(), replicas: replicas.unwrap_or_default() })
}
