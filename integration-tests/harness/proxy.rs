//! A TCP proxy that can fail: cut (connections are closed, new ones refused), freeze (everything
//! stays open and nothing passes), mute (answers do not pass), or pass; and it can answer a statement in the server's
//! place. It stands between the relay and MySQL or Kafka.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const PASS: u8 = 0;
const CUT: u8 = 1;
const FREEZE: u8 = 2;
const SLOW: u8 = 3;
const MUTE: u8 = 4;

/// What a slow connection carries in a tick.
const SLOW_BYTES: usize = 16 * 1024;

/// How fast a change of mode reaches a connection.
const TICK: Duration = Duration::from_millis(10);

/// The modes that hold what comes from either side.
const OF_CLIENT: &[u8] = &[FREEZE];
const OF_SERVER: &[u8] = &[FREEZE, MUTE];

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    mode: AtomicU8,
    upstream: String,
    connections: Mutex<Connections>,
    accepted: AtomicUsize,
    /// First bytes of the commands that clients of MySQL sent. Where connections are not encrypted only.
    commands: Mutex<Vec<u8>>,
    refusal: Mutex<Option<Refusal>>,
    /// A text that clients send, and one of the same length that the server gets.
    replaced: Mutex<Option<(String, String)>>,
}

/// Those that are open, and how often all were closed.
#[derive(Default)]
struct Connections {
    open: Vec<TcpStream>,
    cuts: usize,
}

/// A statement that this server does not run.
#[derive(Clone)]
struct Refusal {
    /// A part of the statement.
    text: String,
    answer: Vec<u8>,
}

impl Proxy {
    /// Listens on a free port of loopback and passes everything to `upstream` (host:port).
    pub fn to(upstream: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            mode: AtomicU8::new(PASS),
            upstream: upstream.to_owned(),
            connections: Mutex::default(),
            accepted: AtomicUsize::new(0),
            commands: Mutex::new(Vec::new()),
            refusal: Mutex::new(None),
            replaced: Mutex::new(None),
        });
        let accepting = Arc::clone(&shared);
        // It ends with the process: a test's proxy has nothing to give back.
        thread::spawn(move || accept(&listener, &accepting));
        Proxy { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The first bytes of the commands that clients of MySQL sent since the last call, one for each round trip. Where
    /// connections are not encrypted only.
    pub fn take_commands(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.commands.lock().expect("no thread panics here"))
    }

    /// Closes every connection, and every new one at once.
    pub fn cut(&self) {
        self.shared.mode.store(CUT, Ordering::SeqCst);
        self.close_all();
    }

    /// Keeps every connection open and lets nothing through.
    pub fn freeze(&self) {
        self.shared.mode.store(FREEZE, Ordering::SeqCst);
    }

    /// Lets through what clients say, and holds what the server answers.
    pub fn mute_answers(&self) {
        self.shared.mode.store(MUTE, Ordering::SeqCst);
    }

    /// Lets some 1.6 MB through in a second, each way and for each connection.
    pub fn slow(&self) {
        self.shared.mode.store(SLOW, Ordering::SeqCst);
    }

    pub fn pass(&self) {
        self.shared.mode.store(PASS, Ordering::SeqCst);
    }

    /// Answers MySQL statements that have this text with an error, as a server that has no such statement. Where
    /// connections are not encrypted only.
    pub fn refuse_statement(&self, text: &str, code: u16, message: &str) {
        let mut packet = vec![0xFF];
        packet.extend(code.to_le_bytes());
        packet.extend(b"#HY000");
        packet.extend(message.as_bytes());
        // Its length, and its number: the one after the statement's.
        let length = u8::try_from(packet.len()).expect("a short message");
        let answer = [&[length, 0, 0, 1], packet.as_slice()].concat();
        *self.shared.refusal.lock().expect("no thread panics here") =
            Some(Refusal { text: text.to_owned(), answer });
    }

    /// Lets the server read another text, of the same length, where clients send this one. Where connections are not
    /// encrypted only.
    pub fn replace(&self, text: &str, by: &str) {
        assert_eq!(text.len(), by.len(), "packets keep their lengths");
        *self.shared.replaced.lock().expect("no thread panics here") =
            Some((text.to_owned(), by.to_owned()));
    }

    fn close_all(&self) {
        let mut connections = self.shared.connections.lock().expect("no thread panics here");
        connections.cuts += 1;
        for connection in connections.open.drain(..) {
            // One that is closed already is what we want.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let cuts = shared.connections.lock().expect("no thread panics here").cuts;
        if shared.mode.load(Ordering::SeqCst) == CUT {
            continue;
        }
        let Ok(server) = TcpStream::connect(&shared.upstream) else {
            continue;
        };
        let mut connections = shared.connections.lock().expect("no thread panics here");
        // A cut that came meanwhile is of this one as well, even where all passes again.
        if connections.cuts != cuts {
            continue;
        }
        for (from, to, held) in [(&client, &server, OF_CLIENT), (&server, &client, OF_SERVER)] {
            let from = from.try_clone().expect("a socket can be cloned");
            let to = to.try_clone().expect("a socket can be cloned");
            connections.open.push(from.try_clone().expect("a socket can be cloned"));
            let shared = Arc::clone(shared);
            thread::spawn(move || pump(from, to, held, &shared));
        }
    }
}

