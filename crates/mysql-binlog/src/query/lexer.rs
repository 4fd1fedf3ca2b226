//! The words of a statement as the server that logged it read them: comments fall out, names come with what is
//! between their quotes, texts come as one token.
//!
//! A library's tokenizer does not do: the bytes are in the client's character set, where the second byte of a
//! character may look like a quote or a backslash, and what a quote means is up to the session's `sql_mode`.
//! Nothing is copied, every byte is looked at a bounded number of times, and no bytes make it panic.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use crate::charset::Charset;

/// How the text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexerMode {
    pub ansi_quotes: bool,
    pub backslash_escapes: bool,
    pub charset: Charset,
    pub comments: Comments,
}

/// How to read the two comment forms whose meaning depends on the server that logged them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// As MySQL: a plain comment has no comment in it, and `/*M!` is one.
    Plain,
    /// `/* 50799 … /* … */ … */` was a comment for later versions with others in it, which MySQL 5.7 disarms
    /// without disarming the inner ones; `/*M! … */` is executable, as for MariaDB.
    Nested,
}

/// One token. Numbers are words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// A keyword, a number, or a name without quotes.
    Word(&'a [u8]),
    /// A name between quotes of this kind, with the quotes in it still doubled.
    Quoted(&'a [u8], u8),
    /// A text between quotes.
    Text,
    Symbol(u8),
}

impl Token<'_> {
    /// Whether it is this keyword, given in capitals.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }
}

/// A name's bytes in the character set of the text, without quotes; `None` where the token is no name.
pub fn unquoted(token: Token<'_>, charset: Charset) -> Option<Cow<'_, [u8]>> {
    match token {
        Token::Word(word) => Some(Cow::Borrowed(word)),
        Token::Quoted(name, quote) if memchr(quote, name).is_none() => Some(Cow::Borrowed(name)),
        Token::Quoted(name, quote) => {
            let mut single = Vec::with_capacity(name.len());
            let mut rest = name;
            while let Some(first) = rest.first() {
                let length = character_len(charset, rest);
                single.extend_from_slice(&rest[..length]);
                rest = &rest[length + usize::from(*first == quote)..];
            }
            Some(Cow::Owned(single))
        }
        Token::Text | Token::Symbol(_) => None,
    }
}

/// Bytes of the first character, where its second may look like one of ASCII; 1 for every other.
fn character_len(charset: Charset, bytes: &[u8]) -> usize {
    use Charset::*;
    let &[first, second, ..] = bytes else { return 1 };
    let is_wide = match charset {
        Gbk | Gb18030 => {
            matches!(first, 0x81..=0xFE) && matches!(second, 0x40..=0x7E | 0x80..=0xFE)
        }
        Big5 => matches!(first, 0xA1..=0xF9) && matches!(second, 0x40..=0x7E | 0xA1..=0xFE),
        Sjis | Cp932 => {
            matches!(first, 0x81..=0x9F | 0xE0..=0xFC)
                && matches!(second, 0x40..=0x7E | 0x80..=0xFC)
        }
        _ => false,
    };
    1 + usize::from(is_wide)
}

/// Bytes of a comment behind its beginning, with whole comments in it, to the end of its own.
fn nested_comment_len(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let end = at + memmem::find(&body[at..], b"*/")?;
        let Some(inner) = memmem::find(&body[at..=end], b"/*") else { return Some(end + 2) };
        let inside = at + inner + 2;
        at = inside + memmem::find(&body[inside..], b"*/")? + 2;
    }
}

