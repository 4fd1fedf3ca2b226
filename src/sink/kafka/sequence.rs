//! The header `relay-sequence`: the relay and the row of a record.

/// Header of every record: name, generation and sequence of the row.
pub const SEQUENCE_HEADER: &str = "relay-sequence";

/// Length of the header's value: the relay's name, a colon, and two numbers of 16 digits with a dash between them.
pub fn sequence_header_len(name: &str) -> usize {
    name.len() + 34
}

const DIGITS: usize = 16;

/// Formats the header's values of one relay and generation, in one buffer.
#[derive(Debug, Clone)]
pub struct SequenceHeader {
    text: Vec<u8>,
    prefix_len: usize,
}

impl SequenceHeader {
    pub fn new(name: &str, generation: u64) -> SequenceHeader {
        let mut text = format!("{name}:{generation:016x}-").into_bytes();
        let prefix_len = text.len();
        text.extend_from_slice(&[b'0'; DIGITS]);
        SequenceHeader { text, prefix_len }
    }

    /// The value for a row.
    pub fn spell(&mut self, sequence: u64) -> &[u8] {
        for (index, digit) in self.text[self.prefix_len..].iter_mut().enumerate() {
            let shift = 4 * (DIGITS - 1 - index);
            *digit = b"0123456789abcdef"[(sequence >> shift & 0xF) as usize];
        }
        &self.text
    }

    /// The row in a value of this relay and generation; `None` for any other value.
    pub fn parse(&self, value: &[u8]) -> Option<u64> {
        let digits = value.strip_prefix(&self.text[..self.prefix_len])?;
        let digits = str::from_utf8(digits).ok().filter(|digits| digits.len() == DIGITS)?;
        u64::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spelt_is_parsed() {
        let mut header = SequenceHeader::new("orders", 0x19a_5b0c_7d21);
        assert_eq!(header.spell(42), b"orders:0000019a5b0c7d21-000000000000002a");
        assert_eq!(header.spell(42).len(), sequence_header_len("orders"));
        for sequence in [1, 42, u64::MAX] {
            let value = header.spell(sequence).to_owned();
            assert_eq!(header.parse(&value), Some(sequence));
        }
    }

    #[test]
    fn other_relays_and_generations_are_told_apart() {
        let header = SequenceHeader::new("orders", 7);
        for (name, generation) in [("orders", 8), ("orders-2", 7), ("order", 7), ("", 7)] {
            let other = SequenceHeader::new(name, generation).spell(1).to_owned();
            assert_eq!(header.parse(&other), None, "{name} {generation}");
        }
        let garbage: [&[u8]; 4] = [b"", b"orders:", b"orders:0000000000000007-1", b"\xff\xfe"];
        for value in garbage {
            assert_eq!(header.parse(value), None);
        }
    }
}
