//! DECIMAL, FLOAT and DOUBLE as the server prints them: `decimal2string`, `my_gcvt` and `my_fcvt` of its source.

use std::fmt::Write;

use super::{Formatted, TextBuffer, ascii, push_integer, push_padded, push_zeros};

/// Significant digits of the server's text of a FLOAT (`FLT_DIG`).
const FLOAT_DIGITS: usize = 6;
/// The longest text of a FLOAT without an exponent, on MySQL 8.0 and later.
pub(crate) const FLOAT_WIDTH: usize = 12;
/// The longest text of a DOUBLE without an exponent, on MySQL 8.0 and later.
pub(crate) const DOUBLE_WIDTH: usize = 24;
/// As wide as any number: MySQL 5.7 and numbers in JSON documents have no such limit.
pub(crate) const ANY_WIDTH: usize = usize::MAX;
/// Digits that the server computes with: nine groups of nine. A column has at most 65 of them.
const DIGITS_MAX: usize = 81;

/// How many bytes a DECIMAL takes. Nine digits take four bytes; a rest of 1 to 8 digits takes 1, 1, 2, 2, 3, 3,
/// 4, 4. Both sides of the point are packed on their own.
pub(crate) fn decimal_bytes(precision: u8, scale: u8) -> u8 {
    let packed = |digits: u8| digits / 9 * 4 + (digits % 9).div_ceil(2);
    packed(precision.saturating_sub(scale)) + packed(scale)
}

/// Appends a packed DECIMAL: big-endian groups of nine digits, the rest of fewer digits at the outer end of either
/// side. The highest bit is set for a positive number, and all bits of a negative one are inverted. At least
/// `whole_min` digits stand before the point.
///
/// `None`: no server packs such bytes.
pub(crate) fn push_decimal(
    out: &mut impl TextBuffer,
    (precision, scale): (u8, u8),
    packed: &[u8],
    whole_min: usize,
) -> Option<()> {
    let whole = usize::from(precision.checked_sub(scale)?);
    let scale = usize::from(scale);
    if whole + scale > DIGITS_MAX
        || packed.len() != usize::from(decimal_bytes(precision, scale as u8))
    {
        return None;
    }
    let is_negative = packed.first()? & 0x80 == 0;
    let mut reader = Groups { packed, at: 0, inverted: if is_negative { 0xff } else { 0 } };
    let mut digits = [b'0'; DIGITS_MAX];
    let (integer, fraction) = digits[..whole + scale].split_at_mut(whole);
    let (rest, groups) = integer.split_at_mut(whole % 9);
    reader.read(rest)?;
    groups.chunks_mut(9).try_for_each(|group| reader.read(group))?;
    fraction.chunks_mut(9).try_for_each(|group| reader.read(group))?;

    let leading_zeros = integer.iter().take_while(|digit| **digit == b'0').count();
    let shown = (whole - leading_zeros).max(whole_min).max(1);
    if is_negative {
        out.push('-');
    }
    push_zeros(out, shown.saturating_sub(whole));
    out.push_str(ascii(&integer[whole.saturating_sub(shown)..]));
    if scale > 0 {
        out.push('.');
        out.push_str(ascii(fraction));
    }
    Some(())
}

/// The groups of a packed DECIMAL, one after another.
struct Groups<'a> {
    packed: &'a [u8],
    at: usize,
    inverted: u8,
}

impl Groups<'_> {
    /// Fills `digits` (at most nine) from the next group. `None`: the number has more digits than that.
    fn read(&mut self, digits: &mut [u8]) -> Option<()> {
        let length = digits.len().div_ceil(2).min(4);
        let mut number = 0_u32;
        for _ in 0..length {
            let sign_bit = if self.at == 0 { 0x80 } else { 0 };
            let byte = *self.packed.get(self.at)? ^ sign_bit ^ self.inverted;
            number = number << 8 | u32::from(byte);
            self.at += 1;
        }
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        (number == 0).then_some(())
    }
}

/// The significant digits of a number without zeros at either end, and how many of them come before the point.
/// Zero has no digits.
struct Digits {
    digits: [u8; 17],
    count: usize,
    point: i32,
}

