//! Models that were merged and exported answer as before, and quantised ones are trained on and evaluated as they are.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use refit_tests::{Outcome, Sandbox};

const PIPELINE: &str = "\
name: export
sources: { faq: faq.jsonl, base: model }
stages:
  clean: { uses: clean, inputs: { records: faq } }
  tokens: { uses: tokenize, inputs: { model: base, train: clean.records }, with: { max_length: 256 } }
  train:
    uses: train-lora
    inputs: { model: base, tokens: tokens.tokens }
    with: { rank: 4, alpha: 8, max_steps: 6, learning_rate: 1e-2, batch_size: 4, seed: 7 }
  tuned: { uses: evaluate, inputs: { model: base, adapter: train.adapter, records: clean.records }, with: { max_new_tokens: 4 } }
  merge: { uses: merge, inputs: { model: base, adapter: train.adapter } }
  merged: { uses: evaluate, inputs: { model: merge.model, records: clean.records }, with: { max_new_tokens: 4 } }
  small: { uses: export, inputs: { model: base, adapter: train.adapter }, with: { format: gguf, type: q8_0 } }
  packed: { uses: evaluate, inputs: { model: small.files, records: clean.records }, with: { max_new_tokens: 4 } }
  folder: { uses: export, inputs: { model: small.files }, with: { format: huggingface, type: bf16 } }
  lora: { uses: export, inputs: { model: base, adapter: train.adapter }, with: { format: gguf-lora } }
  mlx: { uses: export, inputs: { model: base, adapter: train.adapter }, with: { format: mlx, type: f16 } }
  tokens_again: { uses: tokenize, inputs: { model: small.files, train: clean.records }, with: { max_length: 256 } }
  again:
    uses: train-lora
    inputs: { model: small.files, tokens: tokens_again.tokens }
    with: { rank: 4, alpha: 8, max_steps: 2, batch_size: 4 }
";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::tiny();
    sandbox.write("pipeline.yaml", PIPELINE);
    sandbox
}

