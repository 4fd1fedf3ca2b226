//! One broker or three, each reached on loopback and behind links. Consumers and the benchmark itself are on loopback;
//! behind a link is only what is measured. Brokers have none between each other.

use std::sync::Arc;

use anyhow::{Context, Result};

use harness::cluster::Cluster;
use harness::link::Delay;
use harness::servers::Kafka;

/// The topics of the run before are gone soon, so that the disk does not fill.
const PROPERTIES: [&str; 1] = ["log.segment.delete.delay.ms=1000"];
/// The memory and the compiler that one broker has otherwise: tests want a quick start.
const PROPERTIES_OF_THREE: [&str; 3] =
    [PROPERTIES[0], "jvm+=-Xmx512m", "jvm+=-XX:TieredStopAtLevel=4"];

pub struct Brokers {
    /// On loopback.
    pub kafka: Arc<Kafka>,
    /// The addresses behind each link.
    links: Vec<(Delay, String)>,
    three: Option<Cluster>,
}

impl Brokers {
    /// One or three, with these links.
    pub fn start(count: u32, links: &[Delay]) -> Brokers {
        let mut delays = links.to_vec();
        delays.retain(|delay| !delay.is_none());
        let linked = |addresses: Vec<String>| delays.iter().copied().zip(addresses).collect();
        if count == 1 {
            let (kafka, addresses) = Kafka::start_beside_links(&PROPERTIES, &delays);
            return Brokers { kafka: Arc::new(kafka), links: linked(addresses), three: None };
        }
        let cluster = Cluster::start_beside_links(&PROPERTIES_OF_THREE, &delays);
        let addresses = (0..delays.len()).map(|number| cluster.linked(number).to_owned()).collect();
        Brokers { kafka: cluster.kafka(), links: linked(addresses), three: Some(cluster) }
    }

    /// What a client behind this link begins with.
    pub fn bootstrap(&self, link: Delay) -> Result<&str> {
        if link.is_none() {
            return Ok(self.kafka.bootstrap());
        }
        let found = self.links.iter().find(|(delay, _)| *delay == link);
        found.map(|(_, address)| address.as_str()).with_context(|| format!("there is no {link}"))
    }

    pub fn pids(&self) -> Vec<u32> {
        match &self.three {
            None => vec![self.kafka.pid()],
            Some(cluster) => (1..=3).map(|id| cluster.broker(id).pid()).collect(),
        }
    }
}
