//! The source over streams without a server: whatever the stream is and however its bytes arrive, the changes are the
//! same, and those of generated binlogs are the ones that were written.

use std::path::PathBuf;
use std::pin::Pin;

use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, ReadBuf};

use super::*;
use crate::FixedCatalog;
use crate::coordinates::Uuid;
use crate::event_type::{self, ROTATE};
use crate::feed::{Feed, FeedStream, feed};
use crate::file::{FileStream, MAGIC};
use crate::raw_event::{self, RawEvent};
use crate::row::{Cell, RowDecoder};
use crate::tables::{Guard, Interest};
use crate::write::{Column, TableShape, Writer};

const FILE: &str = "binlog.000001";

/// What a line would see of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// The first column of a row, with the end of its event and its transaction.
    Row(Vec<u8>, RowsAt, Option<String>),
    Committed(Position),
    RolledBack(Position),
}

fn start() -> Start {
    Start {
        read_from: Coordinates::start_of_file(FILE).unwrap(),
        gtid_set: None,
        file_timestamp: None,
        start_offset: None,
        gtids_are_complete: true,
    }
}

fn source<S: AsyncRead + Unpin>(stream: S) -> Source<S, FixedCatalog> {
    source_from(start(), stream)
}

fn source_from<S: AsyncRead + Unpin>(start: Start, stream: S) -> Source<S, FixedCatalog> {
    let is_outbox = |_: &str, table: &str| match table {
        "events" | "message" => Interest::Outbox,
        _ => Interest::None,
    };
    Source::over(stream, Duration::MAX, start, FixedCatalog::default(), Arc::new(is_outbox))
}

fn guarded_source<S: AsyncRead + Unpin>(
    start: Start,
    guard: Guard,
    stream: S,
) -> Source<S, FixedCatalog> {
    let filter = move |_: &str, table: &str| match table {
        "events" => Interest::Guarded(guard),
        "message" => Interest::Outbox,
        _ => Interest::None,
    };
    Source::over(stream, Duration::MAX, start, FixedCatalog::default(), Arc::new(filter))
}

/// A transaction in which an event of this type changes rows of a table, and another table has rows as well. Returns the
/// events, and the end of that one in the file.
fn changing_transaction(event_type: u8, table: &str) -> (Vec<Vec<u8>>, u64) {
    let mut writer = Writer::new(FILE, true);
    let changed = TableShape::new(7, "shop", table, vec![Column::big_int("id")]);
    let other = TableShape::new(8, "shop", "message", vec![Column::big_int("id")]);
    let mut events = vec![
        writer.format_description(),
        writer.anonymous_gtid(1_700_000_000_000_000),
        writer.begin(),
        writer.table_map(&other),
        writer.table_map(&changed),
        writer.write_rows(&other, &[vec![Some(5_i64.to_le_bytes().to_vec())]]),
    ];
    // A table's id, flags, and what no decoder could read.
    events.push(writer.event(event_type, 0, &[7, 0, 0, 0, 0, 0, 1, 0, 0xff, 0xff]));
    let end = writer.end();
    events.push(writer.xid(1));
    (events, end)
}

fn stream_of(events: &[Vec<u8>]) -> FeedStream {
    let (feed, stream) = feed();
    feed.push_all(&events.concat()).unwrap();
    feed.end();
    stream
}

const CHANGES: [(u8, RowChange); 5] = [
    (event_type::UPDATE_ROWS, RowChange::Update),
    (event_type::UPDATE_ROWS_V1, RowChange::Update),
    (event_type::PARTIAL_UPDATE_ROWS, RowChange::Update),
    (event_type::DELETE_ROWS, RowChange::Delete),
    (event_type::DELETE_ROWS_V1, RowChange::Delete),
];

fn end_of(mut source: Source<FeedStream, FixedCatalog>) -> (usize, Error) {
    let (seen, error) = runtime().block_on(follow(&mut source));
    (seen.len(), error)
}

#[test]
fn a_change_that_a_guard_refuses_is_an_error_at_its_event() {
    for (event_type, change) in CHANGES {
        let guard =
            Guard { updates: change == RowChange::Update, deletes: change == RowChange::Delete };
        let (events, end) = changing_transaction(event_type, "events");
        let (seen, error) = end_of(guarded_source(start(), guard, stream_of(&events)));
        let Error::Refused { table, change: refused, at } = error else { panic!("{error}") };
        assert_eq!((&*table, refused, at.offset), ("shop.events", change, end));
        assert_eq!(seen, 1, "the row before it");
    }
}

