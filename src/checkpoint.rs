//! The checkpoint: the position up to which rows are relayed, as one JSON record.
//!
//! Eventuate CDC can read our record, and we can read its.

mod partitions;
mod record;

use serde::{Deserialize, Serialize};

use crate::binlog::{Position, Resume};
use crate::coordinates::{self, Coordinates, Gtid, GtidSet, Uuid};
use crate::delivery::Delivery;
use crate::telemetry::clock::millis_of_iso_8601;

pub use self::partitions::PartitionCounts;
pub use self::record::{FORMAT, NAME_LENGTH_MAX, Problem, parse};

/// Where checkpoints are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointOptions {
    pub topic: String,
    /// The record's key. Relays with the same key take over from each other.
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
    /// Always 0 in ours, since Eventuate counts other rows with it.
    pub rows_to_skip: u64,
    /// Rows of the transaction starting here that are already in Kafka.
    #[serde(default)]
    pub rows_done: u64,
    /// That transaction, when `rows_done` is not 0 and the server has GTIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<String>,
    /// Every GTID before the position; missing unless complete.
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
    /// The last checkpoint of a drain.
    #[serde(default)]
    pub clean: bool,
    /// In `idempotent` delivery: Kafka may have rows after this position since this time. UTC, ISO 8601, milliseconds.
    /// Missing: since the record's own Kafka time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unacknowledged_since: Option<String>,
    /// Other names of relays that may have sent rows after this position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unacknowledged_names: Vec<String>,
    /// In `idempotent` delivery: partition counts of the topics that may have rows after this position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionCounts>,
    /// When it was written: UTC, ISO 8601, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_version: Option<String>,
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

    /// The position at which to resume.
    ///
    /// # Errors
    /// A field has an invalid value.
    pub fn resume(&self) -> Result<Resume, coordinates::Error> {
        let gtid_set: Option<GtidSet> = self.gtid_set.as_deref().map(str::parse).transpose()?;
        let server_uuid: Option<Uuid> = self.server_uuid.as_deref().map(str::parse).transpose()?;
        Ok(Resume {
            coordinates: Coordinates::new(self.binlog_filename.as_str(), self.offset)?,
            gtid_set,
            server_uuid,
            file_timestamp: self.binlog_timestamp,
            // A configured position, or one of Eventuate's, may be inside a transaction. A position after relayed
            // rows, or up to which the file was read, is a boundary.
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

    /// Kafka may already have rows after this position.
    pub fn has_unacknowledged_tail(&self) -> bool {
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

    /// The fields of the position.
    pub fn position(position: &Position, rows_done: u64, open_gtid: Option<&Gtid>) -> Checkpoint {
        let gtid_set = position.gtid_set.as_ref().map(ToString::to_string);
        Checkpoint { gtid_set, ..Checkpoint::position_without_set(position, rows_done, open_gtid) }
    }

    /// The same without the GTID set, which can be long.
    pub fn position_without_set(
        position: &Position,
        rows_done: u64,
        open_gtid: Option<&Gtid>,
    ) -> Checkpoint {
        Checkpoint {
            binlog_filename: position.coordinates.file().to_owned(),
            offset: position.coordinates.offset,
            rows_done,
            gtid: open_gtid.filter(|_| rows_done > 0).map(ToString::to_string),
            binlog_timestamp: position.file_timestamp,
            ..Checkpoint::default()
        }
    }

    /// Which of two partitions' last records is the later one: by generation, sequence, position, and time.
    #[must_use]
    pub fn is_later_than(&self, other: &Checkpoint) -> bool {
        let order = (self.generation, self.sequence).cmp(&(other.generation, other.sequence));
        let position =
            |checkpoint: &Checkpoint| checkpoint.resume().ok().map(|resume| resume.coordinates);
        let recorded = |checkpoint: &Checkpoint| checkpoint.recorded_at.clone();
        order.is_gt()
            || order.is_eq()
                && (position(self) > position(other)
                    || position(self) == position(other) && recorded(self) > recorded(other))
    }
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
            let position = r#""binlogFilename":"binlog.000001","offset":4711,"rowsToSkip":0"#;
            checkpoint(&format!("{{{position}{fields}}}")).resume().unwrap().is_boundary
        };
        assert!(!is_boundary(r#","generation":7"#));
        assert!(is_boundary(r#","generation":7,"sequence":1"#));
        assert!(is_boundary(r#","generation":7,"binlogTimestamp":1700000000"#));
        assert!(!is_boundary(r#","sequence":1,"binlogTimestamp":1700000000"#));
    }

    #[test]
    fn the_fields_stand_in_their_order_and_unknown_ones_are_accepted() {
        let position = Position {
            coordinates: "binlog.000003:2960".parse().unwrap(),
            gtid_set: None,
            file_timestamp: None,
        };
        let mut ours = Checkpoint::position(&position, 0, None);
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
}
