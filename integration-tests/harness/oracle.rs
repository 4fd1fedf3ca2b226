//! The judge of a run. It is given the records that must be there, in the order of the binlog, and
//! those that a `read_committed` consumer of all partitions got, and counts what differs: lost,
//! repeated, reordered, altered, invented, and gaps in the sequence. Its own tests show that each of
//! these faults is seen.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::consumer::Record;
use super::ledger::Expected;
use super::relay::RelaySequence;

/// How many differing records a failure shows.
const SHOWN_AT_MOST: usize = 5;

#[derive(Debug, Default)]
pub struct Verdict {
    pub committed: usize,
    pub arrived: usize,
    pub lost: usize,
    pub repeated: usize,
    pub reordered: usize,
    pub altered: usize,
    /// Records of rows that were never committed, or are not to be relayed.
    pub invented: usize,
    /// Numbers that are missing, twice, on the wrong row, or descending in a partition.
    pub sequence_faults: usize,
    examples: Vec<String>,
}

impl Verdict {
    /// Nothing differs, and there was something to compare: a run without rows proves nothing.
    pub fn is_clean(&self) -> bool {
        let faults = [
            self.lost,
            self.repeated,
            self.reordered,
            self.altered,
            self.invented,
            self.sequence_faults,
        ];
        let is_faultless = faults.iter().all(|&count| count == 0);
        is_faultless && self.arrived == self.committed && self.committed > 0
    }

    fn show(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < SHOWN_AT_MOST {
            self.examples.push(example());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "oracle: committed {} arrived {} lost {} repeated {} reordered {} altered {}",
            self.committed, self.arrived, self.lost, self.repeated, self.reordered, self.altered
        )?;
        if self.invented > 0 {
            write!(formatter, " invented {}", self.invented)?;
        }
        match self.sequence_faults {
            0 => write!(formatter, " sequence whole")?,
            faults => write!(formatter, " sequence with {faults} faults")?,
        }
        self.examples.iter().try_for_each(|example| write!(formatter, "\n  {example}"))
    }
}

/// Compares what must be there with what is. `name` is the relay's, `partitions` how many each topic
/// has. The sequence is taken to begin with 1 at the first expected record.
pub fn judge(name: &str, expected: &[Expected], arrived: &[Record], partitions: i32) -> Verdict {
    let mut verdict =
        Verdict { committed: expected.len(), arrived: arrived.len(), ..Verdict::default() };
    let index_by_id: HashMap<&str, usize> =
        expected.iter().enumerate().map(|(index, row)| (row.id.as_str(), index)).collect();
    let mut seen: Vec<Option<&Record>> = vec![None; expected.len()];
    let mut order = Order::default();
    let mut sequences = Sequences::new(name);
    for record in in_partition_order(arrived) {
        let Some(&index) = id_of(record).and_then(|id| index_by_id.get(id.as_str())) else {
            verdict.invented += 1;
            verdict.show(|| format!("invented: {record:?}"));
            continue;
        };
        if let Some(first) = seen[index] {
            verdict.repeated += 1;
            verdict.show(|| format!("repeated: {} is {}", place_of(record), place_of(first)));
            continue;
        }
        seen[index] = Some(record);
        let row = &expected[index];
        if is_altered(row, record, partitions) {
            verdict.altered += 1;
            verdict.show(|| format!("altered: {row:?} came as {record:?}"));
        }
        if !order.is_kept(record, index, row.counter) {
            verdict.reordered += 1;
            verdict.show(|| format!("reordered: {}", place_of(record)));
        }
        sequences.take(record, index);
    }
    for (row, _) in expected.iter().zip(&seen).filter(|(_, seen)| seen.is_none()) {
        verdict.lost += 1;
        verdict.show(|| format!("lost: {} {}", row.topic, row.id));
    }
    let repeats_and_holes = sequences.faults + sequences.missing(expected.len());
    verdict.sequence_faults = repeats_and_holes;
    if repeats_and_holes > 0 {
        verdict.examples.extend(sequences.examples);
    }
    verdict
}

/// Java's murmur2, by which every Kafka client finds the partition of a key.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let hash = i32::from_ne_bytes(murmur2(key).to_ne_bytes());
    (hash & i32::MAX) % partitions
}

fn murmur2(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let length = u32::try_from(bytes.len()).expect("a key is shorter than 4 GiB");
    let mut hash = 0x9747_b28c ^ length;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut mixed = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(MIX);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MIX) ^ mixed.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (position, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * position);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

