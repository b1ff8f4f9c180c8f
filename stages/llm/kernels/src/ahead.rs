//! What a product will read soon. It is asked for a few cache lines at a time, since many at once would wait for each other.

use std::ops::Range;

use crate::{lanes::PAD, simd::ask_for};

/// What will be read soon: some pieces of a left side, of whole cache lines each.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ahead<'a> {
    pub(crate) values: &'a [u32],
    pub(crate) piece: usize,
    /// From a piece to the next.
    pub(crate) jump: usize,
    pub(crate) count: usize,
}

/// A way through what will be read soon.
pub(crate) struct Asking<'a> {
    ahead: Ahead<'a>,
    piece: &'a [u32],
    /// Lines that are asked for at a time.
    lines: usize,
}

impl<'a> Ahead<'a> {
    /// One of about equal parts of it.
    pub(crate) fn part(self, at: usize, parts: usize) -> Self {
        let of = |whole: usize| {
            let most = whole.div_ceil(parts);
            (at * most).min(whole)..((at + 1) * most).min(whole)
        };
        let from = |start: usize| self.values.get(start..).unwrap_or_default();
        match self.count {
            1 => {
                let Range { start, end } = of(self.piece.div_ceil(PAD));
                let (start, end) = (start * PAD, (end * PAD).min(self.piece));
                Self { values: from(start), piece: end.saturating_sub(start), ..self }
            }
            count => {
                let pieces = of(count);
                Self { values: from(pieces.start * self.jump), count: pieces.len(), ..self }
            }
        }
    }

    /// A way through all of it in so many steps.
    pub(crate) fn in_steps(self, steps: usize) -> Asking<'a> {
        let lines = (self.count * self.piece.div_ceil(PAD)).div_ceil(steps.max(1));
        Asking { ahead: self, piece: &[], lines }
    }
}

impl Asking<'_> {
    #[inline(always)]
    pub(crate) fn go_on(&mut self) {
        for _ in 0..self.lines {
            if self.piece.is_empty() {
                let Ahead { values, piece, jump, count } = &mut self.ahead;
                let (true, Some(found)) = (*count > 0, values.get(..*piece)) else { return };
                self.piece = found;
                *values = values.get(*jump..).unwrap_or_default();
                *count -= 1;
            }
            let (line, rest) = self.piece.split_at(PAD.min(self.piece.len()));
            ask_for(line);
            self.piece = rest;
        }
    }
}
