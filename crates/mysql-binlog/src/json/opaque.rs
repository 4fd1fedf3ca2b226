//! Values in a JSON document that JSON itself does not have: decimals, times, and binary strings as base64.

use std::fmt::Write;

use super::{Error, Style};

const TIMESTAMP: u8 = 7;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
const DECIMAL: u8 = 246;

/// Prints a value of the given column type (`enum_field_types` of the server).
pub(super) fn print(
    text: &mut String,
    column_type: u8,
    value: &[u8],
    style: Style,
) -> Result<(), Error> {
    let impossible = Error::Opaque(column_type);
    match column_type {
        DECIMAL => print_decimal(text, value).ok_or(impossible),
        DATE | TIME | DATETIME | TIMESTAMP => {
            let packed = i64::from_le_bytes(value.try_into().map_err(|_| impossible)?);
            text.push('"');
            match column_type {
                TIME => print_time(text, packed),
                DATE => print_date(text, packed),
                _ => {
                    print_date(text, packed);
                    text.push(' ');
                    print_clock(text, packed.unsigned_abs(), 32);
                }
            }
            text.push('"');
            Ok(())
        }
        _ => {
            text.push_str("\"base64:type");
            text.push_str(itoa::Buffer::new().format(column_type));
            text.push(':');
            print_base64(text, value, if style == Style::V5_7 { "\n" } else { "\\n" });
            text.push('"');
            Ok(())
        }
    }
}

/// A packed date has, from the top: year × 13 + month, 5 bits of day, 5 of hour, 6 of minute, 6 of second,
/// 24 of microseconds.
fn print_date(text: &mut String, packed: i64) {
    let packed = packed.unsigned_abs();
    let (year_and_month, day) = (packed >> 46, packed >> 41 & 31);
    let (year, month) = (year_and_month / 13, year_and_month % 13);
    write!(text, "{year:04}-{month:02}-{day:02}").expect("a String takes all that is written");
}

/// A packed time has 10 bits of hour, and its sign is the number's.
fn print_time(text: &mut String, packed: i64) {
    if packed < 0 {
        text.push('-');
    }
    print_clock(text, packed.unsigned_abs(), 1024);
}

fn print_clock(text: &mut String, packed: u64, hours: u64) {
    let (hour, minute, second) = ((packed >> 36) % hours, packed >> 30 & 63, packed >> 24 & 63);
    let microseconds = packed & 0xff_ffff;
    write!(text, "{hour:02}:{minute:02}:{second:02}.{microseconds:06}")
        .expect("a String takes all that is written");
}

/// Two bytes of precision and scale, then the digits, nine in four big-endian bytes, the rest in fewer;
/// the highest bit is set for a positive number, and all bits of a negative one are inverted.
fn print_decimal(text: &mut String, value: &[u8]) -> Option<()> {
    let (&[precision, scale], packed) = value.split_first_chunk::<2>()?;
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    let whole = precision.checked_sub(scale)?;
    let mut packed = packed.to_vec();
    let first = packed.first_mut()?;
    let is_negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if is_negative {
        packed.iter_mut().for_each(|byte| *byte = !*byte);
    }
    // The rest of fewer than nine digits stands at the outer end of either side.
    let mut groups = Vec::new();
    groups.extend((whole % 9 > 0).then_some(whole % 9));
    groups.extend(std::iter::repeat_n(9, whole / 9));
    groups.extend(std::iter::repeat_n(9, scale / 9));
    groups.extend((scale % 9 > 0).then_some(scale % 9));
    let mut digits = String::with_capacity(precision);
    let mut rest = packed.as_slice();
    for count in groups {
        let (group, behind) = rest.split_at_checked(count.div_ceil(2).min(4))?;
        rest = behind;
        let number = group.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let before = digits.len();
        write!(digits, "{number:0count$}").ok()?;
        if digits.len() - before != count {
            return None;
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let (integer, fraction) = digits.split_at(whole);
    let integer = integer.trim_start_matches('0');
    text.push_str(if is_negative { "-" } else { "" });
    text.push_str(if integer.is_empty() { "0" } else { integer });
    if scale > 0 {
        text.push('.');
        text.push_str(fraction);
    }
    Some(())
}

/// Base64 with `line_feed` between lines of 76 characters, as the server's encoder has it.
fn print_base64(text: &mut String, bytes: &[u8], line_feed: &str) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (index, group) in bytes.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            text.push_str(line_feed);
        }
        let number = (0..3)
            .fold(0, |number, at| number << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for place in 0..4 {
            let sextet = number >> (18 - 6 * place) & 63;
            text.push(if place > group.len() {
                '='
            } else {
                char::from(ALPHABET[sextet as usize])
            });
        }
    }
}
