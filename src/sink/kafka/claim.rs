//! Turns fenced clients into a claimed sink: stores the claim, and starts the publisher's thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::destinations::KafkaDestinations;
use super::error::sink_name;
use super::idempotent::{self, Event, Idempotent};
use super::orders::{Answers, GiveOrder, Order};
use super::transactional::{self, Transactional};
use super::{Error, Kafka, KafkaSink, Producers, PublishError, Seen};
use crate::checkpoint::Checkpoint;
use crate::failpoint::failpoint;
use crate::sink::{self, Claimed, Publisher, SinkError, Stored};

/// Stores the claim and starts to publish.
pub(super) async fn claim(
    sink: KafkaSink,
    claim: Checkpoint,
) -> Result<Claimed<KafkaDestinations>, SinkError> {
    let KafkaSink { kafka, batch_bytes_max, topics, producers, seen, .. } = sink;
    let (Producers::Fenced { lanes, idempotent }, Some(seen)) = (producers, seen) else {
        unreachable!("a sink is claimed after it was fenced and read")
    };
    let (lanes, stored) = store(&kafka, lanes, claim, seen).await?;
    let (publisher, give, batches_max) = match idempotent {
        Some(idempotent) => {
            let (publisher, give) = start_idempotent(&kafka, *idempotent, lanes, &stored)?;
            (publisher, give, idempotent::BATCHES_MAX)
        }
        None => {
            let (publisher, give) = start_transactional(&kafka, lanes)?;
            (publisher, give, transactional::LANES)
        }
    };
    let limits = kafka.batch_limits();
    let batch_bytes_max = batch_bytes_max.or_else(|| kafka.configured_batch_size());
    let destinations =
        KafkaDestinations::new(kafka, topics, give, batch_bytes_max, &stored.checkpoint);
    Ok(Claimed { stored, destinations, publisher, limits, batches_max })
}

/// Stores the claim, unless its offset in the topic shows that there is a later checkpoint than ours.
async fn store(
    kafka: &Kafka,
    mut lanes: Transactional,
    claim: Checkpoint,
    seen: Seen,
) -> Result<(Transactional, Stored), SinkError> {
    let stored = move || {
        let sent = lanes.send_claim(&claim)?;
        failpoint!("claim-acknowledged");
        if let Err(error) = seen.ensure_last_before(sent.partition, sent.offset) {
            lanes.abort_claim();
            return Err(Error::from(error));
        }
        lanes.commit_claim()?;
        failpoint!("claim-committed");
        Ok((lanes, Stored::claim(claim, sent.value)))
    };
    kafka.blocking(stored).await
}

/// Each batch and its checkpoint are one transaction.
fn start_transactional(
    kafka: &Kafka,
    lanes: Transactional,
) -> Result<(Publisher, GiveOrder), SinkError> {
    let (orders, inbox) = mpsc::channel();
    let (cut_off, wakeup) = (lanes.cut_off(), lanes.wakeup());
    let give: GiveOrder = Arc::new(move |order| {
        let is_taken = orders.send(order).is_ok();
        wakeup.wake();
        is_taken
    });
    let run = move |answers: &Answers| lanes.run(&inbox, answers);
    let publisher = start(kafka, give.clone(), cut_off, run)?;
    Ok((publisher.paced(), give))
}

/// Records are sent at once, and the checkpoint follows them.
fn start_idempotent(
    kafka: &Kafka,
    idempotent: Idempotent,
    lanes: Transactional,
    claim: &Stored,
) -> Result<(Publisher, GiveOrder), SinkError> {
    let events = idempotent.events();
    let (cut_off, is_stopping) = (idempotent.cut_off(), idempotent.is_stopping());
    let give: GiveOrder = Arc::new(move |order| {
        if let Order::Stop = &order {
            is_stopping.store(true, Ordering::Relaxed);
        }
        events.send(Event::Order(order)).is_ok()
    });
    let claim = claim.checkpoint.clone();
    let run = move |answers: &Answers| idempotent.run(lanes, claim, answers);
    let publisher = start(kafka, give.clone(), cut_off, run)?;
    Ok((publisher, give))
}

fn start(
    kafka: &Kafka,
    give: GiveOrder,
    cut_off: Arc<std::sync::atomic::AtomicBool>,
    run: impl FnOnce(&Answers) -> Result<(), PublishError> + Send + 'static,
) -> Result<Publisher, SinkError> {
    let brokers = kafka.connection.to_string();
    let name = sink_name(&brokers);
    let (way_back, answers) = sink::answers();
    let run = move |to: &sink::Answers| {
        let answers = Answers::new(to.clone(), brokers);
        run(&answers).map_err(|error| answers.named(error))
    };
    let thread = sink::start_thread(name.clone(), way_back, run);
    let thread = thread.map_err(|error| kafka.failed(PublishError::Thread(error)))?;
    let order = move |order: sink::Order| give(order.into());
    Ok(Publisher::new(name, order, answers, thread, cut_off))
}
