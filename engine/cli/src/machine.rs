//! What this machine has for steps to share.

use std::{env, process::Command, thread};

use refit_engine::{
    graph::Pipeline,
    run::GpuSearch,
    schedule::{Capacity, Gpu},
};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What `probe-device` prints of a device.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FoundDevice {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) software: bool,
}

/// Opens a device in a process of its own: drivers crash. Else says why there is none.
pub(crate) fn probe(device: &str) -> Result<FoundDevice, String> {
    let refit = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(refit).args(["probe-device", device]).output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| why(&String::from_utf8_lossy(&output.stderr), &output.status.to_string()))
}

/// The sentence of the error that was shown, or else how the process ended.
fn why(said: &str, status: &str) -> String {
    let sentence = said.lines().find_map(|line| line.trim().strip_prefix("× "));
    sentence.map_or_else(|| status.to_owned(), ToOwned::to_owned)
}

/// What steps share, as far as it is known without asking a driver.
pub(crate) fn capacity(pipeline: &Pipeline, config: &Config, device: &str) -> Capacity {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let steps = config.jobs();
    let mut gpus = config.gpus.clone().unwrap_or_default().into_list();
    let asks_for_memory = pipeline.stages.stages().any(|node| node.terms.demand.memory > 0);
    let named: Vec<usize> = device.split(',').filter_map(|one| one.strip_prefix("wgpu:")?.parse().ok()).collect();
    if !named.is_empty() {
        let known = |index| gpus.iter().find(|gpu| gpu.index == index).cloned();
        gpus = named.into_iter().map(|index| known(index).unwrap_or(Gpu { index, memory: None })).collect();
    }
    Capacity {
        steps,
        // Who lets more steps run than there are cores means just that.
        cpu: cores.max(steps) as u32,
        memory: if asks_for_memory { memory() } else { None },
        gpus,
        together: device.contains(',') || device == "wgpu:all",
        on_cores: device == "cpu",
    }
}

/// Asks the drivers for GPUs, one number after the other. A software rasteriser is one only when asked for.
pub(crate) fn gpu_search(device: &str) -> GpuSearch {
    /// More adapters than this are not looked for.
    const MOST: usize = 16;
    let software_counts = device == "wgpu";
    GpuSearch::new(move || {
        (0..MOST)
            .map_while(|index| Some((index, probe(&format!("wgpu:{index}")).ok()?)))
            .filter(|(_, found)| software_counts || !found.software)
            .map(|(index, _)| Gpu { index, memory: None })
            .collect()
    })
}

/// Bytes of memory that this process may have at most, where the system tells.
fn memory() -> Option<u64> {
    let told = fs_err::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        told.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    // In a container the machine's memory is not all for us; without a limit the file says `max`.
    let limit = fs_err::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(limit.unwrap_or(u64::MAX).min(kib * 1024))
}
