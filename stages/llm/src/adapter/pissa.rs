//! PiSSA (<https://arxiv.org/abs/2404.02948>): an adapter that starts as the largest singular values of each weight, over a
//! base that keeps the rest.

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use refit_kernels::{Isa, Lanes, Left, Precision, Right, Term, Weight, product};

use super::{AdaptedModule, Adapter, LoraInit, Part};
use crate::{
    LlmError, Model,
    model::Linear,
    random::{self, Purpose},
};

/// Vectors beyond the rank with which the largest singular values are looked for.
const EXTRA: usize = 8;

/// Times a weight is gone through there and back. Weights of language models have singular values that fall slowly; after so
/// many, what the found ones leave of the weight is within 1 % of the least possible.
const ITERATIONS: usize = 8;

/// Fills A and B of every module: W ≈ U·S·Vᵀ, A = √(S/s)·Vᵀ, B = U·√(S/s), so that s·B·A is W's nearest matrix of the rank.
pub(super) fn fill(adapter: &mut Adapter, model: &Model, seed: u64) -> Result<(), LlmError> {
    let scale = adapter.config.scale();
    let rank = adapter.config.rank;
    let modules: Vec<_> = adapter.modules().map(|module| (module.a.clone(), module.b.clone())).collect();
    for (place, (a, b)) in modules.into_iter().enumerate() {
        let rows: Vec<u32> = (0..b.shape[0] as u32).collect();
        let weight = model.linear(a.layer, a.module).weight().rows(&rows)?;
        let weight = Weight::new(&weight, b.shape[0], a.shape[1], Precision::F32);
        let found = largest(&weight, rank, &mut random::stream(seed, Purpose::Init, place as u64));
        let roots: Vec<f64> = found.values.iter().map(|value| (value / scale).sqrt()).collect();
        let (width, values) = (weight.width(), &mut adapter.values);
        for ((row, right), root) in values[a.range()].chunks_exact_mut(width).zip(&found.right).zip(&roots) {
            row.iter_mut().zip(right).for_each(|(to, from)| *to = (from * root) as f32);
        }
        for (at, row) in values[b.range()].chunks_exact_mut(rank).enumerate() {
            for ((to, left), root) in row.iter_mut().zip(&found.left).zip(&roots) {
                *to = (left[at] * root) as f32;
            }
        }
    }
    Ok(())
}

impl Adapter {
    /// The base that this adapter, before its first step, is trained on: without what it starts with.
    ///
    /// # Errors
    /// A failing device.
    pub fn residual(&self, model: &Model) -> Result<Model, LlmError> {
        let mut residual = model.clone();
        if self.config.init != LoraInit::Pissa {
            return Ok(residual);
        }
        residual.fused = std::sync::Arc::default();
        for module in self.modules() {
            for linear in residual.layers[module.layer].linears_mut().filter(|l| l.module() == module.module) {
                *linear = self.without(linear, module)?;
            }
        }
        Ok(residual)
    }

    /// A linear layer less s·B·A.
    fn without(&self, linear: &Linear, module: AdaptedModule<'_>) -> Result<Linear, LlmError> {
        let [out, width] = [module.b.shape[0], module.a.shape[1]];
        let rows: Vec<u32> = (0..out as u32).collect();
        let mut values = linear.weight().rows(&rows)?;
        let (a, b) = (&self.values[module.a.range()], &self.values[module.b.range()]);
        let scale = self.config.scale() as f32;
        values.par_chunks_mut(width).zip(b.par_chunks(self.config.rank)).for_each(|(row, b)| {
            for (b, a) in b.iter().zip(a.chunks_exact(width)) {
                row.iter_mut().zip(a).for_each(|(value, a)| *value -= scale * b * a);
            }
        });
        Ok(linear.with_weight(linear.weight().like(values, [out, width])))
    }

    /// The adapter that does on the base as it was what this one does on the residual of `initial`: twice the rank, with
    /// what the training started from subtracted. PEFT's `path_initial_model_for_weight_conversion` makes the same.
    #[must_use]
    pub fn for_original_base(&self, initial: &Self) -> Self {
        if self.config.init != LoraInit::Pissa {
            return self.clone();
        }
        let mut config = self.config.clone();
        config.rank *= 2;
        config.alpha *= if config.rslora { std::f64::consts::SQRT_2 } else { 2.0 };
        config.init = LoraInit::Kaiming;
        let mut tensors = self.tensors.clone();
        let mut values = Vec::with_capacity(2 * self.values.len());
        for tensor in &mut tensors {
            let (now, then) = (&self.values[tensor.range()], &initial.values[tensor.range()]);
            tensor.start = values.len();
            if tensor.part == Part::A {
                values.extend(now.iter().chain(then));
                tensor.shape[0] *= 2;
            } else {
                let rank = self.config.rank;
                for (now, then) in now.chunks_exact(rank).zip(then.chunks_exact(rank)) {
                    values.extend_from_slice(now);
                    values.extend(then.iter().map(|value| -value));
                }
                tensor.shape[1] *= 2;
            }
        }
        Self { config, tensors, values, template: self.template.clone() }
    }
}

/// The largest singular values of a matrix with their vectors.
struct Singular {
    values: Vec<f64>,
    /// One vector of `out` numbers for each.
    left: Vec<Vec<f64>>,
    /// One vector of `in` numbers for each.
    right: Vec<Vec<f64>>,
}

