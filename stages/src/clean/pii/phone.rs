use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::scrubber::{digits, is_whole_number, stands_alone};

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?x-u)
        (?: \+86[-\x20]? | \b0?86[-\x20] )? \b1[3-9][0-9] [-\x20]? [0-9]{4} [-\x20]? [0-9]{4}  # Chinese mobile
      | \+ [1-9][0-9]{0,3} (?: [-.\x20]? \(? [0-9]{1,5} \)? ){2,6}                           # international
      | \( 0 [0-9]{2,3} \) \x20? [2-9][0-9]{2,3} [-\x20]? [0-9]{4}                           # Chinese landline
      | \b 0 [0-9]{2,3} - [2-9][0-9]{2,3} [-\x20]? [0-9]{4}
      | (?: \b1 [-.\x20] )? (?: \( [2-9][0-9]{2} \) \x20? | \b [2-9][0-9]{2} [-.\x20] ) [2-9][0-9]{2} [-.\x20] [0-9]{4}  # North American
    ";
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(pattern).expect("invariant: the pattern is valid")
});

/// Phone numbers: with a country code (`+`, 8 to 15 digits as E.164 has them), Chinese mobile and landline numbers, and
/// North American ones with separators. Bare digits without any of these marks stay.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    NUMBER
        .find_iter(text)
        .map(|found| found.range())
        .filter(|range| {
            let count = digits(&text[range.clone()]).len();
            (8..=15).contains(&count) && stands_alone(text, range) && is_whole_number(text, range)
        })
        .collect()
}
