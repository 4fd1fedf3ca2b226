//! Connects both ends at the same time, so that a start waits for the slower one only. Connections that are needed
//! later are made meanwhile.
//!
//! This changes nothing at either end and fences nobody. If both ends fail, the primary's error is reported. A relay
//! that cannot read the primary creates nothing in the sink.

use std::pin::pin;

use futures_util::future::{Either, select};

use super::{Relay, World};
use crate::connect;
use crate::error::Error;
use crate::primary::{Primaries, Primary};
use crate::sink::{Connector, Sink};
use crate::telemetry::metrics::Peer;

/// Both ends of a session.
pub(super) struct Ends<P, S> {
    pub primary: P,
    pub sink: S,
}

/// Both ends of a relay's sessions.
pub(super) type EndsOf<W> =
    Ends<<<W as World>::Primaries as Primaries>::Primary, <<W as World>::Sinks as Connector>::Sink>;

/// Connects both ends.
///
/// # Errors
/// An end cannot be reached, or does not fit.
pub(super) async fn connect_ends<W: World>(relay: &Relay<'_, W>) -> Result<EndsOf<W>, Error> {
    let config = relay.config;
    let (mut primary, sink) = {
        let primary = pin!(connect_primary(relay));
        let sink = pin!(relay.world.sinks().connect(relay.batch_bytes_max));
        // While the primary is away, do not connect to the sink.
        if relay.failed == Some(Some(Peer::MySql)) {
            (primary.await?, sink.await)
        } else {
            match select(primary, sink).await {
                Either::Left((primary, sink)) => (primary?, sink.await),
                Either::Right((sink, primary)) => (primary.await?, sink),
            }
        }
    };
    let sink = sink?;
    relay.telemetry.connect(Peer::Kafka);
    tracing::debug!(cluster_id = sink.cluster_id(), "the sink is connected");
    primary.register(connect::replica(config, sink.cluster_id())).await?;
    Ok(Ends { primary, sink })
}

async fn connect_primary<W: World>(
    relay: &Relay<'_, W>,
) -> Result<<W::Primaries as Primaries>::Primary, Error> {
    let primary = relay.world.primaries().connect().await?;
    let identity = primary.identity();
    let server_uuid = identity.server_uuid.to_string();
    relay.telemetry.primary_connected(&identity.version, server_uuid, primary.clock());
    Ok(primary)
}
