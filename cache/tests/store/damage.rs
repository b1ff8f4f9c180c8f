//! Whatever happens to the files of a store, nothing damaged is handed out.

use std::{
    fs::{self, File, FileTimes},
    path::Path,
};

use refit_cache::{Digest, Lookup, Manifest, StoreError, StoreLock};

use crate::fixture::{Lab, damage, make_writable, object};

const FILES: &[(&str, &[u8])] = &[("a.txt", b"alpha"), ("b.txt", b"beta")];

fn stored() -> (Lab, StoreLock, Manifest) {
    let lab = Lab::new();
    let lock = lab.lock();
    let made = lab.step(&lock, "one", FILES);
    (lab, lock, made)
}

/// The step runs again and everything is well.
fn repeats(lab: &Lab, lock: &StoreLock) {
    let again = lab.step(lock, "one", FILES);
    assert_eq!(lab.store.lookup(&again.key).unwrap(), Lookup::Hit(Box::new(again.clone())));
    let to = lab.path("repeated");
    lab.store.hydrate(&again.outputs["made"], &to).unwrap();
    assert_eq!(fs::read(to.join("a.txt")).unwrap(), b"alpha");
    fs::remove_dir_all(to).unwrap();
    assert!(lab.store.verify(Some(lock)).unwrap().is_sound());
}

fn quarantined(lab: &Lab) -> usize {
    fs::read_dir(lab.store.root().join("quarantine")).unwrap().count()
}

fn damage_keeping_time(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let time = path.metadata().unwrap().modified().unwrap();
    damage(path, change);
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn a_flipped_bit_is_found_by_a_lookup() {
    let (lab, lock, made) = stored();
    damage(&object(&lab, b"alpha"), |bytes| bytes[2] ^= 1);
    let Lookup::Corrupt { manifest, object: Some(object), what } = lab.store.lookup(&made.key).unwrap() else {
        panic!("damaged");
    };
    assert_eq!((*manifest.unwrap(), object), (made.clone(), Digest::of(b"alpha")));
    assert!(what.contains(&object.short()) && what.contains("quarantine"), "{what}");
    assert_eq!(quarantined(&lab), 1);
    assert!(
        matches!(lab.store.lookup(&made.key).unwrap(), Lookup::Missing { object, .. } if object == Digest::of(b"alpha"))
    );
    repeats(&lab, &lock);
}

#[test]
fn a_flipped_bit_behind_an_old_time_is_found_before_it_is_handed_out() {
    for export in [false, true] {
        let (lab, lock, made) = stored();
        damage_keeping_time(&object(&lab, b"alpha"), |bytes| bytes[2] ^= 1);
        let to = lab.path("to");
        let tree = &made.outputs["made"];
        let outcome = if export { lab.store.export(tree, &to, None).map(drop) } else { lab.store.hydrate(tree, &to) };
        assert!(matches!(outcome, Err(StoreError::Corrupt { object, path })
            if object == Digest::of(b"alpha") && path.starts_with(lab.store.root().join("quarantine"))));
        assert!(!to.join("a.txt").exists());
        assert!(matches!(lab.store.lookup(&made.key).unwrap(), Lookup::Missing { .. }));
        repeats(&lab, &lock);
    }
}

#[test]
fn a_repeated_step_replaces_what_is_damaged_behind_an_old_time() {
    let (lab, lock, _) = stored();
    damage_keeping_time(&object(&lab, b"alpha"), |bytes| bytes[2] ^= 1);
    repeats(&lab, &lock);
    assert_eq!(quarantined(&lab), 1);
}

#[test]
fn cut_off_grown_emptied_and_replaced_objects_are_found() {
    let changes: [fn(&Path); 5] = [
        |path| damage(path, |bytes| bytes.truncate(3)),
        |path| damage_keeping_time(path, Vec::clear),
        |path| damage_keeping_time(path, |bytes| bytes.push(0)),
        |path| damage(path, |bytes| bytes.extend(b"more")),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
    ];
    for change in changes {
        let (lab, lock, made) = stored();
        change(&object(&lab, b"alpha"));
        assert!(matches!(lab.store.lookup(&made.key).unwrap(), Lookup::Corrupt { .. }));
        repeats(&lab, &lock);
    }
}

#[test]
fn an_object_that_was_only_touched_is_fine() {
    let (lab, _lock, made) = stored();
    let path = object(&lab, b"alpha");
    let time = path.metadata().unwrap().modified().unwrap();
    make_writable(&path);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(FileTimes::new().set_modified(std::time::SystemTime::now()))
        .unwrap();
    assert!(matches!(lab.store.lookup(&made.key).unwrap(), Lookup::Hit(_)));
    assert_eq!(path.metadata().unwrap().modified().unwrap(), time);
}

#[test]
fn deleted_objects_and_manifests_are_missed() {
    let (lab, lock, made) = stored();
    fs::remove_file(object(&lab, b"beta")).unwrap();
    assert!(
        matches!(lab.store.lookup(&made.key).unwrap(), Lookup::Missing { object, .. } if object == Digest::of(b"beta"))
    );
    let to = lab.path("to");
    assert!(matches!(lab.store.hydrate(&made.outputs["made"], &to), Err(StoreError::MissingObject { .. })));
    assert_eq!(lab.store.verify(None).unwrap().missing_objects, [(made.key, Digest::of(b"beta"))]);
    repeats(&lab, &lock);

    fs::remove_file(lab.store.manifest_path(&made.key)).unwrap();
    assert_eq!(lab.store.lookup(&made.key).unwrap(), Lookup::Absent);
    assert_eq!(lab.store.verify(Some(&lock)).unwrap().missing_manifests, [made.key]);
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    repeats(&lab, &lock);
}

#[test]
fn damaged_manifests_are_set_aside() {
    let changes: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        Vec::clear,
        |bytes| bytes[200] ^= 4,
        |bytes| bytes.fill(0),
        |bytes| *bytes = b"{}".to_vec(),
    ];
    for change in changes {
        let (lab, lock, made) = stored();
        let path = lab.store.manifest_path(&made.key);
        damage(&path, change);
        assert!(matches!(lab.store.manifest(&made.key), Err(StoreError::CorruptManifest { .. })));
        let found = lab.store.lookup(&made.key).unwrap();
        assert!(matches!(found, Lookup::Corrupt { manifest: None, object: None, .. }), "{found:?}");
        assert_eq!(quarantined(&lab), 1);
        assert_eq!(lab.store.lookup(&made.key).unwrap(), Lookup::Absent);
        repeats(&lab, &lock);
    }
}

