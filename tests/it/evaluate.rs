//! What becomes of a model's weights when it is evaluated, and what that does to its scores.

use refit_tests::{Outcome, Sandbox, write_questions, write_wide_model};
use serde_json::Value;

/// The wide model, because rows have to fill blocks of 64, and an adapter trained on it in NF4.
const PIPELINE: &str = "\
name: quantization
sources: { faq: faq.jsonl, base: model }
stages:
  clean: { uses: clean, inputs: { records: faq } }
  tokens: { uses: tokenize, inputs: { model: base, train: clean.records } }
  blocks: { uses: export, inputs: { model: base }, with: { format: gguf, type: q8_0 } }
  train:
    uses: train-lora
    inputs: { model: base, tokens: tokens.tokens }
    with: { rank: 2, target_modules: [q_proj, v_proj], max_steps: 2, batch_size: 2, learning_rate: 0.05, quantization: nf4 }
";

/// Every way, without and with the adapter.
fn stages() -> String {
    let ways = [
        ("plain", "base", "keep"),
        ("plain_unpacked", "base", "unpack"),
        ("nf4", "base", "nf4"),
        ("kept", "blocks.files", "keep"),
        ("unpacked", "blocks.files", "unpack"),
        ("kept_in_nf4", "blocks.files", "nf4"),
    ];
    let stage = |name: String, inputs: String, quantization: &str| {
        format!(
            "  {name}: {{ uses: evaluate, inputs: {{ {inputs}, records: clean.records }}, \
             with: {{ max_new_tokens: 4, quantization: {quantization} }} }}\n"
        )
    };
    let both = ways.into_iter().flat_map(|(name, model, quantization)| {
        let alone = format!("model: {model}");
        let tuned = format!("{alone}, adapter: train.adapter");
        [stage(name.into(), alone, quantization), stage(format!("{name}_tuned"), tuned, quantization)]
    });
    both.collect()
}

fn loss(sandbox: &Sandbox, stage: &str) -> f64 {
    let to = sandbox.path("got").join(stage);
    sandbox.refit(["get", &format!("{stage}.metrics"), "--to", to.to_str().unwrap()]).expect_code(0);
    let metrics = fs_err::read_to_string(to.join("metrics.json")).unwrap();
    serde_json::from_str::<Value>(&metrics).unwrap()["loss"].as_f64().unwrap()
}

/// The digests of predictions and metrics.
fn scores(run: &Outcome, stage: &str) -> [Value; 2] {
    let outputs = run.stage(stage)["outputs"].clone();
    let digests = ["predictions", "metrics"].map(|port| outputs[port]["digest"].clone());
    assert!(digests.iter().all(Value::is_string), "{outputs}");
    digests
}

#[test]
fn weights_are_kept_as_asked_and_scores_change_only_where_numbers_do() {
    let sandbox = Sandbox::new();
    write_wide_model(&sandbox.path("model"));
    write_questions(&sandbox.path("faq.jsonl"), 4);
    sandbox.write("pipeline.yaml", format!("{PIPELINE}{}", stages()));
    let run = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    let mut losses = Vec::new();
    for suffix in ["", "_tuned"] {
        let named = |stage: &str| format!("{stage}{suffix}");
        let kept = |stage: &str| {
            let told = run.stage(&named(stage))["facts"]["evaluate.base"].as_str().unwrap().to_owned();
            told.split_once(" blocks kept packed").map(|(formats, _)| formats.to_owned())
        };
        assert_eq!((kept("plain"), kept("plain_unpacked"), kept("unpacked")), (None, None, None));
        assert_eq!(kept("nf4").as_deref(), Some("NF4"));
        assert_eq!((kept("kept").as_deref(), kept("kept_in_nf4").as_deref()), (Some("Q8_0"), Some("Q8_0")));

        let scores = |stage: &str| scores(&run, &named(stage));
        assert_eq!(scores("plain"), scores("plain_unpacked"));
        assert_eq!(scores("kept"), scores("unpacked"));
        assert_eq!(scores("kept"), scores("kept_in_nf4"));

        let [plain, nf4, blocks] = ["plain", "nf4", "kept"].map(|stage| loss(&sandbox, &named(stage)));
        eprintln!("{suffix}: f32 {plain}, NF4 {nf4}, Q8_0 {blocks}");
        let off = |loss: f64| (loss - plain).abs() / plain;
        assert!(off(nf4) > 1e-5 && off(nf4) < 0.1, "{plain} {nf4}");
        assert!(off(blocks) > 0.0 && off(blocks) < off(nf4), "{plain} {blocks} {nf4}");
        losses.push([plain, nf4, blocks]);
    }
    for (alone, tuned) in losses[0].iter().zip(&losses[1]) {
        assert!((alone - tuned).abs() > 1e-3, "the adapter moved nothing: {alone} {tuned}");
    }
}
