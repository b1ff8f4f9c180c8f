//! Whatever is killed, whenever: the next run completes, goes on where training was, and ends with the same bytes.

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use refit_tests::{Outcome, Sandbox};

const ROUNDS: u64 = 20;
/// Long enough that most kills hit training, after a snapshot or two.
const LONGER: [&str; 4] = ["-S", "params.epochs=240", "--device", "cpu"];

fn run(sandbox: &Sandbox) -> Outcome {
    sandbox.refit(["run", "--json"].iter().chain(&LONGER)).expect_code(0)
}

/// Ends a process at once, as the system does when memory runs out.
pub(crate) fn kill(process: u32) {
    let killed = std::process::Command::new("kill").args(["-9", &process.to_string()]).output();
    assert!(killed.is_ok());
}

/// The process ids of an engine's workers.
fn workers(engine: u32) -> Vec<u32> {
    fs_err::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            after_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) == Some(engine)
        })
        .collect()
}

/// Waits until an engine has a worker, or is done.
pub(crate) fn wait_for_worker(engine: &mut Child) -> Vec<u32> {
    loop {
        let found = workers(engine.id());
        if !found.is_empty() || engine.try_wait().unwrap().is_some() {
            return found;
        }
        thread::yield_now();
    }
}

/// Kills a run at a random time, engine and worker in turn, and lets the next one end, over and over. What is trained otherwise
/// than here is in `kills.rs`.
#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_adapter() {
    let adapter = "out/adapter/adapter_model.safetensors";
    let whole = Sandbox::tiny();
    let begun = Instant::now();
    run(&whole);
    let length = begun.elapsed();
    let expected = fs_err::read(whole.path(adapter)).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut resumed = 0;
    for round in 0..ROUNDS {
        let sandbox = Sandbox::tiny();
        let mut engine = sandbox.spawn(["run"].iter().chain(&LONGER));
        thread::sleep(Duration::from_secs_f64(length.as_secs_f64() * random.random_range(0.05..0.95)));
        if round % 2 == 0 {
            kill(engine.id());
        } else {
            wait_for_worker(&mut engine).into_iter().for_each(kill);
        }
        engine.wait().unwrap();
        let next = run(&sandbox);
        assert!(
            next.stages("failed").is_empty() && next.stages("blocked").is_empty(),
            "round {round}: {}",
            next.stdout
        );
        assert_eq!(fs_err::read(sandbox.path(adapter)).unwrap(), expected, "round {round}");
        resumed += usize::from(next.stage("train")["facts"].get("train.resumed_after_step").is_some());
    }
    assert!(resumed > 0, "no kill hit training, or training never resumed");
}

#[test]
fn ctrl_c_keeps_what_is_finished_and_says_130() {
    let sandbox = Sandbox::tiny();
    let mut engine = sandbox.spawn(["run"].iter().chain(&LONGER));
    while !sandbox.path(".refit/manifests").exists() || manifests(&sandbox) == 0 {
        assert!(engine.try_wait().unwrap().is_none(), "the run ended before it could be interrupted");
        thread::yield_now();
    }
    let interrupted = std::process::Command::new("kill").args(["-INT", &engine.id().to_string()]).output();
    assert!(interrupted.is_ok());
    assert_eq!(engine.wait().unwrap().code(), Some(130));
    assert!(workers(engine.id()).is_empty());
    let next = run(&sandbox);
    assert!(next.stages("cached").contains(&"clean".to_owned()), "{}", next.stdout);
}

fn manifests(sandbox: &Sandbox) -> usize {
    walkdir::WalkDir::new(sandbox.path(".refit/manifests"))
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file() && entry.path().extension().is_some_and(|kind| kind == "json"))
        .count()
}
