use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{LlmError, Model, fused::Memory};

/// Threads that compute shards side by side, each with a pool of its own for the matrix products inside.
///
/// Elementwise operations of the CPU backend run on one thread; two shards on two cores keep both busy throughout.
pub(crate) struct Workers {
    threads: usize,
    pools: BTreeMap<usize, Vec<ThreadPool>>,
    memory: Memory,
}

impl Workers {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), pools: BTreeMap::new(), memory: Memory::default() }
    }

    /// Whether a pass keeps each block's input only and computes the block again on the way back.
    pub(crate) fn with_checkpointing(self, checkpointing: bool) -> Self {
        Self { memory: Memory::new(checkpointing), ..self }
    }

    /// Whether that was asked for.
    pub(crate) fn checkpointing(&self) -> bool {
        self.memory.checkpointing()
    }

    /// Calls `work`, which computes with `model`, with each index below `count` and returns the results in order.
    /// A GPU keeps itself busy: there everything happens on the calling thread, one after the other.
    pub(crate) fn map<T: Send>(
        &mut self,
        model: &Model,
        count: usize,
        work: impl Fn(usize) -> Result<T, LlmError> + Sync,
    ) -> Result<Vec<T>, LlmError> {
        if !model.on_cpu() {
            return (0..count).map(work).collect();
        }
        let side_by_side = count.min(self.threads);
        let pools = self.pools_for(side_by_side)?;
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<T, LlmError>>>> = (0..count).map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for pool in pools {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(slot) = results.get(index) else { break };
                        let result = pool.install(|| work(index));
                        *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
                    }
                });
            }
        });
        results
            .into_iter()
            .map(|slot| {
                slot.into_inner()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .expect("invariant: every index was worked on")
            })
            .collect()
    }

    /// Calls `work` with all threads for what it does in parallel, and with the buffers of the fused pass.
    pub(crate) fn together<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Memory) -> Result<T, LlmError> + Send,
    ) -> Result<T, LlmError> {
        let mut memory = std::mem::take(&mut self.memory);
        let result = self.pools_for(1)?[0].install(|| work(&mut memory));
        self.memory = memory;
        result
    }

    fn pools_for(&mut self, side_by_side: usize) -> Result<&[ThreadPool], LlmError> {
        if !self.pools.contains_key(&side_by_side) {
            let pools = (0..side_by_side)
                .map(|index| {
                    // What does not divide evenly goes to the first pools.
                    let threads = self.threads / side_by_side + usize::from(index < self.threads % side_by_side);
                    ThreadPoolBuilder::new().num_threads(threads).build()
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| LlmError::Device { reason: format!("threads could not be started: {error}") })?;
            self.pools.insert(side_by_side, pools);
        }
        Ok(&self.pools[&side_by_side])
    }
}
