//! Groups binlog events into transactions and keeps the position: what enters is one event after the other,
//! what leaves is a [`Step`] that says what the event means for the stream.
//!
//! A position is always a transaction boundary. Nothing is guessed: a group that does not end, a statement
//! that would have changed an outbox table unseen, an event that nobody knows are errors with coordinates.

mod error;

pub use self::error::Error;
use super::event_type;
use super::query::{Control, Effect, IsOutbox, Query};
use super::raw_event::RawEvent;
use super::row::RowChange;
use crate::clock::CommitTime;
use crate::coordinates::{self, Coordinates, Gtid, GtidSet};

/// A reader that does not know an event with this flag may pass over it.
const FLAG_IGNORABLE: u16 = 0x80;

/// A transaction boundary: everything before it is done, nothing after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// File and offset of the boundary.
    pub coordinates: Coordinates,
    /// Every GTID before the position; `None` when that is not known completely.
    pub gtid_set: Option<GtidSet>,
    /// When its file was begun, in seconds since 1970; `None` while that is not known.
    pub file_timestamp: Option<u32>,
}

/// Whether rows are to be relayed, or were before this reading began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlreadyRelayed {
    /// They are to be relayed.
    No,
    /// The event ends at or before the offset from which relaying begins.
    BeforeStart,
    /// Its transaction is in the GTID set that was relayed already.
    InGtidSet,
}

/// What an event means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing for the line.
    Nothing,
    /// A table map; it holds until the transaction ends.
    TableMap,
    /// Inserted rows.
    WriteRows(RowsAt),
    /// Rows that were there before were changed.
    ChangedRows(RowChange),
    /// The transaction is complete; [`Tracker::position`] is after it.
    Committed,
    /// As `Committed`, by a statement that may have changed the columns of an outbox table.
    Altered,
    /// Such a statement inside a transaction that goes on: CREATE TABLE before the rows that come with it.
    AlteredInside,
    /// The rows since the last boundary were taken back.
    RolledBack,
}

/// Where a rows event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsAt {
    /// End of the event in its file, or of the compressed transaction around it.
    pub end: u64,
    /// It is inside a compressed transaction.
    pub in_payload: bool,
    /// It is inside an XA transaction, of which it is not known whether it will be committed.
    pub in_xa: bool,
    /// Whether the rows were relayed before.
    pub passed: AlreadyRelayed,
}

#[derive(Debug)]
struct Open {
    start: u64,
    gtid: Option<Gtid>,
    begun: bool,
    in_xa: bool,
    in_payload: bool,
    passed: bool,
    has_outbox_rows: bool,
}

impl Open {
    fn new(start: u64, gtid: Option<Gtid>) -> Open {
        Open {
            start,
            gtid,
            begun: false,
            in_xa: false,
            in_payload: false,
            passed: false,
            has_outbox_rows: false,
        }
    }
}

/// Follows the event groups of one dump stream.
#[derive(Debug)]
pub struct Tracker {
    position: Position,
    read_end: Coordinates,
    open: Option<Open>,
    payload_bytes_left: u64,
    start_offset: Option<u64>,
    gtids_are_complete: bool,
    committed_at: CommitTime,
}

/// Where a stream begins to be read and from where its rows count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Where the dump begins: the head of a file, or a transaction boundary.
    pub read_from: Coordinates,
    /// Every GTID that was relayed before, or stands before `read_from`; `None` when not known.
    pub gtid_set: Option<GtidSet>,
    /// When the file was begun; `None` when any will do.
    pub file_timestamp: Option<u32>,
    /// What ends at or before this offset of the same file is marked as passed.
    pub start_offset: Option<u64>,
    /// The server gives every transaction a GTID (`gtid_mode=ON`), so that a set can name all of them.
    pub gtids_are_complete: bool,
}

impl Start {
    /// All of a file, where no row was relayed, of a server that gives every transaction a GTID.
    ///
    /// # Errors
    /// The file's name is not legal.
    pub fn of_file(file: &str) -> Result<Start, coordinates::Error> {
        Ok(Start {
            read_from: Coordinates::start_of_file(file)?,
            gtid_set: None,
            file_timestamp: None,
            start_offset: None,
            gtids_are_complete: true,
        })
    }

    /// The position from which rows count, as far as it is known before a row is read.
    pub fn position(&self) -> Position {
        let file_timestamp = self.file_timestamp;
        match self.start_offset {
            Some(offset) => {
                Position { coordinates: self.read_from.at(offset), gtid_set: None, file_timestamp }
            }
            None => Position {
                coordinates: self.read_from.clone(),
                gtid_set: self.gtid_set.clone(),
                file_timestamp,
            },
        }
    }
}

