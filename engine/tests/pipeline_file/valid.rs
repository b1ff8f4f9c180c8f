use std::{path::Path, time::Duration};

use crate::{
    graph::{InputRef, Pipeline, Retries, SourceUri, load, load_text},
    schedule::Demand,
    spec::Override,
};
use serde_json::json;

use super::{fixtures, kinds::registry, overrides_in, shown};

fn loaded(name: &str) -> Pipeline {
    let file = Path::new("tests/valid").join(name);
    load(&file, &overrides_in(&file), &registry()).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

#[test]
fn every_valid_file_loads() {
    for file in fixtures("valid") {
        loaded(&file.file_name().unwrap().to_string_lossy());
    }
}

#[test]
fn the_whole_of_the_grammar_arrives() {
    let pipeline = loaded("helpdesk.yaml");
    assert_eq!(pipeline.name, "helpdesk");
    assert!(pipeline.folder.is_absolute() && pipeline.file.ends_with("tests/valid/helpdesk.yaml"));
    assert_eq!(pipeline.params["rank"], json!(16));
    let SourceUri::Path(faq) = &pipeline.sources["faq"].uri else { panic!() };
    assert_eq!(faq, &pipeline.folder.join("data/faq.jsonl"));
    assert!(pipeline.sources["pinned"].digest.is_some());
    let names: Vec<_> = pipeline.stages.stages().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["clean", "split", "tokens", "train", "before", "after", "compare"]);
    let train = pipeline.stages.get("train").unwrap();
    assert_eq!(train.with["rank"], json!(16));
    assert_eq!(train.with["learning_rate"], json!(0.0005));
    assert_eq!(train.with["epochs"], json!(4));
    assert_eq!(train.with["keep_best"], json!(true), "a default");
    assert_eq!(train.inputs["tokens"], InputRef::Output { stage: "tokens".into(), port: "tokens".into() });
    assert_eq!(train.inputs["model"], InputRef::Source("base".into()));
    assert_eq!(pipeline.outputs[1].to, Path::new("out/report.html"));
    assert_eq!(pipeline.warnings.len(), 1, "`pinned` is not used");
    assert_eq!(pipeline.stages.get("before").unwrap().with["prefix"], json!("rank 16: ${literal}"));
}

#[test]
fn the_terms_of_a_stage_arrive() {
    let stages = loaded("terms.yaml").stages;
    let a = &stages.get("a").unwrap().terms;
    let demand = Demand {
        cpu: 2,
        memory: 4_000_000_000,
        gpu: 1,
        vram: 8 << 30,
        accelerator: false,
        spreads: false,
        mutexes: vec!["disk".into()],
    };
    assert_eq!((&a.demand, a.threads, a.priority, a.deterministic), (&demand, Some(2), -3, false));
    assert_eq!((a.retries.times, a.timeout), (2, Some(Duration::from_mins(90))));
    let b = &stages.get("b").unwrap().terms;
    assert_eq!(
        (b.demand.cpu, b.demand.memory, &b.demand.mutexes[..]),
        (1, 1000, &["disk".to_owned(), "net".into()][..])
    );
    assert_eq!(b.retries, Retries { times: 3, delay: Duration::from_millis(500), factor: 1.5 });
    assert_eq!(b.timeout, Some(Duration::from_millis(500)));
    let c = &stages.get("c").unwrap().terms;
    assert_eq!((&c.demand, c.retries.delay), (&Demand::default(), Duration::from_secs(30)));
}

#[test]
fn the_graph_knows_who_needs_whom() {
    let stages = loaded("helpdesk.yaml").stages;
    assert_eq!(stages.len(), 7);
    assert_eq!(stages.dependencies("after"), ["split", "train"]);
    assert_eq!(stages.dependents("split"), ["tokens", "before", "after"]);
    assert_eq!(stages.descendants("train"), ["after", "compare"]);
    assert_eq!(stages.ancestors("tokens"), ["clean", "split"]);
    assert!(stages.ancestors("nobody").is_empty() && stages.get("nobody").is_none());
}

/// What a person may change without changing a value.
#[test]
fn spelling_does_not_matter() {
    let with = |text: &str| {
        let text = format!(
            "sources: {{ m: model }}\nstages:\n  t:\n    uses: tokenize\n    inputs: {{ model: m, train: m }}\n    with: {text}\n"
        );
        load_text(Path::new("tests/valid/x.yaml"), &text, &[], &registry()).map_or_else(
            |errors| panic!("{}", shown(&errors)),
            |pipeline| pipeline.stages.get("t").unwrap().with.clone(),
        )
    };
    assert_eq!(with("{ max_length: 1000 }"), json!({ "max_length": 1000 }));
    for same in ["{ max_length: 1e3 }", "{ max_length: 1000.0 }", "{ max_length: 0x3e8 }", "{ max_length: 1.0E+3 }"] {
        assert_eq!(with(same), with("{ max_length: 1000 }"), "{same}");
    }
    assert_eq!(with(""), json!({ "max_length": 512 }));
    assert_eq!(with("{}"), json!({ "max_length": 512 }));
}

#[test]
fn what_is_unused_is_a_warning() {
    let text = "params: { x: 1 }\nsources: { m: model, n: model }\nstages:\n  t: { uses: tokenize, inputs: { model: m, train: m } }\n";
    let pipeline = load_text(Path::new("tests/valid/x.yaml"), text, &[], &registry()).unwrap();
    let shown: Vec<String> = pipeline.warnings.iter().map(|warning| shown(warning)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_parameter_whose_reference_an_override_replaces_is_not_unused() {
    let text = "params: { x: 64, y: 2 }\nsources: { m: model }\nstages:\n  t: { uses: tokenize, inputs: { model: m, train: m }, with: { max_length: \"${params.x}\" } }\n";
    let unused = |overrides: &[Override]| -> Vec<String> {
        let pipeline = load_text(Path::new("tests/valid/x.yaml"), text, overrides, &registry()).unwrap();
        pipeline.warnings.iter().map(ToString::to_string).collect()
    };
    let only_y = ["the parameter `y` is never used"];
    assert_eq!(unused(&[]), only_y);
    assert_eq!(unused(&[Override::parse("stages.t.with.max_length=64").unwrap()]), only_y);
}

#[test]
fn a_later_mistake_finds_its_place() {
    let pipeline = loaded("helpdesk.yaml");
    let error =
        pipeline.error_at(&["sources", "base"], "source::changed", "the source `base` has changed", "this one", None);
    insta::assert_snapshot!(shown(&error));
}
