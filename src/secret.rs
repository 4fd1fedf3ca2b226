//! Texts of the configuration with values from outside: `${NAME}` from the environment,
//! `${file:/path}` from a file, `$${` for a plain `${`.
//!
//! [`interpolate`] makes a plain text, once. A [`Secret`] keeps the names of its files and reads them at each
//! [`Secret::reveal`], so that a password can be changed while the relay runs. It never prints its value, and neither
//! do the errors of this file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::binlog::Password;

/// Largest file of a secret. A password, a token or a PEM chain is far smaller. An endless device, given by mistake,
/// must not fill the memory.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a text cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the environment variable {0} is not set")]
    Unset(String),
    #[error("a ${{ is not closed by a }}")]
    Unclosed,
    #[error("a ${{…}} holds neither the name of an environment variable nor file:/path")]
    Malformed,
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    FileTooLarge { path: PathBuf },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unset(name) => {
                format!("set {name}, even to an empty text, before the relay starts")
            }
            Self::Unclosed | Self::Malformed => {
                "write ${NAME} or ${file:/path}; a plain ${ is written $${".to_owned()
            }
            Self::File { path, .. } => {
                format!("let the relay's user read {}, as UTF-8 text", path.display())
            }
            Self::FileTooLarge { .. } => "name a file that holds the secret only".to_owned(),
        }
    }
}

/// Looks up `${NAME}`: the environment, or a table of a test.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process. A variable that is not UTF-8 counts as unset.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A text that is never printed. Its files are read each time it is revealed.
/// Two are equal when they are written alike, whatever their files hold.
#[derive(Clone, PartialEq)]
pub struct Secret(Vec<Part>);

#[derive(Clone, PartialEq)]
enum Part {
    Text(String),
    File(PathBuf),
}

impl Secret {
    /// Reads the template, takes the environment's values, and reads the files once to see that it
    /// can be done.
    ///
    /// # Errors
    /// A variable that is not set, a file that cannot be read, or a `${` that is neither.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Self, Error> {
        let secret = Self(split(text, environment)?);
        secret.reveal()?;
        Ok(secret)
    }

    /// The text itself. The files in it are read by this call.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub fn reveal(&self) -> Result<String, Error> {
        let mut revealed = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => revealed.push_str(text),
                Part::File(path) => revealed.push_str(&read_without_last_newline(path)?),
            }
        }
        Ok(revealed)
    }
}

