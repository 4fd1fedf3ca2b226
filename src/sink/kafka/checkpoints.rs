//! The checkpoint topic: stores the checkpoints of a relay, and finds the last one.
//!
//! A read goes to the end that the topic had when the read began. It returns "none" only after reading the whole topic.

mod seen;

use std::collections::BTreeMap;

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

pub use self::seen::Seen;
use super::connection::KafkaOptions;
use super::reader::{self, Extents, Reader};
use crate::checkpoint::{Checkpoint, CheckpointOptions, FORMAT, Problem, parse};
use crate::tasks::in_this_span;

/// Why no checkpoint could be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] reader::Error),
    #[error(
        "the record of key {key:?} at offset {offset} of partition {partition} of the checkpoint topic {topic} is \
         no checkpoint: {what}"
    )]
    Unreadable { topic: String, partition: i32, offset: i64, key: String, what: String },
    #[error(
        "the checkpoint topic {topic} has a later record of key {key:?} than was read: offset {offset} of partition \
         {partition}; reading it again"
    )]
    Outdated { topic: String, partition: i32, offset: i64, key: String },
    #[error(
        "the newest checkpoint of key {key:?}, at offset {offset} of partition {partition} of the checkpoint topic \
         {topic}, cannot be read: {what}"
    )]
    Damaged { topic: String, partition: i32, offset: i64, key: String, what: String },
    #[error(
        "the newest checkpoint of key {key:?}, at offset {offset} of partition {partition} of the checkpoint topic \
         {topic}, has format {format}, which the version {relay_version} wrote; this version reads format {FORMAT}"
    )]
    Later {
        topic: String,
        partition: i32,
        offset: i64,
        key: String,
        format: u64,
        relay_version: String,
    },
}

impl Error {
    /// Describes the record that cannot be read; `None` for another error.
    pub fn unreadable(&self) -> Option<String> {
        match self {
            Error::Read(_) | Error::Outdated { .. } => None,
            Error::Unreadable { what, .. } => {
                Some(format!("a record that is no checkpoint: {what}"))
            }
            Error::Damaged { what, .. } => {
                Some(format!("a checkpoint that cannot be read: {what}"))
            }
            Error::Later { format, relay_version, .. } => {
                Some(format!("a checkpoint of format {format}, of the version {relay_version}"))
            }
        }
    }
}

/// Reads the last checkpoint; `None` if there is none, or it was reset. Also returns what was seen of the topic.
///
/// # Errors
/// Kafka cannot be read to the end, or the only record of the key is no checkpoint. A missing topic is an error, not
/// "none": a broker that has just started may not know the topic yet.
pub fn read(
    topic: Reader,
    options: &CheckpointOptions,
) -> Result<(Option<Checkpoint>, Seen), Error> {
    loop {
        let extents = topic.settled_extents()?;
        // Meanwhile ask whether these are all partitions.
        let (found, has_others) = std::thread::scope(|scope| {
            let has_others = scope.spawn(in_this_span(|| topic.has_other_partitions()));
            (find(&topic, options, extents.clone()), has_others.join())
        });
        if has_others.unwrap_or_else(|panic| std::panic::resume_unwind(panic))? {
            continue;
        }
        let last = choose(options, found?)?;
        return Ok((last, Seen::new(topic, extents, options.clone())));
    }
}

/// Reads the last checkpoint that is committed by now. An open transaction of any producer may hide a later one.
///
/// # Errors
/// As [`read`].
pub fn look(
    kafka: &KafkaOptions,
    client_id: &str,
    options: &CheckpointOptions,
) -> Result<Option<Checkpoint>, Error> {
    let topic = open(kafka, client_id, options)?;
    let extents = topic.committed_extents()?;
    choose(options, find(&topic, options, extents)?)
}

/// The partitions whose last record of the key is no tombstone. There may be several, since an earlier writer may have
/// had another partitioner.
///
/// # Errors
/// As [`read`], but a record that is no checkpoint is no error here.
pub fn partitions(
    kafka: &KafkaOptions,
    client_id: &str,
    options: &CheckpointOptions,
) -> Result<Vec<i32>, Error> {
    let topic = open(kafka, client_id, options)?;
    let extents = topic.settled_extents()?;
    let is_held = |tail: &Tail| match &tail.last {
        Some(Last::Checkpoint(_) | Last::Damaged(_)) => true,
        Some(Last::Tombstone) => false,
        None => tail.unreadable.is_some(),
    };
    let found = find(&topic, options, extents)?.into_iter();
    Ok(found.filter(|(_, tail)| is_held(tail)).map(|(partition, _)| partition).collect())
}

/// A reader of the checkpoint topic. It connects in the background, which takes some milliseconds.
///
/// # Errors
/// librdkafka refuses the configuration.
pub fn open(
    kafka: &KafkaOptions,
    client_id: &str,
    options: &CheckpointOptions,
) -> Result<Reader, Error> {
    Ok(Reader::new(kafka, client_id, "checkpoint topic", &options.topic)?)
}

/// Content of the last record of the key in a partition.
enum Last {
    Checkpoint(Box<Checkpoint>),
    Tombstone,
    Damaged(Damaged),
}

/// The newest checkpoint of a partition, if it cannot be read.
struct Damaged {
    offset: i64,
    problem: Problem,
}

/// What was read from a partition.
#[derive(Default)]
struct Tail {
    /// The last record of the key that is a checkpoint or a tombstone, and when it was written.
    last: Option<Last>,
    millis: Option<i64>,
    /// The offset of the last record of the key that is no checkpoint, and what is wrong with it.
    unreadable: Option<(i64, String)>,
}

