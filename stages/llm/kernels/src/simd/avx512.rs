#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "SAFETY: an `Avx512` exists only where the processor has AVX-512F"
)]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm512_add_ps, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_div_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps,
    _mm512_permutexvar_ps, _mm512_rcp14_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::Simd;

/// AVX-512F: 16 numbers, 32 registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(super) ());

impl Simd for Avx512 {
    type Vector = __m512;
    const WIDTH: usize = 16;
    const ROWS: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    fn look_up(self, table: &[f32; 16], at: [u8; 16]) -> [f32; 16] {
        let mut found = [0.0; 16];
        // SAFETY: all three are 16 long.
        unsafe {
            let at = _mm512_cvtepu8_epi32(_mm_loadu_si128(at.as_ptr().cast()));
            _mm512_storeu_ps(found.as_mut_ptr(), _mm512_permutexvar_ps(at, _mm512_loadu_ps(table.as_ptr())));
        }
        found
    }
    #[inline(always)]
    fn widen(self, codes: [u8; 16]) -> [f32; 16] {
        let mut numbers = [0.0; 16];
        // SAFETY: both are 16 long.
        unsafe {
            let codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
            _mm512_storeu_ps(numbers.as_mut_ptr(), _mm512_cvtepi32_ps(codes));
        }
        numbers
    }
    #[inline(always)]
    fn copy(self, from: &[f32], to: &mut [f32]) {
        assert_eq!(from.len(), to.len());
        let whole = from.len() / Self::WIDTH * Self::WIDTH;
        let left = (1 << (from.len() - whole)) - 1;
        // SAFETY: both are as long as that, and no place beyond the mask is touched.
        unsafe {
            for at in (0..whole).step_by(Self::WIDTH) {
                _mm512_storeu_ps(to.as_mut_ptr().add(at), _mm512_loadu_ps(from.as_ptr().add(at)));
            }
            let last = _mm512_maskz_loadu_ps(left, from.as_ptr().add(whole));
            _mm512_mask_storeu_ps(to.as_mut_ptr().add(whole), left, last);
        }
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: a hint that reads nothing, for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<8>(a) }
    }
    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    fn inverse(self, a: __m512) -> __m512 {
        // A division takes as long as eight products. One step of Newton's doubles the digits of a first guess, which has 14 of 24.
        unsafe {
            let guess = _mm512_rcp14_ps(a);
            _mm512_fmadd_ps(guess, _mm512_fnmadd_ps(a, guess, _mm512_set1_ps(1.0)), guess)
        }
    }
    #[inline(always)]
    fn sums(self, vectors: [__m512; 16]) -> [f32; 16] {
        // Each step adds the halves of what is left of two vectors and puts the results into one.
        unsafe {
            let halves: [__m512; 8] = std::array::from_fn(|at| {
                let (a, b) = (vectors[2 * at], vectors[2 * at + 1]);
                _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
            });
            let quarters: [__m512; 4] = std::array::from_fn(|at| {
                let (a, b) = (halves[2 * at], halves[2 * at + 1]);
                _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
            });
            let pairs: [__m512; 2] = std::array::from_fn(|at| {
                let (a, b) = (quarters[2 * at], quarters[2 * at + 1]);
                _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(a, b), _mm512_shuffle_ps::<0b11_10_11_10>(a, b))
            });
            let (a, b) = (pairs[0], pairs[1]);
            let sums =
                _mm512_add_ps(_mm512_shuffle_ps::<0b10_00_10_00>(a, b), _mm512_shuffle_ps::<0b11_01_11_01>(a, b));
            // The sum of vector 4k + l now lies at 4l + k.
            let mut found = [0.0; 16];
            _mm512_storeu_ps(found.as_mut_ptr(), sums);
            std::array::from_fn(|at| found[at % 4 * 4 + at / 4])
        }
    }
}

/// Adds to `sum` the products of 16 pairs of bf16 with one pair in all places.
///
/// # Safety
/// The processor must have AVX512-BF16.
#[inline(always)]
pub(crate) unsafe fn pair_products(sum: __m512, pair: u32, pairs: __m512i) -> __m512 {
    unsafe {
        let [left, right] =
            [_mm512_set1_epi32(pair as i32), pairs].map(|pairs| std::mem::transmute::<__m512i, __m512bh>(pairs));
        _mm512_dpbf16_ps(sum, left, right)
    }
}

/// Reads 16 pairs of bf16.
///
/// # Safety
/// They have to lie there, and the processor must have AVX-512F.
#[inline(always)]
pub(crate) unsafe fn read_pairs(from: *const u32) -> __m512i {
    unsafe { _mm512_loadu_si512(from.cast()) }
}
