//! Table names in `[[outbox]]`: `database.table`, where a `*` in either name stands for any number of characters. Text
//! in backticks is taken literally.

use std::fmt;
use std::str::FromStr;

use super::{Error, ghost};
use crate::binlog::server::SYSTEM_DATABASES;

/// Longest name of a database or a table in MySQL, in characters.
/// <https://dev.mysql.com/doc/refman/8.4/en/identifier-length.html>
const NAME_CHARS_MAX: usize = 64;

/// The tables of an `[[outbox]]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TablePattern {
    database: Name,
    table: Name,
    /// Compare without case: the names here are in lower case.
    folds_case: bool,
}

impl TablePattern {
    /// Whether rows of the table are relayed. A `*` in the name of the table does not stand for the copies that
    /// a tool makes while it alters a table: see [`TablePattern::leaves_out`].
    #[must_use]
    pub fn matches(&self, database: &str, table: &str) -> bool {
        self.covers(database, table) && !self.takes_for_ghost(table)
    }

    /// Whether the table would be relayed, were it not the copy that a tool makes while it alters a table.
    #[must_use]
    pub fn leaves_out(&self, database: &str, table: &str) -> bool {
        self.takes_for_ghost(table) && self.covers(database, table)
    }

    /// The name is one that a tool gives, and the pattern does not spell it out itself.
    fn takes_for_ghost(&self, table: &str) -> bool {
        ghost::is_ghost(table)
            && !self.table.is_literal()
            && !ghost::is_ghost(&self.table.pieces.join("x"))
    }

    fn covers(&self, database: &str, table: &str) -> bool {
        // No `*` stands for the server's own databases.
        if SYSTEM_DATABASES.contains(&database) && !self.database.is_literal() {
            return false;
        }
        let is_upper = |name: &str| name.contains(|c: char| c.is_uppercase());
        if self.folds_case && (is_upper(database) || is_upper(table)) {
            return self.database.matches(&lower_case(database))
                && self.table.matches(&lower_case(table));
        }
        self.database.matches(database) && self.table.matches(table)
    }

    /// Whether it names exactly one table.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.literal().is_some()
    }

    /// Database and table, if it names exactly one.
    #[must_use]
    pub fn literal(&self) -> Option<(&str, &str)> {
        match (self.database.pieces.as_slice(), self.table.pieces.as_slice()) {
            ([database], [table]) => Some((database, table)),
            _ => None,
        }
    }

    /// What stands between the stars of the database's name, and of the table's.
    #[must_use]
    pub fn pieces(&self) -> (&[String], &[String]) {
        (&self.database.pieces, &self.table.pieces)
    }

    /// Both names as written.
    #[must_use]
    pub fn names(&self) -> [String; 2] {
        [self.database.to_string(), self.table.to_string()]
    }

    /// There is a `*` in the name of the table.
    #[must_use]
    pub fn has_star_in_table(&self) -> bool {
        !self.table.is_literal()
    }

    /// The same for a server that ignores case.
    #[must_use]
    pub fn folded(&self) -> TablePattern {
        TablePattern {
            database: self.database.folded(),
            table: self.table.folded(),
            folds_case: true,
        }
    }
}

impl FromStr for TablePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let names = || {
            let [database, table] = split_at_dots(text)?.try_into().ok()?;
            Some((Name::parse(database)?, Name::parse(table)?))
        };
        match names() {
            Some((database, table)) => Ok(Self { database, table, folds_case: false }),
            None => Err(Error::Table { given: text.to_owned(), meant: readings(text) }),
        }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

impl fmt::Debug for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The parts between the dots outside backticks; `None` if a backtick is not closed.
fn split_at_dots(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut is_quoted) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            // A doubled one closes and opens again.
            '`' => is_quoted = !is_quoted,
            '.' if !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

/// What a text with too many dots may have meant.
fn readings(text: &str) -> Vec<String> {
    let parts = split_at_dots(text).unwrap_or_default();
    let in_backticks = |parts: &[&str]| match parts {
        [part] => (*part).to_owned(),
        parts => format!("`{}`", parts.join(".").replace('`', "")),
    };
    let reading = |dot| format!("{}.{}", in_backticks(&parts[..dot]), in_backticks(&parts[dot..]));
    let is_pattern = |text: &String| text.parse::<TablePattern>().is_ok();
    // More dots than a person can have meant.
    let dots = if (3..=5).contains(&parts.len()) { 1..parts.len() } else { 0..0 };
    dots.rev().map(reading).filter(is_pattern).collect()
}

