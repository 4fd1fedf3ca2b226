//! Groups binlog events into transactions and keeps the place: what enters is one event after the other,
//! what leaves is a [`Step`] that says what the event means for the stream.
//!
//! A place is always a transaction boundary. Nothing is guessed: a group that does not end, a statement
//! that would have changed an outbox table unseen, an event that nobody knows are errors with coordinates.

mod error;

pub use self::error::Error;
use super::event_type;
use super::query::{Control, Effect, IsOutbox, Query};
use super::raw_event::RawEvent;
use crate::clock::CommitTime;
use crate::coordinates::{Coordinates, Gtid, GtidSet};

/// A reader that does not know an event with this flag may pass over it.
const FLAG_IGNORABLE: u16 = 0x80;

/// A transaction boundary: everything before it is done, nothing after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub coordinates: Coordinates,
    /// Every GTID before the place; `None` when that is not known completely.
    pub gtid_set: Option<GtidSet>,
    /// When its file was begun, in seconds since 1970; `None` while that is not known.
    pub file_timestamp: Option<u32>,
}

/// Whether rows are to be relayed, or were before this reading began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
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
    /// The transaction is complete; [`Tracker::place`] is after it.
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
    pub in_payload: bool,
    pub in_xa: bool,
    pub passed: Passed,
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
    place: Place,
    position: Coordinates,
    open: Option<Open>,
    payload_bytes_left: u64,
    start_offset: Option<u64>,
    gtids_are_complete: bool,
    committed_at: CommitTime,
}

/// Where a stream begins to be read and from where its rows count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
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
    /// The place from which rows count, as far as it is known before a row is read.
    pub fn place(&self) -> Place {
        let file_timestamp = self.file_timestamp;
        match self.start_offset {
            Some(offset) => {
                Place { coordinates: self.read_from.at(offset), gtid_set: None, file_timestamp }
            }
            None => Place {
                coordinates: self.read_from.clone(),
                gtid_set: self.gtid_set.clone(),
                file_timestamp,
            },
        }
    }
}

impl Tracker {
    pub fn new(start: Start) -> Tracker {
        let Start { read_from, gtid_set, file_timestamp, start_offset, gtids_are_complete } = start;
        Tracker {
            position: read_from.clone(),
            place: Place { coordinates: read_from, gtid_set, file_timestamp },
            open: None,
            payload_bytes_left: 0,
            start_offset,
            gtids_are_complete,
            committed_at: CommitTime::from_seconds(0),
        }
    }

    /// The last transaction boundary.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// End of the last event that was read.
    pub fn position(&self) -> &Coordinates {
        &self.position
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
            self.position.offset < offset
                || self.position.offset == offset && self.payload_bytes_left > 0
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
            INCIDENT => Err(Error::Incident { at: self.position.clone() }),
            HEARTBEAT | HEARTBEAT_V2 | STOP | INTVAR | RAND | USER_VAR | IGNORABLE | ROWS_QUERY
            | UPDATE_ROWS_V1 | DELETE_ROWS_V1 | UPDATE_ROWS | DELETE_ROWS | PARTIAL_UPDATE_ROWS
            | TRANSACTION_CONTEXT | VIEW_CHANGE | APPEND_BLOCK | DELETE_FILE | BEGIN_LOAD_QUERY => {
                Ok(Step::Nothing)
            }
            _ if event.flags & FLAG_IGNORABLE != 0 || self.is_passed() => Ok(Step::Nothing),
            event_type => Err(Error::UnknownEvent { at: self.position.clone(), event_type }),
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
                _ => return Err(Error::DamagedPayload { at: self.position.clone() }),
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
        let mut end = (self.position.offset & !0xFFFF_FFFF) | u64::from(event.log_pos);
        if end < self.position.offset {
            end += 1 << 32;
        }
        self.position.offset = end;
        Ok(())
    }

    fn inside(&mut self, step: Step) -> Step {
        // A start in the middle of a group comes without its BEGIN; the group ends like any other.
        let start = self.place.coordinates.offset;
        self.open.get_or_insert_with(|| Open::new(start, None)).begun = true;
        step
    }

