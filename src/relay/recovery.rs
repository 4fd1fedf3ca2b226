//! The one way into a session: from configuration and checkpoint to both ends, connected.
//!
//! Connect to both ends; take over from all predecessors; find the start; claim; open the dump; wait for a predecessor
//! that still sends. MySQL is looked at before anybody is fenced, so that a relay that cannot read does not fence one
//! that can.

use std::sync::Arc;
use std::time::SystemTime;

use super::connecting::{Ends, connect_ends};
use super::debezium_offsets;
use super::line::Line;
use super::line::ledger::Ledger;
use super::planted::{Bug, is_planted};
use super::predecessor::wait_for_predecessor;
use super::progress::Observer;
use super::resume_point::{LineOptions, RelayedPart, ResumePoint};
use super::stamp::Stamp;
use super::takeover::{TakenOver, take_over};
use super::{CLAIM_PAUSE, Relay, World, backoff};
use crate::binlog::start::Binlogs;
use crate::binlog::{Guard, Identity, Interest, Source, Start, TableFilter};
use crate::checkpoint::{Checkpoint, CheckpointOptions};
use crate::config::{Config, FirstStart};
use crate::connect::{self, binlog_error, ensure_continuable, find_start};
use crate::coordinates::Coordinates;
use crate::error::Error;
use crate::failpoint::failpoint;
use crate::outbox;
use crate::primary::{Dumping, Locks, Primaries, Primary};
use crate::resend::ResendWindow;
use crate::sink::{Connector, Guarantee, Sink};
use crate::telemetry::clock::micros_since_1970;

/// Both ends of a session, connected behind the checkpoint.
pub(super) struct Recovered<W: World> {
    pub source: SourceOf<W>,
    pub line: Line<DestinationsOf<W>>,
    /// Says that nobody else sends, where that is not the sink's guarantee.
    pub lock: Option<LockOf<W>>,
}

pub(super) type PrimaryOf<W> = <<W as World>::Primaries as Primaries>::Primary;
pub(super) type SourceOf<W> =
    Source<<PrimaryOf<W> as Primary>::Stream, <PrimaryOf<W> as Primary>::Server>;
pub(super) type LockOf<W> = <<PrimaryOf<W> as Primary>::Locks as Locks>::Lock;
pub(super) type DestinationsOf<W> =
    <<<W as World>::Sinks as Connector>::Sink as Sink>::Destinations;

/// Fences all predecessors, reads the checkpoint and connects both ends there.
///
/// # Errors
/// Either end cannot be reached, or does not fit the checkpoint.
pub(super) async fn recover<W: World>(relay: &mut Relay<'_, W>) -> Result<Recovered<W>, Error> {
    let config = relay.config;
    if relay.has_claimed {
        // We may have been replaced while disconnected. Read the checkpoint first, or we would fence our replacement.
        ensure_not_replaced(relay, relay.look().await?.as_ref())?;
    }
    let mut ends = connect_ends(relay).await?;
    failpoint!("ends-connected");
    let TakenOver { stored, owner } = take_over(relay, &mut ends).await?;
    let Ends { mut primary, sink } = ends;
    ensure_not_gone(relay, stored.as_ref())?;
    let stored = match (stored, &config.start_from) {
        (None, Some(FirstStart::Debezium(of))) => {
            Some(debezium_offsets::resolve(config, of).await?)
        }
        (stored, _) => stored,
    };
    let stored = stored.as_ref();

    let fingerprint = outbox::fingerprint(&config.outbox);
    stored.map_or(Ok(()), |stored| ensure_continuable(stored, &fingerprint))?;
    let identity = primary.identity().clone();
    let start = find_start(config, primary.server(), &identity, stored).await?;
    // Of a transaction that was relayed in part, the rest counts.
    let start = match RelayedPart::of(stored) {
        Some(_) => start,
        None => relay.cut.leave(config, primary.server(), start).await?,
    };
    let ahead_until = ahead_until(config, primary.server(), &start).await?;
    primary.forget_ahead();

    let resume_point = resume_point(relay, &identity, stored, &start, fingerprint);
    relay.predecessor = stored.and_then(|checkpoint| checkpoint.instance.clone());
    let (guarantee, cluster_id) = (sink.guarantee(), sink.cluster_id().to_owned());
    failpoint!("before-claim");
    relay.is_claim_sent = true;
    let claimed = sink.claim(claim(&start, stored, &resume_point)).await?;
    (relay.predecessor, relay.has_claimed) = (None, true);
    let outboxes = outbox::as_on_server(&config.outbox, identity.folds_case);
    let refusals = relay.refusals.clone();
    let options = LineOptions { outboxes: outboxes.as_slice().into(), refusals, ahead_until };
    let observer = Observer::new(relay.telemetry.clone(), relay.failed.is_none());
    let mut line = Line::new(options, Ledger::new(resume_point), claimed, observer);
    if let Some(owner) = owner {
        let replica = connect::replica_named(config, &owner, &cluster_id);
        relay.world.primaries().end_dump(&replica).await;
    }

    tracing::info!(
        server = %config.mysql, version = identity.version, server_uuid = %identity.server_uuid,
        read_from = %start.read_from, relay_after_offset = start.start_offset, "relaying"
    );
    failpoint!("before-dump");
    let Dumping { mut source, mut locks } = primary.dump(start, table_filter(outboxes)).await?;
    failpoint!("before-lock");
    // A predecessor that was fenced may still have records in flight, where they are in no transaction.
    let lock = if is_planted(Bug::PredecessorNotWaitedFor) {
        None
    } else if guarantee != Guarantee::Atomic || line.has_window() {
        let lock_id = connect::place_id(config, &cluster_id);
        wait_for_predecessor(relay, lock_id, source.server(), &mut locks, &mut line).await?
    } else {
        None
    };
    failpoint!("before-first-row");
    relay.telemetry.begin_session(relay.failed.take().flatten());
    Ok(Recovered { source, line, lock })
}

