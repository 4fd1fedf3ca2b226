//! A start where a connector of Debezium stopped: its offsets in Kafka Connect's topic become a checkpoint.
//!
//! Debezium mostly stops inside a transaction, as it stores an offset with each row and none with a commit. What of that
//! transaction is done is counted in the binlog, as rows that the relay would relay.

mod record;

use std::sync::Arc;
use std::time::SystemTime;

use self::record::DebeziumOffset;
use crate::binlog::event_type::{HEARTBEAT, HEARTBEAT_V2, QUERY, TRANSACTION_PAYLOAD};
use crate::binlog::row::Cell;
use crate::binlog::{
    self, AlreadyRelayed, Change, Identity, Interest, Rows, Server, Source, Start, TableFilter,
    start,
};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, OffsetsOf};
use crate::connect;
use crate::coordinates::{Coordinates, Gtid};
use crate::envelope;
use crate::error::Error as RelayError;
use crate::fate::Fate;
use crate::outbox::{self, OutboxOptions, Route};
use crate::primary::mysql;
use crate::telemetry::clock::micros_since_1970;

/// Why the relay cannot go on where Debezium stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no topic {topic} with the offsets of Kafka Connect")]
    NoTopic { topic: String },
    #[error(
        "the topic {topic} has no offset of a MySQL connector{}; it has {}",
        connector.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default(),
        if known.is_empty() { "none of MySQL" } else { known }
    )]
    NoOffset { topic: String, connector: Option<String>, known: String },
    #[error("the topic {topic} has offsets of several MySQL connectors: {known}")]
    Several { topic: String, known: String },
    #[error("the offset of the connector {connector} in {topic} cannot be read: {what}")]
    Unreadable { topic: String, connector: String, what: String },
    #[error("the connector {connector} stopped in its snapshot")]
    Snapshot { connector: String },
    #[error("the connector {connector} stopped inside the transaction at {at}, but {what}")]
    Elsewhere { connector: String, at: Coordinates, what: String },
}

impl Error {
    /// A person must act.
    #[must_use]
    pub fn fate(&self) -> Fate {
        let hint = match self {
            Error::NoTopic { .. } => {
                "name the worker's offset.storage.topic, as in start_from = \"debezium:connect-offsets/orders\"; a \
                 standalone worker keeps its offsets in a file: start at its file and pos"
            }
            Error::NoOffset { .. } => {
                "name the connector as Kafka Connect does; it stores an offset with its first row"
            }
            Error::Several { .. } => {
                "name the connector: start_from = \"debezium:<offset topic>/<connector>\", or <connector>/<topic.prefix>"
            }
            Error::Unreadable { .. } => {
                "compare the record with the server's binlogs, and start at a position: start_from = \"binlog.000012:4711\""
            }
            Error::Snapshot { .. } => {
                "let the connector finish its snapshot and publish a row after it, then stop it and start the relay"
            }
            Error::Elsewhere { .. } => {
                "point the relay at the server that the connector read; or start at a position, or at the connector's \
                 gtids (start_from = \"gtid:…\"), which relays that transaction again"
            }
        };
        Fate::Halt { hint: hint.to_owned() }
    }
}

/// Reads the connector's offset, and finds it on the server.
///
/// # Errors
/// There is none, or it is not on this server, or an end cannot be asked.
pub async fn resolve(config: &Config, of: &OffsetsOf) -> Result<Checkpoint, RelayError> {
    let (mut server, identity) = connect::connect_mysql(config).await?;
    let (offset, start) = find(config, of, &mut server, &identity).await?;
    let (rows, gtid) = if offset.is_inside_transaction() {
        count_rows_done(config, &offset, start.clone(), server, &identity).await?
    } else {
        (0, None)
    };
    tracing::info!(
        connector = offset.connector, offset = %offset.at, rows_done = rows,
        gtid = gtid.as_ref().map(tracing::field::display), "going on where Debezium stopped"
    );
    Ok(Checkpoint {
        server_uuid: Some(identity.server_uuid.to_string()),
        generation: Some(micros_since_1970(SystemTime::now()) / 1_000),
        ..Checkpoint::position(&start.position(), rows, gtid.as_ref())
    })
}

/// The place of the connector's offset, which is on the server. No row is read.
///
/// # Errors
/// As [`resolve`].
pub async fn look(
    config: &Config,
    of: &OffsetsOf,
    server: &mut Server,
    identity: &Identity,
) -> Result<Coordinates, RelayError> {
    Ok(find(config, of, server, identity).await?.0.at)
}

async fn find(
    config: &Config,
    of: &OffsetsOf,
    server: &mut Server,
    identity: &Identity,
) -> Result<(DebeziumOffset, Start), RelayError> {
    let records = config.kafka.last_values("offset topic of Kafka Connect", &of.topic).await?;
    let records = records.ok_or_else(|| Error::NoTopic { topic: of.topic.clone() })?;
    let offset = DebeziumOffset::find(of, &records)?;
    let from = offset.start_from(identity.has_gtids);
    let start = start::resolve(server, identity, &from)
        .await
        .map_err(|source| connect::start_error(config, start::Origin::StartFrom(from), source))?;
    if offset.is_inside_transaction() {
        ensure_has_file(config, &offset, server).await?;
    }
    Ok((offset, start))
}

async fn ensure_has_file(
    config: &Config,
    offset: &DebeziumOffset,
    server: &mut Server,
) -> Result<(), RelayError> {
    let files = server.binlog_files().await;
    let files = files.map_err(|source| connect::binlog_error(config, source.into()))?;
    let is_it = |file: &binlog::server::BinlogFile| {
        file.name == offset.at.file() && file.size_bytes > offset.at.offset
    };
    if files.iter().any(is_it) {
        Ok(())
    } else {
        Err(elsewhere(offset, "this server has no such place"))
    }
}

