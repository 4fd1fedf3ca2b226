//! The servers that all runs share.

use std::sync::Arc;

use anyhow::Result;

use crate::brokers::Brokers;
use harness::link::Delay;
use harness::scene::Scene;
use harness::servers::MySql;

/// A power cut is not what is measured, and the filling is quicker so.
const MYSQL_ARGUMENTS: [&str; 3] =
    ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=512M"];

pub struct Site {
    pub mysql: Arc<MySql>,
    brokers: Brokers,
    partitions: i32,
}

pub fn start_mysql() -> Arc<MySql> {
    println!("starting MySQL …");
    Arc::new(MySql::start("mysql-8.0", &MYSQL_ARGUMENTS))
}

impl Site {
    /// Beside a MySQL that goes on from one site to the next.
    pub fn start(mysql: &Arc<MySql>, brokers: u32, links: &[Delay], partitions: i32) -> Site {
        println!("starting {brokers} broker(s) …");
        Site { mysql: Arc::clone(mysql), brokers: Brokers::start(brokers, links), partitions }
    }

    pub fn scene(&self, label: &str) -> Scene {
        let (mysql, kafka) = (Arc::clone(&self.mysql), Arc::clone(&self.brokers.kafka));
        let mut scene = Scene::on(mysql, kafka, label);
        scene.partitions = self.partitions;
        scene
    }

    /// What a peer behind this link begins with.
    pub fn bootstrap(&self, link: Delay) -> Result<&str> {
        self.brokers.bootstrap(link)
    }

    pub fn broker_pids(&self) -> Vec<u32> {
        self.brokers.pids()
    }
}
