//! How fast a backlog is drained: each relay in each delivery, the bare producer and the bare reader, one after
//! the other in each round.

use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::arguments::Arguments;
use crate::backlog::Backlog;
use crate::destination::Destination;
use crate::load::Scenario;
use crate::matrix::Plan;
use crate::meter::{Meter, Reading};
use crate::numbers::{Course, Spread, grouped};
use crate::produce;
use crate::read;
use crate::report::{Section, Target, World};
use crate::site::Site;
use crate::subject::Subject;
use crate::table::Table;
use crate::usage::{cpu_seconds, resident_bytes_peak};
use crate::world::{self, Layout, behind};
use harness::consumer::Isolation;
use harness::http::Http;
use harness::link::Delay;
use harness::relay::Relay;
use harness::scene::Delivery;
use harness::watchdog::fresh_directory;

const DRAINED_WITHIN: Duration = Duration::from_secs(600);
/// Often enough for runs of a second; an answer costs the relay some tens of microseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// So often is a backlog drained before anything is measured.
const WARM_UPS: u32 = 6;

/// Who moves the backlog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Mover {
    Relay(Subject, Delay),
    BareProducer,
    BinlogRead,
}

/// One mover in one round.
#[derive(Debug, Clone, Copy)]
struct Measurement {
    /// From the start of the process, or of the bare producer's first send.
    per_second: f64,
    /// Between a tenth and nine tenths.
    steady_per_second: Option<f64>,
    cpu_seconds: f64,
    meter: Reading,
    resident_bytes_peak: u64,
}

type Round = HashMap<Mover, Measurement>;

pub fn measure(site: &Site, plan: &Plan, arguments: &Arguments) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for &scenario in &plan.scenarios {
        let backlog = Backlog::fill(site, plan.layout, scenario, arguments.scale);
        let movers = movers(scenario, plan, arguments);
        let rounds = drain_in_rounds(site, &backlog, &movers, plan.times)
            .with_context(|| scenario.name().to_owned())?;
        for &link in &plan.links {
            let found = Found { plan, backlog: &backlog, link, movers: &movers, rounds: &rounds };
            let section = found.section();
            println!("\n{section}");
            sections.push(section);
        }
    }
    Ok(sections)
}

/// A broker that has just begun compiles its own code for many seconds, the more so that of transactions.
pub fn warm_up(site: &Site, layout: Layout, arguments: &Arguments) -> Result<()> {
    let backlog = Backlog::fill(site, layout, Scenario::Twenty, arguments.scale);
    let mut destination = Destination::of(&backlog.scene);
    for _ in 0..WARM_UPS {
        for subject in &arguments.subjects() {
            drain_by_relay(site, &backlog, &mut destination, subject, Delay::NONE)?;
        }
    }
    Ok(())
}

/// Relays behind each link, and what they are compared with on loopback.
fn movers(scenario: Scenario, plan: &Plan, arguments: &Arguments) -> Vec<Mover> {
    let subjects = arguments.subjects();
    let mut movers = Vec::new();
    for &link in &plan.links {
        movers.extend(subjects.iter().cloned().map(|subject| Mover::Relay(subject, link)));
        if link.is_none() {
            movers.extend((scenario != Scenario::Other).then_some(Mover::BareProducer));
            movers.push(Mover::BinlogRead);
        }
    }
    movers
}

fn drain_in_rounds(
    site: &Site,
    backlog: &Backlog,
    movers: &[Mover],
    rounds: u32,
) -> Result<Vec<Round>> {
    let mut destination = Destination::of(&backlog.scene);
    let records = fresh_directory("records").join("records");
    // Not measured: it brings the binlog into the page cache, and makes the records that the bare producer
    // sends.
    let Some(Mover::Relay(subject, _)) = movers.first() else {
        unreachable!("a relay is always measured");
    };
    drain_by_relay(site, backlog, &mut destination, subject, Delay::NONE)?;
    destination.save(subject.isolation(), &records)?;
    let mut measured = Vec::new();
    for number in 1..=rounds {
        let mut round = Round::new();
        for mover in movers {
            let measurement = mover
                .drain(site, backlog, &mut destination, &records)
                .with_context(|| format!("round {number}, {}", mover.name()))?;
            println!("round {number}  {:<40} {}", mover.name(), measurement.line());
            round.insert(mover.clone(), measurement);
        }
        measured.push(round);
    }
    Ok(measured)
}

impl Mover {
    fn name(&self) -> String {
        match self {
            Mover::Relay(subject, link) => behind(&subject.name(), *link),
            Mover::BareProducer => "bare producer".to_owned(),
            Mover::BinlogRead => "binlog read".to_owned(),
        }
    }

