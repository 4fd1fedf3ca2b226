//! Further listeners of a broker, each behind what its clients go through: a link or a proxy. Clients learn of brokers
//! from brokers, so each listener says the address of what stands before it. Brokers reach each other without it.

use super::link::{Delay, Link};
use super::servers::lasting_ports;

/// A listener, and what stands before it.
pub struct Fronted {
    pub port: u16,
    /// What clients connect to.
    pub address: String,
}

impl Fronted {
    /// On a port of its own.
    pub fn by_link(delay: Delay) -> Fronted {
        let [port] = lasting_ports();
        let address = Link::to(&format!("127.0.0.1:{port}"), delay).address();
        Fronted { port, address }
    }

    pub fn by_proxy(port: u16, proxy: u16) -> Fronted {
        Fronted { port, address: format!("127.0.0.1:{proxy}") }
    }
}

/// What `servers/kafka` is told of a broker that has these listeners beside its plain one, which is on `port`.
pub fn properties_beside(port: u16, fronted: &[Fronted]) -> Vec<String> {
    let mut advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}");
    let mut protocols =
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    let mut properties = Vec::new();
    for (number, Fronted { port, address }) in fronted.iter().enumerate() {
        properties.push(format!("listeners+=FRONTED{number}://127.0.0.1:{port}"));
        advertised += &format!(",FRONTED{number}://{address}");
        protocols += &format!(",FRONTED{number}:PLAINTEXT");
    }
    properties.extend([advertised, protocols]);
    properties
}
