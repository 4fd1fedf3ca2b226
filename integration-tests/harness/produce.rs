//! Produce requests as librdkafka sends them, of one partition each: which partition and producer they are of, and
//! answers in a broker's place (<https://kafka.apache.org/protocol#The_Messages_Produce>, versions 9 and 10).

const PRODUCE: i16 = 0;

/// In front of a batch's records, where the fields stand that we read.
const PRODUCER_ID_AT: usize = 43;
const EPOCH_AT: usize = 51;

/// What a broker says of a request that may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Error {
    UnknownTopicOrPartition = 3,
    NotLeaderOrFollower = 6,
    RequestTimedOut = 7,
    NotEnoughReplicas = 19,
    NotEnoughReplicasAfterAppend = 20,
    Storage = 56,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producing {
    pub topic: String,
    pub partition: i32,
    pub producer_id: i64,
    pub epoch: i16,
}

pub fn api_key(request: &[u8]) -> i16 {
    i16::from_be_bytes([request[0], request[1]])
}

/// Of an answer; of a request from its fifth byte on.
pub fn correlation(frame: &[u8]) -> i32 {
    i32::from_be_bytes(frame[..4].try_into().expect("four bytes"))
}

/// Of an EndTxn request: behind client id and transactional id.
pub fn producer_of_end_txn(request: &[u8]) -> i64 {
    let mut reader = Reader(&request[8..]);
    reader.short_text();
    reader.short_text();
    reader.i64()
}

/// The error of a Produce answer of one partition.
pub fn error_of(answer: &[u8]) -> i16 {
    // Correlation, no tags, one topic.
    let mut reader = Reader(&answer[4 + 1 + 1..]);
    reader.compact();
    // One partition, and its number.
    reader.take(1 + 4);
    reader.i16()
}

impl Producing {
    /// What a Produce request is of; `None` of other requests.
    pub fn parse(request: &[u8]) -> Option<Producing> {
        if api_key(request) != PRODUCE {
            return None;
        }
        let version = i16::from_be_bytes([request[2], request[3]]);
        assert!(matches!(version, 9 | 10), "brokers of this age speak version 9: {version}");
        let mut reader = Reader(&request[8..]);
        reader.short_text();
        // No tags; transactional id; acknowledgements and timeout; one topic.
        reader.take(1);
        reader.compact();
        reader.take(2 + 4);
        assert_eq!(reader.varint(), 1 + 1, "a request of one topic");
        let topic = String::from_utf8_lossy(reader.compact()).into_owned();
        assert_eq!(reader.varint(), 1 + 1, "a request of one partition");
        let partition = reader.i32();
        let batch = reader.compact();
        Some(Producing {
            topic,
            partition,
            producer_id: Reader(&batch[PRODUCER_ID_AT..]).i64(),
            epoch: Reader(&batch[EPOCH_AT..]).i16(),
        })
    }

    /// The answer of a broker that does not acknowledge this.
    pub fn failure(&self, correlation: i32, error: Error) -> Vec<u8> {
        let name = self.topic.as_bytes();
        let name_length = u8::try_from(name.len() + 1).ok().filter(|length| *length < 0x80);
        let mut answer = correlation.to_be_bytes().to_vec();
        // No tags, one topic.
        answer.extend([0, 1 + 1, name_length.expect("a short name")]);
        answer.extend(name);
        answer.push(1 + 1);
        answer.extend(self.partition.to_be_bytes());
        answer.extend((error as i16).to_be_bytes());
        // No offset, time and start of the log.
        answer.extend([0xFF; 3 * 8]);
        // No errors of records, no text, no tags; no tags of the topic.
        answer.extend([1, 0, 0, 0]);
        // No throttling, no tags.
        answer.extend([0; 4 + 1]);
        answer
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, left) = self.0.split_at(length);
        self.0 = left;
        taken
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    /// With a length of two bytes, -1 for none.
    fn short_text(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.i16()).unwrap_or(0);
        self.take(length)
    }

    /// With a length of which one is to be taken off, 0 for none.
    fn compact(&mut self) -> &'a [u8] {
        let length = self.varint().saturating_sub(1);
        self.take(length)
    }

    fn varint(&mut self) -> usize {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.take(1)[0];
            value |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}
