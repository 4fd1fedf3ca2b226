//! Connects to the primary and asks it, without changing anything there: what `run` does before it fences anybody, and
//! all that `check` does. Also the relay's identity as a replica.

use std::num::NonZeroU32;

use sha2::{Digest, Sha256};

use crate::binlog::start::Binlogs;
use crate::binlog::{self, Identity, Replica, Server, Start, start};
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::config::{Config, FirstStart};
use crate::coordinates::Uuid;
use crate::error::Error;
use crate::outbox;
use crate::preflight;

/// Logs in to MySQL and asks for its identity.
///
/// # Errors
/// It cannot be reached, or refuses the login.
pub async fn connect_mysql(config: &Config) -> Result<(Server, Identity), Error> {
    let failed = |source: binlog::server::Error| binlog_error(config, source.into());
    let mut server = Server::connect(&config.mysql).await.map_err(failed)?;
    let identity = server.identity().await.map_err(failed)?;
    Ok((server, identity))
}

/// Compares `[[outbox]]` with the configuration under which a checkpoint was written.
///
/// # Errors
/// The checkpoint counts rows that would be counted differently now.
pub fn ensure_continuable(checkpoint: &Checkpoint, fingerprint: &str) -> Result<(), Error> {
    let Some(own) = checkpoint.outbox_fingerprint.as_deref() else { return Ok(()) };
    if checkpoint.rows_done > 0 && outbox::counted_by(own) != outbox::counted_by(fingerprint) {
        return Err(Error::OutboxChanged);
    }
    if checkpoint.has_unacknowledged_tail() && own != fingerprint {
        return Err(Error::OutboxChangedBehind);
    }
    Ok(())
}

/// Where reading begins: at the checkpoint, or at `start_from` if there is none.
///
/// # Errors
/// The server does not have the position, or none is given.
pub async fn find_start(
    config: &Config,
    server: &mut impl Binlogs,
    identity: &Identity,
    stored: Option<&Checkpoint>,
) -> Result<Start, Error> {
    let (found, origin) = match (stored, &config.start_from) {
        (Some(checkpoint), _) => {
            let resume = checkpoint.resume().expect("a checkpoint is checked when it is read");
            let found = start::resume(server, identity, &resume).await;
            (found, start::Origin::Checkpoint(resume.coordinates))
        }
        (None, Some(FirstStart::At(from))) => {
            (start::resolve(server, identity, from).await, start::Origin::StartFrom(from.clone()))
        }
        // Debezium's offsets became a checkpoint before.
        (None, Some(FirstStart::Debezium(_)) | None) => return Err(no_start(config)),
    };
    found.map_err(|source| start_error(config, origin, source))
}

/// An error about a position, with its origin.
#[must_use]
pub fn start_error(config: &Config, origin: start::Origin, source: start::Error) -> Error {
    match source {
        // Not about the position.
        start::Error::Server(source) => binlog_error(config, source.into()),
        source => Error::Start { server: config.mysql.to_string(), origin, source },
    }
}

/// Neither a checkpoint nor `start_from` says where to begin.
#[must_use]
pub fn no_start(config: &Config) -> Error {
    let CheckpointOptions { topic, key } = config.kafka.checkpoint.clone();
    Error::NoStart { key, topic }
}

/// A relay always has the same replica id, and no other relay has it: not even one of the same name on another Kafka
/// cluster, or with another checkpoint topic.
#[must_use]
pub fn replica(config: &Config, cluster_id: &str) -> Replica {
    replica_named(config, &config.name, cluster_id)
}

/// The replica id of a relay with this name and this checkpoint topic.
#[must_use]
pub fn replica_named(config: &Config, name: &str, cluster_id: &str) -> Replica {
    let hash = hash(name, cluster_id, &config.kafka.checkpoint.topic);
    let id = u32::from_be_bytes(hash[..4].try_into().expect("four bytes"));
    Replica {
        server_id: config.mysql.server_id.or(NonZeroU32::new(id)).unwrap_or(NonZeroU32::MAX),
        uuid: uuid_of(&hash),
    }
}

/// The name of the checkpoint's owner, if it is another relay.
#[must_use]
pub fn other_owner(config: &Config, stored: Option<&Checkpoint>) -> Option<String> {
    stored?.name.clone().filter(|owner| *owner != config.name)
}

/// The id of the checkpoint: relays that resume at the same checkpoint have the same id, under any name. If the key is
/// the relay's name, this is its replica UUID.
#[must_use]
pub fn place_id(config: &Config, cluster_id: &str) -> Uuid {
    uuid_of(&hash(&config.kafka.checkpoint.key, cluster_id, &config.kafka.checkpoint.topic))
}

fn hash(name: &str, cluster_id: &str, topic: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [name, cluster_id, topic] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn uuid_of(hash: &[u8; 32]) -> Uuid {
    let bytes = hash[4..20].try_into().expect("sixteen bytes");
    Uuid::from_bytes(uuid::Builder::from_sha1_bytes(bytes).into_uuid().into_bytes())
}

/// An error, with the address of the server.
#[must_use]
pub fn preflight_error(config: &Config, source: preflight::mysql::Error) -> Error {
    Error::Preflight { server: config.mysql.to_string(), source }
}

/// An error, with the address of the server.
#[must_use]
pub fn binlog_error(config: &Config, source: binlog::Error) -> Error {
    Error::Binlog { server: config.mysql.to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(overrides: &[&str]) -> Config {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
        let overrides = ["mysql.password=x"].iter().chain(overrides).map(|it| (*it).to_owned());
        Config::load(&path, &overrides.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn relays_of_one_place_have_one_place_id_and_each_is_a_replica_of_its_own() {
        let a = config(&["name=a"]);
        let b = config(&["name=b", "kafka.checkpoint_key=a"]);
        assert_eq!(place_id(&a, "cluster"), place_id(&b, "cluster"));
        assert_eq!(place_id(&a, "cluster"), replica(&a, "cluster").uuid);
        assert_ne!(replica(&a, "cluster").uuid, replica(&b, "cluster").uuid);
        assert_eq!(replica_named(&b, "a", "cluster"), replica(&a, "cluster"));
        for other in [
            config(&["name=a", "kafka.checkpoint_key=A"]),
            config(&["name=a", "kafka.checkpoint_key=a "]),
            config(&["name=a", "kafka.checkpoint_topic=another"]),
        ] {
            assert_ne!(place_id(&a, "cluster"), place_id(&other, "cluster"));
        }
        assert_ne!(place_id(&a, "cluster"), place_id(&a, "cluster2"));
    }
}
