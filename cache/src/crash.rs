//! Killed at every step of every change, with and without a loss of power: 500 rounds of it, and nothing that was reported
//! is lost, nothing torn is taken for whole, and the next process goes on at once.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; children talk by stdout"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    Digest, Entry, GcPolicy, Lookup, MANIFEST_FORMAT, Manifest, RunId, StepKey, Store, StoreLock, Tree, UsedResult,
    Wait, failpoint,
};

/// In all. `REFIT_CRASH_ROUNDS` asks for more.
const ROUNDS: u64 = 500;
/// As many stores share the rounds.
const STORES: u64 = 4;

/// The run in the file that children import.
const IMPORTED_RUN: &str = "20010101T000000-000000";

const FOLDER: &str = "REFIT_CRASH_FOLDER";
const SEED: &str = "REFIT_CRASH_SEED";
const PLACE: &str = "REFIT_CRASH_PLACE";

/// The same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What a child may do; each does all of it, in an order of its own.
#[derive(Debug, Clone, Copy)]
enum Act {
    Commit,
    CommitGroup,
    MakeAnew,
    Pin,
    Collect,
    RebuildIndex,
    SetIndexAside,
    Export,
    Import,
}

/// What stands behind a `;` in the name tells apart results of the same step.
fn key(name: &str) -> StepKey {
    let step = name.split(';').next();
    StepKey::compute("crash", 1, &json!({ "name": step }), &BTreeMap::new())
}

fn used(name: &str) -> UsedResult {
    UsedResult::new(key(name), [("made", tree(name).digest)])
}

/// The files of a result follow from its name; some are those of other results, too.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut numbers = Numbers(u64::from_le_bytes(key(name).as_bytes()[..8].try_into().unwrap()));
    let own = name.bytes().cycle().take(name.len() + numbers.below(40_000) as usize).collect();
    let shared = format!("shared {}", numbers.below(4)).into_bytes();
    vec![("own".to_owned(), own), ("deep/shared".to_owned(), shared)]
}

fn tree(name: &str) -> Tree {
    let entry = |(path, bytes): (String, Vec<u8>)| Entry {
        path,
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        executable: false,
    };
    Tree::folder(files(name).into_iter().map(entry).collect())
}

fn manifest(name: &str, run: &RunId) -> Manifest {
    Manifest {
        format: MANIFEST_FORMAT,
        key: key(name),
        kind: "crash".to_owned(),
        version: 1,
        params: json!({ "name": name }),
        inputs: BTreeMap::new(),
        outputs: [("made".to_owned(), tree(name))].into(),
        log: None,
        facts: BTreeMap::new(),
        warnings: Vec::new(),
        seconds: 0.1,
        peak_memory: 0,
        created: jiff::Timestamp::now(),
        run: run.clone(),
    }
}

