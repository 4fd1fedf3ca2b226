//! A binlog that the server cannot read to its end, as a crash leaves it: the relay goes on in the next file where
//! GTIDs prove that nothing of the rest counts, and gives up otherwise.

use crate::binlog::{Server, Start, start};
use crate::config::Config;
use crate::coordinates::Coordinates;
use crate::ends;
use crate::error::Error;

/// Where the server could not read on, if there is such a place.
#[derive(Debug, Default)]
pub struct Cut(Option<Coordinates>);

impl Cut {
    /// Notes where a dump was refused. `true` when it was refused there before: the session since has looked for a way
    /// on.
    pub fn is_repeated_by(&mut self, error: &Error) -> bool {
        let Some(cut) = error.cut_at() else { return false };
        let is_repeated = self.0.as_ref() == Some(&cut);
        self.0 = Some(cut);
        is_repeated && !error.is_shortage()
    }

    /// The relay has got on.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// Moves a start into the next file where the server could not read its own to the end, and nothing of the rest
    /// counts.
    pub async fn leave(
        &self,
        config: &Config,
        server: &mut Server,
        start: Start,
    ) -> Result<Start, Error> {
        let Some(cut) = &self.0 else { return Ok(start) };
        let behind = start::behind_cut(server, &start, cut).await;
        let origin = start::Origin::Checkpoint(cut.clone());
        let behind = behind.map_err(|source| ends::start_error(config, origin, source))?;
        Ok(behind.unwrap_or(start))
    }
}
