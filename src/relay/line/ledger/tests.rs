//! Any binlog, cut anywhere and resumed anywhere, relays each row once, under a number that is the same each time.

use proptest::prelude::*;

use super::*;
use crate::batch::{Batch, DestinationId, Limits};
use crate::delivery::Delivery;
use crate::resend::ROWS_AHEAD_MAX;
use crate::telemetry::clock::CommitTime;

const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// A transaction as the source tells it.
#[derive(Debug, Clone)]
struct Transaction {
    /// For each row, whether the relay publishes such a row at all.
    rows: Vec<bool>,
    is_rolled_back: bool,
}

/// How a session finds the position of its checkpoint.
#[derive(Debug, Clone, Copy)]
enum Resume {
    /// The dump begins there.
    At,
    /// The dump begins at the start of the file, and what stands before the offset is counted.
    FromFile,
    /// The dump begins at the start of another server's file, and what is in the GTID set is ignored.
    ByGtids,
}

/// A batch that was handed over.
#[derive(Debug)]
struct Handed {
    first_sequence: u64,
    /// The rows, by transaction and index.
    rows: Vec<(usize, usize)>,
    checkpoint: Checkpoint,
}

struct Binlog {
    transactions: Vec<Transaction>,
    has_gtids: bool,
}

impl Binlog {
    /// The boundary before a transaction.
    fn position(&self, index: usize) -> Position {
        let offset = 4 + 100 * index as u64;
        Position {
            coordinates: Coordinates::new("b.000001", offset).unwrap(),
            gtid_set: None,
            file_timestamp: Some(1),
        }
    }

    fn gtid(&self, index: usize) -> Option<Gtid> {
        self.has_gtids.then(|| format!("{SERVER}:{}", index + 1).parse().unwrap())
    }

    /// Reads on from a checkpoint until `handed_max` batches were handed over, or to the end. `gaps` says of each whole
    /// transaction whether it leaves at once.
    fn relay(
        &self,
        stored: Option<&Checkpoint>,
        resume: Resume,
        records_max: usize,
        gaps: &[bool],
        handed_max: usize,
    ) -> Vec<Handed> {
        let mut ledger = Ledger::new(resume_point(stored));
        let start = stored.map_or(0, |stored| (stored.offset as usize - 4) / 100);
        let limits = Limits { records_max, bytes_max: 1 << 20 };
        let (mut filling, mut rows) = (Batch::new(limits), Vec::new());
        let mut handed = Vec::new();
        let first = if matches!(resume, Resume::At) { start } else { 0 };
        for (index, transaction) in self.transactions.iter().enumerate().skip(first) {
            let passed = match resume {
                _ if index >= start => AlreadyRelayed::No,
                Resume::ByGtids => AlreadyRelayed::InGtidSet,
                Resume::At | Resume::FromFile => AlreadyRelayed::BeforeStart,
            };
            let (position, gtid) = (self.position(index), self.gtid(index));
            for (row, is_relayed) in transaction.rows.iter().enumerate() {
                let admission = ledger.admit(passed).unwrap();
                if admission == Admission::Ignore
                    || ledger.is_done(admission, gtid.as_ref(), || Ok(*is_relayed)).unwrap()
                    || !is_relayed
                {
                    continue;
                }
                filling.push(DestinationId(0), 0, CommitTime::from_seconds(0));
                rows.push((index, row));
                while let Some(cut) = filling.cut_full() {
                    ledger.ensure_cut(cut, &position.coordinates).unwrap();
                    let cut_off = Cutting { ledger: &mut ledger, filling: &mut filling, limits };
                    handed.push(cut_off.cut(cut, &mut rows, &position, gtid.as_ref()));
                    if handed.len() == handed_max {
                        return handed;
                    }
                }
            }
            if transaction.is_rolled_back {
                // A transaction of which a part has left is not rolled back: the source reads to its end first.
                let end = self.position(index + 1);
                ledger.roll_back(&end.coordinates).unwrap();
                filling.roll_back();
                rows.truncate(filling.len());
                continue;
            }
            let next = self.position(index + 1);
            ledger.commit(&next.coordinates).unwrap();
            filling.mark_boundary();
            if gaps[index % gaps.len()]
                && let Some(cut) = filling.cut_now()
            {
                let cut_off = Cutting { ledger: &mut ledger, filling: &mut filling, limits };
                handed.push(cut_off.cut(cut, &mut rows, &next, None));
                if handed.len() == handed_max {
                    return handed;
                }
            }
        }
        let end = self.position(self.transactions.len());
        let cut = Cut::Boundary(filling.len());
        let cut_off = Cutting { ledger: &mut ledger, filling: &mut filling, limits };
        handed.push(cut_off.cut(cut, &mut rows, &end, None));
        handed
    }

