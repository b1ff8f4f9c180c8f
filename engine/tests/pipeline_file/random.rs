use std::path::Path;

use crate::{graph::load_text, spec::Override};
use proptest::prelude::*;

use super::{fixtures, kinds::registry, shown};

/// Loads and shows: neither may panic, whatever the text.
fn survive(text: &str) {
    if let Err(errors) = load_text(Path::new("tests/valid/x.yaml"), text, &[], &registry()) {
        shown(&errors);
    }
}

#[test]
fn texts_that_once_failed_are_survived() {
    let stage = "stages: { a: { uses: clean, inputs: { records: x }, with: { title: \"值${params.x}\" } } }";
    for text in [stage, "params: { 中: 1 }\nstages: { a: { uses: clean, with: { title: '中$${' } } }"] {
        survive(text);
    }
}

fn fixture_texts() -> Vec<String> {
    ["valid", "invalid"]
        .iter()
        .flat_map(|folder| fixtures(folder))
        .map(|file| fs_err::read_to_string(file).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,60}") {
        survive(&text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_arrangement_of_yaml_signs_is_survived(text in "(stages|params|uses|with|a|[-:,?{}\\[\\]&*!|>'\"%@`#~<$.\n\r\t 中\u{85}\u{2028}]){0,40}") {
        survive(&text);
    }

    #[test]
    fn any_change_of_a_fixture_is_survived(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 0usize..30,
        put in prop_oneof!["\\PC{0,5}", "[-:,?{}\\[\\]&*!|>'\"%@`#~<$\n\r\t ]{0,4}", Just("${params.rank}".to_owned())],
    ) {
        let texts = fixture_texts();
        let mut chars: Vec<char> = which.get(&texts).chars().collect();
        let start = at.index(chars.len() + 1);
        let end = (start + length).min(chars.len());
        chars.splice(start..end, put.chars());
        survive(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn any_override_is_survived(text in "(stages|params|outputs|sources|\\.|=|train|with|rank|\"|[\\[{&*x中1]){0,12}") {
        if let Ok(given) = Override::parse(&text) {
            let file = Path::new("tests/valid/helpdesk.yaml");
            if let Err(errors) = crate::graph::load(file, &[given], &registry()) {
                shown(&errors);
            }
        }
    }
}
