//! A crash of the server can leave a binlog that it cannot read to the end. The relay resumes in the next file if GTIDs
//! prove that the rest of this one holds nothing committed. Otherwise it halts.

use std::cmp::Ordering;

use crate::binlog::start::Binlogs;
use crate::binlog::{Start, start};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::connect;
use crate::coordinates::Coordinates;
use crate::error::Error;

/// The position at which the server could not read on, if there is one.
#[derive(Debug, Default)]
pub struct Cut(Option<Coordinates>);

impl Cut {
    /// Notes where a dump was refused. Returns `true` if it was refused there before: the session in between has looked
    /// for a way around it.
    pub fn is_repeated_by(&mut self, error: &Error) -> bool {
        let Some(cut) = error.cut_at() else { return false };
        let is_repeated = self.0.as_ref() == Some(&cut);
        self.0 = Some(cut);
        is_repeated && !error.is_shortage()
    }

    /// Forgets the position once a checkpoint behind it is stored. One at or before it is no progress.
    pub fn forget_passed(&mut self, stored: Option<&Checkpoint>) {
        let Some(stored) = stored else { return };
        let stored = Coordinates::new(stored.binlog_filename.as_str(), stored.offset);
        // Positions in binlogs of another base name cannot be compared.
        let is_behind = |cut: &Coordinates| {
            stored.is_ok_and(|it| it.partial_cmp(cut).is_none_or(Ordering::is_gt))
        };
        self.0.take_if(|cut| is_behind(cut));
    }

    /// Moves a start into the next file, if the server cannot read the start's own file to the end and the rest of that
    /// file holds nothing committed.
    pub async fn leave(
        &self,
        config: &Config,
        server: &mut impl Binlogs,
        start: Start,
    ) -> Result<Start, Error> {
        let Some(cut) = &self.0 else { return Ok(start) };
        let behind = start::behind_cut(server, &start, cut).await;
        let origin = start::Origin::Checkpoint(cut.clone());
        let behind = behind.map_err(|source| connect::start_error(config, origin, source))?;
        Ok(behind.unwrap_or(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog;

    #[test]
    fn a_cut_is_forgotten_once_a_checkpoint_behind_it_is_stored() {
        let refused = || {
            let (code, state) = (1236, "HY000".to_owned());
            let message = "bogus data in log event".to_owned();
            let error = mysql_async::ServerError { code, message, state };
            let error = mysql_async::Error::Server(error);
            let source = binlog::Error::Stream { after: "b.000002:700".parse().unwrap(), error };
            Error::Binlog { server: "db:3306".to_owned(), source }
        };
        for (stored, is_repeated) in [
            (None, true),
            // Nothing but a checkpoint of the same position was stored.
            (Some("b.000002:700"), true),
            (Some("b.000002:400"), true),
            (Some("b.000002:701"), false),
            (Some("b.000003:4"), false),
            (Some("c.000001:4"), false),
        ] {
            let mut cut = Cut::default();
            assert!(!cut.is_repeated_by(&refused()));
            let stored = stored.map(|position| position.parse::<Coordinates>().unwrap());
            let stored = stored.map(|position| Checkpoint {
                binlog_filename: position.file().to_owned(),
                offset: position.offset,
                ..Checkpoint::default()
            });
            cut.forget_passed(stored.as_ref());
            assert_eq!(cut.is_repeated_by(&refused()), is_repeated, "{stored:?}");
        }
    }
}
