use std::ops::Range;

use super::projection::Projection;
use crate::{adapter::Adapter, model::LinearModule};

/// An adapter as the fused pass takes it.
pub(super) struct Lora<'a> {
    /// α/r, or α/√r for rsLoRA.
    scale: f32,
    values: &'a [f32],
    rank: usize,
    /// Where A and B of a module lie in the adapter's values, by layer and [`LinearModule::index`].
    places: Vec<[Option<Place>; LinearModule::COUNT]>,
}

/// Where the matrices of one linear layer lie in the adapter's values.
#[derive(Clone, Debug)]
struct Place {
    a: Range<usize>,
    b: Range<usize>,
}

/// The part of an adapter that belongs to linear layers with one input.
pub(super) struct Group<'a> {
    pub(super) scale: f32,
    /// A of the adapted layers, one below the other: `[adapted · rank, in]`.
    pub(super) a: Vec<f32>,
    pub(super) rank: usize,
    /// One for each linear layer.
    pub(super) pairs: Vec<Option<Pair<'a>>>,
}

/// The part of an adapter that belongs to one linear layer.
pub(super) struct Pair<'a> {
    /// `[out, rank]`.
    pub(super) b: &'a [f32],
    /// Rows of this layer among those of [`Group::a`].
    pub(super) rows: Range<usize>,
    /// Where its gradients go.
    pub(super) a_at: Range<usize>,
    pub(super) b_at: Range<usize>,
}

impl<'a> Lora<'a> {
    pub(super) fn new(adapter: &'a Adapter, layers: usize) -> Self {
        let mut places: Vec<[Option<Place>; LinearModule::COUNT]> = (0..layers).map(|_| Default::default()).collect();
        // A and B of a module come in turn.
        for pair in adapter.tensors.chunks_exact(2) {
            let place = Place { a: pair[0].range(), b: pair[1].range() };
            places[pair[0].layer][pair[0].module.index()] = Some(place);
        }
        Self { scale: adapter.config.scale() as f32, values: &adapter.values, rank: adapter.config.rank, places }
    }

    /// What belongs to a projection of a block.
    pub(super) fn group(&self, layer: usize, projection: &Projection) -> Group<'a> {
        let (mut a, mut rows) = (Vec::new(), 0);
        let pairs = projection
            .modules()
            .map(|module| {
                let place = self.places[layer][module.index()].clone()?;
                a.extend_from_slice(&self.values[place.a.clone()]);
                rows += self.rank;
                let b = &self.values[place.b.clone()];
                Some(Pair { b, rows: rows - self.rank..rows, a_at: place.a, b_at: place.b })
            })
            .collect();
        Group { scale: self.scale, a, rank: self.rank, pairs }
    }

    /// The first layer with a matrix: no gradient is needed below it.
    pub(super) fn lowest(&self) -> Option<usize> {
        self.places.iter().position(|layer| layer.iter().any(Option::is_some))
    }
}

impl Group<'_> {
    /// Rows of [`Group::a`].
    pub(super) fn rows(&self) -> usize {
        self.rank * self.pairs.iter().flatten().count()
    }
}
