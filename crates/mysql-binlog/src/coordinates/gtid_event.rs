//! The events of a binlog that carry GTIDs: bodies in, [`Gtid`] and [`GtidSet`] out.
//!
//! A body is an event without its 19-byte header and without its checksum. Damaged bytes are an error,
//! never a panic and never a large allocation. Sources of the layouts:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Gtid__event.html>
//! and, for the tagged event, MySQL's own serialization format,
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PageLibsMysqlSerialization.html>.

use super::{Error, Gtid, GtidSet, Tag, Uuid};

/// Type of an event that names the transaction after it.
pub const GTID_LOG_EVENT: u8 = 33;
/// Type of the event that stands in its place where GTIDs are off.
pub const ANONYMOUS_GTID_LOG_EVENT: u8 = 34;
/// Type of the event for a GTID with a tag (MySQL 8.3 and later).
pub const GTID_TAGGED_LOG_EVENT: u8 = 42;

/// What stands before each transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GtidEvent {
    /// `None` where GTIDs are off.
    pub gtid: Option<Gtid>,
    /// When the server that is read committed it, in microseconds since 1970. Servers before 8.0 do
    /// not say.
    pub immediate_commit_timestamp_micros: Option<u64>,
}

impl Gtid {
    /// Decodes the body of an event of type 33, 34 or 42.
    ///
    /// # Errors
    /// [`Error::Event`] if the type is another one or the bytes are damaged.
    pub fn decode(event_type: u8, body: &[u8]) -> Result<GtidEvent, Error> {
        let (event, decoded) = match event_type {
            GTID_LOG_EVENT => ("GTID", decode_plain(body, true)),
            ANONYMOUS_GTID_LOG_EVENT => ("ANONYMOUS_GTID", decode_plain(body, false)),
            GTID_TAGGED_LOG_EVENT => ("GTID_TAGGED", decode_tagged(body)),
            _ => ("GTID", Err("its type is not 33, 34 or 42")),
        };
        decoded.map_err(|what| Error::Event { event, what })
    }
}

impl GtidSet {
    /// Decodes the body of a PREVIOUS_GTIDS_LOG_EVENT (type 35): all GTIDs of the files before this one.
    ///
    /// # Errors
    /// [`Error::Event`] if the bytes are damaged.
    pub fn decode_previous_gtids(body: &[u8]) -> Result<Self, Error> {
        decode_set(body).map_err(|what| Error::Event { event: "PREVIOUS_GTIDS", what })
    }
}

/// What is wrong with a body.
type Damage = &'static str;

const TRUNCATED: Damage = "it ends too early";
const BAD_NUMBER: Damage = "a transaction number is out of range";
const BAD_TAG: Damage = "the tag is not legal";

/// The event of a GTID without tag: flags (1 byte), UUID (16), number (8), type of the logical clock
/// (1), two logical times (8 each), and from 8.0 on the commit time (7). All little-endian.
fn decode_plain(body: &[u8], has_gtid: bool) -> Result<GtidEvent, Damage> {
    /// The only type of logical clock that is followed by the two logical times.
    const LOGICAL_CLOCK: u8 = 2;
    /// Set when another commit time, that of the first server, follows.
    const ORIGINAL_FOLLOWS: u64 = 1 << 55;

    let mut reader = Reader(body);
    reader.bytes(1)?;
    let uuid = Uuid::from_bytes(reader.array()?);
    let gno = u64::from_le_bytes(reader.array()?);
    let gtid = if has_gtid { Some(Gtid::new(uuid, None, gno).ok_or(BAD_NUMBER)?) } else { None };
    let mut timestamp = None;
    if reader.0.first() == Some(&LOGICAL_CLOCK) {
        reader.bytes(1 + 8 + 8)?;
        if !reader.0.is_empty() {
            let mut micros = [0; 8];
            micros[..7].copy_from_slice(reader.bytes(7)?);
            timestamp = known(u64::from_le_bytes(micros) & !ORIGINAL_FOLLOWS);
        }
    }
    Ok(GtidEvent { gtid, immediate_commit_timestamp_micros: timestamp })
}

/// A commit time of 0 is how servers write that they do not know it.
fn known(micros: u64) -> Option<u64> {
    (micros != 0).then_some(micros)
}

