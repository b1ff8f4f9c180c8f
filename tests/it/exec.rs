//! `exec` stages: any command, its inputs and outputs, what it says, and how it ends.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use refit_tests::{Outcome, Sandbox};

/// A folder with a pipeline of these stages over the source `src`, a file `src.txt`.
fn pipeline(stages: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("src.txt", "hello\n");
    write_stages(&sandbox, stages);
    sandbox
}

fn write_stages(sandbox: &Sandbox, stages: &str) {
    sandbox.write("pipeline.yaml", format!("name: commands\nsources: {{ src: src.txt }}\nstages:\n{stages}"));
}

fn run(sandbox: &Sandbox) -> Outcome {
    sandbox.refit(["run", "--json"]).expect_code(0)
}

fn read(sandbox: &Sandbox, result: &str) -> String {
    sandbox.refit(["get", result, "--to", "got"]).expect_code(0);
    let text = fs_err::read_to_string(sandbox.path("got")).unwrap();
    fs_err::remove_file(sandbox.path("got")).unwrap();
    text
}

/// All that the store holds, as one text.
fn everything_in(folder: &Path) -> String {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| String::from_utf8_lossy(&fs_err::read(entry.path()).unwrap()).into_owned())
        .collect()
}

#[test]
fn a_program_that_one_stage_builds_is_run_by_the_next() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "pipeline.yaml",
        "name: programs
stages:
  build:
    uses: exec
    with:
      run: 'printf \"#!/bin/sh\\necho ran \\$1\\n\" > $tool; chmod +x $tool; mkdir -p $kit/bin; cp $tool $kit/bin/; cp $tool $kit/plain; chmod -x $kit/plain'
      outputs: { tool: tool, kit: kit/ }
  use:
    uses: exec
    inputs: { tool: build.tool, kit: build.kit }
    with:
      run: '$tool a > $said; $kit/bin/tool b >> $said; test ! -x $kit/plain && cp $kit/bin/tool $again'
      outputs: { said: said.txt, again: again }
outputs: { out/tool: build.tool, out/kit: build.kit, out/said: use.said, out/again: use.again }
",
    );
    sandbox.refit(["run", "-q"]).expect_code(0);
    assert_eq!(fs_err::read_to_string(sandbox.path("out/said")).unwrap(), "ran a\nran b\n");
    let runs =
        |path: &str| Command::new(sandbox.path(path)).arg("c").output().is_ok_and(|ended| ended.status.success());
    assert!(runs("out/tool") && runs("out/kit/bin/tool") && runs("out/again") && !runs("out/kit/plain"));
    sandbox.refit(["get", "build.tool", "--to", "got"]).expect_code(0);
    assert!(runs("got"));
    // Copied out as it is, nothing is copied again; the bit is content, and so is its loss.
    assert_eq!(sandbox.refit(["run", "--json"]).expect_code(0).stages("cached"), ["build", "use"]);
    fs_err::set_permissions(sandbox.path("out/tool"), Permissions::from_mode(0o644)).unwrap();
    sandbox.refit(["run", "-q"]).expect_code(0);
    assert!(runs("out/tool"));

    // On another machine, from one file.
    sandbox.refit(["cache", "export", "latest", "--to", "run.refit"]).expect_code(0);
    let other = Sandbox::new();
    fs_err::copy(sandbox.path("pipeline.yaml"), other.path("pipeline.yaml")).unwrap();
    fs_err::copy(sandbox.path("run.refit"), other.path("run.refit")).unwrap();
    other.refit(["cache", "import", "run.refit"]).expect_code(0);
    assert_eq!(other.refit(["run", "--json"]).expect_code(0).stages("cached"), ["build", "use"]);
    assert!(Command::new(other.path("out/kit/bin/tool")).output().unwrap().status.success());
}

