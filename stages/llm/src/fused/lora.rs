use std::ops::Range;

use refit_kernels::{Isa, Lanes, Left, Panels, Term, product};

use super::{
    FusedWeights,
    dense::{Dense, Own},
    projection::{Linear, Projection},
};
use crate::{
    adapter::{AdaptedModule, Adapter},
    model::{LinearModule, Mask, Noise},
    weights::WeightPlace,
};

/// An adapter as the fused pass takes it.
pub(super) struct Lora<'a> {
    /// α/r, or α/√r for rsLoRA.
    scale: f32,
    values: &'a [f32],
    rank: usize,
    /// Where the tensors of a module lie in the adapter's values, by layer and [`LinearModule::index`].
    places: Vec<[Option<Place>; LinearModule::COUNT]>,
}

/// Where the tensors of one linear layer lie in the adapter's values.
#[derive(Clone, Debug)]
struct Place {
    a: Range<usize>,
    b: Range<usize>,
    rows: Option<Rows>,
}

/// DoRA's lengths of the rows of one linear layer.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    /// m/n.
    pub(super) factor: Vec<f32>,
    /// n, which is a constant to the gradient.
    pub(super) norm: Vec<f32>,
    /// Where the gradient by m goes.
    pub(super) at: Range<usize>,
}

/// What is trained of linear layers with one input.
pub(super) struct Group<'a> {
    pub(super) scale: f32,
    pub(super) rank: usize,
    /// One for each linear layer.
    pub(super) pairs: Vec<Option<Pair<'a>>>,
    /// One for each linear layer: what of it is trained itself.
    pub(super) own: Vec<OwnLinear<'a>>,
    /// With dropout, how to draw which entries of the input stay.
    pub(super) dropout: Option<Dropout<'a>>,
}

/// What of a linear layer is trained itself.
pub(super) struct OwnLinear<'a> {
    pub(super) weight: Option<Own<'a>>,
    pub(super) bias: Option<Own<'a>>,
}

/// The part of an adapter that belongs to one linear layer.
pub(super) struct Pair<'a> {
    pub(super) module: LinearModule,
    /// `[rank, in]`.
    pub(super) a: &'a [f32],
    /// `[out, rank]`.
    pub(super) b: &'a [f32],
    /// Rows of this layer's A among those of all, one below the other.
    pub(super) rows: Range<usize>,
    pub(super) dora: Option<Rows>,
    /// Where its gradients go.
    pub(super) a_at: Range<usize>,
    pub(super) b_at: Range<usize>,
}

/// What masks of a group are drawn from.
#[derive(Clone, Copy)]
pub(super) struct Dropout<'a> {
    pub(super) noise: &'a Noise,
    pub(super) layer: usize,
    /// Tokens of the pass that the group sees; all if absent.
    pub(super) keep: Option<&'a [u32]>,
}

impl Dropout<'_> {
    pub(super) fn mask(&self, module: LinearModule, width: usize) -> Mask {
        self.noise.mask(self.layer, module, width, self.keep)
    }
}

impl<'a> Lora<'a> {
    pub(super) fn new(adapter: &'a Adapter, weights: &FusedWeights) -> Self {
        let mut places: Vec<[Option<Place>; LinearModule::COUNT]> =
            weights.blocks.iter().map(|_| Default::default()).collect();
        let (scale, rank) = (adapter.config.scale(), adapter.config.rank);
        for module in adapter.modules() {
            let AdaptedModule { layer, module, a, b, magnitude } = module;
            let rows = magnitude.map(|magnitude| {
                let matrices = [&adapter.values[a.range()], &adapter.values[b.range()]];
                let linear = weights.blocks[layer].linear(module).expect("invariant: the adapter is of this model");
                let norm = norms(weights.isa, linear, matrices, rank, scale);
                let factor = adapter.values[magnitude.range()].iter().zip(&norm).map(|(m, n)| m / n).collect();
                Rows { factor, norm, at: magnitude.range() }
            });
            places[layer][module.index()] = Some(Place { a: a.range(), b: b.range(), rows });
        }
        Self { scale: scale as f32, values: &adapter.values, rank, places }
    }

