use std::sync::OnceLock;

/// Bytes of the cache for data that is nearest to a core, as the processor tells, or what most have at least.
pub(crate) fn nearest_cache() -> usize {
    const LEAST: usize = if cfg!(target_arch = "x86_64") { 32 << 10 } else { 64 << 10 };
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| told().unwrap_or(LEAST))
}

#[cfg(not(target_arch = "x86_64"))]
fn told() -> Option<usize> {
    None
}

/// Intel's manual tells of leaf 4, AMD's of leaf 8000001D: the same, under another number.
#[cfg(target_arch = "x86_64")]
fn told() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const DATA: u32 = 1;
    let leaves = [(0, 4), (0x8000_0000, 0x8000_001d)].into_iter().filter(|(first, leaf)| __cpuid(*first).eax >= *leaf);
    let mut caches = leaves.flat_map(|(_, leaf)| (0..8).map(move |at| __cpuid_count(leaf, at)));
    let nearest = caches.find(|cache| cache.eax & 31 == DATA && cache.eax >> 5 & 7 == 1)?;
    let [ways, parts, line] = [nearest.ebx >> 22, nearest.ebx >> 12 & 1023, nearest.ebx & 4095];
    Some([ways, parts, line, nearest.ecx].into_iter().map(|less_one| less_one as usize + 1).product())
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_the_same_size() {
        let Ok(text) = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index0/size") else { return };
        let kibibytes: usize = text.trim().strip_suffix('K').and_then(|number| number.parse().ok()).expect("as 32K");
        assert_eq!(nearest_cache(), kibibytes << 10);
    }
}