/// Where the binlog ends for now, if a GTID set is known: what is in the set ends there or before.
async fn ahead_until(
    config: &Config,
    server: &mut impl Binlogs,
    start: &Start,
) -> Result<Option<Coordinates>, Error> {
    if start.gtid_set.is_none() {
        // The stream finds it, with what it has read.
        return Ok(None);
    }
    let end = server.binlog_end().await.map_err(|source| binlog_error(config, source.into()))?;
    Ok(Some(end))
}

/// Where the numbering of rows goes on.
fn resume_point<W>(
    relay: &Relay<'_, W>,
    identity: &Identity,
    stored: Option<&Checkpoint>,
    start: &Start,
    outbox_fingerprint: String,
) -> ResumePoint {
    let (generation, sequence) = numbering(stored, identity);
    let config = relay.config;
    let plans = || config.outbox.iter().filter_map(|outbox| outbox.plan.as_ref());
    let window = stored.and_then(|stored| window(&config.name, identity, stored, generation));
    let window = window.map(|window| ResendWindow {
        has_row_timestamps: plans().any(|plan| plan.timestamp.is_some()),
        has_row_partitions: plans().any(|plan| plan.has_row_partitions()),
        ..window
    });
    let stamp = Stamp {
        name: config.name.clone(),
        server_uuid: identity.server_uuid.to_string(),
        generation,
        instance: relay.instance.clone(),
        outbox_fingerprint,
        delivery: config.kafka.publish.delivery,
    };
    let start = start.start_offset.map(|_| start.position().coordinates);
    ResumePoint { stamp, sequence, part: RelayedPart::of(stored), window, start }
}

