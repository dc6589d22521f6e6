//! Exact decimal numbers, as JSON writes them.
//!
//! A [`Number`] is `mantissa × 10^exponent`, kept in one canonical form (no trailing zero in the
//! mantissa), so that equal numbers are equal bytes: `1`, `1.0` and `1e0` are one number. Nothing is
//! rounded on the way in: what does not fit is refused with the reason.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::NUMBER_DIGIT_COUNT_MAX;

/// A decimal number of at most [`NUMBER_DIGIT_COUNT_MAX`] significant digits, within the magnitudes of an IEEE
/// double (1e-324 to 1.8e308).
///
/// The serialised form is the text, so that whatever is read is canonical again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Number {
    mantissa: i128,
    exponent: i16,
}

/// Why a text is not a [`Number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not the grammar of a JSON number.
    #[error("not a number")]
    Syntax,
    /// More significant digits than can be kept exactly.
    #[error(
        "a number of more than {NUMBER_DIGIT_COUNT_MAX} significant digits cannot be kept exactly; send it as a string"
    )]
    TooManyDigits,
    /// Beyond the magnitudes of a double.
    #[error("a number of this magnitude cannot be kept; it must lie between 1e-324 and 1.8e308")]
    OutOfRange,
}

impl Number {
    /// Zero.
    pub const ZERO: Number = Number { mantissa: 0, exponent: 0 };

    /// Returns `mantissa × 10^exponent`, or an error if it is out of range.
    pub fn new(mantissa: i128, exponent: i32) -> Result<Number, NumberError> {
        if mantissa == 0 {
            return Ok(Number::ZERO);
        }
        let (mut mantissa, mut exponent) = (mantissa, exponent);
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        let digits = digit_count(mantissa);
        if digits > NUMBER_DIGIT_COUNT_MAX {
            return Err(NumberError::TooManyDigits);
        }
        let magnitude = exponent + digits as i32;
        if !(-323..=309).contains(&magnitude) {
            return Err(NumberError::OutOfRange);
        }
        let number = Number { mantissa, exponent: exponent as i16 };
        if magnitude == 309 && number.to_f64().is_infinite() {
            return Err(NumberError::OutOfRange);
        }
        Ok(number)
    }

    /// A number whose parts were taken from one.
    pub(crate) fn canonical(mantissa: i64, exponent: i16) -> Number {
        debug_assert!(mantissa == 0 && exponent == 0 || mantissa % 10 != 0);
        Number { mantissa: i128::from(mantissa), exponent }
    }

    /// Reads a JSON number exactly.
    pub fn parse(text: &str) -> Result<Number, NumberError> {
        let bytes = text.as_bytes();
        let mut at = 0;
        let negative = bytes.first() == Some(&b'-');
        at += usize::from(negative);

        let mut mantissa: i128 = 0;
        let mut digits = 0; // significant digits taken into the mantissa
        let mut dropped_zeros = 0; // zeros after them, not yet taken
        let mut exponent: i32 = 0;
        let mut take = |digit: u8, fraction: bool| -> Result<(), NumberError> {
            if fraction {
                exponent = exponent.checked_sub(1).ok_or(NumberError::OutOfRange)?;
            }
            if digit == 0 {
                dropped_zeros += usize::from(mantissa != 0);
                return Ok(());
            }
            digits += 1 + dropped_zeros;
            if digits > NUMBER_DIGIT_COUNT_MAX {
                return Err(NumberError::TooManyDigits);
            }
            for _ in 0..dropped_zeros {
                mantissa *= 10;
            }
            dropped_zeros = 0;
            mantissa = mantissa * 10 + i128::from(digit);
            Ok(())
        };

        let integer_at = at;
        while let Some(digit) = bytes.get(at).filter(|b| b.is_ascii_digit()) {
            take(digit - b'0', false)?;
            at += 1;
        }
        let integer_digits = at - integer_at;
        let leading_zero = integer_digits > 1 && bytes[integer_at] == b'0';
        if integer_digits == 0 || leading_zero {
            return Err(NumberError::Syntax);
        }
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            let fraction_at = at;
            while let Some(digit) = bytes.get(at).filter(|b| b.is_ascii_digit()) {
                take(digit - b'0', true)?;
                at += 1;
            }
            if at == fraction_at {
                return Err(NumberError::Syntax);
            }
        }
        exponent += dropped_zeros as i32;
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let written = std::str::from_utf8(&bytes[at + 1..]).map_err(|_| NumberError::Syntax)?;
            let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(NumberError::Syntax);
            }
            if mantissa == 0 {
                return Ok(Number::ZERO);
            }
            let written: i32 = written.parse().map_err(|_| NumberError::OutOfRange)?;
            exponent = exponent.checked_add(written).ok_or(NumberError::OutOfRange)?;
            at = bytes.len();
        }
        if at != bytes.len() {
            return Err(NumberError::Syntax);
        }
        Number::new(if negative { -mantissa } else { mantissa }, exponent)
    }

    /// Returns the decimal that a finite double prints as (the shortest that reads back as the same double).
    pub fn from_f64(value: f64) -> Option<Number> {
        value.is_finite().then(|| Number::parse(&format!("{value:e}")).ok()).flatten()
    }

    /// The digits as an integer, without trailing zeros.
    pub fn mantissa(self) -> i128 {
        self.mantissa
    }

    /// The power of ten that the mantissa is multiplied by.
    pub fn exponent(self) -> i32 {
        i32::from(self.exponent)
    }

    /// Returns `self / 10^exponent` as an integer, if it is one that fits.
    pub fn mantissa_at(self, exponent: i32) -> Option<i128> {
        let shift = u32::try_from(self.exponent() - exponent).ok()?;
        self.mantissa.checked_mul(10_i128.checked_pow(shift)?)
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        if self.exponent == 0 && self.mantissa.unsigned_abs() < 1 << 53 {
            return self.mantissa as f64;
        }
        format!("{}e{}", self.mantissa, self.exponent).parse().expect("a decimal reads as a double")
    }

    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }
}

