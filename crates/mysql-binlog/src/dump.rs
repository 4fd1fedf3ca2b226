//! The dump connection: registers as a replica, asks for the binlog from a position on, and takes event
//! after event out of what arrives.
//!
//! An event is borrowed from the buffer that its packet was read into; only one of 16 MiB and more is put
//! together in a buffer of its own. Compressed transactions are decompressed as they arrive. Every checksum is
//! verified before its event is handed out; that of a compressed transaction of 16 MiB and more, before its last
//! event is.

mod payload;

use std::io;
use std::ops::Range;
use std::task::{Context, Poll};
use std::time::Duration;

use mysql_async::DriverError;
use mysql_common::packets::{ComBinlogDump, ComRegisterSlave};
use tokio::io::AsyncRead;
use tokio::time::Instant;

use self::payload::Payload;
pub use self::payload::stated;
use super::connection::{
    self, Conn, PIECE_BYTES_MAX, Packets, Stream, command, invalid, serialized,
};
use super::event_type::{FORMAT_DESCRIPTION, TRANSACTION_PAYLOAD};
use super::options::{MysqlOptions, Replica, SILENCE_MIN};
use super::raw_event::{self, HEADER_BYTES, RawEvent};
use super::server;
use crate::coordinates::Coordinates;

/// How long the server waits for us to read on before it cuts the dump (its `net_write_timeout`, default
/// 60 s): back-pressure from Kafka can last for hours, the most the server takes is a year.
const NET_WRITE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// At the end of every event, where the binlog has them (`binlog_checksum`, on by default).
const CHECKSUM_BYTES: usize = 4;

/// The number of the algorithm CRC32 in a FORMAT_DESCRIPTION event, in the byte before its own checksum
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/namespacemysql_1_1binlog_1_1event.html>).
const CHECKSUM_CRC32: u8 = 1;

/// Flag of the FORMAT_DESCRIPTION event of a file that is being written; its checksum is without it.
const FLAG_IN_USE: u8 = 1;
const FLAGS_AT: usize = 17;

/// Bytes of a compressed transaction's header that are waited for: its fields take about 30.
const PAYLOAD_HEADER_BYTES_MAX: usize = 256;

const COM_QUIT: u8 = 1;

/// Why no event comes.
#[derive(Debug)]
pub enum Error {
    Connection(mysql_async::Error),
    /// The server has ended the dump.
    Ended,
    Checksum,
    DamagedPayload,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Connection(error.into())
    }
}

impl From<payload::Damaged> for Error {
    fn from(_: payload::Damaged) -> Error {
        Error::DamagedPayload
    }
}

/// A connection that a dump can be asked for on. The server does not list it as a replica's yet, and ends nobody's
/// dump for it.
pub struct DumpLogin {
    conn: Conn,
    at: Instant,
}

impl DumpLogin {
    /// Logs in, and sets what a dump needs. `server_uuid`: the server that it must be.
    ///
    /// # Errors
    /// The server cannot be reached, or is another one.
    pub async fn new(
        options: &MysqlOptions,
        replica: &Replica,
        server_uuid: Option<&str>,
    ) -> Result<DumpLogin, server::Error> {
        let session = session_sql(options, replica);
        let conn = Conn::connect_to(options, server_uuid, &session, patience(options)).await?;
        Ok(DumpLogin { conn, at: Instant::now() })
    }
}

fn patience(options: &MysqlOptions) -> Duration {
    options.heartbeat.max(SILENCE_MIN)
}

/// A dump, as far as it was read.
pub struct Dump<S = Box<dyn Stream>> {
    packets: Packets<S>,
    /// Events end with a CRC32.
    has_checksums: bool,
    reading: Reading,
    /// An event of 16 MiB and more, or what comes after the compressed bytes of one.
    long: Vec<u8>,
    current: Current,
}

enum Reading {
    /// At the head of a packet.
    Packet,
    /// Inside an event of 16 MiB and more.
    Long,
    Payload(Box<Compressed>),
}

