//! Rows to records to sealed batches: what stands between the source and the publisher.
//!
//! One batch is filled while others are in flight: one, or in `idempotent` delivery several. A batch is handed over as
//! soon as there is another one to fill and a transaction is whole. A full batch stops the reading until then.

mod gtid_pace;
pub(crate) mod ledger;
mod publish;

use std::collections::HashMap;

use tokio::time::Instant;

use self::gtid_pace::GtidPace;
pub(super) use self::gtid_pace::set_bytes_max;
use self::ledger::{Admission, Ledger};
use super::planted::{Bug, is_planted};
use super::progress::Observer;
use super::refusal::{Refusal, Verdict};
use super::resume_point::LineOptions;
use crate::batch::{Batch, DestinationId, Headers};
use crate::binlog::row::Cell;
use crate::binlog::table::Table;
use crate::binlog::{LayoutId, Position, Rows};
use crate::checkpoint::Checkpoint;
use crate::coordinates::Coordinates;
use crate::envelope::{self, Outcome, RowPosition};
use crate::error::Error;
use crate::outbox::{self, CELLS_MAX, Route};
use crate::sink::{Claimed, Destinations, Publisher, SentRows};
use crate::telemetry::metrics::Skipped;

const HAS_ROUTE: &str = "a route is made before its rows are read";

/// The line between a source and a sink with such destinations.
pub struct Line<D> {
    options: LineOptions,
    ledger: Ledger,
    publisher: Publisher,
    destinations: D,
    /// By layout; `None` where no row of it came yet.
    routes: Vec<Option<Route>>,
    /// That of the layouts which the routes are by.
    routes_epoch: u64,
    /// Most bytes of a batch, and of all batches in flight.
    bytes_max: usize,
    filling: Batch,
    /// The other batches, but for those that are in flight.
    spare: Vec<Batch>,
    /// What was found of the window, by destination.
    sent: HashMap<DestinationId, SentRows>,
    /// Destination of the record in draft, and of the record before it.
    topic: String,
    last_topic: Option<DestinationId>,
    /// The position of the last checkpoint that was handed over, or of the claim.
    stored: Option<Coordinates>,
    /// What this session has stored, but for its claim.
    acknowledged: Option<Checkpoint>,
    stored_at: Instant,
    gtid_pace: GtidPace,
    has_published: bool,
    observer: Observer,
}

impl<D: Destinations> Line<D> {
    pub fn new(
        options: LineOptions,
        ledger: Ledger,
        claimed: Claimed<D>,
        mut observer: Observer,
    ) -> Line<D> {
        let Claimed { stored, destinations, publisher, limits, batches_max } = claimed;
        observer.note_stored(&stored);
        let stored = stored.checkpoint.resume().ok().map(|resume| resume.coordinates);
        let new_batch = || Batch::new(limits);
        let gtid_pace =
            GtidPace::new(destinations.checkpoint_bytes_max(), options.ahead_until.clone());
        Line {
            bytes_max: limits.bytes_max,
            filling: new_batch(),
            spare: (0..batches_max).map(|_| new_batch()).collect(),
            ledger,
            publisher,
            gtid_pace,
            destinations,
            routes: Vec::new(),
            routes_epoch: 0,
            sent: HashMap::new(),
            topic: String::new(),
            last_topic: None,
            stored,
            acknowledged: None,
            stored_at: Instant::now(),
            has_published: false,
            observer,
            options,
        }
    }

    /// Makes records of inserted rows. Waits for the publisher when the batch is full.
    ///
    /// # Errors
    /// A row that cannot be a record, or the way to Kafka failed.
    pub async fn relay(&mut self, rows: Rows<'_>) -> Result<(), Error> {
        let admission = self.ledger.admit(rows.at.passed)?;
        if admission == Admission::Ignore {
            return Ok(());
        }
        match self.relay_rows(&rows, admission).await {
            Err(error) if admission == Admission::Count => self.ledger.note_unreadable(error),
            relayed => relayed?,
        }
        Ok(())
    }

