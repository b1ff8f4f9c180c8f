//! Random graphs of commands under random edits: what comes out is what a clean run makes, and nothing runs that need not.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, thread,
    time::Duration,
};

use fs_err as fs;
use refit_tests::{Outcome, Sandbox};

/// In all. `REFIT_RANDOM_GRAPHS` asks for more: 2,000 take some minutes.
const GRAPHS: u64 = 25;
/// Of each graph.
const EDITS: u64 = 5;

/// The same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[derive(Clone, Copy)]
enum Input {
    Source(usize),
    Stage(usize),
}

/// A command that copies its inputs and adds a number, or only says a number, whatever its inputs are.
struct Stage {
    number: usize,
    copies: bool,
    inputs: Vec<Input>,
}

impl Stage {
    fn command(&self) -> String {
        let number = self.number;
        match (self.copies, self.inputs.len()) {
            (false, _) | (_, 0) => format!("echo {number} > $out"),
            (true, 1) => format!("cat $a > $out; echo {number} >> $out"),
            (true, _) => format!("cat $a $b > $out; echo {number} >> $out"),
        }
    }
}

/// All that a result follows from: the command and the contents it reads.
type Key = (String, Vec<String>);

struct Graph {
    sources: Vec<usize>,
    stages: Vec<Stage>,
    /// In which the file has them.
    order: Vec<usize>,
}

impl Graph {
    fn new(numbers: &mut Numbers) -> Self {
        let mut stages: Vec<Stage> = Vec::new();
        for place in 0..3 + numbers.below(5) {
            let input = |numbers: &mut Numbers| match numbers.below(place + 2) {
                source @ 0..2 => Input::Source(source),
                stage => Input::Stage(stage - 2),
            };
            let inputs = (0..numbers.below(3)).map(|_| input(numbers)).collect();
            stages.push(Stage { number: numbers.below(4), copies: numbers.below(4) > 0, inputs });
        }
        Self { sources: vec![0, 1], order: (0..stages.len()).collect(), stages }
    }

    fn write(&self, sandbox: &Sandbox) {
        let mut text = "name: random\nsources: { src0: src0.txt, src1: src1.txt }\nstages:\n".to_owned();
        for (source, number) in self.sources.iter().enumerate() {
            sandbox.write(&format!("src{source}.txt"), source_text(*number));
        }
        for &place in &self.order {
            let stage = &self.stages[place];
            let inputs: Vec<String> = stage
                .inputs
                .iter()
                .zip(["a", "b"])
                .map(|(input, port)| match input {
                    Input::Source(source) => format!("{port}: src{source}"),
                    Input::Stage(stage) => format!("{port}: s{stage}.out"),
                })
                .collect();
            let (inputs, command) = (inputs.join(", "), stage.command());
            text.push_str(&format!(
                "  s{place}: {{ uses: exec, inputs: {{ {inputs} }}, with: {{ run: '{command}', outputs: {{ out: out }} }} }}\n"
            ));
        }
        text.push_str("outputs:\n");
        for place in 0..self.stages.len() {
            text.push_str(&format!("  out/s{place}: s{place}.out\n"));
        }
        sandbox.write("pipeline.yaml", text);
    }

    /// Of every stage, what its result follows from, and what it is.
    fn made(&self) -> Vec<(Key, String)> {
        let mut made: Vec<(Key, String)> = Vec::new();
        for stage in &self.stages {
            let read = stage.inputs.iter().map(|input| match input {
                Input::Source(source) => source_text(self.sources[*source]),
                Input::Stage(stage) => made[*stage].1.clone(),
            });
            let read: Vec<String> = read.collect();
            let mut content = if stage.copies { read.concat() } else { String::new() };
            content.push_str(&format!("{}\n", stage.number));
            made.push(((stage.command(), read), content));
        }
        made
    }

    fn edit(&mut self, numbers: &mut Numbers) {
        let stage = numbers.below(self.stages.len());
        match numbers.below(4) {
            0 => self.sources[numbers.below(2)] = numbers.below(3),
            1 => {
                for place in (1..self.order.len()).rev() {
                    self.order.swap(place, numbers.below(place + 1));
                }
            }
            _ => self.stages[stage].number = numbers.below(4),
        }
    }
}

fn source_text(number: usize) -> String {
    format!("source {number}\n")
}