    /// What a relay must publish, in order.
    fn expected(&self) -> Vec<(usize, usize)> {
        let committed = self.transactions.iter().enumerate().filter(|(_, one)| !one.is_rolled_back);
        let rows = committed.flat_map(|(index, transaction)| {
            let relayed =
                transaction.rows.iter().enumerate().filter(|(_, is_relayed)| **is_relayed);
            relayed.map(move |(row, _)| (index, row))
        });
        rows.collect()
    }
}

struct Cutting<'a> {
    ledger: &'a mut Ledger,
    filling: &'a mut Batch,
    limits: Limits,
}

impl Cutting<'_> {
    fn cut(
        self,
        cut: Cut,
        rows: &mut Vec<(usize, usize)>,
        position: &Position,
        gtid: Option<&Gtid>,
    ) -> Handed {
        let mut rest = Batch::new(self.limits);
        self.filling.cut(cut, &mut rest);
        let batch = std::mem::replace(self.filling, rest);
        let first_sequence = self.ledger.cut(cut, batch.len(), position);
        let checkpoint = self.ledger.checkpoint(position, None, gtid, false);
        let rest = rows.split_off(batch.len());
        Handed { first_sequence, rows: std::mem::replace(rows, rest), checkpoint }
    }
}

fn resume_point(stored: Option<&Checkpoint>) -> ResumePoint {
    ResumePoint {
        stamp: Stamp {
            name: "orders".to_owned(),
            server_uuid: SERVER.to_owned(),
            generation: 7,
            instance: "i".to_owned(),
            outbox_fingerprint: "f".to_owned(),
            delivery: Delivery::ExactlyOnce,
        },
        sequence: stored.map_or(0, |stored| stored.sequence),
        part: RelayedPart::of(stored),
        window: None,
        start: stored
            .and_then(|stored| Coordinates::new(&*stored.binlog_filename, stored.offset).ok()),
    }
}

fn position_at(offset: u64) -> Position {
    let coordinates = Coordinates::new("b.000001", offset).unwrap();
    Position { coordinates, gtid_set: None, file_timestamp: None }
}

fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let rows = prop::collection::vec(prop::bool::weighted(0.8), 0..9);
    let transaction = (rows, prop::bool::weighted(0.15)).prop_map(|(rows, is_rolled_back)| {
        // The source tells of a rollback before the batch is full: more would be a part of it that was relayed.
        let rows = if is_rolled_back { rows.into_iter().take(1).collect() } else { rows };
        Transaction { rows, is_rolled_back }
    });
    prop::collection::vec(transaction, 1..12)
}

