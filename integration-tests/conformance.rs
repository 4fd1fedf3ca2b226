//! Kafka keeps the promise that every sink gives, in both deliveries: the suite of the library, against a real broker.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binlog_relay::batch::Limits;
use binlog_relay::checkpoint::CheckpointOptions;
use binlog_relay::delivery::Delivery;
use binlog_relay::sink::kafka::connection::KafkaOptions;
use binlog_relay::sink::kafka::topics::TopicOptions;
use binlog_relay::sink::kafka::{self, PublishOptions};
use binlog_relay::sink::{About, Answer, Destinations, Guarantee};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use harness::consumer::{Isolation, consumer};
use harness::kafka::{create_compacted_topic, create_topic};
use harness::servers::{Kafka, shared_kafka};

#[allow(
    clippy::unwrap_used,
    dead_code,
    reason = "it is a test, and no sink here has each guarantee"
)]
#[path = "../src/sink/conformance/mod.rs"]
mod suite;

use self::suite::rows::Row;
use self::suite::{SeenRecord, Subject, claims, session};

const PARTITIONS: i32 = 3;

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A place on the shared broker that no other test has.
struct OnKafka {
    kafka: Arc<Kafka>,
    delivery: Delivery,
    creates_topics: bool,
    prefix: String,
}

impl OnKafka {
    fn new(delivery: Delivery, creates_topics: bool) -> OnKafka {
        let kafka = shared_kafka();
        let prefix = format!("conformance-{:08x}", rand::random::<u32>());
        let on_kafka = OnKafka { kafka, delivery, creates_topics, prefix };
        if !creates_topics {
            for label in ["0", "1"] {
                create_topic(&on_kafka.kafka, &on_kafka.destination(label), PARTITIONS, &[]);
            }
            create_compacted_topic(&on_kafka.kafka, &on_kafka.checkpoint_topic(), 1);
        }
        on_kafka
    }

    fn checkpoint_topic(&self) -> String {
        format!("{}.checkpoints", self.prefix)
    }
}

impl Subject for OnKafka {
    type Connector = kafka::Kafka;

    fn guarantee(&self) -> Guarantee {
        match self.delivery {
            Delivery::ExactlyOnce => Guarantee::Atomic,
            Delivery::Idempotent => Guarantee::Deduplicated,
        }
    }

    fn relay(&self, label: &str) -> String {
        format!("{}-{label}", self.prefix)
    }

    fn connector(&self, name: &str) -> kafka::Kafka {
        kafka::Kafka {
            connection: KafkaOptions {
                bootstrap_servers: self.kafka.bootstrap().to_owned(),
                properties: BTreeMap::new(),
            },
            topics: TopicOptions {
                dead_letter_topics: Vec::new(),
                create: self.creates_topics,
                partitions: Some(PARTITIONS),
                replication: None,
                topics_max: 10,
                delivery: self.delivery,
            },
            checkpoint: CheckpointOptions {
                topic: self.checkpoint_topic(),
                key: "orders".to_owned(),
            },
            publish: PublishOptions {
                name: name.to_owned(),
                transaction_timeout: Duration::from_secs(30),
                delivery: self.delivery,
            },
            limits: Limits { records_max: 10_000, bytes_max: 16 << 20 },
        }
    }

    fn destination(&self, label: &str) -> String {
        format!("{}.{label}", self.prefix)
    }

    fn moment_max(&self) -> Duration {
        Duration::from_millis(400)
    }

    async fn records(&self, destination: &str) -> Vec<SeenRecord> {
        let isolation = match self.delivery {
            Delivery::ExactlyOnce => Isolation::ReadCommitted,
            Delivery::Idempotent => Isolation::ReadUncommitted,
        };
        let (kafka, topic) = (self.kafka.clone(), destination.to_owned());
        let read = move || read_settled(kafka.bootstrap(), &topic, isolation);
        tokio::task::spawn_blocking(read).await.expect("the topic is read")
    }
}

