//! Rows to records to sealed batches: what stands between the source and the publisher.
//!
//! One batch is filled while others are on their way: one, or in `idempotent` delivery several. A batch is
//! handed over as soon as there is another one to fill and a transaction is whole; a full one stops the
//! reading until then.

mod gtid_pace;
mod hand_over;

use std::collections::HashMap;

use tokio::time::Instant;

use self::gtid_pace::GtidPace;
pub(super) use self::gtid_pace::set_bytes_max;
use super::beginning::{Beginning, Options, Skip};
use super::observe::Observer;
use super::refusal::{Refusal, Verdict};
use super::signature::Signature;
use crate::batch::{Batch, Cut, TopicId};
use crate::binlog::row::Cell;
use crate::binlog::table::Table;
use crate::binlog::{LayoutId, Passed, Place, Rows};
use crate::checkpoint::{Checkpoint, PartitionCounts};
use crate::coordinates::Coordinates;
use crate::envelope::{self, Outcome, RowPlace};
use crate::error::Error;
use crate::outbox::{self, CELLS_MAX, Route};
use crate::publish::Publisher;
use crate::publish::sequence::{SEQUENCE_HEADER, sequence_header_len};
use crate::resume::Window;
use crate::telemetry::metrics::Skipped;
use crate::topics::{Topics, record_batch_bytes};

/// librdkafka's default `batch.size`: it makes no larger record batches of several records.
const BATCH_BYTES_DEFAULT: usize = 1_000_000;

const HAS_ROUTE: &str = "a route is made before its rows are read";

pub struct Line {
    options: Options,
    signature: Signature,
    publisher: Publisher,
    topics: Topics,
    /// By layout; `None` where no row of it came yet.
    routes: Vec<Option<Route>>,
    /// That of the layouts which the routes are by.
    routes_epoch: u64,
    filling: Batch,
    /// The other batches, but for those that are on their way.
    spare: Vec<Batch>,
    sequence: u64,
    /// Relayed rows of the open transaction that are in Kafka already.
    rows_done: u64,
    skip: Option<Skip>,
    /// Rows that a predecessor may have sent already; until none can be any more.
    window: Option<Window>,
    /// In `idempotent` delivery: of the topics that this session sends to.
    partitions: Option<PartitionCounts>,
    /// Rows still to be skipped of the transaction that [`Line::skip`] named.
    skip_left: u64,
    /// Rows of each layout seen in the open compressed transaction.
    payload_rows: HashMap<LayoutId, u64>,
    /// Topic of the record in draft, and of the record before it.
    topic: String,
    last_topic: Option<TopicId>,
    /// Why rows before the start could not be counted. It matters only when their transaction goes on.
    uncounted: Option<Error>,
    /// That holds for the open transaction.
    is_uncounted: bool,
    stored: Option<Coordinates>,
    /// What this session has in Kafka, but for its claim.
    acknowledged: Option<Checkpoint>,
    stored_at: Instant,
    gtid_pace: GtidPace,
    has_published: bool,
    observer: Observer,
}

impl Line {
    pub fn new(
        options: Options,
        publisher: Publisher,
        topics: Topics,
        beginning: Beginning,
        observer: Observer,
    ) -> Line {
        let Beginning { signature, sequence, skip, window, stored, ahead_until } = beginning;
        let new_batch = || Batch::new(options.limits);
        Line {
            filling: new_batch(),
            spare: (0..options.batches_on_their_way).map(|_| new_batch()).collect(),
            options,
            signature,
            publisher,
            gtid_pace: GtidPace::new(topics.checkpoint_bytes_max(), ahead_until),
            topics,
            routes: Vec::new(),
            routes_epoch: 0,
            sequence,
            rows_done: 0,
            skip,
            window,
            partitions: None,
            skip_left: 0,
            payload_rows: HashMap::new(),
            topic: String::new(),
            last_topic: None,
            uncounted: None,
            is_uncounted: false,
            stored,
            acknowledged: None,
            stored_at: Instant::now(),
            has_published: false,
            observer,
        }
    }

    /// Makes records of inserted rows. Waits for the publisher when the batch is full.
    ///
    /// # Errors
    /// A row that cannot be a record, or the way to Kafka failed.
    pub async fn relay(&mut self, rows: Rows<'_>) -> Result<(), Error> {
        match rows.at.passed {
            Passed::InGtidSet => return Ok(()),
            Passed::BeforeStart => {
                if let Err(error) = self.relay_rows(&rows).await {
                    self.uncounted = Some(error);
                    self.is_uncounted = true;
                }
                return Ok(());
            }
            Passed::No => {}
        }
        match self.uncounted.take() {
            Some(error) => Err(error),
            None => self.relay_rows(&rows).await,
        }
    }

