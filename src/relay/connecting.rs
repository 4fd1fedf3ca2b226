//! Both ends are connected at once: a start waits for the slower one only, and not for both. What is needed later
//! connects meanwhile, too.
//!
//! Nothing is changed at either end, and nobody is fenced. The order of what is told stays: an error of MySQL's comes
//! before one of the sink's, and nothing is created there for a relay that cannot read.

use std::pin::pin;

use futures_util::future::{Either, select};

use super::Relay;
use crate::binlog::{self, DumpLogin, Identity, Replica, Server, server};
use crate::config::Config;
use crate::connect::{self, binlog_error, preflight_error};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::lease::LeaseLogin;
use crate::preflight;
use crate::sink::{Connector, Sink};
use crate::tasks::Task;
use crate::telemetry::metrics::Peer;

/// Both ends of a session.
pub(super) struct Ends<S> {
    pub primary: Primary,
    pub sink: S,
}

/// A connected server, which is fit to be relayed from.
pub(super) struct Primary {
    pub server: Server,
    pub identity: Identity,
    /// This relay, as the server's replica.
    pub replica: Replica,
    pub logins: Logins,
}

/// Connections to MySQL that nothing is asked on yet.
pub(super) struct Logins {
    dump: Task<Result<DumpLogin, server::Error>>,
    lock: Option<Task<Result<LeaseLogin, server::Error>>>,
}

impl Logins {
    /// `None` where it failed: whoever needs it tries again, and tells why not.
    pub async fn dump(&mut self) -> Option<DumpLogin> {
        self.dump.done().await.ok()?.ok()
    }

    /// The same of the lock's.
    pub async fn lock(self) -> Option<LeaseLogin> {
        self.lock?.done().await.ok()?.ok()
    }
}

/// Connects both ends.
///
/// # Errors
/// Either cannot be reached, or does not fit.
pub(super) async fn connect_ends<C: Connector>(
    relay: &Relay<'_, C>,
) -> Result<Ends<C::Sink>, Error> {
    let config = relay.config;
    let ((mut server, identity), sink) = {
        let mysql = pin!(connect_mysql(relay));
        let sink = pin!(relay.sink.connect(relay.batch_bytes_max));
        // As long as MySQL is away, the sink is not bothered.
        if relay.failed == Some(Some(Peer::MySql)) {
            (mysql.await?, sink.await)
        } else {
            match select(mysql, sink).await {
                Either::Left((mysql, sink)) => (mysql?, sink.await),
                Either::Right((sink, mysql)) => (mysql.await?, sink),
            }
        }
    };
    let sink = sink?;
    relay.telemetry.connect(Peer::Kafka);
    tracing::debug!(cluster_id = sink.cluster_id(), "the sink is connected");
    let replica = connect::replica(config, sink.cluster_id());
    let ensured = preflight::mysql::ensure_server_id(&mut server, &replica).await;
    ensured.map_err(|source| preflight_error(config, source))?;
    server.forget_ahead();
    let logins = log_in(config, &replica, &server);
    Ok(Ends { primary: Primary { server, identity, replica, logins }, sink })
}

async fn connect_mysql<C>(relay: &Relay<'_, C>) -> Result<(Server, Identity), Error> {
    let config = relay.config;
    let (mut server, identity) = look_at_mysql(config).await?;
    let clock = server.clock().await.map_err(|source| binlog_error(config, source.into()))?;
    relay.telemetry.meet(&identity.version, identity.server_uuid.to_string(), clock);
    tracing::debug!(server = %config.mysql, "MySQL is fit");
    Ok((server, identity))
}

/// Connects to a server that is fit, with answers left to what a relay asks next.
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

/// The dump is asked for, and the lock taken, when the claim is stored.
fn log_in(config: &Config, replica: &Replica, server: &Server) -> Logins {
    let server_uuid = server.server_uuid().map(str::to_owned);
    let lock = (config.kafka.publish.delivery == Delivery::Idempotent).then(|| {
        let (options, uuid) = (config.mysql.clone(), server_uuid.clone().unwrap_or_default());
        Task::spawn(async move { LeaseLogin::new(&options, &uuid).await })
    });
    let (options, replica) = (config.mysql.clone(), replica.clone());
    let dump = async move { DumpLogin::new(&options, &replica, server_uuid.as_deref()).await };
    Logins { dump: Task::spawn(dump), lock }
}
