//! How the C library keeps memory that is free.

/// Has larger pieces of memory go back to the system as soon as they are free.
///
/// It is what glibc begins with, but with the first such piece that is freed it starts to keep larger ones for later, which
/// may not fit: their holes were a sixth of what a run of 10,000 stages held, and in a worker, where the buffers of a training
/// grow with its batches, up to a fifth. To say it once keeps it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the C library has no other way to be told")]
pub(crate) fn give_back_soon(is_worker: bool) {
    let from = if is_worker { 1 << 20 } else { 128 << 10 };
    // SAFETY: the call takes two numbers and changes nothing but the allocator's settings; no other thread runs yet.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, from) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_soon(_is_worker: bool) {}
