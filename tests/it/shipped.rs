//! What is shipped is valid, what is invalid is refused, and the schema says the same in another validator.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use refit_tests::Sandbox;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pipelines() -> Vec<PathBuf> {
    let folders = fs_err::read_dir(repository().join("pipelines")).unwrap();
    let files = folders.filter_map(|folder| Some(folder.ok()?.path().join("pipeline.yaml")));
    let found: Vec<PathBuf> = files.filter(|file| file.exists()).collect();
    assert!(found.len() >= 2);
    found
}

/// Fixtures of the engine's tests. Two need an override or a rule of a kind that only those tests have.
fn invalid() -> Vec<PathBuf> {
    let files = fs_err::read_dir(repository().join("engine/tests/invalid")).unwrap();
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    files
        .filter(|file| file.extension().is_some_and(|kind| kind == "yaml"))
        .filter(|file| !file.file_stem().is_some_and(|name| name == "override" || name == "with-check"))
        .collect()
}

#[test]
fn every_shipped_pipeline_passes_check_and_every_invalid_one_ends_with_4() {
    let sandbox = Sandbox::new();
    for file in pipelines() {
        sandbox.refit([Path::new("check"), &file]).expect_code(0);
    }
    let invalid = invalid();
    assert!(invalid.len() >= 30, "{}", invalid.len());
    for file in invalid {
        let outcome = sandbox.refit([Path::new("check"), &file]).expect_code(4);
        assert!(outcome.stderr.contains("pipeline::"), "{}: {}", file.display(), outcome.stderr);
        assert_eq!(outcome.stdout, "", "{}", file.display());
    }
}

#[test]
fn the_schema_accepts_and_refuses_the_same_files_in_an_independent_validator() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        eprintln!("skipped: REFIT_PEERS is not set, so there is no independent validator");
        return;
    };
    let sandbox = Sandbox::new();
    // What only the schema can see: names, types, kinds, ranges. A cycle or an unknown source is beyond any schema.
    let refused = [
        "unknown-top-key",
        "unknown-stage-key",
        "unknown-kind",
        "wrong-types",
        "no-stages",
        "empty-stages",
        "top-is-a-list",
    ];
    let mut command = Command::new(peers.join("venv/bin/python"));
    command.arg(repository().join("tests/peers/validate.py")).arg(repository().join("schemas/pipeline.schema.json"));
    command.arg("--valid").args(pipelines()).arg("--invalid");
    command.args(refused.map(|name| repository().join(format!("engine/tests/invalid/{name}.yaml"))));
    for (at, (text, replaced)) in [
        ("rank: 4", "rank: 0"),
        ("rank: 4", "rnak: 4"),
        ("epochs: 2", "epochs: [2]"),
        ("uses: clean", "uses: claen"),
        ("learning_rate: 1e-2", "learning_rate: fast"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("changed-{at}.yaml");
        let tiny = Sandbox::tiny();
        let pipeline = fs_err::read_to_string(tiny.path("pipeline.yaml")).unwrap();
        assert!(pipeline.contains(text));
        tiny.write("pipeline.yaml", pipeline.replacen(text, replaced, 1));
        if !replaced.starts_with("epochs") {
            tiny.refit(["check"]).expect_code(4);
            sandbox.write(&name, fs_err::read(tiny.path("pipeline.yaml")).unwrap());
            command.arg(sandbox.path(&name));
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_shipped_schema_is_what_the_types_say() {
    let printed = Sandbox::new().refit(["schema"]).expect_code(0).stdout;
    let shipped = fs_err::read_to_string(repository().join("schemas/pipeline.schema.json")).unwrap_or_default();
    assert_eq!(shipped, printed, "stale: cargo run --release -- schema > schemas/pipeline.schema.json");
}

#[test]
fn the_readme_holds_the_manual_of_the_stage_kinds() {
    let printed = Sandbox::new().refit(["schema", "--table"]).expect_code(0).stdout;
    let readme = fs_err::read_to_string(repository().join("README.md")).unwrap();
    assert!(
        readme.contains(printed.trim()),
        "stale: put what `cargo run --release -- schema --table` prints into README.md"
    );
}