#[test]
fn a_change_that_nobody_refuses_is_passed_over_and_its_rows_are_not_decoded() {
    for (event_type, change) in CHANGES {
        let other =
            Guard { updates: change == RowChange::Delete, deletes: change == RowChange::Update };
        for (guard, table) in [
            (other, "events"),
            (Guard::default(), "events"),
            (Guard { updates: true, deletes: true }, "message"),
            (Guard { updates: true, deletes: true }, "orders"),
        ] {
            let (events, _) = changing_transaction(event_type, table);
            let (seen, error) = end_of(guarded_source(start(), guard, stream_of(&events)));
            assert!(matches!(error, Error::Ended { .. }), "{table}: {error}");
            assert_eq!(seen, 2, "a row and its transaction");
        }
    }
}

#[test]
fn a_change_before_the_start_is_not_refused_again() {
    let guard = Guard { updates: true, deletes: true };
    for (event_type, _) in CHANGES {
        let (events, end) = changing_transaction(event_type, "events");
        let begin = Start { start_offset: Some(end), ..start() };
        let (_, error) = end_of(guarded_source(begin, guard, stream_of(&events)));
        assert!(matches!(error, Error::Ended { .. }), "{error}");
    }
}

/// Reads to the end of the stream, and returns why it ended.
async fn follow<S: AsyncRead + Unpin>(source: &mut Source<S, FixedCatalog>) -> (Vec<Seen>, Error) {
    let mut seen = Vec::new();
    loop {
        if let Err(error) = source.read().await {
            return (seen, error);
        }
        let is_rolled_back = match source.interpret().await {
            Err(error) => return (seen, error),
            Ok(Change::Nothing | Change::Ghosts(_)) => continue,
            Ok(Change::Rows(rows)) => {
                append_rows(&mut seen, &rows);
                continue;
            }
            Ok(Change::Committed) => false,
            Ok(Change::RolledBack) => true,
        };
        let position = source.position().clone();
        seen.push(if is_rolled_back {
            Seen::RolledBack(position)
        } else {
            Seen::Committed(position)
        });
    }
}

fn append_rows(seen: &mut Vec<Seen>, rows: &Rows<'_>) {
    let decoder = RowDecoder::new(rows.table, &[0]);
    let mut left = rows.event.rows();
    let gtid = rows.gtid.map(ToString::to_string);
    while !left.is_empty() {
        let mut cells = [Cell::Absent];
        decoder.decode(&mut left, rows.event.present(), &mut cells).unwrap();
        let Cell::Bytes(id) = cells[0] else { panic!("the first column is NOT NULL") };
        seen.push(Seen::Row(id.to_vec(), rows.at, gtid.clone()));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn followed<S: AsyncRead + Unpin>(stream: S) -> (Vec<Seen>, String) {
    runtime().block_on(async {
        let (seen, error) = follow(&mut source(stream)).await;
        (seen, error.to_string())
    })
}

/// A stream that delivers a few bytes at a time, as many as the list says, over and over, and sometimes makes us wait.
struct Split<'a> {
    bytes: &'a [u8],
    lengths: &'a [usize],
    reads: usize,
}

impl AsyncRead for Split<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let length = self.lengths[self.reads % self.lengths.len()];
        self.reads += 1;
        if length == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = length.min(self.bytes.len()).min(room.remaining());
        let (now, later) = self.bytes.split_at(length);
        room.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

fn fed(events: &[Vec<u8>]) -> FeedStream {
    let (feed, stream) = feed();
    events.iter().for_each(|event| feed.push(event));
    feed.end();
    stream
}

/// The packets that a server would send.
fn packets(events: &[Vec<u8>]) -> Vec<u8> {
    let mut packets = Vec::new();
    let mut stream = fed(events);
    runtime().block_on(async {
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut packets).await.unwrap()
    });
    packets
}

fn recording(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/recordings"));
    std::fs::read(folder.join(name).with_extension("binlog")).unwrap()
}

fn events_of(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    file = &file[MAGIC.len()..];
    while let Some(length) = raw_event::stated_length(file) {
        let (event, rest) = file.split_at(length);
        events.push(event.to_vec());
        file = rest;
    }
    events
}

