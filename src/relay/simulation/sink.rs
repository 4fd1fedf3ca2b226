//! The model of a sink, with each of the three guarantees, as the relay connects to it.

mod conformance;
pub mod flaws;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use self::flaws::{Flaw, has};
use super::broker::{Broker, Fault, Fenced, PARTITIONS, Record, lane_of};
use super::process::Process;
use super::world::Shared;
use crate::batch::{DestinationId, Headers, Limits};
use crate::checkpoint::Checkpoint;
use crate::fate::Fate;
use crate::resend::ResendWindow;
use crate::sink::{
    About, Answer, Answers, Claimed, Connector, Destination, Destinations, Guarantee, Order,
    Publisher, Refused, Running, Sealed, SentRows, Sink, SinkError, SizeLimit, Stored, answers,
};
use crate::telemetry::metrics::ErrorKind;

/// Batches in flight.
const BATCHES_MAX: usize = 3;

/// Connects a process to the broker.
#[derive(Clone)]
pub struct ModelSinks {
    pub shared: Arc<Shared>,
    pub process: Arc<Process>,
    pub guarantee: Guarantee,
    pub limits: Limits,
    /// The relay's name.
    pub name: String,
}

/// A connection to the broker.
pub struct ModelSink {
    sinks: ModelSinks,
    epoch: u64,
    /// The version of the checkpoint that was read.
    version: u64,
}

fn error(fate: Fate, source: &str) -> SinkError {
    let kind = if fate == Fate::MaybeTakenOver { ErrorKind::Fenced } else { ErrorKind::Publish };
    let (sink, hint) = ("the model".to_owned(), Some("none".to_owned()));
    SinkError { fate, kind, hint, about: About::Sink, sink, source: source.to_owned().into() }
}

fn fenced(_: Fenced) -> SinkError {
    error(Fate::MaybeTakenOver, "fenced")
}

impl ModelSinks {
    /// A request to the broker, with what may go wrong with it.
    async fn request<T>(
        &self,
        what: &str,
        apply: impl FnOnce(&mut Broker) -> Result<T, Fenced>,
    ) -> Result<T, SinkError> {
        let ModelSinks { shared, process, .. } = self;
        shared.point(process, || format!("asks the sink to {what}")).await;
        let fault = shared.broker().fault.take();
        match fault {
            Some(Fault::Abort) => return Err(error(Fate::Retry, "the request was lost")),
            Some(Fault::Stall) => tokio::time::sleep(Duration::from_secs(60)).await,
            _ => tokio::time::sleep(Duration::from_micros(shared.below(2_000))).await,
        }
        // A process that stands still by now has sent it.
        let applied = apply(&mut shared.broker());
        shared.tell(|| {
            format!("    the sink did: {what}: {}", if applied.is_ok() { "done" } else { "fenced" })
        });
        shared.point(process, || format!("is answered: {what}")).await;
        match fault {
            Some(Fault::LoseAnswer) => Err(error(Fate::Retry, "the answer was lost")),
            _ => applied.map_err(fenced),
        }
    }
}

impl Connector for ModelSinks {
    type Sink = ModelSink;

    async fn connect(&self, _: Option<usize>) -> Result<ModelSink, SinkError> {
        self.request("connect", |_| Ok(())).await?;
        Ok(ModelSink { sinks: self.clone(), epoch: 0, version: 0 })
    }

    async fn look(&self) -> Result<Option<Checkpoint>, SinkError> {
        self.request("show the checkpoint", |broker| Ok(broker.checkpoint.clone())).await
    }

    async fn stored(&self) -> Result<Option<Checkpoint>, SinkError> {
        self.look().await
    }
}

impl Sink for ModelSink {
    type Destinations = ModelDestinations;

    fn guarantee(&self) -> Guarantee {
        self.sinks.guarantee
    }

    fn cluster_id(&self) -> &str {
        "model"
    }

    async fn fence(&mut self, name: &str) -> Result<(), SinkError> {
        let epoch = self.sinks.request("fence", |broker| Ok(broker.fence(name))).await?;
        if name == self.sinks.name {
            self.epoch = epoch;
        }
        Ok(())
    }

    async fn stored(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        let read = |broker: &mut Broker| Ok((broker.checkpoint.clone(), broker.version));
        let (checkpoint, version) = self.sinks.request("read the checkpoint", read).await?;
        self.version = version;
        Ok(checkpoint)
    }

