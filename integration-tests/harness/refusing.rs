//! A proxy to a broker that refuses single Produce requests in the broker's place, as one does that does not lead
//! the partition yet or lacks replicas, that spoils their answers, or that stalls. Everything else passes as it is.
//!
//! A request that is to fail waits until a later one of its partition has come too, but not for long: whether one
//! was in flight behind it is counted, and is the client's choice. A connection's answers keep their order.

use std::collections::{HashMap, VecDeque};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::frames;
use super::produce::{self, Error, Producing};

const END_TXN: i16 = 26;

/// How long a later request of the same partition is waited for: some round trips, and turns of a client's loops.
const WAIT_FOR_LATER: Duration = Duration::from_millis(50);

/// Which requests fail, of each producer id, epoch and partition on each broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    First,
    /// The first one after the partition got nothing for this long.
    FirstAfter(Duration),
    /// The first one of each transaction.
    FirstOfTransaction,
    /// Each n-th one, of a producer that has sent one before.
    Every(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The broker never sees it.
    Refuse(Error),
    /// The broker takes it, and is said to have answered this.
    Misreport(Error),
    /// The broker gets it, and all behind it on its connection, so much later.
    Stall(Duration),
    /// The broker takes it. Its answer and all behind it are lost with the connection.
    CutOff,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What the names of the topics begin with.
    pub topics: String,
    /// Of this partition only.
    pub partition: Option<i32>,
    pub which: Which,
    pub fault: Fault,
    /// So many requests fail at most.
    pub times: usize,
}

/// What a proxy has done and seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Requests that failed by a rule.
    pub failed: usize,
    /// Those of them that had a later one of their partition in flight behind them.
    pub overtaken: usize,
    /// The most Produce requests that were in flight on one connection.
    pub in_flight_max: usize,
    /// The same of one partition.
    pub in_flight_of_partition_max: usize,
    /// Errors that the broker itself answered.
    pub broker_errors: Vec<(String, i32, i16)>,
    /// Every producer id and epoch.
    pub producers: Vec<(i64, i16)>,
}

/// The faults of all brokers of a cluster.
#[derive(Default)]
pub struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    rules: Vec<(Rule, usize)>,
    partitions: HashMap<Key, Requests>,
    seen: Seen,
}

/// Broker (by its port), producer id, epoch, topic and partition.
type Key = (String, i64, i16, String, i32);

struct Requests {
    count: usize,
    last: Instant,
    in_transaction: usize,
}

impl Faults {
    /// Forgets earlier rules and what was seen, but not which requests came before.
    pub fn set(&self, rules: impl IntoIterator<Item = Rule>) {
        let mut state = locked(&self.0);
        state.rules = rules.into_iter().map(|rule| (rule, 0)).collect();
        state.seen = Seen::default();
    }

    pub fn seen(&self) -> Seen {
        locked(&self.0).seen.clone()
    }

    /// Starts a proxy to a broker and returns its port.
    pub fn stand_before(self: &Arc<Self>, upstream: &str) -> u16 {
        let (faults, broker) = (Arc::clone(self), upstream.to_owned());
        frames::listen(upstream, move |client, server| {
            Connection::start(client, server, &faults, &broker);
        })
    }

    fn end_transaction(&self, producer_id: i64) {
        for (key, requests) in &mut locked(&self.0).partitions {
            if key.1 == producer_id {
                requests.in_transaction = 0;
            }
        }
    }

    /// The fault of this request, if it is to fail.
    fn judge(&self, broker: &str, request: &Producing) -> Option<Fault> {
        let mut state = locked(&self.0);
        let State { rules, partitions, seen } = &mut *state;
        let producer = (request.producer_id, request.epoch);
        if !seen.producers.contains(&producer) {
            seen.producers.push(producer);
        }
        let (topic, partition) = (request.topic.clone(), request.partition);
        let key = (broker.to_owned(), producer.0, producer.1, topic, partition);
        let now = Instant::now();
        let came =
            partitions.entry(key).or_insert(Requests { count: 0, last: now, in_transaction: 0 });
        let rule = rules.iter_mut().find(|(rule, failed)| {
            *failed < rule.times && rule.is_of(request) && rule.which.is_of(came, now)
        });
        let fault = rule.map(|(rule, failed)| {
            *failed += 1;
            seen.failed += 1;
            rule.fault
        });
        *came =
            Requests { count: came.count + 1, last: now, in_transaction: came.in_transaction + 1 };
        fault
    }
}

impl Rule {
    fn is_of(&self, request: &Producing) -> bool {
        request.topic.starts_with(&self.topics)
            && self.partition.is_none_or(|partition| partition == request.partition)
    }
}

