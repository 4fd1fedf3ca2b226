//! The source: reads the events of a dump stream one by one, and says what each means.
//!
//! Bytes enter from the stream, from the position of [`Start`] on. A [`Change`] at a time leaves, with rows borrowed from
//! the event they came in. Every inserted row of an outbox table is handed out once, in binlog order, or an error says
//! where the stream cannot be followed.
//!
//! The stream is a connection to a server, or anything else with the packets of one: see [`feed`](crate::feed) and
//! [`file`](crate::file). What the binlog does not say of a table is asked of a [`Catalog`]: the server, or a fixed list.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::Instant;

use crate::catalog::Catalog;
use crate::clock::CommitTime;
use crate::connection::{Packets, Stream};
use crate::coordinates::{Coordinates, Gtid};
use crate::dump::{self, Dump, DumpLogin};
use crate::options::{MysqlOptions, Replica};
use crate::progress::Progress;
use crate::raw_event::RawEvent;
use crate::row::{self, RowChange, RowsEvent};
use crate::server::{self, Server};
use crate::start;
use crate::table::{self, Table};
use crate::tables::{LayoutId, RowsOf, TableFilter, Tables};
use crate::transaction::{self, AlreadyRelayed, Position, RowsAt, Start, Step, Tracker};

/// Why the stream cannot be followed.
#[allow(missing_docs, reason = "each has its words")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error(transparent)]
    Start(#[from] start::Error),
    #[error(transparent)]
    Transaction(#[from] transaction::Error),
    #[error("the dump stream failed after {after}: {}", server::spoken(error))]
    Stream { after: Coordinates, error: mysql_async::Error },
    #[error("the server ended the dump stream after {after}")]
    Ended { after: Coordinates },
    #[error("no event and no heartbeat for {} s after {after}", silence.as_secs())]
    Silent { after: Coordinates, silence: Duration },
    #[error("the event after {after} has a wrong checksum")]
    Checksum { after: Coordinates },
    #[error("the table map of {table} that ends at {at} cannot be read")]
    TableMap { table: String, at: Coordinates, source: table::Error },
    #[error("the rows event that ends at {at} cannot be read")]
    Rows { at: Coordinates, source: row::Error },
    #[error("rows at {at} come without their table map")]
    NoTableMap { at: Coordinates },
    #[error("the columns of {table}, read at {at}, are not those of information_schema")]
    Columns { table: String, at: Coordinates, source: table::Mismatch },
    #[error(
        "the user {account} has rights on some columns of {table} only, and rows at {at} have others"
    )]
    ColumnRights { table: String, account: String, at: Coordinates },
    #[error(
        "rows of {table} were {change} by the event that ends at {at}, which the relay is told to refuse"
    )]
    Refused { table: String, change: RowChange, at: Coordinates },
    #[error("an XA transaction at {at} wrote to {table}")]
    Xa { table: String, at: Coordinates },
}

/// What an event means to the line.
#[derive(Debug)]
pub enum Change<'a> {
    /// Nothing that the line must act on.
    Nothing,
    /// Rows inserted into an outbox table.
    Rows(Rows<'a>),
    /// This many rows of a table that is left out as the copy of another one.
    Ghosts(u64),
    /// The transaction is complete: [`Source::position`] stands after it.
    Committed,
    /// The rows since the last boundary were taken back by the server.
    RolledBack,
}

/// The rows of one event.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The shape of the table. Equal ids mean equal columns, so that what was made of a table can be kept.
    pub layout: LayoutId,
    /// The table with its columns, as the rows were logged.
    pub table: &'a Arc<Table>,
    /// The rows themselves, for a [`RowDecoder`](crate::row::RowDecoder).
    pub event: RowsEvent<'a>,
    /// Where their event stands, and whether they were relayed before.
    pub at: RowsAt,
    /// The boundary before the rows' transaction; its file is the one [`RowsAt::end`] is an offset of.
    pub position: &'a Position,
    /// The rows' transaction.
    pub gtid: Option<&'a Gtid>,
    /// When their transaction was committed.
    pub committed_at: CommitTime,
}

