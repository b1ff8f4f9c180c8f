//! A long training: whether memory and speed stay what they are. The default settings on the help desk's rows, with real weights:
//! `REFIT_PEERS=… REFIT_MINUTES=60 cargo bench -p refit-tests --bench endurance`, where `tests/peers/setup.py` filled that folder.
//!
//! A short training tells how many steps fill the time. Of the long one, twelve parts are shown: tokens in a second and in a second
//! of a processor, which does not count the time that others had it; the largest resident memory that was seen in the worker
//! meanwhile; and the last loss.
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use refit_tests::Sandbox;
use serde_json::Value;

/// Parts that are shown of the long training. The first is left out where parts are compared: in it, memory is taken.
const PARTS: usize = 12;

/// How often the worker is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

fn main() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(PathBuf::from) else {
        println!("REFIT_PEERS is not set, so there is no model to train");
        return;
    };
    let minutes = std::env::var("REFIT_MINUTES").map_or(60.0, |minutes| minutes.parse().unwrap());
    let sandbox = Sandbox::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("pipelines/helpdesk/data/helpdesk.jsonl");
    sandbox.write("rows.jsonl", fs_err::read_to_string(data).unwrap());
    sandbox.write("pipeline.yaml", pipeline(&peers.join("model-hf")));

    let short = train(&sandbox, 32).history;
    let seconds_per_step = (short[31].seconds - short[0].seconds) / 31.0;
    let steps = (minutes * 60.0 / seconds_per_step).ceil() as usize;
    println!("{steps} steps, about {minutes} minutes at {seconds_per_step:.2} s a step");
    let long = train(&sandbox, steps);
    let parts = long.parts();
    println!("  minutes   tokens/s   tokens/s of a processor   largest MiB     loss");
    for part in &parts {
        let Part { minutes, speed, per_processor, memory, loss } = part;
        println!("  {minutes:7.1}   {speed:8.1}   {per_processor:23.1}   {memory:11.1}   {loss:.4}");
    }
    let (second, last) = (&parts[1], &parts[PARTS - 1]);
    println!(
        "the last part beside the second: tokens/s {:.3}, of a processor {:.3}, memory {:.3}",
        last.speed / second.speed,
        last.per_processor / second.per_processor,
        last.memory / second.memory
    );
}

fn pipeline(model: &Path) -> String {
    format!(
        "name: endurance
sources: {{ rows: rows.jsonl, base: {} }}
stages:
  clean: {{ uses: clean, inputs: {{ records: rows }}, with: {{ on_error: skip }} }}
  tokens: {{ uses: tokenize, inputs: {{ model: base, train: clean.records }} }}
  train:
    uses: train-lora
    inputs: {{ model: base, tokens: tokens.tokens }}
    with: {{ batch_size: 8, max_steps: 32 }}
",
        model.display()
    )
}

/// One optimizer step of the history.
struct Step {
    seconds: f64,
    tokens: f64,
    loss: f64,
}

/// One part of a long training.
struct Part {
    minutes: f64,
    /// Tokens in a second.
    speed: f64,
    per_processor: f64,
    /// MiB.
    memory: f64,
    loss: f64,
}

/// What the worker was seen to have.
struct Look {
    /// Seconds since the command began.
    at: f64,
    /// MiB.
    memory: f64,
    /// Seconds of processors so far.
    processor: f64,
}

struct Training {
    history: Vec<Step>,
    looks: Vec<Look>,
    /// Seconds from the begin of the command to that of the first step, about.
    before: f64,
}

impl Training {
    fn parts(&self) -> Vec<Part> {
        let steps = self.history.len();
        let bound = |part: usize| &self.history[part * (steps - 1) / PARTS];
        (0..PARTS)
            .map(|part| {
                let (from, to) = (bound(part), bound(part + 1));
                let seen = |look: &&Look| (from.seconds..to.seconds).contains(&(look.at - self.before));
                let looks: Vec<&Look> = self.looks.iter().filter(seen).collect();
                // Threads that end take their time with them.
                let last = looks.iter().max_by(|a, b| a.processor.total_cmp(&b.processor));
                let (first, last) = (looks[0], last.expect("a part takes longer than a look"));
                let speed = (to.tokens - from.tokens) / (to.seconds - from.seconds);
                Part {
                    minutes: to.seconds / 60.0,
                    speed,
                    per_processor: speed * (last.at - first.at) / (last.processor - first.processor),
                    memory: looks.iter().map(|look| look.memory).fold(0.0, f64::max),
                    loss: to.loss,
                }
            })
            .collect()
    }
}

/// Trains so many steps, and looks at the worker's memory meanwhile.
fn train(sandbox: &Sandbox, steps: usize) -> Training {
    let setting = format!("stages.train.with.max_steps={steps}");
    let begin = Instant::now();
    let mut run = sandbox.spawn(["run", "--device", "cpu", "-S", &setting]);
    let mut looks = Vec::new();
    let status = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
        let look = largest_child(run.id());
        looks.extend(look.map(|(memory, processor)| Look { at: begin.elapsed().as_secs_f64(), memory, processor }));
        thread::sleep(LOOK_EVERY);
    };
    let all = begin.elapsed().as_secs_f64();
    assert!(status.success(), "the training failed: {status}");
    let folder = sandbox.path(format!("history-{steps}"));
    let to = folder.display().to_string();
    sandbox.refit(["get", "train.history", "--to", &to, "-S", &setting]).expect_code(0);
    let text = fs_err::read_to_string(folder.join("history.jsonl")).unwrap();
    let of = |row: &Value, name: &str| row[name].as_f64().unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let history: Vec<Step> = rows
        .map(|row| Step { seconds: of(&row, "seconds"), tokens: of(&row, "tokens"), loss: of(&row, "loss") })
        .collect();
    let before = all - history.last().unwrap().seconds;
    Training { history, looks, before }
}

/// Resident memory in MiB of the largest process that another started, and the seconds that its threads were on a processor.
fn largest_child(parent: u32) -> Option<(f64, f64)> {
    let first = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
    let field = |status: &str, name: &str| first(status.lines().find_map(|line| line.strip_prefix(name))?);
    let processes = fs_err::read_dir("/proc").ok()?.filter_map(|entry| {
        let folder = entry.ok()?.path();
        let status = fs_err::read_to_string(folder.join("status")).ok()?;
        (field(&status, "PPid:")? == u64::from(parent)).then_some((field(&status, "VmRSS:")?, folder))
    });
    let (resident, folder) = processes.max()?;
    let threads = fs_err::read_dir(folder.join("task")).ok()?;
    let nanoseconds =
        threads.filter_map(|thread| first(&fs_err::read_to_string(thread.ok()?.path().join("schedstat")).ok()?));
    Some((resident as f64 / 1024.0, nanoseconds.sum::<u64>() as f64 / 1e9))
}
