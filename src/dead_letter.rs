//! The command `dead-letter`: lists the letters of a relay, shows one, and publishes again what was mended.
//!
//! A letter is mended by the configuration, by the table, or by the topic. Its row becomes a record by the plan of today,
//! with the number that it had.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::batch::{Batch, DestinationId, Limits};
use crate::binlog::Server;
use crate::binlog::table::Table;
use crate::binlog::value::{EncodedRow, JsonOptions, row_from_json};
use crate::cli::DeadLetterCommand;
use crate::config::Config;
use crate::connect;
use crate::coordinates::Gtid;
use crate::envelope::fallback::{REASON_HEADER, TOPIC_HEADER};
use crate::envelope::{self, Buffers, Outcome, RowFacts, RowPosition};
use crate::error::Error as RelayError;
use crate::outbox::{self, OutboxOptions, Route};
use crate::preflight::mysql as preflight;
use crate::sink::About;
use crate::sink::kafka::dead_letters::{Mended, Replayer, StoredLetter};
use crate::telemetry::Causes;
use crate::telemetry::clock::{CommitTime, iso_8601_of_millis};

/// Why a command about dead letters has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no [[outbox]] has dead letters")]
    NoTopic,
    #[error("there is no dead letter {number}")]
    None { number: String },
    #[error("{number} is the end of {one} and of {other}")]
    Several { number: String, one: String, other: String },
    #[error("write to standard output")]
    Print(#[from] std::io::Error),
    #[error(transparent)]
    Relay(#[from] RelayError),
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::NoTopic => Some(
                "set on_error or oversize to \"dead-letter\" in the [[outbox]] whose rows may become some",
            ),
            Error::None { .. } => {
                Some("`binlog-relay dead-letter list --all` prints their numbers")
            }
            Error::Several { .. } => Some("write more of the number"),
            Error::Print(_) | Error::Relay(_) => None,
        }
    }
}

/// Answers a command. Returns whether no letter of those that were asked for is left.
///
/// # Errors
/// There is no such letter, or an end cannot be asked.
pub async fn answer(
    config: &Config,
    asked: &DeadLetterCommand,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    match asked {
        DeadLetterCommand::List { all, json } => {
            let mut letters = read(config).await?;
            letters.retain(|letter| *all || !letter.is_replayed);
            let text = if *json { list_json(&letters) + "\n" } else { list(&letters) };
            out.write_all(text.as_bytes())?;
            Ok(true)
        }
        DeadLetterCommand::Show { number, json } => {
            let letters = read(config).await?;
            let letter = find(&letters, number)?;
            let text = if *json { describe(letter).to_string() + "\n" } else { show(letter) };
            out.write_all(text.as_bytes())?;
            Ok(true)
        }
        DeadLetterCommand::Replay { numbers } => replay(config, numbers, out).await,
    }
}

/// Publishes the letters of these numbers again, or all that were not yet, where there are none.
async fn replay(config: &Config, numbers: &[String], out: &mut dyn Write) -> Result<bool, Error> {
    topics(config)?;
    let mut replay = Replay::connect(config).await?;
    // Another replay is fenced by now, so nobody else publishes what is read here.
    let letters = read(config).await?;
    let named = numbers.iter().map(|number| Ok(&*find(&letters, number)?.sequence));
    let named = named.collect::<Result<HashSet<&str>, Error>>()?;
    let is_chosen = |letter: &&StoredLetter| {
        if numbers.is_empty() { !letter.is_replayed } else { named.contains(&*letter.sequence) }
    };
    let mut is_done = true;
    for letter in letters.iter().filter(is_chosen) {
        let became = replay.publish(letter).await?;
        is_done &= !matches!(became, Replayed::Stays(_));
        let words = match became {
            Replayed::Published(topic) => format!("published to {topic}"),
            Replayed::Before => "was published again before".to_owned(),
            Replayed::Stays(why) => format!("stays a dead letter: {why}"),
        };
        writeln!(out, "{} {words}", letter.sequence)?;
    }
    Ok(is_done)
}

/// The letter of this number: a `relay-sequence`, or the end of one.
fn find<'a>(letters: &'a [StoredLetter], number: &str) -> Result<&'a StoredLetter, Error> {
    let mut found = letters.iter().filter(|letter| letter.sequence.ends_with(number));
    let number = number.to_owned();
    match (found.next(), found.next()) {
        (Some(letter), None) => Ok(letter),
        (None, _) => Err(Error::None { number }),
        (Some(one), Some(other)) => {
            let (one, other) = (one.sequence.clone(), other.sequence.clone());
            Err(Error::Several { number, one, other })
        }
    }
}

