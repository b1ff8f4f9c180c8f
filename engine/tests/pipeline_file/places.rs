use std::path::Path as FilePath;

use crate::source::{Path, SourceFile, Step};
use proptest::prelude::*;
use serde_json::Value;

use super::fixtures;

/// The piece of the text that a path leads to, read as YAML again, is the value.
fn assert_reads_back(text: &str) {
    let (source, mistakes) = SourceFile::parse(FilePath::new("x.yaml"), text);
    assert!(mistakes.is_empty(), "{mistakes:?}\n{text}");
    let Some(root) = source.root() else { return };
    let has_aliases = text.contains('*');
    for path in source.paths() {
        let node = path.0.iter().fold(root, |node, step| node.child(step).unwrap());
        let range = source.value_range(&path).unwrap();
        let written = &source.text[range.clone()];
        // A block needs the column it stands in; a merge or an alias needs its anchor.
        let is_collection = node.entries().is_some() || !written.is_empty() && node.to_value().is_array();
        if is_collection && has_aliases {
            continue;
        }
        let line = source.text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let column = source.text[line..range.start].chars().count();
        let above = &source.text[line..range.start];
        let is_block_scalar = written.starts_with(['|', '>']);
        let alone =
            if is_block_scalar { format!("k: {written}\n") } else { format!("{}{written}\n", " ".repeat(column)) };
        let read: Value =
            serde_yaml::from_str(&alone).unwrap_or_else(|e| panic!("{path}: {e}\n{alone:?} after {above:?}"));
        let read = if is_block_scalar { read["k"].clone() } else { read };
        let value = node.to_value();
        if is_block_scalar {
            let trimmed = |value: &Value| value.as_str().unwrap().trim_end().to_owned();
            assert_eq!(trimmed(&read), trimmed(&value), "{path} in {text}");
        } else {
            assert_eq!(read, value, "{path} in {text}");
        }
        if let Some(Step::Key(key)) = path.0.last() {
            let written = &source.text[source.key_range(&path).unwrap()];
            assert!(written.contains(key.as_str()) || written.starts_with(['"', '\'']), "{written} is not {key}");
        }
    }
}

#[test]
fn every_value_of_the_valid_files_is_where_it_is_said_to_be() {
    for file in fixtures("valid") {
        assert_reads_back(&fs_err::read_to_string(file).unwrap());
    }
}

#[test]
fn places_count_bytes_in_every_script_and_line_ending() {
    let text = "\u{feff}名称: 值 # 注\r\n列表:\r\n  - 甲\r\n  - {乙: \"丙\"}\r\n末: é😀\r\n";
    let (source, mistakes) = SourceFile::parse(FilePath::new("x.yaml"), text);
    assert!(mistakes.is_empty());
    let at = |steps: Vec<Step>| &source.text[source.value_range(&Path(steps)).unwrap()];
    assert_eq!(at(vec!["名称".into()]), "值");
    assert_eq!(at(vec!["列表".into(), 0.into()]), "甲");
    assert_eq!(at(vec!["列表".into(), 1.into(), "乙".into()]), "\"丙\"");
    assert_eq!(at(vec!["列表".into(), 1.into()]), "{乙: \"丙\"}");
    assert_eq!(at(vec!["末".into()]), "é😀");
    assert_eq!(&source.text[source.key_range(&Path::of(&["末"])).unwrap()], "末");
}

#[test]
fn aliases_and_merges_lead_to_what_they_stand_for() {
    let text = "a: &a { x: 1, y: [2, 3] }\nb: *a\nc: { <<: *a, x: 5 }\nd: { <<: [{ z: 7 }, *a] }\n";
    let (source, mistakes) = SourceFile::parse(FilePath::new("x.yaml"), text);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let at = |steps: Vec<Step>| &source.text[source.value_range(&Path(steps)).unwrap()];
    assert_eq!(at(vec!["b".into(), "x".into()]), "1");
    assert_eq!(at(vec!["b".into(), "y".into(), 1.into()]), "3");
    assert_eq!(at(vec!["c".into(), "x".into()]), "5", "what is written goes before what is merged in");
    assert_eq!(at(vec!["c".into(), "y".into(), 0.into()]), "2");
    assert_eq!(at(vec!["d".into(), "z".into()]), "7");
    assert_eq!(at(vec!["d".into(), "x".into()]), "1");
}

#[test]
fn block_scalars_nulls_and_multi_line_text_have_places() {
    assert_reads_back(
        "a: |\n  one\n  two\nb: >-\n  x\n  y\n\nc:\nd: 'it''s'\ne: one\n  two\nf: ~\ng: [,]\n"
            .replace("g: [,]\n", "")
            .as_str(),
    );
    assert_reads_back("a:\n- 1\n- b: 2\n  c: 3\n-\n  - x\n");
    assert_reads_back("a:\n- []\n- - - x\n- {}\nb: [[], [[1], ], {a: 1, }]\n");
    assert_reads_back("? a\n: b\n\"quoted \\u4e2d\": {x: , y: 1}\n");
}

fn value(depth: u32) -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z中文é ]{0,8}",
        Just("no".to_owned()),
        Just("1e-4".to_owned()),
        Just("a: b".to_owned()),
        Just("- x".to_owned()),
        Just("*x #".to_owned()),
        Just("two\nlines\n".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z中]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_reads_back(value in value(4), crlf in any::<bool>(), flow in any::<bool>()) {
        // JSON is YAML's flow style.
        let mut text = if flow { serde_json::to_string_pretty(&value).unwrap() } else { serde_yaml::to_string(&value).unwrap() };
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        let (source, mistakes) = SourceFile::parse(FilePath::new("x.yaml"), &text);
        prop_assert!(mistakes.is_empty(), "{:?}\n{}", mistakes, text);
        prop_assert_eq!(source.root().map(|root| root.to_value()), Some(serde_yaml::from_str(&text).unwrap()));
        if !text.contains('*') {
            assert_reads_back(&text);
        }
    }
}
