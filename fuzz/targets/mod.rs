//! The fuzz targets of the source. Each is a function that takes any bytes from outside: it may refuse them, but it may
//! not panic, loop without end, or allocate more than a multiple of their length.
//!
//! Programs for libFuzzer call the functions (`fuzz_targets`), and so does a test of `make test` (`integration-tests/fuzz`),
//! with the seeds and with seeds that have one byte changed or are cut off.

mod gtids;
mod login;
mod seeds;
mod statements;
mod streams;
mod tables;
mod values;

pub use self::seeds::recordings;

/// One function that takes bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Takes the bytes.
    pub run: fn(&[u8]),
    /// Bytes that it understands: where fuzzing begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
    pub limit: Limit,
}

/// How many bytes a target may have allocated at any one time.
#[derive(Clone, Copy)]
pub struct Limit {
    /// For an empty input: buffers of fixed size.
    pub fixed: u64,
    /// For each byte of the input: for instance, a column is one byte of a table map, and some 100 bytes in memory.
    pub per_byte: u64,
    /// More bytes that the input states itself and that are checked against it: the size of a compressed transaction.
    pub stated: fn(&[u8]) -> u64,
}

/// Buffers that do not depend on the input.
const KIB: u64 = 1 << 10;

/// Nothing beyond the length of the input.
fn nothing(_: &[u8]) -> u64 {
    0
}

impl Limit {
    /// A limit by the length of the input alone.
    pub const fn new(fixed: u64, per_byte: u64) -> Limit {
        Limit { fixed, per_byte, stated: nothing }
    }
}

impl Target {
    /// Runs the target on one input.
    ///
    /// # Panics
    /// The input is a finding.
    pub fn check(&self, data: &[u8]) {
        let allocated = allocation_counter::measure(|| (self.run)(data));
        let Limit { fixed, per_byte, stated } = self.limit;
        let by_length = fixed + per_byte * data.len() as u64;
        let limit = by_length.saturating_add(stated(data));
        let (name, length, most) = (self.name, data.len(), allocated.bytes_max);
        assert!(
            most <= limit,
            "{name}: {most} bytes allocated for {length}, at most {limit} are due"
        );
    }
}

/// All targets of the source.
pub const ALL: &[Target] = &[
    login::ANSWERS,
    values::CHARSET,
    streams::EVENTS,
    streams::FILE,
    gtids::EVENT,
    gtids::TEXT,
    values::JSON,
    login::LOGIN,
    streams::PACKETS,
    streams::PAYLOAD,
    gtids::PREVIOUS,
    tables::ROWS,
    tables::SCHEMA,
    statements::STATEMENT,
    tables::TABLE_MAP,
];
