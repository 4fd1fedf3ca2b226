//! The relay's place, kept in a Kafka topic: what its record says, and how the last one is found.
//!
//! The record is read and written so that Eventuate CDC reads ours and we read its. Reading goes to the end
//! that was there when it began, and answers "none" only when the whole topic was looked at.

mod partitions;
mod record;
mod seen;

use std::collections::BTreeMap;

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use serde::{Deserialize, Serialize};

use crate::binlog::{Place, Resume};
use crate::coordinates::{self, Coordinates, Gtid, GtidSet, Uuid};
use crate::kafka::{self, Delivery, Extents, Reader, reader};
use crate::telemetry::clock::millis_of_iso_8601;

pub use self::partitions::PartitionCounts;
use self::record::Problem;
pub use self::record::{FORMAT, NAME_LENGTH_MAX};
pub use self::seen::Seen;

/// Where checkpoints are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub topic: String,
    /// The record's key: relays with one key take over from each other.
    pub key: String,
}

/// The value of a checkpoint record. `binlogFilename`, `offset` and `rowsToSkip` are Eventuate's; all others
/// are ours, and missing in a record of its.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// [`FORMAT`]; it stands first, so that even a truncated record is known for what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The relay that wrote it: its transactional ids, and `relay-sequence` of its records, begin with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub binlog_filename: String,
    pub offset: u64,
    /// Always 0 in ours: Eventuate would count other things by it.
    pub rows_to_skip: u64,
    /// So many relayed rows of the transaction that begins here are in Kafka as well.
    #[serde(default)]
    pub rows_done: u64,
    /// That transaction, when `rows_done` is not 0 and the server has GTIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
    /// Every GTID before the place; missing unless it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid_set: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_uuid: Option<String>,
    /// When the binlog file was begun, in seconds since 1970, by its FORMAT_DESCRIPTION event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binlog_timestamp: Option<u32>,
    /// Milliseconds since 1970 at which this numbering of rows began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Number of the last relayed row.
    #[serde(default)]
    pub sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Random id of the process that wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox_fingerprint: Option<String>,
    /// How many destination topics the relay has created in this generation.
    #[serde(default)]
    pub topics_created: u64,
    /// The last one of a drain.
    #[serde(default)]
    pub clean: bool,
    /// In `idempotent` delivery: rows after this place may be in Kafka since then. UTC, ISO 8601, milliseconds;
    /// missing: since the record's own Kafka time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacknowledged_since: Option<String>,
    /// Relays of other names that may have sent rows after this place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unacknowledged_names: Vec<String>,
    /// In `idempotent` delivery: how many partitions the topics had that rows after this place may be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionCounts>,
    /// When it was written: UTC, ISO 8601, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_version: Option<String>,
}

/// Why no checkpoint could be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] reader::Error),
    #[error(
        "the record of key {key:?} at offset {offset} of partition {partition} of the checkpoint topic {topic} is \
         no checkpoint: {what}"
    )]
    Unreadable { topic: String, partition: i32, offset: i64, key: String, what: String },
    #[error(
        "the checkpoint topic {topic} has a later record of key {key:?} than was read: offset {offset} of partition \
         {partition}; reading it again"
    )]
    Outdated { topic: String, partition: i32, offset: i64, key: String },
    #[error(
        "the newest checkpoint of key {key:?}, at offset {offset} of partition {partition} of the checkpoint topic \
         {topic}, cannot be read: {what}"
    )]
    Damaged { topic: String, partition: i32, offset: i64, key: String, what: String },
    #[error(
        "the newest checkpoint of key {key:?}, at offset {offset} of partition {partition} of the checkpoint topic \
         {topic}, has format {format}, which the version {relay_version} wrote; this version reads format {FORMAT}"
    )]
    Later {
        topic: String,
        partition: i32,
        offset: i64,
        key: String,
        format: u64,
        relay_version: String,
    },
}

