//! The seam between the line and where rows come from: a connected primary is a value of the session.
//!
//! [`MySql`] is the only one that is shipped. The simulation has another, which needs no server.

pub(crate) mod mysql;

use std::time::Duration;

pub use self::mysql::MySql;
use crate::binlog::start::Binlogs;
use crate::binlog::{Catalog, Identity, Replica, Source, Start, Stream, TableFilter};
use crate::error::Error;
use crate::lease::Taken;
use crate::telemetry::clock::ServerClock;

/// What a relay connects to a primary with, session after session.
pub trait Primaries {
    type Primary: Primary;

    /// Connects to a server that is fit to be relayed from.
    ///
    /// # Errors
    /// The server cannot be reached, or lacks what a relay needs.
    fn connect(&self) -> impl Future<Output = Result<Self::Primary, Error>>;

    /// Ends the dump of a replica, so that its relay reads the checkpoint and learns who owns it. An idle relay would
    /// otherwise notice only with its next row that it was fenced.
    fn end_dump(&self, replica: &Replica) -> impl Future<Output = ()>;
}

/// A connected server that is fit to be relayed from.
pub trait Primary: Sized {
    /// What its events come from.
    type Stream: Stream;
    /// What answers questions about it.
    type Server: Catalog + Binlogs;
    type Locks: Locks<Server = Self::Server>;

    fn identity(&self) -> &Identity;

    /// Its clock, compared with ours.
    fn clock(&self) -> ServerClock;

    fn server(&mut self) -> &mut Self::Server;

    /// Makes sure that no other replica has this id there, and begins to log in with it.
    ///
    /// # Errors
    /// Another replica has its id.
    fn register(&mut self, replica: Replica) -> impl Future<Output = Result<(), Error>>;

    /// Asks in advance for the next answers. Returns `false` if that failed; the error shows when an answer is needed.
    fn ask_ahead(&mut self) -> impl Future<Output = bool>;

    /// Drops answers that were asked in advance, so that they are asked again.
    fn forget_ahead(&mut self);

    /// Opens the dump from `start` on, as the replica that was registered.
    ///
    /// # Errors
    /// The server refuses it, or is gone.
    fn dump(
        self,
        start: Start,
        filter: TableFilter,
    ) -> impl Future<Output = Result<Dumping<Self>, Error>>;
}

/// A primary whose dump is open.
pub struct Dumping<P: Primary> {
    pub source: Source<P::Stream, P::Server>,
    pub locks: P::Locks,
}

/// The named locks of a primary. Only one session can hold a lock.
pub trait Locks {
    type Server;
    type Lock: Lock;

    /// Takes a lock, and waits for it up to `patience`.
    ///
    /// # Errors
    /// The server cannot be reached.
    fn take(
        &mut self,
        server: &mut Self::Server,
        name: String,
        patience: Duration,
    ) -> impl Future<Output = Result<Taken<Self::Lock>, Error>>;

    /// Ends the session that holds a lock. Returns `false` if there is none, or it could not be ended.
    ///
    /// # Errors
    /// The server cannot be asked.
    fn end_holder(
        &self,
        server: &mut Self::Server,
        name: &str,
    ) -> impl Future<Output = Result<bool, Error>>;
}

/// A lock that is held, or asked for, until this is dropped.
pub trait Lock {
    /// Waits until another session holds the lock that was held here.
    fn lost(&mut self) -> impl Future<Output = ()>;
}
