use std::{collections::HashSet, fmt::Write, path::Path, time::Duration};

use crate::graph::{InputRef, Pipeline, load, load_text};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{kinds::registry, limits::computed, shown};

fn loaded(name: &str) -> Pipeline {
    let file = Path::new("tests/valid").join(name);
    load(&file, &[], &registry()).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn names(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.stages.stages().map(|stage| stage.name.as_str()).collect()
}

fn output(stage: &str, port: &str) -> InputRef {
    InputRef::Output { stage: stage.into(), port: port.into() }
}

fn parts(input: &InputRef) -> Vec<(&str, String)> {
    let InputRef::Many { parts, .. } = input else { panic!("{input:?}") };
    parts.iter().map(|part| (part.name.as_str(), format!("{}.{}", part.stage, part.port))).collect()
}

#[test]
fn a_matrix_makes_copies() {
    let pipeline = loaded("matrix.yaml");
    let copies: Vec<&str> = names(&pipeline).into_iter().filter(|name| name.starts_with("train[")).collect();
    assert_eq!(
        copies,
        [
            "train[rank=8,lr=1e-4,tag=small]",
            "train[rank=8,lr=2.0e-4,tag=small]",
            "train[rank=16,lr=2.0e-4]",
            "train[rank=32,lr=1e-3,tag=\"a, b\"]"
        ]
    );
    let train = pipeline.stages.get(copies[0]).unwrap();
    assert_eq!(train.with["rank"], json!(8));
    assert_eq!(train.with["learning_rate"], json!(0.0001));
    assert_eq!(train.with["seed"], json!(3), "a default of the file");
    assert_eq!(train.description.as_deref(), Some("rank 8 at 0.0001"));
    let copy = train.copy_of.as_ref().unwrap();
    assert_eq!((copy.template.as_str(), &copy.values["tag"]), ("train", &json!("small")));
    assert_eq!(pipeline.stages.named("train").len(), 4);
    assert_eq!(pipeline.stages.named("train[rank=8]").len(), 2);
    assert_eq!(pipeline.stages.named("train[lr=0.001]")[0].name, copies[3]);
    assert_eq!(pipeline.stages.named("train[rank=9]").len(), 0);
}

#[test]
fn references_choose_among_copies() {
    let pipeline = loaded("matrix.yaml");
    let input = |stage: &str, port: &str| pipeline.stages.get(stage).unwrap().inputs[port].clone();
    assert_eq!(input("small", "adapter"), output("train[rank=8,lr=1e-4,tag=small]", "adapter"));
    assert_eq!(input("large", "adapter"), output("train[rank=32,lr=1e-3,tag=\"a, b\"]", "adapter"));
    for name in names(&pipeline).into_iter().filter_map(|name| name.strip_prefix("after")) {
        assert_eq!(input(&format!("after{name}"), "adapter"), output(&format!("train{name}"), "adapter"));
    }
    assert_eq!(input("by_name[rank=8,lr=2e-4]", "adapter"), output("train[rank=8,lr=2.0e-4,tag=small]", "adapter"));
    let all = input("all", "parts");
    assert_eq!(all.to_string(), "after[*].metrics");
    let all: Vec<_> = parts(&all).into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        all[..3],
        ["rank=16,lr=0.0002", "rank=32,lr=0.001,tag=-a,-b--e493d20c0b26", "rank=8,lr=0.0001,tag=small"]
    );
    let some = input("some", "parts");
    assert_eq!(parts(&some)[1], ("rank=8,lr=0.0002,tag=small", "train[rank=8,lr=2.0e-4,tag=small].history".into()));
    let listed = input("listed", "parts");
    let listed: Vec<&str> = parts(&listed).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        listed,
        [
            "after[rank=8,lr=0.0001,tag=small].metrics",
            "after[rank=8,lr=0.0002,tag=small].metrics",
            "large.metrics",
            "small.metrics"
        ]
    );
    let exports: Vec<_> = pipeline.outputs.iter().map(|export| export.to.display().to_string()).collect();
    assert_eq!(exports[0], "out/adapters/rank=16,lr=0.0002");
    assert_eq!(exports.len(), 5);
}

