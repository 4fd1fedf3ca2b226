//! What can be wrong with a configuration: who, what, where, what now.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

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
}

impl Error {
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
        }
    }
}