    fn rows_at(&self) -> RowsAt {
        let open = self.open.as_ref();
        let passed = if open.is_some_and(|open| open.passed) {
            Passed::InGtidSet
        } else if self.start_offset.is_some_and(|offset| self.position.offset <= offset) {
            Passed::BeforeStart
        } else {
            Passed::No
        };
        RowsAt {
            end: self.position.offset,
            in_payload: open.is_some_and(|open| open.in_payload),
            in_xa: open.is_some_and(|open| open.in_xa),
            passed,
        }
    }

    /// What the event just read did is done already: it is not held against the stream.
    pub fn is_passed(&self) -> bool {
        self.rows_at().passed != Passed::No
    }

    fn begin_group(&mut self, event: &RawEvent<'_>) -> Result<Step, Error> {
        self.ensure_closed()?;
        let decoded = Gtid::decode(event.event_type, event.body)
            .map_err(|_| Error::Damaged { at: self.position.clone(), what: "GTID" })?;
        let mut open = Open::new(self.place.coordinates.offset, decoded.gtid);
        self.committed_at = match decoded.immediate_commit_timestamp_micros {
            Some(micros) => CommitTime::from_micros(micros),
            None => CommitTime::from_seconds(event.timestamp),
        };
        match (&open.gtid, &self.place.gtid_set) {
            (Some(gtid), Some(set)) => open.passed = set.contains(gtid),
            // A transaction without a GTID: no set can name all that is done any more.
            (None, _) => (self.place.gtid_set, self.gtids_are_complete) = (None, false),
            (Some(_), None) => {}
        }
        self.open = Some(open);
        Ok(Step::Nothing)
    }

    fn begin_payload(&mut self, body: &[u8]) -> Result<Step, Error> {
        let at = self.position.clone();
        let stated = super::dump::stated(body)
            .ok_or(Error::Damaged { at: at.clone(), what: "compressed transaction" })?;
        if stated.uncompressed_bytes == 0 {
            return Err(Error::DamagedPayload { at });
        }
        self.payload_bytes_left = stated.uncompressed_bytes;
        let start = self.place.coordinates.offset;
        let open = self.open.get_or_insert_with(|| Open::new(start, None));
        open.in_payload = true;
        Ok(Step::Nothing)
    }

    fn query(&mut self, body: &[u8], is_outbox: IsOutbox<'_>) -> Result<Step, Error> {
        let query = Query::parse(body)
            .ok_or_else(|| Error::Damaged { at: self.position.clone(), what: "query" })?;
        let start = self.place.coordinates.offset;
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
                return Err(Error::PartialRollback { at: self.position.clone() });
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
        let at = || self.position.clone();
        match effect {
            Effect::Adds(_) | Effect::MayAdd(_) if self.is_passed() => Ok(()),
            Effect::Adds(table) => Err(Error::Statement { at: at(), table: table.clone() }),
            Effect::MayAdd(table) => {
                Err(Error::UnclearStatement { at: at(), table: table.clone() })
            }
            Effect::Defines(definition) if definition.moves_rows && !self.is_passed() => {
                tracing::warn!(
                    table = definition.table, at = %self.position,
                    "DDL may have moved rows into an outbox table: those that were not inserted into it are not relayed"
                );
                Ok(())
            }
            Effect::Defines(_) | Effect::Nothing => Ok(()),
        }
    }

    fn load_query(&mut self, body: &[u8], is_outbox: IsOutbox<'_>) -> Result<Step, Error> {
        let query = Query::parse_load(body)
            .ok_or_else(|| Error::Damaged { at: self.position.clone(), what: "load query" })?;
        self.ensure_not_added(&query.effect(is_outbox))?;
        Ok(Step::Nothing)
    }

    fn commit(&mut self) -> Step {
        let open = self.close();
        if let (Some(gtid), Some(set)) = (open.and_then(|open| open.gtid), &mut self.place.gtid_set)
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
        self.place.coordinates = self.position.clone();
        if self.start_offset.is_some_and(|offset| self.position.offset >= offset) {
            self.start_offset = None;
        }
        self.open.take()
    }