fn write_output(store: &Store, name: &str) -> PathBuf {
    let output = store.step_folder(&key(name)).join("out/made");
    // A killed step leaves its folder.
    let _ = fs::remove_dir_all(&output);
    for (path, bytes) in files(name) {
        let path = output.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    // One with another name elsewhere is copied instead of moved.
    let linked = store.step_folder(&key(name)).join("linked");
    let _ = fs::remove_file(&linked);
    if name.ends_with(['1', '4']) {
        fs::hard_link(output.join("own"), linked).unwrap();
    }
    output
}

/// As the report of a run has it.
fn stage(name: &str) -> serde_json::Value {
    json!({ "key": key(name), "outputs": { "made": { "digest": tree(name).digest } } })
}

fn say(text: &str) {
    println!("SAY {text}");
}

struct Child {
    store: Store,
    folder: PathBuf,
    run: RunId,
    numbers: Numbers,
    made: Vec<String>,
}

impl Child {
    fn next_name(&mut self) -> String {
        // Now and then one that is there already is made again.
        match (self.made.last(), self.numbers.below(6)) {
            (Some(name), 0) => name.clone(),
            _ => format!("{} {}", self.run, self.made.len()),
        }
    }

    fn act(&mut self, act: Act, mut lock: StoreLock) -> StoreLock {
        match act {
            Act::Commit => {
                let name = self.next_name();
                let made = self.store.ingest(&lock, &write_output(&self.store, &name)).unwrap();
                assert_eq!(made, tree(&name));
                self.store.commit(&lock, &manifest(&name, &self.run)).unwrap();
                say(&format!("made {name}"));
                self.made.push(name);
            }
            Act::CommitGroup => {
                let committer = self.store.committer(&lock).unwrap();
                let (tell, told) = mpsc::channel();
                let many = 1 + self.numbers.below(5);
                for _ in 0..many {
                    let name = self.next_name();
                    let taken = self.store.take_in(&lock, &write_output(&self.store, &name)).unwrap();
                    let (tell, told) = (tell.clone(), name.clone());
                    let then = Box::new(move |_, done: Result<_, _>| tell.send((told, done.is_ok())).unwrap());
                    committer.commit(manifest(&name, &self.run), vec![taken], then);
                    self.made.push(name);
                }
                for _ in 0..many {
                    let (name, done) = told.recv().unwrap();
                    assert!(done);
                    say(&format!("made {name}"));
                }
            }
            Act::MakeAnew => {
                let Some(name) = self.made.last().filter(|name| *name != "imported") else { return lock };
                let step = name.split(';').next().unwrap();
                let name = format!("{step}; anew {}", self.numbers.below(3));
                self.store.ingest(&lock, &write_output(&self.store, &name)).unwrap();
                self.store.commit(&lock, &manifest(&name, &self.run)).unwrap();
                say(&format!("made {name}"));
                self.made.push(name);
            }
            Act::Pin => {
                let Some(name) = self.made.last().cloned() else { return lock };
                self.store.pin_result(&key(&name), &name).unwrap();
                say(&format!("pinned {name}"));
            }
            Act::Collect => {
                let stages: Vec<_> = self.made.iter().map(|name| stage(name)).collect();
                let report = self.store.run_folder(&self.run).join("report.json");
                crate::write_atomic(&report, json!({ "stages": stages }).to_string().as_bytes()).unwrap();
                say("sweeping");
                let policy = GcPolicy {
                    keep_runs: 1,
                    older_than: None,
                    grace: std::time::Duration::ZERO,
                    forget_after: std::time::Duration::ZERO,
                    ..GcPolicy::default()
                };
                self.store.gc(&lock, &policy).unwrap();
            }
            Act::RebuildIndex => {
                drop(lock);
                fs::remove_dir_all(self.store.index_folder()).unwrap();
                lock = self.store.lock("crashing", Wait::Fail).unwrap();
            }
            Act::SetIndexAside => {
                drop(lock);
                for entry in walkdir::WalkDir::new(self.store.index_folder()).into_iter().flatten() {
                    if entry.file_type().is_file() {
                        fs::write(entry.path(), "noise").unwrap();
                    }
                }
                lock = self.store.lock("crashing", Wait::Fail).unwrap();
                let notices = lock.take_notices();
                // Where keys find nothing, because only earlier results are pinned, there may be nothing to say.
                let silent = notices.is_empty() && self.store.manifests().unwrap().is_empty();
                assert!(silent || notices.len() == 1 && notices[0].contains("rebuilt from"), "{notices:?}");
            }
            Act::Export => {
                let Some(name) = self.made.last() else { return lock };
                self.store.export(&tree(name), &self.folder.join("out/made"), Some(&lock)).unwrap();
            }
            Act::Import => {
                let bundle = self.folder.join("bundle.refit");
                let file = fs::File::open(&bundle).unwrap();
                self.store.import(&lock, file, &bundle, &|_| {}).unwrap();
                say("made imported");
                self.made.push("imported".to_owned());
                // What comes again is imported again.
                fs::remove_dir_all(self.store.run_folder(&IMPORTED_RUN.parse().unwrap())).unwrap();
            }
        }
        lock
    }
}

/// Does everything until it is killed; nothing in an ordinary run of the tests.
#[test]
fn child_of_the_crash_test() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut numbers = Numbers(env::var(SEED).unwrap().parse().unwrap());
    let store = Store::open(&folder.join(".refit")).unwrap();
    let place = env::var(PLACE).ok();
    let left = if place.is_some() { numbers.below(2) } else { numbers.below(60) };
    let power = (numbers.below(2) == 0).then(|| numbers.next());
    failpoint::arm(place, left, power);
    let mut lock = store.lock("crashing", Wait::Fail).unwrap();
    let run = store.create_run(&lock).unwrap();
    let mut acts = vec![
        Act::Commit,
        Act::CommitGroup,
        Act::Pin,
        Act::Collect,
        Act::RebuildIndex,
        Act::SetIndexAside,
        Act::Export,
        Act::Import,
        Act::MakeAnew,
        Act::MakeAnew,
        Act::CommitGroup,
        Act::Commit,
    ];
    let mut child = Child { store, folder, run, numbers, made: Vec::new() };
    while !acts.is_empty() {
        let next = acts.swap_remove(child.numbers.below(acts.len() as u64) as usize);
        lock = child.act(next, lock);
    }
}

/// The names of all places, as they stand in the sources.
fn places() -> Vec<String> {
    let mut places = BTreeSet::new();
    for entry in walkdir::WalkDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            places.extend(
                text.split("failpoint!(\"").skip(1).filter_map(|rest| Some(rest.split_once("\");")?.0.to_owned())),
            );
        }
    }
    places.into_iter().filter(|place| place.contains(": ")).collect()
}

/// What the parent knows of one store.
#[derive(Default)]
struct Expected {
    /// Reported results that nothing allows to be gone.
    certain: BTreeSet<String>,
    pinned: BTreeSet<String>,
}