/// The source asks for it at each connection.
impl From<Secret> for Password {
    fn from(secret: Secret) -> Password {
        Password::looked_up(move || secret.reveal())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The text with everything in it replaced, for what is not secret.
///
/// # Errors
/// A variable that is not set, a file that cannot be read, or a `${` that is neither.
pub fn interpolate(text: &str, environment: Environment<'_>) -> Result<String, Error> {
    Secret(split(text, environment)?).reveal()
}

fn split(text: &str, environment: Environment<'_>) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        let after = &rest[at + 2..];
        if let Some(before) = before.strip_suffix('$') {
            plain.push_str(before);
            plain.push_str("${");
            rest = after;
            continue;
        }
        plain.push_str(before);
        let (inside, after) = after.split_once('}').ok_or(Error::Unclosed)?;
        match inside.strip_prefix("file:") {
            Some("") => return Err(Error::Malformed),
            Some(path) => {
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::File(path.into()));
            }
            None if is_variable_name(inside) => {
                let value = environment(inside).ok_or_else(|| Error::Unset(inside.to_owned()))?;
                plain.push_str(&value);
            }
            None => return Err(Error::Malformed),
        }
        rest = after;
    }
    plain.push_str(rest);
    parts.push(Part::Text(plain));
    Ok(parts)
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Editors and `echo` end a file with a newline that is no part of the secret.
fn read_without_last_newline(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::FileTooLarge { path: path.to_owned() });
    }
    // The error of the conversion would contain the bytes.
    let not_text = |_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"));
    let mut text = String::from_utf8(bytes).map_err(not_text)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(name: &str) -> Option<String> {
        match name {
            "PASSWORD" => Some("p${FAKE}w\n".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn plain(text: &str) -> Result<String, Error> {
        interpolate(text, &table)
    }

    #[test]
    fn variables_are_replaced_once_and_as_they_are() {
        assert_eq!(plain("a ${PASSWORD} b ${EMPTY}c").unwrap(), "a p${FAKE}w\n b c");
        assert_eq!(plain("no $ {of} these $NAME }").unwrap(), "no $ {of} these $NAME }");
    }

    #[test]
    fn two_dollars_make_a_plain_one() {
        assert_eq!(plain("a$${PASSWORD}").unwrap(), "a${PASSWORD}");
        assert_eq!(plain("$${$${").unwrap(), "${${");
        assert_eq!(plain("$$$${x").unwrap(), "$$${x");
        assert_eq!(plain("cost: $$5").unwrap(), "cost: $$5");
    }

    #[test]
    fn what_has_no_value_is_an_error_that_prints_nothing_of_the_text() {
        for (text, message) in [
            ("geheim${MISSING}", "the environment variable MISSING is not set"),
            ("geheim${PASSWORD", "a ${ is not closed by a }"),
            (
                "geheim${}",
                "a ${…} holds neither the name of an environment variable nor file:/path",
            ),
            (
                "${1geheim}",
                "a ${…} holds neither the name of an environment variable nor file:/path",
            ),
            ("${file:}", "a ${…} holds neither the name of an environment variable nor file:/path"),
            ("geheim${file:/no/such/file}", "cannot read /no/such/file"),
        ] {
            let error = Secret::parse(text, &table).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(!format!("{error} {error:?} {}", error.hint()).contains("geheim"));
        }
    }

    #[test]
    fn a_file_is_read_again_at_each_reveal_without_its_last_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "first\n\n").unwrap();
        let text = format!("<${{file:{}}}>", file.path().display());
        let secret = Secret::parse(&text, &table).unwrap();
        assert_eq!(secret.reveal().unwrap(), "<first\n>");
        for (content, revealed) in
            [("second\r\n", "<second>"), ("third", "<third>"), ("\n", "<>"), ("", "<>")]
        {
            std::fs::write(&file, content).unwrap();
            assert_eq!(secret.reveal().unwrap(), revealed);
        }
        file.close().unwrap();
        assert!(matches!(secret.reveal(), Err(Error::File { .. })));
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused() {
        let read = |content: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, content).unwrap();
            read_without_last_newline(file.path())
        };
        assert!(read(&[b'x'; 64 * 1024]).is_ok());
        assert!(matches!(read(&[b'x'; 64 * 1024 + 1]), Err(Error::FileTooLarge { .. })));
        let error = read(b"geheim\xff").unwrap_err();
        assert!(!format!("{error:?}").contains("geheim"));
        assert!(matches!(read_without_last_newline(Path::new("/")), Err(Error::File { .. })));
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::parse("geheim ${PASSWORD}", &table).unwrap();
        assert_eq!(
            format!("{secret} {secret:?} {:#?}", Some(&secret)),
            "*** Secret Some(\n    Secret,\n)"
        );
    }

    #[test]
    fn the_environment_is_that_of_the_process() {
        assert_eq!(environment("PATH"), std::env::var("PATH").ok());
        assert_eq!(environment("BINLOG_RELAY_NO_SUCH_VARIABLE"), None);
    }

    proptest! {
        #[test]
        fn any_text_can_be_written_with_two_dollars(text in "[${}a\\\\]{0,20}") {
            // A run of dollars before a brace is what the doubled one ends.
            prop_assert_eq!(plain(&text.replace("${", "$${")).unwrap(), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[${}:file/A\\PC]{0,30}") {
            let _ = plain(&text);
        }
    }
}