    async fn claim(self, claim: Checkpoint) -> Result<Claimed<ModelDestinations>, SinkError> {
        let ModelSink { sinks, epoch, version } = self;
        let stored = sinks.request("store the claim", |broker| {
            if broker.version != version && !has(Flaw::ClaimsOverAnother) {
                return Ok(false);
            }
            if has(Flaw::ClaimIsNotStored) {
                return Ok(true);
            }
            broker.store(&sinks.name, epoch, &claim).map(|()| true)
        });
        if !stored.await? {
            return Err(error(Fate::Retry, "another checkpoint was stored"));
        }
        sinks.shared.broker().claimed.push(sinks.process.id);
        let (orders, inbox) = tokio::sync::mpsc::unbounded_channel();
        let (way_back, answers) = answers();
        let (limits, guarantee) = (sinks.limits, sinks.guarantee);
        let topics = Arc::default();
        let work = Work { sinks: sinks.clone(), epoch, topics, answers: way_back };
        let destinations = ModelDestinations {
            sinks: sinks.clone(),
            topics: work.topics.clone(),
            known: Vec::new(),
            ids: HashMap::new(),
        };
        let task = tokio::task::spawn_local(async move {
            let process = work.sinks.process.clone();
            process.run(work.publish(inbox)).await;
        });
        let order = move |order| orders.send(order).is_ok();
        let publisher = Publisher::new(
            "the model".to_owned(),
            order,
            answers,
            Running::Task(task),
            Arc::default(),
        );
        let publisher = if guarantee == Guarantee::Atomic { publisher.paced() } else { publisher };
        let stored = Stored::claim(claim, Vec::new());
        Ok(Claimed { stored, destinations, publisher, limits, batches_max: BATCHES_MAX })
    }
}

/// The topics of a session.
pub struct ModelDestinations {
    sinks: ModelSinks,
    /// Their names, for the publisher.
    topics: Arc<std::sync::Mutex<Vec<String>>>,
    known: Vec<Destination>,
    ids: HashMap<String, DestinationId>,
}

impl Destinations for ModelDestinations {
    fn find(&self, name: &str) -> Option<DestinationId> {
        self.ids.get(name).copied()
    }

    fn get(&self, id: DestinationId) -> &Destination {
        &self.known[id.0 as usize]
    }

    async fn look_up(&mut self, name: &str) -> Result<DestinationId, SinkError> {
        if let Some(id) = self.find(name).filter(|_| !has(Flaw::SecondId)) {
            return Ok(id);
        }
        let read = |broker: &mut Broker| Ok(broker.record_bytes_max);
        let record_bytes_max = self.sinks.request("look up a topic", read).await?;
        let id = DestinationId(self.known.len() as u32);
        self.known.push(Destination { name: name.into(), record_bytes_max });
        self.topics.lock().unwrap().push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }

    async fn sent(
        &mut self,
        id: DestinationId,
        window: &ResendWindow,
    ) -> Result<Option<SentRows>, SinkError> {
        if self.sinks.guarantee != Guarantee::Deduplicated {
            return Ok(None);
        }
        let topic = self.get(id).name.clone();
        let is_of = |record: &&Record| {
            *record.topic == *topic
                && (record.generation == window.generation || has(Flaw::SentOfAnyGeneration))
                && (record.sequence > window.after || has(Flaw::SentBeforeTheWindow))
                && (window.senders.contains(&record.name) || has(Flaw::SentOfAnyName))
        };
        let find = |broker: &mut Broker| {
            let found = broker.records.iter().filter(is_of).map(|record| record.sequence);
            let mut found: HashSet<u64> = found.collect();
            if has(Flaw::SentMissesTheLast)
                && let Some(last) = found.iter().max().copied()
            {
                found.remove(&last);
            }
            Ok(found)
        };
        let sequences = self.sinks.request("look for rows that were sent", find).await?;
        let lane_of = Box::new(|key: Option<&[u8]>, _| lane_of(key));
        Ok(Some(SentRows { sequences, highest: BTreeMap::new(), lane_of }))
    }

    async fn follow_changes(&mut self) {}

    fn stamp(&self, _: &mut Checkpoint, _: Option<&ResendWindow>) {}

    fn checkpoint_bytes_max(&self) -> Option<usize> {
        None
    }

    fn record_bytes(&self, key_len: usize, value_len: usize, headers: Headers<'_>) -> usize {
        key_len + value_len + headers.bytes()
    }

    fn batch_bytes_max(&self) -> usize {
        1 << 20
    }
}

/// What the publisher's thread has in a real sink.
struct Work {
    sinks: ModelSinks,
    epoch: u64,
    topics: Arc<std::sync::Mutex<Vec<String>>>,
    answers: Answers,
}

