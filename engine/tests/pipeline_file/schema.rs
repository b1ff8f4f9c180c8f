use crate::{
    graph::load,
    schema::{kinds_table, pipeline_schema},
};
use serde_json::{Value, json};

use super::{fixtures, kinds::registry, overrides_in};

/// The text as other tools read it: merge keys applied, keys as text.
fn value_of(text: &str) -> Option<Value> {
    let mut value: serde_yaml::Value = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    value.apply_merge().ok()?;
    serde_json::to_value(value).ok()
}

#[test]
fn the_schema_is_a_schema() {
    let schema = pipeline_schema(&registry());
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    assert_eq!(schema["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
    insta::assert_json_snapshot!(schema);
}

#[test]
fn the_schema_takes_what_loads() {
    let schema = pipeline_schema(&registry());
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for file in fixtures("valid") {
        let value = value_of(&fs_err::read_to_string(&file).unwrap()).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|e| format!("{} at {}", e, e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
}

/// What is wrong in form, and not only in sense, is refused by the schema as well.
#[test]
fn the_schema_refuses_what_is_wrong_in_form() {
    const FORM: [&str; 7] = [
        "pipeline::unknown_key",
        "pipeline::wrong_type",
        "pipeline::out_of_range",
        "pipeline::unknown_value",
        "pipeline::missing_key",
        "pipeline::unknown_kind",
        "pipeline::no_stages",
    ];
    let schema = pipeline_schema(&registry());
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut checked = 0;
    for file in fixtures("invalid") {
        let text = fs_err::read_to_string(&file).unwrap();
        let errors = load(&file, &overrides_in(&file), &registry()).unwrap_err();
        let by_form = errors.errors().iter().any(|error| FORM.contains(&error.code()));
        let Some(value) = value_of(&text)
            .filter(|_| by_form && !text.contains("# -S ") && !text.contains("${") && !text.contains("imports:"))
        else {
            continue;
        };
        assert!(!validator.is_valid(&value), "{}", file.display());
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
}

#[test]
fn references_may_stand_for_numbers_but_not_for_stages() {
    let schema = pipeline_schema(&registry());
    let valid = |with: Value| {
        let stage = json!({ "uses": "train-lora", "inputs": { "model": "m", "tokens": "t.tokens" }, "with": with });
        jsonschema::draft202012::is_valid(&schema, &json!({ "stages": { "train": stage } }))
    };
    assert!(valid(json!({ "rank": 8, "learning_rate": 0.1 })));
    assert!(valid(json!({ "rank": "${params.rank}", "learning_rate": "${params.rate}", "keep_best": "${params.b}" })));
    assert!(valid(json!({ "rank": 8, "learning_rate": 0.1, "schedule": { "curve": "${params.c}" } })));
    assert!(valid(json!({ "rank": 8, "learning_rate": 0.1, "target_modules": "all-linear" })));
    assert!(!valid(json!({ "rank": "eight", "learning_rate": 0.1 })));
    assert!(!valid(json!({ "rank": 8 })));
    assert!(!valid(json!({ "rank": 8, "learning_rate": 0.1, "schedule": { "curve": "round" } })));
    assert!(!valid(json!("${params.all}")));
}

#[test]
fn the_manual_shows_every_kind() {
    insta::assert_snapshot!(kinds_table(&registry()));
}
