//! Waits for the predecessor's records in flight, before this relay sends a row in `idempotent` delivery.
//!
//! A named lock of the MySQL server says when none are left. Each relay holds it while it sends, over a connection of
//! its own.

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

/// Prefix of the lock's name; the id of the relay's place follows. A relay holds the lock while it sends records
/// outside of transactions.
const SENDING_LOCK: &str = "binlog-relay";

/// Longest wait for a predecessor. It may be suspended, or its machine may have vanished.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until no predecessor has records in flight. Only a fenced predecessor in `idempotent` delivery has any. If it
/// is alive, our dump has ended its own. It then waits for its acknowledgements, ends, and releases its lock. It has
/// not read beyond the end of the binlog.
///
/// # Errors
/// The server cannot be asked, or another instance has taken over meanwhile.
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
                "the relay before this one is connected to MySQL and did not end within {} s: its records in \
                 flight may come twice",
                PATIENCE.as_secs()
            );
            // MySQL ends one dump of our replica UUID, which may not be that of the lock's holder. The holder ends by
            // itself when it loses the lock.
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

/// Works while no other session has taken the lock that was held here. After that another relay may send.
///
/// # Errors
/// An error of the work itself, or another session has the lock.
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
        biased; // once the lock is lost, read nothing more
        () = lost => Err(Error::LeaseLost { server: config.mysql.to_string() }),
        worked = work => worked,
    }
}
