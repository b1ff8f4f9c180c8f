//! Settings from files, variables and flags.

use std::process::Command;

use refit_tests::{Outcome, Sandbox};
use serde_json::Value;

/// A folder with a pipeline and a repository around it.
fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    fs_err::create_dir_all(sandbox.path(".git")).unwrap();
    refit_tests::write_questions(&sandbox.path("faq.jsonl"), 20);
    sandbox.write(
        "pipeline.yaml",
        "name: p\nsources: { faq: faq.jsonl }\nstages:\n  clean: { uses: clean, inputs: { records: faq } }\n",
    );
    sandbox
}

fn shown(sandbox: &Sandbox, key: &str) -> Value {
    sandbox.refit(["config", "show", "--json"]).expect_code(0).json()[key].clone()
}

#[test]
fn each_layer_counts_over_the_ones_below_and_says_where_it_stands() {
    let sandbox = project();
    assert_eq!(shown(&sandbox, "device")["from"]["layer"], "default");
    sandbox.write("home/.config/refit/config.toml", "# mine\njobs = 3\ndevice = \"cpu\"\ncolor = \"always\"\n");
    sandbox.write(".refit/config.toml", "jobs = 4\n\n[cache]\nremote = \"s3://team/p\"\npush = false\n");
    sandbox.write(".refit/config.local.toml", "[cache]\npush = true\n");
    let jobs = shown(&sandbox, "jobs");
    assert_eq!(
        (&jobs["value"], &jobs["from"]["layer"], &jobs["from"]["line"]),
        (&4.into(), &"project".into(), &1.into())
    );
    let device = shown(&sandbox, "device");
    assert_eq!((&device["value"], &device["from"]["line"]), (&"cpu".into(), &3.into()));
    // Tables are merged key by key, not replaced.
    assert_eq!(shown(&sandbox, "cache.remote")["value"], "s3://team/p");
    let push = shown(&sandbox, "cache.push");
    assert_eq!(
        (&push["value"], &push["from"]["layer"], &push["from"]["line"]),
        (&true.into(), &"local".into(), &2.into())
    );

    let mut command = sandbox.command(["config", "show", "--json", "--color", "never"]);
    command.env("REFIT_JOBS", "5").env("REFIT_COLOR", "auto");
    let all = Outcome::of(command).expect_code(0).json();
    assert_eq!((&all["jobs"]["value"], &all["jobs"]["from"]["variable"]), (&5.into(), &"REFIT_JOBS".into()));
    assert_eq!((&all["color"]["value"], &all["color"]["from"]["layer"]), (&"never".into(), &"flag".into()));
}

#[test]
fn the_files_of_a_project_count_wherever_one_stands_in_it() {
    let sandbox = project();
    sandbox.write(".refit/config.toml", "store = \"elsewhere\"\n");
    sandbox.write("deep/down/here", "");
    let outcome = sandbox.refit(["config", "get", "store"]).expect_code(0);
    assert!(outcome.stdout.trim().ends_with("/elsewhere"), "{}", outcome.stdout);
    let mut below = sandbox.command(["config", "get", "store"]);
    below.current_dir(sandbox.path("deep/down"));
    assert_eq!(Outcome::of(below).expect_code(0).stdout, outcome.stdout);
    sandbox.refit(["run"]).expect_code(0);
    assert!(sandbox.path("elsewhere/objects").is_dir());
    assert!(!sandbox.path(".refit/objects").exists());
    assert_eq!(sandbox.refit(["run", "--json"]).stages("cached"), ["clean"]);
}

