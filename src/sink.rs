//! The seam between the line and where records go.
//!
//! Its unit is a sealed [`Batch`](crate::batch::Batch) and the checkpoint that the batch leads to, never a record. That is why exactly
//! once survives it: a sink that can write both in one transaction does.
//!
//! A session uses a sink in this order: [`Sink::fence`], [`Sink::stored`], [`Sink::claim`]. The claim gives the two
//! halves that run beside each other: [`Destinations`], which the line asks, and the [`Publisher`], which takes
//! batches and answers.

#[cfg(test)]
pub(crate) mod conformance;
mod error;
pub mod kafka;
mod publisher;
mod suspension;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

pub use self::error::{About, Destinational, Refused, SinkError, SizeLimit, none_without_store};
pub use self::publisher::{
    Answer, Answers, Ended, Order, Published, Publisher, Running, Sealed, Stored, answers,
    start_thread,
};
use crate::batch::{DestinationId, Headers, Limits};
use crate::checkpoint::Checkpoint;
use crate::resend::ResendWindow;

/// What a crash between a batch being published and its checkpoint being stored costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Nothing: a batch and its checkpoint are visible together, or neither is.
    Atomic,
    /// A search: records may be there that no checkpoint tells of. [`Destinations::sent`] finds them.
    Deduplicated,
    /// Repeats: records may be there that no checkpoint tells of, and nobody can find them.
    AtLeastOnce,
}

/// What a relay connects to a sink with, session after session.
pub trait Connector {
    type Sink: Sink;

    /// Connects for a session. `batch_bytes_max`: a destination takes no larger batch of several records, as was found
    /// out before.
    ///
    /// # Errors
    /// The sink cannot be reached, or lacks the place for checkpoints.
    fn connect(
        &self,
        batch_bytes_max: Option<usize>,
    ) -> impl Future<Output = Result<Self::Sink, SinkError>>;

    /// The checkpoint that is stored by now, whoever may still write.
    ///
    /// # Errors
    /// It cannot be read; [`About::NoStore`] where there is no place for one.
    fn look(&self) -> impl Future<Output = Result<Option<Checkpoint>, SinkError>>;

    /// The stored checkpoint, once what is being written has come to its end.
    ///
    /// # Errors
    /// As [`Connector::look`].
    fn stored(&self) -> impl Future<Output = Result<Option<Checkpoint>, SinkError>>;
}

/// A destination that takes a relay's records, connected and not used yet.
///
/// # Promise
/// The suite in `src/sink/conformance` checks these lines against every sink, but for pauses of a process.
///
/// Taking over:
/// - [`Sink::fence`] ends the rights of all producers of a relay's name. After it returns, none of them stores a
///   checkpoint. A producer of [`Guarantee::Atomic`] adds no record either.
/// - A fenced publisher finds out when it stores its next checkpoint, sends nothing more, and ends with an error whose
///   [`SinkError::is_fenced`] is true.
/// - Without transactions, a fenced publisher may have records in flight. It waits for their acknowledgements before it
///   ends. [`Destinations::sent`] finds all of its records after that. Waiting for that end is the relay's task, as a
///   sink cannot see its predecessor's process. Where the process was paused, it stores a checkpoint before it sends
///   more, as it may have been replaced meanwhile.
/// - [`Sink::stored`] returns the checkpoint that was stored last, by a producer of any name. It is `None` where nothing
///   was ever stored.
/// - [`Sink::claim`] fails where another checkpoint was stored since [`Sink::stored`], or where this sink was fenced.
///   The stored checkpoint then stays as it is. Where it succeeds, the claim is the stored checkpoint.
///
/// Publishing:
/// - [`Answer::Published`] comes for each batch, in order. All records of batches up to n are durable before that of
///   batch n.
/// - [`Answer::Stored`] for n comes after [`Answer::Published`] of all batches up to n. It may stand for several
///   batches, and its numbers ascend. A stored checkpoint is never ahead of its records.
/// - With [`Guarantee::Atomic`], the visible records are at any time those up to the visible checkpoint.
/// - A record arrives as it is: its key and value may be empty or NULL, which are different things. Its headers keep
///   their order. Names of headers may repeat. The name of the sink's own header is not for rows.
/// - Records of one key and no partition of their own arrive in the order of their batches. So do all records of a
///   destination whose key is NULL, and all of one partition.
/// - A record that was found ([`Batch::push_found`](crate::batch::Batch::push_found)) counts, and is not sent.
/// - A batch without records stores its checkpoint.
/// - A record that is refused leaves no gap: no record of its key arrives behind it. The publisher ends with an error
///   about that record.
/// - After an error nothing more is sent, whatever is ordered.
/// - [`Order::Stop`] finishes what is in flight, and stores the last checkpoint.
///
/// Destinations:
/// - A destination that does not exist is created, or refused with an error about it. Others are not affected.
/// - A name has one [`DestinationId`], however often it is looked up.
/// - [`Destinations::sent`] finds the rows of the window that are there, and no others: not those up to `after`, of
///   another generation, or of relays that the window does not name.
pub trait Sink: Sized {
    type Destinations: Destinations;