#[test]
fn a_chain_of_commands_runs_once_and_only_what_follows_a_change_again() {
    let sandbox = pipeline(
        "  a: { uses: exec, inputs: { x: src }, with: { run: 'cat $x > $out; echo one >> $out', outputs: { out: a.txt } } }
  b: { uses: exec, inputs: { x: a.out }, with: { run: [sh, -c, 'cat \"$1\" > \"$2\"', _, $x, $the_out], outputs: { the-out: deep/er/b.txt } } }
  c: { uses: exec, inputs: { x: b.the-out, src: src }, with: { run: 'wc -l < $x | tr -d \" \" > $n', outputs: { n: n } } }
  d: { uses: exec, inputs: { n: c.n }, with: { run: 'cat $n > $out', outputs: { out: out } } }
",
    );
    assert_eq!(run(&sandbox).stages("ran"), ["a", "b", "c", "d"]);
    assert_eq!(read(&sandbox, "b.the-out"), "hello\none\n");
    assert_eq!(read(&sandbox, "c.n"), "2\n");
    assert_eq!(run(&sandbox).stages("cached"), ["a", "b", "c", "d"]);

    // The number of lines stays, so that what follows from it does.
    sandbox.write("src.txt", "hallo\n");
    let changed = run(&sandbox);
    assert_eq!(changed.stages("ran"), ["a", "b", "c"]);
    sandbox.write("src.txt", "hello\n");
    assert_eq!(run(&sandbox).stages("cached"), ["a", "b", "c", "d"]);
    assert!(fs_err::read_dir(sandbox.path(".refit/tmp")).unwrap().next().is_none(), "no step leaves its folder");
}

#[test]
fn folders_and_patterns_become_folders() {
    let sandbox = pipeline(
        "  a:
    uses: exec
    inputs: { x: src }
    with:
      run: |
        cp $x $parts/one.txt
        mkdir -p $parts/more && cp $x \"$parts/more/zwei drei.txt\"
        mkdir -p out/b out/c
        touch out/a.csv out/b/ü.csv out/c/no.txt
      outputs: { parts: parts/, tables: 'out/**/*.csv' }
  b: { uses: exec, inputs: { parts: a.parts, tables: a.tables }, with: { run: '(cd $parts && find . -type f | sort; cd $tables && find . -type f | sort) > $list', outputs: { list: list } } }
",
    );
    let ran = run(&sandbox);
    assert_eq!(read(&sandbox, "b.list"), "./more/zwei drei.txt\n./one.txt\n./a.csv\n./b/ü.csv\n");
    let warnings = ran.stage("a")["warnings"].to_string();
    assert!(warnings.contains("1 file") && warnings.contains("out/c/no.txt"), "{warnings}");
}

#[test]
fn a_command_sees_what_is_declared_and_nothing_else() {
    let sandbox = pipeline(
        "  a:
    uses: exec
    inputs: { the-input: src }
    with:
      run: 'env | cut -d= -f1 | sort | tr \"\\n\" \" \" > $out; echo $GIVEN $PASSED >> $out'
      env: [PASSED, GIVEN=2 words, UNSET]
      outputs: { out: out }
",
    );
    let command = |value: &str| {
        let mut command = sandbox.command(["run", "--json"]);
        command.env("PASSED", value).env("HIDDEN", "x");
        Outcome::of(command).expect_code(0)
    };
    command("p1");
    let mut get = sandbox.command(["get", "a.out", "--to", "got"]);
    get.env("PASSED", "p1");
    Outcome::of(get).expect_code(0);
    let seen = fs_err::read_to_string(sandbox.path("got")).unwrap();
    assert_eq!(
        seen,
        "GIVEN HOME LANG PASSED PATH PWD REFIT_ATTEMPT REFIT_FOLDER REFIT_RUN REFIT_SCRATCH REFIT_STAGE REFIT_THREADS \
         TMPDIR out the_input 2 words p1\n"
    );
    assert_eq!(command("p1").stages("cached"), ["a"]);
    let changed = command("p2");
    assert_eq!(changed.stage("a")["reason"], "variable PASSED: `p1` → `p2`");
    assert_eq!(command("p1").stages("cached"), ["a"]);
}

#[test]
fn what_a_command_printed_is_shown_again_on_a_hit() {
    let sandbox = pipeline("  a: { uses: exec, with: { run: 'echo to people; echo to errors >&2' } }\n");
    for state in ["done", "cached"] {
        let said = sandbox.refit(["run", "-v"]).expect_code(0).stderr;
        assert!(said.contains(state) && said.contains("to people") && said.contains("to errors"), "{said}");
    }
    assert!(!sandbox.refit(["run"]).expect_code(0).stderr.contains("to people"));
}