/// Lower case as MySQL compares names: character by character.
fn lower_case(name: &str) -> String {
    name.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// A name: pieces, and between each two of them any characters.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    /// At least one. No two stars follow each other: two mean what one means, and one spelling keeps the
    /// fingerprint the same.
    pieces: Vec<String>,
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        let mut pieces = vec![String::new()];
        let mut is_quoted = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let last = pieces.last_mut()?;
            match c {
                '`' if is_quoted && chars.next_if_eq(&'`').is_some() => last.push('`'),
                '`' => is_quoted = !is_quoted,
                '*' if !is_quoted => {
                    if pieces.len() == 1 || pieces.last().is_some_and(|last| !last.is_empty()) {
                        pieces.push(String::new());
                    }
                }
                c => last.push(c),
            }
        }
        let chars: usize = pieces.iter().map(|piece| piece.chars().count()).sum();
        let is_name = !is_quoted && text.trim() == text && chars <= NAME_CHARS_MAX;
        (is_name && (chars > 0 || pieces.len() > 1)).then_some(Name { pieces })
    }

    fn is_literal(&self) -> bool {
        self.pieces.len() == 1
    }

    fn folded(&self) -> Name {
        Name { pieces: self.pieces.iter().map(|piece| lower_case(piece)).collect() }
    }

    fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.pieces[0] == name;
        };
        let Some(name) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        let Some(mut name) = name.strip_suffix(last.as_str()) else {
            return false;
        };
        // The first place where a piece fits leaves the most for the pieces after it.
        for piece in middle {
            match name.find(piece.as_str()) {
                Some(at) => name = &name[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                f.write_str("*")?;
            }
            if piece.contains(['.', '*', '`']) || piece.trim() != piece {
                write!(f, "`{}`", piece.replace('`', "``"))?
            } else {
                f.write_str(piece)?
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> TablePattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_matches_within_one_name() {
        for (text, matching, other) in [
            (
                "eventuate.events",
                &[("eventuate", "events")][..],
                &[
                    ("eventuate", "event"),
                    ("Eventuate", "events"),
                    ("eventuate", "Events"),
                    ("", ""),
                ][..],
            ),
            (
                "tenant_*.events",
                &[("tenant_1", "events"), ("tenant_", "events")],
                &[("tenant", "events"), ("tenant_1", "events2")],
            ),
            ("*.*", &[("a", "b"), ("a.b", "c.d")], &[]),
            (
                "a.x*y*z",
                &[("a", "xyz"), ("a", "x1y2yz"), ("a", "xyyz")],
                &[("a", "xz"), ("a", "xzy"), ("a", "xy")],
            ),
            ("a.ab*ba", &[("a", "abba"), ("a", "ab_ba")], &[("a", "aba")]),
            ("a.*é*", &[("a", "é"), ("a", "xéy")], &[("a", "e")]),
        ] {
            for (database, table) in matching {
                assert!(
                    pattern(text).matches(database, table),
                    "{text} must match {database}.{table}"
                );
            }
            for (database, table) in other {
                assert!(
                    !pattern(text).matches(database, table),
                    "{text} must not match {database}.{table}"
                );
            }
        }
        assert!(pattern("a.b").is_literal());
        assert!(!pattern("a.b*").is_literal());
        assert!(!pattern("*.b").is_literal());
    }

    #[test]
    fn what_is_in_backticks_stands_for_itself() {
        for (text, database, table) in [
            ("`a.b`.`c*`", "a.b", "c*"),
            ("`shop.eu`.events", "shop.eu", "events"),
            ("shop.`events`", "shop", "events"),
            ("`shop`.`my``table`", "shop", "my`table"),
            ("`a``.``b`.c", "a`.`b", "c"),
            ("shop.pre`.`post", "shop", "pre.post"),
            ("shop.` lead`", "shop", " lead"),
            ("mein laden.tabelle", "mein laden", "tabelle"),
            ("`😀-x`.`été`", "😀-x", "été"),
            ("````.`*`", "`", "*"),
        ] {
            assert_eq!(pattern(text).literal(), Some((database, table)), "{text}");
            assert!(pattern(text).matches(database, table), "{text}");
            assert_eq!(pattern(&pattern(text).to_string()), pattern(text), "{text}");
        }
        let half = pattern("`a.b`.*");
        assert!(half.matches("a.b", "x") && !half.matches("a", "b.x"));
        let within = pattern("shop.`v1.`*`*`");
        assert!(within.matches("shop", "v1.x*") && !within.matches("shop", "v1.x"));
        assert_eq!(pattern("`shop`.`events`").to_string(), "shop.events");
        assert_eq!(pattern("`a.b`.`c*`").to_string(), "`a.b`.`c*`");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for text in [
            "",
            "events",
            ".events",
            "eventuate.",
            "a.b.c",
            "a. b",
            "a .b",
            "`a.b",
            "a.b`",
            "``.b",
            "`a.b`",
            "a.`b` ",
            &format!("a.{}", "x".repeat(65)),
        ] {
            assert!(text.parse::<TablePattern>().is_err(), "{text}");
        }
        let longest = format!("a.{}*", "é".repeat(64));
        assert_eq!(pattern(&longest).to_string(), longest);
    }

    #[test]
    fn a_dot_too_many_is_answered_with_what_may_be_meant() {
        let meant = |text: &str| match text.parse::<TablePattern>() {
            Err(Error::Table { meant, .. }) => meant,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(meant("shop.eu.events"), ["`shop.eu`.events", "shop.`eu.events`"]);
        assert_eq!(meant("`shop`.eu.events"), ["`shop.eu`.events", "`shop`.`eu.events`"]);
        assert_eq!(meant("events"), Vec::<String>::new());
        assert_eq!(meant("a..b"), ["`a.`.b", "a.`.b`"]);
        assert_eq!(meant("`a.b"), Vec::<String>::new());
    }

    #[test]
    fn a_server_that_folds_letter_case_matches_as_it_stores() {
        let folded = pattern("Shop.Events*É").folded();
        for (database, table) in [("shop", "events_é"), ("SHOP", "EventsXÉ"), ("Shop", "eventsé")]
        {
            assert!(folded.matches(database, table), "{database}.{table}");
        }
        assert!(!folded.matches("shop", "event"));
        assert!(!pattern("Shop.Events").matches("shop", "events"));
        assert_eq!(pattern("Shop.Events").folded().literal(), Some(("shop", "events")));
    }

    #[test]
    fn a_star_does_not_stand_for_the_copies_of_a_schema_change() {
        for (text, database, table, expected) in [
            ("shop.*", "shop", "events", (true, false)),
            ("shop.*", "shop", "_events_gho", (false, true)),
            ("shop.*", "other", "_events_gho", (false, false)),
            ("shop.*events*", "shop", "_events_new", (false, true)),
            ("shop.*events", "shop", "_events_new", (false, false)),
            // What a person names is meant.
            ("shop._events_gho", "shop", "_events_gho", (true, false)),
            ("*._events_gho", "shop", "_events_gho", (true, false)),
        ] {
            let pattern = pattern(text);
            let is = (pattern.matches(database, table), pattern.leaves_out(database, table));
            assert_eq!(is, expected, "{text}: {database}.{table}");
        }
    }

    /// The textbook's matcher: slow, and hard to get wrong.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
            ([p, rest @ ..], [n, others @ ..]) => p == n && naive(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_that_of_the_textbook(pattern in "[ab*]{1,8}", name in "[ab]{0,8}") {
            let (p, n): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(Name::parse(&pattern).unwrap().matches(&name), naive(&p, &n));
        }

        #[test]
        fn a_printed_pattern_is_read_back(text in "[a-z*_]{1,20}\\.[a-z*_]{1,20}") {
            let read = pattern(&text);
            prop_assert_eq!(read.to_string().parse::<TablePattern>().unwrap(), read);
        }

        #[test]
        fn any_name_can_be_written(database in "[a*.` é]{1,10}", table in "[a*.` é]{1,10}") {
            let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
            let read = pattern(&format!("{}.{}", quoted(&database), quoted(&table)));
            prop_assert_eq!(read.literal(), Some((database.as_str(), table.as_str())));
            prop_assert_eq!(pattern(&read.to_string()), read);
        }

        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "[a*.` ]{0,12}") {
            let _ = text.parse::<TablePattern>();
        }
    }
}
