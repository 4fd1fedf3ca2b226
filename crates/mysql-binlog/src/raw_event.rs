//! An event as it comes over the wire, before anybody knows what it means.

/// Every event begins with a header of this length
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Log__event__header.html>).
pub const HEADER_BYTES: usize = 19;

/// Offset of the event's length in its header.
const LENGTH_AT: usize = 9;

/// One event as the stream delivers it: header fields and the body without header and checksum.
#[derive(Debug, Clone, Copy)]
pub struct RawEvent<'a> {
    /// See [`event_type`](crate::event_type).
    pub event_type: u8,
    /// Flags of the header.
    pub flags: u16,
    /// Bytes of the whole event: header, body and checksum.
    pub size: u32,
    /// Seconds since 1970.
    pub timestamp: u32,
    /// End of the event in its file, modulo 2^32; 0 for an event made up for the stream.
    pub log_pos: u32,
    /// What follows the header, without the checksum.
    pub body: &'a [u8],
}

impl RawEvent<'_> {
    /// Reads a header; what follows it is the body. `None` when it is shorter than a header.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<RawEvent<'_>> {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [t0, t1, t2, t3, event_type, _, _, _, _, s0, s1, s2, s3, p0, p1, p2, p3, f0, f1] =
            *header;
        Some(RawEvent {
            event_type,
            flags: u16::from_le_bytes([f0, f1]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
            timestamp: u32::from_le_bytes([t0, t1, t2, t3]),
            log_pos: u32::from_le_bytes([p0, p1, p2, p3]),
            body,
        })
    }
}

/// The length of an event as its header states it; `None` while that is not here.
#[inline]
pub fn stated_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(LENGTH_AT..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*length) as usize)
}
