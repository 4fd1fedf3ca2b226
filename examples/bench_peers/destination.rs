//! The topic that a backlog goes to: empty before each run, looked at cheaply during it, and read to its end after
//! it, because a run that lost, repeated or altered a row has measured nothing.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::backlog::Backlog;
use crate::beginning::Beginning;
use harness::consumer::{Inbox, Isolation};
use harness::kafka::{create_topic, delete_topic, partition_count};
use harness::scene::Scene;

const WITHIN: Duration = Duration::from_secs(60);

/// Asks for the ends of all partitions at once, as a consumer with this isolation may read to.
pub struct Ends {
    consumer: BaseConsumer,
    topic: String,
    of_all: TopicPartitionList,
}

/// Where the records of a topic are.
pub struct Contents {
    /// Ascending, by partition. Transactions also take offsets, so ends alone do not tell how many came.
    offsets: Vec<Vec<i64>>,
}

/// Makes the topic anew, and waits until the broker is ready to take records.
pub fn renew(scene: &Scene, topic: &str) -> Result<Ends> {
    if partition_count(&scene.kafka, topic) > 0 {
        delete_topic(&scene.kafka, topic);
    }
    let ends = Ends::open(scene, topic, Isolation::ReadUncommitted)?;
    let deadline = Instant::now() + WITHIN;
    let partitions = usize::try_from(scene.partitions)?;
    loop {
        create_topic(&scene.kafka, topic, scene.partitions, &[]);
        if ends.look().is_ok_and(|ends| ends == vec![0; partitions]) {
            return Ok(ends);
        }
        ensure!(Instant::now() < deadline, "{topic} is not empty after {WITHIN:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

impl Ends {
    pub fn open(scene: &Scene, topic: &str, isolation: Isolation) -> Result<Ends> {
        let mut of_all = TopicPartitionList::new();
        for partition in 0..scene.partitions {
            of_all.add_partition_offset(topic, partition, Offset::End)?;
        }
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", scene.kafka.bootstrap())
            .set("group.id", "looks-at-ends")
            .set("isolation.level", isolation.name())
            .create()
            .context("create a consumer")?;
        Ok(Ends { consumer, topic: topic.to_owned(), of_all })
    }

    pub fn look(&self) -> Result<Vec<i64>> {
        let answer = self.consumer.offsets_for_times(self.of_all.clone(), WITHIN)?;
        let of_topic = answer.elements_for_topic(&self.topic);
        of_topic
            .iter()
            .map(|element| match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(end)) => Ok(end),
                (Ok(()), offset) => bail!("the end of {} is {offset:?}", self.topic),
                (Err(error), _) => Err(error).context("ask for the ends"),
            })
            .collect()
    }
}

impl Contents {
    /// Reads the topic to its end, and fails unless it has every row of the backlog once, with the right key and
    /// data, and nothing else.
    pub fn check(backlog: &Backlog, isolation: Isolation) -> Result<Contents> {
        let Beginning { scene, shape, .. } = &backlog.beginning;
        let records = Inbox::read_all(&scene.kafka, &backlog.topic(), isolation);
        let mut offsets = vec![Vec::new(); usize::try_from(scene.partitions)?];
        let mut seen = HashSet::new();
        let mut repeated = 0_u64;
        for record in &records {
            offsets[usize::try_from(record.partition)?].push(record.offset);
            let id_and_data = shape.id_and_data(record);
            let (id, data) = id_and_data.context("a record without its fields")?;
            let (key, written) =
                backlog.contents.get(&id).with_context(|| format!("{id} was never written"))?;
            let is_whole = record.key_text() == *key && data == *written;
            ensure!(is_whole, "{id} came altered: {}", record.value_text());
            repeated += u64::from(!seen.insert(id));
        }
        let lost = backlog.rows - seen.len();
        ensure!(lost == 0 && repeated == 0, "{lost} rows lost, {repeated} repeated");
        offsets.iter_mut().for_each(|of_partition| of_partition.sort_unstable());
        Ok(Contents { offsets })
    }

    /// How many records lie before these ends.
    pub fn records_before(&self, ends: &[i64]) -> usize {
        let before = |(offsets, end): (&Vec<i64>, &i64)| offsets.partition_point(|at| at < end);
        self.offsets.iter().zip(ends).map(before).sum()
    }
}