/// Hands out the tokens of a text.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    mode: LexerMode,
    /// Inside `/*! … */`.
    is_in_executable_comment: bool,
    is_broken: bool,
    is_ambiguous: bool,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8], mode: LexerMode) -> Lexer<'a> {
        let (is_broken, is_ambiguous) = (false, false);
        Lexer { text, at: 0, mode, is_in_executable_comment: false, is_broken, is_ambiguous }
    }

    /// The text broke off inside a comment, a text or a name: the server cannot have read it so.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// There was a comment that the other of [`Comments`] reads otherwise.
    pub fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn break_off<T>(&mut self) -> Option<T> {
        self.at = self.text.len();
        self.is_broken = true;
        None
    }

    /// Passes over a comment if one begins here.
    fn skip_comment(&mut self) -> bool {
        match (self.peek(0), self.peek(1), self.peek(2)) {
            (Some(b'#'), ..) => self.skip_line(),
            (Some(b'-'), Some(b'-'), third) if third.is_none_or(|byte| self.ends_dashes(byte)) => {
                self.skip_line();
            }
            (Some(b'/'), Some(b'*'), Some(b'!')) => self.enter_executable_comment(3),
            (Some(b'/'), Some(b'*'), Some(b'M')) if self.peek(3) == Some(b'!') => {
                self.is_ambiguous = true;
                match self.mode.comments {
                    Comments::Plain => self.skip_plain_comment(),
                    Comments::Nested => self.enter_executable_comment(4),
                }
            }
            (Some(b'/'), Some(b'*'), _) => self.skip_plain_comment(),
            (Some(b'*'), Some(b'/'), _) if self.is_in_executable_comment => {
                self.at += 2;
                self.is_in_executable_comment = false;
            }
            _ => return false,
        }
        true
    }

    /// Two dashes are a comment only before a space or a control character.
    fn ends_dashes(&self, third: u8) -> bool {
        third.is_ascii_control() || self.is_space(third)
    }

    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += memchr(b'\n', rest).unwrap_or(rest.len());
    }

    /// The version is never held against the server's: a comment for a later version that the server did not
    /// read stands in the binlog without its exclamation mark.
    fn enter_executable_comment(&mut self, marker_len: usize) {
        self.at += marker_len;
        let digits = self.text[self.at..].iter().take(6).take_while(|byte| byte.is_ascii_digit());
        let is_spaced = self.peek(6).is_none_or(|byte| byte.is_ascii_whitespace());
        self.at += match digits.count() {
            6 if is_spaced || marker_len == 4 => 6,
            5 | 6 => 5,
            _ => 0,
        };
        self.is_in_executable_comment = true;
    }

    fn skip_plain_comment(&mut self) {
        let body = &self.text[self.at + 2..];
        let Some(end) = memmem::find(body, b"*/") else {
            self.break_off::<()>();
            return;
        };
        let is_for_later_version =
            body.len() > 6 && body[0] == b' ' && body[1..6].iter().all(u8::is_ascii_digit);
        // The slash of an inner comment's beginning may be right before this end.
        let has_inner = is_for_later_version && memmem::find(&body[..=end], b"/*").is_some();
        self.is_ambiguous |= has_inner;
        let length = if has_inner && self.mode.comments == Comments::Nested {
            nested_comment_len(body)
        } else {
            Some(end + 2)
        };
        match length {
            Some(length) => self.at += 2 + length,
            None => {
                self.break_off::<()>();
            }
        }
    }

    /// In most single-byte character sets the no-break space separates words as well.
    fn is_space(&self, byte: u8) -> bool {
        use Charset::*;
        matches!(byte, b'\t'..=b'\r' | b' ')
            || byte == 0xA0
                && matches!(
                    self.mode.charset,
                    Armscii8
                        | Cp1250
                        | Dec8
                        | Geostd8
                        | Greek
                        | Hebrew
                        | Latin1
                        | Latin2
                        | Latin5
                        | Latin7
                )
            || byte == 0xFF && matches!(self.mode.charset, Cp852 | Cp866 | Keybcs2)
    }

    fn character_len(&self) -> usize {
        character_len(self.mode.charset, &self.text[self.at..])
    }

    fn word(&mut self) -> Option<Token<'a>> {
        let start = self.at;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' => self.at += 1,
                0x80.. if !self.is_space(byte) => self.at += self.character_len(),
                _ => break,
            }
        }
        (self.at > start).then(|| Token::Word(&self.text[start..self.at]))
    }

    /// What stands between quotes; quotes in it are doubled, or behind a backslash where that counts.
    fn between(&mut self, quote: u8, has_escapes: bool) -> Option<&'a [u8]> {
        self.at += 1;
        let start = self.at;
        while let Some(byte) = self.peek(0) {
            self.at += match byte {
                _ if byte == quote && self.peek(1) == Some(quote) => 2,
                _ if byte == quote => {
                    self.at += 1;
                    return Some(&self.text[start..self.at - 1]);
                }
                b'\\' if has_escapes => 2,
                0x80.. => self.character_len(),
                _ => 1,
            };
        }
        self.break_off()
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            while self.peek(0).is_some_and(|byte| self.is_space(byte)) {
                self.at += 1;
            }
            let Some(first) = self.peek(0) else {
                self.is_broken |= self.is_in_executable_comment;
                return None;
            };
            if self.skip_comment() {
                continue;
            }
            return match first {
                b'`' => self.between(first, false).map(|name| Token::Quoted(name, first)),
                b'"' if self.mode.ansi_quotes => {
                    self.between(first, false).map(|name| Token::Quoted(name, first))
                }
                b'"' | b'\'' => {
                    self.between(first, self.mode.backslash_escapes).map(|_| Token::Text)
                }
                _ => self.word().or_else(|| {
                    self.at += 1;
                    Some(Token::Symbol(first))
                }),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: LexerMode = LexerMode {
        ansi_quotes: false,
        backslash_escapes: true,
        charset: Charset::Utf8mb4,
        comments: Comments::Plain,
    };

    fn tokens(text: &[u8], mode: LexerMode) -> (String, bool) {
        let mut lexer = Lexer::new(text, mode);
        let words: Vec<_> = lexer
            .by_ref()
            .map(|token| match token {
                Token::Text => "''".to_owned(),
                Token::Symbol(byte) => char::from(byte).to_string(),
                Token::Word(bytes) => bytes.escape_ascii().to_string(),
                quoted => {
                    format!("[{}]", unquoted(quoted, mode.charset).unwrap().escape_ascii())
                }
            })
            .collect();
        (words.join(" "), !lexer.is_broken())
    }

    #[track_caller]
    fn reads(text: &str, mode: LexerMode, expected: &str) {
        assert_eq!(tokens(text.as_bytes(), mode), (expected.to_owned(), true), "{text}");
    }

    #[test]
    fn comments_of_every_kind_fall_out() {
        for text in [
            "a -- it's\nb",
            "a--\nb",
            "a--\u{1}it's\nb",
            "a # it's\nb",
            "a/* it's */b",
            "a/*/ */b",
            "a/**/b",
            "a/*+ it's */b",
            "a/*M! it's */b",
            "a b -- it's",
            "a b--",
            "a b#",
            "a/* 99999 it's */b",
            "/*!50000 a*/b",
            "/*!50000a*/b",
            "/*!a*/b",
            "/*!050000 a*/b",
            "/*!999999 a*/b",
            "/*!50000 a /*!50000 b */",
            "/*!50000 a /* it's */ b*/",
            "/*!50000 a /* it's */*/b",
            "/*!*/a/*!*/b",
            "/*! a # */\n b */",
        ] {
            reads(text, PLAIN, "a b");
        }
        reads("a--1", PLAIN, "a - - 1");
        reads("a*/b", PLAIN, "a * / b");
        reads("a/b", PLAIN, "a / b");
    }

    #[test]
    fn a_comment_that_5_7_disarmed_may_have_others_in_it() {
        let nested = LexerMode { comments: Comments::Nested, ..PLAIN };
        let text = "a /* 99999 x /* y */ z */ b";
        reads(text, PLAIN, "a z * / b");
        reads(text, nested, "a b");
        for text in [
            "a /* 99999 x /* y */ z /* y */ x */ b",
            "a /* 99999/* y *//**/ /*/ */*/ b",
            "a /* 99999 /*/ y */ x */ b",
            "a /* 99999 x /* y /* z */ x */ b",
            "a /*M!100100 b*/",
        ] {
            reads(text, nested, "a b");
        }
        assert!(!tokens(b"a /* 99999 x /* y */ z /* */", nested).1);
        for (text, is_ambiguous) in [
            (text, true),
            ("a /*M! b*/", true),
            ("a /* 99999 /*/ x */ y */", true),
            ("a /* 99999 x */ /* y */", false),
            ("a /* x /* y */", false),
        ] {
            let mut lexer = Lexer::new(text.as_bytes(), PLAIN);
            lexer.by_ref().for_each(drop);
            assert_eq!(lexer.is_ambiguous(), is_ambiguous, "{text}");
        }
    }

    #[test]
    fn quotes_mean_what_the_session_says() {
        let ansi = LexerMode { ansi_quotes: true, ..PLAIN };
        let no_escapes = LexerMode { backslash_escapes: false, ..PLAIN };
        reads(
            r#"'it''s' "a\"b" `c``d` `e"f` N'g' _utf8'h' x'00'"#,
            PLAIN,
            "'' '' [c`d] [e\\\"f] N '' _utf8 '' x ''",
        );
        reads(r#""a""b" "c\" 'it\'s'"#, ansi, "[a\\\"b] [c\\\\] ''");
        reads(r#"'c:\' a "\" b"#, no_escapes, "'' a '' b");
        reads("`````` ``", PLAIN, "[``] []");
    }

    #[test]
    fn a_second_byte_that_looks_like_a_quote_is_none() {
        let of = |charset| LexerMode { charset, ..PLAIN };
        for (text, charset, expected) in [
            (&b"'\xb1\x5c' a"[..], Charset::Gbk, "'' a"),
            (b"`\xb1\x60x` a", Charset::Gbk, "[\\xb1`x] a"),
            (b"'\xa5\x5c' a", Charset::Big5, "'' a"),
            (b"'\x95\x5c' a", Charset::Sjis, "'' a"),
            (b"'\x95\x5c' a", Charset::Cp932, "'' a"),
            (b"'\xfe\x5c' a", Charset::Gb18030, "'' a"),
            (b"\xb1\x5cx a", Charset::Gbk, "\\xb1\\\\x a"),
            (b"`\xb1\x60``x` a", Charset::Gbk, "[\\xb1``x] a"),
        ] {
            assert_eq!(tokens(text, of(charset)), (expected.to_owned(), true), "{charset}");
        }
        // There the backslash takes the quote with it.
        assert!(!tokens(b"'\xb1\x5c' a", of(Charset::Latin1)).1);
    }

    #[test]
    fn a_no_break_space_is_one_where_the_server_says_so() {
        let of = |charset| LexerMode { charset, ..PLAIN };
        assert_eq!(tokens(b"a\xa0b", of(Charset::Latin1)).0, "a b");
        assert_eq!(tokens(b"a\xffb", of(Charset::Cp866)).0, "a b");
        assert_eq!(tokens(b"a\xa0b", of(Charset::Cp1251)).0, "a\\xa0b");
        reads("a\u{a0}b\u{b}c\u{c}d", PLAIN, "a\\xc2\\xa0b c d");
    }

    #[test]
    fn a_text_that_breaks_off_says_so() {
        for text in ["'a", "\"a", "`a", "`a``", "/* a", "'a\\'", "/*! a", "'a''"] {
            assert!(!tokens(text.as_bytes(), PLAIN).1, "{text}");
        }
    }
}
