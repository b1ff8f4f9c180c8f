//! What must hold for any text.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use refit_metrics::{BleuStats, BleuTokenizer, Language, char_f1, exact_match, jieba_words, score_rows, squad_f1};

#[test]
fn no_rows_have_no_scores() {
    let scores = score_rows::<&str, &str>(&[], Language::Auto);
    assert!(scores.corpus.is_empty() && scores.rows.is_empty());
}

#[test]
fn short_names_follow_the_language_of_the_references() {
    let english = score_rows(&[("the cat", "a cat sat")], Language::Auto);
    assert!(english.signatures["rouge_l"].starts_with("rouge:rougeL (rouge_score"));
    assert!(!english.corpus.contains_key("rouge:lf-l"));
    let chinese = score_rows(&[("重启 VPN", "请重启 VPN 客户端")], Language::Auto);
    assert!(chinese.signatures["rouge_l"].starts_with("rouge:lf-l / 100"));
    assert!(chinese.corpus.contains_key("rouge:rougeL"), "mixed scripts report both");
    let chosen = score_rows(&[("重启 VPN", "请重启 VPN 客户端")], Language::Chinese);
    assert!(!chosen.corpus.contains_key("rouge:rougeL"));
}

#[test]
fn every_reported_name_is_described() {
    for row in ["请重启 VPN now", "plain words", "纯中文"] {
        let scores = score_rows(&[(row, row)], Language::Auto);
        for name in scores.corpus.keys() {
            assert!(refit_metrics::metric(name).is_some(), "{name}");
            assert!(scores.signatures.contains_key(name), "{name}");
        }
    }
}

#[test]
fn token_f1_by_hand() {
    assert!((squad_f1("The cat, sat!", "a cat lay") - 0.5).abs() < 1e-12);
    assert!((squad_f1("the", "a") - 1.0).abs() < 1e-12);
    assert!((char_f1("重启VPN", "请重启 vpn。") - 6.0 / 7.0).abs() < 1e-12);
    assert!(char_f1("", "重") < 1e-12);
}

#[test]
fn exact_match_ignores_only_outer_space() {
    assert!((exact_match(" a b\n", "a b") - 1.0).abs() < 1e-12);
    assert!(exact_match("a  b", "a b") < 1e-12);
    assert!(exact_match("A b", "a b") < 1e-12);
}

proptest! {
    #[test]
    fn words_are_the_text_again(text in "(\\PC|[\r\n\t一-龥a-z0-9.%_-]){0,60}") {
        prop_assert_eq!(jieba_words(&text).concat(), text);
    }

    #[test]
    fn scores_are_in_range_and_equal_texts_score_full(prediction in "(\\PC|[a-z ]){0,40}", reference in "\\PC{0,40}") {
        for language in [Language::English, Language::Chinese, Language::Auto] {
            let rows = [(prediction.as_str(), reference.as_str()), (reference.as_str(), reference.as_str())];
            let scores = score_rows(&rows, language);
            for (name, &score) in scores.rows.iter().flatten() {
                let most = if name.starts_with("bleu") || name.starts_with("rouge:lf") { 100.0 } else { 1.0 };
                prop_assert!((0.0..=most + 1e-9).contains(&score), "{} {}", name, score);
            }
            prop_assert!((scores.rows[1]["exact_match"] - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn statistics_of_rows_add_up(texts in prop::collection::vec(("[a-c ]{0,12}", "[a-c ]{0,12}"), 0..8)) {
        let rows: Vec<BleuStats> = texts.iter().map(|(p, r)| BleuStats::of(BleuTokenizer::V13a, p, r)).collect();
        let forward: BleuStats = rows.iter().copied().sum();
        let backward: BleuStats = rows.iter().rev().copied().sum();
        prop_assert_eq!(forward, backward);
        prop_assert!((0.0..=100.0 + 1e-9).contains(&forward.score()));
    }
}
