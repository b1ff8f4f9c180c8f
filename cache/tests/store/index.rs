//! The index may be lost or damaged at any time.

use std::{
    fs::{self, File},
    path::PathBuf,
    thread,
    time::Duration,
};

use refit_cache::{Lookup, Manifest, Store, Wait};

use crate::fixture::{Lab, damage};

fn stored() -> (Lab, Vec<Manifest>) {
    let lab = Lab::new();
    let lock = lab.lock();
    let made = ["one", "two", "three"].map(|name| lab.step(&lock, name, &[("a.txt", name.as_bytes())])).to_vec();
    lab.store.measure(&lab.write("source", &[("x", b"x")]), Some(&lock)).unwrap();
    assert_eq!(lock.take_notices(), Vec::<String>::new());
    drop(lock);
    (lab, made)
}

/// All is found, and what a person is told about it.
fn works(lab: &Lab, made: &[Manifest]) -> Vec<String> {
    let lock = lab.lock();
    for manifest in made {
        assert_eq!(lab.store.lookup(&manifest.key).unwrap(), Lookup::Hit(Box::new(manifest.clone())));
    }
    lab.store.measure(&lab.path("source"), Some(&lock)).unwrap();
    lab.step(&lock, "new", &[("b.txt", b"new")]);
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    let notices = lock.take_notices();
    assert!(lock.take_notices().is_empty());
    // From now on the index knows what must be there: it was filled.
    let path = lab.store.manifest_path(&made[0].key);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let report = lab.store.verify(Some(&lock)).unwrap();
    assert_eq!(report.missing_manifests, [made[0].key]);
    fs::write(&path, bytes).unwrap();
    notices
}

/// The files of the index, largest first.
fn files(lab: &Lab) -> Vec<PathBuf> {
    let mut files: Vec<_> = walkdir::WalkDir::new(lab.store.root().join("index"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_file())
        .collect();
    files.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    assert!(!files.is_empty());
    files
}

#[test]
fn an_index_that_is_in_order_is_not_rebuilt() {
    let (lab, made) = stored();
    assert_eq!(works(&lab, &made), Vec::<String>::new());
}

#[test]
fn an_index_that_is_let_go_of_a_little_later_is_waited_for() {
    let (lab, made) = stored();
    let file = held(&lab);
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(file);
    });
    assert_eq!(works(&lab, &made), Vec::<String>::new());
    holder.join().unwrap();
}

#[test]
fn an_index_in_use_is_left_alone() {
    let (lab, made) = stored();
    let before = fs::read(lab.store.root().join("index/db")).unwrap();
    let file = held(&lab);
    let lock = lab.lock();
    assert_eq!(lab.store.lookup(&made[0].key).unwrap(), Lookup::Hit(Box::new(made[0].clone())));
    lab.step(&lock, "new", &[("b.txt", b"new")]);
    let notices = lock.take_notices();
    assert!(matches!(&notices[..], [notice] if notice.contains("is held by another program")), "{notices:?}");
    drop((lock, file));
    assert_eq!(fs::read(lab.store.root().join("index/db")).unwrap(), before);
}

/// The index as another program holds it.
fn held(lab: &Lab) -> File {
    let file = File::open(lab.store.root().join("index/db")).unwrap();
    file.lock().unwrap();
    file
}

#[test]
fn a_deleted_index_is_rebuilt() {
    let (lab, made) = stored();
    fs::remove_dir_all(lab.store.root().join("index")).unwrap();
    let notices = works(&lab, &made);
    assert_eq!(notices, ["the index of the store was gone; it was rebuilt from 3 manifests"]);
}

#[test]
fn a_file_in_place_of_the_index_is_set_aside() {
    let (lab, made) = stored();
    fs::remove_dir_all(lab.store.root().join("index")).unwrap();
    fs::write(lab.store.root().join("index"), "no folder").unwrap();
    let notices = works(&lab, &made);
    assert!(notices[0].contains("was damaged") && notices[0].contains("quarantine"), "{notices:?}");
}

#[test]
fn cut_off_files_are_survived() {
    for length in [0, 1, 7, 100, 4096, 100_000] {
        let (lab, made) = stored();
        for file in files(&lab) {
            damage(&file, |bytes| bytes.truncate(length));
        }
        works(&lab, &made);
    }
}

#[test]
fn deleted_files_are_survived() {
    let (lab, _) = stored();
    for number in 0..files(&lab).len() {
        let (lab, made) = stored();
        fs::remove_file(&files(&lab)[number]).unwrap();
        works(&lab, &made);
    }
}

/// A small generator of numbers, the same at every run.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 17
    }
}

#[test]
fn noise_is_survived() {
    for seed in 0..40 {
        let (lab, made) = stored();
        let mut random = noise(seed);
        for file in files(&lab) {
            damage(&file, |bytes| match (seed % 4, bytes.len()) {
                (_, 0) => {}
                (0, _) => bytes.iter_mut().for_each(|byte| *byte = random() as u8),
                (1, length) => {
                    let from = random() as usize % length;
                    bytes[from..].iter_mut().for_each(|byte| *byte = random() as u8);
                }
                (2, length) => {
                    (0..=length / 50).for_each(|_| bytes[random() as usize % length] ^= 1 << (random() % 8));
                }
                // The beginning is what is in use.
                (_, length) => (0..8).for_each(|_| bytes[random() as usize % length.min(2000)] ^= 1 << (random() % 8)),
            });
        }
        works(&lab, &made);
    }
}

#[test]
fn an_index_that_goes_away_during_a_run_is_survived() {
    let (lab, made) = stored();
    let lock = lab.lock();
    fs::remove_dir_all(lab.store.root().join("index")).unwrap();
    lab.store.measure(&lab.path("source"), Some(&lock)).unwrap();
    lab.step(&lock, "four", &[("a.txt", b"four")]);
    drop(lock);
    works(&lab, &made);
}

#[test]
fn readers_work_while_the_store_is_held() {
    let (lab, made) = stored();
    let _lock = lab.lock();
    let reader = Store::open_existing(lab.store.root()).unwrap();
    assert!(matches!(reader.lookup(&made[0].key).unwrap(), Lookup::Hit(_)));
    reader.measure(&lab.path("source"), None).unwrap();
    reader.hydrate(&made[0].outputs["made"], &lab.path("to")).unwrap();
    assert!(reader.verify(None).unwrap().is_sound());
    assert_eq!(reader.usage().unwrap().manifests, 3);
    assert!(reader.lock("another", Wait::Fail).is_err());
}
