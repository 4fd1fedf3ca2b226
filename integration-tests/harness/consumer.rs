//! Reading topics as a consumer sees them, from the beginning, all partitions, and to the end:
//! partition by partition until the broker says that nothing more is readable now.

use std::collections::{BTreeMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::servers::Kafka;

/// How often topics that did not exist before are looked for.
const DISCOVERY_INTERVAL: Duration = Duration::from_millis(200);
const METADATA_WITHIN: Duration = Duration::from_secs(20);
const IDLE_PAUSE: Duration = Duration::from_millis(3);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Option<Vec<u8>>,
    /// When its producer made it, in milliseconds since 1970.
    pub made_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

/// All topics whose names begin with a prefix, as they come to exist.
pub struct Inbox {
    bootstrap: String,
    prefix: String,
    isolation: Isolation,
    discovery: BaseConsumer,
    discovered_at: Option<Instant>,
    topics: BTreeMap<String, TopicInbox>,
    records: Vec<Record>,
}

struct TopicInbox {
    consumer: BaseConsumer,
    partitions: usize,
    at_end: HashSet<i32>,
}

impl Isolation {
    /// As in `isolation.level`.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

impl Record {
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }
}

impl Inbox {
    pub fn open(kafka: &Kafka, prefix: &str, isolation: Isolation) -> Inbox {
        Inbox {
            bootstrap: kafka.bootstrap().to_owned(),
            prefix: prefix.to_owned(),
            isolation,
            discovery: consumer(kafka.bootstrap(), isolation),
            discovered_at: None,
            topics: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    /// Everything that is readable now.
    pub fn read_all(kafka: &Kafka, prefix: &str, isolation: Isolation) -> Vec<Record> {
        let mut inbox = Inbox::open(kafka, prefix, isolation);
        inbox.discover();
        let deadline = Instant::now() + Duration::from_secs(120);
        while !inbox.topics.values().all(TopicInbox::is_at_end) {
            assert!(Instant::now() < deadline, "the ends of {prefix}* are not reached");
            if !inbox.poll() {
                thread::sleep(IDLE_PAUSE);
            }
        }
        inbox.records
    }

    /// Waits until this many records have come, and returns all that have.
    pub fn wait_for(&mut self, count: usize, within: Duration) -> Result<&[Record], String> {
        let deadline = Instant::now() + within;
        while self.records.len() < count {
            if Instant::now() >= deadline {
                let came = self.records.len();
                return Err(format!("{came} of {count} records came within {within:?}"));
            }
            self.take_what_came();
            if self.records.len() < count {
                thread::sleep(IDLE_PAUSE);
            }
        }
        Ok(&self.records)
    }

    /// Takes what can be read at once.
    pub fn take_what_came(&mut self) -> &[Record] {
        if self.discovered_at.is_none_or(|at| at.elapsed() >= DISCOVERY_INTERVAL) {
            self.discover();
        }
        while self.poll() {}
        &self.records
    }

    fn discover(&mut self) {
        let metadata = match self.discovery.fetch_metadata(None, METADATA_WITHIN) {
            Ok(metadata) => metadata,
            // The broker may be the one that a test has just stopped.
            Err(_) => return,
        };
        for topic in metadata.topics() {
            let wanted = topic.name().starts_with(&self.prefix) && !topic.partitions().is_empty();
            if wanted && !self.topics.contains_key(topic.name()) {
                let partitions = topic.partitions().len();
                let inbox =
                    TopicInbox::open(&self.bootstrap, topic.name(), partitions, self.isolation);
                self.topics.insert(topic.name().to_owned(), inbox);
            }
        }
        self.discovered_at = Some(Instant::now());
    }

    /// Polls every topic once; false when nothing came.
    fn poll(&mut self) -> bool {
        let mut came = false;
        for topic in self.topics.values_mut() {
            match topic.consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    topic.at_end.remove(&message.partition());
                    self.records.push(record(&message));
                    came = true;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    topic.at_end.insert(partition);
                    came = true;
                }
                // Connections are lost where a test cuts them; the client comes back by itself.
                Some(Err(_)) | None => {}
            }
        }
        came
    }
}

impl TopicInbox {
    fn open(bootstrap: &str, topic: &str, partitions: usize, isolation: Isolation) -> TopicInbox {
        let consumer = consumer(bootstrap, isolation);
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            let partition = i32::try_from(partition).expect("a partition number");
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("the beginning is a place");
        }
        consumer.assign(&assignment).expect("assign partitions");
        TopicInbox { consumer, partitions, at_end: HashSet::new() }
    }

    fn is_at_end(&self) -> bool {
        self.at_end.len() == self.partitions
    }
}

/// A consumer that reads partitions it is assigned to their ends.
pub fn consumer(bootstrap: &str, isolation: Isolation) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reads-by-assignment")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation.name())
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.max.ms", "200")
        .set("log_level", "0")
        .create()
        .expect("create a consumer")
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect()
    });
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        headers,
        value: message.payload().map(<[u8]>::to_vec),
        made_at: message.timestamp().to_millis(),
    }
}
