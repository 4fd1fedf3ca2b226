//! The buffer between reading and publishing: records as ranges of one reused byte buffer.
//!
//! Drafts enter (topic, key, value, headers). A sealed batch leaves, which the sink publishes with the checkpoint it leads to.
//! The batch knows where the last whole MySQL transaction ends (its boundary), and can be cut there. The records behind
//! the cut move to the next batch. A batch knows nothing of Kafka or MySQL.

mod headers;

pub use self::headers::{Header, Headers, write_header};
use crate::telemetry::clock::CommitTime;

/// The limits of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most records in one batch; at least 1.
    pub records_max: usize,
    /// Most bytes of keys, values and headers in one batch. A single larger record is a batch of its own.
    pub bytes_max: usize,
}

/// Index of a destination topic in the table of known topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DestinationId(pub u32);

/// One record as the publisher sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub topic: DestinationId,
    /// `None`: NULL, which is not the same as empty. All such records of a destination keep their order.
    pub key: Option<&'a [u8]>,
    /// `None`: NULL, a tombstone.
    pub value: Option<&'a [u8]>,
    /// Beside those that the sink adds.
    pub headers: Headers<'a>,
    /// Tells the partition, modulo the number of partitions; `None`: the key does. It may be any number of 64 bits, with
    /// or without a sign.
    pub partition: Option<i128>,
    /// Milliseconds since 1970; `None`: the producer's time.
    pub timestamp: Option<i64>,
    /// It was found in the sink: it counts, but is not sent.
    pub is_in_kafka: bool,
}

impl RecordRef<'_> {
    /// Bytes of its key, value and headers.
    pub fn bytes(&self) -> usize {
        self.key.unwrap_or_default().len()
            + self.value.unwrap_or_default().len()
            + self.headers.bytes()
    }
}

/// What a draft is made of: a key, then a value, then headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// `None`: the key is NULL.
    pub key_len: Option<usize>,
    /// `None`: the value is NULL.
    pub value_len: Option<usize>,
    /// As [`RecordRef::partition`].
    pub partition: Option<i128>,
    /// As [`RecordRef::timestamp`].
    pub timestamp: Option<i64>,
}

impl Parts {
    /// A key and a value, and nothing else.
    pub fn of(key_len: usize, value_len: usize) -> Parts {
        Parts { key_len: Some(key_len), value_len: Some(value_len), ..Parts::default() }
    }
}

/// A record in the buffer. It begins where the one before it ends.
#[derive(Debug, Clone)]
struct Span {
    topic: DestinationId,
    start: usize,
    key_end: usize,
    value_end: usize,
    /// Of the headers.
    end: usize,
    has_key: bool,
    has_value: bool,
    is_in_kafka: bool,
    partition: Option<i128>,
    timestamp: Option<i64>,
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

    /// The buffer to which the envelope appends a key, then a value, then headers by [`write_header`], before
    /// [`Batch::push`] or [`Batch::push_parts`].
    pub fn draft(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The bytes appended since the last record.
    pub fn draft_len(&self) -> usize {
        self.bytes.len() - self.end()
    }

    /// The first `key_len` bytes of the draft.
    pub fn draft_key(&self, key_len: usize) -> &[u8] {
        let start = self.end();
        &self.bytes[start..start + key_len]
    }

    /// Drops the draft.
    pub fn drop_draft(&mut self) {
        let end = self.end();
        self.bytes.truncate(end);
    }

    /// The key of a draft of these parts, and its headers as bytes.
    pub fn draft_key_and_headers(&self, parts: Parts) -> (&[u8], &[u8]) {
        let draft = &self.bytes[self.end()..];
        let key_len = parts.key_len.unwrap_or_default();
        (&draft[..key_len], &draft[key_len + parts.value_len.unwrap_or_default()..])
    }

    /// The headers of the draft, behind its key and value.
    pub fn draft_headers(&self, parts: Parts) -> Headers<'_> {
        let before = parts.key_len.unwrap_or_default() + parts.value_len.unwrap_or_default();
        Headers::of(&self.bytes[self.end() + before..])
    }

    /// Makes the draft a record: its first `key_len` bytes are the key, the rest is the value.
    pub fn push(&mut self, topic: DestinationId, key_len: usize, committed_at: CommitTime) {
        self.unsent += 1;
        self.push_span(self.of_key_and_value(topic, key_len), committed_at);
    }

    /// The same for a record that was found in Kafka.
    pub fn push_found(&mut self, topic: DestinationId, key_len: usize, committed_at: CommitTime) {
        let span = Span { is_in_kafka: true, ..self.of_key_and_value(topic, key_len) };
        self.push_span(span, committed_at);
    }

    /// Makes the draft a record of these parts.
    ///
    /// # Panics
    /// The draft is shorter than its key and value.
    pub fn push_parts(&mut self, topic: DestinationId, parts: Parts, committed_at: CommitTime) {
        self.unsent += 1;
        self.push_span(self.of_parts(topic, parts), committed_at);
    }