    /// Whoever is no relay is measured on loopback.
    fn link(&self) -> Delay {
        match self {
            Mover::Relay(_, link) => *link,
            _ => Delay::NONE,
        }
    }

    fn drain(
        &self,
        site: &Site,
        backlog: &Backlog,
        destination: &mut Destination<'_>,
        records: &Path,
    ) -> Result<Measurement> {
        if let Mover::Relay(subject, link) = self {
            return drain_by_relay(site, backlog, destination, subject, *link);
        }
        destination.renew()?;
        let meter = Meter::start(site)?;
        let run = match self {
            Mover::BinlogRead => read::run(site, backlog)?,
            _ => produce::run(records, site.brokers.kafka.bootstrap(), destination.topic())?,
        };
        let meter = meter.stop(run.cpu_seconds_in_all)?;
        if *self == Mover::BareProducer {
            destination.check(backlog, Isolation::ReadUncommitted)?;
        }
        let units = backlog.units as f64;
        Ok(Measurement {
            per_second: units / run.seconds,
            steady_per_second: run.steady_per_second.map(|steady| steady * units),
            cpu_seconds: run.cpu_seconds,
            meter,
            resident_bytes_peak: run.resident_bytes_peak,
        })
    }
}

fn drain_by_relay(
    site: &Site,
    backlog: &Backlog,
    destination: &mut Destination<'_>,
    subject: &Subject,
    link: Delay,
) -> Result<Measurement> {
    destination.renew()?;
    let mut setup = site.fresh_relay(&backlog.scene, subject, link)?;
    setup.start_from = Some(backlog.start.to_string());
    let meter = Meter::start(site)?;
    let mut relay = setup.start();
    let course = watch(&mut relay, backlog, &meter)?;
    let (seconds, cpu_seconds) = (meter.seconds(), cpu_seconds(relay.pid())?);
    let meter = meter.stop(cpu_seconds)?;
    let resident_bytes_peak = resident_bytes_peak(relay.pid())?;
    let code = relay.stop();
    ensure!(code == 0, "the relay's exit code is {code}\n{}", relay.log_tail());
    destination.check(backlog, subject.isolation())?;
    let units = backlog.units as f64;
    Ok(Measurement {
        per_second: units / seconds,
        steady_per_second: course.steady_per_second().map(|steady| steady * units),
        cpu_seconds,
        meter,
        resident_bytes_peak,
    })
}

/// Asks the relay how far it is until it has relayed the backlog.
fn watch(relay: &mut Relay, backlog: &Backlog, meter: &Meter<'_>) -> Result<Course> {
    let http = relay.http();
    let mut course = Course::default();
    loop {
        let done = fraction_done(&http, backlog)?;
        course.note(meter.seconds(), done);
        if done >= 1.0 {
            return Ok(course);
        }
        let is_late = meter.seconds() > DRAINED_WITHIN.as_secs_f64();
        ensure!(!is_late && !relay.has_ended(), "it is not drained\n{}", relay.log_tail());
        thread::sleep(LOOK_INTERVAL);
    }
}

fn fraction_done(http: &Http, backlog: &Backlog) -> Result<f64> {
    let status = http.status();
    if backlog.rows > 0 {
        let relayed = status["records"]["relayed"].as_u64().context("the relay counts")?;
        return Ok(relayed as f64 / backlog.rows as f64);
    }
    let position = &status["position"];
    let place = position["binlogFilename"].as_str().zip(position["offset"].as_u64());
    Ok(place.map_or(0.0, |(file, offset)| backlog.fraction_before(file, offset)))
}

impl Measurement {
    /// Of what moves the rows and of the two servers: what two cores must find the time for.
    fn cpu_seconds_of_all(&self) -> f64 {
        self.cpu_seconds + self.meter.mysqld_cpu_seconds + self.meter.broker_cpu_seconds
    }

    fn line(&self) -> String {
        let steady = self.steady_per_second.map_or("–".to_owned(), |steady| grouped(steady, 0));
        format!(
            "{:>8}/s, steady {steady:>8}/s, CPU {:.2} s, mysqld {:.2} s, broker {:.2} s, {:.0} MB, others {:.0} %",
            grouped(self.per_second, 0),
            self.cpu_seconds,
            self.meter.mysqld_cpu_seconds,
            self.meter.broker_cpu_seconds,
            self.resident_bytes_peak as f64 / 1e6,
            self.meter.disturbed * 100.0
        )
    }
}

/// All rounds of one backlog, seen behind one link.
struct Found<'a> {
    plan: &'a Plan,
    backlog: &'a Backlog,
    link: Delay,
    movers: &'a [Mover],
    rounds: &'a [Round],
}

