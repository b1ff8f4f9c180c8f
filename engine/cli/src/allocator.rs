//! How the C library keeps memory that is free.

/// Has every piece of 128 KiB or more go back to the system as soon as it is free.
///
/// It is what glibc begins with, but with the first such piece that is freed it starts to keep larger ones for later, and
/// their holes were a sixth of what the run of a pipeline with 10,000 stages held. To set it once keeps it. A worker is
/// given a value of its own by whoever starts it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the C library has no other way to be told")]
pub(crate) fn give_back_soon() {
    const THRESHOLD: i32 = 128 << 10;
    // SAFETY: the call takes two numbers and changes nothing but the allocator's settings; no other thread runs yet.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_soon() {}
