//! One process at a time commits.

use std::{fs, io::Write, sync::mpsc, thread};

use refit_cache::{Store, StoreError, Wait};

use crate::{
    children::{Process, folder, say},
    fixture::Lab,
};

const ROUNDS: u64 = 25;

/// Adds to a number in a file, which goes wrong unless one does it at a time.
#[test]
fn child_counts() {
    let Some(folder) = folder() else { return };
    let store = Store::open(&folder.join(".refit")).unwrap();
    for _ in 0..ROUNDS {
        let lock = store.lock("counting", Wait::Block(&mut |_| {})).unwrap();
        let path = folder.join("count");
        let count: u64 = fs::read_to_string(&path).unwrap().parse().unwrap();
        thread::yield_now();
        fs::write(&path, (count + 1).to_string()).unwrap();
        drop(lock);
    }
}

#[test]
fn child_holds() {
    let Some(folder) = folder() else { return };
    let store = Store::open(&folder.join(".refit")).unwrap();
    let _lock = store.lock("refit run pipelines/学习", Wait::Fail).unwrap();
    say("held");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn two_processes_take_turns() {
    let lab = Lab::new();
    fs::write(lab.path("count"), "0").unwrap();
    let children = [(), ()].map(|()| Process::of_this_binary("locking::child_counts", &lab.path("")));
    assert!(children.map(Process::ends_well).iter().all(|well| *well));
    assert_eq!(fs::read_to_string(lab.path("count")).unwrap(), (2 * ROUNDS).to_string());
}

#[test]
fn who_holds_it_is_named() {
    let lab = Lab::new();
    let mut child = Process::of_this_binary("locking::child_holds", &lab.path(""));
    assert_eq!(child.next().unwrap(), "held");
    let error = lab.store.lock("me", Wait::Fail).unwrap_err();
    let StoreError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(lab.store.holder().unwrap().unwrap().to_string(), *holder);
    assert!(holder.starts_with("`refit run pipelines/学习` (process ") && holder.contains(", since 20"), "{holder}");

    // The one who waits is told once, and goes on when the holder ends.
    let mut told = Vec::new();
    let lock = lab
        .store
        .lock(
            "me",
            Wait::Block(&mut |holder| {
                told.push(holder.to_owned());
                child.stdin.take().unwrap().write_all(b"go\n").unwrap();
            }),
        )
        .unwrap();
    assert_eq!(told, std::slice::from_ref(holder));
    drop(lock);
    assert!(child.ends_well());
}

#[test]
fn a_killed_holder_holds_nothing() {
    let lab = Lab::new();
    let mut child = Process::of_this_binary("locking::child_holds", &lab.path(""));
    assert_eq!(child.next().unwrap(), "held");
    child.kill();
    assert!(lab.store.holder().unwrap().is_none());
    lab.store.lock("me", Wait::Fail).unwrap();
}

#[test]
fn threads_take_turns_too() {
    let lab = Lab::new();
    let lock = lab.lock();
    let error = lab.store.lock("me", Wait::Fail).unwrap_err();
    assert!(error.to_string().contains("`a test`"), "{error}");
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lab.store.lock("me", Wait::Block(&mut |_| tell.send(()).unwrap())).map(drop));
        told.recv().unwrap();
        drop(lock);
        waiting.join().unwrap().unwrap();
    });
    drop(lab.lock());
}

#[test]
fn nonsense_in_the_lock_file_is_nothing() {
    let lab = Lab::new();
    fs::write(lab.store.root().join("lock"), [0xff; 100]).unwrap();
    let lock = lab.lock();
    fs::write(lab.store.root().join("lock"), [0xff; 100]).unwrap();
    let error = lab.store.lock("me", Wait::Fail).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { holder, .. } if holder == "another process"), "{error}");
    assert!(lab.store.holder().unwrap().is_none());
    drop(lock);
    drop(lab.lock());
    assert!(lab.store.holder().unwrap().is_none());
}

/// Opens a store that is not there yet, and takes it.
#[test]
fn child_makes() {
    let Some(folder) = folder() else { return };
    say("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    for number in 0..50 {
        let store = Store::open(&folder.join(number.to_string())).unwrap();
        drop(store.lock("making", Wait::Block(&mut |_| {})).unwrap());
    }
}

#[test]
fn many_may_make_the_same_store() {
    let lab = Lab::new();
    let mut children = [(), (), (), ()].map(|()| Process::of_this_binary("locking::child_makes", &lab.path("")));
    for child in &mut children {
        assert_eq!(child.next().unwrap(), "ready");
    }
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    assert!(children.map(Process::ends_well).iter().all(|well| *well));
}
