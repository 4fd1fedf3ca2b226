//! The relay in a world of models, stopped at every point: supervision, recovery, session, line, ledger and source are
//! the ones that ship; the primary and the sink are models, and time is virtual.
//!
//! A story is made of a seed: a binlog that grows, a sink with one of three guarantees, and a relay that is killed,
//! paused while another takes over, drained, given another configuration, or cut off from one end, again and again at
//! points that the seed names.
//! A point is an event, a question to the primary, a request to the sink or its answer. At the end the judge holds what
//! is in the sink against what was committed. A seed that fails tells its story.
//!
//! `make simulate SEEDS=1000..2000` tells more stories than `make test` does.

mod broker;
mod database;
mod judge;
mod primary;
mod process;
mod sink;
mod tests;
mod world;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};

use self::broker::{Broker, Fault, Record};
use self::database::{Database, Kind, OutboxRow, Transaction};
use self::judge::{ensure_none_refused, ensure_order, ensure_row, ensure_taken_over, number_of};
use self::primary::ModelPrimaries;
use self::process::{Process, State};
use self::sink::ModelSinks;
use self::world::Shared;
use super::orders::{Orders, Report, Wanted};
use super::{World, Worlds, run_in};
use crate::batch::Limits;
use crate::config::Config;
use crate::connect::ensure_continuable;
use crate::error::Error;
use crate::outbox;
use crate::sink::Guarantee;
use crate::telemetry::Telemetry;

/// In virtual time: whoever takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a story is about.
#[derive(Debug, Clone, Copy)]
struct Plan {
    guarantee: Guarantee,
    has_gtids: bool,
    has_checksums: bool,
    records_max: usize,
    transactions: u64,
    stops: u64,
    /// The most points between two stops.
    points_max: u64,
    /// Servers fail over. Their sequences of rows are the same only where a drain or a transaction says so.
    fails_over: bool,
    /// Relays are given other configurations while they run.
    reloads: bool,
}

impl Plan {
    fn of(rng: &mut ChaCha8Rng) -> Plan {
        let guarantee = match rng.random_range(0..10) {
            0..5 => Guarantee::Atomic,
            5..9 => Guarantee::Deduplicated,
            _ => Guarantee::AtLeastOnce,
        };
        let has_gtids = rng.random_bool(0.6);
        Plan {
            guarantee,
            has_gtids,
            has_checksums: rng.random_bool(0.5),
            records_max: rng.random_range(2..9),
            transactions: rng.random_range(5..40),
            stops: rng.random_range(4..24),
            points_max: rng.random_range(4..90),
            fails_over: has_gtids && guarantee == Guarantee::Atomic && rng.random_bool(0.4),
            reloads: rng.random_bool(0.3),
        }
    }
}

/// What became of a story.
#[derive(Debug)]
pub struct Told {
    /// Points at which a process was killed, paused, drained or cut off.
    pub stops: u64,
    pub failure: Option<String>,
    pub story: String,
}

/// What a process connects to.
struct ModelWorld {
    primaries: ModelPrimaries,
    sinks: ModelSinks,
}

/// It does not depend on the configuration.
impl Worlds for ModelWorld {
    type World<'a> = &'a ModelWorld;

    fn of<'a>(&'a self, _: &'a Config) -> &'a ModelWorld {
        self
    }
}

impl World for &ModelWorld {
    type Primaries = ModelPrimaries;
    type Sinks = ModelSinks;

    fn primaries(&self) -> &ModelPrimaries {
        &self.primaries
    }

    fn sinks(&self) -> &ModelSinks {
        &self.sinks
    }

    /// Virtual time does not pass while a thread sleeps.
    fn rest(&self, _: Duration) {}

    fn chance(&self) -> u32 {
        self.primaries.shared.below(u64::from(u32::MAX)) as u32
    }
}

/// A relay that was started.
struct Relay {
    process: Arc<Process>,
    want: watch::Sender<Wanted>,
    reports: mpsc::UnboundedReceiver<Report>,
    running: JoinHandle<Result<(), Error>>,
}

struct Story {
    plan: Plan,
    shared: Arc<Shared>,
    configs: [Arc<Config>; 2],
    /// The second configuration is wanted.
    is_other: bool,
    rng: ChaCha8Rng,
    processes: u32,
    stops: u64,
}

