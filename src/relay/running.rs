//! Finds out, without disturbing it, whether a relay of this name is running, or the relay of another name that owns
//! the checkpoint.
//!
//! There are two signs: the server sends its binlog to our replica id, and the checkpoint was not closed by a drain.
//! Both outlive the relay for a moment, and the first one is missing while a relay pauses between two sessions. So both
//! are watched for some seconds. This only prevents mistakes: the fence keeps two writers apart.

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

/// The server lists a vanished replica until a heartbeat to it fails. The first heartbeat is lost, the second one
/// fails. This is one more than that, and a moment for a busy server.
const FAILED_HEARTBEATS: u32 = 3;
const BUSY_SERVER: Duration = Duration::from_secs(1);

/// Watches until it is clear that no relay of this name runs, and none of the name in the checkpoint.
///
/// # Errors
/// One does, or an end cannot be asked.
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
                // A replica that has connected again is alive.
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

/// The first suspect that the server sends its binlog to, with its name.
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

/// The last committed checkpoint, as it is stored.
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

    /// No relay that wrote it can still be running.
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
