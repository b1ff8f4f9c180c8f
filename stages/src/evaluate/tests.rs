use refit_engine::stage::StageKind;
use serde_json::{Value, json};

use super::Evaluate;

#[test]
fn parameters_that_would_have_no_effect_are_named() {
    let kind = StageKind::of::<Evaluate>();
    let problems = |with: Value| kind.lower(with, &[]).unwrap().problems;
    assert!(problems(json!({"temperature": 0.7, "top_k": 40, "top_p": 0.9, "stop": ["\n\n"]})).is_empty());
    assert!(problems(json!({"repetition_penalty": 1.2, "seed": 3})).is_empty());
    assert_eq!(problems(json!({"top_k": 40}))[0].path, ["top_k"]);
    assert_eq!(problems(json!({"top_p": 0.5, "min_p": 0.1})).len(), 2);
    assert_eq!(problems(json!({"stop": ["a", ""]}))[0].path, ["stop", "1"]);
}
