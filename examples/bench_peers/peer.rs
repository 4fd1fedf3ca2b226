//! Who is compared, and each as a process that can be started at the beginning of a backlog and stopped.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::beginning::Beginning;
use crate::debezium::{self, Debezium, Guarantee};
use crate::world::behind;
use harness::consumer::Isolation;
use harness::kafka::create_compacted_topic;
use harness::link::Delay;
use harness::relay::{Relay, RelaySetup};
use harness::scene::Delivery;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    #[value(name = "exactly-once")]
    RelayExactlyOnce,
    #[value(name = "idempotent")]
    RelayIdempotent,
    #[value(name = "debezium")]
    DebeziumAtLeastOnce,
    DebeziumExactlyOnce,
}

/// A peer, and how far it is from Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub peer: Peer,
    pub link: Delay,
}

impl Placed {
    pub fn name(self) -> String {
        behind(self.peer.name(), self.link)
    }
}

/// A peer that has all it needs to be started.
pub enum Ready {
    Relay(Box<RelaySetup>),
    Debezium(debezium::Ready),
}

pub enum Running {
    Relay(Relay),
    Debezium(Debezium),
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::RelayExactlyOnce => "relay, exactly-once",
            Peer::RelayIdempotent => "relay, idempotent",
            Peer::DebeziumAtLeastOnce => "Debezium, at least once",
            Peer::DebeziumExactlyOnce => "Debezium, exactly once",
        }
    }

    pub fn debezium(self) -> Option<Guarantee> {
        match self {
            Peer::RelayExactlyOnce | Peer::RelayIdempotent => None,
            Peer::DebeziumAtLeastOnce => Some(Guarantee::AtLeastOnce),
            Peer::DebeziumExactlyOnce => Some(Guarantee::ExactlyOnce),
        }
    }

    /// Whose median latency a relay aims at.
    pub fn rival(self) -> Option<Peer> {
        match self {
            Peer::RelayExactlyOnce => Some(Peer::DebeziumExactlyOnce),
            Peer::RelayIdempotent => Some(Peer::DebeziumAtLeastOnce),
            Peer::DebeziumAtLeastOnce | Peer::DebeziumExactlyOnce => None,
        }
    }

    /// What its consumers read with; a record counts when such a consumer can have it.
    pub fn isolation(self) -> Isolation {
        match self {
            Peer::RelayExactlyOnce | Peer::DebeziumExactlyOnce => Isolation::ReadCommitted,
            Peer::RelayIdempotent | Peer::DebeziumAtLeastOnce => Isolation::ReadUncommitted,
        }
    }

    /// Ready to be started at the beginning, with the brokers that it finds by `bootstrap`.
    pub fn prepare(self, beginning: &Beginning, bootstrap: &str) -> Ready {
        let stopped = |guarantee| {
            let stopped = beginning.stopped(guarantee);
            Ready::Debezium(stopped.restore(&beginning.scene, bootstrap))
        };
        let relay = |delivery| Ready::Relay(Box::new(relay_setup(beginning, delivery, bootstrap)));
        match self {
            Peer::RelayExactlyOnce => relay(Delivery::ExactlyOnce),
            Peer::RelayIdempotent => relay(Delivery::Idempotent),
            Peer::DebeziumAtLeastOnce => stopped(Guarantee::AtLeastOnce),
            Peer::DebeziumExactlyOnce => stopped(Guarantee::ExactlyOnce),
        }
    }
}

/// A relay of a name that never ran before. Its checkpoint topic is there, as Debezium's are.
fn relay_setup(beginning: &Beginning, delivery: Delivery, bootstrap: &str) -> RelaySetup {
    let scene = &beginning.scene;
    let mut setup = scene.relay_setup();
    setup.name = format!("{}-{:08x}", scene.name, rand::random::<u32>());
    setup.checkpoint_topic = format!("checkpoints-{}", setup.name);
    create_compacted_topic(&scene.kafka, &setup.checkpoint_topic, 1);
    setup.kafka_bootstrap = bootstrap.to_owned();
    setup.delivery = delivery;
    setup.start_from = Some(beginning.coordinates.to_string());
    setup.outboxes = vec![beginning.shape.relay_outbox(scene)];
    // As Debezium's connection: what TLS takes is not what is compared.
    setup.mysql_lines = vec!["[mysql.tls]".to_owned(), "mode = \"disabled\"".to_owned()];
    setup
}

impl Ready {
    pub fn start(&self) -> Running {
        match self {
            Ready::Relay(setup) => Running::Relay(setup.start()),
            Ready::Debezium(ready) => Running::Debezium(ready.start()),
        }
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        match self {
            Running::Relay(relay) => relay.pid(),
            Running::Debezium(debezium) => debezium.pid(),
        }
    }

    pub fn has_ended(&mut self) -> bool {
        match self {
            Running::Relay(relay) => relay.has_ended(),
            Running::Debezium(debezium) => debezium.has_ended(),
        }
    }

    pub fn log_tail(&self) -> String {
        match self {
            Running::Relay(relay) => relay.log_tail(),
            Running::Debezium(debezium) => debezium.log_tail(),
        }
    }

    /// As a service manager would.
    pub fn stop(&mut self) -> Result<()> {
        match self {
            Running::Relay(relay) => {
                let code = relay.stop();
                ensure!(code == 0, "the relay's exit code is {code}\n{}", relay.log_tail());
            }
            Running::Debezium(debezium) => debezium.stop(),
        }
        Ok(())
    }
}
