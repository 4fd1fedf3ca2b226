//! The one way into a session: from configuration and checkpoint to both ends, connected.
//!
//! MySQL is looked at first, so that a relay that cannot read does not fence one that can. Then Kafka: all
//! transactional ids are initialised, the checkpoint is read and claimed, and only then the dump begins.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::line::{Beginning, Line, Options, Signature, Skip};
use super::{BACKOFF_MAX, CLAIM_PAUSE, Relay};
use crate::binlog::{self, Identity, Replica, Server, Source, Start, TableFilter, start};
use crate::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::coordinates::Uuid;
use crate::error::{Error, Fate};
use crate::publish::Publisher;
use crate::publish::transactional::Transactional;
use crate::topics::Topics;
use crate::{kafka, outbox, preflight, publish};

/// Fences all predecessors, reads the checkpoint and connects both ends there.
///
/// # Errors
/// Either end cannot be reached, or does not fit the checkpoint.
pub(super) async fn recover(relay: &mut Relay<'_>) -> Result<(Source, Line), Error> {
    let config = relay.config;
    if relay.has_claimed {
        // Who was cut off or paused may have been replaced: look before fencing the one that did.
        ensure_not_replaced(relay, look_at_checkpoint(config).await?.as_ref())?;
    }
    let (mut server, identity) = connect_mysql(config).await?;
    tracing::debug!(server = %config.mysql, "MySQL is fit");
    let (topics, cluster_id) = connect_kafka(config).await?;
    tracing::debug!(%cluster_id, "Kafka is there");
    let transactional = fence(relay).await?;
    tracing::debug!("fenced all predecessors");
    let stored = read_checkpoint(config).await?;
    tracing::debug!(is_there = stored.is_some(), "read the checkpoint");
    ensure_not_replaced(relay, stored.as_ref())?;
    ensure_not_gone(relay, stored.as_ref())?;

    let fingerprint = outbox::fingerprint(&config.outbox);
    if let Some(checkpoint) = &stored {
        ensure_continuable(checkpoint, &fingerprint)?;
    }
    let start = find_start(config, &mut server, &identity, stored.as_ref()).await?;
    let signature = Signature {
        server_uuid: identity.server_uuid.to_string(),
        generation: generation(stored.as_ref()),
        instance: relay.instance.clone(),
        outbox_fingerprint: fingerprint,
    };
    let publisher = Publisher::start(transactional).map_err(Error::Thread)?;
    let claim = claim(&start, stored.as_ref(), &signature);
    let beginning = Beginning {
        sequence: stored.as_ref().map_or(0, |checkpoint| checkpoint.sequence),
        skip: skip(stored.as_ref()),
        stored: claim.resume().ok().map(|resume| resume.coordinates),
        signature,
    };
    let mut line = Line::new(line_options(relay), publisher, topics, beginning);
    relay.predecessor = stored.and_then(|checkpoint| checkpoint.instance);
    line.claim(claim).await?;
    (relay.predecessor, relay.has_claimed) = (None, true);
    tracing::info!(
        server = %config.mysql, version = identity.version, server_uuid = %identity.server_uuid,
        read_from = %start.read_from, relay_after_offset = start.start_offset, "relaying"
    );
    let replica = replica(config, &cluster_id);
    let filter = table_filter(config);
    let source =
        Source::open(&config.mysql, &replica, start, server, filter, relay.silence_max).await;
    Ok((source.map_err(|source| binlog_error(config, source))?, line))
}

