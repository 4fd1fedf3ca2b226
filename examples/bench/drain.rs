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
use crate::harness::consumer::Isolation;
use crate::harness::http::Http;
use crate::harness::link::Delay;
use crate::harness::relay::Relay;
use crate::harness::scene::Delivery;
use crate::harness::watchdog::fresh_directory;
use crate::load::Scenario;
use crate::meter::{Meter, Reading};
use crate::numbers::{Course, Spread, grouped};
use crate::produce;
use crate::read;
use crate::report::{Section, Target};
use crate::site::Site;
use crate::subject::Subject;
use crate::table::Table;
use crate::usage::{cpu_seconds, resident_bytes_peak};
use crate::world::Layout;

const DRAINED_WITHIN: Duration = Duration::from_secs(600);
/// Often enough for runs of a second; an answer costs the relay some tens of microseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// So often is a backlog drained before anything is measured.
const WARM_UPS: u32 = 6;

/// Who moves the backlog.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Mover {
    Relay(Subject),
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

pub fn measure(site: &Site, layout: Layout, arguments: &Arguments) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for scenario in arguments.scenarios() {
        let backlog = Backlog::fill(site, layout, scenario, arguments.scale);
        let movers = movers(scenario, arguments);
        let rounds = drain_in_rounds(site, &backlog, &movers, arguments.rounds)
            .with_context(|| scenario.name().to_owned())?;
        let section = section(&backlog, &movers, &rounds);
        println!("\n{section}");
        sections.push(section);
    }
    Ok(sections)
}

/// A broker that has just begun compiles its own code for many seconds, the more so that of transactions.
pub fn warm_up(site: &Site, layout: Layout, arguments: &Arguments) -> Result<()> {
    let backlog = Backlog::fill(site, layout, Scenario::Twenty, arguments.scale);
    let mut destination = Destination::of(&backlog.scene);
    for _ in 0..WARM_UPS {
        for subject in &arguments.subjects() {
            drain_by_relay(site, &backlog, &mut destination, subject)?;
        }
    }
    Ok(())
}

fn movers(scenario: Scenario, arguments: &Arguments) -> Vec<Mover> {
    let mut movers: Vec<Mover> = arguments.subjects().into_iter().map(Mover::Relay).collect();
    if scenario != Scenario::Other {
        movers.push(Mover::BareProducer);
    }
    movers.push(Mover::BinlogRead);
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
    let Some(Mover::Relay(subject)) = movers.first() else {
        unreachable!("a relay is always measured");
    };
    drain_by_relay(site, backlog, &mut destination, subject)?;
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
            Mover::Relay(subject) => subject.name(),
            Mover::BareProducer => "bare producer".to_owned(),
            Mover::BinlogRead => "binlog read".to_owned(),
        }
    }

    fn drain(
        &self,
        site: &Site,
        backlog: &Backlog,
        destination: &mut Destination<'_>,
        records: &Path,
    ) -> Result<Measurement> {
        if let Mover::Relay(subject) = self {
            return drain_by_relay(site, backlog, destination, subject);
        }
        destination.renew()?;
        let meter = Meter::start(site)?;
        let run = match self {
            Mover::BinlogRead => read::run(site, backlog)?,
            _ => produce::run(records, site.kafka.bootstrap(), destination.topic())?,
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
) -> Result<Measurement> {
    destination.renew()?;
    let mut setup = site.fresh_relay(&backlog.scene, subject, Delay::NONE)?;
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

/// One line a mover, with the median of the rounds, and the least and the greatest.
fn section(backlog: &Backlog, movers: &[Mover], rounds: &[Round]) -> Section {
    let beside = match backlog.scenario {
        Scenario::Other => (Mover::BinlogRead, "of reading"),
        _ => (Mover::BareProducer, "of producer"),
    };
    let millions = backlog.units as f64 / 1e6;
    let mut table = Table::with_header([
        backlog.scenario.name().to_owned(),
        "a second".to_owned(),
        "steady".to_owned(),
        beside.1.to_owned(),
        format!("steady {}", beside.1),
        "CPU s a million".to_owned(),
        "mysqld".to_owned(),
        "broker".to_owned(),
        "all three".to_owned(),
        "peak MB".to_owned(),
        "others' %".to_owned(),
    ]);
    let mut targets = Vec::new();
    for mover in movers {
        let column = |value: &dyn Fn(&Measurement, &Measurement) -> Option<f64>, decimals| {
            let values = rounds.iter().filter_map(|round| value(&round[mover], &round[&beside.0]));
            Spread::of(values, decimals)
        };
        let steady_ratio =
            column(&|own, other| Some(own.steady_per_second? / other.steady_per_second?), 2);
        let peak = column(&|own, _| Some(own.resident_bytes_peak as f64 / 1e6), 0);
        let figures = [
            column(&|own, _| Some(own.per_second), 0),
            column(&|own, _| own.steady_per_second, 0),
            column(&|own, other| Some(own.per_second / other.per_second), 2),
            steady_ratio,
            column(&|own, _| Some(own.cpu_seconds / millions), 2),
            column(&|own, _| Some(own.meter.mysqld_cpu_seconds / millions), 2),
            column(&|own, _| Some(own.meter.broker_cpu_seconds / millions), 2),
            column(&|own, _| Some(own.cpu_seconds_of_all() / millions), 2),
            peak,
            column(&|own, _| Some(own.meter.disturbed * 100.0), 0),
        ];
        table.push([mover.name()].into_iter().chain(figures.map(Spread::shown)));
        if let Mover::Relay(subject) = mover {
            targets.extend(drain_targets(backlog.scenario, subject, steady_ratio, peak));
        }
    }
    let title = format!("{}; rounds: {}", backlog.scenario.description(), rounds.len());
    Section { title, table, targets }
}

fn drain_targets(
    scenario: Scenario,
    subject: &Subject,
    steady_ratio: Option<Spread>,
    peak: Option<Spread>,
) -> Vec<Target> {
    let is_idempotent = subject.delivery == Delivery::Idempotent;
    let name = format!("{}, {}", scenario.name(), subject.name());
    let ratio_aim = match scenario {
        Scenario::Single => Some(if is_idempotent { 0.65 } else { 0.60 }),
        Scenario::Twenty => Some(if is_idempotent { 0.85 } else { 0.80 }),
        Scenario::Other => Some(0.9),
        _ => None,
    };
    let beside = match scenario {
        Scenario::Other => "reading",
        _ => "the bare producer",
    };
    let peak_aim = match scenario {
        Scenario::Large | Scenario::LargeCompressed => 150.0,
        _ => 80.0,
    };
    let of_ratio =
        |aim| Target::at_least(format!("steady drain of {beside}, {name}"), aim, steady_ratio);
    let of_peak = Target::at_most(format!("peak MB, {name}"), peak_aim, peak);
    ratio_aim.map(of_ratio).into_iter().chain([of_peak]).collect()
}
