use half::bf16;
use rayon::prelude::*;

use crate::{Isa, Precision, Right, lanes::PAD, packed::PairWalk, places::Places, weight::takes_pairs};

/// Tokens of a panel.
pub(crate) const PANEL: usize = 48;

/// Pairs of features that one task packs.
const PAIRS_PER_TASK: usize = 32;

/// Activations rounded to bf16 for products with weights in bf16: panels of 48 tokens, and in a panel pairs of features,
/// `[tokens / 48][features / 2][48][2]`. Where no instruction takes pairs they are f32 that were rounded.
#[derive(Debug, Default)]
pub struct Bf16Panels {
    /// Whom it was packed for.
    isa: Option<Isa>,
    features: usize,
    stride: usize,
    pairs: Vec<u32>,
    rounded: Vec<f32>,
}

/// What a product reads of [`Bf16Panels`].
pub(crate) enum Packed<'a> {
    Pairs(&'a [u32]),
    Rounded(&'a [f32]),
}

impl Bf16Panels {
    /// Brings rows that lie in lanes (`stride` tokens each) into the form that products with weights of a precision take;
    /// those of f32 take them as they are.
    pub fn pack<'a>(&'a mut self, isa: Isa, precision: Precision, rows: &'a [f32], stride: usize) -> Right<'a> {
        if precision == Precision::F32 {
            return Right::Lanes { rows, stride };
        }
        self.isa = Some(isa);
        self.features = rows.len() / stride;
        self.stride = stride;
        if takes_pairs(precision, isa) {
            let deep = self.features.div_ceil(2) * PANEL;
            self.pairs.resize(stride.div_ceil(PANEL) * deep, 0);
            let places = Places::new(&mut self.pairs, deep);
            rows.par_chunks(2 * PAIRS_PER_TASK * stride).enumerate().for_each(|(task, rows)| {
                let first = task * PAIRS_PER_TASK;
                let pairs = first..first + rows.len().div_ceil(2 * stride);
                // SAFETY: these are the places of features that no other task has.
                let part = |panel| unsafe { places.part(panel, pairs.start * PANEL..pairs.end * PANEL) };
                let mut to: Vec<&mut [u32]> = (0..stride.div_ceil(PANEL)).map(part).collect();
                pack_rows(isa, rows, stride, &mut to);
            });
        } else {
            self.rounded.resize(rows.len(), 0.0);
            self.rounded.par_chunks_mut(stride * PAD).zip(rows.par_chunks(stride * PAD)).for_each(|(to, from)| {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = bf16::from_f32(*from).to_f32();
                }
            });
        }
        Right::Panels(self)
    }

    pub(crate) fn features(&self) -> usize {
        self.features
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn packed(&self, isa: Isa) -> Packed<'_> {
        assert_eq!(self.isa, Some(isa), "panels are for the instructions they were packed for");
        if isa.has_bf16() { Packed::Pairs(&self.pairs) } else { Packed::Rounded(&self.rounded) }
    }
}

/// Rounds rows of `stride` tokens and puts each two beside each other, in each panel at the place that `to` has for these rows; `isa` must
/// have bf16. Places beyond the rows become zero.
fn pack_rows(isa: Isa, rows: &[f32], stride: usize, to: &mut [&mut [u32]]) {
    assert!(isa.has_bf16() && stride.is_multiple_of(PAD) && rows.len().is_multiple_of(stride));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has AVX512-BF16.
    unsafe {
        x86::pack_rows(rows, stride, to);
    }
}

/// Rounds two rows and puts them beside each other; places beyond the rows become zero.
pub(crate) fn pack_pairs(isa: Isa, even: &[f32], odd: Option<&[f32]>, to: &mut [u32]) {
    let (filled, rest) = to.split_at_mut(even.len());
    rest.fill(0);
    #[cfg(target_arch = "x86_64")]
    if isa.has_bf16() {
        // SAFETY: the processor has AVX512-BF16.
        unsafe { x86::pack(even, odd, filled) };
        return;
    }
    let _ = isa;
    for (at, to) in filled.iter_mut().enumerate() {
        let odd = odd.map_or(0, |odd| bf16::from_f32(odd[at]).to_bits());
        *to = u32::from(bf16::from_f32(even[at]).to_bits()) | u32::from(odd) << 16;
    }
}

