//! Topics that get more partitions while the relay runs: they are asked for beside the line, as often as librdkafka
//! asks for its own metadata.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::metadata;
use crate::batch::DestinationId;
use crate::sink::kafka::connection;
use crate::tasks;

/// Asks again and again how many partitions the topics have.
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

    /// The last answer, if one has come since; asks the next time when that is due. It never waits.
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
            // A panic there leaves the counts as they are.
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
            // The brokers may be away; they are asked again.
            tracing::debug!(%error, "count the partitions of the topics");
            Vec::new()
        }
    }
}

fn count(admin: &connection::Admin, name: &str) -> Result<u32, KafkaError> {
    // A topic that the broker does not show has no partitions: it has not grown.
    let partitions = metadata::fetch(admin, name)?.partitions;
    Ok(u32::try_from(partitions).unwrap_or(u32::MAX))
}
