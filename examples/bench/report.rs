//! What a part found, for the terminal and for docs/benchmarks.md: a table of figures, and beside each target of
//! the project what was measured.

use std::fmt;

use crate::numbers::Spread;
use crate::table::Table;
use harness::link::Delay;

/// One table of figures, and the targets that it decides.
pub struct Section {
    pub world: World,
    pub title: String,
    pub table: Table,
    pub targets: Vec<Target>,
}

/// Where the brokers are from what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    Loopback,
    Link,
}

/// A figure that is aimed at.
pub struct Target {
    what: String,
    aim: String,
    measured: String,
    is_met: Option<bool>,
}

impl World {
    pub fn of(link: Delay) -> World {
        if link.is_none() { World::Loopback } else { World::Link }
    }
}

impl Target {
    pub fn at_most(what: impl Into<String>, aim: f64, measured: Option<Spread>) -> Target {
        let is_met = measured.map(|measured| measured.median <= aim);
        Target::new(what.into(), format!("≤ {aim}"), measured, is_met)
    }

    pub fn at_least(what: impl Into<String>, aim: f64, measured: Option<Spread>) -> Target {
        let is_met = measured.map(|measured| measured.median >= aim);
        Target::new(what.into(), format!("≥ {aim}"), measured, is_met)
    }

    fn new(what: String, aim: String, measured: Option<Spread>, is_met: Option<bool>) -> Target {
        Target { what, aim, measured: Spread::shown(measured), is_met }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "**{}**\n\n{}", self.title, self.table)
    }
}

/// The targets of all sections; `None` where none decides any.
pub fn targets<'a>(sections: impl IntoIterator<Item = &'a Section>) -> Option<Table> {
    let mut table = Table::with_header(["target", "aim", "measured", ""]);
    let mut targets = sections.into_iter().flat_map(|section| &section.targets).peekable();
    targets.peek()?;
    for target in targets {
        let met = match target.is_met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        table.push([&target.what, &target.aim, &target.measured, met]);
    }
    Some(table)
}
