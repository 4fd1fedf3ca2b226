//! GTIDs and sets of them: text in, set algebra, text out as MySQL prints it.
//!
//! Source of the text formats: <https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html>.
//! A set holds, for each server and tag, its intervals sorted, disjoint and never adjacent, so that
//! two equal sets are equal values and print the same text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use self::intervals::Intervals;
use super::{Error, parse_digits};

mod intervals;

/// Largest transaction number of a GTID: MySQL counts in signed 64 bits and keeps the last one as end.
const GNO_MAX: u64 = i64::MAX as u64 - 1;

/// Longest tag, in characters.
const TAG_LENGTH_MAX: usize = 32;

/// A line of text has so many intervals of a set at most.
const INTERVALS_SHOWN_MAX: usize = 20;

/// A `server_uuid`, printed in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The UUID of these bytes, the first one first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, the first one first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Where the dashes stand in the text of a UUID.
const DASHES: [usize; 4] = [8, 13, 18, 23];

impl FromStr for Uuid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Uuid(text.to_owned());
        if text.len() != 36 || DASHES.iter().any(|&at| text.as_bytes()[at] != b'-') {
            return Err(malformed());
        }
        let mut digits = text.chars().filter(|&c| c != '-').map(|c| c.to_digit(16));
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(malformed());
            };
            *byte = u8::try_from(high << 4 | low).expect("two hexadecimal digits are one byte");
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The tag of a GTID (MySQL 8.3 and later), in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as GTIDs are printed with it, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let first_is_legal = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let rest_is_legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if first_is_legal && rest_is_legal && text.len() <= TAG_LENGTH_MAX {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(Error::Tag(text.to_owned()))
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who numbers transactions: a server, and perhaps a tag. Sorts as MySQL prints: by UUID, the
/// untagged ones first, then by tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Origin {
    uuid: Uuid,
    tag: Option<Tag>,
}

/// The name of one transaction. Its number is between 1 and 2^63 - 2.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    origin: Origin,
    gno: u64,
}

impl Gtid {
    /// `None` if the number is out of range.
    #[must_use]
    pub fn new(uuid: Uuid, tag: Option<Tag>, gno: u64) -> Option<Self> {
        let origin = Origin { uuid, tag };
        (1..=GNO_MAX).contains(&gno).then_some(Self { origin, gno })
    }

    /// The server that committed the transaction first.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.origin.uuid
    }

    /// The tag (MySQL 8.3 and later).
    #[must_use]
    pub fn tag(&self) -> Option<&Tag> {
        self.origin.tag.as_ref()
    }

    /// The transaction's number, counted from 1.
    #[must_use]
    pub fn gno(&self) -> u64 {
        self.gno
    }
}

impl FromStr for Gtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Gtid(text.to_owned());
        let (origin, gno) = text.trim().rsplit_once(':').ok_or_else(malformed)?;
        let (uuid, tag) = match origin.split_once(':') {
            Some((uuid, tag)) => (uuid, Some(tag.trim().parse()?)),
            None => (origin, None),
        };
        let gno = parse_digits(gno.trim()).ok_or_else(malformed)?;
        Self::new(uuid.trim().parse()?, tag, gno).ok_or_else(malformed)
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.origin.uuid)?;
        if let Some(tag) = &self.origin.tag {
            write!(f, "{tag}:")?;
        }
        write!(f, "{}", self.gno)
    }
}