impl Which {
    fn is_of(self, came: &Requests, now: Instant) -> bool {
        match self {
            Which::First => came.count == 0,
            Which::FirstAfter(pause) => came.count > 0 && now - came.last >= pause,
            Which::FirstOfTransaction => came.in_transaction == 0,
            Which::Every(number) => came.count > 0 && came.count.is_multiple_of(number),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request whose answer did not go back yet.
struct Unanswered {
    correlation: i32,
    /// Of a Produce request.
    producing: Option<Producing>,
    fault: Option<Fault>,
    /// A later one of its partition came behind it.
    is_overtaken: bool,
    /// When it is not waited for any longer.
    due: Instant,
    answer: Option<Vec<u8>>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    faults: Arc<Faults>,
    broker: String,
    unanswered: Mutex<VecDeque<Unanswered>>,
}

impl Connection {
    fn start(client: TcpStream, server: TcpStream, faults: &Arc<Faults>, broker: &str) {
        let connection = Arc::new(Connection {
            client,
            server,
            faults: Arc::clone(faults),
            broker: broker.to_owned(),
            unanswered: Mutex::default(),
        });
        let asking = Arc::clone(&connection);
        thread::spawn(move || asking.carry_requests());
        thread::spawn(move || connection.carry_answers());
    }

    fn carry_requests(self: Arc<Self>) {
        let (mut from, mut to) = (clone(&self.client), clone(&self.server));
        while let Ok(request) = frames::read(&mut from) {
            let fault = self.note(&request);
            if fault.is_some() {
                let later = Arc::clone(&self);
                thread::spawn(move || {
                    thread::sleep(WAIT_FOR_LATER);
                    later.pass_answers();
                });
            }
            if let Some(Fault::Stall(stalled)) = fault {
                thread::sleep(stalled);
            }
            let is_refused = matches!(fault, Some(Fault::Refuse(_)));
            if !is_refused && frames::write(&mut to, &request).is_err() {
                break;
            }
            self.pass_answers();
        }
        frames::cut(&self.client, &self.server);
    }

    fn carry_answers(&self) {
        let mut from = clone(&self.server);
        while let Ok(answer) = frames::read(&mut from) {
            let correlation = produce::correlation(&answer);
            let mut unanswered = locked(&self.unanswered);
            let asked = unanswered.iter_mut().find(|asked| asked.correlation == correlation);
            let asked = asked.expect("a broker answers what it was asked");
            if let Some(producing) = &asked.producing
                && let error @ 1.. = produce::error_of(&answer)
            {
                let error = (producing.topic.clone(), producing.partition, error);
                locked(&self.faults.0).seen.broker_errors.push(error);
            }
            asked.answer = Some(match asked.fault {
                Some(Fault::Misreport(error)) => asked.failure(error),
                _ => answer,
            });
            drop(unanswered);
            self.pass_answers();
        }
        frames::cut(&self.client, &self.server);
    }

    /// Notes a request as unanswered, and says whether it is to fail.
    fn note(&self, request: &[u8]) -> Option<Fault> {
        let producing = Producing::parse(request);
        if produce::api_key(request) == END_TXN {
            self.faults.end_transaction(produce::producer_of_end_txn(request));
        }
        let fault = producing.as_ref().and_then(|it| self.faults.judge(&self.broker, it));
        let mut asked = Unanswered {
            correlation: produce::correlation(&request[4..]),
            producing,
            fault,
            is_overtaken: false,
            due: Instant::now() + WAIT_FOR_LATER,
            answer: None,
        };
        if let Some(Fault::Refuse(error)) = fault {
            asked.answer = Some(asked.failure(error));
        }
        let mut unanswered = locked(&self.unanswered);
        if let Some(producing) = &asked.producing {
            let of_partition = |it: &&mut Unanswered| it.is_of_partition(producing);
            for earlier in unanswered.iter_mut().filter(of_partition) {
                let is_first = earlier.fault.is_some() && !earlier.is_overtaken;
                earlier.is_overtaken = true;
                locked(&self.faults.0).seen.overtaken += usize::from(is_first);
            }
        }
        unanswered.push_back(asked);
        self.count_in_flight(&unanswered);
        fault
    }

    fn count_in_flight(&self, unanswered: &VecDeque<Unanswered>) {
        let producing: Vec<_> = unanswered.iter().filter(|it| it.producing.is_some()).collect();
        let Some(Some(last)) = producing.last().map(|it| it.producing.as_ref()) else { return };
        let of_partition = producing.iter().filter(|it| it.is_of_partition(last)).count();
        let seen = &mut locked(&self.faults.0).seen;
        seen.in_flight_max = seen.in_flight_max.max(producing.len());
        seen.in_flight_of_partition_max = seen.in_flight_of_partition_max.max(of_partition);
    }

    /// Passes on the answers that are there, in the order of their requests.
    fn pass_answers(&self) {
        let mut unanswered = locked(&self.unanswered);
        while let Some(first) = unanswered.front()
            && first.may_be_answered()
        {
            let Unanswered { fault, answer, .. } =
                unanswered.pop_front().expect("it was looked at");
            if fault == Some(Fault::CutOff) {
                frames::cut(&self.client, &self.server);
                return;
            }
            let answer = answer.expect("it may be answered");
            // A client that has gone away reads nothing.
            let _ = frames::write(&mut clone(&self.client), &answer);
        }
    }
}

impl Unanswered {
    fn is_of_partition(&self, other: &Producing) -> bool {
        let is_same = |it: &Producing| (&it.topic, it.partition) == (&other.topic, other.partition);
        self.producing.as_ref().is_some_and(is_same)
    }

    fn may_be_answered(&self) -> bool {
        let has_waited = self.is_overtaken || self.due <= Instant::now();
        self.answer.is_some() && (self.fault.is_none() || has_waited)
    }

    fn failure(&self, error: Error) -> Vec<u8> {
        let producing = self.producing.as_ref().expect("only these fail");
        producing.failure(self.correlation, error)
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket can be cloned")
}
