use rayon::prelude::*;
use refit_checkpoint::HostTensor;

/// A trained matrix of which the model computes with the rows brought to length 1 (Baichuan 2's head): U = W / |W|, row by row.
pub(crate) struct UnitRows {
    unit: HostTensor,
    lengths: Vec<f64>,
}

impl UnitRows {
    /// Of W, row by row, each so wide.
    pub(crate) fn of(values: &[f32], width: usize) -> Self {
        let trained = HostTensor { shape: vec![values.len() / width.max(1), width], values: values.to_vec() };
        let lengths = trained.row_lengths();
        Self { unit: trained.with_unit_rows(), lengths }
    }

    /// U, row by row.
    pub(crate) fn values(&self) -> &[f32] {
        &self.unit.values
    }

    /// Adds to `out` the gradient by W, from that by U: (d − u · (u · d)) / |w| of each row.
    pub(crate) fn add_gradient(&self, by_unit: &[f32], out: &mut [f32]) {
        let width = self.unit.shape[1];
        let rows = self.unit.values.par_chunks_exact(width).zip(by_unit.par_chunks_exact(width)).zip(&self.lengths);
        out.par_chunks_exact_mut(width).zip(rows).for_each(|(out, ((unit, by_unit), length))| {
            let along: f64 = unit.iter().zip(by_unit).map(|(u, d)| f64::from(*u) * f64::from(*d)).sum();
            for (out, (u, d)) in out.iter_mut().zip(unit.iter().zip(by_unit)) {
                *out += ((f64::from(*d) - f64::from(*u) * along) / length) as f32;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences in f64 of Σ d · w / |w|.
    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (width, weights) = (3, [0.5f32, -1.25, 2.0, 3.0, 0.25, -0.75]);
        let by_unit = [1.0f32, -0.5, 0.25, 0.75, 2.0, -1.5];
        let unit = UnitRows::of(&weights, width);
        let mut found = vec![1.0f32; weights.len()];
        unit.add_gradient(&by_unit, &mut found);
        let value = |weights: &[f64]| -> f64 {
            weights
                .chunks(width)
                .zip(by_unit.chunks(width))
                .map(|(w, d)| {
                    let length = w.iter().map(|w| w * w).sum::<f64>().sqrt();
                    w.iter().zip(d).map(|(w, d)| w / length * f64::from(*d)).sum::<f64>()
                })
                .sum()
        };
        for (at, found) in found.iter().enumerate() {
            let moved = |step: f64| {
                let mut weights = weights.map(f64::from);
                weights[at] += step;
                value(&weights)
            };
            let expected = 1.0 + (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{at}: {found} {expected}");
        }
    }
}
