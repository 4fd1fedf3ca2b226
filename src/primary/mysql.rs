//! A MySQL server as the primary: connects, asks, and logs in before it is needed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Dumping, Lock, Locks, Primaries, Primary};
use crate::binlog::{
    self, DumpLogin, Identity, Interest, MysqlOptions, Replica, Server, Source, Start, Stream,
    TableFilter, server, start,
};
use crate::config::Config;
use crate::connect::{binlog_error, preflight_error};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::lease::{self, Lease, LeaseLogin, Taken};
use crate::preflight;
use crate::tasks::Task;
use crate::telemetry::Causes;
use crate::telemetry::clock::ServerClock;

/// The MySQL server of a configuration.
#[derive(Debug, Clone, Copy)]
pub struct MySql<'a>(pub &'a Config);

impl<'a> Primaries for MySql<'a> {
    type Primary = MySqlPrimary<'a>;

    async fn connect(&self) -> Result<MySqlPrimary<'a>, Error> {
        let MySql(config) = *self;
        let (mut server, identity) = self.look().await?;
        let clock = server.clock().await.map_err(|source| binlog_error(config, source.into()))?;
        tracing::debug!(server = %config.mysql, "MySQL is fit");
        Ok(MySqlPrimary { config, server, identity, clock, registered: None })
    }

    async fn end_dump(&self, replica: &Replica) {
        if let Err(error) = end_dump(&self.0.mysql, replica).await {
            tracing::warn!(
                "a relay that is running learns with its next row only that it was fenced: {}",
                Causes(&error)
            );
        }
    }
}

impl MySql<'_> {
    /// Connects to a fit server, and asks in advance what a relay asks next.
    ///
    /// # Errors
    /// As [`Primaries::connect`].
    pub async fn look(&self) -> Result<(Server, Identity), Error> {
        let config = self.0;
        let failed = |source: binlog::server::Error| binlog_error(config, source.into());
        let mut server = Server::connect(&config.mysql).await.map_err(failed)?;
        preflight::mysql::ask_ahead(&mut server).await.map_err(failed)?;
        let identity = server.identity().await.map_err(failed)?;
        preflight::mysql::ensure(&mut server, &identity, &config.outbox)
            .await
            .map_err(|source| preflight_error(config, source))?;
        Ok((server, identity))
    }
}

async fn end_dump(options: &MysqlOptions, replica: &Replica) -> Result<(), binlog::Error> {
    let mut server = Server::connect(options).await?;
    let start = Start {
        read_from: start::dumpable(server.binlog_end().await?),
        gtid_set: None,
        file_timestamp: None,
        start_offset: None,
        gtids_are_complete: false,
    };
    let mut source = open_without_rows(options, replica, start, server).await?;
    // The first event shows that the server has begun to send.
    let read = source.read().await;
    close(source).await;
    read
}

/// Opens a dump without reading rows.
///
/// # Errors
/// The server refuses it.
pub async fn open_without_rows(
    options: &MysqlOptions,
    replica: &Replica,
    start: Start,
    server: Server,
) -> Result<Source, binlog::Error> {
    let filter = Arc::new(|_: &str, _: &str| Interest::None);
    Source::open(None, options, replica, start, server, filter).await
}

/// Ends a dump.
pub async fn close(source: Source) {
    // It does not matter if the server does not learn of the end.
    if let Err(error) = source.close().await {
        tracing::debug!(%error, "close the dump connection");
    }
}

/// A connected MySQL server.
pub struct MySqlPrimary<'a> {
    config: &'a Config,
    server: Server,
    identity: Identity,
    clock: ServerClock,
    registered: Option<Registered>,
}

/// The relay's replica id, and connections that are still unused.
struct Registered {
    replica: Replica,
    dump: Task<Result<DumpLogin, server::Error>>,
    lock: Option<Task<Result<LeaseLogin, server::Error>>>,
}

impl<'a> Primary for MySqlPrimary<'a> {
    type Stream = Box<dyn Stream>;
    type Server = Server;
    type Locks = MySqlLocks<'a>;

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn clock(&self) -> ServerClock {
        self.clock
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    async fn register(&mut self, replica: Replica) -> Result<(), Error> {
        let ensured = preflight::mysql::ensure_server_id(&mut self.server, &replica).await;
        ensured.map_err(|source| preflight_error(self.config, source))?;
        self.server.forget_ahead();
        self.registered = Some(log_in(self.config, replica, &self.server));
        Ok(())
    }

    async fn ask_ahead(&mut self) -> bool {
        self.server.ask_binlogs_ahead(self.identity.has_gtids).await.is_ok()
    }

    fn forget_ahead(&mut self) {
        self.server.forget_ahead();
    }

    async fn dump(self, start: Start, filter: TableFilter) -> Result<Dumping<Self>, Error> {
        let MySqlPrimary { config, server, registered, .. } = self;
        let Registered { replica, mut dump, lock } = registered.expect("it registers before");
        // If that failed, connect again, which reports the reason.
        let login = dump.done().await.ok().and_then(Result::ok);
        let source = Source::open(login, &config.mysql, &replica, start, server, filter).await;
        let source = source.map_err(|source| binlog_error(config, source))?;
        Ok(Dumping { source, locks: MySqlLocks { config, login: lock } })
    }
}

/// The dump is opened, and the lock taken, after the claim is stored.
fn log_in(config: &Config, replica: Replica, server: &Server) -> Registered {
    let server_uuid = server.server_uuid().map(str::to_owned);
    let lock = (config.kafka.publish.delivery == Delivery::Idempotent).then(|| {
        let (options, uuid) = (config.mysql.clone(), server_uuid.clone().unwrap_or_default());
        Task::spawn(async move { LeaseLogin::new(&options, &uuid).await })
    });
    let (options, of) = (config.mysql.clone(), replica.clone());
    let dump = async move { DumpLogin::new(&options, &of, server_uuid.as_deref()).await };
    Registered { replica, dump: Task::spawn(dump), lock }
}

/// The named locks of a MySQL server.
pub struct MySqlLocks<'a> {
    config: &'a Config,
    login: Option<Task<Result<LeaseLogin, server::Error>>>,
}

impl Locks for MySqlLocks<'_> {
    type Server = Server;
    type Lock = Lease;

    async fn take(
        &mut self,
        server: &mut Server,
        name: String,
        patience: Duration,
    ) -> Result<Taken, Error> {
        let login = match self.login.take() {
            Some(mut login) => login.done().await.ok().and_then(Result::ok),
            None => None,
        };
        let taken = lease::take(server, &self.config.mysql, name, patience, login).await;
        taken.map_err(|source| binlog_error(self.config, source.into()))
    }

    async fn end_holder(&self, server: &mut Server, name: &str) -> Result<bool, Error> {
        let ended = lease::end_holder(server, name).await;
        ended.map_err(|source| binlog_error(self.config, source.into()))
    }
}

impl Lock for Lease {
    async fn lost(&mut self) {
        Lease::lost(self).await;
    }
}

/// A replica id that nobody else has.
#[must_use]
pub fn replica_of_nobody() -> Replica {
    let id = uuid::Uuid::new_v4();
    let [a, b, c, d, ..] = id.into_bytes();
    Replica {
        server_id: NonZeroU32::new(u32::from_be_bytes([a, b, c, d])).unwrap_or(NonZeroU32::MAX),
        uuid: crate::coordinates::Uuid::from_bytes(id.into_bytes()),
    }
}
