//! A position in the binlog: file and offset, or a GTID set.
//!
//! Texts come in (configuration, checkpoint, what the server prints) and event bodies come in; values
//! that can be compared and printed go out. Nothing here reads a clock, a file or a connection, and no
//! damaged byte makes it panic. [`Coordinates`] order only what can be ordered: two files of one base
//! name. Another base name is another history, so the answer is `None`.

mod gtid;
mod gtid_event;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use gtid::{Gtid, GtidSet, Tag, Uuid};
pub use gtid_event::{ANONYMOUS_GTID_LOG_EVENT, GTID_LOG_EVENT, GTID_TAGGED_LOG_EVENT, GtidEvent};

/// Offset of the first event of every binlog file: the four bytes before it are the magic number.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>
pub const FIRST_EVENT_OFFSET: u64 = 4;

/// Why a text or an event body is not a position in a binlog.
#[allow(missing_docs, reason = "each has its words")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no binlog file name; it ends in a dot and a number, as in binlog.000012")]
    FileName(String),
    #[error("{0:?} are no binlog coordinates; they look like binlog.000012:4711")]
    Coordinates(String),
    #[error("{0} is inside the file's first 4 bytes, which hold no event; the first offset is 4")]
    BeforeFirstEvent(Coordinates),
    #[error("{0:?} is no server UUID; it looks like 3e11fa47-71ca-11e1-9e33-c80aa9429562")]
    Uuid(String),
    #[error("{0:?} is no GTID tag; it is up to 32 letters, digits and underscores, no digit first")]
    Tag(String),
    #[error("{0:?} is no GTID; it looks like 3e11fa47-71ca-11e1-9e33-c80aa9429562:23")]
    Gtid(String),
    #[error("{0:?} is no interval of a GTID set; it looks like 5 or 1-5 and begins at 1 or later")]
    Interval(String),
    #[error("{0:?} in a GTID set names a server or a tag, but no interval after it")]
    NoInterval(String),
    #[error(
        "{0:?} is no place to start from; expected earliest, latest, binlog.000012:4711 or gtid:<set>"
    )]
    StartFrom(String),
    #[error(
        "gtid: without a set would start from the beginning; say earliest if that is what is meant"
    )]
    EmptyGtidSet,
    #[error("start from a snapshot is not in this version")]
    SnapshotNotInThisVersion,
    #[error("damaged {event} event: {what}")]
    Event { event: &'static str, what: &'static str },
}

/// A binlog file and the offset of a byte in it, as `SHOW BINARY LOGS` and the checkpoint name them.
///
/// Cheap to clone: the name is shared. The name always ends in a dot and a number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Coordinates {
    file: Arc<str>,
    /// Bytes from the beginning of the file. 64 bits wide: a file can grow past 4 GiB, although the
    /// `log_pos` of an event cannot.
    pub offset: u64,
}

impl Coordinates {
    /// # Errors
    /// [`Error::FileName`] unless the name ends in a dot and a number.
    pub fn new(file: impl Into<Arc<str>>, offset: u64) -> Result<Self, Error> {
        let file = file.into();
        match split_file_name(&file) {
            Some(_) => Ok(Self { file, offset }),
            None => Err(Error::FileName(file.to_string())),
        }
    }

    /// The coordinates of a file's first event, offset 4.
    ///
    /// # Errors
    /// [`Error::FileName`] unless the name ends in a dot and a number.
    pub fn start_of_file(file: impl Into<Arc<str>>) -> Result<Self, Error> {
        Self::new(file, FIRST_EVENT_OFFSET)
    }

    /// The same file at another offset.
    #[must_use]
    pub fn at(&self, offset: u64) -> Self {
        Self { file: Arc::clone(&self.file), offset }
    }

    /// The file's name as the server writes it, without a directory.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether the other file belongs to the same series, so that the two can be ordered.
    #[must_use]
    pub fn has_base_name_of(&self, other: &Self) -> bool {
        self.file_parts().0 == other.file_parts().0
    }

    fn file_parts(&self) -> (&str, u64) {
        split_file_name(&self.file).expect("the name was split once before it was stored")
    }
}

/// Base name and number of a binlog file. The number grows past six digits: 999999 is followed by
/// 1000000, which sorts before it as text.
fn split_file_name(file: &str) -> Option<(&str, u64)> {
    let (base, number) = file.rsplit_once('.')?;
    if base.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((base, number.parse().ok()?))
}

impl PartialOrd for Coordinates {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self.file == other.file {
            return Some(self.offset.cmp(&other.offset));
        }
        let ((base, number), (other_base, other_number)) = (self.file_parts(), other.file_parts());
        if base != other_base {
            return None;
        }
        match number.cmp(&other_number) {
            // binlog.12 and binlog.000012: the server never writes both.
            Ordering::Equal => None,
            order => Some(order),
        }
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl fmt::Debug for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Coordinates {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Coordinates(text.to_owned());
        let (file, offset) = text.trim().rsplit_once(':').ok_or_else(malformed)?;
        let offset = parse_digits(offset).ok_or_else(malformed)?;
        Self::new(file, offset)
    }
}

/// A number as servers print it. `u64::from_str` would take a plus sign too.
fn parse_digits(text: &str) -> Option<u64> {
    if text.bytes().next()?.is_ascii_digit() { text.parse().ok() } else { None }
}

