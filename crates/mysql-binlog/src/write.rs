//! Writes binlog events, for tests of what reads them: the other direction of this crate. It writes what MySQL 8.0 does,
//! as far as this crate looks at it.
//!
//! [`Writer`] counts positions and adds checksums; [`body`] makes the bodies of single events; [`TableShape`] makes table
//! maps and rows. Events go into a [`feed`](crate::feed), or one after another behind [`MAGIC`](crate::file::MAGIC) into a
//! file.
//!
//! ```
//! use mysql_binlog::write::{Column, TableShape, Writer};
//!
//! let table = TableShape::new(7, "shop", "events", vec![Column::big_int("id")]);
//! let mut writer = Writer::new("binlog.000001", true);
//! let events = [
//!     writer.format_description(),
//!     writer.anonymous_gtid(1_700_000_000_000_000),
//!     writer.begin(),
//!     writer.table_map(&table),
//!     writer.write_rows(&table, &[vec![Some(5_i64.to_le_bytes().to_vec())]]),
//!     writer.xid(1),
//! ];
//! assert_eq!(writer.end() as usize, 4 + events.concat().len());
//! ```

pub mod body;
mod table;

pub use self::table::{Column, Row, TableShape};
use crate::coordinates::{FIRST_EVENT_OFFSET, GtidSet, Uuid};
use crate::event_type::*;
use crate::raw_event::HEADER_BYTES;

/// Bytes of the CRC32 at the end of an event.
const CHECKSUM_BYTES: usize = 4;

/// Flag of an event that was made up for the stream, and is in no file.
const FLAG_ARTIFICIAL: u16 = 0x20;

/// Writes the events of one binlog after another. Each function returns the bytes of one whole event, with its header and
/// checksum, and moves the position behind it.
#[derive(Debug, Clone)]
pub struct Writer {
    file: String,
    end: u64,
    /// In the header of each event, in seconds since 1970.
    pub timestamp: u32,
    /// In the header of each event.
    pub server_id: u32,
    has_checksums: bool,
    /// The stream has said that it has checksums. The events before that have none.
    is_described: bool,
    /// Events go into a compressed transaction: they have neither a position nor a checksum.
    is_inside_payload: bool,
}

impl Writer {
    /// Begins a file, such as `binlog.000001`. `has_checksums` is `binlog_checksum=CRC32`.
    pub fn new(file: &str, has_checksums: bool) -> Writer {
        Writer {
            file: file.to_owned(),
            end: FIRST_EVENT_OFFSET,
            timestamp: 1_700_000_000,
            server_id: 1,
            has_checksums,
            is_described: false,
            is_inside_payload: false,
        }
    }

    /// Writes the events inside a compressed transaction, for [`Writer::transaction_payload`].
    pub fn inside_payload() -> Writer {
        Writer { is_inside_payload: true, ..Writer::new("", false) }
    }

    /// The file that is written.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// End of the last event in its file, in bytes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Goes on at another offset of the file, for instance behind 4 GiB.
    pub fn seek(&mut self, end: u64) {
        self.end = end;
    }

    /// Any event of the file.
    pub fn event(&mut self, event_type: u8, flags: u16, body: &[u8]) -> Vec<u8> {
        let size = HEADER_BYTES + body.len() + self.checksum_bytes(event_type);
        if self.is_inside_payload {
            return self.encode(event_type, flags, 0, body);
        }
        self.end += size as u64;
        self.encode(event_type, flags, self.end, body)
    }

    /// Any event that the server makes up for the stream.
    pub fn made_up(&self, event_type: u8, body: &[u8]) -> Vec<u8> {
        self.encode(event_type, FLAG_ARTIFICIAL, 0, body)
    }

    /// What the server sends before the events of a file, when a dump begins at this offset: a made-up ROTATE without a
    /// checksum, and where that is not the head of the file, a FORMAT_DESCRIPTION event with our timestamp.
    pub fn dump_head(&self, file: &str, offset: u64) -> Vec<Vec<u8>> {
        let mut head = Writer { is_described: false, ..self.clone() };
        let mut events = vec![head.made_up(ROTATE, &body::rotate(file, offset))];
        if offset > FIRST_EVENT_OFFSET {
            head.is_described = true;
            let body = body::format_description(self.has_checksums);
            events.push(head.encode(FORMAT_DESCRIPTION, 0, 0, &body));
        }
        events
    }

    /// What the server sends between two files, behind the first one's [`Writer::rotate`].
    pub fn made_up_rotate(&self) -> Vec<u8> {
        self.made_up(ROTATE, &body::rotate(&self.file, FIRST_EVENT_OFFSET))
    }

    /// The head of each file.
    pub fn format_description(&mut self) -> Vec<u8> {
        self.is_described = true;
        self.event(FORMAT_DESCRIPTION, 0, &body::format_description(self.has_checksums))
    }

    /// All GTIDs before the file.
    pub fn previous_gtids(&mut self, set: &GtidSet) -> Vec<u8> {
        self.event(PREVIOUS_GTIDS, 0, &body::previous_gtids(set))
    }

