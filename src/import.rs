//! Configurations of other programs become one of the relay: `binlog-relay import`.
//!
//! A file enters. A configuration leaves, with a comment for each key that says where it comes from, and a comment for
//! each option that the relay does not take over. No value that may be a secret is printed.

mod debezium;
mod draft;
mod eventuate;
mod properties;
mod router;
mod tables;

use std::path::{Path, PathBuf};

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    /// A connector of Debezium for MySQL: JSON, properties, or Strimzi's YAML
    Debezium,
    /// A service of Eventuate CDC: environment, properties, or Docker's YAML
    Eventuate,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{file} is no configuration of {program}: {what}")]
    Unreadable { file: String, program: &'static str, what: String },
    #[error("{what}")]
    NoOutbox { what: String, hint: String },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Read { .. } => None,
            Error::Unreadable { program: "Debezium", .. } => Some(
                "give the connector as JSON ({\"name\":…,\"config\":{…}} or its settings alone), as .properties, or as a \
                 KafkaConnector of Strimzi"
                    .to_owned(),
            ),
            Error::Unreadable { .. } => Some(
                "give the service's environment as NAME=value lines, its .properties, or its Docker Compose file"
                    .to_owned(),
            ),
            Error::NoOutbox { hint, .. } => Some(hint.clone()),
        }
    }

    /// The file was understood, but describes nothing that the relay does.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        matches!(self, Error::NoOutbox { .. })
    }
}

/// Reads the file of another program. Answers with a configuration file of the relay.
///
/// # Errors
/// The file cannot be read, or describes no outbox.
pub fn import(program: Program, path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    convert(program, &text, &path.display().to_string())
}

/// The same from a text. `file` is its name in messages.
///
/// # Errors
/// As [`import`].
pub fn convert(program: Program, text: &str, file: &str) -> Result<String, Error> {
    match program {
        Program::Debezium => debezium::convert(text, file),
        Program::Eventuate => eventuate::convert(text, file),
    }
}

#[cfg(test)]
mod tests;