#[test]
fn defaults_hold_for_what_a_stage_does_not_say() {
    let pipeline = loaded("matrix.yaml");
    let with = |stage: &str| pipeline.stages.get(stage).unwrap().with.clone();
    assert_eq!(with("small")["prefix"], json!("rate 0.0002"));
    assert_eq!(with("by_name[rank=8,lr=1e-4]")["prefix"], json!("plain"));
    assert_eq!(with("train[rank=16,lr=2.0e-4]")["schedule"], json!({ "curve": "cosine", "warmup": 0.0 }));
}

#[test]
fn imported_stages_have_names_values_and_wires() {
    let pipeline = loaded("imports.yaml");
    let input = |stage: &str, port: &str| pipeline.stages.get(stage).unwrap().inputs[port].clone();
    assert_eq!(input("prepare/clean", "records"), InputRef::Source("rows".into()));
    assert_eq!(input("prepare/tokens", "train"), output("prepare/split", "train"));
    assert_eq!(pipeline.stages.get("prepare/tokens").unwrap().with["max_length"], json!(256));
    assert_eq!(pipeline.stages.get("prepare/split").unwrap().with["test"], json!(0.3));
    assert_eq!(input("again/clean[dedup=exact]", "records"), output("prepare/split", "train"));
    assert_eq!(input("again/inner/clean", "records"), output("again/clean[dedup=near]", "records"));
    assert_eq!(input("again/inner/tokens", "model"), InputRef::Source("base".into()));
    assert_eq!(pipeline.stages.get("again/inner/tokens").unwrap().with["max_length"], json!(512));
    assert_eq!(input("train", "tokens"), output("prepare/tokens", "tokens"));
    // A path starts at the folder of the file it is written in.
    let sources: Vec<_> =
        pipeline.sources.values().map(|source| (source.name.as_str(), source.uri.to_string())).collect();
    assert_eq!(sources.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["prepare/model", "base", "rows"]);
    assert!(sources[0].1.ends_with("tests/valid/common/../model"), "{sources:?}");
    let files: Vec<_> = pipeline.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["imports.yaml", "prepare.yaml", "pipeline.yaml", "prepare.yaml"]);
}

/// What is written for an axis of these values.
fn axis(values: &[u8]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("[{}]", values.join(", "))
}

fn item(values: &[(usize, u8)]) -> String {
    let values: Vec<String> = values.iter().map(|(axis, value)| format!("a{axis}: {value}")).collect();
    format!("{{ {} }}", values.join(", "))
}

