//! Offsets of Debezium's MySQL connector, as Kafka Connect stores them: a key `["connector",{"server":"prefix"}]`, and a
//! value with the place.
//!
//! `file` and `pos` are the beginning of a transaction's BEGIN event, behind its GTID event; outside of a transaction,
//! the end of the last event. `event` counts the events from BEGIN on that are done, `row` the rows of the next event.
//! `gtids` are all transactions before (Debezium's BinlogOffsetContext).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::Error;
use crate::config::OffsetsOf;
use crate::coordinates::{Coordinates, GtidSet, StartFrom};
use crate::sink::kafka::LastValues;

/// Where a connector stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebeziumOffset {
    pub connector: String,
    pub at: Coordinates,
    /// Events of the transaction there, from its BEGIN on, that are done.
    pub events_done: u64,
    /// Rows of the next event that are done.
    pub rows_done: u64,
    pub gtid_set: Option<GtidSet>,
}

#[derive(Deserialize)]
struct Value {
    file: String,
    #[serde(deserialize_with = "number")]
    pos: u64,
    #[serde(default, deserialize_with = "number")]
    event: u64,
    #[serde(default, deserialize_with = "number")]
    row: u64,
    #[serde(default)]
    gtids: Option<String>,
    #[serde(default)]
    snapshot: Option<Json>,
    #[serde(default)]
    snapshot_completed: Option<Json>,
}

/// Some versions store numbers as texts.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Json::deserialize(deserializer)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| serde::de::Error::custom(format!("{value} is no position")))
}

impl DebeziumOffset {
    /// Finds the offset of a connector among the records of the topic.
    ///
    /// # Errors
    /// There is none, or several, or it is no place to go on from.
    pub fn find(of: &OffsetsOf, records: &LastValues) -> Result<DebeziumOffset, Error> {
        let mut known: BTreeMap<(String, String), &[u8]> = BTreeMap::new();
        for (key, (_, value)) in records {
            let (Some(key), Some(value)) = (names(key), value) else { continue };
            if is_of_mysql(value) {
                known.insert(key, value);
            }
        }
        let is_wanted = |(connector, server): &(String, String)| {
            of.connector.as_ref().is_none_or(|wanted| {
                wanted == connector || *wanted == format!("{connector}/{server}")
            })
        };
        let topic = || of.topic.clone();
        let names = |known: &BTreeMap<(String, String), &[u8]>| {
            let names: Vec<_> =
                known.keys().map(|(connector, server)| format!("{connector}/{server}")).collect();
            names.join(", ")
        };
        let all = names(&known);
        known.retain(|key, _| is_wanted(key));
        let several = names(&known);
        let mut found = known.into_iter();
        match (found.next(), found.next()) {
            (Some(((connector, _), value)), None) => DebeziumOffset::parse(connector, value, of),
            (Some(_), Some(_)) => Err(Error::Several { topic: topic(), known: several }),
            (None, _) => {
                Err(Error::NoOffset { topic: topic(), connector: of.connector.clone(), known: all })
            }
        }
    }

    fn parse(connector: String, value: &[u8], of: &OffsetsOf) -> Result<DebeziumOffset, Error> {
        let unreadable = |what: String| Error::Unreadable {
            topic: of.topic.clone(),
            connector: connector.clone(),
            what,
        };
        let value: Value =
            serde_json::from_slice(value).map_err(|error| unreadable(error.to_string()))?;
        let is_true = |json: &Json| {
            json == &Json::Bool(true)
                || json.as_str().is_some_and(|it| it.eq_ignore_ascii_case("true"))
        };
        let is_false = |json: &Json| {
            json.is_null()
                || json == &Json::Bool(false)
                || json.as_str().is_some_and(|it| it.eq_ignore_ascii_case("false"))
        };
        let is_snapshot = value.snapshot.as_ref().is_some_and(|it| !is_false(it));
        if is_snapshot && !value.snapshot_completed.as_ref().is_some_and(is_true) {
            return Err(Error::Snapshot { connector });
        }
        let at = Coordinates::new(value.file.as_str(), value.pos)
            .map_err(|error| unreadable(error.to_string()))?;
        let gtids = value.gtids.filter(|set| !set.trim().is_empty());
        let gtid_set = gtids
            .map(|set| set.parse())
            .transpose()
            .map_err(|error: crate::coordinates::Error| unreadable(error.to_string()))?;
        if value.event == 0 && value.row > 0 {
            return Err(Error::Elsewhere {
                connector,
                at,
                what: "it counts rows, and no event that begins their transaction, as in an XA transaction".to_owned(),
            });
        }
        let (events_done, rows_done) = (value.event, value.row);
        Ok(DebeziumOffset { connector, at, events_done, rows_done, gtid_set })
    }

    /// Something of the transaction at the place is done: more than its BEGIN.
    pub fn is_inside_transaction(&self) -> bool {
        self.events_done > 1 || self.rows_done > 0
    }

    /// Where reading begins. Debezium itself goes by GTIDs where there are some.
    pub fn start_from(&self, has_gtids: bool) -> StartFrom {
        match &self.gtid_set {
            Some(set) if has_gtids => StartFrom::Gtid(set.clone()),
            _ => StartFrom::Coordinates(self.at.clone()),
        }
    }
}

