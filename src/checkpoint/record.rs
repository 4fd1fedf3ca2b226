//! Judges the bytes of a checkpoint record: a checkpoint, or what is wrong with it.
//!
//! A record that this version cannot read may still be the newest checkpoint: a later version wrote it, or it was
//! damaged. Skipping it would resume at an older position and repeat rows. The names of its fields tell such a record
//! from those of other producers.

use serde::Deserialize;

use super::Checkpoint;
use crate::coordinates::{self, FIRST_EVENT_OFFSET};
use crate::telemetry::clock::iso_8601_of_millis;

/// The `format` of this version. A record without the field is older than the field.
pub const FORMAT: u32 = 1;

/// The last millisecond of the year 9999. Generations are times, and a later one leaves no room to grow.
pub const GENERATION_MAX: u64 = 253_402_300_799_999;

/// Counts and offsets stay below 2^63, so that signed 64-bit readers can read them and additions never overflow.
pub const COUNT_MAX: u64 = i64::MAX as u64;

/// Longest name of a relay. Kafka allows longer ids; this leaves room for `-0` and stays readable.
pub const NAME_LENGTH_MAX: usize = 100;

/// Names of our fields, which no other producer uses by chance.
const MARKS: [&str; 6] = [
    "\"rowsDone\"",
    "\"generation\"",
    "\"instance\"",
    "\"outboxFingerprint\"",
    "\"relayVersion\"",
    "\"format\"",
];

/// The same of Eventuate CDC.
const EVENTUATE_MARKS: [&str; 2] = ["\"binlogFilename\"", "\"rowsToSkip\""];

/// Why a record is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No checkpoint, but a record of another producer.
    Strange(String),
    /// An unreadable record that looks like one of Eventuate CDC.
    Foreign(String),
    /// An unreadable record with the fields of ours.
    Damaged(String),
    /// A later version wrote it.
    Later { format: u64, relay_version: Option<String> },
}

/// Reads the value of a record. `kafka_millis`: the record's own time.
///
/// # Errors
/// It is no checkpoint that this version can read.
pub fn parse(payload: &[u8], kafka_millis: Option<i64>) -> Result<Checkpoint, Problem> {
    if let Ok(Head { format: Some(format), relay_version }) = serde_json::from_slice(payload)
        && format > u64::from(FORMAT)
    {
        return Err(Problem::Later { format, relay_version });
    }
    read(payload, kafka_millis).map_err(|what| {
        let text = String::from_utf8_lossy(payload);
        let has = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
        match (has(&MARKS), has(&EVENTUATE_MARKS)) {
            (true, _) => Problem::Damaged(what),
            (false, true) => Problem::Foreign(what),
            (false, false) => Problem::Strange(what),
        }
    })
}

/// The fields that no later version will change.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    format: Option<u64>,
    relay_version: Option<String>,
}

fn read(payload: &[u8], kafka_millis: Option<i64>) -> Result<Checkpoint, String> {
    let mut checkpoint: Checkpoint =
        serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if checkpoint.format.is_some_and(|format| format == 0) {
        return Err("format: there is no format 0".to_owned());
    }
    ensure_in_range(&checkpoint)?;
    ensure_names(&checkpoint)?;
    if checkpoint.has_unacknowledged_tail() && checkpoint.unacknowledged_since.is_none() {
        checkpoint.unacknowledged_since = kafka_millis.map(iso_8601_of_millis);
    }
    checkpoint.unacknowledged_since_millis()?;
    let resume = checkpoint.resume().map_err(|error| error.to_string())?;
    if resume.is_boundary && resume.coordinates.offset < FIRST_EVENT_OFFSET {
        return Err(coordinates::Error::BeforeFirstEvent(resume.coordinates).to_string());
    }
    checkpoint.open_gtid().map_err(|error| error.to_string())?;
    Ok(checkpoint)
}

fn ensure_in_range(checkpoint: &Checkpoint) -> Result<(), String> {
    for (name, number, max) in [
        ("offset", checkpoint.offset, COUNT_MAX),
        ("rowsToSkip", checkpoint.rows_to_skip, COUNT_MAX),
        ("rowsDone", checkpoint.rows_done, COUNT_MAX),
        ("sequence", checkpoint.sequence, COUNT_MAX),
        ("topicsCreated", checkpoint.topics_created, COUNT_MAX),
        ("generation", checkpoint.generation.unwrap_or_default(), GENERATION_MAX),
    ] {
        if number > max {
            return Err(format!("{name}: {number} is above {max}"));
        }
    }
    Ok(())
}