    /// No adapter.
    pub(super) fn none(blocks: usize) -> Self {
        Self { scale: 1.0, values: &[], rank: 0, places: (0..blocks).map(|_| Default::default()).collect() }
    }

    /// What belongs to a projection of a block.
    pub(super) fn group(
        &self,
        layer: usize,
        projection: &Projection,
        dense: &Dense<'a>,
        noise: Option<&'a Noise>,
        keep: Option<&'a [u32]>,
    ) -> Group<'a> {
        let mut rows = 0;
        let pairs = projection
            .modules()
            .map(|module| {
                let place = self.places[layer][module.index()].clone()?;
                let (a, b) = (&self.values[place.a.clone()], &self.values[place.b.clone()]);
                rows += self.rank;
                let (a_at, b_at) = (place.a, place.b);
                Some(Pair { module, a, b, rows: rows - self.rank..rows, dora: place.rows, a_at, b_at })
            })
            .collect();
        let dropout = noise.filter(|noise| noise.drops()).map(|noise| Dropout { noise, layer, keep });
        let own = |module| OwnLinear {
            weight: dense.get(WeightPlace::Linear(layer, module)),
            bias: dense.get(WeightPlace::Bias(layer, module)),
        };
        let own = projection.modules().map(own).collect();
        Group { scale: self.scale, rank: self.rank, pairs, own, dropout }
    }

    /// The first layer with a matrix: no gradient is needed below it.
    pub(super) fn lowest(&self) -> Option<usize> {
        self.places.iter().position(|layer| layer.iter().any(Option::is_some))
    }
}

impl Group<'_> {
    /// Rows of all A, one below the other.
    pub(super) fn rows(&self) -> usize {
        self.rank * self.pairs.iter().flatten().count()
    }

    /// Whether lengths of rows are trained apart.
    pub(super) fn is_dora(&self) -> bool {
        self.pairs.iter().flatten().any(|pair| pair.dora.is_some())
    }
}

/// Lengths of the rows of W + s·B·A, which is never made: ‖W‖² + 2s·B·(W·Aᵀ) + s²·B·(A·Aᵀ)·Bᵀ, row by row.
fn norms(isa: Isa, linear: &Linear, [a, b]: [&[f32]; 2], rank: usize, scale: f64) -> Vec<f32> {
    let weight = &linear.weight;
    let mut turned = Lanes::zeros(weight.width(), rank);
    let stride = turned.stride();
    for (row, a) in a.chunks_exact(weight.width()).enumerate() {
        turned.values_mut().chunks_exact_mut(stride).zip(a).for_each(|(to, a)| to[row] = *a);
    }
    let mut met = Lanes::zeros(weight.out(), rank);
    let mut panels = Panels::default();
    let right = panels.pack(isa, weight.precision(), turned.values(), stride);
    product(isa, met.values_mut(), stride, false, &[Term { left: Left::Weight(weight), right }]);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let rows: Vec<&[f32]> = a.chunks_exact(weight.width()).collect();
    let squares: Vec<Vec<f64>> = rows.iter().map(|a| rows.iter().map(|b| dot(a, b)).collect()).collect();
    linear
        .row_squares()
        .iter()
        .zip(b.chunks_exact(rank))
        .enumerate()
        .map(|(out, (square, b))| {
            let across = dot(b, &met.row(out)[..rank]);
            let update: f64 = b
                .iter()
                .zip(&squares)
                .map(|(left, row)| f64::from(*left) * row.iter().zip(b).map(|(s, b)| s * f64::from(*b)).sum::<f64>())
                .sum();
            (square + 2.0 * scale * across + scale * scale * update).max(0.0).sqrt() as f32
        })
        .collect()
}