    /// The same of a record that was found in Kafka.
    ///
    /// # Panics
    /// As [`Batch::push_parts`].
    pub fn push_found_parts(
        &mut self,
        topic: DestinationId,
        parts: Parts,
        committed_at: CommitTime,
    ) {
        let span = Span { is_in_kafka: true, ..self.of_parts(topic, parts) };
        self.push_span(span, committed_at);
    }

    fn of_key_and_value(&self, topic: DestinationId, key_len: usize) -> Span {
        self.of_parts(topic, Parts::of(key_len, self.draft_len() - key_len))
    }

    fn of_parts(&self, topic: DestinationId, parts: Parts) -> Span {
        let Parts { key_len, value_len, partition, timestamp } = parts;
        let (start, end) = (self.end(), self.bytes.len());
        let key_end = start + key_len.unwrap_or_default();
        let value_end = key_end + value_len.unwrap_or_default();
        assert!(value_end <= end, "a draft holds its key and its value");
        let (has_key, has_value) = (key_len.is_some(), value_len.is_some());
        Span {
            topic,
            start,
            key_end,
            value_end,
            end,
            has_key,
            has_value,
            is_in_kafka: false,
            partition,
            timestamp,
        }
    }

    fn push_span(&mut self, span: Span, committed_at: CommitTime) {
        self.spans.push(span);
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

    /// Bytes of keys, values and headers.
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
            key: span.has_key.then(|| &self.bytes[span.start..span.key_end]),
            value: span.has_value.then(|| &self.bytes[span.key_end..span.value_end]),
            headers: Headers::of(&self.bytes[span.value_end..span.end]),
            is_in_kafka: span.is_in_kafka,
            partition: span.partition,
            timestamp: span.timestamp,
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
        let start = keep.checked_sub(1).map_or(0, |last| self.spans[last].end);
        rest.bytes.extend_from_slice(&self.bytes[start..]);
        rest.spans.extend(self.spans.drain(keep..).map(|span| Span {
            start: span.start - start,
            key_end: span.key_end - start,
            value_end: span.value_end - start,
            end: span.end - start,
            ..span
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
        self.spans.last().map_or(0, |span| span.end)
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
                String::from_utf8(record.key.unwrap().to_vec()).unwrap()
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
        push(&mut rest, "e");
        assert_eq!((rest.len(), rest.unsent()), (3, 2));
        rest.roll_back();
        assert_eq!((rest.len(), rest.unsent()), (0, 0));
        batch.clear();
        assert_eq!((batch.len(), batch.unsent()), (0, 0));
    }

    #[test]
    fn the_draft_is_what_was_appended_since_the_last_record() {
        let mut batch = batch(10);
        push(&mut batch, "a");
        assert_eq!(batch.draft_len(), 0);
        batch.draft().extend_from_slice(b"key and value");
        assert_eq!((batch.draft_len(), batch.draft_key(3)), (13, &b"key"[..]));
    }

    #[test]
    fn nothing_is_cut_off_before_a_transaction_is_whole() {
        let mut batch = batch(10);
        assert_eq!(batch.cut_now(), None);
        push(&mut batch, "a");
        assert_eq!(batch.cut_now(), None);
        batch.mark_boundary();
        push(&mut batch, "b");
        assert_eq!(batch.cut_now(), Some(Cut::Boundary(1)));
    }

    /// What is known of the times of a batch: those of its transactions, and that of its first record.
    fn times(batch: &Batch) -> (Vec<CommitTime>, Option<CommitTime>) {
        (batch.transactions().to_vec(), batch.oldest())
    }

    #[test]
    fn commit_times_stay_with_their_transactions() {
        let at = CommitTime::from_seconds;
        let push_at = |batch: &mut Batch, seconds| batch.push(DestinationId(7), 0, at(seconds));
        let mut filling = batch(10);
        push_at(&mut filling, 1);
        filling.mark_boundary();
        // A transaction without rows ends there as well.
        filling.mark_boundary();
        push_at(&mut filling, 2);
        push_at(&mut filling, 2);
        filling.mark_boundary();
        push_at(&mut filling, 3);
        assert_eq!(times(&filling), (vec![at(1), at(2)], Some(at(1))));
        let mut rest = batch(10);
        filling.cut(Cut::Boundary(3), &mut rest);
        assert_eq!(times(&filling), (vec![at(1), at(2)], Some(at(1))));
        assert_eq!(times(&rest), (vec![], Some(at(3))));
        rest.mark_boundary();
        assert_eq!(times(&rest), (vec![at(3)], Some(at(3))));
    }

    #[test]
    fn a_batch_without_records_has_no_commit_time() {
        let at = CommitTime::from_seconds(4);
        let (mut filling, mut rest) = (batch(10), batch(10));
        filling.push(DestinationId(7), 0, at);
        filling.cut(Cut::Boundary(0), &mut rest);
        assert_eq!((filling.oldest(), rest.oldest()), (None, Some(at)));
        rest.roll_back();
        assert_eq!(rest.oldest(), None);
        let mut last = batch(10);
        rest.push(DestinationId(7), 0, at);
        rest.mark_boundary();
        rest.cut(Cut::Boundary(1), &mut last);
        assert_eq!((rest.oldest(), last.oldest()), (Some(at), None));
        assert_eq!((rest.is_empty(), last.is_empty()), (false, true));
    }

    #[test]
    fn a_record_of_parts_that_was_found_counts_and_is_not_sent() {
        let (mut batch, at) = (batch(10), CommitTime::from_seconds(0));
        let parts = Parts { key_len: Some(1), ..Parts::default() };
        batch.draft().extend_from_slice(b"a");
        batch.push_found_parts(DestinationId(7), parts, at);
        batch.draft().extend_from_slice(b"b");
        batch.push_parts(DestinationId(7), parts, at);
        assert_eq!((batch.len(), batch.unsent()), (2, 1));
        let (first, second) = (batch.record(0), batch.record(1));
        assert_eq!((first.key, first.value, first.is_in_kafka), (Some(&b"a"[..]), None, true));
        assert_eq!((second.key, second.is_in_kafka), (Some(&b"b"[..]), false));
        let unsent: Vec<_> = batch.unsent_records().collect();
        assert_eq!(unsent, [(1, second)]);
    }

    #[test]
    fn a_record_has_the_headers_that_were_written_and_no_others() {
        let (mut batch, at) = (batch(10), CommitTime::from_seconds(0));
        let parts = Parts::default();
        write_header(batch.draft(), "a", Some(b"1"));
        write_header(batch.draft(), "b", None);
        batch.push_parts(DestinationId(7), parts, at);
        batch.push_parts(DestinationId(7), parts, at);
        let headers = batch.record(0).headers;
        let written = [Header { name: "a", value: Some(b"1") }, Header { name: "b", value: None }];
        assert_eq!(headers.into_iter().collect::<Vec<_>>(), written);
        assert_eq!((headers.is_empty(), headers.bytes()), (false, 19));
        let none = batch.record(1).headers;
        assert_eq!((none.is_empty(), none.bytes(), none.into_iter().count()), (true, 0, 0));
    }

    /// A record as a test writes it down.
    #[derive(Debug, Clone, PartialEq)]
    struct Written {
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    }

    impl Written {
        fn of(record: RecordRef<'_>) -> Written {
            let header = |it: Header<'_>| (it.name.to_owned(), it.value.map(<[u8]>::to_vec));
            Written {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(header).collect(),
            }
        }

        fn push(&self, batch: &mut Batch) {
            batch.draft().extend_from_slice(self.key.as_deref().unwrap_or_default());
            batch.draft().extend_from_slice(self.value.as_deref().unwrap_or_default());
            for (name, value) in &self.headers {
                write_header(batch.draft(), name, value.as_deref());
            }
            let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(Vec::len);
            let (key_len, value_len) = (length(&self.key), length(&self.value));
            let parts = Parts { key_len, value_len, ..Parts::default() };
            batch.push_parts(DestinationId(7), parts, CommitTime::from_seconds(0));
        }
    }

    fn written() -> impl Strategy<Value = Written> {
        let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..6));
        let headers = prop::collection::vec((".{0,4}", bytes()), 0..4);
        (bytes(), bytes(), headers).prop_map(|(key, value, headers)| Written {
            key,
            value,
            headers,
        })
    }

    proptest! {
        /// Keys, values and headers are read as they were written, NULL or empty or not, also where the batch was
        /// cut between them and the open transaction rolled back.
        #[test]
        fn keys_values_and_headers_are_read_as_they_were_written(
            records in prop::collection::vec(written(), 1..20), cut in 0usize..20,
        ) {
            let cut = cut.min(records.len());
            let mut first = batch(100);
            for (index, record) in records.iter().enumerate() {
                if index == cut {
                    first.mark_boundary();
                }
                record.push(&mut first);
            }
            if cut == records.len() {
                first.mark_boundary();
            }
            let read = |batch: &Batch| batch.records().map(Written::of).collect::<Vec<_>>();
            prop_assert_eq!(&read(&first), &records);
            let bytes: usize = first.records().map(|record| record.bytes()).sum();
            prop_assert_eq!(bytes, first.bytes());
            let mut rest = batch(100);
            first.cut(Cut::Boundary(cut), &mut rest);
            prop_assert_eq!(&read(&first), &records[..cut]);
            prop_assert_eq!(&read(&rest), &records[cut..]);
            records[0].push(&mut first);
            if cut > 0 {
                first.roll_back();
                prop_assert_eq!(&read(&first), &records[..cut]);
            }
        }

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
                        prop_assert!((1..=limit).contains(&filling.len()));
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