/// All that is readable in a topic once the transactions that are open now have ended.
fn read_settled(bootstrap: &str, topic: &str, isolation: Isolation) -> Vec<SeenRecord> {
    let all = consumer(bootstrap, Isolation::ReadUncommitted);
    let metadata = all.fetch_metadata(Some(topic), ANSWER_WITHIN).expect("ask for a topic");
    let count = i32::try_from(metadata.topics()[0].partitions().len()).expect("partitions");
    let reader = consumer(bootstrap, isolation);
    let deadline = Instant::now() + ANSWER_WITHIN;
    // A topic that was made just now may have a partition whose leader does not know that it leads.
    let end = |consumer: &BaseConsumer, partition| loop {
        match consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN) {
            Ok((_, end)) => return end,
            Err(error) => assert!(Instant::now() < deadline, "the end of {topic}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    for partition in 0..count {
        let written = end(&all, partition);
        while end(&reader, partition) < written {
            assert!(Instant::now() < deadline, "a transaction does not end in {topic}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let mut assignment = TopicPartitionList::new();
    for partition in 0..count {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a place");
    }
    reader.assign(&assignment).expect("assign partitions");
    // A partition that grows meanwhile has more than one end.
    let (mut records, mut at_end) = (Vec::new(), HashSet::new());
    while at_end.len() < count as usize {
        match reader.poll(deadline.saturating_duration_since(Instant::now())) {
            Some(Ok(message)) => records.push(record(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                at_end.insert(partition);
            }
            Some(Err(error)) => assert!(Instant::now() < deadline, "read {topic}: {error}"),
            None => panic!("{topic} is not read to its end"),
        }
    }
    records
}

/// The relay's own header is the first.
fn record(message: &BorrowedMessage<'_>) -> SeenRecord {
    let headers = message.headers().expect("each record has a header");
    let mut headers = headers.iter();
    let own = headers.next().expect("each record has a header");
    assert_eq!(own.key, "relay-sequence");
    let value = str::from_utf8(own.value.expect("it has a value")).expect("it is text");
    let (name, number) = value.rsplit_once(':').expect("it begins with the relay's name");
    let (generation, sequence) = number.split_once('-').expect("it has two numbers");
    let number = |digits| u64::from_str_radix(digits, 16).expect("they are hexadecimal");
    SeenRecord {
        lane: u32::try_from(message.partition()).expect("partitions count from 0"),
        name: name.to_owned(),
        generation: number(generation),
        sequence: number(sequence),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec))).collect(),
    }
}

fn run(delivery: Delivery, creates_topics: bool, check: impl AsyncFnOnce(OnKafka)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(check(OnKafka::new(delivery, creates_topics)));
}

/// Creates a topic of one partition, on a thread without a runtime of its own.
async fn create(on_kafka: &OnKafka, topic: &str, setting: &'static str, value: &str) {
    let (kafka, topic, value) = (on_kafka.kafka.clone(), topic.to_owned(), value.to_owned());
    let create = move || create_topic(&kafka, &topic, 1, &[(setting, &value)]);
    tokio::task::spawn_blocking(create).await.expect("the topic is created");
}

/// Publishes a record alone. Answers with the number and the destination of the row that was refused, if it was.
async fn publish_alone(on_kafka: &OnKafka, topic: &str, row: &Row) -> Option<(u64, String)> {
    let mut session = session::start(on_kafka, session::NAME).await;
    let id = session.destinations.look_up(topic).await.expect("the topic is there");
    let mut batch = session.empty();
    row.push(&mut batch, id, false);
    batch.mark_boundary();
    session.publish_batch(batch).await.expect("it is ordered");
    let refused = loop {
        match session.answer().await {
            Ok(Answer::Stored(_)) => break None,
            Ok(_) => {}
            Err(error) => match error.about {
                About::Record(refused) => break Some((refused.sequence, refused.destination)),
                _ => panic!("{error}"),
            },
        }
    };
    session.stop().await;
    refused
}

#[test]
fn a_record_with_headers_has_the_size_that_its_topic_counts() {
    let value: Vec<u8> = (0..600).map(|_| rand::random()).collect();
    let row = Row { value: Some(value), ..Row::of(45) };
    assert!(row.key.is_none() && row.headers.len() > 3);
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        run(delivery, true, async |on_kafka| {
            let session = session::start(&on_kafka, session::NAME).await;
            let mut batch = session.empty();
            row.push(&mut batch, session.id(0), false);
            let headers = batch.record(0).headers;
            let bytes = session.destinations.record_bytes(0, 600, headers);
            session.stop().await;
            for (label, bytes_max) in [("just", bytes), ("below", bytes - 1)] {
                let topic = on_kafka.destination(label);
                let limit = bytes_max.to_string();
                create(&on_kafka, &topic, "max.message.bytes", &limit).await;
                let refused = publish_alone(&on_kafka, &topic, &row).await;
                assert_eq!(refused.is_some(), bytes_max < bytes, "{bytes_max} of {bytes}");
            }
        });
    }
}

#[test]
fn a_record_without_a_key_is_named_where_a_compacted_topic_refuses_it() {
    for delivery in [Delivery::ExactlyOnce, Delivery::Idempotent] {
        run(delivery, true, async |on_kafka| {
            let topic = on_kafka.destination("compacted");
            create(&on_kafka, &topic, "cleanup.policy", "compact").await;
            let refused = publish_alone(&on_kafka, &topic, &Row::of(9)).await;
            assert_eq!(refused, Some((1, topic.clone())));
            // A tombstone with a key is welcome there.
            let tombstone = Row { value: None, ..Row::of(2) };
            assert_eq!(publish_alone(&on_kafka, &topic, &tombstone).await, None);
        });
    }
}

mod exactly_once {
    use super::*;

    fn run(check: impl AsyncFnOnce(OnKafka)) {
        super::run(Delivery::ExactlyOnce, true, check);
    }

    claims!(all, run);
    claims!(atomic, run);
}

mod idempotent {
    use super::*;

    fn run(check: impl AsyncFnOnce(OnKafka)) {
        super::run(Delivery::Idempotent, true, check);
    }

    claims!(all, run);
    claims!(deduplicated, run);
}

mod without_creating_topics {
    use super::*;

    fn run(check: impl AsyncFnOnce(OnKafka)) {
        super::run(Delivery::ExactlyOnce, false, check);
    }

    claims!(@tests run: a_destination_that_is_not_there_is_created_or_refused);
}
