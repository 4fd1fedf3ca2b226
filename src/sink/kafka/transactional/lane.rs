//! One transactional producer: a transaction from its beginning to its commit, and what its failures mean.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use crate::batch::DestinationId;
use crate::sink::kafka::client::{Client, Record, Topic};
use crate::sink::kafka::connection;
use crate::sink::kafka::reports::{Acknowledgements, Refused, Tag, Wakeup, is_collateral};
use crate::sink::kafka::{PublishError, SERVE_INTERVAL, producer};

/// Time between two looks whether the coordinator has put off a new producer.
const ANSWER_INTERVAL: Duration = Duration::from_millis(5);

/// Time between two questions whether librdkafka has given up a transaction whose records are not acknowledged. A
/// healthy transaction is acknowledged sooner.
const GIVEN_UP_INTERVAL: Duration = Duration::from_millis(100);

/// librdkafka checks once a second which records have expired.
const REPORT_MARGIN: Duration = Duration::from_secs(10);

/// What fails with a transaction that librdkafka has given up.
const ACKNOWLEDGING: &str = "have records acknowledged";

/// A partition as a client names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TopicPartition {
    /// `None`: the topic of the checkpoint.
    pub topic: Option<DestinationId>,
    pub partition: i32,
}

/// One transactional producer.
pub(super) struct Lane {
    pub client: Arc<Client<Acknowledgements>>,
    pub checkpoint_topic: Topic<Acknowledgements>,
    /// By their ids.
    pub topics: Vec<Topic<Acknowledgements>>,
    pub acknowledgements: Arc<Acknowledgements>,
    /// Woken when the client has something to serve.
    pub wakeup: Arc<Wakeup>,
    pub transaction_timeout: Duration,
    /// When librdkafka is asked next whether it has given up the transaction.
    pub ask_at: Cell<Instant>,
}

impl Lane {
    /// Fences a predecessor, and finishes or aborts its open transaction. Returns `false` if the coordinator put us off
    /// before `quick_until`. After that, librdkafka retries by itself.
    pub fn initialise(&self, id: &str, quick_until: Instant) -> Result<bool, PublishError> {
        let timeout = self.transaction_timeout;
        let initialised = self.client.serve_while(|producer| {
            while Instant::now() < quick_until {
                // When the call ends it has failed with the coordinator's last answer, if there was one.
                match producer.init_transactions(ANSWER_INTERVAL) {
                    Err(error) if is_silence(&error) => {}
                    Err(error) if may_be_asked_again(&error) => return Ok(false),
                    initialised => return initialised.map(|()| true),
                }
            }
            producer.init_transactions(timeout).map(|()| true)
        });
        initialised.map_err(|source| match source {
            _ if self.is_fenced(&source) => PublishError::Fenced,
            _ if may_be_asked_again(&source) => {
                PublishError::NoCoordinator { id: id.to_owned(), timeout, source }
            }
            _ => PublishError::Initialise { id: id.to_owned(), source },
        })
    }

    pub fn begin(&self, records: usize) -> Result<(), PublishError> {
        self.acknowledgements.expect(records);
        self.ask_at.set(Instant::now() + GIVEN_UP_INTERVAL);
        let begun = self.client.producer().begin_transaction();
        begun.map_err(|error| self.classify("begin a transaction", error))
    }

    /// Reads what librdkafka has to report.
    pub fn serve(&self) {
        self.client.serve();
    }

    pub fn learn_topic(&mut self, name: &str) -> Result<(), PublishError> {
        let doing = "look up a topic";
        let topic =
            self.client.topic(name).map_err(|source| PublishError::Kafka { doing, source })?;
        self.topics.push(topic);
        Ok(())
    }

    /// Makes librdkafka look up the partitions of this topic. It takes no record for a partition that it does not know.
    pub fn learn_partitions(&self, topic: DestinationId) {
        producer::learn_partitions(&self.client, &self.topics[topic.0 as usize].name);
    }