    async fn relay_rows(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        self.ensure_route(rows.layout, rows.table)?;
        let mut index = match rows.at.in_payload {
            true => self.payload_rows.get(&rows.layout).copied().unwrap_or_default(),
            false => 0,
        };
        let mut cells = [Cell::Null; CELLS_MAX];
        let mut bytes = rows.event.rows();
        while !bytes.is_empty() {
            let decoder = &self.route(rows.layout).decoder;
            let cells = &mut cells[..decoder.cells()];
            decoder.decode(&mut bytes, rows.event.present(), cells).map_err(|source| {
                let at = rows.place.coordinates.at(rows.at.end);
                Error::Decode { table: rows.table.full_name(), at, row: index, source }
            })?;
            if let Some(key_len) = self.draft_row(rows, index, cells)? {
                let topic = match self.known_topic() {
                    Some(topic) => topic,
                    None => self.learn_topic().await?,
                };
                self.push_draft(rows, index, topic, key_len)?;
                self.seal_full(rows).await?;
            }
            index += 1;
        }
        if rows.at.in_payload {
            self.payload_rows.insert(rows.layout, index);
        }
        Ok(())
    }

    /// Writes the row's record. Answers with the length of its key; `None` where the row is not relayed.
    fn draft_row(
        &mut self,
        rows: &Rows<'_>,
        index: u64,
        cells: &[Cell<'_>],
    ) -> Result<Option<usize>, Error> {
        if self.is_done(rows, index, cells)? {
            self.observer.note_skipped(Skipped::Relayed);
            return Ok(None);
        }
        let (file, end) = (rows.place.coordinates.file(), rows.at.end);
        let route = self.routes[rows.layout.index].as_ref().expect(HAS_ROUTE);
        let place = RowPlace { file, end, index };
        let outcome = envelope::write(route, cells, place, &mut self.topic, self.filling.draft());
        match outcome.map_err(|source| row_error(rows, index, source))? {
            Outcome::Record { key_len } => Ok(Some(key_len)),
            Outcome::AlreadyPublished => {
                self.observer.note_skipped(Skipped::Published);
                Ok(None)
            }
        }
    }

    fn push_draft(
        &mut self,
        rows: &Rows<'_>,
        index: u64,
        topic: TopicId,
        key_len: usize,
    ) -> Result<(), Error> {
        if self.is_in_kafka(topic, key_len) {
            self.observer.note_skipped(Skipped::Relayed);
            self.filling.push_found(topic, key_len, rows.committed_at);
        } else {
            self.ensure_not_refused(rows, index, topic, key_len)?;
            self.filling.push(topic, key_len, rows.committed_at);
        }
        Ok(())
    }

    /// Hands a full batch over, once there is another one to fill.
    async fn seal_full(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        while let Some(cut) = self.filling.cut_full() {
            if let (Cut::Part(_), Some(skip)) = (cut, &self.skip) {
                // One checkpoint cannot name two transactions that are relayed in part.
                return Err(Error::SplitBeforePart {
                    at: rows.place.coordinates.clone(),
                    gtid: skip.gtid.clone(),
                });
            }
            while !self.may_seal() {
                self.answer().await?;
            }
            self.seal(cut, rows.place, rows.gtid, false)?;
        }
        Ok(())
    }

    /// Whether the record in draft was found there.
    fn is_in_kafka(&self, topic: TopicId, key_len: usize) -> bool {
        let Some(window) = &self.window else { return false };
        window.holds(topic, self.filling.draft_key(key_len), self.next_sequence())
    }

    /// Number of the next row that is relayed.
    fn next_sequence(&self) -> u64 {
        self.sequence + self.filling.len() as u64 + 1
    }

    /// Whether the row was relayed before this session, by position or by count.
    fn is_done(&mut self, rows: &Rows<'_>, index: u64, cells: &[Cell<'_>]) -> Result<bool, Error> {
        let is_relayed = |line: &Line| {
            envelope::is_relayed(line.route(rows.layout), cells)
                .map_err(|source| row_error(rows, index, source))
        };
        if rows.at.passed == Passed::BeforeStart {
            self.rows_done += u64::from(is_relayed(self)?);
            return Ok(true);
        }
        if let Some(skip) =
            self.skip.take_if(|skip| skip.gtid.is_none() || skip.gtid.as_ref() == rows.gtid)
        {
            (self.rows_done, self.skip_left) = (skip.rows, skip.rows);
        }
        if self.skip_left == 0 {
            return Ok(false);
        }
        self.skip_left -= u64::from(is_relayed(self)?);
        Ok(true)
    }

    /// Counts rows of tables that are left out.
    pub fn skip_ghosts(&mut self, rows: u64) {
        self.observer.note_ghosts(rows);
    }

    /// The transaction is complete.
    ///
    /// # Errors
    /// It has fewer rows than the checkpoint says are in Kafka.
    pub fn commit(&mut self, place: &Place) -> Result<(), Error> {
        if self.skip_left > 0 {
            return Err(Error::FewerRows {
                rows_done: self.rows_done,
                at: place.coordinates.clone(),
            });
        }
        self.filling.mark_boundary();
        self.rows_done = 0;
        self.uncounted = None;
        self.is_uncounted = false;
        self.payload_rows.clear();
        Ok(())
    }

    /// The server took the open transaction back.
    ///
    /// # Errors
    /// A part of it was relayed already.
    pub fn roll_back(&mut self, place: &Place) -> Result<(), Error> {
        if self.rows_done > 0 || self.filling.has_found_after_boundary() {
            return Err(Error::RolledBackPart { at: place.coordinates.clone() });
        }
        self.filling.roll_back();
        self.commit(place)
    }