impl fmt::Debug for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Transaction numbers from `first` to `last`, both included, `first <= last <= GNO_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Interval {
    first: u64,
    last: u64,
}

impl Interval {
    fn new(first: u64, last: u64) -> Option<Self> {
        (1 <= first && first <= last && last <= GNO_MAX).then_some(Self { first, last })
    }
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let bounds = (parse_digits(first.trim()), parse_digits(last.trim()));
        match bounds {
            // MySQL takes 5-1 for nothing at all; here it is what it most likely is, a slip.
            (Some(first), Some(last)) => Self::new(first, last),
            _ => None,
        }
        .ok_or_else(|| Error::Interval(text.to_owned()))
    }
}

/// A set of GTIDs, such as `@@gtid_executed`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct GtidSet(BTreeMap<Origin, Intervals>);

impl GtidSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no GTID is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this GTID is in it.
    #[must_use]
    pub fn contains(&self, gtid: &Gtid) -> bool {
        self.0.get(&gtid.origin).is_some_and(|intervals| intervals.contains(gtid.gno))
    }

    /// Adds one GTID and answers whether it is new. Constant time for the number that follows the
    /// greatest of its origin, which is what a binlog brings.
    pub fn insert(&mut self, gtid: Gtid) -> bool {
        self.0.entry(gtid.origin).or_default().insert(gtid.gno)
    }

    /// How many intervals there are: what the length of the text goes with.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.0.values().map(Intervals::len).sum()
    }

    /// The text for people: a long one ends with how many intervals it has.
    #[must_use]
    pub fn in_short(&self) -> String {
        let intervals = self.intervals();
        if intervals <= INTERVALS_SHOWN_MAX {
            return self.to_string();
        }
        let mut left = INTERVALS_SHOWN_MAX;
        let mut shown = Self::new();
        for (origin, numbers) in &self.0 {
            let first: Vec<_> = numbers.iter().copied().take(left).collect();
            left -= first.len();
            shown.add(origin.clone(), first.into_iter());
        }
        format!("{shown} and more, {intervals} intervals in all")
    }

    /// Whether each of its GTIDs is in the other set.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|(origin, intervals)| {
            other.0.get(origin).is_some_and(|others| intervals.is_subset_of(others))
        })
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut difference = Self::new();
        for (origin, intervals) in &self.0 {
            let rest = match other.0.get(origin) {
                Some(others) => intervals.without(others),
                None => intervals.clone(),
            };
            if !rest.is_empty() {
                difference.0.insert(origin.clone(), rest);
            }
        }
        difference
    }

    /// What is in `self`, in `other` or in both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for (origin, intervals) in &other.0 {
            union.add(origin.clone(), intervals.iter().copied());
        }
        union
    }

    /// Adds intervals given as pairs of first and last, both included. `None` if a pair is out of
    /// range or the wrong way round.
    pub(super) fn add_pairs(
        &mut self,
        uuid: Uuid,
        tag: Option<Tag>,
        pairs: impl Iterator<Item = (u64, u64)>,
    ) -> Option<()> {
        let intervals: Option<Vec<_>> =
            pairs.map(|(first, last)| Interval::new(first, last)).collect();
        self.add(Origin { uuid, tag }, intervals?.into_iter());
        Some(())
    }

    fn add(&mut self, origin: Origin, intervals: impl Iterator<Item = Interval>) {
        let mut intervals: Vec<_> = intervals.collect();
        if intervals.is_empty() {
            return;
        }
        let entry = self.0.entry(origin).or_default();
        intervals.extend(entry.iter());
        *entry = Intervals::of(intervals);
    }
}

impl FromIterator<Gtid> for GtidSet {
    fn from_iter<I: IntoIterator<Item = Gtid>>(gtids: I) -> Self {
        let mut set = Self::new();
        for gtid in gtids {
            set.insert(gtid);
        }
        set
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    /// Reads what MySQL prints and what people write: line breaks, blanks, upper case, a server twice,
    /// intervals in any order. An empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut read: BTreeMap<Origin, Vec<Interval>> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut items = part.split(':').map(str::trim);
            let uuid: Uuid = items.next().unwrap_or_default().parse()?;
            let mut tag = None;
            let mut interval_is_due = true;
            for item in items {
                if item.starts_with(|c: char| c.is_ascii_digit()) {
                    let origin = Origin { uuid, tag: tag.clone() };
                    read.entry(origin).or_default().push(item.parse()?);
                    interval_is_due = false;
                } else if tag.is_some() && interval_is_due {
                    return Err(Error::NoInterval(part.to_owned()));
                } else {
                    tag = Some(item.parse()?);
                    interval_is_due = true;
                }
            }
            if interval_is_due {
                return Err(Error::NoInterval(part.to_owned()));
            }
        }
        let sets = read.into_iter().map(|(origin, numbers)| (origin, Intervals::of(numbers)));
        Ok(Self(sets.collect()))
    }
}

impl fmt::Display for GtidSet {
    /// As MySQL prints it, without the line break that `@@gtid_executed` has after each comma.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed: Option<Uuid> = None;
        for (origin, intervals) in &self.0 {
            if printed != Some(origin.uuid) {
                let separator = if printed.is_some() { "," } else { "" };
                write!(f, "{separator}{}", origin.uuid)?;
                printed = Some(origin.uuid);
            }
            if let Some(tag) = &origin.tag {
                write!(f, ":{tag}")?;
            }
            for Interval { first, last } in intervals.iter() {
                write!(f, ":{first}")?;
                if first < last {
                    write!(f, "-{last}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
pub(super) mod tests;
