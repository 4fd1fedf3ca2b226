//! The topic that a backlog goes to: empty before each run, and afterwards read to its end, because a run
//! that lost or repeated a row has measured nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::backlog::Backlog;
use crate::load::{ENTITIES, ID_PREFIX};
use harness::consumer::Isolation;
use harness::kafka::{create_topic, delete_topic};
use harness::relay::RelaySequence;
use harness::scene::Scene;

/// For making a topic, and for reading one to its end.
const WITHIN: Duration = Duration::from_secs(120);

pub struct Destination<'a> {
    scene: &'a Scene,
    topic: String,
    exists: bool,
}

/// A record as the relay made it, to be sent by a bare producer.
struct Example {
    sequence: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Destination<'_> {
    pub fn of(scene: &Scene) -> Destination<'_> {
        Destination { scene, topic: scene.topic("event"), exists: false }
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Makes the topic, or makes it anew, and waits until the broker is ready to take records.
    pub fn renew(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.exists, true) {
            delete_topic(&self.scene.kafka, &self.topic);
        }
        create_topic(&self.scene.kafka, &self.topic, self.scene.partitions, &[]);
        let consumer = self.consumer(Isolation::ReadUncommitted)?;
        let deadline = Instant::now() + WITHIN;
        let is_empty = |partition: i32| {
            consumer
                .fetch_watermarks(&self.topic, partition, WITHIN)
                .is_ok_and(|ends| ends == (0, 0))
        };
        while !(0..self.scene.partitions).all(is_empty) {
            ensure!(Instant::now() < deadline, "{} is not empty after {WITHIN:?}", self.topic);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Fails unless the topic has every row of the backlog once, and nothing else.
    pub fn check(&self, backlog: &Backlog, isolation: Isolation) -> Result<()> {
        let mut seen = vec![false; usize::try_from(backlog.rows)?];
        let mut repeated = 0_u64;
        self.read(isolation, |record| {
            let number = number_of(record)?;
            let mark = seen.get_mut(number).context("a row that was never written")?;
            repeated += u64::from(std::mem::replace(mark, true));
            Ok(())
        })?;
        let lost = seen.iter().filter(|seen| !**seen).count();
        ensure!(
            lost == 0 && repeated == 0,
            "{}: {lost} rows lost, {repeated} repeated",
            self.topic
        );
        Ok(())
    }

    /// Writes the relay's records, in its order, to a file that [`crate::produce`] reads: of each, the lengths of
    /// key and value as four bytes, little-endian, and the two.
    pub fn save(&self, isolation: Isolation, path: &Path) -> Result<()> {
        let mut examples = Vec::new();
        self.read(isolation, |record| {
            let header = record.headers().context("no headers")?.get(0);
            let sequence = header.value.and_then(RelaySequence::parse).context("no sequence")?;
            examples.push(Example {
                sequence: sequence.sequence,
                key: record.key().context("no key")?.to_vec(),
                value: record.payload().context("no value")?.to_vec(),
            });
            Ok(())
        })?;
        examples.sort_by_key(|example| example.sequence);
        let mut file = BufWriter::new(File::create(path).context("create the file of records")?);
        for Example { key, value, .. } in &examples {
            file.write_all(&u32::try_from(key.len())?.to_le_bytes())?;
            file.write_all(&u32::try_from(value.len())?.to_le_bytes())?;
            file.write_all(key)?;
            file.write_all(value)?;
        }
        file.flush().context("write the file of records")
    }

    fn read(
        &self,
        isolation: Isolation,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
    ) -> Result<()> {
        let consumer = self.consumer(isolation)?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..self.scene.partitions {
            assignment.add_partition_offset(&self.topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let deadline = Instant::now() + WITHIN;
        let mut at_end = HashSet::new();
        while at_end.len() < assignment.count() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    take(&record).with_context(|| format!("a record of {}", self.topic))?;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    at_end.insert(partition);
                }
                Some(Err(error)) => bail!("read {}: {error}", self.topic),
                None => {
                    ensure!(Instant::now() < deadline, "the end of {} is not reached", self.topic)
                }
            }
        }
        Ok(())
    }

    fn consumer(&self, isolation: Isolation) -> Result<BaseConsumer> {
        let created = ClientConfig::new()
            .set("bootstrap.servers", self.scene.kafka.bootstrap())
            .set("group.id", "reads-by-assignment")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", isolation.name())
            .create();
        created.context("create a consumer")
    }
}

/// The number of the row that a record is of; its key must be that row's.
fn number_of(record: &BorrowedMessage<'_>) -> Result<usize> {
    let value = record.payload().context("no value")?;
    let id =
        value.strip_prefix(br#"{"id":""#).and_then(|rest| rest.strip_prefix(ID_PREFIX.as_bytes()));
    let digits = std::str::from_utf8(id.and_then(|id| id.get(..16)).context("no id of a row")?)?;
    let number = u64::from_str_radix(digits, 16).context("no id of a row")?;
    let key = format!("order-{}", number % ENTITIES);
    ensure!(record.key() == Some(key.as_bytes()), "row {number} has another key");
    Ok(usize::try_from(number)?)
}
