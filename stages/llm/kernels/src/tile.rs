//! The inner loops of products: a tile of C in registers, met by a walk over A and rows of B.

use crate::{
    ahead::{Ahead, Asking},
    simd::{Kernel, Simd},
    weight::TILE,
};

/// How a product goes through its left side: `blocks` blocks of `steps` columns each.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) start: *const f32,
    /// From a row to the next.
    pub(crate) row: usize,
    /// From a column to the next in a block.
    pub(crate) step: usize,
    pub(crate) steps: usize,
    /// From a block to the next.
    pub(crate) jump: usize,
    pub(crate) blocks: usize,
}

impl Walk {
    /// The same walk, some rows further down.
    ///
    /// # Safety
    /// The rows have to be there.
    #[inline(always)]
    unsafe fn down(self, rows: usize) -> Self {
        // SAFETY: the caller says so.
        Self { start: unsafe { self.start.add(rows * self.row) }, ..self }
    }
}

/// C (+)= A·B for some rows and a number of columns that is a multiple of 16.
pub(crate) struct Strip<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) a: Walk,
    pub(crate) b: *const f32,
    /// From a row of B to the next.
    pub(crate) b_row: usize,
    pub(crate) c: *mut f32,
    /// From a row of C to the next.
    pub(crate) c_row: usize,
    pub(crate) accumulate: bool,
    /// What will be read of the left side after `a`; it is asked for meanwhile.
    pub(crate) next: Ahead<'a>,
}

impl Kernel for Strip<'_> {
    type Output = ();

    /// The maker of the strip answers for all of A, B and C being there, and nobody else writing to C.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (self.a.row, self.a.step) {
            (1, TILE) => self.along::<S, 1, TILE>(s),
            (TILE, 1) => self.along::<S, TILE, 1>(s),
            _ => self.along::<S, ANY, ANY>(s),
        }
    }
}

/// A distance that is known only when a product runs.
const ANY: usize = 0;

/// Columns of a left side that are met before some of what comes next is asked for.
const STEPS_AT_ONCE: usize = 8;

impl Strip<'_> {
    /// With the distances from a row of A to the next and from a column to the next: where they are known beforehand, no addresses are computed, which
    /// some processors do where they multiply.
    #[inline(always)]
    fn along<S: Simd, const ROW: usize, const STEP: usize>(self, s: S) {
        let tiles = self.rows.div_ceil(S::ROWS) * self.columns.div_ceil(3 * S::WIDTH);
        let mut asking = self.next.in_steps(tiles * self.a.blocks * self.a.steps.div_ceil(STEPS_AT_ONCE));
        let mut column = 0;
        while column < self.columns {
            // Four are two and two: one by itself would be a tile of so few sums that each step waits for the one before.
            let vectors = match (self.columns - column) / S::WIDTH {
                4 => 2,
                left => left.min(3),
            };
            // SAFETY: `column` is within the columns of B and C.
            let (b, c) = unsafe { ((self.b.add(column), self.b_row), self.c.add(column)) };
            let mut row = 0;
            while row < self.rows {
                let left = self.rows - row;
                // SAFETY: so many rows and columns are left.
                unsafe {
                    let (a, to) = (self.a.down(row), (c.add(row * self.c_row), self.c_row, self.accumulate));
                    macro_rules! rows {
                        ($rows:literal) => {{
                            match vectors {
                                3 => tile::<S, $rows, 3, ROW, STEP>(s, a, b, to, &mut asking),
                                2 => tile::<S, $rows, 2, ROW, STEP>(s, a, b, to, &mut asking),
                                _ => tile::<S, $rows, 1, ROW, STEP>(s, a, b, to, &mut asking),
                            }
                            row += $rows;
                        }};
                    }
                    if S::ROWS >= 8 && left >= 8 {
                        rows!(8);
                    } else if left >= 4 {
                        rows!(4);
                    } else if left >= 2 {
                        rows!(2);
                    } else {
                        rows!(1);
                    }
                }
            }
            column += vectors * S::WIDTH;
        }
    }
}