impl Error {
    /// There is a record, and it cannot be read; in words. `None`: it is another error.
    pub fn unreadable(&self) -> Option<String> {
        match self {
            Error::Read(_) | Error::Outdated { .. } => None,
            Error::Unreadable { what, .. } => {
                Some(format!("a record that is no checkpoint: {what}"))
            }
            Error::Damaged { what, .. } => {
                Some(format!("a checkpoint that cannot be read: {what}"))
            }
            Error::Later { format, relay_version, .. } => {
                Some(format!("a checkpoint of format {format}, of the version {relay_version}"))
            }
        }
    }
}

impl Checkpoint {
    /// The fields' names in the order of the record.
    pub const FIELDS: [&str; 22] = [
        "format",
        "name",
        "binlogFilename",
        "offset",
        "rowsToSkip",
        "rowsDone",
        "gtid",
        "gtidSet",
        "serverUuid",
        "binlogTimestamp",
        "generation",
        "sequence",
        "delivery",
        "instance",
        "outboxFingerprint",
        "topicsCreated",
        "clean",
        "unacknowledgedSince",
        "unacknowledgedNames",
        "partitions",
        "recordedAt",
        "relayVersion",
    ];

    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are always JSON")
    }

    /// Where to go on reading.
    ///
    /// # Errors
    /// A field is not what its name says.
    pub fn resume(&self) -> Result<Resume, coordinates::Error> {
        let gtid_set: Option<GtidSet> = self.gtid_set.as_deref().map(str::parse).transpose()?;
        let server_uuid: Option<Uuid> = self.server_uuid.as_deref().map(str::parse).transpose()?;
        Ok(Resume {
            coordinates: Coordinates::new(self.binlog_filename.as_str(), self.offset)?,
            gtid_set,
            server_uuid,
            file_timestamp: self.binlog_timestamp,
            // A place as it was configured, or one of Eventuate's, can be inside a transaction; one that
            // follows relayed rows, or to which its file was read, is a boundary.
            is_boundary: self.generation.is_some()
                && (self.sequence > 0
                    || self.gtid_set.is_some()
                    || self.binlog_timestamp.is_some()),
        })
    }

    /// The transaction of which `rows_done` rows are in Kafka.
    ///
    /// # Errors
    /// The field is no GTID.
    pub fn open_gtid(&self) -> Result<Option<Gtid>, coordinates::Error> {
        self.gtid.as_deref().map(str::parse).transpose()
    }

    /// Rows after the place may be in Kafka already.
    pub fn may_be_ahead(&self) -> bool {
        self.delivery == Some(Delivery::Idempotent) && !self.clean
    }

    /// [`Checkpoint::unacknowledged_since`] in milliseconds since 1970.
    ///
    /// # Errors
    /// It is no time.
    pub fn unacknowledged_since_millis(&self) -> Result<Option<i64>, String> {
        let millis = self.unacknowledged_since.as_deref().map(millis_of_iso_8601).transpose();
        millis.map_err(|error| format!("unacknowledgedSince: {error}"))
    }

    /// The part that says where in the binlog it stands.
    pub fn place(place: &Place, rows_done: u64, open_gtid: Option<&Gtid>) -> Checkpoint {
        let gtid_set = place.gtid_set.as_ref().map(ToString::to_string);
        Checkpoint { gtid_set, ..Checkpoint::place_without_set(place, rows_done, open_gtid) }
    }

    /// The same without the GTID set, which can be long.
    pub fn place_without_set(
        place: &Place,
        rows_done: u64,
        open_gtid: Option<&Gtid>,
    ) -> Checkpoint {
        Checkpoint {
            binlog_filename: place.coordinates.file().to_owned(),
            offset: place.coordinates.offset,
            rows_done,
            gtid: open_gtid.filter(|_| rows_done > 0).map(ToString::to_string),
            binlog_timestamp: place.file_timestamp,
            ..Checkpoint::default()
        }
    }

    /// Which of two partitions' last records is the later one: by generation, then sequence, then place, then time.
    fn is_later_than(&self, other: &Checkpoint) -> bool {
        let order = (self.generation, self.sequence).cmp(&(other.generation, other.sequence));
        let place =
            |checkpoint: &Checkpoint| checkpoint.resume().ok().map(|resume| resume.coordinates);
        let recorded = |checkpoint: &Checkpoint| checkpoint.recorded_at.clone();
        order.is_gt()
            || order.is_eq()
                && (place(self) > place(other)
                    || place(self) == place(other) && recorded(self) > recorded(other))
    }
}

