#![allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use miette::{GraphicalReportHandler, GraphicalTheme};
use refit_engine::{
    graph::{PipelineErrors, load_text},
    stage::{OutputPlace, Program, ProgramContext, ProgramStage, Settings, Variables},
};
use serde_json::{Value, json};

use super::{
    Exec, ExecParams,
    command::{Piece, pieces},
};

/// What a person sees of a pipeline of these stages.
fn mistakes(stages: &str) -> String {
    // The source is checked to be there, beside the pipeline file.
    let text = format!("sources: {{ src: mod.rs }}\nstages:\n{stages}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exec/x.yaml");
    let errors: PipelineErrors = load_text(&file, &text, &[], &crate::registry()).unwrap_err();
    let mut shown = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(110)
        .with_links(false)
        .render_report(&mut shown, &errors)
        .unwrap();
    let folder = file.parent().unwrap().display().to_string();
    shown.replace(&format!("{folder}/"), "").lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn assert_mistakes(name: &str, stages: &str) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, mistakes(stages)) });
}

#[test]
fn mistakes_in_commands_are_explained() {
    assert_mistakes(
        "commands",
        "  nothing: { uses: exec }
  empty: { uses: exec, with: { run: '' } }
  number: { uses: exec, with: { run: 7 } }
  no-program: { uses: exec, with: { run: [] } }
  unknown: { uses: exec, inputs: { rows: src }, with: { run: [cat, $row, $HOME, a$$b, $5], outputs: { out: o } } }
  secret: { uses: exec, with: { run: [curl, -u, $TOKEN], secrets: [TOKEN] } }
",
    );
}

#[test]
fn mistakes_in_ports_are_explained() {
    assert_mistakes(
        "ports",
        "  a:
    uses: exec
    inputs: { a-b: src, a_b: src, 输入: src, PATH: src, 'x/y': src }
    with: { run: 'true', outputs: { out: a/b, in: a, up: ../x, root: /x, all: ., glob: 'a/[', out-2: b.txt } }
  b: { uses: exec, inputs: { x: a.out, y: c.rsult }, with: { run: 'true' } }
  c: { uses: exec, with: { run: 'true', outputs: { result: r } } }
  d: { uses: exec, inputs: { z: c } , with: { run: 'true' } }
  e: { uses: exec, inputs: { z: b.out }, with: { run: 'true' } }
",
    );
}

#[test]
fn mistakes_in_variables_and_places_are_explained() {
    assert_mistakes(
        "variables",
        "  a:
    uses: exec
    inputs: { x: src }
    with:
      run: 'true'
      outputs: { out: o/p }
      env: [LANG, X=1, X, 1A, REFIT_RUN]
      secrets: [X, PATH]
      place: { y: data, x: o/p/q }
  b: { uses: exec, with: { run: 'true', env: { THREADS: 4 }, tool: [python3] } }
",
    );
}

#[test]
fn the_parameters_of_a_command_say_what_counts() {
    let lowered = |with: Value| crate::registry().get("exec").unwrap().lower(with, &[]).unwrap();
    let all = lowered(json!({
        "run": ["./tool", "$out"], "outputs": { "out": "o" }, "env": ["A", "B=1"], "secrets": ["S"], "tools": ["sh"],
    }));
    assert_eq!(all.problems, []);
    assert_eq!(all.outside.variables, ["A"]);
    assert_eq!(all.outside.tools, ["sh", "./tool"]);
    // What is not given is not written down either: a parameter that comes later changes no key.
    assert_eq!(lowered(json!({ "run": "true" })).with, json!({ "run": "true" }));
    assert_eq!(lowered(json!({ "run": "true", "env": { "B": "1" } })).outside.variables, Vec::<String>::new());
}

fn program(with: Value, variables: &[(&str, &str)]) -> Program {
    let inputs = BTreeMap::from([("the-rows".to_owned(), "/in/rows".into())]);
    let params: ExecParams = serde_json::from_value(with).unwrap();
    let variables: Variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let step = ProgramContext {
        stage: "s",
        run: "r",
        attempt: 2,
        inputs: &inputs,
        work: Path::new("/work"),
        scratch: Path::new("/scratch"),
        temporary: Path::new("/tmp"),
        folder: Path::new("/here"),
        settings: &Settings { threads: 3, ..Settings::default() },
        variables: &variables,
    };
    Exec::program(params, &step).unwrap()
}

#[test]
fn a_command_gets_paths_as_variables() {
    let made = program(
        json!({ "run": "cat", "outputs": { "o": "a/b.txt", "all": "d/*.csv" }, "env": ["A", "NONE", "B=x=y"] }),
        &[("A", "1"), ("C", "2"), ("PATH", "/bin")],
    );
    let text: BTreeMap<&str, &str> =
        made.environment.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let expected = BTreeMap::from([
        ("A", "1"),
        ("B", "x=y"),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PATH", "/bin"),
        ("REFIT_ATTEMPT", "2"),
        ("REFIT_FOLDER", "/here"),
        ("REFIT_RUN", "r"),
        ("REFIT_SCRATCH", "/scratch"),
        ("REFIT_STAGE", "s"),
        ("REFIT_THREADS", "3"),
        ("TMPDIR", "/tmp"),
        ("all", "/work/d"),
        ("o", "/work/a/b.txt"),
        ("the_rows", "/in/rows"),
    ]);
    assert_eq!(text, expected);
    assert_eq!(made.arguments, ["/bin/sh", "-euc", "cat"].map(OsString::from));
    assert_eq!(made.outputs[0], ("o".to_owned(), OutputPlace::Path("a/b.txt".into())));
}

#[test]
fn a_list_is_filled_in_and_no_shell_reads_it() {
    let made = program(json!({ "run": ["bin/tool", "--in=$the_rows;rm", "$$5 $A", "*"], "env": ["A=a b"] }), &[]);
    assert_eq!(made.arguments, ["/here/bin/tool", "--in=/in/rows;rm", "$5 a b", "*"].map(OsString::from));
    let plain = program(json!({ "run": ["/bin/sh", "-c", "exit"] }), &[]);
    assert_eq!(plain.arguments, ["/bin/sh", "-c", "exit"].map(OsString::from));
}

#[test]
fn arguments_fall_into_pieces() {
    use Piece::{Text, Variable};
    assert_eq!(pieces("a"), [Text("a")]);
    assert_eq!(pieces("$a"), [Variable("a")]);
    assert_eq!(pieces("x$a-b$c_1.d"), [Text("x"), Variable("a"), Text("-b"), Variable("c_1"), Text(".d")]);
    assert_eq!(pieces("$$a"), [Text("$"), Text("a")]);
    assert_eq!(pieces("5$ $1 €$é"), [Text("5$"), Text(" $"), Text("1 €$"), Text("é")]);
    assert_eq!(pieces(""), []);
}
