//! Shows what is in binlog files, without a server: their events, or with a configuration what the relay would publish.
//!
//! Files are read as streams, one event at a time. A file that is still being written may end inside an event.

mod events;
mod printed;
mod published;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::binlog;
use crate::binlog::events::End;
use crate::config::Config;
use crate::outbox::TablePattern;
use crate::telemetry::Causes;

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// In the order of their numbers.
    pub files: Vec<PathBuf>,
    /// Only the rows of these: a table, or a pattern of `database.table`.
    pub table: Option<Tables>,
    pub from: Option<From>,
    /// Each event as a line of JSON.
    pub json: bool,
}

/// Which tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tables {
    /// Of this name, in any database.
    Named(String),
    Matching(TablePattern),
}

impl std::str::FromStr for Tables {
    type Err = crate::outbox::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains('.') {
            true => text.parse().map(Tables::Matching),
            false => Ok(Tables::Named(text.to_owned())),
        }
    }
}

impl Tables {
    fn has(&self, database: &str, table: &str) -> bool {
        match self {
            Tables::Named(name) => name.eq_ignore_ascii_case(table),
            Tables::Matching(pattern) => pattern.matches(database, table),
        }
    }
}

/// Where to begin: events before this offset are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// `None`: the first one.
    pub file: Option<String>,
    pub offset: u64,
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, offset) = match text.rsplit_once(':') {
            Some((file, offset)) => (Some(file.to_owned()), offset),
            None => (None, text),
        };
        let offset = offset.parse();
        offset.map(|offset| From { file, offset }).map_err(|_| {
            format!("{text} is no position: write an offset such as 4711, or binlog.000012:4711")
        })
    }
}

/// Why a file cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {problem}", file.display())]
    File { file: PathBuf, problem: String, hint: Option<String> },
    /// The files do not hold what `--from` names.
    #[error("no file is named {file}")]
    NoFile { file: String },
    #[error("write to standard output")]
    Write(#[source] io::Error),
    /// A row cannot be a record, or a table does not fit. All of it was told.
    #[error("{count} rows cannot be records")]
    Rows { count: u64 },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::File { hint, .. } => hint.clone(),
            Error::NoFile { .. } => Some("name the file of --from among the files".to_owned()),
            Error::Write(_) => None,
            Error::Rows { .. } => Some("the lines above say why".to_owned()),
        }
    }

    /// The reader has seen enough, as `head` does.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Error::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl std::convert::From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Write(error)
    }
}

/// Shows the files: their events, or with a configuration the records that the relay would make.
///
/// # Errors
/// A file cannot be read, or standard output cannot be written.
pub async fn decode(
    asked: &Asked,
    config: Option<&Config>,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let mut files = &asked.files[..];
    let mut offset = asked.from.as_ref().map_or(0, |from| from.offset);
    if let Some(file) = asked.from.as_ref().and_then(|from| from.file.as_ref()) {
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| *name == **file);
        let first = files.iter().position(is_it);
        files = &files[first.ok_or_else(|| Error::NoFile { file: file.clone() })?..];
    }
    match config {
        None => {
            let mut shown = events::Shown::new(asked, out);
            for file in files {
                shown.file(file, std::mem::take(&mut offset)).await?;
            }
        }
        Some(config) => {
            let mut shown = published::Shown::new(asked, config, out);
            for file in files {
                shown.file(file, std::mem::take(&mut offset)).await?;
            }
            shown.finish()?;
        }
    }
    out.flush().map_err(Error::Write)
}

async fn open(file: &Path) -> Result<tokio::io::BufReader<tokio::fs::File>, Error> {
    match tokio::fs::File::open(file).await {
        Ok(opened) => Ok(tokio::io::BufReader::with_capacity(256 << 10, opened)),
        Err(error) => Err(Error::File {
            file: file.to_owned(),
            problem: error.to_string(),
            hint: Some("name files of the server's log_bin directory that you may read".to_owned()),
        }),
    }
}

fn unreadable(file: &Path, error: &binlog::events::Error) -> Error {
    use binlog::events::Error as E;
    let hint = match error {
        E::NoBinlog => {
            "name a file of the server's log_bin directory, or a relay log; a text of mysqlbinlog is none"
        }
        E::Encrypted => {
            "only the server has the key: read it with mysqlbinlog --read-from-remote-server --raw, which writes a plain file"
        }
        E::Checksum { .. } | E::Damaged { .. } => {
            "the file is damaged there: look at it with mysqlbinlog --verify-binlog-checksum, or take another copy"
        }
        E::Read(_) => "name a file that can be read",
    };
    let problem = Causes(error).to_string();
    Error::File { file: file.to_owned(), problem, hint: Some(hint.to_owned()) }
}

/// What a person should know of the end of a file.
fn note_of_end(end: End) -> Option<String> {
    match end {
        End::Whole => None,
        End::CutOff(at) => Some(format!(
            "the file ends inside the event that begins at {at}: it is being written, or was cut off"
        )),
    }
}