impl Expected {
    /// Takes in what a child said; returns where it was killed.
    fn hear(&mut self, said: &str) -> Option<String> {
        let mut own = BTreeSet::new();
        let mut killed = None;
        for line in said.lines().filter_map(|line| Some(line.split_once("SAY ")?.1)) {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("made", name) => drop(own.insert(name.to_owned()).then(|| self.certain.insert(name.to_owned()))),
                ("pinned", name) => drop(self.pinned.insert(name.to_owned()).then_some(())),
                ("sweeping", _) => self.certain.retain(|name| own.contains(name) || self.pinned.contains(name)),
                ("killed", place) => killed = place.strip_prefix("at ").map(ToOwned::to_owned),
                _ => panic!("unexpected: {line}"),
            }
        }
        killed
    }

    fn check(&self, store: &Store, context: &str) {
        // Free at once.
        let lock = store.lock("checking", Wait::Fail).unwrap_or_else(|error| panic!("{context}: {error}"));
        let notices = lock.take_notices();
        // Killed between making the old index useless and filling a new one.
        assert!(notices.iter().all(|notice| notice.contains("rebuilt from")), "{context}: {notices:?}");
        for name in &self.certain {
            // Of a step that made several, the one that its key finds may have been dropped.
            let found = store.lookup(&key(name)).unwrap();
            assert!(matches!(found, Lookup::Hit(_) | Lookup::Absent), "{context}: {name} is damaged: {found:?}");
            let found = store.used_result(&used(name)).unwrap();
            let found = found.unwrap_or_else(|| panic!("{context}: {name} was reported and is lost"));
            assert_eq!(found.outputs["made"], tree(name), "{context}");
        }
        // The index knows of nothing that is not there, and every result has all its objects.
        let report = store.verify(Some(&lock)).unwrap();
        assert!(report.is_sound(), "{context}: {report:?}");
        assert_eq!(
            store.pins().unwrap().len(),
            store
                .pins()
                .unwrap()
                .iter()
                .filter(|pin| store.used_result(pin.results.first().unwrap()).unwrap().is_some())
                .count(),
            "{context}"
        );
        let litter: Vec<String> =
            crate::store::names(&store.tmp()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert!(
            litter.iter().all(|name| name.starts_with("step-") || name.starts_with("import-")),
            "{context}: {litter:?}"
        );
    }
}

/// Memory, where that looks like a disk: it is many times faster, and what a loss of power does is imitated anyway.
fn fast_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Writes the file that children import.
fn write_bundle(to: &Path) {
    let lab = fast_folder();
    let store = Store::open(&lab.path().join(".refit")).unwrap();
    let lock = store.lock("exporting", Wait::Fail).unwrap();
    let run: RunId = IMPORTED_RUN.parse().unwrap();
    fs::create_dir(store.run_folder(&run)).unwrap();
    store.ingest(&lock, &write_output(&store, "imported")).unwrap();
    store.commit(&lock, &manifest("imported", &run)).unwrap();
    let report = json!({ "stages": [{ "key": key("imported") }] }).to_string();
    fs::write(store.run_folder(&run).join("report.json"), report).unwrap();
    store.export_run(&run, to, &|_| {}).unwrap();
}

fn rounds(store_number: u64, rounds: u64, places: &[String]) -> BTreeMap<String, u64> {
    let lab = fast_folder();
    let store = Store::open(&lab.path().join(".refit")).unwrap();
    fs::create_dir(lab.path().join("out")).unwrap();
    write_bundle(&lab.path().join("bundle.refit"));
    let mut expected = Expected::default();
    let mut killed = BTreeMap::new();
    for round in 0..rounds {
        let number = round * STORES + store_number;
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "crash::child_of_the_crash_test", "--nocapture", "--test-threads=1"]);
        command.env(FOLDER, lab.path()).env(SEED, number.to_string()).stdin(Stdio::null());
        // Every place has its turns; between them, chance decides.
        if number.is_multiple_of(2) {
            command.env(PLACE, &places[(number / 2) as usize % places.len()]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let context = format!("round {number}: {said}{}", String::from_utf8_lossy(&output.stderr));
        match expected.hear(&said) {
            Some(place) => *killed.entry(place).or_default() += 1,
            None => assert!(output.status.success(), "{context}"),
        }
        expected.check(&store, &context);
    }
    killed
}

#[test]
fn a_store_survives_being_killed_at_every_step() {
    let places = places();
    assert!(places.len() >= 15, "{places:?}");
    let asked = env::var("REFIT_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let killed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STORES)
            .map(|store| {
                scope.spawn({
                    let places = &places;
                    move || rounds(store, asked.max(ROUNDS) / STORES, places)
                })
            })
            .collect();
        let mut killed = BTreeMap::<String, u64>::new();
        for thread in threads {
            for (place, times) in thread.join().unwrap() {
                *killed.entry(place).or_default() += times;
            }
        }
        killed
    });
    let spared: Vec<&String> = places.iter().filter(|place| !killed.contains_key(*place)).collect();
    assert!(spared.is_empty(), "never killed at {spared:?}");
    assert!(killed.values().sum::<u64>() > asked / 2, "{killed:?}");
}
