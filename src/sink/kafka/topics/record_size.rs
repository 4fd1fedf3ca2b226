//! The size of a record batch with one record, to compare with the limit of a topic.

/// Bytes of a record batch around its records
/// (<https://kafka.apache.org/documentation/#recordbatch>).
const BATCH_OVERHEAD_BYTES: usize = 61;

/// Bytes of an uncompressed record batch with one record (<https://kafka.apache.org/documentation/#record>), to compare
/// with a topic's `max.message.bytes`.
pub fn record_batch_bytes<'a>(
    key_len: usize,
    value_len: usize,
    headers: impl IntoIterator<Item = (&'a str, usize)>,
) -> usize {
    let field = |len: usize| varint_bytes(len) + len;
    let (mut headers_count, mut headers_bytes) = (0, 0);
    for (name, len) in headers {
        headers_count += 1;
        headers_bytes += field(name.len()) + field(len);
    }
    // Attributes, timestamp delta and offset delta of the first record take one byte each.
    let record =
        3 + field(key_len) + field(value_len) + varint_bytes(headers_count) + headers_bytes;
    BATCH_OVERHEAD_BYTES + varint_bytes(record) + record
}

/// Lengths are zigzag varints: 6 bits in the first byte, 7 in each that follows.
fn varint_bytes(len: usize) -> usize {
    let bits = usize::BITS - (len << 1).leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_their_zigzag_varint() {
        for (len, bytes) in
            [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3), (1_048_575, 3), (1_048_576, 4)]
        {
            assert_eq!(varint_bytes(len), bytes, "{len}");
        }
    }

    #[test]
    fn a_small_record_alone_in_its_batch_has_the_size_that_the_broker_counts() {
        // Length, attributes, two deltas, key length + 1, value length + 2, no headers.
        assert_eq!(record_batch_bytes(1, 2, []), 61 + 1 + 3 + 2 + 3 + 1);
    }
}
