//! Overlapping transactions: each lane carries one. The next one is sent while earlier ones are being acknowledged and
//! committed.
//!
//! The order holds for two reasons. First, a record is sent to its partition only when all earlier records there are
//! acknowledged, or came from the same producer ([`Partitions`]). Second, a transaction is committed only after the
//! previous one. So the committed transactions are always the first ones in stream order, and the last committed
//! checkpoint says which.
//!
//! The first record that waits for a partition is held by its own producer, which adds the partition to its transaction
//! meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::committer::Committer;
use super::lane::{Lane, TopicPartition};
use super::{CHECKPOINT_PARTITION, LANES, Transactional};
use crate::batch::{DestinationId, Headers, RecordRef};
use crate::checkpoint::CheckpointOptions;
use crate::failpoint::failpoint;
use crate::sink::kafka::client::Record;
use crate::sink::kafka::orders::{Answers, Order};
use crate::sink::kafka::partitions::{Admission, PartitionId, Partitions, Waiting, index_of};
use crate::sink::kafka::reports::{Tag, Wakeup};
use crate::sink::kafka::sequence::SequenceHeader;
use crate::sink::kafka::{PublishError, PublishOptions, SERVE_INTERVAL};
use crate::sink::{Sealed, Stored};

/// The next transaction begins when at most this many records of the previous one are unacknowledged. If it began
/// sooner, a backlog would be cut into transactions that are too small to be worth their cost.
const UNACKNOWLEDGED_MAX: usize = 32;

/// The next transaction begins when the previous checkpoint is acknowledged, or this long after the previous
/// transaction began, whichever is sooner. So its partitions are added while the previous records are in flight.
const PACE: Duration = Duration::from_millis(5);

/// Before that checkpoint is acknowledged, at most this many records of the previous transaction may be unacknowledged.
/// With more, the brokers are busy, and larger transactions cost them less.
const EARLY_UNACKNOWLEDGED_MAX: usize = 16;

/// The publisher's thread.
pub(super) struct Overlap<'a> {
    lanes: Vec<Lane>,
    next_lane: usize,
    /// By topic and partition.
    topics: Vec<Vec<PartitionId>>,
    partitions: Partitions<LANES>,
    /// By the partition's id.
    topic_partitions: Vec<TopicPartition>,
    /// Ordered batches whose transaction has not begun.
    waiting: VecDeque<Sealed>,
    /// In stream order. The first one is being committed, or will be next.
    open: VecDeque<Open>,
    committer: Committer,
    /// Partitions of the records that were just acknowledged. Kept to reuse its memory, like the following fields.
    acknowledged: Vec<PartitionId>,
    /// Partitions that each lane is to release.
    released: [Vec<TopicPartition>; LANES],
    /// Records of the transaction that is just beginning: to hold, and to send.
    held: Vec<TopicPartition>,
    admitted: Vec<Tag>,
    wakeup: Arc<Wakeup>,
    options: PublishOptions,
    checkpoint: CheckpointOptions,
    cut_off: Arc<AtomicBool>,
    answers: &'a Answers,
    /// The line was told that the next transaction may begin.
    is_ready_told: bool,
    is_stopping: bool,
}

/// An open transaction.
struct Open {
    lane: usize,
    sealed: Sealed,
    /// The record of its checkpoint, as bytes.
    value: Vec<u8>,
    header: SequenceHeader,
    begun_at: Instant,
    report_by: Instant,
    is_committing: bool,
}