/// A compressed transaction that is being read.
struct Compressed {
    payload: Payload,
    /// Bytes that were not decompressed yet.
    left: usize,
    /// Of what was read of it; `None` where it is known to be right, or has none.
    checksum: Option<crc32fast::Hasher>,
}

/// Where the event is that was taken last: from its header to before its checksum.
#[derive(Debug, Clone)]
enum Current {
    Packet(Range<usize>),
    Long(Range<usize>),
    Payload(Range<usize>),
}

impl Dump {
    /// Registers as a replica and asks for the binlog from a position on, over the connection of `login` if it is fresh.
    /// `server_uuid`: the server that it must be.
    ///
    /// # Errors
    /// The server cannot be reached, is another one, or refuses the dump.
    pub async fn open(
        login: Option<DumpLogin>,
        options: &MysqlOptions,
        replica: &Replica,
        from: &Coordinates,
        server_uuid: Option<&str>,
    ) -> Result<Dump, server::Error> {
        let login = match login.filter(|login| login.at.elapsed() < server::LOGIN_LASTS) {
            Some(login) => login,
            None => DumpLogin::new(options, replica, server_uuid).await?,
        };
        let mut packets = login.conn.into_packets()?;
        let patience = patience(options);
        server::within(patience, register(&mut packets, replica)).await?;
        let offset = u32::try_from(from.offset).expect("a dump begins where 32 bits can say");
        let dump = ComBinlogDump::new(replica.server_id.get())
            .with_pos(offset)
            .with_filename(from.file().as_bytes());
        server::within(patience, command(&mut packets, &serialized(&dump))).await?;
        Ok(Dump::new(packets))
    }
}

impl<S: Stream> Dump<S> {
    /// Ends the dump in an orderly way.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn close(mut self) -> Result<(), mysql_async::Error> {
        command(&mut self.packets, &[COM_QUIT]).await?;
        Ok(self.packets.shut_down().await?)
    }
}

impl<S: AsyncRead + Unpin> Dump<S> {
    /// Reads the packets of a dump that was asked for.
    pub fn new(packets: Packets<S>) -> Dump<S> {
        Dump {
            packets,
            has_checksums: false,
            reading: Reading::Packet,
            long: Vec::new(),
            current: Current::Packet(0..0),
        }
    }

