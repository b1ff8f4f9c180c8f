//! Five bits a value: nibbles as in the four-bit formats, the fifth bits in one little-endian word.

use super::half_at;

fn fifth_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The two values that share byte `i`.
fn pair(q: u8, bits: u32, i: usize) -> (f32, f32) {
    let bit = |at: usize| ((bits >> at & 1) << 4) as u8;
    (f32::from(q & 15 | bit(i)), f32::from(q >> 4 | bit(i + 16)))
}

/// f16 d, u32 fifth bits, 16 bytes: `(q - 16) d`.
pub(super) fn q5_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(22).zip(out.chunks_exact_mut(32)) {
        let (d, bits) = (half_at(block, 0), fifth_bits(block, 2));
        let (low, high) = out.split_at_mut(16);
        for (i, q) in block[6..].iter().enumerate() {
            let (first, second) = pair(*q, bits, i);
            low[i] = (first - 16.0) * d;
            high[i] = (second - 16.0) * d;
        }
    }
}

/// f16 d, f16 m, u32 fifth bits, 16 bytes: `q d + m`.
pub(super) fn q5_1(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(24).zip(out.chunks_exact_mut(32)) {
        let (d, m, bits) = (half_at(block, 0), half_at(block, 2), fifth_bits(block, 4));
        let (low, high) = out.split_at_mut(16);
        for (i, q) in block[8..].iter().enumerate() {
            let (first, second) = pair(*q, bits, i);
            low[i] = first * d + m;
            high[i] = second * d + m;
        }
    }
}