#[test]
fn a_secret_is_handed_over_and_written_nowhere() {
    let secret = "k3y-0f-the-vault";
    let stages = "  a:
    uses: exec
    with:
      run: 'test ${#TOKEN} -eq 16; printf %s \"$TOKEN\" | cut -c1-5 | tr -d \"\\n\"; sleep 0.1; printf %s \"$TOKEN\" | cut -c6-; echo $TOKEN >&2; touch $out; exit $CODE'
      secrets: [TOKEN]
      env: [CODE]
      outputs: { out: out }
";
    let sandbox = pipeline(&stages.replace("${", "$${"));
    let with_token = |arguments: &[&str], code: &str| {
        let mut command = sandbox.command(arguments);
        command.env("TOKEN", secret).env("CODE", code);
        Outcome::of(command)
    };
    let missing = sandbox.refit(["run"]).expect_code(3);
    assert!(missing.stderr.contains("the secret `TOKEN` is not set"), "{}", missing.stderr);
    for code in ["1", "0"] {
        let said = with_token(&["run", "-v"], code);
        assert_eq!(said.code, Some(if code == "0" { 0 } else { 3 }), "{}", said.stderr);
        assert!(said.stderr.contains("***") && !said.stderr.contains(secret), "{}", said.stderr);
    }
    let cached = with_token(&["run", "-v", "--json"], "0").expect_code(0);
    assert!(cached.stages("cached") == ["a"] && cached.stderr.contains("***"), "{}", cached.stderr);
    // Another secret is no reason to run again, and none is needed for what is there.
    let mut without = sandbox.command(["run", "--json"]);
    without.env("CODE", "0");
    assert_eq!(Outcome::of(without).expect_code(0).stages("cached"), ["a"]);
    assert!(!everything_in(&sandbox.path(".refit")).contains(secret));
}

#[test]
fn a_failing_command_shows_its_last_lines_and_where_the_rest_is() {
    let sandbox = pipeline(
        "  bad: { uses: exec, inputs: { x: src }, with: { run: 'for n in $(seq 1 30); do echo line $n; done; echo no such thing >&2; exit 7', outputs: { out: o } } }
  gone: { uses: exec, inputs: { x: src }, with: { run: [no-such-program, $x] } }
  shell: { uses: exec, inputs: { x: src }, with: { run: nosuchcommand $x } }
  silent: { uses: exec, inputs: { x: src }, with: { run: 'kill -9 $$' } }
",
    );
    let failed = sandbox.refit(["run", "-k", "-j", "1"]).expect_code(3);
    let root = sandbox.path("").canonicalize().unwrap().display().to_string();
    let root = root.trim_end_matches('/');
    insta::with_settings!({ filters => vec![
        (root, "ROOT"), (r"step-[0-9a-f]{64}", "step-KEY"), (r"\d{8}T\d{6}-[0-9a-f]{6}", "RUN"), (r"in [\d.]+ m?s", "in TIME"),
        (r"nosuchcommand: (command )?not found", "nosuchcommand: not found"),
    ] }, { insta::assert_snapshot!(failed.stderr) });
    assert!(sandbox.refit(["explain", "bad"]).expect_code(0).stdout.contains("full log: "));
    // What failed leaves nothing that could be taken for a result.
    assert_eq!(sandbox.refit(["run", "-k", "--json"]).expect_code(3).stages("failed").len(), 4);
}

#[test]
fn outputs_that_are_not_there_or_cannot_be_kept() {
    for (run, out, says) in [
        ("touch b.txt", "a.txt", &["made no `a.txt` for its output `out`", "in its folder are `b.txt`"][..]),
        ("true", "a.txt", &["the command left no file in its folder; it writes to `$out`"]),
        ("true", "a/", &["left nothing in `a/`"]),
        ("rmdir a; touch a", "a/", &["made no folder of `a/`"]),
        ("touch b.txt", "*.csv", &["no file that the command made matches `*.csv`", "`b.txt`"]),
        ("ln -s /etc/hostname $out", "a.txt", &["leads out of it, to /etc/hostname", "copy the file"]),
        ("mkdir d; ln -s /etc d/etc", "d", &["the link `etc` in the output `out` leads out of it, to /etc"]),
        ("mkdir d; ln -s ../../../../../src.txt d/up", "d", &["the link `up` in the output `out` lead"]),
        ("ln -s /etc/hostname a.csv", "*.csv", &["the link `a.csv` in the output `out` leads out of it"]),
        ("mkdir e; ln -s e a.csv", "*.csv", &["the link `a.csv` matches the output `out`, but leads to a folder"]),
        ("mkfifo d/pipe", "d/", &["`pipe` in the output `out` is a pipe, a socket or a device"]),
        ("mkfifo a.csv", "*.csv", &["`a.csv` in the output `out` is a pipe, a socket or a device"]),
    ] {
        let sandbox =
            pipeline(&format!("  a: {{ uses: exec, with: {{ run: '{run}', outputs: {{ out: '{out}' }} }} }}\n"));
        let failed = sandbox.refit(["run"]).expect_code(3);
        for words in says {
            assert!(failed.stderr.contains(words), "{run}: no `{words}` in:\n{}", failed.stderr);
        }
        assert!(!sandbox.path(".refit/manifests").read_dir().unwrap().any(|_| true), "{run}");
    }
}

