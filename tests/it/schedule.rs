//! Scheduling as a user sees it: retries, time limits, GPUs, mutexes, what a machine cannot give.

use refit_tests::Sandbox;

fn pipeline(stages: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("pipeline.yaml", format!("name: schedule\nstages:\n{stages}"));
    sandbox
}

/// The number of the try is known to the command, so that it can fail until it is tried for the third time.
#[test]
fn a_step_that_fails_is_tried_again() {
    let sandbox = pipeline(
        "  a:
    uses: exec
    with: { run: 'echo try $REFIT_ATTEMPT >&2; test $REFIT_ATTEMPT -ge 3; echo well > $out', outputs: { out: out.txt } }
    retries: { times: 3, delay: 10ms, factor: 1 }
",
    );
    let run = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(run.stage("a")["attempts"], 3);
    assert_eq!(run.stderr.matches("  retry  ").count(), 2, "{}", run.stderr);
    assert_eq!(sandbox.refit(["run", "--json"]).expect_code(0).stages("cached"), ["a"]);
    let fewer = sandbox.refit(["run", "--json", "--force", "-S", "stages.a.retries.times=1"]).expect_code(3);
    assert_eq!(fewer.stage("a")["attempts"], 2);
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_all_it_started() {
    let sandbox = pipeline(
        "  a:
    uses: exec
    with: { run: 'sleep 60 & sleep 60; echo x > $out', outputs: { out: out.txt } }
    timeout: 200ms
  b:
    uses: exec
    with: { run: 'echo x > $out', outputs: { out: out.txt } }
",
    );
    let begun = std::time::Instant::now();
    let run = sandbox.refit(["run", "--json", "--keep-going"]).expect_code(3);
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    assert_eq!(run.stage("a")["error"]["code"], "engine::timeout");
    assert!(run.stderr.contains("time limit of 200ms"), "{}", run.stderr);
    assert_eq!(run.stages("ran"), ["b"]);
}

/// Whether a process of that number is there and no zombie.
fn is_alive(process: &str) -> bool {
    fs_err::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A command that hears TERM and goes on, its child, and one that left the group; each writes its number down.
fn stubborn(sandbox: &Sandbox) -> String {
    let folder = sandbox.path("").display().to_string();
    format!(
        "sh -c \"trap : TERM; echo \\$\\$ > {folder}/child; while :; do sleep 0.05; done\" & \
         setsid sh -c \"trap : TERM; echo \\$\\$ > {folder}/far; while :; do sleep 0.05; done\" & \
         trap \"echo asked >> {folder}/asked\" TERM; echo $$ > {folder}/own; while :; do sleep 0.05; done"
    )
}

fn ended_all(sandbox: &Sandbox) {
    for name in ["own", "child", "far"] {
        let number = fs_err::read_to_string(sandbox.path(name)).unwrap();
        assert!(!is_alive(number.trim()), "{name} outlived its step");
    }
    assert_eq!(fs_err::read_to_string(sandbox.path("asked")).unwrap(), "asked\n");
}

#[test]
fn a_step_that_is_stopped_is_asked_then_killed_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let stages = format!(
        "name: stubborn\nstages:\n  a:\n    uses: exec\n    with: {{ run: '{}', outputs: {{ out: o }} }}\n    \
         timeout: 1s\n    grace: 500ms\n  b: {{ uses: exec, with: {{ run: 'sleep 3; echo x > $out', outputs: {{ out: o }} }} }}\n",
        stubborn(&sandbox)
    );
    sandbox.write("pipeline.yaml", &stages);
    let run = sandbox.refit(["run", "--json", "-k", "-j", "2"]).expect_code(3);
    assert_eq!(run.stage("a")["error"]["code"], "engine::timeout");
    assert_eq!(run.stages("ran"), ["b"], "another step of the run is left alone");
    ended_all(&sandbox);

    // The same by Ctrl-C.
    for name in ["own", "child", "far", "asked"] {
        fs_err::remove_file(sandbox.path(name)).unwrap();
    }
    let mut engine = sandbox.spawn(["run", "-S", "stages.a.timeout=10m"]);
    while !["own", "child", "far"]
        .iter()
        .all(|name| fs_err::read_to_string(sandbox.path(name)).is_ok_and(|text| text.ends_with('\n')))
    {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    let signalled = std::process::Command::new("kill").args(["-INT", &engine.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(engine.wait().unwrap().code(), Some(130));
    ended_all(&sandbox);
}

#[test]
fn the_grace_is_long_enough_for_a_checkpoint() {
    let sandbox = pipeline(
        "  a:
    uses: exec
    with: { run: 'trap \"sleep 1; echo kept > $REFIT_SCRATCH/checkpoint; exit 1\" TERM; if test -e $REFIT_SCRATCH/checkpoint; then cp $REFIT_SCRATCH/checkpoint $out; exit; fi; while :; do sleep 0.05; done', outputs: { out: o } }
    timeout: 500ms
    grace: 1m
outputs: { out: a.out }
",
    );
    let begun = std::time::Instant::now();
    sandbox.refit(["run"]).expect_code(3);
    assert!(begun.elapsed().as_secs() < 30, "it ends as soon as the command does: {:?}", begun.elapsed());
    sandbox.refit(["run"]).expect_code(0);
    assert_eq!(fs_err::read_to_string(sandbox.path("out")).unwrap(), "kept\n");
    let wrong = sandbox.refit(["check", "-S", "stages.a.grace=soon"]).expect_code(4);
    assert!(wrong.stderr.contains("`soon` is not a time"), "{}", wrong.stderr);
}

#[test]
fn a_source_that_cannot_be_hashed_fails_the_stages_that_read_it_and_no_others() {
    let sandbox = Sandbox::new();
    sandbox.write("good.txt", "good");
    sandbox.write("odd/a.txt", "a");
    let wrongs: [(&str, &[&str], &str); 2] =
        [("mkfifo", &["odd/pipe"], "odd/pipe"), ("ln", &["-s", "nowhere", "odd/link"], "odd/link")];
    sandbox.write(
        "pipeline.yaml",
        "name: odd
sources: { odd: odd, good: good.txt }
stages:
  a: { uses: exec, inputs: { in: odd }, with: { run: 'cat $in/a.txt > $out', outputs: { out: o } } }
  b: { uses: exec, inputs: { in: good }, with: { run: 'cat $in > $out', outputs: { out: o } } }
  c: { uses: exec, inputs: { in: a.out, more: b.out }, with: { run: 'cat $in > $out', outputs: { out: o } } }
",
    );
    for (round, (program, arguments, wrong)) in wrongs.into_iter().enumerate() {
        let made = std::process::Command::new(program).args(arguments).current_dir(sandbox.path("")).status().unwrap();
        assert!(made.success());
        // Refused before anything runs, unless whatever can be done is to be done.
        let refused = sandbox.refit(["run"]).expect_code(1);
        assert!(refused.stderr.contains("source::read") && refused.stderr.contains(wrong), "{}", refused.stderr);
        let run = sandbox.refit(["run", "-k", "--json"]).expect_code(3);
        assert_eq!(run.stages(if round == 0 { "ran" } else { "cached" }), ["b"]);
        assert_eq!((run.stages("failed"), run.stages("blocked")), (vec!["a".to_owned()], vec!["c".to_owned()]));
        let told = run.stage("a")["error"].to_string();
        assert!(told.contains("`odd` could not be read") && told.contains(wrong), "{told}");
        sandbox.refit(["run", "--to", "b"]).expect_code(0);
        let plan = sandbox.refit(["plan", "--json"]).expect_code(0);
        assert!(plan.stage("a")["reason"].as_str().unwrap().contains(wrong), "{}", plan.stdout);
        fs_err::remove_file(sandbox.path(wrong)).unwrap();
    }
    sandbox.refit(["run"]).expect_code(0);
}

#[test]
fn each_step_is_told_its_gpu_and_a_mutex_is_held_by_one() {
    let command = "mkdir $pwd/lock && sleep 0.1 && rmdir $pwd/lock && echo $REFIT_GPUS > $out";
    let sandbox = Sandbox::new();
    let folder = sandbox.path("");
    let stages: String = (0..4)
        .map(|at| {
            let command = command.replace("$pwd", &folder.display().to_string());
            format!(
                "  s{at}:\n    uses: exec\n    with: {{ run: '{command} # {at}', outputs: {{ out: out.txt }} }}\n    \
                 resources: {{ gpu: 1 }}\n    mutex: lock\n"
            )
        })
        .collect();
    let outputs: String = (0..4).map(|at| format!("  out/{at}: s{at}.out\n")).collect();
    sandbox.write("pipeline.yaml", format!("name: gpus\nstages:\n{stages}outputs:\n{outputs}"));
    let refused = sandbox.refit(["run", "-S", "stages.s0.resources.gpu=3", "--gpus", "2,5"]).expect_code(4);
    assert!(refused.stderr.contains("the stage `s0` needs 3 GPUs, and there are 2"), "{}", refused.stderr);
    assert!(sandbox.refit(["runs"]).stdout.lines().count() <= 1, "what could not begin is no run");
    sandbox.refit(["run", "-j", "4", "--gpus", "2,5"]).expect_code(0);
    for at in 0..4 {
        let told = fs_err::read_to_string(sandbox.path(format!("out/{at}"))).unwrap();
        assert!(["2", "5"].contains(&told.trim()), "{told}");
    }
}

#[test]
fn terms_change_no_key() {
    let sandbox = pipeline("  a:\n    uses: exec\n    with: { run: 'echo x > $out', outputs: { out: out.txt } }\n");
    sandbox.refit(["run"]).expect_code(0);
    let terms =
        ["priority=3", "retries=2", "timeout=10m", "grace=1m", "mutex=m", "resources.memory=1MB", "resources.cpu=1"];
    let set = terms.iter().flat_map(|term| ["-S".to_owned(), format!("stages.a.{term}")]);
    let again = sandbox.refit(["run".to_owned(), "--json".to_owned()].into_iter().chain(set)).expect_code(0);
    assert_eq!(again.stages("cached"), ["a"]);
}

/// What is only to be skipped over takes one line, unless all is asked for.
#[test]
fn many_cached_stages_are_one_line() {
    let stages = |count: usize| {
        (0..count)
            .map(|at| {
                format!("  s{at}: {{ uses: exec, with: {{ run: 'echo {at} > $out', outputs: {{ out: o }} }} }}\n")
            })
            .collect::<String>()
    };
    let sandbox = pipeline(&stages(9));
    sandbox.refit(["run"]).expect_code(0);
    let told = sandbox.refit(["run"]).expect_code(0).stderr;
    assert!(told.starts_with("9 stages cached (-v lists them)\n9 cached (saved "), "{told}");
    let told = sandbox.refit(["run", "-v"]).expect_code(0).stderr;
    assert_eq!(told.matches("  cached   made ").count(), 9, "{told}");
    // A stage that runs stands between what came before and after.
    let told = sandbox.refit(["run", "--force=s4"]).expect_code(0).stderr;
    assert!(told.contains(" cached") && told.contains("s4  start"), "{told}");

    let few = pipeline(&stages(2));
    few.refit(["run"]).expect_code(0);
    let told = few.refit(["run"]).expect_code(0).stderr;
    assert!(told.starts_with("s0  cached   made "), "{told}");
}
