//! The proof that the checkpoint that was read is the last one: the place of the claim that follows it.
//!
//! A broker that was just elected, or that does not know yet that it was replaced, may show a topic shorter
//! than it is. A record that all replicas have acknowledged has an offset that cannot lie: all before it must
//! have been read, and no record of the key may be among what was not.

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

    /// Reads what lies between the end that was seen and our own record, which is acknowledged there and not
    /// committed yet.
    ///
    /// # Errors
    /// There is a record of the key, so that another checkpoint counts; or the topic cannot be read.
    pub fn ensure_last_before(&self, partition: i32, offset: i64) -> Result<(), Error> {
        // A partition that was not there was empty.
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