/// Tells the story of a seed. `is_told`: with all its lines.
pub fn tell(seed: u64, is_told: bool) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let plan = Plan::of(&mut rng);
    let database = Database::new(plan.has_gtids, plan.has_checksums);
    let world_rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let shared = Shared::new(database, Broker::default(), world_rng, is_told);
    let configs = configs(plan.guarantee, plan.records_max);
    let mut story = Story {
        plan,
        shared: shared.clone(),
        configs,
        is_other: false,
        rng,
        processes: 0,
        stops: 0,
    };
    shared.tell(|| format!("{plan:?}"));
    let failure = LocalSet::new().block_on(&runtime, story.tell()).err();
    Told { stops: story.stops, failure, story: shared.story() }
}

impl Story {
    async fn tell(&mut self) -> Result<(), String> {
        let writer = tokio::task::spawn_local(write(
            self.shared.clone(),
            ChaCha8Rng::seed_from_u64(self.rng.random()),
            self.plan.transactions,
        ));
        let mut relay = self.start();
        for _ in 0..self.plan.stops {
            let points = self.rng.random_range(1..=self.plan.points_max);
            self.shared.stop_after(points, relay.process.id);
            let is_stopped = tokio::select! {
                biased;
                () = self.shared.stopped.notified() => true,
                ended = &mut relay.running => return Err(format!("it ended: {ended:?}")),
                () = tokio::time::sleep(Duration::from_secs(20)) => false,
            };
            if !is_stopped {
                // It idles: it is stopped where it is.
                self.shared.stop_nobody();
                relay.process.set(State::Paused);
            }
            self.stops += 1;
            ensure_none_refused(&mut relay)?;
            relay = self.stop(relay).await?;
        }
        writer.await.map_err(|error| format!("the writer failed: {error}"))?;
        self.end(relay).await
    }

    /// All is relayed, and the relay drains.
    async fn end(&mut self, relay: Relay) -> Result<(), String> {
        self.shared.broker().fault = None;
        let mut relay = relay;
        let relayed = async {
            while !self.is_all_there() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            biased;
            ended = &mut relay.running => return Err(format!("it ended: {ended:?}")),
            () = relayed => {}
            () = tokio::time::sleep(PATIENCE) => {
                return Err(format!("stuck: {}", self.judge().err().unwrap_or_default()));
            }
        }
        ensure_none_refused(&mut relay)?;
        self.drain(relay).await?;
        self.judge()
    }

    fn is_all_there(&self) -> bool {
        let expected = self.shared.database().expected.len();
        self.shared.broker().records.len() >= expected && self.judge().is_ok()
            || self.plan.guarantee != Guarantee::AtLeastOnce
                && self.shared.broker().records.len() > expected
    }

    /// The process stands still. Something happens to it, and a relay runs afterwards.
    async fn stop(&mut self, relay: Relay) -> Result<Relay, String> {
        let process = relay.process.clone();
        // The checkpoint of a relay that takes over another configuration may ask for either. So nobody takes over from
        // it who could not know which.
        let fate = self.rng.random_range(0..if self.plan.reloads { 140 } else { 100 });
        match fate {
            0..55 => {
                self.kill(relay).await;
                self.pause_up_to(2_000).await;
                Ok(self.start())
            }
            55..65 => {
                process.set(State::Running);
                self.drain(relay).await?;
                Ok(self.start())
            }
            65..77 => {
                self.shared.tell(|| "the connections to the primary are lost".to_owned());
                self.shared.database().cut_dumps();
                self.shared.written.notify_waiters();
                process.set(State::Running);
                Ok(relay)
            }
            77..88 => {
                let fault = match self.rng.random_range(0..3) {
                    0 => Fault::Abort,
                    1 => Fault::LoseAnswer,
                    _ => Fault::Stall,
                };
                self.shared.tell(|| format!("the next request to the sink: {fault:?}"));
                self.shared.broker().fault = Some(fault);
                process.set(State::Running);
                Ok(relay)
            }
            88..92 if self.plan.fails_over && self.can_fail_over() => {
                self.shared.tell(|| "another server takes over".to_owned());
                self.shared.database().fail_over();
                self.shared.written.notify_waiters();
                process.set(State::Running);
                Ok(relay)
            }
            88.. if self.plan.reloads => {
                self.shared.tell(|| "another configuration is wanted".to_owned());
                self.is_other = !self.is_other;
                let config = self.config();
                relay.want.send_modify(|wanted| wanted.config = config);
                process.set(State::Running);
                Ok(relay)
            }
            88..95 => self.take_over_paused(relay).await,
            _ => self.take_over_running(relay).await,
        }
    }

