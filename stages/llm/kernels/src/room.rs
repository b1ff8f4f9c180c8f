//! Memory that is used again and again: taking fresh memory for each task would cost more than some tasks.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    thread::LocalKey,
};

use crate::{
    lanes::PAD,
    line::{Line, make_room},
};

/// What a thread keeps: as many as were lent at a time.
pub(crate) type Kept<T> = RefCell<Vec<T>>;

/// Lends one of what this thread keeps.
pub(crate) fn lend<T: Default, R>(kept: &'static LocalKey<Kept<T>>, work: impl FnOnce(&mut T) -> R) -> R {
    let mut room = kept.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = work(&mut room);
    kept.with_borrow_mut(|kept| kept.push(room));
    result
}

/// Numbers that begin at a cache line, as many as were asked for last. There is room for as many as ever were, so that none is made again where a
/// length comes back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    lines: Vec<Line>,
    count: usize,
}

impl Numbers {
    /// Takes another length, with whatever numbers are there.
    pub(crate) fn reuse(&mut self, count: usize) {
        make_room(&mut self.lines, count.div_ceil(PAD));
        self.count = count;
    }

    /// Takes another length; all are zero then.
    pub(crate) fn zeros(&mut self, count: usize) {
        self.reuse(count);
        self.fill(0.0);
    }
}

impl Deref for Numbers {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.count]
    }
}

impl DerefMut for Numbers {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.count]
    }
}