/// Connector and server of a key.
fn names(key: &[u8]) -> Option<(String, String)> {
    let (connector, partition): (String, serde_json::Map<String, Json>) =
        serde_json::from_slice(key).ok()?;
    Some((connector, partition.get("server")?.as_str()?.to_owned()))
}

/// Connectors of other databases store other fields.
fn is_of_mysql(value: &[u8]) -> bool {
    let value: Option<serde_json::Map<String, Json>> = serde_json::from_slice(value).ok();
    value.is_some_and(|value| value.contains_key("file") && value.contains_key("pos"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(records: &[(&str, Option<&str>)]) -> LastValues {
        let bytes = |text: &str| text.as_bytes().to_vec();
        records.iter().map(|(key, value)| (bytes(key), (None, value.map(bytes)))).collect()
    }

    fn of(connector: Option<&str>) -> OffsetsOf {
        OffsetsOf { topic: "offsets".to_owned(), connector: connector.map(str::to_owned) }
    }

    fn found(value: &str) -> Result<DebeziumOffset, Error> {
        DebeziumOffset::find(&of(None), &records(&[(r#"["a",{"server":"p"}]"#, Some(value))]))
    }

    #[test]
    fn an_offset_says_what_of_the_transaction_is_done() {
        const SET: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
        for (value, events, rows, is_inside, gtids) in [
            (r#"{"file":"b.000003","pos":157}"#, 0, 0, false, false),
            (
                r#"{"ts_sec":1,"file":"b.000003","pos":157,"row":1,"server_id":1,"event":2}"#,
                2,
                1,
                true,
                false,
            ),
            (r#"{"file":"b.000003","pos":"157","event":1,"snapshot":false}"#, 1, 0, false, false),
            (
                r#"{"file":"b.000003","pos":157,"gtids":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","event":4}"#,
                4,
                0,
                true,
                true,
            ),
            (
                r#"{"file":"b.000003","pos":157,"gtids":"","transaction_id":null}"#,
                0,
                0,
                false,
                false,
            ),
            (
                r#"{"file":"b.000003","pos":157,"snapshot":"INITIAL","snapshot_completed":true}"#,
                0,
                0,
                false,
                false,
            ),
        ] {
            let offset = found(value).unwrap();
            assert_eq!(offset.at.to_string(), "b.000003:157");
            assert_eq!((offset.events_done, offset.rows_done), (events, rows), "{value}");
            assert_eq!(offset.is_inside_transaction(), is_inside, "{value}");
            let gtid_set = gtids.then(|| SET.parse().unwrap());
            assert_eq!(offset.gtid_set, gtid_set);
            let by_gtid =
                gtid_set.map_or(StartFrom::Coordinates(offset.at.clone()), StartFrom::Gtid);
            assert_eq!(offset.start_from(true), by_gtid);
            assert_eq!(offset.start_from(false), StartFrom::Coordinates(offset.at.clone()));
        }
    }

    #[test]
    fn what_is_no_place_to_go_on_from_is_refused() {
        for (value, words) in [
            (r#"{"file":"b.000003","pos":157,"snapshot":"INITIAL"}"#, "snapshot"),
            (r#"{"file":"b.000003","pos":157,"snapshot":true}"#, "snapshot"),
            (
                r#"{"file":"b.000003","pos":157,"snapshot":"true","snapshot_completed":false}"#,
                "snapshot",
            ),
            (r#"{"file":"b","pos":157}"#, "cannot be read"),
            (r#"{"file":"b.000003","pos":-1}"#, "cannot be read"),
            (r#"{"file":"b.000003","pos":157,"gtids":"x"}"#, "cannot be read"),
            (r#"{"file":"b.000003","pos":157,"row":2}"#, "XA"),
            (r#"{"lsn":5}"#, "no offset"),
            ("x", "no offset"),
        ] {
            let error = found(value).unwrap_err();
            assert!(error.to_string().contains(words), "{value}: {error}");
        }
    }

    #[test]
    fn the_connector_is_named_unless_it_is_the_only_one_of_mysql() {
        const PLACE: Option<&str> = Some(r#"{"file":"b.000003","pos":157}"#);
        let one = [
            (r#"["a",{"server":"p"}]"#, PLACE),
            (r#"["gone",{"server":"p"}]"#, None),
            (r#"["postgres",{"server":"q"}]"#, Some(r#"{"lsn":5}"#)),
            (r#"["mirror",{"cluster":"x"}]"#, Some("{}")),
            ("text", PLACE),
        ];
        let find = |connector, all: &[_]| DebeziumOffset::find(&of(connector), &records(all));
        assert_eq!(find(None, &one).unwrap().connector, "a");
        let error = find(Some("b"), &one).unwrap_err().to_string();
        assert!(error.contains("\"b\"") && error.contains("a/p"), "{error}");
        let mut two = one.to_vec();
        two.push((r#"["a",{"server":"q"}]"#, PLACE));
        let error = find(Some("a"), &two).unwrap_err().to_string();
        assert!(error.contains("a/p, a/q"), "{error}");
        assert_eq!(find(Some("a/q"), &two).unwrap().connector, "a");
        assert!(matches!(find(None, &two), Err(Error::Several { .. })));
        assert!(matches!(find(Some("postgres"), &two), Err(Error::NoOffset { .. })));
    }
}
