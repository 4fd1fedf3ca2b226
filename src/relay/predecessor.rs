//! The relay before this one: in `idempotent` delivery, what it has sent is waited for before a row is sent in its
//! place.
//!
//! A lock of the server tells when that is done. It is held by whoever sends, over a connection of its own.

use std::time::Duration;

use super::Relay;
use super::line::Line;
use super::recovery::ensure_not_replaced;
use crate::binlog::{self, Server};
use crate::config::Config;
use crate::connect::binlog_error;
use crate::coordinates::Uuid;
use crate::error::Error;
use crate::lease::{self, Lease, LeaseLogin, NOTICED_AFTER, Taken};
use crate::preflight::mysql::WITHOUT_LOCK;
use crate::sink::{Connector, Destinations, none_without_store};

/// Who sends records without a transaction around them holds the lock of this name and the place's id.
const SENDING_LOCK: &str = "binlog-relay";

/// A predecessor that was paused, or whose machine is gone without a word, is not waited for any longer.
const OUTLAST_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until no predecessor has records on its way, which only those of `idempotent` delivery have after they
/// were fenced. One that lives has lost its dump to ours; it ends when what it sent is acknowledged, and its
/// lock with it. No predecessor has then read further than the end of the binlog.
///
/// # Errors
/// The server cannot be asked, or somebody has taken over from this instance meanwhile.
pub(super) async fn wait_for_predecessor<C: Connector, D: Destinations>(
    relay: &mut Relay<'_, C>,
    place_id: Uuid,
    server: &mut Server,
    login: Option<LeaseLogin>,
    line: &mut Line<D>,
) -> Result<Option<Lease>, Error> {
    let config = relay.config;
    let mysql_error = |source: binlog::server::Error| binlog_error(config, source.into());
    let name = format!("{SENDING_LOCK} {place_id}");
    let taken = lease::take(server, &config.mysql, name.clone(), OUTLAST_TIMEOUT, login).await;
    let lock = match taken.map_err(mysql_error)? {
        Taken::Held(lock) => Some(lock),
        Taken::ByOther(lock) => {
            ensure_not_replaced(relay, none_without_store(relay.sink.look().await)?.as_ref())?;
            tracing::warn!(
                "the relay before this one is connected to MySQL and did not end within {} s: what it had on its way \
                 may come twice",
                OUTLAST_TIMEOUT.as_secs()
            );
            // MySQL ends one dump of our replica UUID, not always that of the one who holds the lock. Without its lock
            // it ends by itself.
            if lease::end_holder(server, &name).await.map_err(mysql_error)? {
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
    if line.has_window() {
        line.note_predecessor_end(server.binlog_end().await.map_err(mysql_error)?);
    }
    Ok(lock)
}

/// Works as long as no other session has the lock that was held here, if one was: somebody else may send then.
///
/// # Errors
/// The work's own, or that another session has the lock.
pub(super) async fn while_held(
    config: &Config,
    lock: &mut Option<Lease>,
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