/// Deletes an object of the store; returns its content.
fn lose_an_object(sandbox: &Sandbox, numbers: &mut Numbers) -> Option<String> {
    let objects = walkdir::WalkDir::new(sandbox.path(".refit/objects")).sort_by_file_name().into_iter();
    let objects: Vec<_> = objects.map(Result::unwrap).filter(|entry| entry.file_type().is_file()).collect();
    let object = objects.get(numbers.below(objects.len().max(1)))?;
    let content = fs::read_to_string(object.path()).unwrap();
    fs::remove_file(object.path()).unwrap();
    Some(content)
}

fn kill_a_run(sandbox: &Sandbox, numbers: &mut Numbers) {
    let mut run = sandbox.spawn(["run", "-q"]);
    thread::sleep(Duration::from_millis(numbers.below(40) as u64));
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn whatever_is_edited_the_result_is_that_of_a_clean_run_and_only_what_must_runs() {
    let graphs = env::var("REFIT_RANDOM_GRAPHS").ok().and_then(|text| text.parse().ok()).unwrap_or(GRAPHS);
    for seed in 0..graphs {
        let mut numbers = Numbers(seed);
        let (sandbox, mut graph) = (Sandbox::new(), Graph::new(&mut numbers));
        let mut known: BTreeMap<Key, String> = BTreeMap::new();
        // Results whose object was lost: whole again as soon as any step makes the same bytes.
        let mut broken: BTreeMap<Key, String> = BTreeMap::new();
        for edit in 0..=EDITS {
            graph.write(&sandbox);
            let mut was_killed = false;
            if edit > 0 {
                match numbers.below(5) {
                    0 => {
                        let lost = lose_an_object(&sandbox, &mut numbers);
                        broken.extend(known.extract_if(.., |_, content| Some(&*content) == lost.as_ref()));
                    }
                    1 => {
                        kill_a_run(&sandbox, &mut numbers);
                        was_killed = true;
                    }
                    _ => {}
                }
            }
            let outcome = sandbox.refit(["run", "--json", "-j", "3"]).expect_code(0);
            let (made, context) = (graph.made(), format!("graph {seed}, edit {edit}"));
            for (place, (_, content)) in made.iter().enumerate() {
                let out = fs::read_to_string(sandbox.path(format!("out/s{place}"))).unwrap();
                assert_eq!(out, *content, "{context}, s{place}");
            }
            let key_of = |name: &String| &made[name[1..].parse::<usize>().unwrap()].0;
            let stages = outcome.stages("ran");
            let ran: BTreeSet<&Key> = stages.iter().map(key_of).collect();
            assert_eq!(ran.len(), stages.len(), "{context}: no step twice");
            let missing: BTreeSet<&Key> =
                made.iter().map(|(key, _)| key).filter(|key| !known.contains_key(key)).collect();
            assert!(ran.is_subset(&missing), "{context}: {ran:?}");
            // A lost object comes back with the first of the steps that make it; the others' results are whole again then.
            let content = |wanted: &Key| made.iter().find(|(key, _)| key == wanted).map(|(_, content)| content);
            let remade: BTreeSet<_> = ran.iter().map(|key| content(key)).collect();
            let left = missing.difference(&ran).filter(|key| !remade.contains(&content(key)));
            assert!(was_killed || left.count() == 0, "{context}: {ran:?} of {missing:?}");
            let contents: BTreeSet<&String> = made.iter().map(|(_, content)| content).collect();
            known.extend(broken.extract_if(.., |_, content| contents.contains(content)));
            known.extend(made);
            graph.edit(&mut numbers);
        }
        clean_run_makes_the_same(&sandbox);
    }
}

/// Every artifact is the one that a run over an empty store makes.
fn clean_run_makes_the_same(sandbox: &Sandbox) {
    let outputs = |outcome: &Outcome| -> Vec<(String, String)> {
        let report = outcome.json();
        let stages = report["stages"].as_array().unwrap().iter();
        stages.map(|stage| (stage["name"].to_string(), stage["outputs"]["out"]["digest"].to_string())).collect()
    };
    let here = sandbox.refit(["run", "--json"]).expect_code(0);
    fs::remove_dir_all(sandbox.path("out")).unwrap();
    let clean = sandbox.refit(["run", "--json", "--store", "clean"]).expect_code(0);
    assert_eq!(clean.stages("skipped"), Vec::<String>::new());
    assert_eq!(outputs(&here), outputs(&clean));
}
