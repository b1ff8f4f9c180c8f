use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    time::Duration,
};

use super::{Demand, Grant, Permits};

/// A step by its place in the graph's order: each comes after everything it needs.
pub type StepId = usize;

/// Hands out steps: first, in the graph's order, every step whose inputs are settled, to be settled at once or to be
/// enqueued; then, of those enqueued, the one whose turn it is as soon as what it needs is free.
///
/// Nothing that could be used is left idle: a step that must wait for more than is free is passed by those that need
/// less. Over a whole run, each step and each wire is looked at once.
#[derive(Debug)]
pub struct Scheduler {
    /// Wires to each step from others that are not settled.
    unmet: Vec<u32>,
    /// The wires from step N lead to `dependents[first[N]..first[N + 1]]`.
    first: Vec<usize>,
    dependents: Vec<StepId>,
    phase: Vec<Phase>,
    due: BinaryHeap<Reverse<StepId>>,
    /// Steps that need the same stand in one queue: when its head must wait, all of it must.
    queues: Vec<Queue>,
    by_demand: HashMap<Demand, usize>,
    /// The head of every queue that is not empty, and which queue it heads.
    heads: BTreeMap<Turn, usize>,
    /// By step, how long it and the longest way after it took in the past.
    paths: Vec<Duration>,
}

#[derive(Debug)]
struct Queue {
    demand: Demand,
    turns: BTreeSet<Turn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its inputs are not settled.
    Waiting,
    /// It was or is about to be handed out.
    Due,
    Settled,
}

/// Who goes first: the higher priority, then the longer way to the end, then the graph's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: Reverse<i32>,
    path: Reverse<Duration>,
    step: StepId,
}

impl Scheduler {
    /// A scheduler for `steps` steps. An edge runs from a step to one after it that needs it.
    pub fn new(steps: usize, edges: impl Iterator<Item = (StepId, StepId)> + Clone) -> Self {
        let (mut unmet, mut first) = (vec![0; steps], vec![0; steps + 1]);
        for (from, to) in edges.clone() {
            unmet[to] += 1;
            first[from + 1] += 1;
        }
        for step in 0..steps {
            first[step + 1] += first[step];
        }
        let mut dependents = vec![0; first[steps]];
        let mut free = first.clone();
        for (from, to) in edges {
            dependents[free[from]] = to;
            free[from] += 1;
        }
        let mut scheduler = Self {
            unmet,
            first,
            dependents,
            phase: vec![Phase::Waiting; steps],
            due: BinaryHeap::new(),
            queues: Vec::new(),
            by_demand: HashMap::new(),
            heads: BTreeMap::new(),
            paths: vec![Duration::ZERO; steps],
        };
        for step in 0..steps {
            if scheduler.unmet[step] == 0 {
                scheduler.becomes_due(step);
            }
        }
        scheduler
    }

    /// The next step to decide about, in the graph's order: everything it needs is settled, or something it needs is
    /// settled without a result.
    pub fn due(&mut self) -> Option<StepId> {
        self.due.pop().map(|Reverse(step)| step)
    }

    /// Notes that a step is over. Without a result, those that need it are due at once: nothing can help them any more.
    pub fn settle(&mut self, step: StepId, has_result: bool) {
        self.phase[step] = Phase::Settled;
        for at in self.first[step]..self.first[step + 1] {
            let dependent = self.dependents[at];
            self.unmet[dependent] -= 1;
            if self.unmet[dependent] == 0 || !has_result {
                self.becomes_due(dependent);
            }
        }
    }

    fn becomes_due(&mut self, step: StepId) {
        if self.phase[step] == Phase::Waiting {
            self.phase[step] = Phase::Due;
            self.due.push(Reverse(step));
        }
    }

    /// The steps that are not settled, in the graph's order.
    pub fn unsettled(&self) -> impl Iterator<Item = StepId> {
        (0..self.phase.len()).filter(|&step| self.phase[step] != Phase::Settled)
    }

    /// Puts the steps that are not settled in the order of the longest way to the end of the run, by how long each took
    /// in the past. One that never ran is taken to be like the one in the middle of the others. Goes for what is enqueued
    /// from then on.
    pub fn rank(&mut self, took: impl Fn(StepId) -> Option<Duration>) {
        let steps: Vec<(StepId, Option<Duration>)> = self.unsettled().map(|step| (step, took(step))).collect();
        let mut known: Vec<Duration> = steps.iter().filter_map(|(_, took)| *took).collect();
        let middle = known.len() / 2;
        let usual = if known.is_empty() { Duration::from_secs(1) } else { *known.select_nth_unstable(middle).1 };
        for &(step, took) in steps.iter().rev() {
            let after = self.dependents[self.first[step]..self.first[step + 1]].iter();
            let longest = after.map(|&dependent| self.paths[dependent]).max().unwrap_or_default();
            self.paths[step] = longest.saturating_add(took.unwrap_or(usual));
        }
    }

    /// Takes in a step that must run.
    pub fn enqueue(&mut self, step: StepId, demand: &Demand, priority: i32) {
        let turn = Turn { priority: Reverse(priority), path: Reverse(self.paths[step]), step };
        let at = self.by_demand.get(demand).copied().unwrap_or_else(|| {
            self.queues.push(Queue { demand: demand.clone(), turns: BTreeSet::new() });
            self.by_demand.insert(demand.clone(), self.queues.len() - 1);
            self.queues.len() - 1
        });
        let turns = &mut self.queues[at].turns;
        let head = turns.first().copied();
        turns.insert(turn);
        if head.is_none_or(|head| turn < head) {
            head.map(|head| self.heads.remove(&head));
            self.heads.insert(turn, at);
        }
    }

    /// The next step that may start, and what it is given.
    pub fn start(&mut self, permits: &mut Permits) -> Option<(StepId, Grant)> {
        if permits.exhausted() {
            return None;
        }
        let queues = &self.queues;
        let (turn, at, grant) =
            self.heads.iter().find_map(|(turn, &at)| Some((*turn, at, permits.take(&queues[at].demand)?)))?;
        self.heads.remove(&turn);
        let turns = &mut self.queues[at].turns;
        turns.remove(&turn);
        if let Some(next) = turns.first() {
            self.heads.insert(*next, at);
        }
        Some((turn.step, grant))
    }

    /// Whether no step waits for its turn.
    pub fn is_idle(&self) -> bool {
        self.heads.is_empty()
    }
}
