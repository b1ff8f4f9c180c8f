//! What is dropped and what stays.

use std::{
    fs::{self, File, FileTimes},
    path::Path,
    time::{Duration, SystemTime},
};

use refit_cache::{GcPolicy, Lookup, Manifest, Pinned, RunId, StoreError, StoreLock};
use serde_json::json;

use crate::fixture::{Lab, damage, key, manifest, object, write_files};

const DAY: Duration = Duration::from_hours(24);

fn days_ago(days: u32) -> jiff::Timestamp {
    jiff::Timestamp::now() - jiff::SignedDuration::try_from(days * DAY).unwrap()
}

/// A run some days ago that made some results and used others.
fn run(lab: &Lab, lock: &StoreLock, days: u32, made: &[&str], used: &[&str]) -> RunId {
    let run = RunId::at(days_ago(days));
    let folder = lab.store.run_folder(&run);
    fs::create_dir_all(&folder).unwrap();
    for name in made {
        let output = lab.store.step_folder(&key(name)).join("made");
        write_files(&output, &[("own", name.repeat(100).as_bytes()), ("shared", b"shared by all")]);
        let tree = lab.store.ingest(lock, &output).unwrap();
        fs::remove_dir_all(lab.store.step_folder(&key(name))).unwrap();
        lab.store.commit(lock, &Manifest { created: days_ago(days), ..manifest(name, tree, &run) }).unwrap();
    }
    let blocked = json!({"name": "blocked", "key": null});
    let steps = made.iter().chain(used).map(|name| json!({"name": name, "key": key(name)}));
    let stages: Vec<_> = steps.chain([blocked]).collect();
    let report = json!({"run": run, "stages": stages});
    fs::write(folder.join("report.json"), report.to_string()).unwrap();
    run
}

fn kept(lab: &Lab, names: &[&str]) -> Vec<String> {
    let kept = names.iter().filter(|name| matches!(lab.store.lookup(&key(name)).unwrap(), Lookup::Hit(_)));
    kept.map(ToString::to_string).collect()
}

fn policy(keep_runs: usize, older_than: Option<Duration>, max_size: Option<u64>) -> GcPolicy {
    GcPolicy { keep_runs, older_than, max_size, ..GcPolicy::default() }
}

const ALL: &[&str] = &["a", "b", "c", "d"];

/// `a` is used by the newest run, `b` was made by it, `c` is of last week, `d` of last month.
fn history(lab: &Lab, lock: &StoreLock) -> [RunId; 3] {
    let month = run(lab, lock, 30, &["a", "d"], &[]);
    let week = run(lab, lock, 7, &["c"], &["a"]);
    [run(lab, lock, 1, &["b"], &["a"]), week, month]
}

#[test]
fn what_the_newest_runs_used_stays() {
    let lab = Lab::new();
    let lock = lab.lock();
    let [newest, week, month] = history(&lab, &lock);
    let report = lab.store.gc(&lock, &policy(1, None, None)).unwrap();
    assert_eq!(kept(&lab, ALL), ["a", "b"]);
    assert_eq!(report.runs, [week, month]);
    assert_eq!((report.results.len(), report.objects, report.kept_results), (2, 2, 2));
    assert!(report.freed_bytes > 200);
    assert_eq!(lab.store.runs().unwrap(), [newest]);
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    assert_eq!(lab.store.gc(&lock, &policy(1, None, None)).unwrap().freed_bytes, 0);
}

#[test]
fn what_was_used_lately_stays() {
    let lab = Lab::new();
    let lock = lab.lock();
    history(&lab, &lock);
    let report = lab.store.gc(&lock, &policy(0, Some(14 * DAY), None)).unwrap();
    assert_eq!(kept(&lab, ALL), ["a", "b", "c"]);
    assert_eq!(report.runs.len(), 1);
}

#[test]
fn the_least_recently_used_go_when_room_is_short() {
    let lab = Lab::new();
    let lock = lab.lock();
    history(&lab, &lock);
    let all = lab.store.usage().unwrap().object_bytes;
    lab.store.gc(&lock, &policy(1, Some(365 * DAY), Some(all - 1))).unwrap();
    assert_eq!(kept(&lab, ALL), ["a", "b", "c"]);
    let report = lab.store.gc(&lock, &policy(1, Some(365 * DAY), Some(10))).unwrap();
    assert_eq!(kept(&lab, ALL), ["a", "b"]);
    assert!(report.notices[0].contains("more than the 10 asked for"), "{:?}", report.notices);
}

