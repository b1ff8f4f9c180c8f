//! What must hold whatever the bytes of the files that refit reads: the pipeline file, the manifest, the lock file.
//!
//! Each function panics when it does not hold. The fuzzer in `libfuzzer/` calls them with bytes of its own making, the
//! tests with every seed and with every input that once broke something:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz/libfuzzer pipeline_file CORPUS tests/fuzz/seeds/pipeline_file
//! ```

mod lock_file;
mod manifest;
mod pipeline_file;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, SourceSpan};

pub use lock_file::lock_file;
pub use manifest::manifest;
pub use pipeline_file::pipeline_file;

/// A function that is tried with any bytes.
pub type Target = fn(&[u8]);

/// Every target by name, which is also that of its folders of seeds and findings.
pub const TARGETS: [(&str, Target); 3] =
    [("pipeline_file", pipeline_file), ("manifest", manifest), ("lock_file", lock_file)];

/// An error has a code and words, its places lie in its text and begin and end with characters, and it can be shown.
fn assert_shown(error: &dyn Diagnostic) {
    assert!(!error.to_string().is_empty(), "no words");
    if let Some(source) = error.source_code() {
        let all = source.read_span(&SourceSpan::from(0), 0, usize::MAX);
        let all = all.unwrap_or_else(|problem| panic!("the text of `{error}` cannot be read: {problem}"));
        let text = std::str::from_utf8(all.data()).unwrap_or_else(|_| panic!("the text of `{error}` is not UTF-8"));
        for label in error.labels().into_iter().flatten() {
            let place = label.offset()..label.offset() + label.len();
            assert!(text.get(place).is_some(), "`{error}` lies outside of its text or cuts a character");
        }
    } else {
        assert!(error.labels().into_iter().flatten().next().is_none(), "`{error}` has a place in no text");
    }
    for more in error.related().into_iter().flatten() {
        assert_shown(more);
    }
}

/// The error as a person sees it.
fn shown(error: &dyn Diagnostic) -> String {
    assert!(error.code().is_some(), "`{error}` has no code");
    assert_shown(error);
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    handler.render_report(&mut text, error).unwrap_or_else(|_| panic!("`{error}` cannot be shown"));
    text
}