    fn rotate(&mut self, event: &RawEvent<'_>) -> Result<Step, Error> {
        let damaged = || Error::Damaged { at: self.position.clone(), what: "rotate" };
        let (position, file) = event.body.split_first_chunk::<8>().ok_or_else(damaged)?;
        let file = std::str::from_utf8(file).map_err(|_| damaged())?;
        let next = Coordinates::new(file, u64::from_le_bytes(*position)).map_err(|_| damaged())?;
        // At the start of a stream and after every real one comes a made-up rotate to where we are.
        if file == self.position.file() {
            return Ok(Step::Nothing);
        }
        self.ensure_closed()?;
        if let Some(offset) =
            self.start_offset.take().filter(|offset| self.position.offset < *offset)
        {
            return Err(Error::StartBeyondEnd { file: self.position.file().into(), offset });
        }
        self.position = next;
        self.place.file_timestamp = None;
        self.close();
        Ok(Step::Committed)
    }

    /// The event at the head of each file, which also begins every stream, tells when the file was begun.
    /// After RESET MASTER names and offsets come again.
    fn ensure_same_file(&mut self, timestamp: u32) -> Result<Step, Error> {
        let is = Some(timestamp).filter(|seconds| *seconds != 0);
        match (is, self.place.file_timestamp) {
            (Some(is), Some(was)) if is != was => {
                Err(Error::OtherFile { file: self.position.file().into(), is, was })
            }
            _ => {
                self.place.file_timestamp = is;
                Ok(Step::Nothing)
            }
        }
    }

    /// The event at the head of each file names all GTIDs before that file. It is taken where the set was
    /// not known; a known set may be ahead of it, by what was relayed on another server.
    fn adopt_previous_gtids(&mut self, body: &[u8]) -> Result<Step, Error> {
        if self.place.gtid_set.is_none() && self.gtids_are_complete {
            let set = GtidSet::decode_previous_gtids(body).map_err(|_| Error::Damaged {
                at: self.position.clone(),
                what: "previous GTIDs",
            })?;
            self.place.gtid_set = Some(set);
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
                start: self.place.coordinates.at(open.start),
                at: self.position.clone(),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_type::*;

    const FILE: &str = "binlog.000001";

    /// A tracker with what a server would send: each event 100 bytes long, one after the other.
    struct Stream {
        tracker: Tracker,
        end: u32,
    }

    impl Stream {
        fn from(start_offset: Option<u64>) -> Stream {
            let read_from = Coordinates::start_of_file(FILE).unwrap();
            let start = Start {
                read_from,
                gtid_set: None,
                file_timestamp: None,
                start_offset,
                gtids_are_complete: true,
            };
            Stream { tracker: Tracker::new(start), end: 4 }
        }

        fn send(&mut self, event_type: u8, body: &[u8]) -> Result<Step, Error> {
            self.end += 100;
            self.send_at(event_type, body, 100, self.end)
        }

        fn send_at(
            &mut self,
            event_type: u8,
            body: &[u8],
            size: u32,
            log_pos: u32,
        ) -> Result<Step, Error> {
            let event = RawEvent { event_type, flags: 0, size, timestamp: 0, log_pos, body };
            self.tracker.accept(event, &|database, table| (database, table) == ("shop", "events"))
        }

        fn query(&mut self, text: &str) -> Result<Step, Error> {
            self.send(QUERY, &query_body(text))
        }

        fn gtid(&mut self, number: u64) -> Result<Step, Error> {
            let mut body = vec![0; 1];
            body.extend_from_slice(&[7; 16]);
            body.extend_from_slice(&number.to_le_bytes());
            self.send(GTID, &body)
        }

        fn place(&self) -> String {
            self.tracker.place().coordinates.to_string()
        }
    }

    fn query_body(text: &str) -> Vec<u8> {
        let mut body = vec![0; 13];
        body[8] = 4;
        body.extend_from_slice(b"shop\0");
        body.extend_from_slice(text.as_bytes());
        body
    }

    fn rotate_body(file: &str) -> Vec<u8> {
        [&4u64.to_le_bytes(), file.as_bytes()].concat()
    }

    fn passed(step: Result<Step, Error>) -> Passed {
        match step {
            Ok(Step::WriteRows(at)) => at.passed,
            other => panic!("{other:?} are no rows"),
        }
    }

    #[test]
    fn a_place_is_after_a_whole_transaction_and_names_its_gtid() {
        let mut stream = Stream::from(None);
        stream.send(PREVIOUS_GTIDS, &[0; 8]).unwrap();
        stream.gtid(1).unwrap();
        stream.query("BEGIN").unwrap();
        stream.send(TABLE_MAP, &[]).unwrap();
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), Passed::No);
        assert_eq!(stream.place(), "binlog.000001:104");
        assert_eq!(stream.send(XID, &[]), Ok(Step::Committed));
        assert_eq!(stream.place(), "binlog.000001:604");
        let gtid_set = stream.tracker.place().gtid_set.clone().unwrap();
        assert_eq!(gtid_set.to_string(), "07070707-0707-0707-0707-070707070707:1");
    }

