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
use crate::harness::consumer::Isolation;
use crate::harness::link::Delay;
use crate::harness::relay::Relay;
use crate::harness::scene::{Delivery, Scene};
use crate::meter::Meter;
use crate::numbers::{Spread, grouped};
use crate::report::{Section, Target};
use crate::site::Site;
use crate::subject::Subject;
use crate::table::Table;
use crate::usage::cpu_seconds;
use crate::world::{Layout, behind};

/// What is told of each measurement, and of the rounds together.
const QUANTILES: [(&str, f64); 4] =
    [("p50 ms", 0.5), ("p99 ms", 0.99), ("p99.9 ms", 0.999), ("max ms", 1.0)];
/// So many transactions of one row two cores can commit beside all else.
const SINGLE_ROW_RATE_MAX: u32 = 2_000;
/// Above that, rows share transactions, of which there are so many a second: a commit costs MySQL about as much
/// as five rows.
const TRANSACTIONS_PER_SECOND: u32 = 1_000;

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
    disturbed: f64,
}

type Round = HashMap<Placed, Measurement>;

pub fn measure(site: &Site, layout: Layout, arguments: &Arguments) -> Result<Vec<Section>> {
    let relays = arguments.subjects().into_iter().map(Sender::Relay);
    let senders: Vec<Sender> = relays.chain([Sender::ProducerAlone]).collect();
    let links = arguments.links();
    let placed: Vec<Placed> =
        (links.iter().flat_map(|&link| senders.iter().map(move |sender| (sender.clone(), link))))
            .collect();
    let mut sections = Vec::new();
    for &rate in &arguments.rate {
        let of_transaction = rows_of_a_transaction(rate);
        println!("\nlatency at {rate} rows/s, {of_transaction} a transaction; {layout}");
        let mut rounds = Vec::new();
        for number in 1..=arguments.rounds {
            let mut round = Round::new();
            for (sender, link) in &placed {
                let name = behind(&sender.name(), *link);
                let measurement = measure_once(site, layout, (sender, *link), rate, arguments)
                    .with_context(|| format!("round {number}, {name}"))?;
                println!("round {number}  {name:<40} {}", measurement.line());
                round.insert((sender.clone(), *link), measurement);
            }
            rounds.push(round);
        }
        let seconds = arguments.seconds;
        for &link in &links {
            let world = format!("{layout}, {link}");
            let section = section(&world, link, rate, seconds, &senders, &rounds);
            println!("\n{section}");
            sections.push(section);
        }
    }
    Ok(sections)
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
            vec![writers::start_producer(site.bootstrap(link)?, &topic, &marks)?]
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
    Ok(Measurement { latencies: marks.latencies()?, relay_cpu_percent, disturbed: meter.disturbed })
}

impl Measurement {
    fn line(&self) -> String {
        let mut words: Vec<String> = QUANTILES
            .iter()
            .map(|(name, part)| format!("{name} {:.2}", self.latencies.quantile_ms(*part)))
            .collect();
        words.extend(self.relay_cpu_percent.map(|percent| format!("relay CPU {percent:.1} %")));
        words.push(format!("writers at most {:.0} ms late", self.latencies.late_ms));
        words.push(format!("others {:.0} %", self.disturbed * 100.0));
        words.join(", ")
    }
}

/// One line a sender; in each cell the median of the rounds, and the least and the greatest.
fn section(
    world: &str,
    link: Delay,
    rate: u32,
    seconds: u32,
    senders: &[Sender],
    rounds: &[Round],
) -> Section {
    let header = ["".to_owned()].into_iter().chain(QUANTILES.map(|(name, _)| name.to_owned()));
    let mut table = Table::with_header(header.chain([
        "relay CPU %".to_owned(),
        "writers late ms".to_owned(),
        "others' %".to_owned(),
    ]));
    let spread = |sender: &Sender, value: &dyn Fn(&Measurement) -> Option<f64>, decimals| {
        Spread::of(
            rounds.iter().filter_map(|round| value(&round[&(sender.clone(), link)])),
            decimals,
        )
    };
    let mut targets = Vec::new();
    for sender in senders {
        let quantile = |part: f64| {
            spread(sender, &|measurement| Some(measurement.latencies.quantile_ms(part)), 2)
        };
        let cpu = spread(sender, &|measurement| measurement.relay_cpu_percent, 1);
        let mut row = vec![sender.name()];
        row.extend(QUANTILES.map(|(_, part)| Spread::shown(quantile(part))));
        row.push(Spread::shown(cpu));
        row.push(Spread::shown(spread(sender, &|one| Some(one.latencies.late_ms), 0)));
        row.push(Spread::shown(spread(sender, &|one| Some(one.disturbed * 100.0), 0)));
        table.push(row);
        if let Sender::Relay(subject) = sender {
            let measured = [quantile(0.5), quantile(0.99)];
            targets.extend(latency_targets(rate, link, subject, measured, cpu));
        }
    }
    let transactions = match rows_of_a_transaction(rate) {
        1 => "each a transaction".to_owned(),
        rows => format!("{rows} a transaction"),
    };
    let title = format!(
        "{world}; {} rows/s, {transactions}; rounds: {}, of {seconds} s",
        grouped(rate.into(), 0),
        rounds.len()
    );
    Section { title, table, targets }
}

/// What is aimed at, at 500 rows/s. Over a link, R is its round trip in milliseconds.
fn latency_targets(
    rate: u32,
    link: Delay,
    subject: &Subject,
    measured: [Option<Spread>; 2],
    cpu: Option<Spread>,
) -> Vec<Target> {
    if rate != 500 {
        return Vec::new();
    }
    let r = link.round_trip_ms();
    let aims_ms = match (subject.delivery, link.is_none()) {
        (Delivery::Idempotent, _) => [1.2 * r + 1.5, 3.0 * r + 10.0],
        (Delivery::ExactlyOnce, true) => [4.0, 15.0],
        (Delivery::ExactlyOnce, false) => [4.0 * r + 5.0, 8.0 * r + 25.0],
    };
    let what = |figure: &str| format!("{figure} at 500 rows/s, {}", behind(&subject.name(), link));
    let cpu_aim = match subject.delivery {
        Delivery::Idempotent => 10.0,
        // Half of what it was before links were measured.
        Delivery::ExactlyOnce => 11.0,
    };
    vec![
        Target::at_most(what("p50 ms"), aims_ms[0], measured[0]),
        Target::at_most(what("p99 ms"), aims_ms[1], measured[1]),
        Target::at_most(what("CPU % of a core"), cpu_aim, cpu),
    ]
}