    /// The end of the file; the next one begins.
    pub fn rotate(&mut self, next_file: &str) -> Vec<u8> {
        let event = self.event(ROTATE, 0, &body::rotate(next_file, FIRST_EVENT_OFFSET));
        self.file = next_file.to_owned();
        self.end = FIRST_EVENT_OFFSET;
        event
    }

    /// The head of a transaction. `committed_at` is in microseconds since 1970; 5.7 writes none.
    pub fn gtid(&mut self, server: Uuid, number: u64, committed_at: Option<u64>) -> Vec<u8> {
        self.event(GTID, 0, &body::gtid(server, number, committed_at))
    }

    /// The same without a GTID, under `gtid_mode=OFF`.
    pub fn anonymous_gtid(&mut self, committed_at: u64) -> Vec<u8> {
        let nobody = Uuid::from_bytes([0; 16]);
        self.event(ANONYMOUS_GTID, 0, &body::gtid(nobody, 0, Some(committed_at)))
    }

    /// A statement, with the database that it was run in.
    pub fn query(&mut self, database: &str, text: &str) -> Vec<u8> {
        self.event(QUERY, 0, &body::query(database, text))
    }

    /// The first event of a transaction with rows.
    pub fn begin(&mut self) -> Vec<u8> {
        self.query("", "BEGIN")
    }

    /// The end of a transaction that was taken back: one that changed a table without transactions as well.
    pub fn rollback(&mut self) -> Vec<u8> {
        self.query("", "ROLLBACK")
    }

    /// The columns of the rows that follow.
    pub fn table_map(&mut self, table: &TableShape) -> Vec<u8> {
        self.event(TABLE_MAP, 0, &table.table_map())
    }

    /// Inserted rows, the last of their statement.
    pub fn write_rows(&mut self, table: &TableShape, rows: &[Row]) -> Vec<u8> {
        self.event(WRITE_ROWS, 0, &table.write_rows(rows))
    }

    /// The commit of a transaction.
    pub fn xid(&mut self, number: u64) -> Vec<u8> {
        self.event(XID, 0, &number.to_le_bytes())
    }

    /// A compressed transaction, of events that [`Writer::inside_payload`] wrote. It stands behind its GTID event.
    pub fn transaction_payload(&mut self, events: &[Vec<u8>]) -> Vec<u8> {
        self.event(TRANSACTION_PAYLOAD, 0, &body::transaction_payload(&events.concat()))
    }

    /// What an idle server sends.
    pub fn heartbeat(&self) -> Vec<u8> {
        self.encode(HEARTBEAT, 0, self.end, self.file.as_bytes())
    }

    fn checksum_bytes(&self, event_type: u8) -> usize {
        match event_type {
            // A part of its body.
            FORMAT_DESCRIPTION => 0,
            _ if self.has_checksums && self.is_described => CHECKSUM_BYTES,
            _ => 0,
        }
    }

    fn encode(&self, event_type: u8, flags: u16, end: u64, body: &[u8]) -> Vec<u8> {
        let size = HEADER_BYTES + body.len() + self.checksum_bytes(event_type);
        let size = u32::try_from(size).expect("an event is below 4 GiB");
        let mut event = Vec::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
        event.extend(self.timestamp.to_le_bytes());
        event.push(event_type);
        event.extend(self.server_id.to_le_bytes());
        event.extend(size.to_le_bytes());
        // Its lower 32 bits: a file may be longer.
        event.extend(&end.to_le_bytes()[..4]);
        event.extend(flags.to_le_bytes());
        event.extend(body);
        if event_type == FORMAT_DESCRIPTION {
            // It has room for a checksum even where the binlog has none.
            event.truncate(event.len() - CHECKSUM_BYTES);
        }
        let has_checksum = self.has_checksums && self.is_described;
        let checksum = if has_checksum { crc32fast::hash(&event) } else { 0 };
        if self.checksum_bytes(event_type) > 0 || event_type == FORMAT_DESCRIPTION {
            event.extend(checksum.to_le_bytes());
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw_event::RawEvent;

    #[test]
    fn a_set_is_read_as_it_was_written() {
        for text in [
            "",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:3,4e11fa47-71ca-11e1-9e33-c80aa9429562:1-9",
        ] {
            let set: GtidSet = text.parse().unwrap();
            let read = GtidSet::decode_previous_gtids(&body::previous_gtids(&set)).unwrap();
            assert_eq!(read, set, "{text}");
        }
    }

    #[test]
    fn positions_and_sizes_are_those_of_the_bytes() {
        for has_checksums in [false, true] {
            let mut writer = Writer::new("binlog.000001", has_checksums);
            let mut end = FIRST_EVENT_OFFSET as usize;
            for event in [writer.format_description(), writer.begin(), writer.xid(7)] {
                end += event.len();
                let header = RawEvent::parse(&event).unwrap();
                assert_eq!((header.size as usize, header.log_pos as usize), (event.len(), end));
            }
            assert_eq!(writer.end() as usize, end);
        }
    }
}
