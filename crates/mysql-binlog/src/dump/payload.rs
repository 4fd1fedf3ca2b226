//! A TRANSACTION_PAYLOAD event: a compressed transaction, whose bytes enter as they arrive and leave as the
//! events inside, one after the other.
//!
//! Neither the compressed nor the decompressed transaction is ever held as a whole, and no size that it
//! states is trusted with memory: there is room for what has come of one event. An event that is longer than the stated
//! size of all is damage, before there is room for it: a few bytes can decompress to gigabytes. Its header has triples of
//! length-encoded integers (type, length, value) up to an end mark
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html>).

use std::ops::Range;

use zstd::stream::raw::{Decoder, Operation};

use crate::connection::Buffer;
use crate::raw_event;

const END_MARK: u64 = 0;
const PAYLOAD_SIZE: u64 = 1;
const COMPRESSION: u64 = 2;
const UNCOMPRESSED_SIZE: u64 = 3;

// Values of the compression field.
const ZSTD: u64 = 0;
const NONE: u64 = 255;

/// Room for many small events; it grows to the largest one.
const BUFFER_BYTES: usize = 128 << 10;

/// So much is decompressed at once, where there is as much.
const ROOM_BYTES_MIN: usize = 32 << 10;

/// What a compressed transaction says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stated {
    /// Bytes of all events inside.
    pub uncompressed_bytes: u64,
    /// Bytes of the header up to its end mark.
    pub header_bytes: usize,
    compression: u64,
}

/// Reads the header; `None` when it is damaged.
pub fn stated(body: &[u8]) -> Option<Stated> {
    let mut rest = body;
    let (mut payload, mut uncompressed, mut compression) = (None, None, NONE);
    loop {
        let field = take_integer(&mut rest)?;
        if field == END_MARK {
            let uncompressed_bytes = uncompressed.or(payload)?;
            let header_bytes = body.len() - rest.len();
            return Some(Stated { uncompressed_bytes, header_bytes, compression });
        }
        let length = usize::try_from(take_integer(&mut rest)?).ok()?;
        let (mut value, after) = rest.split_at_checked(length)?;
        rest = after;
        match field {
            PAYLOAD_SIZE => payload = Some(take_integer(&mut value)?),
            COMPRESSION => compression = take_integer(&mut value)?,
            UNCOMPRESSED_SIZE => uncompressed = Some(take_integer(&mut value)?),
            _ => {}
        }
    }
}

/// A length-encoded integer
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>).
fn take_integer(rest: &mut &[u8]) -> Option<u64> {
    let (&first, after) = rest.split_first()?;
    let width = match first {
        0..=250 => {
            *rest = after;
            return Some(u64::from(first));
        }
        252 => 2,
        253 => 3,
        254 => 8,
        _ => return None,
    };
    let (digits, after) = after.split_at_checked(width)?;
    *rest = after;
    Some(digits.iter().rev().fold(0, |value, &digit| value << 8 | u64::from(digit)))
}

/// It does not decompress to whole events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// The events inside of one compressed transaction.
pub struct Payload {
    /// `None`: not compressed.
    decoder: Option<Decoder<'static>>,
    /// What was decompressed.
    buffer: Buffer,
    /// Of the stated bytes, those of events that were not taken yet.
    left: u64,
    /// All that was put in has come out.
    is_flushed: bool,
}

impl Payload {
    /// # Errors
    /// It is compressed in a way that nobody knows.
    pub fn new(stated: Stated) -> Result<Payload, Damaged> {
        let decoder = match stated.compression {
            ZSTD => Some(Decoder::new().map_err(|_| Damaged)?),
            NONE => None,
            _ => return Err(Damaged),
        };
        let buffer = Buffer::new(BUFFER_BYTES, ROOM_BYTES_MIN);
        Ok(Payload { decoder, buffer, left: stated.uncompressed_bytes, is_flushed: true })
    }

