//! A row becomes a record by the plan of its outbox.

use std::fmt::Write;

use super::{Buffers, Error, Outcome, Problem, Row, RowFacts, ensure_legal_topic};
use crate::batch::{Parts, write_header};
use crate::binlog::row::Cell;
use crate::binlog::table::Column;
use crate::binlog::value::{self, JsonOptions};
use crate::outbox::template::{Filter, Piece, RowFact, Source};
use crate::outbox::{KeyNull, Plan, Value, ValueNull};
use crate::telemetry::clock::rfc_3339;

const TAKES_ALL: &str = "a string takes all that is written";

/// The row matches every condition of its outbox. `text`: a buffer.
///
/// # Errors
/// A column of a condition cannot be read.
pub fn is_chosen(row: &Row<'_>, plan: &Plan, text: &mut String) -> Result<bool, Error> {
    for (cell, wanted) in &plan.conditions {
        text.clear();
        let is_there = row.write_cell_text(plan, *cell, text)?;
        let found = is_there.then_some(&**text);
        if !wanted.iter().any(|wanted| wanted.as_deref() == found) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Appends key, value and headers, and writes the name of the topic.
pub fn write(
    row: &Row<'_>,
    plan: &Plan,
    facts: &RowFacts<'_>,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> Result<Outcome, Error> {
    if !is_chosen(row, plan, &mut buffers.text)? {
        return Ok(Outcome::LeftOut);
    }
    let mut writer = Writer { row, plan, facts, buffers };
    writer.topic()?;
    let key_len = writer.key(out)?;
    let partition = writer.partition(key_len.is_none())?;
    let timestamp = writer.timestamp()?;
    let value_len = writer.value(out)?;
    writer.headers(out)?;
    Ok(Outcome::Record(Parts { key_len, value_len, partition, timestamp }))
}

struct Writer<'a> {
    row: &'a Row<'a>,
    plan: &'a Plan,
    facts: &'a RowFacts<'a>,
    buffers: &'a mut Buffers,
}

impl Writer<'_> {
    fn topic(&mut self) -> Result<(), Error> {
        self.needed(&self.plan.topic)?;
        std::mem::swap(&mut self.buffers.topic, &mut self.buffers.text);
        ensure_legal_topic(&self.buffers.topic)
            .map_err(|problem| self.error(&self.plan.topic, problem))
    }

    /// Appends the key. Answers with its length; `None`: it is NULL.
    fn key(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, Error> {
        let Some(key) = &self.plan.key else { return Ok(None) };
        // A placeholder alone may be NULL; beside other text it would leave a hole.
        let may_be_null = key.len() == 1 && self.plan.key_null == KeyNull::PartitionBySequence;
        match self.render(key)? {
            None => {}
            Some(_) if may_be_null => return Ok(None),
            Some(at) => return Err(self.null(at)),
        }
        out.extend_from_slice(self.buffers.text.as_bytes());
        Ok(Some(self.buffers.text.len()))
    }

    fn partition(&mut self, is_key_null: bool) -> Result<Option<i128>, Error> {
        let Some(partition) = &self.plan.partition else {
            return Ok(is_key_null.then_some(self.facts.sequence.into()));
        };
        self.needed(partition)?;
        let number = self.buffers.text.trim().parse().ok();
        let bounds = i128::from(i64::MIN)..=i128::from(u64::MAX);
        number
            .filter(|number| bounds.contains(number))
            .map(Some)
            .ok_or_else(|| self.error(partition, Problem::NoPartition(self.buffers.text.clone())))
    }

    fn timestamp(&mut self) -> Result<Option<i64>, Error> {
        let Some(timestamp) = &self.plan.timestamp else { return Ok(None) };
        if self.render(timestamp)?.is_some() {
            return Ok(None);
        }
        let millis = millis_of(&self.buffers.text);
        millis
            .map(Some)
            .ok_or_else(|| self.error(timestamp, Problem::NoTime(self.buffers.text.clone())))
    }

    /// Appends the value. Answers with its length; `None`: it is NULL.
    fn value(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, Error> {
        let start = out.len();
        let is_null = match &self.plan.value {
            Value::Cell(cell) => !self.row.write_cell(self.plan, *cell, out)?,
            Value::Text(pieces) => {
                self.needed(pieces)?;
                out.extend_from_slice(self.buffers.text.as_bytes());
                false
            }
            Value::Json { members, options } => {
                for (index, (name, cell)) in members.iter().enumerate() {
                    out.push(if index == 0 { b'{' } else { b',' });
                    out.extend_from_slice(name.as_bytes());
                    self.row.write_json(self.plan, *cell, *options, out)?;
                }
                out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
                false
            }
        };
        match (is_null, self.plan.value_null) {
            (false, _) | (true, ValueNull::Empty) => Ok(Some(out.len() - start)),
            (true, ValueNull::Tombstone) => Ok(None),
            (true, ValueNull::Halt) => {
                let column = match &self.plan.value {
                    Value::Cell(cell) => &self.plan.columns[*cell],
                    _ => unreachable!("only a column is NULL"),
                };
                Err(column_error(column, Problem::Null))
            }
        }
    }

    fn headers(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        for (name, header) in &self.plan.headers {
            // A NULL column leaves its header out.
            if self.render(header)?.is_none() {
                write_header(out, name, Some(self.buffers.text.as_bytes()));
            }
        }
        Ok(())
    }

    /// Writes the text of a template in which no value may be NULL.
    fn needed(&mut self, pieces: &[Piece<usize>]) -> Result<(), Error> {
        match self.render(pieces)? {
            None => Ok(()),
            Some(at) => Err(self.null(at)),
        }
    }

    fn null(&self, at: Source<usize>) -> Error {
        match at {
            Source::Column(cell) => column_error(&self.plan.columns[cell], Problem::Null),
            Source::Row(_) => Error { column: "@gtid".to_owned(), problem: Problem::Null },
        }
    }

    /// Writes the text of a template. Answers with what is NULL, where something is.
    fn render(&mut self, pieces: &[Piece<usize>]) -> Result<Option<Source<usize>>, Error> {
        self.buffers.text.clear();
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.buffers.text.push_str(text),
                Piece::Value { source, filters } => {
                    let start = self.buffers.text.len();
                    let mut is_null = !self.push(*source)?;
                    for filter in filters {
                        match filter {
                            Filter::Default(text) if is_null => {
                                self.buffers.text.push_str(text);
                                is_null = false;
                            }
                            filter if !is_null => self.filter(filter, start),
                            _ => {}
                        }
                    }
                    if is_null {
                        return Ok(Some(*source));
                    }
                }
            }
        }
        Ok(None)
    }

    fn filter(&mut self, filter: &Filter, start: usize) {
        let Buffers { text, filtered, .. } = &mut *self.buffers;
        filtered.clear();
        filter.apply(&text[start..], filtered);
        text.truncate(start);
        text.push_str(filtered);
    }

    /// Appends a value. Answers `false` where it is NULL.
    fn push(&mut self, source: Source<usize>) -> Result<bool, Error> {
        let text = &mut self.buffers.text;
        match source {
            Source::Column(cell) => self.row.write_cell_text(self.plan, cell, text),
            Source::Row(fact) => Ok(push_fact(fact, self.facts, text)),
        }
    }

    /// An error about the first column of a template.
    fn error(&self, pieces: &[Piece<usize>], problem: Problem) -> Error {
        let column = pieces.iter().find_map(|piece| match piece {
            Piece::Value { source: Source::Column(cell), .. } => Some(&self.plan.columns[*cell]),
            _ => None,
        });
        match column {
            Some(column) => column_error(column, problem),
            None => Error { column: String::new(), problem },
        }
    }
}

