//! Both ends are met at once, since over a link each of them takes several round trips: Kafka's clients connect while
//! MySQL is looked at, and what MySQL is asked next logs in while Kafka is busy.
//!
//! Nobody is fenced here, no checkpoint is read, and no dump begins. The order of what is told stays: an error of
//! MySQL's comes before one of Kafka's, and no topic is created for a relay that cannot read.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::future::{Either, select};
use tokio::task::JoinHandle;

use super::Relay;
use super::recovery::{batch_limits, ensure_server_id, look_at_mysql};
use crate::binlog::server;
use crate::binlog::{DumpLogin, Identity, Server};
use crate::config::Config;
use crate::ends::{
    self, binlog_error, blocking, open_checkpoint_topic, publish_error, topics_error,
};
use crate::error::Error;
use crate::kafka::early::Wanted;
use crate::kafka::{Delivery, Early, Reader};
use crate::lease::LeaseLogin;
use crate::panics;
use crate::publish::idempotent::Idempotent;
use crate::publish::transactional::Connected;
use crate::telemetry::metrics::Peer;
use crate::topics::Topics;

/// Both ends, and what connects for later.
pub(super) struct Met {
    pub server: Server,
    pub identity: Identity,
    pub topics: Topics,
    pub cluster_id: Arc<str>,
    /// They fence all predecessors when they are initialised.
    pub lanes: Connected,
    /// In `idempotent` delivery the producer of records.
    pub idempotent: Task<Result<Option<Idempotent>, Error>>,
    /// Connected, and not read yet.
    pub checkpoint_topic: Task<Result<Reader, Error>>,
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

/// Work that goes on by itself, and is given up when nobody waits for it any more.
pub(super) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    fn spawn(work: impl Future<Output = T> + Send + 'static) -> Task<T> {
        Task(tokio::spawn(work))
    }

