//! Packets of the client/server protocol over one connection: bytes enter as they arrive; what leaves is one
//! whole packet, or a long one piece by piece, borrowed from the one buffer that all of them are read into.
//!
//! Each piece has a header of four bytes: its length in three, its number in one; one of the greatest length
//! is continued by the next (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>).

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::buffer::Buffer;

/// A piece of this length is not the last one of its packet.
pub const PIECE_BYTES_MAX: usize = 0xFF_FFFF;

const HEADER_BYTES: usize = 4;

/// Room for a few hundred small events, so that reading them costs few calls of the kernel.
const BUFFER_BYTES: usize = 256 << 10;

/// So much is read at once, where it is here.
const ROOM_BYTES_MIN: usize = 64 << 10;

/// What packets travel on: TCP, or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// One end of a connection.
pub struct Packets<S = Box<dyn Stream>> {
    stream: S,
    buffer: Buffer,
    /// Number that the next piece must have.
    sequence: u8,
    /// Bytes of the piece that is being taken.
    piece_left: usize,
    /// Another piece of the same packet comes after it.
    is_continued: bool,
}

impl<S: AsyncRead + Unpin> Packets<S> {
    pub fn new(stream: S) -> Packets<S> {
        Packets {
            stream,
            buffer: Buffer::new(BUFFER_BYTES, ROOM_BYTES_MIN),
            sequence: 0,
            piece_left: 0,
            is_continued: false,
        }
    }

    /// Something has arrived that was not taken yet.
    pub fn holds_bytes(&self) -> bool {
        !self.buffer.held().is_empty()
    }

    /// What a range of the buffer holds, until the next call of [`Packets::poll_fill`].
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.bytes(range)
    }

    /// Takes a packet that is here whole, in one piece; `None` when it is not.
    ///
    /// # Errors
    /// It is not the next one.
    pub fn take_whole(&mut self) -> io::Result<Option<Range<usize>>> {
        let Some(length) = self.next_length().filter(|length| *length < PIECE_BYTES_MAX) else {
            return Ok(None);
        };
        if !self.holds(length) {
            return Ok(None);
        }
        self.begin()?;
        Ok(Some(self.take(length)))
    }

    /// Length of the piece that comes next; `None` while its header is not here.
    pub fn next_length(&self) -> Option<usize> {
        let header = self.buffer.held().first_chunk::<HEADER_BYTES>()?;
        Some(u32::from_le_bytes(*header) as usize & PIECE_BYTES_MAX)
    }

    /// The next piece, or so much of it, is here.
    pub fn holds(&self, length: usize) -> bool {
        self.buffer.held().len() >= HEADER_BYTES + length
    }

    /// Takes the header of the next piece, which is here; its bytes follow by [`Packets::piece`].
    ///
    /// # Errors
    /// It is not the next one.
    pub fn begin(&mut self) -> io::Result<()> {
        let length = self.next_length().expect("its header is here");
        let number = self.buffer.held()[HEADER_BYTES - 1];
        if number != self.sequence {
            let expected = self.sequence;
            return Err(invalid(format!("packet number {number} where {expected} must be")));
        }
        self.sequence = number.wrapping_add(1);
        self.buffer.take(HEADER_BYTES);
        self.piece_left = length;
        self.is_continued = length == PIECE_BYTES_MAX;
        Ok(())
    }

    /// What is here of the packet that was begun; empty where it is at its end or more must arrive.
    ///
    /// # Errors
    /// The next piece of it does not continue it.
    pub fn piece(&mut self) -> io::Result<Range<usize>> {
        if self.piece_left == 0 && self.is_continued && self.next_length().is_some() {
            self.begin()?;
        }
        Ok(self.buffer.first(self.piece_left.min(self.buffer.held().len())))
    }

    /// Counts bytes of [`Packets::piece`] as taken, and says where they are.
    pub fn take(&mut self, length: usize) -> Range<usize> {
        self.piece_left -= length;
        self.buffer.take(length)
    }

    /// The packet that was begun was taken to its end.
    pub fn is_at_end(&self) -> bool {
        self.piece_left == 0 && !self.is_continued
    }

    /// Reads what has arrived. What was borrowed from the buffer is gone afterwards.
    ///
    /// # Errors
    /// The connection broke; [`io::ErrorKind::UnexpectedEof`] when the server closed it.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.shrink_to(BUFFER_BYTES);
        let mut room = ReadBuf::new(self.buffer.room());
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let arrived = room.filled().len();
        if arrived == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.buffer.note_filled(arrived);
        Poll::Ready(Ok(()))
    }

    /// Waits for a packet of fewer than 16 MiB, as all are that come before the dump.
    ///
    /// # Errors
    /// As [`Packets::poll_fill`]; the packet is longer.
    pub async fn read(&mut self) -> io::Result<&[u8]> {
        loop {
            if let Some(range) = self.take_whole()? {
                return Ok(self.bytes(range));
            }
            if self.next_length() == Some(PIECE_BYTES_MAX) {
                return Err(invalid("a packet of 16 MiB where a short one must be".to_owned()));
            }
            std::future::poll_fn(|context| self.poll_fill(context)).await?;
        }
    }

    /// Waits for a packet of any length.
    ///
    /// # Errors
    /// As [`Packets::poll_fill`].
    pub async fn read_long(&mut self) -> io::Result<Vec<u8>> {
        let mut packet = Vec::new();
        while self.next_length().is_none() {
            std::future::poll_fn(|context| self.poll_fill(context)).await?;
        }
        self.begin()?;
        loop {
            let piece = self.piece()?;
            let length = piece.len();
            packet.extend_from_slice(self.bytes(piece));
            self.take(length);
            if self.is_at_end() {
                return Ok(packet);
            }
            if length == 0 {
                std::future::poll_fn(|context| self.poll_fill(context)).await?;
            }
        }
    }
}

