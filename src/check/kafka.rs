//! The Kafka half of a check.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::mysql::{SAMPLE_ROWS_MAX, Sample};
use super::report::Report;
use crate::config::Config;
use crate::ends;
use crate::envelope;
use crate::error::Error;
use crate::preflight::Finding;
use crate::preflight::kafka as preflight;
use crate::publish::transactional;
use crate::topics::{self, Description, Topics};

/// Brokers that answer.
pub(super) struct Cluster {
    id: Arc<str>,
    topics: Topics,
}

impl Cluster {
    /// `None` when there is nobody to ask more.
    pub(super) async fn ask(config: &Config, report: &mut Report) -> Option<Cluster> {
        let cluster = match ends::connect_kafka(config).await {
            Ok((topics, id)) => Cluster { id, topics },
            Err(error) => {
                report.fail("kafka.connection", &error);
                return None;
            }
        };
        let topic = &config.checkpoint.topic;
        let count = cluster.topics.count_brokers(topic).await;
        let (brokers, id) = (&config.kafka.bootstrap_servers, &cluster.id);
        let answers = |count| {
            let brokers_up = if count == 1 { "broker" } else { "brokers" };
            Finding::Holds(format!("{brokers} answers: cluster {id}, {count} {brokers_up}"))
        };
        report.take("kafka.connection", count.map(answers).map_err(failed(config)));
        report.take("kafka.transactions", try_transactions(config).await);
        cluster.ask_checkpoint_topic(config, report).await;
        Some(cluster)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    async fn ask_checkpoint_topic(&self, config: &Config, report: &mut Report) {
        let topic = config.checkpoint.topic.as_str();
        let description = match self.topics.describe(topic).await {
            Ok(Some(description)) => description,
            Ok(None) => {
                let creatable = self.topics.ensure_checkpoint_topic_creatable(topic).await;
                let found = creatable.map(|()| will_be_created(topic)).map_err(failed(config));
                report.take("kafka.checkpoint_topic", found);
                return;
            }
            Err(error) => {
                report.fail("kafka.checkpoint_topic", &failed(config)(error));
                return;
            }
        };
        report.holds("kafka.checkpoint_topic", exists(topic, &description));
        let policy = preflight::weigh_cleanup_policy(topic, &description);
        report.take("kafka.checkpoint_policy", Ok(policy));
        let replicas = preflight::weigh_replicas(topic, &description);
        report.take("kafka.checkpoint_replicas", Ok(replicas));
        let needed = &topics::CHECKPOINT_OPERATIONS;
        let rights = preflight::ensure_authorized(&self.topics, topic, needed).await;
        report.take("kafka.checkpoint_rights", rights.map_err(failed(config)));
    }

    /// The topics that the last rows of the tables name; all others are known when their rows come.
    pub(super) async fn ask_destinations(
        &self,
        config: &Config,
        samples: &[Sample],
        report: &mut Report,
    ) {
        let mut topics = BTreeSet::new();
        for Sample { table, preset, values } in samples {
            for value in values {
                match envelope::topic_of(*preset, value) {
                    Ok(topic) => drop(topics.insert(topic)),
                    Err(problem) => {
                        let column = envelope::topic_column(*preset);
                        let finding = Finding::Doubtful {
                            detail: format!("a row of {table} cannot be a record: column {column}: {problem}"),
                            cure: "correct the writer; such a row halts the relay, unless it was passed long ago"
                                .to_owned(),
                        };
                        report.take("kafka.topic", Ok(finding));
                    }
                }
            }
        }
        let count = topics.len();
        for topic in topics {
            self.ask_destination(config, &topic, report).await;
        }
        let (are, topics) = if count == 1 { ("is", "topic") } else { ("are", "topics") };
        report.holds(
            "kafka.topics",
            format!(
                "{count} {topics} {are} named by the last {SAMPLE_ROWS_MAX} rows of each table; others are looked \
                 up when their rows come"
            ),
        );
    }

    async fn ask_destination(&self, config: &Config, topic: &str, report: &mut Report) {
        let description = match self.topics.describe(topic).await {
            Ok(Some(description)) => description,
            Ok(None) => {
                let creatable = self.topics.ensure_creatable(topic).await;
                let found = creatable.map(|()| will_be_created(topic)).map_err(failed(config));
                report.take("kafka.topic", found);
                return;
            }
            Err(error) => {
                report.fail("kafka.topic", &failed(config)(error));
                return;
            }
        };
        report.holds("kafka.topic", exists(topic, &description));
        let replicas = preflight::weigh_replicas(topic, &description);
        report.take("kafka.topic_replicas", Ok(replicas));
        let size = preflight::weigh_record_size(topic, &description);
        report.take("kafka.topic_record_size", Ok(size));
        let needed = topics::destination_operations(config.publish.delivery);
        let rights = preflight::ensure_authorized(&self.topics, topic, needed).await;
        report.take("kafka.topic_rights", rights.map_err(failed(config)));
    }
}

/// The ids that the relay itself uses cannot be tried: that would fence it.
async fn try_transactions(config: &Config) -> Result<Finding, Error> {
    let opening = ends::opening(config);
    let tried = ends::blocking(move || transactional::try_transactions(&opening));
    let timeout = config.publish.transaction_timeout;
    let finding = |id| {
        Finding::Holds(format!(
            "transactions of up to {timeout:?} are allowed for the transactional id {id} (the relay's own are \
             not touched)"
        ))
    };
    tried.await?.map(finding).map_err(|source| ends::publish_error(config, source))
}

fn exists(topic: &str, description: &Description) -> String {
    match description.partitions {
        1 => format!("{topic} has 1 partition"),
        count => format!("{topic} has {count} partitions"),
    }
}

fn will_be_created(topic: &str) -> Finding {
    Finding::Holds(format!("{topic} is not there, and will be created when it is needed"))
}

fn failed(config: &Config) -> impl Fn(topics::Error) -> Error + Copy {
    move |source| ends::topics_error(config, source)
}
