//! What a relay takes that has nothing to do: connected at both ends, one row relayed, and nobody asks its HTTP.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::arguments::Arguments;
use crate::events::event;
use crate::matrix::Plan;
use crate::meter::Meter;
use crate::numbers::Spread;
use crate::report::{Section, Target, World};
use crate::site::Site;
use crate::subject::Subject;
use crate::table::Table;
use crate::usage::{cpu_seconds, resident_bytes};
use crate::world::Layout;
use harness::link::Delay;
use harness::workload::insert_rows;

/// After the first row, until what it caused is over.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
const RELAYED_WITHIN: Duration = Duration::from_secs(30);
const AIM_CPU_PERCENT: f64 = 0.5;
const AIM_MEGABYTES: f64 = 25.0;

struct Measurement {
    cpu_percent: f64,
    resident_megabytes: f64,
    mysqld_cpu_percent: f64,
    broker_cpu_percent: f64,
}

pub fn measure(site: &Site, plan: &Plan, arguments: &Arguments) -> Result<Vec<Section>> {
    let mut table = Table::with_header([
        "idle",
        "CPU % of a core",
        "resident MB",
        "mysqld CPU %",
        "broker CPU %",
    ]);
    let mut targets = Vec::new();
    let duration = Duration::from_secs(arguments.idle_seconds.into());
    for subject in arguments.subjects() {
        let name = subject.name();
        let found =
            measure_once(site, plan.layout, &subject, duration).with_context(|| name.clone())?;
        let cpu = Spread::of([found.cpu_percent], 2);
        let memory = Spread::of([found.resident_megabytes], 1);
        println!("{name}: {} % of a core, {} MB", Spread::shown(cpu), Spread::shown(memory));
        targets.push(Target::at_most(
            format!("idle CPU % of a core, {name}"),
            AIM_CPU_PERCENT,
            cpu,
        ));
        targets.push(Target::at_most(format!("idle resident MB, {name}"), AIM_MEGABYTES, memory));
        table.push([
            name,
            Spread::shown(cpu),
            Spread::shown(memory),
            format!("{:.1}", found.mysqld_cpu_percent),
            format!("{:.1}", found.broker_cpu_percent),
        ]);
    }
    let title = format!("Over {} s with nothing happening", arguments.idle_seconds);
    let section = Section { world: World::Loopback, title, table, targets };
    println!("\n{section}");
    Ok(vec![section])
}

fn measure_once(
    site: &Site,
    layout: Layout,
    subject: &Subject,
    duration: Duration,
) -> Result<Measurement> {
    let scene = site.scene("idle", layout);
    let topic = scene.create_topic("event");
    let mut relay = site.fresh_relay(&scene, subject, Delay::NONE)?.start();
    insert_rows(&mut scene.sql(), "events", &[event(0, &topic)]);
    let http = relay.http();
    let deadline = Instant::now() + RELAYED_WITHIN;
    while http.status()["records"]["relayed"] != 1 {
        ensure!(Instant::now() < deadline, "the first row is not relayed\n{}", relay.log_tail());
        thread::sleep(Duration::from_millis(50));
    }
    drop(http);
    thread::sleep(SETTLED_AFTER);
    let (meter, before) = (Meter::start(site)?, cpu_seconds(relay.pid())?);
    thread::sleep(duration);
    let cpu = cpu_seconds(relay.pid())? - before;
    let percent = |cpu: f64| 100.0 * cpu / duration.as_secs_f64();
    let resident_megabytes = resident_bytes(relay.pid())? as f64 / 1e6;
    let servers = meter.stop(cpu)?;
    let code = relay.stop();
    ensure!(code == 0, "the relay's exit code is {code}\n{}", relay.log_tail());
    Ok(Measurement {
        cpu_percent: percent(cpu),
        resident_megabytes,
        mysqld_cpu_percent: percent(servers.mysqld_cpu_seconds),
        broker_cpu_percent: percent(servers.broker_cpu_seconds),
    })
}
