//! A dvc.yaml becomes a pipeline that makes the same files.

use std::{path::Path, process::Command};

use refit_tests::Sandbox;

/// Twenty stages, ten wide, each reading the one ten before it.
fn wide() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("src.txt", "hello\n");
    fs_err::create_dir_all(sandbox.path("out")).unwrap();
    let stages: String = (0..20)
        .map(|number: i32| {
            let from = if number < 10 { "src.txt".to_owned() } else { format!("out/{}.txt", number - 10) };
            format!(
                "  s{number}:\n    cmd: cat {from} > out/{number}.txt && echo {number} >> out/{number}.txt\n    deps: [{from}]\n    outs: [out/{number}.txt]\n"
            )
        })
        .collect();
    sandbox.write("dvc.yaml", format!("stages:\n{stages}"));
    sandbox
}

fn shell(folder: &Path, command: &str) {
    assert!(Command::new("sh").args(["-c", command]).current_dir(folder).status().unwrap().success(), "{command}");
}

#[test]
fn the_pipeline_makes_what_the_commands_make_by_hand() {
    let (sandbox, by_hand) = (wide(), wide());
    sandbox.refit(["import", "dvc.yaml"]).expect_code(0);
    sandbox.refit(["check"]).expect_code(0);
    let outcome = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(outcome.stages("ran").len(), 20);
    for number in 0..20 {
        let from = if number < 10 { "src.txt".to_owned() } else { format!("out/{}.txt", number - 10) };
        shell(&by_hand.path(""), &format!("cat {from} > out/{number}.txt && echo {number} >> out/{number}.txt"));
        let name = format!("out/{number}.txt");
        assert_eq!(fs_err::read(sandbox.path(&name)).unwrap(), fs_err::read(by_hand.path(&name)).unwrap(), "{name}");
    }
    assert_eq!(sandbox.refit(["run", "--json"]).expect_code(0).stages("cached").len(), 20);
    sandbox.refit(["import", "dvc.yaml"]).expect_code(2);
}

const RICH: &str = "\
vars: [{ shout: LOUD }]
stages:
  prepare:
    wdir: work
    cmd:
      - sh ../scripts/prepare.sh ../data/raw.txt > prepared.txt
      - echo done >> prepared.txt
    deps: [../data/raw.txt]
    outs: [prepared.txt]
  train:
    foreach: [1, 2]
    do:
      cmd: cat work/prepared.txt params.yaml > model-${item}.txt && echo ${shout} ${train.lr} ${item} >> model-${item}.txt
      deps: [work/prepared.txt]
      params: [train.lr, train.name]
      outs: [{ \"model-${item}.txt\": { persist: true } }]
  report:
    cmd: cat model-1.txt model-2.txt | wc -l | tr -d ' ' > report.txt
    deps: [model-1.txt, model-2.txt]
    metrics: [{ report.txt: { cache: false } }]
    frozen: true
plots: [report.txt]
";

#[test]
fn templates_parameters_folders_and_scripts_are_carried_over_and_the_rest_is_said() {
    let sandbox = Sandbox::new();
    sandbox.write("dvc.yaml", RICH);
    sandbox.write("params.yaml", "train: { lr: 0.5, name: first }\nother: 1\n");
    sandbox.write("scripts/prepare.sh", "tr a-z A-Z < \"$1\"\n");
    sandbox.write("data/raw.txt", "some text\n");
    let outcome = sandbox.refit(["import", "dvc.yaml", "--to", "made", "--json"]).expect_code(0);
    for line in [
        "dvc.yaml:3: scripts/prepare.sh of prepare",
        "dvc.yaml:21: frozen of report",
        "dvc.yaml:22: plots",
        "persist of model-1.txt",
    ] {
        assert!(outcome.stderr.contains(line), "no `{line}` in:\n{}", outcome.stderr);
    }
    let run = |more: &[&str]| sandbox.refit([&["run", "made", "--json"], more].concat()).expect_code(0);
    assert_eq!(run(&[]).stages("ran").len(), 4);
    assert_eq!(fs_err::read_to_string(sandbox.path("made/report.txt")).unwrap(), "10\n");
    let model = fs_err::read_to_string(sandbox.path("made/model-2.txt")).unwrap();
    assert!(model.starts_with("SOME TEXT\ndone\n") && model.ends_with("LOUD 0.5 2\n"), "{model}");
    // A parameter that a stage declares runs it again, and no other.
    let changed = run(&["-S", "params.train_lr=0.7"]);
    assert_eq!(changed.stages("cached"), ["prepare"]);
    sandbox.write("scripts/prepare.sh", "cat \"$1\"\n");
    assert!(run(&[]).stages("ran").contains(&"prepare".to_owned()));
}

#[test]
fn what_is_no_dvc_yaml_is_an_error_with_a_way_out() {
    let sandbox = Sandbox::new();
    for (text, hint) in [("stages: [", "dvc.yaml"), ("", "empty"), ("name: x\n", "no stages")] {
        sandbox.write("dvc.yaml", text);
        let outcome = sandbox.refit(["import", "dvc.yaml"]).expect_code(2);
        assert!(outcome.stderr.contains(hint), "{}", outcome.stderr);
    }
    sandbox.refit(["import", "nowhere.yaml"]).expect_code(1);
}

#[test]
fn scores_stay_scores_and_written_parameters_are_no_output() {
    let sandbox = Sandbox::new();
    sandbox.write("params.yaml", "lr: 0.5\n");
    sandbox.write(
        "dvc.yaml",
        "stages:\n  train:\n    cmd: grep 0.5 params.yaml && echo '{\"loss\":0.25}' > out/eval.json\n    params: [lr]\n    metrics: [out/eval.json]\n",
    );
    sandbox.refit(["import", "dvc.yaml"]).expect_code(0);
    let run = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(run.stage("train")["scores"]["loss"], 0.25);
    assert_eq!(run.stage("train")["warnings"], serde_json::json!([]));
    sandbox.refit(["best", "--metric", "train.loss"]).expect_code(0);
}
