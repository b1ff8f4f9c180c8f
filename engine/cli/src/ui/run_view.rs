//! A run as it is watched: one line per running stage on a terminal, plain lines otherwise.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use refit_engine::{
    graph::Pipeline,
    plan::sentence,
    run::{Difference, Observer, RunEvent, RunReport, RunStatus, StageState, Verdict},
    stage::{Progress, StageError},
};

use super::{Ui, ago, bytes, canvas::Canvas, count, duration, pace::Pace, pad, width};

/// Without a terminal, a running stage says how far it is this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Of a failed step's log, this many lines are shown.
const LAST_LINES: usize = 20;

/// Of the bars, in a second.
const REDRAWS: u8 = 10;

/// More results in a row that were in the store are told in one line.
const FEW_CACHED: usize = 8;

const STATE_WIDTH: usize = 7;

/// Shows a run's events.
pub(crate) struct RunView {
    ui: Ui,
    width: usize,
    bars: MultiProgress,
    running: Mutex<HashMap<String, Row>>,
    /// Stages whose result was in the store, and when it was made, that are not told yet.
    cached: Mutex<Vec<(String, Timestamp)>>,
}

struct Row {
    bar: Option<ProgressBar>,
    pace: Pace,
    said: Instant,
    fetches: bool,
    end_is_known: bool,
    device: Option<String>,
}

impl RunView {
    pub(crate) fn new(ui: Ui, pipeline: &Pipeline) -> Self {
        let stages = pipeline.stages.stages().map(|node| node.name.as_str());
        let remote = pipeline.sources.values().filter(|source| source.uri.is_remote());
        Self::over(ui, stages.chain(remote.map(|source| source.name.as_str())))
    }

