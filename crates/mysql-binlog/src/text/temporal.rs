//! DATE, TIME, DATETIME and TIMESTAMP of the row format as the server prints them. `None`: no server stores such bytes.
//!
//! Format: `my_time_packed_from_binary` and its kin in the MySQL source.

use super::number::push_fraction;
use super::{TextBuffer, push_padded};

/// A point in time, or a time of day.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) microsecond: u32,
}

/// The greatest hour of a TIME.
const TIME_HOUR_MAX: u32 = 838;

pub(crate) fn push_date(out: &mut impl TextBuffer, year: u32, month: u32, day: u32) -> Option<()> {
    if year > 9999 || month > 12 || day > 31 {
        return None;
    }
    push_padded(out, year, 4);
    out.push('-');
    push_padded(out, month, 2);
    out.push('-');
    push_padded(out, day, 2);
    Some(())
}

/// `hh:mm:ss` with so many digits of a fraction.
pub(crate) fn push_clock(
    out: &mut impl TextBuffer,
    clock: Clock,
    hour_max: u32,
    digits: u8,
) -> Option<()> {
    let Clock { hour, minute, second, microsecond } = clock;
    if hour > hour_max || minute > 59 || second > 59 || microsecond > 999_999 {
        return None;
    }
    push_padded(out, hour, 2);
    out.push(':');
    push_padded(out, minute, 2);
    out.push(':');
    push_padded(out, second, 2);
    push_fraction(out, microsecond, digits);
    Some(())
}

/// Three little-endian bytes: from the top 15 bits of year, 4 of month, 5 of day.
pub(crate) fn push_packed_date(out: &mut impl TextBuffer, packed: u32) -> Option<()> {
    push_date(out, packed >> 9, packed >> 5 & 15, packed & 31)
}

/// The last bytes of a value are a fraction of a second, two digits a byte.
fn fraction(bytes: &[u8]) -> Option<u32> {
    let number = big_endian(bytes) as u32; // at most three bytes
    number.checked_mul(100_u32.checked_pow(3_u32.checked_sub(bytes.len() as u32)?)?)
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// DATETIME: five big-endian bytes, from the top a set bit, 17 bits of year × 13 + month, 5 of day, 5 of hour, 6 of
/// minute and 6 of second, then the fraction.
pub(crate) fn push_datetime(out: &mut impl TextBuffer, bytes: &[u8], digits: u8) -> Option<()> {
    let (packed, rest) = bytes.split_at_checked(5)?;
    let packed = big_endian(packed).checked_sub(1 << 39)?;
    let year_and_month = (packed >> 22) as u32; // 17 bits
    push_date(out, year_and_month / 13, year_and_month % 13, (packed >> 17) as u32 & 31)?;
    out.push(' ');
    push_clock(out, packed_clock(packed, 31, fraction(rest)?), 23, digits)
}

fn packed_clock(packed: u64, hours: u64, microsecond: u32) -> Clock {
    let part = |shift: u32, mask: u64| (packed >> shift & mask) as u32; // at most ten bits
    Clock { hour: part(12, hours), minute: part(6, 63), second: part(0, 63), microsecond }
}

/// TIME: three big-endian bytes, from the top a set bit for a positive one, an unused bit, 10 bits of hour, 6 of minute
/// and 6 of second, then the fraction. All of it together is negative for a negative time.
pub(crate) fn push_time(out: &mut impl TextBuffer, bytes: &[u8], digits: u8) -> Option<()> {
    let fraction_bytes = bytes.len().checked_sub(3).filter(|count| *count <= 3)?;
    let packed = big_endian(bytes) as i64 - (0x80_0000 << (8 * fraction_bytes)); // at most 48 bits
    let (magnitude, shift) = (packed.unsigned_abs(), 8 * fraction_bytes as u32);
    let rest = (magnitude & ((1 << shift) - 1)).to_be_bytes();
    let clock = packed_clock(magnitude >> shift, 1023, fraction(&rest[8 - fraction_bytes..])?);
    if magnitude >> shift >= 1 << 22 {
        return None;
    }
    if packed < 0 {
        out.push('-');
    }
    push_clock(out, clock, TIME_HOUR_MAX, digits)
}

/// TIMESTAMP in UTC: seconds since 1970, then the fraction. 0 is the zero date.
pub(crate) fn push_timestamp(
    out: &mut impl TextBuffer,
    seconds: u32,
    fraction_bytes: &[u8],
    digits: u8,
) -> Option<()> {
    let microsecond = fraction(fraction_bytes)?;
    if seconds == 0 {
        out.push_str("0000-00-00 ");
        return push_clock(out, Clock { microsecond, ..Clock::default() }, 23, digits);
    }
    let (year, month, day) = civil(seconds / 86_400);
    push_date(out, year, month, day)?;
    out.push(' ');
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    push_clock(out, Clock { hour, minute, second, microsecond }, 23, digits)
}

/// The date so many days after 1970-01-01. Years begin in March here, so that a leap day is a year's last.
fn civil(days: u32) -> (u32, u32, u32) {
    /// Days from 0000-03-01 to 1970-01-01.
    const BEFORE_1970: u32 = 719_468;
    /// Days of 400 years.
    const ERA: u32 = 146_097;
    let days = days + BEFORE_1970;
    let (era, of_era) = (days / ERA, days % ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

/// TIME of MySQL 5.5: ±hhmmss in three little-endian bytes.
pub(crate) fn push_old_time(out: &mut impl TextBuffer, number: i32) -> Option<()> {
    if number < 0 {
        out.push('-');
    }
    push_clock(out, digits_as_clock(u64::from(number.unsigned_abs())), TIME_HOUR_MAX, 0)
}

/// DATETIME of MySQL 5.5: yyyymmddhhmmss in eight little-endian bytes.
pub(crate) fn push_old_datetime(out: &mut impl TextBuffer, number: u64) -> Option<()> {
    let date = u32::try_from(number / 1_000_000).ok()?;
    push_date(out, date / 10_000, date / 100 % 100, date % 100)?;
    out.push(' ');
    push_clock(out, digits_as_clock(number % 1_000_000), 23, 0)
}

/// hhmmss
fn digits_as_clock(number: u64) -> Clock {
    let part = |unit: u64| (number / unit % 100) as u32; // below 100
    let hour = u32::try_from(number / 10_000).unwrap_or(u32::MAX);
    Clock { hour, minute: part(100), second: part(1), microsecond: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_the_dates_of_the_calendar() {
        for seconds in (1..u32::MAX - 100_000_000).step_by(86_399 * 7 + 11) {
            let mut out = String::new();
            push_timestamp(&mut out, seconds, &[], 0).unwrap();
            let expected = jiff::Timestamp::from_second(i64::from(seconds)).unwrap().to_string();
            assert_eq!(out, expected.replace('T', " ").replace('Z', ""));
        }
    }
}
