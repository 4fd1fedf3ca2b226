//! A small relay: it takes over, and sends rows batch by batch. Each answer is held against the promise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use binlog_relay::batch::{Batch, DestinationId, Limits};
use binlog_relay::checkpoint::{Checkpoint, FORMAT};
use binlog_relay::delivery::Delivery;
use binlog_relay::resend::ResendWindow;
use binlog_relay::sink::{
    Answer, Claimed, Connector, Destinations, Guarantee, Publisher, Sealed, SentRows, Sink,
    SinkError,
};
use binlog_relay::telemetry::clock::iso_8601;

use super::rows::{DESTINATIONS, Row};
use super::{SeenRecord, Subject};

/// The relay that most checks are about.
pub const NAME: &str = "orders";

/// A publisher that is fenced ends by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// The numbering that the rows of all checks are of.
pub const GENERATION: u64 = 0x19a_5b0c_7d21;

type SinkOf<S> = <<S as Subject>::Connector as Connector>::Sink;
pub type DestinationsOf<S> = <SinkOf<S> as Sink>::Destinations;

/// A sink that was fenced and read.
pub struct Fenced<S: Subject> {
    pub sink: SinkOf<S>,
    pub stored: Option<Checkpoint>,
}

/// Connects as a relay, fences its predecessors and reads the checkpoint.
pub async fn fence<S: Subject>(subject: &S, name: &str) -> Fenced<S> {
    let name = subject.relay(name);
    let mut sink = subject.connector(&name).connect(None).await.unwrap();
    assert_eq!(sink.guarantee(), subject.guarantee());
    sink.fence(&name).await.unwrap();
    let stored = sink.stored().await.unwrap();
    Fenced { sink, stored }
}

/// The stored checkpoint, once what is being written has come to its end.
pub async fn stored(subject: &impl Subject) -> Option<Checkpoint> {
    subject.connector(&subject.relay(NAME)).stored().await.unwrap()
}

/// The stored checkpoint, whatever is being written.
pub async fn look(subject: &impl Subject) -> Option<Checkpoint> {
    subject.connector(&subject.relay(NAME)).look().await.unwrap()
}

/// A checkpoint behind the row of this number.
pub fn checkpoint(guarantee: Guarantee, name: &str, sequence: u64) -> Checkpoint {
    let delivery = match guarantee {
        Guarantee::Atomic => Delivery::ExactlyOnce,
        Guarantee::Deduplicated | Guarantee::AtLeastOnce => Delivery::Idempotent,
    };
    Checkpoint {
        format: Some(FORMAT),
        name: Some(name.to_owned()),
        binlog_filename: "binlog.000001".to_owned(),
        offset: 1_000 + sequence,
        generation: Some(GENERATION),
        sequence,
        delivery: Some(delivery),
        instance: Some("conformance".to_owned()),
        recorded_at: Some(iso_8601(SystemTime::now())),
        ..Checkpoint::default()
    }
}

/// A session of a relay.
pub struct Session<D> {
    name: String,
    guarantee: Guarantee,
    pub destinations: D,
    pub publisher: Publisher,
    limits: Limits,
    batches_max: usize,
    pub claim: Checkpoint,
    pub window: Option<ResendWindow>,
    ids: Vec<DestinationId>,
    sent: Vec<Option<SentRows>>,
    /// Number of the last row that was ordered.
    pub ordered: u64,
    /// Of the batches that were ordered: the number of their last row, in order.
    batches: Vec<u64>,
    in_flight: VecDeque<u64>,
    /// Batches that were published, and the last row of them.
    published_batches: usize,
    pub published: u64,
    stored_batch: u64,
    /// The last row of the checkpoint that was stored last.
    pub stored: u64,
}

