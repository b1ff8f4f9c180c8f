//! Against transformers, PEFT and the `adapters` library, with the real model: losses of base and tuned model, and training step
//! by step.
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
    conversation::{TrainOn, encode_conversation, stop_tokens},
};
use refit_llm::{
    Device, Model,
    adapter::{self, Adapter, LoraConfig, LoraInit, TargetModules},
    bottleneck::{self, BottleneckAdapter, BottleneckConfig, BottleneckKind, ReductionFactor},
    generate::{GenerationOptions, Prompt, Sampling, StopStrings},
    model::{OwnedRows, WeightForm},
    train::{
        Objective, Preference, PreferenceLoss, PreferenceMethod, Schedule, TrainConfig, TrainSettings, Trained, train,
        train_towards,
    },
    weights::{Selection, TrainedWeights},
};
use serde_json::{Value, json};

/// A folder, and the Python in it that is asked.
struct Peers(PathBuf, &'static str);

impl Peers {
    fn find() -> Option<Self> {
        let folder = std::env::var_os("REFIT_PEERS").map(PathBuf::from);
        if folder.is_none() {
            eprintln!("skipped: REFIT_PEERS is not set (see tests/peers/setup.py)");
        }
        folder.map(|folder| Self(folder, "venv"))
    }

    /// The Python that has the `adapters` library.
    fn with_adapters() -> Option<Self> {
        Self::find().map(|peers| Self(peers.0, "venv-adapters")).filter(|peers| peers.has("adapters"))
    }

    fn python(&self) -> PathBuf {
        self.0.join(self.1).join("bin/python")
    }

    /// Whether a Python package can be imported there.
    fn has(&self, package: &str) -> bool {
        let output = Command::new(self.python()).args(["-c", &format!("import {package}")]).output();
        let found = output.is_ok_and(|output| output.status.success());
        if !found {
            eprintln!("skipped: the peers have no {package} (see tests/peers/setup.py)");
        }
        found
    }

    fn model(&self) -> PathBuf {
        self.0.join("model-hf")
    }

    /// Runs a script of `tests/reference` with rows on its standard input; its output lines.
    fn run(&self, script: &str, args: &[impl AsRef<OsStr>], rows: &OwnedRows) -> Vec<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(script);
        let mut child = Command::new(self.python())
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

/// Steps over the rows in their order, at a constant rate, as `train_steps.py` makes them.
fn config(rate: f64, steps: u64) -> TrainConfig {
    TrainConfig {
        max_steps: Some(steps),
        batch_size: BATCH,
        learning_rate: rate,
        schedule: Schedule::Constant,
        shuffle: false,
        ..TrainConfig::default()
    }
}

const STEPS: u64 = 16;
/// Steps of full tuning, each of which takes torch several seconds.
const FULL_STEPS: u64 = 6;
/// Steps of each kind of bottleneck adapter; the library starts three times for each, and once more where there are more steps.
const BOTTLENECK_STEPS: u64 = 8;
const BATCH: usize = 4;

/// As many steps as `REFIT_PEER_STEPS` asks for, else as many as are quick.
fn steps(usual: u64) -> u64 {
    std::env::var("REFIT_PEER_STEPS").map_or(usual, |steps| steps.parse().unwrap())
}

/// The largest relative difference between our losses and the peer's, step by step.
fn worst<T>(method: &str, trained: &Trained<T>, losses: &Value) -> f64 {
    let losses = losses.as_array().unwrap();
    assert_eq!(trained.history.len(), losses.len());
    let losses: Vec<f64> = losses.iter().map(|loss| loss.as_f64().unwrap()).collect();
    let worst = apart(trained.history.iter().map(|row| row.loss), &losses);
    eprintln!("{method}, {} steps: largest relative difference of the loss {worst:.2e}", trained.history.len());
    worst
}

/// The largest difference of losses relative to the expected ones.
fn apart(found: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    found
        .into_iter()
        .zip(expected)
        .fold(0f64, |worst, (found, expected)| worst.max((found - expected).abs() / expected))
}

/// As many of the rows' questions as asked for, without their answers.
fn prompts(rows: &OwnedRows, count: usize) -> Vec<Prompt> {
    let question = |mask: &[u8]| mask.iter().position(|target| *target != 0).unwrap();
    let ids = |(ids, mask): &(Vec<u32>, Vec<u8>)| ids[..question(mask)].to_vec();
    (0..).zip(rows.iter().take(count)).map(|(name, row)| Prompt { ids: ids(row), name }).collect()
}

#[test]
fn greedy_answers_are_those_of_transformers() {
    let Some(peers) = Peers::find() else { return };
    let checkpoint = Checkpoint::open(&peers.model()).unwrap();
    let prompts = prompts(&rows(&checkpoint), 10);
    let (template, tokenizer) = (checkpoint.chat_template().unwrap(), checkpoint.tokenizer().unwrap());
    let stop = stop_tokens(&tokenizer, &template).unwrap();
    let base =
        Model::load_as(&checkpoint, &Device::flex(), WeightForm { tiles: true, ..WeightForm::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut adapter = Adapter::initial(LoraConfig { rank: 8, ..LoraConfig::default() }, &base, 7).unwrap();
    for (index, value) in adapter.values.iter_mut().enumerate() {
        *value += ((index % 13) as f32 - 6.0) * 3e-4;
    }
    adapter::save(&adapter, folder.path()).unwrap();
    let adapter_folder = folder.path().to_str().unwrap();
    let asked: OwnedRows = prompts.iter().map(|prompt| (prompt.ids.clone(), Vec::new())).collect();
    let longest = 24;
    for (model, adapter) in [(base.clone(), None), (base.with(&adapter).unwrap(), Some(adapter_folder))] {
        let mut args =
            vec!["--max-new-tokens".to_owned(), longest.to_string(), "--stop".to_owned(), stop[0].to_string()];
        args.extend(adapter.iter().flat_map(|folder| ["--adapter".to_owned(), (*folder).to_owned()]));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let theirs = peers.run("generate.py", &args, &asked);
        for batch_size in [1, 3, 16] {
            let options = GenerationOptions {
                max_new_tokens: longest,
                stop: &stop[..1],
                stop_strings: None,
                batch_size,
                sampling: Sampling::default(),
            };
            let ours = model.generate(&prompts, options, |_| {}).unwrap().answers;
            assert_eq!(ours.len(), theirs.len());
            let mut same = 0;
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let mut said: Vec<u64> = ours.ids.iter().map(|id| u64::from(*id)).collect();
                said.extend((!ours.cut_off).then_some(u64::from(stop[0])));
                let expected: Vec<u64> =
                    theirs["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
                if let Some(place) = said.iter().zip(&expected).position(|(ours, theirs)| ours != theirs) {
                    let gap = theirs["gaps"][place].as_f64().unwrap();
                    assert!(gap < 1e-3, "another token where the most likely one is ahead by {gap}");
                } else {
                    assert_eq!(said.len(), expected.len());
                    same += 1;
                }
            }
            eprintln!("batches of {batch_size}: {same} of {} answers equal", ours.len());
            assert!(same + 2 >= ours.len());
        }
    }
}

#[test]
fn a_text_ends_an_answer_wherever_the_borders_between_tokens_lie() {
    let Some(peers) = Peers::find() else { return };
    let checkpoint = Checkpoint::open(&peers.model()).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let model = Model::load(&checkpoint, &Device::flex()).unwrap();
    let prompts = prompts(&rows(&checkpoint), 2);
    let sampling = Sampling { temperature: 0.9, top_k: Some(40), seed: 3, ..Sampling::default() };
    let answers = |texts: &[String]| -> Vec<(Vec<u32>, String)> {
        let stop_strings = StopStrings::new(&tokenizer, texts);
        let options = GenerationOptions {
            max_new_tokens: 32,
            stop: &[],
            stop_strings: Some(&stop_strings),
            batch_size: 2,
            sampling,
        };
        let answers = model.generate(&prompts, options, |_| {}).unwrap().answers;
        let text = |ids: &[u32]| stop_strings.cut(&tokenizer.decode(ids).unwrap()).to_owned();
        answers.into_iter().map(|answer| (answer.ids.clone(), text(&answer.ids))).collect()
    };
    let whole = answers(&[]);
    let (ids, text) = &whole[0];
    for tokens in [4, 9, 17] {
        // From the middle of one token to the middle of another.
        let [from, to] = [tokens, tokens + 3].map(|count| tokenizer.decode(&ids[..count]).unwrap().len() - 1);
        let Some(stop) = text.get(from..to).filter(|stop| text.find(*stop) == Some(from)) else { continue };
        let found = answers(&["never said".to_owned(), stop.to_owned()]);
        assert_eq!(found[0].1, text[..from], "{stop:?}");
        assert_eq!(found[0].0, ids[..tokens + 3], "it ends with the token that completes the text");
        if !whole[1].1.contains(stop) {
            assert_eq!(found[1], whole[1]);
        }
    }
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
        let losses = peers.run("train_steps.py", &options(rate, steps(STEPS), &theirs, Some(&initial)), &rows);
        let settings = TrainSettings { threads: 2, ..TrainSettings::default() };
        let adapter = adapter::load(&initial, model.config()).unwrap();
        let trained = train(&model, adapter, &rows, None, &config(rate, steps(STEPS)), &settings, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
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
fn options(rate: f64, steps: u64, out: &Path, adapter: Option<&Path>) -> Vec<String> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut args: Vec<String> = ["--out".to_owned(), text(out), "--batch-size".into(), BATCH.to_string()].into();
    args.extend(["--rate".to_owned(), rate.to_string(), "--steps".into(), steps.to_string()]);
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

#[test]
fn bottleneck_adapters_go_both_ways_and_training_follows_the_library() {
    let Some(peers) = Peers::with_adapters() else { return };
    let checkpoint = Checkpoint::open(&peers.model()).unwrap();
    let form = WeightForm { tiles: true, ..WeightForm::default() };
    let model = Model::load_as(&checkpoint, &Device::flex(), form).unwrap();
    let rows: OwnedRows = rows(&checkpoint).into_iter().take(16).collect();
    for kind in [BottleneckKind::Houlsby, BottleneckKind::Pfeiffer, BottleneckKind::Parallel] {
        let folder = tempfile::tempdir().unwrap();
        let [initial, theirs, ours] = ["initial", "theirs", "ours"].map(|name| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        });
        let narrow = BottleneckConfig { reduction_factor: ReductionFactor::Every(16.0), ..BottleneckConfig::of(kind) };
        // No tensor is zero, so that the first step already shows all of them.
        let mut adapter = BottleneckAdapter::initial(narrow, model.config(), 7).unwrap();
        for (index, value) in adapter.values.iter_mut().enumerate() {
            *value += ((index % 13) as f32 - 6.0) * 1e-3;
        }
        bottleneck::save(&adapter, model.config(), &initial).unwrap();
        let (rate, steps) = (5e-4, steps(BOTTLENECK_STEPS));
        let options = options(rate, steps, &theirs, Some(&initial));
        let losses = peers.run("train_steps.py", &options, &rows);
        let settings = TrainSettings { threads: 2, ..TrainSettings::default() };
        let adapter = bottleneck::load(&initial, model.config()).unwrap();
        let trained =
            train(&model, adapter, &rows, None, &config(rate, steps), &settings, &mut |_| ControlFlow::Continue(()))
                .unwrap();
        let worst = worst(&format!("{kind:?}"), &trained, &losses[0]);
        let mut bound = 5e-3;
        if steps > BOTTLENECK_STEPS {
            // The few rows are soon known by heart, and rounding decides a good part of what is left of their losses: the library
            // is as far from itself when it computes the same loss in float64.
            let numbers = |losses: &Value| -> Vec<f64> {
                losses.as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect()
            };
            let exact = [options, vec!["--loss-in-float64".into()]].concat();
            let itself = apart(numbers(&peers.run("train_steps.py", &exact, &rows)[0]), &numbers(&losses[0]));
            eprintln!("{kind:?}: the library with its loss in float64 is {itself:.2e} from itself");
            bound = (2.0 * itself).max(bound);
        }
        assert!(worst <= bound, "{kind:?}: {worst}");

        let tuned = model.with(&bottleneck::load(&theirs, model.config()).unwrap()).unwrap();
        assert_same_losses(&tuned, &rows, &peers.run("row_losses.py", &["--adapter", theirs.to_str().unwrap()], &rows));
        bottleneck::save(&trained.last, model.config(), &ours).unwrap();
        let tuned = model.with(&trained.last).unwrap();
        assert_same_losses(&tuned, &rows, &peers.run("row_losses.py", &["--adapter", ours.to_str().unwrap()], &rows));
    }
}

/// Questions with the right answer and the answer to the next question in turn.
fn pairs(checkpoint: &Checkpoint, count: usize) -> OwnedRows {
    let rows = rows(checkpoint);
    let with_answer = |row: usize, of: usize| {
        let question = rows[row].1.iter().position(|target| *target != 0).unwrap();
        let answer = rows[of].1.iter().position(|target| *target != 0).unwrap();
        let ids = [&rows[row].0[..question], &rows[of].0[answer..]].concat();
        let mask = (0..ids.len()).map(|at| u8::from(at >= question)).collect();
        (ids, mask)
    };
    (0..count).flat_map(|row| [with_answer(row, row), with_answer(row, row + 1)]).collect()
}

#[test]
fn dpo_follows_trl() {
    let Some(peers) = Peers::find().filter(|peers| peers.has("trl")) else { return };
    let checkpoint = Checkpoint::open(&peers.model()).unwrap();
    let model = Model::load(&checkpoint, &Device::flex()).unwrap();
    let (rate, steps, batch) = (1e-4, steps(6), 2);
    let rows = pairs(&checkpoint, (steps as usize * batch).min(60));
    let lora = LoraConfig { rank: 8, alpha: 16.0, ..LoraConfig::default() };
    let folder = tempfile::tempdir().unwrap();
    let mut start = Adapter::initial(lora, &model, 7).unwrap();
    for (index, value) in start.values.iter_mut().enumerate() {
        *value += ((index % 13) as f32 - 6.0) * 1e-4;
    }
    adapter::save(&start, folder.path()).unwrap();
    let options = ["--batch-size", &batch.to_string(), "--rate", &rate.to_string(), "--steps", &steps.to_string()]
        .map(str::to_owned);
    let mut arguments = vec!["--adapter", folder.path().to_str().unwrap()];
    arguments.extend(options.iter().map(String::as_str));
    let theirs = peers.run("preference_steps.py", &arguments, &rows);

    let loss = PreferenceLoss {
        method: PreferenceMethod::Dpo,
        beta: 0.1,
        gamma: 0.0,
        label_smoothing: 0.0,
        sft_weight: 0.0,
        desirable_weight: 1.0,
        undesirable_weight: 1.0,
    };
    let desired = (0..rows.len()).map(|row| row % 2 == 0).collect();
    let preference = Preference::new(&rows, desired, loss, Some(start.clone())).unwrap();
    let config = TrainConfig {
        max_steps: Some(steps),
        batch_size: batch,
        learning_rate: rate,
        schedule: Schedule::Constant,
        shuffle: false,
        ..TrainConfig::default()
    };
    let settings = TrainSettings { threads: 2, ..TrainSettings::default() };
    let towards = Objective::Preference(&preference);
    let trained =
        train_towards(&model, start, towards, None, &config, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
    let theirs = theirs[0].as_array().unwrap();
    assert_eq!(trained.history.len(), theirs.len());
    let mut worst = 0f64;
    for (row, expected) in trained.history.iter().zip(theirs) {
        let loss = expected["loss"].as_f64().unwrap();
        worst = worst.max((row.loss - loss).abs() / loss);
        let margin = expected["rewards/margins"].as_f64().unwrap();
        assert!((row.preference.margins.unwrap() - margin).abs() < 1e-2, "step {}: {row:?} {margin}", row.step);
    }
    eprintln!("{} steps of DPO: largest relative difference of the loss {worst:.2e}", theirs.len());
    assert!(worst < 5e-3, "{worst}");
}

#[test]
fn full_tuning_follows_transformers() {
    let Some(peers) = Peers::find() else { return };
    let checkpoint = Checkpoint::open(&peers.model()).unwrap();
    let form = WeightForm { tiles: true, ..WeightForm::default() };
    let model = Model::load_as(&checkpoint, &Device::flex(), form).unwrap();
    let rows = rows(&checkpoint);
    let (rate, folder) = (2e-5, tempfile::tempdir().unwrap());
    let losses = peers.run("train_steps.py", &options(rate, steps(FULL_STEPS), folder.path(), None), &rows);
    let weights = TrainedWeights::of(&model, &Selection::All).unwrap();
    let model = model.without(&weights);
    let settings = TrainSettings { threads: 2, ..TrainSettings::default() };
    let trained = train(&model, weights, &rows, None, &config(rate, steps(FULL_STEPS)), &settings, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let worst = worst("full tuning", &trained, &losses[0]);
    assert!(worst < 5e-3, "{worst}");
}
