//! Transactions that overlap: each lane carries one, and the next one is sent while those before it are acknowledged
//! and committed.
//!
//! The order holds for two reasons. A record goes to its partition only when all before it there are acknowledged,
//! or are of the same producer ([`Partitions`]). And a transaction is committed only after the one before it was: so
//! of those that are on their way, a beginning is in Kafka, and the checkpoint of its last one says which.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use super::committer::Committer;
use super::lane::Lane;
use super::{CHECKPOINT_PARTITION, LANES, Transactional};
use crate::checkpoint;
use crate::publish::client::Record;
use crate::publish::partitions::{PartitionId, Partitions, Waiting, partition_of};
use crate::publish::reports::{Bell, Tag};
use crate::publish::sequence::SequenceHeader;
use crate::publish::{Answers, Error, Options, Order, SERVE_INTERVAL, Sealed, Stored};

/// The next transaction begins when the checkpoint of the one before it is acknowledged, and all but so many of its
/// records. Sooner, its own checkpoint would have to wait, and would join the transaction a round trip late; and a
/// backlog would be cut into transactions so small that they cost more than they carry.
const UNACKNOWLEDGED_MAX: usize = 32;

/// The publisher's thread.
pub(super) struct Overlap<'a> {
    lanes: Vec<Lane>,
    next_lane: usize,
    /// By topic and partition.
    topics: Vec<Vec<PartitionId>>,
    partitions: Partitions<LANES>,
    /// Ordered, and not begun.
    waiting: VecDeque<Sealed>,
    /// In stream order. The first is being committed, or the next to be.
    open: VecDeque<Open>,
    committer: Committer,
    /// Partitions of records that were acknowledged just now; kept for its memory.
    acknowledged: Vec<PartitionId>,
    bell: Arc<Bell>,
    options: Options,
    checkpoint: checkpoint::Options,
    cut_off: Arc<AtomicBool>,
    answers: &'a Answers,
    /// The reader knows that the next transaction may begin.
    is_ready_told: bool,
    is_stopping: bool,
}

/// A transaction that was begun.
struct Open {
    lane: usize,
    sealed: Sealed,
    /// The record of its checkpoint.
    value: Vec<u8>,
    header: SequenceHeader,
    report_by: Instant,
    is_committing: bool,
}

