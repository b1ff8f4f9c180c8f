//! Rows of activations, whether they lie somewhere or are made where they are read.
//!
//! What a norm or an activation makes is read once or twice and costs little to make, but writing it and reading it again goes through a far
//! cache. Made block by block by whoever reads it, it never leaves a near one.

use std::ops::Range;

use rayon::prelude::*;

use crate::{
    Isa, Lanes, Right,
    lanes::PAD,
    room::{Kept, Numbers, lend},
};

/// Rows that one task lays out.
const ROWS_PER_TASK: usize = 64;

/// Rows that are made from others, as often as they are read.
pub trait Make: Sync {
    /// How many rows.
    fn features(&self) -> usize;

    /// Tokens of each, without padding.
    fn tokens(&self) -> usize;

    /// Makes as many rows as `to` has room for, from one on, with what the padding of a row may hold (see [`Lanes`]).
    fn make(&self, isa: Isa, first: usize, to: &mut [f32]);
}

/// Rows of activations.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// They lie in lanes.
    There {
        /// One after the other, each padded.
        rows: &'a [f32],
        /// Tokens of each, without padding.
        tokens: usize,
    },
    /// They are made.
    Made(&'a dyn Make),
}

impl<'a> From<&'a Lanes> for Rows<'a> {
    fn from(lanes: &'a Lanes) -> Self {
        Self::There { rows: lanes.values(), tokens: lanes.tokens() }
    }
}

impl<'a> Rows<'a> {
    /// How many.
    pub fn features(self) -> usize {
        match self {
            Self::There { rows, .. } => rows.len() / self.stride().max(1),
            Self::Made(made) => made.features(),
        }
    }

    /// Tokens of each, without padding.
    pub fn tokens(self) -> usize {
        match self {
            Self::There { tokens, .. } => tokens,
            Self::Made(made) => made.tokens(),
        }
    }

    /// Length of a row: the tokens with their padding.
    pub fn stride(self) -> usize {
        self.tokens().next_multiple_of(PAD)
    }

    /// The rows, if they lie somewhere.
    pub fn there(self) -> Option<&'a [f32]> {
        match self {
            Self::There { rows, .. } => Some(rows),
            Self::Made(_) => None,
        }
    }

    /// The rows as products take them that read them as they lie.
    ///
    /// # Panics
    /// When they lie nowhere.
    pub fn as_they_lie(self) -> Right<'a> {
        let rows = self.there().expect("invariant: rows that are taken so lie somewhere");
        Right::Lanes { rows, stride: self.stride() }
    }

    /// Lays them out in `room`, unless they lie somewhere.
    #[must_use]
    pub fn laid_out(self, isa: Isa, room: &'a mut Lanes) -> Self {
        let Self::Made(made) = self else { return self };
        lay_out(isa, made, room);
        Self::from(&*room)
    }

    /// Calls `work` with some of them.
    pub(crate) fn with<R>(self, isa: Isa, features: Range<usize>, work: impl FnOnce(&[f32]) -> R) -> R {
        let numbers = features.start * self.stride()..features.end * self.stride();
        match self {
            Self::There { rows, .. } => work(&rows[numbers]),
            Self::Made(made) => with_room(numbers.len(), |room| {
                made.make(isa, features.start, room);
                work(room)
            }),
        }
    }

    /// Writes as many rows as `to` has room for, from one on.
    pub fn write(self, isa: Isa, first: usize, to: &mut [f32]) {
        match self {
            Self::There { rows, .. } => to.copy_from_slice(&rows[first * self.stride()..][..to.len()]),
            Self::Made(made) => made.make(isa, first, to),
        }
    }
}

/// Writes rows that are made.
pub fn lay_out(isa: Isa, made: &dyn Make, to: &mut Lanes) {
    to.reuse(made.features(), made.tokens());
    let part = ROWS_PER_TASK * to.stride();
    if part == 0 {
        return;
    }
    to.values_mut().par_chunks_mut(part).enumerate().for_each(|(task, to)| made.make(isa, task * ROWS_PER_TASK, to));
}

/// Lends this thread's room for so many numbers, with whatever is there.
pub(crate) fn with_room<R>(numbers: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static ROOM: Kept<Numbers> = Kept::default();
    }
    lend(&ROOM, |room| {
        room.reuse(numbers);
        work(room)
    })
}
