//! In what something is measured: how many brokers there are, how many partitions a topic has, and how far the
//! brokers are from whatever is measured.

use std::fmt;

use harness::link::Delay;

/// The servers, and the topics on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    pub brokers: u32,
    pub partitions: i32,
    /// How far MySQL is from the relay.
    pub mysql: Delay,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brokers = if self.brokers == 1 { "broker" } else { "brokers" };
        write!(f, "{} {brokers}, {} partitions", self.brokers, self.partitions)?;
        if self.mysql.is_none() { Ok(()) } else { write!(f, ", MySQL {}", self.mysql) }
    }
}

/// With how far Kafka is, as a table's title.
pub fn title(layout: Layout, link: Delay) -> String {
    if link.is_none() { format!("{layout}, {link}") } else { format!("{layout}, Kafka {link}") }
}

/// The name of who is measured, with the link unless that is loopback.
pub fn behind(name: &str, link: Delay) -> String {
    if link.is_none() { name.to_owned() } else { format!("{name}, {link}") }
}

/// A number of brokers on a command line.
pub fn one_or_three(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("neither 1 nor 3".to_owned()),
    }
}
