//! The buffer between reading and publishing: records as ranges of one reused byte buffer.
//!
//! Drafts enter (topic, key, value). A sealed batch leaves, which the sink publishes with the checkpoint it leads to.
//! The batch knows where the last whole MySQL transaction ends (its boundary), and can be cut there. The records behind
//! the cut move to the next batch. A batch knows nothing of Kafka or MySQL.

use std::ops::Range;

use crate::telemetry::clock::CommitTime;

/// The limits of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most records in one batch; at least 1.
    pub records_max: usize,
    /// Most bytes of keys and values in one batch. A single larger record is a batch of its own.
    pub bytes_max: usize,
}

/// Index of a destination topic in the table of known topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DestinationId(pub u32);

/// One record as the publisher sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub topic: DestinationId,
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// It was found in the sink: it counts, but is not sent.
    pub is_in_kafka: bool,
}

#[derive(Debug, Clone)]
struct Span {
    topic: DestinationId,
    key: Range<usize>,
    value: Range<usize>,
    is_in_kafka: bool,
}

/// Records in stream order, with the boundary of the last whole MySQL transaction among them.
#[derive(Debug)]
pub struct Batch {
    limits: Limits,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Number of records that are not in Kafka yet.
    unsent: usize,
    boundary: usize,
    /// Commit time of each whole transaction.
    transactions: Vec<CommitTime>,
    /// Commit times of the first record's transaction and of the last one's.
    oldest: Option<CommitTime>,
    newest: Option<CommitTime>,
}

/// Where to cut a batch, and what the cut means for the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// After the last whole transaction: this many records.
    Boundary(usize),
    /// Inside a transaction that is larger than the limits: this many records, all of it.
    Part(usize),
}

impl Cut {
    /// Number of records before the cut.
    pub fn records(self) -> usize {
        match self {
            Cut::Boundary(records) | Cut::Part(records) => records,
        }
    }
}

impl Batch {
    pub fn new(limits: Limits) -> Batch {
        Batch {
            limits,
            bytes: Vec::new(),
            spans: Vec::new(),
            unsent: 0,
            boundary: 0,
            transactions: Vec::new(),
            oldest: None,
            newest: None,
        }
    }

    /// The buffer to which the envelope appends a key and then a value, before [`Batch::push`].
    pub fn draft(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The bytes appended since the last record: key and value of the draft.
    pub fn draft_len(&self) -> usize {
        self.bytes.len() - self.end()
    }

    /// The first `key_len` bytes of the draft.
    pub fn draft_key(&self, key_len: usize) -> &[u8] {
        let start = self.end();
        &self.bytes[start..start + key_len]
    }

    /// Makes the draft a record: its first `key_len` bytes are the key, the rest is the value.
    pub fn push(&mut self, topic: DestinationId, key_len: usize, committed_at: CommitTime) {
        self.unsent += 1;
        self.push_span(topic, key_len, committed_at, false);
    }

    /// The same for a record that was found in Kafka.
    pub fn push_found(&mut self, topic: DestinationId, key_len: usize, committed_at: CommitTime) {
        self.push_span(topic, key_len, committed_at, true);
    }

    fn push_span(
        &mut self,
        topic: DestinationId,
        key_len: usize,
        committed_at: CommitTime,
        is_in_kafka: bool,
    ) {
        let start = self.end();
        let key = start..start + key_len;
        self.spans.push(Span { topic, value: key.end..self.bytes.len(), key, is_in_kafka });
        self.oldest.get_or_insert(committed_at);
        self.newest = Some(committed_at);
    }

    /// All records so far belong to whole transactions.
    pub fn mark_boundary(&mut self) {
        if self.boundary < self.spans.len() {
            self.boundary = self.spans.len();
            self.transactions.extend(self.newest);
        }
    }

    /// Drops the records after the boundary: their transaction was rolled back, or is read again later.
    pub fn roll_back(&mut self) {
        let dropped = &self.spans[self.boundary..];
        self.unsent -= dropped.iter().filter(|span| !span.is_in_kafka).count();
        self.spans.truncate(self.boundary);
        let end = self.end();
        self.bytes.truncate(end);
        self.newest = self.transactions.last().copied();
        if self.spans.is_empty() {
            self.oldest = None;
        }
    }

    /// Empties the batch and keeps its memory, up to the size of the limits.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.unsent = 0;
        self.bytes.clear();
        self.boundary = 0;
        self.transactions.clear();
        (self.oldest, self.newest) = (None, None);
        self.bytes.shrink_to(self.limits.bytes_max);
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Records that are not in Kafka yet.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Commit times of the transactions that end in this batch, in stream order.
    pub fn transactions(&self) -> &[CommitTime] {
        &self.transactions
    }

    /// When the first record's transaction was committed.
    pub fn oldest(&self) -> Option<CommitTime> {
        self.oldest
    }

    /// The records in stream order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        self.spans.iter().map(|span| self.read(span))
    }

