//! Texts with lists in them, as selectors and sweeps have.

/// The pieces between commas that stand neither in quotation marks nor in brackets.
pub(crate) fn items(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut scanner = Scanner::default();
    let mut begin = 0;
    for (at, c) in text.char_indices() {
        if scanner.is_outside() && c == ',' {
            found.push(&text[begin..at]);
            begin = at + 1;
        }
        scanner.see(c);
    }
    found.push(&text[begin..]);
    found
}

/// The bracket that closes the one at `open`.
pub(crate) fn closing(text: &str, open: usize) -> Option<usize> {
    let mut scanner = Scanner::default();
    for (at, c) in text[open..].char_indices() {
        scanner.see(c);
        if at > 0 && c == ']' && scanner.is_outside() {
            return Some(open + at);
        }
    }
    None
}

/// Goes over a text and knows whether quotation marks or brackets are open.
#[derive(Debug, Default)]
struct Scanner {
    depth: usize,
    quote: Option<char>,
    escaped: bool,
    in_word: bool,
}

impl Scanner {
    fn is_outside(&self) -> bool {
        self.depth == 0 && self.quote.is_none()
    }

    fn see(&mut self, c: char) {
        match self.quote {
            Some('"') if self.escaped => self.escaped = false,
            Some('"') if c == '\\' => self.escaped = true,
            Some(quote) if c == quote => self.quote = None,
            // Within a word an apostrophe is one.
            None if matches!(c, '"' | '\'') && !self.in_word => self.quote = Some(c),
            None if matches!(c, '[' | '{' | '(') => self.depth += 1,
            None if matches!(c, ']' | '}' | ')') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.in_word = c.is_alphanumeric();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_values_do_not_part() {
        assert_eq!(items("8,16"), ["8", "16"]);
        assert_eq!(items("[a, b],c"), ["[a, b]", "c"]);
        assert_eq!(items("\"a,b\",'c,d'"), ["\"a,b\"", "'c,d'"]);
        assert_eq!(items("range(1,2,3)"), ["range(1,2,3)"]);
        assert_eq!(items("it's,fine"), ["it's", "fine"]);
        assert_eq!(items(r#""a\",b",c"#), [r#""a\",b""#, "c"]);
        assert_eq!(items(""), [""]);
    }
}
