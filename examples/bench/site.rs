//! The servers that all parts share, and how a relay is set up on them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::arguments::{Arguments, Tls};
use crate::harness::cluster::Cluster;
use crate::harness::kafka::create_compacted_topic;
use crate::harness::link::{Delay, Link};
use crate::harness::relay::RelaySetup;
use crate::harness::scene::{EVENTUATE_LOCAL, Scene};
use crate::harness::servers::{Kafka, MySql};
use crate::subject::Subject;
use crate::world::Layout;

/// A power cut is not what is measured, and the filling is quicker so; large transactions need the pool.
const MYSQL_ARGUMENTS: [&str; 4] = [
    "--sync-binlog=0",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=512M",
    "--innodb-redo-log-capacity=1G",
];

/// The topics of the run before are gone soon, so that the disk does not fill.
const KAFKA_PROPERTIES: [&str; 1] = ["log.segment.delete.delay.ms=1000"];
/// Three brokers have what one has otherwise.
const CLUSTER_PROPERTIES: [&str; 2] = [KAFKA_PROPERTIES[0], "jvm+=-Xmx512m"];

pub struct Site {
    pub mysql: Arc<MySql>,
    /// Without a link: so consumers and the benchmark itself reach the brokers.
    pub kafka: Arc<Kafka>,
    brokers: Brokers,
    /// The addresses behind each link.
    links: Vec<(Delay, String)>,
    /// As relays reach MySQL.
    mysql_address: String,
    pub tls: Tls,
}

enum Brokers {
    One,
    Three(Box<Cluster>),
}

pub fn start_mysql() -> Arc<MySql> {
    println!("starting MySQL …");
    Arc::new(MySql::start("mysql-8.0", &MYSQL_ARGUMENTS))
}

impl Site {
    /// Beside a MySQL that goes on from one site to the next.
    pub fn start(
        mysql: &Arc<MySql>,
        brokers: u32,
        delays: Vec<Delay>,
        arguments: &Arguments,
    ) -> Site {
        println!("starting {brokers} broker(s) …");
        let begun = Instant::now();
        let (kafka, brokers, addresses) = start_brokers(brokers, &delays);
        println!("Kafka answers after {:.1} s", begun.elapsed().as_secs_f64());
        let login = mysql.login();
        let mut mysql_address = format!("{}:{}", login.host, login.port);
        if !arguments.mysql_link.is_none() {
            mysql_address = Link::to(&mysql_address, arguments.mysql_link).address();
        }
        let links = delays.into_iter().zip(addresses).collect();
        Site { mysql: Arc::clone(mysql), kafka, brokers, links, mysql_address, tls: arguments.tls }
    }

    pub fn scene(&self, label: &str, layout: Layout) -> Scene {
        let mut scene = Scene::on(Arc::clone(&self.mysql), Arc::clone(&self.kafka), label);
        scene.partitions = layout.partitions;
        scene
    }

    /// What a client behind this link begins with.
    pub fn bootstrap(&self, link: Delay) -> Result<&str> {
        if link.is_none() {
            return Ok(self.kafka.bootstrap());
        }
        let found = self.links.iter().find(|(delay, _)| *delay == link);
        found.map(|(_, address)| address.as_str()).with_context(|| format!("there is no {link}"))
    }

    /// Of all brokers.
    pub fn broker_pids(&self) -> Vec<u32> {
        match &self.brokers {
            Brokers::One => vec![self.kafka.pid()],
            Brokers::Three(cluster) => (1..=3).map(|id| cluster.broker(id).pid()).collect(),
        }
    }

    /// A relay of the scene's events that never ran before: with a name and a checkpoint topic of its own, which
    /// is there already.
    pub fn fresh_relay(&self, scene: &Scene, subject: &Subject, link: Delay) -> Result<RelaySetup> {
        let mut setup = scene.relay_setup();
        setup.kafka_bootstrap = self.bootstrap(link)?.to_owned();
        setup.mysql_address.clone_from(&self.mysql_address);
        setup.name = format!("{}-{:08x}", scene.name, rand::random::<u32>());
        setup.checkpoint_topic = format!("checkpoints-{}", setup.name);
        create_compacted_topic(&self.kafka, &setup.checkpoint_topic, 1);
        setup.delivery = subject.delivery;
        setup.outboxes = vec![scene.outbox("events", EVENTUATE_LOCAL)];
        setup.http = Some("127.0.0.1:0".to_owned());
        setup.mysql_lines = vec!["[mysql.tls]".to_owned(), format!("mode = {:?}", self.tls.name())];
        setup.program = subject.program.clone();
        Ok(setup)
    }
}

/// With their addresses behind links.
fn start_brokers(brokers: u32, delays: &[Delay]) -> (Arc<Kafka>, Brokers, Vec<String>) {
    if brokers == 1 {
        let (kafka, addresses) = Kafka::start_beside_links(&KAFKA_PROPERTIES, delays);
        return (Arc::new(kafka), Brokers::One, addresses);
    }
    let cluster = Cluster::start_beside_links(&CLUSTER_PROPERTIES, delays);
    let addresses = (0..delays.len()).map(|number| cluster.linked(number).to_owned()).collect();
    (cluster.kafka(), Brokers::Three(Box::new(cluster)), addresses)
}
