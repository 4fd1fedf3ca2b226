//! Whole streams into the source: a binlog file, packets, events one by one, and compressed transactions.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mysql_binlog::event_type::{FORMAT_DESCRIPTION, TRANSACTION_PAYLOAD};
use mysql_binlog::feed::feed;
use mysql_binlog::file::{FileStream, MAGIC};
use mysql_binlog::raw_event::{self, HEADER_BYTES};
use mysql_binlog::write::{Writer, body};
use mysql_binlog::{Change, FixedCatalog, Interest, Source, fuzzing};
use tokio::io::{AsyncRead, ReadBuf};

use super::seeds::recordings;
use super::statements::start;
use super::tables::read_rows;
use super::{KIB, Limit, Target};

/// The source reads into a buffer of 256 KiB, and decompresses into one of 128 KiB. Both double for a longer event.
const LIMIT: Limit = Limit { fixed: 2_048 * KIB, per_byte: 512, stated: nothing_stated };

/// A binlog file.
pub const FILE: Target = Target {
    name: "file",
    run: |data| follow(FileStream::new(data)),
    seeds: file_seeds,
    limit: Limit { stated: |data| stated(events_of_file(data)), ..LIMIT },
};

/// The packets of a dump.
pub const PACKETS: Target = Target {
    name: "packets",
    run: |data| follow(data),
    seeds: packets_seeds,
    limit: Limit { stated: |data| stated(events_of_packets(data)), ..LIMIT },
};

/// Events of the right length at the right position. For each: its type, a byte of flags (see [`Shape`]), the length of its
/// body in two bytes, and the body.
pub const EVENTS: Target = Target {
    name: "events",
    run: events,
    seeds: events_seeds,
    limit: Limit { stated: |data| stated(shapes(data).map(|shape| made(&shape, 0))), ..LIMIT },
};

/// A compressed transaction. First byte: whether what follows is compressed already. Then the stated size in four bytes,
/// or 0 for the true one, and the bytes.
pub const PAYLOAD: Target = Target {
    name: "payload",
    run: payload,
    seeds: payload_seeds,
    limit: Limit { stated: |data| stated(payload_event(data).into_iter()), ..LIMIT },
};

fn nothing_stated(_: &[u8]) -> u64 {
    0
}

/// The most that the compressed transactions among the events state. A buffer that doubles has both copies for a moment.
fn stated(events: impl Iterator<Item = Vec<u8>>) -> u64 {
    let body = |event: Vec<u8>| {
        let is_payload = event.get(4) == Some(&TRANSACTION_PAYLOAD);
        event.get(HEADER_BYTES..).filter(|_| is_payload).and_then(fuzzing::stated_payload_bytes)
    };
    events.filter_map(body).max().unwrap_or(0).saturating_mul(4)
}

fn events_of_file(data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = data.get(MAGIC.len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = raw_event::stated_length(rest)?.max(1).min(rest.len());
        let (event, behind) = rest.split_at(length);
        rest = behind;
        Some(event.to_vec())
    })
}

fn events_of_packets(data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (header, behind) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*header) as usize & 0xFF_FFFF;
        let (packet, behind) = behind.split_at(length.min(behind.len()));
        rest = behind;
        Some(packet.get(1..).unwrap_or_default().to_vec())
    })
}

/// Reads a stream to its end, or to the first error. Nothing is waited for: all bytes are here.
fn follow(stream: impl AsyncRead + Unpin) {
    let filter = Arc::new(|database: &str, table: &str| match (database, table) {
        ("shop", "_events_gho") => Interest::Ghost,
        ("shop", _) => Interest::Outbox,
        _ => Interest::None,
    });
    let catalog = FixedCatalog::default();
    let mut source = Source::over(stream, Duration::MAX, start(), catalog, filter);
    while let Ok(true) = source.try_read() {
        match ready(source.interpret()) {
            Some(Ok(Change::Rows(rows))) => read_rows(rows.table, &rows.event),
            Some(Ok(_)) => {}
            Some(Err(_)) => return,
            None => unreachable!("a catalog that is here answers at once"),
        }
    }
}

/// What a future answers without waiting.
pub fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// An event of the input.
struct Shape<'a> {
    event_type: u8,
    /// 1: it is made up, and in no file. 2: it goes into a compressed transaction. 4: it can be passed over.
    flags: u8,
    body: &'a [u8],
}

fn shapes(data: &[u8]) -> impl Iterator<Item = Shape<'_>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (&[event_type, flags, low, high], behind) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (body, behind) = behind.split_at(length);
        rest = behind;
        Some(Shape { event_type, flags, body })
    })
}

/// The event, without a checksum, that ends at `end` where it is in a file.
fn made(shape: &Shape<'_>, end: u32) -> Vec<u8> {
    let Shape { event_type, flags, body } = shape;
    let log_pos = if flags & 3 == 0 { end } else { 0 };
    let header_flags = u16::from(flags & 4) << 5;
    let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
    event.push(*event_type);
    event.extend([1, 0, 0, 0]);
    event.extend(((HEADER_BYTES + body.len()) as u32).to_le_bytes());
    event.extend(log_pos.to_le_bytes());
    event.extend(header_flags.to_le_bytes());
    event.extend(*body);
    event
}

fn events(data: &[u8]) {
    let (feed, stream) = feed();
    let mut end = 4;
    let mut inside: Vec<u8> = Vec::new();
    for shape in shapes(data) {
        if shape.flags & 2 != 0 {
            inside.extend(made(&shape, 0));
            continue;
        }
        if !inside.is_empty() {
            let body = &body::transaction_payload(&std::mem::take(&mut inside));
            end += (HEADER_BYTES + body.len()) as u32;
            feed.push(&made(&Shape { event_type: TRANSACTION_PAYLOAD, flags: 0, body }, end));
        }
        end += (HEADER_BYTES + shape.body.len()) as u32;
        feed.push(&made(&shape, end));
    }
    feed.end();
    follow(stream);
}

