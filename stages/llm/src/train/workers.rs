use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{LlmError, Model, fused::Memory};

/// What computes parts of the work side by side: threads of a CPU, each with a pool of its own for the matrix products
/// inside, or several devices.
///
/// Elementwise operations of the CPU backend run on one thread; two shards on two cores keep both busy throughout.
pub(crate) struct Workers {
    threads: usize,
    pools: BTreeMap<usize, Vec<ThreadPool>>,
    memory: Memory,
    /// The model on further devices.
    copies: Arc<[Model]>,
    /// A thread for each of these: what a device computes stays in the order of one thread, and so do its buffers.
    devices: Vec<ThreadPool>,
}

impl Workers {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            pools: BTreeMap::new(),
            memory: Memory::default(),
            copies: Arc::default(),
            devices: Vec::new(),
        }
    }

    /// Whether a pass keeps each block's input only and computes the block again on the way back.
    pub(crate) fn with_checkpointing(self, checkpointing: bool) -> Self {
        Self { memory: Memory::new(checkpointing), ..self }
    }

    /// The same model on further devices, which take their part of the work.
    pub(crate) fn with_copies(self, copies: &[Model]) -> Self {
        Self { copies: copies.into(), ..self }
    }

    /// Whether that was asked for.
    pub(crate) fn checkpointing(&self) -> bool {
        self.memory.checkpointing()
    }

    /// What is made of the model and of each of its copies.
    pub(crate) fn of_each<T>(
        &self,
        model: &Model,
        make: impl Fn(&Model) -> Result<T, LlmError>,
    ) -> Result<Vec<T>, LlmError> {
        std::iter::once(model).chain(self.copies.iter()).map(make).collect()
    }

    /// [`Workers::in_order`] with the results as a list.
    pub(crate) fn map<T: Send>(
        &mut self,
        models: &[Model],
        count: usize,
        work: impl Fn(&Model, usize) -> Result<T, LlmError> + Sync,
    ) -> Result<Vec<T>, LlmError> {
        let mut results = Vec::with_capacity(count);
        self.in_order(models, count, work, |result| results.push(result))?;
        Ok(results)
    }

    /// Calls `work` with each index below `count`, side by side, and hands the results on in order. `models` are those of
    /// [`Workers::of_each`]: one on a CPU or a GPU, which keeps itself busy, so that there everything happens on the calling
    /// thread, one after the other; or one for each device, which takes the next index when it is done with one.
    pub(crate) fn in_order<T: Send>(
        &mut self,
        models: &[Model],
        count: usize,
        work: impl Fn(&Model, usize) -> Result<T, LlmError> + Sync,
        mut take: impl FnMut(T) + Send,
    ) -> Result<(), LlmError> {
        let (model, copies) = models.split_first().expect("invariant: there is a model");
        let on_cpu = model.on_cpu();
        if !on_cpu && copies.is_empty() {
            return (0..count).try_for_each(|index| work(model, index).map(&mut take));
        }
        let side_by_side: Vec<(&ThreadPool, &Model)> = if on_cpu {
            let at_once = count.min(self.threads);
            self.pools_for(at_once)?.iter().map(|pool| (pool, model)).collect()
        } else {
            while self.devices.len() < models.len() {
                self.devices.push(pool(1)?);
            }
            self.devices.iter().zip(models).collect()
        };
        let next = AtomicUsize::new(0);
        let handing_on = Mutex::new(HandingOn { next: 0, early: BTreeMap::new(), failure: None, take });
        std::thread::scope(|scope| {
            for (pool, model) in side_by_side {
                let (next, handing_on, work) = (&next, &handing_on, &work);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            break;
                        }
                        let result = pool.install(|| work(model, index));
                        if !handing_on.lock().unwrap_or_else(PoisonError::into_inner).is_well_after(index, result) {
                            break;
                        }
                    }
                });
            }
        });
        let failure = handing_on.into_inner().unwrap_or_else(PoisonError::into_inner).failure;
        failure.map_or(Ok(()), Err)
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
            // What does not divide evenly goes to the first pools.
            let threads = |index: usize| self.threads / side_by_side + usize::from(index < self.threads % side_by_side);
            let pools = (0..side_by_side).map(|index| pool(threads(index))).collect::<Result<_, _>>()?;
            self.pools.insert(side_by_side, pools);
        }
        Ok(&self.pools[&side_by_side])
    }
}

/// Results on their way to whoever takes them in order.
struct HandingOn<T, F> {
    /// The index that is next.
    next: usize,
    /// Those that came before their turn.
    early: BTreeMap<usize, T>,
    failure: Option<LlmError>,
    take: F,
}

impl<T, F: FnMut(T)> HandingOn<T, F> {
    /// Hands a result on, or keeps it until its turn comes. False once anything failed.
    fn is_well_after(&mut self, index: usize, result: Result<T, LlmError>) -> bool {
        match result {
            Ok(result) => {
                self.early.insert(index, result);
                while let Some(result) = self.early.remove(&self.next) {
                    (self.take)(result);
                    self.next += 1;
                }
            }
            Err(error) => self.failure = self.failure.take().or(Some(error)),
        }
        self.failure.is_none()
    }
}

fn pool(threads: usize) -> Result<ThreadPool, LlmError> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| LlmError::Device { reason: format!("threads could not be started: {error}") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use burn::tensor::Device;

    use super::*;
    use crate::device::tiny_model;

    #[test]
    fn results_come_in_order_whoever_is_done_first() {
        let models = [tiny_model(&Device::flex()).unwrap()];
        let slow_at_first = |_: &Model, index: usize| {
            std::thread::sleep(Duration::from_millis(20_u64.saturating_sub(index as u64)));
            Ok(index)
        };
        let found = Workers::new(4).map(&models, 30, slow_at_first).unwrap();
        assert_eq!(found, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_failure_ends_the_work_and_is_told() {
        let models = [tiny_model(&Device::flex()).unwrap()];
        let fails = |_: &Model, index: usize| if index == 3 { Err(LlmError::NoRows) } else { Ok(index) };
        let mut taken = Vec::new();
        let found = Workers::new(2).in_order(&models, 30, fails, |index| taken.push(index));
        assert!(matches!(found, Err(LlmError::NoRows)));
        assert!(taken.iter().all(|index| *index < 3), "{taken:?}");
    }
}