impl Found<'_> {
    /// One line a mover, with the median of the rounds, and the least and the greatest.
    fn section(&self) -> Section {
        let beside = self.beside_name();
        let millions = self.backlog.units as f64 / 1e6;
        let mut table = Table::with_header([
            self.backlog.scenario.name().to_owned(),
            "a second".to_owned(),
            "steady".to_owned(),
            format!("of {beside}"),
            format!("steady of {beside}"),
            "CPU s a million".to_owned(),
            "mysqld".to_owned(),
            "broker".to_owned(),
            "all three".to_owned(),
            "peak MB".to_owned(),
            "others' %".to_owned(),
        ]);
        let mut targets = Vec::new();
        for mover in self.movers.iter().filter(|mover| mover.link() == self.link) {
            let steady_ratio = self
                .ratio(mover, |own, other| Some(own.steady_per_second? / other.steady_per_second?));
            let peak = self.column(mover, 0, |own| Some(own.resident_bytes_peak as f64 / 1e6));
            let figures = [
                self.column(mover, 0, |own| Some(own.per_second)),
                self.column(mover, 0, |own| own.steady_per_second),
                self.ratio(mover, |own, other| Some(own.per_second / other.per_second)),
                steady_ratio,
                self.column(mover, 2, |own| Some(own.cpu_seconds / millions)),
                self.column(mover, 2, |own| Some(own.meter.mysqld_cpu_seconds / millions)),
                self.column(mover, 2, |own| Some(own.meter.broker_cpu_seconds / millions)),
                self.column(mover, 2, |own| Some(own.cpu_seconds_of_all() / millions)),
                peak,
                self.column(mover, 0, |own| Some(own.meter.disturbed * 100.0)),
            ];
            table.push([mover.name()].into_iter().chain(figures.map(Spread::shown)));
            if let Mover::Relay(subject, _) = mover {
                targets.extend(self.targets(subject, steady_ratio, peak));
            }
        }
        let (world, rounds) = (world::title(self.plan.layout, self.link), self.rounds.len());
        let description = self.backlog.scenario.description();
        let title = format!("{world}; {description}; rounds: {rounds}");
        Section { world: World::of(self.link), title, table, targets }
    }

    fn column(
        &self,
        mover: &Mover,
        decimals: usize,
        value: impl Fn(&Measurement) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| value(&round[mover])), decimals)
    }

    /// To what it is compared with, in the same round.
    fn ratio(
        &self,
        mover: &Mover,
        value: impl Fn(&Measurement, &Measurement) -> Option<f64>,
    ) -> Option<Spread> {
        let beside = self.beside(mover);
        let of_round = |round: &Round| value(&round[mover], round.get(&beside)?);
        Spread::of(self.rounds.iter().filter_map(of_round), 2)
    }

    /// Behind a link the same relay on loopback, else who is as fast as one can be.
    fn beside(&self, mover: &Mover) -> Mover {
        match (mover, self.backlog.scenario) {
            (Mover::Relay(subject, link), _) if !link.is_none() => {
                Mover::Relay(subject.clone(), Delay::NONE)
            }
            (_, Scenario::Other) => Mover::BinlogRead,
            _ => Mover::BareProducer,
        }
    }

    fn beside_name(&self) -> &'static str {
        match (self.link.is_none(), self.backlog.scenario) {
            (false, _) => "loopback",
            (true, Scenario::Other) => "reading",
            (true, _) => "producer",
        }
    }

    fn targets(
        &self,
        subject: &Subject,
        steady_ratio: Option<Spread>,
        peak: Option<Spread>,
    ) -> Vec<Target> {
        let scenario = self.backlog.scenario;
        let is_idempotent = subject.delivery == Delivery::Idempotent;
        let ratio_aim = match (self.link.is_none(), scenario) {
            (false, _) => Some(0.9),
            (true, Scenario::Single) => Some(if is_idempotent { 0.65 } else { 0.60 }),
            (true, Scenario::Twenty) => Some(if is_idempotent { 0.85 } else { 0.80 }),
            (true, Scenario::Other) => Some(0.9),
            _ => None,
        };
        let peak_aim = match scenario {
            Scenario::Large | Scenario::LargeCompressed => 150.0,
            _ => 80.0,
        };
        let name = format!("{}, {}", scenario.name(), behind(&subject.name(), self.link));
        let name = format!("{name}; {}", self.plan.layout);
        let beside = self.beside_name();
        let of_ratio =
            |aim| Target::at_least(format!("steady drain of {beside}, {name}"), aim, steady_ratio);
        let of_peak = Target::at_most(format!("peak MB, {name}"), peak_aim, peak);
        ratio_aim.map(of_ratio).into_iter().chain([of_peak]).collect()
    }
}
