#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;

fn machine(steps: usize, cpu: u32) -> Capacity {
    Capacity { steps, cpu, memory: None, gpus: Vec::new(), together: false, on_cores: false }
}

fn gpu(index: usize, memory: Option<u64>) -> Gpu {
    Gpu { index, memory }
}

fn mutex(name: &str) -> Demand {
    Demand { mutexes: vec![name.to_owned()], ..Demand::default() }
}

/// Enqueues every step that is due.
fn enqueue_due(scheduler: &mut Scheduler, demands: &[Demand]) {
    while let Some(step) = scheduler.due() {
        scheduler.enqueue(step, &demands[step], 0);
    }
}

/// Starts one step at a time and tells in which order.
fn order(steps: usize, edges: &[(usize, usize)], took: impl Fn(usize) -> Option<u64>) -> Vec<usize> {
    let mut scheduler = Scheduler::new(steps, edges.iter().copied());
    let mut permits = Permits::new(machine(1, 1));
    scheduler.rank(|step| took(step).map(Duration::from_secs));
    let demands = vec![Demand::default(); steps];
    let mut started = Vec::new();
    enqueue_due(&mut scheduler, &demands);
    while let Some((step, grant)) = scheduler.start(&mut permits) {
        started.push(step);
        permits.give_back(grant);
        scheduler.settle(step, true);
        enqueue_due(&mut scheduler, &demands);
    }
    started
}

#[test]
fn the_longest_way_goes_first_then_the_order_of_the_graph() {
    // 0 → 3 → 4 takes 1 + 1 + 9, 1 takes 5, 2 takes 2.
    let took = [1, 5, 2, 1, 9];
    assert_eq!(order(5, &[(0, 3), (3, 4)], |step| Some(took[step])), [0, 3, 4, 1, 2]);
    assert_eq!(order(4, &[], |_| Some(1)), [0, 1, 2, 3], "equals keep their order");
    // Unknown ones count as the middle one of those known, which is 5.
    let some = [None, Some(1), Some(5), Some(9)];
    assert_eq!(order(4, &[], |step| some[step]), [3, 0, 2, 1]);
    assert_eq!(order(3, &[(1, 2)], |_| None), [1, 0, 2], "of unknown ones the longer chain goes first");
}

#[test]
fn a_priority_goes_before_the_longest_way() {
    let mut scheduler = Scheduler::new(3, std::iter::empty());
    scheduler.rank(|step| Some(Duration::from_secs(10 - step as u64)));
    for (step, priority) in [(0, -1), (1, 0), (2, 1)] {
        scheduler.enqueue(step, &Demand::default(), priority);
    }
    let mut permits = Permits::new(machine(3, 3));
    let started: Vec<_> = std::iter::from_fn(|| scheduler.start(&mut permits).map(|(step, _)| step)).collect();
    assert_eq!(started, [2, 1, 0]);
}

#[test]
fn a_step_that_must_wait_is_passed_by_those_that_need_less() {
    let mut scheduler = Scheduler::new(4, std::iter::empty());
    let large = Demand { cpu: 3, ..Demand::default() };
    scheduler.enqueue(0, &Demand { cpu: 2, ..Demand::default() }, 0);
    scheduler.enqueue(1, &large, 0);
    scheduler.enqueue(2, &mutex("disk"), 0);
    scheduler.enqueue(3, &mutex("disk"), 0);
    let mut permits = Permits::new(machine(8, 4));
    let (first, grant) = scheduler.start(&mut permits).unwrap();
    let (second, _) = scheduler.start(&mut permits).unwrap();
    assert_eq!((first, second), (0, 2));
    assert!(scheduler.start(&mut permits).is_none(), "3 cores are not free, the mutex is taken");
    permits.give_back(grant);
    assert_eq!(scheduler.start(&mut permits).unwrap().0, 1);
    assert!(!scheduler.is_idle());
}

