//! The latency: from the moment that a commit in MySQL has returned until a consumer has the record, for
//! each delivery. Rows are written at fixed times, however long those before them took, so nothing that waits is
//! left out. A producer that writes to Kafka at the same pace, without MySQL and the relay, shows what Kafka
//! and the consumer take by themselves.

mod marks;
mod writers;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};

use self::marks::{Latencies, Marks, Schedule};
use crate::arguments::Arguments;
use crate::follower::Follower;
use crate::matrix::Plan;
use crate::meter::Meter;
use crate::numbers::{Spread, grouped};
use crate::report::{Section, Target, World};
use crate::site::Site;
use crate::subject::Subject;
use crate::table::Table;
use crate::usage::cpu_seconds;
use crate::world::{self, Layout, behind};
use harness::consumer::Isolation;
use harness::link::Delay;
use harness::relay::Relay;
use harness::scene::{Delivery, Scene};

/// What is told of each measurement, and of the rounds together.
const QUANTILES: [(&str, f64); 4] =
    [("p50 ms", 0.5), ("p99 ms", 0.99), ("p99.9 ms", 0.999), ("max ms", 1.0)];
/// So many transactions of one row two cores can commit beside all else.
const SINGLE_ROW_RATE_MAX: u32 = 2_000;
/// Above that, rows share transactions, of which there are so many a second: a commit costs MySQL about as much
/// as five rows.
const TRANSACTIONS_PER_SECOND: u32 = 1_000;

/// The rate that most targets are about.
const USUAL_RATE: u32 = 500;
const USUAL_PARTITIONS: i32 = 12;
const WARM_UPS: u32 = 3;
/// Half of what it was before links were measured.
const EXACTLY_ONCE_CPU_PERCENT: f64 = 11.0;

/// Who brings the rows to Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sender {
    Relay(Subject),
    ProducerAlone,
}

/// A sender, and how far it is from Kafka.
type Placed = (Sender, Delay);

/// One sender in one round.
struct Measurement {
    latencies: Latencies,
    /// Of one core, in percent; `None` without a relay.
    relay_cpu_percent: Option<f64>,
    /// The same of all brokers together.
    brokers_cpu_percent: f64,
    disturbed: f64,
}

type Round = HashMap<Placed, Measurement>;

pub fn measure(site: &Site, plan: &Plan, arguments: &Arguments) -> Result<Vec<Section>> {
    let mut senders: Vec<Sender> = arguments.subjects().into_iter().map(Sender::Relay).collect();
    senders.extend(plan.with_producer.then_some(Sender::ProducerAlone));
    let mut sections = Vec::new();
    // What is at 500 rows/s, to compare with.
    let mut usual = None;
    for &rate in &plan.rates {
        let rounds = measure_rate(site, plan, &senders, rate, arguments)?;
        for &link in &plan.links {
            let found = Found { plan, link, rate, senders: &senders, rounds: &rounds };
            let section = found.section(arguments.seconds, usual.as_deref());
            println!("\n{section}");
            sections.push(section);
        }
        if rate == USUAL_RATE {
            usual = Some(rounds);
        }
    }
    Ok(sections)
}

/// Three brokers share the machine while they compile their own code, and a drain does not run that of small
/// requests.
pub fn warm_up(site: &Site, layout: Layout, arguments: &Arguments) -> Result<()> {
    for _ in 0..WARM_UPS {
        for subject in arguments.subjects() {
            let sender = Sender::Relay(subject);
            measure_once(site, layout, (&sender, Delay::NONE), USUAL_RATE, arguments)?;
        }
    }
    Ok(())
}

/// In each round all senders behind all links, one after the other.
fn measure_rate(
    site: &Site,
    plan: &Plan,
    senders: &[Sender],
    rate: u32,
    arguments: &Arguments,
) -> Result<Vec<Round>> {
    let (of_transaction, layout) = (rows_of_a_transaction(rate), plan.layout);
    println!("\nlatency at {rate} rows/s, {of_transaction} a transaction; {layout}");
    let mut rounds = Vec::new();
    for number in 1..=plan.times {
        let mut round = Round::new();
        for &link in &plan.links {
            for sender in senders {
                let name = behind(&sender.name(), link);
                let measurement = measure_once(site, layout, (sender, link), rate, arguments)
                    .with_context(|| format!("round {number}, {name}"))?;
                println!("round {number}  {name:<40} {}", measurement.line());
                round.insert((sender.clone(), link), measurement);
            }
        }
        rounds.push(round);
    }
    Ok(rounds)
}

