use std::{ops::Range, sync::LazyLock};

use regex::Regex;

static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(r"(?i-u)[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9](?:[a-z0-9-]{0,62})\.)+[a-z]{2,24}")
        .expect("invariant: the pattern is valid")
});

/// Mail addresses: a local part, `@`, and a name with a top-level domain of letters.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    if !text.contains('@') {
        return Vec::new();
    }
    ADDRESS.find_iter(text).map(|found| found.range()).collect()
}
