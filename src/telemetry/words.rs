//! Errors as people read them: one line each, of bounded length, whatever a server or a row put into them.

use std::error::Error;
use std::fmt::{self, Write};

/// Longest text of one error, in bytes. It is also the most that `/status` and a line of the log get.
const CAUSES_BYTES_MAX: usize = 8 * 1024;

/// Longest piece of a row that is shown, in characters: topics have up to 249.
const EXCERPT_CHARS_MAX: usize = 80;

/// An error and its causes, each said once, in one line.
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut said = text.clone();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // A wrapper may already have shown its cause.
            if !said.contains(&words) {
                text.push_str(": ");
                text.push_str(&words);
                said = words;
            }
            cause = error.source();
        }
        write_line(&text, f)
    }
}

/// Writes a text as one line: messages of servers may have several, and what looks like a command to a terminal must
/// not be one.
fn write_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut end = text.len().min(CAUSES_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown = &text[..end];
    for line in shown.split_inclusive(['\n', '\r']) {
        let (words, has_more) = match line.strip_suffix(['\n', '\r']) {
            Some(words) => (words, true),
            None => (line, false),
        };
        for part in words.split_inclusive(is_unprintable) {
            let printable = part.trim_end_matches(is_unprintable);
            f.write_str(printable)?;
            for unprintable in part[printable.len()..].chars() {
                write!(f, "{}", unprintable.escape_unicode())?;
            }
        }
        if has_more {
            f.write_char(' ')?;
        }
    }
    match text.len() - shown.len() {
        0 => Ok(()),
        more => write!(f, "… ({more} bytes more)"),
    }
}

/// A control character, or one that changes the order in which a line is shown.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A piece of a row that people need to find it, such as the name of a topic: quoted, escaped, and cut.
pub struct Excerpt<'a>(pub &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(EXCERPT_CHARS_MAX) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Said {
        words: String,
        source: Option<Box<Said>>,
    }

    fn said(words: &[&str]) -> Box<Said> {
        let (first, rest) = words.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| said(rest));
        Box::new(Said { words: (*first).to_owned(), source })
    }

    fn shown(words: &[&str]) -> String {
        Causes(&*said(words)).to_string()
    }

    #[test]
    fn a_cause_that_is_said_already_is_not_said_again() {
        assert_eq!(
            shown(&["read the topic", "no broker answers"]),
            "read the topic: no broker answers"
        );
        assert_eq!(
            shown(&["read: no broker answers", "no broker answers", "gone"]),
            "read: no broker answers: gone"
        );
    }

    #[test]
    fn an_error_is_one_line_without_commands_to_a_terminal() {
        assert_eq!(shown(&["first\nsecond\r\nthird"]), "first second  third");
        assert_eq!(shown(&["\u{1b}[31mred\u{202e}\0"]), "\\u{1b}[31mred\\u{202e}\\u{0}");
    }

    #[test]
    fn an_error_is_of_bounded_length() {
        let text = shown(&["é".repeat(1 << 20).as_str()]);
        assert!(text.len() < CAUSES_BYTES_MAX + 40, "{}", text.len());
        assert!(text.ends_with("… (2088960 bytes more)"), "{}", &text[text.len() - 40..]);
    }

    #[test]
    fn an_excerpt_is_quoted_and_cut() {
        assert_eq!(Excerpt("not/a \"topic\"\n").to_string(), r#""not/a \"topic\"\n""#);
        let long = Excerpt(&"x".repeat(1 << 20)).to_string();
        assert_eq!(long, format!("\"{}\"… (1048576 bytes)", "x".repeat(EXCERPT_CHARS_MAX)));
    }
}