impl Work {
    async fn publish(self, orders: UnboundedReceiver<Order>) {
        let done = match self.sinks.guarantee {
            Guarantee::Atomic => self.publish_in_transactions(orders).await,
            Guarantee::Deduplicated | Guarantee::AtLeastOnce => self.publish_ahead(orders).await,
        };
        if let Err(error) = done {
            self.answers.send(Err(error));
        }
    }

    fn records(&self, sealed: &Sealed) -> Vec<Record> {
        let topics = self.topics.lock().unwrap();
        let generation = sealed.checkpoint.generation.unwrap_or_default();
        let all = sealed.batch.records().enumerate();
        let records = all.filter(|(_, record)| !record.is_in_kafka || has(Flaw::FoundIsSent));
        let records = records.map(|(index, record)| Record {
            topic: topics[record.topic.0 as usize].clone(),
            partition: self.lane_of(record.key),
            name: self.sinks.name.clone(),
            generation,
            sequence: sealed.first_sequence + index as u64,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        });
        let mut records: Vec<Record> = records.collect();
        for record in &mut records {
            if has(Flaw::NullIsEmpty) {
                record.key.get_or_insert_default();
            }
            if has(Flaw::HeadersSorted) {
                record.headers.sort();
            }
        }
        records
    }

    fn lane_of(&self, key: Option<&[u8]>) -> u32 {
        match has(Flaw::AnyLane) {
            true => self.sinks.shared.below(u64::from(PARTITIONS)) as u32,
            false => lane_of(key),
        }
    }

    /// A topic takes no record above its limit.
    fn refuse(&self, record: &Record) -> Result<(), SinkError> {
        let bytes_max = self.sinks.shared.broker().record_bytes_max;
        let bytes = record.value.as_ref().map_or(0, Vec::len);
        if bytes_max.is_none_or(|bytes_max| bytes < bytes_max) {
            return Ok(());
        }
        let refused = Refused {
            sequence: record.sequence,
            destination: record.topic.clone(),
            limit: SizeLimit::OfRecords,
            fate: Fate::Retry,
            cause: Arc::new(std::io::Error::other("it is too large")),
        };
        Err(SinkError {
            about: About::Record(refused),
            ..error(Fate::Retry, "a record is refused")
        })
    }

    /// A batch and its checkpoint are one transaction.
    async fn publish_in_transactions(
        &self,
        mut orders: UnboundedReceiver<Order>,
    ) -> Result<(), SinkError> {
        while let Some(Order::Publish(sealed)) = orders.recv().await {
            self.answers.send(Ok(Answer::Ready));
            let mut records = self.records(&sealed);
            if has(Flaw::RefusedIsLeftOut) {
                records.retain(|record| self.refuse(record).is_ok());
            }
            records.iter().try_for_each(|record| self.refuse(record))?;
            let what =
                format!("commit {} records up to {}", records.len(), sealed.checkpoint.sequence);
            let commit = |broker: &mut Broker| {
                if sealed.batch.is_empty() && has(Flaw::EmptyIsForgotten) {
                    return Ok(());
                }
                broker.store(&self.sinks.name, self.epoch, &sealed.checkpoint)?;
                broker.records.extend(records);
                Ok(())
            };
            if has(Flaw::NotAtomic) {
                self.commit_apart(&sealed).await?;
            } else {
                self.sinks.request(&what, commit).await?;
            }
            let (published, number, checkpoint) = sealed.published();
            let stored = Stored { checkpoint, value: Vec::new(), number };
            let mut answers = [Answer::Published(published), Answer::Stored(Box::new(stored))];
            if has(Flaw::StoredBeforePublished) {
                answers.reverse();
            }
            answers.into_iter().for_each(|answer| self.answers.send(Ok(answer)));
        }
        Ok(())
    }

    /// The flaw of a sink that has no transactions, and says that it has.
    async fn commit_apart(&self, sealed: &Sealed) -> Result<(), SinkError> {
        let records = self.records(sealed);
        let append = |broker: &mut Broker| {
            broker.ensure_epoch(&self.sinks.name, self.epoch)?;
            broker.records.extend(records);
            Ok(())
        };
        self.sinks.request("append the records", append).await?;
        let store =
            |broker: &mut Broker| broker.store(&self.sinks.name, self.epoch, &sealed.checkpoint);
        self.sinks.request("store the checkpoint", store).await
    }

