//! What is measured in which world. `make bench` measures one list, which takes about 40 minutes; on the command line
//! something else can be asked for.

use std::time::Duration;

use crate::arguments::Part;
use crate::load::Scenario;
use crate::world::Layout;
use harness::link::Delay;

/// One part in one layout.
#[derive(Debug, Clone)]
pub struct Plan {
    pub part: Part,
    pub layout: Layout,
    /// The shortest first.
    pub links: Vec<Delay>,
    /// Latency: rows a second, ascending.
    pub rates: Vec<u32>,
    /// Latency: whether a producer without a relay is measured, too.
    pub with_producer: bool,
    /// Drain.
    pub scenarios: Vec<Scenario>,
    /// Rounds; starts and take-overs of each kind.
    pub times: u32,
}

/// One line of the list.
struct Line {
    part: Part,
    brokers: u32,
    partitions: i32,
    one_way_micros: &'static [u64],
    mysql_one_way_micros: u64,
    rates: &'static [u32],
    with_producer: bool,
    scenarios: &'static [Scenario],
    times: u32,
}

/// What most lines have.
const LINE: Line = Line {
    part: Part::Latency,
    brokers: 1,
    partitions: 12,
    one_way_micros: &[0],
    mysql_one_way_micros: 0,
    rates: &[500],
    with_producer: false,
    scenarios: &[],
    times: 1,
};

/// Of another availability zone, or of a region that waits for three replicas.
const NEAR_AND_FAR: &[u64] = &[0, 2_500];

/// The first line of each part is the one that targets are about; the others say how the figures change with the
/// delay, the partitions and the brokers.
const MATRIX: [Line; 15] = [
    Line {
        part: Part::Drain,
        scenarios: &[Scenario::Single, Scenario::Twenty],
        one_way_micros: NEAR_AND_FAR,
        times: 3,
        ..LINE
    },
    Line {
        part: Part::Drain,
        scenarios: &[
            Scenario::Large,
            Scenario::LargeCompressed,
            Scenario::Wide,
            Scenario::Half,
            Scenario::Other,
        ],
        times: 2,
        ..LINE
    },
    Line {
        one_way_micros: NEAR_AND_FAR,
        rates: &[100, 500, 2_000, 10_000],
        with_producer: true,
        times: 3,
        ..LINE
    },
    Line { one_way_micros: &[1_000, 10_000], ..LINE },
    Line { one_way_micros: NEAR_AND_FAR, partitions: 100, ..LINE },
    Line { part: Part::Start, one_way_micros: &[0, 2_500, 10_000], times: 10, ..LINE },
    Line {
        part: Part::Start,
        one_way_micros: &[2_500],
        mysql_one_way_micros: 2_500,
        times: 8,
        ..LINE
    },
    Line { part: Part::TakeOver, one_way_micros: &[0, 2_500, 10_000], times: 6, ..LINE },
    Line { part: Part::Idle, ..LINE },
    Line { part: Part::Size, ..LINE },
    Line {
        part: Part::Drain,
        brokers: 3,
        scenarios: &[Scenario::Single],
        one_way_micros: NEAR_AND_FAR,
        times: 2,
        ..LINE
    },
    Line { brokers: 3, one_way_micros: NEAR_AND_FAR, rates: &[500, 2_000], times: 2, ..LINE },
    Line { brokers: 3, partitions: 100, one_way_micros: &[2_500], ..LINE },
    Line { part: Part::Start, brokers: 3, one_way_micros: &[2_500], times: 8, ..LINE },
    Line { part: Part::TakeOver, brokers: 3, one_way_micros: &[2_500], times: 6, ..LINE },
];

/// The list.
pub fn all() -> Vec<Plan> {
    MATRIX.iter().map(Line::plan).collect()
}

impl Line {
    fn plan(&self) -> Plan {
        let delay = |micros: u64| Delay::of(Duration::from_micros(micros));
        Plan {
            part: self.part,
            layout: Layout {
                brokers: self.brokers,
                partitions: self.partitions,
                mysql: delay(self.mysql_one_way_micros),
            },
            links: self.one_way_micros.iter().copied().map(delay).collect(),
            rates: self.rates.to_vec(),
            with_producer: self.with_producer,
            scenarios: self.scenarios.to_vec(),
            times: self.times,
        }
    }
}
