use minijinja::{Environment, value::Serde};

use super::{html::block_syntax, view::View};

/// The same report in Markdown. Texts of the rows stand in fences longer than any run of backticks within them.
pub(in super::super) fn markdown(view: &View) -> String {
    let mut environment = Environment::new();
    environment.set_syntax(block_syntax());
    environment.add_filter("inline", |text: &str| inline(text));
    environment.add_filter("fenced", |text: &str| fenced(text));
    environment
        .add_template("report.md", include_str!("report.md"))
        .and_then(|()| environment.get_template("report.md")?.render(Serde(view)))
        .expect("invariant: the template fits the view")
}

/// A text inside a line or a table cell: nothing in it is markup.
fn inline(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\r' => escaped.push(' '),
            // Before a space, as in `p < 0.001`, neither begins a tag or an entity.
            '<' if rest.peek() != Some(&' ') => escaped.push_str("&lt;"),
            '&' if rest.peek() != Some(&' ') => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '#' | '~' => escaped.extend(['\\', c]),
            // Inside a word, as in `rouge_l`, it is no markup.
            _ => escaped.push(c),
        }
    }
    escaped
}

fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}text\n{}\n{fence}", text.strip_suffix('\n').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_is_no_markup() {
        assert_eq!(inline("a|b\n<i>*c* < d"), "a\\|b &lt;i>\\*c\\* < d");
        assert_eq!(fenced("x ``` y"), "````text\nx ``` y\n````");
        assert_eq!(fenced(""), "```text\n\n```");
    }
}
