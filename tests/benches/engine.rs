//! The engine beside ninja and Snakemake on one graph of short commands, in one run: `cargo bench -p refit-tests --bench engine`.
//!
//! The graph is ten stages wide; each stage copies its input and adds a line. Every tool gets the same commands and the
//! same number of slots. Tools that are not installed are left out. Times are medians over runs that take turns; what
//! counts is the ratio to ninja. Memory is the most that the tool, or a process it waited for, had at a time.
//!
//! Then a large file is hashed beside b3sum (`REFIT_BENCH_GB`, 4 by default), and a thousand runs are listed. Numbers after
//! `--` are other sizes of the graph; `graph`, `hashing` and `listing` choose what is measured.
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]
#![allow(clippy::print_stdout, reason = "the result of a bench is what it prints")]

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fs_err as fs;
use refit_tests::binary;
use wait4::Wait4;

const WIDTH: usize = 10;
/// Runs of each tool where nothing is to do.
const TURNS: usize = 15;
/// Runs of each tool from nothing.
const COLD_TURNS: usize = 3;
/// Below this age, a file may change without a trace in its times; engines that look closely take the long way.
const SETTLES: Duration = Duration::from_millis(2100);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let is_chosen = |part: &str| arguments.iter().all(|chosen| chosen.parse::<usize>().is_ok() || chosen == part);
    if is_chosen("graph") {
        graphs(if sizes.is_empty() { &[1000, 10_000] } else { &sizes });
    }
    if is_chosen("hashing") && sizes.is_empty() {
        hashing();
    }
    if is_chosen("listing") && sizes.is_empty() {
        listing();
    }
}

fn graphs(sizes: &[usize]) {
    for &stages in sizes {
        let folder = tempfile::tempdir().unwrap();
        write_graph(folder.path(), stages);
        println!("{stages} stages");
        from_nothing(folder.path(), if stages > 2000 { 1 } else { COLD_TURNS });
        thread::sleep(SETTLES);
        nothing_to_do(folder.path());
    }
}

/// A file that nobody has measured yet, beside a tool that does nothing but hash it. It lies in memory if there is room.
fn hashing() {
    const GIGABYTE: u64 = 1 << 30;
    let gigabytes = std::env::var("REFIT_BENCH_GB").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let folder = tempfile::tempdir_in(binary().parent().unwrap()).unwrap();
    let mut file = fs::File::create(folder.path().join("large")).unwrap();
    let piece: Vec<u8> = (0..1_u32 << 18).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    for _ in 0..gigabytes * GIGABYTE / piece.len() as u64 {
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
    fs::write(
        folder.path().join("pipeline.yaml"),
        "name: large\nsources: { large: large }\nstages:\n  \
         s: { uses: exec, inputs: { x: large }, with: { run: 'cp $x $out', outputs: { out: out } } }\n",
    )
    .unwrap();
    let mut tools = vec![("refit plan", vec![binary().display().to_string(), "plan".into(), "-q".into()])];
    if is_there("b3sum") {
        tools.push(("b3sum", vec!["b3sum".into(), "large".into()]));
    }
    let mut times = Times::default();
    for turn in 0..=COLD_TURNS {
        for (name, arguments) in &tools {
            let took = time(folder.path(), arguments);
            if turn > 0 {
                times.note(name, took);
            }
        }
    }
    println!("{gigabytes} GiB to hash");
    let other = times.median("b3sum");
    for (name, _) in &tools {
        let seconds = times.median(name).unwrap();
        let rate = gigabytes as f64 / seconds;
        let ratio = other.map(|other| format!("{:4.0} % of b3sum's rate", 100.0 * other / seconds)).unwrap_or_default();
        println!("  {name:14} {rate:6.2} GiB/s  {ratio}");
    }
}

/// The records of a thousand runs.
fn listing() {
    const RUNS: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    write_graph(folder.path(), WIDTH);
    let refit = binary().display().to_string();
    let run = [refit.clone(), "run".into(), "-q".into()];
    time(folder.path(), &run);
    thread::sleep(SETTLES);
    for _ in 1..RUNS {
        time(folder.path(), &run);
    }
    let mut times = Times::default();
    for _ in 0..TURNS {
        let list = [refit.clone(), "runs".into(), "--limit".into(), "0".into(), "--json".into()];
        times.note("refit runs", time(folder.path(), &list));
    }
    println!("{RUNS} runs");
    times.show("to list");
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
    let mut times = Times::default();
    for turn in 0..turns {
        for tool in tools() {
            // Snakemake takes minutes for what the others do in seconds; its no-op below tells enough.
            if tool.name == "snakemake" && turns == 1 {
                continue;
            }
            for left in tool.leaves {
                // Deleted files slow ext4 down for a minute: it looks at each of them before it makes a new one.
                let _ = fs::rename(folder.join(left), folder.join(format!("{left}-before-{turn}")));
            }
            fs::create_dir_all(folder.join("nout")).unwrap();
            fs::create_dir_all(folder.join("sout")).unwrap();
            times.note(tool.name, time(folder, &tool.arguments));
        }
    }
    times.show("from nothing");
}

fn nothing_to_do(folder: &Path) {
    let refit = binary().display().to_string();
    let mut commands: Vec<(&str, Vec<String>)> = vec![
        ("refit plan", vec![refit.clone(), "plan".into(), "-q".into()]),
        ("refit check", vec![refit.clone(), "check".into(), "-q".into()]),
        ("refit explain", vec![refit, "explain".into(), "s7".into(), "-q".into()]),
    ];
    commands.extend(tools().into_iter().map(|tool| (tool.name, tool.arguments)));
    let mut times = Times::default();
    for turn in 0..TURNS {
        for (name, arguments) in &commands {
            if *name == "snakemake" && (turn > 0 || !folder.join(".snakemake").exists()) {
                continue;
            }
            let took = time(folder, arguments);
            // The first turn brings files into memory and, for refit, finds them settled.
            if turn > 0 || *name == "snakemake" {
                times.note(name, took);
            }
        }
    }
    times.show("nothing to do");
}

/// What a tool took: seconds, and bytes of memory.
type Took = (f64, u64);

fn time(folder: &Path, arguments: &[String]) -> Took {
    let mut command = Command::new(&arguments[0]);
    command.args(&arguments[1..]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let ended = command.spawn().unwrap().wait4().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(ended.status.success(), "{arguments:?} ended with {}", ended.status);
    (seconds, ended.rusage.maxrss)
}

/// By tool, in the order in which they were first measured.
#[derive(Default)]
struct Times<'n>(Vec<(&'n str, Vec<Took>)>);

impl<'n> Times<'n> {
    fn note(&mut self, name: &'n str, took: Took) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(took),
            None => self.0.push((name, vec![took])),
        }
    }

    fn median(&self, name: &str) -> Option<f64> {
        let (_, all) = self.0.iter().find(|(known, _)| *known == name)?;
        let mut sorted: Vec<f64> = all.iter().map(|(seconds, _)| *seconds).collect();
        sorted.sort_by(f64::total_cmp);
        Some(sorted[sorted.len() / 2])
    }

    fn show(&self, what: &str) {
        let ninja = self.median("ninja");
        for (name, all) in &self.0 {
            let seconds = self.median(name).unwrap();
            let ratio = ninja.map(|ninja| format!("{:6.2} × ninja", seconds / ninja)).unwrap_or_default();
            let memory = all.iter().map(|(_, bytes)| *bytes).max().unwrap() as f64 / 1e6;
            println!("  {what:14} {name:14} {:10.1} ms {memory:7.1} MB  {ratio}", seconds * 1000.0);
        }
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
