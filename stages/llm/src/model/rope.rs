use burn::tensor::{Device, Tensor, TensorData};
use refit_checkpoint::{ModelConfig, Rotary, RotaryPairs};

/// Rotary position embedding of a model: its blocks may turn by different rules, and some not at all.
///
/// The partner of each feature is taken by a product with a constant signed permutation, which is one fast pass on every
/// device where slicing, negating and joining would be four slow ones.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    /// One for each form of block; those that turn by the same rule share what they need.
    forms: Vec<Turning>,
    head_dim: usize,
    /// The attention's scale.
    scale: f32,
    device: Device,
}

#[derive(Debug, Clone)]
struct Turning {
    rotary: Option<Rotary>,
    /// `[d, d]`: x · turn = each feature's partner, negated for the first of a pair, and 0 for what does not turn.
    turn: Option<Tensor<2>>,
    /// The first form with the same rule.
    like: usize,
}

/// Cosines and sines for the tokens of one pass, for each form of block.
#[derive(Debug, Clone)]
pub(crate) struct RopeRows {
    forms: Vec<FormRows>,
}

/// What turns queries and keys of one form of block.
#[derive(Debug, Clone)]
pub(crate) enum FormRows {
    /// Positions do not enter; queries are scaled.
    Still(f32),
    /// They turn.
    Turning(Box<Tables>),
}

/// Cosines and sines.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    /// `[tokens, 1, d]`, times the attention's scale.
    query: [Tensor<3>; 2],
    /// `[tokens, 1, d]`.
    key: [Tensor<3>; 2],
    turn: Tensor<2>,
}

impl Rope {
    pub(crate) fn new(config: &ModelConfig, device: &Device) -> Self {
        let d = config.head_dim;
        let mut forms: Vec<Turning> = Vec::new();
        for form in &config.layer_forms {
            let like = forms.iter().position(|known| known.rotary == form.rotary).unwrap_or(forms.len());
            let turn = match (forms.get(like), &form.rotary) {
                (Some(known), _) => known.turn.clone(),
                (None, Some(rotary)) => Some(Tensor::from_data(TensorData::new(partners(rotary, d), [d, d]), device)),
                (None, None) => None,
            };
            forms.push(Turning { rotary: form.rotary.clone(), turn, like });
        }
        Self { forms, head_dim: d, scale: config.attention.scale, device: device.clone() }
    }

    /// The tables for tokens at these positions, of rows of which the longest has `longest` tokens. Angles are f32, as in
    /// transformers.
    pub(crate) fn rows(&self, positions: &[u32], longest: usize) -> RopeRows {
        let mut forms: Vec<FormRows> = Vec::with_capacity(self.forms.len());
        for form in &self.forms {
            let rows = match (forms.get(form.like), &form.rotary, &form.turn) {
                (Some(known), ..) => known.clone(),
                (None, Some(rotary), Some(turn)) => self.tables(rotary, turn, positions, longest),
                _ => FormRows::Still(self.scale),
            };
            forms.push(rows);
        }
        RopeRows { forms }
    }

    fn tables(&self, rotary: &Rotary, turn: &Tensor<2>, positions: &[u32], longest: usize) -> FormRows {
        let (d, scale, magnitude) = (self.head_dim, self.scale, rotary.magnitude());
        let frequencies: Vec<f32> = rotary.inverse_frequencies(longest).into_iter().map(|f| f as f32).collect();
        let count = positions.len() * d;
        let mut tables = [vec![scale; count], vec![0f32; count], vec![1f32; count], vec![0f32; count]];
        for (row, &position) in positions.iter().enumerate() {
            for (pair, frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                let (sin, cos) = (sin * magnitude, cos * magnitude);
                for (table, value) in tables.iter_mut().zip([cos * scale, sin * scale, cos, sin]) {
                    for feature in features(rotary, pair) {
                        table[row * d + feature] = value;
                    }
                }
            }
        }
        let [query_cos, query_sin, cos, sin] =
            tables.map(|t| Tensor::<3>::from_data(TensorData::new(t, [positions.len(), 1, d]), &self.device));
        let tables = Tables { query: [query_cos, query_sin], key: [cos, sin], turn: turn.clone() };
        FormRows::Turning(Box::new(tables))
    }
}

/// The two features of a pair.
fn features(rotary: &Rotary, pair: usize) -> [usize; 2] {
    match rotary.pairs {
        RotaryPairs::Halves => [pair, pair + rotary.width / 2],
        RotaryPairs::Neighbours => [2 * pair, 2 * pair + 1],
    }
}

fn partners(rotary: &Rotary, d: usize) -> Vec<f32> {
    let mut turn = vec![0f32; d * d];
    for pair in 0..rotary.width / 2 {
        let [first, second] = features(rotary, pair);
        turn[second * d + first] = -1.0;
        turn[first * d + second] = 1.0;
    }
    turn
}

impl RopeRows {
    /// What turns the heads of a block.
    pub(crate) fn of_layer(&self, layer: usize) -> &FormRows {
        &self.forms[layer % self.forms.len()]
    }
}

impl FormRows {
    /// Turns queries `[tokens, heads, d]` and applies the attention's scale.
    pub(crate) fn query(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Still(scale) => x * *scale,
            Self::Turning(tables) => turn(x, &tables.query, &tables.turn),
        }
    }

    /// Turns keys `[tokens, heads, d]`.
    pub(crate) fn key(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Still(_) => x,
            Self::Turning(tables) => turn(x, &tables.key, &tables.turn),
        }
    }
}

fn turn(x: Tensor<3>, [cos, sin]: &[Tensor<3>; 2], matrix: &Tensor<2>) -> Tensor<3> {
    let [tokens, heads, d] = x.dims();
    let turned = x.clone().reshape([tokens * heads, d]).matmul(matrix.clone()).reshape([tokens, heads, d]);
    x * cos.clone() + turned * sin.clone()
}