#[test]
fn a_recording_is_the_same_from_its_file_from_memory_and_from_a_connection() {
    for (name, rows) in
        [("single-row", 40), ("twenty-rows", 60), ("other-tables", 20), ("tram", 20)]
    {
        let file = recording(name);
        let (seen, end) = followed(FileStream::new(&file[..]));
        let count = seen.iter().filter(|seen| matches!(seen, Seen::Row(..))).count();
        assert_eq!(count, rows, "{name}");
        assert!(end.starts_with("the server ended the dump stream after binlog."), "{end}");
        let events = events_of(&file);
        assert_eq!(followed(fed(&events)), (seen.clone(), end.clone()), "{name}");
        for arrive_at_once in [1, 100, 1 << 20] {
            let (ours, mut theirs) = tokio::io::duplex(arrive_at_once);
            let packets = packets(&events);
            let followed = runtime().block_on(async {
                let sending = tokio::spawn(async move { theirs.write_all(&packets).await });
                let (seen, error) = follow(&mut source(ours)).await;
                sending.await.unwrap().unwrap();
                (seen, error.to_string())
            });
            assert_eq!(followed, (seen.clone(), end.clone()), "{name}, {arrive_at_once}");
        }
    }
}

/// A transaction that is written, and what must be seen of it.
#[derive(Debug, Clone)]
struct Written {
    /// Ids of the rows, one list a statement.
    statements: Vec<Vec<i64>>,
    kind: Kind,
    /// Rows of another table come before ours.
    has_other_rows: bool,
    /// A new file begins behind it.
    rotates: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Compressed,
    RolledBack,
    Ddl,
}

fn written() -> impl Strategy<Value = Written> {
    let kind = prop_oneof![
        4 => Just(Kind::Plain),
        2 => Just(Kind::Compressed),
        1 => Just(Kind::RolledBack),
        1 => Just(Kind::Ddl),
    ];
    let statements = prop::collection::vec(prop::collection::vec(any::<i64>(), 1..6), 1..4);
    (statements, kind, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(statements, kind, has_other_rows, rotates)| Written {
            statements,
            kind,
            has_other_rows,
            rotates,
        },
    )
}

fn shapes() -> (TableShape, TableShape) {
    let columns = || vec![Column::big_int("id"), Column::long_text("data").nullable()];
    (
        TableShape::new(7, "shop", "events", columns()),
        TableShape::new(8, "shop", "stock", columns()),
    )
}

/// `None` under `gtid_mode=OFF`.
type MaybeGtid = Option<String>;

/// Writes transactions, and says what must be seen of them: of the rows, their ids and GTIDs only.
fn write(
    writer: &mut Writer,
    transactions: &[Written],
    has_gtids: bool,
) -> (Vec<Vec<u8>>, Vec<(i64, MaybeGtid)>) {
    let server = Uuid::from_bytes([7; 16]);
    let mut events = writer.dump_head(FILE, 4);
    events.push(writer.format_description());
    events.push(writer.previous_gtids(&Default::default()));
    let mut rows = Vec::new();
    for (written, number) in transactions.iter().zip(1..) {
        let committed_at = 1_700_000_000_000_000 + number;
        events.push(if has_gtids {
            writer.gtid(server, number, Some(committed_at))
        } else {
            writer.anonymous_gtid(committed_at)
        });
        match written.kind {
            Kind::Ddl => events.push(writer.query("shop", "CREATE TABLE t (id INT)")),
            Kind::Compressed => {
                let mut inside = Writer::inside_payload();
                let inner = body(&mut inside, written);
                events.push(writer.transaction_payload(&inner));
            }
            Kind::Plain | Kind::RolledBack => events.extend(body(writer, written)),
        }
        if written.kind != Kind::Ddl {
            let gtid = has_gtids.then(|| format!("{server}:{number}"));
            rows.extend(written.statements.iter().flatten().map(|id| (*id, gtid.clone())));
        }
        if written.rotates {
            events.push(writer.heartbeat());
            events.push(writer.rotate(&format!("binlog.{:06}", number + 1)));
            events.push(writer.made_up_rotate());
            events.push(writer.format_description());
        }
    }
    (events, rows)
}