/// Takes over and goes on behind the checkpoint. Nothing is looked for yet.
pub async fn claim<S: Subject>(
    subject: &S,
    name: &str,
    fenced: Fenced<S>,
) -> Result<Session<DestinationsOf<S>>, SinkError> {
    let (name, Fenced { sink, stored }) = (&*subject.relay(name), fenced);
    let guarantee = subject.guarantee();
    let window = stored.as_ref().and_then(|it| ResendWindow::behind(it, name, GENERATION));
    let sequence = stored.as_ref().map_or(0, |stored| stored.sequence);
    let claim = Checkpoint {
        partitions: stored.and_then(|stored| stored.partitions).filter(|_| window.is_some()),
        ..checkpoint(guarantee, name, sequence)
    };
    let claim = window.as_ref().map_or(claim.clone(), |window| window.mark(claim));
    let Claimed { stored, destinations, publisher, limits, batches_max } =
        sink.claim(claim.clone()).await?;
    assert_eq!((&stored.checkpoint, stored.number), (&claim, 0));
    assert!(batches_max >= 1 && limits.records_max >= 1);
    Ok(Session {
        name: name.to_owned(),
        guarantee,
        destinations,
        publisher,
        limits,
        batches_max,
        claim,
        window,
        ids: Vec::new(),
        sent: Vec::new(),
        ordered: sequence,
        batches: Vec::new(),
        in_flight: VecDeque::new(),
        published_batches: 0,
        published: sequence,
        stored_batch: 0,
        stored: sequence,
    })
}

/// A relay of this name that has taken over and may send.
pub async fn start<S: Subject>(subject: &S, name: &str) -> Session<DestinationsOf<S>> {
    let fenced = fence(subject, name).await;
    let mut session = claim(subject, name, fenced).await.unwrap();
    session.look_up(subject).await;
    session
}

/// Names of the destinations that rows go to.
pub fn destinations(subject: &impl Subject) -> Vec<String> {
    (0..DESTINATIONS).map(|index| subject.destination(&index.to_string())).collect()
}

impl<D: Destinations> Session<D> {
    /// Looks the destinations up, and the rows in them that predecessors have sent.
    pub async fn look_up(&mut self, subject: &impl Subject) {
        for name in destinations(subject) {
            let id = self.destinations.look_up(&name).await.unwrap();
            assert_eq!(&*self.destinations.get(id).name, name);
            let sent = match &self.window {
                Some(window) => self.destinations.sent(id, window).await.unwrap(),
                None => None,
            };
            self.ids.push(id);
            self.sent.push(sent);
        }
    }

    /// Looks for the rows of another window.
    pub async fn look_up_again(&mut self, window: &ResendWindow) {
        for index in 0..self.ids.len() {
            self.sent[index] = self.destinations.sent(self.ids[index], window).await.unwrap();
        }
    }

    pub fn id(&self, destination: usize) -> DestinationId {
        self.ids[destination]
    }

    /// The row was found in its destination.
    pub fn is_found(&self, sequence: u64, row: &Row) -> bool {
        let sent = self.sent[row.destination].as_ref();
        sent.is_some_and(|sent| sent.holds(row.key.as_deref(), None, sequence))
    }

    /// A batch of the next rows.
    pub fn fill(&self, rows: u64) -> Batch {
        let mut batch = self.empty();
        for sequence in self.ordered + 1..=self.ordered + rows {
            let row = Row::of(sequence);
            row.push(&mut batch, self.id(row.destination), self.is_found(sequence, &row));
        }
        batch.mark_boundary();
        batch
    }

    pub fn empty(&self) -> Batch {
        Batch::new(self.limits)
    }

    /// Publishes a batch of the next rows, once there is room for it.
    pub async fn publish(&mut self, rows: u64) -> Result<(), SinkError> {
        let batch = self.fill(rows);
        self.publish_batch(batch).await
    }

    /// Publishes a batch, once there is room for it.
    pub async fn publish_batch(&mut self, batch: Batch) -> Result<(), SinkError> {
        while self.in_flight.len() >= self.batches_max || !self.publisher.is_ready() {
            self.answer().await?;
        }
        let first = self.ordered + 1;
        self.ordered += batch.len() as u64;
        // An empty batch leads further as well.
        let offset = 1_000 + self.ordered + self.batches.len() as u64;
        let checkpoint =
            Checkpoint { offset, ..checkpoint(self.guarantee, &self.name, self.ordered) };
        self.order(batch, first, checkpoint);
        Ok(())
    }

    /// Orders a batch of a publisher that has ended.
    pub fn order_late(&mut self, batch: Batch) {
        let last = self.ordered + batch.len() as u64;
        let checkpoint = checkpoint(self.guarantee, &self.name, last);
        self.publisher.publish(Sealed::new(batch, self.ordered + 1, checkpoint));
    }

