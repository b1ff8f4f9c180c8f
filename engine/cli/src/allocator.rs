//! How the C library keeps memory that is free.

/// Has larger pieces of memory go back to the system as soon as they are free.
///
/// It is what glibc begins with, but with the first such piece that is freed it starts to keep larger ones for later, which
/// may not fit: their holes were a sixth of what a run of 10,000 stages held, and in a worker, where the buffers of a training
/// grow with its batches, up to a fifth. To say it once keeps it.
///
/// Smaller pieces a worker keeps: the layers of a model take and free them in turn, and to ask the system for each of them anew
/// was a tenth of the time of a training.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the C library has no other way to be told")]
pub(crate) fn give_back_soon(is_worker: bool) {
    let set = |setting, value| {
        // SAFETY: the call takes two numbers and changes nothing but the allocator's settings; no other thread runs yet.
        let _ = unsafe { libc::mallopt(setting, value) };
    };
    if is_worker {
        set(libc::M_MMAP_THRESHOLD, 1 << 20);
        set(libc::M_TRIM_THRESHOLD, 64 << 20);
    } else {
        set(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_soon(_is_worker: bool) {}
