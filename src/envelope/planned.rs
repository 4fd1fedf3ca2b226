//! A row becomes a record by the plan of its outbox.

use std::fmt::Write;

use super::json::write_string;
use super::{Buffers, Error, Outcome, Problem, Row, RowFacts, ensure_legal_topic};
use crate::batch::{Parts, write_header};
use crate::binlog::row::Cell;
use crate::binlog::table::Column;
use crate::binlog::value::{self, JsonOptions};
use crate::outbox::extract::Unreadable;
use crate::outbox::template::{Filter, Piece, RowFact, Source};
use crate::outbox::{Header, KeyNull, Plan, SPEC_VERSION, Value, ValueNull};
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

/// The topic and the key, each where it can be made.
pub fn address(
    row: &Row<'_>,
    plan: &Plan,
    facts: &RowFacts<'_>,
    buffers: &mut Buffers,
) -> (Option<String>, Option<Vec<u8>>) {
    let mut writer = Writer { row, plan, facts, buffers };
    let topic = writer.topic().is_ok().then(|| writer.buffers.topic.clone());
    let mut key = Vec::new();
    let has_key = matches!(writer.key(&mut key), Ok(Some(_)));
    (topic, has_key.then_some(key))
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
        self.buffers.topic_by = None;
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
            Value::Null => true,
            Value::CloudEvent { attributes, data } => {
                self.cloud_event(attributes, data, out)?;
                false
            }
            Value::Cell(cell) => !self.row.write_cell(self.plan, *cell, out)?,
            Value::Text(pieces) => match self.render(pieces)? {
                None => {
                    out.extend_from_slice(self.buffers.text.as_bytes());
                    false
                }
                // A placeholder alone may be NULL; beside other text it would leave a hole.
                Some(_) if pieces.len() == 1 => true,
                Some(at) => return Err(self.null(at)),
            },
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
                    Value::Cell(cell) => self.plan.columns[*cell].name.clone(),
                    _ => "of the value".to_owned(),
                };
                Err(Error { column, problem: Problem::Null })
            }
        }
    }

    fn headers(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        for header in &self.plan.headers {
            if self.header(header)? {
                write_header(out, &header.name, Some(self.buffers.text.as_bytes()));
            }
        }
        Ok(())
    }

    /// Writes the text of a header. Answers `false` where a NULL column leaves it out.
    fn header(&mut self, header: &Header) -> Result<bool, Error> {
        if let Some(at) = self.render(&header.pieces)? {
            return if header.is_needed { Err(self.null(at)) } else { Ok(false) };
        }
        if header.is_time {
            let Buffers { text, filtered, .. } = &mut *self.buffers;
            if !write_rfc_3339(text, filtered) {
                let problem = Problem::NoTime(text.clone());
                return Err(self.error(&header.pieces, problem));
            }
            std::mem::swap(text, filtered);
        }
        Ok(true)
    }

    /// Appends a CloudEvent in the JSON event format
    /// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
    fn cloud_event(
        &mut self,
        attributes: &[Header],
        data: &Value,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        out.extend_from_slice(b"{\"specversion\":");
        write_string(SPEC_VERSION, out);
        let mut is_json = true;
        for attribute in attributes {
            if self.header(attribute)? {
                if attribute.name == "datacontenttype" {
                    is_json = is_json_type(&self.buffers.text);
                }
                out.push(b',');
                write_string(&attribute.name, out);
                out.push(b':');
                write_string(&self.buffers.text, out);
            }
        }
        match data {
            Value::Cell(cell) => self.cell_as_data(*cell, is_json, out)?,
            Value::Text(pieces) => {
                self.needed(pieces)?;
                write_data(&self.buffers.text, is_json, out);
            }
            _ => {}
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends the data of a CloudEvent, if there is any.
    fn cell_as_data(&mut self, cell: usize, is_json: bool, out: &mut Vec<u8>) -> Result<(), Error> {
        let column = &self.plan.columns[cell];
        let text = &mut self.buffers.text;
        text.clear();
        if !self.row.write_cell_text(self.plan, cell, text)? {
            return Ok(());
        }
        if value::is_binary(column) {
            // Its text is base64.
            out.extend_from_slice(b",\"data_base64\":");
            write_string(text, out);
        } else if column.kind.is_character() {
            write_data(text, is_json, out);
        } else {
            out.extend_from_slice(b",\"data\":");
            self.row.write_json(self.plan, cell, JsonOptions::default(), out)?;
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
        self.at(at, Problem::Null)
    }

    fn at(&self, source: Source<usize>, problem: Problem) -> Error {
        match source {
            Source::Column(cell) => column_error(&self.plan.columns[cell], problem),
            Source::Row(_) => Error { column: "@gtid".to_owned(), problem },
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
                    let mut is_null = match filters.first() {
                        Some(filter) if filter.takes_text() => !self.push_characters(*source)?,
                        _ => !self.push(*source)?,
                    };
                    for filter in filters {
                        match filter {
                            Filter::Default(text) if is_null => {
                                self.buffers.text.push_str(text);
                                is_null = false;
                            }
                            filter if !is_null => {
                                let filtered = self.filter(filter, start);
                                is_null = !filtered.map_err(|it| self.at(*source, it.into()))?;
                            }
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

    /// Filters the text from `start` on. Answers `false` where the filter leaves NULL.
    fn filter(&mut self, filter: &Filter, start: usize) -> Result<bool, Unreadable> {
        let Buffers { text, filtered, .. } = &mut *self.buffers;
        filtered.clear();
        let is_there = filter.apply(&text[start..], filtered)?;
        text.truncate(start);
        if is_there {
            text.push_str(filtered);
        }
        Ok(is_there)
    }

    /// Appends a value. Answers `false` where it is NULL.
    fn push(&mut self, source: Source<usize>) -> Result<bool, Error> {
        let text = &mut self.buffers.text;
        match source {
            Source::Column(cell) => self.row.write_cell_text(self.plan, cell, text),
            Source::Row(fact) => Ok(push_fact(fact, self.facts, text)),
        }
    }

    /// The same, but the bytes of a binary column are its text, where they are UTF-8.
    fn push_characters(&mut self, source: Source<usize>) -> Result<bool, Error> {
        let Source::Column(cell) = source else { return self.push(source) };
        let column = &self.plan.columns[cell];
        if !value::is_binary(column) {
            return self.push(source);
        }
        let Some(bytes) = self.row.cell(self.plan, cell)? else { return Ok(false) };
        let text = value::text(column, bytes);
        self.buffers.text.push_str(&text.map_err(|error| column_error(column, error.into()))?);
        Ok(true)
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

/// Appends data that is text: JSON as it is, where it is said to be JSON and is, or else a string.
fn write_data(text: &str, is_json: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"data\":");
    if is_json && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
        out.extend_from_slice(text.trim().as_bytes());
    } else {
        write_string(text, out);
    }
}

/// A media type whose data is JSON.
fn is_json_type(text: &str) -> bool {
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.ends_with("/json") || kind.ends_with("+json")
}

/// Writes a date and time in UTC as MySQL writes it, or one that is RFC 3339 already, as RFC 3339. Answers `false` where
/// the text is neither.
fn write_rfc_3339(text: &str, out: &mut String) -> bool {
    out.clear();
    if has_zone(text) {
        out.push_str(text);
        // Some readers take no blank there.
        if text.as_bytes().get(10) == Some(&b' ') {
            out.replace_range(10..11, "T");
        }
        return text.parse::<jiff::Timestamp>().is_ok();
    }
    let (date, time) = text.split_once([' ', 'T', 't']).unwrap_or((text, "00:00:00"));
    for part in [date, "T", time, "Z"] {
        out.push_str(part);
    }
    is_rfc_3339(out)
}

/// The text says more than a date and time. One without a zone would be read from it all the same, and be hours off.
fn has_zone(text: &str) -> bool {
    text.bytes()
        .skip("2026-01-31".len())
        .any(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-' | b'['))
}

/// A date, a `T`, a time with its seconds, and a zone.
fn is_rfc_3339(text: &str) -> bool {
    let mut separators = text.bytes().enumerate().filter(|(at, _)| [4, 7, 10, 13, 16].contains(at));
    separators.all(|(_, byte)| matches!(byte, b'-' | b'T' | b':'))
        && text.len() >= "2026-01-31T12:00:00Z".len()
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// Milliseconds since 1970 of a number of them, of a date and time in UTC as MySQL writes it, or of RFC 3339. Kafka has
/// none before.
fn millis_of(text: &str) -> Option<i64> {
    let millis = text.parse().ok().or_else(|| {
        if has_zone(text) {
            return Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond());
        }
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
    use super::{is_json_type, millis_of, write_rfc_3339};

    #[test]
    fn a_time_of_mysql_becomes_rfc_3339() {
        let mut out = String::new();
        for (text, time) in [
            ("2026-01-31 12:00:00", Some("2026-01-31T12:00:00Z")),
            ("2026-01-31 12:00:00.250", Some("2026-01-31T12:00:00.250Z")),
            ("2026-01-31", Some("2026-01-31T00:00:00Z")),
            ("2026-01-31T12:00:00", Some("2026-01-31T12:00:00Z")),
            ("2026-01-31 12:00", None),
            ("20260131 12:00:00", None),
            ("2026-01-31T12:00:00+02:00", Some("2026-01-31T12:00:00+02:00")),
            ("2026-01-31 12:00:00-02:00", Some("2026-01-31T12:00:00-02:00")),
            ("2026-01-31T12:00:00[Europe/Berlin]", None),
            ("0000-00-00 00:00:00", None),
            ("12:00:00", None),
            ("soon", None),
        ] {
            assert_eq!(write_rfc_3339(text, &mut out).then_some(&*out), time, "{text}");
        }
    }

    #[test]
    fn a_media_type_says_whether_its_data_is_json() {
        for (text, is_json) in [
            ("application/json", true),
            ("application/vnd.shop+json; charset=utf-8", true),
            ("text/JSON", true),
            ("text/plain", false),
            ("application/jsonl", false),
        ] {
            assert_eq!(is_json_type(text), is_json, "{text}");
        }
    }

    #[test]
    fn a_time_is_a_number_of_milliseconds_or_what_mysql_writes() {
        for (text, millis) in [
            ("1769860800250", Some(1_769_860_800_250)),
            ("0", Some(0)),
            ("2026-01-31 12:00:00", Some(1_769_860_800_000)),
            ("2026-01-31 12:00:00.250999", Some(1_769_860_800_250)),
            ("2026-01-31", Some(1_769_817_600_000)),
            ("2026-01-31T12:00:00.250Z", Some(1_769_860_800_250)),
            ("2026-01-31T13:00:00+01:00", Some(1_769_860_800_000)),
            ("2026-01-31 12:00:00-01:00", Some(1_769_864_400_000)),
            ("2026-01-31T12:00:00", Some(1_769_860_800_000)),
            ("2026-01-31T12:00:00[Europe/Berlin]", None),
            ("1969-12-31T23:59:59Z", None),
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
