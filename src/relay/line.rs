//! Rows to records to sealed batches: what stands between the source and the publisher.
//!
//! One batch is filled while others are on their way: one, or in `idempotent` delivery several. A batch is
//! handed over as soon as there is another one to fill and a transaction is whole; a full one stops the
//! reading until then.

use std::collections::HashMap;

use tokio::time::Instant;

use super::beginning::{Beginning, Options, Skip};
use super::observe::Observer;
use super::signature::Signature;
use crate::batch::{Batch, Cut, TopicId};
use crate::binlog::row::Cell;
use crate::binlog::table::Table;
use crate::binlog::{LayoutId, Passed, Place, Progress, Rows};
use crate::checkpoint::Checkpoint;
use crate::coordinates::{Coordinates, Gtid};
use crate::envelope::{self, Outcome, RowPlace};
use crate::error::Error;
use crate::outbox::{self, CELLS_MAX, Route};
use crate::publish::sequence::{SEQUENCE_HEADER, sequence_header_len};
use crate::publish::{self, Answer, Published, Publisher, Sealed};
use crate::resume::Window;
use crate::telemetry::Causes;
use crate::telemetry::metrics::Skipped;
use crate::topics::{Topics, record_batch_bytes};

/// librdkafka's default `batch.size`: it makes no larger record batches of several records.
const BATCH_BYTES_DEFAULT: usize = 1_000_000;

