//! The server's side of a connection: greeting, authentication, answers to statements, errors.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use mysql_binlog::fuzzing;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::streams::ready;
use super::{KIB, Limit, Target};

/// The buffer for packets has 256 KiB. A column of an answer takes a dozen bytes of it and some 200 in memory; the value of
/// a row takes one, and 24.
const LIMIT: Limit = Limit::new(1_024 * KIB, 128);

/// A server from its greeting on. First byte: see [`Said::new`].
pub const LOGIN: Target = Target { name: "login", run: login, seeds: login_seeds, limit: LIMIT };

/// Answers to two statements. First byte: see [`Said::new`].
pub const ANSWERS: Target =
    Target { name: "answers", run: answers, seeds: answers_seeds, limit: LIMIT };

const STATEMENTS: [&str; 2] = ["SELECT 1", "SELECT 2"];

fn login(data: &[u8]) {
    let Some((flags, said)) = data.split_first() else { return };
    let _ = ready(fuzzing::log_in_and_ask(Said::new(*flags, said), flags & 2 != 0, &STATEMENTS));
}

fn answers(data: &[u8]) {
    let Some((flags, said)) = data.split_first() else { return };
    let _ = ready(fuzzing::ask_over(Said::new(*flags, said), flags & 2 != 0, &STATEMENTS));
}

/// What a server says, whatever it is told.
struct Said {
    /// Left of the input.
    rest: Vec<u8>,
    at: usize,
    /// Bytes of the packet that is being read, or `None` where the input is packets as they are.
    packet: Option<Vec<u8>>,
    /// Number of the next packet.
    number: u8,
}

impl Said {
    /// Bit 0 of `flags`: the input is packets as they are. Otherwise each packet has its length in two bytes, and gets the
    /// number that is its turn.
    fn new(flags: u8, said: &[u8]) -> Said {
        let packet = (flags & 1 == 0).then(Vec::new);
        Said { rest: said.to_vec(), at: 0, packet, number: 0 }
    }

    /// The next packet with its header, or the rest of the input.
    fn next(&mut self) -> Vec<u8> {
        let rest = &self.rest[self.at..];
        if self.packet.is_none() {
            self.at = self.rest.len();
            return rest.to_vec();
        }
        let Some((length, rest)) = rest.split_first_chunk::<2>() else { return Vec::new() };
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let header = (length as u32 | u32::from(self.number) << 24).to_le_bytes();
        self.number = self.number.wrapping_add(1);
        self.at += 2 + length;
        [&header, &rest[..length]].concat()
    }
}

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // An input and its header are shorter than the room of a buffer.
        let bytes = self.next();
        let fitting = bytes.len().min(room.remaining());
        room.put_slice(&bytes[..fitting]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // One packet is written at a time; the server's next one has the number behind it.
        self.number = bytes.get(3).map_or(0, |number| number.wrapping_add(1));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn said(flags: u8, packets: &[&[u8]]) -> Vec<u8> {
    let mut said = vec![flags];
    for packet in packets {
        said.extend((packet.len() as u16).to_le_bytes());
        said.extend(*packet);
    }
    said
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const OK_AND_MORE: &[u8] = &[0, 0, 0, 10, 0, 0, 0];
const END: &[u8] = &[0xFE, 0, 0, 2, 0];
const END_AND_MORE: &[u8] = &[0xFE, 0, 0, 10, 0];
const REFUSED: &[u8] = b"\xff\x15\x04#28000Access denied for user";
const REFUSED_EARLY: &[u8] = b"\xff\x10\x04Too many connections";
const COLUMN: &[u8] = b"\x03def\0\0\0\x011\0\x0c\x3f\0\x02\0\0\0\x08\x81\0\0\0\0";
const FULL_AUTHENTICATION: &[u8] = &[1, 4];

fn greeting(version: &[u8], plugin: &[u8]) -> Vec<u8> {
    let mut greeting = [b"\x0a", version, b"\0\x08\0\0\0abcdefgh\0"].concat();
    greeting.extend([0xff, 0xf7, 0xff, 2, 0, 0xff, 0xdf, 21]);
    greeting.extend([0; 10]);
    greeting.extend(b"ijklmnopqrst\0");
    greeting.extend(plugin);
    greeting.push(0);
    greeting
}

fn login_seeds() -> Vec<Vec<u8>> {
    let sha2 = greeting(b"8.0.31", b"caching_sha2_password");
    let native = greeting(b"5.7.22-log", b"mysql_native_password");
    let mariadb = greeting(b"5.5.5-10.11.2-MariaDB", b"mysql_native_password");
    let key = b"\x01-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL1w2e0Y0Z0m0kq5n8s1m3o8\n-----END PUBLIC KEY-----\n";
    let switch = b"\xfecaching_sha2_password\0uvwxyzuvwxyzuvwxyzuv\0";
    let old = b"\xfemysql_old_password\0uvwxyzuv\0";
    vec![
        said(0, &[&sha2, &[1, 3], OK, OK_AND_MORE, &[1], COLUMN, END, b"\x011", END_AND_MORE, OK]),
        said(2, &[&sha2, FULL_AUTHENTICATION, OK, OK]),
        said(0, &[&sha2, FULL_AUTHENTICATION, key, OK, OK]),
        said(0, &[&native, OK, OK]),
        said(0, &[&mariadb, switch, &[1, 3], OK]),
        said(0, &[&native, old]),
        said(0, &[&native, REFUSED]),
        said(0, &[REFUSED_EARLY]),
        [&[1, native.len() as u8, 0, 0, 0], &native[..], &[7, 0, 0, 2], OK].concat(),
    ]
}

fn answers_seeds() -> Vec<Vec<u8>> {
    vec![
        said(2, &[OK_AND_MORE, &[1], COLUMN, END, b"\x011", b"\xfb", END_AND_MORE, OK]),
        said(2, &[OK_AND_MORE, REFUSED]),
        said(0, &[OK, &[2], COLUMN, COLUMN, END, b"\x011\x0222", END, OK]),
        said(0, &[&[0, 0xfc, 1, 0, 0xfe, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0], OK, OK]),
        said(2, &[OK_AND_MORE, &[0xfb, b'a'], OK]),
    ]
}
