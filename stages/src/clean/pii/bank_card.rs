use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::scrubber::{digits, is_whole_number, stands_alone};

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?x-u)
        [2-6][0-9]{12,18}
      | [2-6][0-9]{3} (?: (?:\x20[0-9]{4}){2,3} (?:\x20[0-9]{1,4})? | (?:-[0-9]{4}){2,3} (?:-[0-9]{1,4})? )
      | 3[47][0-9]{2} (?: \x20[0-9]{6}\x20 | -[0-9]{6}- ) [0-9]{5}
    ";
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(pattern).expect("invariant: the pattern is valid")
});

/// Bank-card numbers (ISO/IEC 7812): 13 to 19 digits that begin with 2 to 6, in a row or in groups, whose Luhn check
/// digit is right. One in ten other long numbers passes that check, too.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    NUMBER
        .find_iter(text)
        .map(|found| found.range())
        .filter(|range| {
            let digits = digits(&text[range.clone()]);
            (13..=19).contains(&digits.len())
                && stands_alone(text, range)
                && is_whole_number(text, range)
                && digits.iter().any(|digit| *digit != digits[0])
                && passes_luhn(&digits)
        })
        .collect()
}

/// The sum of all digits, every second one from the right doubled and reduced to one digit, is a multiple of ten.
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, u32::from(digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}