fn column_error(column: &Column, problem: Problem) -> Error {
    Error { column: column.name.clone(), problem }
}

/// Appends what the binlog says of the row. Answers `false` where it says nothing.
fn push_fact(fact: RowFact, facts: &RowFacts<'_>, text: &mut String) -> bool {
    let mut digits = itoa::Buffer::new();
    let mut number = |number: u64, text: &mut String| text.push_str(digits.format(number));
    match fact {
        RowFact::Database => text.push_str(facts.database),
        RowFact::Table => text.push_str(facts.table),
        RowFact::Name => text.push_str(facts.name),
        RowFact::Sequence => number(facts.sequence, text),
        RowFact::Generation => number(facts.generation, text),
        RowFact::File => text.push_str(facts.position.file),
        RowFact::Offset => number(facts.position.end, text),
        RowFact::Row => number(facts.position.index, text),
        RowFact::Gtid => match facts.gtid {
            Some(gtid) => write!(text, "{gtid}").expect(TAKES_ALL),
            None => return false,
        },
        RowFact::CommittedAt => write!(text, "{}", rfc_3339(facts.committed_at)).expect(TAKES_ALL),
    }
    true
}

/// Milliseconds since 1970 of a number of them, or of a date and time in UTC as MySQL writes it. Kafka has none before.
fn millis_of(text: &str) -> Option<i64> {
    let millis = text.parse().ok().or_else(|| {
        let at: jiff::civil::DateTime = text.parse().ok()?;
        Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
    });
    millis.filter(|millis| *millis >= 0)
}

