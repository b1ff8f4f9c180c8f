use std::{
    io::{self, Read},
    panic::{self, AssertUnwindSafe},
    path::Path,
    process,
};

use super::StepOrder;
use crate::stage::{Event, EventSink, Registry, StageError, StepContext};

/// The child's side: runs one step of a plan and tells the engine about it on standard output.
///
/// Returns whether the step ended well. Ends the process when the engine goes away: the engine holds the other end of
/// standard input, and even a killed engine lets go of it.
pub fn exec_step(registry: &Registry, plan: &Path, stage: &str) -> bool {
    let events = EventSink::lines(io::stdout());
    end_with_the_engine();
    let result = run(registry, plan, stage, &events);
    let peak_memory = peak_memory();
    let well = result.is_ok();
    events.send(match result {
        Ok(()) => Event::Done { peak_memory },
        Err(error) => Event::Failed { error, peak_memory },
    });
    well
}

fn run(registry: &Registry, plan: &Path, stage: &str, events: &EventSink) -> Result<(), StageError> {
    let order: StepOrder = serde_json::from_slice(&fs_err::read(StepOrder::path(plan, stage))?)
        .map_err(|error| StageError::new("engine::bad_order", "the step's order is damaged").caused_by(&error))?;
    let kind = registry.get(&order.kind).ok_or_else(|| {
        StageError::new("engine::unknown_kind", format!("this refit has no stage kind `{}`", order.kind))
            .help("the plan was made by another version of refit")
    })?;
    let mut lock = fd_lock::RwLock::new(fs_err::File::create(StepOrder::lock_file(&order.folder))?);
    let _alone = lock.write()?;
    let context = StepContext::new(
        order.inputs,
        StepOrder::outputs_folder(&order.folder),
        StepOrder::scratch_folder(&order.folder),
        order.settings,
        events.clone(),
    );
    panic::catch_unwind(AssertUnwindSafe(|| kind.run(order.with, &context))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string).or(panic.downcast_ref::<String>().cloned());
        Err(StageError::new("engine::panic", format!("`{stage}` hit a defect in refit: {}", said.unwrap_or_default()))
            .help("please report it with the log of this step"))
    })
}

fn end_with_the_engine() {
    std::thread::spawn(|| {
        let mut nothing = [0_u8; 64];
        let mut input = io::stdin().lock();
        while matches!(input.read(&mut nothing), Ok(read) if read > 0) {}
        process::exit(130);
    });
}

/// The process's own peak resident memory in bytes; 0 where the system does not tell.
pub(crate) fn peak_memory() -> u64 {
    let Ok(status) = fs_err::read_to_string("/proc/self/status") else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
