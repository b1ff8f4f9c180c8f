//! `run --watch`: an edit of anything that a run reads is followed by another run, and nothing but a signal ends it.

use std::{
    fs::File,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use refit_tests::Sandbox;
use rustix::process::{Pid, Signal, kill_process};

/// A run that watches, and what it says.
struct Watching<'s> {
    sandbox: &'s Sandbox,
    process: Child,
}

impl<'s> Watching<'s> {
    fn start(sandbox: &'s Sandbox, arguments: &[&str]) -> Self {
        let said = File::create(sandbox.path("said")).unwrap();
        let mut command = sandbox.command(["run", "--watch"].iter().chain(arguments));
        let process = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
        Self { sandbox, process }
    }

    fn said(&self) -> String {
        fs_err::read_to_string(self.sandbox.path("said")).unwrap()
    }

    /// Waits until something was said so often, and returns all that was said since the last run began.
    fn until(&self, text: &str, times: usize) -> String {
        let begun = Instant::now();
        loop {
            let said = self.said();
            if said.matches(text).count() >= times {
                return said.rsplit("running again").next().unwrap().to_owned();
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "no {text:?} {times} times:\n{said}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until so many runs are over.
    fn runs(&self, number: usize) -> String {
        self.until("Ctrl-C ends", number)
    }

    fn end(mut self, signal: Signal) -> String {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(130), "{}", self.said());
        self.said()
    }
}

const PIPELINE: &str = "\
name: watched
sources: { a: data/a.txt, all: data/all }
stages:
  copy: { uses: exec, inputs: { a: a }, with: { run: 'cat $a > $out', outputs: { out: out.txt } } }
  list: { uses: exec, inputs: { all: all }, with: { run: 'ls $all > $out', outputs: { out: out.txt } } }
";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.txt", "1");
    sandbox.write("data/all/x", "1");
    sandbox.write("pipeline.yaml", PIPELINE);
    sandbox
}

#[test]
fn what_a_run_reads_is_followed() {
    let sandbox = sandbox();
    let watching = Watching::start(&sandbox, &[]);
    watching.runs(1);
    // Between two runs, the store is free.
    sandbox.refit(["run", "--no-wait"]).expect_code(0);

    sandbox.write("data/a.txt", "2");
    let said = watching.runs(2);
    assert!(said.contains("copy  done") && said.contains("1 ran, 1 cached"), "{said}");
    sandbox.write("data/all/y", "1");
    let said = watching.runs(3);
    assert!(said.contains("list  done") && said.contains("1 ran, 1 cached"), "{said}");
    sandbox.write("pipeline.yaml", PIPELINE.replace("ls $all", "ls -l $all"));
    watching.runs(4);
    sandbox.write(".refit/config.toml", "jobs = 3\n");
    let said = watching.runs(5);
    assert!(said.contains("2 cached"), "{said}");

    let said = watching.end(Signal::INT);
    for told in
        ["data/a.txt changed, ", "data/all/y is new, ", "pipeline.yaml changed, ", ".refit/config.toml is new, "]
    {
        assert!(said.contains(told), "{told}: {said}");
    }
    // The run that was made beside it, and its own ones.
    let runs = sandbox.refit(["runs", "ls", "--json"]).expect_code(0).json();
    assert_eq!(runs["runs"].as_array().map_or(0, Vec::len), 6, "{runs}");
}

#[test]
fn a_change_during_a_run_is_not_lost() {
    let sandbox = sandbox();
    let [mark, go] = ["mark", "go"].map(|name| sandbox.path(name).display().to_string());
    let waits = format!("cat $a > $out; touch {mark}; while [ ! -e {go} ]; do sleep 0.02; done");
    let text = PIPELINE.replace("cat $a > $out", &waits);
    sandbox.write("pipeline.yaml", text);
    let watching = Watching::start(&sandbox, &["--stage", "copy"]);
    while !sandbox.path("mark").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    sandbox.write("data/a.txt", "2");
    sandbox.write("go", "");
    // The first run notices that its input was edited; the second one is about the new content.
    let said = watching.runs(2);
    assert!(said.contains("1 ran"), "{said}");
    let said = watching.end(Signal::TERM);
    assert!(said.contains("data/a.txt changed, running again"), "{said}");
}

#[test]
fn mistakes_and_failures_end_nothing() {
    let sandbox = sandbox();
    let watching = Watching::start(&sandbox, &[]);
    watching.runs(1);
    sandbox.write("pipeline.yaml", PIPELINE.replace("uses: exec", "uses: exek"));
    let said = watching.runs(2);
    assert!(said.contains("exek"), "{said}");
    // Also what it read before is watched on.
    sandbox.write("data/a.txt", "3");
    let said = watching.runs(3);
    assert!(said.contains("exek"), "{said}");
    sandbox.write("pipeline.yaml", PIPELINE.replace("cat $a > $out", "echo no >&2; exit 7"));
    let said = watching.runs(4);
    assert!(said.contains("failed"), "{said}");
    sandbox.write(".refit/config.toml", "jobs = many\n");
    watching.until("config.toml", 2);
    fs_err::remove_file(sandbox.path(".refit/config.toml")).unwrap();
    watching.runs(5);
    sandbox.write("pipeline.yaml", PIPELINE);
    let said = watching.runs(6);
    assert!(said.contains("1 ran, 1 cached"), "{said}");
    fs_err::remove_file(sandbox.path("data/a.txt")).unwrap();
    let said = watching.runs(7);
    assert!(said.contains("data/a.txt"), "{said}");
    sandbox.write("data/a.txt", "3");
    let said = watching.runs(8);
    assert!(said.contains("2 cached"), "{said}");
    watching.end(Signal::INT);
}

#[test]
fn a_signal_during_a_run_ends_it_in_order() {
    let sandbox = sandbox();
    sandbox.write("pipeline.yaml", PIPELINE.replace("cat $a > $out", "sleep 60; cat $a > $out"));
    let watching = Watching::start(&sandbox, &["-S", "name=held"]);
    watching.until("copy  start", 1);
    let said = watching.end(Signal::INT);
    assert!(said.contains("interrupted") && !said.contains("Ctrl-C ends"), "{said}");
}

#[test]
fn sweeps_are_watched_and_what_makes_no_sense_is_refused() {
    let sandbox = sandbox();
    sandbox.write(
        "pipeline.yaml",
        "name: swept\nsources: { a: data/a.txt }\nstages:\n  \
         copy: { uses: exec, inputs: { a: a }, with: { run: 'cat $a > $out; echo ${params.x}', outputs: { out: o } } }\n\
         params: { x: 1 }\n",
    );
    let watching = Watching::start(&sandbox, &["-S", "params.x=1,2", "--force"]);
    watching.runs(1);
    sandbox.write("data/a.txt", "2");
    let said = watching.runs(2);
    assert!(said.contains("2 ran"), "{said}");
    // What is forced is forced once.
    sandbox.write("data/a.txt", "1");
    let said = watching.runs(3);
    assert!(said.contains("2 cached"), "{said}");
    watching.end(Signal::INT);

    for other in [&["--json"][..], &["--from-run", "last"], &["-n"], &["--name", "x"]] {
        let outcome = sandbox.refit(["run", "--watch"].iter().chain(other)).expect_code(2);
        assert!(outcome.stderr.contains("cannot be used with"), "{}", outcome.stderr);
    }
    sandbox.refit(["run", "--watch", "--stage", "cpoy"]).expect_code(2);
}
