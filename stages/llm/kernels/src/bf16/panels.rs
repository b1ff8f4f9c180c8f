use half::bf16;
use rayon::prelude::*;

use super::{TILE_PAIRS, pack::pack_rows};
use crate::{Isa, Precision, Right, lanes::PAD, line::Line, places::Places, weight::takes_pairs};

/// Tokens of a panel.
pub(crate) const PANEL: usize = 48;

/// Pairs of features that one task packs.
const PAIRS_PER_TASK: usize = 2 * TILE_PAIRS;

/// Activations rounded to bf16 for products with weights in bf16: panels of 48 tokens, and in a panel pairs of features,
/// `[tokens / 48][features / 2][48][2]`, with pairs of zeros up to a multiple of 16. Where no instruction takes pairs they are f32 that were
/// rounded.
#[derive(Debug, Default)]
pub struct Bf16Panels {
    /// Whom it was packed for.
    isa: Option<Isa>,
    features: usize,
    stride: usize,
    pairs: Vec<Line>,
    rounded: Vec<f32>,
}

/// What a product reads of [`Bf16Panels`].
pub(crate) enum Packed<'a> {
    Pairs {
        pairs: &'a [u32],
        /// Pairs in a panel.
        deep: usize,
    },
    Rounded(&'a [f32]),
}

impl Bf16Panels {
    /// Brings rows that lie in lanes (`stride` tokens each) into the form that products with weights of a precision take;
    /// those of f32 take them as they are.
    pub fn pack<'a>(&'a mut self, isa: Isa, precision: Precision, rows: &'a [f32], stride: usize) -> Right<'a> {
        if precision == Precision::F32 {
            return Right::Lanes { rows, stride };
        }
        self.isa = Some(isa);
        self.features = rows.len() / stride;
        self.stride = stride;
        if takes_pairs(precision, isa) {
            let deep = self.deep();
            self.pairs.resize(stride.div_ceil(PANEL) * deep * PANEL / PAD, Line::ZERO);
            let places = Places::new(bytemuck::cast_slice_mut(&mut self.pairs), deep * PANEL);
            rows.par_chunks(2 * PAIRS_PER_TASK * stride).enumerate().for_each(|(task, rows)| {
                let first = task * PAIRS_PER_TASK;
                let pairs = first..(first + PAIRS_PER_TASK).min(deep);
                // SAFETY: these are the places of features that no other task has.
                let part = |panel| unsafe { places.part(panel, pairs.start * PANEL..pairs.end * PANEL) };
                let mut to: Vec<&mut [u32]> = (0..stride.div_ceil(PANEL)).map(part).collect();
                pack_rows(isa, rows, stride, &mut to);
            });
        } else {
            self.rounded.resize(rows.len(), 0.0);
            self.rounded.par_chunks_mut(stride * PAD).zip(rows.par_chunks(stride * PAD)).for_each(|(to, from)| {
                for (to, from) in to.iter_mut().zip(from) {
                    *to = bf16::from_f32(*from).to_f32();
                }
            });
        }
        Right::Panels(self)
    }

    pub(crate) fn features(&self) -> usize {
        self.features
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Pairs in a panel.
    fn deep(&self) -> usize {
        self.features.div_ceil(2).next_multiple_of(TILE_PAIRS)
    }

    pub(crate) fn packed(&self, isa: Isa) -> Packed<'_> {
        assert_eq!(self.isa, Some(isa), "panels are for the instructions they were packed for");
        if isa.has_bf16() {
            Packed::Pairs { pairs: bytemuck::cast_slice(&self.pairs), deep: self.deep() }
        } else {
            Packed::Rounded(&self.rounded)
        }
    }
}
