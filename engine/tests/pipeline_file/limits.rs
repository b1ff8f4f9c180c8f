use std::{fmt::Write, path::Path, time::Duration};

use crate::graph::{PipelineErrors, load, load_text};

use super::{kinds::registry, shown};

/// What this thread has computed so far. On a shared machine the clock on the wall says little; where the system does
/// not tell, nothing is measured.
pub(crate) fn computed() -> Duration {
    let told = fs_err::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
}

fn refused(text: &str) -> PipelineErrors {
    let start = computed();
    let errors = load_text(Path::new("tests/valid/x.yaml"), text, &[], &registry()).unwrap_err();
    shown(&errors);
    let took = computed().saturating_sub(start);
    assert!(took < Duration::from_secs(5), "{took:?}");
    errors
}

fn code(text: &str) -> &'static str {
    refused(text).errors()[0].code()
}

#[test]
fn deep_nesting_is_refused() {
    for depth in [65, 1_000, 100_000] {
        assert_eq!(code(&"[".repeat(depth)), "pipeline::too_deep", "{depth}");
        assert_eq!(code(&"{a: ".repeat(depth)), "pipeline::too_deep", "{depth}");
        assert_eq!(code(&"- ".repeat(depth)), "pipeline::too_deep", "{depth}");
    }
    let mut block = String::new();
    for depth in 0..300 {
        let _ = writeln!(block, "{}a:", " ".repeat(depth));
    }
    assert_eq!(code(&block), "pipeline::too_deep");
}

#[test]
fn nesting_through_aliases_is_refused() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for at in 1..200 {
        let _ = writeln!(text, "a{at}: &a{at} [*a{}]", at - 1);
    }
    assert_eq!(code(&text), "pipeline::too_deep");
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for at in 1..10 {
        let name = format!("*a{}, ", at - 1);
        let _ = writeln!(text, "a{at}: &a{at} [{}]", name.repeat(9));
    }
    assert_eq!(code(&text), "pipeline::too_large");
    let merges: String = text.replace('[', "{<<: [").replace("]\n", "]}\n");
    refused(&merges);
}

#[test]
fn an_alias_inside_its_anchor_is_refused() {
    assert_eq!(code("a: &a [*a]\n"), "pipeline::recursive_alias");
}

#[test]
fn a_huge_file_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.yaml");
    fs_err::File::create(&file).unwrap().set_len(200 << 20).unwrap();
    let errors = load(folder.path(), &[], &registry()).unwrap_err();
    assert_eq!(errors.errors()[0].code(), "pipeline::too_large");
}

/// Such a file tells no size.
#[test]
#[cfg(unix)]
fn a_file_without_an_end_is_refused() {
    let errors = load(Path::new("/dev/zero"), &[], &registry()).unwrap_err();
    assert_eq!(errors.errors()[0].code(), "pipeline::too_large");
}

#[test]
fn one_very_long_line_is_shown_in_part() {
    let text = format!("stages: {{ a: {{ uses: {} }} }}", "x".repeat(1 << 20));
    assert!(!refused(&text).errors().is_empty());
}

/// A long chain of stages, as a generator would write it.
fn chain(stages: usize) -> String {
    let mut text = "params: { n: 3 }\nsources: { faq: data/faq.jsonl }\nstages:\n".to_owned();
    let mut from = "faq".to_owned();
    for at in 0..stages {
        let _ = write!(
            text,
            "  s{at}:\n    uses: clean\n    inputs: {{ records: {from} }}\n    with: {{ min_length: \"${{params.n}}\", filters: [{{ field: f, min: 0.5 }}] }}\n"
        );
        from = format!("s{at}.records");
    }
    text
}

#[test]
fn ten_thousand_stages_load_quickly() {
    let text = chain(10_000);
    let start = computed();
    let pipeline =
        load_text(Path::new("tests/valid/x.yaml"), &text, &[], &registry()).unwrap_or_else(|e| panic!("{}", shown(&e)));
    let took = computed().saturating_sub(start);
    assert_eq!(pipeline.stages.len(), 10_000);
    assert_eq!(pipeline.stages.ancestors("s9999").len(), 9_999);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn ten_thousand_mistakes_are_found_quickly() {
    let text = chain(10_000).replace("0.5", "5");
    assert_eq!(refused(&text).errors().len(), 51);
}
