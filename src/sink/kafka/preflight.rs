//! The requirements on Kafka topics, and warnings about them.

use super::connection::Operation;
use super::topics::{self, Description, Topics};
use crate::finding::Finding;

/// # Errors
/// The first operation that is not allowed; Kafka cannot be asked.
pub async fn ensure_authorized(
    topics: &Topics,
    topic: &str,
    needed: &[Operation],
) -> Result<Finding, topics::Error> {
    let Some(_) = topics.ensure_authorized(topic, needed).await? else {
        return Ok(Finding::Holds(format!("the brokers do not say who may do what to {topic}")));
    };
    let names: Vec<_> = needed.iter().map(|operation| operation.as_str()).collect();
    Ok(Finding::Holds(format!("{topic} allows {}", names.join(", "))))
}

/// Old checkpoints may be deleted, the last one must not.
#[must_use]
pub fn weigh_cleanup_policy(topic: &str, description: &Description) -> Finding {
    match description.cleanup_policy.as_deref() {
        Some("compact") => Finding::Holds(format!("{topic} has cleanup.policy=compact")),
        Some(policy) => Finding::doubtful(
            format!("{topic} has cleanup.policy={policy}: {}", topics::RETENTION),
            topics::RETENTION_CURE,
        ),
        None => Finding::doubtful(
            format!("{}; unless {topic} is compacted, {}", topics::NO_CONFIG, topics::RETENTION),
            "grant the relay's principal DescribeConfigs on the topic, or look yourself",
        ),
    }
}

/// If a topic's `min.insync.replicas` is above its number of replicas, brokers before KIP-966 refuse all records. Later
/// brokers require no more replicas than there are.
#[must_use]
pub fn weigh_replicas(topic: &str, description: &Description) -> Finding {
    let replicas = description.replicas;
    let min_insync = match description.min_insync_replicas {
        Some(min_insync) => format!(", min.insync.replicas={min_insync}"),
        None => String::new(),
    };
    let has = match replicas {
        0 | 1 => format!("{topic} has 1 replica{min_insync}"),
        _ => format!("{topic} has {replicas} replicas{min_insync}"),
    };
    if description.min_insync_replicas.is_some_and(|min_insync| min_insync > replicas) {
        return Finding::doubtful(
            format!("{has}: older brokers take no record for it, and the relay waits"),
            "lower min.insync.replicas of the topic, or give it more replicas \
             (kafka-reassign-partitions.sh)",
        );
    }
    match replicas {
        0 | 1 => Finding::doubtful(
            format!("{has}: what it holds is lost with its broker"),
            "give it more replicas (kafka-reassign-partitions.sh), 3 with min.insync.replicas=2 where \
             there are three brokers",
        ),
        _ => Finding::Holds(has),
    }
}

/// A larger record halts the relay, with the row's name.
#[must_use]
pub fn weigh_record_size(topic: &str, description: &Description) -> Finding {
    match description.batch_bytes_max {
        Some(bytes) => {
            Finding::Holds(format!("{topic} takes records of {bytes} bytes (max.message.bytes)"))
        }
        None => Finding::doubtful(
            format!("{topic}: {}: {}", topics::NO_CONFIG, topics::NO_CONFIG_EFFECT),
            "grant the relay's principal DescribeConfigs on the topic",
        ),
    }
}

/// A dead letter is wanted until somebody has published it again.
#[must_use]
pub fn weigh_letter_retention(topic: &str, description: &Description) -> Finding {
    let is_compacted =
        description.cleanup_policy.as_ref().is_some_and(|policy| policy.contains("compact"));
    if is_compacted {
        return Finding::doubtful(
            format!("{topic} is compacted: a later dead letter of a key replaces the one before"),
            "set cleanup.policy=delete on the topic",
        );
    }
    match description.retention_millis {
        Some(millis @ 0..) => Finding::doubtful(
            format!("{topic} deletes dead letters after {millis} ms (retention.ms)"),
            "set retention.ms=-1 on the topic, or publish what is mended again sooner",
        ),
        Some(_) => Finding::Holds(format!("{topic} keeps dead letters (retention.ms)")),
        None => Finding::doubtful(
            format!("{topic}: {}: how long it keeps dead letters is not known", topics::NO_CONFIG),
            "grant the relay's principal DescribeConfigs on the topic",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(replicas: usize, min_insync_replicas: Option<usize>) -> Description {
        Description {
            partitions: 1,
            replicas,
            batch_bytes_max: None,
            cleanup_policy: None,
            retention_millis: None,
            min_insync_replicas,
        }
    }

    #[test]
    fn a_topic_that_asks_for_more_replicas_than_it_has_is_doubtful() {
        for (replicas, min_insync, words) in [
            (1, Some(2), Some("1 replica, min.insync.replicas=2: older brokers take no record")),
            (2, Some(3), Some("2 replicas, min.insync.replicas=3: older brokers take no record")),
            (1, Some(1), Some("1 replica, min.insync.replicas=1: what it holds is lost")),
            (2, Some(2), None),
            (2, None, None),
        ] {
            match (weigh_replicas("a", &description(replicas, min_insync)), words) {
                (Finding::Holds(_), None) => {}
                (Finding::Doubtful { detail, .. }, Some(words)) => {
                    assert!(detail.contains(words), "{detail}");
                }
                (finding, words) => panic!("{finding:?}, but expected {words:?}"),
            }
        }
    }
}