impl<'a> Overlap<'a> {
    pub fn new(
        transactional: Transactional,
        answers: &'a Answers,
    ) -> Result<Overlap<'a>, PublishError> {
        let Transactional {
            lanes,
            next_lane,
            options,
            checkpoint,
            checkpoint_partition,
            cut_off,
            wakeup,
        } = transactional;
        let partition = checkpoint_partition.ok_or(PublishError::NoOffset)?;
        let committer = Committer::start(options.transaction_timeout, wakeup.clone());
        let mut partitions = Partitions::new();
        let id = partitions.add();
        debug_assert_eq!(id, CHECKPOINT_PARTITION);
        // The acknowledgement of the claim belongs to no batch.
        lanes.iter().for_each(|lane| lane.acknowledgements.expect(0));
        Ok(Overlap {
            lanes,
            next_lane,
            topics: Vec::new(),
            partitions,
            topic_partitions: vec![TopicPartition { topic: None, partition }],
            waiting: VecDeque::new(),
            open: VecDeque::new(),
            committer: committer.map_err(PublishError::Thread)?,
            acknowledged: Vec::new(),
            released: Default::default(),
            held: Vec::new(),
            admitted: Vec::new(),
            wakeup,
            options,
            checkpoint,
            cut_off,
            answers,
            is_ready_told: true,
            is_stopping: false,
        })
    }

    pub fn run(mut self, orders: &Receiver<Order>) -> Result<(), PublishError> {
        while !(self.is_stopping && self.open.is_empty() && self.waiting.is_empty()) {
            if let Err(error) = self.advance(orders) {
                self.abort_behind(&error);
                return Err(error);
            }
            let begins_in = self.begins_at().map(|at| at.saturating_duration_since(Instant::now()));
            self.wakeup.wait(begins_in.unwrap_or(SERVE_INTERVAL));
        }
        Ok(())
    }

    /// Does all work that is due.
    fn advance(&mut self, orders: &Receiver<Order>) -> Result<(), PublishError> {
        self.take_orders(orders)?;
        self.take_acknowledgements()?;
        self.take_committed()?;
        self.commit_first()?;
        while self.begin_next()? {}
        self.tell_ready();
        Ok(())
    }

    /// Tells the line when another batch would be sent at once.
    fn tell_ready(&mut self) {
        if self.begins_at().is_some_and(|at| at <= Instant::now()) {
            self.is_ready_told = true;
            self.answers.ready();
        }
    }

    /// When another transaction may begin; `None` until something changes that.
    fn begins_at(&self) -> Option<Instant> {
        let is_free = self.open.len() < self.lanes.len() && self.waiting.is_empty();
        if self.is_ready_told || !is_free || self.partitions.is_waited_for(CHECKPOINT_PARTITION) {
            return None;
        }
        let Some(last) = self.open.back() else { return Some(Instant::now()) };
        let missing = self.lanes[last.lane].acknowledgements.missing();
        if self.partitions.has_in_flight(CHECKPOINT_PARTITION) {
            (missing <= EARLY_UNACKNOWLEDGED_MAX).then_some(last.begun_at + PACE)
        } else {
            (missing <= UNACKNOWLEDGED_MAX).then_some(last.begun_at)
        }
    }

    fn take_orders(&mut self, orders: &Receiver<Order>) -> Result<(), PublishError> {
        loop {
            match orders.try_recv() {
                Ok(Order::Publish(sealed)) => self.waiting.push_back(*sealed),
                Ok(Order::LearnTopic { name, partitions, .. }) => {
                    self.lanes.iter_mut().try_for_each(|lane| lane.learn_topic(&name))?;
                    self.topics.push(Vec::new());
                    self.add_partitions(self.topics.len() - 1, partitions);
                }
                Ok(Order::GrowTopic { id, partitions }) => {
                    self.lanes.iter().for_each(|lane| lane.learn_partitions(id));
                    self.add_partitions(id.0 as usize, partitions);
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                    self.is_stopping = true;
                    return Ok(());
                }
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    /// The topic has this number of partitions now.
    fn add_partitions(&mut self, topic: usize, count: u32) {
        let id = DestinationId(u32::try_from(topic).expect("fewer topics than 2^32"));
        let known = u32::try_from(self.topics[topic].len()).expect("fewer partitions than 2^32");
        for number in known..count {
            self.topics[topic].push(self.partitions.add());
            let number = i32::try_from(number).expect("fewer partitions than 2^31");
            self.topic_partitions.push(TopicPartition { topic: Some(id), partition: number });
        }
    }

    /// Reads the reports, and sends the records that waited for them.
    fn take_acknowledgements(&mut self) -> Result<(), PublishError> {
        for lane in &self.lanes {
            lane.serve();
            lane.acknowledgements.take_acknowledged(&mut self.acknowledged);
        }
        if self.acknowledged.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        for &id in &acknowledged {
            if let Some(lane) = self.partitions.note_acknowledged(id, now) {
                self.released[lane].push(self.topic_partitions[id.0 as usize]);
            }
        }
        for &id in &acknowledged {
            while let Some((record, admission)) = self.partitions.next(id, now) {
                self.send_waiting(id, record, admission)?;
            }
        }
        // Last, so that released records leave together with later ones.
        self.release()?;
        acknowledged.clear();
        self.acknowledged = acknowledged;
        Ok(())
    }

    fn release(&mut self) -> Result<(), PublishError> {
        for (lane, released) in self.lanes.iter().zip(&mut self.released) {
            if !released.is_empty() {
                lane.release(released)?;
                released.clear();
            }
        }
        Ok(())
    }

    fn take_committed(&mut self) -> Result<(), PublishError> {
        while let Some(committed) = self.committer.try_committed() {
            let Open { lane, sealed, value, .. } =
                self.open.pop_front().expect("only what is open is committed");
            let committed = committed.map_err(PublishError::from)?;
            let lane = &self.lanes[lane];
            committed.map_err(|error| lane.classify_commit(error))?;
            self.cut_off.store(false, Ordering::Relaxed);
            let (published, number, checkpoint) = sealed.published();
            self.answers.published(published);
            self.answers.stored(Stored { number, checkpoint, value });
        }
        Ok(())
    }

    /// Orders the commit of the first transaction as soon as it is acknowledged. A refusal in any transaction ends all
    /// of them.
    fn commit_first(&mut self) -> Result<(), PublishError> {
        for (index, open) in self.open.iter_mut().enumerate().filter(|(_, it)| !it.is_committing) {
            let lane = &self.lanes[open.lane];
            let is_acknowledged = lane.is_acknowledged(open.report_by);
            let is_acknowledged = is_acknowledged.map_err(|error| open.of_rows(error))?;
            if is_acknowledged && index == 0 {
                open.is_committing = true;
                failpoint!("records-acknowledged");
                self.committer.commit(lane.client.clone());
            }
        }
        Ok(())
    }

    /// Begins the transaction of the next batch. Returns `false` if none waits, or no lane is free.
    fn begin_next(&mut self) -> Result<bool, PublishError> {
        if self.open.len() == self.lanes.len() {
            return Ok(false);
        }
        let Some(sealed) = self.waiting.pop_front() else { return Ok(false) };
        let lane = self.next_lane;
        self.next_lane = (lane + 1) % self.lanes.len();
        self.lanes[lane].begin(sealed.batch.unsent() + 1)?;
        let generation = sealed.checkpoint.generation.unwrap_or_default();
        self.open.push_back(Open {
            lane,
            value: sealed.checkpoint.to_json(),
            sealed,
            header: SequenceHeader::new(&self.options.name, generation),
            begun_at: Instant::now(),
            report_by: self.lanes[lane].report_by(),
            is_committing: false,
        });
        self.is_ready_told = false;
        failpoint!("transaction-begun");
        self.send_last()?;
        failpoint!("records-sent");
        Ok(true)
    }

    /// Sends the records and the checkpoint of the newest transaction, as far as they need not wait.
    fn send_last(&mut self) -> Result<(), PublishError> {
        let now = Instant::now();
        let open = self.open.back_mut().expect("one was begun");
        let (lane, producer) = (&self.lanes[open.lane], open.lane);
        let mut take = |id: PartitionId, index| {
            match self.partitions.take(id, Waiting { producer, index }, now) {
                Admission::Wait => return,
                Admission::Hold => self.held.push(self.topic_partitions[id.0 as usize]),
                Admission::Send => {}
            }
            self.admitted.push(Tag { index, partition: id });
        };
        take(CHECKPOINT_PARTITION, open.sealed.batch.len());
        for (index, record) in open.sealed.batch.unsent_records() {
            let partitions = &self.topics[record.topic.0 as usize];
            take(partitions[index_of(record.key, record.partition, partitions)], index);
        }
        if !self.held.is_empty() {
            lane.hold(&self.held)?;
            self.held.clear();
        }
        for tag in self.admitted.drain(..) {
            let to = self.topic_partitions[tag.partition.0 as usize];
            open.send(lane, &self.checkpoint.key, to, tag)?;
        }
        Ok(())
    }

    /// Sends a record that has waited.
    fn send_waiting(
        &mut self,
        id: PartitionId,
        record: Waiting,
        admission: Admission,
    ) -> Result<(), PublishError> {
        let open = self.open.iter_mut().find(|open| open.lane == record.producer);
        let open = open.expect("a transaction is open until all its records are acknowledged");
        let (lane, to) = (&self.lanes[open.lane], self.topic_partitions[id.0 as usize]);
        if admission == Admission::Hold {
            lane.hold(&[to])?;
        }
        open.send(lane, &self.checkpoint.key, to, Tag { index: record.index, partition: id })
    }

    /// Aborts the transactions behind one that is refused for good, so that readers of the partitions need not wait.
    fn abort_behind(&self, error: &PublishError) {
        if !matches!(error, PublishError::Refused { .. } | PublishError::Denied { .. }) {
            return;
        }
        for open in self.open.iter().filter(|open| !open.is_committing) {
            self.lanes[open.lane].abort();
        }
    }
}

impl Open {
    fn send(
        &mut self,
        lane: &Lane,
        checkpoint_key: &str,
        to: TopicPartition,
        tag: Tag,
    ) -> Result<(), PublishError> {
        let Sealed { batch, first_sequence, .. } = &self.sealed;
        let (index, partition, tag) = (tag.index, Some(to.partition), tag.pack());
        let sent = match to.topic {
            None => {
                let (key, value) = (Some(checkpoint_key.as_bytes()), Some(&*self.value));
                let (sequence, headers, timestamp) = (None, Headers::default(), None);
                lane.send_checkpoint(&Record {
                    key,
                    value,
                    partition,
                    sequence,
                    headers,
                    timestamp,
                    tag,
                })
            }
            Some(topic) => {
                let RecordRef { key, value, headers, timestamp, .. } = batch.record(index);
                let sequence = Some(self.header.spell(first_sequence + index as u64));
                lane.send(
                    topic,
                    &Record { key, value, partition, sequence, headers, timestamp, tag },
                )
            }
        };
        sent.map_err(|error| error.of_rows(*first_sequence, batch.len()))
    }

    fn of_rows(&self, error: PublishError) -> PublishError {
        error.of_rows(self.sealed.first_sequence, self.sealed.batch.len())
    }
}
