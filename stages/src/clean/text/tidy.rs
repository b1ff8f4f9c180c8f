use super::{characters, html, whitespace};
use crate::clean::params::{CleanParams, Html, Unicode, Whitespace};

/// A way in which a text was changed. The names are those of the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::clean) enum Change {
    ControlCharacters,
    ZeroWidth,
    Unicode,
    HtmlTags,
    HtmlEntities,
    Whitespace,
}

impl Change {
    pub(in crate::clean) const ALL: [Self; 6] =
        [Self::ControlCharacters, Self::ZeroWidth, Self::Unicode, Self::HtmlTags, Self::HtmlEntities, Self::Whitespace];

    pub(in crate::clean) fn name(self) -> &'static str {
        match self {
            Self::ControlCharacters => "control_characters",
            Self::ZeroWidth => "zero_width",
            Self::Unicode => "unicode_nfc",
            Self::HtmlTags => "html_tags",
            Self::HtmlEntities => "html_entities",
            Self::Whitespace => "whitespace",
        }
    }
}

/// A set of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::clean) struct Changes(u8);

impl Changes {
    pub(in crate::clean) fn add(&mut self, change: Change) {
        self.0 |= 1 << change as u8;
    }

    pub(in crate::clean) fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(in crate::clean) fn contains(self, change: Change) -> bool {
        self.0 & (1 << change as u8) != 0
    }

    pub(in crate::clean) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Cleans texts as the parameters say.
pub(in crate::clean) struct TextCleaner {
    unicode: Unicode,
    html: Html,
    whitespace: Whitespace,
}

/// Removing one thing can uncover another (`&amp;lt;b&amp;gt;`), so cleaning goes on until nothing changes; markup
/// nested deeper than this is no accident.
const MOST_PASSES: usize = 16;

impl TextCleaner {
    pub(in crate::clean) fn new(params: &CleanParams) -> Self {
        Self { unicode: params.unicode, html: params.html, whitespace: params.whitespace }
    }

    /// Cleans a text; cleaning the result again changes nothing. `None` when it does not come to rest.
    pub(in crate::clean) fn clean(&self, text: String, changes: &mut Changes) -> Option<String> {
        let mut text = text;
        for _ in 0..MOST_PASSES {
            let mut changed = Changes::default();
            text = self.pass(text, &mut changed);
            if changed.is_empty() {
                return Some(text);
            }
            changes.extend(changed);
        }
        None
    }

    fn pass(&self, text: String, changes: &mut Changes) -> String {
        let mut text = characters::remove(text, changes);
        if self.unicode == Unicode::Nfc {
            text = characters::compose(text, changes);
        }
        if self.html == Html::Strip {
            text = html::strip(text, changes);
        }
        if self.whitespace == Whitespace::Tidy {
            text = whitespace::tidy(text, changes);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::is_nfc;

    use super::*;

    fn cleaned(text: &str) -> String {
        TextCleaner::new(&CleanParams::default()).clean(text.to_owned(), &mut Changes::default()).unwrap()
    }

    fn changes(text: &str) -> Vec<&'static str> {
        let mut changes = Changes::default();
        TextCleaner::new(&CleanParams::default()).clean(text.to_owned(), &mut changes).unwrap();
        Change::ALL.into_iter().filter(|&change| changes.contains(change)).map(Change::name).collect()
    }

    #[test]
    fn remnants_go() {
        for (dirty, clean) in [
            ("<p>Press <b>OK</b>.</p>", "Press OK."),
            ("one<br>two<br/>three", "one\ntwo\nthree"),
            ("a&nbsp;b &amp; c", "a b & c"),
            ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
            ("x<!-- note -->y<script>alert(1)</script>z", "xyz"),
            ("<a href=\"https://x.example/?a=1&amp;b=2\">portal</a>", "portal"),
            ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
            ("line one  \r\n\r\n\r\n\r\nline\ttwo", "line one\n\nline two"),
            ("zero\u{200b}width\u{feff} and \u{7}bell", "zerowidth and bell"),
            ("Cafe\u{301}", "Café"),
            ("<span style='color:red'>请</span>重启&nbsp;&nbsp;电脑", "请重启 电脑"),
            ("<code>ipconfig</code>", "ipconfig"),
        ] {
            assert_eq!(cleaned(dirty), clean, "{dirty:?}");
        }
    }

    #[test]
    fn legitimate_text_stays() {
        for text in [
            "if a < b and b > c then",
            "a<b and c>d",
            "Type <user> and <password>, then <your name>.",
            "Vec<u8>, Map<String, List<T>>, x <- y, i<10; j>2",
            "Use `<b>bold</b>` or:\n```html\n<p>one</p>   &amp;\n\n\n\n  two\n```",
            "AT&T; R&D, fish & chips, ?a=1&copy=2",
            "“你好”，世界！（全角）：￥１００。",
            "    indented\n\tcode",
            "👨‍👩‍👧 и 👍🏽 ok",
            "می‌خواهم",
            "Enter <address> of the <file> in <title>",
            "3 <4 and 5> 4 <3",
        ] {
            assert_eq!(cleaned(text), text);
            assert!(changes(text).is_empty(), "{text:?}: {:?}", changes(text));
        }
    }

    #[test]
    fn each_change_is_named() {
        assert_eq!(changes("<b>x</b>"), ["html_tags"]);
        assert_eq!(changes("a &lt; b"), ["html_entities"]);
        assert_eq!(changes(" a"), ["whitespace"]);
        assert_eq!(changes("a\u{1}\u{200b}"), ["control_characters", "zero_width"]);
        assert_eq!(changes("e\u{301}"), ["unicode_nfc"]);
    }

    #[test]
    fn endless_nesting_is_refused() {
        let deep = format!("{}b>{}", "<".repeat(200), "b>".repeat(200));
        assert_eq!(TextCleaner::new(&CleanParams::default()).clean(deep, &mut Changes::default()), None);
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,6}",
            "[ \t\r\n]{1,3}",
            proptest::sample::select(vec![
                "<b>",
                "</b>",
                "<br/>",
                "<",
                ">",
                "&",
                "&amp;",
                "lt;",
                "gt;",
                "&#60;",
                "&nbsp;",
                "`",
                "```",
                "\n```\n",
                "<!--",
                "-->",
                "<script>",
                "</script>",
                "\u{200b}",
                "\u{200d}",
                "\u{301}",
                "e",
                "b>",
                "<li>",
                "</p>",
                "<address>",
                "</address>",
                "  ",
                "\u{3000}",
                "中文",
                "\u{1b}",
                "&zwj;",
                "&#13;",
            ])
            .prop_map(str::to_owned),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn cleaning_is_idempotent_and_composes(pieces in proptest::collection::vec(piece(), 0..30)) {
            let cleaner = TextCleaner::new(&CleanParams::default());
            if let Some(once) = cleaner.clean(pieces.concat(), &mut Changes::default()) {
                let mut again = Changes::default();
                let twice = cleaner.clean(once.clone(), &mut again);
                prop_assert_eq!(twice.as_ref(), Some(&once));
                prop_assert!(again.is_empty());
                prop_assert!(is_nfc(&once));
                prop_assert!(!once.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            }
        }
    }
}