/// A dump stream and what is known of its tables. `S` delivers the bytes of the stream, and `C` answers what the binlog
/// does not say of its tables; by default both are a server.
pub struct Source<S = Box<dyn Stream>, C = Server> {
    pub(crate) dump: Dump<S>,
    pub(crate) tracker: Tracker,
    pub(crate) tables: Tables<C>,
    silence_max: Duration,
    silent_since: Option<Instant>,
    progress: Progress,
}

impl Source {
    /// Registers as a replica and asks for the binlog from `start` on, over the connection of `login` if it is fresh.
    /// A connection on which nothing arrives for longer than [`MysqlOptions::silence_max`] is dead.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the dump.
    pub async fn open(
        login: Option<DumpLogin>,
        options: &MysqlOptions,
        replica: &Replica,
        start: Start,
        server: Server,
        filter: TableFilter,
    ) -> Result<Source, Error> {
        let (from, server_uuid) = (&start.read_from, server.server_uuid());
        let dump = Dump::open(login, options, replica, from, server_uuid).await?;
        Ok(Source::new(dump, options.silence_max(), start, server, filter))
    }
}

impl<S: AsyncRead + Unpin, C: Catalog> Source<S, C> {
    /// Reads a stream that was opened elsewhere: the packets that a server sends after COM_BINLOG_DUMP. When nothing
    /// arrives for `silence_max`, [`Source::read`] fails; [`Duration::MAX`] waits for ever.
    pub fn over(
        stream: S,
        silence_max: Duration,
        start: Start,
        catalog: C,
        filter: TableFilter,
    ) -> Source<S, C> {
        Source::new(Dump::new(Packets::new(stream)), silence_max, start, catalog, filter)
    }

    fn new(
        dump: Dump<S>,
        silence_max: Duration,
        start: Start,
        catalog: C,
        filter: TableFilter,
    ) -> Source<S, C> {
        Source {
            dump,
            tracker: Tracker::new(start),
            tables: Tables::new(catalog, filter),
            silence_max,
            silent_since: None,
            progress: Progress::default(),
        }
    }

    /// What answers questions about tables: the connection for SQL to the server that sends the dump.
    pub fn server(&mut self) -> &mut C {
        &mut self.tables.catalog
    }

    /// The last transaction boundary.
    pub fn position(&self) -> &Position {
        self.tracker.position()
    }

    /// End of the last event that was read.
    pub fn read_end(&self) -> &Coordinates {
        self.tracker.read_end()
    }

    /// When the transaction was committed that is being read, or was read last.
    pub fn committed_at(&self) -> CommitTime {
        self.tracker.committed_at()
    }

    /// The GTID of the transaction that is being read.
    pub fn open_gtid(&self) -> Option<&Gtid> {
        self.tracker.open_gtid()
    }

    /// Whether the offset from which relaying begins has not been reached yet.
    pub fn is_before_start(&self) -> bool {
        self.tracker.is_before_start()
    }

    /// Rows of the transaction that is being read, before the start, could not be counted: no checkpoint can
    /// say how many of its rows are done.
    pub fn is_uncounted(&self) -> bool {
        self.tables.is_uncounted()
    }

    /// Who answers what the binlog does not say of its tables.
    pub fn catalog(&mut self) -> &mut C {
        &mut self.tables.catalog
    }

    /// How far reading is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Takes the next event if it is here already; `false` when we must wait for it.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn try_read(&mut self) -> Result<bool, Error> {
        let mut context = Context::from_waker(Waker::noop());
        while !self.take_event()? {
            match self.dump.poll_fill(&mut context) {
                Poll::Ready(filled) => self.note_filled(filled)?,
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits for the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection is lost or silent for too long, or the event is damaged.
    pub async fn read(&mut self) -> Result<(), Error> {
        while !self.take_event()? {
            let since = *self.silent_since.get_or_insert_with(Instant::now);
            let deadline = since.checked_add(self.silence_max);
            let filled = std::future::poll_fn(|context| self.dump.poll_fill(context));
            let filled = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, filled).await,
                None => Ok(filled.await),
            };
            match filled {
                Ok(filled) => self.note_filled(filled)?,
                Err(_) => {
                    let (after, silence) = (self.read_end().clone(), self.silence_max);
                    return Err(Error::Silent { after, silence });
                }
            }
        }
        Ok(())
    }

