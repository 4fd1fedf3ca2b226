//! The servers that all parts share, and how a relay is set up on them.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::arguments::{Arguments, Tls};
use crate::harness::kafka::create_compacted_topic;
use crate::harness::relay::RelaySetup;
use crate::harness::scene::{EVENTUATE_LOCAL, Scene};
use crate::harness::servers::{Kafka, MySql};
use crate::subject::Subject;

/// A power cut is not what is measured, and the filling is quicker so; large transactions need the pool.
const MYSQL_ARGUMENTS: [&str; 4] = [
    "--sync-binlog=0",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=512M",
    "--innodb-redo-log-capacity=1G",
];

/// The topics of the run before are gone soon, so that the disk does not fill.
const KAFKA_PROPERTIES: [&str; 1] = ["log.segment.delete.delay.ms=1000"];

pub struct Site {
    pub mysql: Arc<MySql>,
    pub kafka: Arc<Kafka>,
    pub tls: Tls,
}

impl Site {
    pub fn start(arguments: &Arguments) -> Result<Site> {
        println!("starting MySQL and Kafka …");
        let begun = Instant::now();
        let mysql = thread::spawn(|| Arc::new(MySql::start("mysql-8.0", &MYSQL_ARGUMENTS)));
        let kafka = Arc::new(Kafka::start(&KAFKA_PROPERTIES));
        let mysql = mysql.join().map_err(|_| anyhow!("MySQL does not start"))?;
        println!("they answer after {:.1} s", begun.elapsed().as_secs_f64());
        Ok(Site { mysql, kafka, tls: arguments.tls })
    }

    pub fn scene(&self, label: &str) -> Scene {
        Scene::on(Arc::clone(&self.mysql), Arc::clone(&self.kafka), label)
    }

    /// A relay of the scene's events that never ran before: with a name and a checkpoint topic of its own, which
    /// is there already.
    pub fn fresh_relay(&self, scene: &Scene, subject: &Subject) -> RelaySetup {
        let mut setup = scene.relay_setup();
        setup.name = format!("{}-{:08x}", scene.name, rand::random::<u32>());
        setup.checkpoint_topic = format!("checkpoints-{}", setup.name);
        create_compacted_topic(&self.kafka, &setup.checkpoint_topic, 1);
        setup.delivery = subject.delivery;
        setup.outboxes = vec![scene.outbox("events", EVENTUATE_LOCAL)];
        setup.http = Some("127.0.0.1:0".to_owned());
        setup.mysql_lines = vec!["[mysql.tls]".to_owned(), format!("mode = {:?}", self.tls.name())];
        setup.program = subject.program.clone();
        setup
    }
}
