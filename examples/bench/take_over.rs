//! How long a second relay of the same name takes from the start of its process until a consumer has its first
//! record, while rows are written all the time and the first one relays them; and for how long the consumer gets
//! nothing. The first record of the second relay is the one that ends the longest pause: before it the first one is
//! fenced.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::arguments::Arguments;
use crate::matrix::Plan;
use crate::numbers::Spread;
use crate::report::{Section, World};
use crate::site::Site;
use crate::stage::Stage;
use crate::table::Table;
use crate::world::{self, behind};
use harness::link::Delay;

/// Often enough that a pause is not one of the writer's.
const ROW_INTERVAL: Duration = Duration::from_millis(2);
/// For both relays to run in their pace.
const STEADY: Duration = Duration::from_millis(500);
/// What a relay exits with that was replaced.
const REPLACED: i32 = 3;

/// In milliseconds.
#[derive(Debug, Clone, Copy)]
struct TakeOver {
    /// From the second relay's start.
    first_record: f64,
    /// Between two records of a consumer.
    pause: f64,
}

pub fn measure(site: &Site, plan: &Plan, arguments: &Arguments) -> Result<Vec<Section>> {
    let sections = plan.links.iter().map(|&link| measure_link(site, plan, link, arguments));
    sections.collect()
}

fn measure_link(site: &Site, plan: &Plan, link: Delay, arguments: &Arguments) -> Result<Section> {
    let mut table =
        Table::with_header(["take-over, ms", "start → first record", "nothing comes for"]);
    for subject in arguments.subjects() {
        let name = behind(&subject.name(), link);
        let stage = Stage::set(site, plan.layout, &subject, link)?;
        let found = take_over_again_and_again(&stage, plan.times).context(name.clone())?;
        stage.strike()?;
        let first_record = Spread::of(found.iter().map(|one| one.first_record), 0);
        let pause = Spread::of(found.iter().map(|one| one.pause), 0);
        let [first_record, pause] = [first_record, pause].map(Spread::shown);
        println!("{name}: first record after {first_record} ms, pause {pause} ms");
        table.push([subject.name(), first_record, pause]);
    }
    let title = format!("{}; {} take-overs each", world::title(plan.layout, link), plan.times);
    let section = Section { world: World::of(link), title, table, targets: Vec::new() };
    println!("\n{section}");
    Ok(section)
}

fn take_over_again_and_again(stage: &Stage, times: u32) -> Result<Vec<TakeOver>> {
    let mut relay = stage.start_and_see()?;
    let mut found = Vec::new();
    for _ in 0..times {
        let (second, begun) = stage.rows.write_during(ROW_INTERVAL, || {
            thread::sleep(STEADY);
            let begun = Instant::now();
            let mut second = stage.setup.start();
            second.wait_for_log("relaying");
            let code = relay.exit_code();
            thread::sleep(STEADY);
            ensure!(code == REPLACED, "the first exits with {code}\n{}", relay.log_tail());
            Ok((second, begun))
        })?;
        relay = second;
        stage.wait_until_all_seen(&relay)?;
        found.push(take_over(stage, begun).with_context(|| relay.log_tail())?);
    }
    stage.stop(&mut relay)?;
    Ok(found)
}

/// From what has come since.
fn take_over(stage: &Stage, begun: Instant) -> Option<TakeOver> {
    let arrivals: Vec<Instant> = stage.arrivals.try_iter().collect();
    let pauses = arrivals.windows(2).filter(|pair| pair[1] > begun);
    let longest = pauses.max_by_key(|pair| pair[1] - pair[0])?;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    Some(TakeOver { first_record: ms(longest[1] - begun), pause: ms(longest[1] - longest[0]) })
}
