//! An event as it comes over the wire, before anybody knows what it means.

/// One event as the stream delivers it: header fields and the body without header and checksum.
#[derive(Debug, Clone, Copy)]
pub struct RawEvent<'a> {
    pub event_type: u8,
    pub flags: u16,
    /// Bytes of the whole event: header, body and checksum.
    pub size: u32,
    /// Seconds since 1970.
    pub timestamp: u32,
    /// End of the event in its file, modulo 2^32; 0 for an event made up for the stream.
    pub log_pos: u32,
    pub body: &'a [u8],
}
