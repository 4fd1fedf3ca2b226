//! What librdkafka reports of one producer, to the thread that serves it: whether each record was acknowledged,
//! why brokers do not answer, and which topic may not be written to.

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

/// The record was given up because of another one, or of the transaction.
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
    /// In its batch.
    pub index: usize,
    /// Of its batch, where several are on their way.
    pub slot: usize,
    pub topic: String,
    pub error: KafkaError,
}

/// The refusal that tells why; others are of records that were given up because of it, and may be reported
/// before it.
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

/// Who counts the reports of a producer's records. Called on the thread that serves it.
pub(super) trait Reports: Send + Sync + 'static {
    /// `tag`: what the record was sent with; `record`: as it is in Kafka.
    fn note_acknowledged(&self, tag: usize, record: &BorrowedMessage<'_>);

    fn note_refused(&self, tag: usize, topic: &str, error: &KafkaError);
}

/// What the report on a record says of it: its index in its batch, and its partition.
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

/// Counts the records of one transaction down as their reports come.
#[derive(Default)]
pub(super) struct Acknowledgements {
    missing: AtomicUsize,
    refused: FirstRefused,
    /// Partition and offset of the record that was acknowledged last, of a transaction that is complete.
    last: Mutex<Option<(i32, i64)>>,
    /// The partitions of the records that were acknowledged since somebody took them.
    acknowledged: Mutex<Vec<PartitionId>>,
}

impl Acknowledgements {
    pub fn expect(&self, records: usize) {
        self.missing.store(records, Ordering::Release);
        self.refused.take();
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Where the record is that was acknowledged last: the only one, where one was sent.
    pub fn last(&self) -> Option<(i32, i64)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the partitions of the records that were acknowledged since the last time, one for each record.
    pub fn take_acknowledged(&self, into: &mut Vec<PartitionId>) {
        into.append(&mut self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn count_down(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many records have no report yet.
    pub fn missing(&self) -> usize {
        self.missing.load(Ordering::Acquire)
    }

    /// Every report is here. librdkafka reports on every record, at the latest when its `message.timeout.ms` has
    /// passed.
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
        // Noted before it counts: who waits for the count reads it.
        if self.missing.load(Ordering::Acquire) == 1 {
            let place = Some((record.partition(), record.offset()));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = place;
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

/// What librdkafka tells of one producer.
pub(super) struct Context<R> {
    reports: Arc<R>,
    cut_off: Arc<AtomicBool>,
    early: Early,
    pub failure: LastFailure,
    /// The topic that the broker would not take into a transaction; only a log line names it.
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

    /// The client may connect before it is needed.
    pub fn early(self, early: Early) -> Context<R> {
        Context { early, ..self }
    }

    /// Nobody needs the client any more that is just made.
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

    /// What `statistics.interval.ms` asks for; nobody reads it.
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
