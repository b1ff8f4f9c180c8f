mod way_back;

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use refit_kernels::{
    Isa, Lanes, Left, Lowered, Panels, Precision, Right, Rows, Term, TokenPanels, Wanted, Weight, product, read,
    weight_gradient,
};

use super::{
    lora::{Group, Pair},
    mask::Masked,
    matrix::Matrix,
};
use crate::model::{LinearModule, Mask};

pub(super) use way_back::{Past, SumsOfA};

/// A frozen linear layer.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) module: LinearModule,
    pub(super) weight: Arc<Weight>,
    pub(super) bias: Option<Vec<f32>>,
    row_squares: OnceLock<Vec<f64>>,
}

/// Linear layers that share their input; the features of their outputs follow each other.
#[derive(Debug)]
pub(super) struct Projection {
    layers: Vec<Linear>,
}

/// Layers of a projection, at most: queries, keys and values.
const MOST_LAYERS: usize = 3;

/// Buffers that every projection uses in turn.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Inputs in the form that weights in bf16 take; in the backward pass one for each layer.
    panels: [Panels; MOST_LAYERS],
    /// The input, where products take it as it lies and it lies nowhere.
    input: Lanes,
    /// The gradient by A·x.
    d_low: Lanes,
    /// The gradient by A·x of a projection that was passed before, while its sums are left.
    left: Lanes,
    /// Gradients by all A of a group, features first.
    d_a: Vec<f32>,
    /// The gradient by what dropout leaves of the input.
    dropped: Lanes,
    /// The input, token by token.
    by_token: TokenPanels,
    /// The gradient by the output before DoRA's factors.
    d_plain: Lanes,
}

/// What a forward pass leaves for the backward pass, beside input and output.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// s·A·x.
    low: Lanes,
    /// In DoRA, the output before factors and bias.
    plain: Lanes,
    /// With dropout, one mask for each adapted layer.
    masks: Vec<Mask>,
}

impl Linear {
    pub(super) fn new(module: LinearModule, weight: Arc<Weight>, bias: Option<Vec<f32>>) -> Self {
        Self { module, weight, bias, row_squares: OnceLock::new() }
    }

    /// ‖W‖² of each row; computed once.
    pub(super) fn row_squares(&self) -> &[f64] {
        self.row_squares.get_or_init(|| {
            let square = |row: usize| {
                let mut numbers = vec![0f32; self.weight.width()];
                self.weight.read_row(row, &mut numbers);
                numbers.iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
            };
            (0..self.weight.out()).into_par_iter().map(square).collect()
        })
    }
}

impl Projection {
    pub(super) fn new(layers: Vec<Linear>) -> Self {
        Self { layers }
    }

    /// The layers, in the order of their outputs.
    pub(super) fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// What its layers compute, in order.
    pub(super) fn modules(&self) -> impl Iterator<Item = LinearModule> {
        self.layers.iter().map(|layer| layer.module)
    }

    /// `y` = W·x + b + B·(s·A·x), with m/n before the sum less b in DoRA.
    pub(super) fn forward(
        &self,
        isa: Isa,
        lora: &Group<'_>,
        x: Rows<'_>,
        buffers: &mut Buffers,
        kept: &mut Kept,
        y: &mut Lanes,
    ) {
        let stride = x.stride();
        let Buffers { panels, input, .. } = buffers;
        let frozen = self.layers.iter().zip(&lora.own).find(|(_, own)| own.weight.is_none());
        let precision = frozen.map(|(layer, _)| layer.weight.precision());
        let as_it_lies = lora.own.iter().any(|own| own.weight.is_some())
            || precision.is_some_and(|precision| Panels::takes_as_they_lie(isa, precision));
        let packed = precision.map(|precision| (&mut panels[0], precision));
        let x = lower(isa, lora, x, (as_it_lies.then_some(input), packed), kept);
        let panels = &panels[0];
        y.reuse(self.layers.iter().map(|layer| layer.weight.out()).sum(), x.tokens());
        let layers = self.layers.par_iter().zip(&lora.pairs).zip(&lora.own);
        layers.zip(self.parts(y.values_mut(), stride)).for_each(|(((layer, pair), own), y)| {
            let right = match own.weight {
                Some(_) => x.as_they_lie(),
                None => panels.right(x),
            };
            let frozen = Term { left: Matrix::of(&layer.weight, own.weight.as_ref()).plain(), right };
            match pair {
                Some(pair) => {
                    let right = Right::Lanes { rows: kept.low.rows(pair.rows.clone()), stride };
                    let left = Left::matrix(pair.b, layer.weight.out());
                    product(isa, y, stride, false, &[frozen, Term { left, right }]);
                }
                None => product(isa, y, stride, false, &[frozen]),
            }
        });
        if lora.is_dora() {
            kept.plain.copy_from(y);
            self.multiply_rows(lora, y);
        }
        let mut first = 0;
        for (layer, own) in self.layers.iter().zip(&lora.own) {
            let out = layer.weight.out();
            if let Some(bias) = own.bias.as_ref().map(|own| own.values).or(layer.bias.as_deref()) {
                let y = y.rows_mut(first..first + out);
                y.par_chunks_mut(stride).zip(bias).for_each(|(row, bias)| row.iter_mut().for_each(|v| *v += bias));
            }
            first += out;
        }
    }

