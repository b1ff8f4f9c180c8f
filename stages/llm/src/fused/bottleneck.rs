use rayon::prelude::*;
use refit_kernels::{
    Isa, Lanes, Left, Right, Rows, Term, lay_out,
    pointwise::{self, Pointwise},
    product, token_products,
};

use super::{
    dense::Own,
    mask::{Masked, add_masked},
};
use crate::{
    bottleneck::{BottleneckAdapter, BottleneckInput, BottleneckPlace, BottleneckTensor, NonLinearity},
    model::{Mask, Noise},
};

/// The bottlenecks of an adapter as the fused pass takes them, by block and [`BottleneckPlace::index`]; none without one.
#[derive(Default)]
pub(super) struct Bottlenecks<'a> {
    layers: Vec<[Option<Bottleneck<'a>>; 2]>,
}

/// One of them: s·(U·act(D·z + b) + c).
pub(super) struct Bottleneck<'a> {
    layer: usize,
    place: BottleneckPlace,
    pub(super) input: BottleneckInput,
    act: Pointwise,
    scaling: f32,
    /// `[width, hidden]`.
    down: Own<'a>,
    down_bias: Own<'a>,
    /// `[hidden, width]`.
    up: Own<'a>,
    up_bias: Own<'a>,
}

/// What a forward pass leaves for the backward pass.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// z.
    input: Lanes,
    /// D·z + b.
    low: Lanes,
    /// With dropout, which entries of what it adds stay.
    mask: Option<Mask>,
}

/// Buffers that every bottleneck uses in turn.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// s·act(D·z + b).
    activated: Lanes,
    d_low: Lanes,
    /// What it adds before dropout, and the gradient by that.
    high: Lanes,
    /// The gradient by z.
    pub(super) d_input: Lanes,
    /// The gradient by h, where it is not that by the sum.
    pub(super) d_added: Lanes,
}

impl<'a> Bottlenecks<'a> {
    pub(super) fn new(adapter: &'a BottleneckAdapter, blocks: usize) -> Self {
        let mut layers: Vec<[Option<Bottleneck<'a>>; 2]> = (0..blocks).map(|_| [None, None]).collect();
        let own = |tensor: &BottleneckTensor| Own { values: &adapter.values[tensor.range()], at: tensor.range() };
        for module in adapter.modules() {
            let (layer, place) = (module.down.layer, module.down.place);
            layers[layer][place.index()] = Some(Bottleneck {
                layer,
                place,
                input: adapter.config.input,
                act: match adapter.config.non_linearity {
                    NonLinearity::Relu => Pointwise::Relu,
                    NonLinearity::LeakyRelu => Pointwise::LeakyRelu,
                    NonLinearity::Swish => Pointwise::Silu,
                    NonLinearity::Gelu => Pointwise::Gelu,
                    NonLinearity::GeluNew => Pointwise::GeluTanh,
                    NonLinearity::Tanh => Pointwise::Tanh,
                },
                scaling: adapter.config.scaling as f32,
                down: own(module.down),
                down_bias: own(module.down_bias),
                up: own(module.up),
                up_bias: own(module.up_bias),
            });
        }
        Self { layers }
    }

    pub(super) fn get(&self, layer: usize, place: BottleneckPlace) -> Option<&Bottleneck<'a>> {
        self.layers.get(layer)?[place.index()].as_ref()
    }

    /// The first block with one.
    pub(super) fn lowest(&self) -> Option<usize> {
        self.layers.iter().position(|layer| layer.iter().any(Option::is_some))
    }
}