    /// Before the first checkpoint with a GTID set, another server cannot be known again: the relay rightly halts.
    fn can_fail_over(&self) -> bool {
        let broker = self.shared.broker();
        broker.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.gtid_set.is_some())
    }

    async fn kill(&mut self, relay: Relay) {
        let id = relay.process.id;
        self.shared.tell(|| format!("process {id} is killed"));
        relay.process.set(State::Dead);
        relay.running.abort();
        // It is gone with all that it had.
        let _ = relay.running.await;
        self.release(id);
    }

    /// The server notices that a process is gone.
    fn release(&self, process: u32) {
        let mut database = self.shared.database();
        database.end_dump_of(process);
        database.release_locks_of(process);
        drop(database);
        self.shared.written.notify_waiters();
        self.shared.released.notify_waiters();
    }

    /// Another relay takes over while this one is paused. When it goes on, it must find out and end.
    async fn take_over_paused(&mut self, paused: Relay) -> Result<Relay, String> {
        let id = paused.process.id;
        self.shared.tell(|| format!("process {id} is paused"));
        let has_claimed = self.shared.broker().claimed.contains(&id);
        let mut next = self.start();
        let wait = self.rng.random_range(0..20_000);
        tokio::select! {
            biased;
            ended = &mut next.running => return Err(format!("the next one ended: {ended:?}")),
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
        }
        let is_replaced = self.shared.broker().claimed.contains(&next.process.id);
        self.shared.tell(|| format!("process {id} goes on"));
        paused.process.set(State::Running);
        let (ended, left) = self.contend(paused, next).await?;
        // One that has not claimed before the pause is a relay that starts, and takes over.
        if has_claimed && is_replaced && ended.process.id != id {
            return Err(format!("process {id} took over from its replacement"));
        }
        Ok(left)
    }

    /// Another relay is started although this one runs.
    async fn take_over_running(&mut self, running: Relay) -> Result<Relay, String> {
        running.process.set(State::Running);
        let next = self.start();
        Ok(self.contend(running, next).await?.1)
    }

    /// Waits until one of two has found out that the other took over, and ended. Answers with that one, and the other.
    async fn contend(&mut self, a: Relay, b: Relay) -> Result<(Relay, Relay), String> {
        let (mut a, mut b) = (a, b);
        let is_a = tokio::select! {
            biased;
            ended = &mut a.running => ensure_taken_over(ended).map(|()| true)?,
            ended = &mut b.running => ensure_taken_over(ended).map(|()| false)?,
            () = tokio::time::sleep(PATIENCE) => return Err("two relays of one name go on".to_owned()),
        };
        let (ended, left) = if is_a { (a, b) } else { (b, a) };
        self.shared.tell(|| format!("process {} was taken over", ended.process.id));
        ended.process.set(State::Dead);
        self.release(ended.process.id);
        Ok((ended, left))
    }

    async fn drain(&mut self, relay: Relay) -> Result<(), String> {
        let id = relay.process.id;
        self.shared.tell(|| format!("process {id} drains"));
        relay.want.send_modify(|wanted| wanted.is_stop = true);
        match tokio::time::timeout(PATIENCE, relay.running).await {
            Ok(Ok(Ok(()))) => {}
            // What was lost with the last request is not drained, and is said.
            Ok(Ok(Err(error))) if !error.fate().is_halt() => {}
            Ok(ended) => return Err(format!("the drain ended: {ended:?}")),
            Err(_) => return Err("the drain does not end".to_owned()),
        }
        relay.process.set(State::Dead);
        self.release(id);
        Ok(())
    }

    async fn pause_up_to(&mut self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..millis))).await;
    }

    fn start(&mut self) -> Relay {
        self.processes += 1;
        let id = self.processes;
        self.shared.tell(|| format!("process {id} is started"));
        let process = Arc::new(Process::new(id));
        self.choose_config();
        let (shared, config) = (self.shared.clone(), self.config());
        let world = ModelWorld {
            primaries: ModelPrimaries { shared: shared.clone(), process: process.clone() },
            sinks: ModelSinks {
                shared,
                process: process.clone(),
                guarantee: self.plan.guarantee,
                limits: Limits { records_max: self.plan.records_max, bytes_max: 1 << 20 },
                name: config.name.clone(),
            },
        };
        let (orders, want, reports) = Orders::new(config.clone());
        let gate = process.clone();
        let running = tokio::task::spawn_local(async move {
            let telemetry = Rc::new(Telemetry::new(&config.name, "db:3306".to_owned()));
            let telemetry = Arc::new(Rc::try_unwrap(telemetry).ok().expect("one owner"));
            gate.run(run_in(&world, telemetry, orders)).await
        });
        Relay { process, want, reports, running }
    }

    fn config(&self) -> Arc<Config> {
        self.configs[usize::from(self.is_other)].clone()
    }

    /// Of two configurations, a person starts with the one that the checkpoint asks for.
    fn choose_config(&mut self) {
        let broker = self.shared.broker();
        let fingerprint = outbox::fingerprint(&self.config().outbox);
        let stored = broker.checkpoint.as_ref();
        if stored.is_some_and(|stored| ensure_continuable(stored, &fingerprint).is_err()) {
            self.is_other = !self.is_other;
        }
    }

    /// Holds the sink against what was committed.
    fn judge(&self) -> Result<(), String> {
        let database = self.shared.database();
        let broker = self.shared.broker();
        let mut found: HashMap<u64, Vec<&Record>> = HashMap::new();
        for record in &broker.records {
            found.entry(number_of(record)?).or_default().push(record);
        }
        for (index, row) in database.expected.iter().enumerate() {
            let records = found.remove(&row.number).unwrap_or_default();
            ensure_row(self.plan.guarantee, row, index as u64 + 1, &records)?;
        }
        if let Some(number) = found.keys().next() {
            return Err(format!("row {number} was never committed"));
        }
        ensure_order(&database.expected, &broker.records)
    }
}

