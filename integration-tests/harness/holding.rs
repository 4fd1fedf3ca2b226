//! A proxy to a broker that holds one request, or the answer to it, until it is told to go on: what is in flight when
//! a relay dies or is replaced. All behind it on its connection waits, too.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::frames;

/// Requests by their numbers (<https://kafka.apache.org/protocol#protocol_api_keys>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Produce = 0,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    EndTxn = 26,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request: no broker has seen it.
    Request,
    /// The answer: the broker has done what was asked.
    Answer,
}

pub struct HoldingProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be held, and how many of its kind pass before.
    wanted: Option<(Request, Side, usize)>,
    is_held: bool,
}

impl HoldingProxy {
    /// Listens on a free port of loopback and passes everything to `upstream` (host:port).
    pub fn to(upstream: &str) -> HoldingProxy {
        let shared = Arc::<Shared>::default();
        let carrier = Arc::clone(&shared);
        let port = frames::listen(upstream, move |client, server| carry(client, server, &carrier));
        HoldingProxy { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds the request that comes when `before` of its kind have passed, from now on, or the answer to it.
    pub fn hold(&self, request: Request, side: Side, before: usize) {
        let mut state = self.shared.lock();
        (state.wanted, state.is_held) = (Some((request, side, before)), false);
    }

    /// Waits until it is held; `false`: it does not come.
    pub fn wait_until_held(&self, within: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, within, |it| !it.is_held);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_held
    }

    /// Lets it go, wherever its relay is by now.
    pub fn go_on(&self) {
        *self.shared.lock() = State::default();
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits if this is what is to be held.
    fn pass(&self, key: i16, side: Side) {
        let mut state = self.lock();
        match &mut state.wanted {
            Some((request, wanted, before)) if *request as i16 == key && *wanted == side => {
                if *before > 0 {
                    *before -= 1;
                    return;
                }
            }
            _ => return,
        }
        (state.wanted, state.is_held) = (None, true);
        self.changed.notify_all();
        let waited = self.changed.wait_while(state, |state| state.is_held);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Starts a thread for each direction.
fn carry(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let asked = Arc::new(Mutex::new(HashMap::<[u8; 4], i16>::new()));
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
    let (mut from, mut to) = (clone(&client), clone(&server));
    let (asking, of_client) = (Arc::clone(&asked), Arc::clone(shared));
    thread::spawn(move || {
        let _ = frames::pass(&mut from, &mut to, |request| {
            let key = i16::from_be_bytes([request[0], request[1]]);
            let correlation = request[4..8].try_into().expect("four bytes");
            asking.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation, key);
            of_client.pass(key, Side::Request);
            request
        });
    });
    let (mut from, mut to, of_server) = (server, client, Arc::clone(shared));
    thread::spawn(move || {
        let _ = frames::pass(&mut from, &mut to, |answer| {
            let correlation: [u8; 4] = answer[..4].try_into().expect("four bytes");
            let key = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&correlation);
            if let Some(key) = key {
                of_server.pass(key, Side::Answer);
            }
            answer
        });
    });
}
