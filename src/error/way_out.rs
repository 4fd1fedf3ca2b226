//! The way out of a halt over one transaction: it is given up as a whole, by a command that is printed.

use std::fmt;

use super::{Error, Fate};
use crate::binlog::{self, transaction};
use crate::coordinates::Coordinates;

/// How a transaction that cannot be relayed is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayOut {
    /// The boundary before it.
    pub begin: Coordinates,
    /// The boundary after it, if that could be found.
    pub end: Option<Coordinates>,
    /// So many of its rows are in Kafka already.
    pub rows_done: u64,
    /// `binlog-relay checkpoint set` with the configuration of this relay.
    pub command: String,
}

impl fmt::Display for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("or give that transaction up: ")?;
        match self.rows_done {
            0 => f.write_str("none of its rows is relayed then")?,
            rows => write!(f, "its first {rows} rows are in Kafka, no other is relayed then")?,
        }
        let (begin, command) = (&self.begin, &self.command);
        f.write_str(", and the rows after it begin a new generation; ")?;
        match &self.end {
            Some(end) => write!(f, "{command} --to {end}"),
            None => write!(
                f,
                "where it ends could not be found: look for the End_log_pos of its Xid or COMMIT with SHOW BINLOG \
                 EVENTS IN '{file}' FROM {offset}, then {command} --to {file}:END_LOG_POS",
                file = begin.file(),
                offset = begin.offset
            ),
        }
    }
}

impl Error {
    /// A person must act on what stands in one transaction, which can also be given up as a whole.
    pub fn can_be_given_up(&self) -> bool {
        use transaction::Error as T;
        let is_in_binlog = |source: &binlog::Error| match source {
            binlog::Error::TableMap { .. }
            | binlog::Error::Rows { .. }
            | binlog::Error::NoTableMap { .. }
            | binlog::Error::Columns { .. }
            | binlog::Error::Xa { .. } => true,
            binlog::Error::Transaction(error) => !matches!(
                error,
                // Of no transaction, or nobody can say where its damage ends.
                T::OtherFile { .. }
                    | T::StartBeyondEnd { .. }
                    | T::Unfinished { .. }
                    | T::Damaged { .. }
            ),
            _ => false,
        };
        let is_one = match self {
            Error::Binlog { source, .. } => is_in_binlog(source),
            error => error.is_of_one_transaction(),
        };
        is_one && matches!(self.fate(), Fate::Halt { .. })
    }
}
