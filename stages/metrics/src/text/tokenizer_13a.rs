//! sacrebleu's tokenizer `13a`, after mteval-v13a.pl.

use std::sync::LazyLock;

use regex::Regex;

use super::split;

/// sacrebleu's `TokenizerRegexp`, in its order.
static RULES: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    [
        (r"([\{-~\[-` -\&\(-\+:-@/])", " ${1} "),
        (r"([^0-9])([\.,])", "${1} ${2} "),
        (r"([\.,])([^0-9])", " ${1} ${2}"),
        (r"([0-9])(-)", "${1} ${2} "),
    ]
    .map(|(pattern, replacement)| (Regex::new(pattern).expect("invariant: the pattern is valid"), replacement))
});

/// The tokens of one segment.
pub(crate) fn tokenize_13a(text: &str) -> Vec<String> {
    let mut text = strip_markup(text);
    text.insert(0, ' ');
    text.push(' ');
    apply_rules(text)
}

/// The part that `13a` and `zh` share.
pub(super) fn apply_rules(mut text: String) -> Vec<String> {
    for (pattern, replacement) in RULES.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    split(&text).map(str::to_owned).collect()
}

fn strip_markup(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    // One after the other as sacrebleu does it: `&amp;lt;` becomes `<`.
    text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}
