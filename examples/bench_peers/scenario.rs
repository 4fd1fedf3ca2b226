//! The backlogs that are compared: those of the benchmark in Eventuate's table, and 300,000 transactions of one row
//! in two tables that people bring from Debezium. Which rows there are is here, what they look like in [`Shape`].

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::load::{self, NARROW};
use crate::shape::Shape;
use crate::shape::custom::{self, CUSTOM};
use crate::shape::eventuate::EVENTUATE;
use crate::shape::outbox::{self, OUTBOX};
use harness::scene::Scene;

/// A backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Of the benchmark.
    Events(load::Scenario),
    Outbox,
    Custom,
}

/// Without `other`, which has no rows to relay.
const ALL: [Scenario; 8] = [
    Scenario::Events(load::Scenario::Single),
    Scenario::Events(load::Scenario::Twenty),
    Scenario::Events(load::Scenario::Large),
    Scenario::Events(load::Scenario::LargeCompressed),
    Scenario::Events(load::Scenario::Wide),
    Scenario::Events(load::Scenario::Half),
    Scenario::Outbox,
    Scenario::Custom,
];

impl ValueEnum for Scenario {
    fn value_variants<'a>() -> &'a [Scenario] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Scenario::Events(scenario) => return scenario.to_possible_value(),
            Scenario::Outbox => "The same as single in Debezium's outbox table",
            Scenario::Custom => "The same in a table of ten columns, whose rows become JSON",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Events(scenario) => scenario.name(),
            Scenario::Outbox => "outbox",
            Scenario::Custom => "custom",
        }
    }

    pub fn shape(self) -> &'static dyn Shape {
        match self {
            Scenario::Events(_) => &EVENTUATE,
            Scenario::Outbox => &OUTBOX,
            Scenario::Custom => &CUSTOM,
        }
    }

    /// How many rows are to be relayed.
    pub fn rows(self, scale: f64) -> u64 {
        self.load().rows(scale)
    }

    /// Makes what the rows are written from. The shape's tables are there.
    pub fn prepare(self, scene: &Scene, scale: f64) {
        let insert = match self {
            Scenario::Events(scenario) => {
                return load::prepare(scenario, scene, scenario.units(scale));
            }
            Scenario::Outbox => outbox::insert(scene),
            Scenario::Custom => custom::insert(),
        };
        let mut sql = scene.sql();
        load::write_notes(&mut sql, NARROW);
        load::create_fill(&mut sql, &insert, 1);
    }

    /// Writes the rows.
    pub fn write(self, scene: &Scene, scale: f64) {
        load::write(self.load(), scene, scale);
    }

    /// How many rows there are, and how they are spread over transactions.
    fn load(self) -> load::Scenario {
        match self {
            Scenario::Events(scenario) => scenario,
            Scenario::Outbox | Scenario::Custom => load::Scenario::Single,
        }
    }
}
