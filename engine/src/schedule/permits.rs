use std::collections::BTreeSet;

use super::{Capacity, Demand, Gpu};

/// What of the machine is free.
#[derive(Debug)]
pub struct Permits {
    capacity: Capacity,
    steps: usize,
    cpu: u32,
    memory: u64,
    gpus: Vec<GpuUse>,
    accelerator: bool,
    mutexes: BTreeSet<String>,
}

#[derive(Debug)]
struct GpuUse {
    gpu: Gpu,
    whole: bool,
    /// Bytes that steps which share it were given.
    shared: u64,
}

/// What a step was given; to be given back when it ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    /// The GPUs it may use, by number.
    pub gpus: Vec<usize>,
    demand: Demand,
    /// Whether it has its GPUs to itself.
    whole: bool,
}

impl Permits {
    /// All of the machine.
    pub fn new(capacity: Capacity) -> Self {
        let gpus = capacity.gpus.iter().map(|gpu| GpuUse { gpu: gpu.clone(), whole: false, shared: 0 }).collect();
        Self {
            steps: capacity.steps,
            cpu: capacity.cpu,
            memory: capacity.memory.unwrap_or(u64::MAX),
            gpus,
            accelerator: true,
            mutexes: BTreeSet::new(),
            capacity,
        }
    }

    /// How many GPUs there are.
    pub fn gpus(&self) -> usize {
        self.gpus.len()
    }

    /// Whether no step can start, however little it needs.
    pub fn exhausted(&self) -> bool {
        self.steps == 0
    }

    /// Takes what a step needs, if it is free.
    pub fn take(&mut self, demand: &Demand) -> Option<Grant> {
        let demand = demand.on(&self.capacity);
        let free = self.steps > 0
            && demand.cpu <= self.cpu
            && demand.memory <= self.memory
            && (!demand.accelerator || self.accelerator)
            && demand.mutexes.iter().all(|mutex| !self.mutexes.contains(mutex));
        if !free {
            return None;
        }
        let (chosen, whole) = self.choose(&demand)?;
        self.steps -= 1;
        self.cpu -= demand.cpu;
        self.memory -= demand.memory;
        self.accelerator &= !demand.accelerator;
        self.mutexes.extend(demand.mutexes.iter().cloned());
        for at in &chosen {
            let used = &mut self.gpus[*at];
            if whole {
                used.whole = true;
            } else {
                used.shared += demand.vram;
            }
        }
        Some(Grant { gpus: chosen.into_iter().map(|at| self.gpus[at].gpu.index).collect(), demand, whole })
    }

    /// Gives back what a step that ended had.
    pub fn give_back(&mut self, grant: Grant) {
        let Grant { gpus, demand, whole } = grant;
        self.steps += 1;
        self.cpu += demand.cpu;
        self.memory += demand.memory;
        self.accelerator |= demand.accelerator;
        for mutex in &demand.mutexes {
            self.mutexes.remove(mutex);
        }
        for used in self.gpus.iter_mut().filter(|used| gpus.contains(&used.gpu.index)) {
            if whole {
                used.whole = false;
            } else {
                used.shared -= demand.vram;
            }
        }
    }

    /// The places of the GPUs to give, the smallest that will do first, and whether they are given whole.
    fn choose(&self, demand: &Demand) -> Option<(Vec<usize>, bool)> {
        if demand.gpu == 0 && demand.vram == 0 {
            return Some((Vec::new(), true));
        }
        let mut idle: Vec<usize> = (0..self.gpus.len())
            .filter(|&at| !self.gpus[at].whole && self.gpus[at].shared == 0)
            .filter(|&at| self.gpus[at].gpu.memory.is_none_or(|memory| memory >= demand.vram))
            .collect();
        idle.sort_by_key(|&at| (self.gpus[at].gpu.memory, self.gpus[at].gpu.index));
        if demand.gpu > 0 {
            idle.truncate(demand.gpu as usize);
            return (idle.len() == demand.gpu as usize).then_some((idle, true));
        }
        // Of a GPU whose memory is not known, nobody can say how much is left when it is shared.
        let room = |used: &GpuUse| used.gpu.memory.map(|memory| memory - used.shared).filter(|_| !used.whole);
        let shared = (0..self.gpus.len())
            .filter_map(|at| Some((room(&self.gpus[at]).filter(|room| *room >= demand.vram)?, at)))
            .min();
        match shared {
            Some((_, at)) => Some((vec![at], false)),
            None => idle.into_iter().find(|&at| self.gpus[at].gpu.memory.is_none()).map(|at| (vec![at], true)),
        }
    }
}
