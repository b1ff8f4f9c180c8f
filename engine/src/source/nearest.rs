use strsim::damerau_levenshtein;

/// The candidate that was probably meant.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let simple = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let written = simple(written);
    let length = written.chars().count();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let plain = simple(candidate);
            let distance = damerau_levenshtein(&written, &plain);
            let longer = length.max(plain.chars().count());
            let begins =
                length >= 3 && (plain.starts_with(&written) || written.starts_with(&plain) && plain.len() >= 3);
            // A third of the letters may be wrong, or the rest may be missing.
            (distance <= longer.div_ceil(3).min(longer.saturating_sub(1)) || begins).then_some((distance, candidate))
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`?``
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// `` `a`, `b` and `c` ``, of many only the first ones.
pub fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    joined(words, "and")
}

/// `` `a`, `b` or `c` ``, of many only the first ones.
pub(crate) fn choice<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    joined(words, "or")
}

fn joined<'a>(words: impl IntoIterator<Item = &'a str>, last_word: &str) -> String {
    const SHOWN: usize = 12;
    let words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    // The place of `1 more` is that of the word itself.
    if words.len() > SHOWN + 1 {
        return format!("{} {last_word} {} more", words[..SHOWN].join(", "), words.len() - SHOWN);
    }
    match words.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {last_word} {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let known = ["learning_rate", "rank", "epochs", "batch_size", "seed"];
        for (written, meant) in [
            ("learnig_rate", Some("learning_rate")),
            ("learning-rate", Some("learning_rate")),
            ("LearningRate", Some("learning_rate")),
            ("rnak", Some("rank")),
            ("epoch", Some("epochs")),
            ("batch", Some("batch_size")),
            ("sede", Some("seed")),
            ("xyz", None),
            ("q", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(choice(["a", "b"]), "`a` or `b`");
        assert_eq!(list([]), "none");
    }
}
