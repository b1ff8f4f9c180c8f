use std::path::Path;

use crate::graph::{PipelineErrors, load, load_text};
use miette::Diagnostic;

use super::{fixtures, kinds::registry, overrides_in, shown};

/// Each file in `tests/invalid` shows what a person sees. Read a changed snapshot as that person: is the label on the
/// right characters, does the help lead out?
#[test]
fn every_mistake_is_explained() {
    let files = fixtures("invalid");
    assert!(files.len() >= 35, "{}", files.len());
    for file in files {
        let errors = load(&file, &overrides_in(&file), &registry()).expect_err(&file.display().to_string());
        assert!(!errors.is_unreadable());
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "../snapshots", omit_expression => true }, {
            insta::assert_snapshot!(name, shown(&errors));
        });
    }
}

/// Labels lie within the text and on character boundaries.
#[test]
fn every_label_is_a_piece_of_the_text() {
    for file in fixtures("invalid") {
        let errors = load(&file, &[], &registry());
        for error in errors.err().iter().flat_map(PipelineErrors::errors) {
            for label in error.labelled() {
                let text = error.source_code().unwrap().read_span(label.inner(), 0, 0).unwrap();
                let text = std::str::from_utf8(text.data());
                assert!(text.is_ok_and(|text| text.len() >= label.len()), "{}: {label:?}", file.display());
            }
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = load(Path::new("tests/nowhere.yaml"), &[], &registry()).unwrap_err();
    assert!(errors.is_unreadable());
    insta::assert_snapshot!(shown(&errors));
}

#[test]
fn a_folder_without_a_pipeline_is_named() {
    let errors = load(Path::new("tests/invalid/data"), &[], &registry()).unwrap_err();
    assert!(errors.is_unreadable());
    insta::assert_snapshot!(shown(&errors));
}

#[test]
fn bytes_that_are_not_utf8_are_placed() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("pipeline.yaml"), b"name: x\nstages: \xff\xfe\n").unwrap();
    let errors = load(folder.path(), &[], &registry()).unwrap_err();
    assert_eq!(errors.errors()[0].code(), "pipeline::not_utf8");
    assert!(errors.errors()[0].to_string().contains("line 2"), "{}", errors.errors()[0]);
}

#[test]
fn an_empty_file_is_said_to_be_empty() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "\u{feff}"] {
        let errors = load_text(Path::new("x.yaml"), text, &[], &registry()).unwrap_err();
        assert_eq!(errors.errors()[0].code(), "pipeline::empty", "{text:?}");
        shown(&errors);
    }
}

#[test]
fn of_very_many_mistakes_the_rest_is_counted() {
    let keys: Vec<String> = (0..60).map(|at| format!("bad{at}: 1")).collect();
    let keys = keys.join("\n");
    let errors = load_text(Path::new("x.yaml"), &format!("{keys}\nstages: {{}}\n"), &[], &registry()).unwrap_err();
    assert_eq!(errors.errors().len(), 51);
    assert!(errors.errors()[50].to_string().starts_with("11 more"));
}
