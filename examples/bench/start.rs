//! How long the relay takes from the start of its process until a consumer has the first record, with rows waiting
//! in the binlog and topics in place: after a clean stop, and after a kill -9 while it was sending, which leaves a
//! Kafka transaction open in `exactly-once`. A standby that is started when the relay before is killed is the latter.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use crate::matrix::Plan;
use crate::numbers::{Spread, quantile};
use crate::report::{Section, Target, World};
use crate::site::Site;
use crate::stage::{SEEN_WITHIN, Stage};
use crate::table::Table;
use crate::world::{self, Layout, behind};
use harness::link::Delay;
use harness::relay::Relay;

/// Rows that are in the binlog when the relay starts.
const WAITING_ROWS: usize = 20;
/// A relay is killed so long after it has begun to send.
const KILLED_AFTER: Duration = Duration::from_millis(60);
/// What is aimed at: so much, and so many round trips.
const AIM_MS: f64 = 150.0;
const AIM_ROUND_TRIPS: f64 = 25.0;

/// How the relay before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    CleanStop,
    Kill,
}

pub fn measure(site: &Site, plan: &Plan, arguments: &Arguments) -> Result<Vec<Section>> {
    let sections = plan.links.iter().map(|&link| measure_link(site, plan, link, arguments));
    sections.collect()
}

fn measure_link(site: &Site, plan: &Plan, link: Delay, arguments: &Arguments) -> Result<Section> {
    let mut table =
        Table::with_header(["start → first record, ms", "after", "median (spread)", "p90"]);
    let mut targets = Vec::new();
    let aim_ms = AIM_MS + AIM_ROUND_TRIPS * link.round_trip_ms();
    for subject in arguments.subjects() {
        let name = behind(&subject.name(), link);
        let stage = Stage::set(site, plan.layout, &subject, link)?;
        for ending in [Ending::CleanStop, Ending::Kill] {
            let mut times_ms = start_again_and_again(&stage, ending, plan.times)
                .with_context(|| format!("{name}, {}", ending.name()))?;
            times_ms.sort_by(f64::total_cmp);
            let spread = Spread::of(times_ms.iter().copied(), 0);
            let p90 = format!("{:.0}", quantile(&times_ms, 0.9));
            let shown = Spread::shown(spread);
            println!("{name}, after {}: {shown}, p90 {p90} ms", ending.name());
            let what = what(&format!("after {}, {name}", ending.name()), plan.layout);
            targets.push(Target::at_most(what, aim_ms, spread));
            table.push([subject.name(), ending.name().to_owned(), shown, p90]);
        }
        stage.strike()?;
    }
    let title = format!("{}; {} starts each", world::title(plan.layout, link), plan.times);
    let section = Section { world: World::of(link), title, table, targets };
    println!("\n{section}");
    Ok(section)
}

fn what(name: &str, layout: Layout) -> String {
    format!("start → first record, ms, {name}; {layout}")
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Ending::CleanStop => "a clean stop",
            Ending::Kill => "kill -9",
        }
    }
}

/// Milliseconds of each start.
fn start_again_and_again(stage: &Stage, ending: Ending, times: u32) -> Result<Vec<f64>> {
    let mut relay = stage.setup.start();
    let mut times_ms = Vec::new();
    for _ in 0..times {
        stage.see_a_row(&mut relay)?;
        match ending {
            Ending::CleanStop => stage.stop(&mut relay)?,
            Ending::Kill => kill_while_it_sends(stage, &mut relay),
        }
        stage.rows.write(WAITING_ROWS);
        stage.wait_until_quiet();
        let begun = Instant::now();
        relay = stage.setup.start();
        let first = stage.arrivals.recv_timeout(SEEN_WITHIN);
        let first = first.with_context(|| relay.log_tail())?;
        times_ms.push((first - begun).as_secs_f64() * 1e3);
        stage.wait_until_all_seen(&relay)?;
    }
    stage.stop(&mut relay)?;
    Ok(times_ms)
}

fn kill_while_it_sends(stage: &Stage, relay: &mut Relay) {
    stage.rows.write_during(Duration::ZERO, || {
        thread::sleep(KILLED_AFTER);
        relay.kill();
    });
}