    /// What [`Projection::forward`] leaves for the way back; the output is computed only where that is a part of it.
    pub(super) fn forward_again(
        &self,
        isa: Isa,
        lora: &Group<'_>,
        x: Rows<'_>,
        buffers: &mut Buffers,
        kept: &mut Kept,
    ) {
        if lora.is_dora() {
            self.forward(isa, lora, x, buffers, kept, &mut Lanes::default());
        } else {
            lower(isa, lora, x, (None, None), kept);
        }
    }

    /// The part of each layer of the rows of all outputs.
    fn parts<'y>(&self, mut rows: &'y mut [f32], stride: usize) -> Vec<&'y mut [f32]> {
        let mut parts = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let part = rows.split_off_mut(..layer.weight.out() * stride);
            parts.push(part.expect("invariant: there are rows for each layer"));
        }
        parts
    }

    /// Adds the gradients by weights and biases that are trained themselves.
    pub(super) fn own_gradients(
        &self,
        isa: Isa,
        lora: &Group<'_>,
        x: Rows<'_>,
        dy: &Lanes,
        buffers: &mut Buffers,
        gradient: &mut [f32],
    ) {
        let stride = x.stride();
        if lora.own.iter().any(|own| own.weight.is_some()) {
            buffers.by_token.fill(isa, x);
        }
        let mut first = 0;
        for (layer, own) in self.layers.iter().zip(&lora.own) {
            let out = layer.weight.out();
            let dy = dy.rows(first..first + out);
            if let Some(weight) = &own.weight {
                weight_gradient(isa, dy, x, &buffers.by_token, &mut gradient[weight.at.clone()]);
            }
            if let Some(bias) = &own.bias {
                let to = gradient[bias.at.clone()].par_iter_mut();
                to.zip(dy.par_chunks(stride)).for_each(|(to, dy)| *to += dy.iter().sum::<f32>());
            }
            first += out;
        }
    }

    /// Multiplies the output of each layer with DoRA by its factors.
    fn multiply_rows(&self, lora: &Group<'_>, y: &mut Lanes) {
        let stride = y.stride();
        let mut first = 0;
        for (layer, pair) in self.layers.iter().zip(&lora.pairs) {
            let out = layer.weight.out();
            if let Some(Pair { dora: Some(rows), .. }) = pair {
                let y = y.rows_mut(first..first + out).par_chunks_mut(stride);
                y.zip(&rows.factor).for_each(|(row, factor)| row.iter_mut().for_each(|value| *value *= factor));
            }
            first += out;
        }
    }

    /// Adds the gradients by DoRA's magnitudes: with y = m/n · z + b, Σ dy · z / n.
    fn magnitude_gradients(&self, lora: &Group<'_>, plain: &Lanes, dy: &Lanes, gradient: &mut [f32]) {
        let mut first = 0;
        for (layer, pair) in self.layers.iter().zip(&lora.pairs) {
            if let Some(Pair { dora: Some(rows), .. }) = pair {
                gradient[rows.at.clone()].par_iter_mut().zip(&rows.norm).enumerate().for_each(|(row, (to, norm))| {
                    let (dy, plain) = (dy.row(first + row), plain.row(first + row));
                    *to += dy.iter().zip(plain).map(|(d, z)| d * z).sum::<f32>() / norm;
                });
            }
            first += layer.weight.out();
        }
    }
}

/// Reads the input for s·A·x of all adapted layers, which see what their own masks leave of it if there are any, and for the form that
/// frozen layers take, if that is wanted. Returns the input, which is in `room` if it was to lie somewhere and did not.
fn lower<'x>(
    isa: Isa,
    lora: &Group<'_>,
    x: Rows<'x>,
    (room, panels): (Option<&'x mut Lanes>, Option<(&mut Panels, Precision)>),
    kept: &mut Kept,
) -> Rows<'x> {
    kept.low.reuse(lora.rows(), x.tokens());
    kept.masks.clear();
    let lowered = lora.dropout.is_none().then(|| {
        let lefts = lora.pairs.iter().flatten().map(|pair| Left::matrix(pair.a, lora.rank)).collect();
        Lowered { lefts, by: lora.scale, to: kept.low.values_mut() }
    });
    let mut room = room.filter(|_| x.there().is_none());
    read(isa, x, Wanted { lanes: room.as_deref_mut(), panels, lowered, over_tokens: None });
    let x = room.map_or(x, |room| Rows::from(&*room));
    let Some(dropout) = lora.dropout else { return x };
    for pair in lora.pairs.iter().flatten() {
        let mask = dropout.mask(pair.module, x.features());
        let to = kept.low.rows_mut(pair.rows.clone());
        let lowered = Some(Lowered { lefts: vec![Left::matrix(pair.a, lora.rank)], by: lora.scale, to });
        read(isa, Rows::Made(&Masked { mask: &mask, x }), Wanted { lowered, ..Wanted::default() });
        kept.masks.push(mask);
    }
    x
}