    /// Records are sent at once, each partition by itself, and the checkpoint follows.
    async fn publish_ahead(&self, mut orders: UnboundedReceiver<Order>) -> Result<(), SinkError> {
        let (shared, process) = (&self.sinks.shared, &self.sinks.process);
        let mut batches: VecDeque<(Sealed, usize)> = VecDeque::new();
        let mut lanes: BTreeMap<(String, u32), VecDeque<Record>> = BTreeMap::new();
        let mut due: Option<(u64, Checkpoint)> = None;
        let (mut is_stopping, mut pauses) = (false, process.pauses());
        loop {
            let is_idle = lanes.is_empty() && due.is_none() && batches.is_empty();
            if is_idle && is_stopping {
                return Ok(());
            }
            let order = if is_idle { orders.recv().await } else { orders.try_recv().ok() };
            let mut is_doubtful = process.pauses() != pauses;
            pauses = process.pauses();
            match order {
                Some(Order::Publish(sealed)) => {
                    is_doubtful |= sealed.is_doubtful;
                    let records = self.records(&sealed);
                    batches.push_back((*sealed, records.len()));
                    for record in records {
                        let lane = (record.topic.clone(), record.partition);
                        lanes.entry(lane).or_default().push_back(record);
                    }
                }
                Some(Order::Stop) if has(Flaw::StopDrops) => return Ok(()),
                Some(Order::Stop) => is_stopping = true,
                None if is_idle => return Ok(()),
                None => {}
            }
            while is_doubtful {
                // It may have been replaced meanwhile. An answer from before another pause says nothing.
                pauses = process.pauses();
                let probe = |broker: &mut Broker| broker.ensure_epoch(&self.sinks.name, self.epoch);
                self.sinks.request("look whether we are fenced", probe).await?;
                is_doubtful = process.pauses() != pauses;
            }
            if !lanes.is_empty() {
                let index = shared.below(lanes.len() as u64) as usize;
                let lane = lanes.keys().nth(index).expect("it is below").clone();
                let records = lanes.get_mut(&lane).expect("it is there");
                let record = match has(Flaw::LaneReversed) {
                    true => records.pop_back(),
                    false => records.pop_front(),
                };
                let record = record.expect("no lane is empty");
                if records.is_empty() {
                    lanes.remove(&lane);
                }
                let sequence = record.sequence;
                self.append(record, pauses).await?;
                let batch = batches.iter_mut().find(|(sealed, _)| {
                    sequence < sealed.first_sequence + sealed.batch.len() as u64
                });
                match batch {
                    Some((_, left)) => *left -= 1,
                    None => assert!(has(Flaw::PublishedEarly), "it is of one"),
                }
            }
            let early = usize::from(has(Flaw::PublishedEarly));
            while batches.front().is_some_and(|(_, left)| *left <= early) {
                let (sealed, _) = batches.pop_front().expect("it was looked at");
                let (published, number, checkpoint) = sealed.published();
                self.answers.send(Ok(Answer::Published(published)));
                due = Some((number, checkpoint));
            }
            if due.is_some() && (batches.is_empty() || shared.below(3) == 0) {
                let (number, checkpoint) = due.take().expect("it was looked at");
                self.store(number, checkpoint).await?;
            }
        }
    }

    /// Stores a checkpoint alone.
    async fn store(&self, number: u64, checkpoint: Checkpoint) -> Result<(), SinkError> {
        let what = format!("store the checkpoint {}", checkpoint.sequence);
        let ahead = u64::from(has(Flaw::CheckpointAhead));
        let to_store = Checkpoint { sequence: checkpoint.sequence + ahead, ..checkpoint.clone() };
        let store = |broker: &mut Broker| broker.store(&self.sinks.name, self.epoch, &to_store);
        match self.sinks.request(&what, store).await {
            Err(_) if has(Flaw::GoesOnWhenFenced) => return Ok(()),
            stored => stored?,
        }
        let stored = Stored { checkpoint, value: Vec::new(), number };
        self.answers.send(Ok(Answer::Stored(Box::new(stored))));
        Ok(())
    }

    /// A producer without a transaction is not fenced.
    /// `pauses`: of the process, when it was last known that it is not fenced.
    async fn append(&self, record: Record, pauses: u32) -> Result<(), SinkError> {
        match self.refuse(&record) {
            Err(_) if has(Flaw::RefusedIsLeftOut) => return Ok(()),
            accepted => accepted?,
        }
        let what = format!("append {} to {}-{}", record.sequence, record.topic, record.partition);
        let process = &self.sinks.process;
        self.sinks
            .request(&what, |broker| {
                if process.pauses() != pauses {
                    // It had not left when the process was paused, and is looked at before it does.
                    broker.ensure_epoch(&self.sinks.name, self.epoch)?;
                }
                broker.records.push(record);
                Ok(())
            })
            .await
    }
}
