/// The names most like a wrong one, best first, at most `count`.
pub(crate) fn near<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let wrong = wrong.to_lowercase();
    let base = base_name(&wrong);
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let whole = strsim::normalized_damerau_levenshtein(&wrong, &lower);
            let last = strsim::normalized_damerau_levenshtein(base, base_name(&lower));
            (whole.max(last), name)
        })
        .filter(|(score, _)| *score >= 0.6)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(count).map(|(_, name)| name).collect()
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `did you mean a, b?`, or what there is when nothing is alike.
pub(crate) fn did_you_mean(wrong: &str, names: &[&str]) -> String {
    let alike = near(wrong, names.iter().copied(), 3);
    if !alike.is_empty() {
        return format!("did you mean {}?", alike.join(", "));
    }
    let shown: Vec<_> = names.iter().copied().take(12).collect();
    match names.len() - shown.len() {
        0 if shown.is_empty() => "it holds no file at all".to_owned(),
        0 => format!("there are: {}", shown.join(", ")),
        more => format!("there are: {} and {more} more", shown.join(", ")),
    }
}
