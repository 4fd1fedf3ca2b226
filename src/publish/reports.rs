//! What librdkafka reports of one producer, on its own thread: whether each record was acknowledged, why
//! brokers do not answer, and which topic may not be written to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientContext, Message};

use crate::kafka::{self, LastFailure};

/// The record was given up because of another one, or of the transaction.
pub(super) fn is_collateral(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::PurgeQueue
                | RDKafkaErrorCode::PurgeInflight
                | RDKafkaErrorCode::InvalidDifferentRecord
        )
    )
}

/// A record that was not acknowledged.
pub(super) struct Refused {
    pub index: usize,
    pub topic: String,
    pub error: KafkaError,
}

/// Counts the records of one transaction down as their reports come.
#[derive(Default)]
pub(super) struct Acknowledgements {
    missing: AtomicUsize,
    refused: Mutex<Option<Refused>>,
    all_here: Condvar,
}

impl Acknowledgements {
    pub fn expect(&self, records: usize) {
        self.missing.store(records, Ordering::Release);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, refused: Option<Refused>) {
        if let Some(refused) = refused {
            let mut kept = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            // The first one tells why; records that were given up because of it may be reported before it.
            if kept.as_ref().is_none_or(|kept| is_collateral(&kept.error)) {
                *kept = Some(refused);
            }
        }
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Under the lock, so that the waiter is either before its look or already asleep.
            let _guard = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            self.all_here.notify_one();
        }
    }

    /// librdkafka reports on every record, at the latest when its `message.timeout.ms` has passed.
    pub fn wait(&self) -> Result<(), Refused> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        while self.missing.load(Ordering::Acquire) > 0 {
            refused = self.all_here.wait(refused).unwrap_or_else(PoisonError::into_inner);
        }
        refused.take().map_or(Ok(()), Err)
    }
}

/// What librdkafka tells of one producer.
pub(super) struct LaneContext {
    acknowledgements: Arc<Acknowledgements>,
    cut_off: Arc<AtomicBool>,
    pub failure: LastFailure,
    /// The topic that the broker would not take into a transaction; only a log line names it.
    denied_topic: Mutex<Option<String>>,
}

impl LaneContext {
    pub fn of(acknowledgements: Arc<Acknowledgements>, cut_off: Arc<AtomicBool>) -> LaneContext {
        LaneContext {
            acknowledgements,
            cut_off,
            failure: LastFailure::default(),
            denied_topic: Mutex::default(),
        }
    }

    pub fn denied_topic(&self) -> Option<String> {
        self.denied_topic.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for LaneContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
        self.failure.note_log(facility, message);
        if let Some(topic) = denied_topic(facility, message) {
            *self.denied_topic.lock().unwrap_or_else(PoisonError::into_inner) = Some(topic);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.cut_off.store(true, Ordering::Relaxed);
        }
        kafka::log_error(&error, reason);
        self.failure.note(&error, reason);
    }
}

/// `… Failed to add partition "orders" [3] to transaction: Broker: Topic authorization failed`
fn denied_topic(facility: &str, message: &str) -> Option<String> {
    if facility != "ADDPARTS" || !message.contains("Topic authorization failed") {
        return None;
    }
    message.split('"').nth(1).map(str::to_owned)
}

impl ProducerContext for LaneContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, index: usize) {
        let refused = result.as_ref().err().map(|(error, record)| Refused {
            index,
            topic: record.topic().to_owned(),
            error: error.clone(),
        });
        self.acknowledgements.note(refused);
    }
}
