//! The relay before this one: in `idempotent` delivery, what it has sent is waited for before a row is sent in its
//! place.
//!
//! A lock of the server tells when that is done. It is held by whoever sends, over a connection of its own.

use std::time::Duration;

use super::line::Line;
use super::recovery::ensure_not_replaced;
use super::{Relay, World};
use crate::binlog::start::Binlogs;
use crate::config::Config;
use crate::connect::binlog_error;
use crate::coordinates::Uuid;
use crate::error::Error;
use crate::lease::{NOTICED_AFTER, Taken};
use crate::preflight::mysql::WITHOUT_LOCK;
use crate::primary::{Lock, Locks};
use crate::sink::Destinations;

/// Who sends records without a transaction around them holds the lock of this name and the place's id.
const SENDING_LOCK: &str = "binlog-relay";

/// A predecessor that was paused, or whose machine is gone without a word, is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until no predecessor has records on its way, which only those of `idempotent` delivery have after they
/// were fenced. One that lives has lost its dump to ours; it ends when what it sent is acknowledged, and its
/// lock with it. No predecessor has then read further than the end of the binlog.
///
/// # Errors
/// The server cannot be asked, or somebody has taken over from this instance meanwhile.
pub(super) async fn wait_for_predecessor<W: World, L: Locks<Server: Binlogs>>(
    relay: &mut Relay<'_, W>,
    lock_id: Uuid,
    server: &mut L::Server,
    locks: &mut L,
    line: &mut Line<impl Destinations>,
) -> Result<Option<L::Lock>, Error> {
    let config = relay.config;
    let name = format!("{SENDING_LOCK} {lock_id}");
    let lock = match locks.take(server, name.clone(), PATIENCE).await? {
        Taken::Held(lock) => Some(lock),
        Taken::ByOther(lock) => {
            ensure_not_replaced(relay, relay.look().await?.as_ref())?;
            tracing::warn!(
                "the relay before this one is connected to MySQL and did not end within {} s: what it had on its way \
                 may come twice",
                PATIENCE.as_secs()
            );
            // MySQL ends one dump of our replica UUID, not always that of the one who holds the lock. Without its lock
            // it ends by itself.
            if locks.end_holder(server, &name).await? {
                tokio::time::sleep(NOTICED_AFTER).await;
            }
            Some(lock)
        }
        Taken::Refused(refused) => {
            if !std::mem::replace(&mut relay.is_lock_missed, true) {
                tracing::warn!(
                    "the server gives out no named lock, and the relay goes on without: {refused}; {WITHOUT_LOCK}"
                );
            }
            None
        }
    };
    // Whoever fenced us between the claim and the lock may have had the lock, sent rows and ended: our dump ends its own.
    // Whoever fences us from now on waits for our end.
    line.doubt();
    if line.has_window() {
        let end = server.binlog_end().await;
        line.note_predecessor_end(end.map_err(|source| binlog_error(config, source.into()))?);
    }
    Ok(lock)
}

/// Works as long as no other session has the lock that was held here, if one was: somebody else may send then.
///
/// # Errors
/// The work's own, or that another session has the lock.
pub(super) async fn while_held(
    config: &Config,
    lock: &mut Option<impl Lock>,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let lost = async {
        match lock {
            Some(lock) => lock.lost().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased; // nothing more is read once the lock is lost
        () = lost => Err(Error::LeaseLost { server: config.mysql.to_string() }),
        worked = work => worked,
    }
}