/// The event of a GTID with tag: version, size, last field that must be understood, then fields, each
/// with its number before it, in ascending order. Every number is of variable length.
fn decode_tagged(body: &[u8]) -> Result<GtidEvent, Damage> {
    const VERSION: u64 = 1;
    /// Fields 0 to 11 are known. The event says the last one that matters as its number plus one.
    const KNOWN_FIELDS: u64 = 12;

    let mut reader = Reader(body);
    if reader.varlen()? != VERSION {
        return Err("its serialization version is unknown");
    }
    if reader.varlen()? > body.len() as u64 {
        return Err(TRUNCATED);
    }
    if reader.varlen()? > KNOWN_FIELDS {
        return Err("it has fields of a later MySQL version that must not be passed over");
    }
    let (mut uuid, mut gno, mut tag, mut timestamp) = (None, None, None, None);
    while !reader.0.is_empty() {
        match reader.varlen()? {
            // Flags; the two logical times.
            0 | 4 | 5 => drop(reader.varlen()?),
            1 => uuid = Some(reader.varlen_uuid()?),
            2 => gno = Some(reader.varlen_signed()?),
            3 => tag = reader.tag()?,
            6 => timestamp = known(reader.varlen()?),
            // Fields ascend, and nothing after the commit time is of use here.
            _ => break,
        }
    }
    let uuid = uuid.ok_or("it has no UUID")?;
    let gno = gno.ok_or("it has no transaction number")?;
    let gtid = Gtid::new(uuid, tag, gno).ok_or(BAD_NUMBER)?;
    Ok(GtidEvent { gtid: Some(gtid), immediate_commit_timestamp_micros: timestamp })
}

/// A set: a head of 8 bytes, then for each origin its UUID (16 bytes), in the tagged format its tag,
/// the number of intervals (8), and the intervals as first and one past the last (8 each).
fn decode_set(body: &[u8]) -> Result<GtidSet, Damage> {
    let mut reader = Reader(body);
    let head = u64::from_le_bytes(reader.array()?);
    // The top byte is the format; the tagged one repeats it in the lowest byte.
    let (is_tagged, origins) = match head >> 56 {
        0 => (false, head),
        1 => (true, (head & 0x00ff_ffff_ffff_ffff) >> 8),
        _ => return Err("its format is unknown"),
    };
    let mut set = GtidSet::new();
    for _ in 0..origins {
        let uuid = Uuid::from_bytes(reader.array()?);
        let tag = if is_tagged { reader.tag()? } else { None };
        let intervals = u64::from_le_bytes(reader.array()?);
        let length = intervals.checked_mul(16).and_then(|length| usize::try_from(length).ok());
        let bytes = reader.bytes(length.ok_or(TRUNCATED)?)?;
        let pairs = bytes.chunks_exact(16).map(|pair| {
            let (first, end) = pair.split_at(8);
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
            (number(first), number(end).wrapping_sub(1))
        });
        set.add_pairs(uuid, tag, pairs).ok_or(BAD_NUMBER)?;
    }
    if reader.0.is_empty() { Ok(set) } else { Err("it is longer than it says") }
}

