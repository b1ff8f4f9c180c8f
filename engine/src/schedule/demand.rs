use std::fmt;

use super::Capacity;

/// What a step occupies while it runs, beside one of the steps at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Demand {
    /// Processor cores.
    pub cpu: u32,
    /// Main memory in bytes.
    pub memory: u64,
    /// GPUs it has to itself.
    pub gpu: u32,
    /// Bytes of GPU memory: of each of its GPUs, or, when it has none to itself, of one that it shares.
    pub vram: u64,
    /// Whether it computes on the accelerator: a GPU, or, where there is none, all the cores.
    pub accelerator: bool,
    /// Whether it can share its work out to several GPUs.
    pub spreads: bool,
    /// No other step that names one of these runs at the same time. Sorted.
    pub mutexes: Vec<String>,
}

/// Less than this there cannot be: one core, as long as nothing else is said.
impl Default for Demand {
    fn default() -> Self {
        Self { cpu: 1, memory: 0, gpu: 0, vram: 0, accelerator: false, spreads: false, mutexes: Vec::new() }
    }
}

/// A part of a demand that the machine can never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// More cores than there are.
    Cpu {
        /// Asked for.
        needs: u32,
        /// There are.
        has: u32,
    },
    /// More memory, in bytes, than there is.
    Memory {
        /// Asked for.
        needs: u64,
        /// There is.
        has: u64,
    },
    /// More GPUs than there are.
    Gpu {
        /// Asked for.
        needs: u32,
        /// There are.
        has: u32,
    },
    /// More GPU memory, in bytes, than enough of the GPUs have.
    Vram {
        /// Asked for, of each GPU.
        needs: u64,
        /// The most a GPU has.
        has: u64,
    },
}

impl Demand {
    /// What the demand comes to on this machine: without a GPU, or with `--device cpu`, the accelerator is the cores.
    pub(super) fn on(&self, capacity: &Capacity) -> Self {
        let mut demand = self.clone();
        if demand.accelerator {
            let unspoken = demand.gpu == 0 && demand.vram == 0;
            if capacity.on_cores || unspoken && capacity.gpus.is_empty() {
                (demand.gpu, demand.vram) = (0, 0);
            } else {
                demand.accelerator = false;
                let all = if self.spreads && capacity.together { capacity.gpus.len() as u32 } else { 1 };
                demand.gpu += if unspoken { all } else { 0 };
            }
        }
        demand
    }

    /// What of it can never be met, with everything to itself.
    pub fn shortage(&self, capacity: &Capacity) -> Option<Shortage> {
        let demand = self.on(capacity);
        if demand.cpu > capacity.cpu {
            return Some(Shortage::Cpu { needs: demand.cpu, has: capacity.cpu });
        }
        if let Some(has) = capacity.memory.filter(|has| demand.memory > *has) {
            return Some(Shortage::Memory { needs: demand.memory, has });
        }
        let gpus = demand.gpu.max(u32::from(demand.vram > 0));
        let has = capacity.gpus.len() as u32;
        if gpus > has {
            return Some(Shortage::Gpu { needs: gpus, has });
        }
        let large_enough = capacity.gpus.iter().filter(|gpu| gpu.memory.is_none_or(|memory| memory >= demand.vram));
        if gpus > large_enough.count() as u32 {
            let has = capacity.gpus.iter().filter_map(|gpu| gpu.memory).max().unwrap_or(0);
            return Some(Shortage::Vram { needs: demand.vram, has });
        }
        None
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GB: f64 = 1e9;
        match self {
            Self::Cpu { needs, has } => write!(f, "{needs} cores, and there are {has}"),
            Self::Memory { needs, has } => {
                write!(f, "{:.1} GB of memory, and there are {:.1} GB", *needs as f64 / GB, *has as f64 / GB)
            }
            Self::Gpu { needs, has: 0 } => write!(f, "{needs} GPU{}, and there is none", plural(*needs)),
            Self::Gpu { needs, has: 1 } => write!(f, "{needs} GPUs, and there is 1"),
            Self::Gpu { needs, has } => write!(f, "{needs} GPU{}, and there are {has}", plural(*needs)),
            Self::Vram { needs, has } => {
                write!(
                    f,
                    "{:.1} GB of GPU memory, and no GPU has more than {:.1} GB",
                    *needs as f64 / GB,
                    *has as f64 / GB
                )
            }
        }
    }
}

fn plural(number: u32) -> &'static str {
    if number == 1 { "" } else { "s" }
}