fn topics(config: &Config) -> Result<Vec<String>, Error> {
    let topics = outbox::dead_letter_topics(&config.outbox);
    if topics.is_empty() { Err(Error::NoTopic) } else { Ok(topics) }
}

/// The letters of all topics that the configuration names, in the order of their numbers.
///
/// # Errors
/// Kafka cannot be read.
async fn read(config: &Config) -> Result<Vec<StoredLetter>, Error> {
    let mut letters = Vec::new();
    for topic in topics(config)? {
        letters.extend(config.kafka.dead_letters(&topic).await.map_err(RelayError::from)?);
    }
    letters.sort_by(|one, other| one.sequence.cmp(&other.sequence));
    // After a crash, a letter may be there twice.
    letters.dedup_by(|later, kept| {
        let is_same = later.sequence == kept.sequence;
        kept.is_replayed |= is_same && later.is_replayed;
        is_same
    });
    Ok(letters)
}

/// A line a letter: its number, reason, table, topic and error.
fn list(letters: &[StoredLetter]) -> String {
    let mut text = String::new();
    for letter in letters {
        let told = serde_json::from_slice::<Told>(&letter.value).unwrap_or_default();
        let reason = letter.header(REASON_HEADER).unwrap_or("?");
        let mark = if letter.is_replayed { " (published again)" } else { "" };
        let Told { table, error } = told;
        text.push_str(&format!("{} {reason} {table}: {error}{mark}\n", letter.sequence));
    }
    text
}

/// The same as a JSON array.
fn list_json(letters: &[StoredLetter]) -> String {
    Value::Array(letters.iter().map(describe).collect()).to_string()
}

/// All of a letter.
fn show(letter: &StoredLetter) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name}: {value}").expect("a string takes all that is written");
    };
    let place = format!("{} partition {} offset {}", letter.topic, letter.partition, letter.offset);
    line("letter", &place);
    line("written", &letter.timestamp.map_or_else(|| "unknown".to_owned(), iso_8601_of_millis));
    line("published again", if letter.is_replayed { "yes" } else { "no" });
    line("key", &letter.key.as_deref().map_or("NULL".into(), String::from_utf8_lossy));
    for (name, value) in &letter.headers {
        line(name, &String::from_utf8_lossy(value));
    }
    let value = serde_json::from_slice::<Value>(&letter.value);
    let pretty = value.ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
    text.push_str(&pretty.unwrap_or_else(|| String::from_utf8_lossy(&letter.value).into_owned()));
    text.push('\n');
    text
}

fn describe(letter: &StoredLetter) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    json!({
        "sequence": letter.sequence,
        "reason": letter.header(REASON_HEADER),
        "destination": letter.header(TOPIC_HEADER),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": letter.key.as_deref().map(text),
        "isReplayed": letter.is_replayed,
        "letter": serde_json::from_slice::<Value>(&letter.value).unwrap_or(Value::Null),
    })
}

/// What became of a letter.
#[derive(Debug)]
enum Replayed {
    /// It is a record of this topic.
    Published(String),
    /// It was published again before.
    Before,
    /// It stays a letter, and why.
    Stays(String),
}

/// Publishes letters again.
struct Replay<'a> {
    config: &'a Config,
    server: Server,
    outboxes: Vec<OutboxOptions>,
    /// The server logs the names of columns.
    has_names: bool,
    replayer: Replayer,
    buffers: Buffers,
}