/// The bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (array, rest) = self.0.split_first_chunk().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(*array)
    }

    /// A number of variable length: the first byte's trailing ones count the bytes that follow it,
    /// the bit above them is 0, and the other bits are the number, lowest first. Eight ones: the
    /// number is the 8 bytes that follow.
    fn varlen(&mut self) -> Result<u64, Damage> {
        let first = *self.0.first().ok_or(TRUNCATED)?;
        let following = first.trailing_ones() as usize;
        let bytes = self.bytes(1 + following)?;
        let mut number = [0; 8];
        if following == 8 {
            number.copy_from_slice(&bytes[1..]);
            return Ok(u64::from_le_bytes(number));
        }
        number[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(number) >> bytes.len())
    }

    /// A signed number: its sign is the lowest bit. Negative ones do not occur in sound events.
    fn varlen_signed(&mut self) -> Result<u64, Damage> {
        let number = self.varlen()?;
        match number & 1 {
            0 => Ok(number >> 1),
            _ => Err(BAD_NUMBER),
        }
    }

    /// Each byte of the UUID is a number of variable length.
    fn varlen_uuid(&mut self) -> Result<Uuid, Damage> {
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            *byte =
                u8::try_from(self.varlen()?).map_err(|_| "a byte of the UUID is out of range")?;
        }
        Ok(Uuid::from_bytes(bytes))
    }

    /// A tag with its length before it; the empty one is no tag.
    fn tag(&mut self) -> Result<Option<Tag>, Damage> {
        let length = usize::try_from(self.varlen()?).map_err(|_| BAD_TAG)?;
        let text = std::str::from_utf8(self.bytes(length)?).map_err(|_| BAD_TAG)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| BAD_TAG) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gtid::tests::any_gtid;
    use super::*;
    use proptest::prelude::*;

    const UUID: [u8; 16] = *b"\x3e\x11\xfa\x47\x71\xca\x11\xe1\x9e\x33\xc8\x0a\xa9\x42\x95\x62";

    fn plain_body(gno: u64, after: &[u8]) -> Vec<u8> {
        [&[1][..], &UUID, &gno.to_le_bytes(), after].concat()
    }

    const LOGICAL: [u8; 17] = [2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn the_event_of_each_server_version_is_decoded() {
        let micros = 1_700_000_000_000_000u64.to_le_bytes();
        let mut replicated = micros;
        replicated[6] |= 0x80;
        let cases = [
            ("5.6", plain_body(23, &[]), None),
            ("5.7", plain_body(23, &LOGICAL), None),
            (
                "8.0",
                plain_body(23, &[&LOGICAL, &micros[..7], &[0xfc, 1, 2]].concat()),
                Some(1_700_000_000_000_000),
            ),
            (
                "8.0, of another server",
                plain_body(23, &[&LOGICAL, &replicated[..7], &micros[..7]].concat()),
                Some(1_700_000_000_000_000),
            ),
            ("8.0, time unknown", plain_body(23, &[&LOGICAL[..], &[0; 7]].concat()), None),
        ];
        for (version, body, micros) in cases {
            let decoded = Gtid::decode(GTID_LOG_EVENT, &body).unwrap();
            assert_eq!(decoded.immediate_commit_timestamp_micros, micros, "{version}");
            assert_eq!(
                decoded.gtid.unwrap().to_string(),
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:23"
            );
            assert_eq!(Gtid::decode(ANONYMOUS_GTID_LOG_EVENT, &body).unwrap().gtid, None);
        }
        assert!(Gtid::decode(GTID_LOG_EVENT, &plain_body(0, &LOGICAL)).is_err());
        assert!(Gtid::decode(2, &plain_body(23, &LOGICAL)).is_err());
        assert_eq!(
            Gtid::decode(GTID_LOG_EVENT, &[0; 24]).unwrap_err().to_string(),
            "damaged GTID event: it ends too early"
        );
    }

    /// A number of variable length, written down independently of the reader.
    fn varlen(number: u64) -> Vec<u8> {
        let length = (1..=8).find(|length| number < 1 << (7 * length));
        match length {
            Some(length) => {
                let ones = (1u128 << (length - 1)) - 1;
                let shifted = u128::from(number) << length | ones;
                shifted.to_le_bytes()[..length].to_vec()
            }
            None => [&[0xff], &number.to_le_bytes()[..]].concat(),
        }
    }

    fn tagged_body(fields: &[Vec<u8>]) -> Vec<u8> {
        let fields = fields.concat();
        [&varlen(1)[..], &varlen(fields.len() as u64), &varlen(0), &fields].concat()
    }

    fn tagged_fields(tag: &str, gno: u64, micros: u64) -> Vec<Vec<u8>> {
        let uuid: Vec<u8> = UUID.iter().flat_map(|&byte| varlen(byte.into())).collect();
        vec![
            vec![0, 2],
            [varlen(1), uuid].concat(),
            [varlen(2), varlen(gno << 1)].concat(),
            [varlen(3), varlen(tag.len() as u64), tag.as_bytes().to_vec()].concat(),
            [varlen(4), varlen(7 << 1)].concat(),
            [varlen(5), varlen(8 << 1)].concat(),
            [varlen(6), varlen(micros)].concat(),
            [varlen(8), varlen(300)].concat(),
        ]
    }

    #[test]
    fn a_tagged_event_is_decoded() {
        let decoded =
            |fields: &[Vec<u8>]| Gtid::decode(GTID_TAGGED_LOG_EVENT, &tagged_body(fields));
        let fields = tagged_fields("orders_1", 23, 1_700_000_000_000_000);
        let event = decoded(&fields).unwrap();
        assert_eq!(
            event.gtid.unwrap().to_string(),
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:orders_1:23"
        );
        assert_eq!(event.immediate_commit_timestamp_micros, Some(1_700_000_000_000_000));
        assert!(decoded(&fields[..2]).is_err());
        assert!(decoded(&fields[2..]).is_err());
        assert!(decoded(&tagged_fields("or-ders", 23, 1)).is_err());
        assert!(decoded(&tagged_fields("orders", 0, 1)).is_err());
        let unknown_field = [vec![2, 4, 13 << 1], fields.concat()].concat();
        assert!(Gtid::decode(GTID_TAGGED_LOG_EVENT, &unknown_field).is_err());
    }

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
        (0..hexadecimal.len()).step_by(2).map(digits).collect()
    }

    /// Recorded from MySQL 9.7.4: two transactions with `gtid_next` set to `automatic:orders_1` and to
    /// `3e11fa47-71ca-11e1-9e33-c80aa9429562:zz:1234567890123`, and the head of the file after them.
    #[test]
    fn what_mysql_9_7_wrote_is_decoded() {
        let tagged = |hexadecimal| {
            let event = Gtid::decode(GTID_TAGGED_LOG_EVENT, &bytes(hexadecimal)).unwrap();
            (event.gtid.unwrap().to_string(), event.immediate_commit_timestamp_micros)
        };
        assert_eq!(
            tagged(concat!(
                "027a00000002ba9664e9039503890222c5038502a10304f10300000002040406106f72646572735f3108080a",
                "0c0c7f2d856208c860061039041283120b"
            )),
            (
                "5d4b32fa-e5a2-11f1-a1e8-02fc00000001:orders_1:1".to_owned(),
                Some(1_795_262_110_663_981)
            )
        );
        assert_eq!(
            tagged(concat!(
                "0278000000027c22e9038ee22903228503790266210314a502845502c4049f6582fdb88f06047a7a08140a18",
                "0c7fdf886208c860061035041283120b"
            )),
            (
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:zz:1234567890123".to_owned(),
                Some(1_795_262_110_664_927)
            )
        );
        let previous = bytes(concat!(
            "01030000000000013e11fa4771ca11e19e33c80aa9429562047a7a0100000000000000cb04fb711f010000",
            "cc04fb711f0100005d4b32fae5a211f1a1e802fc0000000100010000000000000001000000000000000400",
            "0000000000005d4b32fae5a211f1a1e802fc00000001106f72646572735f31010000000000000001000000",
            "000000000300000000000000"
        ));
        assert_eq!(
            GtidSet::decode_previous_gtids(&previous).unwrap().to_string(),
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:zz:1234567890123,\
             5d4b32fa-e5a2-11f1-a1e8-02fc00000001:1-3:orders_1:1-2"
        );
    }

    #[test]
    fn what_is_wrong_with_a_set_is_said() {
        let damage = |body: &[u8]| GtidSet::decode_previous_gtids(body).unwrap_err().to_string();
        assert!(GtidSet::decode_previous_gtids(&[0; 8]).unwrap().is_empty());
        assert!(damage(&[0; 7]).contains("too early"));
        assert!(damage(&[0; 9]).contains("longer than it says"));
        assert!(damage(&(2u64 << 56).to_le_bytes()).contains("format is unknown"));
        let one = |intervals: u64, rest: &[u64]| {
            let rest: Vec<u8> = rest.iter().flat_map(|n| n.to_le_bytes()).collect();
            [&1u64.to_le_bytes()[..], &UUID, &intervals.to_le_bytes(), &rest].concat()
        };
        assert!(damage(&one(u64::MAX, &[])).contains("too early"));
        assert!(damage(&one(1, &[5, 5])).contains("out of range"));
        assert!(damage(&one(1, &[5, 0])).contains("out of range"));
        assert!(damage(&one(1, &[0, 5])).contains("out of range"));
        assert!(GtidSet::decode_previous_gtids(&one(1, &[5, 6])).is_ok());
    }

    /// A set of single transactions, in the tagged format where a tag is in it.
    fn encode(gtids: &[Gtid]) -> Vec<u8> {
        let is_tagged = gtids.iter().any(|gtid| gtid.tag().is_some());
        let count = gtids.len() as u64;
        let head = if is_tagged { 1 << 56 | count << 8 | 1 } else { count };
        let mut body = head.to_le_bytes().to_vec();
        for gtid in gtids {
            body.extend(gtid.uuid().as_bytes());
            if is_tagged {
                let tag = gtid.tag().map_or("", Tag::as_str);
                body.extend([&varlen(tag.len() as u64), tag.as_bytes()].concat());
            }
            body.extend([1, gtid.gno(), gtid.gno() + 1].map(u64::to_le_bytes).concat());
        }
        body
    }

    proptest! {
        #[test]
        fn an_encoded_set_is_decoded(gtids in prop::collection::vec(any_gtid(), 0..20)) {
            let set: GtidSet = gtids.iter().cloned().collect();
            prop_assert_eq!(GtidSet::decode_previous_gtids(&encode(&gtids)).unwrap(), set);
        }

        #[test]
        fn a_number_of_any_length_is_read(number in any::<u64>(), shift in 0..64u32) {
            let number = number >> shift;
            let bytes = varlen(number);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.varlen(), Ok(number));
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn damaged_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..120), kind in 30..45u8) {
            let _ = Gtid::decode(kind, &body);
            let _ = GtidSet::decode_previous_gtids(&body);
        }

        #[test]
        fn a_sound_event_with_one_damaged_byte_never_panics(
            gtids in prop::collection::vec(any_gtid(), 0..6), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            for mut body in [encode(&gtids), tagged_body(&tagged_fields("tag", 5, 6)), plain_body(5, &LOGICAL)] {
                let at = at.index(body.len());
                body[at] = byte;
                let _ = GtidSet::decode_previous_gtids(&body);
                let _ = Gtid::decode(GTID_LOG_EVENT, &body[..at]);
                let _ = Gtid::decode(GTID_TAGGED_LOG_EVENT, &body);
                let _ = Gtid::decode(GTID_TAGGED_LOG_EVENT, &body[..at]);
            }
        }
    }
}
