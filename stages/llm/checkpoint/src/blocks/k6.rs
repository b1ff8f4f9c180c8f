use super::half_at;

/// Super-blocks of 256 values in sixteen groups: 128 bytes of low nibbles, 64 bytes of two high bits, 16 signed scales,
/// f16 d: `d scale (q - 32)`. Each half of 128 values interleaves four runs of 32.
pub(super) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(210).zip(out.chunks_exact_mut(256)) {
        let d = half_at(block, 208);
        for (part, out) in out.chunks_exact_mut(128).enumerate() {
            let low = &block[part * 64..part * 64 + 64];
            let high = &block[128 + part * 32..128 + part * 32 + 32];
            let scales = &block[192 + part * 8..192 + part * 8 + 8];
            for (run, out) in out.chunks_exact_mut(32).enumerate() {
                for (i, value) in out.iter_mut().enumerate() {
                    let nibbles = low[run % 2 * 32 + i];
                    let nibble = if run < 2 { nibbles & 15 } else { nibbles >> 4 };
                    let q = nibble | (high[i] >> (2 * run) & 3) << 4;
                    let scale = f32::from(scales[run * 2 + i / 16] as i8);
                    *value = d * scale * (f32::from(q) - 32.0);
                }
            }
        }
    }
}
