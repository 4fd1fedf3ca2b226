//! The source: connects to the primary as a replica and turns its dump stream into changes.
//!
//! What enters is the binlog from a [`Start`] on; what leaves is a [`Change`] at a time, rows borrowed from
//! the event they came in. It promises that every inserted row of an outbox table is handed out once, in
//! binlog order, or that an error says where the stream cannot be followed.

pub mod boundary;
pub mod bytes;
pub mod charset;
pub mod event_type;
pub mod json;
mod options;
pub mod payload;
pub mod progress;
pub mod query;
pub mod raw_event;
pub mod row;
pub mod server;
pub mod start;
pub mod table;
pub mod tls;
pub mod transaction;
pub mod value;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::binlog::events::Event;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest};
use tokio::time::Instant;

use self::options::SILENCE_MIN;
pub use self::options::{Options, Replica, TlsMode, TlsOptions};
pub use self::progress::Progress;
use self::raw_event::RawEvent;
use self::row::RowsEvent;
pub use self::server::{Identity, Server};
pub use self::start::Resume;
use self::table::{Table, TableId, TableMap};
pub use self::transaction::{Passed, Place, RowsAt, Start};
use self::transaction::{Step, Tracker};
use crate::coordinates::{Coordinates, Gtid};
use crate::telemetry::clock::CommitTime;

/// How long the server waits for us to read on before it cuts the dump (its `net_write_timeout`, default
/// 60 s): back-pressure from Kafka can last for hours, the most the server takes is a year.
const NET_WRITE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why the stream cannot be followed.
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
    #[error("the table map that ends at {at} cannot be read")]
    TableMap { at: Coordinates, source: table::Error },
    #[error("the rows event that ends at {at} cannot be read")]
    Rows { at: Coordinates, source: row::Error },
    #[error("rows at {at} come without their table map")]
    NoTableMap { at: Coordinates },
    #[error("the columns of {table}, read at {at}, are not those of information_schema")]
    Columns { table: String, at: Coordinates, source: table::Mismatch },
    #[error("an XA transaction at {at} wrote to {table}")]
    Xa { table: String, at: Coordinates },
}

/// Which databases and tables are relayed.
pub type TableFilter = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Index of a table layout: a table with its columns as they stood when rows were logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayoutId(pub usize);

/// What an event means to the line.
#[derive(Debug)]
pub enum Change<'a> {
    /// Nothing that the line must act on.
    Nothing,
    /// Rows inserted into an outbox table.
    Rows(Rows<'a>),
    /// The transaction is complete: [`Source::place`] stands after it.
    Committed,
    /// The rows since the last boundary were taken back by the server.
    RolledBack,
}

/// The rows of one event.
#[derive(Debug)]
pub struct Rows<'a> {
    pub layout: LayoutId,
    pub table: &'a Arc<Table>,
    pub event: RowsEvent<'a>,
    pub at: RowsAt,
    /// The boundary before the rows' transaction; its file is the one [`RowsAt::end`] is an offset of.
    pub place: &'a Place,
    /// The rows' transaction.
    pub gtid: Option<&'a Gtid>,
    pub committed_at: CommitTime,
}

struct Layout {
    schema: String,
    name: String,
    /// What the table map said when the columns were learnt; the same bytes mean the same columns.
    signature: Vec<u8>,
    table: Arc<Table>,
}

/// What a table id stands for.
#[derive(Debug)]
enum Mapped {
    /// A table that is not relayed.
    Foreign,
    Layout(LayoutId),
    /// A table whose columns could not be learnt, at a place where that may not matter.
    Unknown(Unknown),
}

/// A table whose columns are not those that its rows were logged with.
#[derive(Debug, Clone)]
struct Unknown {
    table: String,
    at: Coordinates,
    source: table::Mismatch,
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Error {
        let Unknown { table, at, source } = unknown;
        Error::Columns { table, at, source }
    }
}

/// A dump stream and what is known of its tables.
pub struct Source {
    stream: BinlogStream,
    tracker: Tracker,
    /// The event that was read last; rows borrow from it.
    event: Option<Event>,
    server: Server,
    filter: TableFilter,
    layouts: Vec<Layout>,
    /// The tables of the open transaction by their ids.
    tables: Vec<(u64, Mapped)>,
    /// Why rows before the start could not be read. It matters only when the transaction goes on after it.
    uncounted: Option<Unknown>,
    silence_max: Duration,
    silent_since: Option<Instant>,
    progress: Progress,
}