impl<S: Stream> Packets<S> {
    /// Goes on over another stream that is made of this one, such as TLS over TCP.
    ///
    /// # Errors
    /// That of making it.
    pub async fn try_map_stream<T: Stream, E>(
        self,
        wrap: impl AsyncFnOnce(S) -> Result<T, E>,
    ) -> Result<Packets<T>, E> {
        let Packets { stream, buffer, sequence, piece_left, is_continued } = self;
        let stream = wrap(stream).await?;
        Ok(Packets { stream, buffer, sequence, piece_left, is_continued })
    }

    /// The same where nothing can fail.
    pub fn map_stream<T: Stream>(self, wrap: impl FnOnce(S) -> T) -> Packets<T> {
        let Packets { stream, buffer, sequence, piece_left, is_continued } = self;
        Packets { stream: wrap(stream), buffer, sequence, piece_left, is_continued }
    }

    /// A command begins a new count.
    pub fn restart_sequence(&mut self) {
        self.sequence = 0;
    }

    /// Sends a packet of fewer than 16 MiB.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).ok().filter(|it| *it < PIECE_BYTES_MAX as u32);
        let length = length.expect("what the relay sends is short");
        let mut packet = Vec::with_capacity(HEADER_BYTES + payload.len());
        packet.extend_from_slice(&(length | u32::from(self.sequence) << 24).to_le_bytes());
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).await?;
        self.stream.flush().await
    }

    /// Sends a command to a server that we leave, if it can be sent without waiting.
    pub fn write_last(&mut self, command: u8) {
        let packet = [1, 0, 0, 0, command];
        let mut context = Context::from_waker(Waker::noop());
        let stream = Pin::new(&mut self.stream);
        if stream.poll_write(&mut context, &packet).is_ready() {
            let _ = Pin::new(&mut self.stream).poll_flush(&mut context);
        }
    }

    /// Sends the end of the connection.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn shut_down(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

pub fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u32 | u32::from(number) << 24;
        [&length.to_le_bytes()[..], payload].concat()
    }

    /// Both ends of a connection whose bytes arrive in pieces of any length.
    fn connected(arrive_at_once: usize) -> (Packets<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(arrive_at_once);
        (Packets::new(ours), theirs)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("build a runtime")
    }

    #[test]
    fn packets_are_whole_however_their_bytes_arrive() {
        for arrive_at_once in [1, 3, 7, 1 << 20] {
            runtime().block_on(async {
                let (mut packets, mut server) = connected(arrive_at_once);
                let sent: Vec<u8> = [packet(0, b"a"), packet(1, b""), packet(2, b"three")].concat();
                let sending = tokio::spawn(async move { server.write_all(&sent).await });
                for payload in [&b"a"[..], b"", b"three"] {
                    assert_eq!(packets.read().await.expect("a packet"), payload);
                }
                sending.await.expect("no panic").expect("it is sent");
                let error = packets.read().await.expect_err("the server is gone");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            });
        }
    }

    #[test]
    fn a_packet_out_of_order_is_refused() {
        runtime().block_on(async {
            let (mut packets, mut server) = connected(1 << 10);
            server.write_all(&[packet(0, b"a"), packet(2, b"b")].concat()).await.expect("sent");
            packets.read().await.expect("the first");
            let error = packets.read().await.expect_err("the second is missing");
            assert_eq!(error.to_string(), "packet number 2 where 1 must be");
        });
    }

    #[test]
    fn a_packet_larger_than_the_buffer_is_whole() {
        runtime().block_on(async {
            let (mut packets, mut server) = connected(1 << 16);
            let large = vec![7; 3 * BUFFER_BYTES];
            let sent = [packet(0, &large), packet(1, b"small")].concat();
            let sending = tokio::spawn(async move { server.write_all(&sent).await });
            assert_eq!(packets.read().await.expect("the large one"), large);
            assert_eq!(packets.read().await.expect("the small one"), b"small");
            sending.await.expect("no panic").expect("it is sent");
            assert!(packets.read().await.is_err());
            assert_eq!(packets.buffer.len(), BUFFER_BYTES, "its room is given back");
        });
    }

    #[test]
    fn a_long_packet_is_taken_piece_by_piece() {
        runtime().block_on(async {
            let (mut packets, mut server) = connected(1 << 20);
            let pieces =
                [packet(0, &[1; PIECE_BYTES_MAX]), packet(1, b"its end"), packet(2, b"next")];
            let sending = tokio::spawn(async move { server.write_all(&pieces.concat()).await });
            let mut taken = Vec::new();
            while packets.next_length().is_none() {
                std::future::poll_fn(|context| packets.poll_fill(context)).await.expect("bytes");
            }
            assert_eq!(packets.take_whole().expect("in order"), None);
            packets.begin().expect("in order");
            while !packets.is_at_end() {
                let piece = packets.piece().expect("in order");
                taken.extend_from_slice(packets.bytes(piece.clone()));
                packets.take(piece.len());
                if piece.is_empty() {
                    std::future::poll_fn(|context| packets.poll_fill(context))
                        .await
                        .expect("bytes");
                }
            }
            assert_eq!(taken.len(), PIECE_BYTES_MAX + 7);
            assert!(taken.ends_with(b"\x01its end"));
            assert_eq!(packets.read().await.expect("the next"), b"next");
            assert!(packets.buffer.len() <= 2 * BUFFER_BYTES, "it never was held as a whole");
            sending.await.expect("no panic").expect("it is sent");
        });
    }
}
