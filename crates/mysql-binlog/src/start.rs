//! Where a dump begins: from a configured start or a stored checkpoint to coordinates on this server.
//!
//! Every answer is checked against what the server has before a row is read: a purged file, another
//! server under the same address or a history that went another way is an error, never a gap.

use std::fmt;

use super::server::{self, BinlogFile, Identity, Server};
use super::transaction::Start;
use crate::coordinates::{Coordinates, GtidSet, StartFrom, Uuid};

/// COM_BINLOG_DUMP has 32 bits for the offset
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_binlog_dump.html>).
const DUMP_OFFSET_MAX: u64 = u32::MAX as u64;

/// Why there is no position to begin.
#[allow(missing_docs, reason = "each has its words")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error(
        "the server has purged its binlogs from {coordinates} up to {oldest}, the oldest one left"
    )]
    Purged { coordinates: Coordinates, oldest: String },
    #[error("the server has no binlog {file}; it has {oldest} to {newest}")]
    NoSuchFile { file: String, oldest: String, newest: String },
    #[error("{coordinates} is behind the end of that binlog, which has {size_bytes} bytes")]
    BeyondEnd { coordinates: Coordinates, size_bytes: u64 },
    #[error("no event begins at {coordinates}: the offset is inside of one")]
    InsideEvent { coordinates: Coordinates },
    #[error("the server has purged the transactions {}, which were not relayed yet", missing.in_short())]
    PurgedGtids { missing: GtidSet },
    #[error("the transactions {} count as relayed, but this server has not executed them", unknown.in_short())]
    Diverged { unknown: GtidSet },
    #[error(
        "the transactions {missing} count as relayed, and this server has not applied them yet"
    )]
    NotApplied { missing: GtidSet },
    #[error("it was written on server {was}, without GTIDs; this is server {is}")]
    ServerChanged { was: Uuid, is: Uuid },
    /// It was left out, as a long one is of most checkpoints; or that server had no GTIDs.
    #[error("it was written on server {was} and has no GTID set; this is server {is}")]
    NoGtidSet { was: Uuid, is: Uuid },
    #[error("the server has no binlog")]
    NoBinlog,
}

/// Who named the position that a relay begins at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A stored position.
    Checkpoint(Coordinates),
    /// The configuration.
    StartFrom(StartFrom),
    /// Who asks for another position.
    To(StartFrom),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(at) => write!(f, "the checkpoint, {at}"),
            Self::StartFrom(from) => write!(f, "start_from = \"{from}\""),
            Self::To(to) => write!(f, "--to {to}"),
        }
    }
}

/// A stored position that reading is to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// A position in the binlog of the server that is named here.
    pub coordinates: Coordinates,
    /// Every GTID before it, if they are known. On another server, this finds the position.
    pub gtid_set: Option<GtidSet>,
    /// `None`: written by another relay, which did not name its server.
    pub server_uuid: Option<Uuid>,
    /// When the file was begun, in seconds since 1970.
    pub file_timestamp: Option<u32>,
    /// The coordinates are certainly a transaction boundary.
    pub is_boundary: bool,
}

/// What a server says of its binlogs: where a dump can begin is found out from it.
pub trait Binlogs {
    /// All files, the oldest first.
    ///
    /// # Errors
    /// It could not be asked, as with the others.
    fn binlog_files(&mut self) -> impl Future<Output = Result<Vec<BinlogFile>, server::Error>>;

    /// Where the binlog ends for now.
    ///
    /// # Errors
    /// It has none.
    fn binlog_end(&mut self) -> impl Future<Output = Result<Coordinates, server::Error>>;

    /// Every GTID before a file.
    ///
    /// # Errors
    /// The file is not there.
    fn previous_gtids(
        &mut self,
        file: &str,
    ) -> impl Future<Output = Result<GtidSet, server::Error>>;

    /// The set in a variable: `gtid_executed` or `gtid_purged`.
    ///
    /// # Errors
    /// It could not be asked.
    fn gtid_set(
        &mut self,
        variable: &'static str,
    ) -> impl Future<Output = Result<GtidSet, server::Error>>;