/// What a server sends to a dump that begins at this boundary.
fn events_from(
    writer: &Writer,
    has_checksums: bool,
    events: &[Vec<u8>],
    begin: &Coordinates,
) -> Vec<Vec<u8>> {
    let mut at = Coordinates::start_of_file(FILE).unwrap();
    let mut from = writer.dump_head(begin.file(), begin.offset);
    let mut has_begun = false;
    // Without the first event, which has no checksum and only says where we are.
    for bytes in &events[1..] {
        let event = RawEvent::parse(bytes).unwrap();
        if has_begun {
            from.push(bytes.clone());
        } else if event.event_type == ROTATE {
            let checksum_bytes = if has_checksums { 4 } else { 0 };
            let file = &event.body[8..event.body.len() - checksum_bytes];
            at = Coordinates::start_of_file(std::str::from_utf8(file).unwrap()).unwrap();
            // The made-up one behind it is in our head.
            has_begun = at == *begin && event.log_pos == 0;
        } else if event.log_pos != 0 {
            at = at.at(event.log_pos.into());
            has_begun = at == *begin;
        }
    }
    from
}

fn body(writer: &mut Writer, written: &Written) -> Vec<Vec<u8>> {
    let (table, other) = shapes();
    let mut events = vec![writer.begin()];
    if written.has_other_rows {
        let row = vec![Some(vec![0; 8]), None];
        events.extend([writer.table_map(&other), writer.write_rows(&other, &[row])]);
    }
    for ids in &written.statements {
        let row = |id: &i64| {
            let data = vec![b'x'; id.unsigned_abs() as usize % 300];
            vec![Some(id.to_le_bytes().to_vec()), Some(data)]
        };
        let rows: Vec<_> = ids.iter().map(row).collect();
        events.extend([writer.table_map(&table), writer.write_rows(&table, &rows)]);
    }
    events.push(match written.kind {
        Kind::RolledBack => writer.rollback(),
        _ => writer.xid(1),
    });
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_seen_however_its_bytes_arrive(
        transactions in prop::collection::vec(written(), 1..12),
        has_gtids in any::<bool>(),
        has_checksums in any::<bool>(),
        lengths in prop::collection::vec(0..200usize, 1..20).prop_filter("some bytes arrive", |it| it.iter().any(|length| *length > 0)),
    ) {
        let mut writer = Writer::new(FILE, has_checksums);
        let (events, rows) = write(&mut writer, &transactions, has_gtids);
        let packets = packets(&events);
        let split = Split { bytes: &packets, lengths: &lengths, reads: 0 };
        let (seen, end) = followed(split);
        prop_assert!(end.starts_with("the server ended the dump stream"), "{}", end);
        prop_assert_eq!(&followed(fed(&events)), &(seen.clone(), end));
        let seen_rows: Vec<_> = seen.iter().filter_map(|seen| match seen {
            Seen::Row(id, _, gtid) => {
                Some((i64::from_le_bytes(id[..].try_into().unwrap()), gtid.clone()))
            }
            _ => None,
        }).collect();
        prop_assert_eq!(seen_rows, rows);
        let rolled_back = seen.iter().filter(|seen| matches!(seen, Seen::RolledBack(_))).count();
        let expected = transactions.iter().filter(|it| it.kind == Kind::RolledBack).count();
        prop_assert_eq!(rolled_back, expected);
        match seen.last() {
            Some(Seen::Committed(position) | Seen::RolledBack(position)) => {
                let coordinates = Coordinates::new(writer.file(), writer.end()).unwrap();
                // The head of a file moves no boundary.
                let is_in_head = transactions.last().is_some_and(|last| last.rotates);
                if is_in_head {
                    prop_assert_eq!(position.coordinates.file(), writer.file());
                } else {
                    prop_assert_eq!(&position.coordinates, &coordinates);
                }
            }
            other => prop_assert!(false, "{:?} is no boundary", other),
        }
    }

    #[test]
    fn a_stream_that_begins_at_any_boundary_goes_on_as_the_whole_one_does(
        transactions in prop::collection::vec(written(), 1..8),
        has_gtids in any::<bool>(),
        has_checksums in any::<bool>(),
    ) {
        let mut writer = Writer::new(FILE, has_checksums);
        let (events, _) = write(&mut writer, &transactions, has_gtids);
        let (seen, _) = followed(fed(&events));
        for (index, boundary) in seen.iter().enumerate() {
            let (Seen::Committed(position) | Seen::RolledBack(position)) = boundary else { continue };
            let start = Start {
                read_from: position.coordinates.clone(),
                gtid_set: position.gtid_set.clone(),
                file_timestamp: position.file_timestamp,
                start_offset: None,
                gtids_are_complete: true,
            };
            let rest = events_from(&writer, has_checksums, &events, &position.coordinates);
            let resumed = runtime().block_on(async {
                let (seen, error) = follow(&mut source_from(start, fed(&rest))).await;
                assert!(matches!(error, Error::Ended { .. }), "{error}");
                seen
            });
            prop_assert_eq!(&resumed, &seen[index + 1..]);
        }
    }

    #[test]
    fn a_byte_that_changed_is_an_error_or_changes_nothing(
        at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let transactions = [Kind::Plain, Kind::Compressed].map(|kind| Written {
            statements: vec![vec![1, 2], vec![3]], kind, has_other_rows: true, rotates: false,
        });
        let mut writer = Writer::new(FILE, true);
        let (mut events, _) = write(&mut writer, &transactions, true);
        let (whole, _) = followed(fed(&events));
        // The first one has no checksum yet.
        let index = 1 + at.index(events.len() - 1);
        let at = at.index(events[index].len());
        events[index][at] ^= 1 << bit;
        let (seen, _) = followed(fed(&events));
        prop_assert!(whole.starts_with(&seen), "{:?}", seen);
    }
}

