//! Whether a relay of this name is running, or one of another name that the checkpoint is of, found out without
//! disturbing it.
//!
//! Two signs tell: the server has our replica among those that it sends its binlog to, and a checkpoint that
//! no drain has closed. Either may be there a little longer than the relay, and the first is missing while a
//! relay pauses between two sessions, so both are looked at for some seconds. What keeps two writers apart
//! is not this but the fence.

use std::time::Duration;

use tokio::time::Instant;

use crate::binlog::server::RegisteredReplica;
use crate::binlog::{Replica, Server};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::connect;
use crate::error::Error;
use crate::sink::{About, Connector, SinkError, none_without_store};

const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The longest pause between two sessions is 5 s; the next one needs a moment until its dump begins.
const BETWEEN_SESSIONS: Duration = Duration::from_secs(6);

/// A replica that is gone is registered until the server could not send it a heartbeat: the first one goes
/// into the void, the second one fails. One more, and a moment for a busy server.
const FAILED_HEARTBEATS: u32 = 3;
const BUSY_SERVER: Duration = Duration::from_secs(1);

/// Looks until it is clear that no relay of this name runs, and none of the name that is in the checkpoint.
///
/// # Errors
/// One does, or either end cannot be asked.
pub(super) async fn ensure_absent(
    config: &Config,
    server: &mut Server,
    cluster_id: &str,
) -> Result<(), Error> {
    let before = last_word(config).await?;
    let owner = before.checkpoint().and_then(|stored| connect::other_owner(config, Some(stored)));
    let names = [Some(config.name.clone()), owner.clone()].into_iter().flatten();
    let replica = |name: String| (connect::replica_named(config, &name, cluster_id), name);
    let suspects: Vec<(Replica, String)> = names.map(replica).collect();
    let registered_max = config.mysql.heartbeat * FAILED_HEARTBEATS + BUSY_SERVER;
    let begun = Instant::now();
    let (mut since, mut was_registered, mut is_said) = (None, false, false);
    loop {
        match find_registered(config, server, &suspects).await? {
            Some((name, registered)) => {
                let since = *since.get_or_insert_with(Instant::now);
                // Who comes back is alive.
                if was_registered || since.elapsed() > registered_max {
                    return Err(running(config, name, Some(&registered), &before));
                }
            }
            None => {
                was_registered |= since.take().is_some();
                if before.is_closed() || begun.elapsed() > BETWEEN_SESSIONS {
                    break;
                }
            }
        }
        if !is_said {
            tracing::info!(
                name = config.name,
                "looking for some seconds whether a relay is running"
            );
            is_said = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    if last_word(config).await? == before {
        Ok(())
    } else {
        Err(running(config, owner.as_ref().unwrap_or(&config.name), None, &before))
    }
}

/// The first of the suspects that the server sends its binlog to, with its name.
async fn find_registered<'a>(
    config: &Config,
    server: &mut Server,
    suspects: &'a [(Replica, String)],
) -> Result<Option<(&'a str, RegisteredReplica)>, Error> {
    let replicas = server.replicas().await;
    let replicas = replicas.map_err(|source| connect::binlog_error(config, source.into()))?;
    Ok(replicas.into_iter().find_map(|registered| {
        let is_it = |(suspect, _): &&(Replica, String)| {
            registered.uuid.eq_ignore_ascii_case(&suspect.uuid.to_string())
        };
        let (_, name) = suspects.iter().find(is_it)?;
        Some((name.as_str(), registered))
    }))
}

/// What the topic says, as far as it is committed.
#[derive(Debug, PartialEq, Eq)]
enum LastWord {
    None,
    Unreadable,
    Checkpoint(Box<Checkpoint>),
}

impl LastWord {
    fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            LastWord::None | LastWord::Unreadable => None,
            LastWord::Checkpoint(checkpoint) => Some(checkpoint),
        }
    }

    /// Nobody wrote it who may be running still.
    fn is_closed(&self) -> bool {
        match self {
            LastWord::None => true,
            LastWord::Unreadable => false,
            LastWord::Checkpoint(checkpoint) => checkpoint.clean,
        }
    }
}

async fn last_word(config: &Config) -> Result<LastWord, Error> {
    match none_without_store(config.kafka.look().await) {
        Ok(None) => Ok(LastWord::None),
        Ok(Some(checkpoint)) => Ok(LastWord::Checkpoint(Box::new(checkpoint))),
        Err(SinkError { about: About::Unreadable(_), .. }) => Ok(LastWord::Unreadable),
        Err(error) => Err(error.into()),
    }
}

fn running(
    config: &Config,
    name: &str,
    registered: Option<&RegisteredReplica>,
    last_word: &LastWord,
) -> Error {
    let mut whom = match registered {
        Some(RegisteredReplica { server_id, host, uuid }) => {
            let host = if host.is_empty() { "an unnamed host" } else { host };
            format!(
                "it reads the binlog of MySQL {} from {host} (replica {}, server id {server_id})",
                config.mysql, uuid
            )
        }
        None => "it stored a checkpoint just now".to_owned(),
    };
    if let Some(checkpoint) = last_word.checkpoint()
        && let (Some(instance), Some(at)) = (&checkpoint.instance, &checkpoint.recorded_at)
    {
        whom.push_str(&format!("; the last checkpoint is of instance {instance}, written {at}"));
    }
    Error::Running { name: name.to_owned(), whom }
}
