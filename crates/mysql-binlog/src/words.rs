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