pub struct Line {
    options: Options,
    signature: Signature,
    publisher: Publisher,
    topics: Topics,
    routes: HashMap<LayoutId, Route>,
    filling: Batch,
    /// The other batches, but for those that are on their way.
    spare: Vec<Batch>,
    sequence: u64,
    /// Relayed rows of the open transaction that are in Kafka already.
    rows_done: u64,
    skip: Option<Skip>,
    /// Rows that a predecessor may have sent already; until none can be any more.
    window: Option<Window>,
    /// Rows still to be skipped of the transaction that [`Line::skip`] named.
    skip_left: u64,
    /// Rows of each layout seen in the open compressed transaction.
    payload_rows: HashMap<LayoutId, u64>,
    topic: String,
    /// Why rows before the start could not be counted. It matters only when their transaction goes on.
    uncounted: Option<Error>,
    /// That holds for the open transaction.
    is_uncounted: bool,
    stored: Option<Coordinates>,
    stored_at: Instant,
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
        let Beginning { signature, sequence, skip, window, stored } = beginning;
        let new_batch = || Batch::new(options.limits);
        Line {
            filling: new_batch(),
            spare: (0..options.batches_on_their_way).map(|_| new_batch()).collect(),
            options,
            signature,
            publisher,
            topics,
            routes: HashMap::new(),
            sequence,
            rows_done: 0,
            skip,
            window,
            skip_left: 0,
            payload_rows: HashMap::new(),
            topic: String::new(),
            uncounted: None,
            is_uncounted: false,
            stored,
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
            let route = &self.routes[&rows.layout];
            let cells = &mut cells[..route.decoder.cells()];
            route.decoder.decode(&mut bytes, rows.event.present(), cells).map_err(|source| {
                let at = rows.place.coordinates.at(rows.at.end);
                Error::Decode { table: rows.table.full_name(), at, row: index, source }
            })?;
            self.relay_row(rows, index, cells).await?;
            index += 1;
        }
        if rows.at.in_payload {
            self.payload_rows.insert(rows.layout, index);
        }
        Ok(())
    }

    async fn relay_row(
        &mut self,
        rows: &Rows<'_>,
        index: u64,
        cells: &[Cell<'_>],
    ) -> Result<(), Error> {
        if self.is_done(rows, index, cells)? {
            self.observer.note_skipped(Skipped::Relayed);
            return Ok(());
        }
        let (file, end) = (rows.place.coordinates.file(), rows.at.end);
        let route = &self.routes[&rows.layout];
        let place = RowPlace { file, end, index };
        let outcome = envelope::write(route, cells, place, &mut self.topic, self.filling.draft());
        match outcome.map_err(|source| row_error(rows, index, source))? {
            Outcome::AlreadyPublished => {
                self.observer.note_skipped(Skipped::Published);
                return Ok(());
            }
            Outcome::Record { key_len } => {
                let topic = self.topic_id().await?;
                if self.is_in_kafka(topic, key_len) {
                    self.observer.note_skipped(Skipped::Relayed);
                    self.filling.push_found(topic, key_len, rows.committed_at);
                } else {
                    self.ensure_size(rows, index, topic, key_len)?;
                    self.filling.push(topic, key_len, rows.committed_at);
                }
            }
        }
        while let Some(cut) = self.filling.cut_full() {
            if let (Cut::Part(_), Some(skip)) = (cut, &self.skip) {
                // One checkpoint cannot name two transactions that are relayed in part.
                return Err(Error::SplitBeforePart {
                    at: rows.place.coordinates.clone(),
                    gtid: skip.gtid.clone(),
                });
            }
            while self.spare.is_empty() {
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
            envelope::is_relayed(&line.routes[&rows.layout], cells)
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
        self.close_window(place);
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
        if self.rows_done > 0 {
            return Err(Error::RolledBackPart { at: place.coordinates.clone() });
        }
        self.filling.roll_back();
        self.commit(place)
    }

    /// As [`Source::is_uncounted`](crate::binlog::Source::is_uncounted), for rows that cannot be records.
    pub fn is_uncounted(&self) -> bool {
        self.is_uncounted
    }

    /// There is a batch to fill while another one leaves.
    pub fn may_seal(&self) -> bool {
        !self.spare.is_empty()
    }

    /// The publisher has nothing to answer any more: all is published, and the last checkpoint stored.
    pub fn is_settled(&self) -> bool {
        self.publisher.is_settled()
    }

    /// Something of this session is in Kafka.
    pub fn has_published(&self) -> bool {
        self.has_published
    }

    /// Relayed rows of the open transaction that are in Kafka already.
    pub fn rows_done(&self) -> u64 {
        self.rows_done
    }

    pub fn stored_at(&self) -> Instant {
        self.stored_at
    }

    /// No broker answers, as far as is known.
    pub fn is_cut_off(&self) -> bool {
        self.publisher.is_cut_off()
    }

    /// Says where the line stands, and how far the source is.
    pub fn observe(&mut self, place: &Place, read: Option<Progress>) {
        let is_cut_off = self.is_cut_off();
        self.observer.look(place, read, &self.filling, is_cut_off);
    }

    /// The stored checkpoint stands at another place.
    pub fn is_behind(&self, place: &Place) -> bool {
        self.stored.as_ref() != Some(&place.coordinates)
    }

    /// Hands over what is whole, if there is any and another batch to fill.
    ///
    /// # Errors
    /// The publisher's thread has ended.
    pub fn publish_whole(&mut self, place: &Place, gtid: Option<&Gtid>) -> Result<(), Error> {
        match self.filling.cut_now() {
            Some(cut) if self.may_seal() => self.seal(cut, place, gtid, false),
            _ => Ok(()),
        }
    }

    /// Stores the place, with the records before it, if there are any.
    ///
    /// # Errors
    /// The publisher's thread has ended.
    pub fn store_place(&mut self, place: &Place, gtid: Option<&Gtid>) -> Result<(), Error> {
        // The place is after all that is whole, so that must go with it.
        let cut = self.filling.cut_now().unwrap_or(Cut::Boundary(0));
        self.seal(cut, place, gtid, false)
    }

    /// Publishes what is whole, drops what is not, and stores the place.
    ///
    /// # Errors
    /// The way to Kafka failed.
    pub async fn finish(
        &mut self,
        place: &Place,
        gtid: Option<&Gtid>,
        is_clean: bool,
    ) -> Result<(), Error> {
        self.filling.roll_back();
        while !self.may_seal() {
            self.answer().await?;
        }
        self.seal(Cut::Boundary(self.filling.len()), place, gtid, is_clean)?;
        self.settle().await
    }

    async fn settle(&mut self) -> Result<(), Error> {
        while !self.is_settled() {
            self.answer().await?;
        }
        Ok(())
    }

    /// Stores a checkpoint as it is and waits until it is in Kafka.
    ///
    /// # Errors
    /// The way to Kafka failed.
    pub async fn claim(&mut self, checkpoint: Checkpoint) -> Result<(), Error> {
        let batch = self.spare.pop().expect("nothing is on its way when a session begins");
        self.publish(batch, self.sequence + 1, checkpoint)?;
        self.settle().await?;
        self.has_published = false;
        Ok(())
    }

    /// Takes the publisher's answers that are here.
    ///
    /// # Errors
    /// A batch is not in Kafka, or nobody knows.
    pub fn try_answers(&mut self) -> Result<(), Error> {
        while !self.is_settled() {
            match self.publisher.try_answer() {
                Ok(Some(answer)) => self.note(answer),
                Ok(None) => break,
                Err(source) => return Err(self.publish_error(source)),
            }
        }
        Ok(())
    }

    /// Waits for the publisher's next answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A batch is not in Kafka, or nobody knows.
    pub async fn answer(&mut self) -> Result<(), Error> {
        match self.publisher.answer().await {
            Ok(answer) => {
                self.note(answer);
                Ok(())
            }
            Err(source) => Err(self.publish_error(source)),
        }
    }

    /// Ends the publisher's thread.
    pub async fn stop(self) {
        self.publisher.stop().await;
    }

    fn note(&mut self, answer: Answer) {
        match answer {
            Answer::Published(published) => {
                self.observer.note_published(&published);
                let Published { mut batch, sequence, .. } = published;
                tracing::debug!(records = batch.len(), sequence, "published");
                batch.clear();
                self.spare.push(batch);
                self.has_published = true;
            }
            Answer::Stored(stored) => {
                let Checkpoint { offset, sequence, .. } = stored.checkpoint;
                tracing::debug!(offset, sequence, "stored a checkpoint");
                self.observer.note_stored(&stored);
            }
            Answer::Stalled(source) => {
                let error = self.publish_error(source);
                tracing::warn!("{}", Causes(&error));
                self.observer.note_stalled(&error);
            }
        }
    }

    fn seal(
        &mut self,
        cut: Cut,
        place: &Place,
        gtid: Option<&Gtid>,
        is_clean: bool,
    ) -> Result<(), Error> {
        let mut rest =
            self.spare.pop().expect("a batch is sealed only when there is another one to fill");
        self.filling.cut(cut, &mut rest);
        let batch = std::mem::replace(&mut self.filling, rest);
        let records = batch.len() as u64;
        if let Cut::Part(_) = cut {
            self.rows_done += records;
        }
        let first_sequence = self.sequence + 1;
        self.sequence += records;
        self.close_window(place);
        let checkpoint = self.checkpoint(place, gtid, is_clean);
        self.stored = Some(place.coordinates.clone());
        self.publish(batch, first_sequence, checkpoint)
    }

    fn publish(
        &mut self,
        batch: Batch,
        first_sequence: u64,
        checkpoint: Checkpoint,
    ) -> Result<(), Error> {
        self.stored_at = Instant::now();
        self.observer.note_sealed(&batch);
        let sealed = Sealed::new(batch, first_sequence, checkpoint);
        self.publisher.publish(sealed).map_err(|source| self.publish_error(source))
    }

    fn checkpoint(&self, place: &Place, gtid: Option<&Gtid>, clean: bool) -> Checkpoint {
        // Until the transaction that was relayed in part comes by, it must not be forgotten.
        let (rows_done, gtid) = match &self.skip {
            Some(skip) => (skip.rows, skip.gtid.as_ref()),
            None => (self.rows_done, gtid),
        };
        let checkpoint = Checkpoint {
            server_uuid: Some(self.signature.server_uuid.clone()),
            generation: Some(self.signature.generation),
            sequence: self.sequence,
            clean,
            ..Checkpoint::place(place, rows_done, gtid)
        };
        let checkpoint = match &self.window {
            Some(window) => window.mark(checkpoint),
            None => checkpoint,
        };
        self.signature.sign(checkpoint)
    }

    /// Forgets what a predecessor may have sent, once all of it was passed.
    fn close_window(&mut self, place: &Place) {
        let next = self.next_sequence();
        self.window.take_if(|window| window.is_passed(&place.coordinates, next));
    }

    fn ensure_route(&mut self, layout: LayoutId, table: &Table) -> Result<(), Error> {
        if self.routes.contains_key(&layout) {
            return Ok(());
        }
        let outboxes = &self.options.outboxes;
        let index = outbox::find(outboxes, &table.schema, &table.name)?
            .expect("the source hands out rows of outbox tables only");
        self.routes.insert(layout, Route::new(&outboxes[index], table)?);
        Ok(())
    }

    async fn topic_id(&mut self) -> Result<TopicId, Error> {
        if let Some(id) = self.topics.find(&self.topic) {
            return Ok(id);
        }
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
        let learnt = self.publisher.learn_topic(topic.name.clone());
        learnt.map_err(|source| Error::Publish { brokers: brokers(), source })?;
        if let Some(window) = self.window.as_mut().filter(|_| !topic.is_new) {
            let looked = window.look(id, &topic.name, topic.may_be_compacted).await;
            looked.map_err(|source| Error::Resume { brokers: brokers(), source })?;
        }
        Ok(id)
    }

    fn ensure_size(
        &self,
        rows: &Rows<'_>,
        row: u64,
        topic: TopicId,
        key_len: usize,
    ) -> Result<(), Error> {
        let topic = self.topics.get(topic);
        let Some(bytes_max) = topic.batch_bytes_max else { return Ok(()) };
        let header = [(SEQUENCE_HEADER, sequence_header_len(&self.options.name))];
        let bytes = record_batch_bytes(key_len, self.filling.draft_len() - key_len, &header);
        if bytes <= bytes_max {
            return Ok(());
        }
        Err(Error::RecordTooLarge {
            table: rows.table.full_name(),
            at: rows.place.coordinates.at(rows.at.end),
            row,
            topic: topic.name.to_string(),
            bytes,
            bytes_max,
        })
    }

    fn publish_error(&self, source: publish::Error) -> Error {
        Error::Publish { brokers: self.options.brokers.clone(), source }
    }
}

fn row_error(rows: &Rows<'_>, row: u64, source: envelope::Error) -> Error {
    let at = rows.place.coordinates.at(rows.at.end);
    Error::Row { table: rows.table.full_name(), at, row, source }
}