impl Sender {
    fn name(&self) -> String {
        match self {
            Sender::Relay(subject) => subject.name(),
            Sender::ProducerAlone => "producer alone".to_owned(),
        }
    }

    /// What its consumers read with.
    fn isolation(&self) -> Isolation {
        match self {
            Sender::Relay(subject) => subject.isolation(),
            Sender::ProducerAlone => Isolation::ReadUncommitted,
        }
    }

    fn start_relay(&self, site: &Site, scene: &Scene, link: Delay) -> Result<Option<Relay>> {
        let Sender::Relay(subject) = self else { return Ok(None) };
        let mut relay = site.fresh_relay(scene, subject, link)?.start();
        relay.wait_for_log("relaying");
        Ok(Some(relay))
    }
}

fn rows_of_a_transaction(rate: u32) -> u32 {
    match rate {
        ..=SINGLE_ROW_RATE_MAX => 1,
        _ => rate.div_ceil(TRANSACTIONS_PER_SECOND),
    }
}

fn measure_once(
    site: &Site,
    layout: Layout,
    (sender, link): (&Sender, Delay),
    rate: u32,
    arguments: &Arguments,
) -> Result<Measurement> {
    let scene = site.scene("latency", layout);
    let topic = scene.create_topic("event");
    let mut relay = sender.start_relay(site, &scene, link)?;
    let cpu_of =
        |relay: &Option<Relay>| relay.as_ref().map(|relay| cpu_seconds(relay.pid())).transpose();
    let schedule = Schedule::after_a_moment(rate, rows_of_a_transaction(rate), arguments);
    let marks = Arc::new(Marks::new(schedule));
    let noted = Arc::clone(&marks);
    let follower = Follower::start(&scene, &topic, sender.isolation(), move |number, at| {
        noted.note_seen(number, at);
    })?;
    let writers = match sender {
        Sender::Relay(_) => writers::start_writers(&scene, &topic, &marks)?,
        Sender::ProducerAlone => {
            vec![writers::start_producer(site.brokers.bootstrap(link)?, &topic, &marks)?]
        }
    };
    marks.wait_until_warm();
    let (meter, cpu_before) = (Meter::start(site)?, cpu_of(&relay)?);
    for writer in writers {
        writer.join().map_err(|_| anyhow!("a writer panicked"))??;
    }
    let complete = marks.wait_until_all_seen();
    let cpu = cpu_of(&relay)?.zip(cpu_before).map(|(after, before)| after - before);
    let seconds = meter.seconds();
    let meter = meter.stop(cpu.unwrap_or_default())?;
    follower.stop()?;
    let log = relay.as_ref().map(Relay::log_tail).unwrap_or_default();
    complete.context(log.clone())?;
    if let Some(code) = relay.as_mut().map(Relay::stop) {
        ensure!(code == 0, "the relay's exit code is {code}\n{log}");
    }
    let relay_cpu_percent = cpu.map(|cpu| 100.0 * cpu / seconds);
    Ok(Measurement {
        latencies: marks.latencies()?,
        relay_cpu_percent,
        brokers_cpu_percent: 100.0 * meter.broker_cpu_seconds / seconds,
        disturbed: meter.disturbed,
    })
}

impl Measurement {
    fn line(&self) -> String {
        let mut words: Vec<String> = QUANTILES
            .iter()
            .map(|(name, part)| format!("{name} {:.2}", self.latencies.quantile_ms(*part)))
            .collect();
        words.extend(self.relay_cpu_percent.map(|percent| format!("relay CPU {percent:.1} %")));
        words.push(format!("brokers CPU {:.0} %", self.brokers_cpu_percent));
        words.push(format!("writers at most {:.0} ms late", self.latencies.late_ms));
        words.push(format!("others {:.0} %", self.disturbed * 100.0));
        words.join(", ")
    }
}

/// All rounds at one rate, seen behind one link.
struct Found<'a> {
    plan: &'a Plan,
    link: Delay,
    rate: u32,
    senders: &'a [Sender],
    rounds: &'a [Round],
}