#[test]
fn mistakes_in_files_are_all_shown_where_they_stand() {
    let sandbox = project();
    sandbox.write(".refit/config.toml", "job = 4\nremote = \"s3://x\"\n\n[cache]\nremoet = \"s3://team/p\"\n");
    let outcome = sandbox.refit(["run"]).expect_code(2);
    for hint in ["did you mean `jobs`?", "did you mean `cache.remote`?", "config.toml:1:1", "3 mistakes"] {
        assert!(outcome.stderr.contains(hint), "no {hint} in:\n{}", outcome.stderr);
    }
    sandbox.write(".refit/config.toml", "jobs = 0\n");
    assert!(sandbox.refit(["run"]).expect_code(2).stderr.contains("config.toml:1:8"));
    sandbox.write(".refit/config.toml", "jobs = [\n");
    sandbox.refit(["run"]).expect_code(2);
    sandbox.write(".refit/config.toml", "device = \"tpu\"\n");
    assert!(sandbox.refit(["run"]).expect_code(2).stderr.contains("`wgpu:N`"));
    sandbox.write(".refit/config.toml", "[hub]\ntoken = \"hf_secret\"\n");
    let outcome = sandbox.refit(["run"]).expect_code(2);
    assert!(outcome.stderr.contains("meant to be committed"), "{}", outcome.stderr);
    sandbox.write(".refit/config.toml", "");
    let mut command = sandbox.command(["run"]);
    command.env("REFIT_JOBS", "many");
    assert!(Outcome::of(command).expect_code(2).stderr.contains("REFIT_JOBS"));
}

#[test]
fn settings_are_set_and_unset_without_touching_the_rest_of_the_file() {
    let sandbox = project();
    sandbox.write(".refit/config.toml", "# how many at a time\njobs = 4 # four\n");
    sandbox.refit(["config", "set", "jobs", "6"]).expect_code(0);
    sandbox.refit(["config", "set", "cache.remote", "s3://team/p"]).expect_code(0);
    sandbox.refit(["config", "set", "--local", "cache.push", "false"]).expect_code(0);
    sandbox.refit(["config", "set", "--user", "device", "cpu"]).expect_code(0);
    let read = |path: &str| fs_err::read_to_string(sandbox.path(path)).unwrap();
    insta::assert_snapshot!(read(".refit/config.toml"), @r#"
    # how many at a time
    jobs = 6 # four

    [cache]
    remote = "s3://team/p"
    "#);
    assert_eq!(read(".refit/config.local.toml"), "[cache]\npush = false\n");
    assert_eq!(read("home/.config/refit/config.toml"), "device = \"cpu\"\n");
    sandbox.refit(["config", "unset", "jobs"]).expect_code(0);
    assert!(!read(".refit/config.toml").contains("jobs = "));
    assert_eq!(sandbox.refit(["config", "get", "jobs", "--project"]).expect_code(1).stdout, "");
    for (key, value, hint) in [
        ("job", "4", "did you mean `jobs`?"),
        ("jobs", "many", "`jobs` cannot be `many`"),
        ("color", "pink", "`color` cannot be `pink`"),
        ("hub.token", "hf_x", "is a secret"),
    ] {
        let outcome = sandbox.refit(["config", "set", key, value]).expect_code(2);
        assert!(outcome.stderr.contains(hint), "{}", outcome.stderr);
    }
    sandbox.refit(["config", "set", "--local", "hub.token", "hf_x"]).expect_code(0);
    let shown = sandbox.refit(["config", "show"]).expect_code(0).stdout;
    assert!(!shown.contains("hf_x") && shown.contains("(hidden)"), "{shown}");
}

#[test]
fn git_sees_the_shared_file_and_nothing_else_of_the_store() {
    let sandbox = project();
    fs_err::remove_dir(sandbox.path(".git")).unwrap();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(sandbox.path("")).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if git(&["init", "-q"]).is_err() {
        return eprintln!("skipped: there is no git");
    }
    sandbox.refit(["run"]).expect_code(0);
    sandbox.refit(["config", "set", "jobs", "2"]).expect_code(0);
    sandbox.refit(["config", "set", "--local", "hub.token", "hf_x"]).expect_code(0);
    let status = git(&["status", "--porcelain", "--untracked-files=all", ".refit"]).unwrap();
    assert_eq!(status, "?? .refit/config.toml\n");
    sandbox.refit(["run"]).expect_code(0);
}
