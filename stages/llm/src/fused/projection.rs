use std::sync::Arc;

use rayon::prelude::*;
use refit_kernels::{Bf16Panels, Isa, Lanes, Left, Right, Term, Weight, product, token_products};

use super::lora::Group;
use crate::model::LinearModule;

/// A frozen linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) module: LinearModule,
    pub(super) weight: Arc<Weight>,
    pub(super) bias: Option<Vec<f32>>,
}

/// Linear layers that share their input; the features of their outputs follow each other.
#[derive(Debug)]
pub(super) struct Projection {
    layers: Vec<Linear>,
}

/// Buffers that every projection uses in turn.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Inputs in the form that weights in bf16 take; in the backward pass one for each layer.
    panels: [Bf16Panels; 3],
    /// The gradient by A·x.
    d_low: Lanes,
    /// Gradients by all A of a group, features first.
    d_a: Vec<f32>,
}

/// What the backward pass of a projection starts from.
#[derive(Clone, Copy)]
pub(super) struct Past<'a> {
    /// The input.
    pub(super) x: &'a Lanes,
    /// s·A·x, as the forward pass left it.
    pub(super) low: &'a Lanes,
    /// The gradient by the output.
    pub(super) dy: &'a Lanes,
}

impl Projection {
    pub(super) fn new(layers: Vec<Linear>) -> Self {
        Self { layers }
    }

    /// What its layers compute, in order.
    pub(super) fn modules(&self) -> impl Iterator<Item = LinearModule> {
        self.layers.iter().map(|layer| layer.module)
    }

    /// `y` = W·x + b + B·(s·A·x), and `low` = s·A·x.
    pub(super) fn forward(
        &self,
        isa: Isa,
        lora: &Group<'_>,
        x: &Lanes,
        buffers: &mut Buffers,
        low: &mut Lanes,
        y: &mut Lanes,
    ) {
        let stride = x.stride();
        low.reuse(lora.rows(), x.tokens());
        if lora.rows() > 0 {
            let right = Right::Lanes { rows: x.values(), stride };
            product(isa, low.values_mut(), stride, false, &[Term { left: Left::matrix(&lora.a, lora.rows()), right }]);
            scale(low, lora.scale);
        }
        y.reuse(self.layers.iter().map(|layer| layer.weight.out()).sum(), x.tokens());
        let input = buffers.panels[0].pack(isa, self.layers[0].weight.precision(), x.values(), stride);
        let mut first = 0;
        for (layer, pair) in self.layers.iter().zip(&lora.pairs) {
            let out = layer.weight.out();
            let y = y.rows_mut(first..first + out);
            let frozen = Term { left: Left::Weight(&layer.weight), right: input };
            match pair {
                Some(pair) => {
                    let right = Right::Lanes { rows: low.rows(pair.rows.clone()), stride };
                    product(isa, y, stride, false, &[frozen, Term { left: Left::matrix(pair.b, out), right }]);
                }
                None => product(isa, y, stride, false, &[frozen]),
            }
            if let Some(bias) = &layer.bias {
                y.par_chunks_mut(stride).zip(bias).for_each(|(row, bias)| row.iter_mut().for_each(|v| *v += bias));
            }
            first += out;
        }
    }

    /// Adds the gradients by A and B at their places in `gradient`, and writes that by the input to `dx`, if it is wanted.
    pub(super) fn backward(
        &self,
        isa: Isa,
        lora: &Group<'_>,
        past: Past<'_>,
        buffers: &mut Buffers,
        dx: Option<&mut Lanes>,
        gradient: &mut [f32],
    ) {
        let Past { x, low, dy } = past;
        let stride = x.stride();
        buffers.d_low.reuse(lora.rows(), x.tokens());
        let mut first = 0;
        for (layer, pair) in self.layers.iter().zip(&lora.pairs) {
            let out = layer.weight.out();
            if let Some(pair) = pair {
                let dy = dy.rows(first..first + out);
                let right = Right::Lanes { rows: dy, stride };
                let d_low = buffers.d_low.rows_mut(pair.rows.clone());
                product(isa, d_low, stride, false, &[Term { left: Left::transposed(pair.b, out), right }]);
                token_products(isa, dy, low.rows(pair.rows.clone()), stride, &mut gradient[pair.b_at.clone()]);
            }
            first += out;
        }
        scale(&mut buffers.d_low, lora.scale);
        a_gradients(isa, lora, x, buffers, gradient);
        let Some(dx) = dx else { return };
        dx.reuse(x.features(), x.tokens());
        let mut terms = Vec::with_capacity(self.layers.len() + 1);
        let mut first = 0;
        for (layer, panels) in self.layers.iter().zip(&mut buffers.panels) {
            let out = layer.weight.out();
            let right = panels.pack(isa, layer.weight.precision(), dy.rows(first..first + out), stride);
            terms.push(Term { left: Left::Transposed(&layer.weight), right });
            first += out;
        }
        if lora.rows() > 0 {
            let right = Right::Lanes { rows: buffers.d_low.values(), stride };
            terms.push(Term { left: Left::transposed(&lora.a, lora.rows()), right });
        }
        product(isa, dx.values_mut(), stride, false, &terms);
    }
}

/// The gradients by all A of the group: one reading of the input serves them all.
fn a_gradients(isa: Isa, lora: &Group<'_>, x: &Lanes, buffers: &mut Buffers, gradient: &mut [f32]) {
    let rows = lora.rows();
    if rows == 0 {
        return;
    }
    let width = x.features();
    buffers.d_a.clear();
    buffers.d_a.resize(width * rows, 0.0);
    token_products(isa, x.values(), buffers.d_low.values(), x.stride(), &mut buffers.d_a);
    for pair in lora.pairs.iter().flatten() {
        for (row, to) in pair.rows.clone().zip(gradient[pair.a_at.clone()].chunks_exact_mut(width)) {
            for (to, from) in to.iter_mut().zip(buffers.d_a.chunks_exact(rows)) {
                *to += from[row];
            }
        }
    }
}

fn scale(lanes: &mut Lanes, by: f32) {
    lanes.values_mut().iter_mut().for_each(|value| *value *= by);
}
