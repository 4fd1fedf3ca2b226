//! What a statement writes to, as far as a relay of outbox tables must know: the table that it adds rows to,
//! or that it is one that may change columns.
//!
//! Statements are told by how they begin. Nothing behind the name of the table that is written to is looked at,
//! but for CREATE TABLE, which adds rows only where a SELECT, TABLE or VALUES follows.

use super::lexer::{Lexer, Token};

/// A table's name as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// Absent: the default database.
    pub database: Option<Token<'a>>,
    pub table: Token<'a>,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement<'a> {
    /// It adds rows to this table.
    Adds { table: Name<'a>, is_load: bool },
    /// It changes the definition of what it names.
    Defines,
    /// Neither.
    Other,
    /// A CREATE TABLE that breaks off before it says whether rows come with it.
    BreaksOff { table: Name<'a> },
    /// It does not begin as any statement that is known, or says nowhere which table it adds rows to.
    Unclear,
}

/// First words of statements that neither add rows nor change columns.
const OTHERS: [&str; 51] = [
    "BEGIN",
    "BINLOG",
    "CACHE",
    "CALL",
    "CHANGE",
    "CHECK",
    "CHECKSUM",
    "CLONE",
    "COMMIT",
    "DEALLOCATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DO",
    "EXECUTE",
    "EXPLAIN",
    "FLUSH",
    "GET",
    "GRANT",
    "HANDLER",
    "HELP",
    "IMPORT",
    "INSTALL",
    "KILL",
    "LOCK",
    "OPTIMIZE",
    "PREPARE",
    "PURGE",
    "RELEASE",
    "REPAIR",
    "RESET",
    "RESIGNAL",
    "RESTART",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "SHUTDOWN",
    "SIGNAL",
    "START",
    "STOP",
    "TABLE",
    "UNINSTALL",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
    "XA",
];

/// First words of statements that may change columns; CREATE and DROP are others.
const DEFINITIONS: [&str; 3] = ["ALTER", "RENAME", "TRUNCATE"];

/// Words between the verb and the name of the table.
const MODIFIERS: [&str; 5] = ["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"];

/// Reads the statement that begins here.
pub fn read<'a>(lexer: &mut Lexer<'a>) -> Statement<'a> {
    while let Some(first) = lexer.next() {
        let is = |word: &&str| first.is(word);
        return match first {
            Token::Symbol(b'(' | b';') => continue,
            // MariaDB logs settings with the statement that they are for.
            _ if first.is("SET") && skip_settings(lexer) => continue,
            _ if first.is("INSERT") || first.is("REPLACE") => insert(lexer),
            _ if first.is("ANALYZE") => analyze(lexer),
            _ if first.is("LOAD") => load(lexer),
            _ if first.is("CREATE") => create(lexer),
            _ if first.is("DROP") => drop_of(lexer),
            _ if DEFINITIONS.iter().any(is) => Statement::Defines,
            _ if OTHERS.iter().any(is) => Statement::Other,
            _ => Statement::Unclear,
        };
    }
    // A comment alone does nothing.
    if lexer.is_broken() { Statement::Unclear } else { Statement::Other }
}

/// Reads what the server wrote behind the file's name of a LOAD DATA.
pub fn read_load<'a>(lexer: &mut Lexer<'a>) -> Option<Statement<'a>> {
    let mut token = lexer.next();
    while token.is_some_and(|token| token.is("INTO")) {
        token = lexer.next();
    }
    token.filter(|token| token.is("TABLE"))?;
    let first = lexer.next();
    name(first, lexer).map(|(table, _)| Statement::Adds { table, is_load: true })
}

/// Whether another statement follows on this SET.
fn skip_settings(lexer: &mut Lexer<'_>) -> bool {
    lexer.next().is_some_and(|token| token.is("STATEMENT")) && lexer.any(|token| token.is("FOR"))
}

/// MariaDB's ANALYZE of a statement executes it; that of a table adds nothing.
fn analyze<'a>(lexer: &mut Lexer<'a>) -> Statement<'a> {
    let is_verb = |token: &Token| {
        ["INSERT", "REPLACE", "SELECT", "TABLE", "UPDATE", "DELETE", "WITH"]
            .iter()
            .any(|word| token.is(word))
    };
    match lexer.find(is_verb) {
        Some(verb) if verb.is("INSERT") || verb.is("REPLACE") => insert(lexer),
        _ => Statement::Other,
    }
}

