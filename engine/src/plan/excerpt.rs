use serde_json::Value;

/// Characters shown of a value at most.
const LONGEST: usize = 60;
/// Characters shown before the place where two values begin to differ.
const BEFORE: usize = 15;

/// A value before and now, in one line each and as JSON; of long ones, what is around the first place where they differ.
pub fn excerpts(old: Option<&Value>, new: Option<&Value>) -> [String; 2] {
    let texts = [old, new].map(|value| value.map(|value| value.to_string().chars().collect::<Vec<_>>()));
    let shared = match &texts {
        [Some(old), Some(new)] => old.iter().zip(new).take_while(|(old, new)| old == new).count(),
        _ => 0,
    };
    let are_long = texts.iter().flatten().any(|text| text.len() > LONGEST);
    let first = if are_long { shared.saturating_sub(BEFORE) } else { 0 };
    texts.map(|text| text.map_or_else(|| "(none)".to_owned(), |text| excerpt(&text, first)))
}

fn excerpt(text: &[char], first: usize) -> String {
    let rest = &text[first.min(text.len())..];
    let before = if first > 0 { "…" } else { "" };
    let (shown, after) = if rest.len() > LONGEST { (&rest[..LONGEST], "…") } else { (rest, "") };
    format!("{before}{}{after}", shown.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::excerpts;

    #[test]
    fn what_differs_is_shown() {
        let shown = |old: &str, new: &str| excerpts(Some(&json!(old)), Some(&json!(new)));
        assert_eq!(shown("a", "b"), ["\"a\"", "\"b\""]);
        let long = "cut -f 1 $records | sort -u | grep -v '^$' > sorted.txt\n";
        assert_eq!(
            shown(&format!("{long}head -n 5 sorted.txt > $out"), &format!("{long}head -n 50 sorted.txt > $out")),
            ["….txt\\nhead -n 5 sorted.txt > $out\"", "….txt\\nhead -n 50 sorted.txt > $out\""]
        );
        assert_eq!(excerpts(None, Some(&json!(1e-4))), ["(none)", "0.0001"]);
        let [none, cut] = excerpts(None, Some(&json!("x".repeat(99))));
        assert_eq!((none.as_str(), cut.chars().count()), ("(none)", 61));
    }
}