    fn take_event(&mut self) -> Result<bool, Error> {
        self.dump.take_event().map_err(|error| self.dump_error(error))
    }

    fn note_filled(&mut self, filled: Result<(), dump::Error>) -> Result<(), Error> {
        self.silent_since = None;
        filled.map_err(|error| self.dump_error(error))
    }

    fn dump_error(&self, error: dump::Error) -> Error {
        let after = self.read_end().clone();
        match error {
            dump::Error::Connection(error) => Error::Stream { after, error },
            dump::Error::Ended => Error::Ended { after },
            dump::Error::Checksum => Error::Checksum { after },
            dump::Error::DamagedPayload => transaction::Error::DamagedPayload { at: after }.into(),
        }
    }

    /// The event read last, as it came.
    pub fn event(&self) -> RawEvent<'_> {
        self.dump.event()
    }

    /// Says what the event read last means.
    ///
    /// # Errors
    /// The event cannot be followed; see [`Error`].
    pub async fn interpret(&mut self) -> Result<Change<'_>, Error> {
        let event = self.dump.event();
        let tables = &self.tables;
        let is_outbox = |database: &str, table: &str| tables.is_outbox(database, table);
        let step = self.tracker.accept(event, &is_outbox)?;
        let is_whole = matches!(step, Step::Committed | Step::RolledBack | Step::Altered);
        self.progress.note(event, is_whole.then(|| self.tracker.committed_at()));
        match step {
            Step::TableMap => {
                let (read_end, is_passed) = (self.tracker.read_end(), self.tracker.is_passed());
                self.tables.learn(event.body, read_end, is_passed).await?;
            }
            Step::WriteRows(at) => return self.rows(at),
            Step::ChangedRows(change) if self.tables.has_guarded() => self.changed_rows(change)?,
            Step::Committed => return Ok(self.close_transaction(Change::Committed)),
            Step::RolledBack => return Ok(self.close_transaction(Change::RolledBack)),
            Step::Altered => {
                self.tables.forget_columns();
                return Ok(self.close_transaction(Change::Committed));
            }
            Step::AlteredInside => self.tables.forget_columns(),
            Step::ChangedRows(_) | Step::Nothing => {}
        }
        Ok(Change::Nothing)
    }

    fn close_transaction(&mut self, change: Change<'static>) -> Change<'static> {
        self.tables.close_transaction();
        change
    }

    fn changed_rows(&self, change: RowChange) -> Result<(), Error> {
        if self.tracker.is_passed() {
            return Ok(());
        }
        let (body, read_end) = (self.dump.event().body, self.tracker.read_end());
        self.tables.ensure_not_refused(change, body, read_end)
    }

    fn rows(&mut self, at: RowsAt) -> Result<Change<'_>, Error> {
        let event = self.dump.event();
        let read_end = self.tracker.read_end();
        let rows = RowsEvent::parse(event.event_type, event.body)
            .map_err(|source| Error::Rows { at: read_end.clone(), source })?;
        let is_passed = at.passed != AlreadyRelayed::No;
        let (layout, table) = match self.tables.of_rows(&rows, read_end, is_passed)? {
            RowsOf::Outbox(layout, table) => (layout, table),
            RowsOf::Ghosts(rows) => return Ok(Change::Ghosts(rows)),
            RowsOf::NoInterest => return Ok(Change::Nothing),
        };
        if at.in_xa {
            let (table, at) = (table.full_name(), read_end.clone());
            return if is_passed { Ok(Change::Nothing) } else { Err(Error::Xa { table, at }) };
        }
        self.tracker.note_outbox_rows();
        let (position, gtid) = (self.tracker.position(), self.tracker.open_gtid());
        let committed_at = self.tracker.committed_at();
        Ok(Change::Rows(Rows { layout, table, event: rows, at, position, gtid, committed_at }))
    }
}

impl<S: Stream, C: Catalog> Source<S, C> {
    /// Ends the dump in an orderly way.
    ///
    /// # Errors
    /// The connection broke while it was closed.
    pub async fn close(self) -> Result<(), Error> {
        Ok(server::within(Duration::from_secs(1), self.dump.close()).await?)
    }
}

#[cfg(test)]
mod tests;
