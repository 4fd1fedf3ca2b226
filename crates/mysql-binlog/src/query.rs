//! A QUERY event: whether it controls its event group, and what its text does to an outbox table.
//!
//! Under `binlog_format=ROW` the stream holds statements for BEGIN, COMMIT, savepoints, XA and DDL. A
//! session may still have logged a change as a statement; one that adds rows to an outbox table must be found,
//! because its rows are nowhere in the stream. So must be DDL that changes the columns of one.
//!
//! Group control is written by the server itself, in a few forms that no user's text has. All else is read as
//! the server read it (`lexer`), and only the table that is written to counts (`statement`). If the event lacks
//! `sql_mode` or charset, every combination is tried, and the most severe effect counts.

mod lexer;
mod mention;
mod moving;
mod session;
mod statement;

use std::borrow::Cow;

use self::lexer::{Comments, Lexer, LexerMode};
use self::mention::Names;
use self::session::Session;
use self::statement::Statement;
use super::charset::Charset;

/// Bytes before the variable part of a QUERY event: thread id, execution time, length of the database name,
/// error code, length of the status variables
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html>).
const POST_HEADER_LEN: usize = 13;

/// An EXECUTE_LOAD_QUERY event has as many more: file id, two positions, and how to treat duplicates.
const LOAD_POST_HEADER_LEN: usize = POST_HEADER_LEN + 13;

/// What a statement does to the event group it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    Begin,
    Commit,
    Rollback,
    RollbackTo,
    Savepoint,
    XaStart,
    XaEnd,
    /// XA COMMIT or XA ROLLBACK of a transaction that was prepared earlier.
    XaFinish,
}

/// What a statement does to outbox tables. Of several ways to read it, the greatest counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Nothing,
    /// It may change the columns of one.
    Defines(Definition),
    /// It cannot be read, and may have added rows to this one.
    MayAdd(String),
    /// It added rows to this one.
    Adds(String),
}

/// DDL that names an outbox table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Definition {
    pub table: String,
    /// It may have put rows into the table that were never inserted into it: RENAME to its name, EXCHANGE
    /// PARTITION, IMPORT TABLESPACE.
    pub moves_rows: bool,
}

/// Says whether a database and table are relayed.
pub type IsOutbox<'a> = &'a dyn Fn(&str, &str) -> bool;

/// A statement with what the event says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// In UTF-8, whatever the session's character set.
    pub database: &'a [u8],
    pub text: &'a [u8],
    status: &'a [u8],
    /// Of an EXECUTE_LOAD_QUERY: where the file's name ends in the text. The table follows.
    load_file_end: Option<usize>,
}