/// Reads the last checkpoint; `None` when there is none, or it was reset. Answers also with what was seen.
///
/// # Errors
/// Kafka cannot be read to the end, or the only record of the key is no checkpoint. That there is no topic
/// may be what one broker says that has just started: it is an error, not "none".
pub fn read(topic: Reader, options: &Options) -> Result<(Option<Checkpoint>, Seen), Error> {
    loop {
        let extents = topic.settled_extents()?;
        // Whether these are all partitions is asked meanwhile.
        let (found, has_others) = std::thread::scope(|scope| {
            let has_others = scope.spawn(|| topic.has_other_partitions());
            (find(&topic, options, extents.clone()), has_others.join())
        });
        if has_others.unwrap_or_else(|panic| std::panic::resume_unwind(panic))? {
            continue;
        }
        let last = choose(options, found?)?;
        return Ok((last, Seen::new(topic, extents, options.clone())));
    }
}

/// Reads the last checkpoint of those committed by now: an open transaction of any producer may hide a later
/// one.
///
/// # Errors
/// As [`read`].
pub fn look(
    kafka: &kafka::Options,
    client_id: &str,
    options: &Options,
) -> Result<Option<Checkpoint>, Error> {
    let topic = open(kafka, client_id, options)?;
    let extents = topic.committed_extents()?;
    choose(options, find(&topic, options, extents)?)
}

/// The partitions whose last record of the key is no tombstone. An existing topic may have several, and
/// whoever wrote there before may have had another partitioner.
///
/// # Errors
/// As [`read`]; a record that is no checkpoint is none here.
pub fn partitions(
    kafka: &kafka::Options,
    client_id: &str,
    options: &Options,
) -> Result<Vec<i32>, Error> {
    let topic = open(kafka, client_id, options)?;
    let extents = topic.settled_extents()?;
    let is_held = |tail: &Tail| match &tail.last {
        Some(Last::Checkpoint(_) | Last::Damaged(_)) => true,
        Some(Last::Tombstone) => false,
        None => tail.unreadable.is_some(),
    };
    let found = find(&topic, options, extents)?.into_iter();
    Ok(found.filter(|(_, tail)| is_held(tail)).map(|(partition, _)| partition).collect())
}

/// The checkpoint topic, to be read: it connects by itself, which takes some milliseconds.
///
/// # Errors
/// librdkafka refuses the configuration.
pub fn open(kafka: &kafka::Options, client_id: &str, options: &Options) -> Result<Reader, Error> {
    Ok(Reader::new(kafka, client_id, "checkpoint topic", &options.topic)?)
}

/// What the last record of the key in a partition says.
enum Last {
    Checkpoint(Box<Checkpoint>),
    Tombstone,
    Damaged(Damaged),
}

/// The newest checkpoint of a partition, which cannot be read.
struct Damaged {
    offset: i64,
    problem: Problem,
}

/// What was read of a partition.
#[derive(Default)]
struct Tail {
    /// What the last record of the key says that says anything, and when it was written.
    last: Option<Last>,
    millis: Option<i64>,
    /// The offset of the last record of the key that is no checkpoint, and what is wrong with it.
    unreadable: Option<(i64, String)>,
}

