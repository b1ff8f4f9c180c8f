use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Change, Changes, code::code_ranges};

/// Elements whose tags are markup wherever they stand.
const MARKUP: &str = "a|abbr|acronym|article|aside|b|bdi|bdo|big|blockquote|br|cite|col|colgroup|dd|del|dfn|div|dl|dt|em\
|fieldset|figcaption|figure|hgroup|h[1-6]|hr|i|iframe|img|ins|kbd|legend|li|nav|nobr|noscript|ol|optgroup|p|pre|q|rp|rt|ruby\
|s|samp|small|span|strike|strong|sub|sup|svg|table|tbody|td|textarea|tfoot|th|thead|tr|tt|u|ul|wbr|o:p";

/// Elements whose names people also write between angle brackets as placeholders (`<address>`, `<file>` is none): an
/// opening tag counts only with attributes, or when the text holds the closing tag.
const WORDS: &str = "address|area|audio|base|body|button|caption|center|code|data|datalist|details|dialog|embed|font|footer\
|form|head|header|html|input|label|link|main|map|mark|menu|meta|meter|object|option|output|param|picture|progress|script\
|search|section|select|source|style|summary|template|time|title|track|var|video";

/// Attributes, so that `a <b and c> d` is no tag: each has a value, or is one of those that stand alone.
const ATTRIBUTES: &str = r#"(?:\s+(?:[a-z_:@][-a-z0-9_:.]*\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=`]+)|disabled|checked|hidden|controls|async|defer|selected|readonly|required|multiple|nowrap|noshade|allowfullscreen|autoplay|loop|muted))"#;

static TAG: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = format!(
        r"(?isx) <!--.*?--> | <!doctype\s[^<>]*> | <script{ATTRIBUTES}*\s*>.*?</script\s*> | <style{ATTRIBUTES}*\s*>.*?</style\s*>
        | <(?P<close>/)? (?: (?P<markup>{MARKUP}) | (?P<word>{WORDS}) ) (?P<attributes>{ATTRIBUTES}*) \s* (?P<void>/)?>"
    );
    #[expect(clippy::expect_used, reason = "the pattern is a constant, compiled in every test")]
    Regex::new(&pattern).expect("invariant: the pattern is valid")
});

/// Removes tags and comments and decodes entities, outside of code.
///
/// Blocks and `<br>` leave a line break, list items a dash, table cells a space; scripts and styles go with their
/// content. Entities need their semicolon, so that `?a=1&copy=2` stays.
pub(super) fn strip(text: String, changes: &mut Changes) -> String {
    let (tags, entities) = (text.contains('<') && text.contains('>'), text.contains('&') && text.contains(';'));
    if !tags && !entities {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let closing = closing_words(&text);
    for range in code_ranges(&text).into_iter().chain(std::iter::once(text.len()..text.len())) {
        let prose = &text[at..range.start];
        let stripped = TAG.replace_all(prose, |found: &Captures<'_>| replacement(found, &closing));
        if stripped != prose {
            changes.add(Change::HtmlTags);
        }
        let decoded = html_escape::decode_html_entities(&stripped);
        if decoded != stripped {
            changes.add(Change::HtmlEntities);
        }
        out.push_str(&decoded);
        out.push_str(&text[range.clone()]);
        at = range.end;
    }
    out
}

/// The placeholder-like element names whose closing tag stands in the text.
fn closing_words(text: &str) -> Vec<String> {
    if !text.contains("</") {
        return Vec::new();
    }
    let mut names: Vec<String> = TAG
        .captures_iter(text)
        .filter(|found| found.name("close").is_some())
        .filter_map(|found| Some(found.name("word")?.as_str().to_ascii_lowercase()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn replacement(found: &Captures<'_>, closing: &[String]) -> String {
    let whole = || found[0].to_owned();
    let closes = found.name("close").is_some();
    if let Some(word) = found.name("word") {
        let name = word.as_str().to_ascii_lowercase();
        let telling = closes || !found["attributes"].is_empty() || found.name("void").is_some();
        if !telling && !closing.contains(&name) {
            return whole();
        }
    }
    let Some(name) = found.name("markup").or_else(|| found.name("word")) else { return String::new() };
    let name = name.as_str().to_ascii_lowercase();
    match name.as_str() {
        "li" if !closes => "\n- ",
        "td" | "th" => " ",
        "br" | "p" | "div" | "tr" | "hr" | "ul" | "ol" | "dl" | "dt" | "dd" | "table" | "blockquote" | "pre" | "h1"
        | "h2" | "h3" | "h4" | "h5" | "h6" | "section" | "header" | "footer" | "article" => "\n",
        _ => "",
    }
    .to_owned()
}
