//! What is dropped and what stays.

use std::{
    fs::{self, File, FileTimes},
    path::Path,
    time::{Duration, SystemTime},
};

use refit_cache::{GcPolicy, Lookup, Manifest, RunId, StoreLock};
use serde_json::json;

use crate::fixture::{Lab, key, manifest, write_files};

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
    GcPolicy { keep_runs, older_than, max_size, dry_run: false }
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