/// Decimal digits of `value`, 0 for zero.
fn digit_count(value: i128) -> usize {
    value.unsigned_abs().checked_ilog10().map_or(0, |log| log as usize + 1)
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        if sign != Ordering::Equal || self.mantissa == 0 {
            return sign;
        }
        let magnitude = |n: &Number| n.exponent() + digit_count(n.mantissa) as i32;
        let absolute = magnitude(self).cmp(&magnitude(other)).then_with(|| {
            // Equal magnitudes: the exponents differ by no more than the digit counts do, so the
            // longer mantissa has at most 38 digits after scaling and fits.
            let exponent = self.exponent().min(other.exponent());
            let scaled = |n: &Number| n.mantissa_at(exponent).expect("same magnitude").unsigned_abs();
            scaled(self).cmp(&scaled(other))
        });
        if self.is_negative() { absolute.reverse() } else { absolute }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Number> for String {
    fn from(number: Number) -> String {
        number.to_string()
    }
}

impl TryFrom<String> for Number {
    type Error = NumberError;

    fn try_from(text: String) -> Result<Number, NumberError> {
        Number::parse(&text)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Number {
        Number::new(i128::from(value), 0).expect("every i64 is in range")
    }
}

/// Writes the number as JSON does, with all its decimals: `12.5`, `-3`, `1e300`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, &self.mantissa.unsigned_abs().to_string(), self.is_negative(), self.exponent())
    }
}

/// Writes `digits × 10^exponent` in plain notation where that stays short, else with an exponent.
pub(crate) fn write_decimal(
    f: &mut impl fmt::Write,
    digits: &str,
    negative: bool,
    exponent: i32,
) -> fmt::Result {
    const PLAIN_DIGIT_COUNT_MAX: i32 = 40;
    if negative {
        f.write_char('-')?;
    }
    let point = digits.len() as i32 + exponent; // digits before the decimal point
    if exponent >= 0 && point <= PLAIN_DIGIT_COUNT_MAX {
        let zeros = if digits == "0" { 0 } else { exponent as usize };
        write!(f, "{digits}{}", "0".repeat(zeros))
    } else if exponent < 0 && point > 0 {
        let (whole, fraction) = digits.split_at(point as usize);
        write!(f, "{whole}.{fraction}")
    } else if exponent < 0 && point > -PLAIN_DIGIT_COUNT_MAX {
        write!(f, "0.{}{digits}", "0".repeat(-point as usize))
    } else {
        write!(f, "{digits}e{exponent}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn one_value_has_one_form() {
        assert_eq!(number("1"), number("1.000"));
        assert_eq!(number("1"), number("10e-1"));
        assert_eq!(number("0"), number("-0.0e17"));
        assert_eq!(number("2500315.63").to_string(), "2500315.63");
        assert_eq!(number("-0.05").to_string(), "-0.05");
        assert_eq!(number("1200").to_string(), "1200");
        assert_eq!(number("1e300").to_string(), "1e300");
    }

    #[test]
    fn whole_numbers_of_64_bits_are_kept_exactly() {
        assert_eq!(number("18446744073709551615").to_string(), "18446744073709551615");
        assert_eq!(number("-9223372036854775808").to_string(), "-9223372036854775808");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        assert_eq!(Number::parse("1e400"), Err(NumberError::OutOfRange));
        assert_eq!(Number::parse("1e-400"), Err(NumberError::OutOfRange));
        assert_eq!(Number::parse("1e99999999999"), Err(NumberError::OutOfRange));
        assert_eq!(Number::parse(&"7".repeat(39)), Err(NumberError::TooManyDigits));
        assert!(Number::parse(&format!("1{}", "0".repeat(300))).is_ok());
        for text in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "1 ", "NaN", "0x1"] {
            assert_eq!(Number::parse(text), Err(NumberError::Syntax), "{text:?}");
        }
    }

    #[test]
    fn order_is_that_of_the_values() {
        let ascending =
            ["-1e300", "-2.5", "-2.49", "-1e-300", "0", "1e-300", "0.1", "0.11", "9", "10", "10.5", "1e300"];
        for pair in ascending.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn doubles_keep_the_decimals_they_print() {
        assert_eq!(Number::from_f64(0.1), Some(number("0.1")));
        assert_eq!(Number::from_f64(1e21), Some(number("1e21")));
        assert_eq!(Number::from_f64(f64::NAN), None);
        assert_eq!(number("2500315.63").to_f64(), 2500315.63);
    }
}
