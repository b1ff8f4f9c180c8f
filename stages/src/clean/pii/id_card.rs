use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::scrubber::stands_alone;

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(r"(?-u)[1-9][0-9]{16}[0-9Xx]").expect("invariant: the pattern is valid")
});

/// Chinese ID-card numbers of 18 places (GB 11643-1999): region, date of birth, sequence, check character.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    NUMBER
        .find_iter(text)
        .map(|found| found.range())
        .filter(|range| stands_alone(text, range) && is_valid(text[range.clone()].as_bytes()))
        .collect()
}

/// The weights of the first 17 digits, `2^(17−i) mod 11`.
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/// The check character for each remainder (ISO 7064 MOD 11-2).
const CHECKS: &[u8; 11] = b"10X98765432";

fn is_valid(number: &[u8]) -> bool {
    let value = |range: Range<usize>| number[range].iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0'));
    let region = value(0..2);
    let (year, month, day) = (value(6..10), value(10..12), value(12..14));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    let sum: u32 = number.iter().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    matches!(region, 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91)
        && (1850..=2150).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days).contains(&day)
        && CHECKS[sum as usize % 11] == number[17].to_ascii_uppercase()
}
