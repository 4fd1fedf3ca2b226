//! The bodies of binlog events: what is between the header and the checksum.

use crate::coordinates::{GtidSet, Uuid};

/// The checksum CRC32 in a FORMAT_DESCRIPTION event.
const CHECKSUM_CRC32: u8 = 1;

/// Types of events that MySQL 8.0 knows the length of a fixed part of.
const EVENT_TYPES: usize = 41;

/// FORMAT_DESCRIPTION. The last 4 bytes are room for its checksum.
pub fn format_description(has_checksums: bool) -> Vec<u8> {
    let mut version = [0; 50];
    version[..6].copy_from_slice(b"8.0.31");
    let mut body = vec![4, 0];
    body.extend(version);
    body.extend([0; 4]);
    body.push(19);
    body.extend([0; EVENT_TYPES]);
    body.push(if has_checksums { CHECKSUM_CRC32 } else { 0 });
    body.extend([0; 4]);
    body
}

/// ROTATE: the file that follows, and the offset in it.
pub fn rotate(file: &str, offset: u64) -> Vec<u8> {
    [&offset.to_le_bytes(), file.as_bytes()].concat()
}

/// GTID and ANONYMOUS_GTID.
pub fn gtid(server: Uuid, number: u64, committed_at: Option<u64>) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(server.as_bytes());
    body.extend(number.to_le_bytes());
    // The logical clock, of two times.
    body.push(2);
    body.extend([0; 16]);
    if let Some(micros) = committed_at {
        body.extend(&micros.to_le_bytes()[..7]);
    }
    body
}

/// PREVIOUS_GTIDS.
///
/// # Panics
/// The set has GTIDs with tags.
pub fn previous_gtids(set: &GtidSet) -> Vec<u8> {
    let text = set.to_string();
    let servers: Vec<&str> = text.split(',').filter(|server| !server.is_empty()).collect();
    let mut body = (servers.len() as u64).to_le_bytes().to_vec();
    for server in servers {
        let (uuid, intervals) = server.trim().split_once(':').expect("a server has intervals");
        let uuid: Uuid = uuid.parse().expect("a set names servers by their UUIDs");
        body.extend(uuid.as_bytes());
        body.extend((intervals.split(':').count() as u64).to_le_bytes());
        for interval in intervals.split(':') {
            let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
            let number = |text: &str| text.parse::<u64>().expect("the set has no tags");
            // The second number is the first that is not in the interval.
            body.extend(number(first).to_le_bytes());
            body.extend((number(last) + 1).to_le_bytes());
        }
    }
    body
}

/// QUERY without status variables.
pub fn query(database: &str, text: &str) -> Vec<u8> {
    let mut body = vec![0; 13];
    body[8] = u8::try_from(database.len()).expect("a database's name is short");
    body.extend(database.as_bytes());
    body.push(0);
    body.extend(text.as_bytes());
    body
}

/// TRANSACTION_PAYLOAD, compressed by zstd.
pub fn transaction_payload(events: &[u8]) -> Vec<u8> {
    let compressed = zstd::encode_all(events, 3).expect("memory is written to");
    let mut body = Vec::new();
    // Compression: zstd. Size of the events. Size of the compressed bytes. The end.
    for (field, value) in [(2, 0), (3, events.len()), (1, compressed.len())] {
        let mut encoded = Vec::new();
        length(&mut encoded, value);
        body.push(field);
        length(&mut body, encoded.len());
        body.extend(encoded);
    }
    body.push(0);
    body.extend(compressed);
    body
}

/// Appends a length-encoded integer
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>).
pub(super) fn length(body: &mut Vec<u8>, value: usize) {
    let bytes = (value as u64).to_le_bytes();
    match value {
        0..=250 => body.push(bytes[0]),
        251..=0xFFFF => {
            body.push(252);
            body.extend(&bytes[..2]);
        }
        0x1_0000..=0xFF_FFFF => {
            body.push(253);
            body.extend(&bytes[..3]);
        }
        _ => {
            body.push(254);
            body.extend(bytes);
        }
    }
}
