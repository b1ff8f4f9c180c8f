//! The way back through a projection: the gradients by the input and by what is trained.
//!
//! It takes three steps: reading the gradient by the output for all that is wanted of it, the product that makes the gradient by the input,
//! and the sums that are the gradients by A, which read the input. Who makes the gradient or the input anyway may do the reading there.

use std::ops::Range;

use rayon::prelude::*;
use refit_kernels::{Isa, Lanes, Left, Lowered, OverTokens, Right, Rows, Term, Wanted, product, read};

use super::{Buffers, Kept, Linear, MOST_LAYERS, Projection};
use crate::fused::{
    lora::{Group, Pair},
    mask::{Masked, add_masked},
    matrix::Matrix,
};

/// What the backward pass of a projection starts from.
#[derive(Clone, Copy)]
pub(in crate::fused) struct Past<'a> {
    /// The input.
    pub(in crate::fused) x: Rows<'a>,
    /// What the forward pass left.
    pub(in crate::fused) kept: &'a Kept,
    /// The gradient by the output.
    pub(in crate::fused) dy: &'a Lanes,
}

/// When the gradients by A of a projection are summed up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::fused) enum SumsOfA {
    Now,
    /// Where the input is made next, see [`LeftSums`].
    Later,
}

impl SumsOfA {
    /// Later, if there are any and they may wait: with masks each sees an input of its own.
    pub(in crate::fused) fn left(lora: &Group<'_>, kept: &Kept) -> Self {
        if kept.masks.is_empty() && lora.rows() > 0 { Self::Later } else { Self::Now }
    }
}

/// Gradients by A that are still to be summed up.
pub(in crate::fused) struct LeftSums {
    d_low: Lanes,
    d_a: Vec<f32>,
}

impl LeftSums {
    /// What they want of the input, which has so many features.
    pub(in crate::fused) fn wanted(&mut self, features: usize) -> Wanted<'_> {
        let over_tokens = Some(sums_of_a(features, self.d_low.values(), self.d_low.stride(), &mut self.d_a));
        Wanted { over_tokens, ..Wanted::default() }
    }

    /// Adds the sums to `gradient`.
    pub(in crate::fused) fn add(self, lora: &Group<'_>, buffers: &mut Buffers, gradient: &mut [f32]) {
        let pairs: Vec<&Pair<'_>> = lora.pairs.iter().flatten().collect();
        add_sums_of_a(&pairs, &self.d_a, gradient);
        // The room is needed again.
        (buffers.left, buffers.d_a) = (self.d_low, self.d_a);
    }
}

impl Buffers {
    /// The sums that were left for later.
    pub(in crate::fused) fn take_left(&mut self) -> LeftSums {
        std::mem::swap(&mut self.left, &mut self.d_low);
        LeftSums { d_low: std::mem::take(&mut self.left), d_a: std::mem::take(&mut self.d_a) }
    }
}

impl Projection {
    /// Adds the gradients by A, B and m, and by weights that are trained themselves, at their places in `gradient`, and writes that by the input to `dx`, if it is wanted.
    #[allow(clippy::too_many_arguments, reason = "what the way back takes, and where it leaves what")]
    pub(in crate::fused) fn backward(
        &self,
        isa: Isa,
        lora: &Group<'_>,
        past: Past<'_>,
        buffers: &mut Buffers,
        dx: Option<&mut Lanes>,
        gradient: &mut [f32],
        of_a: SumsOfA,
    ) {
        let Past { x, kept, dy } = past;
        self.own_gradients(isa, lora, x, dy, buffers, gradient);
        let mut d_plain = std::mem::take(&mut buffers.d_plain);
        let dy = if lora.is_dora() {
            self.magnitude_gradients(lora, &kept.plain, dy, gradient);
            d_plain.copy_from(dy);
            self.multiply_rows(lora, &mut d_plain);
            &d_plain
        } else {
            dy
        };
        let wanted = self.wanted(lora, kept, dy.tokens(), buffers, gradient, dx.is_some());
        let rows = self.rows_of(dy);
        wanted.into_par_iter().zip(rows).for_each(|(wanted, rows)| read(isa, rows, wanted));
        self.backward_once_read(isa, lora, Past { dy, ..past }, buffers, dx, gradient, of_a);
        buffers.d_plain = d_plain;
    }

