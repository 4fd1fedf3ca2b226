//! A scenario in the binlog: filled once, drained many times. While it is measured it is the end of the binlog,
//! so that whoever reads it comes to an end there.

use std::time::Instant;

use crate::load::{self, Scenario};
use crate::numbers::grouped;
use crate::site::Site;
use crate::world::Layout;
use harness::scene::Scene;
use harness::sql::Coordinates;

pub struct Backlog {
    pub scenario: Scenario,
    pub scene: Scene,
    /// In the file that begins with it.
    pub start: Coordinates,
    pub end: Coordinates,
    /// How many rows are to be relayed.
    pub rows: u64,
    /// What its rates count.
    pub units: u64,
}

impl Backlog {
    pub fn fill(site: &Site, layout: Layout, scenario: Scenario, scale: f64) -> Backlog {
        let scene = site.scene(&scenario.name().replace('-', "_"), layout);
        let (rows, units) = (scenario.rows(scale), scenario.units(scale));
        load::prepare(scenario, &scene, units);
        let mut sql = site.mysql.connect();
        sql.run("FLUSH BINARY LOGS");
        let start = sql.end_of_binlog();
        let begun = Instant::now();
        load::write(scenario, &scene, scale);
        let end = sql.end_of_binlog();
        let took = begun.elapsed().as_secs_f64();
        println!(
            "\n{}: {} rows to relay, {start} to {end}, filled in {took:.1} s",
            scenario.name(),
            grouped(rows as f64, 0),
        );
        Backlog { scenario, scene, start, end, rows, units }
    }

    /// The fraction of the backlog before a place. Its files are few and large, so the last one stands for all.
    pub fn fraction_before(&self, file: &str, offset: u64) -> f64 {
        let begin = if self.start.file == self.end.file { self.start.offset } else { 4 };
        match file.cmp(&self.end.file) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => {
                offset.saturating_sub(begin) as f64 / (self.end.offset - begin) as f64
            }
            std::cmp::Ordering::Greater => 1.0,
        }
    }
}