    /// What a range of the buffer holds, until the next call of [`Payload::put`].
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.bytes(range)
    }

    /// Decompresses as much of the input as there is room for; without input, what is still inside. Answers
    /// with how many bytes of it were taken.
    ///
    /// # Errors
    /// Its bytes are not of that compression, or break off.
    pub fn put(&mut self, input: &[u8]) -> Result<usize, Damaged> {
        let room = self.buffer.room();
        let (taken, made) = match &mut self.decoder {
            Some(decoder) => {
                let status = decoder.run_on_buffers(input, room).map_err(|_| Damaged)?;
                self.is_flushed = status.remaining == 0;
                (status.bytes_read, status.bytes_written)
            }
            None => {
                let length = input.len().min(room.len());
                room[..length].copy_from_slice(&input[..length]);
                (length, length)
            }
        };
        self.buffer.note_filled(made);
        // There is always room, so something always moves on.
        if taken == 0 && made == 0 { Err(Damaged) } else { Ok(taken) }
    }

    /// Takes the next event if it is here and another one follows it.
    ///
    /// # Errors
    /// No event has such a header, or it is longer than what is left of the stated size.
    pub fn take(&mut self) -> Result<Option<Range<usize>>, Damaged> {
        let length = self.next_length()?.filter(|length| *length < self.buffer.held().len());
        Ok(length.map(|length| self.take_event(length)))
    }

    /// Takes the next event once all input was put in; `None` at the end.
    ///
    /// # Errors
    /// What is left is no event.
    pub fn take_last(&mut self) -> Result<Option<Range<usize>>, Damaged> {
        while !self.is_flushed {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            self.put(&[])?;
        }
        match self.next_length()?.filter(|length| *length <= self.buffer.held().len()) {
            Some(length) => Ok(Some(self.take_event(length))),
            None if self.buffer.held().is_empty() => Ok(None),
            None => Err(Damaged),
        }
    }

    fn next_length(&self) -> Result<Option<usize>, Damaged> {
        match raw_event::stated_length(self.buffer.held()) {
            Some(length) if length < raw_event::HEADER_BYTES => Err(Damaged),
            Some(length) if length as u64 > self.left => Err(Damaged),
            length => Ok(length),
        }
    }

    fn take_event(&mut self, length: usize) -> Range<usize> {
        self.left -= length as u64;
        self.buffer.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stated_size(body: &[u8]) -> Option<u64> {
        stated(body).map(|stated| stated.uncompressed_bytes)
    }

    #[test]
    fn the_stated_size_is_that_of_the_events_inside() {
        // Type 2 (compression) = 0 (zstd), type 3 (uncompressed size) = 204, type 1 (payload size) = 149.
        let body = [2, 1, 0, 3, 1, 0xcc, 1, 1, 0x95, 0, 0x28, 0xb5];
        let header = Stated { uncompressed_bytes: 204, header_bytes: 10, compression: ZSTD };
        assert_eq!(stated(&body), Some(header));
        let body = [3, 3, 0xfc, 0x34, 0x12, 1, 1, 5, 0];
        assert_eq!(stated_size(&body), Some(0x1234));
        assert_eq!(stated_size(&[1, 1, 9, 0]), Some(9));
    }

    /// An event of so many bytes in all.
    fn event(length: usize, filler: u8) -> Vec<u8> {
        let mut event = vec![filler; length];
        event[9..13].copy_from_slice(&(length as u32).to_le_bytes());
        event
    }

    /// What comes out where the input arrives in pieces of the given length.
    fn events_of(
        compression: u64,
        input: &[u8],
        piece_bytes: usize,
    ) -> Result<Vec<Vec<u8>>, Damaged> {
        events_of_stated(1 << 30, compression, input, piece_bytes)
    }

    fn events_of_stated(
        uncompressed_bytes: u64,
        compression: u64,
        input: &[u8],
        piece_bytes: usize,
    ) -> Result<Vec<Vec<u8>>, Damaged> {
        let stated = Stated { uncompressed_bytes, header_bytes: 0, compression };
        let mut payload = Payload::new(stated)?;
        let mut events = Vec::new();
        for mut piece in input.chunks(piece_bytes) {
            while !piece.is_empty() {
                while let Some(range) = payload.take()? {
                    events.push(payload.bytes(range).to_vec());
                }
                piece = &piece[payload.put(piece)?..];
            }
        }
        while let Some(range) = payload.take_last()? {
            events.push(payload.bytes(range).to_vec());
        }
        Ok(events)
    }

    #[test]
    fn events_are_whole_however_the_compressed_bytes_arrive() {
        let lengths = [19, 3_000_000, 20, 60_000, 19, 500_000, 31];
        let events: Vec<Vec<u8>> =
            lengths.iter().zip(1..).map(|(length, filler)| event(*length, filler)).collect();
        let plain = events.concat();
        let compressed = zstd::encode_all(plain.as_slice(), 3).expect("compress");
        // Concatenated frames are one stream.
        let (head, tail) = plain.split_at(100_000);
        let frames = [head, tail].map(|part| zstd::encode_all(part, 3).expect("compress")).concat();
        for piece_bytes in [1, 13, 1_000, 1 << 24] {
            assert!(events_of(ZSTD, &compressed, piece_bytes) == Ok(events.clone()));
            assert!(events_of(ZSTD, &frames, piece_bytes) == Ok(events.clone()));
        }
        assert!(events_of(NONE, &plain, 70_000) == Ok(events));
    }

    #[test]
    fn what_is_not_whole_is_damaged() {
        let plain = [event(19, 1), event(5_000, 2)].concat();
        let compressed = zstd::encode_all(plain.as_slice(), 3).expect("compress");
        assert_eq!(events_of(ZSTD, &compressed[..compressed.len() - 1], 100), Err(Damaged));
        assert_eq!(events_of(ZSTD, &plain, 100), Err(Damaged));
        assert_eq!(events_of(NONE, &plain[..plain.len() - 1], 100), Err(Damaged));
        assert_eq!(events_of(7, &plain, 100), Err(Damaged));
        let mut short = event(19, 1);
        short[9] = 18;
        assert_eq!(events_of(NONE, &short, 100), Err(Damaged));
    }

    #[test]
    fn a_transaction_far_larger_than_its_compressed_bytes_takes_little_room() {
        let events: Vec<u8> = (0..20_000).flat_map(|_| event(8_192, 0)).collect();
        let compressed = zstd::encode_all(events.as_slice(), 3).expect("compress");
        let uncompressed_bytes = events.len() as u64;
        let stated = Stated { uncompressed_bytes, header_bytes: 0, compression: ZSTD };
        let mut payload = Payload::new(stated).expect("zstd is known");
        let (mut rest, mut count) = (compressed.as_slice(), 0);
        while !rest.is_empty() {
            rest = &rest[payload.put(rest).expect("it is whole")..];
            while payload.take().expect("it is whole").is_some() {
                count += 1;
            }
        }
        while payload.take_last().expect("it is whole").is_some() {
            count += 1;
        }
        assert_eq!((count, payload.buffer.len()), (20_000, BUFFER_BYTES));
    }

    #[test]
    fn more_bytes_than_stated_are_damage_before_there_is_room_for_them() {
        let large = event(64 << 20, 0);
        let compressed = zstd::encode_all(large.as_slice(), 3).expect("compress");
        let stated = Stated { uncompressed_bytes: 1 << 20, header_bytes: 0, compression: ZSTD };
        let mut payload = Payload::new(stated).expect("zstd is known");
        let mut rest = compressed.as_slice();
        let mut result = Ok(None);
        while !rest.is_empty() && result == Ok(None) {
            rest = &rest[payload.put(rest).expect("it is whole")..];
            result = payload.take();
        }
        assert_eq!((result, payload.buffer.len()), (Err(Damaged), BUFFER_BYTES));
    }

    #[test]
    fn an_event_behind_the_stated_ones_is_damage() {
        let plain = [event(19, 1), event(30, 2)].concat();
        let of_size = |uncompressed_bytes| events_of_stated(uncompressed_bytes, NONE, &plain, 7);
        assert_eq!(of_size(49).map(|events| events.len()), Ok(2));
        for stated in [0, 19, 48] {
            assert_eq!(of_size(stated), Err(Damaged), "{stated}");
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            stated(&body);
            // Either way, as long as it ends.
            for compression in [ZSTD, NONE] {
                prop_assert!(events_of(compression, &body, 7).is_ok_and(|it| it.is_empty()) == body.is_empty());
            }
        }
    }
}