    /// The event that was taken last, without its checksum.
    pub fn event(&self) -> RawEvent<'_> {
        let bytes = match (&self.current, &self.reading) {
            (Current::Packet(range), _) => self.packets.bytes(range.clone()),
            (Current::Long(range), _) => &self.long[range.clone()],
            (Current::Payload(range), Reading::Payload(compressed)) => {
                compressed.payload.bytes(range.clone())
            }
            (Current::Payload(_), _) => {
                unreachable!("its last event is not left before it is read")
            }
        };
        RawEvent::parse(bytes).expect("an event was taken")
    }

    /// Takes the next event out of what has arrived; `false` when more must arrive.
    ///
    /// # Errors
    /// The dump is over, or damaged.
    pub fn take_event(&mut self) -> Result<bool, Error> {
        match self.reading {
            Reading::Packet => self.take_packet(),
            Reading::Long => self.take_long(),
            Reading::Payload(_) => self.take_of_payload(),
        }
    }

    /// Reads what has arrived. The event that was taken last is gone then.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.packets.poll_fill(context).map_err(Error::from)
    }

    fn take_packet(&mut self) -> Result<bool, Error> {
        self.long = Vec::new();
        let Some(length) = self.packets.next_length() else { return Ok(false) };
        let is_long = length == PIECE_BYTES_MAX;
        if !self.packets.holds(if is_long { PAYLOAD_HEADER_BYTES_MAX } else { length }) {
            return Ok(false);
        }
        self.packets.begin()?;
        let Range { start, end } = self.packets.piece()?;
        let [connection::OK, bytes @ ..] = self.packets.bytes(start..end) else {
            return Err(refusal(self.packets.bytes(start..end)));
        };
        match RawEvent::parse(bytes) {
            Some(event) if event.event_type == TRANSACTION_PAYLOAD => {
                let header = start + 1..end;
                self.begin_payload(header, is_long)
            }
            _ if is_long => {
                self.packets.take(1);
                self.reading = Reading::Long;
                self.take_long()
            }
            _ => {
                let trailer = trailer(bytes, &mut self.has_checksums)?;
                self.current = Current::Packet(start + 1..end - trailer);
                self.packets.take(length);
                Ok(true)
            }
        }
    }

    /// Puts an event together that comes in several pieces.
    fn take_long(&mut self) -> Result<bool, Error> {
        if !self.take_rest()? {
            return Ok(false);
        }
        let trailer = trailer(&self.long, &mut self.has_checksums)?;
        self.current = Current::Long(0..self.long.len() - trailer);
        self.reading = Reading::Packet;
        Ok(true)
    }

    /// Adds what has come of a packet to the long one; `false` when more must arrive.
    fn take_rest(&mut self) -> Result<bool, Error> {
        loop {
            let piece = self.packets.piece()?;
            if piece.is_empty() {
                return Ok(self.packets.is_at_end());
            }
            let length = piece.len();
            self.long.extend_from_slice(self.packets.bytes(piece));
            self.packets.take(length);
        }
    }

    /// Hands out the event with its own header only; what it holds follows.
    fn begin_payload(&mut self, here: Range<usize>, is_long: bool) -> Result<bool, Error> {
        let bytes = self.packets.bytes(here.clone());
        let trailer_bytes = match (is_long, self.has_checksums) {
            (false, _) => trailer(bytes, &mut self.has_checksums)?,
            (true, true) => CHECKSUM_BYTES,
            (true, false) => 0,
        };
        let event = RawEvent::parse(bytes).expect("it was looked at");
        let stated = payload::stated(event.body).ok_or(payload::Damaged)?;
        let head = HEADER_BYTES + stated.header_bytes;
        let left = (event.size as usize).checked_sub(head + trailer_bytes);
        let mut checksum = is_long.then(crc32fast::Hasher::new).filter(|_| self.has_checksums);
        if let Some(checksum) = &mut checksum {
            checksum.update(&bytes[..head]);
        }
        self.reading = Reading::Payload(Box::new(Compressed {
            payload: Payload::new(stated)?,
            left: left.ok_or(payload::Damaged)?,
            checksum,
        }));
        self.current = Current::Packet(here.start..here.start + head);
        // With the byte before the event.
        self.packets.take(1 + head);
        Ok(true)
    }

    fn take_of_payload(&mut self) -> Result<bool, Error> {
        let Reading::Payload(compressed) = &mut self.reading else {
            unreachable!("it is called inside of one")
        };
        loop {
            if let Some(event) = compressed.payload.take()? {
                self.current = Current::Payload(event);
                return Ok(true);
            }
            let here = self.packets.piece()?;
            let length = here.len().min(compressed.left);
            if length == 0 {
                break;
            }
            let taken = compressed.put(self.packets.bytes(here.start..here.start + length))?;
            self.packets.take(taken);
        }
        if compressed.left > 0 && !self.packets.is_at_end() {
            return Ok(false);
        }
        self.end_payload()
    }

    /// The last events of a compressed transaction wait for its checksum.
    fn end_payload(&mut self) -> Result<bool, Error> {
        if !self.take_rest()? {
            return Ok(false);
        }
        let Reading::Payload(compressed) = &mut self.reading else {
            unreachable!("it is called at the end of one")
        };
        compressed.verify(&self.long)?;
        match compressed.payload.take_last()? {
            Some(event) => {
                self.current = Current::Payload(event);
                Ok(true)
            }
            None => {
                self.reading = Reading::Packet;
                self.take_packet()
            }
        }
    }
}

