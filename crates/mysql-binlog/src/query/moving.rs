//! Whether DDL brings rows into an outbox table that were never inserted into it: RENAME to its name, EXCHANGE
//! PARTITION, IMPORT TABLESPACE.

use super::lexer::{Lexer, Token};
use super::mention::Names;
use super::statement::name;

/// Whether the statement that begins here does, by its form. What reads as none of the forms may.
pub fn moves_rows(lexer: &mut Lexer<'_>, names: &Names<'_>) -> bool {
    let moves = match lexer.next() {
        Some(verb) if verb.is("RENAME") => rename_table(lexer, names),
        Some(verb) if verb.is("ALTER") => alter_table(lexer, names),
        _ => Some(false),
    };
    moves.unwrap_or(true)
}

/// RENAME TABLE … TO …, … TO …; `None` if it reads otherwise.
fn rename_table(lexer: &mut Lexer<'_>, names: &Names<'_>) -> Option<bool> {
    if !lexer.next().is_some_and(|object| object.is("TABLE") || object.is("TABLES")) {
        return Some(false);
    }
    loop {
        let old = lexer.next();
        name(old, lexer)?.1.filter(|token| token.is("TO"))?;
        let new = lexer.next();
        let (new, next) = name(new, lexer)?;
        if names.outbox(new).is_some() {
            return Some(true);
        }
        if next != Some(Token::Symbol(b',')) {
            return Some(false);
        }
    }
}

/// ALTER TABLE with the clauses that move rows among others; `None` if one of them reads otherwise.
fn alter_table(lexer: &mut Lexer<'_>, names: &Names<'_>) -> Option<bool> {
    let is_modifier = |token: &Token| ["ONLINE", "OFFLINE", "IGNORE"].iter().any(|m| token.is(m));
    if !lexer.find(|token| !is_modifier(token)).is_some_and(|object| object.is("TABLE")) {
        return Some(false);
    }
    let altered = lexer.next();
    let (altered, mut next) = name(altered, lexer)?;
    let is_of_outbox = names.outbox(altered).is_some();
    let mut exchanges = false;
    while let Some(here) = next {
        next = lexer.next();
        let leads_to = |word| next.is_some_and(|token| token.is(word));
        let is_part = leads_to("PARTITION") || leads_to("TABLESPACE");
        if is_of_outbox && is_part && (here.is("IMPORT") || here.is("EXCHANGE")) {
            return Some(true);
        }
        exchanges |= is_part && here.is("EXCHANGE");
        let other = match here {
            _ if here.is("RENAME") => new_name(next, lexer),
            _ if exchanges && here.is("TABLE") => next,
            _ => continue,
        };
        if other.is_some_and(|token| ["COLUMN", "INDEX", "KEY"].iter().any(|o| token.is(o))) {
            next = other;
            continue;
        }
        let (other, behind) = name(other, lexer)?;
        if names.outbox(other).is_some() {
            return Some(true);
        }
        next = behind;
    }
    Some(false)
}

/// The first token of the name behind RENAME, or the kind of thing that is renamed inside the table.
fn new_name<'a>(mut next: Option<Token<'a>>, lexer: &mut Lexer<'a>) -> Option<Token<'a>> {
    while next.is_some_and(|token| token == Token::Symbol(b'=') || token.is("TO") || token.is("AS"))
    {
        next = lexer.next();
    }
    next
}