/// Carries one direction until either side closes; in the modes `held` nothing passes.
fn pump(mut from: TcpStream, mut to: TcpStream, held: &'static [u8], shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    from.set_read_timeout(Some(TICK)).expect("a socket takes a timeout");
    to.set_nodelay(true).expect("a socket takes this option");
    loop {
        let mode = shared.mode.load(Ordering::SeqCst);
        let length_max = if mode == SLOW { SLOW_BYTES } else { buffer.len() };
        match mode {
            CUT => break,
            mode if held.contains(&mode) => thread::sleep(TICK),
            _ => match from.read(&mut buffer[..length_max]) {
                Ok(0) => break,
                Ok(length) => {
                    // Bytes taken just before a freeze stay here until it is over.
                    while held.contains(&shared.mode.load(Ordering::SeqCst)) {
                        thread::sleep(TICK);
                    }
                    // A client waits for the answer to its statement before it says more.
                    let taken = &mut buffer[..length];
                    if let (OF_CLIENT, [_, _, _, 0, command, ..]) = (held, &*taken) {
                        shared.commands.lock().expect("no thread panics here").push(*command);
                    }
                    shared.replace(taken);
                    let refusal = shared.refusal.lock().expect("no thread panics here").clone();
                    let refusal = refusal.filter(|refusal| refusal.is_of(taken));
                    let written = match refusal {
                        Some(refusal) => from.write_all(&refusal.answer),
                        None => to.write_all(taken),
                    };
                    if written.is_err() {
                        break;
                    }
                    if mode == SLOW {
                        thread::sleep(TICK);
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            },
        }
    }
    // The other direction may have closed them before.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Shared {
    fn replace(&self, packet: &mut [u8]) {
        let replaced = self.replaced.lock().expect("no thread panics here");
        let Some((text, by)) = &*replaced else { return };
        let is_there =
            |packet: &[u8]| packet.windows(text.len()).position(|part| part == text.as_bytes());
        while let Some(at) = is_there(packet) {
            packet[at..at + by.len()].copy_from_slice(by.as_bytes());
        }
    }
}

impl Refusal {
    /// Whether a client's packet is COM_QUERY or COM_STMT_PREPARE of such a statement.
    fn is_of(&self, packet: &[u8]) -> bool {
        let text = self.text.as_bytes();
        let is_statement = matches!(packet, [_, _, _, 0, 0x03 | 0x16, ..]);
        is_statement && packet.windows(text.len()).any(|part| part == text)
    }
}
