//! The dead letters in Kafka: reads them, and publishes again what was mended.
//!
//! A letter that was published again has a marker beside it in its topic, written in the same transaction. So it is
//! published again once, whoever tries, and whenever that one dies.

use std::collections::HashSet;
use std::sync::Arc;

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Message, Timestamp};

use super::connection::create;
use super::partitions::partition_for;
use super::reader::{self, Reader};
use super::reports::{Acknowledgements, Context};
use super::sequence::SEQUENCE_HEADER;
use super::topics::Topics;
use super::{Error, Kafka, PublishError, producer};
use crate::batch::RecordRef;
use crate::sink::SinkError;

/// Header of a record that was published again, and of the marker beside the letter. The marker's value is the
/// `relay-sequence` of the letter.
pub const REPLAYED_HEADER: &str = "dead-letter-replayed";

/// Role of the topic, in error messages.
const KIND: &str = "topic of dead letters";

/// Last part of the transactional id.
const ID: &str = "dead-letter";

/// Most records of one transaction.
const RECORDS_MAX: usize = 2;
/// The tags of both.
const RECORD: usize = 0;
const MARKER: usize = 1;

type Connected = (ThreadedProducer<Context<Acknowledgements>>, Arc<Acknowledgements>);

/// A dead letter as it is stored.
#[derive(Debug, Clone)]
pub struct StoredLetter {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, where the broker tells.
    pub timestamp: Option<i64>,
    /// Its `relay-sequence`.
    pub sequence: String,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// It was published again.
    pub is_replayed: bool,
}

impl StoredLetter {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(is, _)| is == name)?;
        str::from_utf8(&found.1).ok()
    }
}

/// A record that takes the place of a letter.
pub struct Mended<'a> {
    pub letter: &'a StoredLetter,
    pub topic: &'a str,
    /// As the envelope wrote it.
    pub record: RecordRef<'a>,
}

impl Kafka {
    /// All dead letters of a topic, partition by partition; none where there is no topic.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub async fn dead_letters(&self, topic: &str) -> Result<Vec<StoredLetter>, SinkError> {
        let (connection, name) = (self.connection.clone(), self.publish.name.clone());
        let topic = topic.to_owned();
        let read = move || {
            let reader = Reader::new(&connection, &name, KIND, &topic).map_err(Error::Sent)?;
            read(&reader, &topic).map_err(Error::Sent)
        };
        self.blocking(read).await
    }

    /// A producer that publishes letters again. It fences another one of the same relay.
    ///
    /// # Errors
    /// Kafka cannot be reached, or refuses the transactional id.
    pub async fn replayer(&self) -> Result<Replayer, SinkError> {
        let (topics, _) = self.reach().await?;
        let kafka = self.clone();
        let (producer, reports) = self.blocking(move || kafka.connect_replayer()).await?;
        Ok(Replayer { kafka: self.clone(), topics, producer, reports })
    }

    fn connect_replayer(&self) -> Result<Connected, PublishError> {
        let id = format!("{}-{ID}", self.publish.name);
        let timeout = self.publish.transaction_timeout;
        let mut config = producer::config(&self.connection, &self.publish, RECORDS_MAX, None)?;
        config
            .set("transactional.id", &id)
            .set("transaction.timeout.ms", timeout.as_millis().to_string());
        let reports = Arc::new(Acknowledgements::default());
        let context = Context::of(reports.clone(), Arc::default());
        let producer: ThreadedProducer<Context<Acknowledgements>> = create(&config, context)?;
        let initialised = producer.init_transactions(timeout);
        initialised.map_err(|source| PublishError::Initialise { id, source })?;
        Ok((producer, reports))
    }
}

