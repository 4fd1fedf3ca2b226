//! The fate of every error, in one place: it may heal and is retried, a person must act, or another instance has taken
//! over.

mod cure;
mod mysql_codes;
mod primary;
mod skip_command;

use std::error::Error as StdError;
use std::sync::Arc;

use self::primary::{
    binlog_fate, hint_of_damage, preflight_fate, start_fate, start_from_fate, to_fate,
};
pub use self::skip_command::SkipCommand;
use crate::binlog::{self, row, start};
use crate::coordinates::{Coordinates, Gtid};
use crate::fate::{Fate, halt};
use crate::outbox::{Ambiguous, MissingColumns};
use crate::sink::{About, Destinational, SinkError, SizeLimit};
use crate::tasks::Panicked;
use crate::telemetry::metrics::{ErrorKind, Peer};
use crate::{debezium_offsets, envelope, preflight, secret};

/// An error that ends a session of the relay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("MySQL {server}: {source}")]
    Binlog { server: String, source: binlog::Error },
    #[error("MySQL {server}: another session holds the lock that this relay had")]
    LeaseLost { server: String },
    #[error("MySQL {server}: cannot begin at {origin}: {source}")]
    Start { server: String, origin: start::Origin, source: start::Error },
    #[error("MySQL {server}: {source}")]
    Preflight { server: String, source: preflight::mysql::Error },
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(
        "row {number} of {table} in the event that ends at {at} cannot be a record: {source}",
        number = row + 1
    )]
    Row {
        table: String,
        at: Coordinates,
        /// Counted from 0 here, and from 1 in messages.
        row: u64,
        source: envelope::Error,
    },
    #[error(
        "row {number} of {table} in the event that ends at {at} makes a record of {bytes} bytes; the topic \
         {topic} takes {bytes_max} (max.message.bytes)",
        number = row + 1
    )]
    RecordTooLarge {
        table: String,
        at: Coordinates,
        row: u64,
        topic: String,
        bytes: usize,
        bytes_max: usize,
    },
    #[error(
        "row {number} of {table} in the event that ends at {at} makes a record of {bytes} bytes, which the broker \
         refuses for topic {topic}",
        number = row + 1
    )]
    RecordRefused {
        table: String,
        at: Coordinates,
        row: u64,
        topic: String,
        bytes: usize,
        limit: SizeLimit,
        fate: Fate,
        source: Arc<dyn StdError + Send + Sync>,
    },
    #[error(
        "the topic {topic} refuses a batch, and which record of it is not known; sending records one by one, to find the \
         one"
    )]
    OneByOne {
        topic: String,
        /// Of the row whose record was refused.
        sequence: u64,
    },
    #[error(transparent)]
    MissingColumn(#[from] MissingColumns),
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    #[error(transparent)]
    Debezium(#[from] debezium_offsets::Error),
    #[error("there is no checkpoint of key {key:?} in {topic}, and no start_from")]
    NoStart { key: String, topic: String },
    #[error(
        "the checkpoint of key {key:?} in {topic}, which this relay wrote, is not there any more"
    )]
    CheckpointGone { key: String, topic: String },
    #[error(
        "the checkpoint of key {key:?} in {topic} is of the relay {owner}, which writes it again each time that it is \
         fenced"
    )]
    OwnerWrites { key: String, topic: String, owner: String },
    #[error(
        "the checkpoint was written inside a transaction under another configuration of [[outbox]]"
    )]
    OutboxChanged,
    #[error(
        "the checkpoint was written by idempotent delivery, and not at the end of a drain, under another \
         configuration of [[outbox]]"
    )]
    OutboxChangedBehind,
    #[error(
        "the checkpoint says that {rows_done} rows of the transaction at {at} are in Kafka, but it has fewer"
    )]
    FewerRows { rows_done: u64, at: Coordinates },
    #[error(
        "the transaction at {at} is larger than [batch] allows, and comes before the transaction{} of which the \
         checkpoint says that a part is in Kafka",
        gtid.as_ref().map(|gtid| format!(" {gtid}")).unwrap_or_default()
    )]
    SplitBeforePart { at: Coordinates, gtid: Option<Gtid> },
    #[error("the transaction at {at} was rolled back after a part of it was relayed")]
    RolledBackPart { at: Coordinates },
    #[error(
        "row {number} of {table} in the event that ends at {at} cannot be read: {source}",
        number = row + 1
    )]
    Decode { table: String, at: Coordinates, row: u64, source: row::Error },
    #[error("{0}, also when it is read again")]
    DamagedAgain(#[source] Box<Error>),
    #[error(
        "the topic {topic} takes batches of {bytes_max} bytes only; going on with smaller ones"
    )]
    SmallerBatches { topic: String, bytes_max: usize },
    #[error(transparent)]
    Task(#[from] Panicked),
    #[error("taken over by instance {instance}, whose last checkpoint is of {recorded_at}")]
    TakenOver { instance: String, recorded_at: String },
    #[error(
        "another relay of the name {name} takes the transactional ids of this one again and again, and has another \
         checkpoint"
    )]
    NameContested { name: String },
    /// A halt over one transaction, with the command that skips it.
    #[error("{source}")]
    OfOneTransaction { source: Box<Error>, skip_command: SkipCommand },
    #[error("there is no checkpoint of key {key:?} in {topic}")]
    NoCheckpoint { key: String, topic: String },
    #[error("a relay of the name {name} is running: {whom}")]
    Running { name: String, whom: String },
    #[error("whether a relay of the name {name} is running cannot be told: {source}")]
    NotTold { name: String, source: Box<Error> },
    #[error("nothing was stored: a relay of the name {name} took its transactional ids back")]
    TakenBack { name: String },
    #[error("stored, but what is read back is not it: {is}")]
    NotReadBack { is: String },
    #[error(
        "the stored generation {generation} is later than this machine's clock, which says {now}: the next start \
         would begin a smaller one"
    )]
    ClockBehind { generation: u64, now: u64 },
    #[error("print what follows from it: {0}")]
    Print(std::io::Error),
}

