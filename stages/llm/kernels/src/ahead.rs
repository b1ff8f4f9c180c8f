//! What a product will read soon. It is asked for a few cache lines at a time, since many at once would wait for each other.

use crate::{lanes::PAD, pairs::PANEL, simd::ask_for};

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
    /// What is asked for while the panel that begins at `token` is met: of all panels of so many tokens, each asks for about as much.
    pub(crate) fn of_panel(self, token: usize, tokens: usize) -> Self {
        let (at, panels) = (token / PANEL, tokens.div_ceil(PANEL));
        let of = |whole: usize| {
            let most = whole.div_ceil(panels);
            (at * most).min(whole)..((at + 1) * most).min(whole)
        };
        let from = |start: usize| self.values.get(start..).unwrap_or_default();
        if self.count == 1 {
            let lines = of(self.piece / PAD);
            Self { values: from(lines.start * PAD), piece: lines.len() * PAD, ..self }
        } else {
            let pieces = of(self.count);
            Self { values: from(pieces.start * self.jump), count: pieces.len(), ..self }
        }
    }

    /// A way through all of it in so many steps.
    pub(crate) fn in_steps(self, steps: usize) -> Asking<'a> {
        let lines = (self.count * self.piece / PAD).div_ceil(steps.max(1));
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