impl Tail {
    fn take(&mut self, record: &BorrowedMessage<'_>) {
        let (offset, millis) = (record.offset(), record.timestamp().to_millis());
        let last = match record.payload().map(|payload| parse(payload, millis)) {
            None => Last::Tombstone,
            Some(Ok(checkpoint)) => Last::Checkpoint(Box::new(checkpoint)),
            Some(Err(Problem::Strange(what))) => {
                let topic = record.topic();
                tracing::warn!(topic, offset, "a record of our key is no checkpoint: {what}");
                self.unreadable = Some((offset, what));
                return;
            }
            Some(Err(problem)) => Last::Damaged(Damaged { offset, problem }),
        };
        (self.last, self.millis) = (Some(last), millis);
    }
}

/// Searches for the key backwards from the ends of the partitions.
fn find(
    topic: &Reader,
    options: &CheckpointOptions,
    mut extents: Extents,
) -> Result<BTreeMap<i32, Tail>, Error> {
    // Read one partition even if the topic is empty. Otherwise a missing right to read would only show at the next
    // start.
    let is_empty = extents.values().all(|extent| extent.first >= extent.end);
    let kept = extents.keys().next().copied().filter(|_| is_empty);
    extents.retain(|partition, extent| extent.first < extent.end || Some(*partition) == kept);
    let take = |tail: &mut Tail, record: &BorrowedMessage<'_>| {
        if record.key() == Some(options.key.as_bytes()) {
            tail.take(record);
        }
    };
    let floor = |partition| extents[&partition].first;
    Ok(topic.read_tails(&extents, floor, take, |tail| tail.last.is_some())?)
}

fn choose(
    options: &CheckpointOptions,
    found: BTreeMap<i32, Tail>,
) -> Result<Option<Checkpoint>, Error> {
    ensure_readable(options, &found)?;
    let (mut lasts, mut unreadable) = (Vec::new(), None);
    for (partition, tail) in found {
        lasts.extend(tail.last);
        unreadable = tail.unreadable.map(|unreadable| (partition, unreadable)).or(unreadable);
    }
    if let (true, Some((partition, (offset, what)))) = (lasts.is_empty(), unreadable) {
        let CheckpointOptions { topic, key } = options.clone();
        return Err(Error::Unreadable { topic, partition, offset, key, what });
    }
    let mut latest: Option<Checkpoint> = None;
    for last in lasts {
        if let Last::Checkpoint(checkpoint) = last
            && latest.as_ref().is_none_or(|latest| checkpoint.is_later_than(latest))
        {
            latest = Some(*checkpoint);
        }
    }
    Ok(latest)
}

/// An unreadable checkpoint is an error, unless a readable one was written later in another partition. Resuming at an
/// older checkpoint would repeat rows.
fn ensure_readable(options: &CheckpointOptions, found: &BTreeMap<i32, Tail>) -> Result<(), Error> {
    let is_readable = |tail: &&Tail| matches!(tail.last, Some(Last::Checkpoint(_)));
    let newest = found.values().filter(is_readable).filter_map(|tail| tail.millis).max();
    for (partition, tail) in found {
        let Some(Last::Damaged(Damaged { offset, problem })) = &tail.last else { continue };
        if tail.millis < newest {
            continue;
        }
        let CheckpointOptions { topic, key } = options.clone();
        let (partition, offset) = (*partition, *offset);
        return Err(match problem.clone() {
            Problem::Later { format, relay_version } => {
                let relay_version = relay_version.unwrap_or_else(|| "unknown".to_owned());
                Error::Later { topic, partition, offset, key, format, relay_version }
            }
            Problem::Damaged(what) => Error::Damaged { topic, partition, offset, key, what },
            Problem::Foreign(what) | Problem::Strange(what) => {
                Error::Unreadable { topic, partition, offset, key, what }
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(json: &str) -> Checkpoint {
        serde_json::from_str(json).unwrap()
    }

    fn tail(last: Last, millis: i64) -> Tail {
        Tail { last: Some(last), millis: Some(millis), unreadable: None }
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_counts_until_a_later_one_is_there() {
        let options = CheckpointOptions { topic: "t".to_owned(), key: "k".to_owned() };
        let good = |millis| {
            let position = r#"{"binlogFilename":"binlog.000001","offset":4,"rowsToSkip":0}"#;
            tail(Last::Checkpoint(Box::new(checkpoint(position))), millis)
        };
        let damaged = |millis| {
            let problem = Problem::Damaged("cut off".to_owned());
            tail(Last::Damaged(Damaged { offset: 7, problem }), millis)
        };
        let choose = |tails: [Tail; 2]| choose(&options, (0..).zip(tails).collect());
        for tails in [[good(5), damaged(5)], [damaged(6), good(5)], [good(5), damaged(9)]] {
            let error = choose(tails).unwrap_err();
            assert!(matches!(error, Error::Damaged { offset: 7, .. }), "{error:?}");
        }
        assert!(choose([damaged(4), good(5)]).unwrap().is_some());
        // A tombstone in one partition does not delete a checkpoint in another.
        assert!(choose([damaged(4), tail(Last::Tombstone, 5)]).is_err());
        let problem = Problem::Later { format: 2, relay_version: None };
        let later = tail(Last::Damaged(Damaged { offset: 7, problem }), 9);
        let error = choose([good(5), later]).unwrap_err();
        assert!(error.to_string().contains("has format 2"), "{error}");
    }
}
