//! Four bits a value: the low nibbles hold the first half of a block, the high nibbles the second.

use super::half_at;

/// f16 d, 16 bytes: `(q - 8) d`.
pub(super) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(18).zip(out.chunks_exact_mut(32)) {
        let d = half_at(block, 0);
        let (low, high) = out.split_at_mut(16);
        for (i, q) in block[2..].iter().enumerate() {
            low[i] = (f32::from(q & 15) - 8.0) * d;
            high[i] = (f32::from(q >> 4) - 8.0) * d;
        }
    }
}

/// f16 d, f16 m, 16 bytes: `q d + m`.
pub(super) fn q4_1(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(20).zip(out.chunks_exact_mut(32)) {
        let (d, m) = (half_at(block, 0), half_at(block, 2));
        let (low, high) = out.split_at_mut(16);
        for (i, q) in block[4..].iter().enumerate() {
            low[i] = f32::from(q & 15) * d + m;
            high[i] = f32::from(q >> 4) * d + m;
        }
    }
}
