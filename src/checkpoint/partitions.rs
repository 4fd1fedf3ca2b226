//! Partition counts of the destination topics at the time when their records were sent.
//!
//! The number of partitions decides where a key goes. From one record in a partition, a restart may infer that earlier
//! ones were there, too. For that it must know that keys have not moved meanwhile. Most topics of a relay have the same
//! number, so one number and a few exceptions describe all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most exceptions in one checkpoint, since they enlarge every checkpoint. With more, the counts are left out.
const EXCEPTIONS_MAX: usize = 100;

/// Stands for "unknown".
const UNKNOWN: u32 = 0;

/// Partition counts of the topics that may have rows after a checkpoint. Cheap to clone, since every batch has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCounts {
    /// The count of every topic that is no exception.
    count: u32,
    #[serde(
        default,
        skip_serializing_if = "is_empty",
        serialize_with = "write",
        deserialize_with = "read"
    )]
    except: Arc<BTreeMap<String, u32>>,
}

fn is_empty(except: &Arc<BTreeMap<String, u32>>) -> bool {
    except.is_empty()
}

fn write<S: Serializer>(
    except: &Arc<BTreeMap<String, u32>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    except.as_ref().serialize(serializer)
}

fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<BTreeMap<String, u32>>, D::Error> {
    BTreeMap::deserialize(deserializer).map(Arc::new)
}

impl PartitionCounts {
    /// For the first topic.
    #[must_use]
    pub fn of_first(count: u32) -> PartitionCounts {
        PartitionCounts { count, except: Arc::default() }
    }

    /// Number of partitions of a topic; `None` if unknown.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<u32> {
        let count = self.except.get(topic).copied().unwrap_or(self.count);
        (count != UNKNOWN).then_some(count)
    }

    /// The same with a count for one topic; `None` if there are too many exceptions.
    #[must_use]
    pub fn with(mut self, topic: &str, count: u32) -> Option<PartitionCounts> {
        let except = Arc::make_mut(&mut self.except);
        if count == self.count {
            except.remove(topic);
        } else {
            except.insert(topic.to_owned(), count);
        }
        (self.except.len() <= EXCEPTIONS_MAX).then_some(self)
    }

    /// The same, with the count of one topic unknown.
    #[must_use]
    pub fn without(self, topic: &str) -> Option<PartitionCounts> {
        self.with(topic, UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_tells_of_all_topics_but_the_exceptions() {
        let counts = PartitionCounts::of_first(12).with("a", 12).unwrap();
        let counts = counts.with("b", 3).unwrap().without("c").unwrap();
        let get = |topic| counts.get(topic);
        assert_eq!((get("a"), get("b"), get("c"), get("d")), (Some(12), Some(3), None, Some(12)));
        let json = serde_json::to_string(&counts).unwrap();
        assert_eq!(json, r#"{"count":12,"except":{"b":3,"c":0}}"#);
        assert_eq!(serde_json::from_str::<PartitionCounts>(&json).unwrap(), counts);
        let plain = serde_json::to_string(&PartitionCounts::of_first(12)).unwrap();
        assert_eq!(plain, r#"{"count":12}"#);
        // A topic with the common number is no exception any more.
        assert_eq!(counts.with("b", 12).unwrap().get("b"), Some(12));
    }

    #[test]
    fn too_many_exceptions_tell_nothing() {
        let mut counts = Some(PartitionCounts::of_first(12));
        for number in 0..EXCEPTIONS_MAX {
            counts = counts.unwrap().with(&format!("topic-{number}"), 3);
        }
        let full = counts.unwrap();
        assert!(full.clone().with("topic-0", 4).is_some());
        assert_eq!(full.with("one-more", 3), None);
    }
}