impl Bottleneck<'_> {
    fn hidden(&self) -> usize {
        self.up_bias.values.len()
    }

    fn width(&self) -> usize {
        self.down_bias.values.len()
    }

    /// Adds to `added`, what a part of the block adds to `residual`, what the bottleneck makes of the two. `keep` says which
    /// tokens of the pass they are, if not all.
    pub(super) fn forward(
        &self,
        isa: Isa,
        (noise, keep): (Option<&Noise>, Option<&[u32]>),
        residual: &Lanes,
        added: &mut Lanes,
        buffers: &mut Buffers,
        kept: &mut Kept,
    ) {
        match self.input {
            BottleneckInput::Residual => kept.input.copy_from(residual),
            BottleneckInput::Added => kept.input.copy_from(added),
            BottleneckInput::Sum => {
                kept.input.copy_from(added);
                kept.input.add(residual);
            }
        }
        let stride = kept.input.stride();
        kept.low.reuse(self.width(), kept.input.tokens());
        let right = Right::Lanes { rows: kept.input.values(), stride };
        let left = Left::matrix(self.down.values, self.width());
        product(isa, kept.low.values_mut(), stride, false, &[Term { left, right }]);
        add_rows(&mut kept.low, self.down_bias.values, 1.0);

        self.activate(isa, kept, buffers);
        let right = Right::Lanes { rows: buffers.activated.values(), stride };
        let up = [Term { left: Left::matrix(self.up.values, self.hidden()), right }];
        kept.mask = noise
            .filter(|noise| noise.drops())
            .map(|noise| noise.mask(self.layer, self.place.behind(), self.hidden(), keep));
        if let Some(mask) = &kept.mask {
            buffers.high.reuse(self.hidden(), added.tokens());
            product(isa, buffers.high.values_mut(), stride, false, &up);
            add_rows(&mut buffers.high, self.up_bias.values, self.scaling);
            add_masked(mask, &buffers.high, added);
        } else {
            product(isa, added.values_mut(), stride, true, &up);
            add_rows(added, self.up_bias.values, self.scaling);
        }
    }

    /// Writes the gradient by z to [`Buffers::d_input`], from `dy`, that by what the block goes on with, and adds those by D, U
    /// and the biases at their places in `gradient`.
    pub(super) fn backward(&self, isa: Isa, kept: &Kept, dy: &Lanes, buffers: &mut Buffers, gradient: &mut [f32]) {
        let stride = dy.stride();
        self.activate(isa, kept, buffers);
        let dy = match &kept.mask {
            Some(mask) => {
                lay_out(isa, &Masked { mask, x: Rows::from(dy) }, &mut buffers.high);
                &buffers.high
            }
            None => dy,
        };
        token_products(isa, dy.values(), buffers.activated.values(), stride, &mut gradient[self.up.at.clone()]);
        add_sums(dy, self.scaling, &mut gradient[self.up_bias.at.clone()]);

        buffers.d_low.reuse(self.width(), dy.tokens());
        let right = Right::Lanes { rows: dy.values(), stride };
        let left = Left::transposed(self.up.values, self.hidden());
        product(isa, buffers.d_low.values_mut(), stride, false, &[Term { left, right }]);
        multiply(&mut buffers.d_low, self.scaling);
        pointwise::backward(self.act, isa, &kept.low, &mut buffers.d_low);
        token_products(isa, buffers.d_low.values(), kept.input.values(), stride, &mut gradient[self.down.at.clone()]);
        add_sums(&buffers.d_low, 1.0, &mut gradient[self.down_bias.at.clone()]);

        buffers.d_input.reuse(self.hidden(), dy.tokens());
        let right = Right::Lanes { rows: buffers.d_low.values(), stride };
        let left = Left::transposed(self.down.values, self.width());
        product(isa, buffers.d_input.values_mut(), stride, false, &[Term { left, right }]);
    }

    fn activate(&self, isa: Isa, kept: &Kept, buffers: &mut Buffers) {
        pointwise::forward(self.act, isa, &kept.low, &mut buffers.activated);
        multiply(&mut buffers.activated, self.scaling);
    }
}

/// Adds to each feature of all tokens its number times `scale`.
fn add_rows(lanes: &mut Lanes, numbers: &[f32], scale: f32) {
    let stride = lanes.stride();
    lanes.values_mut().par_chunks_mut(stride).zip(numbers).for_each(|(row, number)| {
        let number = number * scale;
        for value in row {
            *value += number;
        }
    });
}

/// Adds to each number the sum of its feature over all tokens times `scale`.
fn add_sums(lanes: &Lanes, scale: f32, to: &mut [f32]) {
    let rows = lanes.values().par_chunks(lanes.stride());
    to.par_iter_mut().zip(rows).for_each(|(to, row)| *to += scale * row.iter().sum::<f32>());
}

fn multiply(lanes: &mut Lanes, by: f32) {
    for value in lanes.values_mut() {
        *value *= by;
    }
}
