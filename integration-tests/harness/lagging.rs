//! A proxy to a broker that speaks Kafka's protocol, and can show a topic shorter than it is, as a leader
//! does that was just elected and has not heard yet what its followers have. Producers get through unhindered.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::frames;

const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS_TO_TXN: i16 = 24;

/// A request that is passed on without a look.
const OTHER: i16 = -1;

/// At the end of a request for offsets: the time that stands for the end of the last partition.
const LATEST: [u8; 8] = [0xFF; 8];

/// The last versions whose answers have no fields of variable length but names
/// (<https://kafka.apache.org/protocol>): clients are told that there are no later ones.
const LAST_VERSIONS: [(i16, i16); 2] = [(FETCH, 11), (LIST_OFFSETS, 5)];

/// What shows the topic shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// Its ends are told as they are; reading ends before them.
    Reading,
    /// Its ends are told as short, too.
    Everything,
}

pub struct LaggingProxy {
    port: u16,
    hidden: Hidden,
    log: RequestLog,
}

/// What clients and brokers said of the order in which a relay must ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A broker has given a transactional producer its id.
    ProducerIdGiven,
    /// A client asks for the end of a partition.
    EndAsked,
    /// A client reads.
    FetchAsked,
    /// A client adds a partition to a transaction.
    PartitionAdded,
}

type RequestLog = Arc<Mutex<Vec<Said>>>;

/// Key and version of the requests that were not answered yet, by correlation.
type Asked = Arc<Mutex<HashMap<[u8; 4], (i16, i16)>>>;

type Hidden = Arc<Mutex<Option<(String, i64, Lag)>>>;

impl LaggingProxy {
    /// Listens on a free port of loopback and passes everything to `upstream` (host:port).
    pub fn to(upstream: &str) -> LaggingProxy {
        let hidden = Hidden::default();
        let log = RequestLog::default();
        let (shared, logged) = (Arc::clone(&hidden), Arc::clone(&log));
        let port = frames::listen(upstream, move |client, server| {
            carry(client, server, &shared, &logged);
        });
        LaggingProxy { port, hidden, log }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was said since the last call.
    pub fn take_said(&self) -> Vec<Said> {
        std::mem::take(&mut locked(&self.log))
    }

    /// Hides what a topic has from this offset on.
    pub fn hide(&self, topic: &str, from: i64, lag: Lag) {
        *locked(&self.hidden) = Some((topic.to_owned(), from, lag));
    }

    pub fn show_all(&self) {
        *locked(&self.hidden) = None;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread for each direction.
fn carry(client: TcpStream, server: TcpStream, hidden: &Hidden, log: &RequestLog) {
    let asked = Asked::default();
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
    let (mut from, mut to, asking) = (clone(&client), clone(&server), Arc::clone(&asked));
    let (of_client, of_server) = (Arc::clone(log), Arc::clone(log));
    thread::spawn(move || {
        let _ = frames::pass(&mut from, &mut to, |request| {
            let number = |at| i16::from_be_bytes([request[at], request[at + 1]]);
            let said = match number(0) {
                FETCH => Some(Said::FetchAsked),
                ADD_PARTITIONS_TO_TXN => Some(Said::PartitionAdded),
                LIST_OFFSETS if request.ends_with(&LATEST) => Some(Said::EndAsked),
                _ => None,
            };
            locked(&of_client).extend(said);
            let correlation = request[4..8].try_into().expect("four bytes");
            let key = match number(0) {
                INIT_PRODUCER_ID if !is_transactional(&request) => OTHER,
                key => key,
            };
            locked(&asking).insert(correlation, (key, number(2)));
            request
        });
    });
    let (mut from, mut to, hidden) = (server, client, Arc::clone(hidden));
    thread::spawn(move || {
        let _ = frames::pass(&mut from, &mut to, |answer| {
            let correlation: [u8; 4] = answer[..4].try_into().expect("four bytes");
            match locked(&asked).remove(&correlation) {
                Some((INIT_PRODUCER_ID, _)) => {
                    locked(&of_server).push(Said::ProducerIdGiven);
                    answer
                }
                Some((API_VERSIONS, version)) => cap_versions(answer, version),
                Some((FETCH, _)) => shorten(answer, &hidden, shorten_fetched),
                Some((LIST_OFFSETS, _)) => shorten(answer, &hidden, shorten_listed),
                _ => answer,
            }
        });
    });
}

/// Behind the client's name and no tagged fields, the transactional id: 0 stands for none.
fn is_transactional(request: &[u8]) -> bool {
    let client_id = usize::from(u16::from_be_bytes([request[8], request[9]]));
    request[10 + client_id + 1] != 0
}

/// Correlation and error, then key, first and last version of each API; from version 3 on with an empty list of
/// tagged fields behind each, and the count as a varint of one or two bytes.
fn cap_versions(mut answer: Vec<u8>, version: i16) -> Vec<u8> {
    let (begin, size) = match version {
        0..=2 => (10, 6),
        _ if answer[6] & 0x80 == 0 => (7, 7),
        _ => (8, 7),
    };
    for entry in answer[begin..].chunks_exact_mut(size) {
        let key = i16::from_be_bytes([entry[0], entry[1]]);
        if let Some((_, last)) = LAST_VERSIONS.iter().find(|(capped, _)| *capped == key) {
            entry[4..6].copy_from_slice(&last.to_be_bytes());
        }
    }
    answer
}

fn shorten(
    answer: Vec<u8>,
    hidden: &Hidden,
    shorten: impl Fn(&mut Rewriter<'_>, i64, Lag),
) -> Vec<u8> {
    let Some((topic, from, lag)) = locked(hidden).clone() else { return answer };
    let mut rewriter = Rewriter { left: &answer, out: Vec::new(), topic, is_hidden: false };
    shorten(&mut rewriter, from, lag);
    rewriter.out
}

/// Copies an answer field by field.
struct Rewriter<'a> {
    left: &'a [u8],
    out: Vec<u8>,
    topic: String,
    /// The topic that is being copied is the one that is shown shorter.
    is_hidden: bool,
}

impl<'a> Rewriter<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, left) = self.left.split_at(length);
        self.left = left;
        taken
    }

    fn copy(&mut self, length: usize) -> &'a [u8] {
        let taken = self.take(length);
        self.out.extend(taken);
        taken
    }

