//! How the lanes of a relay are opened: a producer for each transactional id, which fences whoever had that id.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::lane_id;
use crate::batch::Limits;
use crate::publish::reports::{Acknowledgements, Bell, Context};
use crate::publish::{Error, Options, producer};
use crate::{kafka, panics};

/// Transactional ids `{name}-0` … of which recovery fences every one, whatever number is used: a relay of
/// another version, or in another mode, may use more or fewer.
const FENCED_LANES: usize = 4;

/// For so long, a coordinator that puts a new producer off is asked again at once, by the next one.
const QUICK_TIME: Duration = Duration::from_millis(200);

/// A checkpoint topic that somebody made has at most so many partitions, less one.
const TOMBSTONES_MAX: usize = 1_000;

/// What every lane of a relay is opened with.
pub(super) struct Opening<'a> {
    pub kafka: &'a kafka::Options,
    pub options: &'a Options,
    /// That of the checkpoint.
    pub topic: &'a str,
    pub limits: Limits,
    pub batch_bytes_max: Option<usize>,
    pub cut_off: Arc<AtomicBool>,
    /// Rings when any lane has something to serve.
    pub bell: Arc<Bell>,
}

impl Opening<'_> {
    /// All lanes of a relay. In parallel: each waits for connections of its own.
    pub fn lanes(&self, name: &str) -> Result<Vec<Lane>, Error> {
        std::thread::scope(|scope| {
            let open_lane = |index| move || self.lane(&lane_id(name, index));
            let opening: Vec<_> =
                (0..FENCED_LANES).map(|index| scope.spawn(open_lane(index))).collect();
            opening
                .into_iter()
                .map(|lane| {
                    lane.join().unwrap_or_else(|panic| Err(Error::Panicked(panics::words(&*panic))))
                })
                .collect()
        })
    }

    /// Where a predecessor left a transaction open, the broker aborts it and wants to be asked again. librdkafka
    /// does that after 500 ms, a new producer at once.
    pub fn lane(&self, transactional_id: &str) -> Result<Lane, Error> {
        let quick_until = Instant::now() + QUICK_TIME;
        loop {
            let lane = self.connect(transactional_id)?;
            if lane.initialise(transactional_id, quick_until)? {
                return Ok(lane);
            }
            kafka::end(lane);
        }
    }

    fn connect(&self, transactional_id: &str) -> Result<Lane, Error> {
        let Opening { kafka, options, topic, limits, batch_bytes_max, cut_off, bell } = self;
        let records_max = (limits.records_max + 1).max(TOMBSTONES_MAX);
        let mut config = producer::config(kafka, options, records_max, *batch_bytes_max)?;
        config
            .set("transactional.id", transactional_id)
            .set("max.in.flight.requests.per.connection", "5")
            .set("transaction.timeout.ms", options.transaction_timeout.as_millis().to_string());
        let acknowledgements = Arc::new(Acknowledgements::default());
        let context = Context::of(acknowledgements.clone(), cut_off.clone());
        let (bell, wake) = (bell.clone(), bell.clone());
        let client = producer::connect(&config, context, topic, move || wake.ring())?;
        let doing = "look up the checkpoint topic";
        let checkpoint_topic = client.topic(topic);
        let checkpoint_topic = checkpoint_topic.map_err(|source| Error::Kafka { doing, source })?;
        Ok(Lane {
            client: Arc::new(client),
            checkpoint_topic,
            topics: Vec::new(),
            acknowledgements,
            bell,
            transaction_timeout: options.transaction_timeout,
        })
    }
}
