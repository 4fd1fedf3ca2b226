//! What tests do to Kafka besides reading: create topics, change their limits, and write records
//! that are not the relay's.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::servers::Kafka;
use super::sql::single_threaded_runtime;

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Creates a topic with as many replicas as is usual there: three in a cluster, else one. One that is there already
/// is left as it is.
pub fn create_topic(kafka: &Kafka, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    // The broker's own default.replication.factor.
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let admin = admin(kafka);
    let created = single_threaded_runtime()
        .block_on(admin.create_topics([&topic], &AdminOptions::new()))
        .expect("ask the broker to create a topic");
    match &created[0] {
        Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
        Err((name, code)) => panic!("create topic {name}: {code}"),
    }
}

/// Creates a topic whose every partition has its replicas on these brokers, the first of them leading.
pub fn create_replicated_topic(
    kafka: &Kafka,
    name: &str,
    brokers: &[i32],
    settings: &[(&str, &str)],
) {
    let replicas = [brokers];
    let topic = NewTopic::new(name, 1, TopicReplication::Variable(&replicas));
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let created = single_threaded_runtime()
        .block_on(admin(kafka).create_topics([&topic], &AdminOptions::new()))
        .expect("ask the broker to create a topic");
    created[0].as_ref().unwrap_or_else(|(name, code)| panic!("create topic {name}: {code}"));
}

/// As [`create_topic`], compacted as a checkpoint topic is.
pub fn create_compacted_topic(kafka: &Kafka, name: &str, partitions: i32) {
    create_topic(kafka, name, partitions, &[("cleanup.policy", "compact")]);
}

pub fn delete_topic(kafka: &Kafka, name: &str) {
    let deleted = single_threaded_runtime()
        .block_on(admin(kafka).delete_topics(&[name], &AdminOptions::new()))
        .expect("ask the broker to delete a topic");
    deleted[0].as_ref().unwrap_or_else(|(_, code)| panic!("delete {name}: {code}"));
}

/// Raises the number of a topic's partitions.
pub fn create_partitions(kafka: &Kafka, topic: &str, total: usize) {
    let created = single_threaded_runtime()
        .block_on(admin(kafka).create_partitions(
            &[NewPartitions::new(topic, total)],
            &AdminOptions::new().operation_timeout(Some(ANSWER_WITHIN)),
        ))
        .expect("ask the broker for more partitions");
    created[0].as_ref().unwrap_or_else(|(_, code)| panic!("more partitions of {topic}: {code}"));
    let deadline = Instant::now() + ANSWER_WITHIN;
    while partition_count(kafka, topic) < total {
        assert!(Instant::now() < deadline, "{topic} does not get its partitions");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Deletes all records of a partition.
pub fn delete_records(kafka: &Kafka, topic: &str, partition: i32) {
    delete_records_before_offset(kafka, topic, partition, Offset::End);
}

/// Deletes the records of a partition before an offset, as retention does.
pub fn delete_records_before(kafka: &Kafka, topic: &str, partition: i32, offset: i64) {
    delete_records_before_offset(kafka, topic, partition, Offset::Offset(offset));
}

fn delete_records_before_offset(kafka: &Kafka, topic: &str, partition: i32, offset: Offset) {
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, partition, offset).expect("a partition and an offset");
    let deleted = single_threaded_runtime()
        .block_on(admin(kafka).delete_records(&before, &AdminOptions::new()))
        .expect("ask the broker to delete records");
    for element in deleted.elements() {
        element.error().expect("the broker deletes records");
    }
}

pub fn set_topic_config(kafka: &Kafka, topic: &str, key: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    let changed = single_threaded_runtime()
        .block_on(admin(kafka).alter_configs([&change], &AdminOptions::new()))
        .expect("ask the broker to change a topic");
    changed[0].as_ref().unwrap_or_else(|(_, code)| panic!("set {key} of {topic}: {code}"));
}

pub fn topic_config(kafka: &Kafka, topic: &str, key: &str) -> String {
    let topic = ResourceSpecifier::Topic(topic);
    let described = single_threaded_runtime()
        .block_on(admin(kafka).describe_configs([&topic], &AdminOptions::new()))
        .expect("ask the broker for a topic's settings");
    let settings = described[0].as_ref().expect("the topic is there");
    let setting = settings.get(key).and_then(|entry| entry.value.clone());
    setting.unwrap_or_else(|| panic!("the topic has no setting {key}"))
}

pub fn partition_count(kafka: &Kafka, topic: &str) -> usize {
    let client = admin(kafka);
    let metadata =
        client.inner().fetch_metadata(Some(topic), ANSWER_WITHIN).expect("ask for a topic");
    metadata.topics()[0].partitions().len()
}

/// Writes one record and waits until the broker has it. `partition` `None` leaves it to murmur2.
pub fn write_record(
    kafka: &Kafka,
    topic: &str,
    partition: Option<i32>,
    key: Option<&str>,
    value: Option<&[u8]>,
) {
    let producer: BaseProducer = client_config(kafka).create().expect("create a producer");
    send(&producer, topic, partition, key, value);
    producer.flush(ANSWER_WITHIN).expect("the broker acknowledges the record");
}

/// A transaction of somebody else that holds back the last stable offset of what it wrote to. It
/// stays open until dropped, and is then aborted.
pub struct OpenTransaction {
    producer: BaseProducer,
}

impl OpenTransaction {
    pub fn begin(kafka: &Kafka, transactional_id: &str) -> OpenTransaction {
        let producer: BaseProducer = client_config(kafka)
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", "120000")
            .create()
            .expect("create a transactional producer");
        producer.init_transactions(ANSWER_WITHIN).expect("initialise transactions");
        producer.begin_transaction().expect("begin a transaction");
        OpenTransaction { producer }
    }

    pub fn write(&self, topic: &str, partition: i32, key: &str, value: &[u8]) {
        send(&self.producer, topic, Some(partition), Some(key), Some(value));
        self.producer.flush(ANSWER_WITHIN).expect("the broker acknowledges the record");
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        // The test is over; the broker would end the transaction by its timeout as well.
        let _ = self.producer.abort_transaction(ANSWER_WITHIN);
    }
}

fn send(
    producer: &BaseProducer,
    topic: &str,
    partition: Option<i32>,
    key: Option<&str>,
    value: Option<&[u8]>,
) {
    let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic);
    record.partition = partition;
    record.key = key;
    record.payload = value;
    producer.send(record).unwrap_or_else(|(error, _)| panic!("write to {topic}: {error}"));
}

fn client_config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("partitioner", "murmur2_random");
    config
}

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    client_config(kafka).create().expect("create an admin client")
}