fn in_partition_order(records: &[Record]) -> Vec<&Record> {
    let mut ordered: Vec<&Record> = records.iter().collect();
    ordered.sort_by_key(|record| (&record.topic, record.partition, record.offset));
    ordered
}

/// The id inside the value: of an event at the top, of a message among the headers.
fn id_of(record: &Record) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let id = value.get("id").or_else(|| value.get("headers")?.get("ID"))?;
    Some(id.as_str()?.to_owned())
}

fn is_altered(row: &Expected, record: &Record, partitions: i32) -> bool {
    let only_the_sequence = record.headers.len() == 1 && record.headers[0].0 == "relay-sequence";
    record.topic != row.topic
        || record.key.as_deref() != Some(row.key.as_bytes())
        || record.value.as_deref() != Some(row.value.as_bytes())
        || record.partition != partition_of(row.key.as_bytes(), partitions)
        || !only_the_sequence
}

fn place_of(record: &Record) -> String {
    let key = record.key_text();
    let made_at = record.made_at.unwrap_or_default();
    format!("{}[{}]@{} of {made_at} ms key {key}", record.topic, record.partition, record.offset)
}

/// Order twice over: a partition's records stand in the order of the binlog, and an entity's
/// counters, given out under a lock that was held until its commit, ascend.
#[derive(Default)]
struct Order {
    last_index: HashMap<(String, i32), usize>,
    last_counter: HashMap<(String, String), u64>,
}

impl Order {
    fn is_kept(&mut self, record: &Record, index: usize, counter: u64) -> bool {
        let partition = (record.topic.clone(), record.partition);
        let last_index = self.last_index.entry(partition).or_insert(index);
        let index_ascends = *last_index <= index;
        *last_index = (*last_index).max(index);
        let entity = (record.topic.clone(), record.key_text());
        let last_counter = self.last_counter.entry(entity).or_insert(counter);
        let counter_ascends = *last_counter <= counter;
        *last_counter = (*last_counter).max(counter);
        index_ascends && counter_ascends
    }
}

/// The `relay-sequence` of each record must be its row's number in the binlog, from 1, all of one
/// generation.
struct Sequences<'a> {
    name: &'a str,
    generation: Option<u64>,
    seen: BTreeSet<u64>,
    faults: usize,
    examples: Vec<String>,
}

