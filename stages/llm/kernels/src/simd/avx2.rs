#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "SAFETY: an `Avx2` exists only where the processor has AVX2 and FMA"
)]

use std::arch::x86_64::{
    __m256, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_loadl_epi64, _mm256_add_epi32, _mm256_add_ps,
    _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_cvtepu8_epi32, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_permute2f128_ps, _mm256_permutevar8x32_ps,
    _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm256_sub_ps,
};

use super::Simd;

/// AVX2 and FMA: 8 numbers, 16 registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(super) ());

impl Simd for Avx2 {
    type Vector = __m256;
    const WIDTH: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn write(self, to: *mut f32, value: __m256) {
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    fn look_up(self, table: &[f32; 16], at: [u8; 16]) -> [f32; 16] {
        let mut found = [0.0; 16];
        // SAFETY: all three are 16 long.
        unsafe {
            let (low, high) = (_mm256_loadu_ps(table.as_ptr()), _mm256_loadu_ps(table.as_ptr().add(8)));
            for half in [0, 8] {
                let at = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.as_ptr().add(half).cast()));
                // The permutation looks at three bits; the fourth, moved to the sign, chooses between the halves.
                let pick = |from| _mm256_permutevar8x32_ps(from, at);
                let chosen = _mm256_blendv_ps(pick(low), pick(high), _mm256_castsi256_ps(_mm256_slli_epi32::<28>(at)));
                _mm256_storeu_ps(found.as_mut_ptr().add(half), chosen);
            }
        }
        found
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn sums(self, vectors: [__m256; 16]) -> [f32; 16] {
        // Each step adds the halves of what is left of two vectors and puts the results into one.
        unsafe {
            let halves: [__m256; 8] = std::array::from_fn(|at| {
                let (a, b) = (vectors[2 * at], vectors[2 * at + 1]);
                _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
            });
            let pairs: [__m256; 4] = std::array::from_fn(|at| {
                let (a, b) = (halves[2 * at], halves[2 * at + 1]);
                _mm256_add_ps(_mm256_shuffle_ps::<0b01_00_01_00>(a, b), _mm256_shuffle_ps::<0b11_10_11_10>(a, b))
            });
            let mut found = [0.0; 16];
            for (pairs, to) in pairs.chunks_exact(2).zip(found.chunks_exact_mut(8)) {
                let (a, b) = (pairs[0], pairs[1]);
                let sums =
                    _mm256_add_ps(_mm256_shuffle_ps::<0b10_00_10_00>(a, b), _mm256_shuffle_ps::<0b11_01_11_01>(a, b));
                _mm256_storeu_ps(to.as_mut_ptr(), sums);
            }
            // The sum of vector 8m + 2k + l now lies at 8m + 4l + k.
            std::array::from_fn(|at| found[at / 8 * 8 + at % 2 * 4 + at % 8 / 2])
        }
    }
    #[inline(always)]
    fn power_of_two(self, n: __m256) -> __m256 {
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }
}