impl<'a> Query<'a> {
    /// Reads the body of a QUERY event.
    pub fn parse(body: &'a [u8]) -> Option<Query<'a>> {
        let (database, text, status) = split(body, POST_HEADER_LEN)?;
        Some(Query { database, text, status, load_file_end: None })
    }

    /// Reads the body of an EXECUTE_LOAD_QUERY event.
    pub fn parse_load(body: &'a [u8]) -> Option<Query<'a>> {
        let (database, text, status) = split(body, LOAD_POST_HEADER_LEN)?;
        let end = body[POST_HEADER_LEN + 8..].first_chunk().map(|end| u32::from_le_bytes(*end));
        let load_file_end = Some(usize::try_from(end?).ok()?);
        Some(Query { database, text, status, load_file_end })
    }

    /// What it does to its group: the forms of MySQL 5.7 to 9. Names of savepoints are quoted or not, as the
    /// session's settings are; what a user wrote around them is not there.
    pub fn control(&self) -> Option<Control> {
        match self.text {
            b"BEGIN" => Some(Control::Begin),
            b"COMMIT" => Some(Control::Commit),
            b"ROLLBACK" => Some(Control::Rollback),
            text if text.starts_with(b"SAVEPOINT ") => Some(Control::Savepoint),
            text if text.starts_with(b"ROLLBACK TO ") => Some(Control::RollbackTo),
            text if text.starts_with(b"XA START X'") => Some(Control::XaStart),
            text if text.starts_with(b"XA END X'") => Some(Control::XaEnd),
            text if text.starts_with(b"XA COMMIT X'") => Some(Control::XaFinish),
            text if text.starts_with(b"XA ROLLBACK X'") => Some(Control::XaFinish),
            _ => None,
        }
    }

    /// What the text does to outbox tables.
    pub fn effect(&self, is_outbox: IsOutbox<'_>) -> Effect {
        let session = Session::parse(self.status);
        let charsets = session.charset.as_ref().map_or(&ANY_CHARSET[..], std::slice::from_ref);
        let mut worst = Effect::Nothing;
        for &ansi_quotes in either(session.ansi_quotes) {
            for &backslash_escapes in either(session.backslash_escapes) {
                let (charset, comments) = (Charset::Utf8mb4, Comments::Plain);
                let mode = LexerMode { ansi_quotes, backslash_escapes, charset, comments };
                let (mut effect, is_decodable) = self.effect_under(charsets, mode, is_outbox);
                if !is_decodable {
                    effect = effect.max(self.effect_under(Charset::ALL, mode, is_outbox).0);
                }
                worst = worst.max(effect);
            }
        }
        worst
    }

    /// As read under each of those character sets, and whether its names are text in all of them.
    fn effect_under(
        &self,
        charsets: &[Charset],
        mode: LexerMode,
        is_outbox: IsOutbox<'_>,
    ) -> (Effect, bool) {
        let read = charsets.iter().map(|charset| {
            let (effect, reread) =
                self.effect_in(LexerMode { charset: *charset, ..mode }, is_outbox);
            (effect, !reread.in_any_charset)
        });
        read.fold((Effect::Nothing, true), |(worst, all), (effect, is_decodable)| {
            (worst.max(effect), all && is_decodable)
        })
    }

    /// As read in one way, and in those that its text leaves open, but for any character set.
    fn effect_in(&self, mode: LexerMode, is_outbox: IsOutbox<'_>) -> (Effect, Reread) {
        let (mut effect, reread) = self.effect_as_read(mode, is_outbox);
        if reread.with_nested_comments {
            let other = LexerMode { comments: Comments::Nested, ..mode };
            effect = effect.max(self.effect_as_read(other, is_outbox).0);
        }
        if reread.in_utf8 && mode.charset != Charset::Utf8mb4 {
            let other = LexerMode { charset: Charset::Utf8mb4, ..mode };
            effect = effect.max(self.effect_as_read(other, is_outbox).0);
        }
        (effect, reread)
    }

    fn effect_as_read(&self, mode: LexerMode, is_outbox: IsOutbox<'_>) -> (Effect, Reread) {
        let mut lexer = Lexer::new(self.text, mode);
        // The server puts the file's name into the text as it is, with any quotes in it.
        let behind_file = self.load_file_end.and_then(|end| self.text.get(end..));
        let statement = behind_file
            .and_then(|text| statement::read_load(&mut Lexer::new(text, mode)))
            .unwrap_or_else(|| statement::read(&mut lexer));
        let database = self.database();
        let names = Names::new(&database, mode.charset, is_outbox);
        let effect = match statement {
            Statement::Adds { table, .. } => names.outbox(table).map(Effect::Adds),
            Statement::BreaksOff { table } => names.outbox(table).map(Effect::MayAdd),
            Statement::Defines => self.definition(mode, &names).map(Effect::Defines),
            Statement::Other if self.load_file_end.is_none() => None,
            Statement::Other | Statement::Unclear => {
                mention::anywhere(self.text, &database, mode.charset, is_outbox).map(Effect::MayAdd)
            }
        };
        // What the server writes itself is in UTF-8 at times, whatever the session has.
        let is_own = !matches!(statement, Statement::Adds { is_load: false, .. });
        let is_undecodable = match statement {
            Statement::Unclear => mode.charset.decode(self.text).is_err(),
            _ => names.has_undecodable(),
        };
        let reread = Reread {
            with_nested_comments: lexer.is_ambiguous(),
            in_utf8: is_own && !self.text.is_ascii(),
            in_any_charset: is_undecodable,
        };
        (effect.unwrap_or(Effect::Nothing), reread)
    }

    /// What DDL says of the outbox that it names first.
    fn definition(&self, mode: LexerMode, names: &Names<'_>) -> Option<Definition> {
        let table = mention::first(Lexer::new(self.text, mode), names)?;
        let moves_rows = moving::moves_rows(&mut Lexer::new(self.text, mode), names);
        Some(Definition { table, moves_rows })
    }

    fn database(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.database)
    }
}

/// Other ways in which this text must also be read.
struct Reread {
    with_nested_comments: bool,
    in_utf8: bool,
    /// Its bytes are no text in this one: a statement is logged in the character set that it was prepared under,
    /// whatever the session has when it executes it.
    in_any_charset: bool,
}

/// One of each kind that reads a text otherwise than the rest.
const ANY_CHARSET: [Charset; 6] =
    [Charset::Utf8mb4, Charset::Latin1, Charset::Gbk, Charset::Big5, Charset::Sjis, Charset::Cp866];

fn either(known: Option<bool>) -> &'static [bool] {
    match known {
        Some(true) => &[true],
        Some(false) => &[false],
        None => &[false, true],
    }
}

/// Database, text and status variables of a body with a post-header of that length.
fn split(body: &[u8], post_header_len: usize) -> Option<(&[u8], &[u8], &[u8])> {
    let (post_header, rest) = body.split_at_checked(post_header_len)?;
    let database_len = usize::from(post_header[8]);
    let status_len = usize::from(u16::from_le_bytes([post_header[11], post_header[12]]));
    let (status, rest) = rest.split_at_checked(status_len)?;
    let (database, rest) = rest.split_at_checked(database_len)?;
    let (0, text) = rest.split_first().map(|(end, text)| (*end, text))? else { return None };
    Some((database, text, status))
}

#[cfg(test)]
mod tests;
