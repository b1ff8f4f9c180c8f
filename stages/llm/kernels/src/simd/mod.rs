//! Vectors of `f32` in the widths that processors have, and the choice between them.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cache;
mod exp;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod tanh;

/// What only x86 has.
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    pub(crate) use super::avx512::{pair_products, read_pairs};
}

pub(crate) use cache::nearest_cache;
pub(crate) use exp::exp;
pub use isa::Isa;
pub(crate) use isa::Kernel;
pub(crate) use tanh::tanh;

/// Asks for numbers that are read a little later. A weight comes from memory, where the processor looks ahead by itself no further
/// than a page.
pub(crate) fn ask_for<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks((LINE / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has it, and it is a hint that reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    let _ = values;
}

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Vector instructions of one kind. A value exists only where the processor has them, so its methods need no `unsafe`.
pub(crate) trait Simd: Copy + Send + Sync {
    /// `WIDTH` numbers.
    type Vector: Copy;
    /// Numbers in a vector; divides 16.
    const WIDTH: usize;
    /// Rows of a product that are computed together: with three vectors each they fill the registers.
    const ROWS: usize;

    /// The same number in all places.
    fn splat(self, value: f32) -> Self::Vector;
    /// Reads `WIDTH` numbers.
    ///
    /// # Safety
    /// They have to lie there.
    unsafe fn read(self, from: *const f32) -> Self::Vector;
    /// Writes `WIDTH` numbers.
    ///
    /// # Safety
    /// There has to be room for them.
    unsafe fn write(self, to: *mut f32, value: Self::Vector);
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a · b + c.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// One step of a product: adds to each row of sums its number of a column, where it is `row` numbers to the next, times `N` vectors at `b`.
    ///
    /// # Safety
    /// All of them have to lie there.
    #[inline(always)]
    unsafe fn add_column<const M: usize, const N: usize>(
        self,
        sums: &mut [[Self::Vector; N]; M],
        column: *const f32,
        row: usize,
        b: *const f32,
    ) {
        // SAFETY: the caller says so.
        unsafe { add_column(self, sums, column, row, b) };
    }

    /// To the nearest whole number.
    fn round(self, a: Self::Vector) -> Self::Vector;
    /// a · 2ⁿ for whole n within ±126.
    fn scale(self, a: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// 1 / a, to about a unit in the last place, for a from 1 to 2¹²⁶.
    #[inline(always)]
    fn inverse(self, a: Self::Vector) -> Self::Vector {
        self.div(self.splat(1.0), a)
    }

    /// `table[at[i]]`; every place is below 16.
    #[inline(always)]
    fn look_up(self, table: &[f32; 16], at: [u8; 16]) -> [f32; 16] {
        at.map(|at| table[usize::from(at & 15)])
    }

    /// Small whole numbers as numbers.
    #[inline(always)]
    fn widen(self, codes: [u8; 16]) -> [f32; 16] {
        codes.map(f32::from)
    }

    /// Asks for a cache line that will be read soon; it need not be there.
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        let _ = at;
    }

    /// Copies some numbers to as many places, also where they are too few for a call to pay off.
    #[inline(always)]
    fn copy(self, from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    /// Reads the first numbers of a slice.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= Self::WIDTH);
        // SAFETY: the slice is long enough.
        unsafe { self.read(from.as_ptr()) }
    }

    /// Writes to the beginning of a slice.
    #[inline(always)]
    fn store(self, to: &mut [f32], value: Self::Vector) {
        assert!(to.len() >= Self::WIDTH);
        // SAFETY: the slice is long enough.
        unsafe { self.write(to.as_mut_ptr(), value) }
    }

    /// The sum of the numbers of a vector, always added in the same order.
    #[inline(always)]
    fn sum(self, value: Self::Vector) -> f32 {
        let mut numbers = [0f32; 16];
        self.store(&mut numbers, value);
        let mut width = Self::WIDTH;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                numbers[i] += numbers[i + width];
            }
        }
        numbers[0]
    }

    /// The sum of each of 16 vectors, in the order of [`Simd::sum`].
    #[inline(always)]
    fn sums(self, vectors: [Self::Vector; 16]) -> [f32; 16] {
        vectors.map(|vector| self.sum(vector))
    }
}

/// [`Simd::add_column`] where the compiler keeps all sums in registers by itself.
///
/// # Safety
/// As said there.
#[inline(always)]
unsafe fn add_column<S: Simd, const M: usize, const N: usize>(
    s: S,
    sums: &mut [[S::Vector; N]; M],
    column: *const f32,
    row: usize,
    b: *const f32,
) {
    let mut right = [s.splat(0.0); N];
    for (j, value) in right.iter_mut().enumerate() {
        // SAFETY: the caller says that all of them lie there.
        *value = unsafe { s.read(b.add(j * S::WIDTH)) };
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller says so.
        let left = s.splat(unsafe { *column.add(i * row) });
        for (sum, value) in sums.iter_mut().zip(&right) {
            *sum = s.fma(left, *value, *sum);
        }
    }
}
