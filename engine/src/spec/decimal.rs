use std::{fmt, str::FromStr};

/// A number as people write it, without the rounding of floating point: `1e-4 + 1e-4` is `2e-4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: i128,
    /// Of ten.
    exponent: i32,
}

/// Numbers further from 1 than this are none that anybody sweeps over.
const LARGEST_EXPONENT: i32 = 300;

impl FromStr for Decimal {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| ())?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if fraction.contains(['+', '-']) || !digits.contains(|c: char| c.is_ascii_digit()) || digits.len() > 30 {
            return Err(());
        }
        let exponent = exponent.checked_sub(fraction.len() as i32).filter(|own| own.abs() <= LARGEST_EXPONENT);
        Ok(Self { digits: digits.parse().map_err(|_| ())?, exponent: exponent.ok_or(())? })
    }
}

impl Decimal {
    /// Both as whole numbers of one unit, and that unit's power of ten.
    pub(super) fn common(numbers: [Self; 3]) -> Option<([i128; 3], i32)> {
        let unit = numbers.iter().map(|number| number.exponent).min()?;
        let mut units = [0; 3];
        for (to, number) in units.iter_mut().zip(numbers) {
            let factor = 10_i128.checked_pow((number.exponent - unit) as u32)?;
            *to = number.digits.checked_mul(factor)?;
        }
        Some((units, unit))
    }

    pub(super) fn new(digits: i128, exponent: i32) -> Self {
        Self { digits, exponent }
    }

    pub(super) fn as_f64(self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut digits, mut exponent) = (self.digits, self.exponent);
        while digits != 0 && digits % 10 == 0 && exponent < 0 {
            (digits, exponent) = (digits / 10, exponent + 1);
        }
        if digits == 0 {
            return f.write_str("0");
        }
        if (0..=15).contains(&exponent) {
            return write!(f, "{digits}{}", "0".repeat(exponent as usize));
        }
        let (sign, text) = (if digits < 0 { "-" } else { "" }, digits.unsigned_abs().to_string());
        let point = text.len() as i32 + exponent;
        if (-2..=0).contains(&point) {
            return write!(f, "{sign}0.{}{text}", "0".repeat(-point as usize));
        }
        if point > 0 && exponent < 0 {
            let (whole, fraction) = text.split_at(point as usize);
            return write!(f, "{sign}{whole}.{fraction}");
        }
        let (first, rest) = text.split_at(1);
        let rest = rest.trim_end_matches('0');
        let dot = if rest.is_empty() { "" } else { "." };
        write!(f, "{sign}{first}{dot}{rest}e{}", point - 1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_people_do() {
        for (text, shown) in [
            ("8", "8"),
            ("0.10", "0.1"),
            ("1e-4", "1e-4"),
            ("0.0005", "5e-4"),
            ("1.50e-5", "1.5e-5"),
            ("-0.25", "-0.25"),
            ("1e3", "1000"),
            ("12.5", "12.5"),
            ("0", "0"),
            ("1e20", "1e20"),
        ] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", ".", "x", "1e", "1.-2", "--1", "1e999", "nan"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_number(digits in 1_i64..1_000_000, exponent in -12..12_i32) {
            let number = Decimal::new(digits.into(), exponent);
            prop_assert_eq!(number.to_string().parse::<f64>().unwrap().to_bits(), number.as_f64().to_bits());
        }
    }
}