#[test]
fn what_lacks_an_input_for_good_is_due_at_once() {
    // 2 needs 0 and 1; 3 needs 2.
    let mut scheduler = Scheduler::new(4, [(0, 2), (1, 2), (2, 3)].into_iter());
    assert_eq!((scheduler.due(), scheduler.due(), scheduler.due()), (Some(0), Some(1), None));
    scheduler.settle(0, false);
    assert_eq!((scheduler.due(), scheduler.due()), (Some(2), None));
    scheduler.settle(2, false);
    assert_eq!(scheduler.due(), Some(3));
    scheduler.settle(1, true);
    assert_eq!(scheduler.due(), None, "each is due once");
}

#[test]
fn gpus_are_given_whole_or_shared_by_their_memory() {
    let gpus = vec![gpu(0, Some(24)), gpu(1, Some(8)), gpu(4, None)];
    let mut permits = Permits::new(Capacity { gpus, ..machine(9, 9) });
    let share = |vram| Demand { vram, ..Demand::default() };
    let a = permits.take(&share(6)).unwrap();
    let b = permits.take(&share(20)).unwrap();
    assert_eq!((&a.gpus[..], &b.gpus[..]), (&[1][..], &[0][..]), "the smallest that will do");
    let whole = permits.take(&Demand { gpu: 1, ..Demand::default() }).unwrap();
    assert_eq!(whole.gpus, [4]);
    assert!(permits.take(&share(6)).is_none());
    let c = permits.take(&share(4)).unwrap();
    assert_eq!(c.gpus, [0]);
    permits.give_back(b);
    assert!(permits.take(&Demand { gpu: 1, vram: 24, ..Demand::default() }).is_none(), "it is shared");
    permits.give_back(c);
    permits.give_back(a);
    let both = permits.take(&Demand { gpu: 2, vram: 8, ..Demand::default() }).unwrap();
    assert_eq!(both.gpus, [1, 0]);
    permits.give_back(whole);
    let unknown = permits.take(&share(80)).unwrap();
    assert_eq!(unknown.gpus, [4], "of unknown size, so it is given whole");
    assert!(permits.take(&share(1)).is_none());
}

#[test]
fn without_a_gpu_the_cores_are_the_accelerator() {
    let accelerator = Demand { accelerator: true, ..Demand::default() };
    let mut permits = Permits::new(machine(9, 9));
    let only = permits.take(&accelerator).unwrap();
    assert!(only.gpus.is_empty() && permits.take(&accelerator).is_none());
    permits.give_back(only);
    assert!(permits.take(&accelerator).is_some());

    let gpus = vec![gpu(0, None), gpu(1, None)];
    let mut permits = Permits::new(Capacity { gpus: gpus.clone(), ..machine(9, 9) });
    let given: Vec<_> = (0..3).map(|_| permits.take(&accelerator).map(|grant| grant.gpus)).collect();
    assert_eq!(given, [Some(vec![0]), Some(vec![1]), None]);

    // What can share its work out has all that are named together, and only then.
    let spreads = Demand { spreads: true, ..accelerator.clone() };
    for (together, expected) in [(false, vec![0]), (true, vec![0, 1])] {
        let mut permits = Permits::new(Capacity { gpus: gpus.clone(), together, ..machine(9, 9) });
        let given = permits.take(&spreads).unwrap();
        assert_eq!(given.gpus, expected);
        permits.give_back(given);
        assert_eq!(permits.take(&accelerator).unwrap().gpus, [0]);
    }

    let on_cores = Capacity { gpus, on_cores: true, ..machine(9, 9) };
    let wants_gpu = Demand { gpu: 4, ..accelerator };
    assert_eq!(wants_gpu.shortage(&on_cores), None);
    assert!(Permits::new(on_cores).take(&wants_gpu).unwrap().gpus.is_empty());
}