#[test]
fn verify_names_everything_at_once() {
    let (lab, lock, made) = stored();
    let two = lab.step(&lock, "two", &[("c.txt", b"gamma")]);
    damage_keeping_time(&object(&lab, b"alpha"), |bytes| bytes[0] ^= 128);
    damage(&lab.store.manifest_path(&two.key), |bytes| bytes[150] ^= 1);
    let report = lab.store.verify(Some(&lock)).unwrap();
    assert_eq!((report.objects, report.bytes, report.manifests), (3, 14, 2));
    assert_eq!(report.damaged_objects.len(), 1);
    assert_eq!(report.damaged_objects[0].0, Digest::of(b"alpha"));
    assert_eq!(report.damaged_manifests.len(), 1);
    assert_eq!(report.damaged_manifests[0].0, two.key);
    assert_eq!(report.missing_objects, [(made.key, Digest::of(b"alpha"))]);
    assert_eq!(report.lost_results(), [made.key, two.key].into());
    assert_eq!(report.incomplete[&made.key], made);
    assert!(!report.is_sound());
    assert_eq!(quarantined(&lab), 2);
    repeats(&lab, &lock);
}

#[test]
fn the_same_object_can_be_damaged_again() {
    let (lab, lock, made) = stored();
    for times in 1..4 {
        damage(&object(&lab, b"alpha"), |bytes| bytes[2] ^= 1);
        assert!(matches!(lab.store.lookup(&made.key).unwrap(), Lookup::Corrupt { .. }));
        assert_eq!(quarantined(&lab), times);
        repeats(&lab, &lock);
    }
}

#[test]
fn damage_that_no_result_needs_is_moved_aside_and_no_alarm() {
    let (lab, _lock, made) = stored();
    damage(&object(&lab, b"alpha"), |bytes| bytes.fill(0));
    fs::remove_file(lab.store.manifest_path(&made.key)).unwrap();
    let report = lab.store.verify(None).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.damaged_objects.len(), report.damaged_leftovers.len(), quarantined(&lab)), (0, 1, 1));
}

#[test]
fn verify_says_how_far_it_is() {
    let (lab, _lock, _) = stored();
    let seen = std::sync::Mutex::new(Vec::new());
    lab.store.verify_files(&|verified| seen.lock().unwrap().push(verified)).unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.iter().map(|verified| verified.done).max(), Some(9));
    assert!(seen.len() == 2 && seen.iter().all(|verified| verified.total == 9));
}