fn resumes() -> impl Strategy<Value = Resume> {
    prop_oneof![Just(Resume::At), Just(Resume::FromFile), Just(Resume::ByGtids)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_row_is_relayed_once_in_order_wherever_sessions_end(
        transactions in transactions(),
        has_gtids in any::<bool>(),
        sessions in prop::collection::vec((1usize..5, resumes(), 2usize..5), 0..8),
        gaps in prop::collection::vec(any::<bool>(), 1..5),
    ) {
        let binlog = Binlog { transactions, has_gtids };
        let mut published: Vec<(u64, (usize, usize))> = Vec::new();
        let mut stored: Option<Checkpoint> = None;
        let last = (usize::MAX, Resume::At, 3);
        for (handed_max, resume, records_max) in sessions.into_iter().chain([last]) {
            let resume = match resume {
                Resume::ByGtids if !has_gtids => Resume::FromFile,
                resume => resume,
            };
            let handed = binlog.relay(stored.as_ref(), resume, records_max, &gaps, handed_max);
            for Handed { first_sequence, rows, checkpoint } in handed {
                published.extend((first_sequence..).zip(rows));
                // A checkpoint says as many rows as were published up to it.
                prop_assert_eq!(checkpoint.sequence, published.len() as u64);
                stored = Some(checkpoint);
            }
        }
        let expected: Vec<_> = (1u64..).zip(binlog.expected()).collect();
        prop_assert_eq!(published, expected);
    }
}

#[test]
fn a_transaction_with_fewer_rows_than_were_relayed_is_an_error() {
    let stored = Checkpoint { rows_done: 3, ..Checkpoint::default() };
    let mut ledger = Ledger::new(resume_point(Some(&stored)));
    let at = Coordinates::new("b.000001", 104).unwrap();
    for _ in 0..2 {
        let admission = ledger.admit(AlreadyRelayed::No).unwrap();
        assert!(ledger.is_done(admission, None, || Ok(true)).unwrap());
    }
    let error = ledger.commit(&at).unwrap_err();
    assert!(matches!(error, Error::FewerRows { rows_done: 3, .. }), "{error}");
}

#[test]
fn a_part_that_was_relayed_cannot_be_taken_back() {
    let position = position_at(4);
    let mut ledger = Ledger::new(resume_point(None));
    ledger.roll_back(&position.coordinates).unwrap();
    ledger.cut(Cut::Part(2), 2, &position);
    assert_eq!(ledger.rows_done(), 2);
    let error = ledger.roll_back(&position.coordinates).unwrap_err();
    assert!(matches!(error, Error::RolledBackPart { .. }), "{error}");
}

#[test]
fn no_checkpoint_names_two_transactions_in_part() {
    let gtid = format!("{SERVER}:9");
    let stored = Checkpoint { rows_done: 3, gtid: Some(gtid.clone()), ..Checkpoint::default() };
    let mut ledger = Ledger::new(resume_point(Some(&stored)));
    let at = Coordinates::new("b.000001", 4).unwrap();
    let other: Gtid = format!("{SERVER}:8").parse().unwrap();
    let admission = ledger.admit(AlreadyRelayed::No).unwrap();
    assert!(!ledger.is_done(admission, Some(&other), || Ok(true)).unwrap());
    assert!(ledger.ensure_cut(Cut::Boundary(1), &at).is_ok());
    let error = ledger.ensure_cut(Cut::Part(1), &at).unwrap_err();
    assert!(matches!(error, Error::SplitBeforePart { .. }), "{error}");
    // The checkpoint of a boundary before it still names it.
    let position = Position { coordinates: at, gtid_set: None, file_timestamp: None };
    let checkpoint = ledger.checkpoint(&position, None, Some(&other), false);
    assert_eq!((checkpoint.rows_done, checkpoint.gtid), (3, Some(gtid)));
}

#[test]
fn what_could_not_be_read_before_the_start_matters_only_to_its_own_transaction() {
    let at = Coordinates::new("b.000001", 104).unwrap();
    let mut ledger = Ledger::new(resume_point(None));
    assert_eq!(ledger.admit(AlreadyRelayed::BeforeStart).unwrap(), Admission::Count);
    ledger.note_unreadable(Error::OutboxChanged);
    assert!(ledger.has_unreadable_prefix());
    ledger.commit(&at).unwrap();
    assert!(!ledger.has_unreadable_prefix());
    assert_eq!(ledger.admit(AlreadyRelayed::No).unwrap(), Admission::Relay);
    ledger.admit(AlreadyRelayed::BeforeStart).unwrap();
    ledger.note_unreadable(Error::OutboxChanged);
    assert!(matches!(ledger.admit(AlreadyRelayed::No), Err(Error::OutboxChanged)));
}

#[test]
fn events_of_a_compressed_transaction_count_their_rows_on() {
    let layout = LayoutId { epoch: 1, index: 0 };
    let other = LayoutId { epoch: 1, index: 1 };
    let mut ledger = Ledger::new(resume_point(None));
    ledger.note_payload_rows(layout, 5);
    assert_eq!(ledger.first_index(layout, true), 5);
    assert_eq!((ledger.first_index(other, true), ledger.first_index(layout, false)), (0, 0));
    ledger.commit(&Coordinates::new("b.000001", 104).unwrap()).unwrap();
    assert_eq!(ledger.first_index(layout, true), 0);
}

#[test]
fn a_checkpoint_says_who_wrote_it_and_how_far_the_relay_is() {
    let mut ledger = Ledger::new(resume_point(None));
    let position = position_at(104);
    let gtid: Gtid = format!("{SERVER}:8").parse().unwrap();
    ledger.cut(Cut::Part(2), 2, &position);
    let checkpoint = ledger.checkpoint(&position, Some("a set".to_owned()), Some(&gtid), true);
    let expected = Checkpoint {
        binlog_filename: "b.000001".to_owned(),
        offset: 104,
        rows_done: 2,
        gtid: Some(gtid.to_string()),
        gtid_set: Some("a set".to_owned()),
        server_uuid: Some(SERVER.to_owned()),
        generation: Some(7),
        sequence: 2,
        clean: true,
        ..ledger.stamp.sign(Checkpoint::default(), None)
    };
    assert_eq!(
        Checkpoint { recorded_at: None, ..checkpoint },
        Checkpoint { recorded_at: None, ..expected }
    );
    assert_eq!(
        (ledger.server_uuid(), ledger.next_sequence(0), ledger.next_sequence(2)),
        (SERVER, 3, 5)
    );
}

/// A ledger behind row 40, after which a predecessor may have sent rows.
fn ledger_with_window(until: Option<Coordinates>) -> Ledger {
    let window = ResendWindow {
        generation: 7,
        after: 40,
        since_millis: 1_769_860_800_000,
        senders: vec!["orders".to_owned()],
        has_row_timestamps: false,
        has_row_partitions: false,
        until,
    };
    let stored = Checkpoint { sequence: 40, ..Checkpoint::default() };
    Ledger::new(ResumePoint { window: Some(window), ..resume_point(Some(&stored)) })
}

#[test]
fn rows_of_a_predecessor_are_expected_up_to_where_it_has_read() {
    let mut ledger = ledger_with_window(None);
    // While the predecessor may still read, there is no end.
    ledger.cut(Cut::Boundary(1), 1, &position_at(304));
    assert!(ledger.window().is_some_and(|window| window.until.is_none()));
    ledger.note_predecessor_end(position_at(504).coordinates);
    let cut_at = |ledger: &mut Ledger, offset| {
        let position = position_at(offset);
        ledger.cut(Cut::Boundary(1), 1, &position);
        ledger.checkpoint(&position, None, None, true).has_unacknowledged_tail()
    };
    assert!(cut_at(&mut ledger, 404) && ledger.window().is_some());
    assert!(!cut_at(&mut ledger, 504) && ledger.window().is_none());
}

#[test]
fn rows_of_a_predecessor_are_expected_up_to_the_last_one_that_it_may_have_sent_ahead() {
    let mut ledger = ledger_with_window(Some(position_at(504).coordinates));
    ledger.cut(Cut::Boundary(1), ROWS_AHEAD_MAX as usize - 1, &position_at(104));
    assert!(ledger.window().is_some(), "one more may have been sent");
    ledger.cut(Cut::Boundary(1), 1, &position_at(104));
    assert!(ledger.window().is_none());
}

#[test]
fn what_was_taken_back_before_the_start_is_no_part() {
    let stored =
        Checkpoint { binlog_filename: "b.000001".to_owned(), offset: 204, ..Checkpoint::default() };
    for (end, is_part) in [(104, false), (204, false), (304, true)] {
        let mut ledger = Ledger::new(resume_point(Some(&stored)));
        let admission = ledger.admit(AlreadyRelayed::BeforeStart).unwrap();
        assert!(ledger.is_done(admission, None, || Ok(true)).unwrap());
        let taken_back = ledger.roll_back(&position_at(end).coordinates);
        assert_eq!(matches!(taken_back, Err(Error::RolledBackPart { .. })), is_part, "{end}");
    }
}