/// Who has taken over from this instance, and when its last checkpoint was written; `None` when nobody has.
///
/// # Errors
/// The checkpoint will never be readable.
pub(super) async fn successor<W: World>(
    relay: &Relay<'_, W>,
) -> Result<Option<(String, String)>, Error> {
    loop {
        tokio::time::sleep(CLAIM_PAUSE).await;
        match relay.world.sinks().stored().await.map_err(Error::from) {
            Ok(checkpoint) => {
                return Ok(relay.replaced_by(checkpoint.as_ref()));
            }
            // Without the answer we must not fence anybody.
            Err(error) if relay.is_transient(&error) => {
                let reason = error.reason();
                let pause = backoff::pause(u32::MAX, relay.world.chance());
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

pub(super) fn ensure_not_replaced<W>(
    relay: &Relay<'_, W>,
    stored: Option<&Checkpoint>,
) -> Result<(), Error> {
    if is_planted(Bug::ReplacementNotSeen) {
        return Ok(());
    }
    match relay.replaced_by(stored).filter(|_| relay.has_claimed) {
        Some((instance, recorded_at)) => Err(Error::TakenOver { instance, recorded_at }),
        None => Ok(()),
    }
}

/// To begin anew in the middle of a run would repeat or lose rows.
fn ensure_not_gone<W>(relay: &Relay<'_, W>, stored: Option<&Checkpoint>) -> Result<(), Error> {
    if stored.is_none() && relay.has_claimed {
        let CheckpointOptions { topic, key } = relay.config.kafka.checkpoint.clone();
        return Err(Error::CheckpointGone { key, topic });
    }
    Ok(())
}

impl<W> Relay<'_, W> {
    /// The instance that claimed the checkpoint after this one, and when it wrote it. One that was there
    /// before is no successor.
    fn replaced_by(&self, stored: Option<&Checkpoint>) -> Option<(String, String)> {
        let checkpoint = stored?;
        let instance = checkpoint.instance.clone()?;
        let is_other = instance != self.instance && Some(&instance) != self.predecessor.as_ref();
        is_other.then(|| (instance, checkpoint.recorded_at.clone().unwrap_or_default()))
    }
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
        Some(stored) if is_planted(Bug::SequenceNotKept) => (stored.generation.unwrap_or(now), 0),
        Some(stored) => (stored.generation.unwrap_or(now), stored.sequence),
    }
}

/// Rows after the checkpoint may be in Kafka, in the order of another server.
fn is_ahead_elsewhere(stored: &Checkpoint, identity: &Identity) -> bool {
    let is = identity.server_uuid.to_string();
    stored.has_unacknowledged_tail() && stored.server_uuid.as_ref().is_some_and(|was| *was != is)
}

pub(super) fn now_millis() -> u64 {
    micros_since_1970(SystemTime::now()) / 1_000
}

/// The rows after the checkpoint that a predecessor may have sent; `None` where there are none, or none that can be
/// known again.
fn window(
    name: &str,
    identity: &Identity,
    stored: &Checkpoint,
    generation: u64,
) -> Option<ResendWindow> {
    if is_ahead_elsewhere(stored, identity) {
        // Transactions that were committed at once may stand in another order here.
        tracing::warn!(
            after = stored.sequence,
            "the checkpoint is of another server, and was not stored by a drain: rows that were sent after it are \
             sent again, in a new generation"
        );
        return None;
    }
    ResendWindow::behind(stored, name, generation)
}

/// The record that says that this instance goes on from here. It names the generation from the first row on:
/// in `idempotent` delivery, rows are sent before the next checkpoint.
fn claim(start: &Start, stored: Option<&Checkpoint>, resume_point: &ResumePoint) -> Checkpoint {
    let ResumePoint { stamp, sequence, window, .. } = resume_point;
    let generation = Some(stamp.generation);
    let claim = match stored {
        Some(stored) => Checkpoint {
            generation,
            sequence: *sequence,
            clean: false,
            unacknowledged_since: None,
            unacknowledged_names: Vec::new(),
            partitions: stored.partitions.clone().filter(|_| window.is_some()),
            ..stored.clone()
        },
        None => Checkpoint {
            server_uuid: Some(stamp.server_uuid.clone()),
            generation,
            ..Checkpoint::position(&start.position(), 0, None)
        },
    };
    stamp.sign(claim, window.as_ref())
}

pub(super) fn table_filter(outboxes: Vec<outbox::OutboxOptions>) -> TableFilter {
    Arc::new(move |database, table| {
        let is_match = |outbox: &&outbox::OutboxOptions| outbox.table.matches(database, table);
        let mut matches = outboxes.iter().filter(is_match).peekable();
        if matches.peek().is_some() {
            // Where several match, no row of the table is relayed. A change that one of them refuses still halts.
            let plans = matches.filter_map(|outbox| outbox.plan.as_ref());
            let guard = plans.fold(Guard::default(), |guard, plan| guard.and(plan.guard));
            return if guard == Guard::default() {
                Interest::Outbox
            } else {
                Interest::Guarded(guard)
            };
        }
        if outboxes.iter().any(|outbox| outbox.table.leaves_out(database, table)) {
            Interest::Ghost
        } else {
            Interest::None
        }
    })
}