impl Found<'_> {
    /// One line a sender; in each cell the median of the rounds, and the least and the greatest.
    fn section(&self, seconds: u32, usual: Option<&[Round]>) -> Section {
        let quantiles = QUANTILES.map(|(name, _)| name.to_owned());
        let further =
            ["relay CPU %", "brokers' CPU %", "writers late ms", "others' %"].map(str::to_owned);
        let header = [String::new()].into_iter().chain(quantiles).chain(further);
        let mut table = Table::with_header(header);
        let mut targets = Vec::new();
        for sender in self.senders {
            let cpu = self.spread(sender, 1, |one| one.relay_cpu_percent);
            let mut row = vec![sender.name()];
            row.extend(QUANTILES.map(|(_, part)| Spread::shown(self.quantile(sender, part))));
            row.push(Spread::shown(cpu));
            let late = self.spread(sender, 0, |one| Some(one.latencies.late_ms));
            let disturbed = self.spread(sender, 0, |one| Some(one.disturbed * 100.0));
            let brokers = self.spread(sender, 0, |one| Some(one.brokers_cpu_percent));
            row.extend([brokers, late, disturbed].map(Spread::shown));
            table.push(row);
            if let Sender::Relay(subject) = sender {
                targets.extend(self.targets(sender, subject, cpu));
                targets.extend(usual.map(|usual| self.beside_usual(sender, subject, usual)));
            }
        }
        let transactions = match rows_of_a_transaction(self.rate) {
            1 => "each a transaction".to_owned(),
            rows => format!("{rows} a transaction"),
        };
        let title = format!(
            "{}; {} rows/s, {transactions}; rounds: {}, of {seconds} s",
            world::title(self.plan.layout, self.link),
            grouped(self.rate.into(), 0),
            self.rounds.len()
        );
        Section { world: World::of(self.link), title, table, targets }
    }

    fn spread(
        &self,
        sender: &Sender,
        decimals: usize,
        value: impl Fn(&Measurement) -> Option<f64>,
    ) -> Option<Spread> {
        let placed = (sender.clone(), self.link);
        Spread::of(self.rounds.iter().filter_map(|round| value(&round[&placed])), decimals)
    }

    fn quantile(&self, sender: &Sender, part: f64) -> Option<Spread> {
        self.spread(sender, 2, |one| Some(one.latencies.quantile_ms(part)))
    }

    /// At 500 rows/s. R is the round trip of the link in milliseconds.
    fn targets(&self, sender: &Sender, subject: &Subject, cpu: Option<Spread>) -> Vec<Target> {
        if self.rate != USUAL_RATE || self.plan.layout.partitions != USUAL_PARTITIONS {
            return Vec::new();
        }
        let r = self.link.round_trip_ms();
        let (p50_ms, p99_ms, cpu_percent) = match (subject.delivery, self.link.is_none()) {
            (Delivery::Idempotent, _) => (1.2 * r + 1.5, 3.0 * r + 10.0, 10.0),
            (Delivery::ExactlyOnce, true) => (4.0, 15.0, EXACTLY_ONCE_CPU_PERCENT),
            (Delivery::ExactlyOnce, false) => {
                (4.0 * r + 5.0, 8.0 * r + 25.0, EXACTLY_ONCE_CPU_PERCENT)
            }
        };
        let what = |figure: &str| format!("{figure} at 500 rows/s, {}", self.name(subject));
        vec![
            Target::at_most(what("p50 ms"), p50_ms, self.quantile(sender, 0.5)),
            Target::at_most(what("p99 ms"), p99_ms, self.quantile(sender, 0.99)),
            Target::at_most(what("CPU % of a core"), cpu_percent, cpu),
        ]
    }

    /// A relay that does not keep up is behind by seconds, which shows here as well.
    fn beside_usual(&self, sender: &Sender, subject: &Subject, usual: &[Round]) -> Target {
        let placed = (sender.clone(), self.link);
        let median = |round: &Round| round[&placed].latencies.quantile_ms(0.5);
        let ratios = self.rounds.iter().zip(usual).map(|(own, other)| median(own) / median(other));
        let what = format!(
            "p50 at {} rows/s of that at 500, {}",
            grouped(self.rate.into(), 0),
            self.name(subject)
        );
        Target::at_most(what, 2.0, Spread::of(ratios, 2))
    }

    fn name(&self, subject: &Subject) -> String {
        format!("{}; {}", behind(&subject.name(), self.link), self.plan.layout)
    }
}
