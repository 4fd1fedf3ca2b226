//! Errors in a line of the log.

use std::error::Error;
use std::fmt::{self, Write};

/// An error and its causes in one line. A cause whose words are in the error before it is left out. Control
/// characters are escaped: a server's certificate may hold any text.
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        write_line(&said, f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !said.contains(&words) {
                f.write_str(": ")?;
                write_line(&words, f)?;
                said = words;
            }
            cause = error.source();
        }
        Ok(())
    }
}

fn write_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\n' => f.write_char(' ')?,
            c if c.is_control() => write!(f, "{}", c.escape_unicode())?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Said {
        words: &'static str,
        source: Option<Box<Said>>,
    }

    #[test]
    fn an_error_and_its_causes_are_one_line_without_commands_to_a_terminal() {
        let cause = Said { words: "the key is\nwrong\u{1b}[31m", source: None };
        let repeated = Said { words: "read the key", source: Some(Box::new(cause)) };
        let error = Said { words: "connect: read the key", source: Some(Box::new(repeated)) };
        let shown = Causes(&error).to_string();
        assert_eq!(shown, "connect: read the key: the key is wrong\\u{1b}[31m");
    }
}