fn read(reader: &Reader, topic: &str) -> Result<Vec<StoredLetter>, reader::Error> {
    let extents = match reader.settled_extents() {
        Err(reader::Error::NoTopic { .. }) => return Ok(Vec::new()),
        extents => extents?,
    };
    let (mut letters, mut replayed) = (Vec::new(), HashSet::new());
    for (partition, extent) in extents {
        reader.read_part(partition, extent, |record| {
            let headers = owned_headers(record);
            let text = |name: &str| {
                let found = headers.iter().find(|(is, _)| is == name)?;
                String::from_utf8(found.1.clone()).ok()
            };
            if let Some(sequence) = text(SEQUENCE_HEADER) {
                letters.push(StoredLetter {
                    topic: topic.to_owned(),
                    partition,
                    offset: record.offset(),
                    timestamp: match record.timestamp() {
                        Timestamp::NotAvailable => None,
                        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => {
                            Some(millis)
                        }
                    },
                    sequence,
                    key: record.key().map(<[u8]>::to_vec),
                    value: record.payload().unwrap_or_default().to_vec(),
                    is_replayed: false,
                    headers,
                });
            } else if let Some(sequence) = text(REPLAYED_HEADER) {
                replayed.insert(sequence);
            }
        })?;
    }
    for letter in &mut letters {
        letter.is_replayed = replayed.contains(&letter.sequence);
    }
    Ok(letters)
}

fn owned_headers(record: &BorrowedMessage<'_>) -> Vec<(String, Vec<u8>)> {
    let all = record.headers().into_iter().flat_map(|headers| headers.iter());
    all.map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec())).collect()
}

/// Publishes letters again.
pub struct Replayer {
    kafka: Kafka,
    topics: Topics,
    producer: ThreadedProducer<Context<Acknowledgements>>,
    reports: Arc<Acknowledgements>,
}

impl Replayer {
    /// Publishes a record, with the marker that its letter was published again: both or none.
    ///
    /// # Errors
    /// There is no such topic, the brokers refuse the record, or Kafka cannot be reached.
    pub async fn publish(&mut self, mended: &Mended<'_>) -> Result<(), SinkError> {
        let id = match self.topics.find(mended.topic) {
            Some(id) => id,
            None => {
                let ensured = self.topics.ensure(mended.topic).await;
                ensured.map_err(|error| self.kafka.failed(error))?
            }
        };
        let partitions = self.topics.topic(id).partitions;
        let record = mended.record;
        let partition = partition_for(record.key, record.partition, partitions);
        let sequence = mended.letter.sequence.as_bytes();
        let mut headers =
            OwnedHeaders::new().insert(Header { key: SEQUENCE_HEADER, value: Some(sequence) });
        for header in record.headers.iter() {
            headers = headers.insert(Header { key: header.name, value: header.value });
        }
        headers = headers.insert(Header { key: REPLAYED_HEADER, value: Some("true") });
        let partition = i32::try_from(partition).expect("Kafka numbers partitions in 31 bits");
        let published = self.commit(mended, headers, partition);
        published.map_err(|error| self.kafka.failed(error))
    }

    fn commit(
        &self,
        mended: &Mended<'_>,
        headers: OwnedHeaders,
        partition: i32,
    ) -> Result<(), PublishError> {
        let failed = |doing| move |source: KafkaError| PublishError::Kafka { doing, source };
        let timeout = self.kafka.publish.transaction_timeout;
        self.reports.expect(RECORDS_MAX);
        self.producer.begin_transaction().map_err(failed("begin a transaction"))?;
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(mended.topic, RECORD).partition(partition).headers(headers);
        let RecordRef { key, value, timestamp, .. } = mended.record;
        (record.key, record.payload, record.timestamp) = (key, value, timestamp);
        let letter = mended.letter;
        let replayed = Header { key: REPLAYED_HEADER, value: Some(letter.sequence.as_bytes()) };
        let mut marker: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&letter.topic, MARKER)
                .partition(letter.partition)
                .headers(OwnedHeaders::new().insert(replayed));
        marker.key = letter.key.as_deref();
        let sent = self.producer.send(record).and_then(|()| self.producer.send(marker));
        let committed = sent
            .map_err(|(source, _)| source)
            .and_then(|()| self.producer.commit_transaction(timeout));
        if let Err(error) = &committed
            && !is_fatal(error)
        {
            self.producer.abort_transaction(timeout).map_err(failed("abort a transaction"))?;
        }
        committed.map_err(|source| {
            let refused = self.reports.refused().map(producer::refusal);
            match refused {
                Some(Ok(refused)) => refused,
                _ => failed("publish a dead letter again")(source),
            }
        })
    }
}

fn is_fatal(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(reason) if reason.is_fatal())
}
