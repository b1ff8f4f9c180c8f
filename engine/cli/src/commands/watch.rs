//! A run again and again, whenever something that it reads has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use refit_engine::{
    graph::{self, PIPELINE_FILE},
    spec::Sweep,
    watch::{Change, Watched, reads},
};

use super::{
    open,
    run::{RunArgs, once},
    signals::Signals,
};
use crate::{
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, count},
};

/// How often files are looked at, unless that takes long.
const INTERVAL: Duration = Duration::from_millis(400);
/// Of all time, looking at very many files takes at most one part in so many.
const SHARE: u32 = 10;
/// Editors and other programs write several files at once: a run waits until it was quiet for so long,
const QUIET: Duration = Duration::from_millis(200);
/// but not longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs until a signal comes.
pub(super) fn watch(mut args: RunArgs, environment: &Environment) -> Result<ExitCode, Failure> {
    // What is listened for here also ends the process while nothing runs.
    let signals = Signals::listen()?;
    let mut environment = environment.clone();
    let mut known = BTreeSet::new();
    let mut is_first = true;
    loop {
        let ui = Ui::new(&environment);
        // Seen before the run reads it: a change that comes meanwhile shows afterwards.
        let mut watched = see(&args, &environment, &mut known)?;
        match once(&args, ui, &environment, Some(&signals)) {
            Ok(ExitCode::Interrupted) => return Ok(ExitCode::Interrupted),
            Ok(_) => {}
            // What no edit of a file mends.
            Err(failure) if is_first && matches!(failure.code, ExitCode::Usage | ExitCode::Locked) => {
                return Err(failure);
            }
            Err(failure) => ui.report(&failure.report),
        }
        if signals.came() {
            return Ok(ExitCode::Interrupted);
        }
        is_first = false;
        args.selection.force.clear();
        let number = count(watched.paths().iter().filter(|path| path.exists()).count(), "path");
        ui.say(&format!("watching {number}; Ctrl-C ends"));
        loop {
            let changes = wait(&mut watched);
            ui.say("");
            ui.say(&format!("{}, running again", told(&changes)));
            match environment.again() {
                Ok(again) => {
                    environment = again;
                    break;
                }
                Err(error) => ui.report(&error.into()),
            }
        }
    }
}

/// Sees all that a run would read now. Of a pipeline that is broken, that is what it read when it was not, and the files
/// with the mistakes.
fn see(args: &RunArgs, environment: &Environment, known: &mut BTreeSet<PathBuf>) -> Result<Watched, Failure> {
    let pipeline = std::path::absolute(&args.pipeline.pipeline)?;
    let file = if pipeline.is_dir() { pipeline.join(PIPELINE_FILE) } else { pipeline };
    let store = open::store_root(&args.pipeline.store, file.parent().unwrap_or(&file), environment);
    let sweep = Sweep::parse(&args.pipeline.set)?;
    loop {
        let settings = environment.files().chain([file.clone()]);
        let watched = Watched::new(known.iter().cloned().chain(settings).collect(), &store);
        let read = match graph::load_sweep(&args.pipeline.pipeline, &sweep, &refit_stages::registry()) {
            Ok(pipeline) => reads(&pipeline, &environment.variables),
            Err(errors) => known.iter().cloned().chain(errors.imports().map(Path::to_owned)).collect(),
        };
        // What was not known before was not seen before it was read.
        if read == *known {
            return Ok(watched);
        }
        *known = read;
    }
}

/// Waits for a change, and then until all is quiet.
fn wait(watched: &mut Watched) -> BTreeMap<PathBuf, Change> {
    let mut changes = loop {
        let begun = Instant::now();
        let changes = watched.changes();
        if !changes.is_empty() {
            break changes;
        }
        thread::sleep(INTERVAL.max(begun.elapsed() * SHARE));
    };
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        thread::sleep(QUIET);
        let more = watched.changes();
        if more.is_empty() {
            break;
        }
        for (path, change) in more {
            // A file that is written anew is gone for a moment.
            let change = match (changes.get(&path), change) {
                (Some(Change::Gone), Change::Appeared) => Change::Changed,
                (Some(Change::Appeared), Change::Changed) => Change::Appeared,
                _ => change,
            };
            changes.insert(path, change);
        }
    }
    changes
}

/// `data/faq.jsonl changed`, `data/faq.jsonl and 2 others changed`.
fn told(changes: &BTreeMap<PathBuf, Change>) -> String {
    let here = env::current_dir().unwrap_or_default();
    let Some((first, change)) = changes.first_key_value() else { return String::new() };
    let first = first.strip_prefix(&here).unwrap_or(first).display();
    match (changes.len() - 1, change) {
        (0, Change::Appeared) => format!("{first} is new"),
        (0, Change::Changed) => format!("{first} changed"),
        (0, Change::Gone) => format!("{first} is gone"),
        (others, _) => format!("{first} and {} changed", count(others, "other")),
    }
}
