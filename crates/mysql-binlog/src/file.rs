//! A binlog file as a stream: its bytes enter, and leave as the packets in which a server would send its events.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::connection::{END, OK, PIECE_BYTES_MAX};
use crate::feed::piece_header;
use crate::raw_event::{self, HEADER_BYTES};

/// The first bytes of every binlog file.
pub const MAGIC: [u8; 4] = *b"\xfebin";

/// The first bytes of one that the server has encrypted (`binlog_encryption`).
pub const ENCRYPTED_MAGIC: [u8; 4] = *b"\xfdbin";

/// A packet that says that the dump is over.
const END_PACKET: [u8; 5] = [END, 0, 0, 0, 0];

/// Reads a binlog file, in small pieces: wrap a file on disk in a [`BufReader`](tokio::io::BufReader). At its end, the source fails with [`Error::Ended`](crate::Error::Ended).
#[derive(Debug)]
pub struct FileStream<R> {
    file: R,
    /// Bytes of the file that are looked at before they leave: the magic number, or the header of an event.
    head: [u8; HEADER_BYTES],
    head_filled: usize,
    /// Bytes that leave before those of the file.
    ready: Vec<u8>,
    ready_taken: usize,
    /// Number of the next piece of a packet.
    sequence: u8,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Magic,
    Header,
    Body(Body),
    /// The end of the file was told.
    Done,
}

/// The rest of an event.
#[derive(Debug, Clone, Copy)]
struct Body {
    /// Bytes that were not read yet.
    left: usize,
    /// Of these, the bytes of the piece that was begun.
    piece_left: usize,
    /// The packet has another piece behind that one.
    is_continued: bool,
}

impl<R: AsyncRead + Unpin> FileStream<R> {
    /// Reads the file from its first byte on.
    pub fn new(file: R) -> FileStream<R> {
        FileStream {
            file,
            head: [0; HEADER_BYTES],
            head_filled: 0,
            ready: Vec::new(),
            ready_taken: 0,
            sequence: 0,
            state: State::Magic,
        }
    }

    /// Fills the head to this length; `false` when the file ends before its first byte.
    fn poll_head(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<bool>> {
        while self.head_filled < length {
            let mut room = ReadBuf::new(&mut self.head[self.head_filled..length]);
            ready!(Pin::new(&mut self.file).poll_read(context, &mut room))?;
            match room.filled().len() {
                0 if self.head_filled == 0 => return Poll::Ready(Ok(false)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                filled => self.head_filled += filled,
            }
        }
        self.head_filled = 0;
        Poll::Ready(Ok(true))
    }

    fn poll_state(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.state {
            State::Magic => {
                let is_there = match ready!(self.poll_head(context, MAGIC.len())) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
                    is_there => is_there?,
                };
                if is_there && self.head.starts_with(&ENCRYPTED_MAGIC) {
                    let what = "it is an encrypted binlog file";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, what)));
                }
                if !is_there || !self.head.starts_with(&MAGIC) {
                    return Poll::Ready(Err(invalid("it is no binlog file")));
                }
                self.state = State::Header;
            }
            State::Header => {
                if !ready!(self.poll_head(context, HEADER_BYTES))? {
                    self.begin_piece(END_PACKET.len());
                    self.ready.extend(END_PACKET);
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                let length = raw_event::stated_length(&self.head).unwrap_or_default();
                let Some(left) = length.checked_sub(HEADER_BYTES) else {
                    return Poll::Ready(Err(invalid("an event is shorter than its header")));
                };
                let piece = (1 + length).min(PIECE_BYTES_MAX);
                self.begin_piece(piece);
                self.ready.push(OK);
                self.ready.extend(self.head);
                let (piece_left, is_continued) =
                    (piece - 1 - HEADER_BYTES, piece == PIECE_BYTES_MAX);
                self.go_on(Body { left, piece_left, is_continued });
            }
            State::Body(Body { left, .. }) => {
                let piece = left.min(PIECE_BYTES_MAX);
                self.begin_piece(piece);
                let is_continued = piece == PIECE_BYTES_MAX;
                self.go_on(Body { left, piece_left: piece, is_continued });
            }
            State::Done => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Moves to the rest of the event, or to the next event where nothing of it is left.
    fn go_on(&mut self, body: Body) {
        let is_done = body.piece_left == 0 && !body.is_continued;
        self.state = if is_done { State::Header } else { State::Body(body) };
    }

    /// Reads bytes of the event where the caller wants them.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
        body: Body,
    ) -> Poll<io::Result<()>> {
        let wanted = body.piece_left.min(room.remaining());
        let mut part = ReadBuf::new(room.initialize_unfilled_to(wanted));
        ready!(Pin::new(&mut self.file).poll_read(context, &mut part))?;
        let read = part.filled().len();
        if read == 0 && wanted > 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        room.advance(read);
        let (left, piece_left) = (body.left - read, body.piece_left - read);
        self.go_on(Body { left, piece_left, ..body });
        Poll::Ready(Ok(()))
    }

    fn begin_piece(&mut self, length: usize) {
        self.ready.clear();
        self.ready_taken = 0;
        self.ready.extend(piece_header(length, self.sequence));
        self.sequence = self.sequence.wrapping_add(1);
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for FileStream<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let ready = &this.ready[this.ready_taken..];
            if !ready.is_empty() {
                let taken = ready.len().min(room.remaining());
                room.put_slice(&ready[..taken]);
                this.ready_taken += taken;
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Body(body) if body.piece_left > 0 => {
                    return this.poll_body(context, room, body);
                }
                State::Done => return Poll::Ready(Ok(())),
                _ => ready!(this.poll_state(context))?,
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
