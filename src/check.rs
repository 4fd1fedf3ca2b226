//! Every requirement of both ends, asked one by one, beside a relay that may be running.
//!
//! A configuration enters, a [`Report`] leaves. Nothing that anybody could see is written: no dump is
//! opened, no record is produced, topics are created on trial only, and the transactional id is one that no
//! relay uses. What cannot be asked because of what failed before it has no line.

mod destinations;
mod mysql;
mod place;
mod report;

pub use self::report::Report;
use crate::config::Config;
use crate::sink::kafka::check::Cluster;

/// Asks both ends at once, then what needs both.
pub async fn check(config: &Config) -> Report {
    let (mut of_mysql, mut of_kafka) = (Report::default(), Report::default());
    let (mut server, (cluster, findings)) =
        tokio::join!(mysql::Fit::ask(config, &mut of_mysql), Cluster::ask(&config.kafka));
    of_kafka.take_all(findings);
    if let (Some(server), Some(cluster)) = (&mut server, &cluster) {
        server.ask_server_id(config, cluster.id(), &mut of_mysql).await;
        destinations::ask(cluster, server.samples(), &mut of_kafka).await;
    }
    let mut report = of_mysql;
    report.append(of_kafka);
    if cluster.is_some() {
        place::ask(config, server.as_mut(), &mut report).await;
    }
    report
}