/// Who has taken over from this instance, and when its last checkpoint was written; `None` when nobody has.
///
/// # Errors
/// The checkpoint will never be readable.
pub(super) async fn successor(relay: &Relay<'_>) -> Result<Option<(String, String)>, Error> {
    loop {
        tokio::time::sleep(CLAIM_PAUSE).await;
        match read_checkpoint(relay.config).await {
            Ok(checkpoint) => {
                return Ok(relay.replaced_by(checkpoint.as_ref()));
            }
            // Without the answer we must not fence anybody.
            Err(error) if error.fate() == Fate::Retry => {
                let causes = crate::telemetry::Causes(&error);
                tracing::warn!(
                    "fenced, and the checkpoint cannot be read to see by whom: {causes}"
                );
                tokio::time::sleep(BACKOFF_MAX).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn ensure_not_replaced(relay: &Relay<'_>, stored: Option<&Checkpoint>) -> Result<(), Error> {
    match relay.replaced_by(stored).filter(|_| relay.has_claimed) {
        Some((instance, recorded_at)) => Err(Error::TakenOver { instance, recorded_at }),
        None => Ok(()),
    }
}

/// To begin anew in the middle of a run would repeat or lose rows.
fn ensure_not_gone(relay: &Relay<'_>, stored: Option<&Checkpoint>) -> Result<(), Error> {
    match stored.is_none() && relay.has_claimed {
        true => {
            let checkpoint::Options { topic, key } = relay.config.checkpoint.clone();
            Err(Error::CheckpointGone { key, topic })
        }
        false => Ok(()),
    }
}

impl Relay<'_> {
    /// The instance that claimed the checkpoint after this one, and when it wrote it. One that was there
    /// before is no successor.
    fn replaced_by(&self, stored: Option<&Checkpoint>) -> Option<(String, String)> {
        let checkpoint = stored?;
        let instance = checkpoint.instance.clone()?;
        let is_other = instance != self.instance && Some(&instance) != self.predecessor.as_ref();
        is_other.then(|| (instance, checkpoint.recorded_at.clone().unwrap_or_default()))
    }
}

/// Reads what is committed of the checkpoint by now, without waiting for transactions that are open: one of
/// our own may be, as long as nobody fenced it.
async fn look_at_checkpoint(config: &Config) -> Result<Option<Checkpoint>, Error> {
    none_without_topic(ask_checkpoint(config, checkpoint::look).await)
}

/// Reads the stored checkpoint; `None` also where there is no topic.
///
/// # Errors
/// It cannot be read.
pub async fn show_checkpoint(config: &Config) -> Result<Option<Checkpoint>, Error> {
    none_without_topic(read_checkpoint(config).await)
}

/// Reads the stored checkpoint from a topic that is there.
async fn read_checkpoint(config: &Config) -> Result<Option<Checkpoint>, Error> {
    ask_checkpoint(config, checkpoint::read).await
}

fn none_without_topic(
    stored: Result<Option<Checkpoint>, Error>,
) -> Result<Option<Checkpoint>, Error> {
    match stored {
        Err(Error::Checkpoint { source: checkpoint::Error::NoTopic { .. }, .. }) => Ok(None),
        stored => stored,
    }
}

type Ask = fn(
    &kafka::Options,
    &str,
    &checkpoint::Options,
) -> Result<Option<Checkpoint>, checkpoint::Error>;

async fn ask_checkpoint(config: &Config, ask: Ask) -> Result<Option<Checkpoint>, Error> {
    let (kafka, options) = (config.kafka.clone(), config.checkpoint.clone());
    let name = config.name.clone();
    blocking(move || ask(&kafka, &name, &options)).await?.map_err(|source| Error::Checkpoint {
        brokers: config.kafka.bootstrap_servers.clone(),
        source,
    })
}

async fn connect_mysql(config: &Config) -> Result<(Server, Identity), Error> {
    let failed = |source: binlog::server::Error| binlog_error(config, source.into());
    let mut server = Server::connect(&config.mysql).await.map_err(failed)?;
    let identity = server.identity().await.map_err(failed)?;
    preflight::mysql::ensure(&mut server, &identity, &config.outbox)
        .await
        .map_err(|source| Error::Preflight { server: config.mysql.to_string(), source })?;
    Ok((server, identity))
}

async fn connect_kafka(config: &Config) -> Result<(Topics, Arc<str>), Error> {
    let brokers = || config.kafka.bootstrap_servers.clone();
    let (kafka, name) = (config.kafka.clone(), config.name.clone());
    let connected = blocking(move || {
        let admin = kafka.admin_client(&name)?;
        let cluster_id = kafka::fetch_cluster_id(&admin)?;
        Ok((admin, cluster_id))
    });
    let (admin, cluster_id) =
        connected.await?.map_err(|source| Error::Kafka { brokers: brokers(), source })?;
    let topics = Topics::new(admin, config.topics);
    topics
        .ensure_checkpoint_topic(&config.checkpoint.topic)
        .await
        .map_err(|source| Error::Topics { brokers: brokers(), source })?;
    Ok((topics, cluster_id))
}

async fn fence(relay: &Relay<'_>) -> Result<Transactional, Error> {
    let config = relay.config;
    let (kafka, options) = (config.kafka.clone(), config.publish.clone());
    let (checkpoint, limits) = (config.checkpoint.clone(), config.batch);
    let batch_bytes_max = relay.batch_bytes_max;
    blocking(move || Transactional::open(&kafka, &options, &checkpoint, limits, batch_bytes_max))
        .await?
        .map_err(|source| publish_error(config, source))
}

fn ensure_continuable(checkpoint: &Checkpoint, fingerprint: &str) -> Result<(), Error> {
    let is_own_fingerprint =
        checkpoint.outbox_fingerprint.as_deref().is_none_or(|own| own == fingerprint);
    if checkpoint.rows_done > 0 && !is_own_fingerprint {
        return Err(Error::OutboxChanged);
    }
    let is_exactly_once =
        checkpoint.delivery.as_deref().is_none_or(|delivery| delivery == checkpoint::EXACTLY_ONCE);
    if !is_exactly_once && !checkpoint.clean {
        return Err(Error::UncleanIdempotent);
    }
    Ok(())
}

async fn find_start(
    config: &Config,
    server: &mut Server,
    identity: &Identity,
    stored: Option<&Checkpoint>,
) -> Result<Start, Error> {
    let (found, origin) = match (stored, &config.start_from) {
        (Some(checkpoint), _) => {
            let resume = checkpoint.resume().expect("a checkpoint is checked when it is read");
            let found = start::resume(server, identity, &resume).await;
            (found, start::Origin::Checkpoint(resume.coordinates))
        }
        (None, Some(from)) => {
            (start::resolve(server, identity, from).await, start::Origin::StartFrom(from.clone()))
        }
        (None, None) => {
            let checkpoint::Options { topic, key } = config.checkpoint.clone();
            return Err(Error::NoStart { key, topic });
        }
    };
    found.map_err(|source| match source {
        // Not about the place.
        start::Error::Server(source) => binlog_error(config, source.into()),
        source => Error::Start { server: config.mysql.to_string(), origin, source },
    })
}

/// A generation begins with every start that has none to go on with.
fn generation(stored: Option<&Checkpoint>) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    stored
        .and_then(|checkpoint| checkpoint.generation)
        .unwrap_or_else(|| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn skip(stored: Option<&Checkpoint>) -> Option<Skip> {
    let checkpoint = stored.filter(|checkpoint| checkpoint.rows_done > 0)?;
    let gtid = checkpoint.open_gtid().expect("a checkpoint is checked when it is read");
    Some(Skip { rows: checkpoint.rows_done, gtid })
}

/// The record that says that this instance goes on from here. A record of Eventuate's may stand inside a
/// transaction: its claim keeps the place and names no generation, so that it still counts as one of its.
fn claim(start: &Start, stored: Option<&Checkpoint>, signature: &Signature) -> Checkpoint {
    let claim = match stored {
        Some(stored) => Checkpoint { clean: false, ..stored.clone() },
        None => Checkpoint {
            server_uuid: Some(signature.server_uuid.clone()),
            generation: Some(signature.generation),
            ..Checkpoint::place(&start.place(), 0, None)
        },
    };
    signature.sign(claim)
}

fn line_options(relay: &Relay<'_>) -> Options {
    Options {
        name: relay.config.name.clone(),
        brokers: relay.config.kafka.bootstrap_servers.clone(),
        outboxes: relay.config.outbox.clone().into(),
        limits: relay.config.batch,
        batch_bytes_max: relay.batch_bytes_max.or_else(|| configured_batch_size(relay.config)),
    }
}

/// The user's own `batch.size`, which librdkafka keeps record batches below.
fn configured_batch_size(config: &Config) -> Option<usize> {
    config.kafka.properties.get("batch.size")?.reveal().ok()?.parse().ok()
}

fn table_filter(config: &Config) -> TableFilter {
    let outboxes = config.outbox.clone();
    Arc::new(move |database, table| {
        outboxes.iter().any(|outbox| outbox.table.matches(database, table))
    })
}

/// The same relay is always the same replica, and no other relay is: not even one of the same name on
/// another Kafka cluster or with another checkpoint topic.
fn replica(config: &Config, cluster_id: &str) -> Replica {
    let mut hash = Sha256::new();
    for part in [&config.name, cluster_id, &config.checkpoint.topic] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    let (id, uuid) = (&hash[..4], &hash[4..20]);
    let id = u32::from_be_bytes(id.try_into().expect("four bytes"));
    let uuid = uuid::Builder::from_sha1_bytes(uuid.try_into().expect("sixteen bytes"));
    Replica {
        server_id: config.mysql.server_id.or(NonZeroU32::new(id)).unwrap_or(NonZeroU32::MAX),
        uuid: Uuid::from_bytes(uuid.into_uuid().into_bytes()),
    }
}

/// Runs what waits for librdkafka on a thread of its own, so that signals are heard meanwhile.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))
}

fn binlog_error(config: &Config, source: binlog::Error) -> Error {
    Error::Binlog { server: config.mysql.to_string(), source }
}

fn publish_error(config: &Config, source: publish::Error) -> Error {
    Error::Publish { brokers: config.kafka.bootstrap_servers.clone(), source }
}
