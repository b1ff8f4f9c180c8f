//! GGUF files of every family, and of adapters for them, as llama.cpp computes with them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says why it is skipped")]

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use refit_checkpoint::{Checkpoint, FloatType, GgufLora, GgufType, HostTensor, LoraMatrix};
use serde_json::{Value, json};

use super::{
    Row,
    gguf_tests::{configs, load, write_folder},
};
use crate::{
    Model,
    adapter::Adapter,
    generate::{GenerationOptions, Prompt, Sampling},
    reference::FamilyReference,
};

/// Differences of logits, relative to the largest of a token: by other orders of sums, and, as llama.cpp multiplies halves by
/// activations that it rounds to halves too, by these.
const EXACT: f64 = 1e-4;
/// llama.cpp looks the GELU of Gemma up in a table of halves.
const GELU_OF_HALVES: f64 = 2e-3;
const HALVES: f64 = 3e-2;

/// Tokens of each answer.
const LENGTH: usize = 5;

/// The Python that has llama.cpp, if the peers have it.
fn llama_cpp() -> Option<PathBuf> {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        eprintln!("skipped: REFIT_PEERS is not set (see tests/peers/setup.py)");
        return None;
    };
    let python = peers.join("venv-llama/bin/python");
    let output = Command::new(&python).args(["-c", "import llama_cpp"]).output();
    let found = output.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: the peers have no llama.cpp (tests/peers/setup.py FOLDER --llama)");
    }
    found.then_some(python)
}

/// Prompts with the answers that a model gives to them.
fn answered(model: &Model) -> Vec<Vec<u32>> {
    let prompts: Vec<Prompt> = (0..).zip(FamilyReference::prompts()).map(|(name, ids)| Prompt { ids, name }).collect();
    let options = GenerationOptions {
        max_new_tokens: LENGTH,
        stop: &[],
        stop_strings: None,
        batch_size: prompts.len(),
        sampling: Sampling::default(),
    };
    let answers = model.generate(&prompts, options, |_| {}).unwrap().answers;
    prompts.into_iter().zip(answers).map(|(prompt, answer)| [prompt.ids, answer.ids].concat()).collect()
}

/// The logits behind every token of a row.
fn logits(model: &Model, row: &[u32]) -> Vec<Vec<f32>> {
    let ids: Vec<u32> = row.iter().copied().chain([0]).collect();
    let mask: Vec<u8> = (0..ids.len()).map(|at| u8::from(at > 0)).collect();
    model.logits(Row { ids: &ids, mask: &mask }).unwrap()
}

/// The adapter as llama.cpp takes it.
fn write_lora(adapter: &Adapter, checkpoint: &Checkpoint, path: &Path) {
    let matrices = adapter.modules().flat_map(|module| [(module.a, LoraMatrix::A), (module.b, LoraMatrix::B)]);
    let matrices = matrices.map(|(tensor, matrix)| {
        let values = adapter.values[tensor.range()].to_vec();
        (format!("{}.weight", tensor.path), matrix, HostTensor { shape: tensor.shape.to_vec(), values })
    });
    let alpha = adapter.config.scale() * adapter.config.rank as f64;
    let lora = GgufLora { model: checkpoint.config(), alpha, matrices: matrices.collect() };
    lora.write(path, FloatType::F32).unwrap();
}

/// Every logit, divided by the largest of its row, within the tolerance; every most likely token the same unless two are
/// as near to each other as that.
fn assert_same(what: &str, ours: &[Vec<f32>], theirs: &Value, tolerance: f64) -> f64 {
    let theirs = theirs.as_array().unwrap();
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let mut worst = 0f64;
    for (place, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let theirs: Vec<f64> = theirs.as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
        assert_eq!(ours.len(), theirs.len(), "{what}");
        let size = theirs.iter().fold(0f64, |most, logit| most.max(logit.abs()));
        let off = ours.iter().zip(&theirs).fold(0f64, |most, (a, b)| most.max((f64::from(*a) - b).abs()));
        assert!(off <= tolerance * size, "{what}, token {place}: off by {off} where the largest is {size}");
        let first =
            |logits: &[f64]| (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best });
        let own: Vec<f64> = ours.iter().copied().map(f64::from).collect();
        let lead = own[first(&own)] - own[first(&theirs)];
        assert!(lead <= 2.0 * off, "{what}, token {place}: llama.cpp says another token");
        worst = worst.max(off / size);
    }
    worst
}

#[test]
fn llama_cpp_answers_from_files_of_every_family_and_with_their_adapters() {
    let Some(python) = llama_cpp() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut asked = BTreeMap::new();
    let mut expected = BTreeMap::new();
    for (name, mut config) in configs() {
        if name == "phi3" {
            // llama.cpp chooses between the two rows of divisors by the room for texts, and not by a text's length.
            config["original_max_position_embeddings"] = 2.into();
            config["rope_parameters"]["original_max_position_embeddings"] = 2.into();
        }
        let source = folder.path().join(format!("{name} as it is"));
        fs_err::create_dir_all(&source).unwrap();
        let source = write_folder(&source, &config);
        let base = load(&source);
        let adapter = FamilyReference::adapter(&base);
        let tuned = base.with(&adapter).unwrap();
        let mut rows = answered(&base);
        let exact = if name.starts_with("gemma") { GELU_OF_HALVES } else { EXACT };
        for (kept, tolerance) in [(FloatType::F32, exact), (FloatType::F16, HALVES)] {
            let name = format!("{name} in {kept:?}").to_lowercase();
            let place = folder.path().join(&name);
            fs_err::create_dir_all(&place).unwrap();
            let file = place.join("model.gguf");
            source.write_gguf(&file, GgufType::Float(kept), |name| source.tensor(name)).unwrap();
            // As long as the file says that texts may be.
            let longest = Checkpoint::open(&file).unwrap().config().max_positions;
            for row in &mut rows {
                row.truncate(longest);
            }
            write_lora(&adapter, &source, &place.join("lora.gguf"));
            asked.insert(name.clone(), rows.clone());
            let of = |model: &Model| rows.iter().map(|row| logits(model, row)).collect::<Vec<_>>();
            expected.insert(name, (of(&base), of(&tuned), tolerance));
        }
    }
    let found = run(&python, folder.path(), &json!(asked));
    for (name, (base, tuned, tolerance)) in expected {
        let mut worst = [0f64; 2];
        for (row, (base, tuned)) in base.iter().zip(&tuned).enumerate() {
            for (kind, (ours, theirs)) in
                [(base, &found[&name]["plain"][row]), (tuned, &found[&name]["lora"][row])].into_iter().enumerate()
            {
                let what = format!("{name}, {}, row {row}", ["base", "tuned"][kind]);
                worst[kind] = worst[kind].max(assert_same(&what, ours, theirs, tolerance));
            }
        }
        eprintln!("{name}: logits off by {:.1e}, with an adapter by {:.1e}", worst[0], worst[1]);
    }
}

fn run(python: &Path, folder: &Path, rows: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/gguf_logits.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rows.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{failed}");
    serde_json::from_str(told.lines().last().unwrap()).unwrap()
}