impl Digits {
    /// From `12.5`, `1.25e1` and the like, at most 17 significant digits and no sign.
    fn parse(printed: &str) -> Self {
        let (mantissa, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
        let exponent: i32 = exponent.parse().expect("exponents have at most three digits");
        let mut parsed = Self { digits: [b'0'; 17], count: 0, point: exponent };
        let mut is_whole = true;
        for byte in mantissa.bytes() {
            match byte {
                b'.' => is_whole = false,
                b'0' if parsed.count == 0 => parsed.point -= i32::from(!is_whole),
                digit => {
                    // What is beyond 17 digits are zeros of a large whole number.
                    if let Some(place) = parsed.digits.get_mut(parsed.count) {
                        *place = digit;
                        parsed.count += 1;
                    }
                    parsed.point += i32::from(is_whole);
                }
            }
        }
        while parsed.count > 0 && parsed.digits[parsed.count - 1] == b'0' {
            parsed.count -= 1;
        }
        parsed
    }

    fn as_str(&self) -> &str {
        ascii(&self.digits[..self.count])
    }
}

/// The shortest digits that read back as the same DOUBLE, with an exponent if it would be wider than `width` without.
/// It must be finite.
pub(crate) fn push_double(out: &mut impl TextBuffer, double: f64, width: usize) {
    push_general(
        out,
        double.is_sign_negative(),
        &Digits::parse(ryu::Buffer::new().format_finite(double.abs())),
        width,
    );
}

/// The shortest digits that read back as the same FLOAT. It must be finite.
pub(crate) fn push_shortest_float(out: &mut impl TextBuffer, float: f32) {
    push_general(
        out,
        float.is_sign_negative(),
        &Digits::parse(ryu::Buffer::new().format_finite(float.abs())),
        ANY_WIDTH,
    );
}

/// A FLOAT as the server prints it: rounded to six digits, which may read back as another one.
/// With an exponent if it would be wider than `width` without. It must be finite.
pub(crate) fn push_float(out: &mut impl TextBuffer, float: f32, width: usize) {
    let mut rounded = Scratch::default();
    let decimals = FLOAT_DIGITS - 1;
    write!(Formatted(&mut rounded), "{:.decimals$e}", float.abs())
        .expect("a buffer takes all text");
    push_general(out, float.is_sign_negative(), &Digits::parse(rounded.as_str()), width);
}

/// A DOUBLE(M,D) or FLOAT(M,D) with its D decimals: zeros follow the shortest digits. It must be finite.
pub(crate) fn push_fixed(out: &mut impl TextBuffer, double: f64, decimals: usize) {
    let shortest = Digits::parse(ryu::Buffer::new().format_finite(double.abs()));
    if double.is_sign_negative() {
        out.push('-');
    }
    let fraction_digits = shortest.count as i32 - shortest.point;
    if shortest.count > 0 && fraction_digits > decimals as i32 {
        write!(Formatted(out), "{:.decimals$}", double.abs()).expect("a buffer takes all text");
        return;
    }
    let shown = push_plain(out, &shortest);
    if decimals > 0 {
        if shown == 0 {
            out.push('.');
        }
        push_zeros(out, decimals.saturating_sub(shown));
    }
}

/// Without an exponent. Returns how many digits follow the point.
fn push_plain(out: &mut impl TextBuffer, number: &Digits) -> usize {
    let digits = number.as_str();
    if digits.is_empty() {
        out.push('0');
        return 0;
    }
    let Ok(whole @ 1..) = usize::try_from(number.point) else {
        let zeros = number.point.unsigned_abs() as usize;
        out.push_str("0.");
        push_zeros(out, zeros);
        out.push_str(digits);
        return zeros + digits.len();
    };
    let (integer, fraction) = digits.split_at(whole.min(digits.len()));
    out.push_str(integer);
    push_zeros(out, whole.saturating_sub(digits.len()));
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    fraction.len()
}

/// `my_gcvt`: with an exponent when more than 14 zeros would follow the point, when the number is whole and has more
/// than 15 digits, or when it is wider than `width` without.
fn push_general(out: &mut impl TextBuffer, is_negative: bool, number: &Digits, width: usize) {
    if is_negative {
        out.push('-');
    }
    let digits = number.as_str();
    let length = digits.len() as i32; // at most 17
    let (is_plain, plain_width) = match number.point {
        _ if digits.is_empty() => (true, 1),
        point @ ..=0 => (point >= -14, length - point + 2),
        point if point < length => (true, length + 1),
        point => (point <= 15, point),
    };
    if is_plain && plain_width.unsigned_abs() as usize + usize::from(is_negative) <= width {
        push_plain(out, number);
        return;
    }
    let (first, rest) = digits.split_at(1);
    out.push_str(first);
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out.push('e');
    push_integer(out, number.point - 1);
}

/// Room for the text of one number.
#[derive(Default)]
struct Scratch {
    bytes: [u8; 32],
    length: usize,
}

impl Scratch {
    fn as_str(&self) -> &str {
        ascii(&self.bytes[..self.length])
    }
}

impl TextBuffer for Scratch {
    fn push_str(&mut self, text: &str) {
        let end = self.length + text.len();
        self.bytes[self.length..end].copy_from_slice(text.as_bytes());
        self.length = end;
    }
}

/// A fraction of a second in microseconds, in so many digits, behind its point.
pub(crate) fn push_fraction(out: &mut impl TextBuffer, microseconds: u32, digits: u8) {
    if digits > 0 {
        out.push('.');
        let unit = 10_u32.pow(6 - u32::from(digits.min(6)));
        push_padded(out, microseconds / unit, usize::from(digits));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(print: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        print(&mut out);
        out
    }

    fn double(double: f64) -> String {
        printed(|out| push_double(out, double, ANY_WIDTH))
    }

    fn fixed(double: f64, decimals: usize) -> String {
        printed(|out| push_fixed(out, double, decimals))
    }

    fn float(float: f32) -> String {
        printed(|out| push_float(out, float, FLOAT_WIDTH))
    }

    #[test]
    fn doubles_take_an_exponent_beyond_15_digits() {
        assert_eq!(double(0.0), "0");
        assert_eq!(double(-0.0), "-0");
        assert_eq!(double(0.1), "0.1");
        assert_eq!(double(1e14), "100000000000000");
        assert_eq!(double(1e15), "1e15");
        assert_eq!(double(1e20), "1e20");
        assert_eq!(double(123_456_789_012_345_680.0), "1.2345678901234568e17");
        assert_eq!(double(1e-15), "0.000000000000001");
        assert_eq!(double(1e-16), "1e-16");
        assert_eq!(double(f64::MAX), "1.7976931348623157e308");
        assert_eq!(double(f64::from_bits(1)), "5e-324");
    }

    #[test]
    fn floats_have_six_digits_and_their_shortest_form_more() {
        assert_eq!(float(16_777_217.0), "16777200");
        assert_eq!(float(0.1), "0.1");
        assert_eq!(float(-1.0), "-1");
        assert_eq!(float(f32::MAX), "3.40282e38");
        assert_eq!(float(f32::from_bits(1)), "1.4013e-45");
        assert_eq!(float(-0.0), "-0");
        assert_eq!(printed(|out| push_shortest_float(out, 16_777_216.0)), "16777216");
        assert_eq!(printed(|out| push_shortest_float(out, f32::MAX)), "3.4028235e38");
    }

    #[test]
    fn a_number_that_is_too_wide_has_an_exponent() {
        assert_eq!(float(100_000_000_000.0), "100000000000");
        assert_eq!(float(-100_000_000_000.0), "-1e11");
        assert_eq!(float(0.0000123456), "0.0000123456");
        assert_eq!(float(-0.0000123456), "-1.23456e-5");
        assert_eq!(printed(|out| push_float(out, -0.0000123456, ANY_WIDTH)), "-0.0000123456");
        let narrow = |number| printed(|out| push_double(out, number, DOUBLE_WIDTH));
        assert_eq!(narrow(1.2345678901234567e-6), "0.0000012345678901234567");
        assert_eq!(narrow(-1.2345678901234567e-6), "-1.2345678901234567e-6");
    }

    #[test]
    fn numbers_of_fixed_decimals_keep_them() {
        assert_eq!(fixed(1.5, 4), "1.5000");
        assert_eq!(fixed(0.0, 2), "0.00");
        assert_eq!(fixed(-2.0, 0), "-2");
        assert_eq!(fixed(0.1, 20), "0.10000000000000000000");
        assert_eq!(fixed(0.125, 2), "0.12");
        assert_eq!(fixed(0.001, 2), "0.00");
        assert_eq!(fixed(0.05, 2), "0.05");
        assert_eq!(fixed(1e20, 1), "100000000000000000000.0");
        assert_eq!(fixed(f64::from(0.1_f32), 10), "0.1000000015");
    }

    #[test]
    fn decimals_are_unpacked() {
        let decimal = |precision, scale, packed: &[u8], whole_min| {
            let mut out = String::new();
            push_decimal(&mut out, (precision, scale), packed, whole_min).map(|()| out)
        };
        assert_eq!(decimal(5, 2, &[0x80, 0x01, 0x32], 0).as_deref(), Some("1.50"));
        assert_eq!(decimal(5, 2, &[0x7f, 0xfe, 0xcd], 0).as_deref(), Some("-1.50"));
        assert_eq!(decimal(5, 2, &[0x80, 0x01, 0x32], 3).as_deref(), Some("001.50"));
        assert_eq!(decimal(2, 2, &[0x80 | 7], 0).as_deref(), Some("0.07"));
        assert_eq!(decimal(2, 2, &[0x80 | 100], 0), None);
        assert_eq!(decimal(9, 0, &[0x80, 0, 0, 0], 0).as_deref(), Some("0"));
        assert_eq!(decimal(9, 0, &[0x80, 0, 0], 0), None);
        assert_eq!(decimal(0, 0, &[], 0), None);
        assert_eq!(decimal(1, 2, &[0x80], 0), None);
        assert_eq!(decimal(255, 0, &[0x80; 114], 0), None);
    }

    proptest! {
        #[test]
        fn shortest_digits_read_back(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            if number.is_finite() {
                prop_assert_eq!(double(number).parse::<f64>().unwrap().to_bits(), bits);
            }
            let number = f32::from_bits(bits as u32);
            if number.is_finite() {
                let shortest = printed(|out| push_shortest_float(out, number));
                prop_assert_eq!(shortest.parse::<f32>().unwrap().to_bits(), bits as u32);
                float(number);
            }
        }

        #[test]
        fn fixed_decimals_are_as_many_as_asked(number in any::<f64>(), decimals in 0_usize..=30) {
            prop_assume!(number.is_finite());
            let text = fixed(number, decimals);
            let shown = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            prop_assert_eq!(shown, decimals);
        }
    }
}
