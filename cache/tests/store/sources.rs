//! Measuring what lies outside the store.

use std::{
    ffi::OsStr,
    fs::{self, File, FileTimes},
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    time::{Duration, SystemTime},
};

use refit_cache::{Content, Digest, StoreError, Tree};

use crate::fixture::{Lab, write_files};

#[test]
fn links_of_sources_are_followed() {
    let lab = Lab::new();
    let blobs = lab.write("hub/blobs", &[("0123", b"weights")]);
    let snapshot = lab.write("hub/snapshots/main", &[("config.json", b"{}")]);
    symlink("../../blobs/0123", snapshot.join("model.safetensors")).unwrap();
    let plain = lab.write("plain", &[("config.json", b"{}"), ("model.safetensors", b"weights")]);
    assert_eq!(lab.store.measure(&snapshot, None).unwrap(), lab.store.measure(&plain, None).unwrap());
    symlink(&snapshot, lab.path("link")).unwrap();
    assert_eq!(lab.store.measure(&lab.path("link"), None).unwrap(), lab.store.measure(&plain, None).unwrap());
    let file = lab.store.measure(&snapshot.join("model.safetensors"), None).unwrap();
    assert_eq!(file, lab.store.measure(&blobs.join("0123"), None).unwrap());
    assert_eq!(file, Tree::file(Digest::of(b"weights"), 7));
}

#[test]
fn links_to_nowhere_and_circles_are_named() {
    let lab = Lab::new();
    let broken = lab.write("broken", &[]);
    symlink("gone", broken.join("link")).unwrap();
    let circle = lab.write("circle", &[("in/a", b"")]);
    symlink(&circle, circle.join("in/up")).unwrap();
    symlink("self", lab.path("self")).unwrap();
    for path in [&broken, &circle, &broken.join("link"), &lab.path("self")] {
        let outcome = lab.store.measure(path, None);
        assert!(matches!(&outcome, Err(StoreError::BrokenLink { .. })), "{outcome:?}");
    }
}

#[test]
fn any_name_in_utf8_works_and_no_other() {
    let lab = Lab::new();
    let names = ["学习 数据.jsonl", "tab\tand\nline", " ", "ümläut", "u\u{308}", "back\\slash", "-rf", "🦀", "\"'$(x)"];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
    let folder = lab.write("学习 资料", &files);
    let tree = lab.store.measure(&folder, None).unwrap();
    let Content::Folder(entries) = &tree.content else { panic!("a folder") };
    assert_eq!(entries.len(), names.len());
    let lock = lab.lock();
    assert_eq!(lab.store.ingest(&lock, &folder).unwrap(), tree);
    lab.store.export(&tree, &folder, Some(&lock)).unwrap();
    assert_eq!(lab.store.measure(&folder, None).unwrap(), tree);

    fs::write(folder.join(OsStr::from_bytes(b"latin-\xfc.txt")), "").unwrap();
    for outcome in [lab.store.measure(&folder, None), lab.store.ingest(&lock, &folder)] {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::NameNotUtf8 { path } if path.starts_with(&folder)), "{error}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let lab = Lab::new();
    let folder = lab.write("folder", &[("a", b"")]);
    let _socket = UnixListener::bind(folder.join("socket")).unwrap();
    for path in [&folder, &folder.join("socket")] {
        assert!(matches!(lab.store.measure(path, None), Err(StoreError::NotAFile { .. })));
    }
    let outcome = lab.store.ingest(&lab.lock(), &folder);
    assert!(matches!(outcome, Err(StoreError::NotAFile { path }) if path.ends_with("socket")));
    assert!(matches!(lab.store.measure(&lab.path("none"), None), Err(StoreError::NotFound { .. })));
}

#[test]
fn the_store_itself_is_no_part_of_a_source() {
    let lab = Lab::new();
    let folder = lab.path("");
    write_files(&folder, &[("a.txt", b"alpha")]);
    let before = lab.store.measure(&folder, None).unwrap();
    let lock = lab.lock();
    lab.step(&lock, "one", &[("x", b"x")]);
    assert_eq!(lab.store.measure(&folder, Some(&lock)).unwrap(), before);
    assert_eq!(before.bytes, 5);
}

#[test]
fn empty_folders_and_times_are_nothing() {
    let lab = Lab::new();
    let folder = lab.write("folder", &[("a.txt", b"alpha")]);
    let before = lab.store.measure(&folder, None).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    set_time(&folder.join("a.txt"), SystemTime::UNIX_EPOCH);
    assert_eq!(lab.store.measure(&folder, None).unwrap(), before);
}

fn set_time(path: &std::path::Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Every way to change a file shows, whatever its times say: also in the same tick of the clock, with an older time (a
/// clock that was set back, `cp -p`, a checkout), with a future one.
#[test]
fn every_change_shows() {
    let lab = Lab::new();
    let lock = lab.lock();
    let folder = lab.write("folder", &[("a.txt", b"0000")]);
    let path = folder.join("a.txt");
    let hour = Duration::from_hours(1);
    let now = SystemTime::now();
    for (round, time) in
        [now, now, now - hour, now - hour, now + hour, now + hour, now - 2 * hour].into_iter().enumerate()
    {
        let bytes = format!("{round:04}");
        fs::write(&path, &bytes).unwrap();
        set_time(&path, time);
        for _ in 0..2 {
            let tree = lab.store.measure(&path, Some(&lock)).unwrap();
            assert_eq!(tree.digest, Digest::of(bytes.as_bytes()), "round {round}");
        }
        // Another file under the same name.
        let other = lab.path("other");
        fs::write(&other, "same").unwrap();
        set_time(&other, time);
        fs::rename(&other, &path).unwrap();
        assert_eq!(lab.store.measure(&path, Some(&lock)).unwrap().digest, Digest::of(b"same"));
    }
}

#[test]
fn a_large_file_is_hashed_as_blake3_does() {
    let lab = Lab::new();
    for size in [0, 1, 511 << 10, 512 << 10, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 5_000_000] {
        let bytes: Vec<u8> = (0..size).map(|place: u32| (place % 251) as u8).collect();
        fs::write(lab.path("large"), &bytes).unwrap();
        let tree = lab.store.measure(&lab.path("large"), None).unwrap();
        assert_eq!(tree, Tree::file(Digest::of(&bytes), u64::from(size)));
    }
}
