//! The text of a date or a time → its bytes in a row. The formats are described at the functions of
//! [`text::temporal`](super::super::super::text::temporal) that print them.

use super::Misfit;

const DATE: Misfit = Misfit::Form("a date, such as 2026-01-31");
const DATETIME: Misfit = Misfit::Form("a date and time, such as 2026-01-31 12:00:00");
const TIME: Misfit = Misfit::Form("a time, such as -12:30:00");

/// The greatest hour of a TIME.
const TIME_HOUR_MAX: u32 = 838;

struct Date {
    year: u32,
    month: u32,
    day: u32,
}

struct Clock {
    hour: u32,
    minute: u32,
    second: u32,
    /// In microseconds.
    fraction: u32,
}

/// So many digits, and nothing else.
fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let is_number = count.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// A date whose parts may be zero.
fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let mut part = |count| digits(parts.next()?, count..=count);
    let date = Date { year: part(4)?, month: part(2)?, day: part(2)? };
    (parts.next().is_none() && date.month <= 12 && date.day <= 31).then_some(date)
}

/// `fraction_digits`: how many the column has. More of them must be zeros.
fn parse_clock(text: &str, hour_max: u32, fraction_digits: u8) -> Option<Clock> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.split(':');
    let mut part = |count| digits(parts.next()?, count);
    let (hour, minute, second) = (part(2..=3)?, part(2..=2)?, part(2..=2)?);
    if parts.next().is_some() || hour > hour_max || minute > 59 || second > 59 {
        return None;
    }
    let places = usize::from(fraction_digits.min(6));
    let kept = &fraction[..fraction.len().min(places)];
    let is_digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits || fraction[kept.len()..].bytes().any(|byte| byte != b'0') {
        return None;
    }
    Some(Clock { hour, minute, second, fraction: format!("{kept:0<6}").parse().ok()? })
}

/// A date and a time in UTC, as MySQL or as RFC 3339 writes it.
fn parse_datetime(text: &str, fraction_digits: u8) -> Option<(Date, Clock)> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = text.split_once([' ', 'T'])?;
    Some((parse_date(date)?, parse_clock(clock, 23, fraction_digits)?))
}

/// The fraction, two digits a byte.
fn push_fraction(bytes: &mut Vec<u8>, microseconds: u32, digits: u8) {
    let count = u32::from(digits.min(6).div_ceil(2));
    let number = microseconds / 100_u32.pow(3 - count);
    bytes.extend_from_slice(&number.to_be_bytes()[4 - count as usize..]);
}

pub(super) fn date(text: &str) -> Result<Vec<u8>, Misfit> {
    let Date { year, month, day } = parse_date(text).ok_or(DATE)?;
    Ok((year << 9 | month << 5 | day).to_le_bytes()[..3].to_vec())
}

pub(super) fn time(text: &str, digits: u8) -> Result<Vec<u8>, Misfit> {
    let (is_negative, clock) = signed_clock(text, digits)?;
    let bytes = usize::from(digits.min(6).div_ceil(2));
    let unit = 100_u32.pow(3 - bytes as u32);
    let whole = i64::from(clock.hour << 12 | clock.minute << 6 | clock.second);
    let magnitude = whole << (8 * bytes) | i64::from(clock.fraction / unit);
    let packed = (0x80_0000 << (8 * bytes)) + if is_negative { -magnitude } else { magnitude };
    Ok(packed.to_be_bytes()[8 - 3 - bytes..].to_vec())
}

pub(super) fn old_time(text: &str) -> Result<Vec<u8>, Misfit> {
    let (is_negative, clock) = signed_clock(text, 0)?;
    let number = (clock.hour * 10_000 + clock.minute * 100 + clock.second) as i32; // at most 8385959
    let number = if is_negative { -number } else { number };
    Ok(number.to_le_bytes()[..3].to_vec())
}

fn signed_clock(text: &str, digits: u8) -> Result<(bool, Clock), Misfit> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    Ok((is_negative, parse_clock(rest, TIME_HOUR_MAX, digits).ok_or(TIME)?))
}

pub(super) fn datetime(text: &str, digits: u8) -> Result<Vec<u8>, Misfit> {
    let (date, clock) = parse_datetime(text, digits).ok_or(DATETIME)?;
    let days = u64::from((date.year * 13 + date.month) << 5 | date.day);
    let seconds = u64::from(clock.hour << 12 | clock.minute << 6 | clock.second);
    let packed = 1 << 39 | days << 17 | seconds;
    let mut bytes = packed.to_be_bytes()[3..].to_vec();
    push_fraction(&mut bytes, clock.fraction, digits);
    Ok(bytes)
}

pub(super) fn old_datetime(text: &str) -> Result<Vec<u8>, Misfit> {
    let (date, clock) = parse_datetime(text, 0).ok_or(DATETIME)?;
    let of_day = clock.hour * 10_000 + clock.minute * 100 + clock.second;
    let of_date = date.year * 10_000 + date.month * 100 + date.day;
    Ok((u64::from(of_date) * 1_000_000 + u64::from(of_day)).to_le_bytes().to_vec())
}

/// Seconds since 1970 in UTC, in the byte order of the format. The zero date is 0.
pub(super) fn timestamp(
    text: &str,
    digits: u8,
    in_order: fn(u32) -> [u8; 4],
) -> Result<Vec<u8>, Misfit> {
    let (date, clock) = parse_datetime(text, digits).ok_or(DATETIME)?;
    let is_zero = date.year == 0 && date.month == 0 && date.day == 0;
    let seconds = match is_zero {
        true if clock.hour == 0 && clock.minute == 0 && clock.second == 0 => 0,
        true => return Err(DATETIME),
        false => seconds_since_1970(&date, &clock)?,
    };
    let mut bytes = in_order(seconds).to_vec();
    push_fraction(&mut bytes, clock.fraction, digits);
    Ok(bytes)
}

fn seconds_since_1970(date: &Date, clock: &Clock) -> Result<u32, Misfit> {
    let range = || Misfit::Range {
        min: "1970-01-01 00:00:01".to_owned(),
        max: "2106-02-07 06:28:15 in UTC".to_owned(),
    };
    // At most 9999, 12, 31, 23, 59 and 59.
    let date = jiff::civil::Date::new(date.year as i16, date.month as i8, date.day as i8);
    let date = date.map_err(|_| DATETIME)?;
    let at = date.at(clock.hour as i8, clock.minute as i8, clock.second as i8, 0);
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| range())?;
    let seconds = u32::try_from(at.timestamp().as_second()).map_err(|_| range())?;
    if seconds == 0 { Err(range()) } else { Ok(seconds) }
}
