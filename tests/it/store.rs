//! The store under several engines at once, beside readers, on full disks, and on its way to another machine.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use refit_tests::{Outcome, Sandbox, SmallDisk, binary, write_questions};
use serde_json::{Value, json};
use walkdir::WalkDir;

/// Three steps that need no model.
fn pipeline(name: &str, seed: u32) -> String {
    format!(
        "name: {name}
sources: {{ faq: faq.jsonl }}
stages:
  clean: {{ uses: clean, inputs: {{ records: faq }} }}
  split: {{ uses: split, inputs: {{ records: clean.records }}, with: {{ test: 4, seed: {seed} }} }}
  again: {{ uses: clean, inputs: {{ records: split.train }} }}
"
    )
}

fn small() -> Sandbox {
    let sandbox = Sandbox::new();
    write_questions(&sandbox.path("faq.jsonl"), 40);
    sandbox.write("pipeline.yaml", pipeline("small", 7));
    sandbox
}

fn run_id(outcome: &Outcome) -> String {
    outcome.json()["run"].as_str().unwrap().to_owned()
}

/// Starts a run whose report can be read at the end.
fn start(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// How often the step of each key ran, over several runs.
fn times_run(outcomes: &[Outcome]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for outcome in outcomes {
        for stage in outcome.json()["stages"].as_array().unwrap() {
            *times.entry(stage["key"].as_str().unwrap().to_owned()).or_default() +=
                usize::from(stage["state"] == "ran");
        }
    }
    times
}

#[test]
fn engines_at_once_do_no_work_twice() {
    for engines in [2, 8] {
        let sandbox = Sandbox::new();
        write_questions(&sandbox.path("faq.jsonl"), 40);
        // All begin with the same step; every second one goes on alike.
        let names: Vec<String> = (0..engines).map(|number| format!("{number}.yaml")).collect();
        for (number, name) in names.iter().enumerate() {
            sandbox.write(name, pipeline(&format!("engine {number}"), number as u32 / 2));
        }
        // Another pipeline makes the store; then nobody begins before all are there and wait.
        sandbox.write(
            "pipeline.yaml",
            "name: other\nstages:\n  a: { uses: exec, with: { run: 'echo > $o', outputs: { o: o } } }\n",
        );
        sandbox.refit(["run"]).expect_code(0);
        let held = hold(&sandbox);
        let said = |name: &String| sandbox.path(format!("{name}.said"));
        let begin = |name: &String| {
            let mut command = sandbox.command(["run", name, "--json"]);
            command.stdout(Stdio::piped()).stderr(File::create(said(name)).unwrap()).spawn().unwrap()
        };
        let running: Vec<Child> = names.iter().map(begin).collect();
        let waits = |name: &String| fs_err::read_to_string(said(name)).unwrap().contains("waiting for the store");
        while !names.iter().all(waits) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(held);
        let ended: Vec<Outcome> = running.into_iter().map(|child| end(child).expect_code(0)).collect();
        let times = times_run(&ended);
        assert_eq!(times.len(), 1 + engines, "{times:?}");
        assert!(times.values().all(|times| *times == 1), "{times:?}");
        sandbox.refit(["cache", "verify"]).expect_code(0);
        assert_eq!(
            sandbox.refit(["runs", "--json"]).expect_code(0).json()["runs"].as_array().unwrap().len(),
            engines + 1
        );
    }
}

/// Holds the store as a run does.
fn hold(sandbox: &Sandbox) -> File {
    let lock = File::options().write(true).open(sandbox.path(".refit/lock")).unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn a_reader_never_waits() {
    let sandbox = small();
    let run = run_id(&sandbox.refit(["run", "--json"]).expect_code(0));
    let _held = hold(&sandbox);
    let begun = Instant::now();
    for arguments in [
        &["plan", "--json"][..],
        &["explain", "split"],
        &["runs"],
        &["runs", "show", &run],
        &["graph"],
        &["get", "clean.records", "--to", "copy"],
        &["cache"],
        &["cache", "verify"],
        &["cache", "pin", &run],
        &["cache", "pins"],
        &["cache", "unpin", &run],
        &["cache", "export", &run, "--to", "run.refit"],
        &["doctor", "--json"],
    ] {
        sandbox.refit(arguments).expect_code(0);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for arguments in [&["run", "--no-wait"][..], &["cache", "gc", "--keep-runs", "0"], &["runs", "rm", &run]] {
        sandbox.refit(arguments).expect_code(5);
    }
}

#[test]
fn a_killed_holder_lets_go_at_once() {
    let sandbox = small();
    for round in 0..8 {
        let seed = format!("stages.split.with.seed={}", 100 + round);
        let mut engine = sandbox.spawn(["run", "-S", &seed]);
        // Some are killed while they hold the store, some before, some after.
        let deadline = Instant::now() + Duration::from_millis(5 * round);
        while engine.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        engine.kill().unwrap();
        engine.wait().unwrap();
        sandbox.refit(["run", "--no-wait", "-S", &seed]).expect_code(0);
    }
    sandbox.refit(["cache", "verify"]).expect_code(0);
}

#[test]
fn gc_beside_running_engines_takes_nothing_from_them() {
    let sandbox = small();
    let mut running: Vec<Child> = Vec::new();
    for seed in 0..6 {
        let seed = format!("stages.split.with.seed={seed}");
        running.push(start(&sandbox, &["run", "--json", "-S", &seed]));
    }
    let mut dropped = 0;
    while running.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        let gc = sandbox.refit(["cache", "gc", "--keep-runs", "1", "--json"]);
        match gc.code {
            Some(0) => dropped += gc.json()["results"].as_array().unwrap().len(),
            // In use, or not made yet.
            Some(5 | 1) => {}
            _ => panic!("{gc:?}"),
        }
    }
    for child in running {
        end(child).expect_code(0);
    }
    sandbox.refit(["cache", "verify"]).expect_code(0);
    let last = sandbox.refit(["runs", "--json"]).expect_code(0).json()["runs"][0].clone();
    let seed = last["overrides"][0].as_str().unwrap().to_owned();
    let again = sandbox.refit(["run", "--json", "-S", &seed]).expect_code(0);
    assert_eq!(again.stages("ran"), Vec::<String>::new(), "{dropped} dropped: {}", again.stdout);
}

#[test]
fn gc_says_what_and_how_much_and_leaves_what_is_pinned() {
    let sandbox = small();
    sandbox.refit(["run"]).expect_code(0);
    assert!(sandbox.refit(["cache", "gc"]).expect_code(2).stderr.contains("--keep-runs"));
    sandbox.refit(["cache", "pin", "split.test"]).expect_code(0);
    assert!(sandbox.refit(["cache", "pin", "split.tst"]).expect_code(2).stderr.contains("train"));
    let stale = sandbox.refit(["cache", "pin", "split", "-S", "stages.split.with.seed=9"]).expect_code(10);
    assert!(stale.stderr.contains("parameter seed: 7 → 9"), "{}", stale.stderr);

    let dry = sandbox.refit(["cache", "gc", "--keep-runs", "0", "-n"]).expect_code(0);
    assert_eq!(dry.stdout.lines().count(), 2, "{}", dry.stdout);
    assert!(dry.stdout.contains("clean") && dry.stderr.contains("would free"), "{dry:?}");
    assert_eq!(sandbox.refit(["plan", "--json"]).expect_code(0).stages("cached").len(), 3);
    let done = sandbox.refit(["cache", "gc", "--keep-runs", "0", "--json"]).expect_code(0).json();
    assert_eq!((done["results"].as_array().unwrap().len(), done["kept_results"].as_u64()), (2, Some(1)));
    assert!(done["freed_bytes"].as_u64().unwrap() > 1000);
    let again = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(again.stages("cached"), ["split"]);
    sandbox.refit(["cache", "unpin", "split.test"]).expect_code(0);
    assert!(sandbox.refit(["cache", "unpin", "split.test"]).expect_code(2).stderr.contains("nothing is pinned"));
}

#[test]
fn verify_names_what_is_lost_and_the_command_that_makes_it_again() {
    let sandbox = small();
    sandbox.refit(["run", "-S", "stages.split.with.seed=8"]).expect_code(0);
    let object = largest_object(&sandbox);
    let mut bytes = fs_err::read(&object).unwrap();
    bytes[0] ^= 1;
    fs_err::remove_file(&object).unwrap();
    fs_err::write(&object, bytes).unwrap();
    let verified = sandbox.refit(["cache", "verify", "--json"]).expect_code(6).json();
    let lost = verified["lost"].as_array().unwrap().clone();
    assert!(!lost.is_empty(), "{verified}");
    let command = lost[0]["command"].as_str().unwrap().to_owned();
    let stage = lost[0]["stage"].as_str().unwrap();
    assert!(
        command.contains("-S stages.split.with.seed=8") && command.ends_with(&format!("--to {stage}")),
        "{command}"
    );
    // What it says works as it is.
    let mut shell = Command::new("sh");
    let path = std::env::join_paths([binary().parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    shell.args(["-c", &command]).current_dir(sandbox.path("")).env("PATH", path);
    Outcome::of(shell).expect_code(0);
    sandbox.refit(["cache", "verify"]).expect_code(0);
}

fn largest_object(sandbox: &Sandbox) -> PathBuf {
    let files = WalkDir::new(sandbox.path(".refit/objects")).into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    files.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().into_path()
}

#[test]
fn another_machine_goes_on_from_an_exported_run() {
    let sandbox = small();
    let run = run_id(&sandbox.refit(["run", "--json"]).expect_code(0));
    let exported = sandbox.refit(["cache", "export", &run, "--to", "run.refit", "--json"]).expect_code(0).json();
    assert_eq!(exported["results"], 3);
    sandbox.refit(["cache", "export", &run, "--to", "run.refit"]).expect_code(1);
    sandbox.refit(["cache", "export", "split.train", "--to", "split.refit"]).expect_code(0);

    let fresh = |file: &str| {
        let other = small();
        fs_err::copy(sandbox.path(file), other.path("come.refit")).unwrap();
        other
    };
    let other = fresh("run.refit");
    let imported = other.refit(["cache", "import", "come.refit", "--json"]).expect_code(0).json();
    assert_eq!((&imported["run"], &imported["new_results"]), (&json!(run), &json!(3)));
    let went_on = other.refit(["run", "--json"]).expect_code(0);
    assert_eq!(went_on.stages("cached").len(), 3, "{}", went_on.stdout);
    other.refit(["runs", "show", &run]).expect_code(0);

    // A result comes with all that it was made from.
    let other = fresh("split.refit");
    other.refit(["cache", "import", "come.refit"]).expect_code(0);
    let went_on = other.refit(["run", "--json"]).expect_code(0);
    assert_eq!(went_on.stages("ran"), ["again"]);

    // From a pipe, and cut off.
    let bytes = fs_err::read(sandbox.path("run.refit")).unwrap();
    let other = small();
    other.write("half.refit", &bytes[..bytes.len() / 2]);
    let refused = other.refit(["cache", "import", "half.refit"]).expect_code(1);
    assert!(refused.stderr.contains("cut off"), "{}", refused.stderr);
    let mut piped = other.command(["cache", "import", "-"]);
    piped.stdin(File::open(sandbox.path("run.refit")).unwrap());
    Outcome::of(piped).expect_code(0);
    assert_eq!(other.refit(["run", "--json"]).expect_code(0).stages("cached").len(), 3);
    other.refit(["cache", "import", "nowhere.refit"]).expect_code(1);
}

#[test]
fn a_lost_index_is_rebuilt_and_that_is_said() {
    let sandbox = small();
    sandbox.refit(["run"]).expect_code(0);
    let index = sandbox.path(".refit/index");
    let change_all = |change: &dyn Fn(&mut Vec<u8>)| {
        for entry in WalkDir::new(&index).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
            let mut bytes = fs_err::read(entry.path()).unwrap();
            change(&mut bytes);
            fs_err::write(entry.path(), bytes).unwrap();
        }
    };
    let damages: [&dyn Fn(); 4] = [
        &|| fs_err::remove_dir_all(&index).unwrap(),
        &|| change_all(&|bytes| bytes.truncate(bytes.len() / 2)),
        &|| {
            change_all(&|bytes| {
                for (place, byte) in bytes.iter_mut().enumerate() {
                    *byte = ((place * 7919) >> 3) as u8;
                }
            });
        },
        &|| change_all(&|bytes| bytes.iter_mut().take(600).step_by(50).for_each(|byte| *byte ^= 16)),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let next = sandbox.refit(["run", "--json"]).expect_code(0);
        assert_eq!(next.stages("cached").len(), 3, "{number}: {}", next.stdout);
        assert!(next.stderr.contains("index of the store"), "{number}: nothing said: {}", next.stderr);
        let after = sandbox.refit(["run", "--json"]).expect_code(0);
        assert!(!after.stderr.contains("index of the store"), "{number}: {}", after.stderr);
    }
}

/// Runs with a store that may not grow beyond a size; returns what was said when it did not fit.
fn squeezed(run: &dyn Fn() -> Outcome) -> Option<Outcome> {
    let outcome = run();
    assert!(matches!(outcome.code, Some(0 | 1 | 3)), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.contains("defect"), "{}", outcome.stderr);
    (outcome.code != Some(0)).then_some(outcome)
}

#[test]
fn the_disk_may_be_full_at_any_write() {
    let sandbox = small();
    let at = sandbox.path("disk");
    let arguments =
        ["run".to_owned(), "--json".to_owned(), "--store".to_owned(), at.join("store").display().to_string()];
    let mut failed = 0;
    let Some(disk) = SmallDisk::mount(&at, "1m") else {
        return without_mounting(&sandbox);
    };
    // From no room at all to almost enough, in steps of a page or a few.
    for size in (8..400).step_by(20) {
        let _ = fs_err::remove_dir_all(at.join("store"));
        disk.remount(&format!("size={size}k"));
        if let Some(outcome) = squeezed(&|| sandbox.refit(&arguments)) {
            failed += 1;
            assert!(outcome.stderr.contains("full") || outcome.stderr.contains("No space left"), "{}", outcome.stderr);
        }
        // What is there is whole, and with room the run goes on.
        disk.remount("size=8m");
        sandbox.refit(&arguments).expect_code(0);
        sandbox.refit(["cache", "verify", "--store", &arguments[3]]).expect_code(0);
    }
    assert!(failed > 3, "{failed}");
}

/// What goes out of the store is there whole or not at all, and what was there before stays.
#[test]
fn copies_for_the_user_on_a_full_disk_fail_by_name_and_leave_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "pipeline.yaml",
        "name: large
params: { size: 1000 }
stages:
  big: { uses: exec, with: { run: 'head -c ${params.size} /dev/zero > $out', outputs: { out: o } } }
outputs: { disk/copy: big.out }
",
    );
    let at = sandbox.path("disk");
    // Where nothing may be mounted, there is no small disk to fill.
    let Some(disk) = SmallDisk::mount(&at, "64k") else { return };
    let there = || {
        let names = fs_err::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let size = |name: &str| fs_err::metadata(at.join(name)).unwrap().len();
    sandbox.refit(["run"]).expect_code(0);
    let large = ["-S", "params.size=1000000"];
    let commands: [&[&str]; 3] =
        [&["run"], &["get", "big.out", "--to", "disk/got"], &["cache", "export", "big.out", "--to", "disk/run.refit"]];
    for command in commands {
        let failed = sandbox.refit([command, &large].concat());
        assert_eq!(failed.code, Some(1), "{command:?}: {}", failed.stderr);
        assert!(failed.stderr.contains("full") || failed.stderr.contains("No space left"), "{}", failed.stderr);
        assert!(failed.stderr.contains("disk/"), "the place is named: {}", failed.stderr);
        assert_eq!((there(), size("copy")), (vec!["copy".to_owned()], 1000), "{command:?}");
    }
    disk.remount("size=8m");
    for command in commands {
        sandbox.refit([command, &large].concat()).expect_code(0);
    }
    assert_eq!(
        (there(), size("copy"), size("got")),
        (["copy", "got", "run.refit"].map(str::to_owned).to_vec(), 1_000_000, 1_000_000)
    );
    sandbox.refit(["cache", "verify"]).expect_code(0);
}

/// A file with holes takes no room, and is read like any other. With `REFIT_TEST_LARGE`, 10 GB of it.
#[test]
fn a_very_large_artifact_goes_from_stage_to_stage() {
    let bytes: u64 = if std::env::var_os("REFIT_TEST_LARGE").is_some() { 10_000_000_000 } else { 1 << 30 };
    let sandbox = Sandbox::new();
    sandbox.write(
        "pipeline.yaml",
        format!(
            "name: large
stages:
  make: {{ uses: exec, with: {{ run: 'printf begin > $out; truncate -s {} $out; printf end >> $out', outputs: {{ out: o }} }} }}
  read: {{ uses: exec, inputs: {{ in: make.out }}, with: {{ run: 'stat -Lc %s $in > $out; head -c 5 $in >> $out; tail -c 3 $in >> $out', outputs: {{ out: o }} }} }}
outputs: {{ out: read.out }}
",
            bytes - 3
        ),
    );
    let run = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(run.stage("make")["outputs"]["out"]["bytes"], bytes);
    assert_eq!(fs_err::read_to_string(sandbox.path("out")).unwrap(), format!("{bytes}\nbeginend"));
    assert_eq!(sandbox.refit(["run", "--json"]).expect_code(0).stages("cached"), ["make", "read"]);
    // Whoever reads it anew has every byte checked.
    sandbox.refit(["run", "--force=read"]).expect_code(0);
    sandbox.refit(["cache", "verify"]).expect_code(0);
}

/// Where nothing may be mounted, no file may grow beyond a size.
fn without_mounting(sandbox: &Sandbox) {
    for blocks in [0, 1, 2, 4, 8, 16, 64] {
        let _ = fs_err::remove_dir_all(sandbox.path(".refit"));
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec {} run --json", binary().display());
        squeezed(&|| {
            let mut shell = Command::new("sh");
            shell.args(["-c", &limited]).current_dir(sandbox.path(""));
            Outcome::of(shell)
        });
        sandbox.refit(["run"]).expect_code(0);
        sandbox.refit(["cache", "verify"]).expect_code(0);
    }
}

#[test]
fn no_file_may_grow_beyond_a_size() {
    without_mounting(&small());
}

#[test]
fn names_of_every_kind_pass_through_the_store() {
    let sandbox = Sandbox::new();
    let folder = "学习 资料/it's a \"folder\"";
    write_questions(&sandbox.path("faq.jsonl"), 40);
    sandbox.write(&format!("{folder}/问题 1.jsonl"), fs_err::read(sandbox.path("faq.jsonl")).unwrap());
    sandbox.write(
        &format!("{folder}/pipeline.yaml"),
        "name: 帮助 台\nsources: { faq: 问题 1.jsonl }\nstages:\n  clean: { uses: clean, inputs: { records: faq } }\noutputs: { \"out put/结果 é\": clean.records }\n",
    );
    let run = run_id(&sandbox.refit(["run", folder, "--json"]).expect_code(0));
    assert!(sandbox.path(folder).join("out put/结果 é").exists());
    assert_eq!(sandbox.refit(["run", folder, "--json"]).expect_code(0).stages("cached"), ["clean"]);
    sandbox.refit(["cache", "export", &run, folder, "--to", "导出 1.refit"]).expect_code(0);
    sandbox.refit(["cache", "import", "导出 1.refit", "--store", "an other/商店"]).expect_code(0);
    let there = sandbox.refit(["run", folder, "--store", "an other/商店", "--json"]).expect_code(0);
    assert_eq!(there.stages("cached"), ["clean"]);
    let pinned: Value = sandbox.refit(["cache", "pins", "--of", folder, "--json"]).expect_code(0).json();
    assert_eq!(pinned["pins"], json!([]));
}