    /// Whether it may still execute these GTIDs, as a replica that lags does.
    ///
    /// # Errors
    /// It could not be asked.
    fn may_execute(&mut self, set: &GtidSet) -> impl Future<Output = Result<bool, server::Error>>;

    /// An event begins at the coordinates, or the file ends there.
    ///
    /// # Errors
    /// It could not be asked.
    fn is_event_boundary(
        &mut self,
        coordinates: &Coordinates,
    ) -> impl Future<Output = Result<bool, server::Error>>;
}

impl Binlogs for Server {
    async fn binlog_files(&mut self) -> Result<Vec<BinlogFile>, server::Error> {
        Server::binlog_files(self).await
    }

    async fn binlog_end(&mut self) -> Result<Coordinates, server::Error> {
        Server::binlog_end(self).await
    }

    async fn previous_gtids(&mut self, file: &str) -> Result<GtidSet, server::Error> {
        Server::previous_gtids(self, file).await
    }

    async fn gtid_set(&mut self, variable: &'static str) -> Result<GtidSet, server::Error> {
        Server::gtid_set(self, variable).await
    }

    async fn may_execute(&mut self, set: &GtidSet) -> Result<bool, server::Error> {
        Server::may_execute(self, set).await
    }

    async fn is_event_boundary(
        &mut self,
        coordinates: &Coordinates,
    ) -> Result<bool, server::Error> {
        Server::is_event_boundary(self, coordinates).await
    }
}

/// Finds the start for a relay that has no checkpoint.
///
/// # Errors
/// The start is not on this server; see [`Error`].
pub async fn resolve(
    server: &mut impl Binlogs,
    identity: &Identity,
    from: &StartFrom,
) -> Result<Start, Error> {
    match from {
        StartFrom::Earliest => {
            let files = server.binlog_files().await?;
            let oldest = files.first().ok_or(Error::NoBinlog)?;
            let read_from =
                Coordinates::start_of_file(oldest.name.as_str()).map_err(|_| Error::NoBinlog)?;
            Ok(at_boundary(read_from, None, identity))
        }
        StartFrom::Latest => {
            let end = server.binlog_end().await?;
            if identity.has_gtids || end.offset > DUMP_OFFSET_MAX {
                Ok(after(end, identity))
            } else {
                Ok(at_boundary(end, None, identity))
            }
        }
        StartFrom::Coordinates(coordinates) => {
            ensure_on_server(coordinates, &server.binlog_files().await?)?;
            ensure_event_boundary(server, coordinates).await?;
            Ok(after(coordinates.clone(), identity))
        }
        StartFrom::Gtid(set) => resolve_gtid_set(server, identity, set).await,
    }
}

/// Finds the start for a relay that has a checkpoint.
///
/// # Errors
/// The checkpoint does not fit this server; see [`Error`].
pub async fn resume(
    server: &mut impl Binlogs,
    identity: &Identity,
    resume: &Resume,
) -> Result<Start, Error> {
    match (resume.server_uuid, &resume.gtid_set) {
        (Some(was), Some(set)) if was != identity.server_uuid && identity.has_gtids => {
            return match resolve_gtid_set(server, identity, set).await {
                // A replica that was made the primary, and still applies what it has received.
                Err(Error::Diverged { unknown }) if server.may_execute(&unknown).await? => {
                    Err(Error::NotApplied { missing: unknown })
                }
                found => found,
            };
        }
        (Some(was), _) if was != identity.server_uuid => {
            let is = identity.server_uuid;
            return Err(if identity.has_gtids {
                Error::NoGtidSet { was, is }
            } else {
                Error::ServerChanged { was, is }
            });
        }
        _ => {}
    }
    let files = server.binlog_files().await?;
    match ensure_on_server(&resume.coordinates, &files) {
        Err(error @ (Error::Purged { .. } | Error::NoSuchFile { .. })) => {
            return after_lost_file(server, identity, resume, &files, error).await;
        }
        found => found?,
    }
    if let (Some(set), true) = (&resume.gtid_set, identity.has_gtids) {
        // The same file name and server UUID after a restore or RESET MASTER: the GTIDs may tell, and the
        // stream's first event says when the file was begun.
        ensure_executed(server, set).await?;
    }
    let (coordinates, file_timestamp) = (resume.coordinates.clone(), resume.file_timestamp);
    let lacks_gtid_set = resume.gtid_set.is_none() && identity.has_gtids;
    if lacks_gtid_set || !resume.is_boundary || coordinates.offset > DUMP_OFFSET_MAX {
        return Ok(Start { file_timestamp, ..after(coordinates, identity) });
    }
    Ok(Start { file_timestamp, ..at_boundary(coordinates, resume.gtid_set.clone(), identity) })
}