#[test]
fn a_dry_run_only_says_so() {
    let lab = Lab::new();
    let lock = lab.lock();
    history(&lab, &lock);
    let dry = lab.store.gc(&lock, &GcPolicy { dry_run: true, ..policy(1, None, None) }).unwrap();
    assert_eq!(kept(&lab, ALL), ALL);
    assert_eq!(lab.store.runs().unwrap().len(), 3);
    let index = lab.store.usage().unwrap().index_bytes;
    assert!(index > 0);
    assert_eq!(lab.store.gc(&lock, &policy(1, None, None)).unwrap(), dry);
}

#[test]
fn what_a_killed_run_made_stays_with_it() {
    let lab = Lab::new();
    let lock = lab.lock();
    let [newest, ..] = history(&lab, &lock);
    fs::remove_file(lab.store.run_folder(&newest).join("report.json")).unwrap();
    lab.store.gc(&lock, &policy(1, None, None)).unwrap();
    assert_eq!(kept(&lab, ALL), ["b"]);
}

#[test]
fn a_report_that_cannot_be_read_is_named() {
    let lab = Lab::new();
    let lock = lab.lock();
    let [newest, ..] = history(&lab, &lock);
    fs::write(lab.store.run_folder(&newest).join("report.json"), "{").unwrap();
    let report = lab.store.gc(&lock, &policy(1, Some(14 * DAY), None)).unwrap();
    assert!(report.notices[0].contains("report.json cannot be read"), "{:?}", report.notices);
    assert_eq!(kept(&lab, ALL), ["a", "b", "c"]);
}

