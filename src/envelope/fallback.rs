//! Records in place of one that cannot be, or that its topic does not take: dead letters and claim checks.
//!
//! They are rare, so nothing here saves an allocation.

use std::fmt::Write;

use super::json::write_string;
use super::{Error, Problem, RowFacts};
use crate::batch::{Parts, write_header};
use crate::binlog::row::Cell;
use crate::binlog::table::Column;
use crate::binlog::value::{self, JsonOptions};
use crate::outbox::{Fallback, OnError, Route};
use crate::telemetry::clock::rfc_3339;
use crate::telemetry::metrics::DeadLetterReason as Reason;

/// Header that says why a row is a dead letter.
pub const REASON_HEADER: &str = "dead-letter-reason";
/// Header that names the topic which the row was meant for.
pub const TOPIC_HEADER: &str = "dead-letter-topic";
/// Header of a claim check.
pub const CLAIM_CHECK_HEADER: &str = "claim-check";

const TAKES_ALL: &str = "a string takes all that is written";

/// Why a row with this problem becomes a dead letter. `None`: the row itself is not at fault, so that the relay halts in
/// any case.
fn reason_of(problem: &Problem) -> Option<Reason> {
    match problem {
        Problem::Null => Some(Reason::Null),
        Problem::Value(_) => Some(Reason::NotText),
        Problem::IllegalTopic(_) => Some(Reason::Topic),
        Problem::NoPartition(_)
        | Problem::NoTime(_)
        | Problem::NoProperty
        | Problem::NotAnObject(_) => Some(Reason::Template),
        // The server does not log the column, so the letter would lack it, too.
        Problem::NotLogged => None,
        // Those of presets that have writers of their own.
        Problem::NoOutboxId
        | Problem::NoId
        | Problem::Nested(_)
        | Problem::PartitionIdNotAString => None,
    }
}

/// Why a row that cannot be a record becomes a dead letter by its route; `None` where it does not.
pub fn letter_for(route: &Route, error: &Error) -> Option<Reason> {
    route.fallback.as_ref().filter(|it| it.options.on_error == OnError::DeadLetter)?;
    reason_of(&error.problem)
}

/// A row with all of its columns.
pub struct WholeRow<'a> {
    pub fallback: &'a Fallback,
    pub cells: &'a [Cell<'a>],
    pub facts: &'a RowFacts<'a>,
}

/// What a dead letter says beside its row.
pub struct DeadLetter<'a> {
    pub reason: Reason,
    pub error: &'a str,
    /// As planned; `None` where there is none.
    pub topic: Option<&'a str>,
    pub key: Option<&'a [u8]>,
}

impl WholeRow<'_> {
    /// Appends key, value and headers of a dead letter.
    pub fn write_dead_letter(&self, letter: &DeadLetter<'_>, out: &mut Vec<u8>) -> Parts {
        out.extend_from_slice(letter.key.unwrap_or_default());
        let start = out.len();
        out.extend_from_slice(b"{\"table\":");
        self.write_table(out);
        out.extend_from_slice(b",\"row\":");
        self.write_members(0..self.cells.len(), out);
        out.extend_from_slice(b",\"error\":");
        write_string(letter.error, out);
        out.extend_from_slice(b",\"position\":");
        self.write_position(out);
        let RowFacts { generation, sequence, .. } = self.facts;
        let numbers = format!(",\"generation\":{generation},\"sequence\":{sequence}}}");
        out.extend_from_slice(numbers.as_bytes());
        let value_len = out.len() - start;
        write_header(out, REASON_HEADER, Some(letter.reason.as_str().as_bytes()));
        if let Some(topic) = letter.topic {
            write_header(out, TOPIC_HEADER, Some(topic.as_bytes()));
        }
        Parts {
            key_len: letter.key.map(<[u8]>::len),
            value_len: Some(value_len),
            partition: letter.key.is_none().then_some((*sequence).into()),
            timestamp: None,
        }
    }

    /// Appends a record with a reference to the row in place of its value. `planned`: its parts; `key` and `headers` are
    /// their bytes.
    pub fn write_claim_check(
        &self,
        planned: Parts,
        key: &[u8],
        headers: &[u8],
        out: &mut Vec<u8>,
    ) -> Parts {
        out.extend_from_slice(key);
        let start = out.len();
        out.extend_from_slice(b"{\"claimCheck\":{\"table\":");
        self.write_table(out);
        out.extend_from_slice(b",\"primaryKey\":");
        self.write_members(self.fallback.primary_key.iter().copied(), out);
        out.extend_from_slice(b",\"position\":");
        self.write_position(out);
        let bytes = planned.value_len.unwrap_or_default();
        out.extend_from_slice(format!(",\"bytes\":{bytes}}}}}").as_bytes());
        let value_len = out.len() - start;
        out.extend_from_slice(headers);
        write_header(out, CLAIM_CHECK_HEADER, Some(b"true"));
        Parts { value_len: Some(value_len), ..planned }
    }

    fn write_table(&self, out: &mut Vec<u8>) {
        write_string(&format!("{}.{}", self.facts.database, self.facts.table), out);
    }

    /// A JSON object of cells. What was not logged is left out.
    fn write_members(&self, cells: impl IntoIterator<Item = usize>, out: &mut Vec<u8>) {
        out.push(b'{');
        let start = out.len();
        for index in cells {
            let column = &self.fallback.columns[index];
            let bytes = match self.cells[index] {
                Cell::Absent => continue,
                Cell::Null => None,
                Cell::Bytes(bytes) => Some(bytes),
            };
            if out.len() > start {
                out.push(b',');
            }
            write_string(&column.name, out);
            out.push(b':');
            match bytes {
                Some(bytes) => write_value(column, bytes, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    }

    fn write_position(&self, out: &mut Vec<u8>) {
        let RowFacts { position, gtid, committed_at, .. } = self.facts;
        out.extend_from_slice(b"{\"binlogFilename\":");
        write_string(position.file, out);
        let mut rest = format!(",\"offset\":{},\"rowsToSkip\":{}", position.end, position.index);
        if let Some(gtid) = gtid {
            write!(rest, ",\"gtid\":\"{gtid}\"").expect(TAKES_ALL);
        }
        write!(rest, ",\"committedAt\":\"{}\"}}", rfc_3339(*committed_at)).expect(TAKES_ALL);
        out.extend_from_slice(rest.as_bytes());
    }
}

/// The JSON of a value. One that has none is an object with its bytes, so that nothing of the row is lost.
fn write_value(column: &Column, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if value::write_json(column, bytes, JsonOptions::default(), out).is_ok() {
        return;
    }
    out.truncate(start);
    out.extend_from_slice(b"{\"base64\":\"");
    value::write_base64(bytes, out);
    out.extend_from_slice(b"\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_a_plan_has_a_reason_but_the_one_that_is_of_no_row() {
        for (problem, reason) in [
            (Problem::Null, Some(Reason::Null)),
            (Problem::IllegalTopic("a b".to_owned()), Some(Reason::Topic)),
            (Problem::NoPartition("x".to_owned()), Some(Reason::Template)),
            (Problem::NoTime("x".to_owned()), Some(Reason::Template)),
            (Problem::NoProperty, Some(Reason::Template)),
            (Problem::NotAnObject("x".to_owned()), Some(Reason::Template)),
            (Problem::NotLogged, None),
        ] {
            assert_eq!(reason_of(&problem), reason, "{problem}");
        }
    }
}