    fn order(&mut self, batch: Batch, first: u64, checkpoint: Checkpoint) {
        let mut checkpoint = match &self.window {
            Some(window) => window.mark(checkpoint),
            None => checkpoint,
        };
        self.destinations.stamp(&mut checkpoint, self.window.as_ref());
        self.publisher.publish(Sealed::new(batch, first, checkpoint));
        self.batches.push(self.ordered);
        self.in_flight.push_back(self.ordered);
    }

    /// Takes the next answer and holds it against the promise.
    pub async fn answer(&mut self) -> Result<Answer, SinkError> {
        let answer = self.publisher.answer().await?;
        match &answer {
            Answer::Published(published) => {
                assert_eq!(self.in_flight.pop_front(), Some(published.sequence), "in order");
                (self.published, self.published_batches) =
                    (published.sequence, self.published_batches + 1);
            }
            Answer::Stored(stored) => {
                let number = stored.number;
                assert!(number > self.stored_batch, "{number} after {}", self.stored_batch);
                assert!(number as usize <= self.published_batches, "{number} is not published");
                let sequence = self.batches[number as usize - 1];
                assert_eq!(stored.checkpoint.sequence, sequence);
                (self.stored_batch, self.stored) = (number, sequence);
            }
            Answer::Ready => {}
            Answer::Stalled(error) => panic!("stalled: {error}"),
        }
        Ok(answer)
    }

    /// Waits until all is published and stored.
    pub async fn settle(&mut self) {
        while !self.publisher.is_settled() {
            self.answer().await.unwrap();
        }
        assert_eq!((self.published, self.stored), (self.ordered, self.ordered));
    }

    /// Publishes batches until one fails.
    pub async fn publish_until_error(&mut self, mut size: impl FnMut() -> u64) -> SinkError {
        let begun = Instant::now();
        loop {
            if let Err(error) = self.publish(size()).await {
                return error;
            }
            assert!(begun.elapsed() < PATIENCE, "a publisher goes on, though it was fenced");
            // Other work of the check goes on.
            tokio::task::yield_now().await;
        }
    }

    pub async fn stop(self) {
        self.publisher.stop().await;
    }
}

/// All records of the rows' destinations, by the numbers of their rows.
pub async fn seen(subject: &impl Subject) -> BTreeMap<u64, Vec<(usize, SeenRecord)>> {
    let mut seen: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for (index, destination) in destinations(subject).iter().enumerate() {
        for record in subject.records(destination).await {
            assert_eq!(record.generation, GENERATION);
            seen.entry(record.sequence).or_default().push((index, record));
        }
    }
    seen
}

/// The rows up to `last` are there, and no others: each as it was and once, or at least once where that is all that
/// is promised.
pub async fn ensure_rows(subject: &impl Subject, last: u64) {
    let seen = seen(subject).await;
    let sequences: Vec<u64> = seen.keys().copied().collect();
    assert_eq!(sequences, (1..=last).collect::<Vec<_>>());
    for (sequence, records) in seen {
        let row = Row::of(sequence);
        for (destination, record) in &records {
            assert!(*destination == row.destination && row.is_seen_as(record), "{record:?}");
        }
        let is_repeated = records.len() > 1;
        assert!(!is_repeated || subject.guarantee() == Guarantee::AtLeastOnce, "{records:?}");
    }
    ensure_order(subject).await;
}

/// Records of one key are in one lane, in the order of their rows. A row that came again counts where it came first.
pub async fn ensure_order(subject: &impl Subject) {
    for destination in destinations(subject) {
        let mut last: BTreeMap<Option<Vec<u8>>, (u32, BTreeSet<u64>)> = BTreeMap::new();
        for SeenRecord { lane, key, sequence, .. } in subject.records(&destination).await {
            let (known, sequences) = last.entry(key.clone()).or_insert((lane, BTreeSet::new()));
            assert_eq!(*known, lane, "{key:?} is in one lane");
            let is_again = sequences.contains(&sequence);
            let is_next = sequences.last().is_none_or(|last| *last < sequence);
            assert!(is_again || is_next, "{key:?}: {sequence} after {:?}", sequences.last());
            sequences.insert(sequence);
        }
    }
}
