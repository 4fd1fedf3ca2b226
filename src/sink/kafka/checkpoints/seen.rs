//! Proves that the checkpoint that was read is the last one, by the offset of the claim that follows it.
//!
//! A leader that was just elected, or that does not know yet that it was replaced, may show a topic shorter than it is.
//! But the offset of a record that all replicas have acknowledged is certain. So the records between the end that was
//! read and that offset are read as well, and none of them may have the key.

use rdkafka::Message;

use super::Error;
use crate::checkpoint::CheckpointOptions;
use crate::sink::kafka::reader::{self, Extent, Extents, Reader};

/// The checkpoint topic as it was when the checkpoint was read.
pub struct Seen {
    topic: Reader,
    extents: Extents,
    options: CheckpointOptions,
}

impl Seen {
    pub(super) fn new(topic: Reader, extents: Extents, options: CheckpointOptions) -> Seen {
        Seen { topic, extents, options }
    }

    /// Reads the records between the end that was seen and our own record, which is acknowledged, but not committed
    /// yet.
    ///
    /// # Errors
    /// One of them has the key, so there is a later checkpoint; or the topic cannot be read.
    pub fn ensure_last_before(&self, partition: i32, offset: i64) -> Result<(), Error> {
        // A partition that was not there had no records.
        let seen = self.extents.get(&partition).map_or(0, |extent| extent.end);
        if seen > offset {
            return Err(reader::Error::Shortened {
                topic: self.options.topic.clone(),
                seen,
                offset,
            }
            .into());
        }
        let mut later = None;
        self.topic.read_part(partition, Extent { first: seen, end: offset }, |record| {
            if record.key() == Some(self.options.key.as_bytes()) {
                later = Some(record.offset());
            }
        })?;
        let CheckpointOptions { topic, key } = self.options.clone();
        match later {
            Some(offset) => Err(Error::Outdated { topic, partition, offset, key }),
            None => Ok(()),
        }
    }
}
