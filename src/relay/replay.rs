//! A session over a recording, with no server at either end: what ships between the dump stream and a sealed batch.
//! Benchmarks and the test that counts allocations drive it.
//!
//! The sink's end takes one batch at a time, on the same thread: a batch is published when the session waits for it.
//! So every batch but the first is as full as those of a relay that catches up.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::line::Line;
use super::line::ledger::Ledger;
use super::orders::{Orders, Wanted};
use super::progress::Observer;
use super::recovery::table_filter;
use super::refusal::Refusals;
use super::resume_point::{LineOptions, ResumePoint};
use super::session::Session;
use super::stamp::Stamp;
use crate::batch::{DestinationId, Headers, Limits, RecordRef};
use crate::binlog::feed::{Feed, FeedStream, feed};
use crate::binlog::{FixedCatalog, Source, Start};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::outbox;
use crate::resend::ResendWindow;
use crate::sink::{
    Answer, Answers, Claimed, Destination, Destinations, Order, Publisher, Running, Sealed,
    SentRows, SinkError, Stored, answers,
};
use crate::tasks;
use crate::telemetry::Telemetry;

/// What one batch may hold. The relay's default is 10,000 records; with fewer, all batches soon have all the memory
/// that they will need.
const LIMITS: Limits = Limits { records_max: 1_000, bytes_max: 16 << 20 };

/// The default `max.message.bytes` of a topic.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// A session whose server is a recording.
pub struct Replay<'a> {
    runtime: Runtime,
    feed: Feed,
    session: Session<'a, FeedStream, FixedCatalog, Topics>,
    /// Nothing but to relay is ever wanted.
    wanted: (watch::Sender<Wanted>, Orders),
    orders: Receiver<Order>,
    answers: Answers,
}

impl<'a> Replay<'a> {
    /// Begins in front of a binlog file.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn new(config: &'a Config) -> std::io::Result<Replay<'a>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (give, orders) = channel();
        let (way_back, answers) = answers();
        let give = Mutex::new(give);
        let order = move |order| give.lock().is_ok_and(|give| give.send(order).is_ok());
        let ended = Running::Thread(tasks::spawn_thread("publisher", || {})?);
        let publisher =
            Publisher::new("the replay".to_owned(), order, answers, ended, Arc::default());
        let claimed = Claimed {
            stored: Stored::claim(Checkpoint::default(), Vec::new()),
            destinations: Topics::default(),
            publisher,
            limits: LIMITS,
            batches_max: 1,
        };
        let (feed, stream) = feed();
        let filter = table_filter(config.outbox.clone());
        let start = Start::of_file("binlog.000001").expect("a legal name");
        let source = Source::over(stream, Duration::MAX, start, FixedCatalog::default(), filter);
        let telemetry = Telemetry::new(&config.name, config.mysql.to_string());
        let observer = Observer::new(Arc::new(telemetry), true);
        let options = LineOptions {
            outboxes: config.outbox[..].into(),
            refusals: Refusals::default(),
            ahead_until: None,
        };
        let line = Line::new(options, Ledger::new(resume_point(config)), claimed, observer);
        let session = Session::new(config, source, line, &|_| {});
        let (relaying, want, _) = Orders::new(Arc::new(config.clone()));
        let wanted = (want, relaying);
        Ok(Replay { runtime, feed, session, wanted, orders, answers: way_back })
    }

    /// Appends events that follow one another, as in a binlog file behind its first 4 bytes.
    ///
    /// # Errors
    /// The bytes end inside an event.
    pub fn feed(&mut self, events: &[u8]) -> std::io::Result<()> {
        self.feed.push_all(events)
    }

    /// Relays all that was fed. `send` gets each record with its number. Answers with the number of batches.
    ///
    /// # Errors
    /// What would have ended the session.
    pub fn relay(&mut self, mut send: impl FnMut(RecordRef<'_>, u64)) -> anyhow::Result<u64> {
        let mut batches = 0;
        let mut followed = pin!(self.session.follow(&mut self.wanted.1));
        loop {
            // One poll relays all that is there, until the session waits for an answer or for more events.
            let poll = poll_fn(|context| Poll::Ready(followed.as_mut().poll(context)));
            if let Poll::Ready(ended) = self.runtime.block_on(poll) {
                ended?;
            }
            let Ok(order) = self.orders.try_recv() else { break };
            if let Order::Publish(sealed) = order {
                publish(*sealed, &self.answers, &mut send);
                batches += 1;
            }
        }
        anyhow::ensure!(self.feed.unread_bytes() == 0, "the session waits with events unread");
        Ok(batches)
    }
}

/// Has a batch published, and its checkpoint stored.
fn publish(sealed: Sealed, answers: &Answers, send: &mut impl FnMut(RecordRef<'_>, u64)) {
    let first_sequence = sealed.first_sequence;
    for (index, record) in sealed.batch.unsent_records() {
        send(record, first_sequence + index as u64);
    }
    let (published, number, checkpoint) = sealed.published();
    let value = checkpoint.to_json();
    answers.send(Ok(Answer::Published(published)));
    answers.send(Ok(Answer::Stored(Box::new(Stored { checkpoint, value, number }))));
}

fn resume_point(config: &Config) -> ResumePoint {
    let stamp = Stamp {
        name: config.name.clone(),
        server_uuid: "7b1d3f26-3c0f-11ee-8d21-0242ac120002".to_owned(),
        generation: 1_700_000_000_000,
        instance: "5d2f0f43-7f5f-4a37-9d0a-1e6c1f0b7a11".to_owned(),
        outbox_fingerprint: outbox::fingerprint(&config.outbox),
        delivery: config.kafka.publish.delivery,
    };
    ResumePoint { stamp, sequence: 0, part: None, window: None, start: None }
}

/// The destinations of a replay: every name is a topic.
#[derive(Debug, Default)]
struct Topics {
    known: Vec<Destination>,
    ids: HashMap<Arc<str>, DestinationId>,
}

impl Destinations for Topics {
    fn find(&self, name: &str) -> Option<DestinationId> {
        self.ids.get(name).copied()
    }

    fn get(&self, id: DestinationId) -> &Destination {
        &self.known[id.0 as usize]
    }

    async fn look_up(&mut self, name: &str) -> Result<DestinationId, SinkError> {
        let id = DestinationId(self.known.len() as u32);
        let name: Arc<str> = name.into();
        let record_bytes_max = Some(RECORD_BYTES_MAX);
        self.known.push(Destination { name: name.clone(), record_bytes_max });
        self.ids.insert(name, id);
        Ok(id)
    }

    async fn sent(
        &mut self,
        _: DestinationId,
        _: &ResendWindow,
    ) -> Result<Option<SentRows>, SinkError> {
        Ok(None)
    }

    async fn follow_changes(&mut self) {}

    fn stamp(&self, _: &mut Checkpoint, _: Option<&ResendWindow>) {}

    fn checkpoint_bytes_max(&self) -> Option<usize> {
        None
    }

    fn record_bytes(&self, key_len: usize, value_len: usize, headers: Headers<'_>) -> usize {
        key_len + value_len + headers.bytes()
    }

    fn batch_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }
}
