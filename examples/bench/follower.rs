//! A consumer that follows a topic and notes each record as it comes; nothing else is done on its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::events::number_in;
use harness::consumer::Isolation;
use harness::scene::Scene;

pub struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Follower {
    /// Follows from the beginning; `note` gets each row's number and the moment its record was there.
    pub fn start(
        scene: &Scene,
        topic: &str,
        isolation: Isolation,
        note: impl Fn(usize, Instant) + Send + 'static,
    ) -> Result<Follower> {
        let consumer = consumer(scene, topic, isolation)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let follow = move || {
            while !stopped.load(Ordering::Relaxed) {
                // It returns as soon as a record is there. What fails, such as a connection, shows as rows
                // that are not seen.
                if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                    let now = Instant::now();
                    let value = record.payload().context("a record without value")?;
                    note(number_in(value).context("a record of no row")?, now);
                }
            }
            Ok(())
        };
        let thread = thread::Builder::new().name("follower".to_owned()).spawn(follow)?;
        Ok(Follower { stop, thread: Some(thread) })
    }

    /// Ends it, and says whether it saw anything that was no row's record.
    pub fn stop(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the consumer panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Whoever did not ask has another error already.
        let _ = self.join();
    }
}

fn consumer(scene: &Scene, topic: &str, isolation: Isolation) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", scene.kafka.bootstrap())
        .set("group.id", "reads-by-assignment")
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation.name())
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "10")
        .create()
        .context("create a consumer")?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..scene.partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment).context("assign partitions")?;
    Ok(consumer)
}
