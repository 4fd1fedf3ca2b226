//! Checks every requirement of both ends, also while the relay is running.
//!
//! A configuration enters, a [`Report`] leaves. A check writes nothing that anybody could see: it opens no dump,
//! produces no record, only validates the creation of topics, and uses a transactional id that no relay uses. A
//! requirement that cannot be asked, because an earlier one failed, has no line.

mod checkpoint;
mod destinations;
mod mysql;
mod report;
mod rows;

pub use self::report::Report;
use crate::config::Config;
use crate::outbox;
use crate::sink::kafka::check::Cluster;

/// Asks both ends at the same time, then the requirements that need both.
pub async fn check(config: &Config) -> Report {
    let (mut of_mysql, mut of_kafka) = (Report::default(), Report::default());
    let (mut server, (cluster, findings)) =
        tokio::join!(mysql::Fit::ask(config, &mut of_mysql), Cluster::ask(&config.kafka));
    of_kafka.take_all(findings);
    if let (Some(server), Some(cluster)) = (&mut server, &cluster) {
        server.ask_server_id(config, cluster.id(), &mut of_mysql).await;
        let letters = outbox::dead_letter_topics(&config.outbox);
        destinations::ask(cluster, server.samples(), &letters, &mut of_kafka).await;
    }
    let mut report = of_mysql;
    report.append(of_kafka);
    if cluster.is_some() {
        checkpoint::ask(config, server.as_mut(), &mut report).await;
    }
    report
}
