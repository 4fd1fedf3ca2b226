//! The Kafka half of `check`: one finding per requirement. It writes nothing that anybody could see.

use std::sync::Arc;

use super::topics::{self, Description, Topics};
use super::{Kafka, preflight, transactional};
use crate::finding::Finding;
use crate::sink::SinkError;

/// What was asked, by the name of the requirement, and what was found.
pub type Findings = Vec<(&'static str, Result<Finding, SinkError>)>;

/// Brokers that answer.
pub struct Cluster {
    kafka: Kafka,
    id: Arc<str>,
    topics: Topics,
}

impl Cluster {
    /// `None` if no broker answers.
    pub async fn ask(kafka: &Kafka) -> (Option<Cluster>, Findings) {
        let cluster = match kafka.reach().await {
            Ok((topics, id)) => Cluster { kafka: kafka.clone(), id, topics },
            Err(error) => return (None, vec![("kafka.connection", Err(error))]),
        };
        let mut findings = vec![
            ("kafka.connection", cluster.count_brokers().await),
            ("kafka.transactions", cluster.try_transactions().await),
        ];
        cluster.ask_checkpoint_topic(&mut findings).await;
        (Some(cluster), findings)
    }

    /// The cluster's own id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    async fn count_brokers(&self) -> Result<Finding, SinkError> {
        let count = self.topics.count_brokers(&self.kafka.checkpoint.topic).await;
        let count = count.map_err(|error| self.kafka.failed(error))?;
        let (brokers, id) = (&self.kafka.connection.bootstrap_servers, &self.id);
        let brokers_up = if count == 1 { "broker" } else { "brokers" };
        Ok(Finding::Holds(format!("{brokers} answers: cluster {id}, {count} {brokers_up}")))
    }

    /// Tries an id that no relay uses. Trying the relay's own ids would fence it.
    async fn try_transactions(&self) -> Result<Finding, SinkError> {
        let opening = self.kafka.opening();
        let tried = self.kafka.blocking(move || transactional::try_transactions(&opening));
        let timeout = self.kafka.publish.transaction_timeout;
        let id = tried.await?;
        Ok(Finding::Holds(format!(
            "transactions of up to {timeout:?} are allowed for the transactional id {id} (the relay's own are \
             not touched)"
        )))
    }

    async fn ask_checkpoint_topic(&self, findings: &mut Findings) {
        let topic = self.kafka.checkpoint.topic.as_str();
        let described = self.topics.describe(topic).await;
        let description = match described.map_err(|error| self.kafka.failed(error)) {
            Ok(Some(description)) => description,
            Ok(None) => {
                let creatable = self.topics.ensure_checkpoint_topic_creatable(topic).await;
                findings.push(("kafka.checkpoint_topic", self.will_be_created(topic, creatable)));
                return;
            }
            Err(error) => {
                findings.push(("kafka.checkpoint_topic", Err(error)));
                return;
            }
        };
        let policy = preflight::weigh_cleanup_policy(topic, &description);
        let replicas = preflight::weigh_replicas(topic, &description);
        let needed = &topics::CHECKPOINT_OPERATIONS;
        let rights = preflight::ensure_authorized(&self.topics, topic, needed).await;
        findings.extend([
            ("kafka.checkpoint_topic", Ok(exists(topic, &description))),
            ("kafka.checkpoint_policy", Ok(policy)),
            ("kafka.checkpoint_replicas", Ok(replicas)),
            ("kafka.checkpoint_rights", rights.map_err(|error| self.kafka.failed(error))),
        ]);
    }

    /// A topic that records go to.
    pub async fn ask_destination(&self, topic: &str) -> Findings {
        self.look_at_destination(topic).await.0
    }

    /// The same of a topic of dead letters.
    pub async fn ask_dead_letters(&self, topic: &str) -> Findings {
        let (mut findings, description) = self.look_at_destination(topic).await;
        if let Some(description) = description {
            let retention = preflight::weigh_letter_retention(topic, &description);
            findings.push(("kafka.dead_letter_retention", Ok(retention)));
        }
        findings
    }

    async fn look_at_destination(&self, topic: &str) -> (Findings, Option<Description>) {
        let described = self.topics.describe(topic).await;
        let description = match described.map_err(|error| self.kafka.failed(error)) {
            Ok(Some(description)) => description,
            Ok(None) => {
                let creatable = self.topics.ensure_creatable(topic).await;
                return (vec![("kafka.topic", self.will_be_created(topic, creatable))], None);
            }
            Err(error) => return (vec![("kafka.topic", Err(error))], None),
        };
        let needed = topics::destination_operations(self.kafka.publish.delivery);
        let rights = preflight::ensure_authorized(&self.topics, topic, needed).await;
        let findings = vec![
            ("kafka.topic", Ok(exists(topic, &description))),
            ("kafka.topic_replicas", Ok(preflight::weigh_replicas(topic, &description))),
            ("kafka.topic_record_size", Ok(preflight::weigh_record_size(topic, &description))),
            ("kafka.topic_rights", rights.map_err(|error| self.kafka.failed(error))),
        ];
        (findings, Some(description))
    }

    fn will_be_created(
        &self,
        topic: &str,
        creatable: Result<(), topics::Error>,
    ) -> Result<Finding, SinkError> {
        creatable.map_err(|error| self.kafka.failed(error))?;
        Ok(Finding::Holds(format!("{topic} is not there, and will be created when it is needed")))
    }
}

fn exists(topic: &str, description: &Description) -> Finding {
    Finding::Holds(match description.partitions {
        1 => format!("{topic} has 1 partition"),
        count => format!("{topic} has {count} partitions"),
    })
}