    fn guarantee(&self) -> Guarantee;

    /// Names the cluster, whatever address it has. A relay's identity as a replica is derived from it.
    fn cluster_id(&self) -> &str;

    /// Takes the rights of writing from every producer of the relay `name`, which is this relay's name or that of
    /// another one whose place it takes.
    ///
    /// # Errors
    /// The sink cannot be asked, or refuses.
    fn fence(&mut self, name: &str) -> impl Future<Output = Result<(), SinkError>>;

    /// The stored checkpoint; `None` where there is none, or it was reset.
    ///
    /// # Errors
    /// It cannot be read.
    fn stored(&mut self) -> impl Future<Output = Result<Option<Checkpoint>, SinkError>>;

    /// Stores the claim, by which this instance goes on, and starts to publish.
    ///
    /// # Errors
    /// The claim is not stored, or nobody knows, or another checkpoint was stored since [`Sink::stored`].
    fn claim(
        self,
        claim: Checkpoint,
    ) -> impl Future<Output = Result<Claimed<Self::Destinations>, SinkError>>;
}

/// A sink that this instance has claimed.
pub struct Claimed<D> {
    pub stored: Stored,
    pub destinations: D,
    pub publisher: Publisher,
    /// What one batch may hold.
    pub limits: Limits,
    /// How many batches may be in flight.
    pub batches_max: usize,
}

/// Where records go, by name: Kafka's are topics.
pub trait Destinations {
    /// One that was looked up before.
    fn find(&self, name: &str) -> Option<DestinationId>;

    /// # Panics
    /// The id is of another sink.
    fn get(&self, id: DestinationId) -> &Destination;

    /// Looks one up, and creates it where that is wanted. The publisher knows it before the next batch. One that was
    /// looked up before is not asked for again.
    ///
    /// # Errors
    /// It does not exist, takes no records, or the sink cannot be asked.
    fn look_up(&mut self, name: &str) -> impl Future<Output = Result<DestinationId, SinkError>>;

    /// The rows of the window that a predecessor has sent there; `None` where there can be none.
    ///
    /// # Errors
    /// It cannot be read to its end.
    fn sent(
        &mut self,
        id: DestinationId,
        window: &ResendWindow,
    ) -> impl Future<Output = Result<Option<SentRows>, SinkError>>;

    /// Follows what changes by itself, such as a number of partitions. It never waits.
    fn follow_changes(&mut self) -> impl Future<Output = ()>;

    /// Writes into a checkpoint what the sink must find there after a restart. `window`: of the rows that a
    /// predecessor may have sent.
    fn stamp(&self, checkpoint: &mut Checkpoint, window: Option<&ResendWindow>);

    /// The longest checkpoint that can be stored, in bytes; `None` where nobody tells.
    fn checkpoint_bytes_max(&self) -> Option<usize>;

    /// Bytes of a record as [`Destination::record_bytes_max`] counts them. A key or a value that is NULL has 0.
    fn record_bytes(&self, key_len: usize, value_len: usize, headers: Headers<'_>) -> usize;

    /// Largest batch of several records that the sink sends to a destination, in bytes.
    fn batch_bytes_max(&self) -> usize;
}

/// A destination that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub name: Arc<str>,
    /// Largest record that it takes, in bytes; `None` where nobody tells.
    pub record_bytes_max: Option<usize>,
}

/// Tells the lane of a key and of [`RecordRef::partition`](crate::batch::RecordRef::partition).
pub type LaneOf = Box<dyn Fn(Option<&[u8]>, Option<i128>) -> u32 + Send>;

/// Rows after the checkpoint that were found in a destination.
pub struct SentRows {
    /// Their numbers.
    pub sequences: HashSet<u64>,
    /// Of each lane from which records may have been deleted since: the highest number. All of the lane up to it
    /// were there.
    pub highest: BTreeMap<u32, u64>,
    /// The lane that a record goes to: Kafka's are partitions.
    pub lane_of: LaneOf,
}

impl SentRows {
    /// The row of this key, partition and sequence number is there.
    #[must_use]
    pub fn holds(&self, key: Option<&[u8]>, partition: Option<i128>, sequence: u64) -> bool {
        self.sequences.contains(&sequence)
            || !self.highest.is_empty()
                && self
                    .highest
                    .get(&(self.lane_of)(key, partition))
                    .is_some_and(|it| sequence <= *it)
    }
}

impl fmt::Debug for SentRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentRows")
            .field("sequences", &self.sequences)
            .field("highest", &self.highest)
            .finish_non_exhaustive()
    }
}
