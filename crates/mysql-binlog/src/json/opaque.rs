//! Values in a JSON document that JSON itself does not have: decimals, times, and binary strings as base64.

use super::super::text::number::push_decimal;
use super::super::text::temporal::{Clock, push_clock, push_date};
use super::super::text::{TextBuffer, push_base64_lines, push_integer};
use super::Error;

pub(super) const DOUBLE: u8 = 5;
const TIMESTAMP: u8 = 7;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
/// `enum_field_types` of a DECIMAL.
pub const DECIMAL: u8 = 246;

/// Prints a value of the given column type (`enum_field_types` of the server), with `line_feed` between lines of base64.
pub(super) fn print(
    out: &mut impl TextBuffer,
    column_type: u8,
    value: &[u8],
    line_feed: &str,
) -> Result<(), Error> {
    let impossible = Error::Opaque(column_type);
    match column_type {
        // Two bytes of precision and scale stand before the digits.
        DECIMAL => value
            .split_first_chunk::<2>()
            .and_then(|(&[precision, scale], packed)| {
                push_decimal(out, (precision, scale), packed, 0)
            })
            .ok_or(impossible),
        DATE | TIME | DATETIME | TIMESTAMP => {
            let packed = i64::from_le_bytes(value.try_into().map_err(|_| impossible)?);
            out.push('"');
            match column_type {
                TIME => print_time(out, packed),
                DATE => print_date(out, packed),
                _ => print_datetime(out, packed),
            }
            .ok_or(impossible)?;
            out.push('"');
            Ok(())
        }
        _ => {
            out.push_str("\"base64:type");
            push_integer(out, column_type);
            out.push(':');
            push_base64_lines(out, value, line_feed);
            out.push('"');
            Ok(())
        }
    }
}

/// A packed date has, from the top: year × 13 + month, 5 bits of day, 5 of hour, 6 of minute, 6 of second,
/// 24 of microseconds.
fn print_date(out: &mut impl TextBuffer, packed: i64) -> Option<()> {
    let packed = packed.unsigned_abs();
    let (year_and_month, day) = ((packed >> 46) as u32, (packed >> 41 & 31) as u32); // 18 and 5 bits
    push_date(out, year_and_month / 13, year_and_month % 13, day)
}

fn print_datetime(out: &mut impl TextBuffer, packed: i64) -> Option<()> {
    print_date(out, packed)?;
    out.push(' ');
    push_clock(out, clock(packed.unsigned_abs(), 31), 23, 6)
}

/// A packed time has 10 bits of hour, and its sign is the number's.
fn print_time(out: &mut impl TextBuffer, packed: i64) -> Option<()> {
    if packed < 0 {
        out.push('-');
    }
    push_clock(out, clock(packed.unsigned_abs(), 1023), 1023, 6)
}

fn clock(packed: u64, hours: u64) -> Clock {
    let part = |shift: u32, mask: u64| (packed >> shift & mask) as u32; // at most 24 bits
    Clock {
        hour: part(36, hours),
        minute: part(30, 63),
        second: part(24, 63),
        microsecond: part(0, 0xff_ffff),
    }
}
