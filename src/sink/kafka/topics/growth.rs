//! Notices topics that get more partitions while the relay runs. It asks in the background, as often as librdkafka
//! refreshes its own metadata.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::metadata;
use crate::batch::DestinationId;
use crate::sink::kafka::connection;
use crate::tasks;

/// Asks periodically for the number of partitions of the topics.
pub(super) struct Growth {
    /// `None`: never.
    interval: Option<Duration>,
    ask_at: Option<Instant>,
    asked: Option<JoinHandle<Vec<(DestinationId, u32)>>>,
}

impl Growth {
    pub fn new(interval: Option<Duration>) -> Growth {
        Growth { interval, ask_at: None, asked: None }
    }

    /// Returns the answer, if one has come since the last call. Asks again when that is due. Never waits.
    pub async fn poll(
        &mut self,
        admin: &Arc<connection::Admin>,
        topics: impl Iterator<Item = (DestinationId, Arc<str>)>,
    ) -> Vec<(DestinationId, u32)> {
        let Some(interval) = self.interval else { return Vec::new() };
        let now = Instant::now();
        let ask_at = *self.ask_at.get_or_insert(now + interval);
        if self.asked.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(asked) = self.asked.take()
        {
            // After a panic there, the counts stay as they are.
            return asked.await.unwrap_or_default();
        }
        if self.asked.is_none() && ask_at <= now {
            self.ask_at = Some(now + interval);
            let (admin, topics) = (Arc::clone(admin), topics.collect::<Vec<_>>());
            self.asked = Some(tasks::spawn_blocking(move || count_all(&admin, topics)));
        }
        Vec::new()
    }
}

fn count_all(
    admin: &connection::Admin,
    topics: Vec<(DestinationId, Arc<str>)>,
) -> Vec<(DestinationId, u32)> {
    let counted = topics.into_iter().map(|(id, name)| Ok((id, count(admin, &name)?)));
    match counted.collect::<Result<Vec<_>, KafkaError>>() {
        Ok(counts) => counts,
        Err(error) => {
            // The brokers may be away. Ask again later.
            tracing::debug!(%error, "count the partitions of the topics");
            Vec::new()
        }
    }
}

fn count(admin: &connection::Admin, name: &str) -> Result<u32, KafkaError> {
    // A topic that the broker does not show counts as one without partitions, so it has not grown.
    let partitions = metadata::fetch(admin, name)?.partitions;
    Ok(u32::try_from(partitions).unwrap_or(u32::MAX))
}