/// Randomised subspace iteration (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1).
fn largest(weight: &Weight, rank: usize, rng: &mut ChaCha8Rng) -> Singular {
    let count = (rank + EXTRA).min(weight.out()).min(weight.width());
    let mut inner: Vec<Vec<f64>> =
        (0..count).map(|_| (0..weight.width()).map(|_| f64::from(random::normal(rng))).collect()).collect();
    let mut outer = Vec::new();
    for _ in 0..ITERATIONS {
        outer = orthonormal(times(Left::Weight(weight), weight, &inner));
        inner = orthonormal(times(Left::Transposed(weight), weight, &outer));
    }
    // Wᵀ·Q = V·S·(turn)ᵀ, of which the small square tells S and the turn.
    let projected = times(Left::Transposed(weight), weight, &outer);
    let square = projected.iter().map(|a| projected.iter().map(|b| dot(a, b)).collect()).collect();
    let mut found = symmetric_eigen(square);
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(rank);
    // A matrix of a lower rank has no more.
    found.resize(rank, (0.0, vec![0.0; count]));
    let combine = |vectors: &[Vec<f64>], turn: &[f64], factor: f64| -> Vec<f64> {
        let length = vectors.first().map_or(0, Vec::len);
        let sum = |at: usize| vectors.iter().zip(turn).map(|(vector, turn)| vector[at] * turn).sum::<f64>() * factor;
        (0..length).map(sum).collect()
    };
    let values: Vec<f64> = found.iter().map(|(square, _)| square.max(0.0).sqrt()).collect();
    Singular {
        left: found.iter().map(|(_, turn)| combine(&outer, turn, 1.0)).collect(),
        right: found
            .iter()
            .zip(&values)
            .map(|((_, turn), value)| combine(&projected, turn, if *value > 0.0 { 1.0 / value } else { 0.0 }))
            .collect(),
        values,
    }
}

/// A weight, or its transposed, times some vectors.
fn times(left: Left<'_>, weight: &Weight, vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let isa = Isa::best();
    let mut lanes = Lanes::zeros(vectors.first().map_or(0, Vec::len), vectors.len());
    let stride = lanes.stride();
    for (at, vector) in vectors.iter().enumerate() {
        for (row, value) in lanes.values_mut().chunks_exact_mut(stride).zip(vector) {
            row[at] = *value as f32;
        }
    }
    let rows = if matches!(left, Left::Weight(_)) { weight.out() } else { weight.width() };
    let mut result = Lanes::zeros(rows, vectors.len());
    let right = Right::Lanes { rows: lanes.values(), stride };
    product(isa, result.values_mut(), stride, false, &[Term { left, right }]);
    (0..vectors.len()).map(|at| result.values().chunks_exact(stride).map(|row| f64::from(row[at])).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Gram–Schmidt, twice, which is as good as any other. What depends on the vectors before it becomes zero.
fn orthonormal(mut vectors: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for at in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(at);
        let vector = &mut rest[0];
        let length = dot(vector, vector).sqrt();
        for _ in 0..2 {
            for other in before.iter() {
                let along = dot(vector, other);
                vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
            }
        }
        let left = dot(vector, vector).sqrt();
        let factor = if left > 1e-9 * length { 1.0 / left } else { 0.0 };
        for value in vector.iter_mut() {
            *value *= factor;
        }
    }
    vectors
}

/// Eigenvalues and vectors of a small symmetric matrix (Jacobi's method, cyclic).
fn symmetric_eigen(mut matrix: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let size = matrix.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let total: f64 = matrix.iter().flatten().map(|v| v * v).sum();
    for _ in 0..60 {
        let off: f64 = (0..size).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| matrix[i][j].powi(2)).sum();
        if off <= 1e-26 * total {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                if matrix[p][q] == 0.0 {
                    continue;
                }
                let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
                let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
                let sine = tangent * cosine;
                for row in &mut matrix {
                    (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
                }
                let (above, below) = matrix.split_at_mut(q);
                for (at_p, at_q) in above[p].iter_mut().zip(&mut below[0]) {
                    (*at_p, *at_q) = (cosine * *at_p - sine * *at_q, sine * *at_p + cosine * *at_q);
                }
                for row in &mut vectors {
                    (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
                }
            }
        }
    }
    (0..size).map(|i| (matrix[i][i], vectors.iter().map(|row| row[i]).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix made of known singular values, which fall as slowly as those of a language model's weights.
    #[test]
    fn what_is_found_is_within_a_percent_of_the_nearest_matrix_of_the_rank() {
        let (out, width, rank) = (96, 160, 8);
        let mut rng = random::stream(7, Purpose::Init, 0);
        let mut vectors = |length: usize| -> Vec<Vec<f64>> {
            orthonormal((0..out).map(|_| (0..length).map(|_| f64::from(random::normal(&mut rng))).collect()).collect())
        };
        let (left, right) = (vectors(out), vectors(width));
        let values: Vec<f64> = (0..out).map(|at| 1.0 / (1.0 + at as f64).sqrt()).collect();
        let numbers: Vec<f32> = (0..out * width)
            .map(|at| (0..out).map(|k| values[k] * left[k][at / width] * right[k][at % width]).sum::<f64>() as f32)
            .collect();
        let weight = Weight::new(&numbers, out, width, Precision::F32);
        let found = largest(&weight, rank, &mut random::stream(8, Purpose::Init, 0));
        let least = values[rank..].iter().map(|value| value * value).sum::<f64>().sqrt();
        let rest = (0..out * width).map(|at| {
            let near = |k: usize| found.values[k] * found.left[k][at / width] * found.right[k][at % width];
            (f64::from(numbers[at]) - (0..rank).map(near).sum::<f64>()).powi(2)
        });
        let rest = rest.sum::<f64>().sqrt();
        assert!(rest < 1.01 * least, "{rest} {least}");
        for (found, expected) in found.values.iter().zip(&values) {
            assert!((found - expected).abs() < 0.02 * expected, "{found} {expected}");
        }
    }
}