#[test]
fn what_can_never_be_met_is_said() {
    let capacity = Capacity { memory: Some(16_000_000_000), gpus: vec![gpu(0, Some(8_000_000_000))], ..machine(9, 4) };
    let said = |demand: Demand| demand.shortage(&capacity).map(|shortage| shortage.to_string());
    let usual = Demand::default;
    assert_eq!(said(usual()), None);
    assert_eq!(said(Demand { cpu: 5, ..usual() }).unwrap(), "5 cores, and there are 4");
    let memory = said(Demand { memory: 20_000_000_000, ..usual() });
    assert_eq!(memory.unwrap(), "20.0 GB of memory, and there are 16.0 GB");
    assert_eq!(said(Demand { gpu: 2, ..usual() }).unwrap(), "2 GPUs, and there is 1");
    let vram = said(Demand { vram: 9_000_000_000, ..usual() });
    assert_eq!(vram.unwrap(), "9.0 GB of GPU memory, and no GPU has more than 8.0 GB");
    assert_eq!(Demand { gpu: 1, ..usual() }.shortage(&machine(1, 1)).unwrap().to_string(), "1 GPU, and there is none");
}

/// A graph, what its steps need, and how the dice fall while it runs.
#[derive(Debug)]
struct Case {
    edges: Vec<(usize, usize)>,
    demands: Vec<Demand>,
    priorities: Vec<i32>,
    seconds: Vec<Option<u64>>,
    capacity: Capacity,
    dice: Vec<usize>,
}