impl<'a> Overlap<'a> {
    pub fn new(transactional: Transactional, answers: &'a Answers) -> Result<Overlap<'a>, Error> {
        let Transactional { lanes, next_lane, options, checkpoint, cut_off, bell } = transactional;
        let committer = Committer::start(options.transaction_timeout, bell.clone());
        let mut partitions = Partitions::new();
        let checkpoint_partition = partitions.add();
        debug_assert_eq!(checkpoint_partition, CHECKPOINT_PARTITION);
        // What the claim was acknowledged for is of no batch.
        lanes.iter().for_each(|lane| lane.acknowledgements.expect(0));
        Ok(Overlap {
            lanes,
            next_lane,
            topics: Vec::new(),
            partitions,
            waiting: VecDeque::new(),
            open: VecDeque::new(),
            committer: committer.map_err(Error::Thread)?,
            acknowledged: Vec::new(),
            bell,
            options,
            checkpoint,
            cut_off,
            answers,
            is_ready_told: true,
            is_stopping: false,
        })
    }

    pub fn run(mut self, orders: &Receiver<Order>) -> Result<(), Error> {
        while !(self.is_stopping && self.open.is_empty() && self.waiting.is_empty()) {
            if let Err(error) = self.turn(orders) {
                self.abort_behind(&error);
                return Err(error);
            }
            self.bell.wait(SERVE_INTERVAL);
        }
        Ok(())
    }

    /// Does all that there is to do.
    fn turn(&mut self, orders: &Receiver<Order>) -> Result<(), Error> {
        self.take_orders(orders)?;
        self.take_acknowledgements()?;
        self.take_committed()?;
        self.commit_first()?;
        while self.begin_next()? {}
        self.tell_ready();
        Ok(())
    }

    /// Tells the reader when another batch would leave at once.
    fn tell_ready(&mut self) {
        let is_free = self.open.len() < self.lanes.len() && self.waiting.is_empty();
        if self.is_ready_told || !is_free || self.partitions.is_busy(CHECKPOINT_PARTITION) {
            return;
        }
        let last = self.open.back().map(|open| &self.lanes[open.lane].acknowledgements);
        if last.is_none_or(|last| last.missing() <= UNACKNOWLEDGED_MAX) {
            self.is_ready_told = true;
            self.answers.ready();
        }
    }

    fn take_orders(&mut self, orders: &Receiver<Order>) -> Result<(), Error> {
        loop {
            match orders.try_recv() {
                Ok(Order::Publish(sealed)) => self.waiting.push_back(*sealed),
                Ok(Order::LearnTopic { name, partitions, .. }) => {
                    self.lanes.iter_mut().try_for_each(|lane| lane.learn_topic(&name))?;
                    self.topics.push((0..partitions).map(|_| self.partitions.add()).collect());
                }
                Ok(Order::GrowTopic { id, partitions }) => {
                    self.lanes.iter().for_each(|lane| lane.learn_partitions(id));
                    let ids = &mut self.topics[id.0 as usize];
                    ids.resize_with(partitions as usize, || self.partitions.add());
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                    self.is_stopping = true;
                    return Ok(());
                }
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    /// Reads what has come, and sends what waited for it.
    fn take_acknowledgements(&mut self) -> Result<(), Error> {
        for lane in &self.lanes {
            lane.serve();
            lane.acknowledgements.take_acknowledged(&mut self.acknowledged);
        }
        if self.acknowledged.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        for &partition in &acknowledged {
            self.partitions.note_acknowledged(partition, now);
        }
        for &partition in &acknowledged {
            while let Some(record) = self.partitions.next(partition, now) {
                self.send_waiting(partition, record)?;
            }
        }
        acknowledged.clear();
        self.acknowledged = acknowledged;
        Ok(())
    }

    fn take_committed(&mut self) -> Result<(), Error> {
        while let Some(committed) = self.committer.try_committed() {
            let Open { lane, sealed, value, .. } =
                self.open.pop_front().expect("only what is open is committed");
            let committed = committed.map_err(Error::Panicked)?;
            let lane = &self.lanes[lane];
            committed.map_err(|error| lane.classify("commit a transaction", error))?;
            self.cut_off.store(false, Ordering::Relaxed);
            let (published, number, checkpoint) = sealed.published();
            self.answers.published(published);
            self.answers.stored(Stored { number, checkpoint, value });
        }
        Ok(())
    }

    /// Has the first transaction committed as soon as it is acknowledged. A refusal in any of them ends all.
    fn commit_first(&mut self) -> Result<(), Error> {
        for (index, open) in self.open.iter_mut().enumerate().filter(|(_, it)| !it.is_committing) {
            let lane = &self.lanes[open.lane];
            let is_acknowledged = lane.is_acknowledged(open.report_by);
            let is_acknowledged = is_acknowledged.map_err(|error| open.of_rows(error))?;
            if is_acknowledged && index == 0 {
                open.is_committing = true;
                self.committer.commit(lane.client.clone());
            }
        }
        Ok(())
    }

    /// Begins the transaction of the next batch; `false` where none waits, or no lane is free.
    fn begin_next(&mut self) -> Result<bool, Error> {
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
            report_by: self.lanes[lane].report_by(),
            is_committing: false,
        });
        self.is_ready_told = false;
        self.send_last()?;
        Ok(true)
    }

    /// Sends the records of the transaction that was begun last, and its checkpoint, as far as they need not wait.
    fn send_last(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let open = self.open.back_mut().expect("one was begun");
        let lane = &self.lanes[open.lane];
        let (producer, checkpoint_index) = (open.lane, open.sealed.batch.len());
        let waiting = Waiting { producer, index: checkpoint_index, partition: 0 };
        if self.partitions.take(CHECKPOINT_PARTITION, waiting, now) {
            open.send(lane, &self.checkpoint.key, CHECKPOINT_PARTITION, waiting)?;
        }
        for index in 0..checkpoint_index {
            let record = open.sealed.batch.record(index);
            if record.is_in_kafka {
                continue;
            }
            let partitions = &self.topics[record.topic.0 as usize];
            let count = u32::try_from(partitions.len()).expect("fewer partitions than 2^32");
            let partition = partition_of(record.key, count) as usize;
            let (id, waiting) = (partitions[partition], Waiting { producer, index, partition });
            if self.partitions.take(id, waiting, now) {
                open.send(lane, &self.checkpoint.key, id, waiting)?;
            }
        }
        Ok(())
    }

    /// Sends a record that waited.
    fn send_waiting(&mut self, id: PartitionId, record: Waiting) -> Result<(), Error> {
        let open = self.open.iter_mut().find(|open| open.lane == record.producer);
        let open = open.expect("a transaction is open until all its records are acknowledged");
        open.send(&self.lanes[open.lane], &self.checkpoint.key, id, record)
    }

    /// Readers of the partitions need not wait for the transactions behind one that is refused for good.
    fn abort_behind(&self, error: &Error) {
        if !matches!(error, Error::Refused { .. } | Error::Denied { .. }) {
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
        id: PartitionId,
        Waiting { index, partition, .. }: Waiting,
    ) -> Result<(), Error> {
        let tag = Tag { index, partition: id }.pack();
        let Sealed { batch, first_sequence, .. } = &self.sealed;
        let sent = if index == batch.len() {
            let (key, value) = (checkpoint_key.as_bytes(), Some(&*self.value));
            lane.send_checkpoint(&Record { key, value, partition: None, sequence: None, tag })
        } else {
            let record = batch.record(index);
            let sequence = Some(self.header.spell(first_sequence + index as u64));
            let (key, value, partition) =
                (record.key, Some(record.value), i32::try_from(partition));
            let partition = Some(partition.expect("fewer partitions than 2^31"));
            lane.send(record.topic, &Record { key, value, partition, sequence, tag })
        };
        sent.map_err(|error| error.of_rows(*first_sequence, batch.len()))
    }

    fn of_rows(&self, error: Error) -> Error {
        error.of_rows(self.sealed.first_sequence, self.sealed.batch.len())
    }
}