impl<'a> Sequences<'a> {
    fn new(name: &'a str) -> Sequences<'a> {
        Sequences { name, generation: None, seen: BTreeSet::new(), faults: 0, examples: Vec::new() }
    }

    fn take(&mut self, record: &Record, index: usize) {
        let header = record.header("relay-sequence").unwrap_or_default();
        let sequence = RelaySequence::parse(header).filter(|sequence| sequence.name == self.name);
        let number = index as u64 + 1;
        let is_right = sequence.is_some_and(|sequence| {
            let generation = *self.generation.get_or_insert(sequence.generation);
            self.seen.insert(sequence.sequence)
                && sequence.generation == generation
                && sequence.sequence == number
        });
        if !is_right {
            self.faults += 1;
            if self.examples.len() < SHOWN_AT_MOST {
                let header = String::from_utf8_lossy(header);
                let place = place_of(record);
                self.examples.push(format!("sequence: {place} is row {number}, says {header}"));
            }
        }
    }

    /// How many numbers of 1 to `count` no record had.
    fn missing(&self, count: usize) -> usize {
        (1..=count as u64).filter(|number| !self.seen.contains(number)).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::consumer::Record;
    use super::super::ledger::Expected;
    use super::{Verdict, judge, partition_of};

    const PARTITIONS: i32 = 4;

    fn expected() -> Vec<Expected> {
        (0..40)
            .map(|number| Expected {
                id: format!("id-{number}"),
                topic: "orders".to_owned(),
                key: format!("order-{}", number % 7),
                value: format!(r#"{{"id":"id-{number}","eventData":"{number}"}}"#),
                counter: number,
            })
            .collect()
    }

    fn record(row: &Expected, sequence: u64) -> Record {
        let header = format!("relay:{:016x}-{sequence:016x}", 77);
        Record {
            topic: row.topic.clone(),
            partition: partition_of(row.key.as_bytes(), PARTITIONS),
            offset: 0,
            key: Some(row.key.clone().into_bytes()),
            headers: vec![("relay-sequence".to_owned(), header.into_bytes())],
            value: Some(row.value.clone().into_bytes()),
            made_at: None,
        }
    }

    /// A publisher without a fault, into which each test builds one.
    fn published() -> Vec<Record> {
        expected().iter().zip(1..).map(|(row, sequence)| record(row, sequence)).collect()
    }

    /// Gives offsets as a broker does, in the order of arrival, and judges.
    fn verdict(mut records: Vec<Record>) -> Verdict {
        let mut ends: HashMap<i32, i64> = HashMap::new();
        for record in &mut records {
            let end = ends.entry(record.partition).or_default();
            record.offset = *end;
            *end += 1;
        }
        judge("relay", &expected(), &records, PARTITIONS)
    }

    #[test]
    fn a_faultless_run_is_clean() {
        let verdict = verdict(published());
        assert!(verdict.is_clean(), "{verdict}");
        let line = "oracle: committed 40 arrived 40 lost 0 repeated 0 reordered 0 altered 0 sequence whole";
        assert_eq!(verdict.to_string(), line);
    }

    #[test]
    fn a_run_in_which_nothing_was_committed_is_not_clean() {
        let verdict = judge("relay", &[], &[], PARTITIONS);
        assert!(!verdict.is_clean(), "{verdict}");
    }

    #[test]
    fn a_relay_that_publishes_nothing_has_lost_everything() {
        let verdict = verdict(Vec::new());
        assert_eq!((verdict.lost, verdict.is_clean()), (40, false));
    }

    #[test]
    fn a_lost_record_is_seen_even_at_the_end() {
        let mut records = published();
        records.pop();
        let verdict = verdict(records);
        assert_eq!((verdict.lost, verdict.sequence_faults), (1, 1));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn a_repeated_record_is_seen() {
        let mut records = published();
        records.push(records[3].clone());
        let verdict = verdict(records);
        assert_eq!((verdict.repeated, verdict.lost, verdict.reordered), (1, 0, 0));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn two_swapped_records_of_one_key_are_seen() {
        let mut records = published();
        records.swap(0, 7);
        let verdict = verdict(records);
        assert_eq!(verdict.reordered, 1, "{verdict}");
        assert!(!verdict.is_clean());
    }

    #[test]
    fn swapped_records_of_one_partition_with_swapped_sequences_are_seen() {
        let mut records = published();
        let headers = records[0].headers.clone();
        records[0].headers = records[7].headers.clone();
        records[7].headers = headers;
        records.swap(0, 7);
        let verdict = verdict(records);
        assert_eq!((verdict.reordered, verdict.sequence_faults), (1, 2), "{verdict}");
    }

    #[test]
    fn altered_values_keys_partitions_and_headers_are_seen() {
        let mut records = published();
        records[1].value = Some(br#"{"id":"id-1","eventData":"one"}"#.to_vec());
        records[2].key = Some(b"order-x".to_vec());
        records[3].partition = (records[3].partition + 1) % PARTITIONS;
        records[4].headers.push(("another".to_owned(), Vec::new()));
        let verdict = verdict(records);
        assert_eq!((verdict.altered, verdict.lost), (4, 0), "{verdict}");
        assert!(!verdict.is_clean());
    }

    #[test]
    fn a_record_of_a_row_that_was_rolled_back_is_seen() {
        let mut records = published();
        let mut rolled_back = expected()[0].clone();
        rolled_back.id = "id-never".to_owned();
        rolled_back.value = rolled_back.value.replace("id-0", "id-never");
        records.push(record(&rolled_back, 41));
        let verdict = verdict(records);
        assert_eq!(verdict.invented, 1);
        assert!(!verdict.is_clean());
    }

    #[test]
    fn a_gap_in_the_sequence_is_seen() {
        let rows = expected();
        let records = rows.iter().zip((1..=20).chain(22..)).map(|(row, at)| record(row, at));
        let verdict = verdict(records.collect());
        assert_eq!((verdict.lost, verdict.altered), (0, 0));
        assert!(verdict.sequence_faults > 0 && !verdict.is_clean());
    }

    #[test]
    fn another_generation_or_another_relays_name_is_seen() {
        for (from, to) in [("000000000000004d", "000000000000004e"), ("relay:", "other:")] {
            let mut records = published();
            let header = String::from_utf8(records[9].headers[0].1.clone()).expect("text");
            records[9].headers[0].1 = header.replace(from, to).into_bytes();
            let verdict = verdict(records);
            assert!(verdict.sequence_faults > 0 && !verdict.is_clean(), "{to}");
        }
    }

    #[test]
    fn partitions_are_those_of_java() {
        // Captured from a Java producer on twelve partitions.
        for (key, partition) in
            [("acc-1", 9), ("acc-2", 8), ("kulcs-é😀", 3), ("ctl", 11), ("nl", 4), ("7", 3)]
        {
            assert_eq!(partition_of(key.as_bytes(), 12), partition, "{key}");
        }
    }
}
