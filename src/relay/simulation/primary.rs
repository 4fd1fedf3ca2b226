//! The model of a primary, as the relay connects to it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::database::Database;
use super::process::Process;
use super::world::Shared;
use crate::binlog::feed::{FeedStream, feed};
use crate::binlog::server::{self, BinlogFile};
use crate::binlog::start::Binlogs;
use crate::binlog::table::SchemaColumn;
use crate::binlog::{Catalog, Identity, Replica, Source, Start, TableFilter};
use crate::coordinates::{Coordinates, GtidSet, Uuid};
use crate::error::Error;
use crate::lease::Taken;
use crate::primary::{Dumping, Lock, Locks, Primaries, Primary};
use crate::telemetry::clock::{ServerClock, micros_since_1970};

/// Connects a process to the database.
#[derive(Clone)]
pub struct ModelPrimaries {
    pub shared: Arc<Shared>,
    pub process: Arc<Process>,
}

/// A connection to the database.
pub struct ModelPrimary {
    shared: Arc<Shared>,
    process: Arc<Process>,
    identity: Identity,
    server: ModelServer,
    replica: Option<Uuid>,
}

/// What answers questions about it.
pub struct ModelServer {
    shared: Arc<Shared>,
    process: Arc<Process>,
    server_uuid: Uuid,
}

impl Primaries for ModelPrimaries {
    type Primary = ModelPrimary;

    async fn connect(&self) -> Result<ModelPrimary, Error> {
        let ModelPrimaries { shared, process } = self.clone();
        shared.point(&process, || "connects to the primary".to_owned()).await;
        let (server_uuid, has_gtids) = {
            let database = shared.database();
            (database.server_uuid, database.has_gtids)
        };
        let identity = Identity {
            version: "8.0.31".to_owned(),
            server_uuid,
            is_mariadb: false,
            has_gtids,
            folds_case: false,
        };
        let server = ModelServer { shared: shared.clone(), process: process.clone(), server_uuid };
        Ok(ModelPrimary { shared, process, identity, server, replica: None })
    }

    async fn end_dump(&self, replica: &Replica) {
        self.shared.point(&self.process, || "ends the owner's dump".to_owned()).await;
        self.shared.database().end_dump(replica.uuid);
        self.shared.written.notify_waiters();
    }
}

impl Primary for ModelPrimary {
    type Stream = FeedStream;
    type Server = ModelServer;
    type Locks = ModelLocks;

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn clock(&self) -> ServerClock {
        let now = SystemTime::now();
        ServerClock::new(micros_since_1970(now), now)
    }

    fn server(&mut self) -> &mut ModelServer {
        &mut self.server
    }

    async fn register(&mut self, replica: Replica) -> Result<(), Error> {
        self.shared.point(&self.process, || "registers".to_owned()).await;
        self.replica = Some(replica.uuid);
        Ok(())
    }

    async fn ask_ahead(&mut self) -> bool {
        true
    }

    fn forget_ahead(&mut self) {}

    async fn dump(self, start: Start, filter: TableFilter) -> Result<Dumping<Self>, Error> {
        let ModelPrimary { shared, process, server, replica, .. } = self;
        let replica = replica.expect("it registers before");
        shared.point(&process, || format!("asks for the dump from {}", start.read_from)).await;
        let (feed, stream) = feed();
        let dump = {
            let mut database = shared.database();
            if database.server_uuid != server.server_uuid {
                let after = start.read_from.clone();
                let source = crate::binlog::Error::Ended { after };
                return Err(Error::Binlog { server: "db:3306".to_owned(), source });
            }
            let dump = database.open_dump(replica, process.id, feed);
            let (file, offset) = (start.read_from.file(), start.read_from.offset);
            for event in database.dump_head(file, offset) {
                database.push(replica, dump, &event);
            }
            dump
        };
        // The dump before it has ended.
        shared.written.notify_waiters();
        let dump = OpenDump { replica, number: dump };
        let pump = pump(shared.clone(), process.clone(), dump, start.read_from.clone());
        tokio::task::spawn_local(pump);
        let source = Source::over(stream, Duration::MAX, start, server, filter);
        let locks = ModelLocks { shared, process };
        Ok(Dumping { source, locks })
    }
}

/// A dump that was opened.
struct OpenDump {
    replica: Uuid,
    number: u64,
}