impl Source {
    /// Registers as a replica and asks for the binlog from `start` on. A connection that is silent for longer
    /// than `silence_max`, a large event under way included, is dead.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the dump.
    pub async fn open(
        options: &Options,
        replica: &Replica,
        start: Start,
        server: Server,
        filter: TableFilter,
        silence_max: Duration,
    ) -> Result<Source, Error> {
        let mut conn = server.connect_again().await?;
        let heartbeat_nanos = options.heartbeat.as_nanos();
        // Both spellings: servers read @source_… from 8.0.26 on, @master_… before.
        let session = format!(
            "SET @source_heartbeat_period = {heartbeat_nanos}, @master_heartbeat_period = {heartbeat_nanos}, \
             @replica_uuid = '{uuid}', @slave_uuid = '{uuid}', SESSION net_write_timeout = {write_timeout}",
            uuid = replica.uuid,
            write_timeout = NET_WRITE_TIMEOUT.as_secs(),
        );
        server::within(options.heartbeat.max(SILENCE_MIN), conn.query_drop(session)).await?;
        let offset = start.read_from.offset;
        // So that SHOW REPLICAS tells a person where this one runs.
        let host = host_name();
        let request = BinlogStreamRequest::new(replica.server_id.get())
            .with_hostname(host.as_bytes())
            .with_filename(start.read_from.file().as_bytes())
            .with_pos(offset);
        let stream = server::within(SILENCE_MIN, conn.get_binlog_stream(request)).await?;
        Ok(Source {
            stream,
            tracker: Tracker::new(start),
            event: None,
            server,
            filter,
            layouts: Vec::new(),
            tables: Vec::new(),
            uncounted: None,
            silence_max,
            silent_since: None,
            progress: Progress::default(),
        })
    }

    /// The last transaction boundary.
    pub fn place(&self) -> &Place {
        self.tracker.place()
    }