    async fn relay_rows(&mut self, rows: &Rows<'_>, admission: Admission) -> Result<(), Error> {
        self.ensure_route(rows.layout, rows.table)?;
        let mut index = self.ledger.first_index(rows.layout, rows.at.in_payload);
        let mut cells = [Cell::Null; CELLS_MAX];
        let mut bytes = rows.event.rows();
        while !bytes.is_empty() {
            let decoder = &self.route(rows.layout).decoder;
            let cells = &mut cells[..decoder.cells()];
            decoder.decode(&mut bytes, rows.event.present(), cells).map_err(|source| {
                let at = rows.position.coordinates.at(rows.at.end);
                Error::Decode { table: rows.table.full_name(), at, row: index, source }
            })?;
            if let Some(key_len) = self.draft_row(rows, admission, index, cells)? {
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
            self.ledger.note_payload_rows(rows.layout, index);
        }
        Ok(())
    }

    /// Writes the row's record. Answers with the length of its key; `None` where the row is not relayed.
    fn draft_row(
        &mut self,
        rows: &Rows<'_>,
        admission: Admission,
        index: u64,
        cells: &[Cell<'_>],
    ) -> Result<Option<usize>, Error> {
        let (ledger, routes) = (&mut self.ledger, &self.routes);
        let route = routes[rows.layout.index].as_ref().expect(HAS_ROUTE);
        let is_relayed =
            || envelope::is_relayed(route, cells).map_err(|source| row_error(rows, index, source));
        if ledger.is_done(admission, rows.gtid, is_relayed)? {
            self.observer.note_skipped(Skipped::Relayed);
            return Ok(None);
        }
        let (file, end) = (rows.position.coordinates.file(), rows.at.end);
        let position = RowPosition { file, end, index };
        let outcome =
            envelope::write(route, cells, position, &mut self.topic, self.filling.draft());
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
        topic: DestinationId,
        key_len: usize,
    ) -> Result<(), Error> {
        if self.is_in_kafka(topic, key_len) {
            self.observer.note_skipped(Skipped::Relayed);
            self.filling.push_found(topic, key_len, rows.committed_at);
        } else {
            self.ensure_not_refused(rows, index, topic, key_len)?;
            self.filling.push(topic, key_len, rows.committed_at);
        }
        if is_planted(Bug::BoundaryInsideTransaction) {
            self.filling.mark_boundary();
        }
        Ok(())
    }

    /// Hands a full batch over, once there is another one to fill.
    async fn seal_full(&mut self, rows: &Rows<'_>) -> Result<(), Error> {
        while let Some(cut) = self.filling.cut_full() {
            self.ledger.ensure_cut(cut, &rows.position.coordinates)?;
            while !self.may_seal() {
                self.answer().await?;
            }
            self.seal(cut, rows.position, rows.gtid, false);
        }
        Ok(())
    }

    /// Whether the record in draft was found in the sink.
    fn is_in_kafka(&self, topic: DestinationId, key_len: usize) -> bool {
        if self.ledger.window().is_none() {
            return false;
        }
        let key = self.filling.draft_key(key_len);
        let is_there = |sent: &SentRows| sent.holds(Some(key), self.next_sequence());
        self.sent.get(&topic).is_some_and(is_there) && !is_planted(Bug::FoundRowSentAgain)
    }

    /// Number of the next row that is relayed.
    fn next_sequence(&self) -> u64 {
        self.ledger.next_sequence(self.filling.len())
    }

    /// Counts rows of tables that are left out.
    pub fn skip_ghosts(&mut self, rows: u64) {
        self.observer.note_ghosts(rows);
    }

    /// The transaction is complete.
    ///
    /// # Errors
    /// It has fewer rows than the checkpoint says are in Kafka.
    pub fn commit(&mut self, position: &Position) -> Result<(), Error> {
        self.ledger.commit(&position.coordinates)?;
        self.filling.mark_boundary();
        Ok(())
    }

    /// The server took the open transaction back.
    ///
    /// # Errors
    /// A part of it was relayed already.
    pub fn roll_back(&mut self, position: &Position) -> Result<(), Error> {
        self.ledger.roll_back(&position.coordinates)?;
        if !is_planted(Bug::RolledBackKept) {
            self.filling.roll_back();
        }
        self.filling.mark_boundary();
        Ok(())
    }

    /// As [`Source::is_uncounted`](crate::binlog::Source::is_uncounted), for rows that cannot be records.
    pub fn has_unreadable_prefix(&self) -> bool {
        self.ledger.has_unreadable_prefix()
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

    /// Neighbours mostly go to the same destination.
    fn known_topic(&mut self) -> Option<DestinationId> {
        let is_last = |id: &DestinationId| *self.destinations.get(*id).name == *self.topic;
        let last = self.last_topic.filter(is_last);
        self.last_topic = last.or_else(|| self.destinations.find(&self.topic));
        self.last_topic
    }

    async fn learn_topic(&mut self) -> Result<DestinationId, Error> {
        let id = self.destinations.look_up(&self.topic).await?;
        let destination = self.destinations.get(id);
        let batch_bytes_max = self.destinations.batch_bytes_max();
        let is_below = |bytes: &usize| *bytes < batch_bytes_max;
        if let Some(bytes_max) = destination.record_bytes_max.filter(is_below) {
            return Err(Error::SmallerBatches { topic: self.topic.clone(), bytes_max });
        }
        self.observer.learn_topic(&destination.name);
        if let Some(window) = self.ledger.window()
            && let Some(sent) = self.destinations.sent(id, window).await?
        {
            self.sent.insert(id, sent);
        }
        Ok(id)
    }

    /// Follows what changes of the destinations by itself. It never waits.
    pub async fn follow_changes(&mut self) {
        self.destinations.follow_changes().await;
    }

    /// The broker names the record by its number, and all before that row leaves before the relay halts.
    fn ensure_not_refused(
        &self,
        rows: &Rows<'_>,
        row: u64,
        topic: DestinationId,
        key_len: usize,
    ) -> Result<(), Error> {
        match &self.options.refused {
            Some(refused) if refused.refused.sequence == self.next_sequence() => {
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
        topic: DestinationId,
        key_len: usize,
    ) -> Result<(), Error> {
        let destination = self.destinations.get(topic);
        if *destination.name != *refused.refused.destination {
            // On another server, another row may have this number.
            return Ok(());
        }
        let value_len = self.filling.draft_len() - key_len;
        let bytes = self.destinations.record_bytes(key_len, value_len, Headers::default());
        let (table, at) = (rows.table.full_name(), rows.position.coordinates.at(rows.at.end));
        let name = destination.name.to_string();
        let sent_below = self.destinations.batch_bytes_max();
        match refused.verdict(bytes, destination.record_bytes_max, sent_below) {
            Verdict::SendAgain => Ok(()),
            Verdict::OneByOne => Err(Error::OneByOne { topic: name }),
            Verdict::TooLarge { bytes_max } => {
                Err(Error::RecordTooLarge { table, at, row, topic: name, bytes, bytes_max })
            }
            Verdict::Refused => {
                let (fate, source) = (refused.refused.fate.clone(), refused.refused.cause.clone());
                Err(Error::RecordRefused { table, at, row, topic: name, bytes, fate, source })
            }
        }
    }
}

fn row_error(rows: &Rows<'_>, row: u64, source: envelope::Error) -> Error {
    let at = rows.position.coordinates.at(rows.at.end);
    Error::Row { table: rows.table.full_name(), at, row, source }
}
