//! Groups of events as a server sends them, each event by its type and body.

use super::*;
use crate::coordinates::Uuid;
use crate::event_type::*;
use crate::write::body;

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
        self.send(QUERY, &body::query("shop", text))
    }

    fn gtid(&mut self, number: u64) -> Result<Step, Error> {
        let body = body::gtid(Uuid::from_bytes([7; 16]), number, None);
        self.send(GTID, &body)
    }

    fn position(&self) -> String {
        self.tracker.position().coordinates.to_string()
    }
}

fn passed(step: Result<Step, Error>) -> AlreadyRelayed {
    match step {
        Ok(Step::WriteRows(at)) => at.passed,
        other => panic!("{other:?} are no rows"),
    }
}

#[test]
fn a_position_is_after_a_whole_transaction_and_names_its_gtid() {
    let mut stream = Stream::from(None);
    stream.send(PREVIOUS_GTIDS, &[0; 8]).unwrap();
    stream.gtid(1).unwrap();
    stream.query("BEGIN").unwrap();
    stream.send(TABLE_MAP, &[]).unwrap();
    assert_eq!(passed(stream.send(WRITE_ROWS, &[])), AlreadyRelayed::No);
    assert_eq!(stream.position(), "binlog.000001:104");
    assert_eq!(stream.send(XID, &[]), Ok(Step::Committed));
    assert_eq!(stream.position(), "binlog.000001:604");
    let gtid_set = stream.tracker.position().gtid_set.clone().unwrap();
    assert_eq!(gtid_set.to_string(), "07070707-0707-0707-0707-070707070707:1");
}

#[test]
fn what_ends_at_or_before_the_start_is_passed_and_the_rest_of_its_transaction_is_not() {
    let mut stream = Stream::from(Some(404));
    stream.gtid(1).unwrap();
    stream.query("BEGIN").unwrap();
    stream.send(TABLE_MAP, &[]).unwrap();
    assert_eq!(passed(stream.send(WRITE_ROWS, &[])), AlreadyRelayed::BeforeStart);
    assert!(!stream.tracker.is_before_start());
    assert_eq!(passed(stream.send(WRITE_ROWS, &[])), AlreadyRelayed::No);
    stream.send(XID, &[]).unwrap();
    stream.gtid(2).unwrap();
    stream.query("BEGIN").unwrap();
    assert_eq!(passed(stream.send(WRITE_ROWS, &[])), AlreadyRelayed::No);
}

#[test]
fn a_transaction_in_the_known_set_is_passed_whole() {
    let mut stream = Stream::from(None);
    stream.tracker.position.gtid_set =
        Some("07070707-0707-0707-0707-070707070707:2".parse().unwrap());
    for (number, expected) in
        [(1, AlreadyRelayed::No), (2, AlreadyRelayed::InGtidSet), (3, AlreadyRelayed::No)]
    {
        stream.gtid(number).unwrap();
        stream.query("BEGIN").unwrap();
        assert_eq!(passed(stream.send(WRITE_ROWS, &[])), expected, "{number}");
        stream.send(XID, &[]).unwrap();
    }
    let gtid_set = stream.tracker.position().gtid_set.clone().unwrap();
    assert_eq!(gtid_set.to_string(), "07070707-0707-0707-0707-070707070707:1-3");
}

#[test]
fn a_transaction_without_a_gtid_makes_the_set_unknown() {
    let mut stream = Stream::from(None);
    stream.send(PREVIOUS_GTIDS, &[0; 8]).unwrap();
    assert!(stream.tracker.position().gtid_set.is_some());
    stream.send(ANONYMOUS_GTID, &[0; 25]).unwrap();
    stream.query("BEGIN").unwrap();
    stream.send(XID, &[]).unwrap();
    assert_eq!(stream.tracker.position().gtid_set, None);
    // Nor does the head of the next file name it.
    stream.send(PREVIOUS_GTIDS, &[0; 8]).unwrap();
    assert_eq!(stream.tracker.position().gtid_set, None);
}

#[test]
fn a_group_that_was_rolled_back_before_the_start_took_nothing_back_of_ours() {
    let mut stream = Stream::from(Some(504));
    stream.gtid(1).unwrap();
    stream.query("BEGIN").unwrap();
    stream.send(TABLE_MAP, &[]).unwrap();
    assert_eq!(passed(stream.send(WRITE_ROWS, &[])), AlreadyRelayed::BeforeStart);
    assert_eq!(stream.query("ROLLBACK"), Ok(Step::Committed));
}

#[test]
fn a_file_of_the_same_name_that_was_begun_at_another_time_is_an_error() {
    let mut stream = Stream::from(None);
    stream.tracker.position.file_timestamp = Some(1_700_000_000);
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
    stream.send_at(ROTATE, &body::rotate("binlog.000002", 4), 40, 0).unwrap();
    assert_eq!(began(&mut stream, 1_700_000_001), Ok(Step::Nothing));
    assert_eq!(stream.tracker.position().file_timestamp, Some(1_700_000_001));
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
    assert_eq!(stream.send_at(ROTATE, &body::rotate(FILE, 4), 40, 0), Ok(Step::Nothing));
    stream.query("CREATE DATABASE a").unwrap();
    assert_eq!(stream.position(), "binlog.000001:104");
    // After a crash of the server there is no real rotate at the end of the file.
    let next = body::rotate("binlog.000002", 4);
    assert_eq!(stream.send_at(ROTATE, &next, 40, 0), Ok(Step::Committed));
    assert_eq!(stream.position(), "binlog.000002:4");
    assert_eq!(stream.send_at(ROTATE, &next, 40, 0), Ok(Step::Nothing));
}

#[test]
fn a_file_that_ends_inside_a_transaction_or_before_the_start_is_an_error() {
    let mut stream = Stream::from(None);
    stream.query("BEGIN").unwrap();
    let rotated = stream.send(ROTATE, &body::rotate("binlog.000002", 4));
    assert!(matches!(rotated, Err(Error::Unfinished { .. })), "{rotated:?}");
    let mut stream = Stream::from(Some(5000));
    let rotated = stream.send(ROTATE, &body::rotate("binlog.000002", 4));
    assert!(matches!(rotated, Err(Error::StartBeyondEnd { offset: 5000, .. })), "{rotated:?}");
}

#[test]
fn positions_grow_past_four_gibibytes() {
    let mut stream = Stream::from(None);
    stream.tracker.read_end.offset = u64::from(u32::MAX) - 50;
    stream.send_at(QUERY, &body::query("shop", "CREATE DATABASE a"), 100, 49).unwrap();
    assert_eq!(stream.position(), format!("{FILE}:{}", (1u64 << 32) + 49));
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
    assert_eq!(stream.position(), "binlog.000001:204");
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
    assert!(matches!(logged, Err(Error::Statement { ref table, .. }) if table == "shop.events"));
    let mut stream = Stream::from(Some(204));
    stream.query("BEGIN").unwrap();
    assert_eq!(stream.query(insert), Ok(Step::Nothing));
}

#[test]
fn a_rollback_to_a_savepoint_after_rows_of_an_outbox_is_an_error() {
    let mut stream = Stream::from(None);
    stream.query("BEGIN").unwrap();
    stream.query("SAVEPOINT a").unwrap();
    assert_eq!(passed(stream.send(WRITE_ROWS, &[])), AlreadyRelayed::No);
    // Rows of other tables may be taken back.
    assert_eq!(stream.query("ROLLBACK TO `a`"), Ok(Step::Nothing));
    assert_eq!(passed(stream.send(WRITE_ROWS, &[])), AlreadyRelayed::No);
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