fn payload_event(data: &[u8]) -> Option<Vec<u8>> {
    let (&[is_compressed, a, b, c, d], bytes) = data.split_first_chunk()?;
    let size = u32::from_le_bytes([a, b, c, d]);
    let body = if is_compressed & 1 == 0 {
        body::transaction_payload(bytes)
    } else {
        // Type 2 (compression) = 0 (zstd), type 3 (uncompressed size), end mark.
        let size = if size == 0 { bytes.len() as u32 } else { size };
        let size = u64::from(size).to_le_bytes();
        [&[2, 1, 0, 3, 9, 254], &size[..], &[0], bytes].concat()
    };
    let shape = Shape { event_type: TRANSACTION_PAYLOAD, flags: 0, body: &body };
    Some(made(&shape, (4 + HEADER_BYTES + body.len()) as u32))
}

fn payload(data: &[u8]) {
    let Some(event) = payload_event(data) else { return };
    let (feed, stream) = feed();
    feed.push(&event);
    feed.end();
    follow(stream);
}

/// A small file without checksums, in which a changed byte reaches what is behind the checksum.
fn small_file() -> Vec<u8> {
    use mysql_binlog::write::{Column, TableShape};
    let table = TableShape::new(7, "shop", "events", vec![Column::big_int("id")]);
    let row = || vec![Some(5_i64.to_le_bytes().to_vec())];
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().expect("a UUID");
    let mut writer = Writer::new("binlog.000001", false);
    let mut inside = Writer::inside_payload();
    let inside = [
        inside.begin(),
        inside.table_map(&table),
        inside.write_rows(&table, &[row()]),
        inside.xid(2),
    ];
    let set = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().expect("a set");
    let events = [
        writer.format_description(),
        writer.previous_gtids(&set),
        writer.gtid(uuid, 6, Some(1_700_000_000_000_000)),
        writer.begin(),
        writer.table_map(&table),
        writer.write_rows(&table, &[row(), row()]),
        writer.xid(1),
        writer.gtid(uuid, 7, None),
        writer.transaction_payload(&inside),
        writer.gtid(uuid, 8, None),
        writer.query("shop", "ALTER TABLE events ADD COLUMN a INT"),
        writer.rotate("binlog.000002"),
    ];
    [&MAGIC[..], &events.concat()].concat()
}

fn file_seeds() -> Vec<Vec<u8>> {
    let recorded = recordings().into_iter().map(|events| [&MAGIC[..], &events.concat()].concat());
    [small_file()].into_iter().chain(recorded.take(2)).collect()
}

fn packets_seeds() -> Vec<Vec<u8>> {
    file_seeds().iter().map(|file| packets(file)).collect()
}

/// The packets that a file is sent in.
fn packets(file: &[u8]) -> Vec<u8> {
    let (mut stream, mut packets) = (FileStream::new(file), Vec::new());
    loop {
        let mut room = [0; 4096];
        let mut room = ReadBuf::new(&mut room);
        let read =
            Pin::new(&mut stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut room);
        if !matches!(read, Poll::Ready(Ok(()))) || room.filled().is_empty() {
            return packets;
        }
        packets.extend(room.filled());
    }
}

/// An event of the input for [`events`], from one with or without a checksum.
fn shape(event: &[u8], checksum_bytes: usize) -> Vec<u8> {
    let event_type = event[4];
    let mut body = event[HEADER_BYTES..].to_vec();
    match event_type {
        // Without checksums.
        FORMAT_DESCRIPTION => {
            let algorithm = body.len() - 5;
            body[algorithm] = 0;
        }
        _ => body.truncate(body.len() - checksum_bytes),
    }
    let length = u16::try_from(body.len()).expect("a seed is short").to_le_bytes();
    [&[event_type, 0], &length[..], &body].concat()
}

fn events_seeds() -> Vec<Vec<u8>> {
    let small: Vec<Vec<u8>> = events_of_file(&small_file()).collect();
    let small = small.iter().map(|event| shape(event, 0)).collect::<Vec<_>>().concat();
    let recorded = recordings().into_iter().map(|events| {
        let short = events.iter().filter(|event| event.len() < 4_000);
        short.map(|event| shape(event, 4)).collect::<Vec<_>>().concat()
    });
    // The same with its rows in compressed transactions.
    let mut packed = small.clone();
    let mut at = 0;
    while at + 4 <= packed.len() {
        // QUERY, TABLE_MAP, WRITE_ROWS, XID
        if matches!(packed[at], 2 | 19 | 30 | 16) {
            packed[at + 1] = 2;
        }
        at += 4 + usize::from(u16::from_le_bytes([packed[at + 2], packed[at + 3]]));
    }
    [small, packed].into_iter().chain(recorded).collect()
}

fn payload_seeds() -> Vec<Vec<u8>> {
    let inside: Vec<u8> = events_of_file(&small_file()).skip(3).take(4).flatten().collect();
    let compressed = body::transaction_payload(&inside);
    // The header ends with its end mark; zstd's magic number follows.
    let at = compressed.windows(4).position(|bytes| bytes == [0x28, 0xb5, 0x2f, 0xfd]);
    let compressed = &compressed[at.expect("a frame of zstd")..];
    let size = (inside.len() as u32).to_le_bytes();
    vec![[&[0, 0, 0, 0, 0], &inside[..]].concat(), [&[1], &size[..], compressed].concat()]
}
