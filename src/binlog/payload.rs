//! The header of a TRANSACTION_PAYLOAD event: what a compressed transaction says of itself.
//!
//! Fields are triples of length-encoded integers (type, length, value) up to an end mark
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html>).

const END_MARK: u64 = 0;
const PAYLOAD_SIZE: u64 = 1;
const UNCOMPRESSED_SIZE: u64 = 3;

/// Bytes of all events inside, as the header states them; `None` when the header is damaged.
pub fn stated_size(body: &[u8]) -> Option<u64> {
    let mut rest = body;
    let (mut payload, mut uncompressed) = (None, None);
    loop {
        let field = take_integer(&mut rest)?;
        if field == END_MARK {
            return uncompressed.or(payload);
        }
        let length = usize::try_from(take_integer(&mut rest)?).ok()?;
        let (mut value, after) = rest.split_at_checked(length)?;
        rest = after;
        match field {
            PAYLOAD_SIZE => payload = Some(take_integer(&mut value)?),
            UNCOMPRESSED_SIZE => uncompressed = Some(take_integer(&mut value)?),
            _ => {}
        }
    }
}

/// A length-encoded integer
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>).
fn take_integer(rest: &mut &[u8]) -> Option<u64> {
    let (&first, after) = rest.split_first()?;
    let width = match first {
        0..=250 => {
            *rest = after;
            return Some(u64::from(first));
        }
        252 => 2,
        253 => 3,
        254 => 8,
        _ => return None,
    };
    let (digits, after) = after.split_at_checked(width)?;
    *rest = after;
    Some(digits.iter().rev().fold(0, |value, &digit| value << 8 | u64::from(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_stated_size_is_that_of_the_events_inside() {
        // Type 2 (compression) = 0 (zstd), type 3 (uncompressed size) = 204, type 1 (payload size) = 149.
        let body = [2, 1, 0, 3, 1, 0xcc, 1, 1, 0x95, 0, 0x28, 0xb5];
        assert_eq!(stated_size(&body), Some(204));
        let body = [3, 3, 0xfc, 0x34, 0x12, 1, 1, 5, 0];
        assert_eq!(stated_size(&body), Some(0x1234));
        assert_eq!(stated_size(&[1, 1, 9, 0]), Some(9));
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            stated_size(&body);
        }
    }
}