/// Where a relay without a checkpoint begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// The oldest event that the server still has.
    Earliest,
    /// The end of the binlog at the moment of asking.
    Latest,
    /// A transaction boundary.
    Coordinates(Coordinates),
    /// The first transaction that is not in this set.
    Gtid(GtidSet),
}

impl FromStr for StartFrom {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            "snapshot" => return Err(Error::SnapshotNotInThisVersion),
            _ => {}
        }
        if let Some(set) = text.strip_prefix("gtid:") {
            let set: GtidSet = set.parse()?;
            return if set.is_empty() { Err(Error::EmptyGtidSet) } else { Ok(Self::Gtid(set)) };
        }
        if !text.contains(':') {
            return Err(Error::StartFrom(text.to_owned()));
        }
        let coordinates: Coordinates = text.parse()?;
        if coordinates.offset < FIRST_EVENT_OFFSET {
            Err(Error::BeforeFirstEvent(coordinates))
        } else {
            Ok(Self::Coordinates(coordinates))
        }
    }
}

impl fmt::Display for StartFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Coordinates(coordinates) => coordinates.fmt(f),
            Self::Gtid(set) => write!(f, "gtid:{set}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coordinates(text: &str) -> Coordinates {
        text.parse().unwrap()
    }

    #[test]
    fn coordinates_print_as_they_were_written() {
        let position = coordinates("binlog.000012:4711");
        assert_eq!(position.file(), "binlog.000012");
        assert_eq!(position.offset, 4711);
        assert_eq!(position.to_string(), "binlog.000012:4711");
        assert_eq!(
            Coordinates::start_of_file("mysql-bin.prod.000001").unwrap().to_string(),
            "mysql-bin.prod.000001:4"
        );
    }

    #[test]
    fn a_file_after_999999_comes_later_although_its_text_sorts_before() {
        assert!(coordinates("binlog.999999:900") < coordinates("binlog.1000000:4"));
        assert!(coordinates("binlog.000009:900") < coordinates("binlog.000010:4"));
        assert!(coordinates("binlog.000010:4") < coordinates("binlog.000010:5"));
        assert!(coordinates("binlog.000010:5000000000") > coordinates("binlog.000010:705032704"));
    }

    #[test]
    fn another_base_name_has_no_order() {
        let (one, other) = (coordinates("binlog.000001:4"), coordinates("mysql-bin.000002:4"));
        assert_eq!(one.partial_cmp(&other), None);
        assert!(!one.has_base_name_of(&other));
        assert_eq!(one.partial_cmp(&coordinates("binlog.1:4")), None);
        assert!(one.has_base_name_of(&coordinates("binlog.000002:4")));
    }

    #[test]
    fn what_is_not_coordinates_is_refused() {
        for text in [
            "",
            ":",
            "binlog:4",
            "binlog.000001",
            "binlog.000001:",
            "binlog.000001:x",
            "binlog.:4",
            ".000001:4",
            "binlog.000001:-4",
            "binlog.000001:+4",
            "binlog.+1:4",
            "binlog.000001:18446744073709551616",
            "binlog.99999999999999999999:4",
        ] {
            assert!(text.parse::<Coordinates>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn every_form_of_start_from_is_read_and_printed() {
        let set = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
        for text in ["earliest", "latest", "binlog.000012:4711", &format!("gtid:{set}")] {
            assert_eq!(text.parse::<StartFrom>().unwrap().to_string(), text);
        }
        assert_eq!(
            format!("gtid: {}", set.to_uppercase()).parse::<StartFrom>().unwrap(),
            StartFrom::Gtid(set.parse().unwrap())
        );
    }

    #[test]
    fn a_wrong_start_from_says_what_was_expected() {
        let message = |text: &str| text.parse::<StartFrom>().unwrap_err().to_string();
        assert_eq!(message("snapshot"), "start from a snapshot is not in this version");
        assert!(message("Earliest").contains("expected earliest, latest, binlog.000012:4711"));
        assert!(message("gtid:").contains("say earliest"));
        assert!(message("gtid:nonsense:1").contains("no server UUID"));
        assert!(message("binlog.000001:3").contains("the first offset is 4"));
        assert!(message("binlog:4711").contains("no binlog file name"));
    }

    fn any_coordinates() -> impl Strategy<Value = Coordinates> {
        ("(binlog|a\\.b|x)", 0..2_000_000u64, any::<u64>()).prop_map(|(base, number, offset)| {
            Coordinates::new(format!("{base}.{number:06}"), offset).unwrap()
        })
    }

    proptest! {
        #[test]
        fn printed_coordinates_are_read_back(position in any_coordinates()) {
            prop_assert_eq!(position.to_string().parse::<Coordinates>().unwrap(), position);
        }

        #[test]
        fn order_is_that_of_number_then_offset(one in any_coordinates(), other in any_coordinates()) {
            let key = |position: &Coordinates| {
                let (base, number) = position.file().rsplit_once('.').unwrap();
                (base.to_owned(), number.parse::<u64>().unwrap(), position.offset)
            };
            let (left, right) = (key(&one), key(&other));
            let expected = (left.0 == right.0).then(|| (left.1, left.2).cmp(&(right.1, right.2)));
            prop_assert_eq!(one.partial_cmp(&other), expected);
            prop_assert_eq!(one.partial_cmp(&other) == Some(Ordering::Equal), one == other);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<Coordinates>();
            let _ = text.parse::<StartFrom>();
        }
    }
}