    /// The record of this index.
    ///
    /// # Panics
    /// The batch has fewer.
    pub fn record(&self, index: usize) -> RecordRef<'_> {
        self.read(&self.spans[index])
    }

    fn read(&self, span: &Span) -> RecordRef<'_> {
        RecordRef {
            topic: span.topic,
            key: &self.bytes[span.key.clone()],
            value: &self.bytes[span.value.clone()],
            is_in_kafka: span.is_in_kafka,
        }
    }

    /// The records that are not in Kafka yet, with their indices in the batch.
    pub fn unsent_records(&self) -> impl Iterator<Item = (usize, RecordRef<'_>)> {
        self.records().enumerate().filter(|(_, record)| !record.is_in_kafka)
    }

    /// Where to cut this batch to publish it now; `None` if nothing in it may be published.
    pub fn cut_now(&self) -> Option<Cut> {
        (self.boundary > 0).then_some(Cut::Boundary(self.boundary))
    }

    /// Where to cut this batch because it is over its limits; `None` while there is room.
    ///
    /// The last record is the one above the limits, so a part of a large transaction ends before it.
    pub fn cut_full(&self) -> Option<Cut> {
        if self.spans.len() <= self.limits.records_max && self.bytes.len() <= self.limits.bytes_max
        {
            return None;
        }
        match (self.boundary, self.spans.len()) {
            (1.., _) => Some(Cut::Boundary(self.boundary)),
            (0, 2..) => Some(Cut::Part(self.spans.len() - 1)),
            _ => None,
        }
    }

    /// Cuts this batch and moves the records behind the cut into `rest`, which must be empty.
    ///
    /// A cut is never before the boundary: those of [`Batch::cut_now`] and [`Batch::cut_full`] are not.
    pub fn cut(&mut self, cut: Cut, rest: &mut Batch) {
        debug_assert!(rest.is_empty());
        let keep = cut.records();
        let start = keep.checked_sub(1).map_or(0, |last| self.spans[last].value.end);
        rest.bytes.extend_from_slice(&self.bytes[start..]);
        rest.spans.extend(self.spans.drain(keep..).map(|span| Span {
            topic: span.topic,
            key: span.key.start - start..span.key.end - start,
            value: span.value.start - start..span.value.end - start,
            is_in_kafka: span.is_in_kafka,
        }));
        rest.unsent = rest.spans.iter().filter(|span| !span.is_in_kafka).count();
        self.unsent -= rest.unsent;
        debug_assert!(self.boundary <= keep);
        if !rest.is_empty() {
            // The moved records all belong to the open transaction.
            rest.newest = self.newest;
            rest.oldest = if keep == 0 { self.oldest.take() } else { self.newest };
        }
        self.bytes.truncate(start);
    }

    fn end(&self) -> usize {
        self.spans.last().map_or(0, |span| span.value.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(batch: &mut Batch, text: &str) {
        batch.draft().extend_from_slice(text.as_bytes());
        batch.draft().extend_from_slice(text.as_bytes());
        batch.push(DestinationId(7), text.len(), CommitTime::from_seconds(0));
    }

    fn keys(batch: &Batch) -> Vec<String> {
        batch
            .records()
            .map(|record| {
                assert_eq!(record.key, record.value);
                String::from_utf8(record.key.to_vec()).unwrap()
            })
            .collect()
    }

    fn batch(records_max: usize) -> Batch {
        Batch::new(Limits { records_max, bytes_max: 1 << 20 })
    }

    #[test]
    fn a_transaction_of_exactly_the_limit_is_not_split() {
        let mut batch = batch(3);
        for text in ["a", "b", "c"] {
            push(&mut batch, text);
        }
        assert_eq!(batch.cut_full(), None);
        push(&mut batch, "d");
        assert_eq!(batch.cut_full(), Some(Cut::Part(3)));
    }

    #[test]
    fn a_full_batch_is_cut_at_the_boundary_before_any_transaction_is_split() {
        let mut batch = batch(3);
        push(&mut batch, "a");
        batch.mark_boundary();
        for text in ["b", "c", "d"] {
            push(&mut batch, text);
        }
        let mut rest = Batch::new(batch.limits);
        assert_eq!(batch.cut_full(), Some(Cut::Boundary(1)));
        batch.cut(Cut::Boundary(1), &mut rest);
        assert_eq!(keys(&batch), ["a"]);
        assert_eq!(keys(&rest), ["b", "c", "d"]);
        assert_eq!((rest.len() - rest.boundary, rest.cut_full()), (3, None));
    }

    #[test]
    fn a_single_record_above_the_limit_is_a_batch_of_its_own() {
        let mut batch = Batch::new(Limits { records_max: 10, bytes_max: 4 });
        push(&mut batch, "far too long");
        assert_eq!(batch.cut_full(), None);
        push(&mut batch, "b");
        assert_eq!(batch.cut_full(), Some(Cut::Part(1)));
    }

    #[test]
    fn rolling_back_keeps_the_whole_transactions() {
        let mut batch = batch(10);
        push(&mut batch, "a");
        batch.mark_boundary();
        push(&mut batch, "b");
        batch.draft().extend_from_slice(b"half a draft");
        batch.roll_back();
        assert_eq!(keys(&batch), ["a"]);
        push(&mut batch, "c");
        assert_eq!(keys(&batch), ["a", "c"]);
    }

    #[test]
    fn what_was_found_in_kafka_counts_as_a_record_and_is_not_sent() {
        let mut batch = batch(10);
        let found = |batch: &mut Batch, text: &str| {
            batch.draft().extend_from_slice(text.as_bytes());
            batch.draft().extend_from_slice(text.as_bytes());
            assert_eq!(batch.draft_key(text.len()), text.as_bytes());
            batch.push_found(DestinationId(7), text.len(), CommitTime::from_seconds(0));
        };
        found(&mut batch, "a");
        push(&mut batch, "b");
        batch.mark_boundary();
        found(&mut batch, "c");
        push(&mut batch, "d");
        assert_eq!((batch.len(), batch.unsent()), (4, 2));
        let mut rest = Batch::new(batch.limits);
        batch.cut(Cut::Boundary(2), &mut rest);
        assert_eq!((batch.len(), batch.unsent()), (2, 1));
        assert_eq!((rest.len(), rest.unsent()), (2, 1));
        let is_in_kafka = |batch: &Batch| -> Vec<bool> {
            batch.records().map(|record| record.is_in_kafka).collect()
        };
        assert_eq!(
            (is_in_kafka(&batch), is_in_kafka(&rest)),
            (vec![true, false], vec![true, false])
        );
        rest.roll_back();
        assert_eq!((rest.len(), rest.unsent()), (0, 0));
        batch.clear();
        assert_eq!((batch.len(), batch.unsent()), (0, 0));
    }

    proptest! {
        /// Whatever is pushed, marked and cut comes out once and in order, and no part of a transaction
        /// leaves before the rest unless the transaction is above the limits.
        #[test]
        fn cutting_loses_repeats_and_reorders_nothing(
            sizes in prop::collection::vec(1usize..8, 1..40), limit in 1usize..6,
        ) {
            let mut filling = batch(limit);
            let mut out: Vec<Vec<String>> = Vec::new();
            let mut next = 0u32;
            for size in &sizes {
                for _ in 0..*size {
                    push(&mut filling, &next.to_string());
                    next += 1;
                    while let Some(cut) = filling.cut_full() {
                        prop_assert!(matches!(cut, Cut::Boundary(_)) || *size > limit);
                        let mut rest = batch(limit);
                        filling.cut(cut, &mut rest);
                        prop_assert!(filling.len() <= limit);
                        out.push(keys(&filling));
                        filling = rest;
                    }
                }
                filling.mark_boundary();
            }
            out.push(keys(&filling));
            let all: Vec<String> = out.concat();
            prop_assert_eq!(all, (0..next).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }
}
