//! Results that machines share.

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use refit_tests::{Fault, FileServer, Outcome, Sandbox, write_questions};
use serde_json::Value;

const PIPELINE: &str = "\
name: small
sources: { faq: faq.jsonl }
stages:
  clean: { uses: clean, inputs: { records: faq } }
  split: { uses: split, inputs: { records: clean.records }, with: { test: 4, seed: 7 } }
outputs: { out/test: split.test }
";

const STAGES: [&str; 2] = ["clean", "split"];

/// A machine with the same project as every other, whose results are shared at that place.
fn machine(place: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    write_questions(&sandbox.path("faq.jsonl"), 40);
    sandbox.write("pipeline.yaml", PIPELINE);
    sandbox.refit(["config", "set", "cache.remote", place]).expect_code(0);
    sandbox
}

fn run(sandbox: &Sandbox, variables: &[(&str, &str)]) -> Outcome {
    let mut command = sandbox.command(["run", "--json"]);
    command.env("REFIT_CACHE_TIMEOUT", "1").envs(variables.iter().copied());
    Outcome::of(command).expect_code(0)
}

/// What came out, whoever made it.
fn digests(outcome: &Outcome) -> Vec<(String, Value)> {
    let outputs = STAGES.iter().map(|stage| outcome.stage(stage)["outputs"].clone());
    let ports = outputs.flat_map(|outputs| outputs.as_object().unwrap().clone());
    ports.map(|(port, output)| (port, output["digest"].clone())).collect()
}

/// How many lines speak of the remote cache.
fn warnings(outcome: &Outcome) -> usize {
    let speaks_of_it = |line: &&str| line.contains("remote cache") || line.contains("shared result");
    outcome.stderr.lines().filter(|line| line.contains("warning")).filter(speaks_of_it).count()
}

#[test]
fn what_one_machine_made_another_has_without_running_anything() {
    let shared = Sandbox::new();
    let place = format!("file://{}", shared.path("shared folder").display());
    let (first, second) = (machine(&place), machine(&place));
    let made = run(&first, &[]);
    assert_eq!(made.stages("ran"), STAGES);
    assert!(made.stderr.contains("2 results shared"), "{}", made.stderr);
    let pulled = run(&second, &[]);
    assert_eq!(pulled.stages("cached"), STAGES);
    assert_eq!(pulled.stderr.matches("from the remote cache").count(), 2, "{}", pulled.stderr);
    assert_eq!(digests(&pulled), digests(&made));
    assert!(second.path("out/test").exists());
    second.refit(["cache", "verify"]).expect_code(0);
    // Nothing half-written lies there, and what was pulled is not pushed back.
    let files: Vec<_> = walk(&shared.path("shared folder"));
    assert!(files.iter().all(|file| file.starts_with("objects/") || file.starts_with("manifests/")), "{files:?}");
    assert!(!pulled.stderr.contains("shared ("), "{}", pulled.stderr);
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap().flat_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            walk(&path).into_iter().map(|below| format!("{name}/{below}")).collect()
        } else {
            vec![path.file_name().unwrap().to_string_lossy().into_owned()]
        }
    });
    entries.collect()
}

#[test]
fn a_local_hit_asks_nobody_and_nothing_is_sent_twice() {
    let server = FileServer::start();
    let first = machine(&server.url("/team"));
    run(&first, &[]);
    let sent = server.take_log();
    assert!(sent.iter().any(|line| line.starts_with("PUT /team/manifests/")), "{sent:?}");
    assert!(sent.iter().any(|line| line.starts_with("PUT /team/objects/")), "{sent:?}");
    assert_eq!(run(&first, &[]).stages("cached"), STAGES);
    assert_eq!(server.take_log(), Vec::<String>::new());
    // A machine that may not pull makes the same, and finds it there.
    let second = machine(&server.url("/team"));
    assert_eq!(run(&second, &[("REFIT_CACHE_PULL", "0")]).stages("ran"), STAGES);
    assert!(server.take_log().iter().all(|line| line.starts_with("HEAD ")));
    // One that may not push pulls, and one that may not do either asks nobody.
    let third = machine(&server.url("/team"));
    run(&third, &[("REFIT_CACHE_PUSH", "0"), ("REFIT_CACHE_PULL", "0")]);
    assert_eq!(server.take_log(), Vec::<String>::new());
}