/// Rounds numbers that lie beside each other; `isa` must have bf16, and there must be a multiple of 32 of them.
pub(crate) fn pair_up(isa: Isa, from: &[f32], to: &mut [u32]) {
    assert!(isa.has_bf16() && from.len() == 2 * to.len() && to.len().is_multiple_of(PAD));
    #[cfg(target_arch = "x86_64")]
    for (from, to) in from.chunks_exact(2 * PAD).zip(to.chunks_exact_mut(PAD)) {
        // SAFETY: the processor has AVX512-BF16, and the slices are 32 and 16 long.
        unsafe { x86::pair_up(from.as_ptr(), to.as_mut_ptr()) };
    }
}

/// C (+)= A·B with both sides in pairs of bf16, for up to 16 rows.
pub(crate) struct PairStrip<'a> {
    pub(crate) rows: usize,
    pub(crate) a: PairWalk<'a>,
    /// `[tokens / 48][pairs in all][48]`.
    pub(crate) b: &'a [u32],
    /// Pairs in a panel of `b`.
    pub(crate) deep: usize,
    /// First pair of `b` that meets the first of `a`.
    pub(crate) first: usize,
    /// `rows` rows of `stride` numbers.
    pub(crate) c: &'a mut [f32],
    pub(crate) stride: usize,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other processor computes such strips yet"))]
    pub(crate) accumulate: bool,
    /// What will be read of the left side after `a`; it is asked for meanwhile.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other processor computes such strips yet"))]
    pub(crate) next: &'a [u32],
}