impl<'a> Replay<'a> {
    /// Connects to both ends. Another replay of this relay is fenced.
    ///
    /// # Errors
    /// An end cannot be reached.
    async fn connect(config: &'a Config) -> Result<Replay<'a>, RelayError> {
        let (mut server, identity) = connect::connect_mysql(config).await?;
        let variables = server.variables(&[preflight::ROW_METADATA]).await;
        let variables = variables.map_err(|it| connect::binlog_error(config, it.into()))?;
        let has_names = preflight::names_columns(&variables);
        let outboxes = outbox::as_on_server(&config.outbox, identity.folds_case);
        let replayer = config.kafka.replayer().await?;
        let buffers = Buffers::default();
        Ok(Replay { config, server, outboxes, has_names, replayer, buffers })
    }

    /// Publishes the row of a letter again, where it can be a record now.
    ///
    /// # Errors
    /// Kafka or MySQL cannot be asked.
    async fn publish(&mut self, letter: &StoredLetter) -> Result<Replayed, RelayError> {
        if letter.is_replayed {
            return Ok(Replayed::Before);
        }
        let relay = letter.sequence.rsplit_once(':').map_or("", |(relay, _)| relay);
        if relay != self.config.name {
            return Ok(Replayed::Stays(format!(
                "it is of the relay {relay}, whose configuration says what becomes of it"
            )));
        }
        let content: Content<'_> = match serde_json::from_slice(&letter.value) {
            Ok(content) => content,
            Err(error) => return Ok(Replayed::Stays(format!("it is no dead letter: {error}"))),
        };
        let (table, route, row) = match self.row(&content).await? {
            Ok(found) => found,
            Err(why) => return Ok(Replayed::Stays(why)),
        };
        let mut batch = Batch::new(Limits { records_max: 1, bytes_max: usize::MAX });
        if let Err(why) = self.write(&content, &table, (&route, &row), &mut batch) {
            return Ok(Replayed::Stays(why));
        }
        let mended = Mended { letter, topic: self.buffers.topic(), record: batch.record(0) };
        match self.replayer.publish(&mended).await {
            Ok(()) => Ok(Replayed::Published(self.buffers.topic().to_owned())),
            Err(error) if error.fate.is_halt() || matches!(error.about, About::Destination(_)) => {
                Ok(Replayed::Stays(Causes(&error).to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record of a row, or says why it cannot be one.
    fn write(
        &mut self,
        content: &Content<'_>,
        table: &Table,
        (route, row): (&Route, &EncodedRow),
        batch: &mut Batch,
    ) -> Result<(), String> {
        let position = &content.position;
        let gtid = position.gtid.as_deref().and_then(|gtid| gtid.parse::<Gtid>().ok());
        let facts = RowFacts {
            position: RowPosition {
                file: &position.binlog_filename,
                end: position.offset,
                index: position.rows_to_skip,
            },
            database: &table.schema,
            table: &table.name,
            name: &self.config.name,
            generation: content.generation,
            sequence: content.sequence,
            gtid: gtid.as_ref(),
            committed_at: position.committed_at(),
        };
        let cells = row.cells(&route.decoder.wanted());
        match envelope::write(route, &cells, &facts, &mut self.buffers, batch.draft()) {
            Ok(Outcome::Record(parts)) => {
                batch.push_parts(DestinationId(0), parts, facts.committed_at);
                Ok(())
            }
            Ok(Outcome::LeftOut | Outcome::AlreadyPublished) => {
                Err("the where of its [[outbox]] leaves it out".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The row of a letter by the layout that its table has now, or why there is none.
    async fn row(
        &mut self,
        content: &Content<'_>,
    ) -> Result<Result<(Table, Route, EncodedRow), String>, RelayError> {
        let mut why = format!("{} is in no [[outbox]]", content.table);
        // Either name may have a dot in it.
        for (dot, _) in content.table.match_indices('.') {
            let (database, name) = (&content.table[..dot], &content.table[dot + 1..]);
            let outbox = match outbox::find(&self.outboxes, database, name) {
                Ok(Some(index)) => &self.outboxes[index],
                Ok(None) => continue,
                Err(ambiguous) => return Ok(Err(ambiguous.to_string())),
            };
            let columns = self.server.columns(database, name).await;
            let columns = columns.map_err(|it| connect::binlog_error(self.config, it.into()))?;
            if columns.is_empty() {
                why = format!("the table {} is not there", content.table);
                continue;
            }
            let made = Table::of_schema(database, name, &columns)
                .map_err(|error| error.to_string())
                .and_then(|table| {
                    let table = if self.has_names { table.as_named_by_events() } else { table };
                    let route = Route::new(outbox, &table).map_err(|error| error.to_string())?;
                    let row = row_from_json(&table, content.row.get(), JsonOptions::default());
                    let row = row.map_err(|error| error.to_string())?;
                    Ok((table, route, row))
                });
            return Ok(made);
        }
        Ok(Err(why))
    }
}

/// What a list shows of the value of a dead letter.
#[derive(Default, Deserialize)]
struct Told {
    table: String,
    error: String,
}

/// What it takes to make a record of the value of a dead letter.
#[derive(Deserialize)]
struct Content<'a> {
    table: String,
    #[serde(borrow)]
    row: &'a RawValue,
    position: Position,
    generation: u64,
    sequence: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Position {
    binlog_filename: String,
    offset: u64,
    rows_to_skip: u64,
    gtid: Option<String>,
    committed_at: String,
}

impl Position {
    fn committed_at(&self) -> CommitTime {
        let micros =
            self.committed_at.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond);
        CommitTime::from_micros(
            micros.ok().and_then(|it| u64::try_from(it).ok()).unwrap_or_default(),
        )
    }
}