fn demand() -> impl Strategy<Value = Demand> {
    (0_u32..4, 0_u64..8, 0_u32..3, 0_u64..10, any::<bool>(), prop::collection::btree_set("[abc]", 0..3)).prop_map(
        |(cpu, memory, gpu, vram, accelerator, mutexes)| Demand {
            cpu,
            memory,
            gpu,
            vram: if gpu == 0 && vram < 5 { 0 } else { vram },
            accelerator,
            spreads: accelerator,
            mutexes: mutexes.into_iter().collect(),
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    (1_usize..40).prop_flat_map(|steps| {
        let edge = (0..steps, 0..steps).prop_map(|(a, b)| (a.min(b), a.max(b)));
        let gpus = prop::collection::vec(prop::option::of(9_u64..30), 0..4);
        let capacity = (1_usize..6, 3_u32..8, 7_u64..20, gpus, any::<[bool; 2]>());
        (
            prop::collection::vec(edge, 0..steps * 3),
            prop::collection::vec(demand(), steps),
            prop::collection::vec(-2_i32..3, steps),
            prop::collection::vec(prop::option::of(0_u64..100), steps),
            capacity,
            prop::collection::vec(any::<usize>(), steps * 2),
        )
            .prop_map(|(mut edges, demands, priorities, seconds, capacity, dice)| {
                edges.retain(|(from, to)| from != to);
                let (at_once, cpu, memory, gpus, [together, on_cores]) = capacity;
                let gpus = gpus.into_iter().enumerate().map(|(at, memory)| gpu(at * 2, memory)).collect();
                let capacity = Capacity { steps: at_once, cpu, memory: Some(memory), gpus, together, on_cores };
                Case { edges, demands, priorities, seconds, capacity, dice }
            })
    })
}

/// What runs, added up anew, is within what there is.
fn check_capacity(running: &BTreeMap<usize, Grant>, case: &Case) -> Result<(), TestCaseError> {
    let capacity = &case.capacity;
    prop_assert!(running.len() <= capacity.steps);
    let effective = |step: &usize| case.demands[*step].on(capacity);
    prop_assert!(running.keys().map(|step| effective(step).cpu).sum::<u32>() <= capacity.cpu);
    prop_assert!(running.keys().map(|step| effective(step).memory).sum::<u64>() <= capacity.memory.unwrap());
    prop_assert!(running.keys().filter(|step| effective(step).accelerator).count() <= 1);
    let mutexes: Vec<String> = running.keys().flat_map(|step| effective(step).mutexes).collect();
    prop_assert_eq!(mutexes.len(), mutexes.iter().collect::<BTreeSet<_>>().len(), "a mutex is exclusive");
    for gpu in &capacity.gpus {
        let users: Vec<Demand> = running
            .iter()
            .filter(|(_, grant)| grant.gpus.contains(&gpu.index))
            .map(|(step, _)| effective(step))
            .collect();
        prop_assert!(users.len() <= 1 || users.iter().all(|user| user.gpu == 0 && gpu.memory.is_some()));
        prop_assert!(users.iter().map(|user| user.vram).sum::<u64>() <= gpu.memory.unwrap_or(u64::MAX));
    }
    for (step, grant) in running {
        let demand = effective(step);
        let gpus = demand.gpu.max(u32::from(demand.vram > 0)) as usize;
        prop_assert_eq!(grant.gpus.iter().collect::<BTreeSet<_>>().len(), gpus);
    }
    Ok(())
}

proptest! {
    /// Never over capacity, every mutex exclusive, every step once and after its inputs; the run ends, and nothing that
    /// could run is left waiting.
    #[test]
    fn every_step_runs_once_within_what_there_is(case in case()) {
        let steps = case.demands.len();
        let mut scheduler = Scheduler::new(steps, case.edges.iter().copied());
        scheduler.rank(|step| case.seconds[step].map(Duration::from_secs));
        let mut permits = Permits::new(case.capacity.clone());
        let (mut running, mut done, mut waiting) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut dice = case.dice.iter().cycle();
        loop {
            while let Some(step) = scheduler.due() {
                // Some are found in the store, some can never run.
                let possible = case.demands[step].shortage(&case.capacity).is_none();
                if !possible || dice.next().unwrap() % 5 == 0 {
                    prop_assert!(done.insert(step));
                    scheduler.settle(step, true);
                } else {
                    scheduler.enqueue(step, &case.demands[step], case.priorities[step]);
                    waiting.insert(step);
                }
            }
            while let Some((step, grant)) = scheduler.start(&mut permits) {
                prop_assert!(waiting.remove(&step), "{step} was started twice or out of nowhere");
                prop_assert!(case.edges.iter().all(|(from, to)| *to != step || done.contains(from)));
                running.insert(step, grant);
                check_capacity(&running, &case)?;
            }
            for step in &waiting {
                prop_assert!(permits.take(&case.demands[*step]).is_none(), "{step} could have started");
            }
            let Some((step, grant)) = running.keys().copied().nth(dice.next().unwrap() % running.len().max(1)).and_then(|step| running.remove_entry(&step)) else { break };
            permits.give_back(grant);
            prop_assert!(done.insert(step));
            scheduler.settle(step, true);
        }
        prop_assert!(scheduler.is_idle());
        prop_assert_eq!(done.len(), steps);
        prop_assert_eq!(format!("{permits:?}"), format!("{:?}", Permits::new(case.capacity)), "all is given back");
    }
}

/// What a no-op run costs here grows with the wires, not with the square of the steps.
#[test]
fn a_hundred_thousand_settled_steps_take_no_time() {
    const STEPS: usize = 100_000;
    let edges = (1..STEPS).flat_map(|step| [(step - 1, step), (step / 2, step)]);
    let begun = Instant::now();
    let mut scheduler = Scheduler::new(STEPS, edges);
    let mut settled = 0;
    while let Some(step) = scheduler.due() {
        assert_eq!(step, settled);
        scheduler.settle(step, true);
        settled += 1;
    }
    assert_eq!(settled, STEPS);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Also when each step has a demand of its own, and all wait at once.
#[test]
fn ten_thousand_different_demands_are_no_matter() {
    const STEPS: usize = 10_000;
    let begun = Instant::now();
    let mut scheduler = Scheduler::new(STEPS, std::iter::empty());
    let demands: Vec<_> = (0..STEPS).map(|step| mutex(&format!("m{step}"))).collect();
    let mut permits = Permits::new(machine(2, 2));
    enqueue_due(&mut scheduler, &demands);
    let mut started = 0;
    while let Some((step, grant)) = scheduler.start(&mut permits) {
        assert_eq!(step, started);
        permits.give_back(grant);
        scheduler.settle(step, true);
        started += 1;
    }
    assert_eq!(started, STEPS);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