impl Tail {
    fn take(&mut self, record: &BorrowedMessage<'_>) {
        let (offset, millis) = (record.offset(), record.timestamp().to_millis());
        let last = match record.payload().map(|payload| record::parse(payload, millis)) {
            None => Last::Tombstone,
            Some(Ok(checkpoint)) => Last::Checkpoint(Box::new(checkpoint)),
            Some(Err(Problem::Strange(what))) => {
                let topic = record.topic();
                tracing::warn!(topic, offset, "a record of our key is no checkpoint: {what}");
                self.unreadable = Some((offset, what));
                return;
            }
            Some(Err(problem)) => Last::Damaged(Damaged { offset, problem }),
        };
        (self.last, self.millis) = (Some(last), millis);
    }
}

/// Looks for the key from the ends of the partitions backwards.
fn find(
    topic: &Reader,
    options: &Options,
    mut extents: Extents,
) -> Result<BTreeMap<i32, Tail>, Error> {
    // Of an empty topic one partition is read none the less: that we may not read it would otherwise be found
    // out when the relay is started again.
    let is_empty = extents.values().all(|extent| extent.first >= extent.end);
    let kept = extents.keys().next().copied().filter(|_| is_empty);
    extents.retain(|partition, extent| extent.first < extent.end || Some(*partition) == kept);
    let take = |tail: &mut Tail, record: &BorrowedMessage<'_>| {
        if record.key() == Some(options.key.as_bytes()) {
            tail.take(record);
        }
    };
    let floor = |partition| extents[&partition].first;
    Ok(topic.read_tails(&extents, floor, take, |tail| tail.last.is_some())?)
}

fn choose(options: &Options, found: BTreeMap<i32, Tail>) -> Result<Option<Checkpoint>, Error> {
    ensure_readable(options, &found)?;
    let (mut lasts, mut unreadable) = (Vec::new(), None);
    for (partition, tail) in found {
        lasts.extend(tail.last);
        unreadable = tail.unreadable.map(|unreadable| (partition, unreadable)).or(unreadable);
    }
    if let (true, Some((partition, (offset, what)))) = (lasts.is_empty(), unreadable) {
        let Options { topic, key } = options.clone();
        return Err(Error::Unreadable { topic, partition, offset, key, what });
    }
    let mut latest: Option<Checkpoint> = None;
    for last in lasts {
        if let Last::Checkpoint(checkpoint) = last
            && latest.as_ref().is_none_or(|latest| checkpoint.is_later_than(latest))
        {
            latest = Some(*checkpoint);
        }
    }
    Ok(latest)
}

