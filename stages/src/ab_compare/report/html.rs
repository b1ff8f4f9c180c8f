use minijinja::{Environment, context, syntax::SyntaxConfig, value::Serde};

use super::view::View;

/// The page: one file that needs no network and runs no script. Every text is escaped by the template's `.html` name.
pub(in super::super) fn html(view: &View) -> String {
    let mut environment = Environment::new();
    environment.set_syntax(block_syntax());
    environment
        .add_template("report.html", include_str!("report.html"))
        .and_then(|()| {
            let page = environment.get_template("report.html")?;
            page.render(context! { view => Serde(view), style => include_str!("style.css") })
        })
        .expect("invariant: the template fits the view")
}

/// Lines that hold only a block tag leave nothing behind.
pub(super) fn block_syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .expect("invariant: the delimiters are the usual ones")
}
