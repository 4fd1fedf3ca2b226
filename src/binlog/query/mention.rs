//! Which outbox tables a text names, where that is all that counts: in DDL, and in a text that cannot be read.

use std::borrow::Cow;

use super::lexer::{Lexer, Reading, Token, unquoted};
use super::{Definition, IsOutbox};
use crate::binlog::charset::Charset;

/// Longest name of MySQL: 64 characters of at most 4 bytes, all of them doubled quotes.
const NAME_BYTES_MAX: usize = 512;

/// Words of which a text has one if it adds rows.
const ADDING: [&str; 5] = ["INSERT", "REPLACE", "LOAD", "CREATE", "INTO"];

/// `database.table`, if it is an outbox. The case of both is the statement's; `is_outbox` ignores it where the
/// server does.
pub fn full_name(database: &str, table: &str, is_outbox: IsOutbox<'_>) -> Option<String> {
    is_outbox(database, table).then(|| format!("{database}.{table}"))
}

/// What DDL says of outbox tables: the first that it names anywhere, and whether rows may come with it.
pub fn definition(
    text: &[u8],
    default_database: &str,
    reading: Reading,
    is_outbox: IsOutbox<'_>,
) -> Option<Definition> {
    let mut first: Option<String> = None;
    let (mut moves_rows, mut imports) = (false, false);
    // The three tokens before a name: what qualifies it, and what leads to it.
    let mut before: [Option<Token<'_>>; 3] = [None; 3];
    let lexer = Lexer::new(text, reading);
    let verb = lexer.clone().next();
    let is_moving = verb.is_some_and(|verb| verb.is("ALTER") || verb.is("RENAME"));
    for token in lexer {
        let is_part = token.is("PARTITION") || token.is("TABLESPACE");
        imports |=
            is_part && before[2].is_some_and(|word| word.is("EXCHANGE") || word.is("IMPORT"));
        let (qualifier, leader) = match before {
            [leader, qualifier, Some(Token::Symbol(b'.'))] => (qualifier, leader),
            [_, _, leader] => (None, leader),
        };
        if let Some(table) = outbox_at(token, qualifier, default_database, reading, is_outbox) {
            moves_rows |= ["TO", "AS", "RENAME"]
                .iter()
                .any(|word| leader.is_some_and(|token| token.is(word)));
            first.get_or_insert(table);
        }
        before = [before[1], before[2], Some(token)];
    }
    let moves_rows = is_moving && (moves_rows || imports);
    first.map(|table| Definition { table, moves_rows })
}

fn outbox_at(
    token: Token<'_>,
    qualifier: Option<Token<'_>>,
    default_database: &str,
    reading: Reading,
    is_outbox: IsOutbox<'_>,
) -> Option<String> {
    let table = unquoted(token, reading.charset)?;
    let table = decode(&table, reading.charset)?;
    match qualifier.and_then(|token| unquoted(token, reading.charset)) {
        Some(database) => full_name(&decode(&database, reading.charset)?, &table, is_outbox),
        None => full_name(default_database, &table, is_outbox),
    }
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
