//! The servers that all runs share.

use std::sync::Arc;
use std::thread;

use anyhow::{Result, anyhow};

use crate::harness::scene::Scene;
use crate::harness::servers::{Kafka, MySql};

/// A power cut is not what is measured, and the filling is quicker so.
const MYSQL_ARGUMENTS: [&str; 3] =
    ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=512M"];

/// The topics of the run before are gone soon, so that the disk does not fill.
const KAFKA_PROPERTIES: [&str; 1] = ["log.segment.delete.delay.ms=1000"];

pub struct Site {
    pub mysql: Arc<MySql>,
    pub kafka: Arc<Kafka>,
}

impl Site {
    pub fn start() -> Result<Site> {
        println!("starting MySQL and Kafka …");
        let mysql = thread::spawn(|| Arc::new(MySql::start("mysql-8.0", &MYSQL_ARGUMENTS)));
        let kafka = Arc::new(Kafka::start(&KAFKA_PROPERTIES));
        let mysql = mysql.join().map_err(|_| anyhow!("MySQL does not start"))?;
        Ok(Site { mysql, kafka })
    }

    pub fn scene(&self, label: &str) -> Scene {
        Scene::on(Arc::clone(&self.mysql), Arc::clone(&self.kafka), label)
    }

    pub fn broker_pids(&self) -> Vec<u32> {
        vec![self.kafka.pid()]
    }
}