    /// End of the last event that was read.
    pub fn position(&self) -> &Coordinates {
        self.tracker.position()
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
        self.uncounted.is_some()
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
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match Pin::new(&mut self.stream).poll_next(&mut context) {
            Poll::Ready(event) => self.take(event).map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// Waits for the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection is lost or silent for too long, or the event is damaged.
    pub async fn read(&mut self) -> Result<(), Error> {
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        match tokio::time::timeout_at(since + self.silence_max, self.stream.next()).await {
            Ok(event) => self.take(event),
            Err(_) => {
                Err(Error::Silent { after: self.position().clone(), silence: self.silence_max })
            }
        }
    }

    /// Says what the event read last means.
    ///
    /// # Errors
    /// The event cannot be followed; see [`Error`].
    pub async fn interpret(&mut self) -> Result<Change<'_>, Error> {
        let event = self.event.take().expect("an event was read before it is interpreted");
        let raw = raw(&event);
        let filter = self.filter.clone();
        if !self.tracker.is_inside_payload() {
            self.ensure_checksum(&event)?;
        }
        let step = self.tracker.accept(raw, &*filter)?;
        let is_whole = matches!(step, Step::Committed | Step::RolledBack | Step::Altered);
        self.progress.note(raw, is_whole.then(|| self.tracker.committed_at()));
        match step {
            Step::TableMap => self.learn_table(event.data()).await?,
            Step::WriteRows(at) => return self.rows(event, at),
            Step::Committed => return Ok(self.close_transaction(Change::Committed)),
            Step::RolledBack => return Ok(self.close_transaction(Change::RolledBack)),
            Step::Altered => {
                // The same types may now stand under other names: learn them again.
                self.layouts.iter_mut().for_each(|layout| layout.signature.clear());
                return Ok(self.close_transaction(Change::Committed));
            }
            Step::Nothing => {}
        }
        Ok(Change::Nothing)
    }

    fn close_transaction(&mut self, change: Change<'static>) -> Change<'static> {
        self.tables.clear();
        self.uncounted = None;
        change
    }

    /// Ends the dump in an orderly way.
    ///
    /// # Errors
    /// The connection broke while it was closed.
    pub async fn close(self) -> Result<(), Error> {
        Ok(server::within(Duration::from_secs(1), self.stream.close()).await?)
    }

    fn take(&mut self, event: Option<mysql_async::Result<Event>>) -> Result<(), Error> {
        self.silent_since = None;
        let after = || self.tracker.position().clone();
        match event {
            Some(Ok(event)) => self.event = Some(event),
            Some(Err(error)) => return Err(Error::Stream { after: after(), error }),
            None => return Err(Error::Ended { after: after() }),
        }
        Ok(())
    }

    /// Servers send each event with the CRC32 that stands in the file (`binlog_checksum`, on by default).
    fn ensure_checksum(&self, event: &Event) -> Result<(), Error> {
        const CRC32: BinlogChecksumAlg = BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32;
        // A FORMAT_DESCRIPTION event has room for a checksum even under binlog_checksum=NONE.
        let has_checksum = event.footer().get_checksum_alg() == Ok(Some(CRC32));
        match event.checksum().filter(|_| has_checksum) {
            Some(sent) if u32::from_le_bytes(sent) != event.calc_checksum(CRC32) => {
                Err(Error::Checksum { after: self.position().clone() })
            }
            _ => Ok(()),
        }
    }

    async fn learn_table(&mut self, body: &[u8]) -> Result<(), Error> {
        let damaged = |source| Error::TableMap { at: self.tracker.position().clone(), source };
        let id = TableId::peek(body).map_err(damaged)?;
        let mapped = match (self.filter)(id.schema, id.table) {
            false => Mapped::Foreign,
            true => match self.known_layout(&id) {
                Some(layout) => Mapped::Layout(layout),
                None => {
                    let map = TableMap::parse(body).map_err(damaged)?;
                    match self.learn_layout(&map).await? {
                        // Rows before the start may be of a shape that the table has no more.
                        Mapped::Unknown(unknown) if !self.tracker.is_passed() => {
                            return Err(unknown.into());
                        }
                        mapped => mapped,
                    }
                }
            },
        };
        self.tables.retain(|(table_id, _)| *table_id != id.table_id);
        self.tables.push((id.table_id, mapped));
        Ok(())
    }

    fn known_layout(&self, id: &TableId<'_>) -> Option<LayoutId> {
        let is_same = |layout: &Layout| {
            layout.schema == id.schema
                && layout.name == id.table
                && layout.signature == id.signature
        };
        self.layouts.iter().rposition(is_same).map(LayoutId)
    }

    /// The columns by name: from the event where it has names, else from the server, checked against it.
    async fn learn_layout(&mut self, map: &TableMap<'_>) -> Result<Mapped, Error> {
        let (schema, name) = (map.schema(), map.table());
        let table = match Table::from_metadata(map) {
            Some(table) => table,
            None => {
                let columns = self.server.columns(schema, name).await?;
                match Table::from_schema(map, &columns) {
                    Ok(table) => table,
                    Err(source) => {
                        let (table, at) = (format!("{schema}.{name}"), self.position().clone());
                        return Ok(Mapped::Unknown(Unknown { table, at, source }));
                    }
                }
            }
        };
        self.layouts.push(Layout {
            schema: schema.to_owned(),
            name: name.to_owned(),
            signature: map.signature().to_vec(),
            table: Arc::new(table),
        });
        Ok(Mapped::Layout(LayoutId(self.layouts.len() - 1)))
    }

    fn rows(&mut self, event: Event, at: RowsAt) -> Result<Change<'_>, Error> {
        let event_type = event.header().event_type_raw();
        let event = self.event.insert(event);
        let position = self.tracker.position();
        let rows = RowsEvent::parse(event_type, event.data())
            .map_err(|source| Error::Rows { at: position.clone(), source })?;
        let is_passed = at.passed != Passed::No;
        let known = self.tables.iter().find(|(id, _)| *id == rows.table_id());
        let layout = match known.map(|(_, mapped)| mapped) {
            Some(Mapped::Foreign) => return Ok(Change::Nothing),
            Some(Mapped::Layout(layout)) => *layout,
            Some(Mapped::Unknown(unknown)) if is_passed => {
                self.uncounted = Some(unknown.clone());
                return Ok(Change::Nothing);
            }
            Some(Mapped::Unknown(unknown)) => return Err(unknown.clone().into()),
            None if is_dummy(rows.table_id()) => return Ok(Change::Nothing),
            None => return Err(Error::NoTableMap { at: position.clone() }),
        };
        if let Some(unknown) = self.uncounted.as_ref().filter(|_| !is_passed) {
            return Err(unknown.clone().into());
        }
        let table = &self.layouts[layout.0].table;
        if at.in_xa {
            let (table, at) = (table.full_name(), position.clone());
            return if is_passed { Ok(Change::Nothing) } else { Err(Error::Xa { table, at }) };
        }
        self.tracker.note_outbox_rows();
        let (place, gtid) = (self.tracker.place(), self.tracker.open_gtid());
        let committed_at = self.tracker.committed_at();
        Ok(Change::Rows(Rows { layout, table, event: rows, at, place, gtid, committed_at }))
    }
}

/// The name of this machine, as far as a server takes one: 5.7 refuses a replica with a longer one
/// (<https://dev.mysql.com/doc/refman/5.7/en/replication-options-replica.html#sysvar_report_host>).
fn host_name() -> String {
    const LEN_MAX: usize = 60;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(char::is_ascii_graphic).take(LEN_MAX).collect()
}

fn raw(event: &Event) -> RawEvent<'_> {
    let header = event.header();
    RawEvent {
        event_type: header.event_type_raw(),
        flags: header.flags_raw(),
        size: header.event_size(),
        timestamp: header.timestamp(),
        log_pos: header.log_pos(),
        body: event.data(),
    }
}

/// An event with this table id only closes a statement and has no rows.
fn is_dummy(table_id: u64) -> bool {
    table_id == 0x00FF_FFFF
}
