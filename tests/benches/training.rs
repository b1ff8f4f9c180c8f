//! LoRA training beside PEFT, full tuning beside torch, and bottleneck adapters beside the `adapters` library, on the same rows and
//! settings, whole steps with optimizer, in one run:
//! `REFIT_PEERS=… cargo bench -p refit-tests --bench training`, where `tests/peers/setup.py` filled that folder.
//!
//! The peer is taken at its faster of two orders, that of the rows and that of their lengths. The first step of every run is
//! not timed: in it, memory is taken for the first time. Adapters start so that they change nothing or little, so that the
//! losses of the first step show whether both see the same rows and the same model.
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use refit_tests::Sandbox;
use serde_json::{Value, json};

const BATCH: usize = 8;
const STEPS: usize = 16;

/// A row of the long ones has so many questions with their answers: about 300 tokens.
const QUESTIONS: usize = 6;

/// Rows as the help desk's model sees them, all behind one system prompt; and the same ones with nothing before the question.
const CASES: [(&str, &str, &str); 2] = [
    ("one system prompt", "with: { system: You are the IT help desk of Tarnwick Freight., on_error: skip }", ""),
    (
        "nothing in common",
        "with: { on_error: skip }",
        "with: { template: \"{% for m in messages %}{{ m.content }}<|im_end|>\\n{% endfor %}\" }",
    ),
];

/// What is trained.
#[derive(Clone, Copy, PartialEq)]
enum Method {
    Lora,
    Full,
    Bottleneck,
}

fn main() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        println!("REFIT_PEERS is not set, so there is no model and nobody to measure beside");
        return;
    };
    for (name, clean, tokens) in CASES {
        let sandbox = Sandbox::new();
        sandbox.write("rows.jsonl", fs_err::read(data()).unwrap());
        sandbox.write("pipeline.yaml", pipeline(&peers.join("model-hf"), clean, tokens));
        println!("{name}: {STEPS} steps of {BATCH} rows");
        for (precision, dtype) in [("f32", "float32"), ("bf16", "bfloat16")] {
            beside(&sandbox, &peers, precision, dtype, Method::Lora);
        }
    }
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", long_rows());
    sandbox.write("pipeline.yaml", pipeline(&peers.join("model-hf"), "with: { on_error: skip }", ""));
    println!("long rows, about {QUESTIONS} questions each: {STEPS} steps of {BATCH} rows");
    for (precision, dtype) in [("f32", "float32"), ("bf16", "bfloat16")] {
        beside(&sandbox, &peers, precision, dtype, Method::Lora);
    }
    let (name, clean, tokens) = CASES[1];
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", fs_err::read(data()).unwrap());
    let lora = pipeline(&peers.join("model-hf"), clean, tokens);
    let full = lora
        .replace("train-lora", "train-full")
        .replace("rank: 8, alpha: 16, learning_rate: 5e-4", "learning_rate: 1e-5");
    sandbox.write("pipeline.yaml", full);
    println!("every weight, {name}: {STEPS} steps of {BATCH} rows");
    beside(&sandbox, &peers, "f32", "float32", Method::Full);

    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", fs_err::read(data()).unwrap());
    let settings = ("rank: 8, alpha: 16", "kind: houlsby, reduction_factor: 16");
    sandbox.write("pipeline.yaml", lora.replace("train-lora", "train-adapter").replace(settings.0, settings.1));
    println!("bottlenecks after Houlsby, {name}: {STEPS} steps of {BATCH} rows");
    beside(&sandbox, &peers, "f32", "float32", Method::Bottleneck);
}

/// Runs both and shows them.
fn beside(sandbox: &Sandbox, peers: &Path, precision: &str, dtype: &str, method: Method) {
    let ours = refit(sandbox, precision, method);
    let [in_order, by_length] = [false, true].map(|sorted| torch(sandbox, peers, dtype, sorted, method));
    let best = in_order.speed.max(by_length.speed);
    ours.show(&format!("refit {precision}"), best);
    in_order.show(&format!("torch {dtype}"), best);
    by_length.show(&format!("torch {dtype}, sorted"), best);
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("pipelines/helpdesk/data/helpdesk.jsonl")
}

