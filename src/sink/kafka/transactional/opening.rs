//! Opens the lanes of a relay: one producer for each transactional id, which fences the previous owner of that id.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::{Transactional, lane_id, used_lanes};
use crate::batch::Limits;
use crate::checkpoint::CheckpointOptions;
use crate::sink::Ended;
use crate::sink::kafka::connection::{self, Early, KafkaOptions};
use crate::sink::kafka::reports::{Acknowledgements, Context, Wakeup};
use crate::sink::kafka::{PublishError, PublishOptions, producer};
use crate::tasks::in_this_span;

/// Number of transactional ids, `{name}-0` and up. Recovery fences all of them, whatever number is used: a relay of
/// another version, or in another delivery, may use more or fewer.
const FENCED_LANES: usize = 4;

/// Most producers that retry at once after the coordinator has put off the previous one …
const QUICK_PRODUCERS_MAX: usize = 3;
/// … within this time. After that, librdkafka retries by itself.
const QUICK_TIME: Duration = Duration::from_secs(1);

/// A checkpoint topic that somebody else created has fewer partitions than this.
const TOMBSTONES_MAX: usize = 1_000;

/// What it takes to open the lanes of a relay.
pub struct Opening {
    kafka: KafkaOptions,
    options: PublishOptions,
    checkpoint: CheckpointOptions,
    limits: Limits,
    /// `batch.size` of the producers; `None`: as the configuration says.
    pub batch_bytes_max: Option<usize>,
    /// Turns true when no broker answers.
    pub cut_off: Arc<AtomicBool>,
    pub early: Early,
    /// Woken when any lane has something to serve.
    wakeup: Arc<Wakeup>,
}

/// The lanes of a relay, connected. Nobody is fenced yet.
pub struct Connected {
    lanes: Vec<ConnectedLane>,
    opening: Opening,
}

struct ConnectedLane {
    id: String,
    lane: Lane,
    /// A spare producer, for the case that the coordinator puts off the first one.
    spare: Option<Lane>,
}

impl Connected {
    /// Makes the producers of all transactional ids, and connects them.
    ///
    /// # Errors
    /// Kafka cannot be reached, or nobody wants the producers any more.
    pub fn connect(opening: Opening) -> Result<Connected, PublishError> {
        let lanes = opening.connect_all(&opening.options.name)?;
        Ok(Connected { lanes, opening })
    }

    /// Initialises all transactional ids. This finishes or aborts a predecessor's open transactions, and the
    /// predecessor can write nothing more.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the ids.
    pub fn fence(self) -> Result<Transactional, PublishError> {
        let Connected { lanes, opening } = self;
        // Producers made from now on are needed at once.
        let opening = Opening { early: Early::not(), ..opening };
        let mut lanes = opening.initialise_all(lanes)?;
        let Opening { options, checkpoint, cut_off, wakeup, .. } = opening;
        connection::end(lanes.split_off(used_lanes(options.delivery)));
        Ok(Transactional {
            lanes,
            next_lane: 0,
            options,
            checkpoint,
            checkpoint_partition: None,
            cut_off,
            wakeup,
        })
    }
}

impl Opening {
    /// For producers that are made when they are needed, with the configured batches.
    pub fn new(
        kafka: &KafkaOptions,
        options: &PublishOptions,
        checkpoint: &CheckpointOptions,
        limits: Limits,
    ) -> Opening {
        Opening {
            kafka: kafka.clone(),
            options: options.clone(),
            checkpoint: checkpoint.clone(),
            limits,
            batch_bytes_max: None,
            cut_off: Arc::default(),
            early: Early::not(),
            wakeup: Arc::default(),
        }
    }

    /// The name of the relay.
    pub(super) fn name(&self) -> &str {
        &self.options.name
    }

    /// All lanes of a relay, which fence the previous owners of their ids.
    pub(super) fn lanes(&self, name: &str) -> Result<Vec<Lane>, PublishError> {
        self.initialise_all(self.connect_all(name)?)
    }

