//! Who writes at the times of a schedule: sessions in MySQL that take turns, or a producer without MySQL.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::marks::Marks;
use crate::events::{event, record};
use harness::ledger::OutboxRow;
use harness::scene::Scene;
use harness::workload::insert_rows;

/// They take turns, so that one slow commit does not hold the next row up.
const CONNECTIONS: usize = 8;
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

pub type Writer = JoinHandle<Result<()>>;

/// Each writes every `CONNECTIONS`th transaction.
pub fn start_writers(scene: &Scene, topic: &str, marks: &Arc<Marks>) -> Result<Vec<Writer>> {
    (0..CONNECTIONS)
        .map(|first| {
            let mut sql = scene.sql();
            let (topic, marks) = (topic.to_owned(), Arc::clone(marks));
            let write = move || {
                for number in (first..marks.schedule.transactions).step_by(CONNECTIONS) {
                    let rows: Vec<OutboxRow> =
                        marks.rows_of(number).map(|number| event(number, &topic)).collect();
                    marks.wait_until_due(number);
                    insert_rows(&mut sql, "events", &rows);
                    marks.note_committed(number, Instant::now());
                }
                Ok(())
            };
            Ok(thread::Builder::new().name(format!("writer-{first}")).spawn(write)?)
        })
        .collect()
}

/// Writes the same records straight to Kafka: there, sending takes the place of the commit.
pub fn start_producer(bootstrap: &str, topic: &str, marks: &Arc<Marks>) -> Result<Writer> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "0")
        // Reports are read one set a transaction: those of a busy second may be late.
        .set("queue.buffering.max.messages", "0")
        .create()
        .context("create a producer")?;
    let (topic, marks) = (topic.to_owned(), Arc::clone(marks));
    let write = move || {
        for number in 0..marks.schedule.transactions {
            let records: Vec<_> =
                marks.rows_of(number).map(|number| record(number, &topic)).collect();
            marks.wait_until_due(number);
            let sent_at = Instant::now();
            for (key, value) in &records {
                let sent = producer.send(BaseRecord::to(&topic).key(key).payload(value));
                sent.map_err(|(error, _)| anyhow!("write to {topic}: {error}"))?;
            }
            marks.note_committed(number, sent_at);
            producer.poll(Duration::ZERO);
        }
        producer.flush(ACKNOWLEDGED_WITHIN).context("wait for acknowledgements")
    };
    Ok(thread::Builder::new().name("producer".to_owned()).spawn(write)?)
}