impl PairStrip<'_> {
    /// Computes the strip; `isa` must have bf16.
    pub(crate) fn run(self, isa: Isa) {
        assert!(isa.has_bf16(), "invariant: pairs are packed only for processors that take them");
        assert!(self.rows <= PAD && self.c.len() >= self.rows * self.stride && self.stride.is_multiple_of(PAD));
        let PairWalk { pairs, row, step, count } = self.a;
        assert!(self.first + count <= self.deep);
        assert!(self.rows == 0 || count == 0 || pairs.len() > (self.rows - 1) * row + (count - 1) * step);
        assert!(self.b.len() >= self.stride.div_ceil(PANEL) * self.deep * PANEL);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX512-BF16, and the lengths are those asserted.
        unsafe {
            x86::strip(self);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
        _mm512_cvtneps_pbh, _mm512_loadu_ps, _mm512_or_si512, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps,
        _mm512_storeu_si512,
    };

    use super::{PAD, PANEL, PairStrip, PairWalk};
    use crate::simd::{
        ask_for,
        x86::{pair_products, read_pairs},
    };

    /// Rows of a tile.
    const TILE_ROWS: usize = 8;

    /// Pairs of rows that are asked for before they are packed: they are read faster than the processor looks ahead by itself.
    const PAIRS_AHEAD: usize = 4;

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn pack_rows(rows: &[f32], stride: usize, to: &mut [&mut [u32]]) {
        let zeros = [0.0; PAD];
        for (pair, rows) in rows.chunks(2 * stride).enumerate() {
            let ahead = rows.as_ptr().wrapping_add(2 * PAIRS_AHEAD * stride);
            for at in (0..2 * stride).step_by(PAD) {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(at).cast());
            }
            let (even, odd) = rows.split_at(stride);
            for (panel, to) in to.iter_mut().enumerate() {
                let to = &mut to[pair * PANEL..(pair + 1) * PANEL];
                let first = panel * PANEL;
                let (filled, rest) = to.split_at_mut((stride - first).min(PANEL));
                for (at, to) in (first..).step_by(PAD).zip(filled.chunks_exact_mut(PAD)) {
                    pack_vector(&even[at..at + PAD], odd.get(at..at + PAD).unwrap_or(&zeros), to);
                }
                rest.fill(0);
            }
        }
    }

    /// Rounds 16 numbers of each of two rows.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    fn pack_vector(even: &[f32], odd: &[f32], to: &mut [u32]) {
        assert!(even.len() >= PAD && odd.len() >= PAD && to.len() >= PAD);
        // SAFETY: there are 16 numbers of each and room for 16; the types of 256 bits differ in name only.
        unsafe {
            let halves = [even, odd].map(|from| {
                let rounded: __m256i = std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr())));
                _mm512_cvtepu16_epi32(rounded)
            });
            let pairs = _mm512_or_si512(halves[0], _mm512_slli_epi32::<16>(halves[1]));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn pack(even: &[f32], odd: Option<&[f32]>, to: &mut [u32]) {
        let zeros = [0.0; PAD];
        for (at, to) in to.chunks_exact_mut(PAD).enumerate() {
            let odd = odd.map_or(&zeros[..], |odd| &odd[at * PAD..(at + 1) * PAD]);
            pack_vector(&even[at * PAD..(at + 1) * PAD], odd, to);
        }
    }

    /// # Safety
    /// `from` has 32 numbers, `to` has 16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn pair_up(from: *const f32, to: *mut u32) {
        // SAFETY: the caller says that the numbers are there; the types of 512 bits differ in name only.
        unsafe {
            let rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from.add(PAD)), _mm512_loadu_ps(from));
            _mm512_storeu_si512(to.cast(), std::mem::transmute::<__m512bh, __m512i>(rounded));
        }
    }

    /// # Safety
    /// The lengths must be those that [`PairStrip::run`] asserts.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[allow(clippy::needless_pass_by_value, reason = "its output is borrowed for as long")]
    pub(super) unsafe fn strip(strip: PairStrip<'_>) {
        let PairWalk { pairs, row: a_row, step, count } = strip.a;
        // Each tile asks for a part of what comes next.
        let tiles = strip.stride.div_ceil(PANEL) * strip.rows.div_ceil(TILE_ROWS);
        let lines = (strip.next.len() / PAD).div_ceil(tiles.max(1)).max(1);
        let mut next = strip.next.chunks(lines * PAD);
        for (panel, column) in (0..strip.stride).step_by(PANEL).enumerate() {
            let vectors = (strip.stride - column).min(PANEL) / PAD;
            let mut row = 0;
            while row < strip.rows {
                ask_for(next.next().unwrap_or_default());
                // SAFETY: row, column and panel are within what the lengths allow.
                unsafe {
                    let a = (pairs.as_ptr().add(row * a_row), a_row, step);
                    let b = strip.b.as_ptr().add((panel * strip.deep + strip.first) * PANEL);
                    let c = strip.c.as_mut_ptr().add(row * strip.stride + column);
                    macro_rules! rows {
                        ($rows:literal) => {{
                            match vectors {
                                3 => tile::<$rows, 3>(a, b, count, c, strip.stride, strip.accumulate),
                                2 => tile::<$rows, 2>(a, b, count, c, strip.stride, strip.accumulate),
                                _ => tile::<$rows, 1>(a, b, count, c, strip.stride, strip.accumulate),
                            }
                            row += $rows;
                        }};
                    }
                    match strip.rows - row {
                        8.. => rows!(8),
                        4..8 => rows!(4),
                        2..4 => rows!(2),
                        _ => rows!(1),
                    }
                }
            }
        }
    }

    /// # Safety
    /// All of it has to be there.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    unsafe fn tile<const M: usize, const N: usize>(
        (mut a, a_row, step): (*const u32, usize, usize),
        mut b: *const u32,
        count: usize,
        c: *mut f32,
        stride: usize,
        accumulate: bool,
    ) {
        // SAFETY: the caller says so.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); N]; M];
            if accumulate {
                for (i, row) in sums.iter_mut().enumerate() {
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum = _mm512_loadu_ps(c.add(i * stride + j * PAD));
                    }
                }
            }
            for _ in 0..count {
                let right: [_; N] = std::array::from_fn(|j| read_pairs(b.add(j * PAD)));
                for (i, row) in sums.iter_mut().enumerate() {
                    for (sum, right) in row.iter_mut().zip(&right) {
                        *sum = pair_products(*sum, *a.add(i * a_row), *right);
                    }
                }
                a = a.add(step);
                b = b.add(PANEL);
            }
            for (i, row) in sums.iter().enumerate() {
                for (j, sum) in row.iter().enumerate() {
                    _mm512_storeu_ps(c.add(i * stride + j * PAD), *sum);
                }
            }
        }
    }
}