fn at_boundary(read_from: Coordinates, gtid_set: Option<GtidSet>, identity: &Identity) -> Start {
    Start {
        read_from,
        gtid_set,
        file_timestamp: None,
        start_offset: None,
        gtids_are_complete: identity.has_gtids,
    }
}

/// The place itself, or the head of its file where a dump cannot begin at the position.
#[must_use]
pub fn dumpable(position: Coordinates) -> Coordinates {
    if position.offset > DUMP_OFFSET_MAX {
        position.at(crate::coordinates::FIRST_EVENT_OFFSET)
    } else {
        position
    }
}

/// Reads the file from its head and passes over what ends at or before the coordinates. That finds the
/// transaction around them, if there is one, and all GTIDs before them; it costs one file at the most.
fn after(coordinates: Coordinates, identity: &Identity) -> Start {
    Start {
        read_from: coordinates.at(crate::coordinates::FIRST_EVENT_OFFSET),
        gtid_set: None,
        file_timestamp: None,
        start_offset: Some(coordinates.offset),
        gtids_are_complete: identity.has_gtids,
    }
}

fn ensure_on_server(coordinates: &Coordinates, files: &[BinlogFile]) -> Result<(), Error> {
    let (Some(oldest), Some(newest)) = (files.first(), files.last()) else {
        return Err(Error::NoBinlog);
    };
    let Some(file) = files.iter().find(|file| file.name == coordinates.file()) else {
        let (oldest, newest) = (oldest.name.clone(), newest.name.clone());
        let start_of_oldest = Coordinates::start_of_file(oldest.as_str()).ok();
        return Err(if start_of_oldest.is_some_and(|start| *coordinates < start) {
            Error::Purged { coordinates: coordinates.clone(), oldest }
        } else {
            Error::NoSuchFile { file: coordinates.file().to_owned(), oldest, newest }
        });
    };
    if coordinates.offset > file.size_bytes {
        return Err(Error::BeyondEnd {
            coordinates: coordinates.clone(),
            size_bytes: file.size_bytes,
        });
    }
    Ok(())
}

/// The file of the checkpoint is gone: it was purged, or the log has another base name now. Nothing that was not
/// relayed is gone with it where the oldest file left begins with just the GTIDs of the checkpoint. A set that is
/// merely contained in it, or contains it, proves nothing: after RESET MASTER the same numbers are others'.
async fn after_lost_file(
    server: &mut impl Binlogs,
    identity: &Identity,
    resume: &Resume,
    files: &[BinlogFile],
    error: Error,
) -> Result<Start, Error> {
    let (Some(set), Some(oldest), true) = (&resume.gtid_set, files.first(), identity.has_gtids)
    else {
        return Err(error);
    };
    // No GTID at all is also what a server begins with after RESET MASTER.
    if set.is_empty() {
        return Err(error);
    }
    let is_all = server.previous_gtids(&oldest.name).await? == *set
        || server.gtid_set("gtid_purged").await? == *set;
    if !is_all {
        return Err(error);
    }
    tracing::info!(
        checkpoint = %resume.coordinates, read_from = oldest.name,
        "the binlog of the checkpoint is not there any more; all of it was relayed, as its GTIDs say"
    );
    let read_from =
        Coordinates::start_of_file(oldest.name.as_str()).map_err(|_| Error::NoBinlog)?;
    Ok(at_boundary(read_from, Some(set.clone()), identity))
}