    #[test]
    fn what_ends_at_or_before_the_start_is_passed_and_the_rest_of_its_transaction_is_not() {
        let mut stream = Stream::from(Some(404));
        stream.gtid(1).unwrap();
        stream.query("BEGIN").unwrap();
        stream.send(TABLE_MAP, &[]).unwrap();
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), Passed::BeforeStart);
        assert!(!stream.tracker.is_before_start());
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), Passed::No);
        stream.send(XID, &[]).unwrap();
        stream.gtid(2).unwrap();
        stream.query("BEGIN").unwrap();
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), Passed::No);
    }

    #[test]
    fn a_transaction_in_the_known_set_is_passed_whole() {
        let mut stream = Stream::from(None);
        stream.tracker.place.gtid_set =
            Some("07070707-0707-0707-0707-070707070707:2".parse().unwrap());
        for (number, expected) in [(1, Passed::No), (2, Passed::InGtidSet), (3, Passed::No)] {
            stream.gtid(number).unwrap();
            stream.query("BEGIN").unwrap();
            assert_eq!(passed(stream.send(WRITE_ROWS, &[])), expected, "{number}");
            stream.send(XID, &[]).unwrap();
        }
        let gtid_set = stream.tracker.place().gtid_set.clone().unwrap();
        assert_eq!(gtid_set.to_string(), "07070707-0707-0707-0707-070707070707:1-3");
    }

    #[test]
    fn a_transaction_without_a_gtid_makes_the_set_unknown() {
        let mut stream = Stream::from(None);
        stream.send(PREVIOUS_GTIDS, &[0; 8]).unwrap();
        assert!(stream.tracker.place().gtid_set.is_some());
        stream.send(ANONYMOUS_GTID, &[0; 25]).unwrap();
        stream.query("BEGIN").unwrap();
        stream.send(XID, &[]).unwrap();
        assert_eq!(stream.tracker.place().gtid_set, None);
        // Nor does the head of the next file name it.
        stream.send(PREVIOUS_GTIDS, &[0; 8]).unwrap();
        assert_eq!(stream.tracker.place().gtid_set, None);
    }

    #[test]
    fn a_group_that_was_rolled_back_before_the_start_took_nothing_back_of_ours() {
        let mut stream = Stream::from(Some(504));
        stream.gtid(1).unwrap();
        stream.query("BEGIN").unwrap();
        stream.send(TABLE_MAP, &[]).unwrap();
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), Passed::BeforeStart);
        assert_eq!(stream.query("ROLLBACK"), Ok(Step::Committed));
    }

    #[test]
    fn a_file_of_the_same_name_that_was_begun_at_another_time_is_an_error() {
        let mut stream = Stream::from(None);
        stream.tracker.place.file_timestamp = Some(1_700_000_000);
        let began = |stream: &mut Stream, timestamp| {
            let event = RawEvent {
                event_type: FORMAT_DESCRIPTION,
                flags: 0,
                size: 100,
                timestamp,
                log_pos: 0,
                body: &[],
            };
            stream.tracker.accept(event, &|_, _| false)
        };
        assert_eq!(began(&mut stream, 1_700_000_000), Ok(Step::Nothing));
        stream.send_at(ROTATE, &rotate_body("binlog.000002"), 40, 0).unwrap();
        assert_eq!(began(&mut stream, 1_700_000_001), Ok(Step::Nothing));
        assert_eq!(stream.tracker.place().file_timestamp, Some(1_700_000_001));
        match began(&mut stream, 1_700_000_002) {
            Err(error @ Error::OtherFile { .. }) => {
                let text = error.to_string();
                assert!(text.contains("binlog.000002 was begun at 2023-11-14T22:13:22Z"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_compressed_transaction_that_ends_at_the_start_is_before_it_to_its_last_event() {
        let mut stream = Stream::from(Some(204));
        stream.gtid(1).unwrap();
        stream.send(TRANSACTION_PAYLOAD, &[3, 1, 100, 1, 1, 9, 0]).unwrap();
        stream.send_at(WRITE_ROWS, &[], 60, 0).unwrap();
        assert!(stream.tracker.is_before_start());
        stream.send_at(XID, &[], 40, 0).unwrap();
        assert!(!stream.tracker.is_before_start());
    }

    #[test]
    fn a_made_up_rotate_moves_only_to_another_file() {
        let mut stream = Stream::from(None);
        assert_eq!(stream.send_at(ROTATE, &rotate_body(FILE), 40, 0), Ok(Step::Nothing));
        stream.query("CREATE DATABASE a").unwrap();
        assert_eq!(stream.place(), "binlog.000001:104");
        // After a crash of the server there is no real rotate at the end of the file.
        let next = rotate_body("binlog.000002");
        assert_eq!(stream.send_at(ROTATE, &next, 40, 0), Ok(Step::Committed));
        assert_eq!(stream.place(), "binlog.000002:4");
        assert_eq!(stream.send_at(ROTATE, &next, 40, 0), Ok(Step::Nothing));
    }

    #[test]
    fn a_file_that_ends_inside_a_transaction_or_before_the_start_is_an_error() {
        let mut stream = Stream::from(None);
        stream.query("BEGIN").unwrap();
        let rotated = stream.send(ROTATE, &rotate_body("binlog.000002"));
        assert!(matches!(rotated, Err(Error::Unfinished { .. })), "{rotated:?}");
        let mut stream = Stream::from(Some(5000));
        let rotated = stream.send(ROTATE, &rotate_body("binlog.000002"));
        assert!(matches!(rotated, Err(Error::StartBeyondEnd { offset: 5000, .. })), "{rotated:?}");
    }

    #[test]
    fn positions_grow_past_four_gibibytes() {
        let mut stream = Stream::from(None);
        stream.tracker.position.offset = u64::from(u32::MAX) - 50;
        stream.send_at(QUERY, &query_body("CREATE DATABASE a"), 100, 49).unwrap();
        assert_eq!(stream.place(), format!("{FILE}:{}", (1u64 << 32) + 49));
    }

    #[test]
    fn events_of_a_compressed_transaction_have_the_end_of_the_one_around_them() {
        let mut stream = Stream::from(None);
        stream.gtid(1).unwrap();
        // It states 100 bytes: one event of 60 and one of 40.
        stream.send(TRANSACTION_PAYLOAD, &[3, 1, 100, 1, 1, 9, 0]).unwrap();
        match stream.send_at(WRITE_ROWS, &[], 60, 0) {
            Ok(Step::WriteRows(at)) => assert_eq!((at.end, at.in_payload), (204, true)),
            other => panic!("{other:?}"),
        }
        assert!(stream.tracker.is_inside_payload());
        assert_eq!(stream.send_at(XID, &[], 40, 0), Ok(Step::Committed));
        assert!(!stream.tracker.is_inside_payload());
        assert_eq!(stream.place(), "binlog.000001:204");
    }

    #[test]
    fn a_compressed_transaction_that_breaks_off_is_an_error() {
        for (size, log_pos) in [(120, 0), (50, 304), (0, 0)] {
            let mut stream = Stream::from(None);
            stream.gtid(1).unwrap();
            stream.send(TRANSACTION_PAYLOAD, &[3, 1, 100, 1, 1, 9, 0]).unwrap();
            let next = stream.send_at(WRITE_ROWS, &[], size, log_pos);
            assert!(matches!(next, Err(Error::DamagedPayload { .. })), "{next:?}");
        }
    }

    #[test]
    fn a_group_that_does_not_end_is_an_error_at_its_beginning() {
        let mut stream = Stream::from(None);
        stream.gtid(1).unwrap();
        stream.query("BEGIN").unwrap();
        match stream.gtid(2) {
            Err(Error::Unfinished { start, at }) => {
                assert_eq!((start.offset, at.offset), (4, 304));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_statement_that_writes_to_an_outbox_is_an_error_unless_it_was_before_the_start() {
        let insert = "INSERT INTO events VALUES (1)";
        let mut stream = Stream::from(None);
        stream.query("BEGIN").unwrap();
        let logged = stream.query(insert);
        assert!(
            matches!(logged, Err(Error::Statement { ref table, .. }) if table == "shop.events")
        );
        let mut stream = Stream::from(Some(204));
        stream.query("BEGIN").unwrap();
        assert_eq!(stream.query(insert), Ok(Step::Nothing));
    }

    #[test]
    fn a_rollback_to_a_savepoint_after_rows_of_an_outbox_is_an_error() {
        let mut stream = Stream::from(None);
        stream.query("BEGIN").unwrap();
        stream.query("SAVEPOINT a").unwrap();
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), Passed::No);
        // Rows of other tables may be taken back.
        assert_eq!(stream.query("ROLLBACK TO `a`"), Ok(Step::Nothing));
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), Passed::No);
        stream.tracker.note_outbox_rows();
        let rolled_back = stream.query("ROLLBACK TO `a`");
        let at = Coordinates::new(FILE, 604).unwrap();
        assert_eq!(rolled_back, Err(Error::PartialRollback { at }));
    }

    #[test]
    fn outbox_rows_of_one_transaction_do_not_count_in_the_next() {
        let mut stream = Stream::from(None);
        stream.query("BEGIN").unwrap();
        stream.send(WRITE_ROWS, &[]).unwrap();
        stream.tracker.note_outbox_rows();
        stream.send(XID, &[]).unwrap();
        stream.query("BEGIN").unwrap();
        assert_eq!(stream.query("ROLLBACK TO `a`"), Ok(Step::Nothing));
    }

    #[test]
    fn ddl_is_a_transaction_of_its_own_and_one_on_an_outbox_is_told() {
        let mut stream = Stream::from(None);
        assert_eq!(stream.query("CREATE TABLE other (id INT)"), Ok(Step::Committed));
        assert_eq!(stream.query("ALTER TABLE events ADD COLUMN a INT"), Ok(Step::Altered));
        stream.query("BEGIN").unwrap();
        assert_eq!(stream.query("CREATE TABLE t2 (id INT)"), Ok(Step::Nothing));
        assert_eq!(stream.query("ALTER TABLE events ADD COLUMN b INT"), Ok(Step::AlteredInside));
        assert_eq!(stream.query("ROLLBACK"), Ok(Step::RolledBack));
    }

    #[test]
    fn ddl_that_begins_with_a_comment_is_ddl() {
        let mut stream = Stream::from(None);
        for text in [
            "-- Begin migration 42\nALTER TABLE other.t ADD COLUMN x INT",
            "-- rollback of 41\nALTER TABLE other.t DROP COLUMN x",
            "# savepoint table\nCREATE TABLE other.s (a INT)",
            "-- xa start\nDROP TABLE other.s",
            "-- insert triggers fill events\nALTER TABLE other.t ADD COLUMN x INT",
        ] {
            assert_eq!(stream.query(text), Ok(Step::Committed), "{text}");
            assert!(!stream.tracker.is_inside_transaction(), "{text}");
        }
        let altered = stream.query("-- commit log\nALTER TABLE shop.events CHANGE a b INT");
        assert_eq!(altered, Ok(Step::Altered));
    }

    #[test]
    fn a_statement_that_cannot_be_read_is_an_error_where_it_may_have_added_rows() {
        let mut stream = Stream::from(None);
        stream.query("BEGIN").unwrap();
        assert_eq!(stream.query("MERGE INTO other USING t"), Ok(Step::Nothing));
        let logged = stream.query("MERGE INTO events USING t");
        assert!(
            matches!(logged, Err(Error::UnclearStatement { ref table, .. }) if table == "shop.events")
        );
    }

    #[test]
    fn an_unknown_event_is_an_error_unless_it_says_that_it_may_be_ignored() {
        let mut stream = Stream::from(None);
        assert!(matches!(stream.send(200, &[]), Err(Error::UnknownEvent { event_type: 200, .. })));
        let event = RawEvent {
            event_type: 200,
            flags: FLAG_IGNORABLE,
            size: 9,
            timestamp: 0,
            log_pos: 304,
            body: &[],
        };
        assert_eq!(stream.tracker.accept(event, &|_, _| false), Ok(Step::Nothing));
        assert!(matches!(stream.send(INCIDENT, &[]), Err(Error::Incident { .. })));
    }
}