#[test]
fn links_inside_an_output_become_what_they_lead_to() {
    let sandbox = pipeline(
        "  a: { uses: exec, inputs: { x: src }, with: { run: 'cp $x d/real; ln -s real d/link; ln d/real d/hard', outputs: { d: d/ } } }
  b: { uses: exec, inputs: { d: a.d }, with: { run: 'cat $d/real $d/link $d/hard > $out; find $d -type l >> $out', outputs: { out: out } } }
",
    );
    run(&sandbox);
    assert_eq!(read(&sandbox, "b.out"), "hello\nhello\nhello\n");
}

#[test]
fn an_output_of_a_command_fits_every_input_and_may_be_copied_out() {
    let sandbox = pipeline(
        "  make: { uses: exec, inputs: { 'the-source': src }, with: { run: 'printf \"{\\\"instruction\\\": \\\"q\\\", \\\"output\\\": \\\"a\\\"}\\n\" > \"$rows\"', outputs: { rows: 'a folder/rows.jsonl' } } }
  clean: { uses: clean, inputs: { records: make.rows } }
  count: { uses: exec, inputs: { records: clean.records }, with: { run: 'wc -l < $records/records.jsonl | tr -d \" \" > $n', outputs: { n: n.txt } } }
outputs: { 'out/数 of rows.txt': count.n }
",
    );
    run(&sandbox);
    assert_eq!(fs_err::read_to_string(sandbox.path("out/数 of rows.txt")).unwrap(), "1\n");
}

#[test]
fn an_input_with_a_place_stands_there() {
    let sandbox = pipeline(
        "  a: { uses: exec, inputs: { x: src }, with: { run: 'cat data/raw/src.txt > data/out.txt', place: { x: data/raw/src.txt }, outputs: { out: data/out.txt } } }\n",
    );
    assert_eq!(run(&sandbox).stage("a")["warnings"], serde_json::json!([]));
    assert_eq!(read(&sandbox, "a.out"), "hello\n");
}

#[test]
fn a_tool_counts_by_its_bytes() {
    let sandbox = pipeline(
        "  a: { uses: exec, inputs: { x: src }, with: { run: [./upper.sh, $x, $out], outputs: { out: out } } }
  b: { uses: exec, inputs: { x: src }, with: { run: 'sh $REFIT_FOLDER/lower.sh < $x > $out', tools: [sh, ./lower.sh], outputs: { out: out } } }
",
    );
    let script = |name: &str, text: &str| {
        sandbox.write(name, text);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(sandbox.path(name), mode).unwrap();
    };
    script("upper.sh", "#!/bin/sh\ntr a-z A-Z < \"$1\" > \"$2\"\n");
    let missing = sandbox.refit(["run", "-k"]).expect_code(3);
    assert!(missing.stderr.contains("the tool `./lower.sh` is not there"), "{}", missing.stderr);
    let plan = sandbox.refit(["plan", "--json"]).expect_code(0);
    assert_eq!(plan.stages("blocked"), ["b"]);
    script("lower.sh", "tr A-Z a-z\n");
    assert_eq!(run(&sandbox).stages("ran"), ["b"]);
    assert_eq!(run(&sandbox).stages("cached"), ["a", "b"]);
    script("upper.sh", "#!/bin/sh\ntr a-z B-ZA < \"$1\" > \"$2\"\n");
    let changed = run(&sandbox);
    assert_eq!(changed.stages("ran"), ["a"]);
    assert!(changed.stage("a")["reason"].as_str().unwrap().starts_with("tool ./upper.sh: "), "{}", changed.stdout);
    assert_eq!(read(&sandbox, "a.out"), "IFMMP\n");
}

