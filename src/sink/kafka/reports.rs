//! librdkafka's reports about one producer, for the thread that serves it: whether each record was acknowledged, why
//! brokers do not answer, and which topic must not be written to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientContext, Message};

use super::partitions::PartitionId;
use crate::sink::kafka::connection::{self, Early, LastFailure};

/// Whether the record failed only because of another one, or because of the transaction.
pub(super) fn is_collateral(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::PurgeQueue
                | RDKafkaErrorCode::PurgeInflight
                | RDKafkaErrorCode::InvalidDifferentRecord
                | RDKafkaErrorCode::Fatal
        )
    )
}

/// A record that was not acknowledged.
pub(super) struct Refused {
    /// Index of the record in its batch.
    pub index: usize,
    /// Slot of its batch, if several are in flight.
    pub slot: usize,
    pub topic: String,
    pub error: KafkaError,
}

/// The refusal that tells the reason. Other records fail because of it, and may be reported before it.
#[derive(Default)]
pub(super) struct FirstRefused(Mutex<Option<Refused>>);

impl FirstRefused {
    pub fn note(&self, refused: Refused) {
        let mut kept = self.lock();
        if kept.as_ref().is_none_or(|kept| is_collateral(&kept.error)) {
            *kept = Some(refused);
        }
    }

    pub fn take(&self) -> Option<Refused> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the reports on a producer's records. Called on the thread that serves it.
pub(super) trait Reports: Send + Sync + 'static {
    /// `tag`: the one that the record was sent with. `record`: as it is in Kafka.
    fn note_acknowledged(&self, tag: usize, record: &BorrowedMessage<'_>);

    fn note_refused(&self, tag: usize, topic: &str, error: &KafkaError);
}

/// The tag of a record: its index in its batch, and its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub index: usize,
    pub partition: PartitionId,
}

impl Tag {
    const INDEX_BITS: u32 = 32;

    pub fn pack(self) -> usize {
        (self.partition.0 as usize) << Tag::INDEX_BITS | self.index
    }

    pub fn unpack(tag: usize) -> Tag {
        let partition = u32::try_from(tag >> Tag::INDEX_BITS).expect("32 bits are left");
        Tag { index: tag & u32::MAX as usize, partition: PartitionId(partition) }
    }
}

/// Counts down the records of one transaction as their reports come.
#[derive(Default)]
pub(super) struct Acknowledgements {
    missing: AtomicUsize,
    refused: FirstRefused,
    /// Partition and offset of the last acknowledged record of a complete transaction.
    last: Mutex<Option<(i32, i64)>>,
    /// Partitions of the records that were acknowledged since the last call that took them.
    acknowledged: Mutex<Vec<PartitionId>>,
}

impl Acknowledgements {
    pub fn expect(&self, records: usize) {
        self.missing.store(records, Ordering::Release);
        self.refused.take();
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Position of the last acknowledged record: the only one, if one was sent.
    pub fn last(&self) -> Option<(i32, i64)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the partition of each record that was acknowledged since the last call.
    pub fn take_acknowledged(&self, into: &mut Vec<PartitionId>) {
        into.append(&mut self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn count_down(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
    }

    /// Number of records without a report.
    pub fn missing(&self) -> usize {
        self.missing.load(Ordering::Acquire)
    }

    /// Whether every record has its report. librdkafka reports on each, at the latest after `message.timeout.ms`.
    pub fn are_all_here(&self) -> bool {
        self.missing() == 0
    }

    /// The record that was refused, if one was.
    pub fn refused(&self) -> Option<Refused> {
        self.refused.take()
    }
}

impl Reports for Acknowledgements {
    fn note_acknowledged(&self, tag: usize, record: &BorrowedMessage<'_>) {
        let partition = Tag::unpack(tag).partition;
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(partition);
        // Note it before counting down: the thread that waits for the count reads it.
        if self.missing.load(Ordering::Acquire) == 1 {
            let position = Some((record.partition(), record.offset()));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = position;
        }
        self.count_down();
    }

    fn note_refused(&self, tag: usize, topic: &str, error: &KafkaError) {
        self.refused.note(Refused {
            index: Tag::unpack(tag).index,
            slot: 0,
            topic: topic.to_owned(),
            error: error.clone(),
        });
        self.count_down();
    }
}

/// The context of one producer: takes what librdkafka reports.
pub(super) struct Context<R> {
    reports: Arc<R>,
    cut_off: Arc<AtomicBool>,
    early: Early,
    pub failure: LastFailure,
    /// The topic that the broker refused to add to a transaction. Only a log line names it.
    denied_topic: Mutex<Option<String>>,
}

impl<R> Context<R> {
    pub fn of(reports: Arc<R>, cut_off: Arc<AtomicBool>) -> Context<R> {
        Context {
            reports,
            cut_off,
            early: Early::not(),
            failure: LastFailure::default(),
            denied_topic: Mutex::default(),
        }
    }

    /// For a client that connects before it is needed.
    pub fn early(self, early: Early) -> Context<R> {
        Context { early, ..self }
    }

    /// Nobody needs this client any more, which is still connecting.
    pub fn is_unwanted(&self) -> bool {
        self.early.is_unwanted()
    }

    pub fn denied_topic(&self) -> Option<String> {
        self.denied_topic.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<R: Reports> ClientContext for Context<R> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(connection::token::generate(config)?)
    }

    /// The statistics of `statistics.interval.ms`, which nobody reads.
    fn stats_raw(&self, _: &[u8]) {}

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if self.early.is_quiet() {
            connection::log(RDKafkaLogLevel::Debug, facility, message)
        } else {
            connection::log(level, facility, message)
        }
        self.failure.note_log(facility, message);
        if let Some(topic) = denied_topic(facility, message) {
            *self.denied_topic.lock().unwrap_or_else(PoisonError::into_inner) = Some(topic);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.cut_off.store(true, Ordering::Relaxed);
        }
        if !self.early.is_quiet() {
            connection::log_error(&error, reason);
        }
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

impl<R: Reports> ProducerContext for Context<R> {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, tag: usize) {
        match result {
            Ok(record) => self.reports.note_acknowledged(tag, record),
            Err((error, record)) => self.reports.note_refused(tag, record.topic(), error),
        }
    }
}

/// Wakes a thread that waits until there is something to serve.
#[derive(Default)]
pub(super) struct Wakeup {
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Wakeup {
    pub fn wake(&self) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_one();
    }

    /// Waits until it was woken since the last call, up to `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let is_woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.woken.wait_timeout_while(is_woken, timeout, |is_woken| !*is_woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
