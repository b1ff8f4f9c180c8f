use std::path::Path;

use crate::{
    graph::{Pipeline, PipelineErrors, load},
    spec::Override,
};
use serde_json::json;

use super::{kinds::registry, shown};

fn with(given: &[&str]) -> Result<Pipeline, PipelineErrors> {
    let overrides: Vec<_> = given.iter().map(|text| Override::parse(text).unwrap()).collect();
    load(Path::new("tests/valid/helpdesk.yaml"), &overrides, &registry())
}

fn train(given: &[&str]) -> serde_json::Value {
    let pipeline = with(given).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    pipeline.stages.get("train").unwrap().with.clone()
}

#[test]
fn an_override_stands_in_for_the_file() {
    assert_eq!(train(&["stages.train.with.learning_rate=2e-4"])["learning_rate"], json!(2e-4));
    assert_eq!(train(&["params.rank=8"])["rank"], json!(8));
    assert_eq!(train(&["stages.train.with.rank=8"])["rank"], json!(8), "instead of a reference");
    assert_eq!(train(&["params.rank=8", "params.rank=9"])["rank"], json!(9), "the last one counts");
    assert_eq!(train(&["stages.train.with.epochs=${params.rank}"])["epochs"], json!(16));
    assert_eq!(train(&["stages.train.with.schedule.curve=linear"])["schedule"]["curve"], json!("linear"));
    assert_eq!(train(&["stages.train.with.target_modules=[q_proj]"])["target_modules"], json!(["q_proj"]));
    let pipeline = with(&["sources.faq=data/问答.jsonl", "name=other", "outputs.out/x=train.history"]).unwrap();
    assert_eq!(pipeline.name, "other");
    assert!(pipeline.sources["faq"].uri.to_string().ends_with("data/问答.jsonl"));
    assert_eq!(pipeline.outputs.len(), 3);
    let digest = format!("sources.base.digest=b3:{}", "0".repeat(64));
    assert!(with(&[&digest]).unwrap().sources["base"].digest.is_some());
}

#[test]
fn a_mistake_in_an_override_is_shown_in_the_override() {
    let shown: Vec<String> = [
        vec!["stages.trian.with.rank=8"],
        vec!["stages.train.with.rank=0"],
        vec!["stages.train.with.rnak=8"],
        vec!["params.rank=sixteen"],
        vec!["params.rnak=8"],
        vec!["stage.train.with.rank=8"],
        vec!["stages.train=8"],
        vec!["stages=8"],
        vec!["stages.train.use=clean"],
        vec!["stages.train.with.rank.x=8"],
        vec!["stages.train.uses=clear"],
        vec!["stages.train.inputs.tokens=split.train"],
        vec!["stages.train.with.schedule={curve: cosin, curve: linear}"],
        vec!["sources.faq=ftp://host/x", "sources.faq.form=x"],
        vec!["stages.train.inputs.tokens=训练.train", "name=[1, 2]"],
    ]
    .iter()
    .map(|given| format!("-S {}\n{}", given.join(" -S "), shown(&with(given).unwrap_err())))
    .collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}
