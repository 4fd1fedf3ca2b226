//! Turns a row into the bytes of a record: topic, key and value, as its preset defines them. Pure.
//!
//! The cells of one row enter. The topic's name, the key and the value leave, in buffers of the caller. A row that
//! cannot be a record is an error that names the column. Nothing is made up or left out.

mod eventuate_local;
mod eventuate_tram;
pub mod fallback;
mod json;
mod planned;

use std::borrow::Cow;

use crate::batch::Parts;
use crate::binlog::row::Cell;
use crate::binlog::value;
use crate::coordinates::Gtid;
use crate::outbox::extract::Unreadable;
use crate::outbox::{Preset, Route};
use crate::telemetry::Excerpt;
use crate::telemetry::clock::CommitTime;

/// Position of a row in the binlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPosition<'a> {
    pub file: &'a str,
    /// End of the rows event, or of the compressed transaction around it.
    pub end: u64,
    /// Index of the row within the event, or among the rows of its table in a compressed transaction.
    pub index: u64,
}

/// What is known of a row beside its columns.
#[derive(Debug, Clone, Copy)]
pub struct RowFacts<'a> {
    pub position: RowPosition<'a>,
    pub database: &'a str,
    pub table: &'a str,
    /// Of the relay.
    pub name: &'a str,
    pub generation: u64,
    /// That the row has if it is relayed.
    pub sequence: u64,
    pub gtid: Option<&'a Gtid>,
    pub committed_at: CommitTime,
}

/// Buffers of the writers. They are reused from row to row.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The name of the topic of the last record.
    topic: String,
    /// The text that the topic was made of, and the preset whose writer made it. Neighbours mostly have the same.
    topic_text: String,
    topic_by: Option<Preset>,
    text: String,
    filtered: String,
}

impl Buffers {
    /// The name of the topic of the last record.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends the last record to another topic.
    pub fn set_topic(&mut self, name: &str) {
        self.topic_by = None;
        name.clone_into(&mut self.topic);
    }

    /// Names the topic by the text of a column. `write` is that of the preset.
    fn name_topic(
        &mut self,
        preset: Preset,
        text: &str,
        write: fn(&str, &mut String) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        if self.topic_by == Some(preset) && self.topic_text == text {
            return Ok(());
        }
        self.topic_by = None;
        write(text, &mut self.topic)?;
        text.clone_into(&mut self.topic_text);
        self.topic_by = Some(preset);
        Ok(())
    }
}

/// What a row led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A record of these parts was appended.
    Record(Parts),
    /// The row says that it was already published.
    AlreadyPublished,
    /// The configuration leaves the row out.
    LeftOut,
}

/// Why a row cannot be a record.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.told())]
pub struct Error {
    pub column: String,
    pub problem: Problem,
}

impl Error {
    fn told(&self) -> String {
        match &self.problem {
            // The error itself names the column.
            Problem::Value(error) => error.to_string(),
            problem => format!("column {}: {problem}", self.column),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("it is NULL where a record needs a value")]
    Null,
    #[error("it is not in the row image that was logged")]
    NotLogged,
    #[error("{0}")]
    Value(#[from] value::Error),
    #[error(
        "{} is no legal topic name (1 to 249 characters of A-Z a-z 0-9 . _ -, but not . or ..)",
        Excerpt(.0)
    )]
    IllegalTopic(String),
    #[error(
        "it is empty, so the id comes from the auto-increment column, but the table has no outbox_id"
    )]
    NoOutboxId,
    #[error("its text is no JSON object: {0}")]
    NotAnObject(String),
    #[error("its JSON object has no string ID")]
    NoId,
    #[error("its member {} is an object or an array; headers are flat", Excerpt(.0))]
    Nested(String),
    #[error("its member PARTITION_ID is not a string")]
    PartitionIdNotAString,
    #[error("its text is no Java properties: an escape of the property cannot be read")]
    NoProperty,
    #[error("{} is no number of a partition", Excerpt(.0))]
    NoPartition(String),
    #[error("{} is no time, and no number of milliseconds since 1970", Excerpt(.0))]
    NoTime(String),
}

impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Problem {
        match unreadable {
            Unreadable::Object(what) => Problem::NotAnObject(what),
            Unreadable::Property => Problem::NoProperty,
        }
    }
}

/// Appends the key, the value and the headers of a row to `out` and writes the name of its topic.
///
/// # Errors
/// The row cannot be a record. The caller must remove what was appended.
pub fn write(
    route: &Route,
    cells: &[Cell<'_>],
    facts: &RowFacts<'_>,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> Result<Outcome, Error> {
    let row = Row { route, cells };
    let start = out.len();
    let key_len = match (&route.plan, route.preset) {
        (Some(plan), _) => return planned::write(&row, plan, facts, buffers, out),
        (None, Preset::EventuateTram) => eventuate_tram::write(&row, buffers, out)?,
        (None, _) => eventuate_local::write(&row, facts.position, buffers, out)?,
    };
    Ok(match key_len {
        Some(key_len) => Outcome::Record(Parts::of(key_len, out.len() - start - key_len)),
        None => Outcome::AlreadyPublished,
    })
}

/// The topic and the key of a row by its plan, each where it can be made.
pub fn address(
    route: &Route,
    cells: &[Cell<'_>],
    facts: &RowFacts<'_>,
    buffers: &mut Buffers,
) -> (Option<String>, Option<Vec<u8>>) {
    let row = Row { route, cells };
    route
        .plan
        .as_ref()
        .map_or_else(Default::default, |plan| planned::address(&row, plan, facts, buffers))
}

/// The column that names the topic; `None` where a plan does.
pub fn topic_column(preset: Preset) -> Option<&'static str> {
    let column = match preset {
        Preset::EventuateLocal => eventuate_local::ENTITY_TYPE,
        Preset::EventuateTram => eventuate_tram::DESTINATION,
        _ => return None,
    };
    Some(preset.columns()[column].name)
}

/// The topic of rows that have this text in the [`topic_column`] of their preset.
///
/// # Errors
/// They cannot be records.
pub fn topic_of(preset: Preset, text: &str) -> Result<String, Problem> {
    let mut topic = String::new();
    match preset {
        Preset::EventuateTram => eventuate_tram::write_topic(text, &mut topic)?,
        _ => eventuate_local::write_topic(text, &mut topic)?,
    }
    Ok(topic)
}

/// Whether the row becomes a record, without writing it.
///
/// # Errors
/// The column `published` cannot be read.
pub fn is_relayed(route: &Route, cells: &[Cell<'_>]) -> Result<bool, Error> {
    let row = Row { route, cells };
    let published = match (&route.plan, route.preset) {
        (Some(plan), _) => return planned::is_chosen(&row, plan, &mut String::new()),
        (None, Preset::EventuateTram) => eventuate_tram::PUBLISHED,
        (None, _) => eventuate_local::PUBLISHED,
    };
    Ok(!row.is_published(published)?)
}

/// The cells of one row, found by their index among the columns of the preset.
struct Row<'a> {
    route: &'a Route,
    cells: &'a [Cell<'a>],
}