    /// In parallel, since each waits for connections of its own.
    fn connect_all(&self, name: &str) -> Result<Vec<ConnectedLane>, PublishError> {
        let ids: Vec<String> = (0..FENCED_LANES).map(|index| lane_id(name, index)).collect();
        // Only a lane that is used can have an open transaction.
        let spares = &ids[..used_lanes(self.options.delivery)];
        let mut lanes = in_parallel(ids.iter().chain(spares), |id| self.connect(id))?;
        let mut spares = lanes.split_off(FENCED_LANES).into_iter();
        let connected = |(id, lane)| ConnectedLane { id, lane, spare: spares.next() };
        Ok(ids.into_iter().zip(lanes).map(connected).collect())
    }

    fn initialise_all(&self, lanes: Vec<ConnectedLane>) -> Result<Vec<Lane>, PublishError> {
        in_parallel(lanes, |ConnectedLane { id, lane, spare }| self.initialise(&id, lane, spare))
    }

    pub(super) fn lane(&self, transactional_id: &str) -> Result<Lane, PublishError> {
        self.initialise(transactional_id, self.connect(transactional_id)?, None)
    }

    /// If a predecessor left a transaction open, the broker aborts it and answers CONCURRENT_TRANSACTIONS. librdkafka
    /// would retry after 500 ms; a new producer retries at once.
    fn initialise(
        &self,
        transactional_id: &str,
        mut lane: Lane,
        mut spare: Option<Lane>,
    ) -> Result<Lane, PublishError> {
        let quick_until = Instant::now() + QUICK_TIME;
        for _ in 1..QUICK_PRODUCERS_MAX {
            if lane.initialise(transactional_id, quick_until)? {
                if let Some(spare) = spare {
                    connection::end(spare);
                }
                return Ok(lane);
            }
            let next = spare.take().map_or_else(|| self.connect(transactional_id), Ok)?;
            connection::end(std::mem::replace(&mut lane, next));
        }
        lane.initialise(transactional_id, Instant::now())?;
        Ok(lane)
    }

    fn connect(&self, transactional_id: &str) -> Result<Lane, PublishError> {
        let Opening { kafka, options, limits, batch_bytes_max, cut_off, early, wakeup, .. } = self;
        let topic = self.checkpoint.topic.as_str();
        let records_max = (limits.records_max + 1).max(TOMBSTONES_MAX);
        let mut config = producer::config(kafka, options, records_max, *batch_bytes_max)?;
        config
            .set("transactional.id", transactional_id)
            .set("max.in.flight.requests.per.connection", "5")
            .set("transaction.timeout.ms", options.transaction_timeout.as_millis().to_string());
        let acknowledgements = Arc::new(Acknowledgements::default());
        let context = Context::of(acknowledgements.clone(), cut_off.clone()).early(early.clone());
        let (wakeup, wake) = (wakeup.clone(), wakeup.clone());
        let (client, _) = producer::connect(&config, context, topic, move || wake.wake())?;
        let doing = "look up the checkpoint topic";
        let checkpoint_topic = client.topic(topic);
        let checkpoint_topic =
            checkpoint_topic.map_err(|source| PublishError::Kafka { doing, source })?;
        Ok(Lane {
            client: Arc::new(client),
            checkpoint_topic,
            topics: Vec::new(),
            acknowledgements,
            wakeup,
            transaction_timeout: options.transaction_timeout,
            ask_at: Cell::new(Instant::now()),
        })
    }
}

/// Does the same work for each item, each on a thread of its own.
fn in_parallel<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> Result<T, PublishError> + Sync,
) -> Result<Vec<T>, PublishError> {
    let work = &work;
    std::thread::scope(|scope| {
        let working: Vec<_> =
            items.into_iter().map(|item| scope.spawn(in_this_span(move || work(item)))).collect();
        let done = working
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| Err(Ended::by(&*panic).into())));
        done.collect()
    })
}
