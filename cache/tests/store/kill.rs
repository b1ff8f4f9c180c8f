//! `kill -9` at any moment: no torn object, no result without its objects, no lock left behind.

use std::{
    fs,
    time::{Duration, Instant},
};

use refit_cache::{Lookup, RunId, Store, Wait};

use crate::{
    children::{Process, folder, say},
    fixture::{Lab, key, step},
};

/// Commits one result after another until it is killed.
#[test]
fn child_commits() {
    let Some(folder) = folder() else { return };
    let store = Store::open(&folder.join(".refit")).unwrap();
    let lock = store.lock("committing", Wait::Fail).unwrap();
    let run = store.create_run(&lock).unwrap();
    say(run.as_str());
    for number in 0_u32.. {
        let name = format!("{run} {number}");
        let large: Vec<u8> = name.bytes().cycle().take(200_000 + number as usize).collect();
        let files: [(&str, &[u8]); 3] =
            [("own", name.as_bytes()), ("deep/large", &large), ("shared", b"in all of them")];
        step(&store, &lock, &name, &files, &run);
        say(&name);
    }
}

/// Exports ever new content to one place until it is killed.
#[test]
fn child_exports() {
    let Some(folder) = folder() else { return };
    let store = Store::open(&folder.join(".refit")).unwrap();
    let lock = store.lock("exporting", Wait::Fail).unwrap();
    let made = ["x", "y"].map(|name| {
        let bytes: Vec<u8> = name.bytes().cycle().take(100_000).collect();
        step(&store, &lock, name, &[("a", &bytes), ("b", &bytes)], &RunId::now()).outputs["made"].clone()
    });
    for number in 0_usize.. {
        store.export(&made[number % 2], &folder.join("out/made"), Some(&lock)).unwrap();
        say("exported");
    }
}

/// Kills a child after it said a number of things and some more time passed.
fn run_and_kill(lab: &Lab, name: &str, round: u32) -> Vec<String> {
    let mut child = Process::of_this_binary(name, &lab.path(""));
    let mut said: Vec<String> = (0..=round % 4).map(|_| child.next().unwrap()).collect();
    // Not a wait for something: the moment of the kill is to fall anywhere.
    let moment = Instant::now() + Duration::from_micros(u64::from(round * 7919 % 6000));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    said.extend(child.kill());
    said
}

#[test]
fn a_killed_run_leaves_a_sound_store() {
    let lab = Lab::new();
    let mut committed = Vec::new();
    for round in 0..24 {
        let said = run_and_kill(&lab, "kill::child_commits", round);
        assert_eq!(lab.store.runs().unwrap()[0].as_str(), said[0]);
        committed.extend(said.into_iter().skip(1));
        let lock = lab.lock();
        let report = lab.store.verify(Some(&lock)).unwrap();
        assert!(report.is_sound(), "round {round}: {report:?}");
        for name in &committed {
            assert!(matches!(lab.store.lookup(&key(name)).unwrap(), Lookup::Hit(_)), "round {round}: {name}");
        }
        let litter = fs::read_dir(lab.store.root().join("tmp")).unwrap();
        let litter: Vec<_> = litter.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(litter.iter().all(|name| name.starts_with("step-")), "{litter:?}");
        assert_eq!(lock.take_notices(), Vec::<String>::new(), "round {round}");
    }
    assert!(committed.len() > 10);
}

#[test]
fn a_killed_export_leaves_the_old_or_the_new_content() {
    let lab = Lab::new();
    for round in 0..12 {
        run_and_kill(&lab, "kill::child_exports", round);
        let out = lab.path("out/made");
        let [a, b] = ["a", "b"].map(|name| fs::read(out.join(name)).unwrap());
        assert!(a.len() == 100_000 && a == b, "round {round}");
        assert!(a.iter().all(|byte| *byte == a[0]));
    }
}