    /// What the way back wants of the gradient by each layer's output: what the adapter's gradients need of it, and the form that the layer's product
    /// takes, if it goes `onwards` to the input.
    pub(in crate::fused) fn wanted<'r>(
        &self,
        lora: &'r Group<'_>,
        kept: &'r Kept,
        tokens: usize,
        Buffers { panels, d_low, .. }: &'r mut Buffers,
        gradient: &'r mut [f32],
        onwards: bool,
    ) -> Vec<Wanted<'r>> {
        d_low.reuse(lora.rows(), tokens);
        let stride = d_low.stride();
        let places: [Range<usize>; MOST_LAYERS] = std::array::from_fn(|at| {
            lora.pairs.get(at).and_then(Option::as_ref).map_or(0..0, |pair| pair.b_at.clone())
        });
        let d_b = gradient.get_disjoint_mut(places).expect("invariant: each matrix has its own place");
        let mut d_low = d_low.values_mut();
        let layers = self.layers.iter().zip(&lora.pairs).zip(&lora.own).zip(panels).zip(d_b);
        layers
            .map(|((((layer, pair), own), panels), d_b)| {
                let matrix = Matrix::of(&layer.weight, own.weight.as_ref());
                let panels = matrix.packs().filter(|_| onwards).map(|precision| (panels, precision));
                let Some(pair) = pair else { return Wanted { panels, ..Wanted::default() } };
                let to = d_low.split_off_mut(..lora.rank * stride).expect("invariant: there are rows for each pair");
                let lowered = Some(Lowered { lefts: vec![Left::transposed(pair.b, matrix.out())], by: lora.scale, to });
                let over_tokens = Some(OverTokens { with: kept.low.rows(pair.rows.clone()), to: d_b });
                Wanted { panels, lowered, over_tokens, lanes: None }
            })
            .collect()
    }

    /// [`Projection::wanted`] of two layers, if they see the gradient as it comes, and not multiplied by DoRA's factors.
    pub(in crate::fused) fn wanted_of_two<'r>(
        &self,
        lora: &'r Group<'_>,
        kept: &'r Kept,
        tokens: usize,
        buffers: &'r mut Buffers,
        gradient: &'r mut [f32],
    ) -> Option<[Wanted<'r>; 2]> {
        if self.layers.len() != 2 || lora.is_dora() {
            return None;
        }
        <[_; 2]>::try_from(self.wanted(lora, kept, tokens, buffers, gradient, true)).ok()
    }

    /// The rest of [`Projection::backward`], once what is [`Projection::wanted`] was made of `dy`.
    #[allow(clippy::too_many_arguments, reason = "what the way back takes, and where it leaves what")]
    pub(in crate::fused) fn backward_once_read(
        &self,
        isa: Isa,
        lora: &Group<'_>,
        Past { x, kept, dy }: Past<'_>,
        Buffers { panels, d_low, d_a, dropped, .. }: &mut Buffers,
        dx: Option<&mut Lanes>,
        gradient: &mut [f32],
        of_a: SumsOfA,
    ) {
        let (stride, d_low) = (x.stride(), &*d_low);
        let mut by_a = || {
            if of_a == SumsOfA::Now {
                a_gradients(isa, lora, x, kept, d_low, d_a, gradient);
            }
        };
        let Some(dx) = dx else { return by_a() };
        let by_x = || {
            dx.reuse(x.features(), x.tokens());
            let layers = self.layers.iter().zip(&lora.own).zip(&*panels).zip(self.rows_of(dy));
            let mut terms: Vec<Term<'_>> = layers
                .map(|(((layer, own), panels), rows)| {
                    let matrix = Matrix::of(&layer.weight, own.weight.as_ref());
                    let right = matrix.packs().map_or_else(|| rows.as_they_lie(), |_| panels.right(rows));
                    Term { left: matrix.transposed(), right }
                })
                .collect();
            // With masks, each comes back through its own.
            let adapted = lora.pairs.iter().flatten().filter(|_| lora.dropout.is_none());
            terms.extend(adapted.map(|pair| Term {
                left: Left::transposed(pair.a, lora.rank),
                right: Right::Lanes { rows: d_low.rows(pair.rows.clone()), stride },
            }));
            product(isa, dx.values_mut(), stride, false, &terms);
        };
        rayon::join(&mut by_a, by_x);
        for (pair, mask) in lora.pairs.iter().flatten().zip(&kept.masks) {
            let right = Right::Lanes { rows: d_low.rows(pair.rows.clone()), stride };
            dropped.reuse(x.features(), x.tokens());
            let back = Term { left: Left::transposed(pair.a, lora.rank), right };
            product(isa, dropped.values_mut(), stride, false, &[back]);
            add_masked(mask, dropped, dx);
        }
    }

    /// Each layer's part of the rows of all outputs.
    fn rows_of<'y>(&self, y: &'y Lanes) -> Vec<Rows<'y>> {
        let mut first = 0;
        let part = |layer: &Linear| {
            let features = first..first + layer.weight.out();
            first = features.end;
            Rows::There { rows: y.rows(features), tokens: y.tokens() }
        };
        self.layers.iter().map(part).collect()
    }
}

