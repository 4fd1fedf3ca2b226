//! The time format of the checkpoint and `/status`.

use std::time::SystemTime;

pub use crate::binlog::clock::{CommitTime, ServerClock, micros_since_1970};

/// Formats a time as UTC, ISO 8601, milliseconds.
pub fn iso_8601(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    iso_8601_of_millis(at.as_millisecond())
}

/// The same for milliseconds since 1970.
pub fn iso_8601_of_millis(millis: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A commit time as RFC 3339 with microseconds, UTC.
pub fn rfc_3339(at: CommitTime) -> impl std::fmt::Display {
    let micros = i64::try_from(at.micros()).unwrap_or_default();
    let at = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
}

/// Parses the format of [`iso_8601`] to milliseconds since 1970.
///
/// # Errors
/// It is no time, or one without a zone.
pub fn millis_of_iso_8601(text: &str) -> Result<i64, jiff::Error> {
    text.parse().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        for millis in [0, 1_769_860_800_000, 1_769_860_800_789] {
            assert_eq!(millis_of_iso_8601(&iso_8601_of_millis(millis)).unwrap(), millis);
        }
        assert_eq!(iso_8601_of_millis(1_769_860_800_789), "2026-01-31T12:00:00.789Z");
        assert!(millis_of_iso_8601("yesterday").is_err());
    }
}
