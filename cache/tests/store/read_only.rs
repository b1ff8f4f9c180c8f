//! A store that this user can only read.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
};

use refit_cache::{Exported, Lookup, Store, StoreError, Wait};

use crate::{
    children::{Process, folder, say},
    fixture::{Lab, damage, key, object},
};

/// Runs as a user who owns nothing here.
#[test]
fn child_reads() {
    let Some(folder) = folder() else { return };
    let store = Store::open_existing(&folder.join(".refit")).unwrap();
    let Lookup::Hit(sound) = store.lookup(&key("sound")).unwrap() else { panic!("a hit") };
    let to = tempfile::TempDir::new().unwrap();
    store.hydrate(&sound.outputs["made"], &to.path().join("made")).unwrap();
    assert_eq!(fs::read(to.path().join("made/a.txt")).unwrap(), b"alpha");
    assert_eq!(store.export(&sound.outputs["made"], &to.path().join("out"), None).unwrap(), Exported::Written);
    // It cannot be moved aside, and is not handed out all the same.
    for _ in 0..2 {
        assert!(matches!(store.lookup(&key("damaged")).unwrap(), Lookup::Corrupt { .. }));
        let tree = store.manifest(&key("damaged")).unwrap().unwrap().outputs["made"].clone();
        let error = store.hydrate(&tree, &to.path().join("damaged")).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        fs::remove_dir_all(to.path().join("damaged")).unwrap();
    }
    assert!(!store.verify(None).unwrap().is_sound());
    assert_eq!(store.usage().unwrap().manifests, 2);
    store.measure(&folder.join("source"), None).unwrap();
    assert_eq!(store.runs().unwrap().len(), 1);
    let error = store.lock("me", Wait::Fail).unwrap_err();
    assert!(matches!(error, StoreError::PermissionDenied { .. }), "{error}");
    say("well");
}

fn set_modes(folder: &Path, change: impl Fn(u32) -> u32) {
    for entry in walkdir::WalkDir::new(folder).contents_first(true) {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        fs::set_permissions(entry.path(), Permissions::from_mode(change(mode))).unwrap();
    }
}

#[test]
fn a_reader_needs_no_right_to_write() {
    let lab = Lab::new();
    let lock = lab.lock();
    lab.step(&lock, "sound", &[("a.txt", b"alpha")]);
    lab.step(&lock, "damaged", &[("b.txt", b"beta")]);
    lab.store.create_run(&lock).unwrap();
    drop(lock);
    lab.write("source", &[("x", b"x")]);
    damage(&object(&lab, b"beta"), |bytes| bytes[0] ^= 1);
    // Another user must be able to run the binary.
    let program = lab.path("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_modes(&lab.path(""), |mode| (mode | 0o444 | (mode & 0o100) >> 2 | (mode & 0o100) >> 1 | mode & 0o100) & !0o222);
    let root = rustix::process::geteuid().is_root();
    let mut child = Process::start(&program, "read_only::child_reads", &lab.path(""), |command| {
        if root {
            command.uid(65534).gid(65534);
        }
    });
    let said = child.next();
    set_modes(&lab.path(""), |mode| mode | 0o200);
    assert_eq!(said.as_deref(), Some("well"));
    assert!(child.ends_well());
}
