//! One row that does not come from the binlog → the record that it would become, by the plan and the writers of the relay.

use std::time::SystemTime;

use crate::batch::{Batch, DestinationId, Limits};
use crate::binlog::row::Cell;
use crate::binlog::table::{Column, Table};
use crate::binlog::value::{self, EncodedRow};
use crate::coordinates::Gtid;
use crate::envelope::fallback::letter_for;
use crate::envelope::{self, Buffers, Outcome, RowFacts, RowPosition};
use crate::error;
use crate::outbox::Route;
use crate::telemetry::Causes;
use crate::telemetry::clock::{CommitTime, micros_since_1970};

/// What stands for what only the binlog and the running relay say of a row.
pub const STAND_INS: [(&str, &str); 7] = [
    ("sequence", "1, 2, …"),
    ("generation", "0"),
    ("file", FILE),
    ("offset", "4"),
    ("row", "0"),
    ("gtid", GTID),
    ("committed_at", "now"),
];

const FILE: &str = "binlog.000001";
const GTID: &str = "00000000-0000-0000-0000-000000000000:1";

/// What a row would become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explained {
    Record(Record),
    /// It would be no record, for this reason: `where` or `published`.
    LeftOut(&'static str),
    /// It would halt the relay.
    Error(Shown),
}

/// A record as Kafka would get it, without the header `relay-sequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    /// `None`: NULL.
    pub key: Option<Vec<u8>>,
    pub partition: Partition,
    /// Milliseconds since 1970; `None`: the time of sending.
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// `None`: NULL, a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What tells the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// murmur2 of the key.
    OfKey,
    /// This number, of the template.
    Number(i128),
    /// The row's sequence number.
    OfSequence,
}

/// An error for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub message: String,
    pub hint: Option<String>,
}

impl Shown {
    pub(crate) fn of(error: &error::Error) -> Shown {
        Shown { message: Causes(error).to_string(), hint: error.hint() }
    }
}

/// Makes records of rows.
pub struct Explainer<'a> {
    /// Of the relay.
    name: &'a str,
    gtid: Option<Gtid>,
    committed_at: CommitTime,
    sequence: u64,
    buffers: Buffers,
}

impl<'a> Explainer<'a> {
    pub(crate) fn of_name(name: &'a str, has_gtids: bool) -> Explainer<'a> {
        let gtid = has_gtids.then(|| GTID.parse().expect("the stand-in is a GTID"));
        let committed_at = CommitTime::from_micros(micros_since_1970(SystemTime::now()));
        Explainer { name, gtid, committed_at, sequence: 0, buffers: Buffers::default() }
    }

    /// The record of a row whose place is not known.
    pub fn explain(&mut self, route: &Route, table: &Table, row: &EncodedRow) -> Explained {
        let gtid = self.gtid.clone();
        let facts = RowFacts {
            position: RowPosition { file: FILE, end: 4, index: 0 },
            database: &table.schema,
            table: &table.name,
            name: self.name,
            generation: 0,
            sequence: self.sequence + 1,
            gtid: gtid.as_ref(),
            committed_at: self.committed_at,
        };
        let cells = row.cells(&route.decoder.wanted());
        let explained = record_of(route, &cells, &facts, &mut self.buffers);
        self.sequence += u64::from(matches!(explained, Explained::Record(_)));
        explained
    }

    /// The same of a row that a person gives: it may lack columns.
    pub fn explain_given(&mut self, route: &Route, table: &Table, row: &EncodedRow) -> Explained {
        let wanted = route.decoder.wanted();
        let is_absent = |index: &&usize| row.cell(**index) == Cell::Absent;
        let absent: Vec<_> =
            wanted.iter().filter(is_absent).map(|index| &*table.columns[*index].name).collect();
        if absent.is_empty() {
            return self.explain(route, table, row);
        }
        Explained::Error(Shown {
            message: format!("the row does not say what these columns hold: {}", absent.join(", ")),
            hint: Some("add them to --row; null stands for NULL".to_owned()),
        })
    }
}

/// What the writers make of a row.
pub(crate) fn record_of(
    route: &Route,
    cells: &[Cell<'_>],
    facts: &RowFacts<'_>,
    buffers: &mut Buffers,
) -> Explained {
    let mut batch = Batch::new(Limits { records_max: 1, bytes_max: usize::MAX });
    match envelope::write(route, cells, facts, buffers, batch.draft()) {
        Ok(Outcome::Record(parts)) => {
            batch.push_parts(DestinationId(0), parts, facts.committed_at);
            let record = batch.record(0);
            let has_template = route.plan.as_ref().is_some_and(|plan| plan.partition.is_some());
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            Explained::Record(Record {
                topic: buffers.topic().to_owned(),
                key: own(record.key),
                partition: match record.partition {
                    Some(number) if has_template => Partition::Number(number),
                    Some(_) => Partition::OfSequence,
                    None => Partition::OfKey,
                },
                timestamp: record.timestamp,
                headers: record
                    .headers
                    .iter()
                    .map(|header| (header.name.to_owned(), own(header.value)))
                    .collect(),
                value: own(record.value),
            })
        }
        Ok(Outcome::AlreadyPublished) => Explained::LeftOut("published"),
        Ok(Outcome::LeftOut) => Explained::LeftOut("where"),
        Err(error) => {
            let letter = route.fallback.as_ref().zip(letter_for(route, &error));
            let hint = match letter {
                Some((fallback, reason)) => format!(
                    "it becomes a dead letter of {}, with the reason {}",
                    fallback.options.dead_letter_topic,
                    reason.as_str()
                ),
                None => error::row_cure(&error.problem).to_owned(),
            };
            Explained::Error(Shown { message: Causes(&error).to_string(), hint: Some(hint) })
        }
    }
}

/// Columns of a row as `name=text`.
pub(crate) fn row_name(table: &Table, columns: &[String], row: &EncodedRow) -> String {
    let shown = |name: &String| {
        let index = table.position(name)?;
        Some(format!("{name}={}", cell_text(&table.columns[index], row.cell(index))))
    };
    columns.iter().filter_map(shown).collect::<Vec<_>>().join(" ")
}

/// The text of a cell for people.
pub(crate) fn cell_text(column: &Column, cell: Cell<'_>) -> String {
    match cell {
        Cell::Absent => "(not logged)".to_owned(),
        Cell::Null => "NULL".to_owned(),
        Cell::Bytes(bytes) => {
            let mut text = String::new();
            match value::write_text(column, bytes, &mut text) {
                Ok(()) => text,
                Err(error) => format!("({error})"),
            }
        }
    }
}
