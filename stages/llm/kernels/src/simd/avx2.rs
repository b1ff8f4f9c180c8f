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

use std::{arch::asm, ptr};

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
    unsafe fn add_column<const M: usize, const N: usize>(
        self,
        sums: &mut [[__m256; N]; M],
        column: *const f32,
        row: usize,
        b: *const f32,
    ) {
        if M == Self::ROWS && N == 3 {
            // SAFETY: so many rows and vectors they are; the caller says that the numbers are there.
            unsafe { add_column_to_tile(&mut *ptr::from_mut(sums).cast(), column, row, b) };
        } else {
            unsafe { super::add_column(self, sums, column, row, b) };
        }
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
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }
}

/// [`Simd::add_column`] for a tile of four rows, whose sums and what meets them fill all 16 registers. Left to itself, the compiler reads several numbers
/// of the column ahead, has no register for them and keeps sums on the stack, which each step then waits for.
///
/// # Safety
/// As said there.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_column_to_tile(sums: &mut [[__m256; 3]; 4], column: *const f32, row: usize, b: *const f32) {
    let [[s00, s01, s02], [s10, s11, s12], [s20, s21, s22], [s30, s31, s32]] = sums;
    let row = row * size_of::<f32>();
    unsafe {
        asm!(
            "vmovups {b0}, ymmword ptr [{b}]",
            "vmovups {b1}, ymmword ptr [{b} + 32]",
            "vmovups {b2}, ymmword ptr [{b} + 64]",
            "vbroadcastss {a}, dword ptr [{column}]",
            "vfmadd231ps {s00}, {a}, {b0}",
            "vfmadd231ps {s01}, {a}, {b1}",
            "vfmadd231ps {s02}, {a}, {b2}",
            "vbroadcastss {a}, dword ptr [{column} + {row}]",
            "vfmadd231ps {s10}, {a}, {b0}",
            "vfmadd231ps {s11}, {a}, {b1}",
            "vfmadd231ps {s12}, {a}, {b2}",
            "vbroadcastss {a}, dword ptr [{column} + 2 * {row}]",
            "vfmadd231ps {s20}, {a}, {b0}",
            "vfmadd231ps {s21}, {a}, {b1}",
            "vfmadd231ps {s22}, {a}, {b2}",
            "vbroadcastss {a}, dword ptr [{column} + {rows}]",
            "vfmadd231ps {s30}, {a}, {b0}",
            "vfmadd231ps {s31}, {a}, {b1}",
            "vfmadd231ps {s32}, {a}, {b2}",
            column = in(reg) column,
            row = in(reg) row,
            rows = in(reg) 3 * row,
            b = in(reg) b,
            a = out(ymm_reg) _,
            b0 = out(ymm_reg) _,
            b1 = out(ymm_reg) _,
            b2 = out(ymm_reg) _,
            s00 = inout(ymm_reg) *s00,
            s01 = inout(ymm_reg) *s01,
            s02 = inout(ymm_reg) *s02,
            s10 = inout(ymm_reg) *s10,
            s11 = inout(ymm_reg) *s11,
            s12 = inout(ymm_reg) *s12,
            s20 = inout(ymm_reg) *s20,
            s21 = inout(ymm_reg) *s21,
            s22 = inout(ymm_reg) *s22,
            s30 = inout(ymm_reg) *s30,
            s31 = inout(ymm_reg) *s31,
            s32 = inout(ymm_reg) *s32,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}
