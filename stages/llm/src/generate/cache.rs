use burn::tensor::{Int, Tensor, TensorData, activation};
use refit_checkpoint::{AttentionForm, ModelConfig};

use crate::model::{AttentionShape, HIDDEN, bias, capped, indices};

/// Keys and values of one layer: the prompts', which never change, and the answers', which grow by one a step.
///
/// The two stay apart so that a step appends to the short part only, and never copies the long one.
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    /// `[rows, key heads, longest prompt, d]` each.
    prompt: [Tensor<4>; 2],
    /// `[rows, key heads, steps so far, d]` each, after the first step.
    answer: Option<[Tensor<4>; 2]>,
}

/// Which of the packed prompt tokens belong to which row of the cache.
pub(super) struct PromptLayout {
    /// Row of `[tokens · key heads, d]` for row, key head, place in the prompt.
    at: Tensor<1, Int>,
    /// `[rows, 1, 1, longest prompt]`: hides what pads the shorter prompts.
    mask: Tensor<4>,
    /// Tokens of each row's prompt.
    lengths: Vec<usize>,
    longest: usize,
    shape: AttentionShape,
    form: AttentionForm,
    /// The window of each form of block.
    windows: Vec<Option<usize>>,
}

impl PromptLayout {
    /// `tokens[row]` are the packed places of a row's prompt, in order.
    pub(super) fn new(tokens: &[Vec<usize>], config: &ModelConfig, device: &burn::tensor::Device) -> Self {
        let shape = AttentionShape::of(config);
        let longest = tokens.iter().map(Vec::len).max().unwrap_or(0);
        let mut at = Vec::with_capacity(tokens.len() * shape.key_heads * longest);
        let mut mask = vec![0_f32; tokens.len() * longest];
        for (row, places) in tokens.iter().enumerate() {
            for head in 0..shape.key_heads {
                at.extend(places.iter().map(|token| (token * shape.key_heads + head) as u32));
                at.resize(at.len() + longest - places.len(), 0);
            }
            mask[row * longest + places.len()..(row + 1) * longest].fill(HIDDEN);
        }
        Self {
            at: indices(&at, device),
            mask: Tensor::from_data(TensorData::new(mask, [tokens.len(), 1, 1, longest]), device),
            lengths: tokens.iter().map(Vec::len).collect(),
            longest,
            shape,
            form: config.attention.clone(),
            windows: config.layer_forms.iter().map(|form| form.window).collect(),
        }
    }

    /// Brings packed keys and values `[tokens, key heads, d]` into the cache's form.
    pub(super) fn cache(&self, keys: Tensor<3>, values: Tensor<3>) -> LayerCache {
        let AttentionShape { key_heads, head_dim, .. } = self.shape;
        let dense = |x: Tensor<3>| {
            let tokens = x.dims()[0];
            let rows = x.reshape([tokens * key_heads, head_dim]).select(0, self.at.clone());
            rows.reshape([self.lengths.len(), key_heads, self.longest, head_dim])
        };
        LayerCache { prompt: [dense(keys), dense(values)], answer: None }
    }

    /// The layout of the rows at `kept`.
    pub(super) fn keep(&mut self, kept: &[u32]) {
        let device = self.mask.device();
        self.mask = self.mask.clone().select(0, indices(kept, &device));
        self.lengths = kept.iter().map(|row| self.lengths[*row as usize]).collect();
    }

    /// What is added to the scores of a block beside the mask, after `steps` tokens of the answers, the newest of which
    /// asks: `[rows, 1 or key heads, 1 or heads per key head, longest prompt + steps]`; nothing where it sees everything.
    fn bias(&self, layer: usize, steps: usize) -> Option<Tensor<4>> {
        let window = self.windows[layer % self.windows.len()].filter(|window| *window < self.longest + steps);
        if window.is_none() && self.form.slopes.is_none() {
            return None;
        }
        let slopes = self.form.slopes.as_deref().unwrap_or(&[0.0]);
        let keys = self.longest + steps;
        let mut values = Vec::with_capacity(self.lengths.len() * slopes.len() * keys);
        for length in &self.lengths {
            let query = length + steps - 1;
            for slope in slopes {
                // What pads a prompt is hidden by the mask; it may stand at any position here.
                values.extend((0..self.longest).map(|key| bias(query, key.min(query), window, *slope)));
                values.extend((0..steps).map(|step| bias(query, length + step, window, *slope)));
            }
        }
        let heads = if self.form.slopes.is_some() { self.shape.key_heads } else { 1 };
        let shape = [self.lengths.len(), heads, slopes.len() / heads, keys];
        Some(Tensor::from_data(TensorData::new(values, shape), &self.mask.device()))
    }
}

impl LayerCache {
    /// Adds one token a row and attends to all so far: queries `[rows, heads, d]` (scaled), keys and values
    /// `[rows, key heads, d]`, to `[rows, heads · d]`.
    pub(super) fn attend(
        &mut self,
        layout: &PromptLayout,
        layer: usize,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
    ) -> Tensor<2> {
        let AttentionShape { heads, key_heads, head_dim } = layout.shape;
        let rows = query.dims()[0];
        let [key, value] = [key, value].map(|x| x.reshape([rows, key_heads, 1, head_dim]));
        let [keys, values] = match self.answer.take() {
            Some([keys, values]) => [Tensor::cat(vec![keys, key], 2), Tensor::cat(vec![values, value], 2)],
            None => [key, value],
        };
        let query = query.reshape([rows, key_heads, heads / key_heads, head_dim]);
        let [prompt_keys, prompt_values] = &self.prompt;
        let cap = layout.form.cap;
        let to_prompt = capped(query.clone().matmul(prompt_keys.clone().swap_dims(2, 3)), cap) + layout.mask.clone();
        let to_answer = capped(query.matmul(keys.clone().swap_dims(2, 3)), cap);
        let steps = keys.dims()[2];
        let scores = Tensor::cat(vec![to_prompt, to_answer], 3);
        let scores = match layout.bias(layer, steps) {
            Some(bias) => scores + bias,
            None => scores,
        };
        let weights = activation::softmax(scores, 3);
        let of_prompt = weights.clone().narrow(3, 0, layout.longest).matmul(prompt_values.clone());
        let of_answer = weights.narrow(3, layout.longest, steps).matmul(values.clone());
        self.answer = Some([keys, values]);
        (of_prompt + of_answer).reshape([rows, heads * head_dim])
    }

    /// Keeps the rows at `kept` only.
    pub(super) fn keep(&mut self, kept: &Tensor<1, Int>) {
        let select = |x: &Tensor<4>| x.clone().select(0, kept.clone());
        self.prompt = [select(&self.prompt[0]), select(&self.prompt[1])];
        self.answer = self.answer.take().map(|[keys, values]| [select(&keys), select(&values)]);
    }
}