impl Row<'_> {
    /// The bytes of a cell; `None`: it is NULL.
    fn cell(&self, plan: &Plan, cell: usize) -> Result<Option<&[u8]>, Error> {
        match self.cells[cell] {
            Cell::Absent => Err(column_error(&plan.columns[cell], Problem::NotLogged)),
            Cell::Null => Ok(None),
            Cell::Bytes(bytes) => Ok(Some(bytes)),
        }
    }

    /// Appends the text of a cell. Answers `false` where it is NULL.
    fn write_cell_text(&self, plan: &Plan, cell: usize, out: &mut String) -> Result<bool, Error> {
        let column = &plan.columns[cell];
        let Some(bytes) = self.cell(plan, cell)? else { return Ok(false) };
        let written = value::write_text(column, bytes, out);
        written.map_err(|error| column_error(column, error.into()))?;
        Ok(true)
    }

    /// Appends the bytes of a cell: those of a binary column, or else its text. Answers `false` where it is NULL.
    fn write_cell(&self, plan: &Plan, cell: usize, out: &mut Vec<u8>) -> Result<bool, Error> {
        let column = &plan.columns[cell];
        let Some(bytes) = self.cell(plan, cell)? else { return Ok(false) };
        let written = value::write_bytes(column, bytes, out);
        written.map_err(|error| column_error(column, error.into()))?;
        Ok(true)
    }

    /// Appends a cell as JSON.
    fn write_json(
        &self,
        plan: &Plan,
        cell: usize,
        options: JsonOptions,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let column = &plan.columns[cell];
        let Some(bytes) = self.cell(plan, cell)? else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        let written = value::write_json(column, bytes, options, out);
        written.map_err(|error| column_error(column, error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::millis_of;

    #[test]
    fn a_time_is_a_number_of_milliseconds_or_what_mysql_writes() {
        for (text, millis) in [
            ("1769860800250", Some(1_769_860_800_250)),
            ("0", Some(0)),
            ("2026-01-31 12:00:00", Some(1_769_860_800_000)),
            ("2026-01-31 12:00:00.250999", Some(1_769_860_800_250)),
            ("2026-01-31", Some(1_769_817_600_000)),
            ("1969-12-31 23:59:59", None),
            ("-1", None),
            ("0000-00-00 00:00:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(millis_of(text), millis, "{text:?}");
        }
    }
}