    /// Waits for its end; once.
    ///
    /// # Errors
    /// It panicked.
    pub async fn done(&mut self) -> Result<T, Error> {
        (&mut self.0).await.map_err(|error| {
            let panic = error.try_into_panic().map(|panic| panics::words(&*panic));
            Error::Task(panic.unwrap_or_else(|error| error.to_string()))
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Meets both ends.
///
/// # Errors
/// Either cannot be reached, or does not fit.
pub(super) async fn meet(relay: &Relay<'_>) -> Result<Met, Error> {
    let config = relay.config;
    let wanted = Wanted(Early::default());
    let (mysql, kafka) = {
        let mysql = pin!(meet_mysql(relay));
        let kafka = pin!(Clients::connect(config, relay.batch_bytes_max, &wanted.0));
        // As long as MySQL is away, Kafka is not bothered.
        let is_mysql_away = relay.failed == Some(Some(Peer::MySql));
        match is_mysql_away {
            true => (mysql.await?, kafka.await),
            false => match select(mysql, kafka).await {
                Either::Left((mysql, kafka)) => (mysql?, kafka.await),
                Either::Right((kafka, mysql)) => (mysql.await?, kafka),
            },
        }
    };
    let (mut server, identity) = mysql;
    let Clients { topics, cluster_id, mut lanes, idempotent, checkpoint_topic } =
        kafka?.with_checkpoint_topic(config, relay.batch_bytes_max).await?;
    relay.telemetry.connect(Peer::Kafka);
    tracing::debug!(%cluster_id, "Kafka is there");
    ensure_server_id(config, &mut server, &ends::replica(config, &cluster_id)).await?;
    server.forget_ahead();
    let logins = log_in(config, &cluster_id, &server);
    let lanes = lanes.done().await??;
    Ok(Met { server, identity, topics, cluster_id, lanes, idempotent, checkpoint_topic, logins })
}

async fn meet_mysql(relay: &Relay<'_>) -> Result<(Server, Identity), Error> {
    let config = relay.config;
    let (mut server, identity) = look_at_mysql(config).await?;
    let clock = server.clock().await.map_err(|source| binlog_error(config, source.into()))?;
    relay.telemetry.meet(&identity.version, identity.server_uuid.to_string(), clock);
    tracing::debug!(server = %config.mysql, "MySQL is fit");
    Ok((server, identity))
}

/// The dump is asked for, and the lock taken, when the claim is stored.
fn log_in(config: &Config, cluster_id: &str, server: &Server) -> Logins {
    let server_uuid = server.server_uuid().map(str::to_owned);
    let lock = (config.publish.delivery == Delivery::Idempotent).then(|| {
        let (options, uuid) = (config.mysql.clone(), server_uuid.clone().unwrap_or_default());
        Task::spawn(async move { LeaseLogin::new(&options, &uuid).await })
    });
    let (options, replica) = (config.mysql.clone(), ends::replica(config, cluster_id));
    let dump = async move { DumpLogin::new(&options, &replica, server_uuid.as_deref()).await };
    Logins { dump: Task::spawn(dump), lock }
}

/// What asks and tells Kafka.
struct Clients {
    topics: Topics,
    cluster_id: Arc<str>,
    lanes: Task<Result<Connected, Error>>,
    idempotent: Task<Result<Option<Idempotent>, Error>>,
    checkpoint_topic: Task<Result<Reader, Error>>,
}

/// Clients before it is known whether there is a checkpoint topic.
struct Connecting {
    clients: Clients,
    cut_off: Arc<AtomicBool>,
    looked: Option<crate::topics::Looked>,
}

impl Clients {
    async fn connect(
        config: &Config,
        batch_bytes_max: Option<usize>,
        early: &Early,
    ) -> Result<Connecting, Error> {
        let cut_off = Arc::<AtomicBool>::default();
        let lanes = connect_lanes(config, batch_bytes_max, cut_off.clone(), early.clone());
        let (topics, cluster_id) = ends::connect_kafka(config).await?;
        early.note_answered();
        let idempotent = connect_idempotent(config, batch_bytes_max, cut_off.clone());
        let checkpoint_topic = connect_reader(config);
        let looked = topics.look_at(&config.checkpoint.topic).await;
        let looked = looked.map_err(|source| topics_error(config, source))?;
        let clients = Clients { topics, cluster_id, lanes, idempotent, checkpoint_topic };
        Ok(Connecting { clients, cut_off, looked })
    }
}

impl Connecting {
    /// Creates the checkpoint topic where that is wanted.
    async fn with_checkpoint_topic(
        self,
        config: &Config,
        batch_bytes_max: Option<usize>,
    ) -> Result<Clients, Error> {
        let Connecting { mut clients, cut_off, looked } = self;
        let is_missing = looked.is_none();
        let ensured =
            clients.topics.ensure_checkpoint_topic(&config.checkpoint.topic, looked).await;
        ensured.map_err(|source| topics_error(config, source))?;
        if is_missing {
            // To these clients it is unknown, and librdkafka does not ask again at once.
            clients.lanes = connect_lanes(config, batch_bytes_max, cut_off, Early::not());
            clients.checkpoint_topic = connect_reader(config);
        }
        Ok(clients)
    }
}

fn connect_lanes(
    config: &Config,
    batch_bytes_max: Option<usize>,
    cut_off: Arc<AtomicBool>,
    early: Early,
) -> Task<Result<Connected, Error>> {
    let config = config.clone();
    Task::spawn(async move {
        let mut opening = ends::opening(&config);
        (opening.batch_bytes_max, opening.cut_off) = (batch_bytes_max, cut_off);
        opening.early = early;
        let connect = move || Connected::connect(opening);
        blocking(connect).await?.map_err(|source| publish_error(&config, source))
    })
}

/// The producer of `idempotent` delivery; `None` in the other.
fn connect_idempotent(
    config: &Config,
    batch_bytes_max: Option<usize>,
    cut_off: Arc<AtomicBool>,
) -> Task<Result<Option<Idempotent>, Error>> {
    let config = config.clone();
    Task::spawn(async move {
        if config.publish.delivery == Delivery::ExactlyOnce {
            return Ok(None);
        }
        let (kafka, options) = (config.kafka.clone(), config.publish.clone());
        let (topic, limits) = (config.checkpoint.topic.clone(), batch_limits(&config));
        let open =
            move || Idempotent::open(&kafka, &options, &topic, limits, batch_bytes_max, cut_off);
        blocking(open).await?.map(Some).map_err(|source| publish_error(&config, source))
    })
}

fn connect_reader(config: &Config) -> Task<Result<Reader, Error>> {
    let config = config.clone();
    let connect = move || {
        let reader = open_checkpoint_topic(&config)?;
        reader.connect();
        Ok(reader)
    };
    Task::spawn(async move { blocking(connect).await? })
}
