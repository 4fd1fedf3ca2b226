//! The servers that all parts share, and how a relay is set up on them.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use crate::arguments::{Arguments, Tls};
use crate::brokers::Brokers;
use crate::subject::Subject;
use crate::world::Layout;
use harness::kafka::create_compacted_topic;
use harness::link::{Delay, Link};
use harness::relay::RelaySetup;
use harness::scene::{EVENTUATE_LOCAL, Scene};
use harness::servers::MySql;

/// A power cut is not what is measured, and the filling is quicker so; large transactions need the pool.
const MYSQL_ARGUMENTS: [&str; 4] = [
    "--sync-binlog=0",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=512M",
    "--innodb-redo-log-capacity=1G",
];

pub struct Site {
    pub mysql: Arc<MySql>,
    pub brokers: Brokers,
    /// As relays reach MySQL.
    mysql_address: String,
    pub tls: Tls,
}

pub fn start_mysql() -> Arc<MySql> {
    println!("starting MySQL …");
    Arc::new(MySql::start("mysql-8.0", &MYSQL_ARGUMENTS))
}

impl Site {
    /// Beside a MySQL that goes on from one site to the next.
    pub fn start(mysql: &Arc<MySql>, brokers: u32, links: &[Delay], arguments: &Arguments) -> Site {
        println!("starting {brokers} broker(s) …");
        let begun = Instant::now();
        let brokers = Brokers::start(brokers, links);
        println!("Kafka answers after {:.1} s", begun.elapsed().as_secs_f64());
        let (mysql, tls) = (Arc::clone(mysql), arguments.tls);
        let mut site = Site { mysql, brokers, mysql_address: String::new(), tls };
        site.put_mysql_behind(Delay::NONE);
        site
    }

    /// Relays that are set up from now on reach MySQL through this link.
    pub fn put_mysql_behind(&mut self, link: Delay) {
        let login = self.mysql.login();
        let address = format!("{}:{}", login.host, login.port);
        self.mysql_address =
            if link.is_none() { address } else { Link::to(&address, link).address() };
    }

    pub fn scene(&self, label: &str, layout: Layout) -> Scene {
        let (mysql, kafka) = (Arc::clone(&self.mysql), Arc::clone(&self.brokers.kafka));
        let mut scene = Scene::on(mysql, kafka, label);
        scene.partitions = layout.partitions;
        scene
    }

    pub fn broker_pids(&self) -> Vec<u32> {
        self.brokers.pids()
    }

    /// A relay of the scene's events that never ran before: with a name and a checkpoint topic of its own, which
    /// is there already.
    pub fn fresh_relay(&self, scene: &Scene, subject: &Subject, link: Delay) -> Result<RelaySetup> {
        let mut setup = scene.relay_setup();
        setup.kafka_bootstrap = self.brokers.bootstrap(link)?.to_owned();
        setup.mysql_address.clone_from(&self.mysql_address);
        setup.name = format!("{}-{:08x}", scene.name, rand::random::<u32>());
        setup.checkpoint_topic = format!("checkpoints-{}", setup.name);
        create_compacted_topic(&self.brokers.kafka, &setup.checkpoint_topic, 1);
        setup.delivery = subject.delivery;
        setup.outboxes = vec![scene.outbox("events", EVENTUATE_LOCAL)];
        setup.http = Some("127.0.0.1:0".to_owned());
        setup.mysql_lines = vec!["[mysql.tls]".to_owned(), format!("mode = {:?}", self.tls.name())];
        setup.program = subject.program.clone();
        Ok(setup)
    }
}