/// Adds the gradients by A: sums over tokens of `d_low`, the gradient by A·x, with the input, which each sees through its own mask if there are any.
fn a_gradients(
    isa: Isa,
    lora: &Group<'_>,
    x: Rows<'_>,
    kept: &Kept,
    d_low: &Lanes,
    d_a: &mut Vec<f32>,
    gradient: &mut [f32],
) {
    let mut add = |x: Rows<'_>, d_low: &[f32], pairs: &[&Pair<'_>]| {
        let over_tokens = Some(sums_of_a(x.features(), d_low, x.stride(), d_a));
        read(isa, x, Wanted { over_tokens, ..Wanted::default() });
        add_sums_of_a(pairs, d_a, gradient);
    };
    let pairs: Vec<&Pair<'_>> = lora.pairs.iter().flatten().collect();
    if kept.masks.is_empty() {
        if !pairs.is_empty() {
            add(x, d_low.values(), &pairs);
        }
        return;
    }
    for (pair, mask) in pairs.iter().zip(&kept.masks) {
        add(Rows::Made(&Masked { mask, x }), d_low.rows(pair.rows.clone()), &[pair]);
    }
}

/// What is wanted of an input of so many features for the gradients by A; `d_a` gets the sums.
fn sums_of_a<'r>(features: usize, d_low: &'r [f32], stride: usize, d_a: &'r mut Vec<f32>) -> OverTokens<'r> {
    d_a.clear();
    d_a.resize(features * (d_low.len() / stride), 0.0);
    OverTokens { with: d_low, to: d_a }
}

/// Adds the sums of these layers, features first, to the gradients by their A.
fn add_sums_of_a(pairs: &[&Pair<'_>], d_a: &[f32], gradient: &mut [f32]) {
    let rows: usize = pairs.iter().map(|pair| pair.rows.len()).sum();
    let mut first = 0;
    for pair in pairs {
        let to = &mut gradient[pair.a_at.clone()];
        let width = to.len() / pair.rows.len();
        for (row, to) in (first..).zip(to.chunks_exact_mut(width)) {
            to.iter_mut().zip(d_a.chunks_exact(rows)).for_each(|(to, from)| *to += from[row]);
        }
        first += pair.rows.len();
    }
}
