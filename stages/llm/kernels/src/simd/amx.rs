//! Whether this process may use AMX, whose tiles are larger than what an operating system saves of a thread unasked.

use std::{arch::x86_64::__cpuid_count, sync::OnceLock};

/// Bits of leaf 7's `edx`.
const AMX_BF16: u32 = 1 << 22;
const AMX_TILE: u32 = 1 << 24;

/// Whether the processor has products of tiles of bf16, and the operating system lets us use them: it is asked once.
pub(super) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let has = |bit| __cpuid_count(7, 0).edx & bit != 0;
        has(AMX_BF16) && has(AMX_TILE) && is_allowed()
    })
}

#[cfg(target_os = "linux")]
fn is_allowed() -> bool {
    /// Of `asm/prctl.h`.
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    /// The part of a thread's state that holds the tiles.
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call reads its two numbers only; a kernel that does not know it says so.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_allowed() -> bool {
    false
}
