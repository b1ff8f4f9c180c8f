use std::{marker::PhantomData, ops::Range};

/// Rows that several tasks write to, each to columns of its own.
pub(crate) struct Places<'a, T> {
    start: *mut T,
    rows: usize,
    stride: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever writes says, in `part`, that nobody else has the same numbers.
unsafe impl<T: Send> Sync for Places<'_, T> {}

impl<'a, T> Places<'a, T> {
    /// `rows` are rows of `stride` numbers.
    pub(crate) fn new(rows: &'a mut [T], stride: usize) -> Self {
        let count = rows.len() / stride;
        Self::of(rows, count, stride)
    }

    /// So many rows of `stride` numbers, which may be none.
    pub(crate) fn of(numbers: &'a mut [T], rows: usize, stride: usize) -> Self {
        assert!(numbers.len() >= rows * stride);
        Self { start: numbers.as_mut_ptr(), rows, stride, of: PhantomData }
    }

    /// From a row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Some columns of a row.
    ///
    /// # Safety
    /// Nobody else may have any of them at the same time.
    #[allow(clippy::mut_from_ref, reason = "tasks have parts that do not overlap")]
    pub(crate) unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(row < self.rows && columns.start <= columns.end && columns.end <= self.stride);
        // SAFETY: the part lies within the rows, and the caller says that it is nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride + columns.start), columns.len()) }
    }
}