#[test]
fn an_event_of_16_mib_and_more_is_whole_from_a_file_and_from_memory() {
    let (table, _) = shapes();
    // Packets of one byte less than a whole piece, of just one, and of more.
    for data_bytes in [0xFF_FFFF - 50, 0xFF_FFFF - 49, 0xFF_FFFF - 48, 0x100_FFFF] {
        let mut writer = Writer::new(FILE, true);
        let data = vec![b'x'; data_bytes];
        let row = vec![Some(1_i64.to_le_bytes().to_vec()), Some(data)];
        let events = [
            writer.format_description(),
            writer.anonymous_gtid(1),
            writer.begin(),
            writer.table_map(&table),
            writer.write_rows(&table, &[row]),
            writer.xid(1),
        ];
        let file = [&MAGIC[..], &events.concat()].concat();
        let (seen, end) = followed(fed(&events));
        assert_eq!(seen.len(), 2, "{end}");
        assert_eq!(followed(FileStream::new(&file[..])), (seen, end));
    }
}

#[test]
fn a_feed_wakes_the_source_and_its_end_is_told() {
    runtime().block_on(async {
        let (feed, stream) = feed();
        let mut source = source(stream);
        let mut writer = Writer::new(FILE, true);
        assert!(!source.try_read().unwrap());
        let feeding = async {
            tokio::task::yield_now().await;
            feed.push(&writer.format_description());
            feed
        };
        let (read, feed) = tokio::join!(source.read(), feeding);
        read.unwrap();
        assert!(matches!(source.interpret().await, Ok(Change::Nothing)));
        feed.refuse(1236, "Could not find first log file name");
        match source.read().await {
            Err(error @ Error::Stream { .. }) => {
                let text = error.to_string();
                assert!(
                    text.ends_with("ERROR 1236 (HY000): Could not find first log file name"),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
        drop(feed);
        let error = source.read().await.unwrap_err();
        assert!(error.to_string().ends_with("the server closed the connection"), "{error}");
    });
}

#[test]
fn a_stream_that_is_silent_for_too_long_is_dead() {
    runtime().block_on(async {
        let (_feed, stream): (Feed, _) = feed();
        let filter: TableFilter = Arc::new(|_, _| Interest::None);
        let silence_max = Duration::from_millis(10);
        let mut source =
            Source::over(stream, silence_max, start(), FixedCatalog::default(), filter);
        match source.read().await {
            Err(Error::Silent { silence, .. }) => assert_eq!(silence, silence_max),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn columns_that_the_binlog_does_not_name_are_asked_of_the_catalog() {
    let (table, _) = shapes();
    let table = TableShape { has_names: false, ..table };
    let mut writer = Writer::new(FILE, false);
    let events = [
        writer.format_description(),
        writer.anonymous_gtid(1),
        writer.begin(),
        writer.table_map(&table),
        writer.write_rows(&table, &[vec![Some(vec![0; 8]), None]]),
    ];
    let (seen, error) = followed(fed(&events));
    assert_eq!(seen, []);
    assert!(error.starts_with("the columns of shop.events"), "{error}");
}