impl Tracker {
    /// A tracker for a dump that begins there.
    pub fn new(start: Start) -> Tracker {
        let Start { read_from, gtid_set, file_timestamp, start_offset, gtids_are_complete } = start;
        Tracker {
            read_end: read_from.clone(),
            position: Position { coordinates: read_from, gtid_set, file_timestamp },
            open: None,
            payload_bytes_left: 0,
            start_offset,
            gtids_are_complete,
            committed_at: CommitTime::from_seconds(0),
        }
    }

    /// The last transaction boundary.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// End of the last event that was read.
    pub fn read_end(&self) -> &Coordinates {
        &self.read_end
    }

    /// The GTID of the transaction that is being read.
    pub fn open_gtid(&self) -> Option<&Gtid> {
        self.open.as_ref()?.gtid.as_ref()
    }

    /// When the transaction that was read last, or is being read, was committed, as exactly as the server
    /// says: by the microseconds at its head, else by the timestamp of its last event.
    pub fn committed_at(&self) -> CommitTime {
        self.committed_at
    }

    /// Whether a transaction is being read.
    pub fn is_inside_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the next event comes out of a compressed transaction.
    pub fn is_inside_payload(&self) -> bool {
        self.payload_bytes_left > 0
    }

    /// Whether the offset from which relaying begins has not been reached yet.
    pub fn is_before_start(&self) -> bool {
        self.start_offset.is_some_and(|offset| {
            self.read_end.offset < offset
                || self.read_end.offset == offset && self.payload_bytes_left > 0
        })
    }

    /// The rows of the event just read belong to an outbox table.
    pub fn note_outbox_rows(&mut self) {
        if let Some(open) = &mut self.open {
            open.has_outbox_rows = true;
        }
    }

