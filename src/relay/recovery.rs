//! The one way into a session: from configuration and checkpoint to both ends, connected.
//!
//! MySQL is looked at first, so that a relay that cannot read does not fence one that can. Then Kafka: all
//! transactional ids are initialised, the checkpoint is read and claimed, and only then the dump begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::beginning::{Beginning, Options, Skip};
use super::line::Line;
use super::meeting::{Logins, Met, Task, meet};
use super::observe::Observer;
use super::owner::fence_owner;
use super::place::end_dump;
use super::predecessor::outlast_predecessor;
use super::signature::Signature;
use super::{CLAIM_PAUSE, Relay, backoff};
use crate::batch::Limits;
use crate::binlog::{self, Identity, Interest, Replica, Server, Source, Start, TableFilter};
use crate::checkpoint::{self, Checkpoint, Seen};
use crate::config::Config;
use crate::coordinates::Coordinates;
use crate::ends::{
    self, binlog_error, blocking, checkpoint_error, ensure_continuable, find_start,
    look_at_checkpoint, preflight_error, publish_error, read_checkpoint, read_checkpoint_of,
    topics_error,
};
use crate::error::Error;
use crate::kafka::{Delivery, Reader};
use crate::lease::Lease;
use crate::outbox::OutboxOptions;
use crate::publish::idempotent::{self, Idempotent};
use crate::publish::transactional::{self, Connected, Transactional};
use crate::publish::{Publisher, Stored};
use crate::resume::{self, Window};
use crate::telemetry::clock::micros_since_1970;
use crate::topics::Topics;
use crate::{outbox, preflight};

/// Fences all predecessors, reads the checkpoint and connects both ends there.
///
/// # Errors
/// Either end cannot be reached, or does not fit the checkpoint.
pub(super) async fn recover(relay: &mut Relay<'_>) -> Result<(Source, Line, Option<Lease>), Error> {
    let config = relay.config;
    if relay.has_claimed {
        // Who was cut off or paused may have been replaced: look before fencing the one that did.
        ensure_not_replaced(relay, look_at_checkpoint(config).await?.as_ref())?;
    }
    let Met {
        mut server,
        identity,
        mut topics,
        cluster_id,
        lanes,
        idempotent,
        mut checkpoint_topic,
        logins,
    } = meet(relay).await?;
    let (lanes, idempotent) = fence_all(config, lanes, idempotent).await?;
    tracing::debug!("fenced all predecessors");
    let topic = checkpoint_topic.done().await??;
    let (stored, seen, owner) = read_fenced(relay, topic, &mut server, &identity).await?;
    ensure_not_gone(relay, stored.as_ref())?;

    let fingerprint = outbox::fingerprint(&config.outbox);
    stored.as_ref().map_or(Ok(()), |stored| ensure_continuable(stored, &fingerprint))?;
    let start = find_start(config, &mut server, &identity, stored.as_ref()).await?;
    // Of a transaction of which a part is in Kafka, the rest counts.
    let start = match Skip::of(stored.as_ref()) {
        Some(_) => start,
        None => relay.cut.leave(config, &mut server, start).await?,
    };
    let ahead_until = ahead_until(config, &mut server, &start).await?;
    server.forget_ahead();
    let (generation, sequence) = numbering(stored.as_ref(), &identity);
    let signature = signature(relay, &identity, generation, fingerprint);
    let window = stored.as_ref().and_then(|stored| window(config, &identity, stored, generation));
    topics.note_created(stored.as_ref().map_or(0, |stored| stored.topics_created));
    let claim = claim(&start, stored.as_ref(), sequence, &signature, window.as_ref());
    relay.predecessor = stored.as_ref().and_then(|checkpoint| checkpoint.instance.clone());
    let (lanes, claim) = store_claim(config, lanes, claim, seen).await?;
    (relay.predecessor, relay.has_claimed) = (None, true);
    let publisher = start_publisher(lanes, idempotent, &claim.checkpoint).map_err(Error::Thread)?;
    let beginning = Beginning {
        sequence,
        skip: Skip::of(stored.as_ref()),
        window,
        stored: claim.checkpoint.resume().ok().map(|resume| resume.coordinates),
        signature,
        ahead_until,
    };
    let observer = Observer::new(relay.telemetry.clone(), relay.failed.is_none());
    let outboxes = outbox::as_on_server(&config.outbox, identity.folds_case);
    let mut line =
        Line::new(line_options(relay, &outboxes), publisher, topics, beginning, observer);
    line.note_claim(&claim);
    if let Some(owner) = owner {
        end_dump(config, &ends::replica_named(config, &owner, &cluster_id)).await;
    }
    tracing::info!(
        server = %config.mysql, version = identity.version, server_uuid = %identity.server_uuid,
        read_from = %start.read_from, relay_after_offset = start.start_offset, "relaying"
    );
    let filter = table_filter(outboxes);
    let (source, lock) =
        open_source(relay, &cluster_id, start, server, filter, logins, &mut line).await?;
    relay.telemetry.begin_session(relay.failed.take().flatten());
    Ok((source, line, lock))
}

