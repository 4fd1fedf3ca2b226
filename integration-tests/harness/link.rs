//! A link with a delay: a TCP proxy that hands every byte on a fixed time after it came, each way. It stands for the
//! distance between the relay and a server in another availability zone.
//!
//! What it models: the time on the way. A chunk that is read at `t` is written at `t + delay`, while any number of
//! chunks behind it are in flight, in order. A connection costs what TCP's handshake does: the client's first byte
//! is at the server three delays after it connects, the server's first byte at the client after four. An end of the
//! stream takes as long as a byte.
//!
//! What it does not model: a bandwidth, loss, jitter, and congestion control. A connect itself returns at once, as
//! the listener is local; its round trip is added to the first bytes. A write is late by about 0.1 ms, which is what
//! the wake of a thread takes.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// In flight for each direction of a connection, so that a receiver that stands still is felt by its sender. At
/// 64 KiB each that is 64 MiB, more than loopback carries in any delay that is allowed.
const CHUNKS_IN_FLIGHT_MAX: usize = 1024;
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Beyond that, every client's timeout is what is measured.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// How long a byte takes one way; none is loopback as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Delay(Duration);

/// Brokers behind a link, as a relay reaches them that is far from both of its servers.
pub struct Distant {
    pub bootstrap: String,
    pub delay: Delay,
}

/// A running proxy. It ends with the process: neither a test's nor a benchmark's has anything to give back.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    port: u16,
}

/// When the bytes of one direction are there.
#[derive(Debug, Clone, Copy)]
struct Flight {
    /// Until then the handshake takes; what comes before leaves then.
    opens: Instant,
    delay: Duration,
}

/// What is in flight; no bytes are the end of the stream.
type Chunk = (Instant, Vec<u8>);

impl Delay {
    pub const NONE: Delay = Delay(Duration::ZERO);
    /// A round trip of 5 ms.
    pub const FAR: Delay = Delay(Duration::from_micros(2_500));

    pub fn of(one_way: Duration) -> Delay {
        Delay(one_way)
    }

    pub fn one_way(self) -> Duration {
        self.0
    }

    /// There and back.
    #[allow(dead_code, reason = "no test asks, but examples/bench does")]
    pub fn round_trip_ms(self) -> f64 {
        2.0 * self.0.as_secs_f64() * 1e3
    }

    pub fn is_none(self) -> bool {
        self == Delay::NONE
    }
}

/// As on a command line: `2.5ms`, `500us`, `0ms`.
impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Delay, String> {
        let units = [("ms", 1e-3), ("us", 1e-6)];
        let unit =
            units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
        let (number, seconds) = unit.ok_or("no unit: 2.5ms and 500us are delays")?;
        let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
        let delay =
            Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
        (delay <= DELAY_MAX).then_some(Delay(delay)).ok_or(format!("above {DELAY_MAX:?}"))
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            f.write_str("loopback")
        } else {
            write!(f, "{} ms each way", self.0.as_secs_f64() * 1e3)
        }
    }
}

impl Link {
    /// Listens on a port of loopback and carries everything to `upstream` (host:port) and back.
    pub fn to(upstream: &str, delay: Delay) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let upstream = upstream.to_owned();
        spawn("link", move || {
            for client in listener.incoming().flatten() {
                // A server that is not there refuses, which the client sees as a connection that is closed.
                if let Ok(server) = TcpStream::connect(&upstream) {
                    connect(&client, &server, delay.one_way());
                }
            }
        });
        Link { port }
    }

    /// What a client connects to.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Starts two threads for each direction.
fn connect(client: &TcpStream, server: &TcpStream, delay: Duration) {
    let now = Instant::now();
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
    // The client may write when the answer to its SYN is there; the server when the client's ACK is.
    for (from, to, opens) in [(client, server, 2 * delay), (server, client, 3 * delay)] {
        to.set_nodelay(true).expect("a socket takes this option");
        let flight = Flight { opens: now + opens, delay };
        let (departed, arriving) = sync_channel(CHUNKS_IN_FLIGHT_MAX);
        let reading = clone(from);
        spawn("link-in", move || take(reading, &departed, flight));
        let (from, to) = (clone(from), clone(to));
        spawn("link-out", move || hand_on(&from, to, &arriving));
    }
}

impl Flight {
    /// Never before a byte that left earlier.
    fn due(self, left: Instant) -> Instant {
        left.max(self.opens) + self.delay
    }
}

/// Reads until the sender's end, or until nobody takes it any more.
fn take(mut from: TcpStream, departed: &SyncSender<Chunk>, flight: Flight) {
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    loop {
        // A connection that is reset ends as well.
        let length = from.read(&mut buffer).unwrap_or(0);
        let chunk = (flight.due(Instant::now()), buffer[..length].to_vec());
        if departed.send(chunk).is_err() || length == 0 {
            return;
        }
    }
}

fn hand_on(from: &TcpStream, mut to: TcpStream, arriving: &Receiver<Chunk>) {
    wake_on_time();
    for (due, bytes) in arriving {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() {
            // The other direction may have closed it before.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        if to.write_all(&bytes).is_err() {
            // The receiver is gone, and the sender has to learn of it.
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Asks Linux not to wake this thread up to 50 µs late
/// (<https://man7.org/linux/man-pages/man5/proc_pid_timerslack_ns.5.html>). Where it refuses, delays are that much
/// longer.
fn wake_on_time() {
    let Ok(thread) = fs::read_link("/proc/thread-self") else { return };
    if let Some(id) = thread.file_name() {
        let _ = fs::write(format!("/proc/{}/timerslack_ns", id.to_string_lossy()), "1");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("start a thread");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_a_number_and_a_unit() {
        let delay = |text: &str| text.parse::<Delay>().map(Delay::one_way);
        assert_eq!(delay("2.5ms"), Ok(Duration::from_micros(2_500)));
        assert_eq!(delay("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(delay("0ms"), Ok(Duration::ZERO));
        for refused in ["", "2", "ms", "-1ms", "2.5 s", "1001ms", "NaNms", "infms", "2,5ms"] {
            assert!(delay(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_delay_says_itself_as_people_do() {
        let shown = |text: &str| text.parse::<Delay>().expect("a delay").to_string();
        assert_eq!(shown("0ms"), "loopback");
        assert_eq!(shown("2.5ms"), "2.5 ms each way");
        assert_eq!(shown("10ms"), "10 ms each way");
    }

    #[test]
    fn bytes_are_due_a_delay_after_they_left_and_not_before_the_handshake() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let flight = Flight { opens: now + ms(20), delay: ms(10) };
        assert_eq!(flight.due(now), now + ms(30));
        assert_eq!(flight.due(now + ms(20)), now + ms(30));
        assert_eq!(flight.due(now + ms(21)), now + ms(31));
    }
}
