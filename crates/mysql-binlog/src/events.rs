//! The events of a binlog or relay log file, one after the other, whatever they mean: to look at a file, not to follow it.
//!
//! Checksums are verified, and compressed transactions are unpacked. A file that is still being written may end inside an
//! event. Memory is bounded by the largest event.

use std::io::{self, ErrorKind};

use mysql_async::IoError;
use thiserror::Error;
use tokio::io::AsyncRead;

use crate::connection::Packets;
use crate::coordinates::{Gtid, GtidEvent, GtidSet};
use crate::dump::{self, Dump, stated};
use crate::event_type::{self, TRANSACTION_PAYLOAD};
use crate::file::FileStream;
use crate::query::Query;
use crate::raw_event::RawEvent;

/// Offset of a file's first event.
const FIRST_EVENT: u64 = 4;

/// Why a file cannot be read on.
#[derive(Debug, Error)]
pub enum Error {
    /// It does not begin as a binlog does.
    #[error("it is no binlog file")]
    NoBinlog,
    /// It is encrypted (`binlog_encryption`), and only the server has the key.
    #[error("it is an encrypted binlog file")]
    Encrypted,
    /// An event does not have the checksum that it states.
    #[error("the event at {at} has a wrong checksum")]
    Checksum {
        /// Where the event begins.
        at: u64,
    },
    /// An event, or what is compressed in it, is damaged.
    #[error("the event at {at} is damaged")]
    Damaged {
        /// Where the event begins.
        at: u64,
    },
    /// The operating system cannot read it.
    #[error(transparent)]
    Read(io::Error),
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Behind a whole event.
    Whole,
    /// Inside the event that begins at this offset.
    CutOff(u64),
}

/// An event and where it stands in its file.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Where it begins, or the compressed transaction around it.
    pub start: u64,
    /// Where it ends, or the compressed transaction around it.
    pub end: u64,
    /// It is inside a compressed transaction.
    pub in_payload: bool,
    /// The event itself.
    pub raw: RawEvent<'a>,
}

/// Reads the events of a file.
pub struct Events<R> {
    dump: Dump<FileStream<R>>,
    start: u64,
    end: u64,
    /// Bytes of events that are still to come out of a compressed transaction.
    payload_left: u64,
}

impl<R: AsyncRead + Unpin> Events<R> {
    /// Reads a file from its first byte on.
    pub fn new(file: R) -> Events<R> {
        let dump = Dump::new(Packets::new(FileStream::new(file)));
        Events { dump, start: FIRST_EVENT, end: FIRST_EVENT, payload_left: 0 }
    }

    /// The next event, or how the file ends.
    ///
    /// # Errors
    /// The file cannot be read on.
    pub async fn next(&mut self) -> Result<Result<Event<'_>, End>, Error> {
        loop {
            match self.dump.take_event() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => return self.ended(error).map(Err),
            }
            let filled = std::future::poll_fn(|context| self.dump.poll_fill(context)).await;
            if let Err(error) = filled {
                return self.ended(error).map(Err);
            }
        }
        let raw = self.dump.event();
        let in_payload = self.payload_left > 0;
        if in_payload {
            self.payload_left = self.payload_left.saturating_sub(u64::from(raw.size));
        } else {
            self.start = self.end;
            self.end += u64::from(raw.size);
            if raw.event_type == TRANSACTION_PAYLOAD {
                self.payload_left = stated(raw.body).map_or(0, |stated| stated.uncompressed_bytes);
            }
        }
        Ok(Ok(Event { start: self.start, end: self.end, in_payload, raw }))
    }

    fn ended(&self, error: dump::Error) -> Result<End, Error> {
        match error {
            dump::Error::Ended => Ok(End::Whole),
            dump::Error::Checksum => Err(Error::Checksum { at: self.end }),
            dump::Error::DamagedPayload => Err(Error::Damaged { at: self.end }),
            dump::Error::Connection(mysql_async::Error::Io(IoError::Io(error))) => {
                match error.kind() {
                    ErrorKind::UnexpectedEof => Ok(End::CutOff(self.end)),
                    ErrorKind::Unsupported => Err(Error::Encrypted),
                    ErrorKind::InvalidData if self.end == FIRST_EVENT => Err(Error::NoBinlog),
                    ErrorKind::InvalidData => Err(Error::Damaged { at: self.end }),
                    _ => Err(Error::Read(error)),
                }
            }
            dump::Error::Connection(_) => Err(Error::Damaged { at: self.end }),
        }
    }
}

impl Event<'_> {
    /// The server's version, of the event at the head of a file.
    #[must_use]
    pub fn server_version(&self) -> Option<String> {
        if self.raw.event_type != event_type::FORMAT_DESCRIPTION {
            return None;
        }
        let version = self.raw.body.get(2..52)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(version).into_owned())
    }

    /// What stands before a transaction.
    #[must_use]
    pub fn gtid(&self) -> Option<GtidEvent> {
        use event_type::{ANONYMOUS_GTID, GTID, GTID_TAGGED};
        let is_gtid = matches!(self.raw.event_type, GTID | GTID_TAGGED | ANONYMOUS_GTID);
        is_gtid.then(|| Gtid::decode(self.raw.event_type, self.raw.body).ok())?
    }

    /// The GTIDs of the files before this one.
    #[must_use]
    pub fn previous_gtids(&self) -> Option<GtidSet> {
        let is_set = self.raw.event_type == event_type::PREVIOUS_GTIDS;
        is_set.then(|| GtidSet::decode_previous_gtids(self.raw.body).ok())?
    }

    /// The database and the text of a statement.
    #[must_use]
    pub fn statement(&self) -> Option<(String, String)> {
        let query = match self.raw.event_type {
            event_type::QUERY => Query::parse(self.raw.body)?,
            event_type::EXECUTE_LOAD_QUERY => Query::parse_load(self.raw.body)?,
            _ => return None,
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some((text(query.database), text(query.text)))
    }

    /// The name of the next file, of a ROTATE event.
    #[must_use]
    pub fn next_file(&self) -> Option<String> {
        let is_rotate = self.raw.event_type == event_type::ROTATE;
        let name = self.raw.body.get(8..).filter(|_| is_rotate)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }
}
