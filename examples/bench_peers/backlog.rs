//! A backlog: a stretch of the binlog that is filled once and drained many times, and what must come out.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;

use crate::beginning::Beginning;
use crate::debezium::Tuning;
use crate::numbers::grouped;
use crate::peer::Peer;
use crate::scenario::Scenario;
use crate::site::Site;

pub struct Backlog {
    pub beginning: Beginning,
    pub scenario: Scenario,
    pub rows: usize,
    /// Key and data of each row by its id.
    pub contents: HashMap<String, (String, String)>,
    fill_seconds: f64,
}

impl Backlog {
    pub fn fill(site: &Site, scenario: Scenario, scale: f64, peers: &[Peer]) -> Result<Backlog> {
        let rows = scenario.rows(scale);
        // Also the name of a database.
        let label = scenario.name().replace('-', "_");
        let (shape, tuning) = (scenario.shape(), Tuning::Throughput);
        let prepare = |scene: &_| scenario.prepare(scene, scale);
        let beginning = Beginning::make(site, &label, shape, peers, tuning, prepare)?;
        let scene = &beginning.scene;
        let begun = Instant::now();
        scenario.write(scene, scale);
        let fill_seconds = begun.elapsed().as_secs_f64();
        let written: Vec<(String, String, String)> = scene.sql().query(shape.written(scene));
        let contents = written.into_iter().map(|(id, key, data)| (id, (key, data))).collect();
        Ok(Backlog { beginning, scenario, rows: usize::try_from(rows)?, contents, fill_seconds })
    }

    /// Where its records go.
    pub fn topic(&self) -> String {
        self.beginning.shape.topic(&self.beginning.scene)
    }

    pub fn description(&self) -> String {
        format!(
            "\n{}: {} rows, filled in {:.0} s",
            self.scenario.name(),
            grouped(self.rows as f64, 0),
            self.fill_seconds
        )
    }
}
