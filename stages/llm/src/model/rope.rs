use burn::tensor::{Device, Tensor, TensorData};
use refit_checkpoint::ModelConfig;

/// Rotary position embedding, half-split as in Llama and Qwen2: entry `i` turns with entry `i + d/2`.
///
/// The turned half is taken by a product with a constant signed permutation, which is one fast pass on every device
/// where slicing, negating and joining would be four slow ones.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    /// Angle per position of each of the `d/2` pairs.
    frequencies: Vec<f32>,
    /// `[d, d]`: x · turn = (−second half, first half).
    turn: Tensor<2>,
    device: Device,
}

/// Cosines and sines for the tokens of one pass.
#[derive(Debug, Clone)]
pub(crate) struct RopeRows {
    /// `[tokens, 1, d]`, times the attention's scale 1/√d.
    query: [Tensor<3>; 2],
    /// `[tokens, 1, d]`.
    key: [Tensor<3>; 2],
    turn: Tensor<2>,
}

impl Rope {
    pub(crate) fn new(config: &ModelConfig, device: &Device) -> Self {
        let d = config.head_dim;
        let mut turn = vec![0f32; d * d];
        for i in 0..d / 2 {
            turn[(i + d / 2) * d + i] = -1.0;
            turn[i * d + i + d / 2] = 1.0;
        }
        Self {
            frequencies: config.rotary.inverse_frequencies().into_iter().map(|f| f as f32).collect(),
            turn: Tensor::from_data(TensorData::new(turn, [d, d]), device),
            device: device.clone(),
        }
    }

    /// The table for tokens at these positions. Angles are f32, as in transformers.
    pub(crate) fn rows(&self, positions: &[u32]) -> RopeRows {
        let half = self.frequencies.len();
        let d = 2 * half;
        let scale = 1.0 / (d as f32).sqrt();
        let mut tables = [(); 4].map(|()| vec![0f32; positions.len() * d]);
        for (row, &position) in positions.iter().enumerate() {
            for (i, frequency) in self.frequencies.iter().enumerate() {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                for (table, value) in tables.iter_mut().zip([cos * scale, sin * scale, cos, sin]) {
                    table[row * d + i] = value;
                    table[row * d + half + i] = value;
                }
            }
        }
        let [query_cos, query_sin, cos, sin] =
            tables.map(|t| Tensor::<3>::from_data(TensorData::new(t, [positions.len(), 1, d]), &self.device));
        RopeRows { query: [query_cos, query_sin], key: [cos, sin], turn: self.turn.clone() }
    }
}

impl RopeRows {
    /// Turns queries `[tokens, heads, d]` and applies the attention's scale.
    pub(crate) fn query(&self, x: Tensor<3>) -> Tensor<3> {
        turn(x, &self.query, &self.turn)
    }

    /// Turns keys `[tokens, heads, d]`.
    pub(crate) fn key(&self, x: Tensor<3>) -> Tensor<3> {
        turn(x, &self.key, &self.turn)
    }
}

fn turn(x: Tensor<3>, [cos, sin]: &[Tensor<3>; 2], matrix: &Tensor<2>) -> Tensor<3> {
    let [tokens, heads, d] = x.dims();
    let turned = x.clone().reshape([tokens * heads, d]).matmul(matrix.clone()).reshape([tokens, heads, d]);
    x * cos.clone() + turned * sin.clone()
}
