//! The text of a number → its bytes in a row.

use super::super::super::table::ColumnKind;
use super::super::super::text::number::decimal_bytes;
use super::{Misfit, little_endian};

fn whole(text: &str) -> Result<i128, Misfit> {
    // No column holds more than 20 digits, but ZEROFILL may show 255.
    text.parse().map_err(|_| Misfit::Form("a whole number"))
}

fn ranged(number: i128, min: i128, max: i128) -> Result<i128, Misfit> {
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(Misfit::Range { min: min.to_string(), max: max.to_string() })
}

pub(super) fn integer(
    kind: ColumnKind,
    unsigned: Option<bool>,
    text: &str,
) -> Result<Vec<u8>, Misfit> {
    let bytes = match kind {
        ColumnKind::Tiny => 1,
        ColumnKind::Short => 2,
        ColumnKind::Int24 => 3,
        ColumnKind::Long => 4,
        _ => 8,
    };
    let half = 1_i128 << (8 * u32::from(bytes) - 1);
    let number = whole(text)?;
    match unsigned {
        Some(true) => ranged(number, 0, 2 * half - 1)?,
        Some(false) => ranged(number, -half, half - 1)?,
        None if (0..half).contains(&number) => number,
        None => return Err(Misfit::UnknownSign),
    };
    Ok(little_endian(number as u64, bytes)) // the lowest bytes, also of a negative one
}

pub(super) fn bit(bits: u16, text: &str) -> Result<Vec<u8>, Misfit> {
    let number = ranged(whole(text)?, 0, (1_i128 << bits.min(64)) - 1)?;
    let bytes = usize::from(bits.div_ceil(8)).min(16);
    Ok(number.to_be_bytes()[16 - bytes..].to_vec())
}

pub(super) fn year(text: &str) -> Result<Vec<u8>, Misfit> {
    match whole(text)? {
        0 => Ok(vec![0]),
        year => Ok(vec![(ranged(year, 1901, 2155)? - 1900) as u8]), // 1 to 255
    }
}

const NUMBER: Misfit = Misfit::Form("a number");

pub(super) fn float(unsigned: Option<bool>, text: &str) -> Result<Vec<u8>, Misfit> {
    let float = single(text)?;
    signed(unsigned, float.is_sign_negative() && float != 0.0)?;
    Ok(float.to_le_bytes().to_vec())
}

fn single(text: &str) -> Result<f32, Misfit> {
    let float: f32 = decimal_digits(text)?.parse().map_err(|_| NUMBER)?;
    if float.is_finite() { Ok(float) } else { Err(beyond(f32::MAX.into())) }
}

pub(super) fn double(unsigned: Option<bool>, text: &str) -> Result<Vec<u8>, Misfit> {
    let double: f64 = decimal_digits(text)?.parse().map_err(|_| NUMBER)?;
    if !double.is_finite() {
        return Err(beyond(f64::MAX));
    }
    signed(unsigned, double.is_sign_negative() && double != 0.0)?;
    Ok(double.to_le_bytes().to_vec())
}

fn beyond(max: f64) -> Misfit {
    Misfit::Range { min: format!("{:e}", -max), max: format!("{max:e}") }
}

/// The text, if it is of digits: `inf` and `nan` are numbers to Rust, and to no server.
fn decimal_digits(text: &str) -> Result<&str, Misfit> {
    let is_of_number = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if text.bytes().all(is_of_number) { Ok(text) } else { Err(NUMBER) }
}

fn signed(unsigned: Option<bool>, is_negative: bool) -> Result<(), Misfit> {
    if is_negative && unsigned == Some(true) {
        return Err(Misfit::Form("a number that is not negative: the column is UNSIGNED"));
    }
    Ok(())
}

/// `[0.1,2]`
pub(super) fn vector(text: &str) -> Result<Vec<u8>, Misfit> {
    let form = Misfit::Form("an array of numbers, such as [0.1,2]");
    let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let Some(inner) = inner else { return Err(form) };
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    for number in inner.split(',') {
        let float = single(number.trim()).map_err(|_| form.clone())?;
        bytes.extend_from_slice(&float.to_le_bytes());
    }
    Ok(bytes)
}

/// A packed DECIMAL: see [`push_decimal`](super::super::super::text::number::push_decimal).
pub(super) fn decimal(
    (precision, scale): (u8, u8),
    unsigned: Option<bool>,
    text: &str,
) -> Result<Vec<u8>, Misfit> {
    let form = || Misfit::Form("digits, such as -12.50");
    let too_many = Misfit::Digits { whole: precision.saturating_sub(scale), fraction: scale };
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if integer.is_empty() || !is_digits(integer) || !is_digits(fraction) {
        return Err(form());
    }
    let integer = integer.trim_start_matches('0');
    let places = usize::from(precision.saturating_sub(scale));
    if integer.len() > places || fraction.trim_end_matches('0').len() > usize::from(scale) {
        return Err(too_many);
    }
    let is_zero = integer.is_empty() && fraction.bytes().all(|byte| byte == b'0');
    signed(unsigned, is_negative && !is_zero)?;
    let mut packed = Vec::with_capacity(usize::from(decimal_bytes(precision, scale)));
    let integer = format!("{integer:0>places$}");
    let fraction = &fraction[..fraction.len().min(usize::from(scale))];
    let fraction = format!("{fraction:0<width$}", width = usize::from(scale));
    let (rest, groups) = integer.split_at(places % 9);
    push_group(&mut packed, rest);
    for group in groups.as_bytes().chunks(9).chain(fraction.as_bytes().chunks(9)) {
        push_group(&mut packed, std::str::from_utf8(group).expect("digits are ASCII"));
    }
    // The server keeps no negative zero.
    if is_negative && !is_zero {
        packed.iter_mut().for_each(|byte| *byte = !*byte);
    }
    packed.iter_mut().take(1).for_each(|byte| *byte ^= 0x80);
    Ok(packed)
}

/// At most nine digits, in as few bytes as hold them.
fn push_group(packed: &mut Vec<u8>, digits: &str) {
    let bytes = digits.len().div_ceil(2).min(4);
    let number: u32 = digits.parse().unwrap_or(0);
    packed.extend_from_slice(&number.to_be_bytes()[4 - bytes..]);
}
