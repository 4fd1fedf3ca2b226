//! The producers of records. One producer writes each partition, and has one request in flight to each broker. So
//! partitions do not wait for each other's round trips, and no partition has two requests in flight.
//!
//! Two would not be safe. When the broker refuses the second because it refused the first, librdkafka raises its epoch.
//! With the new epoch the broker cannot tell which records it already has (docs/requests-in-flight.md).

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::reported::Reported;
use crate::batch::DestinationId;
use crate::sink::kafka::client::{Client, Record, Topic};
use crate::sink::kafka::connection;
use crate::sink::kafka::partitions::index_of;
use crate::sink::kafka::reports::Context;
use crate::sink::kafka::{PublishError, Unacknowledged, producer};

/// Most producers. Each has a connection to each broker, and a thread for it. With a round trip of 5 ms and twelve
/// partitions on one broker, more of them gain nothing.
pub(super) const PRODUCERS: usize = 8;

/// A single broker with a shorter round trip gets one producer. There are no round trips to overlap then. Eight
/// producers would send smaller requests, and take 50 % more CPU time in a backlog.
const NEAR: Duration = Duration::from_millis(1);

/// Default of a topic's `max.message.bytes`.
const BATCH_BYTES_DEFAULT: usize = 1_048_588;

/// Bytes of a record batch besides the key, value and headers of its only record: 61, lengths, and the header with the
/// relay's name.
const AROUND_RECORD_BYTES_MAX: usize = 256;

pub(super) struct Producers {
    clients: Vec<Client<Reported>>,
    /// By their ids.
    destinations: Vec<Destination>,
    /// Number of the producer that gets the next partition.
    next: usize,
}

/// A topic to send to.
pub(super) struct Destination {
    /// By the number of the producer.
    topics: Vec<Topic<Reported>>,
    /// By partition: the number of its producer.
    producers: Vec<usize>,
    /// A record with more bytes may be refused for its size.
    sure_bytes_max: usize,
}

impl Producers {
    /// Makes the producers. Waits until a broker has answered the first one. The others, if needed, connect later.
    ///
    /// # Errors
    /// Kafka cannot be reached.
    pub fn connect(
        config: &ClientConfig,
        checkpoint_topic: &str,
        context: impl Fn() -> Context<Reported>,
        wake: impl Fn() + Send + Sync + Clone + 'static,
    ) -> Result<Producers, PublishError> {
        let others = (1..PRODUCERS).map(|_| Client::new(config, context(), wake.clone()));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let (first, cluster) = producer::connect(config, context(), checkpoint_topic, wake)?;
        let mut clients = vec![first];
        if cluster.brokers == 1 && cluster.round_trip < NEAR {
            connection::end(others);
        } else {
            clients.extend(others);
        }
        tracing::debug!(producers = clients.len(), round_trip = ?cluster.round_trip, "connected");
        Ok(Producers { clients, destinations: Vec::new(), next: 0 })
    }

    /// Reads what librdkafka has to report.
    pub fn serve(&self) {
        self.clients.iter().for_each(Client::serve);
    }

    /// # Errors
    /// librdkafka takes no topic of this name.
    pub fn learn_topic(
        &mut self,
        name: &str,
        batch_bytes_max: Option<usize>,
        partitions: u32,
    ) -> Result<(), KafkaError> {
        let topics = self.clients.iter().map(|client| client.topic(name));
        let topics = topics.collect::<Result<_, _>>()?;
        let producers = (0..partitions).map(|_| self.next_producer()).collect();
        let bytes_max = batch_bytes_max.unwrap_or(BATCH_BYTES_DEFAULT);
        self.destinations.push(Destination {
            topics,
            producers,
            sure_bytes_max: bytes_max.saturating_sub(AROUND_RECORD_BYTES_MAX),
        });
        Ok(())
    }

    /// The topic has grown to these partitions: sends to all of them.
    pub fn grow_topic(&mut self, id: DestinationId, partitions: u32) {
        let name = self.destination(id).name().clone();
        self.clients.iter().for_each(|client| producer::learn_partitions(client, &name));
        while self.destination(id).producers.len() < partitions as usize {
            let producer = self.next_producer();
            self.destinations[id.0 as usize].producers.push(producer);
        }
    }

    /// Round robin, so that each producer has about the same number of partitions.
    fn next_producer(&mut self) -> usize {
        let next = (self.next + 1) % self.clients.len();
        std::mem::replace(&mut self.next, next)
    }

    /// The topic of this id.
    pub fn destination(&self, id: DestinationId) -> &Destination {
        &self.destinations[id.0 as usize]
    }

    /// The fatal error of the first producer that has one.
    pub fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.clients.iter().find_map(|client| client.producer().client().fatal_error())
    }

    /// Asks the brokers why a topic may acknowledge nothing.
    pub fn why_not_acknowledged(&self, topic: &str) -> Unacknowledged {
        producer::why_not_acknowledged(&self.clients[0], topic)
    }
}

impl Destination {
    pub fn name(&self) -> &Arc<str> {
        &self.topics[0].name
    }

    /// Hands a record to the producer of its partition. `partition`:
    /// [`RecordRef::partition`](crate::batch::RecordRef::partition).
    ///
    /// # Errors
    /// librdkafka does not take it.
    pub fn send(&self, record: Record<'_>, partition: Option<i128>) -> Result<(), KafkaError> {
        let partition = index_of(record.key, partition, &self.producers);
        let topic = &self.topics[self.producers[partition]];
        let number = i32::try_from(partition).expect("fewer partitions than 2^31");
        topic.send(&Record { partition: Some(number), ..record })
    }

    /// Whether the broker certainly takes a record whose key, value and headers have this many bytes.
    pub fn surely_takes(&self, bytes: usize) -> bool {
        bytes <= self.sure_bytes_max
    }
}
