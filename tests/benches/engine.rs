//! The engine beside ninja and Snakemake on one graph of short commands, in one run: `cargo bench -p refit-tests --bench engine`.
//!
//! The graph is ten stages wide; each stage copies its input and adds a line. Every tool gets the same commands and the
//! same number of slots. Tools that are not installed are left out. Times are medians over runs that take turns; what
//! counts is the ratio to ninja.
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fs_err as fs;
use refit_tests::binary;

const WIDTH: usize = 10;
/// Runs of each tool where nothing is to do.
const TURNS: usize = 15;
/// Runs of each tool from nothing.
const COLD_TURNS: usize = 3;
/// Below this age, a file may change without a trace in its times; engines that look closely take the long way.
const SETTLES: Duration = Duration::from_millis(2100);

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1000, 10_000] } else { sizes };
    for stages in sizes {
        let folder = tempfile::tempdir().unwrap();
        write_graph(folder.path(), stages);
        println!("{stages} stages");
        from_nothing(folder.path(), if stages > 2000 { 1 } else { COLD_TURNS });
        thread::sleep(SETTLES);
        nothing_to_do(folder.path());
    }
}

/// A tool, as it is called in the folder of the graph.
struct Tool {
    name: &'static str,
    arguments: Vec<String>,
    /// What it leaves behind.
    leaves: &'static [&'static str],
}

fn tools() -> Vec<Tool> {
    let refit = binary().display().to_string();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    vec![
        Tool { name: "refit", arguments: words(&format!("{refit} run -q -j 2")), leaves: &[".refit"] },
        Tool { name: "ninja", arguments: words("ninja --quiet -j 2"), leaves: &["nout", ".ninja_log", ".ninja_deps"] },
        Tool {
            name: "snakemake",
            arguments: words("snakemake --quiet all --cores 2"),
            leaves: &["sout", ".snakemake"],
        },
    ]
    .into_iter()
    .filter(|tool| is_there(&tool.arguments[0]))
    .collect()
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn from_nothing(folder: &Path, turns: usize) {
    let mut times: Vec<(&str, Vec<f64>)> = Vec::new();
    for _ in 0..turns {
        for tool in tools() {
            // Snakemake takes minutes for what the others do in seconds; its no-op below tells enough.
            if tool.name == "snakemake" && turns == 1 {
                continue;
            }
            for left in tool.leaves {
                let path = folder.join(left);
                let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
            fs::create_dir_all(folder.join("nout")).unwrap();
            fs::create_dir_all(folder.join("sout")).unwrap();
            note(&mut times, tool.name, time(folder, &tool.arguments));
        }
    }
    show("from nothing", &times);
}

fn nothing_to_do(folder: &Path) {
    let refit = binary().display().to_string();
    let mut commands: Vec<(&str, Vec<String>)> = vec![
        ("refit plan", vec![refit.clone(), "plan".into(), "-q".into()]),
        ("refit check", vec![refit.clone(), "check".into(), "-q".into()]),
        ("refit explain", vec![refit, "explain".into(), "s7".into(), "-q".into()]),
    ];
    commands.extend(tools().into_iter().map(|tool| (tool.name, tool.arguments)));
    let mut times: Vec<(&str, Vec<f64>)> = Vec::new();
    for turn in 0..TURNS {
        for (name, arguments) in &commands {
            if *name == "snakemake" && (turn > 0 || !folder.join(".snakemake").exists()) {
                continue;
            }
            let seconds = time(folder, arguments);
            // The first turn brings files into memory and, for refit, finds them settled.
            if turn > 0 || *name == "snakemake" {
                note(&mut times, name, seconds);
            }
        }
    }
    show("nothing to do", &times);
}

fn time(folder: &Path, arguments: &[String]) -> f64 {
    let mut command = Command::new(&arguments[0]);
    command.args(&arguments[1..]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(status.success(), "{arguments:?} ended with {status}");
    seconds
}

fn note<'n>(times: &mut Vec<(&'n str, Vec<f64>)>, name: &'n str, seconds: f64) {
    match times.iter_mut().find(|(known, _)| *known == name) {
        Some((_, all)) => all.push(seconds),
        None => times.push((name, vec![seconds])),
    }
}

fn show(what: &str, times: &[(&str, Vec<f64>)]) {
    let median = |all: &[f64]| {
        let mut sorted = all.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let ninja = times.iter().find(|(name, _)| *name == "ninja").map(|(_, all)| median(all));
    for (name, all) in times {
        let seconds = median(all);
        let ratio = ninja.map(|ninja| format!("{:6.2} × ninja", seconds / ninja)).unwrap_or_default();
        println!("  {what:14} {name:14} {:10.1} ms  {ratio}", seconds * 1000.0);
    }
}

fn write_graph(folder: &Path, stages: usize) {
    fs::write(folder.join("src.txt"), "hello\n").unwrap();
    let mut refit = "name: graph\nsources: { src: src.txt }\nstages:\n".to_owned();
    let mut ninja = "rule cat\n  command = cat $in > $out && echo $i >> $out\n".to_owned();
    let outputs: Vec<String> = (0..stages).map(|i| format!("'sout/{i}.txt'")).collect();
    let mut snakemake = format!("rule all:\n    input: {}\n", outputs.join(", "));
    for i in 0..stages {
        let before = i.checked_sub(WIDTH);
        let port = before.map_or_else(|| "src".to_owned(), |before| format!("s{before}.out"));
        writeln!(
            refit,
            "  s{i}: {{ uses: exec, inputs: {{ x: {port} }}, with: {{ run: 'cat $x > $out && echo {i} >> $out', outputs: {{ out: out.txt }} }} }}"
        )
        .unwrap();
        let file =
            |folder: &str| before.map_or_else(|| "src.txt".to_owned(), |before| format!("{folder}/{before}.txt"));
        writeln!(ninja, "build nout/{i}.txt: cat {}\n  i = {i}", file("nout")).unwrap();
        let (input, shell) = (file("sout"), format!("cat {{input}} > {{output}} && echo {i} >> {{output}}"));
        writeln!(snakemake, "rule s{i}:\n    input: '{input}'\n    output: 'sout/{i}.txt'\n    shell: '{shell}'")
            .unwrap();
    }
    fs::write(folder.join("pipeline.yaml"), refit).unwrap();
    fs::write(folder.join("build.ninja"), ninja).unwrap();
    fs::write(folder.join("Snakefile"), snakemake).unwrap();
}