#[test]
fn whatever_is_wrong_there_the_run_goes_on_and_says_so() {
    let server = FileServer::start();
    let made = run(&machine(&server.url("/team")), &[]);
    for fault in [Fault::NotFound, Fault::Error, Fault::Cut, Fault::WrongBytes, Fault::Stall, Fault::Silence] {
        for place in ["/objects/", "/manifests/"] {
            server.fail(place, fault);
            let began = Instant::now();
            let outcome = run(&machine(&server.url("/team")), &[("REFIT_CACHE_PUSH", "0")]);
            assert_eq!(outcome.stages("ran"), STAGES, "{fault:?} {place}");
            assert_eq!(digests(&outcome), digests(&made), "{fault:?} {place}");
            // A result that is not there is nothing to speak of.
            let expected = usize::from((fault, place) != (Fault::NotFound, "/manifests/"));
            assert!(warnings(&outcome) >= expected, "{fault:?} {place}: {}", outcome.stderr);
            assert!(began.elapsed() < Duration::from_secs(18), "{fault:?} {place} took {:?}", began.elapsed());
            server.heal();
        }
    }
}

#[test]
fn a_place_that_cannot_be_reached_is_said_once() {
    // A port that was free just now, and that nobody listens on.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = run(&machine(&format!("http://{address}/team")), &[]);
    assert_eq!(outcome.stages("ran"), STAGES);
    assert_eq!(warnings(&outcome), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("goes on without it"), "{}", outcome.stderr);
    let offline = run(&machine(&format!("http://{address}/team")), &[("REFIT_OFFLINE", "1")]);
    assert_eq!(warnings(&offline), 0, "{}", offline.stderr);
}

#[test]
fn however_many_stages_ask_a_place_that_does_not_answer_is_waited_for_once() {
    let server = FileServer::start();
    server.fail("/manifests/", Fault::Silence);
    let sandbox = Sandbox::new();
    let stages: String = (0..40)
        .map(|number| {
            format!(
                "  s{number}: {{ uses: exec, with: {{ run: 'echo {number} > $out', outputs: {{ out: out.txt }} }} }}\n"
            )
        })
        .collect();
    sandbox.write("pipeline.yaml", format!("name: wide\nstages:\n{stages}"));
    sandbox.refit(["config", "set", "cache.remote", &server.url("/team")]).expect_code(0);
    let outcome = run(&sandbox, &[]);
    assert_eq!(outcome.stages("ran").len(), 40);
    assert_eq!(warnings(&outcome), 1, "{}", outcome.stderr);
    let asked = server.take_log().len();
    assert!(asked <= 24, "{asked} requests to a place that does not answer");
}

#[test]
fn damage_there_is_refused_and_mended_by_whoever_makes_it_anew() {
    let server = FileServer::start();
    let made = run(&machine(&server.url("/team")), &[]);
    server.edit(|files| {
        for (path, bytes) in files.iter_mut() {
            if path.contains("/objects/") && !bytes.is_empty() {
                bytes[0] ^= 1;
            }
        }
    });
    let second = run(&machine(&server.url("/team")), &[]);
    assert_eq!(second.stages("ran"), STAGES);
    assert!(second.stderr.contains("not what its digest says"), "{}", second.stderr);
    let third = run(&machine(&server.url("/team")), &[]);
    assert_eq!(third.stages("cached"), STAGES, "{}", third.stderr);
    assert_eq!(digests(&third), digests(&made));
}

#[test]
fn only_what_is_signed_with_the_key_is_used_where_there_is_one() {
    let server = FileServer::start();
    let place = server.url("/team");
    let (ours, theirs) = ([("REFIT_CACHE_SIGNING_KEY", "ours")], [("REFIT_CACHE_SIGNING_KEY", "theirs")]);
    run(&machine(&place), &[]);
    // What is there is not signed; it is signed once it was made anew.
    let refused = run(&machine(&place), &ours);
    assert_eq!(refused.stages("ran"), STAGES);
    assert!(refused.stderr.contains("not signed"), "{}", refused.stderr);
    assert_eq!(run(&machine(&place), &ours).stages("cached"), STAGES);
    assert_eq!(run(&machine(&place), &[]).stages("cached"), STAGES);
    let read_only = [theirs[0], ("REFIT_CACHE_PUSH", "0")];
    let refused = run(&machine(&place), &read_only);
    assert_eq!(refused.stages("ran"), STAGES);
    assert!(refused.stderr.contains("not signed with your"), "{}", refused.stderr);
}

