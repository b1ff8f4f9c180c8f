//! Rows of activations to pairs of bf16.

use super::{panels::PANEL, split::PARTS};
use crate::{Isa, lanes::PAD};

/// Rounds rows of `stride` tokens and puts each two beside each other, in each panel at the place that `to` has for these rows, first
/// in all panels of the first part and so on; `isa` must have bf16. Places beyond the rows become zero.
pub(super) fn pack_rows(isa: Isa, parts: usize, rows: &[f32], stride: usize, to: &mut [&mut [u32]]) {
    assert!(isa.has_pairs() && stride.is_multiple_of(PAD) && rows.len().is_multiple_of(stride));
    assert_eq!(to.len(), parts * stride.div_ceil(PANEL));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has AVX512-BF16.
    unsafe {
        match parts {
            1 => x86::pack_rows::<1>(rows, stride, to),
            _ => x86::pack_rows::<PARTS>(rows, stride, to),
        }
    }
    let filled = rows.len().div_ceil(2 * stride) * PANEL;
    for to in to {
        to[filled..].fill(0);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm512_loadu_ps, _mm512_storeu_si512};

    use super::{PAD, PANEL};
    use crate::pairs::split::x86::split;

    /// Pairs of rows that are asked for before they are packed: they are read faster than the processor looks ahead by itself.
    const PAIRS_AHEAD: usize = 4;

    /// Asks for a pair of rows a little further on; it need not be there.
    #[inline]
    pub(in crate::pairs) fn ask_for_pair(rows: &[f32], stride: usize) {
        let ahead = rows.as_ptr().wrapping_add(2 * PAIRS_AHEAD * stride);
        for at in (0..2 * stride).step_by(PAD) {
            // SAFETY: every x86-64 has it, and it is a hint that reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(at).cast()) };
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn pack_rows<const PARTS: usize>(rows: &[f32], stride: usize, to: &mut [&mut [u32]]) {
        let zeros = [0.0; PAD];
        let panels = stride.div_ceil(PANEL);
        for (pair, rows) in rows.chunks(2 * stride).enumerate() {
            ask_for_pair(rows, stride);
            let (even, odd) = rows.split_at(stride);
            for panel in 0..panels {
                let first = panel * PANEL;
                let filled = (stride - first).min(PANEL);
                for at in (0..filled).step_by(PAD) {
                    let even = &even[first + at..][..PAD];
                    let odd = odd.get(first + at..first + at + PAD).unwrap_or(&zeros);
                    // SAFETY: there are 16 numbers of each.
                    let mut left = [even, odd].map(|row| unsafe { _mm512_loadu_ps(row.as_ptr()) });
                    for part in 0..PARTS {
                        let to = &mut to[part * panels + panel][pair * PANEL + at..][..PAD];
                        let pairs;
                        (pairs, left) = split(left);
                        // SAFETY: there is room for 16.
                        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
                    }
                }
                for part in 0..PARTS {
                    to[part * panels + panel][pair * PANEL + filled..(pair + 1) * PANEL].fill(0);
                }
            }
        }
    }
}