    /// A view of the stages and sources of these names.
    pub(crate) fn over<'n>(ui: Ui, names: impl Iterator<Item = &'n str>) -> Self {
        let width = names.map(width).max().unwrap_or(0);
        let target = if ui.is_live() {
            ProgressDrawTarget::term_like_with_hz(Box::new(Canvas::default()), REDRAWS)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            ui,
            width,
            bars: MultiProgress::with_draw_target(target),
            running: Mutex::default(),
            cached: Mutex::default(),
        }
    }

    /// Takes the bars off the terminal.
    pub(crate) fn close(&self) {
        self.tell_cached();
        for (_, row) in self.running.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            if let Some(bar) = row.bar {
                bar.finish_and_clear();
            }
        }
        // A terminal that went away needs no cleaning.
        let _ = self.bars.clear();
    }

    /// What ran, what was reused, what it saved, and what to do next. `place` is where the pipeline is, as it was named.
    pub(crate) fn summary(&self, report: &RunReport, place: &Path) {
        let ui = self.ui;
        self.tell_cached();
        ui.say(&format!("{} in {} · run {}", counts(report), duration(report.seconds), report.run));
        for (to, from) in &report.exported {
            ui.say(&format!("{to} ← {from}"));
        }
        if let Some(verified) = verified(report) {
            ui.say(&verified);
        }
        if let Some(next) = next(report, place) {
            ui.say(&next);
        }
    }

    /// Tells of the results that were in the store, of many of them in one line.
    fn tell_cached(&self) {
        let cached = std::mem::take(&mut *self.cached.lock().unwrap_or_else(PoisonError::into_inner));
        if cached.len() <= FEW_CACHED {
            for (stage, created) in &cached {
                self.line(stage, "cached", "32", &format!("made {}", ago(*created)));
            }
            return;
        }
        let state = self.ui.paint("cached", "32");
        let all = count(cached.len(), "stage");
        self.above(|| self.ui.say(&format!("{all} {state} {}", self.ui.paint("(-v lists them)", "2"))));
    }

    fn line(&self, name: &str, state: &str, color: &str, rest: &str) {
        let line = format!("{}  {}  {rest}", pad(name, self.width), self.ui.paint(&pad(state, STATE_WIDTH), color));
        self.above(|| self.ui.say(line.trim_end()));
    }

    /// Prints above the bars.
    fn above(&self, print: impl FnOnce()) {
        if self.ui.is_live() { self.bars.suspend(print) } else { print() }
    }

    fn begin(&self, name: &str, fetches: bool) -> Row {
        let now = Instant::now();
        let bar = self.ui.is_live().then(|| {
            let bar = self.bars.add(ProgressBar::new(1));
            bar.set_style(self.style(false));
            bar.set_prefix(pad(name, self.width));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Row { bar, pace: Pace::new(), said: now, fetches, end_is_known: false, device: None }
    }

    /// A bar where the end is known, else a sign of life and the time.
    fn style(&self, end_is_known: bool) -> ProgressStyle {
        let progress = match (end_is_known, self.ui.has_color()) {
            (true, true) => "{bar:24.cyan/dim}",
            (true, false) => "{bar:24}",
            (false, true) => "{spinner:.cyan} {elapsed:22}",
            (false, false) => "{spinner} {elapsed:22}",
        };
        let template = format!("{{prefix}}  {progress}  {{wide_msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        style.progress_chars("━╸─")
    }

    fn advance(&self, name: &str, progress: &Progress, fetches: bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let row = running.entry(name.to_owned()).or_insert_with(|| self.begin(name, fetches));
        let text = row.pace.text(progress);
        match &row.bar {
            Some(bar) => {
                let end_is_known = progress.total > 0;
                if end_is_known != row.end_is_known {
                    row.end_is_known = end_is_known;
                    bar.set_style(self.style(end_is_known));
                }
                bar.set_length(progress.total.max(1));
                bar.set_position(progress.done.min(progress.total));
                bar.set_message(text);
            }
            None if row.said.elapsed() >= PLAIN_INTERVAL => {
                row.said = Instant::now();
                self.line(name, if fetches { "fetch" } else { "running" }, "36", &text);
            }
            None => {}
        }
    }

    fn end(&self, name: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Row { bar: Some(bar), .. }) = running.remove(name) {
            bar.finish_and_clear();
        }
    }

    /// The device is said together with why it was chosen, which comes next.
    fn remember_device(&self, stage: &str, device: String) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = running.get_mut(stage) {
            row.device = Some(device);
        }
    }

    fn device_of(&self, stage: &str) -> Option<String> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(stage)?.device.clone()
    }

    /// A source is fetched while nothing else is heard of: what comes next ends it.
    fn end_fetching(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, row| {
            if let (true, Some(bar)) = (row.fetches, &row.bar) {
                bar.finish_and_clear();
            }
            !row.fetches
        });
    }

    /// What a command printed, when it is asked for.
    fn output(&self, log: Option<&Path>) {
        let Some(log) = log.filter(|_| self.ui.is_verbose()) else { return };
        self.above(|| match fs_err::read(log) {
            Ok(text) => {
                for line in String::from_utf8_lossy(&text).lines() {
                    self.ui.say(&format!("  {} {line}", self.ui.paint("│", "2")));
                }
            }
            Err(error) => self.ui.say(&format!("  {} {error}", self.ui.paint("│", "2"))),
        });
    }

    fn verdict(&self, stage: &str, verdict: &Verdict, log: Option<&Path>) {
        match verdict {
            Verdict::Identical => self.line(stage, "same", "32", "made the same bytes"),
            Verdict::Differs { outputs } => {
                for Difference { output, kept, made, files } in outputs {
                    let files = if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) };
                    let digests = format!("{} → {}", kept.short(), made.short());
                    self.line(stage, "differs", "31", &format!("{output}{files}: {digests}"));
                }
            }
            Verdict::Failed { error } => self.above(|| {
                let state = self.ui.paint(&pad("differs", STATE_WIDTH), "31");
                self.ui.insist(&format!("{}  {state}  it failed this time", pad(stage, self.width)));
                self.failure(error, log);
            }),
        }
    }

    fn failure(&self, error: &StageError, log: Option<&Path>) {
        let ui = self.ui;
        // The log is named below.
        let place = error.place.as_ref().filter(|place| Some(place.file.as_path()) != log);
        let place = place.map(|place| match place.line {
            Some(line) => format!("{}:{line}: ", place.file.display()),
            None => format!("{}: ", place.file.display()),
        });
        ui.insist(&format!("  {}: {}{}", ui.paint(&error.code, "31"), place.unwrap_or_default(), error.message));
        for cause in &error.causes {
            ui.insist(&format!("    {cause}"));
        }
        if let Some(help) = &error.help {
            ui.insist(&format!("  {} {help}", ui.paint("help:", "36")));
        }
        let Some(log) = log else { return };
        let text = fs_err::read(log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return;
        }
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        // The error of a worker that died quotes its log already.
        if !last.iter().all(|line| error.causes.iter().any(|cause| cause == line)) {
            ui.insist(&format!("  {}", ui.paint("last lines of its log:", "36")));
            for line in last {
                ui.insist(&format!("    {line}"));
            }
        }
        ui.insist(&format!("  {} {}", ui.paint("full log:", "36"), log.display()));
    }
}

