//! A stream of events from memory: what one half is given as events, the other half delivers as the packets of a dump.
//!
//! A [`Source`](crate::Source) over the stream takes the same way as over a connection: packets, checksums,
//! decompression, transactions, tables. It needs no socket, and waits as long as the queue is empty, so recordings, tests
//! and simulations in virtual time can drive it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::{END, ERR, OK, PIECE_BYTES_MAX};
use crate::raw_event;

/// Makes an empty stream, and the half that fills it.
pub fn feed() -> (Feed, FeedStream) {
    let queue = Arc::new(Mutex::new(Queue::default()));
    (Feed(Arc::clone(&queue)), FeedStream(queue))
}

/// The half of a stream that events are put into. When it is dropped, the stream breaks off behind them, as a lost
/// connection does.
#[derive(Debug)]
pub struct Feed(Arc<Mutex<Queue>>);

/// The half of a stream that a [`Source`](crate::Source) reads. What is written to it is discarded.
#[derive(Debug)]
pub struct FeedStream(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    /// Packets that were not read yet.
    bytes: VecDeque<u8>,
    /// Number of the next packet.
    sequence: u8,
    is_closed: bool,
    /// Whoever waits for bytes.
    reader: Option<Waker>,
}

impl Feed {
    /// Appends one event: header, body, and checksum where the stream has checksums.
    pub fn push(&self, event: &[u8]) {
        self.append(|queue| queue.packet(OK, event));
    }

    /// Appends events that follow one another, as in a binlog file behind its first 4 bytes.
    ///
    /// # Errors
    /// The bytes end inside an event. The whole events before it were appended.
    pub fn push_all(&self, mut events: &[u8]) -> io::Result<()> {
        while !events.is_empty() {
            let length = raw_event::stated_length(events);
            let event = length
                .filter(|length| *length >= raw_event::HEADER_BYTES)
                .and_then(|length| events.split_at_checked(length));
            let (event, rest) = event.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.push(event);
            events = rest;
        }
        Ok(())
    }

    /// Ends the dump, as a server does that shuts down: the source fails with [`Error::Ended`](crate::Error::Ended).
    pub fn end(&self) {
        self.append(|queue| queue.packet(END, &[0; 4]));
    }

    /// Ends the dump with an error of the server, such as 1236
    /// (<https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>).
    pub fn refuse(&self, code: u16, message: &str) {
        let error = [&code.to_le_bytes(), &b"#HY000"[..], message.as_bytes()].concat();
        self.append(|queue| queue.packet(ERR, &error));
    }

    /// Bytes that the source has not read yet, with the headers of their packets.
    pub fn unread_bytes(&self) -> usize {
        lock(&self.0).bytes.len()
    }

    fn append(&self, append: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.0);
        append(&mut queue);
        queue.wake();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.append(|queue| queue.is_closed = true);
    }
}

impl Queue {
    /// Appends a packet, in pieces as the protocol wants them. One of exactly the greatest length needs another, empty
    /// one behind it.
    fn packet(&mut self, first: u8, rest: &[u8]) {
        let payload = [&[first], rest].concat();
        let mut left = &payload[..];
        loop {
            let (piece, more) = left.split_at(left.len().min(PIECE_BYTES_MAX));
            self.bytes.extend(piece_header(piece.len(), self.sequence));
            self.bytes.extend(piece);
            self.sequence = self.sequence.wrapping_add(1);
            left = more;
            if piece.len() < PIECE_BYTES_MAX {
                return;
            }
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The header of a piece of a packet: its length in three bytes, its number in one.
pub(crate) fn piece_header(length: usize, number: u8) -> [u8; 4] {
    let length = u32::try_from(length).expect("a piece is below 16 MiB");
    (length | u32::from(number) << 24).to_le_bytes()
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRead for FeedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut queue = lock(&self.0);
        if queue.bytes.is_empty() {
            if queue.is_closed {
                return Poll::Ready(Ok(()));
            }
            queue.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (head, tail) = queue.bytes.as_slices();
        let head = &head[..head.len().min(room.remaining())];
        room.put_slice(head);
        let tail = &tail[..tail.len().min(room.remaining())];
        room.put_slice(tail);
        let read = head.len() + tail.len();
        queue.bytes.drain(..read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FeedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