fn set_time(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn folders_of_steps_stay_until_they_are_forgotten() {
    let lab = Lab::new();
    let lock = lab.lock();
    let [live, old] = ["live", "old"].map(|name| lab.store.step_folder(&key(name)));
    for folder in [&live, &old] {
        write_files(folder, &[("scratch/checkpoint", &[1; 1000])]);
        for path in [&folder.join("scratch"), folder] {
            set_time(path, SystemTime::now() - 8 * DAY);
        }
    }
    set_time(&old.join("scratch/checkpoint"), SystemTime::now() - 8 * DAY);
    let report = lab.store.gc(&lock, &policy(0, None, None)).unwrap();
    assert_eq!((report.leftovers, report.freed_bytes), (1, 1000));
    assert!(live.exists() && !old.exists());
}

#[test]
fn what_is_pinned_stays() {
    let lab = Lab::new();
    let lock = lab.lock();
    let [newest, week, month] = history(&lab, &lock);
    // Beside a run under way: the lock is held here.
    lab.store.pin_result(&key("d"), "train.adapter").unwrap();
    lab.store.pin_run(&week, week.as_str()).unwrap();
    let nothing = policy(0, None, Some(0));
    let report = lab.store.gc(&lock, &nothing).unwrap();
    assert_eq!(kept(&lab, ALL), ["a", "c", "d"]);
    assert_eq!(report.runs, [newest, month]);
    assert_eq!(report.results[0].key, key("b"));

    // Also when the record of the run is gone: the pin says what it holds.
    fs::remove_dir_all(lab.store.run_folder(&week)).unwrap();
    lab.store.gc(&lock, &nothing).unwrap();
    assert_eq!(kept(&lab, ALL), ["a", "c", "d"]);
    assert!(lab.store.unpin(&Pinned::Run(week.clone())).unwrap());
    assert!(!lab.store.unpin(&Pinned::Run(week)).unwrap());
    lab.store.gc(&lock, &nothing).unwrap();
    assert_eq!(kept(&lab, ALL), ["d"]);
    assert_eq!(lab.store.pins().unwrap()[0].name, "train.adapter");
    assert!(matches!(lab.store.pin_result(&key("b"), "b"), Err(StoreError::NoResult { .. })));
}

/// A run some days ago that made this of the step `one`, whatever others made of it.
fn run_that_made(lab: &Lab, lock: &StoreLock, days: u32, bytes: &[u8]) -> (RunId, Manifest) {
    let run = RunId::at(days_ago(days));
    let output = lab.store.step_folder(&key("one")).join("made");
    write_files(&output, &[("own", bytes)]);
    let tree = lab.store.ingest(lock, &output).unwrap();
    let made = Manifest { created: days_ago(days), ..manifest("one", tree, &run) };
    lab.store.commit(lock, &made).unwrap();
    let outputs = json!({ "made": { "digest": made.outputs["made"].digest } });
    fs::create_dir_all(lab.store.run_folder(&run)).unwrap();
    let report = json!({ "run": run, "stages": [{ "key": made.key, "outputs": outputs }] });
    fs::write(lab.store.run_folder(&run).join("report.json"), report.to_string()).unwrap();
    (run, made)
}

#[test]
fn a_kept_run_keeps_what_it_had_though_the_step_made_something_else_since() {
    let lab = Lab::new();
    let lock = lab.lock();
    let (_, first) = run_that_made(&lab, &lock, 3, b"0.9");
    let (good, second) = run_that_made(&lab, &lock, 2, b"0.8");
    let (_, last) = run_that_made(&lab, &lock, 1, b"0.1");
    let had = |made: &Manifest| lab.store.used_result(&made.used()).unwrap() == Some(made.clone());
    let strict = |keep_runs| GcPolicy { grace: Duration::ZERO, ..policy(keep_runs, None, None) };
    assert!(had(&first) && had(&second) && had(&last));

    let report = lab.store.gc(&lock, &strict(2)).unwrap();
    assert!(!had(&first) && had(&second) && had(&last));
    assert_eq!((report.results.len(), report.objects), (1, 1));
    assert!(!object(&lab, b"0.9").exists() && object(&lab, b"0.8").exists());

    // What is pinned of a run is what it had; the key may be free again.
    lab.store.pin_run(&good, "good").unwrap();
    lab.store.gc(&lock, &strict(0)).unwrap();
    assert!(had(&second) && !had(&last));
    assert_eq!(lab.store.lookup(&key("one")).unwrap(), Lookup::Absent);
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    let (_, again) = run_that_made(&lab, &lock, 0, b"0.1");
    assert!(had(&second) && had(&again));
}

#[test]
fn nothing_is_dropped_while_a_pin_cannot_be_read() {
    let lab = Lab::new();
    let lock = lab.lock();
    history(&lab, &lock);
    lab.store.pin_result(&key("d"), "d").unwrap();
    let path = lab.store.root().join(format!("pins/{}.json", key("d")));
    fs::write(&path, "{").unwrap();
    let error = lab.store.gc(&lock, &policy(0, None, None)).unwrap_err();
    assert!(matches!(&error, StoreError::DamagedPin { path: at, .. } if *at == path), "{error}");
    assert_eq!(kept(&lab, ALL), ALL);
}

#[test]
fn young_objects_of_no_result_and_temporary_files_stay_for_a_while() {
    let lab = Lab::new();
    let lock = lab.lock();
    let orphan = lab.write("orphan", &[("a", b"of no result yet")]);
    lab.store.ingest(&lock, &orphan).unwrap();
    fs::create_dir_all(lab.store.root().join("manifests/ab")).unwrap();
    let litter = ["manifests/ab/.refit-1234", ".refit-5678"].map(|name| lab.store.root().join(name));
    for path in &litter {
        fs::write(path, "half").unwrap();
    }
    let report = lab.store.gc(&lock, &policy(0, None, None)).unwrap();
    assert_eq!((report.objects, report.spared_objects, report.leftovers), (0, 1, 0));
    let report = lab.store.gc(&lock, &GcPolicy { grace: Duration::ZERO, ..policy(0, None, None) }).unwrap();
    assert_eq!((report.objects, report.spared_objects, report.leftovers), (1, 0, 2));
    assert!(litter.iter().all(|path| !path.exists()));
}

#[test]
fn damaged_files_stay_for_people_to_look_at_whatever_their_times_say() {
    let lab = Lab::new();
    let lock = lab.lock();
    lab.step(&lock, "one", &[("a.txt", b"alpha")]);
    let path = object(&lab, b"alpha");
    let time = path.metadata().unwrap().modified().unwrap();
    damage(&path, |bytes| bytes[0] ^= 1);
    set_time(&path, time);
    assert!(!lab.store.verify(None).unwrap().is_sound());
    assert_eq!(lab.store.gc(&lock, &GcPolicy::default()).unwrap().leftovers, 0);
    let forgetful = GcPolicy { forget_after: Duration::ZERO, ..GcPolicy::default() };
    assert_eq!(lab.store.gc(&lock, &forgetful).unwrap().leftovers, 1);
}

/// A clock that was set back: what was made yesterday bears a time of next year.
#[test]
fn results_from_the_future_are_not_old_and_the_last_to_go() {
    let lab = Lab::new();
    let lock = lab.lock();
    history(&lab, &lock);
    let future = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365);
    let run = RunId::at(future);
    let output = lab.write("output", &[("own", b"from the future")]);
    let tree = lab.store.ingest(&lock, &output).unwrap();
    lab.store.commit(&lock, &Manifest { created: future, ..manifest("future", tree, &run) }).unwrap();
    lab.store.gc(&lock, &policy(0, Some(DAY / 24), None)).unwrap();
    assert_eq!(kept(&lab, &["a", "b", "future"]), ["future"]);
    let next = lab.store.create_run(&lock).unwrap();
    assert!(lab.store.runs().unwrap()[0] == next);
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
}