fn insert<'a>(lexer: &mut Lexer<'a>) -> Statement<'a> {
    let mut token = lexer.next();
    while token.is_some_and(|token| MODIFIERS.iter().any(|word| token.is(word))) {
        token = lexer.next();
    }
    match name(token, lexer) {
        Some((table, _)) => Statement::Adds { table, is_load: false },
        None => Statement::Unclear,
    }
}

/// LOAD DATA and LOAD XML; the name follows the first INTO TABLE. LOAD INDEX reads keys into memory.
fn load<'a>(lexer: &mut Lexer<'a>) -> Statement<'a> {
    let mut is_after_into = match lexer.next() {
        Some(token) if token.is("INDEX") => return Statement::Other,
        Some(token) => token.is("INTO"),
        None => false,
    };
    while let Some(token) = lexer.next() {
        if is_after_into && token.is("TABLE") {
            let first = lexer.next();
            return match name(first, lexer) {
                Some((table, _)) => Statement::Adds { table, is_load: true },
                None => Statement::Unclear,
            };
        }
        is_after_into = token.is("INTO");
    }
    Statement::Unclear
}

fn drop_of<'a>(lexer: &mut Lexer<'a>) -> Statement<'a> {
    match lexer.next() {
        Some(token) if token.is("TEMPORARY") => Statement::Other,
        _ => Statement::Defines,
    }
}

fn create<'a>(lexer: &mut Lexer<'a>) -> Statement<'a> {
    let mut token = lexer.next();
    for word in ["OR", "REPLACE"] {
        token = if token.is_some_and(|token| token.is(word)) { lexer.next() } else { token };
    }
    match token {
        Some(token) if token.is("TABLE") => {}
        // It is not the outbox, though it may have its name.
        Some(token) if token.is("TEMPORARY") => return Statement::Other,
        _ => return Statement::Defines,
    }
    let mut token = lexer.next();
    for word in ["IF", "NOT", "EXISTS"] {
        token = if token.is_some_and(|token| token.is(word)) { lexer.next() } else { token };
    }
    let Some((table, next)) = name(token, lexer) else { return Statement::Unclear };
    match (has_row_source(next, lexer), lexer.is_broken()) {
        (true, _) => Statement::Adds { table, is_load: false },
        (false, true) => Statement::BreaksOff { table },
        (false, false) => Statement::Defines,
    }
}

/// Whether rows come with a CREATE TABLE: SELECT, TABLE, VALUES or WITH outside all parentheses, or right behind
/// opening ones.
fn has_row_source<'a>(next: Option<Token<'a>>, lexer: &mut Lexer<'a>) -> bool {
    let (mut depth, mut is_leading) = (0_usize, true);
    for token in next.into_iter().chain(lexer) {
        match token {
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => {
                depth = depth.saturating_sub(1);
                is_leading = depth == 0;
            }
            _ if is_leading => {
                let is_source = ["SELECT", "TABLE", "VALUES"].iter().any(|word| token.is(word));
                if is_source || depth > 0 && token.is("WITH") {
                    return true;
                }
                is_leading = depth == 0;
            }
            _ => {}
        }
    }
    false
}

/// The name that begins with `first`, and the token behind it.
pub fn name<'a>(
    first: Option<Token<'a>>,
    lexer: &mut Lexer<'a>,
) -> Option<(Name<'a>, Option<Token<'a>>)> {
    let is_name = |token: &Token| matches!(token, Token::Word(_) | Token::Quoted(..));
    let first = first?;
    if first == Token::Symbol(b'.') {
        let table = lexer.next().filter(is_name)?;
        return Some((Name { database: None, table }, lexer.next()));
    }
    let first = Some(first).filter(is_name)?;
    match lexer.next() {
        Some(Token::Symbol(b'.')) => {
            let table = lexer.next().filter(is_name)?;
            Some((Name { database: Some(first), table }, lexer.next()))
        }
        next => Some((Name { database: None, table: first }, next)),
    }
}
