//! Which outbox tables a text names, where that is all that counts: in DDL, and in a text that cannot be read.

use std::borrow::Cow;
use std::cell::Cell;

use super::IsOutbox;
use super::lexer::{Lexer, Token, unquoted};
use super::statement::Name;
use crate::charset::Charset;

/// Longest name of MySQL: 64 characters of at most 4 bytes, all of them doubled quotes.
const NAME_BYTES_MAX: usize = 512;

/// Words of which a text has one if it adds rows.
const ADDING: [&str; 5] = ["INSERT", "REPLACE", "LOAD", "CREATE", "INTO"];

/// Words behind which DDL has the name of a table. MySQL 5.7 takes `.events` for the default database's.
const LEADING: [&str; 8] = ["TABLE", "EXISTS", "TO", "AS", "RENAME", "ON", "LIKE", "TRUNCATE"];

/// `database.table`, if it is an outbox. The case of both is the statement's; `is_outbox` ignores it where the
/// server does.
fn full_name(database: &str, table: &str, is_outbox: IsOutbox<'_>) -> Option<String> {
    is_outbox(database, table).then(|| format!("{database}.{table}"))
}

/// What names in a text stand for.
pub struct Names<'a> {
    default_database: &'a str,
    charset: Charset,
    is_outbox: IsOutbox<'a>,
    /// Bytes of a name are none in that character set.
    has_undecodable: Cell<bool>,
}

impl<'a> Names<'a> {
    pub fn new(default_database: &'a str, charset: Charset, is_outbox: IsOutbox<'a>) -> Names<'a> {
        Names { default_database, charset, is_outbox, has_undecodable: Cell::new(false) }
    }

    /// Whether one of those that were asked for cannot be in the character set.
    pub fn has_undecodable(&self) -> bool {
        self.has_undecodable.get()
    }

    /// `database.table` of a name in the text, if it is an outbox.
    pub fn outbox(&self, name: Name<'_>) -> Option<String> {
        let table = unquoted(name.table, self.charset)?;
        let table = self.decode(&table)?;
        match name.database.and_then(|token| unquoted(token, self.charset)) {
            Some(database) => full_name(&self.decode(&database)?, &table, self.is_outbox),
            None => full_name(self.default_database, &table, self.is_outbox),
        }
    }

    fn decode<'b>(&self, name: &'b [u8]) -> Option<Cow<'b, str>> {
        let decoded = self.charset.decode(name).ok();
        self.has_undecodable.set(self.has_undecodable.get() || decoded.is_none());
        decoded.filter(|_| name.len() <= NAME_BYTES_MAX)
    }
}

fn leads(token: &Token<'_>) -> bool {
    LEADING.iter().any(|word| token.is(word))
}

/// The outbox table that a text names first, anywhere in it.
pub fn first(lexer: Lexer<'_>, names: &Names<'_>) -> Option<String> {
    // The two tokens before a name: what qualifies it, and the dot between.
    let mut before: [Option<Token<'_>>; 2] = [None; 2];
    let mut first = None;
    for table in lexer {
        let database = match before {
            [qualifier, Some(Token::Symbol(b'.'))] => qualifier.filter(|token| !leads(token)),
            _ => None,
        };
        first = first.or_else(|| names.outbox(Name { database, table }));
        before = [before[1], Some(table)];
    }
    first
}

fn decode(name: &[u8], charset: Charset) -> Option<Cow<'_, str>> {
    charset.decode(name).ok().filter(|_| name.len() <= NAME_BYTES_MAX)
}

/// An outbox that is named anywhere in a text that nobody can read and that may add rows: between quotes, in a
/// comment or bare, with any other name before it as its database.
pub fn anywhere(
    text: &[u8],
    default_database: &str,
    charset: Charset,
    is_outbox: IsOutbox<'_>,
) -> Option<String> {
    let is_adding =
        |word: &[u8]| ADDING.iter().any(|adding| word.eq_ignore_ascii_case(adding.as_bytes()));
    if !words(text).any(is_adding) {
        return None;
    }
    let quoted = text.split(|byte| matches!(byte, b'`' | b'"' | b'\''));
    named_among(words(text), default_database, charset, is_outbox)
        .or_else(|| named_among(quoted, default_database, charset, is_outbox))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    text.split(move |byte| !is_word(byte)).filter(|word| !word.is_empty())
}

fn named_among<'a>(
    names: impl Iterator<Item = &'a [u8]>,
    default_database: &str,
    charset: Charset,
    is_outbox: IsOutbox<'_>,
) -> Option<String> {
    // A dot may be between the two, as a name of its own where names are what is between quotes.
    let mut before: [Cow<'_, str>; 2] = [Cow::Borrowed(default_database), Cow::Borrowed("")];
    for name in names {
        let Some(name) = decode(name, charset).or_else(|| decode(name, Charset::Utf8mb4)) else {
            continue;
        };
        let databases = [default_database, &before[0], &before[1]];
        let named = databases.iter().find_map(|database| full_name(database, &name, is_outbox));
        if named.is_some() {
            return named;
        }
        let [_, last] = before;
        before = [last, name];
    }
    None
}