impl Observer for RunView {
    fn observe(&self, event: &RunEvent) {
        if !matches!(event, RunEvent::Fetching { .. }) {
            self.end_fetching();
        }
        if !matches!(event, RunEvent::Cached { .. }) {
            self.tell_cached();
        }
        match event {
            RunEvent::Fetching { source, done, total } => {
                let known = self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(source);
                if !known && !self.ui.is_live() {
                    self.line(source, "fetch", "36", "");
                }
                let progress =
                    Progress { done: *done, total: total.unwrap_or(0), unit: "bytes".into(), ..Progress::default() };
                self.advance(source, &progress, true);
            }
            RunEvent::Cached { stage, created, remote: false, .. } if !self.ui.is_verbose() => {
                let cached = &mut *self.cached.lock().unwrap_or_else(PoisonError::into_inner);
                cached.push((stage.clone(), *created));
            }
            RunEvent::Cached { stage, created, log, remote, .. } => {
                let whence = if *remote { ", from the remote cache" } else { "" };
                self.line(stage, "cached", "32", &format!("made {}{whence}", ago(*created)));
                self.output(log.as_deref());
            }
            RunEvent::Sharing { results } => {
                self.line(
                    "refit",
                    "sharing",
                    "36",
                    &format!("{}: waiting until others have it", count(*results, "result")),
                );
            }
            RunEvent::Shared { results, bytes: size } => {
                self.line(
                    "refit",
                    "sharing",
                    "32",
                    &format!("{} shared ({})", count(*results, "result"), bytes(*size)),
                );
            }
            RunEvent::Started { stage, reasons, .. } => {
                self.line(stage, "start", "36", &sentence(reasons));
                let row = self.begin(stage, false);
                self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.clone(), row);
            }
            RunEvent::Progress { stage, progress } => self.advance(stage, progress, false),
            RunEvent::Warning { stage, message } => {
                self.line(stage.as_deref().unwrap_or("refit"), "warning", "33", message);
            }
            RunEvent::Fact { stage, name, value } => {
                let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                match name.as_str() {
                    "device" => self.remember_device(stage, value),
                    "device.reason" => {
                        let device = self.device_of(stage).unwrap_or_default();
                        self.line(stage, "device", "34", &format!("{device}: {value}"));
                    }
                    "train.sharing" => self.line(stage, "packing", "34", &value),
                    _ if self.ui.is_verbose() => self.line(stage, "fact", "34", &format!("{name}: {value}")),
                    _ => {}
                }
            }
            RunEvent::Finished { stage, seconds, peak_memory, log, .. } => {
                self.end(stage);
                let peak = if *peak_memory > 0 { format!(", peak {}", bytes(*peak_memory)) } else { String::new() };
                self.line(stage, "done", "32", &format!("{}{peak}", duration(*seconds)));
                self.output(log.as_deref());
            }
            RunEvent::Failed { stage, error, log } => {
                self.end(stage);
                self.above(|| {
                    let state = self.ui.paint(&pad("failed", STATE_WIDTH), "31");
                    self.ui.insist(format!("{}  {state}", pad(stage, self.width)).trim_end());
                    self.failure(error, log.as_deref());
                });
            }
            RunEvent::Retrying { stage, error, log, attempt, retries, delay } => {
                self.end(stage);
                let again = format!("try {attempt} of {} failed; again in {}", retries + 1, duration(*delay));
                self.line(stage, "retry", "33", &format!("{again}: {}", error.message));
                if let Some(log) = log.as_ref().filter(|_| self.ui.is_verbose()) {
                    self.above(|| self.ui.say(&format!("  {} {}", self.ui.paint("full log:", "36"), log.display())));
                }
            }
            RunEvent::Blocked { stage, by } => {
                self.line(stage, "blocked", "33", &format!("needs {}", by.join(", ")));
            }
            RunEvent::Replanned { object } => self.line("refit", "damage", "31", &format!("{object}; making it anew")),
            RunEvent::Verifying { stage } => {
                self.line(stage, "verify", "36", "once more");
                let row = self.begin(stage, false);
                self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.clone(), row);
            }
            RunEvent::Verified { stage, verdict, log } => {
                self.end(stage);
                self.verdict(stage, verdict, log.as_deref());
            }
            RunEvent::Exported { .. } => {}
        }
    }
}