/// A start that leaves out the rest of a file in which nothing can be read from `cut` on; `None` where something of
/// it may count. A server that is started after a crash goes on in a new file, which names all GTIDs before it.
///
/// # Errors
/// The server cannot be asked.
pub async fn behind_cut(
    server: &mut impl Binlogs,
    start: &Start,
    cut: &Coordinates,
) -> Result<Option<Start>, Error> {
    let Some(set) = start.gtid_set.as_ref().filter(|_| start.read_from.file() == cut.file()) else {
        return Ok(None);
    };
    let files = server.binlog_files().await?;
    let mut after = files.iter().skip_while(|file| file.name != cut.file()).skip(1);
    let Some(next) = after.next() else { return Ok(None) };
    let read_from = Coordinates::start_of_file(next.name.as_str()).map_err(|_| Error::NoBinlog)?;
    if !server.previous_gtids(&next.name).await?.is_subset_of(set) {
        return Ok(None);
    }
    tracing::warn!(
        %cut, read_from = next.name,
        "the binlog cannot be read to its end, as after a crash; what is there was never committed, as the GTIDs of \
         the next one say: going on there"
    );
    Ok(Some(Start { read_from, file_timestamp: None, start_offset: None, ..start.clone() }))
}

/// A start inside an event would relay what begins before it.
async fn ensure_event_boundary(
    server: &mut impl Binlogs,
    coordinates: &Coordinates,
) -> Result<(), Error> {
    if server.is_event_boundary(coordinates).await? {
        Ok(())
    } else {
        Err(Error::InsideEvent { coordinates: coordinates.clone() })
    }
}

async fn ensure_executed(server: &mut impl Binlogs, set: &GtidSet) -> Result<(), Error> {
    let unknown = set.difference(&server.gtid_set("gtid_executed").await?);
    if unknown.is_empty() { Ok(()) } else { Err(Error::Diverged { unknown }) }
}

/// Everything before the newest file whose head names only relayed GTIDs was relayed; from there on,
/// transactions that are in the set are passed over one by one.
async fn resolve_gtid_set(
    server: &mut impl Binlogs,
    identity: &Identity,
    set: &GtidSet,
) -> Result<Start, Error> {
    let missing = server.gtid_set("gtid_purged").await?.difference(set);
    if !missing.is_empty() {
        return Err(Error::PurgedGtids { missing });
    }
    ensure_executed(server, set).await?;
    let files = server.binlog_files().await?;
    // The heads only grow from file to file, so the files that qualify come first.
    let (mut qualify, mut exceed) = (0, files.len());
    while qualify < exceed {
        let middle = qualify + (exceed - qualify) / 2;
        if server.previous_gtids(&files[middle].name).await?.is_subset_of(set) {
            qualify = middle + 1
        } else {
            exceed = middle
        }
    }
    let file = qualify.checked_sub(1).and_then(|index| files.get(index)).ok_or(Error::NoBinlog)?;
    let read_from = Coordinates::start_of_file(file.name.as_str()).map_err(|_| Error::NoBinlog)?;
    Ok(at_boundary(read_from, Some(set.clone()), identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_begins_at_the_head_of_a_file_where_32_bits_cannot_say_the_offset() {
        let dumpable = |position: &str| super::dumpable(position.parse().unwrap()).to_string();
        assert_eq!(dumpable("binlog.000003:4294967295"), "binlog.000003:4294967295");
        assert_eq!(dumpable("binlog.000003:4294967296"), "binlog.000003:4");
        assert_eq!(dumpable("binlog.000003:9000000000"), "binlog.000003:4");
    }

    #[test]
    fn a_checkpoint_behind_4_gib_is_read_on_from_the_head_of_its_file() {
        let identity = Identity {
            version: "8.0.31".to_owned(),
            server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().unwrap(),
            is_mariadb: false,
            has_gtids: true,
            folds_case: false,
        };
        let start = after("binlog.000003:5000000000".parse().unwrap(), &identity);
        assert_eq!(start.read_from.to_string(), "binlog.000003:4");
        assert_eq!(start.start_offset, Some(5_000_000_000));
    }
}
