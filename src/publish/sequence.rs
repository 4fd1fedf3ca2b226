//! The header `relay-sequence`: by which a record says whose it is and which row.

use std::fmt::Write;

/// Header of every record: name, generation and sequence of the row.
pub const SEQUENCE_HEADER: &str = "relay-sequence";

/// Length of the header's value: the relay's name, a colon, twice 16 digits and a dash.
pub fn sequence_header_len(name: &str) -> usize {
    name.len() + 34
}

/// Spells the header's values of one relay and generation, in one buffer.
#[derive(Debug, Clone)]
pub struct SequenceHeader {
    text: String,
    prefix_len: usize,
}

impl SequenceHeader {
    pub fn new(name: &str, generation: u64) -> SequenceHeader {
        let text = format!("{name}:{generation:016x}-");
        SequenceHeader { prefix_len: text.len(), text }
    }

    /// The value for a row.
    pub fn spell(&mut self, sequence: u64) -> &str {
        self.text.truncate(self.prefix_len);
        write!(self.text, "{sequence:016x}").expect("a string takes all that is written");
        &self.text
    }

    /// The row of a value of this relay and generation; `None` when it is of another, or no such value.
    pub fn parse(&self, value: &[u8]) -> Option<u64> {
        let digits = value.strip_prefix(&self.text.as_bytes()[..self.prefix_len])?;
        let digits = str::from_utf8(digits).ok().filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spelt_is_parsed() {
        let mut header = SequenceHeader::new("orders", 0x19a_5b0c_7d21);
        assert_eq!(header.spell(42), "orders:0000019a5b0c7d21-000000000000002a");
        assert_eq!(header.spell(42).len(), sequence_header_len("orders"));
        for sequence in [1, 42, u64::MAX] {
            let value = header.spell(sequence).to_owned();
            assert_eq!(header.parse(value.as_bytes()), Some(sequence));
        }
    }

    #[test]
    fn other_relays_and_generations_are_told_apart() {
        let header = SequenceHeader::new("orders", 7);
        for (name, generation) in [("orders", 8), ("orders-2", 7), ("order", 7), ("", 7)] {
            let other = SequenceHeader::new(name, generation).spell(1).to_owned();
            assert_eq!(header.parse(other.as_bytes()), None, "{other}");
        }
        let garbage: [&[u8]; 4] = [b"", b"orders:", b"orders:0000000000000007-1", b"\xff\xfe"];
        for value in garbage {
            assert_eq!(header.parse(value), None);
        }
    }
}