/// The combinations as GitHub's manual says them, one axis value at a time.
fn expected(axes: &[Vec<u8>], exclude: &[Vec<(usize, u8)>], include: &[Vec<(usize, u8)>]) -> Vec<Vec<(usize, u8)>> {
    let mut all: Vec<Vec<(usize, u8)>> = vec![Vec::new()];
    for (axis, values) in axes.iter().enumerate() {
        let longer = |combination: &Vec<(usize, u8)>| {
            let combination = combination.clone();
            values.iter().map(move |&value| [combination.as_slice(), &[(axis, value)]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all.retain(|combination| !exclude.iter().any(|item| item.iter().all(|pair| combination.contains(pair))));
    let originals = all.len();
    for item in include {
        let mut used = false;
        for combination in &mut all[..originals] {
            let contradicts = |&(axis, value): &(usize, u8)| axis < axes.len() && !combination.contains(&(axis, value));
            if item.iter().any(contradicts) {
                continue;
            }
            used = true;
            for &(axis, value) in item.iter().filter(|(axis, _)| *axis >= axes.len()) {
                combination.retain(|(own, _)| *own != axis);
                combination.push((axis, value));
            }
        }
        if !used {
            all.push(item.clone());
        }
    }
    for combination in &mut all {
        combination.sort_unstable();
    }
    all
}

fn items(count: usize) -> impl Strategy<Value = Vec<Vec<(usize, u8)>>> {
    let item = prop::collection::btree_map(0..count, 0..4_u8, 1..=count);
    prop::collection::vec(item.prop_map(|item| item.into_iter().collect()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn combinations_are_those_of_the_specification(
        axes in prop::collection::vec(prop::collection::btree_set(0..4_u8, 1..4), 1..4),
        exclude in items(1),
        include in items(5),
    ) {
        let axes: Vec<Vec<u8>> = axes.into_iter().map(|values| values.into_iter().collect()).collect();
        let mut text = "sources: { rows: data/rows }\nstages:\n  a:\n    uses: clean\n    inputs: { records: rows }\n    matrix:\n".to_owned();
        for (at, values) in axes.iter().enumerate() {
            let _ = writeln!(text, "      a{at}: {}", axis(values));
        }
        let list = |items: &[Vec<(usize, u8)>]| items.iter().map(|values| item(values)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "      exclude: [{}]\n      include: [{}]", list(&exclude), list(&include));
        let expected = expected(&axes, &exclude, &include);
        let load = || load_text(Path::new("tests/valid/x.yaml"), &text, &[], &registry());
        let distinct: HashSet<_> = expected.iter().collect();
        if expected.is_empty() || distinct.len() < expected.len() {
            prop_assert!(load().is_err(), "{}", text);
            return Ok(());
        }
        let pipeline = load().unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        let found: Vec<Vec<(usize, u8)>> = pipeline.stages.stages().map(|stage| {
            let values = &stage.copy_of.as_ref().unwrap().values;
            let mut values: Vec<(usize, u8)> = values.iter().map(|(axis, value)| (axis[1..].parse().unwrap(), u8::try_from(value.as_u64().unwrap()).unwrap())).collect();
            values.sort_unstable();
            values
        }).collect();
        prop_assert_eq!(&found, &expected);
        let unique: HashSet<&str> = names(&pipeline).into_iter().collect();
        prop_assert_eq!(unique.len(), found.len());
        let again = load().unwrap();
        prop_assert_eq!(names(&pipeline), names(&again));
    }

    /// Whatever the value, the copy's name finds the copy.
    #[test]
    fn every_name_of_a_copy_is_a_reference_to_it(text in "[^\\p{C}\\p{Z}]{1,8}", number in any::<i32>(), fraction in -1e3..1e3_f64) {
        let values = json!([text, number, fraction, [1, "x"], true]);
        let head = format!("sources: {{ rows: data/rows }}\nstages:\n  a: {{ uses: clean, inputs: {{ records: rows }}, matrix: {{ v: {values} }} }}\n");
        let pipeline = load_text(Path::new("tests/valid/x.yaml"), &head, &[], &registry());
        let Ok(pipeline) = pipeline else { return Ok(()) };
        let copies: Vec<String> = names(&pipeline).into_iter().map(str::to_owned).collect();
        for copy in copies {
            let reference = Value::String(format!("{copy}.records"));
            let text = format!("{head}  b: {{ uses: clean, inputs: {{ records: {reference} }} }}\n");
            let pipeline = load_text(Path::new("tests/valid/x.yaml"), &text, &[], &registry());
            let pipeline = pipeline.unwrap_or_else(|errors| panic!("{}", shown(&errors)));
            prop_assert_eq!(&pipeline.stages.get("b").unwrap().inputs["records"], &output(&copy, "records"));
            prop_assert_eq!(&pipeline.stages.named(&copy)[0].name, &copy);
        }
    }
}

#[test]
fn twenty_thousand_copies_are_checked_in_a_few_seconds() {
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let numbers = numbers.join(", ");
    let text = format!(
        "sources: {{ rows: data/rows }}\nstages:\n  a:\n    uses: clean\n    matrix: {{ x: [{numbers}], y: [{numbers}] }}\n    inputs: {{ records: rows }}\n    with: {{ min_length: 3, title: \"${{matrix.x}} and ${{matrix.y}}\" }}\n  b: {{ uses: clean, matrix: a, inputs: {{ records: a.records }} }}\n"
    );
    let begun = computed();
    let pipeline = load_text(Path::new("tests/valid/x.yaml"), &text, &[], &registry()).unwrap();
    assert_eq!(pipeline.stages.len(), 20_000);
    assert_eq!(pipeline.stages.get("b[x=7,y=99]").unwrap().inputs["records"], output("a[x=7,y=99]", "records"));
    let took = computed().saturating_sub(begun);
    assert!(took < Duration::from_secs(4), "{took:?}");
}