/// Reads the checkpoint when all ids are initialised. MySQL is asked for its binlogs meanwhile, and answers when they
/// are looked at.
async fn read_fenced(
    relay: &Relay<'_>,
    topic: Reader,
    server: &mut Server,
    identity: &Identity,
) -> Result<(Option<Checkpoint>, Seen, Option<String>), Error> {
    // Nobody writes a later checkpoint any more, so what MySQL says now is as new as the one that is read.
    let (read, asked) = tokio::join!(
        read_checkpoint_of(relay.config, topic),
        server.ask_binlogs_ahead(identity.has_gtids)
    );
    let (stored, seen) = read?;
    tracing::debug!(is_there = stored.is_some(), "read the checkpoint");
    ensure_not_replaced(relay, stored.as_ref())?;
    let (stored, seen, owner) = fence_owner(relay, stored, seen).await?;
    // Until it was fenced, the other relay may have gone on.
    if owner.is_some() || asked.is_err() {
        server.forget_ahead();
    }
    Ok((stored, seen, owner))
}

async fn open_source(
    relay: &mut Relay<'_>,
    cluster_id: &str,
    start: Start,
    server: Server,
    filter: TableFilter,
    mut logins: Logins,
    line: &mut Line,
) -> Result<(Source, Option<Lease>), Error> {
    let config = relay.config;
    let replica = ends::replica(config, cluster_id);
    let login = logins.dump().await;
    let source = Source::open(login, &config.mysql, &replica, start, server, filter).await;
    let mut source = source.map_err(|source| binlog_error(config, source))?;
    let mut lock = None;
    if config.publish.delivery == Delivery::Idempotent || line.may_be_ahead() {
        let place_id = ends::place_id(config, cluster_id);
        let login = logins.lock().await;
        lock = outlast_predecessor(relay, place_id, source.server(), login, line).await?;
    }
    Ok((source, lock))
}

/// Where the binlog ends for now, if a GTID set is known: what is in the set ends there or before.
async fn ahead_until(
    config: &Config,
    server: &mut Server,
    start: &Start,
) -> Result<Option<Coordinates>, Error> {
    if start.gtid_set.is_none() {
        // The stream finds it, with what it has read.
        return Ok(None);
    }
    let end = server.binlog_end().await.map_err(|source| binlog_error(config, source.into()))?;
    Ok(Some(end))
}