/// One tile: `M` rows of `N` vectors.
///
/// # Safety
/// All of it has to be there.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize, const ROW: usize, const STEP: usize>(
    s: S,
    a: Walk,
    (mut b, b_row): (*const f32, usize),
    (c, c_row, accumulate): (*mut f32, usize, bool),
    asking: &mut Asking<'_>,
) {
    let (row, step) = (if ROW == ANY { a.row } else { ROW }, if STEP == ANY { a.step } else { STEP });
    // SAFETY: the caller says so.
    unsafe {
        let mut sums = [[s.splat(0.0); N]; M];
        if accumulate {
            for (i, row) in sums.iter_mut().enumerate() {
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum = s.read(c.add(i * c_row + j * S::WIDTH));
                }
            }
        }
        let mut block = a.start;
        for _ in 0..a.blocks {
            let mut at = block;
            let mut left = a.steps;
            while left > 0 {
                asking.go_on();
                let steps = left.min(STEPS_AT_ONCE);
                for _ in 0..steps {
                    s.add_column(&mut sums, at, row, b);
                    at = at.add(step);
                    b = b.add(b_row);
                }
                left -= steps;
            }
            block = block.add(a.jump);
        }
        for (i, row) in sums.iter().enumerate() {
            for (j, sum) in row.iter().enumerate() {
                s.write(c.add(i * c_row + j * S::WIDTH), *sum);
            }
        }
    }
}

/// Sums over tokens: `out[i][j]` += Σ `a[i]`·`b[j]` over rows that lie in lanes.
pub(crate) struct Dots<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    /// Length of all rows, a multiple of 16.
    pub(crate) stride: usize,
    /// For each row of `a` one of `row` numbers, of which the first are those of `b`'s rows.
    pub(crate) out: &'a mut [f32],
    pub(crate) row: usize,
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (m, n) = (self.a.len() / self.stride, self.b.len() / self.stride);
        let mut i = 0;
        while i < m {
            let mut j = 0;
            let rows = if m - i >= 4 { 4 } else { 1 };
            while j < n {
                let columns = if n - j >= 4 { 4 } else { 1 };
                match (rows, columns) {
                    (4, 4) => self.block::<S, 4, 4>(s, i, j),
                    (4, _) => self.block::<S, 4, 1>(s, i, j),
                    (_, 4) => self.block::<S, 1, 4>(s, i, j),
                    _ => self.block::<S, 1, 1>(s, i, j),
                }
                j += columns;
            }
            i += rows;
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn block<S: Simd, const M: usize, const N: usize>(&mut self, s: S, i: usize, j: usize) {
        let sums: [[S::Vector; N]; M] = if M * N == 16 && S::ROWS < 8 {
            // There are not enough registers for all of them.
            let halves = [self.along::<S, M, 2>(s, i, j), self.along::<S, M, 2>(s, i, j + 2)];
            std::array::from_fn(|r| std::array::from_fn(|k| halves[k / 2][r][k % 2]))
        } else {
            self.along(s, i, j)
        };
        if M * N == 16 {
            let found = s.sums(std::array::from_fn(|at| sums[at / N][at % N]));
            for (r, found) in found.chunks_exact(N).enumerate() {
                let to = &mut self.out[(i + r) * self.row + j..][..N];
                to.iter_mut().zip(found).for_each(|(to, sum)| *to += sum);
            }
            return;
        }
        for (r, row) in sums.iter().enumerate() {
            for (k, sum) in row.iter().enumerate() {
                self.out[(i + r) * self.row + j + k] += s.sum(*sum);
            }
        }
    }

    /// The products of `M` rows of `a` with `N` of `b`, not yet summed over the places of a vector.
    #[inline(always)]
    fn along<S: Simd, const M: usize, const N: usize>(&self, s: S, i: usize, j: usize) -> [[S::Vector; N]; M] {
        let a: [&[f32]; M] = std::array::from_fn(|r| &self.a[(i + r) * self.stride..(i + r + 1) * self.stride]);
        let b: [&[f32]; N] = std::array::from_fn(|r| &self.b[(j + r) * self.stride..(j + r + 1) * self.stride]);
        let mut sums = [[s.splat(0.0); N]; M];
        for at in (0..self.stride).step_by(S::WIDTH) {
            let right: [S::Vector; N] = std::array::from_fn(|r| s.load(&b[r][at..at + S::WIDTH]));
            for (row, a) in sums.iter_mut().zip(&a) {
                let left = s.load(&a[at..at + S::WIDTH]);
                for (sum, right) in row.iter_mut().zip(&right) {
                    *sum = s.fma(left, *right, *sum);
                }
            }
        }
        sums
    }
}
