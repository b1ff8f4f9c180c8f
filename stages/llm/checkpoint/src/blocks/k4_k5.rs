//! Super-blocks of 256 values in eight groups; each group has a six-bit scale and a six-bit minimum.

use super::half_at;

/// Scale and minimum of group `j`: 12 bytes hold eight pairs of six bits (`get_scale_min_k4`).
fn scale_and_minimum(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

/// f16 d, f16 dmin, 12 bytes of scales and minima, 128 bytes: `d scale q - dmin minimum`.
/// Every 32 bytes hold one group in the low nibbles and the next in the high ones.
pub(super) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(144).zip(out.chunks_exact_mut(256)) {
        let (d, dmin) = (half_at(block, 0), half_at(block, 2));
        for (j, group) in out.chunks_exact_mut(32).enumerate() {
            let (scale, minimum) = scale_and_minimum(&block[4..16], j);
            let (scale, minimum) = (d * scale, dmin * minimum);
            let start = 16 + j / 2 * 32;
            for (value, q) in group.iter_mut().zip(&block[start..start + 32]) {
                let q = if j % 2 == 0 { q & 15 } else { q >> 4 };
                *value = scale * f32::from(q) - minimum;
            }
        }
    }
}

/// As [`q4_k`] with a fifth bit for each value: bit `j` of 32 bytes between the scales and the nibbles.
pub(super) fn q5_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(176).zip(out.chunks_exact_mut(256)) {
        let (d, dmin) = (half_at(block, 0), half_at(block, 2));
        let fifth = &block[16..48];
        for (j, group) in out.chunks_exact_mut(32).enumerate() {
            let (scale, minimum) = scale_and_minimum(&block[4..16], j);
            let (scale, minimum) = (d * scale, dmin * minimum);
            let start = 48 + j / 2 * 32;
            for (i, (value, q)) in group.iter_mut().zip(&block[start..start + 32]).enumerate() {
                let nibble = if j % 2 == 0 { q & 15 } else { q >> 4 };
                let q = nibble | (fifth[i] >> j & 1) << 4;
                *value = scale * f32::from(q) - minimum;
            }
        }
    }
}
