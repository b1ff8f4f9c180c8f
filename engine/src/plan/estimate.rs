use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use crate::{
    graph::{Pipeline, StageNode},
    schedule::{Capacity, Demand, Permits, Scheduler, StepId},
};

/// How stages will run, by past times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Estimate {
    /// From the first one's start to the last one's end, in seconds.
    pub seconds: f64,
    /// How many of them nobody knows the time of; they count as nothing.
    pub unknown: usize,
    /// All of them in the order in which they start, by their places among the pipeline's stages.
    pub order: Vec<StepId>,
}

impl Estimate {
    /// Lets the run's own scheduler start the stages that `seconds` tells of (none: it runs, but nobody knows how long) in
    /// thought, with what the machine has. Stages it does not tell of take no time. Of GPUs that were not looked for there
    /// is one.
    pub fn of(pipeline: &Pipeline, capacity: Capacity, seconds: impl Fn(&str) -> Option<Option<f64>>) -> Self {
        let nodes: Vec<&StageNode> = pipeline.stages.stages().collect();
        let time = |step: StepId| seconds(&nodes[step].name);
        let known = |step: StepId| time(step).flatten().and_then(|time| Duration::try_from_secs_f64(time).ok());
        let mut scheduler = Scheduler::new(nodes.len(), pipeline.stages.wires());
        let has_gpus = !capacity.gpus.is_empty();
        let mut permits = Permits::new(capacity);
        let mut running = BinaryHeap::new();
        let mut grants = HashMap::new();
        let (mut now, mut order, mut ranked) = (Duration::ZERO, Vec::new(), false);
        loop {
            let mut found = Vec::new();
            while let Some(step) = scheduler.due() {
                if time(step).is_some() {
                    found.push(step);
                } else {
                    scheduler.settle(step, true);
                }
            }
            if !ranked {
                scheduler.rank(known);
                ranked = true;
            }
            for step in found {
                let terms = &nodes[step].terms;
                scheduler.enqueue(step, &foreseen(&terms.demand, has_gpus), terms.priority);
            }
            while let Some((step, grant)) = scheduler.start(&mut permits) {
                order.push(step);
                grants.insert(step, grant);
                running.push(Reverse((now + known(step).unwrap_or_default(), step)));
            }
            let Some(Reverse((end, step))) = running.pop() else { break };
            now = end;
            scheduler.settle(step, true);
            if let Some(grant) = grants.remove(&step) {
                permits.give_back(grant);
            }
        }
        let unknown = order.iter().filter(|step| time(**step) == Some(None)).count();
        Self { seconds: now.as_secs_f64(), unknown, order }
    }
}

fn foreseen(demand: &Demand, has_gpus: bool) -> Demand {
    let mut demand = demand.clone();
    if !has_gpus && (demand.gpu > 0 || demand.vram > 0) {
        (demand.gpu, demand.vram, demand.accelerator) = (0, 0, true);
    }
    demand
}