fn loss(sandbox: &Sandbox, stage: &str) -> f64 {
    let to = sandbox.path("got").join(stage);
    sandbox.refit(["get", &format!("{stage}.metrics"), "--to", to.to_str().unwrap()]).expect_code(0);
    let metrics = fs_err::read_to_string(to.join("metrics.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&metrics).unwrap()["loss"].as_f64().unwrap()
}

#[test]
fn what_is_written_answers_as_what_it_was_made_of() {
    let sandbox = sandbox();
    let run = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    let fact = |stage: &str, fact: &str| run.stage(stage)["facts"][fact].clone();
    let tuned = loss(&sandbox, "tuned");
    assert!((loss(&sandbox, "merged") - tuned).abs() < 1e-4 * tuned);
    assert!((loss(&sandbox, "packed") - tuned).abs() < 2e-2 * tuned);
    assert_eq!(fact("merge", "written.type"), "f32");
    assert_eq!(fact("merge", "written.same_tokens"), "64 of 64");
    assert_eq!(fact("small", "written.type"), "q8_0");
    assert!(fact("mlx", "written.numbers").as_u64().unwrap() > 1000);
    assert!(
        fact("again", "train.base").as_str().unwrap().starts_with("Q8_0 blocks kept packed"),
        "{}",
        fact("again", "train.base")
    );
    assert!(!fact("train", "train.base").as_str().unwrap().contains("packed"));
}

#[test]
fn whether_blocks_are_kept_or_unpacked_changes_no_byte() {
    let sandbox = sandbox();
    let digest = |setting: &[&str]| {
        let run =
            sandbox.refit(["run", "--json", "--device", "cpu", "--to", "again"].iter().chain(setting)).expect_code(0);
        (run.stage("again")["outputs"]["adapter"]["digest"].clone(), run.stage("again")["facts"]["train.base"].clone())
    };
    let (kept, base) = digest(&[]);
    let (unpacked, plain) = digest(&["-S", "stages.again.with.quantization=unpack"]);
    assert_eq!(kept, unpacked);
    assert!(base != plain, "{base} {plain}");
}

fn refused(sandbox: &Sandbox, changes: &[&str], stage: &str) -> Outcome {
    sandbox.refit(["run", "--device", "cpu", "--to", stage].iter().chain(changes)).expect_code(3)
}

#[test]
fn an_adapter_is_not_merged_into_blocks_unless_asked_to() {
    let sandbox = sandbox();
    let changes = ["-S", "stages.merge.inputs.model=small.files", "-S", "stages.merge.inputs.adapter=again.adapter"];
    let told = refused(&sandbox, &changes, "merge").stderr;
    assert!(told.contains("merge::quantized_base") && told.contains("Q8_0") && told.contains("gguf-lora"), "{told}");
    let asked = [&changes[..], &["-S", "stages.merge.with.dequantize=true"]].concat();
    let run = ["run", "--json", "--device", "cpu", "--to", "merge"];
    let run = sandbox.refit(run.iter().chain(&asked)).expect_code(0);
    assert_eq!(run.stage("merge")["facts"]["written.type"], "f32");
}

#[test]
fn what_a_format_needs_is_said() {
    let sandbox = sandbox();
    sandbox.write("bare.yaml", "name: bare\nsources: { base: model }\nstages:\n  lora: { uses: export, inputs: { model: base }, with: { format: mlx } }\n");
    let told = sandbox.refit(["run", "bare.yaml", "--device", "cpu"]).expect_code(3).stderr;
    assert!(told.contains("export::no_adapter"), "{told}");
    let told = sandbox.refit(["check", "-S", "stages.folder.with.type=q4_0"]).expect_code(4).stderr;
    assert!(told.contains("blocks are a form of `gguf` models alone"), "{told}");
}

/// The tiny model with one file of its folder changed, and the export of it as GGUF.
fn changed(file: &str, change: impl Fn(&mut serde_json::Value)) -> Sandbox {
    let sandbox = sandbox();
    let path = sandbox.path("model").join(file);
    let mut value = serde_json::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs_err::write(path, value.to_string()).unwrap();
    sandbox.write("gguf.yaml", "name: gguf\nsources: { base: model }\nstages:\n  file: { uses: export, inputs: { model: base }, with: { format: gguf } }\n");
    sandbox
}

#[test]
fn what_gguf_has_no_form_for_is_said_or_refused() {
    let of_mistral = |config: &mut serde_json::Value| {
        config["model_type"] = "mistral".into();
        config["sliding_window"] = 256.into();
    };
    let sandbox = changed("config.json", of_mistral);
    let run = sandbox.refit(["run", "gguf.yaml", "--json", "--device", "cpu"]).expect_code(0);
    let told = run.stage("file")["facts"]["written.positions"].clone();
    assert!(told.as_str().unwrap().starts_with("256 of 512"), "{told}");

    let refused = |file: &str, change: &dyn Fn(&mut serde_json::Value)| {
        changed(file, change).refit(["run", "gguf.yaml", "--device", "cpu"]).expect_code(3).stderr
    };
    let told = refused("config.json", &|config| config["partial_rotary_factor"] = 0.5.into());
    assert!(told.contains("write::no_gguf_form") && told.contains("format: huggingface"), "{told}");
    let told = refused("tokenizer.json", &|tokenizer| tokenizer["pre_tokenizer"]["add_prefix_space"] = true.into());
    assert!(told.contains("written::other_tokens") && told.contains("format: huggingface"), "{told}");
}

#[test]
fn a_bottleneck_adapter_is_refused_where_it_is_wired_to_be_merged() {
    let sandbox = Sandbox::tiny();
    let wired = |stage: &str| {
        let pipeline = format!(
            "name: wired\nsources: {{ base: model, faq: faq.jsonl }}\nstages:\n  \
             tokens: {{ uses: tokenize, inputs: {{ model: base, train: faq }} }}\n  \
             train: {{ uses: train-adapter, inputs: {{ model: base, tokens: tokens.tokens }} }}\n  {stage}\n"
        );
        sandbox.write("wired.yaml", pipeline);
        sandbox.refit(["check", "wired.yaml"])
    };
    for stage in [
        "after: { uses: merge, inputs: { model: base, adapter: train.adapter } }",
        "after: { uses: export, inputs: { model: base, adapter: train.last }, with: { format: gguf-lora } }",
        "after: { uses: train-preference, inputs: { model: base, tokens: tokens.tokens, adapter: train.adapter } }",
    ] {
        let told = wired(stage).expect_code(4).stderr;
        assert!(told.contains("bottleneck") && told.contains("takes"), "{told}");
    }
    wired("after: { uses: evaluate, inputs: { model: base, adapter: train.adapter, records: faq } }").expect_code(0);
}

/// SmolLM2-135M-Instruct where `REFIT_TEST_MODEL_HF` names its folder: how far answers move by blocks, as `stages/src/written.rs` and
/// the README state it.
#[test]
fn blocks_move_the_answers_of_the_real_model_as_far_as_stated() {
    let Some(model) = std::env::var_os("REFIT_TEST_MODEL_HF").filter(|path| !path.is_empty()) else {
        eprintln!("skipped: REFIT_TEST_MODEL_HF is not set, so there is no model");
        return;
    };
    let sandbox = Sandbox::new();
    let file = |kept: &str| {
        format!("  {kept}: {{ uses: export, inputs: {{ model: base }}, with: {{ format: gguf, type: {kept} }} }}\n")
    };
    let source = Path::new(&model).display();
    let stages = [file("q8_0"), file("q4_0")].concat();
    sandbox.write("pipeline.yaml", format!("name: blocks\nsources: {{ base: {source} }}\nstages:\n{stages}"));
    let run = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    for (kept, stated) in [("q8_0", 0.041), ("q4_0", 0.54)] {
        let found = run.stage(kept)["facts"]["written.logit_difference"].as_f64().unwrap();
        eprintln!("{kept}: {found:.3}, {}", run.stage(kept)["facts"]["written.same_tokens"]);
        assert!((found - stated).abs() < 0.1 * stated, "{kept}: {found}");
    }
}

#[test]
fn other_tools_read_what_was_written() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        eprintln!("skipped: REFIT_PEERS is not set, so there is nobody to read it");
        return;
    };
    let sandbox = sandbox();
    sandbox.refit(["run", "--device", "cpu"]).expect_code(0);
    let got = |port: &str| {
        let to = sandbox.path("got").join(port);
        sandbox.refit(["get", port, "--to", to.to_str().unwrap()]).expect_code(0);
        to
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/check_export.py");
    let output = Command::new(peers.join("venv/bin/python"))
        .arg(script)
        .args([sandbox.path("model"), got("train.adapter"), got("merge.model")])
        .args([got("small.files").join("model.gguf"), got("lora.files").join("adapter.gguf"), got("mlx.files")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| found[name].as_f64().unwrap();
    assert!(number("logits") < 1e-4 && number("weights") < 1e-5, "{found}");
    assert_eq!((&found["tied"], &found["tokens"]), (&true.into(), &true.into()), "{found}");
    // Half a step of eight bits, of the largest number.
    assert!(number("gguf") < 0.5 / 127.0 + 1e-3 && number("lora") < 1e-7 && number("mlx") < 1e-3, "{found}");
    assert_eq!((&found["lora_scale"], &found["mlx_scale"]), (&found["scale"], &found["scale"]));
    assert_eq!(found["lora_tensors"], found["matrices"]);
}