/// The help desk's questions and answers, several in each conversation.
fn long_rows() -> String {
    let text = fs_err::read_to_string(data()).unwrap();
    let rows: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let answered = rows.iter().filter_map(|row| Some((row["instruction"].as_str()?, row["output"].as_str()?)));
    let turns: Vec<Value> = answered
        .filter(|(question, answer)| !question.is_empty() && !answer.is_empty())
        .flat_map(|(question, answer)| {
            [json!({ "role": "user", "content": question }), json!({ "role": "assistant", "content": answer })]
        })
        .collect();
    // Every question begins several conversations, so that there are rows enough.
    let row = |at: usize| {
        let turns: Vec<&Value> = turns.iter().cycle().skip(at * 6).take(2 * QUESTIONS).collect();
        json!({ "messages": turns }).to_string() + "\n"
    };
    (0..STEPS * BATCH).map(row).collect()
}

fn pipeline(model: &Path, clean: &str, tokens: &str) -> String {
    format!(
        "name: speed
sources: {{ rows: rows.jsonl, base: {} }}
stages:
  clean: {{ uses: clean, inputs: {{ records: rows }}, {clean} }}
  tokens: {{ uses: tokenize, inputs: {{ model: base, train: clean.records }}{}{tokens} }}
  train:
    uses: train-lora
    inputs: {{ model: base, tokens: tokens.tokens }}
    with: {{ rank: 8, alpha: 16, learning_rate: 5e-4, weight_decay: 0, schedule: constant, shuffle: false, batch_size: {BATCH}, max_steps: {STEPS} }}
",
        model.display(),
        if tokens.is_empty() { "" } else { ", " }
    )
}

/// What one run came to.
struct Measured {
    /// Tokens of the rows in a second, padding and sharing not counted.
    speed: f64,
    /// Bytes.
    memory: f64,
    first_loss: f64,
}

impl Measured {
    fn show(&self, who: &str, best: f64) {
        println!(
            "  {who:<22} {:7.1} tokens/s {:5.2} × torch's best {:6.2} GiB  first loss {:.4}",
            self.speed,
            self.speed / best,
            self.memory / f64::from(1 << 30),
            self.first_loss
        );
    }
}

fn refit(sandbox: &Sandbox, precision: &str, method: Method) -> Measured {
    // Full tuning has no precision to set.
    let setting = if method == Method::Full {
        "stages.train.with.seed=1".to_owned()
    } else {
        format!("stages.train.with.precision={precision}")
    };
    let run = sandbox.refit(["run", "--json", "--device", "cpu", "-S", &setting]).expect_code(0);
    let folder = sandbox.path(precision);
    let to = folder.display().to_string();
    sandbox.refit(["get", "train.history", "--to", &to, "-S", &setting]).expect_code(0);
    let history = fs_err::read_to_string(folder.join("history.jsonl")).unwrap();
    let rows: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |row: &Value, name: &str| row[name].as_f64().unwrap();
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    Measured {
        speed: (of(last, "tokens") - of(first, "tokens")) / (of(last, "seconds") - of(first, "seconds")),
        memory: run.stage("train")["peak_memory"].as_f64().unwrap(),
        first_loss: of(first, "loss"),
    }
}

fn torch(sandbox: &Sandbox, peers: &Path, dtype: &str, sorted: bool, method: Method) -> Measured {
    let tokens = sandbox.path("tokens");
    if !tokens.exists() {
        sandbox.refit(["get", "tokens.tokens", "--to", &tokens.display().to_string()]).expect_code(0);
    }
    let threads = std::thread::available_parallelism().unwrap().to_string();
    let python = if method == Method::Bottleneck { "venv-adapters/bin/python" } else { "venv/bin/python" };
    let mut command = Command::new(peers.join(python));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/train_speed.py"));
    command.args(["--model", peers.join("model-hf").to_str().unwrap(), "--tokens", tokens.to_str().unwrap()]);
    command.args(["--steps", &STEPS.to_string(), "--batch-size", &BATCH.to_string()]);
    command.args(["--dtype", dtype, "--threads", &threads]);
    command.args(sorted.then_some("--sort"));
    command.args(match method {
        Method::Lora => None,
        Method::Full => Some("--full"),
        Method::Bottleneck => Some("--bottleneck"),
    });
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    Measured {
        speed: measured["tokens_per_second"].as_f64().unwrap(),
        memory: measured["peak_memory"].as_f64().unwrap(),
        first_loss: measured["losses"][0].as_f64().unwrap(),
    }
}