#[test]
fn results_are_shared_by_hand() {
    let server = FileServer::start();
    let (first, second) = (machine(&server.url("/team")), machine(&server.url("/team")));
    for sandbox in [&first, &second] {
        for setting in ["cache.push", "cache.pull"] {
            sandbox.refit(["config", "set", setting, "false"]).expect_code(0);
        }
    }
    first.refit(["run"]).expect_code(0);
    assert_eq!(server.take_log(), Vec::<String>::new());
    assert!(first.refit(["cache", "push"]).expect_code(0).stderr.contains("2 results shared"));
    assert!(first.refit(["cache", "push"]).expect_code(0).stderr.contains("2 results there already"));
    assert!(second.refit(["cache", "pull", "clean"]).expect_code(0).stderr.contains("1 result pulled"));
    assert!(second.refit(["cache", "pull"]).expect_code(0).stderr.contains("1 result pulled"));
    assert_eq!(second.refit(["run", "--json"]).expect_code(0).stages("cached"), STAGES);
    first.refit(["config", "unset", "cache.remote"]).expect_code(0);
    assert!(first.refit(["cache", "push"]).expect_code(2).stderr.contains("no remote cache"));
    first.refit(["config", "set", "cache.remote", "ftp://x"]).expect_code(0);
    assert!(first.refit(["cache", "push"]).expect_code(2).stderr.contains("s3://BUCKET/PREFIX"));
}

#[test]
fn a_bucket_of_google_keeps_results() {
    let server = FileServer::start();
    let endpoint = server.url("");
    let account = r#"{"client_email": "x", "private_key": "x", "private_key_id": "x", "disable_oauth": true}"#;
    let variables = [("REFIT_CACHE_ENDPOINT", endpoint.as_str()), ("GOOGLE_SERVICE_ACCOUNT_KEY", account)];
    let made = run(&machine("gs://bucket/team"), &variables);
    assert_eq!(made.stages("ran"), STAGES);
    assert!(made.stderr.contains("2 results shared"), "{}", made.stderr);
    let sent = server.take_log();
    assert!(sent.iter().any(|line| line.starts_with("PUT /bucket/team/manifests/")), "{sent:?}");
    let pulled = run(&machine("gs://bucket/team"), &variables);
    assert_eq!(pulled.stages("cached"), STAGES, "{}", pulled.stderr);
    assert_eq!(digests(&pulled), digests(&made));
    assert_eq!(run(&machine("gs://bucket/other"), &variables).stages("ran"), STAGES);
}

#[test]
fn what_is_still_on_its_way_to_others_holds_nobody_up() {
    let server = FileServer::start();
    let sandbox = machine(&server.url("/team"));
    server.fail("/team/", Fault::Silence);
    let mut command = sandbox.command(["run"]);
    // Long enough that the first run still waits when the second one is over.
    command.env("REFIT_CACHE_TIMEOUT", "12").env("REFIT_CACHE_PULL", "0");
    let mut first = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !sandbox.path("out/test").exists() {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing is copied out");
        thread::sleep(Duration::from_millis(20));
    }
    let mut command = sandbox.command(["run", "--json"]);
    command.env("REFIT_CACHE_PULL", "0").env("REFIT_CACHE_PUSH", "0");
    assert_eq!(Outcome::of(command).expect_code(0).stages("cached"), STAGES);
    assert_eq!(first.try_wait().unwrap(), None, "the first run waits for nobody");
    first.kill().unwrap();
    first.wait().unwrap();
}

/// A server that speaks S3, of another make.
struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    fn start() -> Option<Self> {
        let python = PathBuf::from(env::var_os("REFIT_PEERS")?).join("venv/bin/python");
        let has_moto = Command::new(&python).args(["-c", "import moto.server"]).stderr(Stdio::null()).status();
        has_moto.ok().filter(std::process::ExitStatus::success)?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { process, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_mins(1), "moto does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    fn put(&self, path: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request =
            format!("PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_that_speaks_s3_keeps_results() {
    let Some(moto) = Moto::start() else {
        return eprintln!("skipped: REFIT_PEERS names no folder with moto (tests/peers/setup.py)");
    };
    moto.put("/bucket");
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let variables = [
        ("REFIT_CACHE_ENDPOINT", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_REGION", "us-east-1"),
        ("REFIT_CACHE_TIMEOUT", "20"),
    ];
    let made = run(&machine("s3://bucket/team"), &variables);
    assert_eq!(made.stages("ran"), STAGES);
    assert!(made.stderr.contains("2 results shared"), "{}", made.stderr);
    let pulled = run(&machine("s3://bucket/team"), &variables);
    assert_eq!(pulled.stages("cached"), STAGES, "{}", pulled.stderr);
    assert_eq!(digests(&pulled), digests(&made));
    // Another prefix is another place, and a bucket that is not there is said.
    assert_eq!(run(&machine("s3://bucket/other"), &variables).stages("ran"), STAGES);
    let nowhere = run(&machine("s3://nowhere/team"), &variables);
    assert_eq!(
        (nowhere.stages("ran"), warnings(&nowhere)),
        (STAGES.map(str::to_owned).to_vec(), 1),
        "{}",
        nowhere.stderr
    );
}