    /// Takes the next event. `is_outbox` says whether a database and table are relayed.
    ///
    /// # Errors
    /// See [`Error`]: none of them heals by reading again, except damage on the way.
    pub fn accept(
        &mut self,
        event: RawEvent<'_>,
        is_outbox: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Step, Error> {
        use event_type::*;
        self.advance(&event)?;
        match event.event_type {
            TABLE_MAP => Ok(self.inside(Step::TableMap)),
            WRITE_ROWS | WRITE_ROWS_V1 => {
                let at = self.rows_at();
                Ok(self.inside(Step::WriteRows(at)))
            }
            XID | XA_PREPARE => Ok(self.commit()),
            GTID | GTID_TAGGED | ANONYMOUS_GTID => self.begin_group(&event),
            QUERY => self.query(event.body, is_outbox),
            EXECUTE_LOAD_QUERY => self.load_query(event.body, is_outbox),
            TRANSACTION_PAYLOAD => self.begin_payload(event.body),
            ROTATE => self.rotate(&event),
            PREVIOUS_GTIDS => self.adopt_previous_gtids(event.body),
            FORMAT_DESCRIPTION => self.ensure_same_file(event.timestamp),
            INCIDENT if self.is_passed() => Ok(Step::Nothing),
            INCIDENT => Err(Error::Incident { at: self.read_end.clone() }),
            UPDATE_ROWS | UPDATE_ROWS_V1 | PARTIAL_UPDATE_ROWS => {
                Ok(Step::ChangedRows(RowChange::Update))
            }
            DELETE_ROWS | DELETE_ROWS_V1 => Ok(Step::ChangedRows(RowChange::Delete)),
            HEARTBEAT | HEARTBEAT_V2 | STOP | INTVAR | RAND | USER_VAR | IGNORABLE | ROWS_QUERY
            | TRANSACTION_CONTEXT | VIEW_CHANGE | APPEND_BLOCK | DELETE_FILE | BEGIN_LOAD_QUERY => {
                Ok(Step::Nothing)
            }
            _ if event.flags & FLAG_IGNORABLE != 0 || self.is_passed() => Ok(Step::Nothing),
            event_type => Err(Error::UnknownEvent { at: self.read_end.clone(), event_type }),
        }
    }

    /// Moves the position past the event. Made-up events (`log_pos` 0) and heartbeats are in no file;
    /// events inside a compressed transaction only count towards its stated size.
    fn advance(&mut self, event: &RawEvent<'_>) -> Result<(), Error> {
        use event_type::*;
        if self.payload_bytes_left > 0 {
            let left = self.payload_bytes_left.checked_sub(u64::from(event.size));
            self.payload_bytes_left = match left {
                // An outer event, or padding, where an inner event must be: the payload broke off.
                Some(left) if event.log_pos == 0 && event.size > 0 => left,
                _ => return Err(Error::DamagedPayload { at: self.read_end.clone() }),
            };
            return Ok(());
        }
        if event.log_pos == 0 || matches!(event.event_type, HEARTBEAT | HEARTBEAT_V2) {
            return Ok(());
        }
        if !self.committed_at.is_exact() {
            self.committed_at = CommitTime::from_seconds(event.timestamp);
        }
        // The header has 32 bits for the position, a file may be longer: positions only grow within one.
        let mut end = (self.read_end.offset & !0xFFFF_FFFF) | u64::from(event.log_pos);
        if end < self.read_end.offset {
            end += 1 << 32;
        }
        self.read_end.offset = end;
        Ok(())
    }

    fn inside(&mut self, step: Step) -> Step {
        // A start in the middle of a group comes without its BEGIN; the group ends like any other.
        let start = self.position.coordinates.offset;
        self.open.get_or_insert_with(|| Open::new(start, None)).begun = true;
        step
    }

    fn rows_at(&self) -> RowsAt {
        let open = self.open.as_ref();
        let passed = if open.is_some_and(|open| open.passed) {
            AlreadyRelayed::InGtidSet
        } else if self.start_offset.is_some_and(|offset| self.read_end.offset <= offset) {
            AlreadyRelayed::BeforeStart
        } else {
            AlreadyRelayed::No
        };
        RowsAt {
            end: self.read_end.offset,
            in_payload: open.is_some_and(|open| open.in_payload),
            in_xa: open.is_some_and(|open| open.in_xa),
            passed,
        }
    }

    /// What the event just read did is done already: it is not held against the stream.
    pub fn is_passed(&self) -> bool {
        self.rows_at().passed != AlreadyRelayed::No
    }

    fn begin_group(&mut self, event: &RawEvent<'_>) -> Result<Step, Error> {
        self.ensure_closed()?;
        let decoded = Gtid::decode(event.event_type, event.body)
            .map_err(|_| Error::Damaged { at: self.read_end.clone(), what: "GTID" })?;
        let mut open = Open::new(self.position.coordinates.offset, decoded.gtid);
        self.committed_at = match decoded.immediate_commit_timestamp_micros {
            Some(micros) => CommitTime::from_micros(micros),
            None => CommitTime::from_seconds(event.timestamp),
        };
        match (&open.gtid, &self.position.gtid_set) {
            (Some(gtid), Some(set)) => open.passed = set.contains(gtid),
            // A transaction without a GTID: no set can name all that is done any more.
            (None, _) => (self.position.gtid_set, self.gtids_are_complete) = (None, false),
            (Some(_), None) => {}
        }
        self.open = Some(open);
        Ok(Step::Nothing)
    }

    fn begin_payload(&mut self, body: &[u8]) -> Result<Step, Error> {
        let at = self.read_end.clone();
        let stated = super::dump::stated(body)
            .ok_or(Error::Damaged { at: at.clone(), what: "compressed transaction" })?;
        if stated.uncompressed_bytes == 0 {
            return Err(Error::DamagedPayload { at });
        }
        self.payload_bytes_left = stated.uncompressed_bytes;
        let start = self.position.coordinates.offset;
        let open = self.open.get_or_insert_with(|| Open::new(start, None));
        open.in_payload = true;
        Ok(Step::Nothing)
    }

    fn query(&mut self, body: &[u8], is_outbox: IsOutbox<'_>) -> Result<Step, Error> {
        let query = Query::parse(body)
            .ok_or_else(|| Error::Damaged { at: self.read_end.clone(), what: "query" })?;
        let start = self.position.coordinates.offset;
        let is_passed = self.is_passed();
        let open = self.open.get_or_insert_with(|| Open::new(start, None));
        match query.control() {
            Some(Control::Begin) => open.begun = true,
            Some(Control::XaStart) => (open.begun, open.in_xa) = (true, true),
            Some(Control::Commit | Control::XaFinish) => return Ok(self.commit()),
            // Nothing of it was relayed by us that could be taken back.
            Some(Control::Rollback) if is_passed => return Ok(self.commit()),
            Some(Control::Rollback) => return Ok(self.roll_back()),
            Some(Control::RollbackTo) if open.has_outbox_rows && !is_passed => {
                return Err(Error::PartialRollback { at: self.read_end.clone() });
            }
            Some(Control::XaEnd | Control::Savepoint | Control::RollbackTo) => {}
            None => return self.statement(&query, is_outbox),
        }
        Ok(Step::Nothing)
    }

    /// A statement inside BEGIN … COMMIT is a part of it; alone (DDL) it is a group of its own.
    fn statement(&mut self, query: &Query<'_>, is_outbox: IsOutbox<'_>) -> Result<Step, Error> {
        let effect = query.effect(is_outbox);
        self.ensure_not_added(&effect)?;
        let is_altered = matches!(effect, Effect::Defines(_));
        Ok(match &self.open {
            Some(open) if open.begun && is_altered => Step::AlteredInside,
            Some(open) if open.begun => Step::Nothing,
            _ => {
                self.commit();
                if is_altered { Step::Altered } else { Step::Committed }
            }
        })
    }

    /// Rows that a statement added are nowhere in the stream.
    fn ensure_not_added(&self, effect: &Effect) -> Result<(), Error> {
        let at = || self.read_end.clone();
        match effect {
            Effect::Adds(_) | Effect::MayAdd(_) if self.is_passed() => Ok(()),
            Effect::Adds(table) => Err(Error::Statement { at: at(), table: table.clone() }),
            Effect::MayAdd(table) => {
                Err(Error::UnclearStatement { at: at(), table: table.clone() })
            }
            Effect::Defines(definition) if definition.moves_rows && !self.is_passed() => {
                tracing::warn!(
                    table = definition.table, at = %self.read_end,
                    "DDL may have moved rows into an outbox table: those that were not inserted into it are not relayed"
                );
                Ok(())
            }
            Effect::Defines(_) | Effect::Nothing => Ok(()),
        }
    }

    fn load_query(&mut self, body: &[u8], is_outbox: IsOutbox<'_>) -> Result<Step, Error> {
        let query = Query::parse_load(body)
            .ok_or_else(|| Error::Damaged { at: self.read_end.clone(), what: "load query" })?;
        self.ensure_not_added(&query.effect(is_outbox))?;
        Ok(Step::Nothing)
    }

    fn commit(&mut self) -> Step {
        let open = self.close();
        if let (Some(gtid), Some(set)) =
            (open.and_then(|open| open.gtid), &mut self.position.gtid_set)
        {
            set.insert(gtid);
        }
        Step::Committed
    }

    fn roll_back(&mut self) -> Step {
        self.commit();
        Step::RolledBack
    }

    fn close(&mut self) -> Option<Open> {
        self.position.coordinates = self.read_end.clone();
        if self.start_offset.is_some_and(|offset| self.read_end.offset >= offset) {
            self.start_offset = None;
        }
        self.open.take()
    }

    fn rotate(&mut self, event: &RawEvent<'_>) -> Result<Step, Error> {
        let damaged = || Error::Damaged { at: self.read_end.clone(), what: "rotate" };
        let (position, file) = event.body.split_first_chunk::<8>().ok_or_else(damaged)?;
        let file = std::str::from_utf8(file).map_err(|_| damaged())?;
        let next = Coordinates::new(file, u64::from_le_bytes(*position)).map_err(|_| damaged())?;
        // At the start of a stream and after every real one comes a made-up rotate to where we are.
        if file == self.read_end.file() {
            return Ok(Step::Nothing);
        }
        self.ensure_closed()?;
        if let Some(offset) =
            self.start_offset.take().filter(|offset| self.read_end.offset < *offset)
        {
            return Err(Error::StartBeyondEnd { file: self.read_end.file().into(), offset });
        }
        self.read_end = next;
        self.position.file_timestamp = None;
        self.close();
        Ok(Step::Committed)
    }

    /// The event at the head of each file, which also begins every stream, tells when the file was begun.
    /// After RESET MASTER names and offsets come again.
    fn ensure_same_file(&mut self, timestamp: u32) -> Result<Step, Error> {
        let is = Some(timestamp).filter(|seconds| *seconds != 0);
        match (is, self.position.file_timestamp) {
            (Some(is), Some(was)) if is != was => {
                Err(Error::OtherFile { file: self.read_end.file().into(), is, was })
            }
            _ => {
                self.position.file_timestamp = is;
                Ok(Step::Nothing)
            }
        }
    }

    /// The event at the head of each file names all GTIDs before that file. It is taken where the set was
    /// not known; a known set may be ahead of it, by what was relayed on another server.
    fn adopt_previous_gtids(&mut self, body: &[u8]) -> Result<Step, Error> {
        if self.position.gtid_set.is_none() && self.gtids_are_complete {
            let set = GtidSet::decode_previous_gtids(body).map_err(|_| Error::Damaged {
                at: self.read_end.clone(),
                what: "previous GTIDs",
            })?;
            self.position.gtid_set = Some(set);
        }
        // It stands before the first group of its file: reading may as well begin after it.
        if self.open.is_none() {
            self.close();
        }
        Ok(Step::Nothing)
    }

    fn ensure_closed(&self) -> Result<(), Error> {
        match &self.open {
            Some(open) => Err(Error::Unfinished {
                start: self.position.coordinates.at(open.start),
                at: self.read_end.clone(),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