#[test]
fn what_is_never_cached_runs_and_stops_the_wave() {
    let sandbox = pipeline(
        "  a: { uses: exec, cache: false, with: { run: 'echo same > $out', outputs: { out: out } } }
  b: { uses: exec, inputs: { x: a.out }, with: { run: 'cat $x' } }
",
    );
    run(&sandbox);
    let again = run(&sandbox);
    assert_eq!((again.stages("ran"), again.stages("cached")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(again.stage("a")["reason"], "never cached (`cache: false`)");
}

/// A stage that says when it has begun, and goes on when it is told to.
const WAITS: &str = "  a:
    uses: exec
    inputs: { x: src }
    with:
      run: |
        sleep 600 &
        touch \"$REFIT_FOLDER/begun\"
        while [ ! -e \"$REFIT_FOLDER/go\" ]; do sleep 0.01; done
        cat $x > $out
      outputs: { out: out.txt }
";

/// Starts a run of `WAITS` and waits until its command runs.
fn begun(sandbox: &Sandbox) -> Child {
    let mut engine = sandbox.command(["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while !sandbox.path("begun").exists() {
        assert!(engine.try_wait().unwrap().is_none(), "the run ended too early");
        thread::sleep(Duration::from_millis(5));
    }
    engine
}

/// The processes that were started in the sandbox by a command.
fn commands(sandbox: &Sandbox) -> Vec<String> {
    let folder = format!("REFIT_FOLDER={}", sandbox.path("").canonicalize().unwrap().display());
    let folder = folder.trim_end_matches('/');
    let processes = fs_err::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    processes
        .filter(|process| {
            let environment = fs_err::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == folder.as_bytes())
        })
        .map(|process| fs_err::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}

fn expect_no_commands(sandbox: &Sandbox) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(20) {
        if commands(sandbox).is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?}", commands(sandbox));
}

#[test]
fn no_command_outlives_an_engine_that_was_killed() {
    let sandbox = pipeline(WAITS);
    let mut engine = begun(&sandbox);
    assert!(commands(&sandbox).len() >= 2, "the shell and what it left in the background");
    engine.kill().unwrap();
    engine.wait().unwrap();
    expect_no_commands(&sandbox);
    sandbox.write("go", "");
    assert_eq!(run(&sandbox).stages("ran"), ["a"]);
    assert!(commands(&sandbox).is_empty(), "what a command left in the background ends with it");
}

#[test]
fn ctrl_c_ends_commands() {
    let sandbox = pipeline(WAITS);
    let mut engine = begun(&sandbox);
    let sent = std::process::Command::new("kill").args(["-INT", &engine.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(engine.wait().unwrap().code(), Some(130));
    assert!(commands(&sandbox).is_empty());
}

#[test]
fn an_input_that_is_edited_while_a_command_reads_it_leaves_no_result() {
    let sandbox = pipeline(WAITS);
    let engine = begun(&sandbox);
    sandbox.write("src.txt", "olleh\n");
    sandbox.write("go", "");
    let ended = engine.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("the input `x` was changed while the stage read it") && said.contains("src.txt"), "{said}");
    assert_eq!(run(&sandbox).stages("ran"), ["a"]);
    assert_eq!(read(&sandbox, "a.out"), "olleh\n");
}

#[test]
fn the_memory_of_a_command_is_on_record() {
    let sandbox = pipeline(
        "  large: { uses: exec, with: { run: 'dd if=/dev/zero of=/dev/null bs=120000000 count=1; echo > $out', outputs: { out: out } } }\n",
    );
    let peak = run(&sandbox).stage("large")["peak_memory"].as_u64().unwrap();
    assert!((120_000_000..240_000_000).contains(&peak), "{peak}");
    assert_eq!(run(&sandbox).stage("large")["peak_memory"], peak);
}

#[test]
fn a_file_beside_the_pipeline_that_is_no_tool_is_told_of() {
    let stage = |tools: &str| {
        format!(
            "  a: {{ uses: exec, with: {{ run: 'sh $REFIT_FOLDER/make.sh > $out', outputs: {{ out: out }}{tools} }} }}\n"
        )
    };
    let sandbox = pipeline(&stage(""));
    sandbox.write("make.sh", "echo made");
    let told = sandbox.refit(["check"]).expect_code(0).stderr;
    assert!(told.contains("pipeline::doubtful_parameter") && told.contains("tools: [./script.py]"), "{told}");
    write_stages(&sandbox, &stage(", tools: [./make.sh]"));
    assert!(!sandbox.refit(["check"]).expect_code(0).stderr.contains("doubtful"));
}