    /// Holds back the records for these partitions.
    pub fn hold(&self, partitions: &[TopicPartition]) -> Result<(), PublishError> {
        let held = self.client.hold(partitions.iter().map(|it| self.find(it)));
        held.map_err(|source| PublishError::Kafka { doing: "hold records back", source })
    }

    /// Sends the records that were held back for these partitions.
    pub fn release(&self, partitions: &[TopicPartition]) -> Result<(), PublishError> {
        let released = self.client.release(partitions.iter().map(|it| self.find(it)));
        released.map_err(|source| PublishError::Kafka { doing: "release records", source })
    }

    fn find(&self, it: &TopicPartition) -> (&Topic<Acknowledgements>, i32) {
        let topic = it.topic.map_or(&self.checkpoint_topic, |topic| &self.topics[topic.0 as usize]);
        (topic, it.partition)
    }

    /// Sends a record to the topic of this id.
    pub fn send(&self, topic: DestinationId, record: &Record<'_>) -> Result<(), PublishError> {
        self.send_to(&self.topics[topic.0 as usize], record)
    }

    pub fn send_checkpoint(&self, record: &Record<'_>) -> Result<(), PublishError> {
        self.send_to(&self.checkpoint_topic, record)
    }

    fn send_to(
        &self,
        topic: &Topic<Acknowledgements>,
        record: &Record<'_>,
    ) -> Result<(), PublishError> {
        topic.send(record).map_err(|source| match source.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let (index, topic) = (Tag::unpack(record.tag).index, topic.name.to_string());
                PublishError::Refused { index, sequence: None, topic, source }
            }
            _ => self.classify("send a record", source),
        })
    }

    /// Waits until the broker has acknowledged every record of the transaction, or refused one.
    pub fn await_acknowledged(&self) -> Result<(), PublishError> {
        let report_by = self.report_by();
        loop {
            self.client.serve();
            if self.is_acknowledged(report_by)? {
                return Ok(());
            }
            self.wakeup.wait(SERVE_INTERVAL);
        }
    }

    /// Time by which librdkafka has reported on every record that is sent now.
    pub fn report_by(&self) -> Instant {
        Instant::now() + self.transaction_timeout + REPORT_MARGIN
    }

    /// Whether the broker has acknowledged every record of the transaction. librdkafka reports on every record within
    /// the transaction's timeout. If it forgets one, do not wait for ever.
    ///
    /// # Errors
    /// The broker has refused one, librdkafka has given up the transaction, or there is no report by `report_by`.
    pub fn is_acknowledged(&self, report_by: Instant) -> Result<bool, PublishError> {
        if let Some(refused) = self.acknowledgements.refused() {
            return Err(self.classify_refused(refused));
        }
        if self.acknowledgements.are_all_here() {
            return Ok(true);
        }
        let now = Instant::now();
        if now >= self.ask_at.get() {
            self.ask_at.set(now + GIVEN_UP_INTERVAL);
            self.ensure_not_given_up()?;
        }
        if now > report_by {
            let records = self.acknowledgements.missing();
            return Err(PublishError::NoReport { records, timeout: self.transaction_timeout });
        }
        Ok(false)
    }

    /// After some errors librdkafka gives up the whole transaction. It drops the records that wait, but a record that was
    /// in flight gets no report before the transaction is aborted (`rd_kafka_txn_set_abortable_error0`,
    /// `rdkafka_txnmgr.c`). It tells the reason to whoever begins another transaction, which changes nothing. To ask by a
    /// commit would wait for those reports.
    ///
    /// # Errors
    /// It has.
    fn ensure_not_given_up(&self) -> Result<(), PublishError> {
        match self.client.producer().begin_transaction() {
            Err(KafkaError::Transaction(reason))
                if reason.txn_requires_abort() || reason.is_fatal() =>
            {
                Err(self.classify(ACKNOWLEDGING, KafkaError::Transaction(reason)))
            }
            // One is open, which is no news.
            _ => Ok(()),
        }
    }

    fn classify_refused(&self, refused: Refused) -> PublishError {
        if is_collateral(&refused.error) {
            return self
                .ensure_not_given_up()
                .err()
                .unwrap_or(PublishError::Kafka { doing: ACKNOWLEDGING, source: refused.error });
        }
        let Refused { topic, error, .. } = match producer::refusal(refused) {
            Ok(refusal) => {
                self.abort();
                return refusal;
            }
            Err(refused) => refused,
        };
        let is_timeout = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut);
        match self.classify("have a record acknowledged", error) {
            PublishError::Kafka { .. } if is_timeout => PublishError::NotAcknowledged {
                why: producer::why_not_acknowledged(&self.client, &topic),
                topic,
                timeout: self.transaction_timeout,
            },
            error => error,
        }
    }

    /// Aborts the transaction, so that readers of the partitions can go on at once. If this fails, the transaction's
    /// timeout does it later.
    pub fn abort(&self) {
        let abort =
            |producer: &BaseProducer<_>| producer.abort_transaction(connection::REQUEST_TIMEOUT);
        if let Err(error) = self.client.serve_while(abort) {
            tracing::debug!(%error, "abort a transaction");
        }
    }

    /// A commit that fails, or whose answer is lost, is never retried: recovery finds out its outcome.
    pub fn commit(&self) -> Result<(), PublishError> {
        let committed = self.client.producer().commit_transaction(self.transaction_timeout);
        committed.map_err(|error| self.classify_commit(error))
    }

    /// The coordinator answers UNKNOWN_SERVER_ERROR to a commit that comes while it fences the producer: the transition
    /// to PrepareEpochFence is pending, and the epoch is the old one for a moment more
    /// (`TransactionCoordinator.endTransaction`, `TransactionMetadata.prepareTransitionTo`).
    pub fn classify_commit(&self, error: KafkaError) -> PublishError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Unknown) => PublishError::Fenced,
            _ => self.classify("commit a transaction", error),
        }
    }

    /// Sorts out errors about the relay's identity or its rights.
    pub fn classify(&self, doing: &'static str, error: KafkaError) -> PublishError {
        if self.is_fenced(&error) {
            return PublishError::Fenced;
        }
        // A report that tells more may just have come.
        self.client.serve();
        let denied = self.client.producer().client().context().denied_topic();
        match (error.rdkafka_error_code(), denied) {
            (Some(RDKafkaErrorCode::TopicAuthorizationFailed), Some(topic)) => {
                self.abort();
                PublishError::Denied { topic, source: error }
            }
            _ => PublishError::Kafka { doing, source: error },
        }
    }

    /// A producer whose transaction timed out is fenced as well, since the broker has raised its epoch.
    fn is_fenced(&self, error: &KafkaError) -> bool {
        let fatal = self.client.producer().client().fatal_error();
        error.rdkafka_error_code().is_some_and(says_fenced)
            || fatal.is_some_and(|(code, _)| says_fenced(code))
    }
}

/// The error says that our transaction was ended for us: by a successor, or by the coordinator after the transaction's
/// timeout. A leader that verifies the transaction may answer INVALID_TXN_STATE before it knows the new epoch.
fn says_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::InvalidTransactionalState
    )
}

/// Nobody answered in time. Or the coordinator is being elected, or still ends the transaction of a predecessor.
fn may_be_asked_again(error: &KafkaError) -> bool {
    let is_put_off = matches!(error, KafkaError::Transaction(reason) if reason.is_retriable());
    is_put_off || is_silence(error)
}

fn is_silence(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_somebody_else_has_ended_says_that_we_were_fenced() {
        use RDKafkaErrorCode as Code;
        for code in [
            Code::Fenced,
            Code::ProducerFenced,
            Code::InvalidProducerEpoch,
            Code::InvalidTransactionalState,
        ] {
            assert!(says_fenced(code), "{code:?}");
        }
        for code in [Code::OutOfOrderSequenceNumber, Code::NotEnoughReplicas, Code::Unknown] {
            assert!(!says_fenced(code), "{code:?}");
        }
    }
}