fn signature(
    relay: &Relay<'_>,
    identity: &Identity,
    generation: u64,
    outbox_fingerprint: String,
) -> Signature {
    Signature {
        name: relay.config.name.clone(),
        server_uuid: identity.server_uuid.to_string(),
        generation,
        instance: relay.instance.clone(),
        outbox_fingerprint,
        delivery: relay.config.publish.delivery,
    }
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
            Err(error) if relay.waits_for(&error) => {
                let reason = error.reason();
                let pause = backoff::pause(u32::MAX, backoff::chance());
                tracing::warn!(
                    retry_in_ms = backoff::millis(pause),
                    hint = reason.hint.as_deref().map(tracing::field::display),
                    "fenced, and the checkpoint cannot be read to see by whom: {}",
                    reason.words
                );
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn ensure_not_replaced(
    relay: &Relay<'_>,
    stored: Option<&Checkpoint>,
) -> Result<(), Error> {
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

pub(super) async fn connect_mysql(config: &Config) -> Result<(Server, Identity), Error> {
    let (mut server, identity) = look_at_mysql(config).await?;
    server.forget_ahead();
    Ok((server, identity))
}

/// The same, with answers left to what a relay asks next.
pub(super) async fn look_at_mysql(config: &Config) -> Result<(Server, Identity), Error> {
    let failed = |source: binlog::server::Error| binlog_error(config, source.into());
    let mut server = Server::connect(&config.mysql).await.map_err(failed)?;
    preflight::mysql::ask_ahead(&mut server).await.map_err(failed)?;
    let identity = server.identity().await.map_err(failed)?;
    preflight::mysql::ensure(&mut server, &identity, &config.outbox)
        .await
        .map_err(|source| preflight_error(config, source))?;
    Ok((server, identity))
}

/// Connects to Kafka and creates the checkpoint topic where that is wanted.
pub(super) async fn connect_kafka(config: &Config) -> Result<(Topics, Arc<str>), Error> {
    let failed = |source| topics_error(config, source);
    let (mut topics, cluster_id) = ends::connect_kafka(config).await?;
    let topic = &config.checkpoint.topic;
    let looked = topics.look_at(topic).await.map_err(failed)?;
    topics.ensure_checkpoint_topic(topic, looked).await.map_err(failed)?;
    Ok((topics, cluster_id))
}

pub(super) async fn ensure_server_id(
    config: &Config,
    server: &mut Server,
    replica: &Replica,
) -> Result<(), Error> {
    let ensured = preflight::mysql::ensure_server_id(server, replica).await;
    ensured.map(drop).map_err(|source| preflight_error(config, source))
}

/// Fences all predecessors by the lanes; answers also with the producer of records of `idempotent` delivery.
async fn fence_all(
    config: &Config,
    lanes: Connected,
    mut idempotent: Task<Result<Option<Idempotent>, Error>>,
) -> Result<(Transactional, Option<Idempotent>), Error> {
    let fence = async { blocking(move || lanes.fence()).await };
    // Both are waited for, even where one fails: to fence must not outlast this.
    let (fenced, idempotent) = tokio::join!(fence, idempotent.done());
    Ok((fenced?.map_err(|source| publish_error(config, source))?, idempotent??))
}

/// Stores the claim, unless its own place in the topic shows that a later checkpoint than ours is there.
async fn store_claim(
    config: &Config,
    mut lanes: Transactional,
    claim: Checkpoint,
    seen: Seen,
) -> Result<(Transactional, Stored), Error> {
    let publish_error = |source| publish_error(config, source);
    let store = move || {
        let sent = lanes.send_claim(&claim)?;
        if let Err(error) = seen.ensure_last_before(sent.partition, sent.offset) {
            lanes.abort_claim();
            return Ok(Err(error));
        }
        lanes.commit_claim()?;
        Ok(Ok((lanes, Stored::claim(claim, sent.value))))
    };
    let stored = blocking(store).await?.map_err(publish_error)?;
    stored.map_err(|source| checkpoint_error(config, source))
}

fn start_publisher(
    lanes: Transactional,
    idempotent: Option<Idempotent>,
    claim: &Checkpoint,
) -> std::io::Result<Publisher> {
    match idempotent {
        Some(idempotent) => Publisher::idempotent(idempotent, lanes, claim.clone()),
        None => Publisher::transactional(lanes),
    }
}

/// Initialises all transactional ids of the relay: no other producer of it can write any more.
pub(super) async fn fence(
    config: &Config,
    batch_bytes_max: Option<usize>,
    cut_off: Arc<AtomicBool>,
) -> Result<Transactional, Error> {
    let mut opening = ends::opening(config);
    (opening.batch_bytes_max, opening.cut_off) = (batch_bytes_max, cut_off);
    blocking(move || Transactional::open(opening))
        .await?
        .map_err(|source| publish_error(config, source))
}

/// Generation, and number of the last relayed row. A generation begins with every start that has none to go on
/// with; and on another server, where rows of the same numbers may be in Kafka that are not the same rows.
fn numbering(stored: Option<&Checkpoint>, identity: &Identity) -> (u64, u64) {
    let now = now_millis();
    match stored {
        None => (now, 0),
        Some(stored) if is_ahead_elsewhere(stored, identity) => {
            (now.max(stored.generation.unwrap_or_default() + 1), 0)
        }
        Some(stored) => (stored.generation.unwrap_or(now), stored.sequence),
    }
}

/// Rows after the checkpoint may be in Kafka, in the order of another server.
fn is_ahead_elsewhere(stored: &Checkpoint, identity: &Identity) -> bool {
    let is = identity.server_uuid.to_string();
    stored.may_be_ahead() && stored.server_uuid.as_ref().is_some_and(|was| *was != is)
}

pub(super) fn now_millis() -> u64 {
    micros_since_1970(SystemTime::now()) / 1_000
}

/// The rows after the checkpoint that a predecessor may have sent; `None` when there are none.
fn window(
    config: &Config,
    identity: &Identity,
    stored: &Checkpoint,
    generation: u64,
) -> Option<Window> {
    if !stored.may_be_ahead() {
        return None;
    }
    if is_ahead_elsewhere(stored, identity) {
        // Transactions that were committed at once may stand in another order here.
        tracing::warn!(
            after = stored.sequence,
            "the checkpoint is of another server, and was not stored by a drain: rows that were sent after it are \
             sent again, in a new generation"
        );
        return None;
    }
    Some(Window {
        kafka: config.kafka.clone(),
        name: config.name.clone(),
        senders: resume::senders(&config.name, stored),
        partitions: stored.partitions.clone(),
        generation,
        after: stored.sequence,
        since_millis: stored
            .unacknowledged_since_millis()
            .expect("a checkpoint is checked when it is read")
            // Nothing says since when: since ever.
            .unwrap_or_default(),
        until: None,
        topics: HashMap::new(),
        reader: Some(resume::connect(&config.kafka, &config.name, &config.checkpoint.topic)),
    })
}

/// The record that says that this instance goes on from here. It names the generation from the first row on:
/// in `idempotent` delivery, rows are in Kafka before the next checkpoint.
fn claim(
    start: &Start,
    stored: Option<&Checkpoint>,
    sequence: u64,
    signature: &Signature,
    window: Option<&Window>,
) -> Checkpoint {
    let generation = Some(signature.generation);
    let claim = match stored {
        Some(stored) => Checkpoint {
            generation,
            sequence,
            clean: false,
            unacknowledged_since: None,
            unacknowledged_names: Vec::new(),
            partitions: None,
            ..stored.clone()
        },
        None => Checkpoint {
            server_uuid: Some(signature.server_uuid.clone()),
            generation,
            ..Checkpoint::place(&start.place(), 0, None)
        },
    };
    signature.sign(claim, window)
}

fn line_options(relay: &Relay<'_>, outboxes: &[OutboxOptions]) -> Options {
    let batches_on_their_way = match relay.config.publish.delivery {
        Delivery::ExactlyOnce => transactional::LANES,
        Delivery::Idempotent => idempotent::BATCHES_MAX,
    };
    Options {
        name: relay.config.name.clone(),
        brokers: relay.config.kafka.to_string(),
        outboxes: outboxes.into(),
        limits: batch_limits(relay.config),
        batches_on_their_way,
        batch_bytes_max: relay.batch_bytes_max.or_else(|| configured_batch_size(relay.config)),
        refused: relay.refused.clone(),
    }
}

pub(super) fn batch_limits(config: &Config) -> Limits {
    match config.publish.delivery {
        Delivery::ExactlyOnce => config.batch,
        Delivery::Idempotent => idempotent::batch_limits(config.batch),
    }
}

/// The user's own `batch.size`, which librdkafka keeps record batches below.
fn configured_batch_size(config: &Config) -> Option<usize> {
    config.kafka.properties.get("batch.size")?.reveal().ok()?.parse().ok()
}

fn table_filter(outboxes: Vec<OutboxOptions>) -> TableFilter {
    Arc::new(move |database, table| {
        let patterns = || outboxes.iter().map(|outbox| &outbox.table);
        if patterns().any(|pattern| pattern.matches(database, table)) {
            return Interest::Outbox;
        }
        match patterns().any(|pattern| pattern.leaves_out(database, table)) {
            true => Interest::Ghost,
            false => Interest::None,
        }
    })
}