/// A checkpoint that cannot be read counts, unless one that can was written later in another partition: to go
/// on from an older one would repeat rows.
fn ensure_readable(options: &Options, found: &BTreeMap<i32, Tail>) -> Result<(), Error> {
    let is_readable = |tail: &&Tail| matches!(tail.last, Some(Last::Checkpoint(_)));
    let newest = found.values().filter(is_readable).filter_map(|tail| tail.millis).max();
    for (partition, tail) in found {
        let Some(Last::Damaged(Damaged { offset, problem })) = &tail.last else { continue };
        if tail.millis < newest {
            continue;
        }
        let Options { topic, key } = options.clone();
        let (partition, offset) = (*partition, *offset);
        return Err(match problem.clone() {
            Problem::Later { format, relay_version } => {
                let relay_version = relay_version.unwrap_or_else(|| "unknown".to_owned());
                Error::Later { topic, partition, offset, key, format, relay_version }
            }
            Problem::Damaged(what) => Error::Damaged { topic, partition, offset, key, what },
            Problem::Foreign(what) | Problem::Strange(what) => {
                Error::Unreadable { topic, partition, offset, key, what }
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(json: &str) -> Checkpoint {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_record_of_eventuate_is_a_checkpoint_that_may_stand_inside_a_transaction() {
        let theirs =
            checkpoint(r#"{"binlogFilename":"binlog.000001","offset":135547028,"rowsToSkip":0}"#);
        let resume = theirs.resume().unwrap();
        assert_eq!(resume.coordinates.to_string(), "binlog.000001:135547028");
        assert_eq!((resume.is_boundary, resume.server_uuid, resume.gtid_set), (false, None, None));
    }

    #[test]
    fn a_place_that_no_row_precedes_is_a_boundary_only_when_its_file_was_read_up_to_it() {
        let is_boundary = |fields: &str| {
            let place = r#""binlogFilename":"binlog.000001","offset":4711,"rowsToSkip":0"#;
            checkpoint(&format!("{{{place}{fields}}}")).resume().unwrap().is_boundary
        };
        assert!(!is_boundary(r#","generation":7"#));
        assert!(is_boundary(r#","generation":7,"sequence":1"#));
        assert!(is_boundary(r#","generation":7,"binlogTimestamp":1700000000"#));
        assert!(!is_boundary(r#","sequence":1,"binlogTimestamp":1700000000"#));
    }

    #[test]
    fn the_fields_stand_in_their_order_and_unknown_ones_are_accepted() {
        let place = Place {
            coordinates: "binlog.000003:2960".parse().unwrap(),
            gtid_set: None,
            file_timestamp: None,
        };
        let mut ours = Checkpoint::place(&place, 0, None);
        ours.generation = Some(7);
        let json = String::from_utf8(ours.to_json()).unwrap();
        assert!(json.starts_with(
            r#"{"binlogFilename":"binlog.000003","offset":2960,"rowsToSkip":0,"rowsDone":0,"generation":7,"#
        ));
        let later = json.replacen('{', r#"{"aFieldOfTheFuture":1,"#, 1);
        assert_eq!(checkpoint(&later), ours);
        ours.format = Some(FORMAT);
        let json = String::from_utf8(ours.to_json()).unwrap();
        assert!(json.starts_with(r#"{"format":1,"binlogFilename":"#), "{json}");
    }

    #[test]
    fn the_later_checkpoint_is_the_one_of_the_later_generation_then_sequence_then_place() {
        let with = |generation: Option<u64>, sequence: u64, file: &str| {
            let mut checkpoint =
                checkpoint(&format!(r#"{{"binlogFilename":"{file}","offset":4,"rowsToSkip":0}}"#));
            (checkpoint.generation, checkpoint.sequence) = (generation, sequence);
            checkpoint
        };
        let ascending = [
            with(None, 0, "binlog.000009"),
            with(Some(1), 9, "binlog.000009"),
            with(Some(2), 1, "binlog.000001"),
            with(Some(2), 2, "binlog.999999"),
            with(Some(2), 2, "binlog.1000000"),
        ];
        for (earlier, later) in ascending.iter().zip(&ascending[1..]) {
            assert!(later.is_later_than(earlier) && !earlier.is_later_than(later));
        }
    }

    fn tail(last: Last, millis: i64) -> Tail {
        Tail { last: Some(last), millis: Some(millis), unreadable: None }
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_counts_until_a_later_one_is_there() {
        let options = Options { topic: "t".to_owned(), key: "k".to_owned() };
        let good = |millis| {
            let place = r#"{"binlogFilename":"binlog.000001","offset":4,"rowsToSkip":0}"#;
            tail(Last::Checkpoint(Box::new(checkpoint(place))), millis)
        };
        let damaged = |millis| {
            let problem = Problem::Damaged("cut off".to_owned());
            tail(Last::Damaged(Damaged { offset: 7, problem }), millis)
        };
        let choose = |tails: [Tail; 2]| choose(&options, (0..).zip(tails).collect());
        for tails in [[good(5), damaged(5)], [damaged(6), good(5)], [good(5), damaged(9)]] {
            let error = choose(tails).unwrap_err();
            assert!(matches!(error, Error::Damaged { offset: 7, .. }), "{error:?}");
        }
        assert!(choose([damaged(4), good(5)]).unwrap().is_some());
        // A tombstone in one partition does not forget what stands in another.
        assert!(choose([damaged(4), tail(Last::Tombstone, 5)]).is_err());
        let problem = Problem::Later { format: 2, relay_version: None };
        let later = tail(Last::Damaged(Damaged { offset: 7, problem }), 9);
        let error = choose([good(5), later]).unwrap_err();
        assert!(error.to_string().contains("has format 2"), "{error}");
    }
}
