//! A QUERY event: which kind of statement it is, and whether it names an outbox table.
//!
//! Under `binlog_format=ROW` the stream holds statements for BEGIN, COMMIT, savepoints, XA and DDL. A
//! session may still have logged a change as a statement; one that names an outbox table must be found,
//! because its rows are nowhere in the stream.

use memchr::memchr;

/// Bytes before the variable part of a QUERY event: thread id, execution time, length of the database name,
/// error code, length of the status variables
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html>).
const POST_HEADER_LEN: usize = 13;

/// An EXECUTE_LOAD_QUERY event has as many more: file id, two positions, and how to treat duplicates.
const LOAD_POST_HEADER_LEN: usize = POST_HEADER_LEN + 13;

/// What a statement does to the event group it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Begin,
    Commit,
    Rollback,
    RollbackTo,
    Savepoint,
    XaStart,
    XaEnd,
    /// XA COMMIT or XA ROLLBACK of a transaction that was prepared earlier.
    XaFinish,
    /// Rows that were added by a statement.
    Write,
    /// DDL, account management and whatever else stands alone.
    Other,
}

/// Database and text of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    pub database: &'a [u8],
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads the body of a QUERY event.
    pub fn parse(body: &'a [u8]) -> Option<Query<'a>> {
        Query::parse_after(body, POST_HEADER_LEN)
    }

    /// Reads the body of an EXECUTE_LOAD_QUERY event.
    pub fn parse_load(body: &'a [u8]) -> Option<Query<'a>> {
        Query::parse_after(body, LOAD_POST_HEADER_LEN)
    }

    fn parse_after(body: &'a [u8], post_header_len: usize) -> Option<Query<'a>> {
        let (post_header, rest) = body.split_at_checked(post_header_len)?;
        let database_len = usize::from(post_header[8]);
        let status_len = usize::from(u16::from_le_bytes([post_header[11], post_header[12]]));
        let rest = rest.get(status_len..)?;
        let (database, rest) = rest.split_at_checked(database_len)?;
        let (0, text) = rest.split_first().map(|(end, text)| (*end, text))? else { return None };
        Some(Query { database, text })
    }

    pub fn verb(&self) -> Verb {
        if self.text.eq_ignore_ascii_case(b"BEGIN") {
            return Verb::Begin;
        }
        let mut words = Words { rest: self.text };
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is = |word: &[u8], text: &str| word.eq_ignore_ascii_case(text.as_bytes());
        match first {
            _ if is(first, "BEGIN") => Verb::Begin,
            _ if is(first, "START") && is(second, "TRANSACTION") => Verb::Begin,
            _ if is(first, "COMMIT") => Verb::Commit,
            _ if is(first, "ROLLBACK") && second.is_empty() => Verb::Rollback,
            _ if is(first, "ROLLBACK") => Verb::RollbackTo,
            _ if is(first, "SAVEPOINT") => Verb::Savepoint,
            _ if is(first, "XA") && (is(second, "START") || is(second, "BEGIN")) => Verb::XaStart,
            _ if is(first, "XA") && is(second, "END") => Verb::XaEnd,
            _ if is(first, "XA") => Verb::XaFinish,
            _ if WRITES.iter().any(|write| is(first, write)) => Verb::Write,
            _ => Verb::Other,
        }
    }

    /// The first outbox table that the text names, as `database.table`.
    pub fn table_named(&self, is_outbox: &dyn Fn(&str, &str) -> bool) -> Option<String> {
        let default_database = std::str::from_utf8(self.database).ok()?;
        let mut words = Words { rest: self.text };
        let mut before = "";
        while let Some(word) = words.next() {
            let name = std::str::from_utf8(word).unwrap_or_default();
            let database = if before.is_empty() { default_database } else { before };
            // A server with lower_case_table_names keeps the case of the statement here, not in row events.
            let is_named = is_outbox(database, name)
                || is_outbox(&database.to_lowercase(), &name.to_lowercase());
            if !name.is_empty() && is_named {
                return Some(format!("{database}.{name}"));
            }
            before = if words.is_at_dot() { name } else { "" };
        }
        None
    }
}

/// First words of statements that add rows.
const WRITES: [&str; 3] = ["INSERT", "REPLACE", "LOAD"];

/// Names, keywords and numbers of a statement in order; quotes, comments and punctuation fall out. Words in
/// string literals come too: a false alarm halts, a miss would lose rows.
struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    /// The word just returned qualifies the next one.
    fn is_at_dot(&self) -> bool {
        self.rest.trim_ascii_start().starts_with(b".")
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let &first = self.rest.first()?;
            if first == b'`' {
                let name = &self.rest[1..];
                let end = memchr(b'`', name).unwrap_or(name.len());
                self.rest = name.get(end + 1..).unwrap_or_default();
                return Some(&name[..end]);
            }
            if self.rest.starts_with(b"/*") && !self.rest.starts_with(b"/*!") {
                let end = memchr::memmem::find(self.rest, b"*/")?;
                self.rest = &self.rest[end + 2..];
                continue;
            }
            let is_word =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
            let end = self.rest.iter().position(|byte| !is_word(byte)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end.max(1));
            self.rest = rest;
            if end > 0 {
                return Some(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query<'a>(database: &'a str, text: &'a str) -> Query<'a> {
        Query { database: database.as_bytes(), text: text.as_bytes() }
    }

    fn is_outbox(database: &str, table: &str) -> bool {
        (database, table) == ("shop", "events")
    }

    #[test]
    fn the_event_is_read_as_the_server_writes_it() {
        let mut body = vec![0; POST_HEADER_LEN];
        (body[8], body[11]) = (4, 2);
        body.extend_from_slice(b"\x00\x00shop\x00BEGIN");
        assert_eq!(Query::parse(&body), Some(query("shop", "BEGIN")));
        assert_eq!(Query::parse(&body[..14]), None);
    }

    #[test]
    fn verbs_are_told_apart() {
        for (text, verb) in [
            ("BEGIN", Verb::Begin),
            ("COMMIT", Verb::Commit),
            ("ROLLBACK", Verb::Rollback),
            ("ROLLBACK TO `a`", Verb::RollbackTo),
            ("SAVEPOINT `a`", Verb::Savepoint),
            ("XA START X'7831',X'',1", Verb::XaStart),
            ("XA END X'7831',X'',1", Verb::XaEnd),
            ("XA COMMIT X'7831',X'',1", Verb::XaFinish),
            ("XA ROLLBACK X'7831',X'',1", Verb::XaFinish),
            ("/* hint */ insert into t values (1)", Verb::Write),
            ("CREATE TABLE `t` (id int)", Verb::Other),
            ("", Verb::Other),
        ] {
            assert_eq!(query("", text).verb(), verb, "{text}");
        }
    }

    #[test]
    fn a_statement_that_names_an_outbox_table_is_found_however_it_is_quoted() {
        for (database, text) in [
            ("shop", "INSERT INTO events VALUES (1)"),
            ("shop", "insert into`events`values(1)"),
            ("other", "INSERT INTO shop.events SELECT 1"),
            ("other", "REPLACE INTO `shop`.`events` VALUES (1)"),
        ] {
            assert_eq!(
                query(database, text).table_named(&is_outbox).as_deref(),
                Some("shop.events"),
                "{text}"
            );
        }
        for (database, text) in [
            ("other", "INSERT INTO events VALUES (1)"),
            ("shop", "INSERT INTO events2 VALUES (1)"),
            ("shop", "INSERT INTO t /* events */ VALUES (1)"),
            ("shop", "INSERT INTO other.events VALUES (1)"),
        ] {
            assert_eq!(query(database, text).table_named(&is_outbox), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(query) = Query::parse(&body) {
                query.verb();
                query.table_named(&is_outbox);
            }
        }
    }
}