/// Commits transactions, with pauses in between.
async fn write(shared: Arc<Shared>, mut rng: ChaCha8Rng, transactions: u64) {
    let mut next = 1;
    for _ in 0..transactions {
        let transaction = transaction(&mut rng, &mut next);
        shared.tell(|| format!("is committed: {transaction:?}"));
        shared.database().commit(&transaction);
        shared.written.notify_waiters();
        if rng.random_bool(0.6) {
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..40_000))).await;
        }
    }
}

fn transaction(rng: &mut ChaCha8Rng, next: &mut u64) -> Transaction {
    let kind = match rng.random_range(0..100) {
        0..55 => Kind::Plain,
        55..70 => Kind::Compressed,
        70..77 => Kind::RolledBack,
        77..84 => Kind::Statement,
        84..92 => Kind::Foreign,
        _ => Kind::Rotation,
    };
    let statements = if rng.random_bool(0.1) { 5 } else { rng.random_range(1..4) };
    let mut row = || {
        *next += 1;
        OutboxRow {
            number: *next,
            topic: rng.random_range(0..2),
            key: rng.random_range(0..6),
            is_published: rng.random_bool(0.1),
        }
    };
    let mut statement = |index: usize| (0..1 + index % 3).map(|_| row()).collect::<Vec<_>>();
    // One that is taken back leaves no batch before it is: a part of it would be relayed.
    let statements = if kind == Kind::RolledBack { 1 } else { statements };
    Transaction { kind, statements: (0..statements).map(&mut statement).collect() }
}

/// Configurations are read once each: librdkafka looks at them.
fn configs(guarantee: Guarantee, records_max: usize) -> [Arc<Config>; 2] {
    // It counts for rows whose id the database numbers, and those of a story have one of their own.
    ["", "outbox_id = 7\n"].map(|lines| config(guarantee, records_max, lines))
}

fn config(guarantee: Guarantee, records_max: usize, lines: &'static str) -> Arc<Config> {
    type Configs = std::sync::Mutex<HashMap<(bool, usize, &'static str), Arc<Config>>>;
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    let is_atomic = guarantee == Guarantee::Atomic;
    let mut configs = CONFIGS.get_or_init(Configs::default).lock().unwrap();
    let config = configs.entry((is_atomic, records_max, lines)).or_insert_with(|| {
        let delivery = if is_atomic { "exactly-once" } else { "idempotent" };
        let text = format!(
            "name = \"orders\"\n[mysql]\nhosts = [\"db:3306\"]\nuser = \"relay\"\npassword = \"secret\"\n\
             start_from = \"earliest\"\n[kafka]\nbootstrap_servers = \"kafka:9092\"\ndelivery = \"{delivery}\"\n\
             [batch]\nmax_records = {records_max}\n[[outbox]]\ntable = \"shop.events\"\n\
             preset = \"eventuate-local\"\n{lines}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Arc::new(Config::load(file.path(), &[]).unwrap())
    });
    config.clone()
}