fn elsewhere(offset: &DebeziumOffset, what: &str) -> RelayError {
    let (connector, at) = (offset.connector.clone(), offset.at.clone());
    Error::Elsewhere { connector, at, what: what.to_owned() }.into()
}

/// Rows of the transaction at the offset that Debezium has published and the relay would, and its GTID.
async fn count_rows_done(
    config: &Config,
    offset: &DebeziumOffset,
    start: Start,
    server: Server,
    identity: &Identity,
) -> Result<(u64, Option<Gtid>), RelayError> {
    let outboxes = outbox::as_on_server(&config.outbox, identity.folds_case);
    let patterns: Vec<_> = outboxes.iter().map(|outbox| outbox.table.clone()).collect();
    let filter: TableFilter = Arc::new(move |database: &str, table: &str| {
        let is_outbox = patterns.iter().any(|pattern| pattern.matches(database, table));
        if is_outbox { Interest::Outbox } else { Interest::None }
    });
    let replica = mysql::replica_of_nobody();
    let opened = Source::open(None, &config.mysql, &replica, start, server, filter).await;
    let mut source = opened.map_err(|source| connect::binlog_error(config, source))?;
    let mut count = Count { offset, outboxes: &outboxes, next: None, rows_done: 0 };
    let gtid = loop {
        let step = count.step(&mut source).await;
        match step? {
            Step::Read => {}
            Step::Done(gtid) => break gtid,
        }
    };
    mysql::close(source).await;
    Ok((count.rows_done, gtid))
}

enum Step {
    Read,
    /// With the GTID of the transaction.
    Done(Option<Gtid>),
}

/// Counts events as Debezium does.
struct Count<'a> {
    offset: &'a DebeziumOffset,
    outboxes: &'a [OutboxOptions],
    /// Number of the next event, from the transaction's BEGIN on; `None` before it.
    next: Option<u64>,
    rows_done: u64,
}

impl Count<'_> {
    async fn step(&mut self, source: &mut Source) -> Result<Step, RelayError> {
        let failed = |source| RelayError::Binlog { server: String::new(), source };
        source.read().await.map_err(failed)?;
        let event = source.event();
        let (kind, size) = (event.event_type, u64::from(event.size));
        let is_heartbeat = matches!(kind, HEARTBEAT | HEARTBEAT_V2);
        let is_in_file = event.log_pos != 0 && !is_heartbeat;
        let begins = match kind {
            QUERY => event.body.ends_with(b"BEGIN"),
            kind => kind == TRANSACTION_PAYLOAD,
        };
        let number = self.next.filter(|_| !is_heartbeat);
        let change = source.interpret().await.map_err(failed)?;
        let Some(number) = number else {
            let is_unknown_row =
                matches!(&change, Change::Rows(rows) if rows.at.passed == AlreadyRelayed::No);
            if is_unknown_row {
                return Err(elsewhere(self.offset, "rows before it were not published"));
            }
            return if self.next.is_none() && is_in_file {
                self.find(source.read_end(), kind, size, begins)
            } else {
                Ok(Step::Read)
            };
        };
        self.next = Some(number + 1);
        let is_last = number == self.offset.events_done;
        let is_whole = matches!(change, Change::Committed | Change::RolledBack);
        if let Change::Rows(rows) = &change {
            let limit = if is_last { self.offset.rows_done } else { u64::MAX };
            if number <= self.offset.events_done {
                self.count(rows, limit)?;
            }
        }
        if is_last || is_whole && number + 1 == self.offset.events_done {
            let gtid = match &change {
                Change::Rows(rows) => rows.gtid.cloned(),
                _ => source.open_gtid().cloned(),
            };
            return Ok(Step::Done(gtid));
        }
        if is_whole {
            return Err(elsewhere(self.offset, "it has fewer events"));
        }
        Ok(Step::Read)
    }

    /// Looks whether the event that was read begins the transaction.
    fn find(
        &mut self,
        end: &Coordinates,
        kind: u8,
        size: u64,
        begins: bool,
    ) -> Result<Step, RelayError> {
        let start = end.at(end.offset.saturating_sub(size));
        if start == self.offset.at && begins {
            // The events of a compressed transaction come out of this one, with their own BEGIN.
            self.next = Some(u64::from(kind != TRANSACTION_PAYLOAD));
        } else if start >= self.offset.at {
            return Err(elsewhere(self.offset, "no transaction begins there"));
        }
        Ok(Step::Read)
    }

    /// Counts rows of an event that are relayed, up to a number of its rows.
    fn count(&mut self, rows: &Rows<'_>, limit: u64) -> Result<(), RelayError> {
        let index = outbox::find(self.outboxes, &rows.table.schema, &rows.table.name)?
            .expect("the source hands out rows of outbox tables only");
        let route = Route::new(&self.outboxes[index], rows.table)?;
        let mut cells = vec![Cell::Null; route.decoder.cells()];
        let mut bytes = rows.event.rows();
        let at = || rows.position.coordinates.at(rows.at.end);
        let mut row = 0;
        while row < limit && !bytes.is_empty() {
            let decoded = route.decoder.decode(&mut bytes, rows.event.present(), &mut cells);
            let table = || rows.table.full_name();
            decoded.map_err(|source| RelayError::Decode {
                table: table(),
                at: at(),
                row,
                source,
            })?;
            let is_relayed = envelope::is_relayed(&route, &cells)
                .map_err(|source| RelayError::Row { table: table(), at: at(), row, source })?;
            self.rows_done += u64::from(is_relayed);
            row += 1;
        }
        if limit != u64::MAX && row < limit {
            return Err(elsewhere(self.offset, "its event has fewer rows"));
        }
        Ok(())
    }
}