impl Compressed {
    fn put(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let taken = self.payload.put(bytes)?;
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&bytes[..taken]);
        }
        self.left -= taken;
        Ok(taken)
    }

    /// `trailer`: what came after the compressed bytes.
    fn verify(&mut self, trailer: &[u8]) -> Result<(), Error> {
        if self.left > 0 {
            return Err(Error::DamagedPayload);
        }
        let read = self.checksum.take().map(|checksum| checksum.finalize().to_le_bytes());
        if read.is_none_or(|read| read == trailer) { Ok(()) } else { Err(Error::Checksum) }
    }
}

/// What the session of a dump is told before it registers.
fn session_sql(options: &MysqlOptions, replica: &Replica) -> String {
    let heartbeat_nanos = options.heartbeat.as_nanos();
    // Both spellings: servers read @source_… from 8.0.26 on, @master_… before. Checksums come as they are in the
    // binlog: under any other value, the first event of the stream may have one before anybody can know it.
    format!(
        "SET @master_binlog_checksum = 'ALL', \
         @source_heartbeat_period = {heartbeat_nanos}, @master_heartbeat_period = {heartbeat_nanos}, \
         @replica_uuid = '{uuid}', @slave_uuid = '{uuid}', SESSION net_write_timeout = {write_timeout}",
        uuid = replica.uuid,
        write_timeout = NET_WRITE_TIMEOUT.as_secs(),
    )
}

async fn register(packets: &mut Packets, replica: &Replica) -> Result<(), mysql_async::Error> {
    // So that SHOW REPLICAS tells a person where this one runs.
    let host = host_name();
    let register = ComRegisterSlave::new(replica.server_id.get()).with_hostname(host.as_bytes());
    command(packets, &serialized(&register)).await?;
    connection::ok_or_error(packets.read().await?)?;
    Ok(())
}

/// The name of this machine, as far as a server takes one: 5.7 refuses a replica with a longer one
/// (<https://dev.mysql.com/doc/refman/5.7/en/replication-options-replica.html#sysvar_report_host>).
fn host_name() -> String {
    const LEN_MAX: usize = 60;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().filter(char::is_ascii_graphic).take(LEN_MAX).collect()
}

/// What a packet that is no event says.
fn refusal(packet: &[u8]) -> Error {
    match packet {
        [connection::ERR, ..] => Error::Connection(connection::server_error(packet)),
        _ if connection::is_end(packet) => Error::Ended,
        _ => Error::Connection(DriverError::UnexpectedPacket { payload: packet.to_vec() }.into()),
    }
}

/// Verifies an event's length and checksum. Answers with how many bytes at its end are not of its body.
fn trailer(bytes: &[u8], has_checksums: &mut bool) -> Result<usize, Error> {
    let stated = raw_event::stated_length(bytes);
    let Some(event) = RawEvent::parse(bytes).filter(|_| stated == Some(bytes.len())) else {
        let length = bytes.len();
        return Err(invalid(format!("an event of {stated:?} bytes in a packet of {length}")).into());
    };
    let mut head = [0; HEADER_BYTES];
    head.copy_from_slice(&bytes[..HEADER_BYTES]);
    let trailer = match event.event_type {
        FORMAT_DESCRIPTION => {
            // It has room for a checksum even where the binlog has none.
            let algorithm = event.body.iter().rev().nth(CHECKSUM_BYTES);
            *has_checksums = algorithm == Some(&CHECKSUM_CRC32);
            head[FLAGS_AT] &= !FLAG_IN_USE;
            CHECKSUM_BYTES + 1
        }
        _ if *has_checksums => CHECKSUM_BYTES,
        _ => return Ok(0),
    };
    if event.body.len() < trailer {
        return Err(invalid(format!("an event of {} bytes", bytes.len())).into());
    }
    if *has_checksums {
        let (body, sent) = event.body.split_at(event.body.len() - CHECKSUM_BYTES);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head);
        checksum.update(body);
        if checksum.finalize().to_le_bytes() != sent {
            return Err(Error::Checksum);
        }
    }
    Ok(trailer)
}
