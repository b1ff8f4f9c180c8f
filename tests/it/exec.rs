//! `exec` stages: any command, its inputs and outputs, what it says, and how it ends.

use std::path::Path;

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