/// What to do next, if there is something to say.
fn next(report: &RunReport, place: &Path) -> Option<String> {
    let is_here = place == Path::new(".");
    let (argument, option) = match place.display() {
        _ if is_here => (String::new(), String::new()),
        place => (format!(" {place}"), format!(" --of {place}")),
    };
    let in_state = |state: StageState| report.stages.iter().filter(move |stage| stage.state == state);
    match report.status {
        RunStatus::Interrupted => Some("interrupted; what finished is kept: run again to go on".to_owned()),
        RunStatus::Failed => {
            let explain = in_state(StageState::Failed).next();
            let explain = explain.map(|stage| format!(" (`refit explain {}{argument}` tells more)", stage.name));
            Some(format!("what finished is kept: mend the cause{} and run again", explain.unwrap_or_default()))
        }
        // Of a sweep, its own table tells; where nothing ran, nothing is new.
        RunStatus::Ok if !report.sweep.is_empty() => None,
        RunStatus::Ok => {
            let made = in_state(StageState::Ran).next_back()?;
            let folder = if place.is_dir() { place } else { place.parent().unwrap_or(place) };
            let pages = report.exported.keys().map(|to| if is_here { PathBuf::from(to) } else { folder.join(to) });
            let mut pages = pages.map(|to| if to.is_dir() { to.join("report.html") } else { to });
            let page = pages.find(|to| to.is_file() && to.extension().is_some_and(|kind| kind == "html"));
            let result = match (page, made.outputs.keys().next()) {
                (Some(page), _) => format!("open {}; ", page.display()),
                (None, Some(port)) if report.exported.is_empty() => {
                    format!("`refit get {}.{port}{argument} --to DIR` copies a result out; ", made.name)
                }
                _ => String::new(),
            };
            Some(format!("next: {result}`refit runs show latest{option}` tells times, memory and scores"))
        }
    }
}

/// How many stages made the same bytes once more, if that was looked at.
fn verified(report: &RunReport) -> Option<String> {
    let verified = report.stages.iter().filter(|stage| stage.verdict.is_some()).count();
    let refuted: Vec<&str> =
        report.stages.iter().filter(|stage| stage.is_refuted()).map(|stage| stage.name.as_str()).collect();
    match (verified, refuted.is_empty()) {
        (0, _) => None,
        (_, true) => Some(format!("{} made the same bytes once more", count(verified, "stage"))),
        (_, false) => Some(format!(
            "not the same bytes once more: {}; what is kept stays. Seed or sort what varies, or declare \
             `deterministic: false`",
            refuted.join(", ")
        )),
    }
}

/// `3 ran, 4 cached (saved 2 min 05 s), 1 failed`.
fn counts(report: &RunReport) -> String {
    let states = [
        (StageState::Ran, "ran"),
        (StageState::Cached, "cached"),
        (StageState::Failed, "failed"),
        (StageState::Blocked, "blocked"),
        (StageState::Skipped, "skipped"),
    ];
    let parts = states.into_iter().filter_map(|(state, word)| {
        let stages = || report.stages.iter().filter(|stage| stage.state == state);
        let number = stages().count();
        let saved: f64 = stages().filter_map(|stage| stage.seconds).sum();
        let saving = if state == StageState::Cached { format!(" (saved {})", duration(saved)) } else { String::new() };
        (number > 0).then(|| format!("{number} {word}{saving}"))
    });
    parts.collect::<Vec<_>>().join(", ")
}
