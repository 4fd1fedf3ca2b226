//! The last value of each key of a topic that another program writes.

use std::collections::BTreeMap;

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use super::connection::KafkaOptions;
use super::reader::{Error, Reader};

/// Values by key; `None`: a tombstone. The time of the record decides between partitions, which a key changes with their
/// number.
pub type LastValues = BTreeMap<Vec<u8>, (Option<i64>, Option<Vec<u8>>)>;

/// Reads a topic to the end that it has now; `None` where there is no such topic. `kind`: its role, for messages.
///
/// # Errors
/// Kafka cannot be read.
pub fn read(
    kafka: &KafkaOptions,
    client_id: &str,
    kind: &str,
    topic: &str,
) -> Result<Option<LastValues>, Error> {
    let reader = Reader::new(kafka, client_id, kind, topic)?;
    let extents = match reader.settled_extents() {
        Err(Error::NoTopic { .. }) => return Ok(None),
        extents => extents?,
    };
    let floor = |partition| extents[&partition].first;
    // Only the whole of a partition shows all of its keys.
    let tails = reader.read_tails(&extents, floor, take, |_| false)?;
    let mut last = LastValues::new();
    for (key, (millis, value)) in tails.into_values().flatten() {
        let is_later = last.get(&key).is_none_or(|(known, _)| millis >= *known);
        if is_later {
            last.insert(key, (millis, value));
        }
    }
    Ok(Some(last))
}

fn take(last: &mut LastValues, record: &BorrowedMessage<'_>) {
    if let Some(key) = record.key() {
        let value = record.payload().map(<[u8]>::to_vec);
        last.insert(key.to_vec(), (record.timestamp().to_millis(), value));
    }
}
