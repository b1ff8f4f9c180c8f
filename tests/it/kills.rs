//! Every method of training, killed at random: the next run goes on where it was, and ends with the bytes of one that nobody killed.
//!
//! Each method is killed once; `REFIT_KILLS=50` makes it so many times in all, for a long run.

use std::{thread, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use refit_tests::{Outcome, Sandbox};

use crate::crash::{kill, wait_for_worker};

/// A way to train: kind of the stage, its parameters, and the file that comes of it.
struct Method {
    kind: &'static str,
    with: &'static str,
    rows: Rows,
    model: Base,
}

#[derive(Clone, Copy)]
enum Rows {
    Answers,
    Pairs,
}

#[derive(Clone, Copy)]
enum Base {
    Floats,
    Blocks,
}

const fn method(kind: &'static str, with: &'static str) -> Method {
    Method { kind, with, rows: Rows::Answers, model: Base::Floats }
}

const fn preference(with: &'static str) -> Method {
    Method { kind: "train-preference", with, rows: Rows::Pairs, model: Base::Floats }
}

const METHODS: [Method; 18] = [
    method("train-lora", "rank: 4, alpha: 8"),
    method("train-lora", "rank: 4, alpha: 8, rslora: true"),
    method("train-lora", "rank: 4, alpha: 8, lora_plus_ratio: 8"),
    method("train-lora", "rank: 4, alpha: 8, dora: true"),
    method("train-lora", "rank: 4, alpha: 8, init: pissa"),
    method("train-lora", "rank: 4, alpha: 8, dropout: 0.1, neftune_alpha: 5"),
    method("train-lora", "rank: 4, alpha: 8, gradient_checkpointing: true, gradient_accumulation: 2"),
    Method { model: Base::Blocks, ..method("train-lora", "rank: 4, alpha: 8") },
    Method {
        model: Base::Blocks,
        ..method("train-lora", "rank: 4, alpha: 8, dora: true, gradient_checkpointing: true")
    },
    method("train-full", "neftune_alpha: 5"),
    method("train-adapter", "kind: houlsby, bottleneck: 6, dropout: 0.1"),
    method("train-adapter", "kind: pfeiffer, bottleneck: 6, gradient_checkpointing: true"),
    method("train-adapter", "kind: parallel, bottleneck: 6, dropout: 0.1"),
    preference("rank: 4, alpha: 8, loss: dpo"),
    preference("rank: 4, alpha: 8, loss: ipo, gradient_checkpointing: true"),
    preference("rank: 4, alpha: 8, loss: orpo, dropout: 0.1"),
    preference("rank: 4, alpha: 8, loss: simpo"),
    preference("rank: 4, alpha: 8, loss: kto"),
];

/// Seconds that a training takes at least.
const LENGTH: f64 = 1.2;

impl Method {
    /// A pipeline of it, so far that training is what is left.
    fn sandbox(&self, steps: u64) -> Sandbox {
        let sandbox = Sandbox::tiny();
        let pair = |row: u32| {
            let question = format!("Where do I get a badge for room {row}?");
            let (better, worse) = (format!("Ask desk {} now.", row * 7 % 90), format!("No idea, {}.", row % 9));
            format!("{}\n", serde_json::json!({"prompt": question, "chosen": better, "rejected": worse}))
        };
        sandbox.write("pairs.jsonl", (0..24).map(pair).collect::<String>());
        let source = match self.rows {
            Rows::Answers => "faq",
            Rows::Pairs => "pairs",
        };
        let model = match self.model {
            Base::Floats => "base",
            Base::Blocks => "blocks.files",
        };
        sandbox.write(
            "kill.yaml",
            format!(
                "name: kill\nsources: {{ rows: {source}.jsonl, base: model }}\nstages:\n  \
                 clean: {{ uses: clean, inputs: {{ records: rows }} }}\n  \
                 blocks: {{ uses: export, inputs: {{ model: base }}, with: {{ format: gguf, type: q8_0 }} }}\n  \
                 tokens: {{ uses: tokenize, inputs: {{ model: {model}, train: clean.records }}, with: {{ max_length: 256 }} }}\n  \
                 train: {{ uses: {}, inputs: {{ model: {model}, tokens: tokens.tokens }}, with: {{ {}, max_steps: {steps}, \
                 epochs: 100000, batch_size: 4, learning_rate: 1e-3, seed: 7 }} }}\n",
                self.kind, self.with
            ),
        );
        sandbox.refit(["run", "kill.yaml", "--device", "cpu", "--to", "tokens"]).expect_code(0);
        sandbox.refit(["run", "kill.yaml", "--device", "cpu", "--to", "blocks"]).expect_code(0);
        sandbox
    }

    fn run(sandbox: &Sandbox) -> Outcome {
        sandbox.refit(["run", "kill.yaml", "--json", "--device", "cpu"]).expect_code(0)
    }

    /// The digest of what came of a training.
    fn result(&self, outcome: &Outcome) -> serde_json::Value {
        let port = if self.kind == "train-full" { "model" } else { "last" };
        let digest = outcome.stage("train")["outputs"][port]["digest"].clone();
        assert!(digest.is_string(), "{}", outcome.stdout);
        digest
    }
}

#[test]
fn every_method_that_is_killed_ends_with_the_same_bytes() {
    let kills = std::env::var("REFIT_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(METHODS.len());
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut killed, mut resumed) = (0, 0);
    for (index, method) in METHODS.iter().enumerate() {
        let rounds = kills / METHODS.len() + usize::from(index < kills % METHODS.len());
        if rounds == 0 {
            continue;
        }
        // So many steps that snapshots, of which there is one every half second, are written before most kills.
        let (mut steps, mut length) = (400, 0.0);
        let mut expected = serde_json::Value::Null;
        while length < LENGTH {
            let whole = Method::run(&method.sandbox(steps));
            (expected, length) = (method.result(&whole), whole.stage("train")["seconds"].as_f64().unwrap());
            if length < LENGTH {
                steps *= (1.25 * LENGTH / length).ceil().clamp(2.0, 16.0) as u64;
            }
        }
        for round in 0..rounds {
            let sandbox = method.sandbox(steps);
            let mut engine = sandbox.spawn(["run", "kill.yaml", "--device", "cpu"]);
            thread::sleep(Duration::from_secs_f64(length * random.random_range(0.3..0.95)));
            if (index + round) % 2 == 0 {
                kill(engine.id());
            } else {
                wait_for_worker(&mut engine).into_iter().for_each(kill);
            }
            engine.wait().unwrap();
            let next = Method::run(&sandbox);
            let what = format!("{} with {}, round {round}", method.kind, method.with);
            assert_eq!(method.result(&next), expected, "{what}: {}", next.stdout);
            killed += 1;
            resumed += usize::from(next.stage("train")["facts"].get("train.resumed_after_step").is_some());
        }
    }
    eprintln!("{killed} kills over {} methods; {resumed} trainings went on from a snapshot", METHODS.len());
    assert!(resumed > 0, "no kill hit training, or training never resumed");
}
