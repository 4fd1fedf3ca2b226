//! The command that skips one transaction, as a last resort. The hint of a halt over that transaction prints it.

use std::fmt;

use super::Error;
use crate::binlog::{self, transaction};
use crate::coordinates::Coordinates;
use crate::sink::{About, Destinational};

/// Skips a transaction that cannot be relayed, as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipCommand {
    /// The boundary before it.
    pub begin: Coordinates,
    /// The boundary after it, if that could be found.
    pub end: Option<Coordinates>,
    /// Number of its rows that are already in Kafka.
    pub rows_done: u64,
    /// `binlog-relay checkpoint set` with the configuration of this relay.
    pub command: String,
}

impl fmt::Display for SkipCommand {
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
    /// A person must act on this transaction, and may also skip it as a whole.
    pub fn can_be_skipped(&self) -> bool {
        use transaction::Error as T;
        let is_in_binlog = |source: &binlog::Error| match source {
            binlog::Error::TableMap { .. }
            | binlog::Error::Rows { .. }
            | binlog::Error::NoTableMap { .. }
            | binlog::Error::Columns { .. }
            | binlog::Error::Refused { .. }
            | binlog::Error::Xa { .. } => true,
            binlog::Error::Transaction(error) => !matches!(
                error,
                // Of no transaction, or nobody can say where its damage ends.
                T::OtherFile { .. }
                    | T::Incident { .. }
                    | T::StartBeyondEnd { .. }
                    | T::Unfinished { .. }
                    | T::Damaged { .. }
                    | T::DamagedPayload { .. }
            ),
            _ => false,
        };
        let is_one = match self {
            Error::Binlog { source, .. } => is_in_binlog(source),
            Error::Sink(error) => {
                matches!(
                    error.about,
                    About::Destination(Destinational::Unfit | Destinational::TooMany)
                )
            }
            Error::Ambiguous(_) => false,
            error => error.is_of_one_transaction(),
        };
        is_one && self.fate().is_halt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fate::Fate;

    fn over(source: binlog::Error) -> Error {
        Error::Binlog { server: "db:3306".to_owned(), source }
    }

    fn at(position: &str) -> Coordinates {
        position.parse().unwrap()
    }

    fn skip_command(end: Option<&str>, rows_done: u64) -> SkipCommand {
        let command = "binlog-relay checkpoint set --config a.toml".to_owned();
        SkipCommand { begin: at("b.000003:4711"), end: end.map(at), rows_done, command }
    }

    #[test]
    fn the_hint_of_a_halt_ends_with_the_command_that_gives_the_transaction_up() {
        let table = "shop.events".to_owned();
        let error = over(binlog::Error::Xa { table, at: at("b.000003:5000") });
        assert!(error.can_be_skipped());
        let mend = match error.fate() {
            Fate::Halt { hint } => hint,
            fate => panic!("{fate:?}"),
        };
        let skip_command = skip_command(Some("b.000003:5120"), 0);
        let error = Error::OfOneTransaction { source: Box::new(error), skip_command };
        let Fate::Halt { hint } = error.fate() else { panic!("{error:?}") };
        assert_eq!(
            hint,
            format!(
                "{mend}; or give that transaction up: none of its rows is relayed then, and the rows after it \
                 begin a new generation; binlog-relay checkpoint set --config a.toml --to b.000003:5120"
            )
        );
    }

    #[test]
    fn what_is_in_kafka_already_and_what_could_not_be_found_is_said() {
        let part = skip_command(Some("b.000003:5120"), 7).to_string();
        assert!(part.contains("its first 7 rows are in Kafka, no other is relayed then"), "{part}");
        let unknown = skip_command(None, 0).to_string();
        assert!(unknown.contains("SHOW BINLOG EVENTS IN 'b.000003' FROM 4711"), "{unknown}");
        assert!(unknown.ends_with("--config a.toml --to b.000003:END_LOG_POS"), "{unknown}");
    }

    #[test]
    fn what_is_of_no_transaction_is_not_skipped() {
        let other = transaction::Error::OtherFile { file: "b.000003".into(), is: 1, was: 2 };
        let silent = binlog::Error::Ended { after: at("b.000003:4711") };
        for error in [over(other.into()), over(silent), Error::OutboxChanged] {
            assert!(!error.can_be_skipped(), "{error}");
        }
    }
}