const OTHER_HISTORY: &str = "the server was restored, reset or replaced: point the relay at the server of the \
     checkpoint, or begin elsewhere on this one with `binlog-relay checkpoint set --to earliest` (or latest, a \
     position, a GTID set)";

impl Error {
    pub fn fate(&self) -> Fate {
        match self {
            Error::Binlog { source, .. } => binlog_fate(source),
            // Only a relay with our identity asks for this lock.
            Error::LeaseLost { .. } => Fate::MaybeTakenOver,
            Error::Start { origin, source, .. } => fate_of_start(origin, source),
            Error::Preflight { source, .. } => preflight_fate(source),
            Error::Sink(error) => error.fate.clone(),
            Error::Row { source, .. } => row_fate(&source.problem),
            Error::RecordTooLarge { topic, .. } => halt(format!(
                "raise max.message.bytes of the topic {topic} (and what its consumers fetch), then start the \
                 relay again; everything before that transaction is in Kafka"
            )),
            Error::RecordRefused { fate, .. } => fate.clone(),
            Error::MissingColumn(_) => {
                halt("give the table the columns of the preset, or [[outbox]] another preset")
            }
            Error::Ambiguous(_) => halt("make the patterns in [[outbox]] exclude each other"),
            Error::Debezium(error) => error.fate(),
            Error::NoStart { .. } => halt(
                "set [mysql] start_from = \"earliest\", \"latest\" or a position (or store one with `binlog-relay \
                 checkpoint set --to …`), or the checkpoint_key of the relay to take over from",
            ),
            Error::CheckpointGone { .. } => halt(
                "find out who deleted the record or the topic; a new start begins anew at start_from, or where \
                 `binlog-relay checkpoint set --to …` says: either relays rows again, or leaves some out",
            ),
            Error::OutboxChanged => halt_until_old_outbox("the whole transaction again"),
            Error::OutboxChangedBehind => halt_until_old_outbox("again what was sent after it"),
            Error::SplitBeforePart { .. } => halt(
                "raise [batch] max_records and max_bytes until that transaction fits, and start again",
            ),
            Error::FewerRows { .. } | Error::RolledBackPart { .. } => halt(
                "compare the topics with the table from that transaction on; the relay cannot tell what is right: \
                 say where it goes on with `binlog-relay checkpoint set --to …`",
            ),
            Error::Decode { at, .. } => halt(look_at_binlog(at)),
            Error::DamagedAgain(error) => halt(hint_of_damage(error)),
            Error::SmallerBatches { .. }
            | Error::OneByOne { .. }
            | Error::OwnerWrites { .. }
            | Error::Task(_) => Fate::Retry,
            Error::TakenOver { .. } => Fate::TakenOver,
            Error::NameContested { .. } => halt(
                "give one of the two another name: they have the same one, and another checkpoint_key or \
                 checkpoint_topic",
            ),
            Error::OfOneTransaction { source, skip_command } => {
                source.fate().with_hint(skip_command)
            }
            Error::NoCheckpoint { .. }
            | Error::Running { .. }
            | Error::NotTold { .. }
            | Error::TakenBack { .. }
            | Error::NotReadBack { .. }
            | Error::ClockBehind { .. }
            | Error::Print(_) => halt(self.hint_of_command()),
        }
    }

