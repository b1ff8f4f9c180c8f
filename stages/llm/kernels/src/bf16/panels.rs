use half::bf16;
use rayon::prelude::*;

use super::{TILE_PAIRS, pack::pack_rows, split::PARTS};
use crate::{Isa, Precision, Right, lanes::PAD, line::Line, places::Places};

/// Tokens of a panel.
pub(crate) const PANEL: usize = 48;

/// Pairs of features that one task packs.
const PAIRS_PER_TASK: usize = 2 * TILE_PAIRS;

/// Activations in bf16 for products with weights: panels of 48 tokens, and in a panel pairs of features,
/// `[parts][tokens / 48][features / 2][48][2]`, with pairs of zeros up to a multiple of 16. For weights in bf16 they are rounded, so that there is
/// one part; for those in f32 there are three, or no panels at all. Where no instruction takes pairs they are f32 that were rounded.
#[derive(Debug, Default)]
pub struct Bf16Panels {
    /// Whom it was packed for.
    isa: Option<Isa>,
    parts: usize,
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
    /// Bytes that one number takes in panels for weights of a precision; none where they take numbers as they are.
    pub fn bytes_of_number(isa: Isa, precision: Precision) -> usize {
        match (parts(isa, precision), isa.has_bf16()) {
            (0, _) => 0,
            (parts, true) => parts * size_of::<bf16>(),
            (_, false) => size_of::<f32>(),
        }
    }

    /// Brings rows that lie in lanes (`stride` tokens each) into the form that products with weights of a precision take;
    /// those of f32 take them as they are, unless they are multiplied in parts.
    pub fn pack<'a>(&'a mut self, isa: Isa, precision: Precision, rows: &'a [f32], stride: usize) -> Right<'a> {
        let parts = parts(isa, precision);
        if parts == 0 {
            return Right::Lanes { rows, stride };
        }
        (self.isa, self.parts) = (Some(isa), parts);
        self.features = rows.len() / stride;
        self.stride = stride;
        if isa.has_bf16() {
            let (deep, panels) = (self.deep(), parts * stride.div_ceil(PANEL));
            self.pairs.resize(panels * deep * PANEL / PAD, Line::ZERO);
            let places = Places::new(bytemuck::cast_slice_mut(&mut self.pairs), deep * PANEL);
            rows.par_chunks(2 * PAIRS_PER_TASK * stride).enumerate().for_each(|(task, rows)| {
                let first = task * PAIRS_PER_TASK;
                let pairs = first..(first + PAIRS_PER_TASK).min(deep);
                // SAFETY: these are the places of features that no other task has.
                let part = |panel| unsafe { places.part(panel, pairs.start * PANEL..pairs.end * PANEL) };
                let mut to: Vec<&mut [u32]> = (0..panels).map(part).collect();
                pack_rows(isa, parts, rows, stride, &mut to);
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

    /// How many numbers in bf16 stand for each.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    pub(crate) fn features(&self) -> usize {
        self.features
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// What a product reads of it.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.parts * self.features * self.stride
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

/// How many numbers in bf16 stand for one that meets weights of a precision; none where it is taken as it is.
fn parts(isa: Isa, precision: Precision) -> usize {
    match precision {
        Precision::F32 if isa.multiplies_parts() => PARTS,
        Precision::F32 => 0,
        Precision::Bf16 => 1,
    }
}
