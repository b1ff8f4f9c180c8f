//! Against transformers and PEFT, with the real model: losses of base and tuned model, and training step by step.
//!
//! `REFIT_PEERS` names the folder that `tests/peers/setup.py` sets up; without it these tests say so and pass.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says why it is skipped")]

use std::{
    ffi::OsStr,
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use refit_checkpoint::{
    Checkpoint, Message,
    conversation::{TrainOn, encode_conversation},
};
use refit_llm::{
    Device, Model,
    adapter::{self, Adapter, LoraConfig, LoraInit, TargetModules},
    model::OwnedRows,
    train::{Schedule, TrainConfig, TrainSettings, Trained, train},
};
use serde_json::{Value, json};

struct Peers(PathBuf);

impl Peers {
    fn find() -> Option<Self> {
        let folder = std::env::var_os("REFIT_PEERS").map(PathBuf::from);
        if folder.is_none() {
            eprintln!("skipped: REFIT_PEERS is not set (see tests/peers/setup.py)");
        }
        folder.map(Self)
    }

    fn model(&self) -> PathBuf {
        self.0.join("model-hf")
    }

    /// Runs a script of `tests/reference` with rows on its standard input; its output lines.
    fn run(&self, script: &str, args: &[impl AsRef<OsStr>], rows: &OwnedRows) -> Vec<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(script);
        let mut child = Command::new(self.0.join("venv/bin/python"))
            .arg(script)
            .args(["--model", self.model().to_str().unwrap()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for (ids, mask) in rows {
            writeln!(stdin, "{}", json!({ "ids": ids, "mask": mask })).unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "the peer failed");
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Questions and answers in the model's own chat format.
fn rows(checkpoint: &Checkpoint) -> OwnedRows {
    let tokenizer = checkpoint.tokenizer().unwrap();
    let template = checkpoint.chat_template().unwrap();
    include_str!("reference/questions.tsv")
        .lines()
        .map(|line| {
            let (question, answer) = line.split_once('\t').unwrap();
            let messages = [Message::new("user", question), Message::new("assistant", answer)];
            let encoded = encode_conversation(&tokenizer, &template, &messages, TrainOn::All).unwrap();
            (encoded.ids, encoded.mask.into_iter().map(u8::from).collect())
        })
        .collect()
}

/// Losses within 1e-3 relative, most likely tokens equal at 99.5 % of the targets.
fn assert_same_losses(model: &Model, rows: &OwnedRows, theirs: &[Value]) {
    let ours = model.row_losses(rows, |_| {}).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let (mut same, mut all, mut worst) = (0, 0, 0f64);
    for (ours, theirs) in ours.iter().zip(theirs) {
        let expected = theirs["loss"].as_f64().unwrap();
        worst = worst.max((ours.loss - expected).abs() / expected);
        let argmax = theirs["argmax"].as_array().unwrap();
        assert_eq!(ours.argmax.len(), argmax.len());
        all += argmax.len();
        same += ours.argmax.iter().zip(argmax).filter(|(a, b)| u64::from(**a) == b.as_u64().unwrap()).count();
    }
    eprintln!("{} rows: largest relative difference {worst:.2e}, {same} of {all} most likely tokens equal", ours.len());
    assert!(worst < 1e-3, "{worst}");
    assert!(same as f64 >= 0.995 * all as f64, "{same} of {all}");
}

/// 16 steps over the rows in their order, at a constant rate, as `train_steps.py` makes them.
fn config(rate: f64) -> TrainConfig {
    TrainConfig {
        max_steps: Some(STEPS),
        batch_size: BATCH,
        learning_rate: rate,
        schedule: Schedule::Constant,
        shuffle: false,
        ..TrainConfig::default()
    }
}

const STEPS: u64 = 16;
const BATCH: usize = 4;

/// The largest relative difference between our losses and the peer's, step by step.
fn worst<T>(method: &str, trained: &Trained<T>, losses: &Value) -> f64 {
    let losses = losses.as_array().unwrap();
    assert_eq!(trained.history.len(), losses.len());
    let pairs = trained.history.iter().zip(losses).map(|(row, expected)| (row.loss, expected.as_f64().unwrap()));
    let worst = pairs.fold(0f64, |worst, (found, expected)| worst.max((found - expected).abs() / expected));
    eprintln!("{method}, {STEPS} steps: largest relative difference of the loss {worst:.2e}");
    worst
}

#[test]
fn losses_of_base_and_tuned_model_are_those_of_transformers_and_training_follows_peft() {
    let Some(peers) = Peers::find() else { return };
    let checkpoint = Checkpoint::open(&peers.model()).unwrap();
    let model = Model::load(&checkpoint, &Device::flex()).unwrap();
    let rows = rows(&checkpoint);
    assert!(rows.len() >= 64);

    assert_same_losses(&model, &rows, &peers.run("row_losses.py", &[] as &[&str], &rows));

    let plain = LoraConfig { rank: 8, alpha: 16.0, ..LoraConfig::default() };
    let rslora = LoraConfig { rslora: true, ..plain.clone() };
    let dora = LoraConfig { dora: true, ..plain.clone() };
    for (method, lora) in [("LoRA", plain), ("rsLoRA", rslora), ("DoRA", dora)] {
        let folder = tempfile::tempdir().unwrap();
        let [initial, theirs, ours] = ["initial", "theirs", "ours"].map(|name| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        });
        // B is not zero, so that the first step already shows both matrices.
        let mut adapter = Adapter::initial(lora, &model, 7).unwrap();
        for (index, value) in adapter.values.iter_mut().enumerate() {
            *value += ((index % 13) as f32 - 6.0) * 1e-4;
        }
        adapter::save(&adapter, &initial).unwrap();
        let rate = 5e-4;
        let losses = peers.run("train_steps.py", &steps(rate, &theirs, Some(&initial)), &rows);
        let settings = TrainSettings { threads: 2, snapshot: None };
        let adapter = adapter::load(&initial, model.config()).unwrap();
        let trained =
            train(&model, adapter, &rows, None, &config(rate), &settings, &mut |_| ControlFlow::Continue(())).unwrap();
        let worst = worst(method, &trained, &losses[0]);
        assert!(worst < 5e-3, "{method}: {worst}");

        // Both ways: PEFT's adapter here, and ours there.
        let tuned = model.with(&adapter::load(&theirs, model.config()).unwrap()).unwrap();
        assert_same_losses(&tuned, &rows, &peers.run("row_losses.py", &["--adapter", theirs.to_str().unwrap()], &rows));
        adapter::save(&trained.last, &ours).unwrap();
        let tuned = model.with(&trained.last).unwrap();
        assert_same_losses(&tuned, &rows, &peers.run("row_losses.py", &["--adapter", ours.to_str().unwrap()], &rows));
    }
}

/// Arguments of `train_steps.py`.
fn steps(rate: f64, out: &Path, adapter: Option<&Path>) -> Vec<String> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut args: Vec<String> = ["--out".to_owned(), text(out), "--batch-size".into(), BATCH.to_string()].into();
    args.extend(["--rate".to_owned(), rate.to_string(), "--steps".into(), STEPS.to_string()]);
    args.extend(adapter.into_iter().flat_map(|adapter| ["--adapter".to_owned(), text(adapter)]));
    args
}

#[test]
fn an_adapter_that_started_from_singular_values_loads_in_peft_over_the_base_as_it_was() {
    let Some(peers) = Peers::find() else { return };
    let checkpoint = Checkpoint::open(&peers.model()).unwrap();
    let model = Model::load(&checkpoint, &Device::flex()).unwrap();
    let rows: OwnedRows = rows(&checkpoint).into_iter().take(16).collect();
    let targets = TargetModules::Names(vec!["q_proj".into(), "down_proj".into()]);
    let lora = LoraConfig { init: LoraInit::Pissa, rank: 4, target_modules: targets, ..LoraConfig::default() };
    let initial = Adapter::initial(lora, &model, 7).unwrap();
    let residual = initial.residual(&model).unwrap();
    let mut trained = initial.clone();
    for (index, value) in trained.values.iter_mut().enumerate() {
        *value += ((index % 13) as f32 - 6.0) * 1e-3;
    }
    let folder = tempfile::tempdir().unwrap();
    adapter::save(&trained.for_original_base(&initial), folder.path()).unwrap();
    let theirs = peers.run("row_losses.py", &["--adapter", folder.path().to_str().unwrap()], &rows);
    assert_same_losses(&residual.with(&trained).unwrap(), &rows, &theirs);
}