    /// The hint when the checkpoint could not be changed.
    fn hint_of_command(&self) -> &'static str {
        match self {
            Error::NoCheckpoint { .. } => {
                "nothing is to be forgotten; check [kafka] checkpoint_topic and checkpoint_key if there should be one"
            }
            Error::Running { .. } => {
                "stop it with SIGTERM and try again; with --force it is fenced instead: after `checkpoint set` it \
                 exits 3, after `checkpoint reset` it halts"
            }
            Error::NotTold { .. } => {
                "try again when MySQL answers, or use --force if you are sure that none is running"
            }
            Error::TakenBack { .. } => "stop the relay with SIGTERM, and try again",
            Error::ClockBehind { .. } => {
                "correct the clock, or name the position with `binlog-relay checkpoint set --to …`, which begins a greater \
                 generation in any case"
            }
            Error::Print(_) => "nothing was stored; try again with a standard output that takes it",
            _ => "a relay was started meanwhile: stop it with SIGTERM, and try again",
        }
    }

    /// The kind of the error, as the metric names it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Binlog { source: binlog::Error::Server(_), .. } | Error::LeaseLost { .. } => {
                ErrorKind::MySql
            }
            Error::Binlog { .. } | Error::Decode { .. } | Error::DamagedAgain(_) => {
                ErrorKind::Binlog
            }
            Error::Start { .. }
            | Error::Preflight { .. }
            | Error::MissingColumn(_)
            | Error::Ambiguous(_) => ErrorKind::Preflight,
            Error::Row { .. } | Error::RecordTooLarge { .. } | Error::RecordRefused { .. } => {
                ErrorKind::Row
            }
            Error::Sink(error) => error.kind,
            Error::SmallerBatches { .. } | Error::OneByOne { .. } => ErrorKind::Topic,
            Error::OfOneTransaction { source, .. } | Error::NotTold { source, .. } => source.kind(),
            Error::Running { .. }
            | Error::TakenOver { .. }
            | Error::TakenBack { .. }
            | Error::NameContested { .. }
            | Error::OwnerWrites { .. } => ErrorKind::Fenced,
            Error::NoCheckpoint { .. }
            | Error::NotReadBack { .. }
            | Error::ClockBehind { .. }
            | Error::NoStart { .. }
            | Error::Debezium(_)
            | Error::CheckpointGone { .. }
            | Error::OutboxChanged
            | Error::OutboxChangedBehind
            | Error::FewerRows { .. }
            | Error::SplitBeforePart { .. }
            | Error::RolledBackPart { .. } => ErrorKind::Checkpoint,
            Error::Task(_) | Error::Print(_) => ErrorKind::Internal,
        }
    }

    /// The end that failed; `None` if it was neither.
    pub fn peer(&self) -> Option<Peer> {
        match self.kind() {
            ErrorKind::MySql | ErrorKind::Binlog | ErrorKind::Preflight => Some(Peer::MySql),
            ErrorKind::Kafka
            | ErrorKind::Topic
            | ErrorKind::Publish
            | ErrorKind::Checkpoint
            | ErrorKind::Fenced => Some(Peer::Kafka),
            ErrorKind::Row | ErrorKind::Internal => None,
        }
    }

    /// A server or broker answers, and refuses the login.
    pub fn is_rejection(&self) -> bool {
        match self {
            Error::Sink(error) => matches!(error.about, About::Login),
            error => error.is_rejected_login(),
        }
    }

    /// It is about one transaction, and Kafka is reachable: everything before can still be published.
    pub fn is_of_one_transaction(&self) -> bool {
        match self {
            // When read again, it may be whole. If not, the relay halts after publishing everything before it.
            Error::Binlog { source: binlog::Error::Checksum { .. }, .. } => true,
            // Everything that was read before it is whole.
            error if primary::refused_dump(error).is_some() => true,
            Error::Sink(error) => match error.about {
                // Retried. Everything before it need not wait.
                About::Destination(Destinational::Awaited) => true,
                About::Destination(_) => error.fate.is_halt(),
                _ => false,
            },
            Error::Binlog { .. }
            | Error::Row { .. }
            | Error::Decode { .. }
            | Error::RecordTooLarge { .. }
            | Error::RecordRefused { .. }
            | Error::MissingColumn(_)
            | Error::Ambiguous(_) => self.fate().is_halt(),
            _ => false,
        }
    }
}

fn fate_of_start(origin: &start::Origin, source: &start::Error) -> Fate {
    match origin {
        start::Origin::Checkpoint(_) => start_fate(source),
        start::Origin::StartFrom(_) => start_from_fate(source),
        start::Origin::To(_) => to_fate(source),
    }
}

fn row_fate(problem: &envelope::Problem) -> Fate {
    let mend = row_cure(problem);
    halt(format!(
        "{mend}; everything before that transaction is in Kafka, and the checkpoint stands before it"
    ))
}

/// What a person can do about a row that cannot be a record.
pub(crate) fn row_cure(problem: &envelope::Problem) -> &'static str {
    match problem {
        envelope::Problem::NotLogged => {
            "SET GLOBAL binlog_row_image = 'FULL', and reconnect the writers"
        }
        envelope::Problem::NoOutboxId => "set outbox_id in this table's [[outbox]]",
        _ => "correct the writer; the row itself stands in the binlog as it is",
    }
}

fn halt_until_old_outbox(relayed: &str) -> Fate {
    halt(format!(
        "start once with the configuration of [[outbox]] that was there before, stop the relay with SIGTERM, then \
         start it with the new one; `binlog-relay checkpoint set --to` the position of that checkpoint relays \
         {relayed} instead, in a new generation"
    ))
}

fn secret_fate(error: &secret::Error) -> Fate {
    halt(error.hint())
}

fn look_at_binlog(at: &Coordinates) -> String {
    format!("look at the event with mysqlbinlog --stop-position={} {}", at.offset, at.file())
}
