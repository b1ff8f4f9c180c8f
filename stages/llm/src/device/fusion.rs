use std::sync::atomic::{AtomicBool, Ordering};

use burn_cubecl::fusion::{BUILTIN_NAMES, remove};

use crate::LlmError;

static OFF: AtomicBool = AtomicBool::new(false);

/// Lets GPUs compute each operation by a kernel of its own from now on, in this process: there are drivers whose compilers get
/// kernels wrong that do several at once.
///
/// # Errors
/// When a GPU has computed something already.
pub fn without_fusion() -> Result<(), LlmError> {
    for name in BUILTIN_NAMES {
        remove(name).map_err(|error| LlmError::Device { reason: error.to_string() })?;
    }
    OFF.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether GPUs do several operations by one kernel.
pub(crate) fn is_fusing() -> bool {
    !OFF.load(Ordering::Relaxed)
}
