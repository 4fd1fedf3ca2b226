//! Rows to records to sealed batches: what stands between the source and the publisher.
//!
//! One batch is filled while others are in flight: one, or in `idempotent` delivery several. A batch is handed over as
//! soon as there is another one to fill and a transaction is whole. A full batch stops the reading until then.

mod fallback;
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
use super::resume_point::LineOptions;
use crate::batch::{Batch, DestinationId, Parts};
use crate::binlog::row::Cell;
use crate::binlog::table::Table;
use crate::binlog::{LayoutId, Position, Rows};
use crate::checkpoint::Checkpoint;
use crate::coordinates::Coordinates;
use crate::envelope::fallback::letter_for;
use crate::envelope::{self, Buffers, Outcome, RowFacts, RowPosition};
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
    buffers: Buffers,
    /// Where wide rows are decoded to. It is empty between two events.
    cells: Vec<Cell<'static>>,
    /// Destination of the record before the one in draft.
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
            buffers: Buffers::default(),
            cells: Vec::new(),
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
        let mut few = [Cell::Null; CELLS_MAX];
        let mut many = Vec::new();
        let columns = self.route(rows.layout).decoder.cells();
        let cells = if columns <= CELLS_MAX {
            &mut few[..columns]
        } else {
            many = emptied(std::mem::take(&mut self.cells));
            many.resize(columns, Cell::Null);
            &mut many[..]
        };
        let mut bytes = rows.event.rows();
        while !bytes.is_empty() {
            let from = bytes;
            let decoder = &self.route(rows.layout).decoder;
            decoder.decode(&mut bytes, rows.event.present(), cells).map_err(|source| {
                let at = rows.position.coordinates.at(rows.at.end);
                Error::Decode { table: rows.table.full_name(), at, row: index, source }
            })?;
            let row = DecodedRow { rows, index, bytes: from, cells };
            if let Some(mut parts) = self.draft_row(&row, admission)? {
                let mut topic = match self.known_topic() {
                    Some(topic) => topic,
                    None => self.learn_topic_or_fall_back(&row, &mut parts).await?,
                };
                if !self.options.refusals.is_empty() {
                    topic = self.replace_refused(&row, topic, &mut parts).await?;
                }
                self.push_draft(&row, topic, parts);
                self.seal_full(rows).await?;
            }
            index += 1;
        }
        if columns > CELLS_MAX {
            self.cells = emptied(many);
        }
        if rows.at.in_payload {
            self.ledger.note_payload_rows(rows.layout, index);
        }
        Ok(())
    }

    /// Writes the row's record; `None` where the row is not relayed.
    fn draft_row(
        &mut self,
        row: &DecodedRow<'_>,
        admission: Admission,
    ) -> Result<Option<Parts>, Error> {
        let (ledger, routes) = (&mut self.ledger, &self.routes);
        let (rows, cells) = (row.rows, row.cells);
        let route = routes[rows.layout.index].as_ref().expect(HAS_ROUTE);
        let is_relayed = || match envelope::is_relayed(route, cells) {
            Err(source) if letter_for(route, &source).is_some() => Ok(true),
            is_relayed => is_relayed.map_err(|source| row.error(source)),
        };
        if ledger.is_done(admission, rows.gtid, is_relayed)? {
            self.observer.note_skipped(Skipped::Relayed);
            return Ok(None);
        }
        let facts = row.facts(ledger, self.filling.len());
        let draft = self.filling.draft();
        match envelope::write(route, cells, &facts, &mut self.buffers, draft) {
            Ok(Outcome::Record(parts)) => return Ok(Some(parts)),
            Ok(Outcome::AlreadyPublished) => self.observer.note_skipped(Skipped::Published),
            Ok(Outcome::LeftOut) => self.observer.note_skipped(Skipped::LeftOut),
            Err(source) => return self.draft_letter_of(row, source).map(Some),
        }
        Ok(None)
    }

    fn push_draft(&mut self, row: &DecodedRow<'_>, topic: DestinationId, parts: Parts) {
        let committed_at = row.rows.committed_at;
        if self.is_in_kafka(row, topic, parts) {
            self.observer.note_skipped(Skipped::Relayed);
            self.observer.forget_letters_from(self.next_sequence());
            self.filling.push_found_parts(topic, parts, committed_at);
        } else {
            self.filling.push_parts(topic, parts, committed_at);
        }
        if is_planted(Bug::BoundaryInsideTransaction) {
            self.filling.mark_boundary();
        }
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
    fn is_in_kafka(&self, row: &DecodedRow<'_>, topic: DestinationId, parts: Parts) -> bool {
        if self.ledger.window().is_none() {
            return false;
        }
        let key = parts.key_len.map(|key_len| self.filling.draft_key(key_len));
        let sequence = self.next_sequence();
        let is_there = |sent: &SentRows| {
            if self.may_be_elsewhere(row) {
                sent.sequences.contains(&sequence)
            } else {
                sent.holds(key, parts.partition, sequence)
            }
        };
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
            self.observer.forget_letters_from(self.next_sequence());
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
        let is_last =
            |id: &DestinationId| *self.destinations.get(*id).name == *self.buffers.topic();
        let last = self.last_topic.filter(is_last);
        self.last_topic = last.or_else(|| self.destinations.find(self.buffers.topic()));
        self.last_topic
    }

    async fn learn_topic(&mut self) -> Result<DestinationId, Error> {
        let id = self.destinations.look_up(self.buffers.topic()).await?;
        let destination = self.destinations.get(id);
        let batch_bytes_max = self.destinations.batch_bytes_max();
        let is_below = |bytes: &usize| *bytes < batch_bytes_max;
        if let Some(bytes_max) = destination.record_bytes_max.filter(is_below) {
            return Err(Error::SmallerBatches {
                topic: self.buffers.topic().to_owned(),
                bytes_max,
            });
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
}

/// The memory of cells, for cells of another event: the standard library collects a vector into its own memory.
fn emptied<'a>(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'a>> {
    cells.clear();
    cells.into_iter().map(|_| Cell::Null).collect()
}

/// A row, decoded as far as its plan needs it.
#[derive(Clone, Copy)]
struct DecodedRow<'a> {
    rows: &'a Rows<'a>,
    /// Within the event, or among the rows of its table in a compressed transaction.
    index: u64,
    /// Those of the event, from the row on.
    bytes: &'a [u8],
    cells: &'a [Cell<'a>],
}

impl<'a> DecodedRow<'a> {
    /// `filling`: records in the batch that is being filled.
    fn facts(&self, ledger: &'a Ledger, filling: usize) -> RowFacts<'a> {
        let rows = self.rows;
        let (file, end) = (rows.position.coordinates.file(), rows.at.end);
        RowFacts {
            position: RowPosition { file, end, index: self.index },
            database: &rows.table.schema,
            table: &rows.table.name,
            name: ledger.name(),
            generation: ledger.generation(),
            sequence: ledger.next_sequence(filling),
            gtid: rows.gtid,
            committed_at: rows.committed_at,
        }
    }

    fn at(&self) -> Coordinates {
        self.rows.position.coordinates.at(self.rows.at.end)
    }

    fn error(&self, source: envelope::Error) -> Error {
        Error::Row { table: self.rows.table.full_name(), at: self.at(), row: self.index, source }
    }
}