/// Sends events of the binlog as they are written, until the dump is ended.
async fn pump(shared: Arc<Shared>, process: Arc<Process>, dump: OpenDump, from: Coordinates) {
    let (mut file, mut offset) = (from.file().to_owned(), from.offset);
    loop {
        // It hears of what is written from here on.
        let written = shared.written.notified();
        let next = shared.database().event_at(&file, offset);
        let event = match next {
            Some((event, end)) => {
                offset = end;
                Some(event)
            }
            None => {
                let after = shared.database().file_after(&file);
                after.map(|after| {
                    let head = shared.database().dump_head(&after, 4).remove(0);
                    (file, offset) = (after, 4);
                    head
                })
            }
        };
        match event {
            Some(event) => {
                shared
                    .point(&process, || format!("is sent an event that ends at {file}:{offset}"))
                    .await;
                shared.database().push(dump.replica, dump.number, &event);
                if shared.below(4) == 0 {
                    tokio::task::yield_now().await;
                }
            }
            None => written.await,
        }
        if !shared.database().is_open(dump.replica, dump.number) {
            return;
        }
    }
}

impl ModelServer {
    async fn ask<T>(
        &self,
        what: &str,
        answer: impl FnOnce(&Database) -> T,
    ) -> Result<T, server::Error> {
        self.shared.point(&self.process, || format!("asks for {what}")).await;
        let database = self.shared.database();
        if database.server_uuid != self.server_uuid {
            let lost = mysql_async::Error::Driver(mysql_async::DriverError::ConnectionClosed);
            return Err(server::Error::MySql(lost));
        }
        Ok(answer(&database))
    }
}

impl Binlogs for ModelServer {
    async fn binlog_files(&mut self) -> Result<Vec<BinlogFile>, server::Error> {
        self.ask("the binlogs", Database::files).await
    }

    async fn binlog_end(&mut self) -> Result<Coordinates, server::Error> {
        self.ask("the end of the binlog", Database::end).await
    }

    async fn previous_gtids(&mut self, file: &str) -> Result<GtidSet, server::Error> {
        self.ask("previous GTIDs", |database| database.previous_gtids(file)).await
    }

    async fn gtid_set(&mut self, variable: &'static str) -> Result<GtidSet, server::Error> {
        let of = |database: &Database| match variable {
            "gtid_executed" => database.executed(),
            _ => GtidSet::new(),
        };
        self.ask(variable, of).await
    }

    async fn may_execute(&mut self, _: &GtidSet) -> Result<bool, server::Error> {
        Ok(false)
    }

    async fn is_event_boundary(&mut self, at: &Coordinates) -> Result<bool, server::Error> {
        self.ask("an event's boundary", |database| database.is_event_boundary(at)).await
    }
}

impl Catalog for ModelServer {
    async fn columns(&mut self, _: &str, _: &str) -> Result<Vec<SchemaColumn>, server::Error> {
        Ok(Vec::new())
    }

    async fn collation_charsets(&mut self, _: &[u16]) -> Result<Vec<(u16, String)>, server::Error> {
        Ok(Vec::new())
    }

    async fn has_column_rights_only(
        &mut self,
        _: &str,
        _: &str,
    ) -> Result<Option<String>, server::Error> {
        Ok(None)
    }

    async fn end_of_transaction(
        &mut self,
        _: Coordinates,
    ) -> Result<Option<Coordinates>, server::Error> {
        Ok(None)
    }
}

/// The locks of the database.
pub struct ModelLocks {
    shared: Arc<Shared>,
    process: Arc<Process>,
}

/// A lock that is held, or asked for.
pub struct ModelLock {
    shared: Arc<Shared>,
    process: u32,
}

impl Locks for ModelLocks {
    type Server = ModelServer;
    type Lock = ModelLock;

    async fn take(
        &mut self,
        _: &mut ModelServer,
        name: String,
        patience: Duration,
    ) -> Result<Taken<ModelLock>, Error> {
        let ModelLocks { shared, process } = self;
        shared.point(process, || "asks for the lock".to_owned()).await;
        let lock = ModelLock { shared: shared.clone(), process: process.id };
        let until = tokio::time::Instant::now() + patience;
        loop {
            let released = shared.released.notified();
            if shared.database().take_lock(&name, process.id) {
                return Ok(Taken::Held(lock));
            }
            if tokio::time::timeout_at(until, released).await.is_err() {
                return Ok(Taken::ByOther(lock));
            }
        }
    }

    async fn end_holder(&self, _: &mut ModelServer, name: &str) -> Result<bool, Error> {
        self.shared.point(&self.process, || "ends the lock's holder".to_owned()).await;
        let is_ended = self.shared.database().end_holder(name);
        self.shared.released.notify_waiters();
        Ok(is_ended)
    }
}

impl Lock for ModelLock {
    async fn lost(&mut self) {
        loop {
            let released = self.shared.released.notified();
            if self.shared.database().ended.contains(&self.process) {
                return;
            }
            released.await;
        }
    }
}

impl Drop for ModelLock {
    fn drop(&mut self) {
        self.shared.database().release_locks_of(self.process);
        self.shared.released.notify_waiters();
    }
}