/// A relay's name is the beginning of transactional ids and of `relay-sequence`.
fn ensure_names(checkpoint: &Checkpoint) -> Result<(), String> {
    let is_legal = |name: &str| {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(is_legal)
    };
    let names = checkpoint.name.iter().chain(&checkpoint.unacknowledged_names);
    match names.into_iter().find(|name| !is_legal(name)) {
        Some(name) => Err(format!("name: {name:?} is no name of a relay")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &str = r#"{"format":1,"name":"orders","binlogFilename":"binlog.000003","offset":2960,"rowsToSkip":0,"rowsDone":0,"gtidSet":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","serverUuid":"3e11fa47-71ca-11e1-9e33-c80aa9429562","generation":1769860800000,"sequence":42,"delivery":"idempotent","instance":"i","outboxFingerprint":"f","clean":false,"unacknowledgedSince":"2026-01-31T12:00:00.000Z","recordedAt":"2026-01-31T12:00:00.000Z","relayVersion":"0.1.0"}"#;

    fn parse_text(text: &str) -> Result<Checkpoint, Problem> {
        parse(text.as_bytes(), Some(1_769_860_800_000))
    }

    fn damage(text: &str) -> String {
        match parse_text(text) {
            Err(Problem::Damaged(what)) => what,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_record_of_this_version_and_of_one_before_is_read() {
        let ours = parse_text(OURS).unwrap();
        assert_eq!((ours.format, ours.name.as_deref()), (Some(1), Some("orders")));
        let before = OURS.replace(r#""format":1,"name":"orders","#, "");
        let before = parse_text(&before).unwrap();
        assert_eq!((before.format, before.name), (None, None));
        let theirs = r#"{"binlogFilename":"binlog.000001","offset":135547028,"rowsToSkip":0}"#;
        assert_eq!(parse_text(theirs).unwrap().offset, 135_547_028);
        // A later version may add a field without a new format.
        let extended = OURS.replacen('{', r#"{"preparedXa":[{"xid":"x"}],"later":{"a":[1.5]},"#, 1);
        assert_eq!(parse_text(&extended).unwrap(), ours);
    }

    #[test]
    fn a_record_of_a_later_format_names_the_version_that_wrote_it() {
        let later = r#"{"format":2,"position":{"file":9},"offset":"all","relayVersion":"3.1.0"}"#;
        let problem = Problem::Later { format: 2, relay_version: Some("3.1.0".to_owned()) };
        assert_eq!(parse_text(later), Err(problem));
        let same_fields = OURS.replace(r#""format":1"#, r#""format":7"#);
        assert!(matches!(parse_text(&same_fields), Err(Problem::Later { format: 7, .. })));
        let huge = r#"{"format":18446744073709551615}"#;
        assert!(matches!(parse_text(huge), Err(Problem::Later { format: u64::MAX, .. })));
    }

    #[test]
    fn numbers_out_of_range_and_wrong_types_are_damage_in_words() {
        for (field, value) in [
            ("offset", "18446744073709551615"),
            ("offset", "18446744073709551616"),
            ("offset", "-1"),
            ("offset", "2960.0"),
            ("offset", "1e300"),
            ("offset", "\"2960\""),
            ("offset", "null"),
            ("offset", "3"),
            ("rowsToSkip", "18446744073709551615"),
            ("rowsDone", "9223372036854775808"),
            ("rowsDone", "-1"),
            ("sequence", "18446744073709551615"),
            ("sequence", "[]"),
            ("topicsCreated", "18446744073709551615"),
            ("generation", "18446744073709551615"),
            ("generation", "253402300800000"),
            ("generation", "-5"),
            ("format", "0"),
            ("format", "-1"),
            ("format", "\"1\""),
            ("format", "1.5"),
            ("name", "7"),
            ("name", "\"\""),
            ("name", "\"a b\""),
            ("unacknowledgedNames", "[\"a\\u0000\"]"),
            ("delivery", "\"at-most-once\""),
            ("clean", "\"no\""),
            ("binlogFilename", "\"binlog\""),
            ("binlogFilename", "\"binlog.99999999999999999999\""),
            ("gtidSet", "\"nonsense\""),
            ("serverUuid", "\"nonsense\""),
            ("unacknowledgedSince", "\"yesterday\""),
            ("unacknowledgedSince", "\"99999-01-01T00:00:00Z\""),
            ("unacknowledgedNames", "\"orders\""),
        ] {
            let mut json: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(OURS).unwrap();
            json.remove(field);
            let rest = serde_json::to_string(&json).unwrap();
            let record = rest.replacen('{', &format!("{{\"{field}\":{value},"), 1);
            assert!(!damage(&record).is_empty(), "{record}");
        }
    }

    #[test]
    fn a_field_that_stands_twice_is_damage() {
        for (field, twice) in [("offset", r#"{"offset":4,"#), ("format", r#"{"format":1,"#)] {
            let what = damage(&OURS.replacen('{', twice, 1));
            assert!(what.contains(&format!("duplicate field `{field}`")), "{what}");
        }
    }

    #[test]
    fn every_truncation_has_the_marks_but_the_shortest() {
        for length in r#"{"format""#.len()..OURS.len() {
            damage(&OURS[..length]);
        }
        let theirs = r#"{"binlogFilename":"binlog.000001","offs"#;
        assert!(matches!(parse_text(theirs), Err(Problem::Foreign(_))));
        for strange in ["", "{", "{}", "[]", "null", "7", "\u{0}garbage{", r#"{"offset":5}"#] {
            let problem = parse_text(strange);
            assert!(matches!(problem, Err(Problem::Strange(_))), "{strange}: {problem:?}");
        }
        assert!(matches!(parse(b"\xff\xfe{", None), Err(Problem::Strange(_))));
    }

    #[test]
    fn extreme_numbers_that_are_in_range_can_be_gone_on_from() {
        let extreme = OURS
            .replace(r#""sequence":42"#, &format!(r#""sequence":{COUNT_MAX}"#))
            .replace("1769860800000", &GENERATION_MAX.to_string());
        let checkpoint = parse_text(&extreme).unwrap();
        assert!(checkpoint.sequence.checked_add(1 << 62).is_some());
        assert!(checkpoint.generation.unwrap().checked_add(1).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes, Some(i64::MAX));
            let _ = parse(&bytes, Some(i64::MIN));
        }

        #[test]
        fn no_changed_byte_makes_it_panic(at in 0..OURS.len(), byte in any::<u8>()) {
            let mut bytes = OURS.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(checkpoint) = parse(&bytes, None) {
                prop_assert!(checkpoint.resume().is_ok());
            }
        }
    }
}