    fn copy_i32(&mut self) -> i32 {
        i32::from_be_bytes(self.copy(4).try_into().expect("four bytes"))
    }

    /// Copies an offset, that of the hidden topic as at most `most`.
    fn copy_offset(&mut self, most: i64) {
        let offset = i64::from_be_bytes(self.take(8).try_into().expect("eight bytes"));
        let shown = if self.is_hidden { offset.min(most) } else { offset };
        self.out.extend(shown.to_be_bytes());
    }

    fn copy_topics(&mut self, mut copy_partition: impl FnMut(&mut Self)) {
        for _ in 0..self.copy_i32() {
            let length = i16::from_be_bytes(self.copy(2).try_into().expect("two bytes"));
            let name = self.copy(usize::try_from(length).expect("a name"));
            self.is_hidden = name == self.topic.as_bytes();
            for _ in 0..self.copy_i32() {
                copy_partition(self);
            }
        }
        self.out.extend(self.left);
    }
}

/// Correlation, throttle, error and session; of each partition number, error, high watermark, last stable offset,
/// start of the log, aborted transactions, preferred replica, and record batches.
fn shorten_fetched(answer: &mut Rewriter<'_>, from: i64, _: Lag) {
    answer.copy(4 + 4 + 2 + 4);
    answer.copy_topics(|answer| {
        answer.copy(4 + 2);
        answer.copy_offset(from);
        answer.copy_offset(from);
        answer.copy(8);
        let aborted = usize::try_from(answer.copy_i32()).unwrap_or(0);
        answer.copy(aborted * 16 + 4);
        let length = i32::from_be_bytes(answer.take(4).try_into().expect("four bytes"));
        let batches = answer.take(usize::try_from(length).unwrap_or(0));
        let shown = if answer.is_hidden { before(batches, from) } else { batches };
        let length = i32::try_from(shown.len()).expect("a short answer").to_be_bytes();
        answer.out.extend(length);
        answer.out.extend(shown);
    });
}

/// The batches that begin before an offset.
fn before(batches: &[u8], from: i64) -> &[u8] {
    let mut end = 0;
    while let Some(head) = batches.get(end..end + 12) {
        let offset = i64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
        let length = i32::from_be_bytes(head[8..].try_into().expect("four bytes"));
        if offset >= from {
            break;
        }
        end += 12 + usize::try_from(length).expect("a length");
    }
    &batches[..end.min(batches.len())]
}

/// Correlation and throttle; of each partition number, error, time, offset and epoch.
fn shorten_listed(answer: &mut Rewriter<'_>, from: i64, lag: Lag) {
    let most = if lag == Lag::Everything { from } else { i64::MAX };
    answer.copy(4 + 4);
    answer.copy_topics(|answer| {
        answer.copy(4 + 2 + 8);
        answer.copy_offset(most);
        answer.copy(4);
    });
}
