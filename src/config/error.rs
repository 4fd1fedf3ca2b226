//! What can be wrong with a configuration: who, what, where, what now.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::keys::join;
use crate::secret;
use crate::sink::kafka::connection::ClientError;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line { file: Arc<str>, line: usize },
    /// The file as a whole: something is not there.
    File { file: Arc<str> },
    /// A `--set` of this key.
    Override { key: String },
    /// Nowhere: the default of this key.
    Default { key: &'static str },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::File { file } => f.write_str(file),
            Self::Override { key } => write!(f, "--set {key}"),
            Self::Default { key } => write!(f, "default of {key}"),
        }
    }
}

/// Why there is no valid configuration. No variant carries the value of a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{place}: not TOML: {message}")]
    Syntax { place: Place, message: String },
    #[error("--set {given}: {problem}")]
    Override { given: String, problem: String },
    #[error("{place}: the key {key} is not known")]
    UnknownKey { place: Place, key: String, nearest: Option<String> },
    #[error("{place}: {key} is missing")]
    Missing { place: Place, key: String, example: &'static str },
    #[error("{place}: {key} is {found}; expected {expected}")]
    Value { place: Place, key: String, found: String, expected: String },
    #[error("{place}: {key}: {source}")]
    Interpolation { place: Place, key: String, source: secret::Error },
    #[error("{place}: {what} is not in this version")]
    NotInThisVersion { place: Place, what: String },
    #[error("{place}: {source}")]
    Properties { place: Place, source: Box<ClientError> },
    #[error("{place}: {key}: {problem}")]
    Rule { place: Place, key: String, problem: String, hint: String },
    /// Several, from the first line of the file to the last.
    #[error("{}", joined(.0))]
    Several(Vec<Error>),
}

fn joined(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// Each problem by itself.
    #[must_use]
    pub fn each(&self) -> &[Error] {
        match self {
            Self::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }

    /// What to do about it, where the message does not say so already.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => {
                Some("name the file with --config; config.example.toml is a beginning".to_owned())
            }
            Self::Syntax { .. } => Some(
                "text stands in quotes, a section's name in [brackets], and each key once; \
                 config.example.toml shows all of them"
                    .to_owned(),
            ),
            Self::Value { .. } => None,
            Self::Override { .. } => {
                Some("write --set section.key=value, as in --set mysql.user=relay".to_owned())
            }
            Self::UnknownKey { nearest, .. } => Some(match nearest {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "config.example.toml has every key".to_owned(),
            }),
            Self::Missing { example, .. } => Some(format!("for example: {example}")),
            Self::Interpolation { source, .. } => Some(source.hint()),
            Self::NotInThisVersion { .. } => {
                Some("take it out; CHANGELOG.md says what each version brings".to_owned())
            }
            Self::Properties { .. } => {
                Some("the properties are those of librdkafka's CONFIGURATION.md".to_owned())
            }
            Self::Rule { hint, .. } => Some(hint.clone()),
            Self::Several(errors) => {
                let hints: Vec<_> = errors.iter().filter_map(Self::hint).collect();
                (!hints.is_empty()).then(|| hints.join("; "))
            }
        }
    }
}

/// The problems of one configuration, as they are found.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Error>>);

impl Problems {
    /// Takes the value, or keeps the problem.
    pub(super) fn keep<T>(&self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(super) fn push(&self, error: Error) {
        self.0.borrow_mut().push(error);
    }

    /// All of them, in the order of the file. What follows from another one is left out.
    pub(super) fn into_error(self) -> Option<Error> {
        let mut errors = Vec::new();
        for error in self.0.into_inner() {
            // Two sections of one wrong key find the same problem.
            let told = error.to_string();
            if !errors.iter().any(|known: &Error| known.to_string() == told) {
                errors.push(error);
            }
        }
        let follows: Vec<bool> = errors
            .iter()
            .map(|error| errors.iter().any(|other| error.follows_from(other)))
            .collect();
        let mut follows = follows.into_iter();
        errors.retain(|_| !follows.next().unwrap_or_default());
        errors.sort_by_key(Error::line);
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Error::Several(errors)),
        }
    }
}

impl Error {
    /// Where it stands among others: missing keys of the file first, and what the command line says last.
    fn line(&self) -> usize {
        match self.place() {
            Some(Place::File { .. }) => 0,
            Some(Place::Line { line, .. }) => *line,
            _ => usize::MAX,
        }
    }

    fn place(&self) -> Option<&Place> {
        match self {
            Self::Read { .. } | Self::Override { .. } | Self::Several(_) => None,
            Self::Syntax { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::Missing { place, .. }
            | Self::Value { place, .. }
            | Self::Interpolation { place, .. }
            | Self::NotInThisVersion { place, .. }
            | Self::Properties { place, .. }
            | Self::Rule { place, .. } => Some(place),
        }
    }

    /// Mending the other one mends this one.
    fn follows_from(&self, other: &Error) -> bool {
        match (self, other) {
            // The key is there under a mistyped name, or behind a line that cannot be read.
            (Self::Missing { key, .. }, Self::UnknownKey { key: typed, nearest, .. }) => {
                let section = typed.rsplit_once('.').map_or("", |(section, _)| section);
                let meant = nearest.as_deref().and_then(|nearest| nearest.rsplit('.').next());
                meant.is_some_and(|meant| join(section, meant) == *key)
                    || nearest.as_deref().is_some_and(|it| key.starts_with(&in_section(it)))
            }
            (Self::Missing { .. }, Self::Syntax { .. }) => true,
            (Self::Missing { key, .. }, Self::Value { key: section, .. }) => {
                key.starts_with(&format!("{section}."))
            }
            (Self::Syntax { .. }, _) => false,
            (_, Self::Syntax { .. }) => self.line() == other.line(),
            _ => false,
        }
    }
}

/// `[kafka]` → `kafka.`
fn in_section(nearest: &str) -> String {
    let name = nearest.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.map_or_else(|| "[".to_owned(), |name| format!("{name}."))
}