    /// As [`Source::is_uncounted`](crate::binlog::Source::is_uncounted), for rows that cannot be records.
    pub fn is_uncounted(&self) -> bool {
        self.is_uncounted
    }

    fn ensure_route(&mut self, layout: LayoutId, table: &Table) -> Result<(), Error> {
        if self.routes_epoch != layout.epoch {
            self.routes.clear();
            self.routes_epoch = layout.epoch;
        }
        if self.routes.len() <= layout.index {
            self.routes.resize_with(layout.index + 1, || None);
        }
        if self.routes[layout.index].is_none() {
            let outboxes = &self.options.outboxes;
            let index = outbox::find(outboxes, &table.schema, &table.name)?
                .expect("the source hands out rows of outbox tables only");
            self.routes[layout.index] = Some(Route::new(&outboxes[index], table)?);
        }
        Ok(())
    }

    fn route(&self, layout: LayoutId) -> &Route {
        self.routes[layout.index].as_ref().expect(HAS_ROUTE)
    }

    /// Neighbours mostly go to the same topic.
    fn known_topic(&mut self) -> Option<TopicId> {
        let is_last = |id: &TopicId| *self.topics.get(*id).name == *self.topic;
        self.last_topic = self.last_topic.filter(is_last).or_else(|| self.topics.find(&self.topic));
        self.last_topic
    }

    async fn learn_topic(&mut self) -> Result<TopicId, Error> {
        let brokers = || self.options.brokers.clone();
        let id = self
            .topics
            .ensure(&self.topic)
            .await
            .map_err(|source| Error::Topics { brokers: brokers(), source })?;
        let topic = self.topics.get(id);
        let batch_bytes_max = self.options.batch_bytes_max.unwrap_or(BATCH_BYTES_DEFAULT);
        if let Some(bytes_max) = topic.batch_bytes_max.filter(|bytes| *bytes < batch_bytes_max) {
            return Err(Error::SmallerBatches { topic: self.topic.clone(), bytes_max });
        }
        self.observer.learn_topic(&topic.name);
        self.publisher.learn_topic(topic.name.clone(), topic.batch_bytes_max, topic.partitions);
        match &mut self.window {
            Some(window) if topic.is_new => window.note_new_topic(&topic.name, topic.partitions),
            Some(window) => {
                let looked = window.look(id, &topic.name, topic.may_be_compacted).await;
                looked.map_err(|source| Error::Resume { brokers: brokers(), source })?;
            }
            None => {}
        }
        self.note_partitions(id);
        Ok(id)
    }

    /// What a restart has to know of a topic that rows may be in.
    fn note_partitions(&mut self, id: TopicId) {
        let topic = self.topics.get(id);
        self.partitions = match self.partitions.take() {
            // The first of all.
            None if id.0 == 0 => Some(PartitionCounts::of_first(topic.partitions)),
            // Once there were too many exceptions, it stays so.
            counts => counts.and_then(|counts| counts.with(&topic.name, topic.partitions)),
        };
    }

    /// The broker names the record by its number, and all before that row leaves before the relay halts.
    fn ensure_not_refused(
        &self,
        rows: &Rows<'_>,
        row: u64,
        topic: TopicId,
        key_len: usize,
    ) -> Result<(), Error> {
        match &self.options.refused {
            Some(refused) if refused.sequence == self.next_sequence() => {
                self.name_refused(refused, rows, row, topic, key_len)
            }
            _ => Ok(()),
        }
    }

    fn name_refused(
        &self,
        refused: &Refusal,
        rows: &Rows<'_>,
        row: u64,
        topic: TopicId,
        key_len: usize,
    ) -> Result<(), Error> {
        let topic = self.topics.get(topic);
        if *topic.name != *refused.topic {
            // On another server, another row may have this number.
            return Ok(());
        }
        let header = [(SEQUENCE_HEADER, sequence_header_len(&self.options.name))];
        let bytes = record_batch_bytes(key_len, self.filling.draft_len() - key_len, &header);
        let (table, at) = (rows.table.full_name(), rows.place.coordinates.at(rows.at.end));
        let name = topic.name.to_string();
        let sent_below = self.options.batch_bytes_max.unwrap_or(BATCH_BYTES_DEFAULT);
        match refused.verdict(bytes, topic.batch_bytes_max, sent_below) {
            Verdict::SendAgain => Ok(()),
            Verdict::OneByOne => Err(Error::OneByOne { topic: name }),
            Verdict::TooLarge { bytes_max } => {
                Err(Error::RecordTooLarge { table, at, row, topic: name, bytes, bytes_max })
            }
            Verdict::Refused => {
                let source = refused.source.clone();
                Err(Error::RecordRefused { table, at, row, topic: name, bytes, source })
            }
        }
    }
}

fn row_error(rows: &Rows<'_>, row: u64, source: envelope::Error) -> Error {
    let at = rows.place.coordinates.at(rows.at.end);
    Error::Row { table: rows.table.full_name(), at, row, source }
}
