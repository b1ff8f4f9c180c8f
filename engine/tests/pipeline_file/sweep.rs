use std::{collections::BTreeSet, path::Path};

use crate::{
    graph::{InputRef, Pipeline, PipelineErrors, load_sweep},
    spec::Sweep,
};

use super::{kinds::registry, shown};

fn swept(file: &str, given: &[&str]) -> Result<Pipeline, PipelineErrors> {
    let sweep = Sweep::parse(&given.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    load_sweep(&Path::new("tests/valid").join(file), &sweep, &registry())
}

fn names(pipeline: &Pipeline) -> BTreeSet<&str> {
    pipeline.stages.stages().map(|stage| stage.name.as_str()).collect()
}

#[test]
fn what_combinations_share_exists_once() {
    let given = ["stages.train.with.rank=8,16", "stages.after.with.prefix=a,b", "name=grid"];
    let pipeline = swept("helpdesk.yaml", &given).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
    let expected = [
        "after[rank=16,prefix=a]",
        "after[rank=16,prefix=b]",
        "after[rank=8,prefix=a]",
        "after[rank=8,prefix=b]",
        "before",
        "clean",
        "compare[rank=16,prefix=a]",
        "compare[rank=16,prefix=b]",
        "compare[rank=8,prefix=a]",
        "compare[rank=8,prefix=b]",
        "split",
        "tokens",
        "train[rank=16]",
        "train[rank=8]",
    ];
    assert_eq!(names(&pipeline), BTreeSet::from(expected));
    assert_eq!(pipeline.name, "grid");
    assert!(pipeline.outputs.is_empty());
    assert_eq!(pipeline.variants.len(), 4);
    let second = &pipeline.variants[1];
    assert_eq!(second.overrides, ["stages.train.with.rank=8", "stages.after.with.prefix=b", "name=grid"]);
    assert_eq!(second.names["train"], "train[rank=8]");
    assert_eq!(second.names["compare"], "compare[rank=8,prefix=b]");
    assert_eq!(second.pipeline.outputs.len(), 2);
    let after = pipeline.stages.get("after[rank=8,prefix=b]").unwrap();
    assert_eq!(after.inputs["adapter"], InputRef::Output { stage: "train[rank=8]".into(), port: "adapter".into() });
    assert_eq!(pipeline.stages.named("train").len(), 2);
    assert_eq!(pipeline.stages.named("after[prefix=b]").len(), 2);
    // The same mistake, or oddity, is told once.
    assert_eq!(pipeline.warnings.iter().filter(|warning| warning.code() == "pipeline::unused_source").count(), 1);
}

#[test]
fn a_sweep_over_copies_and_parameters_names_what_differs() {
    let pipeline = swept("matrix.yaml", &["params.rate=range(1e-4,3e-4,1e-4)"]).unwrap();
    let names = names(&pipeline);
    assert!(names.contains("train[rank=8,lr=1e-4,tag=small]"), "{names:?}");
    assert!(names.contains("after[rank=16,lr=2.0e-4,rate=1e-4]"), "{names:?}");
    assert!(names.contains("all[rate=2e-4]"), "{names:?}");
    assert!(names.contains("some") && names.contains("by_name[rank=8,lr=1e-4]"));
    let all = &pipeline.stages.get("all[rate=2e-4]").unwrap().inputs["parts"];
    assert!(all.outputs().all(|(stage, _)| stage.ends_with(",rate=2e-4]")), "{all:?}");
}

#[test]
fn values_that_come_to_the_same_are_one_stage() {
    let pipeline = swept("helpdesk.yaml", &["params.rank=16,32", "stages.train.with.rank=8"]).unwrap();
    let names = names(&pipeline);
    assert!(names.contains("train"), "{names:?}");
    assert!(names.contains("before[rank=32]"), "{names:?}");
    let sources = swept("helpdesk.yaml", &["sources.faq=data/faq.jsonl,data/问答.jsonl"]).unwrap();
    assert_eq!(sources.sources.len(), 4);
    assert_eq!(
        sources.stages.get("clean[faq=data/问答.jsonl]").unwrap().inputs["records"],
        InputRef::Source("faq[faq=data/问答.jsonl]".into())
    );
}

#[test]
fn one_value_each_is_no_sweep() {
    let pipeline = swept("helpdesk.yaml", &["params.rank=8", "description=\"a, b\""]).unwrap();
    assert!(pipeline.variants.is_empty());
    assert_eq!((pipeline.outputs.len(), pipeline.description.as_deref()), (2, Some("a, b")));
}

#[test]
fn mistakes_of_a_sweep_are_told_once() {
    let errors =
        swept("helpdesk.yaml", &["stages.train.with.rank=0,8,-1", "stages.before.with.prefx=a,b"]).unwrap_err();
    insta::assert_snapshot!(shown(&errors));
}