impl<'a> Row<'a> {
    fn name(&self, wanted: usize) -> &'static str {
        self.route.preset.columns()[wanted].name
    }

    fn error(&self, wanted: usize, problem: impl Into<Problem>) -> Error {
        Error { column: self.name(wanted).to_owned(), problem: problem.into() }
    }

    /// The text of a column; `None` if it is NULL or the table does not have it.
    fn text(&self, wanted: usize) -> Result<Option<Cow<'a, str>>, Error> {
        let Some((column, cell)) = self.route.column(wanted) else { return Ok(None) };
        match self.cells[cell] {
            Cell::Absent => Err(self.error(wanted, Problem::NotLogged)),
            Cell::Null => Ok(None),
            Cell::Bytes(bytes) => {
                value::text(column, bytes).map(Some).map_err(|problem| self.error(wanted, problem))
            }
        }
    }

    /// The text of a column that a record needs.
    fn needed_text(&self, wanted: usize) -> Result<Cow<'a, str>, Error> {
        self.text(wanted)?.ok_or_else(|| self.error(wanted, Problem::Null))
    }

    fn integer(&self, wanted: usize) -> Result<Option<i128>, Error> {
        let Some((column, cell)) = self.route.column(wanted) else { return Ok(None) };
        match self.cells[cell] {
            Cell::Absent => Err(self.error(wanted, Problem::NotLogged)),
            Cell::Null => Ok(None),
            Cell::Bytes(bytes) => value::integer(column, bytes)
                .map(Some)
                .map_err(|problem| self.error(wanted, problem)),
        }
    }

    /// NULL and a missing column count as 0: not published yet.
    fn is_published(&self, wanted: usize) -> Result<bool, Error> {
        Ok(self.integer(wanted)?.is_some_and(|published| published != 0))
    }

    /// The id of a row. If it is empty and the table numbers its rows, the id is made of that number and the configured
    /// `outbox_id`, as Eventuate's database id generator does it.
    fn id(&self, wanted: usize, number: usize) -> Result<Id<'a>, Error> {
        let own = match self.text(wanted)? {
            Some(own) if !own.is_empty() => return Ok(Id::Own(own)),
            own => own,
        };
        match (own, self.integer(number)?) {
            (_, Some(number)) => {
                let outbox_id = self.route.outbox_id;
                let outbox_id = outbox_id.ok_or_else(|| self.error(wanted, Problem::NoOutboxId))?;
                Ok(Id::Generated(format!("{number:016x}-{outbox_id:016x}")))
            }
            (Some(empty), None) => Ok(Id::Own(empty)),
            (None, None) => Err(self.error(wanted, Problem::Null)),
        }
    }
}

enum Id<'a> {
    Own(Cow<'a, str>),
    Generated(String),
}

impl Id<'_> {
    fn as_str(&self) -> &str {
        match self {
            Id::Own(id) => id,
            Id::Generated(id) => id,
        }
    }
}

fn ensure_legal_topic(name: &str) -> Result<(), Problem> {
    if is_legal_topic(name) { Ok(()) } else { Err(Problem::IllegalTopic(name.to_owned())) }
}

/// Kafka's rule for topic names
/// (<https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/internals/Topic.java>).
fn is_legal_topic(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    matches!(name.len(), 1..=249) && name != "." && name != ".." && name.bytes().all(is_legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_anew_whenever_the_last_one_was_not_made_of_the_same_text() {
        let (local, tram) = (eventuate_local::write_topic, eventuate_tram::write_topic);
        let mut buffers = Buffers::default();
        buffers.name_topic(Preset::EventuateLocal, "a$b", local).unwrap();
        assert_eq!(buffers.topic(), "a_DLR_b");
        // The other preset takes the text as it is.
        assert!(buffers.name_topic(Preset::EventuateTram, "a$b", tram).is_err());
        // What failed is tried again.
        assert!(buffers.name_topic(Preset::EventuateTram, "a$b", tram).is_err());
        buffers.name_topic(Preset::EventuateLocal, "a$b", local).unwrap();
        buffers.name_topic(Preset::EventuateLocal, "a$b", local).unwrap();
        assert_eq!(buffers.topic(), "a_DLR_b");
        buffers.set_topic("elsewhere");
        buffers.name_topic(Preset::EventuateLocal, "a$b", local).unwrap();
        assert_eq!(buffers.topic(), "a_DLR_b");
        buffers.name_topic(Preset::EventuateTram, "c", tram).unwrap();
        assert_eq!(buffers.topic(), "c");
    }
}
